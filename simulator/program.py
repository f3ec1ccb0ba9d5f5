"""From placed layers to the event loop and back: what happens, in flat arrays, and what its cycles were spent on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activity import Cause
from .hardware import Chip
from .kernels.consumer import (
    BARRIER,
    FIFO_EMPTY,
    GRANT_WAIT,
    NETWORK,
    NEURON_SWEEP,
    SERVICE,
    SPENDINGS,
    Consumers,
    Steps,
)
from .kernels.encoder import Flits
from .kernels.event_loop import (
    DEADLOCK,
    OUT_OF_ORDER,
    Arrivals,
    Program,
    Services,
    new_registers,
    run_program,
)
from .kernels.log import Log
from .kernels.producer import Producers
from .kernels.router import MeshSize
from .kernels.schedule import NONE, Jobs, no_jobs
from .kernels.totals import Totals
from .phase import Work, consumer_of, scan_cycles, sweep_length, sweeps_of, total_flits
from .placement import LayerPlan, Placement
from .routes import Trees

LAYER_SHIFT = 32  # a step's number in the log: its layer above these bits
NO_WAITS = np.zeros((0, 2), np.int32)
BOOKED = {
    GRANT_WAIT: Cause.GRANT_WAIT,
    FIFO_EMPTY: Cause.FIFO_EMPTY,
    NETWORK: Cause.NETWORK,
    NEURON_SWEEP: Cause.NEURON_SWEEP,
    BARRIER: Cause.BARRIER,
}


@dataclass(frozen=True)
class Part:
    """A layer at work: its steps on one image, or on several in turn, and the flits of them all.

    index: what the log calls the layer.
    """

    plan: LayerPlan
    work: tuple[Work, ...]
    flits: Flits
    index: int = 0

    @property
    def steps(self) -> int:
        """Steps on all its images."""
        return sum(len(work.token) for work in self.work)

    @cached_property
    def alone(self) -> NDArray[np.int64] | None:
        """int64[steps]: the consumer that alone takes the step; None where all of them take every step (P3)."""
        alone = [one for one in (consumer_of(self.plan, work) for work in self.work) if one is not None]
        return np.concatenate(alone) if alone else None

    @cached_property
    def totals(self) -> Totals:
        """What its flits add up to."""
        return total_flits(self.plan, self.flits)


@dataclass(frozen=True)
class Ties:
    """What layers wait for of one another; nothing where one runs alone.

    jobs: see kernels/schedule.py.  gates: int32[steps], gates in front of each step.
    waits: int32[visits, 2], moments that each visit of a producer to a step waits for, in the order of parts, then of
    producers, then of steps.  begin: cycle from which all counts.  release: int64[consumers], the moment of each
    consumer's first release, which those of its later steps follow.
    """

    jobs: Jobs
    gates: NDArray[np.int32]
    waits: NDArray[np.int32]
    begin: int
    release: NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """What a run took: cycles, int64[consumers, spendings] of what, flits over links.

    known: int64[moments], see kernels/schedule.py.  granted: int64[steps], cycles.
    arrivals: int32[arrivals, 2], (flit, consumer) of events, empty unless kept; flits: numbered as there.
    log: int64[events, 4], rows (cycle, router, event, value) as kernels/log.py writes them; empty unless asked for.
    """

    cycles: int
    spent: NDArray[np.int64]
    hops: int
    known: NDArray[np.int64]
    granted: NDArray[np.int64]
    arrivals: NDArray[np.int32]
    flits: Flits
    log: NDArray[np.int64]


def run(
    placement: Placement, parts: Sequence[Part], ties: Ties | None = None, *, keep: bool = False, logged: bool = False
) -> Outcome:
    """Run the event loop on some layers at once; consumers count on from part to part.

    keep: keep the arrivals.  Raises RuntimeError where the loop breaks a rule of its own: a bug, no user's mistake.
    """
    chip = placement.chip
    program = build_program(placement, parts, ties)
    size = MeshSize(chip.router_columns, chip.routers, chip.mesh.buffer_flits, chip.flit_cycles)
    kept = sum(int(_trees(part).leaves @ part.totals.sent) for part in parts) if keep else 0
    arrivals = Arrivals(np.zeros((kept, 2), np.int32), np.zeros(1, np.int64)) if keep else None
    log = _new_log(placement, parts) if logged else None
    registers = new_registers(size, program, no_jobs() if ties is None else ties.jobs)
    status, cycles, hops = run_program(size, program, registers, arrivals, log)
    if status in (DEADLOCK, OUT_OF_ORDER):
        kind = "stands still" if status == DEADLOCK else "delivers a flit after its step was closed"
        names = ", ".join(repr(part.plan.layer.name) for part in parts)
        raise RuntimeError(f"the mesh {kind} in {names}; this is a bug of the simulator")
    numbers = number_consumers(parts, chip.routers)
    came = np.zeros((0, 2), np.int32) if arrivals is None else arrivals.rows[: arrivals.filled[0]]
    happened = np.zeros((0, 4), np.int64) if log is None else log.rows[: log.filled[0]]
    number_of = np.zeros(numbers.max(initial=0) + 1, np.int32)
    number_of[numbers] = np.arange(len(numbers))
    came[:, 1] = number_of[came[:, 1]]
    return Outcome(
        cycles,
        registers.consumers.spent.reshape(-1, SPENDINGS)[numbers],
        hops,
        registers.jobs.known,
        registers.grants.granted,
        came,
        program.flits,
        happened,
    )


def build_program(placement: Placement, parts: Sequence[Part], ties: Ties | None) -> Program:
    """The parts in the flat arrays of the event loop."""
    steps = [_steps(placement, part, index) for index, part in enumerate(parts)]
    first_step = np.cumsum([0, *(part.steps for part in parts)])
    flits, producers = _flits(placement.chip, parts, first_step, None if ties is None else ties.waits)
    shifted = Steps(*(np.concatenate(columns) for columns in zip(*steps, strict=True)))
    for part, start in zip(parts, first_step[:-1], strict=True):
        for column in (shifted.after, shifted.following):
            mine = column[start : start + part.steps]
            mine[mine >= 0] += start
    if ties is not None:
        shifted = shifted._replace(need=shifted.need + ties.gates)
    consumers = _consumers(placement, parts, first_step, ties)
    return Program(flits, shifted, producers, consumers, _services(parts, placement.chip.routers))


def _trees(part: Part) -> Trees:
    assert part.plan.phase is not None
    return part.plan.phase.trees


def _flits(
    chip: Chip, parts: Sequence[Part], first_step: NDArray[np.int64], waits: NDArray[np.int32] | None
) -> tuple[Flits, Producers]:
    """All flits, producer after producer; the producers of one router together, those of later parts first (L5)."""
    counts = [len(part.flits.start) - 1 for part in parts]
    of_part = np.repeat(np.arange(len(parts)), counts)
    router = np.concatenate([part.plan.phase.producers for part in parts if part.plan.phase is not None])
    start = np.concatenate([part.flits.start[:-1] for part in parts])
    stop = np.concatenate([part.flits.start[1:] for part in parts])
    visits = np.concatenate([part.totals.visits for part in parts])
    order = np.lexsort((-of_part, router))
    counted_on = _count_on(parts, first_step)
    columns = list(counted_on[0][:-1])
    if len(parts) > 1 or (np.diff(order) < 0).any():  # else they lie in order already
        mine = np.stack([of_part, start, stop], axis=1)[order].tolist()
        fields = range(len(columns))
        columns = [np.concatenate([counted_on[at][field][one:end] for at, one, end in mine]) for field in fields]
    flits = Flits._make([*columns, np.cumsum([0, *(stop - start)[order]])])
    producers = Producers(
        router[order].astype(np.int32),
        np.searchsorted(router[order], np.arange(chip.routers + 1)).astype(np.int32),
        NO_WAITS if waits is None else waits,
        (np.cumsum(visits) - visits)[order],
        np.concatenate([_trees(part).masks for part in parts]),
    )
    return flits, producers


def _count_on(parts: Sequence[Part], first_step: NDArray[np.int64]) -> list[Flits]:
    """The flits of each part, whose trees and steps count on from part to part."""
    if len(parts) == 1:
        return [parts[0].flits]
    first_tree = np.cumsum([0, *(len(_trees(part).masks) for part in parts[:-1])])
    return [
        part.flits._replace(tree=part.flits.tree + np.int32(tree), step=part.flits.step + np.int32(step))
        for part, tree, step in zip(parts, first_tree, first_step[:-1], strict=True)
    ]


def _steps(placement: Placement, part: Part, layer: int) -> Steps:
    plan, contexts = part.plan, placement.chip.core.contexts
    assert plan.phase is not None
    count, consumers = part.steps, len(plan.phase.consumers.routers)
    local, after, following = number_steps(part, contexts)
    needed = np.where(local < contexts, 0, consumers if part.alone is None else 1)
    return Steps(
        np.full(count, layer, np.int32),
        np.arange(count, dtype=np.int32),
        local,
        (local % contexts).astype(np.int32),
        after,
        following,
        needed.astype(np.int32),
        np.concatenate([sweeps_of(plan, work) for work in part.work]).astype(np.int32),
        np.concatenate([scan_cycles(placement, plan, work) for work in part.work]),
    )


def number_steps(part: Part, contexts: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """C6: each step's number at its consumers, the step after it there, the one it makes room for; NONE for none."""
    assert part.plan.phase is not None
    local, after, following = (np.full(part.steps, NONE, np.int32) for _ in range(3))
    consumers = range(len(part.plan.phase.consumers.routers) if part.alone is not None else 1)
    for consumer in consumers:
        mine = np.arange(part.steps) if part.alone is None else np.flatnonzero(part.alone == consumer)
        local[mine] = np.arange(len(mine))
        after[mine[:-1]] = mine[1:]
        following[mine[:-contexts]] = mine[contexts:]
    return local, after, following


def number_consumers(parts: Sequence[Part], routers: int) -> NDArray[np.int64]:
    """int64[consumers]: what the event loop calls them, part after part."""
    phases = [part.plan.phase for part in parts if part.plan.phase is not None]
    return np.concatenate([index * routers + phase.consumers.routers for index, phase in enumerate(phases)])


def _consumers(
    placement: Placement, parts: Sequence[Part], first_step: NDArray[np.int64], ties: Ties | None
) -> Consumers:
    chip, phases = placement.chip, [part.plan.phase for part in parts if part.plan.phase is not None]
    numbers = number_consumers(parts, chip.routers)
    first = [_first_steps(part, start) for part, start in zip(parts, first_step[:-1], strict=True)]
    nodes, of_node = np.unique(numbers % chip.routers, return_index=True)

    def spread(values: NDArray[Any], kind: type, other: int = 0) -> NDArray[Any]:
        wide: NDArray[Any] = np.full(len(parts) * chip.routers, other, kind)
        wide[numbers] = values
        return wide

    return Consumers(
        spread(np.concatenate([sweep_length(placement, part.plan) for part in parts]), np.int64),
        spread(np.concatenate([phase.expected for phase in phases]), np.int32),
        spread(np.concatenate(first), np.int32, NONE),
        spread(np.zeros(len(numbers), np.int64) if ties is None else ties.release, np.int32),
        nodes.astype(np.int64),
        numbers[of_node].astype(np.int32),
        chip.routers,
        chip.core.contexts,
        chip.core.fifo_flits,
        0 if ties is None else ties.begin,
    )


def _first_steps(part: Part, start: int) -> NDArray[np.int64]:
    """The first step of each of a layer's consumers, NONE for none; `start`: the layer's own first."""
    assert part.plan.phase is not None
    count = len(part.plan.phase.consumers.routers)
    if part.alone is None:
        return np.full(count, start)
    first = np.full(count, NONE)
    mine, at = np.unique(part.alone, return_index=True)
    first[mine] = start + at
    return first


def _services(parts: Sequence[Part], routers: int) -> Services:
    tables = [part.plan.service for part in parts]
    sizes = np.cumsum([0, *(table.size for table in tables)])
    column = np.zeros((len(parts), routers), np.int64)
    for index, part in enumerate(parts):
        assert part.plan.phase is not None
        consuming = part.plan.phase.consumers.routers
        column[index, consuming] = np.arange(len(consuming))
    return Services(
        tables[0].reshape(-1) if len(tables) == 1 else np.concatenate([table.reshape(-1) for table in tables]),
        sizes[:-1].astype(np.int64),
        np.array([table.shape[1] for table in tables], np.int64),
        np.array([table.shape[2] for table in tables], np.int64),
        column.reshape(-1),
        np.array([part.plan.source.channels for part in parts], np.int64),
    )


def _new_log(placement: Placement, parts: Sequence[Part]) -> Log:
    """Room for all that happens."""
    chip, room = placement.chip, 0
    for part in parts:
        assert part.plan.phase is not None
        trees = _trees(part)
        each = 1 + trees.outputs + trees.routers + 2 * trees.leaves  # send, grants, pops, look-ups and takes
        room += int(each @ part.totals.sent) + part.steps * (2 * len(part.plan.phase.consumers.routers) + 1)
    value_bits = chip.mesh.value_bits
    channel = value_bits * chip.core.time_batch
    context = channel + chip.mesh.channel_bits
    tree = context + chip.context_bits
    return Log(
        np.zeros((room, 4), np.int64),
        np.zeros(1, np.int64),
        tree + chip.mesh.tree_bits,
        tree,
        context,
        channel,
        value_bits,
        np.array([part.index for part in parts], np.int64),
        LAYER_SHIFT,
    )


def causes_of(plan: LayerPlan, totals: Totals, spent: NDArray[np.int64]) -> NDArray[np.int64]:
    """C9, R4: int64[consumers, Cause]; the loop's cycles of service are split by what the events cost."""
    causes = np.zeros((len(spent), len(Cause)), np.int64)
    for booked, cause in BOOKED.items():
        causes[:, cause] = spent[:, booked]
    if plan.stored is None:
        return causes
    served = service_causes(plan, totals)
    causes += served
    causes[:, Cause.CONTROL] += spent[:, SERVICE] - served.sum(axis=1)  # end-of-token flits
    return causes


def service_causes(plan: LayerPlan, totals: Totals) -> NDArray[np.int64]:
    """R4: int64[consumers, Cause], row service of the event flits at the cores."""
    assert plan.stored is not None
    assert plan.phase is not None
    causes = np.zeros((len(plan.phase.consumers.cores), len(Cause)), np.int64)
    costs, column = plan.stored.costs, plan.stored.columns[plan.phase.consumers.cores]
    every = totals.events.sum(axis=1)  # [places, kinds]
    timesteps = np.einsum("pnk,n->pk", totals.events, np.arange(1, plan.batch + 1))
    empty = (costs.words == 0) & (costs.groups == 0)
    service = sum(_spend(totals.events[:, n], costs.service[n], column) for n in range(plan.batch))
    compute, conflict = _spend(timesteps, costs.groups, column), _spend(timesteps, costs.conflicts, column)
    control = _spend(every, empty, column)
    causes[:, Cause.COMPUTE], causes[:, Cause.BANK_CONFLICT] = compute, conflict
    causes[:, Cause.WEIGHT_FETCH] = service - compute - conflict - control
    causes[:, Cause.CONTROL] = control
    return causes


def _spend(times: NDArray[np.int64], cost: NDArray[Any], column: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[consumers]: what events cost; times: int64[places, kinds], cost: [kinds, cores], column: core of each."""
    if len(times) == 1:  # all consumers get the same
        spent: NDArray[np.int64] = (times @ cost)[0, column]
        return spent
    return np.einsum("ck,kc->c", times, cost[:, column].astype(np.int64))
