"""Run a trace on a chip: place it, walk through images and layers, and collect what happened."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import phase
from . import verify as checking
from .activity import Action, Activity, Cause
from .capacity import kept_count, worked_count
from .counts import attention_order, count_layer, count_transfers
from .dram import Channel
from .hardware import Chip
from .kernels.encoder import Flits
from .phase import Work, encode_phase, list_work
from .placement import LayerPlan, Placement, hidden_weights, place
from .trace import Attention, Head, Pool, Select, Trace
from .verify import Tally


@dataclass
class _Record:
    """What `run` fills, layer by layer; becomes an Activity."""

    placement: Placement
    cycles: NDArray[np.int64] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    causes: NDArray[np.int64] = field(init=False)
    synaptic_events: NDArray[np.int64] = field(init=False)
    spikes: NDArray[np.int64] = field(init=False)
    busy: NDArray[np.int64] = field(init=False)  # accumulate cycles [layers, cores]

    def __post_init__(self) -> None:
        layers, trace = len(self.placement.plans), self.placement.trace
        self.cycles = np.zeros((trace.images, layers), np.int64)
        self.counts = np.zeros((layers, len(Action)), np.int64)
        self.causes = np.zeros((layers, len(Cause)), np.int64)
        self.synaptic_events = np.zeros(layers, np.int64)
        self.spikes = np.zeros(layers, np.int64)
        self.busy = np.zeros((layers, self.placement.chip.cores), np.int64)


@dataclass(frozen=True)
class _Timing:
    """A layer on an image, without DRAM: cycles, and causes int64[cores, Cause] that sum to them on every core."""

    cycles: int
    causes: NDArray[np.int64]


def run(
    trace: Trace,
    chip: Chip,
    *,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Activity:
    """Simulate every image of a trace on a chip.

    verify: the chip also computes its own potentials, spikes, kept tokens and logits from the flits that arrive.
    progress: called with (images done, images) after each image.
    Raises UserError for what does not fit (rule P4), and where verification finds a difference.
    """
    placement = place(trace, chip)
    tally = Tally() if verify else None
    if verify:
        checking.check_verifiable(trace)
    channel, record = Channel(placement, trace.images), _Record(placement)
    for image in range(trace.images):
        count_transfers(channel, image, record.counts)
        for index in range(len(placement.plans)):
            ended = channel.end_of_layer
            start = channel.begin(image, index)
            timing = _run_layer(placement, index, image, record, tally)
            end = channel.end(image, index, start + timing.cycles)
            record.cycles[image, index] = end - ended
            record.causes[index] += timing.causes.sum(axis=0)
            record.causes[index, Cause.DRAM] += (end - ended - timing.cycles) * chip.cores
        if progress is not None:
            progress(image + 1, trace.images)
    return _activity(record, tally)


def _activity(record: _Record, tally: Tally | None) -> Activity:
    placement = record.placement
    mean = record.busy.mean(axis=1)
    imbalance = np.divide(record.busy.max(axis=1), mean, out=np.ones(len(mean)), where=mean > 0)
    return Activity(
        layers=tuple(plan.layer.name for plan in placement.plans),
        cores=placement.chip.cores,
        counts=record.counts,
        cycles=record.cycles,
        causes=record.causes,
        synaptic_events=record.synaptic_events,
        spikes=record.spikes,
        imbalance=imbalance,
        saturations=0 if tally is None else tally.clipped,
        verified=None if tally is None else tally.result(),
    )


def _tokens(placement: Placement, plan: LayerPlan, image: int, skip: bool) -> NDArray[np.int64]:
    """G3: tokens of a layer, ascending; those that were kept where `skip`, and for the head."""
    selector = plan.layer.selector if skip or isinstance(plan.layer, Head) else -1
    return np.flatnonzero(placement.trace.kept_mask(selector, plan.source.tokens)[image])


def _run_layer(placement: Placement, index: int, image: int, record: _Record, tally: Tally | None) -> _Timing:
    """Time one layer on one image, count its actions, and check its numbers where asked."""
    plan, chip, trace = placement.plans[index], placement.chip, placement.trace
    policy = chip.token_unit.policy
    work = list_work(chip, _tokens(placement, plan, image, policy == "skip"), trace.numerics.timesteps)
    flits = None if plan.phase is None else encode_phase(placement, plan, image, work)
    sums = None if tally is None else checking.new_sums(placement, plan)
    if flits is not None:
        timing = _time_phase(placement, plan, work, flits, sums)
    elif isinstance(plan.layer, Pool):
        timing = _time_pool(placement, plan)
    else:
        timing = _time_input(placement, plan)
        if sums is not None:
            checking.convolve_pixels(placement, plan, image, sums)
    if tally is not None and sums is not None:
        checking.compare(placement, plan, image, _compared_tokens(plan, work), sums, tally)
    if policy == "gate" and plan.layer.selector >= 0:
        work = list_work(chip, _tokens(placement, plan, image, True), trace.numerics.timesteps)
        flits = None if flits is None else encode_phase(placement, plan, image, work)
    counted = count_layer(placement, plan, image, work, flits)
    record.counts[index] += counted.actions
    record.synaptic_events[index] += counted.synaptic_events
    record.spikes[index] += counted.spikes
    record.busy[index] += timing.causes[:, [Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH]].sum(axis=1)
    return timing


def _compared_tokens(plan: LayerPlan, work: Work) -> NDArray[np.int64]:
    """Token ids of the target that the layer computed."""
    if isinstance(plan.layer, Pool):
        assert plan.target is not None
        return np.arange(plan.target.tokens)
    return work.tokens


def _time_phase(
    placement: Placement, plan: LayerPlan, work: Work, flits: Flits, sums: NDArray[np.int64] | None
) -> _Timing:
    """Rules N and C, then T2 or A2 behind them."""
    outcome = phase.run(placement, plan, work, flits, sums)
    if isinstance(plan.layer, Select):
        return _all_wait(placement.chip, outcome.cycles + selector_cycles(placement, plan), Cause.SELECTOR)
    if isinstance(plan.layer, Attention):
        return _all_wait(placement.chip, outcome.cycles + attention_cycles(placement, plan), Cause.ATTENTION)
    causes = np.zeros((placement.chip.cores, len(Cause)), np.int64)
    causes[:, Cause.BARRIER] = outcome.cycles
    assert plan.phase is not None
    cores = plan.phase.consumer_cores
    causes[cores] = outcome.causes
    return _Timing(outcome.cycles, causes)


def _all_wait(chip: Chip, cycles: int, cause: Cause) -> _Timing:
    causes = np.zeros((chip.cores, len(Cause)), np.int64)
    causes[:, cause] = cycles
    return _Timing(cycles, causes)


def selector_cycles(placement: Placement, plan: LayerPlan) -> int:
    """T2: scoring, ranking, and writing the keep bitmap."""
    layer, unit = plan.layer, placement.chip.token_unit
    assert isinstance(layer, Select)
    candidates = kept_count(placement.trace, layer, plan.source.tokens)
    cycles = -(-plan.source.tokens // unit.scan_width)
    if layer.hidden is not None:
        hidden = layer.hidden.output_channels
        cycles += candidates * (-(-hidden_weights(placement.chip, layer) // unit.macs) - (-hidden // unit.macs))
    if layer.form != "random":
        cycles += candidates * -(-candidates // unit.comparators)
    return cycles


def attention_cycles(placement: Placement, plan: LayerPlan) -> int:
    """A2, A3: both products and the sweep, on the unit with most heads."""
    layer, unit, trace = plan.layer, placement.chip.attention, placement.trace
    assert isinstance(layer, Attention)
    width = plan.source.channels // 3 // layer.heads
    queries = worked_count(trace, placement.chip, layer, plan.source.tokens)
    keys = kept_count(trace, layer, plan.source.tokens)
    if attention_order(placement, plan) == "qk_first":
        products = 2 * -(-queries * keys * width // unit.width)
    else:
        products = -(-keys * width * width // unit.width) - (-queries * width * width // unit.width)
    sweep = -(-queries * width // unit.sweep_width)
    heads = -(-layer.heads // unit.units)
    return trace.numerics.timesteps * heads * (products + sweep)


def _time_pool(placement: Placement, plan: LayerPlan) -> _Timing:
    """S1."""
    groups = -(-plan.owned // placement.chip.core.sweep_width)
    sweep = placement.trace.numerics.timesteps * plan.source.tokens * groups
    causes = np.zeros((placement.chip.cores, len(Cause)), np.int64)
    causes[:, Cause.NEURON_SWEEP] = sweep
    causes[:, Cause.BARRIER] = sweep.max() - sweep
    return _Timing(int(sweep.max()), causes)


def _time_input(placement: Placement, plan: LayerPlan) -> _Timing:
    """I1, I2: the input convolution."""
    core, stored = placement.chip.core, plan.stored
    assert stored is not None
    compute = -(-stored.costs.entries // core.input_macs)
    fetch_wait = np.maximum(stored.costs.fetch - compute, 0)
    control = np.where((compute == 0) & (fetch_wait == 0) & (plan.owned > 0), 1, 0)
    tokens = np.bincount(stored.taps.border, minlength=len(stored.taps.valid))
    times = np.repeat(tokens, plan.source.channels)
    sweep = placement.trace.numerics.timesteps * plan.source.tokens * -(-plan.owned // core.sweep_width)
    causes = np.zeros((placement.chip.cores, len(Cause)), np.int64)
    causes[:, Cause.COMPUTE] = times @ compute
    causes[:, Cause.WEIGHT_FETCH] = times @ fetch_wait
    causes[:, Cause.CONTROL] = times @ control
    causes[:, Cause.NEURON_SWEEP] = sweep
    busy = causes.sum(axis=1)
    causes[:, Cause.BARRIER] = busy.max() - busy
    return _Timing(int(busy.max()), causes)
