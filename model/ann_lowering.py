"""What lowering does for a quantised ANN: 8-bit activations, and the requantisations that bring sums back to them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..simulator.trace import ACTIVATION_MAX, MULTIPLIER_MAX, SHIFT_MAX, Numerics, Requant
from .ann import RESIDUAL, product_order
from .config import SpikformerConfig
from .quantise import Float, quantise_channels

_BIAS_MAX = 2**23  # leaves the accumulator's width to the sums
_LEAST_UNIT = 2.0**-20  # of a sum, in units of the output: what rounds away is far below one of those
_SIGNIFICANT = MULTIPLIER_MAX.bit_length() - 1  # a multiplier lies from 2^14 up to 2^15


def requantisation(scale: Float) -> Requant:
    """The multiplier and shift nearest to float64 scale[channels], each above 0: scale ~ multiplier / 2^shift (M2).

    The relative error is below 2^-14. A scale beyond 2^14 takes every sum above 0 to 255, as the largest one does.
    """
    exponent = np.floor(np.log2(scale)).astype(np.int64)
    shift = np.clip(_SIGNIFICANT - exponent, 1, SHIFT_MAX)
    multiplier = np.clip(np.rint(scale * 2.0**shift), 1, MULTIPLIER_MAX)
    return Requant(multiplier.astype(np.int32), shift.astype(np.uint8))


class ReluNeurons:
    """ReLU with requantisation: activation a of a stream stands for a x unit, with one unit for the residual stream.

    ranges: the largest activation by name (`ann.range_names`), which becomes 255.
    """

    def __init__(self, config: SpikformerConfig, ranges: Mapping[str, float]) -> None:
        self.config = config
        # A range of 0 was never active: any unit will do.
        self._units = {name: (largest or 1.0) / ACTIVATION_MAX for name, largest in ranges.items()}

    def numerics(self, **widths: int) -> Numerics:
        """The numeric contract: no potentials."""
        return Numerics(fraction_bits=0, potential_bits=0, neuron="relu", **widths)

    def largest(self, residual: int) -> int:
        """The largest value of a stream, whatever is added: sums saturate."""
        return ACTIVATION_MAX

    def unit(self, stream: str) -> float:
        """What 1 in a stream stands for."""
        name = stream.replace("pool", "sps")  # a maximum keeps the unit
        return self._units.get(name, self._units[RESIDUAL])

    def layer(
        self, weight: Float, bias: Float, input_unit: float, outputs: tuple[str, ...]
    ) -> tuple[NDArray[np.int8], NDArray[np.int32], dict[str, Any]]:
        """int8 weights, int32 bias and the neurons' own fields of a layer.

        weight: float64[output, ...], batch norm folded; `outputs` name the ranges of its equal parts.
        """
        out = np.repeat([self.unit(name) for name in outputs], len(bias) // len(outputs))
        # The layer in units of its output, so that the unit of a sum is the requantisation's scale.
        gain = out.reshape(-1, *[1] * (weight.ndim - 1))
        integers, integer_bias, unit = quantise_channels(weight / gain, bias / out, input_unit, _BIAS_MAX, _LEAST_UNIT)
        return integers, integer_bias, {"requant": requantisation(unit)}

    def attention(self, block: int) -> tuple[dict[str, Any], int]:
        """The fields of a block's attention and its largest sum (M6); attention_scale is a part of the last one's."""
        config, name = self.config, f"block{block}"
        q, k, v, inner, outer = (self._units[f"{name}.{part}"] for part in ("q", "k", "v", "inner", "attention"))
        order = product_order(config, block)
        first, other = (k * v, q) if order == "kv_first" else (q * k, v)
        scales = {"inner": first / inner, "requant": inner * other * config.attention_scale / outer}
        sums = max(config.kept_tokens[block], config.width // config.heads) * ACTIVATION_MAX**2
        return {"order": order} | {key: requantisation(np.array([scale])) for key, scale in scales.items()}, sums
