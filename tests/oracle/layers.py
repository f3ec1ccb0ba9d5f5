"""One layer on one image: its cycles and causes, and its counts (sections C, I, S, T, A and W)."""

from collections import Counter

from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Pool, Select

from .mesh import Consumer, Flit, Phase, Producer, Tree
from .rows import ceil_div, closed_outputs, owned_channels, valid_taps


class LayerRun:
    """cycles, causes and counts of a layer on an image, DRAM apart; log: per consumer, its flits as served."""

    def __init__(self, setting, index, image):
        self.setting, self.chip, self.image = setting, setting.chip, image
        self.layer, self.weights = setting.trace.layers[index], setting.weights[index]
        self.stream = setting.source(self.layer)
        self.grid = self.stream.height * self.stream.width
        self.timed, self.counted = setting.tokens(self.layer, image)
        self.counts, self.causes, self.log = Counter(), Counter(), {}
        self.synaptic = self.flits = 0
        self.spikes, self.busy = self._spikes_in(), Counter()  # busy: cycles of fetching and adding
        kernel = self.layer.kernel if isinstance(self.layer, Conv) else 1
        self.kernel = kernel
        self.taps = {token: valid_taps(token, self.stream, kernel) for token in range(self.grid)}
        if isinstance(self.layer, Pool):
            self.cycles = self._pool()
        elif self.stream.kind == "real":
            self.cycles = self._input_convolution()
        else:
            self.cycles = self._phase()
            self.cycles += self._select() if isinstance(self.layer, Select) else 0
            self.cycles += self._attention() if isinstance(self.layer, Attention) else 0
            self._whole_chip()
        self._neurons_and_spikes()
        self.counts["ACCUMULATOR_UPDATE"] += self.counts["ADD"] + self.counts["MULTIPLY_ADD"]

    def _spikes_in(self):
        """Input events, or pixels, on the tokens that count."""
        if self.stream.kind == "real":
            return self.grid * self.stream.channels
        rows = self.setting.rows[self.layer.source][self.image]
        return sum(len(rows[time][token]) for time in range(self.setting.timesteps) for token in self.counted)

    def _whole_chip(self):
        """C9: select and attention are one cause for all cores."""
        for kind, cause in ((Select, "SELECTOR"), (Attention, "ATTENTION")):
            if isinstance(self.layer, kind):
                self.causes = Counter({cause: self.cycles * self.setting.cores})

    # ---- phases ----

    def _consumer_nodes(self):
        """P3."""
        if isinstance(self.layer, Select):
            return [("token", 0)]
        if isinstance(self.layer, Attention):
            return [("attention", unit) for unit in range(min(self.chip.attention.units, self.layer.heads))]
        return [("core", core) for core in range(self.setting.cores) if self.weights[core].owned]

    def _trees(self, node, channels, consumers):
        """F2: [(tree, its channels)] of a producer that owns `channels`."""
        floor = self.setting.floor
        if not isinstance(self.layer, Attention):
            return [(Tree(floor.tree(node, consumers), tuple(consumers)), set(channels))]
        heads, width = self.setting.heads_of(self.layer)
        trees = []
        for consumer in consumers:
            mine = {c for c in channels if c % (heads * width) // width % self.chip.attention.units == consumer[1]}
            if mine:
                trees.append((Tree(floor.tree(node, [consumer]), (consumer,)), mine))
        return trees

    def _phase(self):
        """F, N, C: builds the phase, runs it, and reads causes and counts off its logs."""
        setting, floor = self.setting, self.setting.floor
        steps = setting.ordered(self.timed)
        scans = setting.scans(self.layer, steps)
        phase = Phase(self.chip, floor, len(steps), scans)
        homes, consumers = setting.homes(self.layer.source), self._consumer_nodes()
        expects, flits = Counter(), []
        for node in sorted(set(homes)):
            channels = [channel for channel, home in enumerate(homes) if home == node]
            trees = self._trees(node, channels, consumers)
            for tree, _ in trees:
                expects.update(tree.consumers)
            sent = self._flits(steps, trees)
            phase.producers.append(Producer(floor.router(node), sent))
            flits += sent
        for node in consumers:
            phase.add_consumer(node, Consumer(expects[node], self._work(node, steps), self._sweep(node, steps)))
        cycles = phase.run()
        for node in consumers:
            self.log[node] = phase.consumers[node].log
            if node[0] == "core":
                self._core_causes(node[1], phase, steps, scans, cycles)
        if consumers[0][0] == "core":
            self.causes["BARRIER"] += cycles * (setting.cores - len(consumers))
        self._count_flits(flits, steps)
        self._count_scans(len(set(homes)))
        return cycles

    def _flits(self, steps, trees):
        """F1."""
        flits, rows = [], self.setting.rows[self.layer.source][self.image]
        for step, (time, token) in enumerate(steps):
            for channel, value in rows[time][token]:
                for tree, channels in trees:
                    if channel in channels:
                        flits += [Flit(step, channel, part, tree) for part in self.setting.split_value(value)]
            flits += [Flit(step, None, 0, tree) for tree, _ in trees]
        return flits

    def _work(self, node, steps):
        """C2."""

        def cycles(flit):
            if flit.channel is None or node[0] != "core":
                return 1
            return self._service(node[1], flit, steps).cycles()

        return cycles

    def _service(self, core, flit, steps):
        return self.weights[core].service(flit.channel, self.taps[steps[flit.step][1]])

    def _sweep(self, node, steps):
        """C4."""
        if node[0] != "core":
            return lambda step: 0
        once = ceil_div(len(self.weights[node[1]].owned), self.chip.core.sweep_width)
        if isinstance(self.layer, Linear):
            return lambda step: once
        if isinstance(self.layer, Head):
            return lambda step: once if step == len(steps) - 1 else 0
        return lambda step: closed_outputs(steps[step][1], self.stream, self.kernel) * once

    def _core_causes(self, core, phase, steps, scans, cycles):
        """C9."""
        consumer = phase.consumers["core", core]
        free = 0
        for flit, begin, end in consumer.log:
            ready = phase.grant(flit.step) + scans[flit.step]
            granted = min(max(ready, free), begin)
            self.causes["GRANT_WAIT"] += granted - free
            self.causes["NETWORK"] += begin - granted
            if flit.channel is None:
                self.causes["CONTROL"] += 1
            else:
                service = self._service(core, flit, steps)
                self.causes.update(service.causes())
                self.busy[core] += max(service.fetch, service.accumulate)
            free = end
        released = consumer.released[phase.steps - 1]
        self.causes["NEURON_SWEEP"] += released - free
        self.causes["BARRIER"] += cycles - released

    # ---- counts of a phase ----

    def _count_flits(self, flits, steps):
        """W1, W3, W4, W5, W7."""
        counts = self.counts
        self.flits = len(flits)
        for flit in flits:
            token = steps[flit.step][1]
            if token not in self.counted:
                continue
            outputs = flit.tree.outputs
            counts["FLIT_HOP"] += sum(len(ports - {0}) for ports in outputs.values())
            counts["BUFFER_WRITE"] += len(outputs)
            counts["BUFFER_READ"] += sum(len(ports) for ports in outputs.values())
            counts["FIFO_WRITE"] += len(flit.tree.consumers)
            counts["FIFO_READ"] += len(flit.tree.consumers)
            if flit.channel is None:
                continue
            for kind, core in flit.tree.consumers:
                if kind == "token":
                    counts["FEATURE_UPDATE"] += 1
                elif kind == "attention":
                    counts["OPERAND_WRITE"] += 1
                else:
                    self._count_service(self._service(core, flit, steps), "ADD" if flit.value == 1 else "MULTIPLY_ADD")
                    self.synaptic += flit.value * self._survivors(core, flit.channel, self.taps[token])

    def _count_service(self, service, kind):
        """W1."""
        self.counts["WEIGHT_READ"] += service.words
        self.counts[kind] += service.weights
        if self.chip.core.weight_format != "dense":
            self.counts["POINTER_READ"] += service.taps

    def _survivors(self, core, channel, taps):
        """W7: weights of the rows that are not pruned, on one core."""
        weights, owned = self.layer.weights, set(self.weights[core].owned)
        count = 0
        for tap in taps:
            row = channel * weights.taps + tap
            outputs = weights.outputs[int(weights.pointers[row]) : int(weights.pointers[row + 1])]
            count += sum(int(output) in owned for output in outputs)
        return count

    def _count_scans(self, producers):
        """W4."""
        if self.layer.selector >= 0 and self.chip.token_unit.policy == "skip":
            scans = self.setting.timesteps if self.chip.core.order == "time_outer" else 1
            self.counts["SCAN"] += scans * self.grid * producers

    # ---- closed formulas ----

    def _close(self, busy):
        """The phase lasts as long as the slowest core; the others wait."""
        cycles = max(busy)
        self.causes["BARRIER"] += sum(cycles - own for own in busy)
        return cycles

    def _input_convolution(self):
        """I1, I2, W1, W7."""
        busy = []
        for core in range(self.setting.cores):
            owned, cycles = len(self.weights[core].owned), 0
            if owned:
                for token in range(self.grid):
                    for channel in range(self.stream.channels):
                        service = self.weights[core].service(channel, self.taps[token])
                        compute = ceil_div(service.entries, self.chip.core.input_macs)
                        spent = max(1, service.fetch, compute)
                        self.causes["COMPUTE"] += compute
                        self.busy[core] += max(service.fetch, compute)
                        self.causes["WEIGHT_FETCH"] += max(0, service.fetch - compute)
                        self.causes["CONTROL"] += spent - max(service.fetch, compute)
                        cycles += spent
                        self._count_service(service, "MULTIPLY_ADD")
                        self.synaptic += self._survivors(core, channel, self.taps[token])
            sweep = self.setting.timesteps * self.grid * ceil_div(owned, self.chip.core.sweep_width)
            self.causes["NEURON_SWEEP"] += sweep
            busy.append(cycles + sweep)
        return self._close(busy)

    def _pool(self):
        """S1, W5."""
        timesteps, channels = self.setting.timesteps, self.stream.channels
        busy = []
        for core in range(self.setting.cores):
            owned = len(owned_channels(channels, core, self.setting.cores))
            busy.append(timesteps * self.grid * ceil_div(owned, self.chip.core.sweep_width))
        self.causes["NEURON_SWEEP"] += sum(busy)
        self.counts["POOL_OR"] += timesteps * self.grid * channels
        return self._close(busy)

    def _select(self):
        """T2, W4."""
        layer, unit = self.layer, self.chip.token_unit
        n = len(self.setting.kept(layer, self.image))
        cycles = ceil_div(self.grid, unit.scan_width)
        if layer.form == "learned":
            entries, hidden = self.setting.hidden_entries(layer), layer.hidden.output_channels
            cycles += n * (ceil_div(entries, unit.macs) + ceil_div(hidden, unit.macs))
            self.counts["SELECTOR_MAC"] += n * (entries + hidden)
        if layer.form != "random":
            cycles += n * ceil_div(n, unit.comparators)
            self.counts["SCORE_COMPARE"] += n * n
        return cycles

    def _attention(self):
        """A1 to A3, W5."""
        unit, (heads, d) = self.chip.attention, self.setting.heads_of(self.layer)
        keys = self.setting.kept(self.layer, self.image)
        nq, nk = len(self.timed), len(keys)
        fits = d * d + nq * d <= unit.accumulator_words
        kv_first = unit.order == "kv_first" or (unit.order == "auto" and nk > d and fits)
        products = (nk * d * d, nq * d * d) if kv_first else (nq * nk * d, nq * nk * d)
        once = sum(ceil_div(product, unit.width) for product in products) + ceil_div(nq * d, unit.sweep_width)
        busy = Counter()
        counts, counted = self.counts, len(self.counted)
        for time in range(self.setting.timesteps):
            for head in range(heads):
                busy[head % unit.units] += once
                queries = self._spikes(time, self.counted, head * d, d)
                values = self._spikes(time, keys, 2 * heads * d + head * d, d)
                counts["AND_POPCOUNT"] += nk * d * d if kv_first else counted * nk * d
                additions = queries * d if kv_first else counted * values
                counts["ATTENTION_ADD"] += additions
                counts["ACCUMULATOR_UPDATE"] += additions + counted * d
                counts["OPERAND_READ"] += counted * d + (2 * nk * d if kv_first else 2 * counted * nk * d)
        return max(busy.values())

    def _spikes(self, time, tokens, first, count):
        """Spikes in `count` channels from `first` on, over some tokens."""
        rows = self.setting.rows[self.layer.source][self.image][time]
        return sum(first <= channel < first + count for token in tokens for channel, _ in rows[token])

    def _neurons_and_spikes(self):
        """W2."""
        setting, layer, counts = self.setting, self.layer, self.counts
        streams, steps = setting.trace.streams, setting.timesteps * len(self.counted)
        if isinstance(layer, Pool):
            target = streams[layer.target]
            counts["SPIKE_READ"] += setting.timesteps * self.grid * self.stream.channels * setting.bits(layer.source)
            counts["SPIKE_WRITE"] += (
                setting.timesteps * target.height * target.width * target.channels * setting.bits(layer.target)
            )
            return
        if self.stream.kind == "real":
            counts["SPIKE_READ"] += self.grid * self.stream.channels * 8
        else:
            counts["SPIKE_READ"] += steps * self.stream.channels * setting.bits(layer.source)
        if layer.residual:
            counts["SPIKE_READ"] += steps * streams[layer.residual].channels * setting.bits(layer.residual)
        if not layer.target:
            return
        neurons = steps * streams[layer.target].channels
        counts["SPIKE_WRITE"] += neurons * setting.bits(layer.target)
        counts["NEURON_UPDATE"] += neurons
        if not isinstance(layer, Attention):
            words = 0
            for core in range(setting.cores):
                owned = len(owned_channels(streams[layer.target].channels, core, setting.cores))
                words += steps * ceil_div(owned, self.chip.core.sweep_width)
            counts["POTENTIAL_READ"] += words
            counts["POTENTIAL_WRITE"] += words
