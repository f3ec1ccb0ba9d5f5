"""The one loop: flits from producers to consumers, cycle by cycle; idle cycles are skipped."""

from typing import NamedTuple

import numpy as np

from .compiler import inner_kernel, kernel
from .consumer import (
    Consumers,
    ConsumerState,
    NodeState,
    Steps,
    count_end,
    finish,
    new_consumers,
    new_nodes,
    take,
)
from .encoder import Flits
from .log import GRANT, LOOKUP, OPEN, POP, SEND, TAKE, name_step, pack, write
from .router import LOCAL, PORTS, MeshState, arbitrate, find_requests, neighbour, new_mesh, opposite, pop, push, wake_up
from .schedule import NONE, UNKNOWN, Grants, Jobs, begin, new_grants

DONE, DEADLOCK, OUT_OF_ORDER = 0, 1, 2


class Producers(NamedTuple):
    """The encoders: one for each node and layer that it sends to; of one node those of later layers first (L5)."""

    router: np.ndarray  # int32[producers]
    waits: np.ndarray  # int32[visits, 2]: moments that a producer's visit to a step waits for (L4), NONE for none
    first_visit: np.ndarray  # int64[producers]: its visits to steps are numbered on from here
    masks: np.ndarray  # uint8[trees, routers]: outputs that a tree serves at a router, one bit per port


class Services(NamedTuple):
    """Cycles of events (R4): each layer's int32[batch, events, columns], one after the other, from base[layer] on."""

    table: np.ndarray  # int32[all]
    base: np.ndarray  # int64[layers]
    events: np.ndarray  # int64[layers]
    columns: np.ndarray  # int64[layers]
    column: np.ndarray  # int64[consumers]
    channels: np.ndarray  # int64[layers]: width of the stream that the layer reads


class Arrivals(NamedTuple):
    """Which events came where, in order of their grants; kept where the chip adds the numbers up itself."""

    enabled: bool
    rows: np.ndarray  # int32[arrivals, 2]: (flit, consumer)
    filled: np.ndarray  # int64[1]


class Program(NamedTuple):
    """What is to happen: everything that does not change while the loop runs."""

    flits: Flits
    steps: Steps
    producers: Producers
    consumers: Consumers
    services: Services


class Registers(NamedTuple):
    """All state of a run; allocated by the caller, fresh for each."""

    mesh: MeshState
    nodes: NodeState
    consumers: ConsumerState
    jobs: Jobs
    grants: Grants
    cursor: np.ndarray  # int64[producers]: next flit to inject
    visit: np.ndarray  # int64[producers]: number of the step that the producer is at
    last: np.ndarray  # int64[producers]: cycle of the last injection
    allowed: np.ndarray  # int64[producers]: cycle from which the next flit may go (E2), UNKNOWN without a grant
    sent: np.ndarray  # int64[flits]: cycle in which each was injected
    injecting: np.ndarray  # bool[producers]: scratch
    requests: np.ndarray  # uint8[PORTS]: scratch
    winners: np.ndarray  # int32[routers * PORTS, 3]: scratch


def new_registers(size, program, jobs):
    """The state before the first cycle."""
    producers = program.producers.router.size
    return Registers(
        new_mesh(size),
        new_nodes(program.consumers),
        new_consumers(program.consumers),
        jobs,
        new_grants(program.steps.need),
        program.flits.start[:-1].copy(),
        program.producers.first_visit.copy(),
        np.full(producers, program.consumers.begin - 1, np.int64),
        np.full(producers, UNKNOWN, np.int64),
        np.zeros(program.flits.event.size, np.int64),
        np.zeros(producers, np.bool_),
        np.zeros(PORTS, np.uint8),
        np.empty((size.routers * PORTS, 3), np.int32),
    )


@inner_kernel
def next_injection(program, registers, producer):
    """First cycle in which a producer may inject its next flit (E2, L4); UNKNOWN while its step has to wait."""
    flits, flit = program.flits, registers.cursor[producer]
    step, last = flits.step[flit], registers.last[producer]
    if flit > flits.start[producer] and flits.step[flit - 1] == step:
        return last + 1 + flits.silent[flit]
    start = registers.grants.granted[step]
    if start == UNKNOWN:
        return UNKNOWN
    if program.producers.waits.shape[0] > 0:
        for at in range(2):
            moment = program.producers.waits[registers.visit[producer], at]
            if moment != NONE:
                start = max(start, registers.jobs.known[moment])
        if start == UNKNOWN:
            return UNKNOWN
    return max(last + 1, start) + program.steps.scan[step] + 1 + flits.silent[flit]


@inner_kernel
def has_room(size, mesh, nodes, node_at, router, output, cycle):
    """Whether what lies behind an output has room at the start of this cycle (N3, C1)."""
    if output == LOCAL:
        return nodes.room[node_at[router]] <= cycle
    towards = neighbour(size.columns, router, output)
    return mesh.filled[towards, opposite(output)] < size.buffer_flits


@inner_kernel
def decide_grants(size, mesh, nodes, node_at, cycle, requests, winners):
    """Every grant of this cycle, decided from the state at its start (N3): rows (router, output, port) of `winners`."""
    found = 0
    for router in range(size.routers):
        if mesh.occupied[router] == 0:
            continue
        union = find_requests(mesh, router, cycle, requests)
        for output in range(PORTS):
            if not (union >> output) & 1 or mesh.free[router, output] > cycle:
                continue
            if not has_room(size, mesh, nodes, node_at, router, output, cycle):
                continue
            winners[found, 0] = router
            winners[found, 1] = output
            winners[found, 2] = arbitrate(mesh.pointer[router, output], output, requests)
            found += 1
    return found


@inner_kernel
def next_event(size, mesh, nodes, allowed, cycle):
    """The next cycle in which anything can change, after one in which nothing did; UNKNOWN: never."""
    earliest = UNKNOWN
    for router in range(size.routers):
        if mesh.occupied[router] > 0:
            earliest = min(earliest, wake_up(size, mesh, router, cycle))
    for node in range(nodes.room.size):
        if nodes.room[node] > cycle:
            earliest = min(earliest, nodes.room[node])
    for producer in range(allowed.size):
        if allowed[producer] > cycle:
            earliest = min(earliest, allowed[producer])
    return earliest


@inner_kernel
def find_injections(size, program, registers, cycle):
    """Mark in `injecting` who puts a flit into its router in this cycle (N5, L5); returns how many do."""
    found, claimed = 0, -1
    for producer in range(program.producers.router.size):
        waiting = registers.allowed[producer] == UNKNOWN
        if waiting and registers.cursor[producer] < program.flits.start[producer + 1]:
            registers.allowed[producer] = next_injection(program, registers, producer)
        router = program.producers.router[producer]
        room = router != claimed and registers.mesh.filled[router, LOCAL] < size.buffer_flits
        injects = room and registers.allowed[producer] <= cycle
        registers.injecting[producer] = injects
        if injects:
            found += 1
            claimed = router  # the producers of a router stand next to one another
    return found


@inner_kernel
def inject(size, program, registers, cycle, log):
    """Carry out the injections that `find_injections` marked."""
    flits, producers = program.flits, program.producers
    for producer in range(producers.router.size):
        if not registers.injecting[producer]:
            continue
        flit, router = registers.cursor[producer], producers.router[producer]
        push(size, registers.mesh, producers.masks, flits.tree, router, LOCAL, flit, cycle + 1)
        registers.sent[flit] = cycle
        registers.last[producer] = cycle
        registers.cursor[producer] += 1
        registers.allowed[producer] = UNKNOWN
        if flit + 1 < flits.start[producer + 1] and flits.step[flit + 1] != flits.step[flit]:
            registers.visit[producer] += 1
        if log.enabled:
            write(log, cycle, router, SEND, pack(log, flits, program.steps, program.services.channels, flit))


@inner_kernel
def service_of(program, flit, layer, consumer):
    """Cycles that a flit takes at a consumer (R4, C2)."""
    flits, services = program.flits, program.services
    event = flits.event[flit]
    if event < 0:
        return np.int64(1)
    row = (flits.active[flit] - 1) * services.events[layer] + event
    return np.int64(services.table[services.base[layer] + row * services.columns[layer] + services.column[consumer]])


@inner_kernel
def eject(program, registers, flit, router, arrival, arrivals, log):
    """Hand a flit to the consumer behind output L; returns whether the rules allow it to come now."""
    steps, consumers, state = program.steps, program.consumers, registers.consumers
    step = program.flits.step[flit]
    layer = steps.layer[step]
    consumer = consumers.at[layer, router]
    upcoming = state.step[consumer]
    in_order = upcoming >= 0 and steps.local[step] >= steps.local[upcoming]
    cycles = service_of(program, flit, layer, consumer)
    node, granted = consumers.node[consumer], registers.grants.granted[step]
    look, start = take(registers.nodes, state, consumer, node, cycles, granted, registers.sent[flit], arrival)
    if log.enabled:
        packed = pack(log, program.flits, steps, program.services.channels, flit)
        write(log, look, router, LOOKUP, packed)
        write(log, start, router, TAKE, packed)
    if program.flits.event[flit] < 0:
        count_end(registers, consumers, steps, consumer, step, log)
    elif arrivals.enabled:
        arrivals.rows[arrivals.filled[0], 0] = flit
        arrivals.rows[arrivals.filled[0], 1] = consumer
        arrivals.filled[0] += 1
    return in_order


@kernel
def run_program(size, program, registers, arrivals, log):
    """Send all flits to their consumers: (status, cycles, hops over links between routers).

    registers: from `new_registers`; modified in place; its consumers say afterwards what their cycles were spent on.
    """
    mesh, winners, flits, masks = registers.mesh, registers.winners, program.flits, program.producers.masks
    left, under_way = flits.event.size, 0  # flits not yet injected; places taken in buffers
    cycle, hops, status = np.int64(program.consumers.begin), 0, DONE
    if registers.jobs.length.size > 0:
        begin(registers.jobs, registers.grants, cycle)
    while left > 0 or under_way > 0:
        injecting = find_injections(size, program, registers, cycle)
        node_at = program.consumers.node_at
        found = decide_grants(size, mesh, registers.nodes, node_at, cycle, registers.requests, winners)
        if found == 0 and injecting == 0:
            cycle = next_event(size, mesh, registers.nodes, registers.allowed, cycle)
            if cycle == UNKNOWN:
                return DEADLOCK, np.int64(0), hops
            continue
        for winner in range(found):
            router, output, port = winners[winner, 0], winners[winner, 1], winners[winner, 2]
            flit = mesh.flit[router, port, mesh.head[router, port]]
            arrival = cycle + size.flit_cycles
            mesh.pointer[router, output] = port + 1 if port < PORTS - 1 else 0
            mesh.free[router, output] = arrival
            mesh.pending[router, port] &= ~np.uint8(1 << output)
            if log.enabled:
                packed = pack(log, flits, program.steps, program.services.channels, flit)
                write(log, cycle, router, GRANT, packed, output * PORTS + port)
                if mesh.pending[router, port] == 0:
                    write(log, cycle, router, POP, packed, port)
            if output == LOCAL:
                if not eject(program, registers, flit, router, arrival, arrivals, log):
                    status = OUT_OF_ORDER
            else:
                hops += 1
                under_way += 1
                towards = neighbour(size.columns, router, output)
                push(size, mesh, masks, flits.tree, towards, opposite(output), flit, arrival)
            # Nothing is granted twice from one head, so an empty mask is reached in its last grant only.
            if mesh.pending[router, port] == 0:
                pop(size, mesh, masks, flits.tree, router, port)
                under_way -= 1
        if injecting > 0:
            inject(size, program, registers, cycle, log)
            left -= injecting
            under_way += injecting
        cycle += 1
    if log.enabled:
        write_grants(program, registers, log)
    return status, finish(registers.nodes, registers.consumers, registers.jobs), hops


@inner_kernel
def write_grants(program, registers, log):
    """Log every grant of a step that came later than cycle 0 (C6)."""
    granted = registers.grants.granted
    for step in range(granted.size):
        if granted[step] > 0:
            named = name_step(log, program.steps.layer[step], program.steps.number[step])
            write(log, granted[step], 0, OPEN, named)
