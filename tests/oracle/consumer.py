"""Section C: the event FIFO, the look-up register, the adders and the sweep of one consumer."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Consumer:
    """C1 to C6, L6. expects(step): end-of-token flits; work(flit), sweep(step): cycles.

    steps: layer -> those that concern it; due: (step, cycle) in the order of their sweeps, from the cycle on;
    log: (flit, begin, end) of each service; released: step -> cycle; swept_cycles: layer -> cycles.
    """

    steps: dict
    expects: object
    work: object
    sweep: object
    depth: int  # of the FIFO
    contexts: int
    fifo: list = field(default_factory=list)  # (flit, arrival), from its grant to its look-up
    register: object = None
    busy_until: int = 0
    ends_seen: dict = field(default_factory=dict)
    closed: set = field(default_factory=set)
    due: list = field(default_factory=list)
    released: dict = field(default_factory=dict)
    sweep_free: int = 0
    swept_cycles: Counter = field(default_factory=Counter)
    log: list = field(default_factory=list)

    def __post_init__(self):
        self.numbers = {step: j for steps in self.steps.values() for j, step in enumerate(steps)}  # C6
        self._not_due = {layer: list(steps) for layer, steps in self.steps.items()}

    def room(self):
        """C1: a flit counts from its grant to the cycle of its look-up."""
        return len(self.fifo) < self.depth

    def grant(self, step):
        """C6: the cycle from which this consumer lets a step be sent; None while unknown."""
        j = self.numbers[step]
        if j < self.contexts:
            return 0
        released = self.released.get(self.steps[step.layer][j - self.contexts])
        return None if released is None else released + 1

    def takes(self, cycle):
        """C1: whether the flit in the look-up register is taken now; it came in an earlier cycle."""
        return self.register is not None and self.busy_until <= cycle

    def looks_up(self, cycle):
        """C1: whether the FIFO's head goes into the register, which is free or is freed in this cycle."""
        arrived = bool(self.fifo) and self.fifo[0][1] <= cycle
        return arrived and (self.register is None or self.takes(cycle))

    def begins_sweep(self, cycle):
        """C4: whether the next step in order is swept from now on."""
        return bool(self.due) and self.due[0][1] <= cycle and self.sweep_free <= cycle

    def take(self, cycle):
        """C1, C2, C3: service begins, and its end is put down; the flit."""
        flit, self.register = self.register, None
        end = cycle + self.work(flit)
        self.busy_until = end
        self.log.append((flit, cycle, end))
        if flit.channel is None:
            self.ends_seen[flit.step] = self.ends_seen.get(flit.step, 0) + 1
            if self.ends_seen[flit.step] == self.expects(flit.step):
                self._close(flit.step, end)
        return flit

    def _close(self, step, end):
        """C4, L6: with it those that closed before an earlier one become due."""
        self.closed.add(step)
        waiting = self._not_due[step.layer]
        while waiting and waiting[0] in self.closed:
            self.due.append((waiting.pop(0), end))

    def look_up(self):
        """C1: the FIFO's head goes into the register; the flit."""
        self.register, _ = self.fifo.pop(0)
        return self.register

    def begin_sweep(self, cycle):
        """C4, C5: (step, its release)."""
        step, _ = self.due.pop(0)
        length = self.sweep(step)
        self.swept_cycles[step.layer] += length
        self.sweep_free = cycle + max(1, length)
        self.released[step] = cycle + length + 1
        return step, self.released[step]

    def finished(self):
        """Whether all its steps have been swept."""
        return len(self.released) == len(self.numbers)
