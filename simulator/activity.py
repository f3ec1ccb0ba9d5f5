"""What a run did: integer counts of actions per layer, cycles per image and layer, and the causes of every core cycle.

This is the border between timing and energy: the event loop fills it, `energy.price` multiplies it with a table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray


class _Zero(IntEnum):
    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return count

    @property
    def key(self) -> str:
        """The name as it stands in reports and energy tables."""
        return self.name.lower()


class Action(_Zero):
    """Everything that costs energy when it happens; the unit of a count in brackets."""

    WEIGHT_READ = auto()  # [word] of a weight bank, index bits and padding included
    WEIGHT_WRITE = auto()  # [word] weights arriving from DRAM
    POINTER_READ = auto()  # [word of 32 bits] start and end of a row
    POINTER_WRITE = auto()  # [word of 32 bits] pointers arriving from DRAM
    ADD = auto()  # [addition] weight to accumulator in a lane, spike value 1
    MULTIPLY_ADD = auto()  # [operation] weight x value to accumulator: graded spikes, real input, activations
    ACCUMULATOR_UPDATE = auto()  # [accumulator] read, modified and written back
    NEURON_UPDATE = auto()  # [neuron] shift, two additions, comparison; other leaks and resets come on top
    POTENTIAL_READ = auto()  # [word of sweep_width membrane potentials]
    POTENTIAL_WRITE = auto()  # [word of sweep_width membrane potentials]
    SPIKE_READ = auto()  # [bit] of spike memory, residual values included
    SPIKE_WRITE = auto()  # [bit] of spike memory
    POOL_OR = auto()  # [bit] of a pooling window
    FLIT_HOP = auto()  # [flit x link] one flit over one link between routers
    BUFFER_WRITE = auto()  # [flit] into a router's input buffer
    BUFFER_READ = auto()  # [flit] granted to one output
    FIFO_WRITE = auto()  # [flit] into the event FIFO of a core or unit
    FIFO_READ = auto()  # [flit] out of it
    SCAN = auto()  # [bit] of the keep bitmap
    FEATURE_UPDATE = auto()  # [feature] read, added to and written back in the token unit
    SELECTOR_MAC = auto()  # [operation] 8-bit multiply-accumulate of the scorer
    SCORE_COMPARE = auto()  # [comparison] of two scores
    OPERAND_WRITE = auto()  # [bit] of q, k or v
    OPERAND_READ = auto()  # [bit] of q, k or v
    AND_POPCOUNT = auto()  # [bit] AND of two spikes, counted
    ATTENTION_ADD = auto()  # [addition] of an integer gated by a spike, or of 1 where two spikes meet
    DRAM_READ = auto()  # [byte] whole bursts
    DRAM_WRITE = auto()  # [byte] whole bursts
    REQUANTISE = auto()  # [sum] ReLU of a quantised ANN: times a multiplier, rounded, shifted, clipped to 8 bits
    POOL_MAX = auto()  # [value] of a pooling window, compared: an activation, or a graded spike
    ATTENTION_MAC = auto()  # [operation] 8-bit multiply-accumulate of two operands of an ANN's attention
    LEAK_MULTIPLY = auto()  # [neuron] potential times an 8-bit decay that no shift or wire is
    RESET_SUBTRACT = auto()  # [neuron] subtraction of what a spike takes off, worked out in every update
    POOL_ADD = auto()  # [value] of a pooling window, added to its sum


class Cause(_Zero):
    """Why a core spent a cycle; exactly one is charged for each (C9), so that they add up to cycles x cores."""

    COMPUTE = auto()  # lanes adding
    BANK_CONFLICT = auto()  # two weights of a lane group want one accumulator bank
    WEIGHT_FETCH = auto()  # waiting for the words of a row
    CONTROL = auto()  # an end-of-token flit or an empty row
    GRANT_WAIT = auto()  # no context free for the step of the next flit
    FIFO_EMPTY = auto()  # the next flit is not sent yet: keep bitmap scanned, spike memory read
    NETWORK = auto()  # the next flit is on its way
    NEURON_SWEEP = auto()  # nothing left to accumulate, neurons still being updated
    BARRIER = auto()  # done, waiting for other cores
    IDLE = auto()  # takes no part in the layer
    SELECTOR = auto()  # waiting for the token unit
    ATTENTION = auto()  # waiting for the attention units
    DRAM = auto()  # waiting for weights, pixels or spilled data


@dataclass(frozen=True)
class Activity:
    """The result of a run, in integers.

    layers: names, in order.
    counts: int64[layers, Action], summed over images.
    cycles: int64[images, layers], from the end of the layer before (L9 where layers overlap); sums to the whole run.
    latency: int64[images], cycles from the beginning of an image to its end; `cycles` where images do not overlap.
    causes: int64[layers, Cause], core cycles summed over images; sums to cycles x cores.
    synaptic_events: int64[layers], a spike meeting one surviving weight, counted once per spike value 1; a pixel or an
        activation counts once.
    spikes: int64[layers], input events of the layer as the trace has them, on the tokens that it works on.
    imbalance: float64[layers], largest over mean cycles of row service (R4, without CONTROL); 1 where there are none.
    placed: float64[layers], largest over mean of the weights stored on a core; 1 for layers without.
    critical: the unit of each layer that is busy longest (K2).
    cuts: first channel (or token) of each core and the end, by the name of each layer that runs on cores (P1, P2).
    verified: spikes and logits compared and found equal, or None where nothing was compared.
    bound: nothing was stepped: `cycles` and `latency` are lower bounds (section B), `causes` what is known of them; all
        else is as it would be.
    brief: only layers, cores, counts, cycles, latency and synaptic events are there, the others are empty (brief.py).
    """

    layers: tuple[str, ...]
    cores: int
    counts: NDArray[np.int64]
    cycles: NDArray[np.int64]
    latency: NDArray[np.int64]
    causes: NDArray[np.int64]
    synaptic_events: NDArray[np.int64]
    spikes: NDArray[np.int64]
    imbalance: NDArray[np.float64]
    placed: NDArray[np.float64]
    critical: tuple["Critical", ...]
    cuts: Mapping[str, tuple[int, ...]]
    saturations: int = 0
    verified: "Verified | None" = None
    bound: bool = False
    brief: bool = False

    @property
    def total_cycles(self) -> int:
        """Cycles of the whole run, all images."""
        return int(self.cycles.sum())

    def count(self, action: Action) -> int:
        """An action's count over all layers."""
        return int(self.counts[:, action].sum())


@dataclass(frozen=True)
class Critical:
    """The unit that holds a layer up most: its kind (row service by its main cause) and its busy cycles (K1)."""

    resource: str
    cycles: int


@dataclass(frozen=True)
class Verified:
    """What `--verify` compared: all of it was equal, or `simulate` would have raised."""

    neurons: int  # membrane potentials computed over all timesteps, each giving a spike or none; or activations
    spikes: int  # spikes (or activations above 0) among them, and of pools
    tokens: int  # candidates that selectors kept or dropped
    logits: int
