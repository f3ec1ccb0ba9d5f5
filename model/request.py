"""What a training run depends on, and the named recipes that its options default to."""

import dataclasses
import math
import shlex
from dataclasses import dataclass
from typing import Any

from ..simulator.errors import UserError, nearest
from .config import SpikformerConfig
from .data import Dataset

PRECISIONS = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda")

# Values of `TrainRequest` that differ from its defaults.
RECIPES: dict[str, dict[str, Any]] = {
    # Lottery-ticket rounds as in the paper, of a few epochs each: minutes for a small network.
    "rounds": {},
    # As the paper and its code train Spikformer-4-384 on CIFAR-10: 15 x 300 epochs. The dense network that the sparse
    # one begins with and learns from is another training's, named by `start` and `teacher`.
    "paper": {
        "data": "cifar10",
        "rounds": 14,
        "epochs": 300,
        "rewind": 20,
        "warm_up": 20,
        "batch": 64,
        "learning_rate": 5e-4,
        "last_rate": 0.02,
        "mixup": 0.5,
        "width": 384,
        "heads": 12,
        "activation": "gelu",
        "precision": "bfloat16",
    },
    # One round in which the sparsity rises step by step: one training instead of ten, but no lottery ticket.
    "gradual": {"sparsity": 0.9, "epochs": 20, "batch": 64, "learning_rate": 2e-3, "precision": "bfloat16"},
}


@dataclass(frozen=True)
class TrainRequest:
    """Everything that a training run depends on; the options of `sparsespike train`.

    rounds: pruning rounds after the dense round 0; each removes `prune` of the surviving weights and rewinds.
    sparsity: share of the weights that is gone at the end of a single round, rising as `schedule.sparsity_at` says.
    keep: share of tokens that each selector keeps; 1 means no selectors.  activation: of learned selectors.
    neuron: `relu` trains the quantised ANN twin, with timesteps = 1.
    rewind: epoch of round 0 whose weights every later round starts from.
    teacher: a ticket or official checkpoint whose logits are learned, too.  start: one whose weights are begun with.
    warm_up: epochs of a round in which the learning rate rises.  last_rate: its share that the cosine ends at.
    mixup: alpha of the Beta distribution, in the first two thirds of a round; 0 for none.
    precision: while training. bfloat16 is torch's autocast: products, currents behind batch norm, spikes, the residual
    stream, selector features and logits are bfloat16; potentials, weights, statistics and optimiser stay float32.
    width: embedding width D.  threads: torch's.  The last bits of the result depend on these, and on the device.
    """

    data: str = "digits"
    seed: int = 0
    rounds: int = 0
    prune: float = 0.25
    sparsity: float = 0.0
    keep: float = 0.7
    selector: str = "learned"
    activation: str = "relu"
    neuron: str = "lif"
    teacher: str = ""
    start: str = ""
    epochs: int = 12
    rewind: int = 2
    warm_up: int = 1
    batch: int = 32
    learning_rate: float = 5e-3
    last_rate: float = 0.01
    weight_decay: float = 0.06
    smoothing: float = 0.1
    mixup: float = 0.0
    width: int = 48
    depth: int = 4
    heads: int = 4
    timesteps: int = 4
    precision: str = "float32"
    device: str = "cpu"
    threads: int = 1

    @classmethod
    def of(cls, recipe: str, **given: Any) -> "TrainRequest":
        """A recipe's request, but for the values given. Raises UserError naming the nearest recipe."""
        if recipe not in RECIPES:
            raise UserError(f"unknown recipe {recipe!r}; {nearest(recipe, RECIPES)}")
        return cls(**(RECIPES[recipe] | given))

    def __post_init__(self) -> None:
        """Raise UserError naming the first impossible value."""
        least = {"seed": 0, "rounds": 0, "epochs": 1, "rewind": 0, "warm_up": 0, "batch": 2, "threads": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"{name} = {getattr(self, name)}: needs at least {low}")
        most = {"seed": 2**63 - 1, "threads": 1024}
        for name, high in most.items():
            if getattr(self, name) > high:
                raise UserError(f"{name} = {getattr(self, name)}: can be {high} at most")
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{name} = {value}: needs a finite number")
        if not 0 < self.prune < 1:
            raise UserError(f"prune = {self.prune}: the fraction removed per round must be between 0 and 1")
        for name in ("sparsity", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: must be at least 0 and below 1")
        if self.sparsity and self.rounds:
            raise UserError(f"sparsity = {self.sparsity} with rounds = {self.rounds}: prune gradually or in rounds")
        for name in ("rewind", "warm_up") if self.rounds else ("warm_up",):
            if getattr(self, name) > self.epochs:
                epochs = "is only 1 epoch" if self.epochs == 1 else f"are only {self.epochs} epochs"
                raise UserError(f"{name} = {getattr(self, name)}: there {epochs} in a round")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise UserError("learning_rate must be above 0 and weight_decay not below 0")
        if not 0 <= self.last_rate <= 1 or self.mixup < 0:
            raise UserError("last_rate must be between 0 and 1 and mixup not below 0")
        for name, allowed in (("precision", PRECISIONS), ("device", DEVICES)):
            value = str(getattr(self, name))
            if value not in allowed:
                raise UserError(f"{name} {value!r} is unknown; {nearest(value, allowed)}")

    def config(self, dataset: Dataset) -> SpikformerConfig:
        """The network for a data set; the set's stem brings its images to the token grid.

        Raises UserError where the width leaves a convolution of the stem without channels, and as the network's shape.
        """
        narrowest = max(divisor for divisor, _ in dataset.stem)
        if self.width < narrowest:
            raise UserError(f"width = {self.width}: {dataset.name} needs at least {narrowest}")
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
            neuron=self.neuron,
            activation=self.activation,
        )

    def command(self) -> str:
        """The command line that asks for this run, all options written out, to outlive a change of defaults."""
        options = [
            f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
            for name, value in dataclasses.asdict(self).items()
            if value != ""
        ]
        return "sparsespike train" + "".join(options)
