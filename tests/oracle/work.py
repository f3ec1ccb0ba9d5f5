"""What one layer has to do on one image: flits, jobs, counts (sections F, I, S, T and A). No clock."""

from collections import Counter

from sparsespike.simulator.trace import Attention, Head, Linear, Pool, Select

from .counts import Counts
from .encoder import Task
from .mesh import Flit, Tree
from .rows import ceil_div
from .windows import closing_inputs, pool_of, read_outputs, valid_taps, view_of


class Work:
    """A layer's work on an image; its steps and trees are numbered from first_step and first_tree on (L2, L4).

    tasks: producer -> what it sends; flits: all of them; jobs: node -> cycles of what it does on its own, behind the
    phase if there is one; own: core -> causes of such a job; busy: (kind of unit, unit) -> cycles (K1); service: core
    -> causes of its row service (R4). counts, synaptic, spikes: section W.
    """

    def __init__(self, setting, index, image, first_step=0, first_tree=0):
        self.setting, self.chip, self.index, self.image = setting, setting.chip, index, image
        self.layer, self.weights = setting.trace.layers[index], setting.weights[index]
        self.stream = setting.source(self.layer)
        self.grid = self.stream.height * self.stream.width
        self.timed, self.counted = setting.tokens(self.layer, image)
        self.by_tokens = setting.placement.by_tokens(self.layer)  # P2
        self.token_cores = setting.placement.token_cores(self.layer) if self.by_tokens else []
        self.view, self.pool = view_of(self.layer, self.stream), pool_of(self.layer, self.stream)
        self.taps = valid_taps(self.view)
        self.busy, self.flits, self.own, self.jobs = Counter(), [], {}, {}
        self.service = {core: Counter() for core in range(setting.cores)}
        self.steps, self.consumers, self.trees, self.tasks = [], (), {}, {}
        if isinstance(self.layer, Pool):
            self._pool()
        elif self.stream.kind == "real":
            self._input_convolution()
        else:
            self.steps = setting.steps(index, image, self.timed, first_step)
            self.consumers = self._consumers()
            self.trees = self._trees(first_tree)
            self._produce()
        if isinstance(self.layer, Select):
            self._select()
        elif isinstance(self.layer, Attention):
            self._attention()
        counts = Counts(self)
        self.counts, self.synaptic, self.spikes = counts.actions, counts.synaptic, counts.spikes

    # ---- phases ----

    def _consumers(self):
        """P3: the consumers of the phase."""
        if isinstance(self.layer, Select):
            return (("token", 0),)
        if isinstance(self.layer, Attention):
            return tuple(("attention", unit) for unit in range(min(self.chip.attention.units, self.layer.heads)))
        return tuple(("core", core) for core in range(self.setting.cores) if self.weights[core].owned)

    def _reaches(self, token, channel):
        """P3, F2: the consumers that an event of this channel at this token goes to."""
        if self.by_tokens:
            return (("core", self.token_cores[token]),)
        if isinstance(self.layer, Attention):
            heads, width = self.setting.heads_of(self.layer)
            return (("attention", channel % (heads * width) // width % self.chip.attention.units),)
        return self.consumers

    def concern(self, node):
        """P3: the steps of a consumer."""
        return [step for step in self.steps if not self.by_tokens or self._reaches(step.token, 0) == (node,)]

    def _trees(self, first):
        """F2: (producer, consumers of the tree) -> tree, numbered by producers, then by consumers, from `first` on."""
        homes, pairs = self.setting.homes(self.layer.source), set()
        for token in range(self.grid):
            for channel in range(self.stream.channels):
                pairs.add((homes[token][channel], self._reaches(token, channel)))
        return {
            (node, leaves): Tree(number, self.setting.floor.tree(node, leaves), leaves)
            for number, (node, leaves) in enumerate(sorted(pairs), first)
        }

    def _produce(self):
        """E1, K1: the tasks of all producers."""
        for node in sorted({producer for producer, _ in self.trees}):
            self.tasks[node] = self._tasks(node)
            for task in self.tasks[node]:
                self.flits += [flit for word in task.words for flit in word] + task.ends
                words = sum(max(1, len(word)) for word in task.words)
                self.busy["encoder", node] += 1 + task.scan + words + len(task.ends)

    def _tasks(self, node):
        """E1, E2, F1: what a producer does in each step that it holds a part of."""
        homes = self.setting.homes(self.layer.source)
        holds = [[c for c in range(self.stream.channels) if homes[token][c] == node] for token in range(self.grid)]
        first_token = next(token for token in range(self.grid) if holds[token])
        mine = [step for step in self.steps if holds[step.token]]
        tasks, width = [], self.chip.core.encode_width
        for index, step in enumerate(mine):
            channels = holds[step.token]
            words = [
                [flit for channel in channels[at : at + width] for flit in self._flits(node, step, channel)]
                for at in range(0, len(channels), width)
            ]
            used = {self._reaches(step.token, channel) for channel in channels}
            ends = [Flit(step, None, (), self.trees[node, leaves]) for leaves in sorted(used)]
            scan = self.setting.scan(self.layer, mine, index, first_token)
            tasks.append(Task(step, scan, words, ends))
        return tasks

    def _flits(self, node, step, channel):
        """F1: the flits of one channel in a step."""
        rows = self.setting.rows[self.layer.source][self.image]
        values = [dict(rows[time][step.token]).get(channel, 0) for time in step.times]
        tree = self.trees[node, self._reaches(step.token, channel)]
        return [Flit(step, channel, part, tree) for part in self.setting.split(values)]

    def expected(self):
        """F3: (consumer, step) -> end-of-token flits."""
        ends = [end for tasks in self.tasks.values() for task in tasks for end in task.ends]
        return Counter((leaf, end.step) for end in ends for leaf in end.tree.consumers)

    def service_time(self, node):
        """C2."""

        def cycles(flit):
            if flit.channel is None:
                return 1
            return flit.times if node[0] != "core" else self.event_service(node[1], flit).cycles

        return cycles

    def event_service(self, core, flit):
        """R4: what an event flit is to a core."""
        return self.weights[core].service(flit.channel, self.taps[flit.step.token], flit.times)

    def sweep_time(self, node):
        """C4, C10."""
        if node[0] != "core":
            return lambda step: 0
        once = ceil_div(len(self.weights[node[1]].owned), self.chip.core.sweep_width)
        if isinstance(self.layer, Linear):
            return lambda step: len(step.times) * once
        if isinstance(self.layer, Head):
            return lambda step: once if step is self.steps[-1] else 0
        closing, read = closing_inputs(self.view, self.pool), Counter()
        for place, outputs in enumerate(read_outputs(self.view, self.pool)):
            read[closing[place]] += len(outputs)
        return lambda step: len(step.times) * read[step.token] * once

    def flit_causes(self, core, flit):
        """C2, R4: what a core's cycles go to while it serves a flit."""
        return Counter(CONTROL=1) if flit.channel is None else self.event_service(core, flit).causes

    def served(self, core, causes):
        """K1: row service of a core."""
        self.service[core].update(causes)
        self.busy["row service", core] += sum(causes.values())

    # ---- closed formulas ----

    def _input_convolution(self):
        """I1, I2."""
        for core, weights in enumerate(self.weights):
            if weights.owned:
                for token in range(self.grid):
                    for channel in range(self.stream.channels):
                        service = weights.service(channel, self.taps[token], lanes=self.chip.core.input_macs)
                        self.served(core, service.causes)
                read = sum(len(outputs) for outputs in read_outputs(self.view, self.pool))
                sweep = self.setting.timesteps * read * ceil_div(len(weights.owned), self.chip.core.sweep_width)
                self.busy["sweep", core] += sweep
                self.own[core] = self.service[core] + Counter(FIFO_EMPTY=1, NEURON_SWEEP=sweep + 2)
        self._job_of_cores()

    def _pool(self):
        """S1."""
        cores = self.setting.placement.channel_cores(self.layer.source)
        tokens = max(self.grid, self.view.rows * self.view.columns)
        for core in set(cores):
            sweep = self.setting.timesteps * tokens * ceil_div(cores.count(core), self.chip.core.sweep_width)
            self.busy["sweep", core] += sweep
            self.own[core] = Counter(NEURON_SWEEP=sweep + 2)
        self._job_of_cores()

    def _job_of_cores(self):
        """I2, S1: it lasts as long as its last core, for which the others wait; those that own nothing are idle."""
        cycles = max(sum(causes.values()) for causes in self.own.values())
        for core in range(self.setting.cores):
            self.jobs["core", core] = cycles
            causes = self.own.setdefault(core, Counter())
            causes["BARRIER" if causes else "IDLE"] += cycles - sum(causes.values())

    def _select(self):
        """T2."""
        layer, unit = self.layer, self.chip.token_unit
        n = len(self.setting.kept(layer, self.image))
        cycles = ceil_div(self.grid, unit.scan_width)
        if layer.form == "learned":
            entries, hidden = self.setting.hidden_entries(layer), layer.hidden.output_channels
            cycles += 1 + n * (ceil_div(entries, unit.macs) + ceil_div(hidden, unit.macs))
        if layer.form != "random":
            cycles += n * ceil_div(n, unit.comparators)
        self.busy["token unit", 0] += cycles
        self.jobs["token", 0] = cycles

    def kv_first(self):
        """A2, M6: which product comes first."""
        if self.setting.ann:
            return self.layer.order == "kv_first"
        unit, d = self.chip.attention, self.setting.heads_of(self.layer)[1]
        fits = d * d + len(self.timed) * d <= unit.accumulator_words
        more_keys = len(self.setting.kept(self.layer, self.image)) > d
        return unit.order == "kv_first" or (unit.order == "auto" and more_keys and fits)

    def _attention(self):
        """A1 to A4."""
        unit, (heads, d) = self.chip.attention, self.setting.heads_of(self.layer)
        nq, nk = len(self.timed), len(self.setting.kept(self.layer, self.image))
        if self.layer.form == "hadamard":
            once = ceil_div(nk * d, unit.width) + ceil_div(d, unit.sweep_width) + ceil_div(nq * d, unit.width)
        else:
            products = (nk * d * d, nq * d * d) if self.kv_first() else (nq * nk * d, nq * nk * d)
            once = sum(ceil_div(product, unit.width) for product in products) + ceil_div(nq * d, unit.sweep_width)
        for _ in range(self.setting.timesteps):
            for head in range(heads):
                self.busy["attention unit", head % unit.units] += once
        self.jobs = {node: self.busy["attention unit", node[1]] + 2 for node in self.consumers}
