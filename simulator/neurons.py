"""The neurons of synthetic networks: tuned to a wanted density on the sums that they get, and run (V1, V2, M2, M6).

`Lif` spikes over time, `Relu` requantises to 8 bits at once. Arrays are [images, timesteps, …, channels], parameters a
dictionary of the layer's own fields.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .trace import ACTIVATION_MAX, KEEP_HALF, InputKind, Membrane, Numerics, ProductOrder, Requant

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Parameters = dict[str, Any]

_SAMPLE = 256  # tokens on which neurons are tuned
_SHIFTS = (0.0, 0.25, 0.5, 1.0, 2.0)  # mean bias, in spreads of the sums
_NO_LIMIT = 2**62
_USUAL_HIGH = 200  # where the largest of most channels' activations lies; beyond 255 they clip
_SIGNIFICANT = 14  # a multiplier lies from 2^14 to 2^15


class Lif:
    """Leaky integrate-and-fire, tau = 2 until `behave`. potential_bits: as in `builder.Style`."""

    kind: InputKind = "binary"
    largest = 1
    _decay, _share = KEEP_HALF, 0

    def __init__(self, density: float, fraction_bits: int, potential_bits: int | None) -> None:
        self.density, self.fraction_bits, self.potential_bits = density, fraction_bits, potential_bits
        self._reached = 127

    def numerics(self, **widths: int) -> Numerics:
        """The numeric contract of the network so far, given what all networks have."""
        bits = self.potential_bits or self._reached.bit_length() + 1
        return Numerics(fraction_bits=self.fraction_bits, potential_bits=bits, neuron="lif", **widths)

    def behave(self, decay: int, share: int) -> None:
        """How the neurons of layers to come leak, and reset: by so many 1/256 of their threshold; 0: to 0."""
        self._decay, self._share = decay, share

    def tune(self, sums: Ints, rng: np.random.Generator) -> tuple[NDArray[np.int32], Parameters]:
        """Of a few biases that with the evenest firing over time, and thresholds to match."""
        spread = max(1.0, float(sums[:1].std()))
        jitter = rng.normal(0, spread / 4, sums.shape[-1])
        tried = [self._tuned(sums, np.rint(jitter + shift * spread).astype(np.int32)) for shift in _SHIFTS]
        _, bias, theta = min(tried, key=lambda one: one[0])
        return bias, {"theta": theta} | self._membrane(theta)

    def multiply(self, queries: Floats, keys: Floats, values: Floats, order: ProductOrder) -> tuple[Ints, Parameters]:
        """(Q K^T) V of arrays [..., tokens, head width]; any order gives the same."""
        return exact((queries @ keys.swapaxes(-1, -2)) @ values), {}

    def tune_attention(self, sums: Ints) -> Parameters:
        """One threshold for all channels."""
        theta = int(self._tuned(sums, 0)[2].mean())
        return {"theta": theta} | self._membrane(np.array([theta]))

    def run(self, drive: Ints, parameters: Parameters) -> NDArray[np.uint8]:
        """Rule V1 over time (axis 1)."""
        spikes, reached = self._fire(drive, parameters["theta"])
        self._reached = max(self._reached, reached)
        return spikes.astype(np.uint8)

    def _membrane(self, theta: NDArray[Any]) -> Parameters:
        """The layer's field, where it is not what a layer without it does."""
        if (self._decay, self._share) == (KEEP_HALF, 0):
            return {}
        reset_by = self._reset_by(theta) if self._share else None
        if reset_by is not None:
            self._reached = max(self._reached, int(reset_by.max()))
        return {"membrane": Membrane(self._decay, reset_by)}

    def _reset_by(self, theta: NDArray[Any]) -> NDArray[np.int32]:
        """A share of the threshold that no potential is too small for."""
        highest = 2 ** ((self.potential_bits or 32) - 1) - 1
        reset_by: NDArray[np.int32] = np.clip(theta.astype(np.int64) * self._share >> 8, 1, highest).astype(np.int32)
        return reset_by

    def largest_with(self, residual: int) -> int:
        """The largest value of a spike and a residual's."""
        return 1 + residual

    def _tuned(self, sums: Ints, bias: NDArray[np.int32] | int) -> tuple[float, Any, NDArray[np.int32]]:
        """(unevenness over time, bias, int32 thresholds[channels]) at the wanted spike density, by bisection.

        A threshold is its channel's mean drive plus a common number of spreads.
        """
        drive = _sample(sums) + bias
        middle, spread = np.maximum(drive.mean((0, 1, 2)), 0), np.maximum(drive.std(), 0.5)
        low, high = 0.0, 64.0
        for _ in range(14):
            scale = (low + high) / 2
            fired, _ = self._fire(drive, self._theta(middle + scale * spread))
            low, high = (scale, high) if fired.mean() > self.density else (low, scale)
        theta = self._theta(middle + high * spread)
        fired, _ = self._fire(drive, theta)
        return float(fired.mean((0, 2, 3)).std()), bias, theta

    def _theta(self, level: Floats) -> NDArray[np.int32]:
        theta: NDArray[np.int32] = np.clip(np.ceil(level * 2.0**self.fraction_bits), 1, 2**31 - 1).astype(np.int32)
        return theta

    def _fire(self, drive: Ints, theta: NDArray[np.int32] | int) -> tuple[NDArray[np.bool_], int]:
        """(spikes, the largest size of a potential)."""
        bits = self.potential_bits
        top = 2 ** (bits - 1) - 1 if bits else _NO_LIMIT
        reset_by = self._reset_by(np.asarray(theta))
        potential = np.zeros_like(drive[:, 0])
        spikes = np.zeros(drive.shape, np.bool_)
        reached = 0
        for step in range(drive.shape[1]):
            potential = (potential * self._decay >> 8) + (drive[:, step] << self.fraction_bits)
            np.clip(potential, -top - 1, top, out=potential)
            reached = max(reached, int(potential.max()), -int(potential.min()))
            fired = spikes[:, step] = potential >= theta
            potential[fired] = (potential - reset_by)[fired] if self._share else 0
        return spikes, reached


class Relu:
    """ReLU with requantisation to unsigned 8 bits; one timestep."""

    kind: InputKind = "integer"
    largest = ACTIVATION_MAX

    def __init__(self, density: float) -> None:
        self.density = density

    def numerics(self, **widths: int) -> Numerics:
        """The numeric contract of the network, given what all networks have: no potentials."""
        return Numerics(fraction_bits=0, potential_bits=0, neuron="relu", **widths)

    def tune(self, sums: Ints, rng: np.random.Generator) -> tuple[NDArray[np.int32], Parameters]:
        """Biases that leave the wanted share of the sums above zero, and scales that make use of 8 bits."""
        drive = _sample(sums)
        jitter = rng.normal(0, max(1.0, float(drive.std())) / 4, sums.shape[-1])
        bias = np.rint(jitter - np.quantile(drive, 1 - self.density, axis=(0, 1, 2))).astype(np.int32)
        return bias, {"requant": _scaled((drive + bias).max((0, 1, 2)))}

    def multiply(self, queries: Floats, keys: Floats, values: Floats, order: ProductOrder) -> tuple[Ints, Parameters]:
        """The same with the first product requantised (M6)."""
        kv_first = order == "kv_first"
        product = exact(keys.swapaxes(-1, -2) @ values if kv_first else queries @ keys.swapaxes(-1, -2))
        inner = _scaled(product.max(keepdims=True).reshape(1))
        small = requantise(product, inner).astype(np.float64)
        sums = exact(queries @ small if kv_first else small @ values)
        return sums, {"order": order, "inner": inner}

    def tune_attention(self, sums: Ints) -> Parameters:
        """One scale for all channels."""
        return {"requant": _scaled(sums.max(keepdims=True).reshape(1))}

    def run(self, drive: Ints, parameters: Parameters) -> NDArray[np.uint8]:
        """Rule M2."""
        return requantise(drive, parameters["requant"])

    def largest_with(self, residual: int) -> int:
        """Sums saturate."""
        return ACTIVATION_MAX


def requantise(sums: Ints, requant: Requant) -> NDArray[np.uint8]:
    """Rule M2: clip((sum x multiplier + 2^(shift-1)) >> shift, 0, 255); channels are the last axis."""
    shift = requant.shift.astype(np.int64)
    rounded = (sums * requant.multiplier + (np.int64(1) << (shift - 1))) >> shift
    outputs: NDArray[np.uint8] = np.clip(rounded, 0, ACTIVATION_MAX).astype(np.uint8)
    return outputs


def exact(sums: Floats) -> Ints:
    """Float64 products are exact integers below 2^53, and BLAS is much faster than integer loops."""
    return sums.astype(np.int64)


def _sample(sums: Ints) -> Ints:
    """Some tokens of the first image: [1, timesteps, tokens, channels]."""
    flat = sums[:1].reshape(1, sums.shape[1], -1, sums.shape[-1])
    return flat[:, :, :: max(1, flat.shape[2] // _SAMPLE)]


def _scaled(highest: Ints) -> Requant:
    """Scales that take the highest sum of each channel to the usual highest activation."""
    scale = _USUAL_HIGH / np.maximum(highest, 1)
    exponent = np.floor(np.log2(scale)).astype(np.int64)
    multiplier = np.rint(scale * 2.0 ** (_SIGNIFICANT - exponent))
    low, high = 2**_SIGNIFICANT, 2 ** (_SIGNIFICANT + 1) - 1
    return Requant(np.clip(multiplier, low, high).astype(np.int32), (_SIGNIFICANT - exponent).astype(np.uint8))
