"""The integer network: runs a lowered layer graph on images, exactly. It is the reference that the chip must equal.

Dense and slow on purpose: no event, no order of summation, only the arithmetic that `simulator.trace` states per layer.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..simulator.errors import UserError
from ..simulator.trace import (
    ACTIVATION_MAX,
    DECAY_BITS,
    KEEP_ALL,
    KEEP_HALF,
    Attention,
    Conv,
    Head,
    Layer,
    Linear,
    Membrane,
    Numerics,
    Pool,
    Requant,
    Select,
)
from .selector import image_keys, random_scores

BATCH = 32
_EXACT_FLOAT32 = 2**24  # below it float32 holds every integer, so a BLAS product is exact in any order

Array = NDArray[Any]  # whole numbers [images, timesteps, tokens, channels]


@dataclass(frozen=True)
class Run:
    """What the integer network did on some images.

    streams: uint8[images, timesteps, tokens, channels] by name, dropped tokens included.
    kept: uint16[images, keep] per selector, ascending.  pixels: int8[images, channels, height, width],
    None where the input is spikes.
    logits: int64[images, classes].
    saturated: neuron updates that were clipped to the potential's width; of an ANN, values that reach 255.
    """

    pixels: NDArray[np.int8] | None
    streams: dict[str, NDArray[np.uint8]]
    kept: tuple[NDArray[np.uint16], ...]
    logits: NDArray[np.int64]
    saturated: int


@dataclass(frozen=True)
class IntegerNetwork:
    """A lowered network: layers in order, as a trace holds them, and the shape of every stream.

    shapes: (channels, height, width) by stream name; the first is the input's, pixels or spikes.
    pixel_scale: a pixel is round(normalised value / pixel_scale).  seed: of selectors of the form `random`.
    survivors, nonzeros: weights that pruning left, and those of them that did not round to 0.
    """

    numerics: Numerics
    layers: tuple[Layer, ...]
    shapes: Mapping[str, tuple[int, int, int]]
    pixel_scale: float
    seed: int
    survivors: int
    nonzeros: int

    def quantise(self, images: NDArray[np.float32]) -> NDArray[np.int8]:
        """int8 pixels with zero-point 0, so that zero padding is exact. Raises UserError where shapes do not fit."""
        shape = next(iter(self.shapes.values()))
        if images.shape[1:] != shape:
            raise UserError(f"images are {images.shape[1:]} (channels, height, width), but the ticket needs {shape}")
        high = 2 ** (self.numerics.pixel_bits - 1) - 1
        largest = high * self.pixel_scale  # clipped before the division, which could overflow
        return np.rint(np.clip(images, -largest, largest) / self.pixel_scale).astype(np.int8)

    def runs(self, images: NDArray[np.float32] | NDArray[np.uint8]) -> Iterator[Run]:
        """Run the network on its input, a few images at a time, to bound the memory.

        images: float32[images, channels, height, width], normalised; or spikes: uint8[images, timesteps, tokens,
        channels].
        """
        for start in range(0, len(images), BATCH):
            yield _Forward(self, images[start : start + BATCH]).result()

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        """int64[images, classes] for float32[images, channels, height, width], normalised."""
        return np.concatenate([run.logits for run in self.runs(images)])


class _Forward:
    """One pass over a batch; `values` holds every stream, `mask` the tokens that are left."""

    def __init__(self, network: IntegerNetwork, images: NDArray[np.float32] | NDArray[np.uint8]) -> None:
        self.network = network
        first = next(iter(network.shapes))
        self.values: dict[str, Array]
        self.pixels: NDArray[np.int8] | None = None
        if images.dtype == np.uint8:
            self.values = {first: images}
        else:
            pixels = images.astype(np.float32, copy=False)
            self.keys = image_keys(pixels)  # of selectors of the form `random`
            self.pixels = network.quantise(pixels)
            # Pixels are constant over time: one timestep, which `_conv` repeats.
            rows = self.pixels.reshape(*self.pixels.shape[:2], -1).transpose(0, 2, 1)
            self.values = {first: rows[:, None].astype(np.int32)}
        _, height, width = self._grid()
        self.mask = np.ones((len(images), height * width), np.bool_)
        self.kept: list[NDArray[np.uint16]] = []
        self.logits = np.zeros((len(images), 0), np.int64)
        self.saturated = 0

    def _grid(self) -> tuple[int, int, int]:
        return list(self.network.shapes.values())[-1]

    def result(self) -> Run:
        steps: dict[type[Layer], Callable[[Any], None]] = {
            Conv: self._conv,
            Linear: self._linear,
            Pool: self._pool,
            Select: self._select,
            Attention: self._attention,
            Head: self._head,
        }
        for layer in self.network.layers:
            steps[type(layer)](layer)
        last = self.network.layers[-1]
        if not isinstance(last, Head):  # logits without a head: spike counts
            self.logits = (self.values[last.target] * self.mask[:, None, :, None]).sum((1, 2), dtype=np.int64)
        streams = {
            name: value.astype(np.uint8, copy=False) for name, value in self.values.items() if name in self._spiking()
        }
        return Run(self.pixels, streams, tuple(self.kept), self.logits, self.saturated)

    def _spiking(self) -> set[str]:
        return {layer.target for layer in self.network.layers if layer.target}

    def _store(self, layer: Layer, spikes: Array) -> None:
        total = spikes + self.values[layer.residual] if layer.residual else spikes
        if self.network.numerics.neuron == "relu":
            total = np.minimum(total, ACTIVATION_MAX)  # M2
            self.saturated += int(np.count_nonzero(total == ACTIVATION_MAX))
        self.values[layer.target] = total.astype(np.uint8)  # every value of a stream is below 256

    def _outputs(self, layer: Conv | Linear | Attention, x: Array, bias: int | NDArray[np.int32] | None) -> Array:
        """The layer's neurons on its sums: ReLU and 8 bits, or spikes."""
        assert bias is not None  # as in all networks that are lowered
        if layer.requant is not None:
            return requantise(np.add(x, bias, dtype=np.int64), layer.requant)
        assert layer.theta is not None
        return self._neurons(x, bias, layer.theta, layer.membrane)

    def _neurons(
        self,
        x: Array,
        bias: int | NDArray[np.int32],
        theta: int | NDArray[np.int32],
        membrane: Membrane | None = None,
    ) -> Array:
        """u <- sat(((u x decay) >> 8) + ((x + bias) << F)); at u >= theta fire, and reset to 0 or by so much.

        The shift floors. Without a membrane u is halved and resets to 0.
        """
        numerics, membrane = self.network.numerics, membrane or Membrane()
        high = 2 ** (numerics.potential_bits - 1)
        # Half the memory traffic where no intermediate can leave 32 bits: |x + bias| < 2^(accumulator_bits - 1).
        product_bits = numerics.potential_bits + (DECAY_BITS if membrane.multiplies else 0)
        reach = max(numerics.accumulator_bits + numerics.fraction_bits, product_bits) + 1
        kind = np.int32 if reach <= 32 else np.int64
        # Halved, and reset to 0, a potential stays below twice the largest charge; where that fits, none is clipped.
        halves = membrane.decay == KEEP_HALF and membrane.reset_by is None
        clips = not halves or numerics.accumulator_bits + numerics.fraction_bits >= numerics.potential_bits
        u = np.zeros((x.shape[0], *x.shape[2:]), kind)
        spikes = np.empty((x.shape[0], numerics.timesteps, *x.shape[2:]), np.uint8)
        for t in range(numerics.timesteps):
            charge = np.add(x[:, t if x.shape[1] > 1 else 0], bias, dtype=kind)
            charge <<= numerics.fraction_bits
            charge += _leaked(u, membrane)
            if clips:
                u = np.clip(charge, -high, high - 1)
                self.saturated += int(np.count_nonzero(u != charge))
            else:
                u = charge
            fired = u >= theta
            spikes[:, t] = fired
            if membrane.reset_by is None:
                u *= ~fired
            else:
                u -= fired * membrane.reset_by
        return spikes

    def _conv(self, layer: Conv) -> None:
        dense = layer.weights.to_dense().T  # [taps, inputs, outputs]
        kind = _exact_kind(self.values[layer.source], dense.reshape(-1, dense.shape[-1]))
        # Tap by tap, so that no patches of the whole map lie in memory.
        windows = zip(self._windows(layer, kind), dense.astype(kind), strict=True)
        sums = functools.reduce(_add_in_place, (_product(seen, matrix) for seen, matrix in windows))
        sums = np.rint(sums, out=sums).astype(np.int32)
        if layer.pooled is not None:
            sums = functools.reduce(np.maximum, layer.pooled.views(sums, np.iinfo(sums.dtype).min))
        x = sums.reshape(*sums.shape[:2], -1, sums.shape[-1])
        self._store(layer, self._outputs(layer, x, layer.bias))

    def _windows(self, layer: Conv | Pool, kind: Any = np.uint8) -> Iterator[Array]:
        """What each tap of a layer's window sees of its source, zeros around it: [images, timesteps, y, x, channels].

        tap = ky * kernel width + kx.
        """
        source = self.values[layer.source].astype(kind, copy=False)
        _, height, width = self.network.shapes[layer.source]
        return layer.geometry.views(source.reshape(*source.shape[:2], height, width, -1))

    def _linear(self, layer: Linear) -> None:
        x = exact_product(self.values[layer.source], layer.weights.to_dense()[:, :, 0].T)
        self._store(layer, self._outputs(layer, x, layer.bias))

    def _pool(self, layer: Pool) -> None:
        join = np.add if layer.form == "sum" else np.maximum
        pooled = functools.reduce(join, self._windows(layer))
        self._store(layer, pooled.reshape(*pooled.shape[:2], -1, pooled.shape[-1]))

    def _select(self, layer: Select) -> None:
        feature = self.values[layer.source].sum(1)  # [images, tokens, channels]
        if layer.form == "learned":
            assert layer.hidden is not None
            assert layer.hidden_bias is not None
            assert layer.score_weights is not None
            hidden = exact_product(feature, layer.hidden.to_dense()[:, :, 0].T).astype(np.int64) + layer.hidden_bias
            hidden >>= layer.hidden_shift
            if layer.table is None:
                hidden = np.minimum(np.maximum(hidden, 0), 127)
            else:
                hidden = layer.table[np.minimum(np.maximum(hidden, -128), 127) + 128].astype(np.int64)
            score = (hidden @ layer.score_weights.astype(np.int64)).astype(np.float64)
        elif layer.form == "rate":
            score = feature.sum(2).astype(np.float64)
        else:
            index = len(self.kept)
            score = random_scores(self.keys, self.network.seed, index, feature.shape[1]).astype(np.float64)
        # A stable sort of the negated score puts ties in the order of token ids; dropped tokens come last.
        order = np.argsort(np.where(self.mask, -score, np.inf), axis=1, kind="stable")[:, : layer.keep]
        self.mask = np.zeros_like(self.mask)
        np.put_along_axis(self.mask, order, True, axis=1)
        self.kept.append(np.sort(order, axis=1).astype(np.uint16))

    def _attention(self, layer: Attention) -> None:
        if layer.form == "hadamard":
            self._masked(layer)
            return
        # Spikes' sums are exact in 32 bits, activations' in 64.
        source: NDArray[Any] = self.values[layer.source].astype(np.float32 if layer.inner is None else np.float64)
        images, time, tokens, channels = source.shape
        split = source.reshape(images, time, tokens, 3, layer.heads, channels // (3 * layer.heads))
        q, k, v = (split[:, :, :, part].swapaxes(2, 3) for part in range(3))  # [images, time, heads, tokens, d]
        k = k * self.mask[:, None, None, :, None]  # keys and values are the kept tokens only
        product: NDArray[Any]
        if layer.inner is None:  # exact in any order, sums of at most tokens x d ones
            product = q @ (k.swapaxes(-1, -2) @ v)
        elif layer.order == "kv_first":
            product = q @ requantise(k.swapaxes(-1, -2) @ v, layer.inner)
        else:  # a masked key's score is 0, and requantised still 0
            product = requantise(q @ k.swapaxes(-1, -2), layer.inner) @ v
        x = np.rint(product).astype(np.int32).swapaxes(2, 3).reshape(images, time, tokens, -1)
        self._store(layer, self._outputs(layer, x, 0))

    def _masked(self, layer: Attention) -> None:
        """Hadamard attention: a neuron per channel counts kept tokens whose k and v spike; its spikes let q through."""
        q, k, v = np.split(self.values[layer.source], 3, axis=-1)  # [images, time, tokens, channels]
        count = (k * v * self.mask[:, None, :, None]).sum(axis=2, keepdims=True)
        self._store(layer, q * self._outputs(layer, count, 0))

    def _head(self, layer: Head) -> None:
        total = (self.values[layer.source].sum(1) * self.mask[:, :, None]).sum(1)  # [images, channels]
        self.logits = total.astype(np.int64) @ layer.weights.to_dense()[:, :, 0].T.astype(np.int64) + layer.bias


def _leaked(u: NDArray[Any], membrane: Membrane) -> NDArray[Any]:
    """What a timestep leaves of the potentials; halving is a shift, so that it fits the width of u."""
    if membrane.decay == KEEP_HALF:
        return u >> 1
    return u if membrane.decay == KEEP_ALL else u * membrane.decay >> DECAY_BITS


def _add_in_place(total: Array, more: Array) -> Array:
    total += more
    return total


def exact_product(values: NDArray[Any], matrix: NDArray[np.int8]) -> Array:
    """int32[..., outputs] = values[..., inputs] @ matrix[inputs, outputs], exact, at the speed of BLAS."""
    kind = _exact_kind(values, matrix)
    product = _product(values.astype(kind), matrix.astype(kind))
    return np.rint(product, out=product).astype(np.int32)


def _product(values: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """values[..., inputs] @ matrix, in one call of BLAS."""
    return (values.reshape(-1, values.shape[-1]) @ matrix).reshape(*values.shape[:-1], -1)


def _exact_kind(values: NDArray[Any], matrix: NDArray[np.int8]) -> Any:
    """A float type for values @ matrix[inputs, outputs] in which no partial sum can leave the integers it holds."""
    largest = max(int(values.max(initial=0)), -int(values.min(initial=0)))
    bound = largest * int(np.abs(matrix, dtype=np.int16).sum(0, dtype=np.int64).max())
    return np.float32 if bound < _EXACT_FLOAT32 else np.float64


def requantise(sums: NDArray[Any], requant: Requant) -> Array:
    """Activations of an ANN: clip((sum x multiplier + half) >> shift, 0, 255) with half = 2^(shift - 1).

    sums: whole numbers, exact below 2^53 where they are floats, channels on the last axis.
    """
    half = np.left_shift(np.int64(1), requant.shift.astype(np.int64) - 1)
    scaled = (sums.astype(np.int64) * requant.multiplier + half) >> requant.shift
    return scaled.clip(0, ACTIVATION_MAX).astype(np.int32)
