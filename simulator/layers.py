"""The layers of an integer network, as a trace holds them: sparse weights, thresholds, and what feeds what.

Layers name streams; where spikes of a stream lie and what they are is `trace`'s to say.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SelectForm = Literal["learned", "rate", "random"]
Neuron = Literal["lif", "relu"]
ProductOrder = Literal["", "qk_first", "kv_first"]

ACTIVATION_MAX = 255  # of a ReLU network: unsigned, 8 bits (M1)
MULTIPLIER_MAX = 2**15 - 1  # of a requantisation: with the shift a scale of 15 significant bits (M2)
SHIFT_MAX = 46  # a 32-bit sum times a multiplier has no bit beyond
TABLE_ENTRIES = 256  # of a selector's activation: one for each value of a signed byte (T6)


@dataclass(frozen=True)
class Numerics:
    """Word lengths that make the network's arithmetic exact; a chip must offer at least these.

    A neuron updates as u <- sat((u >> 1) + ((x + bias) << fraction_bits)) and fires and resets to 0 at u >= theta,
    where sat clips to `potential_bits` (signed). Halving by a shift is tau = 2; fraction_bits = timesteps - 1 loses
    nothing, with fewer the halving floors. x, the sum of weight times input value, must fit `accumulator_bits`
    (signed).

    neuron `relu`: no potentials (fraction_bits and potential_bits are 0), one timestep; see `Requant`.
    """

    timesteps: int
    fraction_bits: int
    weight_bits: int
    pixel_bits: int
    accumulator_bits: int
    potential_bits: int
    neuron: Neuron = "lif"


@dataclass(frozen=True)
class Weights:
    """Sparse weights, stored as the hardware stores them: one row per input channel, segmented by kernel tap.

    Row r = input * taps + tap holds outputs[pointers[r] : pointers[r + 1]], ascending, and their values.
    pointers: int64[inputs * taps + 1].  outputs: uint16[nonzeros].
    values: int8[nonzeros], never 0; None in a foreign trace that knows the pattern only.
    tap = ky * kernel + kx of a correlation: output (y, x) reads input (y + ky - pad, x + kx - pad). Linear: one tap.
    """

    input_channels: int
    output_channels: int
    taps: int
    pointers: NDArray[np.int64]
    outputs: NDArray[np.uint16]
    values: NDArray[np.int8] | None

    @staticmethod
    def from_dense(dense: NDArray[Any]) -> "Weights":
        """From integer dense[output, input] or dense[output, input, ky, kx]; zeros are pruned weights."""
        outputs, inputs = dense.shape[:2]
        rows = dense.reshape(outputs, -1).T
        row, out = np.nonzero(rows)
        pointers = np.zeros(rows.shape[0] + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=rows.shape[0]), out=pointers[1:])
        taps = rows.shape[0] // inputs
        return Weights(inputs, outputs, taps, pointers, out.astype(np.uint16), rows[row, out].astype(np.int8))

    def to_dense(self) -> NDArray[np.int8]:
        """int8[output, input, tap]; the pattern as ones where values are unknown."""
        rows = np.repeat(np.arange(len(self.pointers) - 1), np.diff(self.pointers))
        dense = np.zeros((len(self.pointers) - 1, self.output_channels), np.int8)
        dense[rows, self.outputs] = 1 if self.values is None else self.values
        return np.ascontiguousarray(dense.T).reshape(self.output_channels, self.input_channels, self.taps)

    @property
    def nonzeros(self) -> int:
        """Weights that survived pruning."""
        return len(self.outputs)

    @property
    def size(self) -> int:
        """Weights of the dense layer."""
        return self.input_channels * self.output_channels * self.taps


@dataclass(frozen=True)
class Requant:
    """ReLU and requantisation of an integer sum to 8 bits: clip((sum x multiplier + 2^(shift-1)) >> shift, 0, 255).

    multiplier: int32[channels], 1 to 2^15 - 1.  shift: uint8[channels], 1 to 46. In attention one entry for all.
    """

    multiplier: NDArray[np.int32]
    shift: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A step of the network: reads stream `source`, writes stream `target`.

    selector: index of the last selector before this layer, -1 for none; the layer works on the tokens it kept.
    residual: name of a stream added to this layer's spikes to give `target`; "" for none.
    """

    name: str
    source: str
    target: str = ""
    selector: int = -1
    residual: str = ""


@dataclass(frozen=True, kw_only=True)
class Conv(Layer):
    """Square convolution, stride 1, zero padding kernel // 2, then a neuron per output position and channel.

    bias, theta: int32[output channels], in units of the integer sum and of the potential.
    requant: in place of theta where neurons are `relu`.
    """

    weights: Weights
    bias: NDArray[np.int32]
    theta: NDArray[np.int32] | None = None
    requant: Requant | None = None

    @property
    def kernel(self) -> int:
        """Side of the kernel; taps = kernel squared."""
        return round(self.weights.taps**0.5)


@dataclass(frozen=True, kw_only=True)
class Linear(Layer):
    """Fully connected over channels, the same for every token, then a neuron per output channel and token.

    The fused q, k, v projection is one such layer of 3 x width outputs: q rows, then k, then v.
    bias, theta: int32[output channels].  requant: in place of theta where neurons are `relu`.
    """

    weights: Weights
    bias: NDArray[np.int32]
    theta: NDArray[np.int32] | None = None
    requant: Requant | None = None


@dataclass(frozen=True, kw_only=True)
class Pool(Layer):
    """Max pooling, of a binary stream OR: 3 x 3 windows, stride 2, padding 1."""

    kernel: int = 3
    stride: int = 2
    padding: int = 1


@dataclass(frozen=True, kw_only=True)
class Select(Layer):
    """Spiking token selector: keeps the `keep` best of the tokens that are left, ties to the lower token id.

    The feature f of a token is the sum of its stream over time, int[channels]. form `learned`: p = (hidden f +
    hidden_bias) >> hidden_shift; h = clip(p, 0, 127), a ReLU, or with a table h = table[clip(p, -128, 127) + 128];
    score = score_weights . h (z0 - z1 but for a constant). form `rate`: score = sum f. form `random`: the choice is the
    trace's; no arithmetic on the chip.
    hidden: Weights[width -> hidden].  hidden_bias: int32[hidden].  score_weights: int8[hidden].
    table: int8[256], any function of the hidden sum, such as GELU; None for the ReLU.
    """

    form: SelectForm
    keep: int
    hidden: Weights | None = None
    hidden_bias: NDArray[np.int32] | None = None
    hidden_shift: int = 0
    score_weights: NDArray[np.int8] | None = None
    table: NDArray[np.int8] | None = None


@dataclass(frozen=True, kw_only=True)
class Attention(Layer):
    """Spiking self-attention without softmax: (Q K^T) V per head on spikes, then a neuron on the raw integer sums.

    source has 3 x width channels (q, k, v, each heads x head width); target has width channels. Keys and values are
    the kept tokens only; theta is one threshold for all channels (paper: 2^F * 8 at scale 1/8 and v_th 1/2).
    Where neurons are `relu` the product that `order` names is requantised by `inner`, the outcome by `requant` (M6).
    """

    heads: int
    theta: int = 0
    order: ProductOrder = ""
    inner: Requant | None = None
    requant: Requant | None = None


@dataclass(frozen=True, kw_only=True)
class Head(Layer):
    """Classifier on the sum over time and kept tokens: logit = weights . sum + bias.

    bias: int64[classes], already multiplied by timesteps x kept tokens so that no division is left.
    """

    weights: Weights
    bias: NDArray[np.int64]


LAYER_KINDS: dict[str, type[Layer]] = {
    kind.__name__.lower(): kind for kind in (Conv, Linear, Pool, Select, Attention, Head)
}
