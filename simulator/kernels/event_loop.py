"""The one loop: flits from producers to consumers, cycle by cycle; idle cycles are skipped.

Each cycle is decided from the state at its start, and then carried out. What is known to happen later rings an alarm.
"""

from typing import NamedTuple

import numpy as np

from .alarms import NEVER, Alarms, go_off, new_alarms, next_alarm, set_alarm
from .compiler import inlined_kernel, inner_kernel, kernel
from .consumer import (
    Consumers,
    ConsumerState,
    NodeState,
    Steps,
    count_end,
    finish,
    keep_look,
    new_consumers,
    new_nodes,
    take,
)
from .encoder import Flits
from .log import GRANT, LOOKUP, OPEN, POP, TAKE, name_step, pack, write
from .planes import NONE_SET, bit, lowest, rest, word_at, words_of
from .producer import (
    CONSUMERS,
    LABELS,
    NUMBER,
    SERVICE_ROW,
    STEP,
    Producers,
    ProducerState,
    begin_steps,
    find_sending,
    make_room,
    new_producers,
    send_all,
)
from .router import (
    LOCAL,
    LOCALS,
    PITCH,
    PORTS,
    MeshState,
    decide_grants,
    head_of,
    new_mesh,
    place_in,
    pop,
    push,
    want,
    winner_of,
)
from .schedule import Grants, Jobs, begin, new_grants

DONE, DEADLOCK, OUT_OF_ORDER = 0, 1, 2


class Services(NamedTuple):
    """Cycles of events (R4): each layer's int32[batch, events, columns], one after the other, from base[layer] on."""

    table: np.ndarray  # int32[all]
    base: np.ndarray  # int64[layers]
    events: np.ndarray  # int64[layers]
    columns: np.ndarray  # int64[layers]
    column: np.ndarray  # uint32[consumers]
    channels: np.ndarray  # int64[layers]: width of the stream that the layer reads


class Arrivals(NamedTuple):
    """Which events came where, in order of their grants; kept where the chip adds the numbers up itself."""

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
    """All state of a run; allocated by the caller, fresh for each.

    Alarms: a plane of the producers, who are allowed to send; one of the outputs, for the room behind outputs L; where
    a flit holds an output for several cycles, also one of the outputs, which are idle again, and one of the inputs,
    whose heads arrive.
    """

    mesh: MeshState
    nodes: NodeState
    consumers: ConsumerState
    producers: ProducerState
    jobs: Jobs
    grants: Grants
    alarms: Alarms


def new_registers(size, program, jobs):
    """The state before the first cycle."""
    words = words_of(size.routers * PITCH)
    return Registers(
        new_mesh(size),
        new_nodes(program.consumers),
        new_consumers(program.consumers),
        new_producers(program.flits, program.producers, program.consumers.begin),
        jobs,
        new_grants(program.steps.need),
        new_alarms(words_of(program.producers.router.size) + words * (1 if size.flit_cycles == 1 else 3)),
    )


@inlined_kernel
def ring(program, registers, cycle):
    """Everything that was known to happen in this cycle."""
    mesh, alarms, producing = registers.mesh, registers.alarms, registers.producers.allowed.size
    words = mesh.granted.size
    for word in range(producing):
        registers.producers.allowed[word] |= go_off(alarms, word, cycle)
    for word in range(words):
        mesh.room[word] |= go_off(alarms, producing + word, cycle)
    if alarms.words > producing + words:
        for word in range(words):
            mesh.idle[word] |= go_off(alarms, producing + words + word, cycle)
            show_arrived(program, mesh, word, go_off(alarms, producing + 2 * words + word, cycle))


@inner_kernel
def show_arrived(program, mesh, word, inputs):
    """Heads that have arrived ask for their outputs."""
    while inputs != NONE_SET:
        at = np.uint32(64 * word + lowest(inputs))
        inputs = rest(inputs)
        want(mesh, program.producers.masks, program.flits.tree[head_of(mesh, at)], at, True)


@inner_kernel
def hold_output(size, registers, output, cycle):
    """A granted flit holds its output for s cycles (F4)."""
    mesh = registers.mesh
    mesh.idle[word_at(output)] &= ~bit(output)
    first = registers.producers.allowed.size + mesh.granted.size
    set_alarm(registers.alarms, first, output, cycle, cycle + size.flit_cycles)


@inlined_kernel
def show_head(size, program, registers, at, new, cycle):
    """If the head of an input is `new`, it asks for its outputs from its arrival on, at the earliest next cycle."""
    mesh, place = registers.mesh, place_in(registers.mesh, at, 0)
    if size.flit_cycles > 1 and new and mesh.arrival[place] > cycle + 1:
        first = registers.producers.allowed.size + 2 * mesh.granted.size
        set_alarm(registers.alarms, first, at, cycle, mesh.arrival[place])
    else:
        want(mesh, program.producers.masks, program.flits.tree[mesh.flit[place]], at, new)


@inlined_kernel
def move(size, program, registers, output, flit, cycle):
    """A granted flit goes over a link into the next router's buffer."""
    mesh, at = registers.mesh, registers.mesh.target[output]
    filled = push(mesh, at, flit, cycle + size.flit_cycles)
    if size.flit_cycles > 1:
        hold_output(size, registers, output, cycle)
    show_head(size, program, registers, at, filled == 0, cycle)
    full = np.uint64(filled + 1 == size.buffer_flits)
    mesh.room[word_at(output)] &= ~(full << np.uint64(output & 63))


@inlined_kernel
def leave(size, program, registers, at, cycle):
    """A head has been served: it leaves, and whoever fills the buffer sees its room in the next cycle (N4)."""
    mesh = registers.mesh
    filled = pop(mesh, at)
    show_head(size, program, registers, at, filled > 0, cycle)
    if at & (PITCH - 1) == LOCAL:
        make_room(program.producers, registers.producers, at >> 3)
    else:
        source = mesh.source[at]
        mesh.room[word_at(source)] |= bit(source)


@inlined_kernel
def deliver(size, program, registers, output, flit, cycle, arrivals, log):
    """Hand a flit to the consumer behind output L; returns whether the rules allow it to come now."""
    steps, consumers, nodes, router = program.steps, program.consumers, registers.nodes, np.uint32(output >> 3)
    label, at = registers.producers.label, flit * LABELS
    row, step, consumer = label[at + SERVICE_ROW], label[at + STEP], np.uint32(label[at + CONSUMERS] + router)
    in_order, cycles = label[at + NUMBER] >= registers.consumers.upcoming[consumer], np.int64(1)
    if row >= 0:
        cycles = np.int64(program.services.table[np.uint64(row + program.services.column[consumer])])
    look = max(cycle + size.flit_cycles, nodes.taken[router])
    start = take(registers, consumer, router, step, flit, look, cycles)
    room = keep_look(nodes, router, consumers.fifo_flits, look)
    if room > cycle + 1:
        registers.mesh.room[word_at(output)] &= ~bit(output)
        set_alarm(registers.alarms, registers.producers.allowed.size, output, cycle, room)
    if size.flit_cycles > 1:
        hold_output(size, registers, output, cycle)
    if log is not None:
        packed = pack(log, program.flits, steps, program.services.channels, flit)
        write(log, look, router, LOOKUP, packed)
        write(log, start, router, TAKE, packed)
    if row < 0:
        count_end(registers, consumers, steps, consumer, router, step, log)
    elif arrivals is not None:
        arrivals.rows[arrivals.filled[0], 0] = flit
        arrivals.rows[arrivals.filled[0], 1] = consumer
        arrivals.filled[0] += 1
    return in_order


@inlined_kernel
def deliver_all(size, program, registers, cycle, arrivals, log):
    """Carry out the grants of the outputs L; returns whether all came in order."""
    mesh, in_order = registers.mesh, True
    for word in range(mesh.granted.size):
        left = mesh.granted[word] & LOCALS
        while left != NONE_SET:
            output = np.uint32(64 * word + lowest(left))
            left = rest(left)
            flit = head_of(mesh, winner_of(mesh, word, output))
            in_order &= deliver(size, program, registers, output, flit, cycle, arrivals, log)
    return in_order


@inlined_kernel
def move_all(size, program, registers, cycle):
    """Carry out the grants of the other outputs; returns how many there are."""
    mesh, hops = registers.mesh, 0
    for word in range(mesh.granted.size):
        left = mesh.granted[word] & ~LOCALS
        while left != NONE_SET:
            output = np.uint32(64 * word + lowest(left))
            left = rest(left)
            hops += 1
            move(size, program, registers, output, head_of(mesh, winner_of(mesh, word, output)), cycle)
    return hops


@inlined_kernel
def leave_all(size, program, registers, cycle):
    """Let the heads that have been served leave; returns how many do."""
    mesh, count = registers.mesh, 0
    for word in range(mesh.granted.size):
        left = mesh.leaving[word] if mesh.granted[word] != NONE_SET else NONE_SET
        while left != NONE_SET:
            at = np.uint32(64 * word + lowest(left))
            left = rest(left)
            count += 1
            leave(size, program, registers, at, cycle)
    return count


@kernel
def run_program(size, program, registers, arrivals, log):
    """Send all flits to their consumers: (status, cycles, hops over links between routers).

    registers: from `new_registers`; modified in place; its consumers say afterwards what their cycles were spent on.
    """
    left, under_way = program.flits.event.size, 0  # flits not yet sent; places taken in buffers
    cycle, hops, status, heard = np.int64(program.consumers.begin), 0, DONE, np.int64(0)
    if registers.jobs.length.size > 0:
        begin(registers.jobs, registers.grants, cycle)
    while left > 0 or under_way > 0:
        ring(program, registers, cycle)
        if registers.grants.news[0] != heard:
            heard = registers.grants.news[0]
            begin_steps(program, registers, cycle)
        sending, granting = find_sending(registers.producers), decide_grants(registers.mesh)
        if granting:
            if log is not None:
                write_granted(program, registers, cycle, log)
            if not deliver_all(size, program, registers, cycle, arrivals, log):
                status = OUT_OF_ORDER
            moved = move_all(size, program, registers, cycle)
            hops += moved
            under_way += moved - leave_all(size, program, registers, cycle)
        if sending:
            sent = send_all(size, program, registers, cycle, log)
            left -= sent
            under_way += sent
        if granting or sending:
            cycle += 1
        else:
            cycle = next_alarm(registers.alarms, cycle)
            if cycle == NEVER:
                return DEADLOCK, np.int64(0), hops
    if log is not None:
        write_opened(program, registers, log)
    return status, finish(program.consumers, registers.nodes, registers.consumers, registers.jobs), hops


@inner_kernel
def write_granted(program, registers, cycle, log):
    """Log the grants of this cycle, and the heads that leave by them."""
    mesh, flits, steps, channels = registers.mesh, program.flits, program.steps, program.services.channels
    for word in range(mesh.granted.size):
        left = mesh.granted[word]
        leaving = mesh.leaving[word] if left != NONE_SET else NONE_SET
        while left != NONE_SET:
            output = np.uint32(64 * word + lowest(left))
            left = rest(left)
            at = winner_of(mesh, word, output)
            place = (output & (PITCH - 1)) * PORTS + (at & (PITCH - 1))
            write(log, cycle, at >> 3, GRANT, pack(log, flits, steps, channels, head_of(mesh, at)), place)
        while leaving != NONE_SET:
            at = np.uint32(64 * word + lowest(leaving))
            leaving = rest(leaving)
            write(log, cycle, at >> 3, POP, pack(log, flits, steps, channels, head_of(mesh, at)), at & (PITCH - 1))


@inner_kernel
def write_opened(program, registers, log):
    """Log every grant of a step that came later than cycle 0 (C6)."""
    granted = registers.grants.granted
    for step in range(granted.size):
        if granted[step] > 0:
            named = name_step(log, program.steps.layer[step], program.steps.number[step])
            write(log, granted[step], 0, OPEN, named)
