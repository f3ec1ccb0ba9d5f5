"""What takes flits in: event FIFO, look-up, row service, contexts, sweeps (rules C1 to C9, L6).

A consumer is a layer at a node (a core or a unit); FIFO, look-up, adders and sweep belong to the node. Neither is ever
stepped. Once a flit is granted to a node, its start, its end and everything that follows are known, because nothing
that comes later can delay it; so they are computed at the grant.
"""

from typing import NamedTuple

import numpy as np

from .compiler import inner_kernel
from .log import RELEASE, SWEEP, name_step, write
from .schedule import UNKNOWN, let_in, pass_moment

# What a node's cycles are spent on; program.py splits SERVICE by the causes of rule R4.
SERVICE, GRANT_WAIT, FIFO_EMPTY, NETWORK, NEURON_SWEEP, BARRIER = range(6)
SPENDINGS = 6


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
    """The consumers of all layers at work."""

    at: np.ndarray  # int32[layers, routers]: the layer's consumer behind a router's output L, NONE for none
    node: np.ndarray  # int32[consumers]
    sweep: np.ndarray  # int64[consumers]: cycles per closed output and timestep
    expected: np.ndarray  # int32[consumers]: end-of-token flits per step (F3)
    first: np.ndarray  # int32[consumers]: its first step, NONE for none
    router: np.ndarray  # int32[nodes]
    node_at: np.ndarray  # int32[routers]: NONE for none
    contexts: int
    fifo_flits: int
    begin: int  # cycle from which time counts (L3)


class NodeState(NamedTuple):
    """Registers of all nodes; modified in place."""

    looks: np.ndarray  # int64[nodes, fifo_flits]: ring of the last look-up cycles
    slot: np.ndarray  # int32[nodes]: next place in the ring
    room: np.ndarray  # int64[nodes]: first cycle in which output L may grant again (C1)
    taken: np.ndarray  # int64[nodes]: cycle in which the last flit left the look-up register
    free: np.ndarray  # int64[nodes]: end of the last service
    swept: np.ndarray  # int64[nodes]: cycle from which the next sweep may begin
    released: np.ndarray  # int64[nodes]: cycle of the last release
    last: np.ndarray  # int32[nodes]: consumer of the last flit; before the first, that of the node's first layer


class ConsumerState(NamedTuple):
    """Registers of all consumers; modified in place."""

    step: np.ndarray  # int32[consumers]: the step to be swept next, NONE after the last
    flits: np.ndarray  # int64[consumers]: flits taken so far
    ends: np.ndarray  # int32[consumers, contexts]: end-of-token flits that have come for each open step
    closed: np.ndarray  # int64[consumers, contexts]: when a step closed that is not swept yet, UNKNOWN for the others
    spent: np.ndarray  # int64[consumers, SPENDINGS]: cycles (C9, L10)


def new_nodes(consumers):
    """Idle nodes."""
    nodes = consumers.router.size
    begin = np.full(nodes, consumers.begin, np.int64)
    last = np.zeros(nodes, np.int32)
    last[consumers.node[::-1]] = np.arange(consumers.node.size)[::-1]
    return NodeState(
        np.full((nodes, consumers.fifo_flits), -1, np.int64),
        np.zeros(nodes, np.int32),
        np.zeros(nodes, np.int64),
        begin.copy(),
        begin.copy(),
        begin.copy(),
        begin.copy(),
        last,
    )


def new_consumers(consumers):
    """Consumers before their first flit."""
    count = consumers.node.size
    return ConsumerState(
        consumers.first.copy(),
        np.zeros(count, np.int64),
        np.zeros((count, consumers.contexts), np.int32),
        np.full((count, consumers.contexts), UNKNOWN, np.int64),
        np.zeros((count, SPENDINGS), np.int64),
    )


@inner_kernel
def keep_look(nodes, node, look):
    """Remember when a flit leaves the FIFO: the one `fifo_flits` places behind it may be granted a cycle later (C1)."""
    following = nodes.slot[node] + 1
    if following == nodes.looks.shape[1]:
        following = 0
    nodes.looks[node, nodes.slot[node]] = look
    nodes.slot[node] = following
    nodes.room[node] = nodes.looks[node, following] + 1


@inner_kernel
def take(nodes, state, consumer, node, cycles, granted, sent, arrival):
    """Take one flit in; book the cycles since the last service, and those of this one (C1, C9).

    cycles: its service.  granted, sent: when its step was granted, and when its producer sent it.
    Returns the cycles of its look-up and of its start.
    """
    before = nodes.free[node]
    look = max(arrival, nodes.taken[node])
    start = max(look + 1, before)
    waited = min(start, max(before, granted))
    empty = min(start, max(waited, sent))
    state.spent[consumer, GRANT_WAIT] += waited - before
    state.spent[consumer, FIFO_EMPTY] += empty - waited
    state.spent[consumer, NETWORK] += start - empty
    state.spent[consumer, SERVICE] += cycles
    state.flits[consumer] += 1
    keep_look(nodes, node, look)
    nodes.taken[node] = start
    nodes.free[node] = start + cycles
    nodes.last[node] = consumer
    return look, start


@inner_kernel
def count_end(registers, consumers, steps, consumer, step, log):
    """Count an end-of-token flit; the last one closes the step (C3), and closed steps are swept in order.

    registers: those of the event loop, modified in place.
    """
    state, context = registers.consumers, steps.context[step]
    state.ends[consumer, context] += 1
    if state.ends[consumer, context] < consumers.expected[consumer]:
        return
    state.ends[consumer, context] = 0
    state.closed[consumer, context] = registers.nodes.free[consumers.node[consumer]]
    # Where steps have different producers, a later one may close before an earlier one, and waits for its sweep.
    upcoming = state.step[consumer]
    while upcoming >= 0 and state.closed[consumer, steps.context[upcoming]] != UNKNOWN:
        sweep(registers, consumers, steps, consumer, upcoming, log)
        upcoming = steps.after[upcoming]
        state.step[consumer] = upcoming


@inner_kernel
def sweep(registers, consumers, steps, consumer, step, log):
    """Sweep a closed step and release it (C4 to C6)."""
    nodes, closed = registers.nodes, registers.consumers.closed
    node, context = consumers.node[consumer], steps.context[step]
    begin = max(closed[consumer, context], nodes.swept[node])
    length = steps.sweeps[step] * consumers.sweep[consumer]
    release = begin + length + 1
    closed[consumer, context] = UNKNOWN
    nodes.swept[node] = begin + max(np.int64(1), length)
    nodes.released[node] = release
    if log.enabled:
        named = name_step(log, steps.layer[step], steps.local[step])
        write(log, begin, consumers.router[node], SWEEP, named)
        write(log, release, consumers.router[node], RELEASE, named)
    following = steps.following[step]
    if following >= 0:
        let_in(registers.grants, following, release + 1)
    if registers.jobs.release.size > 0:
        moment = registers.jobs.release[consumer] + steps.local[step]
        pass_moment(registers.jobs, registers.grants, moment, release)


@inner_kernel
def finish(nodes, state, jobs):
    """End of the run (C8, L9), after booking every node's last cycles (C9)."""
    end = np.int64(0)
    for moment in range(jobs.known.size - jobs.length.size, jobs.known.size):
        end = max(end, jobs.known[moment])
    for node in range(nodes.released.size):
        end = max(end, nodes.released[node] + 1)
    for node in range(nodes.released.size):
        consumer, last = nodes.last[node], nodes.released[node]
        state.spent[consumer, NEURON_SWEEP] += last - nodes.free[node]
        state.spent[consumer, BARRIER] += end - last
    return end
