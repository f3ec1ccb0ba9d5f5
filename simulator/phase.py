"""One layer's events on one image: its steps, its flits, its sweeps (rules G, F, T4, C4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .hardware import Chip
from .kernels.encoder import Flits, Rows, encode
from .kernels.totals import Totals, add_flits
from .placement import LayerPlan, Placement
from .trace import Conv, Head, Linear, Pool

NO_VALUES = np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Work:
    """The steps of a layer on an image (G3, G4): int64[steps] each; tokens: int64[tokens], ascending.

    first: the first timestep of the step's batch.  length: timesteps in it.
    """

    tokens: NDArray[np.int64]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    token: NDArray[np.int64]


def list_tokens(placement: Placement, plan: LayerPlan, image: int, counted: bool = False) -> NDArray[np.int64]:
    """G3: tokens that a layer works on, ascending; `counted`: those that count (T5: with `gate` the kept ones)."""
    policy = placement.chip.token_unit.policy
    skips = policy == "skip" or isinstance(plan.layer, Head) or (counted and policy == "gate")
    selector = plan.layer.selector if skips else -1
    return np.flatnonzero(placement.trace.kept_mask(selector, plan.source.tokens)[image])


def list_made(plan: LayerPlan, work: Work) -> NDArray[np.int64]:
    """int64[outputs]: places of the target that a layer makes: all of them behind a window, else those it works on."""
    if isinstance(plan.layer, (Conv, Pool)):
        assert plan.target is not None
        return np.arange(plan.target.tokens)
    return work.tokens


def list_work(chip: Chip, tokens: NDArray[np.int64], timesteps: int) -> Work:
    """The steps in the chip's order."""
    first = np.arange(0, timesteps, chip.core.time_batch)
    if chip.core.order == "time_outer":
        first, token = np.repeat(first, len(tokens)), np.tile(tokens, len(first))
    else:
        first, token = np.tile(first, len(tokens)), np.repeat(tokens, len(first))
    return Work(tokens, first, np.minimum(chip.core.time_batch, timesteps - first), token)


def scan_cycles(placement: Placement, plan: LayerPlan, work: Work) -> NDArray[np.int32]:
    """T4: cycles of reading the keep bitmap in front of each step."""
    chip, phase = placement.chip, plan.phase
    assert phase is not None
    scan = np.zeros(len(work.token), np.int32)
    if chip.token_unit.policy != "skip" or plan.layer.selector < 0 or not len(scan):
        return scan
    gaps = np.diff(work.tokens, prepend=-1)
    if phase.senders.by_token:
        producer = phase.senders.producer[work.tokens]
        new = np.diff(producer, prepend=-1) != 0
        gaps[new] = work.tokens[new] - phase.first_token[producer[new]] + 1
    cycles = -(-gaps // chip.token_unit.scan_width)
    batches = len(scan) // len(work.tokens)
    if chip.core.order == "time_outer":
        return np.tile(cycles, batches).astype(np.int32)
    scan[::batches] = cycles
    return scan


def encode_phase(placement: Placement, plan: LayerPlan, work: Sequence[tuple[int, Work]]) -> Flits:
    """F1: every producer's flits, in order, for the steps of one (image, work) after the other."""
    assert plan.phase is not None
    assert plan.source.events is not None
    events = plan.source.events
    values = NO_VALUES if events.values is None else events.values
    parts = [_list_rows(placement, plan, image, steps) for image, steps in work]
    rows = Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return Flits(*encode(rows, events.channels, values, plan.source.channels, plan.phase.senders))


def _list_rows(placement: Placement, plan: LayerPlan, image: int, work: Work) -> Rows:
    """The stream's events in the order of the steps."""
    assert plan.source.events is not None
    offsets, tokens = plan.source.events.offsets, plan.source.tokens
    timestep = work.first[:, None] + np.arange(plan.batch)
    row = (image * placement.trace.numerics.timesteps + timestep) * tokens + work.token[:, None]
    there = np.arange(plan.batch) < work.length[:, None]
    row = np.where(there, row, 0)
    border = np.zeros(len(row), np.int32)
    if plan.stored is not None:
        border = plan.stored.taps.border[work.token]
    return Rows(
        np.where(there, offsets[row], 0), np.where(there, offsets[row + 1], 0), work.token.astype(np.int32), border
    )


def total_flits(plan: LayerPlan, flits: Flits) -> Totals:
    """What a phase's flits add up to."""
    assert plan.phase is not None
    phase, trees = plan.phase, len(plan.phase.trees.masks)
    kinds = plan.source.channels if plan.stored is None else plan.stored.costs.words.shape[0]
    apart = phase.consumers.of_token is not None
    places = len(phase.consumers.routers) if apart else 1
    place = np.searchsorted(phase.consumers.routers, phase.trees.leaf_of) if apart else np.zeros(trees, np.int64)
    sizes = [(places, plan.batch, kinds), kinds, kinds, kinds, trees, len(phase.producers), len(phase.producers)]
    totals = Totals(*(np.zeros(size, np.int64) for size in sizes))
    add_flits(flits, place, totals)
    return totals


def consumer_of(plan: LayerPlan, work: Work) -> NDArray[np.int64] | None:
    """int64[steps]: the consumer that alone takes the step; None where all of them take every step (P3)."""
    assert plan.phase is not None
    of_token = plan.phase.consumers.of_token
    return None if of_token is None else of_token[work.token]


def sweep_cycles(placement: Placement, plan: LayerPlan, work: Work) -> NDArray[np.int64]:
    """int64[consumers]: cycles of all sweeps of a phase (C4)."""
    length, sweeps, alone = sweep_length(placement, plan), sweeps_of(plan, work), consumer_of(plan, work)
    if alone is None:
        return length * sweeps.sum()
    return length * np.bincount(alone, weights=sweeps, minlength=len(length)).astype(np.int64)


def sweeps_of(plan: LayerPlan, work: Work) -> NDArray[np.int64]:
    """C4: int64[steps], timesteps x words, for each group of neurons, that the sweep of each step reads."""
    sweeps = np.zeros(len(work.token), np.int64)
    if isinstance(plan.layer, Conv):
        assert plan.stored is not None
        return plan.stored.taps.sweeps[work.token] * work.length
    if isinstance(plan.layer, Linear):
        return work.length
    if isinstance(plan.layer, Head):
        sweeps[-1:] = 1
    return sweeps


def sweep_length(placement: Placement, plan: LayerPlan) -> NDArray[np.int64]:
    """C4: int64[consumers], cycles per timestep and output that a sweep reads: groups of neurons."""
    assert plan.phase is not None
    if plan.stored is None:
        return np.zeros(len(plan.phase.consumers.routers), np.int64)
    return -(-plan.owned[plan.phase.consumers.cores] // placement.chip.core.sweep_width)
