"""The least that computing a network's sums can cost on this machine: additions, and nothing else.

For each spike, for each of its non-zero weights: acc[uint16 index] += int8 weight, int32 accumulators. An event of
value v (the residual stream adds spikes up) is v spikes and v synaptic events (W7). `fused` is the quicker loop that a
lane of the chip suggests: one multiply-add per weight of such an event. Both give the same sums, and both are measured.

Left out, so that the loop is no slower than it need be: neurons, selectors, pools. `bare_work.py` fills the arrays.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Rows(NamedTuple):
    """A stream's events on the tokens that a layer works on, one row per (timestep, token), and the layer's weights.

    start, stop: int64[rows], events of a row.  slot: int64[rows], accumulators of a row's own token.
    channels: uint16[events].  values: uint8[events].  pointers: int64[inputs x taps + 1].  outputs: uint16[nonzeros].
    weights: int8[nonzeros].  acc: int32[slots, outputs], modified in place.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    slot: NDArray[np.int64]
    channels: NDArray[np.uint16]
    values: NDArray[np.uint8]
    pointers: NDArray[np.int64]
    outputs: NDArray[np.uint16]
    weights: NDArray[np.int8]
    acc: NDArray[np.int32]


class Map(NamedTuple):
    """The grid of a convolution."""

    height: int
    width: int
    kernel: int


class Operands(NamedTuple):
    """Attention on an image, spikes as a matrix so that inner loops have no branches.

    qkv: int32[timesteps, tokens, 3 x channels], the kept tokens only; they are queries, keys and values.
    product: int32[head width, head width], for K^T V.  acc: int32[timesteps, tokens, channels], modified in place.
    """

    qkv: NDArray[np.int32]
    heads: int
    product: NDArray[np.int32]
    acc: NDArray[np.int32]


@njit(cache=True)
def add_row(acc, rows, first, last, passes, factor):
    """Add the weights of a row so many times, each time multiplied."""
    for _ in range(passes):
        if factor == 1:
            for at in range(first, last):
                acc[rows.outputs[at]] += np.int32(rows.weights[at])
        else:
            for at in range(first, last):
                acc[rows.outputs[at]] += factor * np.int32(rows.weights[at])


@njit(cache=True)
def add_linear(rows, fused):
    """Linear layers and the head."""
    for row in range(rows.start.size):
        acc = rows.acc[rows.slot[row]]
        for event in range(rows.start[row], rows.stop[row]):
            channel, value = rows.channels[event], np.int32(rows.values[event])
            passes, factor = (1, value) if fused else (value, np.int32(1))
            add_row(acc, rows, rows.pointers[channel], rows.pointers[channel + 1], passes, factor)


@njit(cache=True)
def add_conv(rows, grid, fused):
    """A convolution of spikes, which scatters through every tap that stays inside the map."""
    tokens, pad = grid.height * grid.width, grid.kernel // 2
    for row in range(rows.start.size):
        y, x = divmod(row % tokens, grid.width)
        base = row - row % tokens
        for event in range(rows.start[row], rows.stop[row]):
            value = np.int32(rows.values[event])
            passes, factor = (1, value) if fused else (value, np.int32(1))
            first = np.int64(rows.channels[event]) * grid.kernel * grid.kernel
            for tap in range(grid.kernel * grid.kernel):
                oy, ox = y - tap // grid.kernel + pad, x - tap % grid.kernel + pad
                if 0 <= oy < grid.height and 0 <= ox < grid.width:
                    acc = rows.acc[base + oy * grid.width + ox]
                    row = first + tap
                    add_row(acc, rows, rows.pointers[row], rows.pointers[row + 1], passes, factor)


@njit(cache=True)
def add_pixels(pixels, rows, grid):
    """The input convolution: every pixel, zero or not, once for all timesteps. pixels: int8[channels, tokens]."""
    pad = grid.kernel // 2
    for channel in range(pixels.shape[0]):
        for token in range(pixels.shape[1]):
            y, x = divmod(token, grid.width)
            value = np.int32(pixels[channel, token])
            for tap in range(grid.kernel * grid.kernel):
                oy, ox = y - tap // grid.kernel + pad, x - tap % grid.kernel + pad
                if 0 <= oy < grid.height and 0 <= ox < grid.width:
                    acc = rows.acc[oy * grid.width + ox]
                    row = channel * grid.kernel * grid.kernel + tap
                    for at in range(rows.pointers[row], rows.pointers[row + 1]):
                        acc[rows.outputs[at]] += value * np.int32(rows.weights[at])


@njit(cache=True)
def add_attention(operands):
    """(Q K^T) V per head: by K^T V first where there are more tokens than head channels, else by Q K^T."""
    qkv, product = operands.qkv, operands.product
    timesteps, tokens, channels = operands.acc.shape
    width = channels // operands.heads
    for timestep in range(timesteps):
        for head in range(operands.heads):
            q, k, v = head * width, channels + head * width, 2 * channels + head * width
            if tokens > width:
                product[:] = 0
                for token in range(tokens):
                    for i in range(width):
                        if qkv[timestep, token, k + i]:
                            for j in range(width):
                                product[i, j] += qkv[timestep, token, v + j]
                for token in range(tokens):
                    for i in range(width):
                        if qkv[timestep, token, q + i]:
                            for j in range(width):
                                operands.acc[timestep, token, q + j] += product[i, j]
            else:
                for token in range(tokens):
                    for key in range(tokens):
                        score = np.int32(0)
                        for i in range(width):
                            score += qkv[timestep, token, q + i] & qkv[timestep, key, k + i]
                        for j in range(width):
                            operands.acc[timestep, token, q + j] += score * qkv[timestep, key, v + j]
