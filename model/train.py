"""The one training loop: rounds of training, pruning and rewinding, resumed where they were interrupted."""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from ..simulator.errors import UserError
from ..simulator.files import checksum, write_text
from .calibrate import calibrate
from .checkpoint import listed, load_checkpoint, save_checkpoint
from .data import Dataset, augmented, load_data
from .evaluate import float_accuracy, integer_accuracy
from .losses import DISTILLATION_WEIGHT, TOKEN_RATIO_WEIGHT, classification_loss, distillation_loss, mixed, taught
from .pruning import Masks, apply_masks, full_masks, prune_survivors, prune_to, rewind, snapshot
from .request import TrainRequest
from .schedule import learning_rate, mixes, sparsity_at
from .selector import token_ratio_loss
from .settle import settle_norms
from .spikformer import Spikformer
from .start import begin_with, find_trained, teacher_of
from .ticket import Ticket, make_ticket, save_ticket
from .training_state import PLAIN, faults, faults_of_kind

STATE_FILE, HISTORY_FILE, TICKET_FILE = "training.pt", "history.json", "ticket.safetensors"
CALIBRATION_IMAGES = 10_000


@dataclass
class _Run:
    """A training under way: what a checkpoint holds, and the frozen teacher."""

    request: TrainRequest
    dataset: Dataset
    model: Spikformer
    teacher: Spikformer | None
    optimiser: torch.optim.Optimizer
    masks: Masks
    early: dict[str, Tensor]
    given: dict[str, str]  # checksums of what it depends on: `data`, `start`, `teacher`
    round: int = 0
    epoch: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Batches per epoch; a last batch that is not full is left out, since its statistics would be poorer."""
        return max(1, len(self.dataset.train.labels) // self.request.batch)

    def save(self, path: Path) -> None:
        save_checkpoint(
            {
                "request": dataclasses.asdict(self.request),
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "random": torch.get_rng_state(),
                "device_random": torch.cuda.get_rng_state() if self.request.device == "cuda" else None,
            }
            | {name: getattr(self, name) for name in PLAIN},
            path,
        )


def train(request: TrainRequest, out: str | Path, data_folder: str | Path | None = None) -> Path:
    """Train, prune and rewind as asked; returns the path of the last round's ticket, `out`/ticket.safetensors.

    Every round leaves round_<r>.safetensors; `training.pt` holds the state after each epoch. Called again with the same
    request and folder, it goes on where it stopped; on a CPU its tickets and history end with the same bytes as an
    unbroken run's. A history that is gone is written again; an earlier round's ticket that is gone is missed on stderr.
    data_folder: where the files of the data set lie.
    Raises UserError for an unknown data set, a folder that cannot be written or that holds another request's training
    or a damaged state, a loss that is no number, and where the device's memory does not suffice.
    """
    out = Path(out)
    dataset = load_data(request.data, data_folder)
    if request.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': torch finds no such device here; take 'cpu'")
    try:
        with _torch_settings(request), Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
            run = _start(request, dataset, out)
            for sentence in _mend(run, out):
                bars.console.print(f"warning: {sentence}", markup=False, highlight=False, soft_wrap=True)
            steps = (request.rounds + 1) * request.epochs * run.steps
            done = len(run.history) * run.steps
            bar = _Bar(bars, bars.add_task(f"training on {dataset.name}", total=steps, completed=done))
            _train_round(run, out, bar)
            while run.round < request.rounds:
                _next_round(run, out)
                _train_round(run, out, bar)
    except torch.OutOfMemoryError:
        raise UserError(
            f"device {request.device!r}: out of memory; lower --batch (now {request.batch}), --width or --timesteps. "
            f"{out} keeps the state after the last whole epoch"
        ) from None
    return out / TICKET_FILE


@dataclass
class _Bar:
    """The progress bar: batches done, and what is going on."""

    progress: Progress
    task: TaskID

    def advance(self) -> None:
        self.progress.advance(self.task)

    def doing(self, what: str) -> None:
        self.progress.update(self.task, description=what)


@contextmanager
def _torch_settings(request: TrainRequest) -> Iterator[None]:
    """The threads asked for, random numbers of one's own, and float32 products that are float32 on a GPU, too."""
    threads, tf32 = torch.get_num_threads(), (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    torch.set_num_threads(request.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.random.fork_rng(enabled=True):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def _start(request: TrainRequest, dataset: Dataset, out: Path) -> _Run:
    """A fresh run, or the one that `out` holds."""
    torch.manual_seed(request.seed)
    model = Spikformer(request.config(dataset))
    masks, teacher, given = full_masks(model), None, {"data": _data_checksum(dataset)}
    if request.start:
        path, trained = find_trained(request.start, model.config)
        masks, given["start"] = begin_with(model, path, trained), trained.sha256
    if request.teacher:
        path, trained = find_trained(request.teacher, model.config)
        teacher, given["teacher"] = teacher_of(path, trained, model.config).to(request.device), trained.sha256
    model.to(request.device)
    masks = {name: mask.to(request.device) for name, mask in masks.items()}
    run = _Run(request, dataset, model, teacher, _optimiser(model, request), masks, {}, given)
    state = out / STATE_FILE
    if state.exists():
        _go_on(run, state)
    else:
        run.save(state)  # also finds out at once whether the folder can be written
    return run


def _data_checksum(dataset: Dataset) -> str:
    """SHA-256 over images, labels and positions of all splits."""
    splits = {name: vars(getattr(dataset, name)) for name in ("train", "validation", "test")}
    arrays = {f"{name}/{part}": array for name, split in splits.items() for part, array in split.items()}
    return checksum(arrays, {})


def _go_on(run: _Run, path: Path) -> None:
    """Put a run into the state that it was saved in. Raises UserError where the file is another run's, or damaged."""
    state = load_checkpoint(path)
    _refuse_damaged(path, faults_of_kind(state))
    asked, there = dataclasses.asdict(run.request), state["request"]
    other = [f"{key} {there.get(key)!r}, not {asked[key]!r}" for key in asked if there.get(key) != asked[key]]
    other += [f"another file as {key}" for key, digest in run.given.items() if state["given"].get(key) != digest]
    if other:
        raise UserError(f"{path.parent}: holds a training with {', '.join(other)}; take another folder or remove it")
    _refuse_damaged(path, faults(state, run.request, run.model, run.optimiser, run.masks))
    run.model.load_state_dict(state["model"])
    groups = run.optimiser.state_dict()["param_groups"]  # follow from the request, all but the rate, set at each step
    run.optimiser.load_state_dict({"state": state["optimiser"]["state"], "param_groups": groups})
    for name in PLAIN:
        setattr(run, name, state[name])
    for kept in (run.masks, run.early):
        kept.update({name: tensor.to(run.request.device) for name, tensor in kept.items()})
    try:
        torch.set_rng_state(state["random"])
        if run.request.device == "cuda":
            torch.cuda.set_rng_state(state["device_random"])
    except RuntimeError as error:  # torch alone knows which bytes make a generator
        _refuse_damaged(path, [f"random: {str(error).partition(chr(10))[0]}"])


def _refuse_damaged(path: Path, found: list[str]) -> None:
    """Raise UserError where a state has faults."""
    if found:
        raise UserError(
            f"{path}: not the state of a training, or damaged: {listed(found, 5)}; remove the file to start anew"
        )


def _mend(run: _Run, out: Path) -> list[str]:
    """Write the history again as the state knows it; returns a sentence on what is gone and cannot be had again."""
    if run.history:
        write_text(out / HISTORY_FILE, json.dumps(run.history, indent=1))
    gone = [name for name in map(_round_file, range(run.round)) if not (out / name).exists()]
    if not gone:
        return []
    return [
        f"{out}: {listed(gone)} missing; {STATE_FILE} does not hold the weights of earlier rounds, so that only the "
        "same training in another folder makes them again"
    ]


def _round_file(index: int) -> str:
    return f"round_{index}.safetensors"


def _optimiser(model: Spikformer, request: TrainRequest) -> torch.optim.Optimizer:
    weights = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": weights, "weight_decay": request.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=request.learning_rate)


def _train_round(run: _Run, out: Path, bar: _Bar) -> None:
    """Train to the end of the round and leave its ticket."""
    request = run.request
    if run.round == 0 and request.rewind == 0 and not run.early:
        run.early = snapshot(run.model)
    bar.doing(f"round {run.round}: training")
    while run.epoch < request.epochs:
        began = time.monotonic()
        loss = _train_epoch(run, bar.advance)
        run.epoch += 1
        if not math.isfinite(loss):
            raise UserError(
                f"{out}: the loss is no number in round {run.round}, epoch {run.epoch}; lower --learning-rate (now "
                f"{request.learning_rate}), in another folder; the state before this epoch is kept"
            )
        if run.round == 0 and run.epoch == request.rewind:
            run.early = snapshot(run.model)
        accuracy = float_accuracy(run.model, run.dataset.validation)
        run.history.append({"round": run.round, "epoch": run.epoch, "loss": loss, "validation": accuracy})
        run.seconds += time.monotonic() - began
        # History first: where a kill parts the two, the epoch is trained once more and writes the same line.
        write_text(out / HISTORY_FILE, json.dumps(run.history, indent=1))
        run.save(out / STATE_FILE)
    ticket = _finish_round(run, bar.doing)
    save_ticket(ticket, out / _round_file(run.round))
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
    """One pass over the training images; returns the mean loss, or at once one that is no finite number."""
    request, split, steps = run.request, run.dataset.train, run.steps
    order = torch.randperm(len(split.labels)).numpy()
    run.model.train()
    total = 0.0
    for index in range(steps):
        step = run.epoch * steps + index
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(request, step, steps)
        sparsity = sparsity_at(request, step, steps)
        if sparsity is not None:
            run.masks = prune_to(dict(run.model.named_parameters()), run.masks, sparsity)
            apply_masks(run.model, run.masks)
        chosen = order[index * request.batch : (index + 1) * request.batch]
        images = torch.from_numpy(augmented(split.images[chosen], run.dataset.augmentation)).to(request.device)
        loss = _loss(run, images, torch.from_numpy(split.labels[chosen]).to(request.device))
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        run.optimiser.step()
        apply_masks(run.model, run.masks)  # the optimiser's momentum would move pruned weights off 0
        total += loss.item()
        if not math.isfinite(total):
            return total
        advance()
    sound = all(bool(parameter.isfinite().all()) for parameter in run.model.parameters())
    return total / steps if sound else math.nan  # the last step's update shows in no loss of the epoch


def _loss(run: _Run, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch; a learned selector adds its token-ratio loss, a teacher its distillation."""
    request, share = run.request, 1.0
    if mixes(request, run.epoch):
        images, share = mixed(images, request.mixup)
    with torch.autocast(request.device, torch.bfloat16, enabled=request.precision == "bfloat16"):
        output = run.model(images)
        teacher = taught(run.teacher, images) if run.teacher else None
    logits = output.logits.float()
    loss = classification_loss(logits, labels, request.smoothing, share)
    if output.masks and request.selector == "learned":
        loss = loss + TOKEN_RATIO_WEIGHT * token_ratio_loss(output.masks, request.keep)
    if teacher is not None:
        loss = loss + DISTILLATION_WEIGHT * distillation_loss(logits, teacher.float())
    return loss


def _finish_round(run: _Run, doing: Callable[[str], None]) -> Ticket:
    """The round's ticket, with its accuracies in the provenance; `doing` is told what is going on."""
    request, dataset, model = run.request, run.dataset, run.model
    known = dataset.train.images[:CALIBRATION_IMAGES]
    doing(f"round {run.round}: calibrating")
    if request.neuron == "relu":
        settle_norms(model, known)
    ticket = make_ticket(model, run.masks, calibrate(model, known))
    doing(f"round {run.round}: testing")
    record: dict[str, Any] = {
        "data": dataset.name,
        "data_source": dataset.source,
        "command": request.command(),
        "seed": request.seed,
        "round": run.round,
        "epochs_per_round": request.epochs,
        **{f"{key}_sha256": digest for key, digest in run.given.items() if key != "data"},
        "float_validation_accuracy": f"{float_accuracy(model, dataset.validation):.4f}",
        "float_test_accuracy": f"{float_accuracy(model, dataset.test):.4f}",
        "integer_test_accuracy": f"{integer_accuracy(ticket, dataset.test):.4f}",
        "test_images": len(dataset.test.labels),
        "sparsity_of_prunable": f"{ticket.sparsity:.4f}",
        "sparsity_of_all": f"{ticket.sparsity_all:.4f}",
    }
    return dataclasses.replace(ticket, provenance={key: str(value) for key, value in record.items()})
