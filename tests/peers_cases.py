"""Traces for peers: shapes of any kind, with spikes drawn or given, and without weights."""

import numpy as np
from sparsespike.simulator.trace import (
    Attention,
    Conv,
    Events,
    Linear,
    Numerics,
    Select,
    Stream,
    Trace,
    Weights,
    Window,
)


def no_weights(inputs, outputs, taps=1):
    """A pattern in which all weights are pruned: peers take every layer for dense, and no file is large."""
    return Weights(inputs, outputs, taps, np.zeros(inputs * taps + 1, np.int64), np.zeros(0, np.uint16), None)


class Net:
    """Collects layers, each of which reads spikes of its own: dense[images, timesteps, tokens, channels]."""

    def __init__(self, images, timesteps):
        self.images, self.timesteps = images, timesteps
        self.layers, self.streams, self.kept = [], {}, []

    def _given(self, dense, height, width):
        name = f"in{len(self.layers)}"
        kind = "integer" if dense.max(initial=0) > 1 else "binary"
        self.streams[name] = Stream(name, kind, dense.shape[-1], height, width, Events.from_dense(dense))
        return name

    def _add(self, kind, dense, size, made, **fields):
        """A layer of `kind` on a map of `size`; made: (channels, height, width) of its target."""
        source, target = self._given(dense, *size), f"out{len(self.layers)}"
        self.streams[target] = Stream(target, "binary", *made)
        name = f"{kind.__name__.lower()}{len(self.layers)}"
        layer = kind(name=name, source=source, target=target, selector=len(self.kept) - 1, **fields)
        self.layers.append(layer)

    def conv(self, dense, size, outputs, window, pooled=None):
        made = window.outputs(*size)
        made = made if pooled is None else pooled.outputs(*made)
        weights = no_weights(dense.shape[-1], outputs, window.taps)
        self._add(Conv, dense, size, (outputs, *made), weights=weights, bias=None, window=window, pooled=pooled)

    def linear(self, dense, outputs):
        size = (1, dense.shape[2])
        self._add(Linear, dense, size, (outputs, *size), weights=no_weights(dense.shape[-1], outputs), bias=None)

    def attention(self, dense, heads, form):
        size = (1, dense.shape[2])
        self._add(Attention, dense, size, (dense.shape[-1] // 3, *size), heads=heads, form=form)

    def select(self, dense, keep, rng):
        """Keeps random ones of the tokens that are left."""
        source = self._given(dense, 1, dense.shape[2])
        self.layers.append(Select(name="select", source=source, form="random", keep=keep, selector=len(self.kept) - 1))
        chosen = [np.sort(rng.permutation(dense.shape[2])[:keep]) for _ in range(self.images)]
        self.kept.append(np.array(chosen, np.uint16))

    def trace(self):
        numerics = Numerics(self.timesteps, 0, 8, 8, 16, 16)
        given = {"level": "replay", "replay_reason": "made by hand"}
        parts = self.streams, tuple(self.layers), self.images, None, tuple(self.kept), None
        return Trace(numerics, *parts, **given)


STEPS = (1, 1, 2, 3, 4, 5, 8, 10, 16)
DENSITIES = (0.0, 0.02, 0.1, 0.3, 0.7, 1.0)


def draw_trace(seed):
    """A few layers of any shape, kind and density, on one or two images."""
    rng = np.random.default_rng(seed)
    images, steps = int(rng.integers(1, 3)), int(rng.choice(STEPS))
    net = Net(images, steps)
    budget = 640  # rows, so that the slow twin takes a moment

    def spikes(tokens, channels, most=1):
        dense = (rng.random((images, steps, tokens, channels)) < rng.choice(DENSITIES)).astype(np.uint8)
        dense[rng.random(dense.shape[:3]) < rng.choice([0.0, 0.5])] = 0
        if rng.random() < 0.3:  # rows that repeat
            dense[:] = dense[:, :, :1]
        return dense * rng.integers(1, most + 1, dense.shape, np.uint8)

    def any_conv():
        size = tuple(int(side) for side in rng.integers(1, 10, 2))
        kernel = tuple(int(rng.integers(1, min(side, 5) + 1)) for side in size)
        pads = tuple(int(rng.integers(0, min(side, 3))) for side in kernel)
        window = Window(*kernel, int(rng.integers(1, 4)), *pads)
        if rng.random() < 0.2:
            window = Window(*size)
        pooled = Window(1, 1, 2) if rng.random() < 0.2 else None
        net.conv(spikes(size[0] * size[1], int(rng.integers(1, 12))), size, outputs(), window, pooled)

    def outputs():
        return int(rng.choice([1, 3, 16, 128, 129, 300]))

    def any_linear(tokens=None):
        tokens = tokens or int(rng.integers(1, max(2, budget // steps // images)))
        net.linear(spikes(tokens, int(rng.integers(1, 70)), int(rng.choice([1, 4]))), outputs())

    def any_attention(tokens=None):
        heads, width = int(rng.integers(1, 4)), int(rng.integers(1, 9))
        form = str(rng.choice(["product", "product", "hadamard"]))
        net.attention(spikes(tokens or int(rng.integers(1, 20)), 3 * heads * width), heads, form)

    for _ in range(int(rng.integers(1, 4))):
        rng.choice([any_conv, any_linear, any_attention])()
    if rng.random() < 0.5:
        tokens = int(rng.integers(2, 20))
        net.select(spikes(tokens, 4), int(rng.integers(1, tokens + 1)), rng)
        any_linear(tokens)
        any_attention(tokens)
    return net.trace()
