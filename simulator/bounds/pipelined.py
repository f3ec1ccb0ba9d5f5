"""Lower bounds of the schedule `pipelined`: images through layers, as early as what they wait for allows (B8)."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..busy import flits_of_ports
from ..dram import Channel
from ..kernels.router import PORTS
from ..layer_time import attention_cycles, selector_cycles, time_job
from ..phase import Work
from ..pipelined import first_cycle, readers, same_cores, writer_of
from ..placement import LayerPlan, Placement
from ..trace import Attention, Head, Pool, Select
from .earliest import Walk, list_image

Cycles = NDArray[np.int64]


def bound_pipeline(placement: Placement) -> tuple[Cycles, Cycles]:
    """Earliest ends int64[images, layers], each with those of all before it (L9), and latencies int64[images]."""
    images = range(placement.trace.images)
    run = _Run(placement)
    for image in images:
        run.add_image(image)
    ends = np.maximum.accumulate(np.array(run.ends).reshape(-1)).reshape(len(images), -1)
    ends[-1, -1] = max(int(ends[-1, -1]), run.busiest())
    return ends, np.array([_latency(placement, image) for image in images], np.int64)


def _latency(placement: Placement, image: int) -> int:
    """B9: an image on a chip of its own; where its first step need not be the first that is granted, only that one."""
    run, first = _Run(placement), placement.plans[0]
    written = {layer.target for layer in placement.trace.layers}
    later_given = any(plan.source.name not in written for plan in placement.plans[1:])
    walk = run.walks[0]
    if walk is None or (first.phase is not None and first.phase.consumers.of_token is None and not later_given):
        run.add_image(image)
        return max(run.ends[0]) - run.begin
    work = list_image(placement, first, image)
    one = Work(work.tokens, work.first[:1], work.length[:1], work.token[:1])
    walk.onward(one, image, np.zeros((1, len(walk.encoders.words)), np.int64), 0)
    return int(walk.released.max()) - run.begin


@dataclass
class _Run:
    """Images one after the other, each layer after layer."""

    placement: Placement
    begin: int = 0  # B of L3
    walks: list[Walk | None] = field(init=False)
    ends: list[list[int]] = field(default_factory=list)  # [image][layer], E of L9
    done: list[list[int]] = field(default_factory=list)  # [image][layer], L8
    job_ends: dict[int, int] = field(default_factory=dict)  # by layer without steps: end of its last job
    made: dict[int, Cycles] = field(default_factory=dict)  # by attention layer: int64[units], ends of its last jobs
    works: dict[int, Work] = field(default_factory=dict)  # by layer: steps on the last image

    def __post_init__(self) -> None:
        self.channel = Channel(self.placement, self.placement.trace.images)
        self.begin = first_cycle(self.channel)
        plans = self.placement.plans
        self.walks = [None if plan.phase is None else Walk.of(self.placement, plan, self.begin) for plan in plans]

    def add_image(self, image: int) -> None:
        """All layers on an image; it counts on from the images before it in this run."""
        self.ends.append([])
        self.done.append([])
        for index, plan in enumerate(self.placement.plans):
            walk = self.walks[index]
            if walk is None:
                self._add_job(image, index, plan)
            else:
                self._add_phase(image, index, plan, walk)

    def _room(self, index: int) -> int:
        """L8: 1 + the end of those who read what the layer made of the image before last."""
        if len(self.done) < 3:
            return 0
        return 1 + max((self.done[-3][reader] for reader in readers(self.placement, index)), default=-1)

    def _add_job(self, image: int, index: int, plan: LayerPlan) -> None:
        """L7: input convolution or pool."""
        before = [end for other, end in self.job_ends.items() if same_cores(self.placement, index, other)]
        begin = max(self.begin, self._room(index), *before, 0)
        if isinstance(plan.layer, Pool):
            source = writer_of(self.placement, plan.layer.source)
            begin = max(begin, 0 if source is None else self.done[-1][source] + 1)
        elif len(self.done) > 1:
            pixels = sum(transfer.bytes for transfer in self.channel.transfers(image))
            begin = max(begin, self.done[-2][index] + self.placement.chip.dram_cycles(pixels) + 1)
        end = begin + time_job(self.placement, plan).cycles
        self.job_ends[index] = end
        self.done[-1].append(end)
        self.ends[-1].append(end)

    def _add_phase(self, image: int, index: int, plan: LayerPlan, walk: Walk) -> None:
        """The steps of a layer, then its jobs on the units (L7)."""
        gate = self._room(index)
        if isinstance(plan.layer, (Attention, Select, Head)) and len(self.done) > 1:
            gate = max(gate, self.done[-2][index] + 1)
        work = self.works[index] = list_image(self.placement, plan, image)
        walk.onward(work, image, self._ready(plan, walk, work), gate)
        last = walk.released.max(axis=0)
        if isinstance(plan.layer, Select):
            done = end = int(last.max()) + 1 + selector_cycles(self.placement, plan)
        elif isinstance(plan.layer, Attention):
            cycles = attention_cycles(self.placement, plan)[: len(last)] + 2
            self.made[index] = last + 1 + cycles
            done = end = int(self.made[index].max())
        else:
            done = int(last.max())
            end = done + 1
        self.done[-1].append(done)
        self.ends[-1].append(end)

    def _ready(self, plan: LayerPlan, walk: Walk, work: Work) -> Cycles:
        """L4: int64[steps, producers], when each producer has its part of a step's token."""
        assert plan.phase is not None
        shape = (len(work.token), len(plan.phase.producers))
        selector = plan.layer.selector
        ready = np.zeros(shape, np.int64)
        if selector >= 0:
            selectors = [at for at, one in enumerate(self.placement.trace.layers) if isinstance(one, Select)]
            ready[:] = self.done[-1][selectors[selector]]
        writer = writer_of(self.placement, plan.source.name)
        if writer is None:
            return ready
        made = self.placement.plans[writer]
        if made.phase is None:
            return np.maximum(ready, self.done[-1][writer])
        if isinstance(made.layer, Attention):
            units = [self.placement.chip.service_routers.index(int(router)) - 1 for router in plan.phase.producers]
            return np.maximum(ready, self.made[writer][units])
        source = self.walks[writer]
        assert source is not None
        consumers = made.phase.consumers.routers
        column = np.searchsorted(consumers, plan.phase.producers)
        assert made.stored is not None
        closing = made.stored.taps.closing[work.token]
        step = _step_of(self.works[writer], made.source.tokens)[work.first // plan.batch, closing]
        return np.maximum(ready, source.released[step][:, column])

    def busiest(self) -> int:
        """B8: the end of the run if nodes and ports only did what all layers ask of them, one thing after the other."""
        chip = self.placement.chip
        service, port = np.zeros(chip.routers, np.int64), np.zeros((chip.routers, PORTS), np.int64)
        for walk, plan in zip(self.walks, self.placement.plans, strict=True):
            if walk is not None and plan.phase is not None:
                service[plan.phase.consumers.routers] += walk.chain.worked
                port += flits_of_ports(plan.phase.trees, walk.sent())
        if not port.any():
            return 0
        return self.begin + max(int(service.max()) + chip.flit_cycles + 5, chip.flit_cycles * int(port.max()) + 6)


def _step_of(work: Work, tokens: int) -> Cycles:
    """int64[batches, tokens]: the step that a batch of a token is; 0 where there is none."""
    starts = np.unique(work.first)
    found = np.zeros((len(starts), tokens), np.int64)
    found[np.searchsorted(starts, work.first), work.token] = np.arange(len(work.token))
    return found
