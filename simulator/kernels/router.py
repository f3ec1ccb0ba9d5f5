"""The mesh of routers: input buffers, XY multicast trees, round-robin grants (rules N1 to N4)."""

from typing import NamedTuple

import numpy as np

from .compiler import inner_kernel

LOCAL, NORTH, EAST, SOUTH, WEST = 0, 1, 2, 3, 4
PORTS = 5
NEVER = np.int64(1 << 62)


class MeshSize(NamedTuple):
    """The mesh in plain integers."""

    columns: int  # routers from west to east
    routers: int
    buffer_flits: int
    flit_cycles: int  # cycles that a flit holds an output


class MeshState(NamedTuple):
    """Every router's registers; all modified in place."""

    flit: np.ndarray  # int64[routers, PORTS, buffer_flits]: ring of flit numbers
    arrival: np.ndarray  # int64[routers, PORTS, buffer_flits]: cycle from which the flit can be granted
    head: np.ndarray  # int32[routers, PORTS]: place of the head in the ring
    filled: np.ndarray  # int32[routers, PORTS]: flits in the buffer or on their way to it
    ready: np.ndarray  # int64[routers, PORTS]: cycle from which the head can be granted, NEVER for an empty buffer
    pending: np.ndarray  # uint8[routers, PORTS]: outputs that the head still needs, one bit per port
    pointer: np.ndarray  # int8[routers, PORTS]: round-robin pointer of each output
    free: np.ndarray  # int64[routers, PORTS]: first cycle in which the output may grant again
    occupied: np.ndarray  # int32[routers]: flits in all of a router's buffers


def new_mesh(size):
    """Empty routers."""
    shape = (size.routers, PORTS)
    ring = (size.routers, PORTS, size.buffer_flits)
    return MeshState(
        np.zeros(ring, np.int64),
        np.zeros(ring, np.int64),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.full(shape, NEVER, np.int64),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int64),
        np.zeros(size.routers, np.int32),
    )


@inner_kernel
def neighbour(columns, router, output):
    """The router that an output leads to."""
    if output == NORTH:
        return router - columns
    if output == EAST:
        return router + 1
    if output == SOUTH:
        return router + columns
    return router - 1


@inner_kernel
def opposite(output):
    """The input port at the other end of an output's link."""
    return (output + 1) % 4 + 1  # N <-> S, E <-> W


@inner_kernel
def push(size, mesh, masks, trees, router, port, flit, arrival):
    """Put a flit into an input buffer; it can be granted from cycle `arrival` on."""
    place = mesh.head[router, port] + mesh.filled[router, port]
    if place >= size.buffer_flits:
        place -= size.buffer_flits
    mesh.flit[router, port, place] = flit
    mesh.arrival[router, port, place] = arrival
    if mesh.filled[router, port] == 0:
        mesh.ready[router, port] = arrival
        mesh.pending[router, port] = masks[trees[flit], router]
    mesh.filled[router, port] += 1
    mesh.occupied[router] += 1


@inner_kernel
def pop(size, mesh, masks, trees, router, port):
    """Drop the head of an input buffer; the next flit becomes the head with all its outputs to serve."""
    place = mesh.head[router, port] + 1
    if place == size.buffer_flits:
        place = 0
    mesh.head[router, port] = place
    mesh.filled[router, port] -= 1
    mesh.occupied[router] -= 1
    mesh.ready[router, port] = NEVER
    if mesh.filled[router, port] > 0:
        mesh.ready[router, port] = mesh.arrival[router, port, place]
        mesh.pending[router, port] = masks[trees[mesh.flit[router, port, place]], router]


@inner_kernel
def find_requests(mesh, router, cycle, requests):
    """The outputs that each input port's head asks for in this cycle, one bit per output; returns their union.

    requests: uint8[PORTS]; written in place. A flit that is still on its way asks for nothing.
    """
    union = np.uint8(0)
    for port in range(PORTS):
        requests[port] = mesh.pending[router, port] if mesh.ready[router, port] <= cycle else 0
        union |= requests[port]
    return union


@inner_kernel
def arbitrate(first, output, requests):
    """Round robin (N3): the first input port at or after `first` that asks for the output; there is one."""
    port = int(first)
    while not (requests[port] >> output) & 1:
        port = port + 1 if port < PORTS - 1 else 0
    return port


@inner_kernel
def wake_up(size, mesh, router, cycle):
    """Earliest later cycle in which a head can be granted or an output is free again here; NEVER if none."""
    earliest = NEVER
    for port in range(PORTS):
        if mesh.ready[router, port] > cycle:
            earliest = min(earliest, mesh.ready[router, port])
        if mesh.free[router, port] > cycle:
            earliest = min(earliest, mesh.free[router, port])
    return earliest
