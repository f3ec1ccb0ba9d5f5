"""Grows an integer network, spiking or ReLU, layer by layer and runs it on the way, for `synthetic`.

Weights are random and sparse, `neurons` gives a wanted density of spikes or activations; rules V2, M2 and M5 of
ARCHITECTURE.md, selectors and attention as in `trace`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .neurons import Lif, Relu, exact
from .ranges import most_inside
from .trace import (
    ACTIVATION_MAX,
    KEEP_HALF,
    TABLE_ENTRIES,
    Attention,
    Conv,
    Events,
    Head,
    InputKind,
    Layer,
    Linear,
    Neuron,
    Pool,
    ProductOrder,
    Select,
    SelectForm,
    Stream,
    Trace,
    Weights,
    Window,
)

Ints = NDArray[np.int64]
_NO_LIMIT = 2**62
_LOWEST = -_NO_LIMIT  # below every sum


@dataclass(frozen=True, kw_only=True)
class Style:
    """What all synthetic networks have in common.

    neuron: `relu` makes an 8-bit ANN of one timestep, whatever `timesteps` says; spike_density is then the share of
    non-zero activations, and fraction_bits and potential_bits mean nothing.
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
    neuron: Neuron = "lif"


class Builder:
    """Grows a network layer by layer and runs it on the way; every method returns the name of the stream it wrote.

    `dense` holds the streams so far as uint8[images, timesteps, tokens, channels].
    """

    def __init__(self, style: Style) -> None:
        relu = style.neuron == "relu"
        self.style = style = replace(style, timesteps=1) if relu else style
        self.rng = np.random.default_rng(style.seed)
        fraction_bits = min(8, style.timesteps - 1) if style.fraction_bits is None else style.fraction_bits
        self.neurons: Lif | Relu = (
            Relu(style.spike_density) if relu else Lif(style.spike_density, fraction_bits, style.potential_bits)
        )
        self.dense: dict[str, NDArray[np.uint8]] = {}
        self.streams: dict[str, Stream] = {}
        self.layers: list[Layer] = []
        self.kept: list[NDArray[np.uint16]] = []
        self._pixels: NDArray[np.int8] | None = None
        self._logits: Ints | None = None
        self._largest: dict[str, int] = {}
        self._sum = 1

    def membrane(self, decay: int = KEEP_HALF, share: int = 0) -> None:
        """How the neurons of layers to come leak, and reset: by share / 256 of their threshold, or 0: to 0 (V1)."""
        assert isinstance(self.neurons, Lif), "an ANN has no membranes"
        self.neurons.behave(decay, share)

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
        self._largest[name] = max(self.neurons.largest, int(dense.max(initial=0)))
        return name

    def conv(
        self,
        name: str,
        source: str,
        channels: int,
        kernel: int | Window = 3,
        residual: str = "",
        pooled: Window | None = None,
    ) -> str:
        """A convolution with its neurons; from pixels the sums are the same at every timestep (rule I1).

        kernel: any window, or the side of a square of odd side that leaves the map's size as it is.
        pooled: the neurons take the largest of the sums in such a window.
        """
        stream, given = self.streams[source], isinstance(kernel, Window)
        geometry = kernel if isinstance(kernel, Window) else Window(kernel, kernel, 1, kernel // 2, kernel // 2)
        dense = self._weights(channels, stream.channels, geometry.taps)
        values: NDArray[Any]
        if stream.kind == "real":
            assert self._pixels is not None
            values = self._pixels.transpose(0, 2, 3, 1)[:, None]
        else:
            values = self.dense[source].reshape(self._grid(source))
        sums = _correlate(values, dense, geometry)
        sums = np.broadcast_to(sums, (self.style.images, self.style.timesteps, *sums.shape[2:]))
        if pooled is not None:
            sums = np.maximum.reduce(list(pooled.views(sums, _LOWEST)))
        weights = Weights.from_dense(dense.reshape(channels, stream.channels, geometry.height, geometry.width))
        fields = {"window": geometry if given else None, "pooled": pooled}
        return self._fires(Conv, name, source, sums, weights, residual, **fields)

    def linear(self, name: str, source: str, channels: int, residual: str = "") -> str:
        """A linear layer with its neurons on the tokens that are left."""
        dense = self._weights(channels, self.streams[source].channels, 1)[:, :, 0]
        sums = exact(self.dense[source].astype(np.float64) @ dense.T.astype(np.float64))
        return self._fires(Linear, name, source, sums, Weights.from_dense(dense), residual)

    def pool(self, name: str, source: str, kernel: int = 3, stride: int = 2, padding: int = 1, **form: Any) -> str:
        """The largest value of each window, of spikes their OR; or with form="sum" the sum.

        form: further fields of the layer.
        """
        target, stream = f"{name}.out", self.streams[source]
        layer = Pool(name=name, source=source, target=target, kernel=kernel, stride=stride, padding=padding, **form)
        window, summed = layer.geometry, layer.form == "sum"
        seen = list(window.views(self.dense[source].reshape(self._grid(source))))
        pooled = np.sum(seen, axis=0) if summed else np.maximum.reduce(seen)
        kind: InputKind = "integer" if summed else stream.kind
        self.streams[target] = Stream(target, kind, stream.channels, *window.outputs(stream.height, stream.width))
        self.dense[target] = pooled.astype(np.uint8).reshape(*pooled.shape[:2], -1, stream.channels)
        most = most_inside(window, stream.height, stream.width) if summed else 1
        self._largest[target] = self._largest[source] * most
        self._add(layer)
        return target

    def select(self, name: str, source: str, keep: int, form: SelectForm = "learned", *, table: bool = False) -> str:
        """Keeps the best `keep` of the tokens that are left; returns `source`.

        table: a learned scorer's activation is a table of random entries in place of the ReLU.
        """
        features = self.dense[source].sum(1, dtype=np.int64)
        scorer: dict[str, Any] = {}
        scores = features.sum(-1)  # what `rate` goes by
        if form == "learned":
            scores, scorer = self._scorer(features, table)
        elif form == "random":
            scores = self.rng.permuted(np.arange(scores.size)).reshape(scores.shape)
        scores = np.where(self._left(source), scores, -_NO_LIMIT)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :keep]  # stable: ties to the lower id
        self._add(Select(name=name, source=source, form=form, keep=keep, **scorer))
        self.kept.append(np.sort(order, axis=1).astype(np.uint16))
        return source

    def attention(
        self, name: str, source: str, heads: int, residual: str = "", order: ProductOrder | None = None
    ) -> str:
        """(Q K^T) V per head; keys and values are the tokens that are left.

        order: of a ReLU network's products; None takes the one of fewer operations.
        """
        images, steps, tokens, channels = self.dense[source].shape
        split = self.dense[source].reshape(images, steps, tokens, 3, heads, channels // 3 // heads)
        queries, keys, values = split.transpose(3, 0, 1, 4, 2, 5).astype(np.float64)
        left, kept = self._left(source), int(self._left(source)[0].sum())
        mask = left[:, None, None, :, None]
        order = order or ("kv_first" if kept > channels // 3 // heads else "qk_first")
        sums, inner = self.neurons.multiply(queries, keys * mask, values * mask, order)
        if inner:  # M6: both sums are of 8-bit products
            self._sum = max(self._sum, max(kept, channels // 3 // heads) * ACTIVATION_MAX**2)
        sums = sums.swapaxes(2, 3).reshape(images, steps, tokens, channels // 3)
        outer = self.neurons.tune_attention(sums)
        target = self._store(name, source, self.neurons.run(sums, outer), residual)
        layer = Attention(name=name, source=source, target=target, heads=heads, residual=residual, **inner, **outer)
        self._add(layer)
        return target

    def masked_attention(self, name: str, source: str, heads: int, residual: str = "") -> str:
        """Hadamard attention (A4): a neuron per channel on what k and v have in common, which lets q through."""
        left = self._left(source)[:, None, :, None]
        queries, keys, values = np.split(self.dense[source], 3, axis=-1)
        sums = (keys & values & left).sum(axis=2, keepdims=True, dtype=np.int64)
        parameters = self.neurons.tune_attention(sums)
        target = self._store(name, source, queries & self.neurons.run(sums, parameters), residual)
        layer = Attention(
            name=name, source=source, target=target, heads=heads, form="hadamard", residual=residual, **parameters
        )
        self._add(layer)
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

    def count(self) -> None:
        """Logits without a head: what the last layer's target adds up to, over time and the tokens that are left."""
        target = self.layers[-1].target
        self._logits = (self.dense[target] * self._left(target)[:, None, :, None]).sum((1, 2), dtype=np.int64)

    def trace(self, **provenance: str) -> Trace:
        """The network so far with everything that it did, checked."""
        style = self.style
        numerics = self.neurons.numerics(
            timesteps=style.timesteps,
            weight_bits=style.weight_bits,
            pixel_bits=8,
            accumulator_bits=self._sum.bit_length() + 1,
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
        self,
        kind: type[Conv] | type[Linear],
        name: str,
        source: str,
        sums: Ints,
        weights: Weights,
        residual: str,
        **fields: Any,
    ) -> str:
        """Neurons on the sums, tuned; `fields`: further ones of the layer."""
        bias, parameters = self.neurons.tune(sums, self.rng)
        bound = np.abs(weights.to_dense().astype(np.int64)).sum((1, 2)) * self._largest[source] + np.abs(bias)
        self._sum = max(self._sum, int(bound.max()))
        target = self._store(name, source, self.neurons.run(sums + bias, parameters), residual)
        fields |= {"source": source, "target": target, "residual": residual}
        self._add(kind(name=name, weights=weights, bias=bias, **fields, **parameters))
        return target

    def _store(self, name: str, source: str, outputs: NDArray[np.uint8], residual: str) -> str:
        """Adds the residual (V2, M2), empties the rows of dropped tokens where no shadow is wanted."""
        stream, target = self.streams[source], f"{name}.out"
        height, width = (stream.height, stream.width) if outputs.ndim == 4 else outputs.shape[2:4]  # else of a map
        flat = outputs.reshape(*outputs.shape[:2], height * width, -1)
        largest = self.neurons.largest_with(self._largest[residual] if residual else 0)
        if residual:
            flat = np.minimum(flat.astype(np.int64) + self.dense[residual], largest).astype(np.uint8)
        if self.kept and not self.style.shadow:
            flat = flat * self._left(source)[:, None, :, None]
        kind: InputKind = "integer" if residual else self.neurons.kind
        self.dense[target] = flat
        self.streams[target] = Stream(target, kind, flat.shape[-1], height, width)
        self._largest[target] = largest
        return target

    def _scorer(self, features: Ints, table: bool) -> tuple[Ints, dict[str, Any]]:
        """A two-layer scorer of half the width, shifted so that few hidden values are clipped."""
        width = features.shape[-1]
        size = max(1, width // 2)
        dense = self._weights(size, width, 1)[:, :, 0]
        sums = features @ dense.T.astype(np.int64)
        bias = self.rng.integers(-50, 51, size).astype(np.int32)
        shift = max(0, int(np.quantile(np.abs(sums), 0.95)).bit_length() - 7)
        score = self.rng.choice(np.array([-9, -4, -1, 1, 3, 8], np.int8), size)
        hidden = (sums + bias) >> shift
        layer: dict[str, Any] = {
            "hidden": Weights.from_dense(dense),
            "hidden_bias": bias,
            "hidden_shift": shift,
            "score_weights": score,
        }
        if table:
            layer["table"] = self.rng.integers(-128, 128, TABLE_ENTRIES).astype(np.int8)
            activations = layer["table"].astype(np.int64)[np.clip(hidden, -128, 127) + 128]
        else:
            activations = np.clip(hidden, 0, 127)
        return activations @ score.astype(np.int64), layer


def _correlate(values: NDArray[Any], dense: NDArray[np.int8], window: Window) -> Ints:
    """values[images, steps, y, x, inputs] with weights dense[outputs, inputs, taps] -> sums[..., y, x, outputs]."""
    taps = dense.astype(np.float64).transpose(2, 1, 0)
    shape = (*values.shape[:2], *window.outputs(*values.shape[2:4]), dense.shape[0])
    sums = np.zeros(shape).reshape(-1, dense.shape[0])
    for tap, seen in enumerate(window.views(values.astype(np.float64))):
        sums += seen.reshape(-1, seen.shape[-1]) @ taps[tap]  # reshaping copies, so that BLAS takes it
    return exact(sums).reshape(shape)
