"""Float weights to 8-bit integers with a scale."""

import numpy as np
from numpy.typing import NDArray

WEIGHT_BITS = 8
WEIGHT_MAX = 2 ** (WEIGHT_BITS - 1) - 1

Float = NDArray[np.float64]


def quantise_channels(
    weight: Float, bias: Float, input_scale: float, bias_max: int, least: float
) -> tuple[NDArray[np.int8], NDArray[np.int32], Float]:
    """Symmetric quantisation with one scale per output channel: (int8 weights, int32 bias, float64 unit).

    weight: float64[output, ...].  bias: float64[output].  unit[output] is the worth of one unit of the integer sum,
    s x input_scale with s = max |w| / 127 of the channel. It grows where the bias would leave `bias_max`, and to
    `least`: both happen in channels that pruning left (nearly) empty.
    """
    rows = weight.reshape(len(weight), -1)
    unit = np.maximum.reduce(
        [np.abs(rows).max(1) / WEIGHT_MAX * input_scale, np.abs(bias) / bias_max, np.full(len(rows), least)]
    )
    integers = np.rint(rows * input_scale / unit[:, None]).astype(np.int8).reshape(weight.shape)
    return integers, np.rint(bias / unit).astype(np.int32), unit


def quantise_tensor(weight: Float, bias: Float) -> tuple[NDArray[np.int8], float]:
    """Symmetric int8 with one scale for the whole tensor, and that scale; for head and selectors.

    bias, already in the units of weight times input, keeps the scale large enough for it to fit 2^23.
    """
    scale = max(float(np.abs(weight).max()) / WEIGHT_MAX, float(np.abs(bias).max()) / 2**23, 1e-12)
    return np.rint(weight / scale).astype(np.int8), scale
