"""Grows an integer spiking network layer by layer and runs it on the way, for `synthetic`.

Weights are random and sparse, thresholds give a wanted spike density; rules V1 and V2 of ARCHITECTURE.md, selectors and
attention as in `trace`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .trace import (
    Attention,
    Conv,
    Events,
    Head,
    InputKind,
    Layer,
    Linear,
    Numerics,
    Pool,
    Select,
    SelectForm,
    Stream,
    Trace,
    Weights,
)

Ints = NDArray[np.int64]
_SAMPLE = 256  # tokens on which thresholds are tuned
_SHIFTS = (0.0, 0.25, 0.5, 1.0, 2.0)  # mean bias, in spreads of the sums
_NO_LIMIT = 2**62


@dataclass(frozen=True, kw_only=True)
class Style:
    """What all synthetic networks have in common.

    potential_bits: None takes the width at which nothing saturates; a small one makes potentials saturate.
    fraction_bits: None takes timesteps - 1, at most 8.
    """

    images: int = 1
    timesteps: int = 4
    weight_density: float = 0.1
    spike_density: float = 0.15
    weight_bits: int = 8
    fraction_bits: int | None = None
    potential_bits: int | None = None
    shadow: bool = True
    seed: int = 0


class Builder:
    """Grows a network layer by layer and runs it on the way; every method returns the name of the stream it wrote.

    `dense` holds the streams so far as uint8[images, timesteps, tokens, channels].
    """

    def __init__(self, style: Style) -> None:
        self.style = style
        self.rng = np.random.default_rng(style.seed)
        self.fraction_bits = min(8, style.timesteps - 1) if style.fraction_bits is None else style.fraction_bits
        self.dense: dict[str, NDArray[np.uint8]] = {}
        self.streams: dict[str, Stream] = {}
        self.layers: list[Layer] = []
        self.kept: list[NDArray[np.uint16]] = []
        self._pixels: NDArray[np.int8] | None = None
        self._logits: Ints | None = None
        self._largest: dict[str, int] = {}
        self._potential, self._sum = 127, 1

    def pixels(self, channels: int, height: int, width: int, name: str = "pixels") -> str:
        """Random images, normally distributed around the zero point."""
        values = self.rng.normal(0, 40, (self.style.images, channels, height, width))
        self._pixels = np.clip(np.rint(values), -127, 127).astype(np.int8)
        self.streams[name] = Stream(name, "real", channels, height, width)
        self._largest[name] = 128
        return name

    def spikes(self, name: str, dense: NDArray[Any], height: int, width: int) -> str:
        """Given spikes dense[images, timesteps, tokens, channels], as from another tool; values 0 to 255."""
        kind: InputKind = "integer" if dense.max(initial=0) > 1 else "binary"
        self.streams[name] = Stream(name, kind, dense.shape[-1], height, width)
        self.dense[name] = dense.astype(np.uint8)
        self._largest[name] = max(1, int(dense.max(initial=0)))
        return name

    def conv(self, name: str, source: str, channels: int, kernel: int = 3, residual: str = "") -> str:
        """A convolution with its neurons; from pixels the sums are the same at every timestep (rule I1)."""
        stream = self.streams[source]
        dense = self._weights(channels, stream.channels, kernel * kernel)
        values: NDArray[Any]
        if stream.kind == "real":
            assert self._pixels is not None
            values = self._pixels.transpose(0, 2, 3, 1)[:, None]
        else:
            values = self.dense[source].reshape(self._grid(source))
        sums = _correlate(values, dense, kernel)
        sums = np.broadcast_to(sums, (self.style.images, self.style.timesteps, *sums.shape[2:]))
        weights = Weights.from_dense(dense.reshape(channels, stream.channels, kernel, kernel))
        return self._fires(Conv, name, source, sums, weights, residual)

    def linear(self, name: str, source: str, channels: int, residual: str = "") -> str:
        """A linear layer with its neurons on the tokens that are left."""
        dense = self._weights(channels, self.streams[source].channels, 1)[:, :, 0]
        sums = _exact(self.dense[source].astype(np.float64) @ dense.T.astype(np.float64))
        return self._fires(Linear, name, source, sums, Weights.from_dense(dense), residual)

    def pool(self, name: str, source: str) -> str:
        """OR over 3 x 3 windows at stride 2."""
        stream = self.streams[source]
        high, wide = (stream.height + 1) // 2, (stream.width + 1) // 2
        padded = np.pad(self.dense[source].reshape(self._grid(source)), ((0, 0), (0, 0), (1, 2), (1, 2), (0, 0)))
        windows = [padded[:, :, y : y + 2 * high : 2, x : x + 2 * wide : 2] for y in range(3) for x in range(3)]
        target = f"{name}.out"
        pooled = np.maximum.reduce(windows)
        self.streams[target] = Stream(target, "binary", stream.channels, high, wide)
        self.dense[target] = pooled.reshape(*pooled.shape[:2], -1, stream.channels)
        self._largest[target] = 1
        self._add(Pool(name=name, source=source, target=target))
        return target

    def select(self, name: str, source: str, keep: int, form: SelectForm = "learned") -> str:
        """Keeps the best `keep` of the tokens that are left; returns `source`."""
        features = self.dense[source].sum(1, dtype=np.int64)
        scorer: dict[str, Any] = {}
        scores = features.sum(-1)  # what `rate` goes by
        if form == "learned":
            scores, scorer = self._scorer(features)
        elif form == "random":
            scores = self.rng.permuted(np.arange(scores.size)).reshape(scores.shape)
        scores = np.where(self._left(source), scores, -_NO_LIMIT)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :keep]  # stable: ties to the lower id
        self._add(Select(name=name, source=source, form=form, keep=keep, **scorer))
        self.kept.append(np.sort(order, axis=1).astype(np.uint16))
        return source

    def attention(self, name: str, source: str, heads: int, residual: str = "") -> str:
        """(Q K^T) V per head on spikes; keys and values are the tokens that are left."""
        images, steps, tokens, channels = self.dense[source].shape
        split = self.dense[source].reshape(images, steps, tokens, 3, heads, channels // 3 // heads)
        queries, keys, values = split.transpose(3, 0, 1, 4, 2, 5).astype(np.float64)
        left = self._left(source)[:, None, None, :, None]
        sums = _exact((queries @ (keys * left).swapaxes(-1, -2)) @ (values * left))
        sums = sums.swapaxes(2, 3).reshape(images, steps, tokens, channels // 3)
        theta = int(self._tuned(sums, 0)[2].mean())
        target = self._neurons(name, source, sums, np.full(1, theta, np.int32), residual)
        self._add(Attention(name=name, source=source, target=target, heads=heads, theta=theta, residual=residual))
        return target

    def head(self, name: str, source: str, classes: int) -> None:
        """The classifier on the sum over time and the tokens that are left."""
        dense = self._weights(classes, self.streams[source].channels, 1)[:, :, 0]
        tokens = self.streams[source].tokens
        bias = self.rng.integers(-9, 10, classes)
        summed = (self.dense[source] * self._left(source)[:, None, :, None]).sum((1, 2), dtype=np.int64)
        self._logits = summed @ dense.T.astype(np.int64) + bias
        reach = np.abs(dense.astype(np.int64)).sum(1) * self._largest[source] * self.style.timesteps * tokens
        self._sum = max(self._sum, int((reach + np.abs(bias)).max()))
        self._add(Head(name=name, source=source, weights=Weights.from_dense(dense), bias=bias))

    def trace(self, **provenance: str) -> Trace:
        """The network so far with everything that it did, checked."""
        style = self.style
        numerics = Numerics(
            timesteps=style.timesteps,
            fraction_bits=self.fraction_bits,
            weight_bits=style.weight_bits,
            pixel_bits=8,
            accumulator_bits=self._sum.bit_length() + 1,
            potential_bits=style.potential_bits or self._potential.bit_length() + 1,
        )
        streams = {
            name: stream if stream.kind == "real" else replace(stream, events=Events.from_dense(self.dense[name]))
            for name, stream in self.streams.items()
        }
        return Trace(
            numerics=numerics,
            streams=streams,
            layers=tuple(self.layers),
            images=style.images,
            pixels=self._pixels,
            kept=tuple(self.kept),
            logits=self._logits,
            shadow=style.shadow,
            provenance={"origin": "synthetic", **provenance},
        )

    def _add(self, layer: Layer) -> None:
        """Every layer stands behind the last selector so far."""
        self.layers.append(replace(layer, selector=len(self.kept) - 1))

    def _grid(self, source: str) -> tuple[int, ...]:
        stream = self.streams[source]
        return self.style.images, self.style.timesteps, stream.height, stream.width, stream.channels

    def _left(self, source: str) -> NDArray[np.bool_]:
        """bool[images, tokens]: kept by the last selector so far."""
        mask = np.ones((self.style.images, self.streams[source].tokens), np.bool_)
        if self.kept:
            mask[:] = False
            np.put_along_axis(mask, self.kept[-1].astype(np.int64), True, axis=1)
        return mask

    def _weights(self, outputs: int, inputs: int, taps: int) -> NDArray[np.int8]:
        """Normally distributed around 0, at most 2^(bits - 1) - 1, never 0 where the mask keeps a weight."""
        shape = (outputs, inputs, taps)
        high = 2 ** (self.style.weight_bits - 1) - 1
        sizes = np.clip(np.rint(np.abs(self.rng.normal(0, high / 3, shape))), 1, high)
        signs = np.where(self.rng.random(shape) < 0.5, -1, 1)
        return (sizes * signs * (self.rng.random(shape) < self.style.weight_density)).astype(np.int8)

    def _fires(
        self, kind: type[Conv] | type[Linear], name: str, source: str, sums: Ints, weights: Weights, residual: str
    ) -> str:
        """Neurons on the sums: of a few biases that with the evenest firing over time, and thresholds to match."""
        spread = max(1.0, float(sums[:1].std()))
        jitter = self.rng.normal(0, spread / 4, weights.output_channels)
        tried = [self._tuned(sums, np.rint(jitter + shift * spread).astype(np.int32)) for shift in _SHIFTS]
        _, bias, theta = min(tried, key=lambda one: one[0])
        bound = np.abs(weights.to_dense().astype(np.int64)).sum((1, 2)) * self._largest[source] + np.abs(bias)
        self._sum = max(self._sum, int(bound.max()))
        target = self._neurons(name, source, sums + bias, theta, residual)
        self._add(
            kind(name=name, source=source, target=target, weights=weights, bias=bias, theta=theta, residual=residual)
        )
        return target

    def _tuned(self, sums: Ints, bias: NDArray[np.int32] | int) -> tuple[float, Any, NDArray[np.int32]]:
        """(unevenness over time, bias, int32 thresholds[channels]) at the wanted spike density, by bisection.

        A threshold is its channel's mean drive plus a common number of spreads.
        """
        flat = sums[:1].reshape(1, sums.shape[1], -1, sums.shape[-1])
        drive = flat[:, :, :: max(1, flat.shape[2] // _SAMPLE)] + bias
        middle, spread = np.maximum(drive.mean((0, 1, 2)), 0), np.maximum(drive.std(), 0.5)
        low, high = 0.0, 64.0
        for _ in range(14):
            scale = (low + high) / 2
            fired, _ = self._fire(drive, self._theta(middle + scale * spread))
            low, high = (scale, high) if fired.mean() > self.style.spike_density else (low, scale)
        theta = self._theta(middle + high * spread)
        fired, _ = self._fire(drive, theta)
        return float(fired.mean((0, 2, 3)).std()), bias, theta

    def _theta(self, level: NDArray[np.float64]) -> NDArray[np.int32]:
        theta: NDArray[np.int32] = np.clip(np.ceil(level * 2.0**self.fraction_bits), 1, 2**31 - 1).astype(np.int32)
        return theta

    def _fire(self, drive: Ints, theta: NDArray[np.int32]) -> tuple[NDArray[np.bool_], int]:
        """Rule V1 over axis 1 (time): (spikes, the largest size of a potential)."""
        bits = self.style.potential_bits
        top = 2 ** (bits - 1) - 1 if bits else _NO_LIMIT
        potential = np.zeros_like(drive[:, 0])
        spikes = np.zeros(drive.shape, np.bool_)
        reached = 0
        for step in range(drive.shape[1]):
            potential = (potential >> 1) + (drive[:, step] << self.fraction_bits)
            np.clip(potential, -top - 1, top, out=potential)
            reached = max(reached, int(potential.max()), -int(potential.min()))
            spikes[:, step] = potential >= theta
            potential[spikes[:, step]] = 0
        return spikes, reached

    def _neurons(self, name: str, source: str, drive: Ints, theta: NDArray[np.int32], residual: str) -> str:
        """Fires, adds the residual (rule V2), empties the rows of dropped tokens where no shadow is wanted."""
        spikes, reached = self._fire(drive, theta)
        self._potential = max(self._potential, reached)
        stream, target = self.streams[source], f"{name}.out"
        flat = spikes.reshape(*spikes.shape[:2], stream.tokens, -1).astype(np.uint8)
        if residual:
            flat = flat + self.dense[residual]
        if not self.style.shadow:
            flat = flat * self._left(source)[:, None, :, None]
        kind: InputKind = "integer" if residual else "binary"
        self.dense[target] = flat
        self.streams[target] = Stream(target, kind, flat.shape[-1], stream.height, stream.width)
        self._largest[target] = 1 + (self._largest[residual] if residual else 0)
        return target

    def _scorer(self, features: Ints) -> tuple[Ints, dict[str, Any]]:
        """A two-layer scorer of half the width, shifted so that few hidden values are clipped."""
        width = features.shape[-1]
        size = max(1, width // 2)
        dense = self._weights(size, width, 1)[:, :, 0]
        sums = features @ dense.T.astype(np.int64)
        bias = self.rng.integers(-50, 51, size).astype(np.int32)
        shift = max(0, int(np.quantile(np.abs(sums), 0.95)).bit_length() - 7)
        score = self.rng.choice(np.array([-9, -4, -1, 1, 3, 8], np.int8), size)
        hidden = np.clip(np.maximum(sums + bias, 0) >> shift, 0, 127)
        layer = {
            "hidden": Weights.from_dense(dense),
            "hidden_bias": bias,
            "hidden_shift": shift,
            "score_weights": score,
        }
        return hidden @ score.astype(np.int64), layer


def _correlate(values: NDArray[Any], dense: NDArray[np.int8], kernel: int) -> Ints:
    """values[images, steps, y, x, inputs] with weights dense[outputs, inputs, taps] -> sums[..., y, x, outputs]."""
    images, steps, height, width, inputs = values.shape
    pad = kernel // 2
    flat = values.reshape(images * steps, height, width, inputs).astype(np.float64)
    padded = np.pad(flat, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = dense.astype(np.float64).transpose(2, 1, 0)
    sums = np.zeros((images * steps * height * width, dense.shape[0]))
    for tap in range(kernel * kernel):
        y, x = divmod(tap, kernel)
        window = padded[:, y : y + height, x : x + width].reshape(-1, inputs)  # one copy, so that BLAS takes it
        sums += window @ taps[tap]
    return _exact(sums).reshape(images, steps, height, width, -1)


def _exact(sums: NDArray[np.float64]) -> Ints:
    """Float64 products are exact integers below 2^53, and BLAS is much faster than integer loops."""
    return sums.astype(np.int64)
