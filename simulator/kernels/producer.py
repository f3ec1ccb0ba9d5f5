"""The encoders at work: when each may put its next flit into its router (rules E2, N5, L4, L5)."""

from typing import NamedTuple

import numpy as np

from .alarms import set_alarm
from .compiler import inlined_kernel, inner_kernel
from .log import SEND, pack, write
from .planes import ALL_SET, NONE_SET, bit, lowest, rest, word_at, words_of
from .router import LOCAL, PITCH, head_of, push, want
from .schedule import NONE, UNKNOWN

ALLOWED = 0  # the producers' alarms come first


class Producers(NamedTuple):
    """The encoders: one for each node and layer that it sends to; of one node those of later layers first (L5)."""

    router: np.ndarray  # int32[producers]
    at: np.ndarray  # int32[routers + 1]: a router's producers are at[r] to at[r + 1] - 1
    waits: np.ndarray  # int32[visits, 2]: moments that a producer's visit to a step waits for (L4), NONE for none
    first_visit: np.ndarray  # int64[producers]: its visits to steps are numbered on from here
    masks: np.ndarray  # uint8[trees, routers]: outputs that a tree serves at a router, one bit per port


# A flit's label: its row in the table of services (R4), NONE for an end of token; the first consumer of its layer; its
# step, and the step's number at its consumers. Put together once, when it is sent, because many cores will look at it.
SERVICE_ROW, CONSUMERS, STEP, NUMBER = range(4)
LABELS = 4


class ProducerState(NamedTuple):
    """Registers of all producers, and what is known of each flit once it is sent; modified in place."""

    cursor: np.ndarray  # int64[producers]: next flit to send
    visit: np.ndarray  # int64[producers]: number of the step that the producer is at
    last: np.ndarray  # int64[producers]: cycle of the last flit
    waiting: np.ndarray  # uint64[words]: plane of those whose step may not begin yet
    allowed: np.ndarray  # uint64[words]: plane of those that may send as far as they are concerned (E2)
    room: np.ndarray  # uint64[words]: plane of those in front of whom input L has room (N5)
    sending: np.ndarray  # uint64[words]: plane of those that want to send in this cycle
    sent: np.ndarray  # int64[flits]: cycle in which each was sent
    label: np.ndarray  # int32[flits x LABELS]: what its consumers look at


def new_producers(flits, producers, begin):
    """Producers in front of their first flit."""
    count = producers.router.size
    words = words_of(count)
    waiting = np.zeros(words, np.uint64)
    for producer in np.flatnonzero(np.diff(flits.start)).tolist():
        waiting[producer // 64] |= np.uint64(1 << producer % 64)
    return ProducerState(
        flits.start[:-1].copy(),
        producers.first_visit.copy(),
        np.full(count, begin - 1, np.int64),
        waiting,
        np.zeros(words, np.uint64),
        np.full(words, ALL_SET),
        np.zeros(words, np.uint64),
        np.empty(flits.event.size, np.int64),
        np.empty(flits.event.size * LABELS, np.int32),
    )


@inner_kernel
def start_of_step(program, registers, producer):
    """First cycle in which a producer may send the first flit of its step (E2, L4); UNKNOWN while it has to wait."""
    state, flit = registers.producers, registers.producers.cursor[producer]
    step = program.flits.step[flit]
    start = registers.grants.granted[step]
    if start == UNKNOWN:
        return UNKNOWN
    if program.producers.waits.shape[0] > 0:
        for at in range(2):
            moment = program.producers.waits[state.visit[producer], at]
            if moment != NONE:
                start = max(start, registers.jobs.known[moment])
        if start == UNKNOWN:
            return UNKNOWN
    return max(state.last[producer] + 1, start) + program.steps.scan[step] + 1 + program.flits.silent[flit]


@inner_kernel
def begin_steps(program, registers, cycle):
    """Let those begin that waited for something which has become known."""
    state = registers.producers
    for word in range(state.waiting.size):
        left = state.waiting[word]
        while left != NONE_SET:
            producer, mine = 64 * word + lowest(left), left & ~rest(left)
            left = rest(left)
            start = start_of_step(program, registers, producer)
            if start == UNKNOWN:
                continue
            state.waiting[word] &= ~mine
            if start <= cycle:
                state.allowed[word] |= mine
            else:
                set_alarm(registers.alarms, ALLOWED, producer, cycle, start)


@inlined_kernel
def find_sending(state):
    """Who wants to send in this cycle and has room, from the state at its start; returns whether anybody."""
    some = NONE_SET
    for word in range(state.sending.size):
        state.sending[word] = state.allowed[word] & state.room[word]
        some |= state.sending[word]
    return some != NONE_SET


@inlined_kernel
def send_all(size, program, registers, cycle, log):
    """Send what `find_sending` found: one flit per router, of the latest layer that wants to (L5); returns how many."""
    count, router = 0, -1
    for word in range(registers.producers.sending.size):
        left = registers.producers.sending[word]
        while left != NONE_SET:
            producer = 64 * word + lowest(left)
            left = rest(left)
            if program.producers.router[producer] == router:
                continue
            router = program.producers.router[producer]
            send(size, program, registers, producer, router, cycle, log)
            count += 1
    return count


@inlined_kernel
def send(size, program, registers, producer, router, cycle, log):
    """Put a producer's next flit into input L of its router, and see when the one after may follow."""
    flits, state = program.flits, registers.producers
    flit = state.cursor[producer]
    mesh, at = registers.mesh, np.uint32(router * PITCH + LOCAL)
    filled = push(mesh, at, flit, cycle + 1)
    want(mesh, program.producers.masks, program.flits.tree[head_of(mesh, at)], at, filled == 0)
    if filled + 1 == size.buffer_flits:
        for neighbour in range(program.producers.at[router], program.producers.at[router + 1]):
            state.room[word_at(neighbour)] &= ~bit(neighbour)
    state.sent[flit] = cycle
    put_label(program, state.label, flit)
    state.last[producer] = cycle
    state.cursor[producer] = flit + 1
    if log is not None:
        write(log, cycle, router, SEND, pack(log, flits, program.steps, program.services.channels, flit))
    more = flit + 1 < flits.start[producer + 1]
    if more and flits.step[flit + 1] == flits.step[flit]:
        silent = flits.silent[flit + 1]
        if silent == 0:
            return
        set_alarm(registers.alarms, ALLOWED, producer, cycle, cycle + 1 + silent)
    elif more:
        state.visit[producer] += 1
        state.waiting[word_at(producer)] |= bit(producer)
        registers.grants.news[0] += 1
    state.allowed[word_at(producer)] &= ~bit(producer)


@inlined_kernel
def put_label(program, label, flit):
    """What the flit's consumers look at."""
    flits, steps, services, at = program.flits, program.steps, program.services, flit * LABELS
    step, event = flits.step[flit], flits.event[flit]
    layer = steps.layer[step]
    label[at + CONSUMERS] = layer * program.consumers.routers
    label[at + STEP] = step
    label[at + NUMBER] = steps.local[step]
    label[at + SERVICE_ROW] = NONE
    if event >= 0:
        row = (flits.active[flit] - 1) * services.events[layer] + event
        label[at + SERVICE_ROW] = services.base[layer] + row * services.columns[layer]


@inlined_kernel
def make_room(producers, state, router):
    """Input L of a router has room again."""
    for producer in range(producers.at[router], producers.at[router + 1]):
        state.room[word_at(producer)] |= bit(producer)
