"""A quantised ANN once more, in plain Python integers, from section M of ARCHITECTURE.md alone."""

from sparsespike.simulator.trace import Attention, Conv, Linear, Pool, Select


class Slow:
    """An ANN layer by layer, value by value, from the rules alone; values[stream][token] are lists of integers."""

    def __init__(self, trace, image):
        self.trace, self.image = trace, image
        pixels = trace.pixels[image]
        places = range(pixels.shape[1] * pixels.shape[2])
        flat = pixels.reshape(pixels.shape[0], -1)
        self.values = {"pixels": [[int(flat[c, token]) for c in range(len(flat))] for token in places]}
        self.kept, self.logits, self.clipped = [], None, 0
        steps = {Conv: self.conv, Linear: self.conv, Pool: self.pool, Select: self.select, Attention: self.attention}
        for layer in trace.layers:
            steps.get(type(layer), self.head)(layer)

    def cut(self, value, requant, channel):
        """M2."""
        multiplier, shift = int(requant.multiplier[channel]), int(requant.shift[channel])
        out = (value * multiplier + 2 ** (shift - 1)) // 2**shift
        self.clipped += out > 255
        return min(max(out, 0), 255)

    def store(self, layer, outputs):
        """M2: residuals saturate."""
        if layer.residual:
            added = self.values[layer.residual]
            outputs = [
                [min(a + b, 255) for a, b in zip(one, two, strict=True)]
                for one, two in zip(outputs, added, strict=True)
            ]
        self.values[layer.target] = outputs

    def left(self, layer):
        """The tokens that the layer's selector kept."""
        return self.kept[layer.selector] if layer.selector >= 0 else list(range(len(self.values[layer.source])))

    def conv(self, layer):
        """Gathers; a linear layer has one tap."""
        source, dense = self.trace.streams[layer.source], layer.weights.to_dense()
        kernel = round(dense.shape[2] ** 0.5)
        values, outputs = self.values[layer.source], []
        for token in range(source.tokens):
            y, x = divmod(token, source.width)
            sums = [int(bias) for bias in layer.bias]
            for tap in range(kernel * kernel):
                row, column = y + tap // kernel - kernel // 2, x + tap % kernel - kernel // 2
                if 0 <= row < source.height and 0 <= column < source.width:
                    for channel, value in enumerate(values[row * source.width + column]):
                        for out in range(len(sums)):
                            sums[out] += value * int(dense[out, channel, tap])
            outputs.append([self.cut(value, layer.requant, out) for out, value in enumerate(sums)])
        self.store(layer, outputs)

    def pool(self, layer):
        """M5."""
        source, target = self.trace.streams[layer.source], self.trace.streams[layer.target]
        outputs = []
        for token in range(target.tokens):
            y, x = divmod(token, target.width)
            rows = [r for r in range(2 * y - 1, 2 * y + 2) if 0 <= r < source.height]
            columns = [c for c in range(2 * x - 1, 2 * x + 2) if 0 <= c < source.width]
            window = [self.values[layer.source][r * source.width + c] for r in rows for c in columns]
            outputs.append([max(values) for values in zip(*window, strict=True)])
        self.store(layer, outputs)

    def select(self, layer):
        """T2."""
        dense, scores = layer.hidden.to_dense()[:, :, 0], {}
        for token in self.kept[-1] if self.kept else range(self.trace.streams[layer.source].tokens):
            hidden = []
            for out in range(len(dense)):
                total = int(layer.hidden_bias[out])
                total += sum(int(w) * v for w, v in zip(dense[out], self.values[layer.source][token], strict=True))
                shifted = total // 2**layer.hidden_shift
                if layer.table is None:
                    hidden.append(min(max(shifted, 0), 127))
                else:
                    hidden.append(int(layer.table[min(max(shifted, -128), 127) + 128]))
            scores[token] = sum(int(w) * h for w, h in zip(layer.score_weights, hidden, strict=True))
        self.kept.append(sorted(sorted(scores, key=lambda token: (-scores[token], token))[: layer.keep]))

    def attention(self, layer):
        """M6."""
        values, keys = self.values[layer.source], self.left(layer)
        third = len(values[0]) // 3
        d = third // layer.heads
        outputs = [[0] * third for _ in values]
        for head in range(layer.heads):
            at = range(head * d, head * d + d)
            if layer.order == "kv_first":
                inner = {
                    (i, j): self.cut(
                        sum(values[key][third + i] * values[key][2 * third + j] for key in keys), layer.inner, 0
                    )
                    for i in at
                    for j in at
                }
                for token, row in enumerate(values):
                    for j in at:
                        outputs[token][j] = self.cut(sum(row[i] * inner[i, j] for i in at), layer.requant, 0)
                continue
            for token, row in enumerate(values):
                scores = [self.cut(sum(row[i] * values[key][third + i] for i in at), layer.inner, 0) for key in keys]
                for j in at:
                    pairs = zip(scores, keys, strict=True)
                    total = sum(score * values[key][2 * third + j] for score, key in pairs)
                    outputs[token][j] = self.cut(total, layer.requant, 0)
        self.store(layer, outputs)

    def head(self, layer):
        """The sum over the tokens that are left."""
        dense = layer.weights.to_dense()[:, :, 0]
        summed = [sum(values) for values in zip(*(self.values[layer.source][t] for t in self.left(layer)), strict=True)]
        self.logits = [
            int(bias) + sum(int(w) * v for w, v in zip(row, summed, strict=True))
            for row, bias in zip(dense, layer.bias, strict=True)
        ]
