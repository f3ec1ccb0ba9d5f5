"""The layers of an integer network, as a trace holds them: sparse weights, thresholds, and what feeds what.

Layers name streams; where spikes of a stream lie and what they are is `trace`'s to say.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SelectForm = Literal["learned", "rate", "random"]
Neuron = Literal["lif", "relu"]
ProductOrder = Literal["", "qk_first", "kv_first"]
AttentionForm = Literal["product", "hadamard"]
PoolForm = Literal["max", "sum"]
HostUnit = Literal["multiply_accumulate", "elementwise"]

VALUE_BITS = 8  # of a value that is multiplied or kept: pixels, activations of a ReLU network (M1), sums of a pool (D5)
ACTIVATION_MAX = 2**VALUE_BITS - 1  # of a ReLU network: unsigned
MULTIPLIER_MAX = 2**15 - 1  # of a requantisation: with the shift a scale of 15 significant bits (M2)
SHIFT_MAX = 46  # a 32-bit sum times a multiplier has no bit beyond
DECAY_BITS = 8  # of a membrane's decay, a binary fraction (V1)
SIZE_MAX = 2**16 - 1  # of channels, and of a map's or a window's sides: they are numbered in 16 bits
TIMESTEPS_MAX = 1024  # of a network
THETA_MAX = 2**31 - 1  # of a threshold: a signed word of 32 bits, as wide as a potential can be
HIDDEN_SHIFT_MAX = 31  # of a selector's hidden sums, which have 32 bits
KEEP_ALL, KEEP_HALF = 1 << DECAY_BITS, 1 << DECAY_BITS - 1  # decays: no leak, and what a shift halves
TABLE_ENTRIES = 256  # of a selector's activation: one for each value of a signed byte (T6)


@dataclass(frozen=True)
class Numerics:
    """Word lengths that make the network's arithmetic exact; a chip must offer at least these.

    A neuron updates as u <- sat((u >> 1) + ((x + bias) << fraction_bits)) and fires and resets to 0 at u >= theta,
    where sat clips to `potential_bits` (signed); a layer's `Membrane` may have it leak and reset in another way.
    Halving by a shift is tau = 2; fraction_bits = timesteps - 1 loses nothing, with fewer the halving floors. x, the
    sum of weight times input value, must fit `accumulator_bits` (signed).

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
    values: int8[nonzeros], never 0; None in a replay that knows the pattern only.
    tap = ky * kernel width + kx of a correlation (see `Window`). Linear: one tap.
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


@dataclass(frozen=True)
class Membrane:
    """How a layer's membranes leak and reset (V1): u <- sat(((u x decay) >> 8) + ((x + bias) << fraction_bits)).

    decay: what is left of a potential after a timestep, in 1/256: 1 to 256. 128 is exactly u >> 1, 256 no leak.
    reset_by: int32[channels] (attention: one entry), 1 to the largest potential: a spike leaves u - reset_by, in the
    cycle in which it is fired; None: it leaves 0.

    Foreign neurons: integrate-and-fire is decay 256. A leaky one of spikingjelly is decay 256 (1 - 1/tau), with
    decay_input theta x tau in place of dividing x. Its soft reset is reset_by = theta. snntorch's Leaky subtracts a
    timestep later, mem[t] = beta mem[t-1] + x - s[t-1] thr: decay 256 beta, and reset_by = theta / beta at once.
    """

    decay: int = KEEP_HALF
    reset_by: NDArray[np.int32] | None = None

    @property
    def multiplies(self) -> bool:
        """Whether the leak takes a multiplier: halving is wiring, keeping everything is nothing."""
        return self.decay not in (KEEP_HALF, KEEP_ALL)


@dataclass(frozen=True)
class Window:
    """What an output of a convolution or pool sees: height x width inputs of a map that zeros surround.

    Output (y, x) reads input (y x stride + ky - pad_y, x x stride + kx - pad_x) at (ky, kx), so that along each axis
    outputs = (inputs + 2 pad - kernel) // stride + 1. The stride is that of both axes. The whole map, without padding,
    is the window of a fully connected layer; (1, k) on a map of height 1 that of a one-dimensional convolution.
    """

    height: int
    width: int
    stride: int = 1
    pad_y: int = 0
    pad_x: int = 0

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return self.height * self.width

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of what it makes of a map of that size."""
        return (
            (height + 2 * self.pad_y - self.height) // self.stride + 1,
            (width + 2 * self.pad_x - self.width) // self.stride + 1,
        )

    def views(self, maps: NDArray[Any], around: int = 0) -> Iterator[NDArray[Any]]:
        """For each tap, ky x width + kx, what it sees of maps[images, timesteps, y, x, channels], with y, x of outputs.

        Views of one padded copy; around: what lies around the maps.
        """
        rows, columns = self.outputs(*maps.shape[2:4])
        pads = (0, 0), (0, 0), (self.pad_y, self.pad_y), (self.pad_x, self.pad_x), (0, 0)
        padded, step = np.pad(maps, pads, constant_values=around), self.stride
        for y, x in np.ndindex(self.height, self.width):
            yield padded[:, :, y : y + (rows - 1) * step + 1 : step, x : x + (columns - 1) * step + 1 : step]

    def over(self, inner: "Window") -> "Window":
        """What an output of this window sees of a map through `inner`, whose outputs are its inputs."""
        return Window(
            (self.height - 1) * inner.stride + inner.height,
            (self.width - 1) * inner.stride + inner.width,
            self.stride * inner.stride,
            self.pad_y * inner.stride + inner.pad_y,
            self.pad_x * inner.stride + inner.pad_x,
        )


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

    @property
    def geometry(self) -> Window:
        """What an output sees of the source's map; of all layers but convolutions and pools its own token."""
        return Window(1, 1)

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of its target, given those of its source."""
        return self.geometry.outputs(height, width)


@dataclass(frozen=True, kw_only=True)
class Conv(Layer):
    """Convolution, then a neuron per output position and channel.

    window: None: a square kernel of odd side at stride 1, zero padding kernel // 2, so that the map keeps its size.
    pooled: a window over the map of the integer sums: a neuron takes the largest sum that its window sees (C4). What
    lies in the padding takes no part. The bias is added behind it; adding it before would be the same.
    bias, theta: int32[output channels], in units of the integer sum and of the potential; None where a replay does not
    know them.
    requant: in place of theta where neurons are `relu`.  membrane: None: decay 128, and a spike leaves 0.
    """

    weights: Weights
    bias: NDArray[np.int32] | None
    theta: NDArray[np.int32] | None = None
    requant: Requant | None = None
    membrane: Membrane | None = None
    window: Window | None = None
    pooled: Window | None = None

    @property
    def geometry(self) -> Window:
        """The window of the convolution itself."""
        if self.window is not None:
            return self.window
        side = round(self.weights.taps**0.5)
        return Window(side, side, 1, side // 2, side // 2)

    @property
    def reach(self) -> Window:
        """What a neuron sees of the source: where sums are pooled, the convolution's windows of all of them."""
        return self.geometry if self.pooled is None else self.pooled.over(self.geometry)

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of its target, given those of its source."""
        made = self.geometry.outputs(height, width)
        return made if self.pooled is None else self.pooled.outputs(*made)


@dataclass(frozen=True, kw_only=True)
class Linear(Layer):
    """Fully connected over channels, the same for every token, then a neuron per output channel and token.

    The fused q, k, v projection is one such layer of 3 x width outputs: q rows, then k, then v.
    bias, theta: int32[output channels].  requant, membrane: as in a convolution.
    """

    weights: Weights
    bias: NDArray[np.int32] | None
    theta: NDArray[np.int32] | None = None
    requant: Requant | None = None
    membrane: Membrane | None = None


@dataclass(frozen=True, kw_only=True)
class Pool(Layer):
    """Pooling over square windows: the largest value (of a binary stream OR), or with form `sum` their sum.

    A sum is the integer stream of average pooling: what divides it, 1 / kernel^2, belongs into the next layer's scale.
    window: in place of kernel, stride and padding where it is not square, as for maps of height 1.
    """

    kernel: int = 3
    stride: int = 2
    padding: int = 1
    form: PoolForm = "max"
    window: Window | None = None

    @property
    def geometry(self) -> Window:
        """The window."""
        if self.window is not None:
            return self.window
        return Window(self.kernel, self.kernel, self.stride, self.padding, self.padding)


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
    the kept tokens only; theta is one threshold for all channels (paper: 2^F * 8 at scale 1/8 and v_th 1/2), 0 where a
    replay does not know it.
    Where neurons are `relu` the product that `order` names is requantised by `inner`, the outcome by `requant` (M6).
    form `hadamard` (Spike-Driven Transformer V1): a neuron per channel, not per token, takes the number of kept tokens
    whose k and v both spike, and its spike lets the q of every token through: out[t, c] = q[t, c] AND fired[c].
    """

    heads: int
    theta: int = 0
    form: AttentionForm = "product"
    membrane: Membrane | None = None
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


@dataclass(frozen=True, kw_only=True)
class HostWork:
    """What the chip cannot do and its host does instead: counted and said, never part of cycles or energy.

    name: path of the module that does it in the model.  operation: what it does there, such as "softmax".
    operations: per image, in `unit`: a matrix product's multiply-accumulates, else one per element that is made.
    bytes_in, bytes_out: per image, what goes to the host and what comes back.
    after: name of the layer before it; "" in front of the first.
    """

    name: str
    operation: str
    operations: int
    unit: HostUnit = "elementwise"
    bytes_in: int = 0
    bytes_out: int = 0
    after: str = ""


LAYER_KINDS: dict[str, type[Layer]] = {
    kind.__name__.lower(): kind for kind in (Conv, Linear, Pool, Select, Attention, Head)
}
