"""Run a trace on a chip: place it, walk through images and layers, and collect what happened."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import verify as checking
from .activity import Action, Activity, Cause
from .bounds import bound_placed
from .busy import Busy
from .counts import count_layer, count_transfers
from .dram import Channel
from .errors import UserError
from .hardware import Chip
from .kernels.totals import Totals
from .layer_time import add_busy, know_layer, time_job, time_layer
from .observer import LogWatch, Observer, Stage, Watch
from .phase import Work, encode_phase, list_tokens, list_work, total_flits
from .pipelined import Pipeline, account, build_pipeline, check_arrivals, run_pipeline
from .placement import LayerPlan, Placement, place
from .program import Part
from .trace import Trace
from .verify import Tally

Sent = tuple[Work, Totals | None]

NOTHING_MOVES = "bound: no flit moves in a lower bound, so that there is nothing to verify and no timeline"
LOGGED_BITS = 63  # of a flit in the event log
SERVED = [Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH]  # what row service is made of, without CONTROL


@dataclass
class _Record:
    """What `run` fills, layer by layer; becomes an Activity."""

    placement: Placement
    cycles: NDArray[np.int64] = field(init=False)
    latency: NDArray[np.int64] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)
    causes: NDArray[np.int64] = field(init=False)
    synaptic_events: NDArray[np.int64] = field(init=False)
    spikes: NDArray[np.int64] = field(init=False)
    busy: list[Busy] = field(init=False)

    def __post_init__(self) -> None:
        layers, trace = len(self.placement.plans), self.placement.trace
        self.cycles = np.zeros((trace.images, layers), np.int64)
        self.latency = np.zeros(trace.images, np.int64)
        self.counts = np.zeros((layers, len(Action)), np.int64)
        self.causes = np.zeros((layers, len(Cause)), np.int64)
        self.synaptic_events = np.zeros(layers, np.int64)
        self.spikes = np.zeros(layers, np.int64)
        self.busy = [Busy(self.placement) for _ in range(layers)]


def run(
    trace: Trace,
    chip: Chip,
    *,
    verify: bool = False,
    bound: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cuts: Mapping[str, Iterable[int]] | None = None,
    watch: Watch | None = None,
    observer: Observer | None = None,
) -> Activity:
    """Simulate every image of a trace on a chip.

    bound: do not step; `cycles` and `latency` are then lower bounds (section B), `causes` what is known of them (row
        service and closed formulas), all else as it would be. It cannot be verified, and nothing can be watched.
    verify: the chip also computes its own potentials, spikes, kept tokens and logits from the flits that arrive.
    progress: called with (images done, images) after each image.
    cuts: the first channel (or token) of each core and the end, by layer name, in place of the automatic cuts (P1).
    watch: called with (image, layer, log) after each phase, log as `eventlog.read_log` takes it; with `pipelined` once.
    observer: see observer.py; in place of `watch`.
    Raises UserError for what does not fit (rules P3, P4, L1, L2), for a replay that is to be verified, and where
    verification finds a difference.
    """
    if bound and (verify or watch is not None or observer is not None):
        raise UserError(NOTHING_MOVES)
    if observer is None:
        observer = Observer() if watch is None else LogWatch(watch)
    if observer.reads_log and chip.flit_bits > LOGGED_BITS:
        keys = "mesh.tree_bits, mesh.channel_bits, mesh.value_bits or core.time_batch"
        raise UserError(
            f"chip {chip.name!r}: a flit has {chip.flit_bits} bits, but the event log, of which timelines are made, "
            f"holds {LOGGED_BITS}; lower {keys}"
        )
    if verify:
        checking.check_verifiable(trace)
    placement = place(trace, chip, cuts)
    observer.see_placement(placement)
    tally = Tally() if verify else None
    record, channel = _Record(placement), Channel(placement, trace.images)
    done = progress or (lambda images, all_images: None)
    if bound:
        bounds = bound_placed(placement)
        record.cycles[:], record.latency[:] = bounds.cycles, bounds.latency
    elif chip.schedule == "pipelined":
        pipeline = _run_pipelined(record, tally, observer)
    for image in range(trace.images):
        count_transfers(channel, image, record.counts)
        for index in range(len(placement.plans)):
            sent: Sent | None
            if bound:
                sent = _know_layer(record, index, image)
            elif chip.schedule == "layerwise":
                sent = _run_layer(record, channel, index, image, tally, observer)
            else:
                sent = _sent_alone(pipeline, index)
            record.busy[index].dram += channel.busy(image, index)
            _count_layer(record, index, image, sent)
        done(image + 1, trace.images)
    observer.see_end(int(record.cycles.sum()), channel.moved)
    return _activity(record, tally, bound)


def _activity(record: _Record, tally: Tally | None, bound: bool) -> Activity:
    placement = record.placement
    served = np.array([busy.rows[:, SERVED].sum(axis=1) for busy in record.busy])
    stored = np.array([_stored_weights(plan) for plan in placement.plans])
    return Activity(
        layers=tuple(plan.layer.name for plan in placement.plans),
        cores=placement.chip.cores,
        counts=record.counts,
        cycles=record.cycles,
        latency=record.latency,
        causes=record.causes,
        synaptic_events=record.synaptic_events,
        spikes=record.spikes,
        imbalance=_largest_over_mean(served),
        placed=_largest_over_mean(stored),
        critical=tuple(busy.critical() for busy in record.busy),
        cuts={plan.layer.name: tuple(plan.cut.bounds.tolist()) for plan in placement.plans if plan.cut is not None},
        saturations=0 if tally is None else tally.clipped,
        verified=None if tally is None else tally.result(),
        bound=bound,
    )


def _largest_over_mean(loads: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[layers] of int64[layers, cores]; 1 where there is no load."""
    mean = loads.mean(axis=1)
    return np.divide(loads.max(axis=1), mean, out=np.ones(len(mean)), where=mean > 0)


def _stored_weights(plan: LayerPlan) -> NDArray[np.int64]:
    """int64[cores]: weights that a core stores of a layer; zeros too in `dense`."""
    if plan.stored is None:
        return np.zeros(len(plan.owned), np.int64)
    rows = plan.stored.rows.weights.sum(axis=0, dtype=np.int64)[plan.stored.columns]
    return np.where(plan.owned > 0, rows, 0)


def _run_layer(
    record: _Record, channel: Channel, index: int, image: int, tally: Tally | None, observer: Observer
) -> Sent:
    """Time one layer on one image behind its weights, and check its numbers where asked (D4, D5)."""
    placement = record.placement
    plan, chip = placement.plans[index], placement.chip
    work = list_work(chip, list_tokens(placement, plan, image), placement.trace.numerics.timesteps)
    part = None if plan.phase is None else Part(plan, (work,), encode_phase(placement, plan, [(image, work)]))
    ended, start = channel.end_of_layer, channel.begin(image, index)
    busy, verify = record.busy[index], tally is not None
    timing = time_layer(placement, plan, part, busy, keep=verify, logged=observer.wants_log(start))
    end = channel.end(image, index, start + timing.cycles)
    record.cycles[image, index] = end - ended
    record.latency[image] += end - ended
    record.causes[index] += timing.causes.sum(axis=0)
    record.causes[index, Cause.DRAM] += (end - ended - timing.cycles) * chip.cores
    observer.see_layer(Stage(image, index, work, timing, ended, start, end))
    if tally is not None:
        outcome = timing.outcome
        came = None if outcome is None else (outcome.flits, outcome.arrivals, 0, 0)
        checking.check_layer(placement, plan, image, work, came, tally)
    return work, None if part is None else part.totals


def _know_layer(record: _Record, index: int, image: int) -> Sent:
    """What is known of a layer on an image without stepping through it."""
    placement = record.placement
    plan = placement.plans[index]
    work = list_work(placement.chip, list_tokens(placement, plan, image), placement.trace.numerics.timesteps)
    part = None if plan.phase is None else Part(plan, (work,), encode_phase(placement, plan, [(image, work)]))
    record.causes[index] += know_layer(placement, plan, part, record.busy[index]).sum(axis=0)
    return work, None if part is None else part.totals


def _run_pipelined(record: _Record, tally: Tally | None, observer: Observer) -> Pipeline:
    """All layers and images at once, then what it came to (section L)."""
    placement = record.placement
    images = placement.trace.images
    pipeline = build_pipeline(placement, images)
    outcome = run_pipeline(pipeline, keep=tally is not None, logged=observer.wants_log(0))
    result = account(pipeline, outcome, images)
    record.cycles[:] = result.cycles
    record.latency[:] = result.latency
    record.causes[:] = result.causes.sum(axis=1)
    for index, (plan, busy) in enumerate(zip(placement.plans, record.busy, strict=True)):
        part = pipeline.parts.get(index)
        busy.rows += images * time_job(placement, plan).causes if part is None else result.causes[index]
        add_busy(busy, plan, part, images)
    observer.see_pipeline(pipeline, outcome)
    for image in range(images if tally is not None else 0):
        for index in range(len(placement.plans)):
            assert tally is not None
            check_arrivals(pipeline, outcome, index, image, tally)
    return pipeline


def _sent_alone(pipeline: Pipeline, index: int) -> Sent | None:
    """What a layer of a pipeline sent for its only image; None where there are more, whose flits lie together."""
    part = pipeline.parts.get(index)
    return (part.work[0], part.totals) if part is not None and len(part.work) == 1 else None


def _count_layer(record: _Record, index: int, image: int, sent: Sent | None) -> None:
    """Count what a layer does with the tokens that count (W): those `sent`, where that is known, but under `gate`."""
    placement = record.placement
    plan = placement.plans[index]
    if sent is None or placement.chip.token_unit.policy == "gate":
        tokens = list_tokens(placement, plan, image, counted=True)
        work = list_work(placement.chip, tokens, placement.trace.numerics.timesteps)
        flits = None if plan.phase is None else encode_phase(placement, plan, [(image, work)])
        sent = work, None if flits is None else total_flits(plan, flits)
    counted = count_layer(placement, plan, [image], [sent[0]], sent[1])
    record.counts[index] += counted.actions
    record.synaptic_events[index] += counted.synaptic_events
    record.spikes[index] += counted.spikes
