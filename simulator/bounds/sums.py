"""What a phase takes at least by sums over all its steps, for all images at once: looser than a walk, faster (B11)."""

import numpy as np
from numpy.typing import NDArray

from ..phase import scan_cycles, sweep_length, sweeps_of
from ..placement import LayerPlan, Placement
from .earliest import list_image
from .packing import pack

Cycles = NDArray[np.int64]


def sum_phase(placement: Placement, plan: LayerPlan) -> Cycles:
    """int64[images], cycles of a phase at least, where all consumers take every step: the busiest unit's, K1."""
    phase, s = plan.phase, placement.chip.flit_cycles
    assert phase is not None
    steps, closed, last = _count_steps(placement, plan)
    events, expected = _count_events(placement, plan), phase.expected.astype(np.int64)
    served = _service(plan, events) + steps[:, None] * expected
    length = sweep_length(placement, plan)
    cycles = np.maximum((served + last[:, None] * length).max(axis=1) + s + 5, closed * length.max() + s + 6)
    if phase.consumers.of_channel is None:
        flits = events.sum(axis=(1, 2)) + steps * expected[0]
        cycles = np.maximum(cycles, s * flits + 6)  # output L of a consumer
    if not phase.senders.by_token:
        cycles = np.maximum(cycles, _encoders(plan, events, steps) + _scans(placement, plan) + s + 4)
    return np.where(steps > 0, cycles, 0)


def _count_steps(placement: Placement, plan: LayerPlan) -> Cycles:
    """int64[3, images]: steps, what they close, and what the last one closes (C4); kept with the trace."""
    chip, kept = placement.chip, placement.trace.derived
    key = ("steps", plan.layer.name, chip.token_unit.policy, chip.core.order, chip.core.time_batch)
    if key not in kept:
        sweeps = [sweeps_of(plan, list_image(placement, plan, image)) for image in range(placement.trace.images)]
        kept[key] = np.array([[len(one), one.sum(), one[-1:].sum()] for one in sweeps], np.int64).T
    counts: Cycles = kept[key]
    return counts


def _scans(placement: Placement, plan: LayerPlan) -> Cycles:
    """T4: int64[images], cycles of a producer's scans."""
    images = placement.trace.images
    if placement.chip.token_unit.policy != "skip" or plan.layer.selector < 0:
        return np.zeros(images, np.int64)
    works = [list_image(placement, plan, image) for image in range(images)]
    return np.array([scan_cycles(placement, plan, work).sum() for work in works], np.int64)


def _count_events(placement: Placement, plan: LayerPlan) -> Cycles:
    """int64[images, batch, kinds]: event flits with n = 1 … batch timesteps; of the trace, so kept with it."""
    assert plan.phase is not None
    trace, source, chip = placement.trace, plan.source, placement.chip
    policy, largest = chip.token_unit.policy, plan.phase.senders.largest
    key = ("events", plan.layer.name, plan.batch, largest, policy)
    if key not in trace.derived:
        packed = pack(trace, source, plan.batch, largest)
        classes = 1 if plan.stored is None else len(plan.stored.taps.valid)
        border = np.zeros(source.tokens, np.int64) if plan.stored is None else plan.stored.taps.border.astype(np.int64)
        length = np.diff(packed.start)
        worked = np.zeros((trace.images, source.tokens), np.bool_)
        for number, mask in enumerate(worked):
            mask[list_image(placement, plan, number).tokens] = True
        rows = len(length) // trace.images
        image, row = np.divmod(np.arange(len(length)), rows)
        token = row % source.tokens
        there = np.repeat(worked[image, token], length)
        at = (image * plan.batch * classes + border[token]) * source.channels
        kinds = classes * source.channels
        place = np.repeat(at, length) + packed.channel
        if len(packed.active):
            place += (packed.active.astype(np.int64) - 1) * kinds
        counts = np.bincount(place[there], minlength=trace.images * plan.batch * kinds)
        trace.derived[key] = counts.reshape(trace.images, plan.batch, kinds)
    events: Cycles = trace.derived[key]
    return events


def _service(plan: LayerPlan, events: Cycles) -> Cycles:
    """R4, C2: int64[images, consumers], service of the event flits; float64 products are exact below 2^53."""
    assert plan.phase is not None
    images, consumers = len(events), plan.phase.consumers
    if plan.stored is not None:
        table = plan.stored.costs.service[:, :, plan.stored.columns[consumers.cores]].reshape(-1, len(consumers.cores))
        return (events.reshape(images, -1).astype(np.float64) @ table.astype(np.float64)).astype(np.int64)
    timesteps = np.einsum("ink,n->ik", events, np.arange(1, plan.batch + 1))
    unit = np.zeros(plan.source.channels, np.int64) if consumers.of_channel is None else consumers.of_channel
    goes = unit[:, None] == np.arange(len(consumers.routers))
    return timesteps @ goes.astype(np.int64)


def _encoders(plan: LayerPlan, events: Cycles, steps: Cycles) -> Cycles:
    """E1, E2: int64[images], the busiest encoder without its scans: a word takes a cycle, and a flit does."""
    assert plan.phase is not None
    senders = plan.phase.senders
    channels = events.sum(axis=1).reshape(len(events), -1, plan.source.channels).sum(axis=1)
    owned = senders.producer[:, None] == np.arange(len(senders.words))
    flits = (channels.astype(np.float64) @ owned.astype(np.float64)).astype(np.int64)
    looks = np.maximum(steps[:, None] * senders.words, flits)
    busy: Cycles = (looks + steps[:, None] * (1 + np.diff(senders.end_start))).max(axis=1)
    return busy
