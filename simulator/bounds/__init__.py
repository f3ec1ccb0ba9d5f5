"""Lower bounds of cycles without stepping through them: of each layer, and of the whole run (section B)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..dram import Channel
from ..hardware import Chip
from ..layer_time import attention_cycles, selector_cycles, time_job
from ..placement import LayerPlan, Placement, place
from ..trace import Attention, Select, Trace
from .earliest import Walk
from .pipelined import bound_pipeline
from .sums import sum_phase


@dataclass(frozen=True)
class Bounds:
    """Cycles that a run takes at least.

    layers: names, in order.
    alone: int64[images, layers], what a layer takes by itself (B6): never above `Activity.cycles`. With `pipelined`,
        where layers overlap, nothing is known of a layer alone: 0.
    ends: int64[images, layers], the cycle before which a layer, and all before it, cannot have ended (B7, B8): never
        above the running sum of `Activity.cycles`, images after one another.
    latency: int64[images], from the beginning of an image to its end: never above `Activity.latency`.
    """

    layers: tuple[str, ...]
    alone: NDArray[np.int64]
    ends: NDArray[np.int64]
    latency: NDArray[np.int64]

    @property
    def cycles(self) -> NDArray[np.int64]:
        """int64[images, layers], what each layer adds to `ends`; sums to `total_cycles`."""
        return np.diff(self.ends.reshape(-1), prepend=0).reshape(self.ends.shape)

    @property
    def total_cycles(self) -> int:
        """Of the whole run, all images."""
        return int(self.ends[-1, -1])


def bound(
    trace: Trace, chip: Chip, cuts: Mapping[str, Iterable[int]] | None = None, *, stepwise: bool = True
) -> Bounds:
    """Lower bounds of the cycles of a trace on a chip.

    cuts: as in `engine.run`.  stepwise: False is looser and faster (B11), but not with `pipelined`.
    Raises UserError for what does not fit (rules P3, P4, L1, L2).
    """
    return bound_placed(place(trace, chip, cuts), stepwise=stepwise)


def bound_placed(placement: Placement, channel: Channel | None = None, *, stepwise: bool = True) -> Bounds:
    """The same for a trace that is placed already; takes time for its events, not for its cycles.

    channel: the placement's, before its first cycle; it is run through.
    """
    names = tuple(plan.layer.name for plan in placement.plans)
    if placement.chip.schedule == "pipelined":
        ends, latency = bound_pipeline(placement)
        return Bounds(names, np.zeros_like(ends), ends, latency)
    images = placement.trace.images
    computed = np.stack([bound_layer(placement, plan, stepwise) for plan in placement.plans], axis=1)
    alone, ends = computed.copy(), np.zeros((images, len(names)), np.int64)
    channel = channel or Channel(placement, images)
    for image in range(images):
        for index, cycles in enumerate(computed[image].tolist()):
            start = channel.begin(image, index)
            ends[image, index] = channel.end(image, index, start + cycles)
            spilled = 2 * placement.chip.in_bursts(channel.spills[image][index])
            alone[image, index] = max(cycles, placement.chip.dram_cycles(spilled))
    latency = alone.sum(axis=1)
    latency[0] = ends[0, -1]
    return Bounds(names, alone, ends, latency)


def bound_layer(placement: Placement, plan: LayerPlan, stepwise: bool) -> NDArray[np.int64]:
    """B6: int64[images], cycles of a layer on each image at least, once its weights are there."""
    images = placement.trace.images
    if plan.phase is None:
        return np.full(images, time_job(placement, plan).cycles)
    if stepwise or plan.phase.consumers.of_token is not None:
        walk = Walk.of(placement, plan)
        cycles = np.array([walk.through(image) for image in range(images)], np.int64)
    else:
        cycles = sum_phase(placement, plan)
    if isinstance(plan.layer, Select):
        cycles = cycles + selector_cycles(placement, plan)
    elif isinstance(plan.layer, Attention):
        cycles = cycles + int(attention_cycles(placement, plan).max()) + 2
    return cycles
