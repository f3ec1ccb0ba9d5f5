"""What works without a log on a timeline: input convolution, pools, selectors, attention; and spans of a pipeline."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..dram import Channel, Moved
from ..kernels.schedule import NONE
from ..layer_time import attention_cycles, selector_cycles, sweep_cycles_of_job, time_job
from ..pipelined import Pipeline, list_waits
from ..placement import LayerPlan, Placement
from ..program import Outcome
from ..trace import Attention, Pool, Select
from .chrome_trace import Events, named, slices
from .phase_slices import JOB, JOB_NEURONS, JOB_ROWS, NEURONS, ROWS, Ready, node_processes


def job_events(placement: Placement, plan: LayerPlan, begin: int) -> Iterator[Events]:
    """What a layer does behind its phase, or without one, from a cycle of the run on."""
    chip, layer, name = placement.chip, plan.layer, plan.layer.name
    process = node_processes(chip)
    if isinstance(layer, Select):
        token_unit = process[chip.service_routers[0]]
        yield slices(token_unit, JOB, begin, selector_cycles(placement, plan), named("select", name))
    elif isinstance(layer, Attention):
        cycles = attention_cycles(placement, plan)
        units = process[list(chip.service_routers[1:])]
        first = np.full(len(cycles), begin + 1)  # behind the first read of operands (A3)
        yield slices(units, JOB, first, cycles, named("attention", name))
    elif plan.phase is None:
        own = chip.schedule == "pipelined"  # with adders and ports of its own, beside the flits of other layers
        cores = process[list(chip.core_routers)]
        yield from _work(placement, plan, begin, cores, *((JOB_ROWS, JOB_NEURONS) if own else (ROWS, NEURONS)))


def _work(
    placement: Placement, plan: LayerPlan, begin: int, cores: NDArray[np.int64], rows: int, neurons: int
) -> Iterator[Events]:
    """I1: pixel by pixel the rows, then the outputs that it closes, in all timesteps. S1: one sweep."""
    tokens, name = plan.source.tokens, plan.layer.name
    if isinstance(plan.layer, Pool):
        first = np.full(len(cores), begin)
        yield slices(cores, neurons, first, sweep_cycles_of_job(placement, plan), named("pool", name))
        return
    sweep = placement.trace.numerics.timesteps * -(-plan.owned // placement.chip.core.sweep_width)
    assert plan.stored is not None
    service, taps = plan.stored.costs.service[0], plan.stored.taps
    classes = service.reshape(len(taps.valid), plan.source.channels, -1).sum(axis=1, dtype=np.int64)
    added = np.where(plan.owned > 0, classes[taps.border], 0)  # [tokens, cores]
    swept = taps.sweeps[:, None] * sweep
    end = begin + 1 + np.cumsum(added + swept, axis=0)  # behind the first look-up
    process, token = np.broadcast_to(cores, end.shape).reshape(-1), np.repeat(np.arange(tokens), len(cores))
    where = process, rows, (end - swept - added).reshape(-1), added.reshape(-1)
    yield slices(*where, named("pixel %d", name), token)
    where = process, neurons, (end - swept).reshape(-1), swept.reshape(-1)
    yield slices(*where, named("sweep behind pixel %d", name), token)


def pipelined_jobs(pipeline: Pipeline, outcome: Outcome) -> Iterator[Events]:
    """The jobs of a pipeline (L7)."""
    placement = pipeline.placement
    for (index, image), moment in pipeline.done.items():
        plan = placement.plans[index]
        if isinstance(plan.layer, Attention):
            cycles = attention_cycles(placement, plan)
            units = [unit for layer, of, unit in pipeline.made if (layer, of) == (index, image)]
            ends = outcome.known[[pipeline.made[index, image, unit] for unit in units]]
            routers = np.array(placement.chip.service_routers[1:])[units]
            process = node_processes(placement.chip)[routers]
            first = ends - cycles[units] - 1  # in front of the last write of potentials (A3)
            yield slices(process, JOB, first, cycles[units], named("attention", plan.layer.name))
        elif isinstance(plan.layer, Select):
            begin = int(outcome.known[moment]) - selector_cycles(placement, plan)
            yield from job_events(placement, plan, begin)
        elif index in pipeline.jobs:
            yield from job_events(placement, plan, int(outcome.known[moment]) - time_job(placement, plan).cycles)


def span_layers(pipeline: Pipeline, outcome: Outcome) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[images, layers] each: begin (its job's, or the grant of its first step) and end (L9)."""
    placement = pipeline.placement
    begins, ends = (np.zeros((placement.trace.images, len(placement.plans)), np.int64) for _ in range(2))
    for (index, image), moment in pipeline.done.items():
        plan, end = placement.plans[index], int(outcome.known[moment])
        if index in pipeline.jobs:
            begins[image, index], ends[image, index] = end - time_job(placement, plan).cycles, end
            continue
        part = pipeline.parts[index]
        step = sum(other.steps for at, other in pipeline.parts.items() if at < index)
        step += sum(len(work.token) for work in part.work[:image])
        begins[image, index] = max(pipeline.begin, int(outcome.granted[step]))
        ends[image, index] = end + (not isinstance(plan.layer, (Attention, Select)))
    return begins, ends


def list_moved(pipeline: Pipeline, outcome: Outcome) -> Iterator[Moved]:
    """What DRAM brings to a pipeline, in order (L3)."""
    placement = pipeline.placement
    images, end = placement.trace.images, 0
    channel = Channel(placement, images)
    for image in range(images):
        for one in channel.transfers(image):
            allowed = int(outcome.known[pipeline.done[one.layer, image - 1]]) if image else 0
            begin = max(end, allowed)
            end = begin + placement.chip.dram_cycles(one.bytes)
            yield Moved(image, one.layer, one.what, one.bytes, begin, end)


def list_ready(pipeline: Pipeline, outcome: Outcome) -> Ready:
    """L4: from when on each producer may begin each of its steps, grants apart."""
    found: dict[tuple[int, int], NDArray[np.int64]] = {}
    for at, (index, part) in enumerate(pipeline.parts.items()):
        assert part.plan.phase is not None
        visits = np.split(list_waits(pipeline, index), np.cumsum(part.totals.visits)[:-1])
        for router, waits in zip(part.plan.phase.producers.tolist(), visits, strict=True):
            found[router, at] = np.where(waits == NONE, pipeline.begin, outcome.known[waits]).max(axis=1)
    return found
