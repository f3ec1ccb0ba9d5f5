"""Section P: which core owns a channel or a token of a layer, and where every part of a stream lies."""

from collections import Counter
from itertools import accumulate

from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Pool, Select


def middle(before, weight, whole, cores):
    """P1: the core in whose share of the whole the middle of this weight falls."""
    return cores * (2 * before + weight) // (2 * whole)


class Placement:
    """cuts: {layer name: [first channel (or token, by P2) of each core, ..., total]} in place of P1 and P2."""

    def __init__(self, trace, chip, cuts):
        self.trace, self.chip, self.cuts = trace, chip, cuts
        self.cores = chip.mesh.columns * chip.mesh.rows
        self.writers = {layer.target: layer for layer in trace.layers if layer.target}
        self.spans = self._spans() if chip.schedule == "pipelined" else {}

    def by_tokens(self, layer):
        """P2: whether the layer's tokens are cut, not its channels."""
        return isinstance(layer, Linear) and self.chip.core.partition == "token"

    # ---- L1 ----

    def groups(self):
        """L1: the layers of each group, in their order."""
        groups = []
        for layer in self.trace.layers:
            if isinstance(layer, (Select, Attention)):  # they work on units of their own
                continue
            joined = self.tied(layer.target) if layer.target else ()
            mine = [group for group in groups if group[0].target in joined]
            if mine:
                mine[0].append(layer)
            else:
                groups.append([layer])
        return groups

    def _spans(self):
        """L1: layer name -> its group's cores; larger groups, in weights, get more of them."""
        groups = self.groups()
        weights = [sum(self._channel_weights(self._channels(group[0]), group)) for group in groups]
        before, spare = [0, *accumulate(weights)], self.cores - len(groups)
        assert spare >= 0, "L1: more groups than cores"
        first = [g + spare * before[g] // before[-1] for g in range(len(groups) + 1)]
        return {layer.name: range(first[g], first[g + 1]) for g, group in enumerate(groups) for layer in group}

    def _span(self, layer):
        """The cores among which a layer is cut."""
        return self.spans.get(layer.name, range(self.cores))

    def _stream_span(self, name):
        """The cores on which a stream lies: its group's, else those of the first layer that reads it."""
        joined = [layer for layer in self.trace.layers if layer.target in self.tied(name)]
        readers = [layer for layer in self.trace.layers if layer.source == name]
        for layer in [layer for layer in joined if layer.name in self.spans] or readers:
            return self._span(layer)
        return range(self.cores)

    def _channels(self, layer):
        """Outputs of a layer."""
        return self.trace.streams[layer.target].channels if layer.target else layer.weights.output_channels

    # ---- P1 ----

    def tied(self, name):
        """P1: the streams that are cut alike with this one, itself included."""
        group, size = {name}, 0
        while len(group) > size:
            size = len(group)
            for layer in self.trace.layers:
                partner = layer.source if isinstance(layer, Pool) else layer.residual
                if partner and group & {partner, layer.target}:
                    group |= {partner, layer.target}
        return group

    def channel_cores(self, name):
        """P1: the core of each channel of a stream that lies by channels."""
        writers = [layer for layer in self.trace.layers if layer.target in self.tied(name)]
        for layer in writers:
            if layer.name in self.cuts and not self.by_tokens(layer):
                return self._given(layer)
        return self._balanced(self.trace.streams[name].channels, writers, self._stream_span(name))

    def output_cores(self, layer):
        """P1: the core of each output of a layer cut by channels."""
        if not isinstance(layer, Head):
            return self.channel_cores(layer.target)
        if layer.name in self.cuts:
            return self._given(layer)
        return self._balanced(layer.weights.output_channels, [layer], self._span(layer))

    def _channel_weights(self, channels, writers):
        """P1: w_c."""
        weights = [1] * channels
        if self.chip.core.weight_format != "dense":
            for layer in writers:
                if isinstance(layer, (Conv, Linear, Head)):
                    for output in layer.weights.outputs:
                        weights[int(output)] += 1
        return weights

    def _balanced(self, channels, writers, cores):
        weights = self._channel_weights(channels, writers)
        before = [0, *accumulate(weights)]
        return [cores[middle(before[c], weights[c], before[-1], len(cores))] for c in range(channels)]

    def _given(self, layer):
        bounds = self.cuts[layer.name]
        return [core for core in range(self.cores) for _ in range(bounds[core], bounds[core + 1])]

    # ---- P2, P3 ----

    def token_cores(self, layer):
        """P2: the core of each token of a layer cut by tokens."""
        if layer.name in self.cuts:
            return self._given(layer)
        return self._even_tokens(self.trace.streams[layer.source], self._span(layer))

    def _even_tokens(self, stream, cores):
        tokens = stream.height * stream.width
        return [cores[token * len(cores) // tokens] for token in range(tokens)]

    def owned(self, layer, core):
        """P1, P2: the outputs that a core owns; it takes no part in the layer where there are none."""
        if self.by_tokens(layer):
            return list(range(layer.weights.output_channels)) if core in self.token_cores(layer) else []
        return [output for output, owner in enumerate(self.output_cores(layer)) if owner == core]

    def lies_by_tokens(self, name):
        """P3."""
        if name in self.writers:
            return self.by_tokens(self.writers[name])
        readers = [layer for layer in self.trace.layers if layer.source == name]
        return bool(readers) and self.by_tokens(readers[0])

    def homes(self, name):
        """P3: homes[token][channel] of a stream, the node that holds it."""
        stream, writer = self.trace.streams[name], self.writers.get(name)
        tokens = range(stream.height * stream.width)
        if self.lies_by_tokens(name):
            cores = self.token_cores(writer) if writer else self._even_tokens(stream, self._stream_span(name))
            return [[("core", cores[token])] * stream.channels for token in tokens]
        if isinstance(writer, Attention):
            width = stream.channels // writer.heads
            units = self.chip.attention.units
            return [[("attention", c // width % units) for c in range(stream.channels)] for _ in tokens]
        cores = self.channel_cores(name)
        return [[("core", cores[c]) for c in range(stream.channels)] for _ in tokens]

    def kept_copies(self, name, index):
        """P3, D5: core -> values of one timestep that it keeps of a stream that lies elsewhere, while layer runs."""
        if self.lies_by_tokens(name):
            return Counter()
        linear = [(at, layer) for at, layer in enumerate(self.trace.layers) if self.by_tokens(layer)]
        read = [(at, layer) for at, layer in linear if layer.source == name]
        added = [at for at, layer in linear if layer.residual == name]
        if not read or not added or not read[0][0] <= index <= added[-1]:
            return Counter()
        channels = self.trace.streams[name].channels
        return Counter({core: number * channels for core, number in Counter(self.token_cores(read[0][1])).items()})
