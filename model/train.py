"""The one training loop: rounds of training, pruning and rewinding, resumed where they were interrupted."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from ..simulator.errors import UserError
from ..simulator.files import write_text
from .calibrate import calibrate
from .checkpoint import load_checkpoint, save_checkpoint
from .config import SpikformerConfig
from .data import Dataset, load_data, shifted
from .evaluate import float_accuracy, integer_accuracy
from .pruning import Masks, apply_masks, full_masks, prune_survivors, rewind, snapshot
from .selector import token_ratio_loss
from .spikformer import Spikformer
from .ticket import Ticket, make_ticket, save_ticket

STATE_FILE, HISTORY_FILE, TICKET_FILE = "training.pt", "history.json", "ticket.safetensors"
LABEL_SMOOTHING = 0.1
TOKEN_RATIO_WEIGHT = 2.0  # of the paper's code
_PLAIN_STATE = ("masks", "early", "round", "epoch", "history")  # of `_Run`, saved as they are
LAST_RATE = 0.01  # the cosine ends at this share of the learning rate


@dataclass(frozen=True)
class TrainRequest:
    """Everything that a training run depends on; the options of `sparsespike train`.

    rounds: pruning rounds after the dense round 0; each removes `prune` of the surviving weights.
    keep: share of tokens that each selector keeps; 1 means no selectors.
    rewind: epoch of round 0 whose weights every later round starts from.
    width: embedding width D.  threads: torch's; the last bits of the result depend on it.
    """

    data: str = "digits"
    seed: int = 0
    rounds: int = 0
    prune: float = 0.25
    keep: float = 0.7
    selector: str = "learned"
    epochs: int = 12
    rewind: int = 2
    batch: int = 32
    learning_rate: float = 5e-3
    weight_decay: float = 0.06
    width: int = 48
    depth: int = 4
    heads: int = 4
    timesteps: int = 4
    threads: int = 1

    def __post_init__(self) -> None:
        """Raise UserError naming the first impossible value."""
        for name, low in (("seed", 0), ("rounds", 0), ("epochs", 1), ("rewind", 0), ("batch", 2), ("threads", 1)):
            if getattr(self, name) < low:
                raise UserError(f"{name} = {getattr(self, name)}: needs at least {low}")
        if not 0 < self.prune < 1:
            raise UserError(f"prune = {self.prune}: the fraction removed per round must be between 0 and 1")
        if self.rewind > self.epochs:
            raise UserError(f"rewind = {self.rewind}: there are only {self.epochs} epochs in a round")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise UserError("learning_rate must be above 0 and weight_decay not below 0")

    def config(self, dataset: Dataset) -> SpikformerConfig:
        """The network for a data set; the set's stem brings its images to the token grid."""
        return SpikformerConfig(
            image_channels=dataset.train.images.shape[1],
            image_size=dataset.train.images.shape[2],
            timesteps=self.timesteps,
            sps_channels=tuple(self.width // divisor for divisor, _ in dataset.stem),
            sps_pools=tuple(pool for _, pool in dataset.stem),
            depth=self.depth,
            heads=self.heads,
            classes=dataset.classes,
            selector=self.selector,
            keep=self.keep,
            selector_seed=self.seed,
        )

    def command(self) -> str:
        """The command line that asks for this run, all options written out, to outlive a change of defaults."""
        options = [f" --{name.replace('_', '-')} {value}" for name, value in dataclasses.asdict(self).items()]
        return "sparsespike train" + "".join(options)


@dataclass
class _Run:
    """A training under way: what a checkpoint holds."""

    request: TrainRequest
    dataset: Dataset
    model: Spikformer
    optimiser: torch.optim.Optimizer
    masks: Masks
    early: dict[str, Tensor]
    round: int
    epoch: int
    history: list[dict[str, float]]

    def save(self, path: Path) -> None:
        save_checkpoint(
            {
                "request": dataclasses.asdict(self.request),
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "random": torch.get_rng_state(),
            }
            | {name: getattr(self, name) for name in _PLAIN_STATE},
            path,
        )


def train(request: TrainRequest, out: str | Path) -> Path:
    """Train, prune and rewind as asked; returns the path of the last round's ticket, `out`/ticket.safetensors.

    Every round leaves round_<r>.safetensors; `training.pt` holds the state after each epoch. Called again with the same
    request and folder, it goes on where it stopped and ends with the same tickets as an unbroken run.
    Raises UserError for an unknown data set, a folder that cannot be written or that holds another request's training.
    """
    out = Path(out)
    dataset = load_data(request.data)
    threads = torch.get_num_threads()
    torch.set_num_threads(request.threads)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
        ):
            run = _start(request, dataset, out)
            steps = (request.rounds + 1) * request.epochs * _steps(run)
            task = progress.add_task(f"training on {dataset.name}", total=steps)
            progress.update(task, completed=len(run.history) * _steps(run))
            _train_round(run, out, lambda: progress.advance(task))
            while run.round < request.rounds:
                _next_round(run, out)
                _train_round(run, out, lambda: progress.advance(task))
    finally:
        torch.set_num_threads(threads)
    return out / TICKET_FILE


def _start(request: TrainRequest, dataset: Dataset, out: Path) -> _Run:
    """A fresh run, or the one that `out` holds."""
    torch.manual_seed(request.seed)
    model = Spikformer(request.config(dataset))
    run = _Run(request, dataset, model, _optimiser(model, request), full_masks(model), {}, 0, 0, [])
    path = out / STATE_FILE
    if not path.exists():
        run.save(path)  # also finds out at once whether the folder can be written
        return run
    state = load_checkpoint(path)
    missing = {"request", "model", "optimiser", "random", *_PLAIN_STATE} - set(state)
    if missing:
        raise UserError(f"{path}: not the state of a training ({', '.join(sorted(missing))} missing)")
    asked, there = dataclasses.asdict(request), state["request"]
    other = [f"{key} {there.get(key)!r}, not {asked[key]!r}" for key in asked if there.get(key) != asked[key]]
    if other:
        raise UserError(f"{out}: holds a training with {', '.join(other)}; take another folder or remove it")
    model.load_state_dict(state["model"])
    run.optimiser.load_state_dict(state["optimiser"])
    for name in _PLAIN_STATE:
        setattr(run, name, state[name])
    torch.set_rng_state(state["random"])
    return run


def _optimiser(model: Spikformer, request: TrainRequest) -> torch.optim.Optimizer:
    weights = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": weights, "weight_decay": request.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=request.learning_rate)


def _steps(run: _Run) -> int:
    """Batches per epoch; a last batch that is not full is left out, since its statistics would be poorer."""
    return max(1, len(run.dataset.train.labels) // run.request.batch)


def _rate(request: TrainRequest, step: int, steps: int) -> float:
    """Learning rate: linear warm-up over the first epoch of the round, then a cosine."""
    total = request.epochs * steps
    warm = min(1.0, (step + 1) / steps)
    return request.learning_rate * warm * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / total)))


def _train_round(run: _Run, out: Path, advance: Callable[[], None]) -> None:
    """Train to the end of the round and leave its ticket."""
    request = run.request
    if run.round == 0 and request.rewind == 0 and not run.early:
        run.early = snapshot(run.model)
    while run.epoch < request.epochs:
        loss = _train_epoch(run, advance)
        run.epoch += 1
        if run.round == 0 and run.epoch == request.rewind:
            run.early = snapshot(run.model)
        accuracy = float_accuracy(run.model, run.dataset.validation)
        run.history.append({"round": run.round, "epoch": run.epoch, "loss": loss, "validation": accuracy})
        run.save(out / STATE_FILE)
        write_text(out / HISTORY_FILE, json.dumps(run.history, indent=1))
    ticket = _finish_round(run)
    save_ticket(ticket, out / f"round_{run.round}.safetensors")
    if run.round == request.rounds:
        save_ticket(ticket, out / TICKET_FILE)


def _next_round(run: _Run, out: Path) -> None:
    """Prune the survivors, rewind, and start with a fresh optimiser."""
    run.masks = prune_survivors(dict(run.model.named_parameters()), run.masks, run.request.prune)
    rewind(run.model, run.early, run.masks)
    run.optimiser = _optimiser(run.model, run.request)
    run.round, run.epoch = run.round + 1, 0
    run.save(out / STATE_FILE)


def _train_epoch(run: _Run, advance: Callable[[], None]) -> float:
    """One pass over the training images; returns the mean loss."""
    request, split, steps = run.request, run.dataset.train, _steps(run)
    order = torch.randperm(len(split.labels)).numpy()
    run.model.train()
    total = 0.0
    for index in range(steps):
        for group in run.optimiser.param_groups:
            group["lr"] = _rate(request, run.epoch * steps + index, steps)
        chosen = order[index * request.batch : (index + 1) * request.batch]
        reach = run.dataset.shift
        shifts = torch.randint(-reach, reach + 1, (len(chosen), 2)).numpy()
        images = torch.from_numpy(shifted(split.images[chosen], shifts))
        loss = _loss(run.model, images, torch.from_numpy(split.labels[chosen]))
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        run.optimiser.step()
        apply_masks(run.model, run.masks)  # the optimiser's momentum would move pruned weights off 0
        total += loss.item()
        advance()
    return total / steps


def _loss(model: Spikformer, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with label smoothing; a learned selector adds its token-ratio loss."""
    output = model(images)
    loss = F.cross_entropy(output.logits, labels, label_smoothing=LABEL_SMOOTHING)
    if output.masks and model.config.selector == "learned":
        loss = loss + TOKEN_RATIO_WEIGHT * token_ratio_loss(output.masks, model.config.keep)
    return loss


def _finish_round(run: _Run) -> Ticket:
    """The round's ticket, with its accuracies in the provenance."""
    request, dataset = run.request, run.dataset
    ticket = make_ticket(run.model, run.masks, calibrate(run.model, dataset.train.images))
    record: dict[str, Any] = {
        "data": dataset.name,
        "data_source": dataset.source,
        "command": request.command(),
        "seed": request.seed,
        "round": run.round,
        "epochs_per_round": request.epochs,
        "float_validation_accuracy": f"{float_accuracy(run.model, dataset.validation):.4f}",
        "float_test_accuracy": f"{float_accuracy(run.model, dataset.test):.4f}",
        "integer_test_accuracy": f"{integer_accuracy(ticket, dataset.test):.4f}",
        "test_images": len(dataset.test.labels),
        "sparsity_of_prunable": f"{ticket.sparsity:.4f}",
        "sparsity_of_all": f"{ticket.sparsity_all:.4f}",
    }
    return dataclasses.replace(ticket, provenance={key: str(value) for key, value in record.items()})
