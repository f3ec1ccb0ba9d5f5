"""Schedule `pipelined`: each group of layers on cores of its own, all at work at once (rules L1 to L10)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .activity import Cause
from .dram import Channel
from .kernels.encoder import Flits
from .kernels.schedule import NONE, UNKNOWN, Jobs
from .layer_time import Timing, attention_cycles, selector_cycles, time_job
from .phase import consumer_of, encode_phase, list_tokens, list_work
from .placement import Placement
from .program import Outcome, Part, Ties, causes_of, number_steps, run
from .trace import Attention, Head, Pool, Select
from .verify import Tally, check_layer

Need = tuple[int, int]  # (moment, delay behind it)


@dataclass
class Web:
    """Moments, and the jobs and gates that hang on them (kernels/schedule.py); jobs' moments follow the releases."""

    releases: int
    length: list[int] = field(default_factory=list)
    unit: list[int] = field(default_factory=list)
    needs: list[list[Need]] = field(default_factory=list)
    gates: list[tuple[int, int, list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin = self.job(0, [])

    def job(self, length: int, needs: Sequence[Need], unit: int = NONE) -> int:
        """Add a job; returns the moment of its end."""
        self.length.append(length)
        self.unit.append(unit)
        self.needs.append(list(needs))
        return self.releases + len(self.length) - 1

    def arrays(self, units: int) -> Jobs:
        """For the event loop."""
        hanging: dict[int, list[tuple[int, int]]] = {}
        for job, needs in enumerate(self.needs):
            for moment, delay in needs:
                hanging.setdefault(moment, []).append((job, delay))
        for gate, (_, _, moments) in enumerate(self.gates):
            for moment in moments:
                hanging.setdefault(moment, []).append((NONE - gate, 0))
        count = self.releases + len(self.length)
        pairs = [pair for moment in sorted(hanging) for pair in hanging[moment]]
        start = np.zeros(count + 1, np.int64)
        for moment, here in hanging.items():
            start[moment + 1] = len(here)
        return Jobs(
            np.array(self.length, np.int64),
            np.array(self.unit, np.int32),
            np.array(pairs, np.int32).reshape(-1, 2),
            np.cumsum(start),
            np.array([gate[:2] for gate in self.gates], np.int32).reshape(-1, 2),
            np.array([len(needs) for needs in self.needs], np.int32),
            np.zeros(len(self.length), np.int64),
            np.zeros(units, np.int64),
            np.full(count, UNKNOWN, np.int64),
            np.zeros(count, np.int32),
        )


@dataclass(frozen=True)
class Pipeline:
    """All layers of a trace at work. parts: by layer, for those with steps. done: moment of (layer, image) (L8).

    jobs: moments of the jobs on cores, by layer, in the order of images (L7).  made: moment of what attention units
    made, by (layer, image, unit).
    """

    placement: Placement
    parts: dict[int, Part]
    web: Web
    release: dict[int, NDArray[np.int64]]  # by layer: moment of each consumer's first step
    done: dict[tuple[int, int], int]
    jobs: dict[int, list[int]]
    made: dict[tuple[int, int, int], int]
    begin: int


def build_pipeline(placement: Placement, images: int) -> Pipeline:
    """Everything that is to happen, and what it waits for."""
    trace, chip = placement.trace, placement.chip
    parts, release, moments = {}, {}, 0
    for index, plan in enumerate(placement.plans):
        if plan.phase is None:
            continue
        work = tuple(
            list_work(chip, list_tokens(placement, plan, image), trace.numerics.timesteps) for image in range(images)
        )
        parts[index] = Part(plan, work, encode_phase(placement, plan, list(enumerate(work))), index)
        steps = _steps_of_consumers(parts[index])
        release[index] = moments + np.cumsum([0, *steps])[:-1]
        moments += int(sum(steps))
    channel = Channel(placement, images)
    pipeline = Pipeline(placement, parts, Web(moments), release, {}, {}, {}, first_cycle(channel))
    for image in range(images):
        for index in range(len(placement.plans)):
            _add_layer(pipeline, channel, index, image)
    return pipeline


def first_cycle(channel: Channel) -> int:
    """L3: B."""
    cycles = sum(channel.placement.chip.dram_cycles(transfer.bytes) for transfer in channel.transfers(0))
    return cycles + 1 if cycles else 0


def _steps_of_consumers(part: Part) -> list[int]:
    """Steps that concern each consumer, over all images."""
    assert part.plan.phase is not None
    count = len(part.plan.phase.consumers.routers)
    return [part.steps] * count if part.alone is None else np.bincount(part.alone, minlength=count).tolist()


def _add_layer(pipeline: Pipeline, channel: Channel, index: int, image: int) -> None:
    """The jobs, gates and the end of one layer on one image (L7, L8)."""
    placement, web = pipeline.placement, pipeline.web
    plan = placement.plans[index]
    room = [pipeline.done[reader, image - 2] for reader in readers(placement, index) if image >= 2]
    if plan.phase is None:
        pipeline.done[index, image] = _add_job(pipeline, channel, index, image, room)
        return
    part = pipeline.parts[index]
    if isinstance(plan.layer, (Attention, Select, Head)) and image >= 1:
        room.append(pipeline.done[index, image - 1])
    last = _last_releases(pipeline, index, image)
    if room:
        before = _first_step(pipeline, index) + sum(len(work.token) for work in part.work[:image])
        web.gates.append((before, before + len(part.work[image].token), room))
    if isinstance(plan.layer, Select):
        pipeline.done[index, image] = web.job(selector_cycles(placement, plan), [(last[0], 1)], unit=0)
    elif isinstance(plan.layer, Attention):
        cycles = attention_cycles(placement, plan)
        ends = [web.job(int(cycles[unit]) + 2, [(moment, 1)], unit=1 + unit) for unit, moment in last.items()]
        for unit, end in zip(last, ends, strict=True):
            pipeline.made[index, image, unit] = end
        pipeline.done[index, image] = web.job(0, [(end, 0) for end in ends])
    else:
        pipeline.done[index, image] = web.job(0, [(moment, 0) for moment in last.values()])


def _add_job(pipeline: Pipeline, channel: Channel, index: int, image: int, room: Sequence[int]) -> int:
    """Input convolution and pool: the moment of its end (L7)."""
    placement, web = pipeline.placement, pipeline.web
    plan = placement.plans[index]
    needs = [(web.begin, 0), *((moment, 1) for moment in room)]
    before = [jobs[-1] for other, jobs in pipeline.jobs.items() if same_cores(placement, index, other)]
    needs += [(moment, 0) for moment in before]
    if isinstance(plan.layer, Pool):
        source = writer_of(placement, plan.layer.source)
        if source is not None:
            needs.append((pipeline.done[source, image], 1))
    elif image >= 1:
        pixels = sum(transfer.bytes for transfer in channel.transfers(image))
        cycles = placement.chip.dram_cycles(pixels)
        needs.append((web.job(cycles, [(pipeline.done[index, image - 1], 0)]), 1))
    end = web.job(time_job(placement, plan).cycles, needs)
    pipeline.jobs.setdefault(index, []).append(end)
    return end


def same_cores(placement: Placement, index: int, other: int) -> bool:
    """Whether two layers without steps run on the cores of one group."""
    plans = placement.plans
    return bool(((plans[index].owned > 0) & (plans[other].owned > 0)).any())


def readers(placement: Placement, index: int) -> Iterator[int]:
    """Layers that have the target of a layer as source or residual."""
    layers = placement.trace.layers
    target = layers[index].target
    return (at for at, layer in enumerate(layers) if target and target in (layer.source, layer.residual))


def writer_of(placement: Placement, stream: str) -> int | None:
    """The layer that makes a stream; None for the trace's own input."""
    return next((at for at, layer in enumerate(placement.trace.layers) if layer.target == stream), None)


def _first_step(pipeline: Pipeline, index: int) -> int:
    return sum(part.steps for at, part in pipeline.parts.items() if at < index)


def _last_releases(pipeline: Pipeline, index: int, image: int) -> dict[int, int]:
    """Moment of the last step of an image at each consumer that has one."""
    part, release = pipeline.parts[index], pipeline.release[index]
    alone = [consumer_of(part.plan, work) for work in part.work[: image + 1]]
    if alone[0] is None:
        steps = sum(len(work.token) for work in part.work[: image + 1])
        return {consumer: int(first) + steps - 1 for consumer, first in enumerate(release)}
    here = np.bincount(alone[-1], minlength=len(release)) if alone[-1] is not None else np.zeros(len(release), int)
    so_far = np.bincount(np.concatenate([one for one in alone if one is not None]), minlength=len(release))
    return {at: int(release[at] + so_far[at]) - 1 for at in range(len(release)) if here[at]}


def run_pipeline(pipeline: Pipeline, keep: bool, logged: bool) -> Outcome:
    """Everything at once."""
    placement, web = pipeline.placement, pipeline.web
    parts = list(pipeline.parts.values())
    if not parts:
        return _run_jobs(pipeline)
    steps = sum(part.steps for part in parts)
    gates = np.zeros(steps, np.int32)
    for first, stop, moments in web.gates:
        gates[first:stop] += len(moments)
    release = np.concatenate([np.zeros(0, np.int64), *pipeline.release.values()])
    jobs = web.arrays(1 + placement.chip.attention.units)
    waits = np.concatenate([list_waits(pipeline, index) for index in pipeline.parts])
    ties = Ties(jobs, gates, waits, pipeline.begin, release)
    return run(placement, parts, ties, keep=keep, logged=logged)


def _run_jobs(pipeline: Pipeline) -> Outcome:
    """Without any flit: jobs alone, each after those that it waits for."""
    known = [pipeline.begin]
    for length, needs in zip(pipeline.web.length[1:], pipeline.web.needs[1:], strict=True):
        known.append(max(known[moment] + delay for moment, delay in needs) + length)
    none = np.zeros(0, np.int64)
    nothing = Flits(none, none, none, none, none, none, none)
    log, arrivals = np.zeros((0, 4), np.int64), np.zeros((0, 2), np.int32)
    return Outcome(known[-1], np.zeros((0, 0), np.int64), 0, np.array(known), none, arrivals, nothing, log)


def list_waits(pipeline: Pipeline, index: int) -> NDArray[np.int32]:
    """L4: int32[visits, 2], what visits of producers to steps wait for: the source, and the selector.

    In the order of producers, then of steps.
    """
    part, placement = pipeline.parts[index], pipeline.placement
    assert part.plan.phase is not None
    selectors = [at for at, layer in enumerate(placement.trace.layers) if isinstance(layer, Select)]
    chosen = np.full(len(part.work), NONE)
    if part.plan.layer.selector >= 0:
        selector = selectors[part.plan.layer.selector]
        chosen = np.array([pipeline.done[selector, at] for at in range(len(part.work))])
    steps, producers, senders = _list_steps(part), part.plan.phase.producers, part.plan.phase.senders
    if senders.by_token:
        owner = senders.producer[steps.token]
        visited = np.argsort(owner, kind="stable")
        router = producers[owner[visited]]
    else:
        visited, router = np.tile(np.arange(part.steps), len(producers)), np.repeat(producers, part.steps)
    ready = _readiness(pipeline, part, router, _Steps(*(column[visited] for column in steps)))
    return np.stack([ready, chosen[steps.image[visited]]], axis=1).astype(np.int32)


class _Steps(NamedTuple):
    """Steps of a layer on all its images: int64[steps] each."""

    image: NDArray[np.int64]
    first: NDArray[np.int64]  # first timestep of its batch
    token: NDArray[np.int64]


def _list_steps(part: Part) -> _Steps:
    return _Steps(
        np.repeat(np.arange(len(part.work)), [len(work.token) for work in part.work]),
        np.concatenate([work.first for work in part.work]),
        np.concatenate([work.token for work in part.work]),
    )


def _readiness(pipeline: Pipeline, part: Part, router: NDArray[np.int32], steps: _Steps) -> NDArray[np.int64]:
    """ready of L4: the moment at which a node has written its part of a token in a batch; NONE: it always was there.

    router: int32[steps], that of the node.
    """
    placement = pipeline.placement
    writer = writer_of(placement, part.plan.source.name)
    if writer is None:
        return np.full(len(steps.token), NONE)
    layer = placement.trace.layers[writer]
    if writer in pipeline.jobs:
        return np.array(pipeline.jobs[writer])[steps.image]
    if isinstance(layer, Attention):
        unit = {at: number - 1 for number, at in enumerate(placement.chip.service_routers)}
        pairs = zip(steps.image.tolist(), router.tolist(), strict=True)
        return np.array([pipeline.made[writer, image, unit[at]] for image, at in pairs], np.int64)
    made = pipeline.parts[writer]
    assert made.plan.phase is not None
    consumer = np.searchsorted(made.plan.phase.consumers.routers, router)
    number = _number_closing(made, placement)
    assert made.plan.stored is not None
    closing = made.plan.stored.taps.closing[steps.token]
    return pipeline.release[writer][consumer] + number[steps.image, steps.first, closing]


def _number_closing(part: Part, placement: Placement) -> NDArray[np.int64]:
    """int64[images, timesteps, tokens]: number at its consumers, j of C6, of the step that begins with a timestep."""
    number = np.full((len(part.work), placement.trace.numerics.timesteps, part.plan.source.tokens), NONE)
    number[tuple(_list_steps(part))] = number_steps(part, placement.chip.core.contexts)[0]
    return number


@dataclass(frozen=True)
class Account:
    """What a run comes to.

    cycles: int64[images, layers] (L9).  latency: int64[images] (L9).  causes: int64[layers, cores, Cause] (L10).
    """

    cycles: NDArray[np.int64]
    latency: NDArray[np.int64]
    causes: NDArray[np.int64]


def account(pipeline: Pipeline, outcome: Outcome, images: int) -> Account:
    """Cycles by image and layer, causes by layer and core."""
    placement, layers = pipeline.placement, len(pipeline.placement.plans)
    cores = placement.chip.cores
    ends = np.zeros((images, layers), np.int64)
    for (index, image), moment in pipeline.done.items():
        plain = index in pipeline.parts and not isinstance(placement.plans[index].layer, (Attention, Select))
        ends[image, index] = outcome.known[moment] + plain
    latest = np.maximum.accumulate(ends.reshape(-1))
    cycles = np.diff(latest, prepend=0).reshape(images, layers)
    causes = np.zeros((layers, cores, len(Cause)), np.int64)
    causes[0, :, Cause.DRAM] = pipeline.begin
    consuming = np.zeros(cores, np.bool_)
    at = 0
    for index, part in pipeline.parts.items():
        assert part.plan.phase is not None
        consumers = part.plan.phase.consumers
        count = len(consumers.routers)
        if len(consumers.cores):
            causes[index, consumers.cores] += causes_of(part.plan, part.totals, outcome.spent[at : at + count])
            consuming[consumers.cores] = True
        at += count
    timings = {index: time_job(placement, placement.plans[index]) for index in pipeline.jobs}
    for core in np.flatnonzero(~consuming):
        _account_jobs(pipeline, outcome, timings, int(core), int(latest[-1]), causes)
    begins = [_first_begin(pipeline, outcome, timings, image) for image in range(images)]
    return Account(cycles, ends.max(axis=1) - begins, causes)


def _first_begin(pipeline: Pipeline, outcome: Outcome, timings: dict[int, Timing], image: int) -> int:
    """When a chip begins with an image: with its first job, or with the grant of its first step (L9)."""
    if 0 in pipeline.jobs:
        return int(outcome.known[pipeline.jobs[0][image]]) - timings[0].cycles
    before = sum(len(work.token) for work in pipeline.parts[0].work[:image])
    return max(pipeline.begin, int(outcome.granted[before]))


def _account_jobs(
    pipeline: Pipeline, outcome: Outcome, timings: dict[int, Timing], core: int, end: int, causes: NDArray[np.int64]
) -> None:
    """L10 of a core that takes no flits: its group's jobs, and the waiting in between. timings: of each layer's job."""
    plans = pipeline.placement.plans
    free, last = pipeline.begin, 0
    if not any(plans[index].owned[core] for index in pipeline.jobs):
        causes[0, core, Cause.IDLE] += end - free
        return
    near = next(index for index in pipeline.jobs if plans[index].owned[core])
    mine = {index: moments for index, moments in pipeline.jobs.items() if same_cores(pipeline.placement, near, index)}
    ends = sorted((int(outcome.known[moment]), index) for index, moments in mine.items() for moment in moments)
    for done, index in ends:
        timing = timings[index]
        causes[index, core, Cause.BARRIER] += done - timing.cycles - free
        causes[index, core] += timing.causes[core]
        free, last = done, index
    causes[last, core, Cause.BARRIER] += end - free


def check_arrivals(pipeline: Pipeline, outcome: Outcome, index: int, image: int, tally: Tally) -> None:
    """Add up what came for a layer on an image, and demand equality."""
    placement, plan = pipeline.placement, pipeline.placement.plans[index]
    part = pipeline.parts.get(index)
    if part is None:
        work = list_work(placement.chip, list_tokens(placement, plan, image), placement.trace.numerics.timesteps)
        check_layer(placement, plan, image, work, None, tally)
        return
    step = _first_step(pipeline, index) + sum(len(work.token) for work in part.work[:image])
    consumer = sum(len(first) for at, first in pipeline.release.items() if at < index)
    check_layer(placement, plan, image, part.work[image], (outcome.flits, outcome.arrivals, step, consumer), tally)
