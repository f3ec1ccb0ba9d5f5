"""From placed layers to the event loop and back: what happens, in flat arrays, and what its cycles were spent on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activity import Cause
from .kernels.consumer import BARRIER, FIFO_EMPTY, GRANT_WAIT, NETWORK, NEURON_SWEEP, SERVICE, Consumers, Steps
from .kernels.encoder import Flits
from .kernels.event_loop import (
    DEADLOCK,
    OUT_OF_ORDER,
    Arrivals,
    Producers,
    Program,
    Services,
    new_registers,
    run_program,
)
from .kernels.log import Log
from .kernels.router import MeshSize
from .kernels.schedule import NONE, Jobs, no_jobs
from .phase import Work, consumer_of, scan_cycles, sweep_length, sweeps_of
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


@dataclass(frozen=True)
class Ties:
    """What layers wait for of one another; nothing where one runs alone.

    jobs: see kernels/schedule.py.  gates: int32[steps], gates in front of each step.
    waits: int32[visits, 2], moments that each visit of a producer to a step waits for, in the order of parts, then of
    producers, then of steps.  begin: cycle from which all counts.
    """

    jobs: Jobs
    gates: NDArray[np.int32]
    waits: NDArray[np.int32]
    begin: int


@dataclass(frozen=True)
class Outcome:
    """What a run took: cycles, int64[consumers, spendings] of what, flits over links, int64[consumers] flits taken.

    known: int64[moments], see kernels/schedule.py.  granted: int64[steps], cycles.
    arrivals: int32[arrivals, 2], (flit, consumer) of events, empty unless kept; flits: numbered as there.
    log: int64[events, 4], rows (cycle, router, event, value) as kernels/log.py writes them; empty unless asked for.
    """

    cycles: int
    spent: NDArray[np.int64]
    hops: int
    taken: NDArray[np.int64]
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
    leaves = np.concatenate([_trees(part).leaves[part.flits.tree] for part in parts])
    kept = int(leaves.sum()) if keep else 0
    arrivals = Arrivals(keep, np.zeros((kept, 2), np.int32), np.zeros(1, np.int64))
    log = _new_log(placement, parts, logged)
    registers = new_registers(size, program, no_jobs() if ties is None else ties.jobs)
    status, cycles, hops = run_program(size, program, registers, arrivals, log)
    if status in (DEADLOCK, OUT_OF_ORDER):
        kind = "stands still" if status == DEADLOCK else "delivers a flit after its step was closed"
        names = ", ".join(repr(part.plan.layer.name) for part in parts)
        raise RuntimeError(f"the mesh {kind} in {names}; this is a bug of the simulator")
    state = registers.consumers
    known, granted = registers.jobs.known, registers.grants.granted
    came, happened = arrivals.rows[: arrivals.filled[0]], log.rows[: log.filled[0]]
    return Outcome(cycles, state.spent, hops, state.flits, known, granted, came, program.flits, happened)


def build_program(placement: Placement, parts: Sequence[Part], ties: Ties | None) -> Program:
    """The parts in the flat arrays of the event loop."""
    steps = [_steps(placement, part, index) for index, part in enumerate(parts)]
    first_step = np.cumsum([0, *(part.steps for part in parts)])
    flits, producers = _flits(parts, first_step, None if ties is None else ties.waits)
    shifted = Steps(*(np.concatenate(columns) for columns in zip(*steps, strict=True)))
    for part, start in zip(parts, first_step[:-1], strict=True):
        for column in (shifted.after, shifted.following):
            mine = column[start : start + part.steps]
            mine[mine >= 0] += start
    if ties is not None:
        shifted = shifted._replace(need=shifted.need + ties.gates)
    consumers = _consumers(placement, parts, first_step, 0 if ties is None else ties.begin)
    return Program(flits, shifted, producers, consumers, _services(parts))


def _trees(part: Part) -> Trees:
    assert part.plan.phase is not None
    return part.plan.phase.trees


def _flits(
    parts: Sequence[Part], first_step: NDArray[np.int64], waits: NDArray[np.int32] | None
) -> tuple[Flits, Producers]:
    """All flits, producer after producer; the producers of one router together, those of later parts first (L5)."""
    first_tree = np.cumsum([0, *(len(_trees(part).masks) for part in parts)])
    owners = [(part, producer) for part in range(len(parts)) for producer in range(len(parts[part].flits.start) - 1)]
    routers = {owner: int(parts[owner[0]].plan.phase.producers[owner[1]]) for owner in owners}  # type: ignore[union-attr]
    order = sorted(owners, key=lambda owner: (routers[owner], -owner[0]))
    slices = {(part, at): slice(*parts[part].flits.start[at : at + 2]) for part, at in owners}
    visits = np.cumsum([0, *(_visits(parts[part].flits.step[slices[part, at]]) for part, at in owners)])
    first_visit = dict(zip(owners, visits[:-1].tolist(), strict=True))

    def gather(name: str, shift: NDArray[np.int64] | None = None) -> NDArray[Any]:
        columns = [getattr(parts[owner[0]].flits, name)[slices[owner]] for owner in order]
        if shift is not None and len(parts) > 1:
            columns = [
                column + column.dtype.type(shift[owner[0]]) for column, owner in zip(columns, order, strict=True)
            ]
        return np.concatenate(columns)

    flits = Flits(
        gather("event"),
        gather("values"),
        gather("active"),
        gather("silent"),
        gather("tree", first_tree),
        gather("step", first_step),
        np.cumsum([0, *(slices[owner].stop - slices[owner].start for owner in order)]).astype(np.int64),
    )
    producers = Producers(
        np.array([routers[owner] for owner in order], np.int32),
        NO_WAITS if waits is None else waits,
        np.array([first_visit[owner] for owner in order], np.int64),
        np.concatenate([_trees(part).masks for part in parts]),
    )
    return flits, producers


def _visits(step: NDArray[np.int32]) -> int:
    """Steps that a producer has a part of, given the step of each of its flits."""
    return int(np.count_nonzero(np.diff(step))) + (len(step) > 0)


def _steps(placement: Placement, part: Part, layer: int) -> Steps:
    plan, contexts = part.plan, placement.chip.core.contexts
    assert plan.phase is not None
    count, consumers = part.steps, len(plan.phase.consumers.routers)
    alone = [consumer_of(plan, work) for work in part.work]
    single = None if alone[0] is None else np.concatenate([one for one in alone if one is not None])
    local, after, following = _number_steps(single, count, consumers, contexts)
    needed = np.where(local < contexts, 0, consumers if single is None else 1)
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


def _number_steps(
    alone: NDArray[np.int64] | None, steps: int, consumers: int, contexts: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """C6: each step's number at its consumers, the step after it there, the one that it makes room for; NONE for none.

    alone: see `consumer_of`.
    """
    local, after, following = (np.full(steps, NONE, np.int32) for _ in range(3))
    for one in range(consumers if alone is not None else 1):
        mine = np.flatnonzero(alone == one) if alone is not None else np.arange(steps)
        local[mine] = np.arange(len(mine))
        after[mine[:-1]] = mine[1:]
        following[mine[:-contexts]] = mine[contexts:]
    return local, after, following


def _consumers(placement: Placement, parts: Sequence[Part], first_step: NDArray[np.int64], begin: int) -> Consumers:
    chip = placement.chip
    phases = [part.plan.phase for part in parts if part.plan.phase is not None]
    routers = [phase.consumers.routers for phase in phases]
    every = np.concatenate(routers)
    nodes, node = np.unique(every, return_inverse=True)
    at = np.full((len(parts), chip.routers), NONE, np.int32)
    first = []
    count = 0
    for index, part in enumerate(parts):
        at[index, routers[index]] = count + np.arange(len(routers[index]))
        count += len(routers[index])
        alone = [consumer_of(part.plan, work) for work in part.work]
        starts = np.zeros(len(routers[index]), np.int32)
        if alone[0] is not None:
            single = np.concatenate([one for one in alone if one is not None])
            for one in range(len(starts)):
                mine = np.flatnonzero(single == one)
                starts[one] = mine[0] if len(mine) else NONE
        first.append(np.where(starts >= 0, starts + first_step[index], NONE))
    node_at = np.full(chip.routers, NONE, np.int32)
    node_at[nodes] = np.arange(len(nodes))
    return Consumers(
        at,
        node.reshape(-1).astype(np.int32),
        np.concatenate([sweep_length(placement, part.plan) for part in parts]),
        np.concatenate([phase.expected for phase in phases]),
        np.concatenate(first).astype(np.int32),
        nodes.astype(np.int32),
        node_at,
        chip.core.contexts,
        chip.core.fifo_flits,
        begin,
    )


def _services(parts: Sequence[Part]) -> Services:
    tables = [part.plan.service for part in parts]
    sizes = np.cumsum([0, *(table.size for table in tables)])
    return Services(
        tables[0].reshape(-1) if len(tables) == 1 else np.concatenate([table.reshape(-1) for table in tables]),
        sizes[:-1].astype(np.int64),
        np.array([table.shape[1] for table in tables], np.int64),
        np.array([table.shape[2] for table in tables], np.int64),
        np.concatenate([np.arange(table.shape[2]) for table in tables]).astype(np.int64),
        np.array([part.plan.source.channels for part in parts], np.int64),
    )


def _new_log(placement: Placement, parts: Sequence[Part], logged: bool) -> Log:
    """Room for all that happens."""
    chip, room = placement.chip, 0
    for part in parts if logged else ():
        assert part.plan.phase is not None
        trees = _trees(part)
        each = 1 + trees.outputs + trees.routers + 2 * trees.leaves  # send, grants, pops, look-ups and takes
        room += int(each[part.flits.tree].sum()) + part.steps * (2 * len(part.plan.phase.consumers.routers) + 1)
    value_bits = chip.mesh.value_bits
    channel = value_bits * chip.core.time_batch
    context = channel + chip.mesh.channel_bits
    tree = context + chip.context_bits
    return Log(
        logged,
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


def causes_of(plan: LayerPlan, flits: Flits, spent: NDArray[np.int64]) -> NDArray[np.int64]:
    """C9, R4: int64[consumers, Cause]; the loop's cycles of service are split by what the events cost."""
    causes = np.zeros((len(spent), len(Cause)), np.int64)
    for booked, cause in BOOKED.items():
        causes[:, cause] = spent[:, booked]
    if plan.stored is None:
        return causes
    assert plan.phase is not None
    events, consumers = _events_at(plan, flits), plan.phase.consumers
    column = plan.stored.columns[consumers.cores]
    costs = plan.stored.costs
    active = np.arange(1, plan.batch + 1)
    timesteps = np.tensordot(events, active, (1, 0))  # [consumers or 1, kinds]
    every = events.sum(axis=1)
    empty = ((costs.words == 0) & (costs.groups == 0))[:, column].T
    service = np.einsum("cnk,nkc->c", events.astype(np.int64), costs.service[:, :, column].astype(np.int64))
    compute = (timesteps * costs.groups[:, column].T).sum(axis=1)
    conflict = (timesteps * costs.conflicts[:, column].T).sum(axis=1)
    control = (every * empty).sum(axis=1)
    causes[:, Cause.COMPUTE], causes[:, Cause.BANK_CONFLICT] = compute, conflict
    causes[:, Cause.WEIGHT_FETCH] = service - compute - conflict - control
    causes[:, Cause.CONTROL] = spent[:, SERVICE] - service + control
    return causes


def _events_at(plan: LayerPlan, flits: Flits) -> NDArray[np.int64]:
    """int64[consumers, batch, kinds]: event flits with so many timesteps and of such a kind at each consumer."""
    assert plan.phase is not None
    assert plan.stored is not None
    kinds, consumers = plan.stored.costs.words.shape[0], plan.phase.consumers
    count = len(consumers.routers)
    data = flits.event >= 0
    key: NDArray[np.int64] = (flits.active[data].astype(np.int64) - 1) * kinds + flits.event[data]
    if consumers.of_token is None:
        once = np.bincount(key, minlength=plan.batch * kinds).reshape(1, plan.batch, kinds)
        return np.broadcast_to(once, (count, plan.batch, kinds))
    leaf = plan.phase.trees.leaf_of[flits.tree[data]]
    at = np.searchsorted(consumers.routers, leaf)
    return np.bincount(at * plan.batch * kinds + key, minlength=count * plan.batch * kinds).reshape(
        count, plan.batch, kinds
    )
