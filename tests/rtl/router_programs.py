"""Routers and event FIFOs cut out of random phases: what reaches them is their stimulus, what they do is demanded."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from sparsespike.simulator.eventlog import PORT_LETTERS, Line

from .block_programs import FIELDS, Phase, Sample, random_phases, texts
from .tools import Program

BUFFER_DEPTH, FIFO_DEPTH, CYCLES = 8, 5, 1 << 14
ROUTER = FIELDS.parameters | {"BUFFER_DEPTH": BUFFER_DEPTH, "CYCLES": CYCLES}
FIFO = {"WIDTH": FIELDS.bits, "DEPTH": FIFO_DEPTH, "CYCLES": CYCLES}

OPPOSITE = dict(zip("NESW", "SWNE", strict=True))


def router_programs(seed: int, _: Mapping[str, int]) -> Iterator[Sample]:
    """The routers of random phases that have something to grant."""
    for phase in _short(seed):
        for router in sorted({unit for _, unit, event, _ in phase.lines if event.startswith("grant")}):
            yield Sample(partial(_route, phase, router), phase.sorts)


def fifo_programs(seed: int, _: Mapping[str, int]) -> Iterator[Sample]:
    """The event FIFOs of random phases: what output L grants is pushed, what is looked up is popped (C1)."""
    for phase in _short(seed):
        for router in phase.wiring.consumers.routers.tolist():
            yield Sample(partial(_queue, phase, router), phase.sorts)


def _short(seed: int) -> Iterator[Phase]:
    return (phase for phase in random_phases(seed) if 0 < phase.outcome.cycles < CYCLES)


def _neighbours(phase: Phase, router: int) -> dict[str, int]:
    """Routers behind the ports."""
    columns, count = phase.chip.router_columns, phase.chip.routers
    row, column = divmod(router, columns)
    there = {"N": row > 0, "E": column < columns - 1, "S": router + columns < count, "W": column > 0}
    steps = {"N": -columns, "E": 1, "S": columns, "W": -1}
    return {port: router + steps[port] for port in there if there[port]}


def _route(phase: Phase, router: int) -> tuple[Program, list[str]]:
    """Flits that enter and credits that come back in each cycle; grants, pops, flits put out, and room of input L."""
    chip, end, hold = phase.chip, phase.outcome.cycles, phase.chip.flit_cycles
    enters = {"L": phase.at(router, "send")}
    returns = {"L": phase.at(router, "lookup")}
    for port, unit in _neighbours(phase, router).items():
        # N4: granted in c, written at the end of c + s - 1.
        granted = phase.at(unit, f"grant.{OPPOSITE[port]}.")
        enters[port] = [(cycle + hold - 1, at, event, flit) for cycle, at, event, flit in granted]
        returns[port] = phase.at(unit, f"pop.{OPPOSITE[port]}")
    cycles = [0] * end
    for index, port in enumerate(PORT_LETTERS):
        for cycle, _, _, flit in enters.get(port, []):
            cycles[cycle] |= flit << index * FIELDS.bits | 1 << 5 * FIELDS.bits + index
        for cycle, *_ in returns.get(port, []):
            cycles[cycle] |= 1 << 5 * FIELDS.bits + 5 + index

    did = phase.at(router, "grant", "pop")
    out = [
        (cycle + hold - 1, router, f"out.{event.split('.')[1]}", flit)
        for cycle, _, event, flit in phase.at(router, "grant")
    ]
    before = held(end, enters["L"], phase.at(router, "pop.L"))
    room = [(cycle, router, "room", 1) for cycle in range(end) if before[cycle] < chip.mesh.buffer_flits]
    masks = phase.wiring.trees.masks[:, router].tolist()
    base = router % 3  # of the layer's trees in the table
    images = {
        "registers": (end, router, chip.mesh.buffer_flits, chip.core.fifo_flits, hold, base),
        "trees": ([31] * base + masks + [31] * (1 << FIELDS.tree))[: 1 << FIELDS.tree],
        "cycles": cycles,
    }
    return images, texts([*did, *out, *room])


def _queue(phase: Phase, router: int) -> tuple[Program, list[str]]:
    """`count` and `head` follow from the kernels' lines alone: a flit stands at the head until its look-up."""
    end, hold = phase.outcome.cycles, phase.chip.flit_cycles
    pushes = [(cycle + hold - 1, unit, event, flit) for cycle, unit, event, flit in phase.at(router, "grant.L.")]
    pops = phase.at(router, "lookup")
    cycles, head = [0] * end, {}
    for cycle, _, _, flit in pushes:
        cycles[cycle] |= 2 << FIELDS.bits | flit
    ready = 0
    for (pushed, *_), (popped, _, _, flit) in zip(pushes, pops, strict=True):
        cycles[popped] |= 1 << FIELDS.bits
        ready = max(ready, pushed + 1)
        head |= dict.fromkeys(range(ready, popped + 1), flit)
        ready = popped + 1
    log = [(cycle, 0, "count", int(count)) for cycle, count in enumerate(held(end, pushes, pops))]
    log += [(cycle, 0, "head", flit) for cycle, flit in head.items()]
    return {"registers": [end], "cycles": cycles}, texts(log)


def held(end: int, enters: list[Line], leaves: list[Line]) -> list[int]:
    """Flits in a buffer at the start of each cycle."""
    change = np.zeros(end + 1, np.int64)
    for lines, sign in ((enters, 1), (leaves, -1)):
        np.add.at(change, [cycle + 1 for cycle, *_ in lines], sign)
    return np.cumsum(change)[:end].tolist()
