"""How a stream's events fill flits, whoever sends them (rule F1): what a trace alone decides, done once."""

from typing import NamedTuple

import numpy as np

from .compiler import allocating_kernel


class Packed(NamedTuple):
    """The flits of a stream; rows are (image, batch, token), in that order."""

    start: np.ndarray  # int64[rows + 1]: a row's flits are start[r] : start[r + 1]
    channel: np.ndarray  # uint16[flits], ascending in a row
    active: np.ndarray  # uint8[flits]: timesteps with a value, n of F1; empty where all are 1
    bits: np.ndarray  # uint64[rows, channels / 64]: one bit per channel, set where it has a flit
    again_start: np.ndarray  # int64[rows + 1]: a row's further flits
    again: np.ndarray  # uint16[further flits]: channel of each flit but its channel's first


class Recorded(NamedTuple):
    """A stream's events as a trace has them; in each (image, timestep, token) channels ascend."""

    offsets: np.ndarray  # int64[images * timesteps * tokens + 1]
    channels: np.ndarray  # uint16[events]
    values: np.ndarray  # uint8[events], or empty where all are 1
    timesteps: int
    tokens: int


@allocating_kernel
def pack_events(recorded, batch, largest, flits, active):
    """Write the channel and the timesteps of every flit; returns where each row starts, int64[rows + 1].

    flits: uint16, active: uint8, room for a flit of every event and value; written in place.
    """
    offsets, channels, values, timesteps, tokens = recorded
    images, batches = (offsets.size - 1) // (timesteps * tokens), -(-timesteps // batch)
    start = np.zeros(images * batches * tokens + 1, np.int64)
    cursor, stop, left = np.zeros(batch, np.int64), np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    filled = 0
    for row in range(start.size - 1):
        image, token = row // (batches * tokens), row % tokens
        first = row // tokens % batches * batch
        cursor[:], stop[:] = 0, 0
        for at in range(min(batch, timesteps - first)):
            event_row = (image * timesteps + first + at) * tokens + token
            cursor[at], stop[at] = offsets[event_row], offsets[event_row + 1]
        while True:
            channel = np.int64(-1)
            for at in range(batch):
                if cursor[at] < stop[at] and (channel < 0 or channels[cursor[at]] < channel):
                    channel = np.int64(channels[cursor[at]])
            if channel < 0:
                break
            for at in range(batch):
                left[at] = 0
                if cursor[at] < stop[at] and channels[cursor[at]] == channel:
                    left[at] = np.int64(values[cursor[at]]) if values.size else 1
                    cursor[at] += 1
            while left.max() > 0:
                flits[filled] = channel
                active[filled] = (left > 0).sum()
                left -= largest
                filled += 1
        start[row + 1] = filled
    return start


@allocating_kernel
def find_bits(start, channels, width):
    """Packed.bits, again_start and again of flits in rows; width: channels of the stream."""
    rows = start.size - 1
    bits = np.zeros((rows, (width + 63) // 64), np.uint64)
    again_start = np.zeros(rows + 1, np.int64)
    again = np.empty(channels.size, np.uint16)
    found = 0
    for row in range(rows):
        for at in range(start[row], start[row + 1]):
            channel = np.int64(channels[at])
            bits[row, channel >> 6] |= np.uint64(1) << np.uint64(channel & 63)
            if at > start[row] and channels[at - 1] == channels[at]:
                again[found] = channels[at]
                found += 1
        again_start[row + 1] = found
    return bits, again_start, again[:found].copy()
