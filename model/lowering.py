"""From a ticket to the integer network: batch norm folded, weights to int8, thresholds in units of the integer sum."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..simulator.errors import UserError
from ..simulator.trace import HIDDEN_SHIFT_MAX, Attention, Conv, Head, Layer, Linear, Numerics, Pool, Select, Weights
from .ann_lowering import ReluNeurons
from .config import SpikformerConfig
from .integer import IntegerNetwork
from .quantise import WEIGHT_BITS, Float, quantise_channels, quantise_tensor
from .ticket import Ticket

PIXEL_BITS, POTENTIAL_BITS = 8, 24
# Bits behind the point of a potential: T - 1 make every halving exact, but theta <= 2^20 leaves fewer bits for weights.
# With 8, from T = 10 on what a spike contributed more than 8 steps ago is rounded down.
FRACTION_BITS_MAX = 8
V_TH, ATTENTION_V_TH = 1.0, 0.5
NORM_EPSILON = 1e-5  # torch's batch norm
HIDDEN_MAX = 127  # largest hidden activation of a selector on the chip
_BIAS_MAX = 2**15 - 1
_THETA_MAX = 2**20  # leaves the potential room above the threshold


def fold_norm(parameters: Mapping[str, NDArray[np.float32]], layer: str, norm: str) -> tuple[Float, Float]:
    """Fold batch norm into the layer before it: W' = W g / sqrt(var + eps), b' = (b - mean) g / sqrt(var + eps) + beta.

    Returns float64 weights[output, ...] and bias[output]; a layer without bias counts as 0.
    """
    weight = parameters[f"{layer}.weight"].astype(np.float64)
    gamma, beta, mean, variance = (
        parameters[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gamma / np.sqrt(variance + NORM_EPSILON)
    bias = parameters[f"{layer}.bias"].astype(np.float64) if f"{layer}.bias" in parameters else np.zeros(len(gain))
    return weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * gain + beta


def quantise_neurons(
    weight: Float, bias: Float, fraction_bits: int, input_scale: float = 1.0
) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32]]:
    """`quantise_channels` for LIF neurons: (int8 weights, int32 bias, int32 theta).

    theta = ceil(2^F 2 v_th / unit), at most 2^20. The factor 2 is tau: the float neuron adds x / 2, the integer one x.
    """
    threshold = 2**fraction_bits * 2 * V_TH
    integers, integer_bias, unit = quantise_channels(weight, bias, input_scale, _BIAS_MAX, threshold / _THETA_MAX)
    return integers, integer_bias, np.ceil(threshold / unit).astype(np.int32)


def gelu_table(shift: int, unit: float) -> NDArray[np.int8]:
    """GELU of a selector's hidden sums as the chip looks it up (T6): int8[256], for (sum >> shift) of -128 to 127.

    Entry p stands for the sums p 2^shift to (p + 1) 2^shift - 1 and holds GELU of their mean times `unit`, the value of
    one unit of the sum. One scale for all entries makes the largest 127; it changes no order of scores.
    """
    first = np.arange(-128, 128) * 2.0**shift
    x = (first + (2**shift - 1) / 2) * unit
    gelu = np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()])
    return np.rint(gelu * (HIDDEN_MAX / gelu.max())).astype(np.int8)


class LifNeurons:
    """Spiking neurons: a spike counts as it is, thresholds are in units of the integer sum.

    F = min(T - 1, 8) fraction bits: up to T = 9 no halving of a potential loses a bit, beyond it the halving floors.
    """

    def __init__(self, config: SpikformerConfig) -> None:
        self.config = config
        self.fraction_bits = min(config.timesteps - 1, FRACTION_BITS_MAX)

    def numerics(self, **widths: int) -> Numerics:
        """The numeric contract."""
        return Numerics(fraction_bits=self.fraction_bits, potential_bits=POTENTIAL_BITS, neuron="lif", **widths)

    def largest(self, residual: int) -> int:
        """The largest value of a stream: a spike and what is added."""
        return 1 + residual

    def unit(self, stream: str) -> float:
        """What 1 in a stream stands for."""
        return 1.0

    def layer(
        self, weight: Float, bias: Float, input_unit: float, outputs: tuple[str, ...]
    ) -> tuple[NDArray[np.int8], NDArray[np.int32], dict[str, Any]]:
        """int8 weights, int32 bias and the neurons' own fields of a layer."""
        integers, integer_bias, theta = quantise_neurons(weight, bias, self.fraction_bits, input_unit)
        return integers, integer_bias, {"theta": theta}

    def attention(self, block: int) -> tuple[dict[str, Any], int]:
        """The fields of a block's attention and its largest sum.

        attn_lif sees scale x (Q K^T V); on the raw sums its threshold is 2^F 2 v_th / scale.
        """
        config = self.config
        theta = math.ceil(2**self.fraction_bits * 2 * ATTENTION_V_TH / config.attention_scale)
        return {"theta": theta}, config.tokens * config.width // config.heads


def lower(ticket: Ticket) -> IntegerNetwork:
    """The integer network of a ticket; a function of the ticket alone.

    Raises UserError where the calibration has a selector's hidden sums beyond what 32 bits hold.
    """
    return _Lowering(ticket).network()


class _Lowering:
    """Walks the network in reading order and collects layers and stream shapes."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket, self.config = ticket, ticket.config
        self.parameters = ticket.parameters
        self.neurons: LifNeurons | ReluNeurons = (
            LifNeurons(self.config)
            if self.config.neuron == "lif"
            else ReluNeurons(self.config, ticket.calibration.ranges)
        )
        self.layers: list[Layer] = []
        side = self.config.image_size
        self.shapes: dict[str, tuple[int, int, int]] = {"pixels": (self.config.image_channels, side, side)}
        self.largest = {"pixels": 2 ** (PIXEL_BITS - 1) - 1}  # of every stream, by construction
        self.bound = 1  # largest |sum| that any layer can reach
        self.selector = -1

    def network(self) -> IntegerNetwork:
        config = self.config
        stream = self._sps()
        for index in range(config.depth):
            if index and config.keep_counts:
                self._select(index - 1, stream)
            stream = self._block(index, stream)
        self._head(stream)
        numerics = self.neurons.numerics(
            timesteps=config.timesteps,
            weight_bits=WEIGHT_BITS,
            pixel_bits=PIXEL_BITS,
            accumulator_bits=self.bound.bit_length() + 1,
        )
        return IntegerNetwork(
            numerics=numerics,
            layers=tuple(self.layers),
            shapes=self.shapes,
            pixel_scale=self._pixel_scale(),
            seed=config.selector_seed,
            survivors=self.ticket.prunable - self.ticket.zeros,
            nonzeros=sum(_nonzeros(layer) for layer in self.layers),
        )

    def _pixel_scale(self) -> float:
        return self.ticket.calibration.pixel_max / (2 ** (PIXEL_BITS - 1) - 1)

    def _add(self, layer: Layer, channels: int, side: int) -> str:
        """Append a layer and note its target's shape and largest value; returns the target's name."""
        self.layers.append(layer)
        self.shapes[layer.target] = (channels, side, side)
        self.largest[layer.target] = self.neurons.largest(self.largest[layer.residual] if layer.residual else 0)
        return layer.target

    def _prove(self, weights: NDArray[np.int8], bias: NDArray[np.integer], largest: int) -> None:
        """Widen the accumulator to the largest |sum| that inputs up to `largest` can bring about."""
        sums = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(1) * largest + np.abs(bias)
        self.bound = max(self.bound, int(sums.max()))

    def _sps(self) -> str:
        config, stream, side = self.config, "pixels", self.config.image_size
        for index, pool in enumerate(config.sps_pools):
            suffix = str(index or "")
            stream = self._conv(f"sps{index}", f"proj_conv{suffix}", f"proj_bn{suffix}", (stream, f"sps{index}"), side)
            if pool:
                side = (side + 1) // 2
                layer = Pool(name=f"pool{index}", source=stream, target=f"pool{index}")
                stream = self._add(layer, config.sps_channels[index], side)
        return self._conv("rpe", "rpe_conv", "rpe_bn", (stream, "x0"), side, residual=stream)

    def _conv(self, name: str, conv: str, norm: str, streams: tuple[str, str], side: int, residual: str = "") -> str:
        source, target = streams
        weight, bias = fold_norm(self.parameters, f"patch_embed.{conv}", f"patch_embed.{norm}")
        unit = self._pixel_scale() if source == "pixels" else self.neurons.unit(source)
        integers, integer_bias, neurons = self.neurons.layer(weight, bias, unit, (target,))
        self._prove(integers, integer_bias, self.largest[source])
        weights = Weights.from_dense(integers)
        layer = Conv(
            name=name, source=source, target=target, residual=residual, weights=weights, bias=integer_bias, **neurons
        )
        return self._add(layer, len(bias), side)

    def _linear(
        self,
        name: str,
        parts: tuple[str, ...],
        source: str,
        target: str,
        residual: str = "",
        outputs: tuple[str, ...] = (),
    ) -> str:
        """Linear layers that read one stream, fused output by output; `outputs` names theirs, else it is the target."""
        folded = [fold_norm(self.parameters, f"{part}_linear", f"{part}_bn") for part in parts]
        weight = np.concatenate([weight for weight, _ in folded])
        bias = np.concatenate([bias for _, bias in folded])
        unit = self.neurons.unit(source)
        integers, integer_bias, neurons = self.neurons.layer(weight, bias, unit, outputs or (target,))
        self._prove(integers, integer_bias, self.largest[source])
        layer = Linear(
            name=name,
            source=source,
            target=target,
            residual=residual,
            selector=self.selector,
            weights=Weights.from_dense(integers),
            bias=integer_bias,
            **neurons,
        )
        return self._add(layer, len(bias), self.config.grid)

    def _block(self, index: int, stream: str) -> str:
        name, attn, mlp = f"block{index}", f"block.{index}.attn", f"block.{index}.mlp"
        fused, outputs = (tuple(f"{prefix}.{part}" for part in "qkv") for prefix in (attn, name))
        qkv = self._linear(f"{name}.qkv", fused, stream, f"{name}.qkv", outputs=outputs)
        neurons, largest = self.neurons.attention(index)
        self.bound = max(self.bound, largest)
        attention = Attention(
            name=f"{name}.attention",
            source=qkv,
            target=f"{name}.attention",
            selector=self.selector,
            heads=self.config.heads,
            **neurons,
        )
        attended = self._add(attention, self.config.width, self.config.grid)
        middle = self._linear(f"{name}.proj", (f"{attn}.proj",), attended, f"x{index}.5", stream)
        hidden = self._linear(f"{name}.fc1", (f"{mlp}.fc1",), middle, f"{name}.fc1")
        return self._linear(f"{name}.fc2", (f"{mlp}.fc2",), hidden, f"x{index + 1}", middle)

    def _select(self, index: int, stream: str) -> None:
        config = self.config
        common = {"name": f"select{index}", "source": stream, "selector": self.selector}
        if config.selector == "learned":
            layer = self._learned(index, stream, common)
        else:
            layer = Select(**common, form=config.selector, keep=config.keep_counts[index])  # type: ignore[arg-type]
        self.layers.append(layer)
        self.selector = index

    def _learned(self, index: int, stream: str, common: dict[str, object]) -> Select:
        """The scorer in integers; its feature is a sum over time where the float one is a mean."""
        time = self.config.timesteps
        gain = time / self.neurons.unit(stream)  # of the integer feature
        first, last = (f"predictor.{index}.linear.{part}" for part in (0, 2))
        bias = self.parameters[f"{first}.bias"].astype(np.float64) * gain
        hidden, scale = quantise_tensor(self.parameters[f"{first}.weight"].astype(np.float64), bias)
        hidden_bias = np.rint(bias / scale).astype(np.int32)
        self._prove(hidden, hidden_bias, self.largest[stream] * time)
        # The smallest shift that brings the largest sum of the training images into 7 bits.
        largest = round(self.ticket.calibration.hidden_max[index] * gain / scale)
        shift = max(0, largest.bit_length() - HIDDEN_MAX.bit_length())
        if shift > HIDDEN_SHIFT_MAX:
            reached = self.ticket.calibration.hidden_max[index]
            raise UserError(f"calibration.hidden_max[{index}] = {reached:.3g}: no sum of that selector is so large")
        table = gelu_table(shift, scale / gain) if self.config.activation == "gelu" else None
        z = self.parameters[f"{last}.weight"].astype(np.float64)
        score, _ = quantise_tensor(z[0] - z[1], np.zeros(1))  # z0 - z1; its constant bias changes no order
        return Select(
            **common,  # type: ignore[arg-type]
            form="learned",
            keep=self.config.keep_counts[index],
            hidden=Weights.from_dense(hidden),
            hidden_bias=hidden_bias,
            hidden_shift=shift,
            score_weights=score,
            table=table,
        )

    def _head(self, stream: str) -> None:
        """logit = W . sum over time and kept tokens + bias x T x kept: the mean's division is left out."""
        count = self.config.timesteps * self.config.kept_tokens[-1]
        bias = self.parameters["head.bias"].astype(np.float64) * count / self.neurons.unit(stream)
        weight, scale = quantise_tensor(self.parameters["head.weight"].astype(np.float64), bias)
        integer_bias = np.rint(bias / scale).astype(np.int64)
        self._prove(weight, integer_bias, self.largest[stream] * count)
        layer = Head(
            name="head", source=stream, selector=self.selector, weights=Weights.from_dense(weight), bias=integer_bias
        )
        self.layers.append(layer)


def _nonzeros(layer: Layer) -> int:
    """Weights of a layer that are not 0, a selector's score weights (already a difference of two rows) left out."""
    if isinstance(layer, (Conv, Linear, Head)):
        return layer.weights.nonzeros
    if isinstance(layer, Select) and layer.hidden is not None:
        return layer.hidden.nonzeros
    return 0
