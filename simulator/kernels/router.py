"""The mesh of routers: input buffers, XY multicast trees, round-robin grants (rules N1 to N4).

What decides is kept in planes with one bit per output port, so that eight routers are arbitrated at once, with the same
ands and ors as in the routers themselves. Only flits that really move are looked at one by one.
"""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel
from .planes import ALL_SET, NONE_SET, ONE, words_of

LOCAL, NORTH, EAST, SOUTH, WEST = 0, 1, 2, 3, 4
PORTS = 5
PITCH = 8  # port p of router r has the number r x PITCH + p, and that bit of a plane; a power of 2, so some stay unused
LOCALS = np.uint64(0x0101010101010101)  # the ports L in a word of a plane
ALL_PORTS = np.uint64(0x1F1F1F1F1F1F1F1F)
CARRIES = np.uint64(0x2020202020202020)  # what adding ALL_PORTS carries over where a router has any port set


class MeshSize(NamedTuple):
    """The mesh in plain integers."""

    columns: int  # routers from west to east
    routers: int
    buffer_flits: int
    flit_cycles: int  # cycles that a flit holds an output


class MeshState(NamedTuple):
    """Every router's registers; all modified in place. Planes, uint64, have one bit per output where not said else."""

    wanted: np.ndarray  # uint64[words x PORTS]: of each input port: its head has arrived and needs the output
    reached: np.ndarray  # uint64[words x PORTS]: of each input port: the output's pointer is at or before it
    room: np.ndarray  # uint64[words]: what lies behind the output has room
    idle: np.ndarray  # uint64[words]: no flit is still on its way over the output
    granted: np.ndarray  # uint64[words]: the output grants in this cycle
    winners: np.ndarray  # uint64[PORTS]: scratch of `arbitrate`: the outputs that grant to an input port
    winner: np.ndarray  # uint64[words x 3]: bit by bit, the number of the input port that it grants to
    leaving: np.ndarray  # uint64[words]: one bit per input: its head gets its last grant in this cycle
    flit: np.ndarray  # uint32[inputs x places]: rings of the flits in the buffers
    arrival: np.ndarray  # int64[inputs x places]: cycle from which each of these can be granted
    head: np.ndarray  # uint32[inputs]: place of the head in its ring, counted on and on
    filled: np.ndarray  # int32[inputs]: flits in the buffer or on their way to it
    target: np.ndarray  # uint32[outputs]: the input that an output leads to
    source: np.ndarray  # uint32[inputs]: the output that leads to an input
    places: int  # of a ring, a power of 2


def new_mesh(size):
    """Empty routers."""
    ports = size.routers * PITCH
    words, places = words_of(ports), 1 << (size.buffer_flits - 1).bit_length()
    target, source = np.zeros(ports, np.uint32), np.zeros(ports, np.uint32)
    steps = ((NORTH, SOUTH, -size.columns), (EAST, WEST, 1), (SOUTH, NORTH, size.columns), (WEST, EAST, -1))
    for output, port, step in steps:
        for router in range(max(0, -step), size.routers - max(0, step)):
            target[router * PITCH + output] = (router + step) * PITCH + port
            source[(router + step) * PITCH + port] = router * PITCH + output
    return MeshState(
        np.zeros(words * PORTS, np.uint64),
        np.full(words * PORTS, ALL_SET),
        np.full(words, ALL_SET),
        np.full(words, ALL_SET),
        np.zeros(words, np.uint64),
        np.zeros(PORTS, np.uint64),
        np.zeros(words * 3, np.uint64),
        np.zeros(words, np.uint64),
        np.zeros(ports * places, np.uint32),
        np.zeros(ports * places, np.int64),
        np.zeros(ports, np.uint32),
        np.zeros(ports, np.int32),
        target,
        source,
        places,
    )


@inlined_kernel
def decide_grants(mesh):
    """Every grant of this cycle, decided from the state at its start (N3); returns whether there is any."""
    some = NONE_SET
    for word in range(mesh.granted.size):
        first, wanted = word * PORTS, mesh.wanted
        asked = wanted[first] | wanted[first + 1] | wanted[first + 2] | wanted[first + 3] | wanted[first + 4]
        asked &= mesh.room[word] & mesh.idle[word]
        mesh.granted[word] = asked
        if asked != NONE_SET:
            arbitrate(mesh, word, asked)
            some |= asked
    return some != NONE_SET


@inlined_kernel
def arbitrate(mesh, word, asked):
    """Round robin in every output that can grant: the first input at or after its pointer wins (N3)."""
    wanted, reached, first = mesh.wanted, mesh.reached, word * PORTS
    onward = NONE_SET  # outputs with a candidate at or after the pointer
    for port in range(PORTS):
        onward |= wanted[first + port] & reached[first + port]
    free, leaving, winners = asked, NONE_SET, mesh.winners
    for port in range(PORTS):
        mine = wanted[first + port]
        won = mine & (reached[first + port] | ~onward) & free
        free ^= won
        winners[port] = won
        wanted[first + port] = mine ^ won
        served = (won + ALL_PORTS) & ~((mine ^ won) + ALL_PORTS) & CARRIES
        leaving |= served >> np.uint64(PORTS - port)
    mesh.leaving[word] = leaving
    # The pointer moves to the input after the winner: it is then at or before all inputs from there on.
    passed = winners[PORTS - 1]
    for port in range(PORTS - 1):
        reached[first + port] = (reached[first + port] & ~asked) | passed
        passed |= winners[port]
    mesh.winner[word * 3] = winners[NORTH] | winners[SOUTH]
    mesh.winner[word * 3 + 1] = winners[EAST] | winners[SOUTH]
    mesh.winner[word * 3 + 2] = winners[WEST]


@inlined_kernel
def winner_of(mesh, word, output):
    """The number of the input that an output grants to in this cycle; `word` holds its bit."""
    first, place = word * 3, np.uint64(output & 63)
    low, middle = (mesh.winner[first] >> place) & ONE, (mesh.winner[first + 1] >> place) & ONE
    port = low | (middle << ONE) | (((mesh.winner[first + 2] >> place) & ONE) << (ONE + ONE))
    return np.uint32(output - (output & (PITCH - 1)) + np.int64(port))


@inlined_kernel
def place_in(mesh, at, ahead):
    """The place of the ring that lies so many behind the head of an input."""
    return np.uint64(at * mesh.places + ((mesh.head[at] + ahead) & (mesh.places - 1)))


@inlined_kernel
def head_of(mesh, at):
    """The flit at the head of an input."""
    return mesh.flit[place_in(mesh, at, 0)]


@inlined_kernel
def want(mesh, masks, tree, at, ready):
    """If `ready`, the head of an input asks for all outputs of its tree; no branch, since none could be foreseen."""
    router, port = np.uint32(at >> 3), at & (PITCH - 1)
    outputs = np.uint64(masks[np.uint32(tree), router]) * np.uint64(ready)
    mesh.wanted[np.uint64((router >> 3) * PORTS + port)] |= outputs << np.uint64((router & 7) << 3)


@inlined_kernel
def push(mesh, at, flit, arrival):
    """Put a flit, to be granted from cycle `arrival` on, into an input buffer; returns how many it held before."""
    filled = mesh.filled[at]
    place = place_in(mesh, at, filled)
    mesh.flit[place], mesh.arrival[place] = flit, arrival
    mesh.filled[at] = filled + 1
    return filled


@inlined_kernel
def pop(mesh, at):
    """Drop the head of an input buffer; returns how many flits are left."""
    filled = mesh.filled[at] - 1
    mesh.head[at] += np.uint32(1)
    mesh.filled[at] = filled
    return filled
