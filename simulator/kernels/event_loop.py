"""The one loop: a phase of flits from producers to consumers, cycle by cycle; idle cycles are skipped."""

from typing import NamedTuple

import numpy as np

from .compiler import kernel
from .consumer import UNKNOWN, ConsumerState, Grants, finish, new_consumers, new_grants, take
from .neuron_array import deliver
from .router import LOCAL, PORTS, MeshState, arbitrate, find_requests, neighbour, new_mesh, opposite, pop, push, wake_up

DONE, DEADLOCK, OUT_OF_ORDER = 0, 1, 2


class Ports(NamedTuple):
    """Who stands at which router."""

    producer: np.ndarray  # int32[producers]: router of each producer
    consumer: np.ndarray  # int32[consumers]: router of each consumer
    fifo_flits: int
    masks: np.ndarray  # uint8[trees, routers]: outputs that a tree serves at a router, one bit per port


class Registers(NamedTuple):
    """All state of a phase; allocated by the caller, fresh for each phase."""

    mesh: MeshState
    consumers: ConsumerState
    grants: Grants
    consumer_at: np.ndarray  # int32[routers]: consumer at each router, -1 for none
    cursor: np.ndarray  # int64[producers]: next flit to inject
    last: np.ndarray  # int64[producers]: cycle of the last injection
    allowed: np.ndarray  # int64[producers]: cycle from which the next flit may go (C7), UNKNOWN without a grant
    injecting: np.ndarray  # bool[producers]: scratch
    requests: np.ndarray  # uint8[PORTS]: scratch
    winners: np.ndarray  # int32[routers * PORTS, 3]: scratch


def new_registers(size, ports, flits, steps):
    """The state of a phase before its first cycle."""
    producers, consumers = ports.producer.size, ports.consumer.size
    consumer_at = np.full(size.routers, -1, np.int32)
    consumer_at[ports.consumer] = np.arange(consumers, dtype=np.int32)
    return Registers(
        new_mesh(size),
        new_consumers(consumers, ports.fifo_flits, steps.contexts),
        new_grants(steps.closes.size, steps.contexts),
        consumer_at,
        flits.start[:-1].copy(),
        np.full(producers, -1, np.int64),
        np.full(producers, UNKNOWN, np.int64),
        np.zeros(producers, np.bool_),
        np.zeros(PORTS, np.uint8),
        np.empty((size.routers * PORTS, 3), np.int32),
    )


@kernel
def next_injection(flits, steps, grants, producer, cursor, last):
    """First cycle in which a producer may inject its next flit (C7); UNKNOWN while its step is not granted."""
    at = cursor[producer]
    step = flits.step[at]
    if at > flits.start[producer] and flits.step[at - 1] == step:
        return last[producer] + 1
    granted = grants.granted[step]
    if granted == UNKNOWN:
        return UNKNOWN
    return max(last[producer] + 1, granted) + steps.scan[step]


@kernel
def has_room(size, mesh, state, consumer_at, router, output, cycle):
    """Whether what lies behind an output has room at the start of this cycle (N3, C1)."""
    if output == LOCAL:
        return state.room[consumer_at[router]] <= cycle
    towards = neighbour(size.columns, router, output)
    return mesh.filled[towards, opposite(output)] < size.buffer_flits


@kernel
def decide_grants(size, mesh, state, consumer_at, cycle, requests, winners):
    """Every grant of this cycle, decided from the state at its start (N3): rows (router, output, port) of `winners`."""
    found = 0
    for router in range(size.routers):
        if mesh.occupied[router] == 0:
            continue
        union = find_requests(mesh, router, cycle, requests)
        for output in range(PORTS):
            if not (union >> output) & 1 or mesh.free[router, output] > cycle:
                continue
            if not has_room(size, mesh, state, consumer_at, router, output, cycle):
                continue
            winners[found, 0] = router
            winners[found, 1] = output
            winners[found, 2] = arbitrate(mesh.pointer[router, output], output, requests)
            found += 1
    return found


@kernel
def next_event(size, mesh, state, ports, allowed, cycle):
    """The next cycle in which anything can change, after one in which nothing did; UNKNOWN: never."""
    earliest = UNKNOWN
    for router in range(size.routers):
        if mesh.occupied[router] > 0:
            earliest = min(earliest, wake_up(size, mesh, router, cycle))
    for consumer in range(ports.consumer.size):
        if state.room[consumer] > cycle:
            earliest = min(earliest, state.room[consumer])
    for producer in range(ports.producer.size):
        if allowed[producer] > cycle:
            earliest = min(earliest, allowed[producer])
    return earliest


@kernel
def find_injections(size, ports, flits, steps, registers, cycle):
    """Mark in `injecting` who puts a flit into its router in this cycle (N5); returns how many do."""
    found = 0
    for producer in range(ports.producer.size):
        if registers.allowed[producer] == UNKNOWN and registers.cursor[producer] < flits.start[producer + 1]:
            registers.allowed[producer] = next_injection(
                flits, steps, registers.grants, producer, registers.cursor, registers.last
            )
        room = registers.mesh.filled[ports.producer[producer], LOCAL] < size.buffer_flits
        injects = room and registers.allowed[producer] <= cycle
        registers.injecting[producer] = injects
        found += injects
    return found


@kernel
def inject(size, ports, flits, registers, cycle):
    """Carry out the injections that `find_injections` marked."""
    for producer in range(ports.producer.size):
        if registers.injecting[producer]:
            flit = registers.cursor[producer]
            push(size, registers.mesh, ports.masks, flits.tree, ports.producer[producer], LOCAL, flit, cycle + 1)
            registers.last[producer] = cycle
            registers.cursor[producer] += 1
            registers.allowed[producer] = UNKNOWN


@kernel
def run_phase(size, ports, flits, steps, service, values, registers):
    """Send all flits of a phase to their consumers: (status, cycles, hops over links between routers).

    values: what `deliver` needs to add up the numbers, or its `enabled` is False and only time passes.
    registers: from `new_registers`; modified in place; its consumers say afterwards what their cycles were spent on.
    """
    mesh, state, winners = registers.mesh, registers.consumers, registers.winners
    left, under_way = flits.event.size, 0  # flits not yet injected; places taken in buffers
    cycle, hops, status = np.int64(0), 0, DONE
    while left > 0 or under_way > 0:
        injecting = find_injections(size, ports, flits, steps, registers, cycle)
        found = decide_grants(size, mesh, state, registers.consumer_at, cycle, registers.requests, winners)
        if found == 0 and injecting == 0:
            cycle = next_event(size, mesh, state, ports, registers.allowed, cycle)
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
            if output == LOCAL:
                consumer = registers.consumer_at[router]
                step, event = flits.step[flit], flits.event[flit]
                if step < state.step[consumer]:
                    status = OUT_OF_ORDER
                take(state, registers.grants, steps, service, consumer, event, step, arrival)
                if values.enabled and event >= 0:
                    deliver(values, consumer, event, step, flits.value[flit])
            else:
                hops += 1
                under_way += 1
                towards = neighbour(size.columns, router, output)
                push(size, mesh, ports.masks, flits.tree, towards, opposite(output), flit, arrival)
            # Nothing is granted twice from one head, so an empty mask is reached in its last grant only.
            if mesh.pending[router, port] == 0:
                pop(size, mesh, ports.masks, flits.tree, router, port)
                under_way -= 1
        if injecting > 0:
            inject(size, ports, flits, registers, cycle)
            left -= injecting
            under_way += injecting
        cycle += 1
    return status, finish(state), hops
