"""What the rules say of streams and tokens before any cycle passes: sections G, P and the flits of F."""

from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Pool, Select

from .mesh import Floor
from .rows import CoreWeights, owned_channels


class Setting:
    """A trace on a chip."""

    def __init__(self, trace, chip):
        self.trace, self.chip = trace, chip
        self.cores = chip.mesh.columns * chip.mesh.rows
        self.timesteps = trace.numerics.timesteps
        self.floor = Floor(chip)
        self.writers = {layer.target: layer for layer in trace.layers if layer.target}
        self.weights = [
            [CoreWeights(layer.weights, core, chip) for core in range(self.cores)]
            if isinstance(layer, (Conv, Linear, Head))
            else None
            for layer in trace.layers
        ]
        self.rows = {name: self._stream_rows(stream) for name, stream in trace.streams.items() if stream.events}

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

    def ordered(self, tokens):
        """G4: the steps as (timestep, token)."""
        if self.chip.core.order == "time_outer":
            return [(time, token) for time in range(self.timesteps) for token in tokens]
        return [(time, token) for token in tokens for time in range(self.timesteps)]

    def scans(self, layer, steps):
        """T4: cycles of scanning in front of each step."""
        if layer.selector < 0 or self.chip.token_unit.policy != "skip":
            return [0] * len(steps)
        width, scans = self.chip.token_unit.scan_width, []
        for index, (time, token) in enumerate(steps):
            before = steps[index - 1] if index else None
            if self.chip.core.order == "time_outer":
                start = before[1] if before and before[0] == time else -1
            elif before and before[1] == token:
                scans.append(0)
                continue
            else:
                start = before[1] if before else -1
            scans.append(-((start - token) // width))
        return scans

    def homes(self, name):
        """P2: node of each channel of a stream."""
        writer, stream = self.writers.get(name), self.trace.streams[name]
        if isinstance(writer, Pool):
            return self.homes(writer.source)
        if isinstance(writer, Attention):
            width = stream.channels // writer.heads
            return [("attention", channel // width % self.chip.attention.units) for channel in range(stream.channels)]
        homes = [None] * stream.channels
        for core in range(self.cores):
            for channel in owned_channels(stream.channels, core, self.cores):
                homes[channel] = ("core", core)
        return homes

    def largest(self, name):
        """P4: the largest value of a stream."""
        stream, writer = self.trace.streams[name], self.writers.get(name)
        if writer is None:
            values = None if stream.events is None else stream.events.values
            return 1 if values is None else max([1, *(int(value) for value in values)])
        return 1 + (self.largest(writer.residual) if writer.residual else 0)

    def bits(self, name):
        """D5: bits of a stream's largest value."""
        return self.largest(name).bit_length()

    def selector_bytes(self, layer):
        """D2: bytes of a selector's weights."""
        if not isinstance(layer, Select) or layer.form != "learned":
            return 0
        core = self.chip.core
        bits = core.weight_bits + (0 if core.weight_format == "dense" else core.index_bits)
        return (self.hidden_entries(layer) * bits + 7) // 8 + layer.hidden.output_channels

    def hidden_entries(self, layer):
        """T2: E."""
        if self.chip.core.weight_format == "dense":
            return layer.hidden.input_channels * layer.hidden.output_channels
        return len(layer.hidden.outputs)

    def heads_of(self, layer):
        """(heads, head width) of an attention layer."""
        return layer.heads, self.source(layer).channels // 3 // layer.heads

    def split_value(self, value):
        """F1: the flits that carry a value."""
        most, parts = 2**self.chip.mesh.value_bits - 1, []
        while value > 0:
            parts.append(min(most, value))
            value -= parts[-1]
        return parts
