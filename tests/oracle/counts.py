"""Sections W and M: what a layer did on an image, from its flits and its placement; no clock."""

from collections import Counter

from sparsespike.simulator.trace import Attention, Conv, Pool, Select

from .rows import ceil_div
from .windows import read_outputs, seen


class Counts:
    """actions by name, synaptic events (W7), input events (spikes) of a Work, on the tokens that count."""

    def __init__(self, run):
        self.run, self.setting, self.chip, self.layer = run, run.setting, run.chip, run.layer
        self.actions, self.synaptic = Counter(), 0
        self._placed, self._met = {}, set()
        self.spikes = self._spikes_in()
        if run.stream.kind == "real":
            self._pixels()
        elif isinstance(self.layer, Pool):
            self._pool()
        else:
            self._flits()
            self._scans()
        if isinstance(self.layer, Select):
            self._select()
        if isinstance(self.layer, Attention):
            self._attention()
        self._neurons()
        self._spike_memory()
        self.actions["ACCUMULATOR_UPDATE"] += self.actions["ADD"] + self.actions["MULTIPLY_ADD"]

    def _spikes_in(self):
        """Input events, or pixels, on the tokens that count."""
        run = self.run
        if run.stream.kind == "real":
            return run.grid * run.stream.channels
        if self.layer.source not in self.setting.rows:
            return 0  # H3
        rows = self.setting.rows[self.layer.source][run.image]
        return sum(len(rows[time][token]) for time in range(self.setting.timesteps) for token in run.counted)

    def _pool(self):
        """W5: a sum adds what each window sees; else every input is looked at once."""
        run, seen_inputs = self.run, self.run.grid
        pooled = "POOL_OR" if run.stream.kind == "binary" else "POOL_MAX"
        if self.layer.form == "sum":
            pooled, seen_inputs = "POOL_ADD", sum(len(inputs) for inputs in seen(run.view))
        self.actions[pooled] += self.setting.timesteps * seen_inputs * run.stream.channels

    # ---- flits and pixels ----

    def _flits(self):
        """W1, W3, W4, W5, W7."""
        actions = self.actions
        for flit in self.run.flits:
            if flit.step.token not in self.run.counted:
                continue
            outputs = flit.tree.outputs
            actions["FLIT_HOP"] += sum(len(ports - {0}) for ports in outputs.values())
            actions["BUFFER_WRITE"] += len(outputs)
            actions["BUFFER_READ"] += sum(len(ports) for ports in outputs.values())
            actions["FIFO_WRITE"] += len(flit.tree.consumers)
            actions["FIFO_READ"] += len(flit.tree.consumers)
            if flit.channel is None:
                continue
            for kind, core in flit.tree.consumers:
                if kind == "token":
                    actions["FEATURE_UPDATE"] += flit.times
                elif kind == "attention":
                    actions["OPERAND_WRITE"] += flit.times
                else:
                    self._event(core, flit)

    def _event(self, core, flit):
        """W1, W7: an event flit on one core."""
        service = self.run.event_service(core, flit)
        self._reads(service)
        met = self._survivors(core, flit.channel, flit.step.token)
        if self.setting.ann:
            self.actions["MULTIPLY_ADD"] += service.weights
            came = (core, flit.step, flit.channel)
            self.synaptic += 0 if came in self._met else met  # M4: once, in however many flits
            self._met.add(came)
            return
        for value in flit.values:
            if value:
                self.actions["ADD" if value == 1 else "MULTIPLY_ADD"] += service.weights
        self.synaptic += sum(flit.values) * met

    def _reads(self, service):
        """W1."""
        self.actions["WEIGHT_READ"] += service.words
        if self.chip.core.weight_format != "dense":
            self.actions["POINTER_READ"] += service.taps

    def _pixels(self):
        """W1, W7: every pixel of every channel once."""
        run = self.run
        for core, weights in enumerate(run.weights):
            if weights.owned:
                for token in range(run.grid):
                    for channel in range(run.stream.channels):
                        service = weights.service(channel, run.taps[token], lanes=self.chip.core.input_macs)
                        self._reads(service)
                        self.actions["MULTIPLY_ADD"] += service.weights
                        self.synaptic += self._survivors(core, channel, token)

    def _survivors(self, core, channel, token):
        """W7: weights of the valid rows that are not pruned, on one core."""
        key = (core, channel, self.run.taps[token])
        if key not in self._placed:
            weights, owned = self.layer.weights, set(self.run.weights[core].owned)
            count = 0
            for tap in self.run.taps[token]:
                row = channel * weights.taps + tap
                outputs = weights.outputs[int(weights.pointers[row]) : int(weights.pointers[row + 1])]
                count += sum(int(output) in owned for output in outputs)
            self._placed[key] = count
        return self._placed[key]

    def _scans(self):
        """W4: every scan of a batch looks at all tokens; where the stream lies by tokens, each producer at its own."""
        if not self.setting.scans_in_front(self.layer):
            return
        bits = self.run.grid
        if not self.setting.placement.lies_by_tokens(self.layer.source):
            bits *= len(self.run.tasks)
        self.actions["SCAN"] += bits * (len(self.setting.batches) if self.chip.core.order == "time_outer" else 1)

    # ---- token unit and attention ----

    def _select(self):
        """W4."""
        n = len(self.setting.kept(self.layer, self.run.image))
        if self.layer.form == "learned":
            hidden = self.layer.hidden.output_channels
            self.actions["SELECTOR_MAC"] += n * (self.setting.hidden_entries(self.layer) + hidden)
        if self.layer.form != "random":
            self.actions["SCORE_COMPARE"] += n * n

    def _attention(self):
        """W1, W5, M6."""
        run, actions, (heads, d) = self.run, self.actions, self.setting.heads_of(self.layer)
        keys = self.setting.kept(self.layer, run.image)
        if self.layer.form == "hadamard":
            self._masked(keys, heads * d)
            return
        nq, nk, kv_first = len(run.counted), len(keys), run.kv_first()
        for time in range(self.setting.timesteps):
            for head in range(heads):
                queries = self._spikes(time, run.counted, head * d, d)
                values = self._spikes(time, keys, 2 * heads * d + head * d, d)
                read = nq * d + (2 * nk * d if kv_first else 2 * nq * nk * d)
                if self.setting.ann:
                    first, second = (d * values, d * queries) if kv_first else (nk * queries, nq * values)
                    actions["ATTENTION_MAC"] += first + second
                    actions["ACCUMULATOR_UPDATE"] += second + nq * d
                    actions["REQUANTISE"] += d * d if kv_first else nq * nk
                    actions["OPERAND_READ"] += 8 * read
                    continue
                actions["AND_POPCOUNT"] += nk * d * d if kv_first else nq * nk * d
                additions = queries * d if kv_first else nq * values
                actions["ATTENTION_ADD"] += additions
                actions["ACCUMULATOR_UPDATE"] += additions + nq * d
                actions["OPERAND_READ"] += read

    def _masked(self, keys, width):
        """W1, W5: of Hadamard attention."""
        actions, nq, nk = self.actions, len(self.run.counted), len(keys)
        for time in range(self.setting.timesteps):
            rows = self.setting.rows[self.layer.source][self.run.image][time]
            both = 0
            for token in keys:
                there = {channel for channel, _ in rows[token]}
                both += sum({width + c, 2 * width + c} <= there for c in range(width))
            actions["AND_POPCOUNT"] += (nk + nq) * width
            actions["ATTENTION_ADD"] += both
            actions["ACCUMULATOR_UPDATE"] += both + width
            actions["OPERAND_READ"] += (2 * nk + nq) * width

    def _spikes(self, time, tokens, first, count):
        """Spikes in `count` channels from `first` on, over some tokens."""
        rows = self.setting.rows[self.layer.source][self.run.image][time]
        return sum(first <= channel < first + count for token in tokens for channel, _ in rows[token])

    # ---- neurons and spike memory ----

    def _made(self):
        """W2: the places of the target that count."""
        if isinstance(self.layer, (Conv, Pool)):
            return range(len(read_outputs(self.run.view, self.run.pool)))
        return self.run.counted

    def _neurons(self):
        """W2, M4."""
        layer, setting, counted = self.layer, self.setting, self._made()
        if not layer.target or isinstance(layer, Pool):
            return
        if self.run.pool:  # W5
            read = sum(len(outputs) for outputs in read_outputs(self.run.view, self.run.pool))
            self.actions["POOL_MAX"] += setting.timesteps * read * setting.trace.streams[layer.target].channels
        places = 1 if getattr(layer, "form", "") == "hadamard" else len(counted)  # A4
        neurons = setting.timesteps * places * setting.trace.streams[layer.target].channels
        self.actions["REQUANTISE" if setting.ann else "NEURON_UPDATE"] += neurons
        if getattr(layer, "membrane", None):
            self.actions["LEAK_MULTIPLY"] += neurons if layer.membrane.decay not in (128, 256) else 0
            self.actions["RESET_SUBTRACT"] += 0 if layer.membrane.reset_by is None else neurons
        if setting.ann or isinstance(layer, Attention):
            return
        words = 0
        for core, weights in enumerate(self.run.weights):
            for token in counted:
                if not self.run.by_tokens or self.run.token_cores[token] == core:
                    words += len(setting.batches) * ceil_div(len(weights.owned), self.chip.core.sweep_width)
        self.actions["POTENTIAL_READ"] += words
        self.actions["POTENTIAL_WRITE"] += words

    def _spike_memory(self):
        """W2."""
        run, layer = self.run, self.layer
        counted, made = len(run.counted), len(self._made())
        if run.stream.kind == "real":
            self.actions["SPIKE_READ"] += run.grid * run.stream.channels * 8
        else:
            self.actions["SPIKE_READ"] += self._bits(layer.source, counted)
        if layer.residual:
            self.actions["SPIKE_READ"] += self._bits(layer.residual, made)
        if layer.target:
            self.actions["SPIKE_WRITE"] += self._bits(layer.target, made)

    def _bits(self, name, tokens):
        return self.setting.timesteps * tokens * self.setting.trace.streams[name].channels * self.setting.bits(name)
