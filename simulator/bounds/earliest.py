"""What the lower bounds need of a phase, in the flat arrays of their kernel (kernels/bounds.py)."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..busy import flits_of_ports
from ..kernels.bounds import NO_WAY, Chain, Encoders, Steps, Sums, Takers, bound_phase
from ..kernels.packing import Packed
from ..phase import Work, list_tokens, list_work, scan_cycles, sweep_length, sweeps_of
from ..placement import LayerPlan, Placement
from ..wiring import Phase
from .packing import pack

NO_CYCLES = np.zeros((0, 0), np.int64)
NO_OWNERS = np.zeros(0, np.int64)


def list_encoders(phase: Phase) -> Encoders:
    """The producers' words as masks over the stream's channels (E1)."""
    senders = phase.senders
    channel = np.arange(len(senders.word))
    owner = np.zeros(len(channel), np.int64) if senders.by_token else senders.producer.astype(np.int64)
    if (owner[1:] < owner[:-1]).any():
        channel = np.argsort(owner, kind="stable")  # channels of one producer after those of another
    owner, group = owner[channel], channel >> 6
    word = (np.cumsum(senders.words) - senders.words)[owner] + senders.word[channel]
    first = np.flatnonzero(np.diff(word * len(channel) + group, prepend=-1))
    mask = np.bitwise_or.reduceat(np.uint64(1) << (channel & 63).astype(np.uint64), first)
    return Encoders(
        senders.by_token,
        senders.producer,
        group[first],
        mask,
        word[first],
        owner[first],
        senders.words.astype(np.int64),
        np.diff(senders.end_start),
    )


def list_takers(placement: Placement, plan: LayerPlan) -> Takers:
    """The consumers of a phase, and the ways to them."""
    phase, stored = plan.phase, plan.stored
    assert phase is not None
    consumers = phase.consumers
    kinds, service = 0, np.zeros((plan.batch, 0, 0), np.int32)
    if stored is not None:
        service = stored.costs.service
        kinds = service.shape[1]
        if not stored.shared and len(consumers.cores) < service.shape[2]:
            service = np.ascontiguousarray(service[:, :, consumers.cores])
    key = "ways", placement.chip.flit_cycles
    if key not in phase.derived:
        phase.derived[key] = _ways(placement, phase)
    way = phase.derived[key]
    nearest = np.where(way == NO_WAY, np.iinfo(np.int64).max, way).min(axis=0)
    return Takers(
        NO_OWNERS if consumers.of_channel is None else consumers.of_channel,
        NO_OWNERS if consumers.of_token is None else consumers.of_token,
        service.reshape(plan.batch * kinds, service.shape[2]),
        kinds,
        phase.expected.astype(np.int64),
        sweep_length(placement, plan),
        way,
        nearest,
        way.max(axis=1),
        placement.chip.flit_cycles,
    )


def _ways(placement: Placement, phase: Phase) -> NDArray[np.int64]:
    """N3 to N5: int64[producers, consumers], cycles of a flit alone from its sending to its arrival in the FIFO."""
    chip = placement.chip
    there, here = (
        divmod(phase.consumers.routers[None, :], chip.router_columns),
        divmod(phase.producers[:, None], chip.router_columns),
    )
    links = abs(there[0] - here[0]) + abs(there[1] - here[1])
    way = (1 + chip.flit_cycles * (links + 1)).astype(np.int64)
    by_token, owner, consumers = phase.senders.by_token, phase.senders.producer, phase.consumers
    for one, alone in ((consumers.of_token, by_token), (consumers.of_channel, not by_token)):
        if one is not None and alone:  # F2: only where the producer may hold something for the consumer
            goes = np.zeros(way.shape, np.bool_)
            goes[owner, one] = True
            way[~goes] = NO_WAY
    return way


@dataclass
class Walk:
    """A phase on its way through steps and images; `through` and `onward` take it over one image.

    released: int64[steps, consumers] of the last image, where `onward` was asked for it.
    """

    placement: Placement
    plan: LayerPlan
    packed: Packed
    encoders: Encoders
    takers: Takers
    chain: Chain
    released: NDArray[np.int64] = field(default_factory=lambda: NO_CYCLES)

    @staticmethod
    def of(placement: Placement, plan: LayerPlan, begin: int = 0) -> "Walk":
        """Of a layer that has a phase, before its first step; time counts from `begin`."""
        assert plan.phase is not None
        packed = pack(placement.trace, plan.source, plan.batch, plan.phase.senders.largest)
        takers = list_takers(placement, plan)
        kept = plan.phase.derived
        if "encoders" not in kept:
            kept["encoders"] = list_encoders(plan.phase)
        return Walk(placement, plan, packed, kept["encoders"], takers, new_chain(placement, takers, begin))

    def through(self, image: int) -> int:
        """B5: cycles of the phase on an image by itself."""
        chain = new_chain(self.placement, self.takers, 0)
        steps = list_image_steps(self.placement, self.plan, image)
        sums = new_sums(self.takers)
        cycles = bound_phase(self.packed, self.encoders, self.takers, steps, chain, sums, NO_CYCLES)
        self.chain = chain
        if chain.sent_to.shape[1] > 1:  # where flits are multicast, output L of a consumer grants the most
            assert self.plan.phase is not None
            ports = flits_of_ports(self.plan.phase.trees, self.sent())
            cycles = max(cycles, self.takers.flit_cycles * ports.max() + 6)
        return int(cycles)

    def sent(self) -> NDArray[np.int64]:
        """int64[trees], flits so far over each tree (F2)."""
        sent, way = self.chain.sent_to, self.takers.way
        if sent.shape[1] == 1:
            return sent[:, 0]
        pairs: NDArray[np.int64] = sent[way != NO_WAY]  # as F2 numbers their trees
        return pairs

    def onward(self, work: Work, image: int, ready: NDArray[np.int64], gate: int) -> None:
        """B8: one image after those before; `ready`, `gate` as in kernels.bounds.Steps. Leaves `released`."""
        self.released = np.zeros((len(work.token), len(self.takers.expected)), np.int64)
        steps = list_steps(self.placement, self.plan, work, image)._replace(ready=ready, gate=gate)
        bound_phase(self.packed, self.encoders, self.takers, steps, self.chain, new_sums(self.takers), self.released)


def list_image(placement: Placement, plan: LayerPlan, image: int) -> Work:
    """A layer's steps on an image; of the trace and the order of the chip's loops, so kept with the trace."""
    chip, kept = placement.chip, placement.trace.derived
    key = ("work", plan.layer.name, image, chip.token_unit.policy, chip.core.order, chip.core.time_batch)
    if key not in kept:
        kept[key] = list_work(chip, list_tokens(placement, plan, image), placement.trace.numerics.timesteps)
    work: Work = kept[key]
    return work


def list_image_steps(placement: Placement, plan: LayerPlan, image: int) -> Steps:
    """The steps of a layer on an image, which wait for nothing before the phase; kept with the phase."""
    assert plan.phase is not None
    chip, kept = placement.chip, plan.phase.derived
    key = ("steps", image, chip.token_unit.policy, chip.core.order, chip.core.time_batch, chip.token_unit.scan_width)
    if key not in kept:
        kept[key] = list_steps(placement, plan, list_image(placement, plan, image), image)
    steps: Steps = kept[key]
    return steps


def list_steps(placement: Placement, plan: LayerPlan, work: Work, image: int) -> Steps:
    """The steps of `work`, which wait for nothing before the phase."""
    batches = -(-placement.trace.numerics.timesteps // plan.batch)
    row = (image * batches + work.first // plan.batch) * plan.source.tokens + work.token
    kind = np.zeros(len(row), np.int64)
    if plan.stored is not None:
        kind = plan.stored.taps.border[work.token] * np.int64(plan.source.channels)
    sweeps = sweeps_of(plan, work).astype(np.int64)
    return Steps(row, work.token, kind, scan_cycles(placement, plan, work), sweeps, NO_CYCLES, 0)


def new_chain(placement: Placement, takers: Takers, begin: int) -> Chain:
    """Before the first step; time counts from `begin`."""
    producers, consumers = takers.way.shape
    lines = consumers if takers.of_token.size else 1
    trees = consumers if takers.of_channel.size or takers.of_token.size else 1
    from_begin = np.full((3, consumers), begin, np.int64)
    return Chain(
        np.full(producers, begin - 1, np.int64),
        from_begin[0],
        from_begin[1],
        from_begin[2],
        np.zeros(lines, np.int64),
        np.zeros(consumers, np.int64),
        np.zeros((producers, trees), np.int64),
        np.full((lines, placement.chip.core.contexts), -1, np.int64),
    )


def new_sums(takers: Takers) -> Sums:
    """Scratch for one step."""
    producers, consumers = takers.way.shape
    columns = takers.service.shape[1] or consumers
    few = [np.zeros(producers, np.int64) for _ in range(2)]
    return Sums(few[0], few[1], np.zeros(columns, np.int32), np.zeros(consumers, np.int64))
