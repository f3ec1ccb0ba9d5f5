"""What takes flits in: event FIFO, look-up, row service, contexts, sweeps (rules C1 to C9, L6).

A consumer is a layer at a node (a core or a unit); FIFO, look-up, adders and sweep belong to the node. Neither is ever
stepped. Once a flit is granted to a node, its start, its end and everything that follows are known, because nothing
that comes later can delay it; so they are computed at the grant.
"""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel, inner_kernel
from .log import RELEASE, SWEEP, name_step, write
from .schedule import UNKNOWN, let_in, pass_moment

# What a node's cycles are spent on; program.py splits SERVICE by the causes of rule R4.
SERVICE, GRANT_WAIT, FIFO_EMPTY, NETWORK, NEURON_SWEEP, BARRIER = range(6)
SPENDINGS = 6

BEYOND = np.int32(2**31 - 1)  # all numbers of steps


class Steps(NamedTuple):
    """The steps of all layers at work. A step concerns all consumers of its layer, or one alone (P3)."""

    layer: np.ndarray  # int32[steps]: place of its layer among those at work
    number: np.ndarray  # int32[steps]: the step as its layer counts it, k of rule G4
    local: np.ndarray  # int32[steps]: the step as its consumers count it, j of rule C6
    context: np.ndarray  # int32[steps]: local modulo contexts
    after: np.ndarray  # int32[steps]: the step after it at its consumers, NONE after the last
    following: np.ndarray  # int32[steps]: the step that its release grants, NONE for the last
    need: np.ndarray  # int32[steps]: consumers and gates that have to let it in before it is granted (C6, L8)
    sweeps: np.ndarray  # int32[steps]: timesteps x outputs that the step closes (C4)
    scan: np.ndarray  # int32[steps]: cycles of scanning in front of it (T4)


class Consumers(NamedTuple):
    """The consumers of all layers at work: that of layer l behind output L of router r has the number l x routers + r.

    Where a layer has none, the number is not used.
    """

    sweep: np.ndarray  # int64[consumers]: cycles per closed output and timestep
    expected: np.ndarray  # int32[consumers]: end-of-token flits per step (F3)
    first: np.ndarray  # int32[consumers]: its first step, NONE for none
    release: np.ndarray  # int32[consumers]: the moment of its first release where layers are tied (schedule.py)
    nodes: np.ndarray  # int64[nodes]: routers with a node that takes flits in
    last: np.ndarray  # int32[nodes]: the consumer of the node's first layer
    routers: int
    contexts: int
    fifo_flits: int
    begin: int  # cycle from which time counts (L3)


class NodeState(NamedTuple):
    """Registers of the nodes, by router; modified in place."""

    looks: np.ndarray  # int64[routers x fifo_flits]: rings of the last look-up cycles
    slot: np.ndarray  # int32[routers]: next place in the ring
    taken: np.ndarray  # int64[routers]: cycle in which the last flit left the look-up register
    free: np.ndarray  # int64[routers]: end of the last service
    swept: np.ndarray  # int64[routers]: cycle from which the next sweep may begin
    released: np.ndarray  # int64[routers]: cycle of the last release
    last: np.ndarray  # int32[routers]: consumer of the last flit; before the first, that of the node's first layer


class ConsumerState(NamedTuple):
    """Registers of all consumers; modified in place."""

    step: np.ndarray  # int32[consumers]: the step to be swept next, NONE after the last
    upcoming: np.ndarray  # int32[consumers]: its number there; beyond all numbers after the last
    ends: np.ndarray  # int32[consumers, contexts]: end-of-token flits that have come for each open step
    closed: np.ndarray  # int64[consumers, contexts]: when a step closed that is not swept yet, UNKNOWN for the others
    spent: np.ndarray  # int64[consumers x SPENDINGS]: cycles (C9, L10)


def new_nodes(consumers):
    """Idle nodes."""
    routers = consumers.routers
    begin = np.full(routers, consumers.begin, np.int64)
    last = np.zeros(routers, np.int32)
    last[consumers.nodes] = consumers.last
    return NodeState(
        np.full(routers * consumers.fifo_flits, -1, np.int64),
        np.zeros(routers, np.int32),
        begin.copy(),
        begin.copy(),
        begin.copy(),
        begin.copy(),
        last,
    )


def new_consumers(consumers):
    """Consumers before their first flit."""
    count = consumers.first.size
    return ConsumerState(
        consumers.first.copy(),
        np.where(consumers.first >= 0, 0, BEYOND).astype(np.int32),
        np.zeros((count, consumers.contexts), np.int32),
        np.full((count, consumers.contexts), UNKNOWN, np.int64),
        np.zeros(count * SPENDINGS, np.int64),
    )


@inlined_kernel
def keep_look(nodes, router, fifo_flits, look):
    """Remember when a flit leaves the FIFO: the one `fifo_flits` places behind it may be granted a cycle later (C1).

    Returns the first cycle in which output L may grant again.
    """
    slot, first = nodes.slot[router], router * fifo_flits
    nodes.looks[np.uint64(first + slot)] = look
    slot = slot + 1 if slot + 1 < fifo_flits else 0
    nodes.slot[router] = slot
    return nodes.looks[np.uint64(first + slot)] + 1


@inlined_kernel
def take(registers, consumer, router, step, flit, look, cycles):
    """Take one flit from the look-up register as soon as the adders are free; returns the cycle (C1).

    registers: those of the event loop, modified in place.  cycles: of the flit's service.
    """
    nodes = registers.nodes
    start = max(look + 1, nodes.free[router])
    if start > nodes.free[router]:
        book_wait(registers, consumer, router, step, flit, start)
    registers.consumers.spent[consumer * SPENDINGS + SERVICE] += cycles
    nodes.taken[router] = start
    nodes.free[router] = start + cycles
    nodes.last[router] = consumer
    return start


@inlined_kernel
def book_wait(registers, consumer, router, step, flit, start):
    """Book the cycles between the services of two flits (C9)."""
    before, spent, first = registers.nodes.free[router], registers.consumers.spent, consumer * SPENDINGS
    waited = min(start, max(before, registers.grants.granted[step]))
    empty = min(start, max(waited, registers.producers.sent[flit]))
    spent[first + GRANT_WAIT] += waited - before
    spent[first + FIFO_EMPTY] += empty - waited
    spent[first + NETWORK] += start - empty


@inlined_kernel
def count_end(registers, consumers, steps, consumer, router, step, log):
    """Count an end-of-token flit; the last one closes the step (C3), and closed steps are swept in order.

    registers: those of the event loop, modified in place.
    """
    state, context = registers.consumers, steps.context[step]
    state.ends[consumer, context] += 1
    if state.ends[consumer, context] == consumers.expected[consumer]:
        state.ends[consumer, context] = 0
        close_step(registers, consumers, steps, consumer, router, step, log)


@inner_kernel
def close_step(registers, consumers, steps, consumer, router, step, log):
    """A step has closed: sweep it, and whatever closed before it and waited for it."""
    state = registers.consumers
    state.closed[consumer, steps.context[step]] = registers.nodes.free[router]
    # Where steps have different producers, a later one may close before an earlier one, and waits for its sweep.
    upcoming = state.step[consumer]
    while upcoming >= 0 and state.closed[consumer, steps.context[upcoming]] != UNKNOWN:
        sweep(registers, consumers, steps, consumer, router, upcoming, log)
        upcoming = steps.after[upcoming]
        state.step[consumer] = upcoming
        state.upcoming[consumer] = steps.local[upcoming] if upcoming >= 0 else BEYOND


@inner_kernel
def sweep(registers, consumers, steps, consumer, router, step, log):
    """Sweep a closed step and release it (C4 to C6)."""
    nodes, closed, context = registers.nodes, registers.consumers.closed, steps.context[step]
    begin = max(closed[consumer, context], nodes.swept[router])
    length = steps.sweeps[step] * consumers.sweep[consumer]
    release = begin + length + 1
    closed[consumer, context] = UNKNOWN
    nodes.swept[router] = begin + max(np.int64(1), length)
    nodes.released[router] = release
    if log is not None:
        named = name_step(log, steps.layer[step], steps.local[step])
        write(log, begin, router, SWEEP, named)
        write(log, release, router, RELEASE, named)
    following = steps.following[step]
    if following >= 0:
        let_in(registers.grants, following, release + 1)
    if registers.jobs.length.size > 0:
        moment = consumers.release[consumer] + steps.local[step]
        pass_moment(registers.jobs, registers.grants, moment, release)


@inner_kernel
def finish(consumers, nodes, state, jobs):
    """End of the run (C8, L9), after booking every node's last cycles (C9)."""
    end = np.int64(0)
    for moment in range(jobs.known.size - jobs.length.size, jobs.known.size):
        end = max(end, jobs.known[moment])
    for node in range(consumers.nodes.size):
        end = max(end, nodes.released[consumers.nodes[node]] + 1)
    for node in range(consumers.nodes.size):
        router = consumers.nodes[node]
        first, last = nodes.last[router] * SPENDINGS, nodes.released[router]
        state.spent[first + NEURON_SWEEP] += last - nodes.free[router]
        state.spent[first + BARRIER] += end - last
    return end
