"""Pools: their windows, and what they do to sums that have not reached their neurons yet."""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...simulator.trace import Window
from .drafts import LayerDraft
from .streams import Draft
from .values import Value

_FORMS = {"max": "max", "avg": "mean", "_ad": "mean"}  # by the beginning of the operation's name
_DILATION, _DIVISOR = 4, 6  # positions among the arguments


def odd_pool(value: Value) -> str | None:
    """What a pooling operation has that no pool of the chip has; None for one that `pool_window` describes."""
    (high, wide), (rows, columns) = value.parents[0].shape[-2:], value.shape[-2:]
    if value.op == "_adaptive_avg_pool2d":
        steps = {size // count for size, count in ((high, rows), (wide, columns)) if count > 1}
        return "uneven windows" if high % rows or wide % columns else "two strides" if len(steps) > 1 else None
    strides = _pair(value, 2) or _pair(value, 1)
    if strides is not None and strides[0] != strides[1] and rows > 1 and columns > 1:
        return "two strides"
    if value.op.startswith("max") and (_pair(value, _DILATION) or (1, 1)) != (1, 1):
        return "a dilated window"
    if value.op == "avg_pool2d" and len(value.arguments) > _DIVISOR and value.arguments[_DIVISOR] is not None:
        return "another divisor"
    return None if pool_window(value)[0].outputs(high, wide) == (rows, columns) else "uneven windows"


def pool_window(value: Value) -> tuple[Window, str]:
    """(window, "max" or "mean") of a pooling operation on [stack, channels, height, width].

    The stride is that of the axis along which there are several outputs: of a map of height 1 the other one.
    """
    form = _FORMS[value.op[:3]]
    (high, wide), (rows, columns) = value.parents[0].shape[-2:], value.shape[-2:]
    if value.op == "_adaptive_avg_pool2d":
        return Window(high // rows, wide // columns, high // rows if rows > 1 else wide // columns), form
    kernel, stride, padding = (_pair(value, position) for position in (1, 2, 3))
    kernel = kernel or (1, 1)
    stride, padding = stride or kernel, padding or (0, 0)
    return Window(*kernel, stride[0] if rows > 1 else stride[1], *padding), form


def _pair(value: Value, position: int) -> tuple[int, int] | None:
    """An argument as (y, x); None where it is left out."""
    given = value.arguments[position] if position < len(value.arguments) else None
    if not given:
        return None
    sizes = list(given) if isinstance(given, (list, tuple)) else [given]
    return sizes[0], sizes[-1]


def summed(source: Draft, window: Window) -> NDArray[np.uint8]:
    """Spikes added up over windows, without padding: uint8[images, timesteps, tokens, channels].

    Average pooling but for its division, which the next layer's scale does.
    """
    dense = source.dense
    maps = dense.reshape(*dense.shape[:2], source.height, source.width, -1)
    total = functools.reduce(np.add, window.views(maps))
    return total.reshape(*dense.shape[:2], -1, maps.shape[-1])


def pool_sums(layer: LayerDraft, pool: Value) -> bool:
    """Let a layer's neurons take their sums from a pool; False where the chip cannot.

    A maximum is taken on the way to the neuron. A mean is a sum like the layer's own: one convolution does both.
    """
    if odd_pool(pool) is not None or layer.weights is None or layer.pooled is not None:
        return False
    window, form = pool_window(pool)
    if form == "max":
        layer.kind, layer.pooled = "conv", window
        return True
    if window.pad_y or window.pad_x:
        return False
    kernel, inner = torch.from_numpy(layer.weights), layer.window
    layer.weights = _averaged(kernel, window, inner.stride).numpy()
    high, wide = layer.weights.shape[2:]
    layer.kind = "conv"
    layer.window = Window(high, wide, inner.stride * window.stride, inner.pad_y, inner.pad_x)
    return True


def _averaged(kernel: Tensor, window: Window, stride: int) -> Tensor:
    """The mean of a kernel's copies, `stride` inputs apart, at all outputs of the window: float64[out, in, y, x]."""
    outputs, inputs, high, wide = kernel.shape
    rows, columns = (window.height - 1) * stride + high, (window.width - 1) * stride + wide
    total = torch.zeros(outputs, inputs, rows, columns, dtype=kernel.dtype)
    for row in range(window.height):
        for column in range(window.width):
            at = slice(row * stride, row * stride + high), slice(column * stride, column * stride + wide)
            total[:, :, at[0], at[1]] += kernel
    return total / window.taps
