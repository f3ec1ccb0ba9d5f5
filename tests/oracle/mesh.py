"""Sections F, N and C: one phase, every router and every port in every cycle."""

from dataclasses import dataclass, field

from .rows import ceil_div

LOCAL, NORTH, EAST, SOUTH, WEST = PORTS = range(5)  # N2
OPPOSITE = {NORTH: SOUTH, SOUTH: NORTH, EAST: WEST, WEST: EAST}
STUCK = 2_000_000


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
        """The router behind an output."""
        return router + {NORTH: -self.columns, SOUTH: self.columns, EAST: 1, WEST: -1}[output]

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
    """A producer's multicast tree: outputs per router, and the consumers at its leaves."""

    outputs: dict
    consumers: tuple


@dataclass(frozen=True)
class Flit:
    """One flit; channel None marks the end of a token."""

    step: int
    channel: int | None
    value: int
    tree: Tree


@dataclass
class Producer:
    """N5, C7: flits in order of sending."""

    router: int
    flits: list
    sent: int = 0
    last: int = -1


@dataclass
class Consumer:
    """C1 to C5. work(flit), sweep(step): their cycles; log: (flit, begin, end) of each service."""

    expects: int
    work: object
    sweep: object
    fifo: list = field(default_factory=list)
    busy_until: int = 0
    ends_seen: dict = field(default_factory=dict)
    released: dict = field(default_factory=dict)
    log: list = field(default_factory=list)


class Phase:
    """N, C: producers send, routers grant, consumers take in; `run` returns the length in cycles (C8)."""

    def __init__(self, chip, floor, steps, scans):
        self.floor, self.steps, self.scans = floor, steps, scans
        self.depth, self.fifo_depth, self.contexts = chip.mesh.buffer_flits, chip.core.fifo_flits, chip.core.contexts
        context_bits = 1
        while 2**context_bits < chip.core.contexts:
            context_bits += 1
        bits = 1 + chip.mesh.tree_bits + context_bits + chip.mesh.channel_bits + chip.mesh.value_bits
        self.hold = ceil_div(bits, chip.mesh.link_bits)  # F4
        self.buffers = [[[] for _ in PORTS] for _ in range(floor.routers)]
        self.pointers = [[LOCAL for _ in PORTS] for _ in range(floor.routers)]
        self.granted = [[-self.hold for _ in PORTS] for _ in range(floor.routers)]
        self.producers = []
        self.consumers = {}
        self.at = {}

    def add_consumer(self, node, consumer):
        """Node and what it does with flits."""
        self.consumers[node] = consumer
        self.at[self.floor.router(node)] = consumer

    def grant(self, step):
        """C6: the cycle from which a step may be sent; None while unknown."""
        if step < self.contexts:
            return 0
        releases = [consumer.released.get(step - self.contexts) for consumer in self.consumers.values()]
        return None if None in releases else 1 + max(releases)

    def run(self):
        """Cycle by cycle: all decide on the state at the start of the cycle, then all change (G1)."""
        if self.steps == 0:
            return 0
        cycle = 0
        while any(self.steps - 1 not in consumer.released for consumer in self.consumers.values()):
            grants = self._router_grants(cycle)
            sending = [producer for producer in self.producers if self._may_send(producer, cycle)]
            starting = [
                c for c in self.consumers.values() if c.fifo and c.fifo[0][1] <= cycle and c.busy_until <= cycle
            ]
            for router, output, port in grants:
                self._move(router, output, port, cycle)
            for producer in sending:
                flit = producer.flits[producer.sent]
                needs = set(flit.tree.outputs[producer.router])
                self.buffers[producer.router][LOCAL].append([flit, cycle + 1, needs])
                producer.sent += 1
                producer.last = cycle
            for consumer in starting:
                self._take_in(consumer, cycle)
            cycle += 1
            assert cycle < STUCK, "a phase that does not end"
        assert not any(queue for ports in self.buffers for queue in ports)
        assert all(producer.sent == len(producer.flits) for producer in self.producers)
        return max(consumer.released[self.steps - 1] for consumer in self.consumers.values())

    def _router_grants(self, cycle):
        """N3: (router, output, input) of every grant of this cycle."""
        grants = []
        for router in range(self.floor.routers):
            buffers = self.buffers[router]
            if not any(buffers):
                continue
            for output in PORTS:
                if cycle < self.granted[router][output] + self.hold or not self._room(router, output):
                    continue
                for turn in PORTS:
                    port = (self.pointers[router][output] + turn) % len(PORTS)
                    queue = buffers[port]
                    if queue and queue[0][1] <= cycle and output in queue[0][2]:
                        grants.append((router, output, port))
                        break
        return grants

    def _room(self, router, output):
        """N3, C1: buffers count flits on their way, the FIFO those whose service has not begun."""
        if output == LOCAL:
            return router in self.at and len(self.at[router].fifo) < self.fifo_depth
        column, row = router % self.floor.columns, router // self.floor.columns
        edge = {
            NORTH: row == 0,
            SOUTH: row == self.floor.rows - 1,
            WEST: column == 0,
            EAST: column == self.floor.columns - 1,
        }
        if edge[output]:
            return False
        return len(self.buffers[self.floor.neighbour(router, output)][OPPOSITE[output]]) < self.depth

    def _move(self, router, output, port, cycle):
        """N4: a granted flit is on its way; it leaves its buffer with its last grant."""
        queue = self.buffers[router][port]
        flit, _, needs = queue[0]
        needs.remove(output)
        if not needs:
            queue.pop(0)
        self.pointers[router][output] = (port + 1) % len(PORTS)
        self.granted[router][output] = cycle
        if output == LOCAL:
            self.at[router].fifo.append((flit, cycle + self.hold))
        else:
            there = self.floor.neighbour(router, output)
            needs = set(flit.tree.outputs[there])
            self.buffers[there][OPPOSITE[output]].append([flit, cycle + self.hold, needs])

    def _may_send(self, producer, cycle):
        """C7, N5."""
        if producer.sent == len(producer.flits) or len(self.buffers[producer.router][LOCAL]) >= self.depth:
            return False
        step = producer.flits[producer.sent].step
        if producer.sent and producer.flits[producer.sent - 1].step == step:
            return True
        grant = self.grant(step)
        return grant is not None and cycle >= max(producer.last + 1, grant) + self.scans[step]

    def _take_in(self, consumer, cycle):
        """C1 to C5: service begins, and what follows from its end is put down."""
        flit, _ = consumer.fifo.pop(0)
        end = cycle + consumer.work(flit)
        consumer.busy_until = end
        consumer.log.append((flit, cycle, end))
        if flit.channel is not None:
            return
        step = flit.step
        consumer.ends_seen[step] = consumer.ends_seen.get(step, 0) + 1
        if consumer.ends_seen[step] == consumer.expects:  # C3
            begin = max(end, consumer.released.get(step - 1, 0))
            assert step == 0 or step - 1 in consumer.released
            consumer.released[step] = begin + consumer.sweep(step)
