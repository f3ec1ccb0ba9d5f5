"""One layer on one image, alone on the chip: its cycles, their causes and who was busy (sections N, E, C)."""

from collections import Counter

from sparsespike.simulator.trace import Attention, Select

from .consumer import Consumer
from .encoder import Producer
from .phase import Phase
from .work import Work


class LayerRun(Work):
    """cycles and causes of a layer on an image, DRAM apart.

    log: per consumer, its flits as served; events: the log of the phase.
    """

    def __init__(self, setting, index, image):
        super().__init__(setting, index, image)
        self.causes, self.log, self.phase = Counter(), {}, None
        self.cycles = self._phase() if self.steps else 0
        self.cycles += max(self.jobs.values(), default=0)
        for causes in self.own.values():
            self.causes.update(causes)
        for kind, cause in ((Select, "SELECTOR"), (Attention, "ATTENTION")):  # C9: one cause for all cores
            if isinstance(self.layer, kind):
                self.causes = Counter({cause: self.cycles * setting.cores})

    def events(self):
        """The phase's log, as tests/rtl/README.md words it; empty for a layer without."""
        return self.phase.log() if self.phase else []

    def _phase(self):
        """Builds the phase, runs it, and reads causes off its logs."""
        setting = self.setting
        phase = self.phase = Phase(self.chip, setting.floor, self.steps)
        for node, tasks in self.tasks.items():
            phase.producers.append(Producer(setting.floor.router(node), tasks))
        for node in self.consumers:
            phase.add_consumer(node, consumer_at(node, [self]))
        cycles, sent = phase.run(), phase.sent()
        for (_, router, output), grants in phase.port_grants.items():
            self.busy["port", (router, output)] += grants * phase.format.hold
        for node in self.consumers:
            self.log[node] = phase.consumers[node].log
            if node[0] == "core":
                self._core_causes(node[1], cycles, sent)
        self.causes["IDLE"] += cycles * sum(("core", core) not in self.consumers for core in range(setting.cores))
        return cycles

    def _core_causes(self, core, cycles, sent):
        """C9; K1."""
        consumer, free = self.phase.consumers["core", core], 0
        for flit, causes, end in waits(consumer, self.phase, sent):
            service = self.flit_causes(core, flit)
            self.served(core, service)
            self.causes.update(causes + service)
            free = end
        released = max(consumer.released.values(), default=0)
        self.causes["NEURON_SWEEP"] += released - free
        self.causes["BARRIER"] += cycles - released
        self.busy["sweep", core] += consumer.swept_cycles[self.index]


def consumer_at(node, works):
    """The consumer that a node is to these works, of several layers and images or of one."""
    at, expects, steps = {}, Counter(), {}
    for work in works:
        at[work.index, work.image] = (work.service_time(node), work.sweep_time(node))
        expects.update(work.expected())
        steps.setdefault(work.index, []).extend(work.concern(node))
    core = works[0].chip.core
    return Consumer(
        steps=steps,
        expects=lambda step: expects[node, step],
        work=lambda flit: at[flit.step.layer, flit.step.image][0](flit),
        sweep=lambda step: at[step.layer, step.image][1](step),
        depth=core.fifo_flits,
        contexts=core.contexts,
    )


def waits(consumer, phase, sent, free=0):
    """C9: (flit, causes of the cycles in front of it, its end) of each flit; free: the core's first cycle."""
    for flit, begin, end in consumer.log:
        causes, granted = Counter(), phase.grant(flit.step)
        for cycle in range(free, begin):
            if cycle < granted:
                causes["GRANT_WAIT"] += 1
            else:
                causes["FIFO_EMPTY" if cycle < sent[id(flit)] else "NETWORK"] += 1
        yield flit, causes, end
        free = end
