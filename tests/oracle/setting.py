"""What the rules say of steps, tokens and streams before any cycle passes: sections G, T4 and the values of F1."""

from collections import Counter
from dataclasses import dataclass

from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Pool, Select

from .mesh import Floor
from .placement import Placement
from .rows import CoreWeights, ceil_div
from .windows import seen, view_of


@dataclass(frozen=True, eq=False)
class Step:
    """G4: a batch of timesteps of a token, in a layer's work on an image; number is k (L4: it runs on over images)."""

    number: int
    times: range
    token: int
    layer: int
    image: int


class Setting:
    """A trace on a chip."""

    def __init__(self, trace, chip, cuts=None):
        self.trace, self.chip = trace, chip
        self.cores = chip.mesh.columns * chip.mesh.rows
        self.timesteps, self.ann = trace.numerics.timesteps, trace.numerics.neuron == "relu"
        size = chip.core.time_batch
        self.batches = [range(t, min(t + size, self.timesteps)) for t in range(0, self.timesteps, size)]
        self.floor, self.placement = Floor(chip), Placement(trace, chip, cuts or {})
        self.writers = self.placement.writers
        self.weights = [self._weights(layer) for layer in trace.layers]
        self.rows = {name: self._stream_rows(stream) for name, stream in trace.streams.items() if stream.events}
        self._homes, self._held = {}, {}

    def _weights(self, layer):
        """The layer's weights on every core; None without. Cores of a layer cut by tokens hold the same."""
        if not isinstance(layer, (Conv, Linear, Head)):
            return None
        owned = [tuple(self.placement.owned(layer, core)) for core in range(self.cores)]
        made = {outputs: CoreWeights(layer.weights, list(outputs), self.chip) for outputs in set(owned)}
        return [made[outputs] for outputs in owned]

    def _stream_rows(self, stream):
        """[image][timestep][token] -> list of (channel, value)."""
        events, images = stream.events, []
        row = 0
        for _ in range(self.trace.images):
            image = []
            for _ in range(self.timesteps):
                tokens = []
                for _ in range(stream.height * stream.width):
                    span = range(int(events.offsets[row]), int(events.offsets[row + 1]))
                    values = [1 if events.values is None else int(events.values[at]) for at in span]
                    tokens.append([(int(events.channels[at]), value) for at, value in zip(span, values, strict=True)])
                    row += 1
                image.append(tokens)
            images.append(image)
        return images

    def source(self, layer):
        """The stream that a layer reads."""
        return self.trace.streams[layer.source]

    def homes(self, name):
        """P3: homes[token][channel] of a stream."""
        if name not in self._homes:
            self._homes[name] = self.placement.homes(name)
        return self._homes[name]

    def held(self, name):
        """D5: node -> values of one timestep of a stream that lie there."""
        if name not in self._held:
            self._held[name] = Counter(node for token in self.homes(name) for node in token)
        return self._held[name]

    def kept(self, layer, image):
        """Tokens that the layer's selector kept; all without one."""
        stream = self.source(layer)
        if layer.selector < 0:
            return list(range(stream.height * stream.width))
        return [int(token) for token in self.trace.kept[layer.selector][image]]

    def tokens(self, layer, image):
        """G3: tokens that take time, and those whose actions are counted (T5)."""
        kept = self.kept(layer, image)
        if isinstance(layer, Head) or self.chip.token_unit.policy == "skip":
            return kept, kept
        stream = self.source(layer)
        everything = list(range(stream.height * stream.width))
        return everything, kept if self.chip.token_unit.policy == "gate" else everything

    def steps(self, index, image, tokens, first=0):
        """G4: the steps of a layer on these tokens, numbered from `first` on."""
        if self.chip.core.order == "time_outer":
            pairs = [(times, token) for times in self.batches for token in tokens]
        else:
            pairs = [(times, token) for token in tokens for times in self.batches]
        return [Step(number, *pair, index, image) for number, pair in enumerate(pairs, first)]

    def scans_in_front(self, layer):
        """T4: whether the layer's producers scan the keep bitmap."""
        return layer.selector >= 0 and self.chip.token_unit.policy == "skip"

    def scan(self, layer, mine, index, first_token):
        """T4: cycles in front of a producer's step mine[index]; first_token: the first that it may hold a part of."""
        step = mine[index]
        if not self.scans_in_front(layer) or (self.chip.core.order == "time_inner" and step.times != self.batches[0]):
            return 0
        first_of_batch = all(earlier.times != step.times for earlier in mine[:index])
        before = first_token - 1 if first_of_batch else mine[index - 1].token
        return ceil_div(step.token - before, self.chip.token_unit.scan_width)

    def largest(self, name):
        """P4, M2: the largest value of a stream."""
        stream, writer = self.trace.streams[name], self.writers.get(name)
        if self.ann and stream.kind != "real":
            return 255
        if writer is None:
            values = None if stream.events is None else stream.events.values
            return 1 if values is None else max([1, *(int(value) for value in values)])
        return self._made(writer) + (self.largest(writer.residual) if writer.residual else 0)

    def _made(self, layer):
        """P4: the largest output of a layer without its residual."""
        if not isinstance(layer, Pool):
            return 1
        summed = max(len(inputs) for inputs in seen(view_of(layer, self.source(layer))))
        return self.largest(layer.source) * (summed if layer.form == "sum" else 1)

    def bits(self, name):
        """D5: bits of a stream's largest value."""
        return self.largest(name).bit_length()

    def selector_bytes(self, layer):
        """D2: bytes of a selector's weights."""
        if not isinstance(layer, Select) or layer.form != "learned":
            return 0
        core = self.chip.core
        bits = core.weight_bits + (0 if core.weight_format == "dense" else core.index_bits)
        table = 256 if layer.table is not None else 0
        return (self.hidden_entries(layer) * bits + 7) // 8 + layer.hidden.output_channels + table

    def hidden_entries(self, layer):
        """T2: E."""
        if self.chip.core.weight_format == "dense":
            return layer.hidden.input_channels * layer.hidden.output_channels
        return len(layer.hidden.outputs)

    def heads_of(self, layer):
        """(heads, head width) of an attention layer."""
        assert isinstance(layer, Attention)
        return layer.heads, self.source(layer).channels // 3 // layer.heads

    def split(self, values):
        """F1: the values that the flits of an event carry, one per timestep of the batch."""
        most, parts, left = 2**self.chip.mesh.value_bits - 1, [], list(values)
        while any(left):
            parts.append(tuple(min(most, value) for value in left))
            left = [value - sent for value, sent in zip(left, parts[-1], strict=True)]
        return parts
