"""Windows over a map: taps that an event goes through, outputs that its token closes, outputs that are open."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .layers import Window

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Taps:
    """What the inputs of a map are to the outputs of a window, and to what is pooled of them (R5, C4).

    border: int32[tokens], class of each input: those of one class go through the same taps.
    valid: bool[classes, taps], whether a tap meets an output.
    base: int64[tokens], and reach: int64[classes, taps]: through a valid tap an input meets output base + reach.
    outputs: of the window.
    closing: int64[places], the input whose end closes an output, or where they are pooled a pooled output.
    sweeps: int32[tokens], words that the sweep of what an input closes reads: one for each output, or for each output
    in the windows of what is pooled.
    """

    border: NDArray[np.int32]
    valid: NDArray[np.bool_]
    base: Ints
    reach: Ints
    outputs: int
    closing: Ints
    sweeps: NDArray[np.int32]


@dataclass(frozen=True)
class _Axis:
    """One axis of a map. valid: bool[inputs, taps].  output: int64[inputs, taps], outputs met.

    last: int64[places], last input that an output, or a pooled one, sees.  read: int64[places], outputs that it is.
    """

    valid: NDArray[np.bool_]
    output: Ints
    last: Ints
    read: Ints


@dataclass(frozen=True)
class _Side:
    """A window along one axis."""

    kernel: int
    stride: int
    pad: int
    outputs: int

    @property
    def last(self) -> Ints:
        """int64[outputs]: the last input of each, as if the map went on."""
        return np.arange(self.outputs) * self.stride - self.pad + self.kernel - 1


def _sides(window: Window, height: int, width: int) -> tuple[_Side, _Side]:
    rows, columns = window.outputs(height, width)
    return (
        _Side(window.height, window.stride, window.pad_y, rows),
        _Side(window.width, window.stride, window.pad_x, columns),
    )


def _axes(height: int, width: int, window: Window, pooled: Window | None) -> tuple[tuple[_Side, _Side | None], ...]:
    """Of y and of x: the window, and what pools its outputs."""
    pools = (None, None) if pooled is None else _sides(pooled, *window.outputs(height, width))
    return tuple(zip(_sides(window, height, width), pools, strict=True))


def _along(inputs: int, side: _Side, pool: _Side | None) -> _Axis:
    output, between = np.divmod(np.arange(inputs)[:, None] + side.pad - np.arange(side.kernel), side.stride)
    valid = (between == 0) & (output >= 0) & (output < side.outputs)
    last = np.minimum(side.last, inputs - 1)
    if pool is None:
        return _Axis(valid, output, last, np.ones_like(last))
    end = np.minimum(pool.last, side.outputs - 1)  # outputs in the pool's padding take no part
    return _Axis(valid, output, last[end], end + 1 - np.maximum(pool.last + 1 - pool.kernel, 0))


@cache
def find_taps(height: int, width: int, window: Window, pooled: Window | None = None) -> Taps:
    """The classes of a map's inputs under a window, and what they meet. pooled: a window over its outputs.

    Inputs that go through the same taps lie alike between the strides, too: so their outputs lie alike around the one
    at floor(y / stride), floor(x / stride).
    """
    rows, columns = window.outputs(height, width)
    of_y, of_x = _axes(height, width, window, pooled)
    y, x = _along(height, *of_y), _along(width, *of_x)
    pattern = (y.valid[:, None, :, None] & x.valid[None, :, None, :]).reshape(height * width, window.taps)
    valid, first, border = np.unique(pattern, axis=0, return_index=True, return_inverse=True)
    at_y, at_x = np.divmod(np.arange(height * width), width)
    base = at_y // window.stride * columns + at_x // window.stride
    met = y.output[at_y[first], :, None] * columns + x.output[at_x[first], None, :]
    closing = (y.last[:, None] * width + x.last).reshape(-1)
    read = (y.read[:, None] * x.read).reshape(-1)
    return Taps(
        border.reshape(-1).astype(np.int32),
        np.ascontiguousarray(valid),
        base,
        met.reshape(len(first), -1) - base[first][:, None],
        rows * columns,
        closing,
        np.bincount(closing, weights=read, minlength=height * width).astype(np.int32),
    )


@cache
def open_outputs(height: int, width: int, window: Window, contexts: int, pooled: Window | None = None) -> int:
    """P4: the most outputs that are open while `contexts` successive inputs are under way.

    An output counts as open from the first to the last input of its window, numbered row by row: as if the window went
    on over the edges. That is never too short, and maps may follow one another. Where outputs are pooled it stays open
    to the last input of the last row and column of the last pooled window with its own.
    """
    tokens = height * width
    (first_y, last_y), (first_x, last_x) = (_span(*axis) for axis in _axes(height, width, window, pooled))
    first = (first_y[:, None] * width + first_x).reshape(-1) - (contexts - 1)
    maps, some = np.divmod((last_y[:, None] * width + last_x).reshape(-1) + 1 - first, tokens)
    begin = first % tokens
    change = np.bincount(begin, minlength=2 * tokens + 1) - np.bincount(begin + some, minlength=2 * tokens + 1)
    opened = np.cumsum(change)[:-1].reshape(2, tokens).sum(axis=0)  # maps alike follow one another
    return int(maps.sum() + opened.max())


def _span(side: _Side, pool: _Side | None) -> tuple[Ints, Ints]:
    """int64[outputs] each: first and last number, along an axis, of the inputs while an output is open (P4)."""
    last = at = np.arange(side.outputs)
    if pool is not None:
        latest = np.minimum((at + pool.pad) // pool.stride, pool.outputs - 1)
        last = np.maximum(at, pool.last[latest])  # itself where no window has it
    return at * side.stride - side.pad, last * side.stride - side.pad + side.kernel - 1
