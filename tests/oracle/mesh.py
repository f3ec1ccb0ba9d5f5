"""Sections F and N: flits, their trees, and every router and every port in every cycle."""

from dataclasses import dataclass

from .rows import ceil_div

LOCAL, NORTH, EAST, SOUTH, WEST = PORTS = range(5)  # N2
LETTERS = "LNESW"
OPPOSITE = {NORTH: SOUTH, SOUTH: NORTH, EAST: WEST, WEST: EAST}


class Floor:
    """N1: where everything stands. A node is ("core", p), ("token", 0) or ("attention", unit)."""

    def __init__(self, chip):
        self.rows, self.core_columns = chip.mesh.rows, chip.mesh.columns
        self.columns = self.core_columns + ceil_div(1 + chip.attention.units, self.rows)
        self.routers = self.columns * self.rows
        self.place = {}
        for core in range(self.core_columns * self.rows):
            self.place["core", core] = (core // self.core_columns, core % self.core_columns)
        units = [("token", 0)] + [("attention", unit) for unit in range(chip.attention.units)]
        for index, unit in enumerate(units):
            self.place[unit] = (index % self.rows, self.core_columns + index // self.rows)

    def router(self, node):
        """The router's number."""
        row, column = self.place[node]
        return row * self.columns + column

    def neighbour(self, router, output):
        """The router behind an output; None at the edge."""
        row, column = divmod(router, self.columns)
        row += {NORTH: -1, SOUTH: 1}.get(output, 0)
        column += {WEST: -1, EAST: 1}.get(output, 0)
        return row * self.columns + column if 0 <= row < self.rows and 0 <= column < self.columns else None

    def tree(self, source, consumers):
        """N2: router -> set of outputs; first along x, then along y."""
        outputs = {}
        for consumer in consumers:
            row, column = self.place[source]
            to_row, to_column = self.place[consumer]
            while (row, column) != (to_row, to_column):
                here = row * self.columns + column
                if column != to_column:
                    step = EAST if to_column > column else WEST
                    column += 1 if to_column > column else -1
                else:
                    step = SOUTH if to_row > row else NORTH
                    row += 1 if to_row > row else -1
                outputs.setdefault(here, set()).add(step)
            outputs.setdefault(row * self.columns + column, set()).add(LOCAL)
        return outputs


@dataclass(frozen=True)
class Tree:
    """F2: a producer's multicast tree: outputs per router, and the consumers at its leaves."""

    number: int
    outputs: dict
    consumers: tuple


@dataclass(frozen=True)
class Flit:
    """F1: values, one per timestep of the step's batch; channel None marks the end of a token."""

    step: object
    channel: int | None
    values: tuple
    tree: Tree

    @property
    def times(self):
        """F1: n(flit)."""
        return sum(value > 0 for value in self.values)


class FlitFormat:
    """F4: the fields of a flit, the first in the highest bits."""

    def __init__(self, chip):
        self.contexts, self.batch = chip.core.contexts, chip.core.time_batch
        self.tree_bits, self.channel_bits = chip.mesh.tree_bits, chip.mesh.channel_bits
        self.value_bits = chip.mesh.value_bits
        self.context_bits = 1
        while 2**self.context_bits < self.contexts:
            self.context_bits += 1
        bits = 1 + self.tree_bits + self.context_bits + self.channel_bits + self.batch * self.value_bits
        self.hold = ceil_div(bits, chip.mesh.link_bits)

    def pack(self, flit, number):
        """The flit as an integer; number is its step's among those of its consumers (C6)."""
        word = int(flit.channel is None)
        word = word << self.tree_bits | flit.tree.number
        word = word << self.context_bits | number % self.contexts
        word = word << self.channel_bits | (flit.channel or 0)
        values = [*flit.values, *[0] * (self.batch - len(flit.values))]
        for value in reversed(values):  # the first timestep in the lowest bits
            word = word << self.value_bits | value
        return word


class Routers:
    """N2 to N4: buffers, pointers and what each output granted last. A buffer holds [flit, arrival, outputs needed]."""

    def __init__(self, chip, floor, hold):
        self.floor, self.depth, self.hold = floor, chip.mesh.buffer_flits, hold
        self.buffers = [[[] for _ in PORTS] for _ in range(floor.routers)]
        self.pointers = [[LOCAL for _ in PORTS] for _ in range(floor.routers)]
        self.granted = [[-hold for _ in PORTS] for _ in range(floor.routers)]

    def room(self, router, port):
        """N3: flits in the buffer or on their way to it."""
        return len(self.buffers[router][port]) < self.depth

    def put(self, router, port, flit, arrival):
        """A flit on its way into a buffer."""
        self.buffers[router][port].append([flit, arrival, set(flit.tree.outputs[router])])

    def grants(self, cycle, consumers):
        """N3: (router, output, input) of every grant of this cycle; consumers: router -> consumer."""
        grants = []
        for router in range(self.floor.routers):
            if not any(self.buffers[router]):
                continue
            for output in PORTS:
                if cycle < self.granted[router][output] + self.hold:
                    continue
                for turn in PORTS:
                    port = (self.pointers[router][output] + turn) % len(PORTS)
                    queue = self.buffers[router][port]
                    if queue and queue[0][1] <= cycle and output in queue[0][2]:
                        if self._room_behind(router, output, consumers):
                            grants.append((router, output, port))
                        break
        return grants

    def _room_behind(self, router, output, consumers):
        if output == LOCAL:
            return consumers[router].room()
        return self.room(self.floor.neighbour(router, output), OPPOSITE[output])

    def move(self, router, output, port, cycle, consumers):
        """N4: a granted flit is on its way, and leaves its buffer with its last grant; (flit, whether it left)."""
        queue = self.buffers[router][port]
        flit, _, needs = queue[0]
        needs.remove(output)
        if not needs:
            queue.pop(0)
        self.pointers[router][output] = (port + 1) % len(PORTS)
        self.granted[router][output] = cycle
        if output == LOCAL:
            consumers[router].fifo.append((flit, cycle + self.hold))
        else:
            self.put(self.floor.neighbour(router, output), OPPOSITE[output], flit, cycle + self.hold)
        return flit, not needs
