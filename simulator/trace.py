"""The contract between a trained network and the simulated chip: what must happen, with no cycle, bank or burst in it.

A trace holds an integer spiking network (layer graph, sparse weights, thresholds), the images it saw, every spike that
it fired, which tokens its selectors kept, and its logits. `model/export.py` writes it; the simulator owns and reads it.
A quantised ANN of the same layers is a trace too (section M of ARCHITECTURE.md): its "spikes" are 8-bit activations.

Spikes lie in *streams*. A stream covers a grid of tokens (pixels of a map are tokens too); its events are grouped in
rows, one per (image, timestep, token) in that order, channels ascending. Rows always span the whole grid: tokens that
a selector has dropped are told apart by `Trace.kept`. Their rows hold the *shadow* (the dropped token carried on
through the later layers, as a chip without token skip computes it), or are empty where `Trace.shadow` is False.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .files import checksum, load_tensors, save_tensors

KIND, VERSION = "trace", 1

InputKind = Literal["real", "integer", "binary"]
SelectForm = Literal["learned", "rate", "random"]
Neuron = Literal["lif", "relu"]
ProductOrder = Literal["", "qk_first", "kv_first"]

ACTIVATION_MAX = 255  # of a ReLU network: unsigned, 8 bits (M1)
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
class Events:
    """Ragged spike events: rows of ascending channels, flat, with offsets; never padded.

    offsets: int64[rows + 1], monotone, from 0 to the number of events.
    channels: uint16[events], ascending within a row.
    values: uint8[events], 1 or more; None where every value is 1.
    """

    offsets: NDArray[np.int64]
    channels: NDArray[np.uint16]
    values: NDArray[np.uint8] | None = None

    @staticmethod
    def from_dense(dense: NDArray[Any]) -> "Events":
        """Events of an integer array dense[..., channels] whose leading axes, flattened, are the rows."""
        flat = dense.reshape(-1, dense.shape[-1])
        rows, channels = np.nonzero(flat)
        offsets = np.zeros(flat.shape[0] + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=flat.shape[0]), out=offsets[1:])
        values = flat[rows, channels].astype(np.uint8)
        return Events(offsets, channels.astype(np.uint16), None if (values == 1).all() else values)

    def to_dense(self, channels: int) -> NDArray[np.uint8]:
        """The inverse of `from_dense`: uint8[rows, channels]."""
        dense = np.zeros((len(self.offsets) - 1, channels), np.uint8)
        rows = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        dense[rows, self.channels] = 1 if self.values is None else self.values
        return dense


@dataclass(frozen=True)
class Stream:
    """A named population of spikes on a grid of height x width tokens.

    kind `real` is the pixel stream: it has no events, its values are `Trace.pixels`.
    """

    name: str
    kind: InputKind
    channels: int
    height: int
    width: int
    events: Events | None = None

    @property
    def tokens(self) -> int:
        """Grid positions: height x width."""
        return self.height * self.width


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


@dataclass(frozen=True)
class Trace:
    """An integer network and what it did on some images; see the module's text.

    pixels: int8[images, channels, height, width], zero-point 0, or None where a foreign trace has none.
    kept: one uint16[images, keep] per selector: original ids of the kept tokens, ascending.
    logits: int64[images, classes].  labels: int64[images], or None where unknown.
    """

    numerics: Numerics
    streams: Mapping[str, Stream]
    layers: tuple[Layer, ...]
    images: int
    pixels: NDArray[np.int8] | None
    kept: tuple[NDArray[np.uint16], ...]
    logits: NDArray[np.int64] | None
    labels: NDArray[np.int64] | None = None
    shadow: bool = True
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from .trace_check import check_trace

        check_trace(self)

    @cached_property
    def sha256(self) -> str:
        """Checksum of the whole content, as it stands in a saved file."""
        from .trace_check import flatten_trace

        tensors, header = flatten_trace(self)
        return checksum(tensors, {"kind": KIND, "version": VERSION, "header": header})

    @cached_property
    def derived(self) -> dict[Any, Any]:
        """What follows from the trace alone and was found once, by what it is; no part of its content (bounds.py)."""
        return {}

    def layer(self, name: str) -> Layer:
        """The layer of that name; raises KeyError."""
        return next(layer for layer in self.layers if layer.name == name)

    def kept_mask(self, selector: int, tokens: int) -> NDArray[np.bool_]:
        """bool[images, tokens]: tokens that are left after a selector; all of them for selector -1."""
        mask = np.ones((self.images, tokens), np.bool_)
        if selector >= 0:
            mask[:] = False
            np.put_along_axis(mask, self.kept[selector].astype(np.int64), True, axis=1)
        return mask

    def accuracy(self) -> float | None:
        """Share of the images whose largest logit is their label; None without labels or logits."""
        if self.labels is None or self.logits is None:
            return None
        return float((self.logits.argmax(1) == self.labels).mean())

    def first(self, images: int) -> "Trace":
        """The same trace cut to its first `images` images."""
        count = min(images, self.images)
        rows = {name: count * self.numerics.timesteps * stream.tokens for name, stream in self.streams.items()}
        return replace(
            self,
            images=count,
            streams={name: _cut(stream, rows[name]) for name, stream in self.streams.items()},
            pixels=None if self.pixels is None else self.pixels[:count],
            kept=tuple(kept[:count] for kept in self.kept),
            logits=None if self.logits is None else self.logits[:count],
            labels=None if self.labels is None else self.labels[:count],
        )


def _cut(stream: Stream, rows: int) -> Stream:
    if stream.events is None:
        return stream
    end = stream.events.offsets[rows]
    values = None if stream.events.values is None else stream.events.values[:end]
    return replace(stream, events=Events(stream.events.offsets[: rows + 1], stream.events.channels[:end], values))


def save_trace(trace: Trace, path: str | Path) -> str:
    """Write a trace as one safetensors file, whole or not at all; returns its checksum."""
    from .trace_check import flatten_trace

    tensors, header = flatten_trace(trace)
    return save_tensors(path, KIND, VERSION, tensors, header)


def load_trace(path: str | Path) -> Trace:
    """Read and validate a trace file.

    Raises UserError where the file is missing, damaged, of another kind or newer, or its content breaks a rule of
    `trace_check`.
    """
    from .trace_check import restore_trace

    tensors, header, _ = load_tensors(path, KIND, VERSION)
    return restore_trace(str(path), tensors, header)
