"""What a phase's event log shows on a timeline: slices of every unit, depth of FIFOs, load of links (rules E, N, C).

The log tells when something happened; here it becomes from when to when a unit was busy, and with which flit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..eventlog import PORT_LETTERS
from ..hardware import Chip
from ..kernels.log import GRANT, LOOKUP, PLACE, RELEASE, SEND, SWEEP, TAKE
from ..kernels.router import LOCAL, PORTS
from ..phase import scan_cycles
from ..placement import Placement
from ..program import LAYER_SHIFT, Outcome, Part
from .chrome_trace import Events, named, slices

WINDOW = 256  # cycles over which the load of a link is taken

# Processes of the timeline, then tracks of a node's. With `pipelined` jobs have adders of their own, and there are
# encoders and tracks of steps for each layer at work.
RUN, LAYERS, STEPS, DRAM, NODES = range(1, 6)
LOOK_UP, ROWS, NEURONS, JOB, JOB_ROWS, JOB_NEURONS, OUTPUTS = range(1, 8)
ENCODERS = OUTPUTS + PORTS
LANES = 1 << 16  # places for tracks of one layer whose slices would overlap

Rows = NDArray[np.int64]  # of a log (cycle, unit, event, value), of flits (cycle, unit, place, flit); or a column of it
Ready = Mapping[tuple[int, int], NDArray[np.int64]]


@dataclass(frozen=True)
class Scene:
    """Layers at work at one time, and what came of it.

    start: the cycle of the run in which the log counts 0.  begin: the cycle of the log from which all counts (L3).
    first_image: the image of the parts' first work.
    ready: int64[visits] by (router, part), the cycle from which a producer may begin each of its steps, grants apart
    (L4); without one, from `begin` on.
    """

    placement: Placement
    parts: Sequence[Part]
    outcome: Outcome
    start: int
    begin: int = 0
    first_image: int = 0
    ready: Ready = field(default_factory=dict)

    @cached_property
    def first_step(self) -> NDArray[np.int64]:
        """int64[parts + 1]: steps are numbered on from part to part."""
        return np.cumsum([0, *(part.steps for part in self.parts)])

    @cached_property
    def process(self) -> NDArray[np.int64]:
        """int64[routers]."""
        return node_processes(self.placement.chip)

    def name(self, part: int) -> str:
        """The layer's name."""
        return self.parts[part].plan.layer.name


def list_nodes(chip: Chip) -> dict[int, str]:
    """What stands at each router, in the order in which they are shown: cores, units, routers with neither."""
    names = {router: f"core {core}" for core, router in enumerate(chip.core_routers)}
    names[chip.service_routers[0]] = "token unit"
    names |= {router: f"attention unit {unit}" for unit, router in enumerate(chip.service_routers[1:])}
    return names | {router: f"router {router}" for router in range(chip.routers) if router not in names}


def node_processes(chip: Chip) -> NDArray[np.int64]:
    """int64[routers]: the process of each."""
    nodes = list(list_nodes(chip))
    process = np.zeros(chip.routers, np.int64)
    process[nodes] = NODES + np.arange(len(nodes))
    return process


def phase_events(scene: Scene) -> Iterator[Events]:
    """Everything that the log of a phase tells, outer slices first."""
    rows = scene.outcome.log
    kind = rows[:, 2] // PLACE
    flit = _flit_rows(scene, rows[np.isin(kind, (SEND, GRANT, LOOKUP, TAKE))])
    sweep, release = (_by_unit(rows[kind == one], 3) for one in (SWEEP, RELEASE))
    yield from _steps(scene, release)
    yield from _encoders(scene, flit[SEND])
    yield from _outputs(scene, flit[GRANT])
    yield from _consumers(scene, flit[LOOKUP], flit[TAKE])
    yield from _sweeps(scene, sweep, release)
    yield _fifo_depth(scene, flit[GRANT], flit[LOOKUP])
    yield from _link_load(scene, flit[GRANT])


def _by_unit(rows: Rows, second: int = 0) -> Rows:
    return rows[np.lexsort((rows[:, second], rows[:, 1]))]


def _flit_rows(scene: Scene, rows: Rows) -> dict[int, Rows]:
    """(cycle, unit, place, flit) of each event of a flit, by kind, in the order of units, then of cycles.

    A log holds what a link carries, not which flit it is. But flits of one tree pass any one place in the order in
    which they were sent, and `flits` holds them in that order: the n-th of a tree at a place is the n-th of the tree.
    """
    chip, flits = scene.placement.chip, scene.outcome.flits
    tree = rows[:, 3] >> (chip.flit_bits - 1 - chip.mesh.tree_bits) & (1 << chip.mesh.tree_bits) - 1
    place = (rows[:, 2] * chip.routers + rows[:, 1] << chip.mesh.tree_bits) + tree
    order = np.lexsort((rows[:, 0], place))
    new = np.diff(place[order], prepend=-1) != 0
    number = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    of_tree = np.argsort(flits.tree, kind="stable")
    flit = of_tree[np.searchsorted(flits.tree[of_tree], tree[order]) + number]
    kind, where = np.divmod(rows[order, 2], PLACE)
    told = np.stack([rows[order, 0], rows[order, 1], where, flit], 1)
    return {one: _by_unit(told[kind == one]) for one in (SEND, GRANT, LOOKUP, TAKE)}


def _split(scene: Scene, flit: NDArray[np.int64]) -> Iterator[tuple[int, bool, NDArray[np.int64]]]:
    """(part, whether they are ends of tokens, which of the flits), where there are any."""
    flits = scene.outcome.flits
    part = np.searchsorted(scene.first_step, flits.step[flit], side="right") - 1
    end = flits.event[flit] < 0
    for one in np.unique(part).tolist():
        for ends in (False, True):
            mine = np.flatnonzero((part == one) & (end == ends))
            if len(mine):
                yield one, ends, mine


def _flit_slices(
    scene: Scene, part: int, ends: bool, flit: NDArray[np.int64], unit: Rows, track: object, begin: Rows, length: object
) -> Events:
    """Slices that are named by a flit's channel."""
    flits, name = scene.outcome.flits, scene.name(part)
    step = flits.step[flit] - scene.first_step[part]
    where = scene.process[unit], track, scene.start + begin, length
    if ends:
        return slices(*where, named("end of token", name, step="%d"), step)
    channel = flits.event[flit] % scene.parts[part].plan.source.channels
    return slices(*where, named("channel %d", name, step="%d"), channel, step)


def _outputs(scene: Scene, grants: Rows) -> Iterator[Events]:
    """N3: an output is held for s cycles."""
    for part, ends, mine in _split(scene, grants[:, 3]):
        cycle, unit, place, flit = grants[mine].T
        track, held = OUTPUTS + place // PORTS, scene.placement.chip.flit_cycles
        yield _flit_slices(scene, part, ends, flit, unit, track, cycle, held)


def _consumers(scene: Scene, lookups: Rows, takes: Rows) -> Iterator[Events]:
    """C1: the look-up register and the row service of every flit; both in the order of grants."""
    for part, ends, mine in _split(scene, takes[:, 3]):
        looked, (taken, unit, _, flit) = lookups[mine, 0], takes[mine].T
        yield _flit_slices(scene, part, ends, flit, unit, LOOK_UP, looked, taken - looked)
        yield _flit_slices(scene, part, ends, flit, unit, ROWS, taken, _service(scene, part, flit, unit))


def _service(scene: Scene, part: int, flit: NDArray[np.int64], unit: Rows) -> NDArray[np.int64]:
    """R4, C2: int64[takes], cycles of each flit at its consumer."""
    plan, flits = scene.parts[part].plan, scene.outcome.flits
    assert plan.phase is not None
    event = flits.event[flit]
    if event[0] < 0:  # one sort of flit at a time
        return np.ones(len(flit), np.int64)
    consumer = np.zeros(scene.placement.chip.routers, np.int64)
    consumer[plan.phase.consumers.routers] = np.arange(len(plan.phase.consumers.routers))
    return plan.service[flits.active[flit] - 1, event, consumer[unit]].astype(np.int64)


def _sweeps(scene: Scene, sweep: Rows, release: Rows) -> Iterator[Events]:
    """C4, C5: a step is released one cycle after the end of its sweep."""
    length = release[:, 0] - sweep[:, 0] - 1
    for part, mine, step in _named_steps(scene, sweep):
        process, begin = scene.process[sweep[mine, 1]], scene.start + sweep[mine, 0]
        yield slices(process, NEURONS, begin, length[mine], named("sweep", scene.name(part), step="%d"), step)


def _named_steps(scene: Scene, rows: Rows) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """(part, rows of it, their steps) of sweeps or releases, which the log numbers as the consumer does (C6)."""
    layer = rows[:, 3] >> LAYER_SHIFT
    for part, one in enumerate(scene.parts):
        mine = np.flatnonzero(layer == one.index)
        local = rows[mine, 3] & (1 << LAYER_SHIFT) - 1
        if one.alone is None:
            yield part, mine, local
            continue
        assert one.plan.phase is not None
        routers = one.plan.phase.consumers.routers
        step = np.zeros(len(mine), np.int64)
        for consumer, router in enumerate(routers):
            here = rows[mine, 1] == router
            step[here] = np.flatnonzero(one.alone == consumer)[local[here]]
        yield part, mine, step


def _steps(scene: Scene, release: Rows) -> Iterator[Events]:
    """C6: a step from its grant up to and with its last release."""
    for part, mine, step in _named_steps(scene, release):
        one, first = scene.parts[part], int(scene.first_step[part])
        last = np.zeros(one.steps, np.int64)
        np.maximum.at(last, step, release[mine, 0])
        begin = np.maximum(scene.begin, scene.outcome.granted[first : first + one.steps])
        length = last + 1 - begin
        track = one.index * LANES + lanes(begin, length)
        text = named("step %d", scene.name(part), image="%d", token="%d", timestep="%d")
        yield slices(STEPS, track, scene.start + begin, length, text, np.arange(one.steps), *_what(scene, part))


def _what(scene: Scene, part: int) -> tuple[Rows, Rows, Rows]:
    """int64[steps] each: image, token, first timestep."""
    works = scene.parts[part].work
    image = scene.first_image + np.repeat(np.arange(len(works)), [len(work.token) for work in works])
    return image, np.concatenate([work.token for work in works]), np.concatenate([work.first for work in works])


def lanes(begin: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[slices]: the lowest track on which a slice finds room, one after the other in the order of their begins."""
    free: list[int] = []
    lane = np.zeros(len(begin), np.int64)
    for at in np.argsort(begin, kind="stable").tolist():
        found = next((number for number, end in enumerate(free) if end <= begin[at]), len(free))
        free[found : found + 1] = [int(begin[at] + length[at])]
        lane[at] = found
    return lane


def _encoders(scene: Scene, sends: Rows) -> Iterator[Events]:
    """What each producer does, layer by layer."""
    flits = scene.outcome.flits
    sent, router = np.zeros(len(flits.step), np.int64), np.zeros(len(flits.step), np.int64)
    sent[sends[:, 3]], router[sends[:, 3]] = sends[:, 0], sends[:, 1]
    scans = [np.concatenate([scan_cycles(scene.placement, one.plan, work) for work in one.work]) for one in scene.parts]
    for first, stop in pairwise(flits.start.tolist()):
        if first == stop:
            continue
        mine, unit = np.arange(first, stop), int(router[first])
        part = int(np.searchsorted(scene.first_step, flits.step[first], side="right")) - 1
        yield from _visits(scene, part, mine, unit, sent[mine], scans[part])
        for _, ends, some in _split(scene, mine):
            flit = mine[some]
            yield _flit_slices(scene, part, ends, flit, router[flit], ENCODERS + part, sent[flit], 1)


def _visits(scene: Scene, part: int, flit: Rows, unit: int, sent: Rows, scans: NDArray[np.int32]) -> Iterator[Events]:
    """E2, L4: a producer at a step, from its beginning to its last flit; inside, the scan of the keep bitmap."""
    step = scene.outcome.flits.step[flit]
    new = np.flatnonzero(np.diff(step, prepend=-1))
    last = sent[np.append(new[1:], len(step)) - 1]
    granted = np.maximum(scene.outcome.granted[step[new]], scene.ready.get((unit, part), scene.begin))
    begin = np.maximum(np.append(scene.begin, last[:-1] + 1), granted)
    number, name = step[new] - scene.first_step[part], scene.name(part)
    where = scene.process[unit], ENCODERS + part, scene.start + begin
    text = named("step %d", name, image="%d", token="%d", timestep="%d")
    yield slices(*where, last + 1 - begin, text, number, *(column[number] for column in _what(scene, part)))
    yield slices(*where, scans[number], named("scan", name))


def _fifo_depth(scene: Scene, grants: Rows, lookups: Rows) -> Events:
    """C1: flits in the event FIFO of a node, from their arrival up to and with the cycle of their look-up."""
    came = grants[grants[:, 2] // PORTS == LOCAL]
    unit = np.concatenate([came[:, 1], lookups[:, 1]])
    cycle = np.concatenate([came[:, 0] + scene.placement.chip.flit_cycles, lookups[:, 0] + 1])
    change = np.repeat([1, -1], [len(came), len(lookups)])
    order = np.lexsort((cycle, unit))
    unit, cycle, depth = unit[order], cycle[order], np.cumsum(change[order])
    last = (np.diff(unit, append=-1) != 0) | (np.diff(cycle, append=-1) != 0)  # of what happens to a FIFO in a cycle
    unit, cycle, depth = unit[last], cycle[last], depth[last]
    changed = np.diff(depth, prepend=0) != 0  # every FIFO begins and ends empty
    return _counter(scene, unit[changed], cycle[changed], named("event FIFO", flits="%d"), depth[changed])


def _counter(scene: Scene, unit: Rows, cycle: Rows, text: str, *values: NDArray[Any]) -> Events:
    """A counter of nodes; sorted by node, then by cycle. The last value of each is 0, which need not be held."""
    last = np.diff(unit, append=-1) != 0
    until = np.where(last, cycle, np.append(cycle[1:], 0))
    return Events("counter", scene.process[unit], np.zeros_like(unit), scene.start + cycle, until - cycle, text, values)


def _link_load(scene: Scene, grants: Rows) -> Iterator[Events]:
    """N3: share of each window of cycles in which a link between routers is held; told where it changes."""
    edges = np.append(np.arange(scene.begin, scene.outcome.cycles, WINDOW), scene.outcome.cycles)
    for output in range(PORTS):
        mine = grants[(grants[:, 2] // PORTS == output) & (output != LOCAL)]
        told = [(unit, *_loads(mine[mine[:, 1] == unit, 0], edges, scene)) for unit in np.unique(mine[:, 1])]
        if told:
            unit = np.concatenate([np.full(len(cycle), unit) for unit, cycle, _ in told])
            cycle, load = (np.concatenate(columns) for columns in list(zip(*told, strict=True))[1:])
            yield _counter(scene, unit, cycle, named(f"load {PORT_LETTERS[output]}", share="%r"), load)


def _loads(granted: Rows, edges: Rows, scene: Scene) -> tuple[Rows, NDArray[np.float64]]:
    """(cycles, loads) of one link, where its load changes; at the end it is 0. granted: int64[grants], ascending."""
    flit_cycles = scene.placement.chip.flit_cycles
    before = np.searchsorted(granted, edges)
    still_held = np.append(-flit_cycles, granted)[before] + flit_cycles - edges  # of the last grant before each edge
    busy = np.diff(before * flit_cycles - np.maximum(0, still_held))
    load = np.append(busy / np.diff(edges), 0.0)
    told = np.flatnonzero(np.diff(load, prepend=0.0))
    return edges[told], load[told]
