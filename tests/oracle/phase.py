"""Sections N, E and C together: one phase, cycle by cycle, with its log of events."""

from collections import Counter

from .mesh import LETTERS, LOCAL, Flit, FlitFormat, Routers

STUCK = 2_000_000


class Phase:
    """Producers send, routers grant, consumers take in; `run` returns the length in cycles (C8).

    events: (cycle, router, event, flit or number), in the words of tests/rtl/README.md; `log` packs and sorts them.
    """

    def __init__(self, chip, floor, steps):
        self.floor, self.steps, self.format = floor, steps, FlitFormat(chip)
        self.nodes = {floor.router(node): node for node in floor.place}
        self.routers = Routers(chip, floor, self.format.hold)
        self.producers, self.consumers, self.at = [], {}, {}
        self.events, self.port_grants = [], Counter()  # (layer, router, output) -> flits
        self._concerned, self._grants = {step: [] for step in steps}, {}

    def add_consumer(self, node, consumer):
        """A consumer and where it stands."""
        self.consumers[node] = self.at[self.floor.router(node)] = consumer
        for step in consumer.numbers:
            self._concerned[step].append(consumer)

    def grant(self, step):
        """C6: the latest over the consumers of the step, and L8; None while unknown."""
        if step not in self._grants:
            grants = self._rooms(step) + [consumer.grant(step) for consumer in self._concerned[step]]
            if None in grants:
                return None
            self._grants[step] = max(grants)
        return self._grants[step]

    def run(self):
        """All decide on the state at the start of the cycle, then all change (G1)."""
        if not self.steps:
            return 0
        cycle = 0
        while not all(consumer.finished() for consumer in self.consumers.values()):
            self._cycle(cycle)
            cycle += 1
            assert cycle < STUCK, "a phase that does not end"
        self.assert_empty()
        return 1 + max(release for consumer in self.consumers.values() for release in consumer.released.values())

    def assert_empty(self):
        """Nothing is left anywhere."""
        assert not any(queue for ports in self.routers.buffers for queue in ports)
        assert not any(consumer.fifo or consumer.register for consumer in self.consumers.values())
        assert all(producer.done() for producer in self.producers)

    def sent(self):
        """The cycle in which each flit was sent."""
        return {id(flit): cycle for producer in self.producers for cycle, flit in producer.sent}

    def _cycle(self, cycle):
        grants = self.routers.grants(cycle, self.at)
        working = [producer for producer in self.producers if not producer.done()]
        sending = [(producer, self._may_start(producer, cycle), self._room(producer)) for producer in working]
        taking = [router for router, consumer in self.at.items() if consumer.takes(cycle)]
        looking_up = [router for router, consumer in self.at.items() if consumer.looks_up(cycle)]
        sweeping = [router for router, consumer in self.at.items() if consumer.begins_sweep(cycle)]
        for router, output, port in grants:
            self._move(router, output, port, cycle)
        for producer, granted, room in sending:
            flit = producer.work(cycle, granted, room)
            if flit:
                self.routers.put(producer.router, LOCAL, flit, cycle + 1)  # N5
                self.events.append((cycle, producer.router, "send", flit))
        for router in taking:
            self.events.append((cycle, router, "take", self.at[router].take(cycle)))
        for router in looking_up:
            self.events.append((cycle, router, "lookup", self.at[router].look_up()))
        for router in sweeping:
            step, release = self.at[router].begin_sweep(cycle)
            number = self._label(step, self.at[router].numbers[step])
            self.events += [(cycle, router, "sweep", number), (release, router, "release", number)]
            self._swept(router, step, release)

    def _may_start(self, producer, cycle):
        """E2, C6: whether the grant of the producer's step has come."""
        grant = self.grant(producer.step())
        return grant is not None and grant <= cycle

    def _room(self, producer):
        """N5."""
        return self.routers.room(producer.router, LOCAL)

    def _move(self, router, output, port, cycle):
        flit, left = self.routers.move(router, output, port, cycle, self.at)
        self.port_grants[flit.step.layer, router, output] += 1
        self.events.append((cycle, router, f"grant.{LETTERS[output]}.{LETTERS[port]}", flit))
        if left:
            self.events.append((cycle, router, f"pop.{LETTERS[port]}", flit))

    def log(self):
        """The events with packed flits, and the later grants of steps (at router 0), sorted."""
        lines = [(*where, self._packed(value)) for *where, value in self.events]
        opened = [(self.grant(step), self._label(step, step.number)) for step in self.steps]
        return sorted(lines + [(cycle, 0, "open", number) for cycle, number in opened if cycle > 0])

    def _packed(self, value):
        """A number as it is; a flit with its step's number, which all consumers of its tree give it alike (C6)."""
        if not isinstance(value, Flit):
            return value
        (number,) = {self.consumers[node].numbers[value.step] for node in value.tree.consumers}
        return self.format.pack(value, number)

    # ---- what a pipeline changes ----

    def _rooms(self, step):
        """L8: further bounds of a grant."""
        return []

    def _swept(self, router, step, release):
        """What a release lets begin."""

    def _label(self, step, number):
        """How the log names a step."""
        return number
