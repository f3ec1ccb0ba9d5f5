"""What a layer costs a peer."""

from collections.abc import Callable
from dataclasses import dataclass

from .workload import Work


@dataclass(frozen=True)
class Cost:
    """Clock cycles and DRAM traffic of a layer on an image.

    cycles: of its product or attention, stalls of the memory among them.  neuron_cycles: what its neurons add.
    SATO's are no whole number where the logarithm of the timesteps is none.
    dram_bits: both directions; None where the model has no DRAM.
    """

    cycles: int
    neuron_cycles: float
    dram_bits: int | None = None

    @property
    def total(self) -> float:
        """Cycles of the layer with its neurons."""
        return self.cycles + self.neuron_cycles


Peer = Callable[[Work], Cost]  # what the next layer of an image costs an accelerator; a new one for each image


def up(amount: int, size: int) -> int:
    """ceil(amount / size)"""
    return -(-amount // size)
