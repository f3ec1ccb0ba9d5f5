"""What takes flits in: event FIFO, row service, contexts, sweeps (rules C1 to C9), one per core or unit.

A consumer is never stepped. Once a flit is granted to it, its start, its end and everything that follows are known,
because nothing that comes later can delay it; so they are computed at the grant.
"""

from typing import NamedTuple

import numpy as np

from .compiler import kernel
from .router import NEVER

# What a consumer's cycles are spent on; phase.py splits SERVICE by the causes of rule R4.
SERVICE, GRANT_WAIT, NETWORK, NEURON_SWEEP, BARRIER = range(5)
SPENDINGS = 5
UNKNOWN = NEVER  # a grant that is not given yet


class Steps(NamedTuple):
    """The steps of a phase."""

    context: np.ndarray  # int32[steps]: step modulo contexts
    closes: np.ndarray  # int32[steps]: outputs that the step closes (C4)
    scan: np.ndarray  # int32[steps]: cycles of scanning in front of it (T4)
    sweep: np.ndarray  # int64[consumers]: cycles per closed output
    expected: np.ndarray  # int32[consumers]: end-of-token flits per step (F3)
    contexts: int


class ConsumerState(NamedTuple):
    """Registers of all consumers; modified in place."""

    starts: np.ndarray  # int64[consumers, fifo_flits]: ring of the last start cycles
    slot: np.ndarray  # int32[consumers]: next place in the ring
    room: np.ndarray  # int64[consumers]: first cycle in which output L may grant again (C1)
    taken: np.ndarray  # int64[consumers]: flits granted so far
    free: np.ndarray  # int64[consumers]: end of the last service
    swept: np.ndarray  # int64[consumers]: end of the last sweep
    step: np.ndarray  # int32[consumers]: steps closed so far; they close in order
    ends: np.ndarray  # int32[consumers, contexts]: end-of-token flits that have come for each open step
    spent: np.ndarray  # int64[consumers, SPENDINGS]: cycles (C9)


class Grants(NamedTuple):
    """When steps are granted (C6); modified in place."""

    released: np.ndarray  # int32[steps]: consumers that have released the step
    latest: np.ndarray  # int64[steps]: latest release so far
    granted: np.ndarray  # int64[steps]: cycle of the grant, UNKNOWN before


def new_consumers(consumers, fifo_flits, contexts):
    """Idle consumers."""
    return ConsumerState(
        np.full((consumers, fifo_flits), -1, np.int64),
        np.zeros(consumers, np.int32),
        np.zeros(consumers, np.int64),
        np.zeros(consumers, np.int64),
        np.zeros(consumers, np.int64),
        np.zeros(consumers, np.int64),
        np.zeros(consumers, np.int32),
        np.zeros((consumers, contexts), np.int32),
        np.zeros((consumers, SPENDINGS), np.int64),
    )


def new_grants(steps, contexts):
    """The first `contexts` steps are granted at cycle 0."""
    granted = np.full(steps, UNKNOWN, np.int64)
    granted[:contexts] = 0
    return Grants(np.zeros(steps, np.int32), np.zeros(steps, np.int64), granted)


@kernel
def keep_start(state, consumer, start):
    """Remember when a flit leaves the FIFO: the one `fifo_flits` places behind it may be granted a cycle later (C1)."""
    following = state.slot[consumer] + 1
    if following == state.starts.shape[1]:
        following = 0
    state.starts[consumer, state.slot[consumer]] = start
    state.slot[consumer] = following
    state.room[consumer] = state.starts[consumer, following] + 1
    state.taken[consumer] += 1


@kernel
def take(state, grants, steps, service, consumer, event, step, arrival):
    """Take one flit in (event < 0: end-of-token); book the cycles since the last service, and those of this one.

    service: int32[events, consumers], cycles (R4).
    """
    before = state.free[consumer]
    start = max(arrival, before)
    allowed = min(start, max(before, grants.granted[step] + steps.scan[step]))
    cycles = np.int64(1) if event < 0 else np.int64(service[event, consumer])
    state.spent[consumer, GRANT_WAIT] += allowed - before
    state.spent[consumer, NETWORK] += start - allowed
    state.spent[consumer, SERVICE] += cycles
    keep_start(state, consumer, start)
    state.free[consumer] = start + cycles
    if event < 0:
        count_end(state, grants, steps, consumer, step)


@kernel
def count_end(state, grants, steps, consumer, step):
    """Count an end-of-token flit; the last one closes the step, sweeps and releases it (C3 to C6)."""
    context = steps.context[step]
    state.ends[consumer, context] += 1
    if state.ends[consumer, context] < steps.expected[consumer]:
        return
    # Each producer ends k before k + 1, so the last end of k comes before the last of k + 1: steps close in order.
    state.ends[consumer, context] = 0
    state.step[consumer] += 1
    begin = max(state.free[consumer], state.swept[consumer])
    release = begin + steps.closes[step] * steps.sweep[consumer]
    state.swept[consumer] = release
    grants.released[step] += 1
    grants.latest[step] = max(grants.latest[step], release)
    following = step + steps.contexts
    if grants.released[step] == state.taken.size and following < grants.granted.size:
        grants.granted[following] = grants.latest[step] + 1


@kernel
def finish(state):
    """End of the phase (C8), after booking every consumer's last cycles (C9)."""
    end = np.int64(0)
    for consumer in range(state.swept.size):
        end = max(end, state.swept[consumer])
    for consumer in range(state.swept.size):
        state.spent[consumer, NEURON_SWEEP] += state.swept[consumer] - state.free[consumer]
        state.spent[consumer, BARRIER] += end - state.swept[consumer]
    return end
