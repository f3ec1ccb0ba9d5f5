"""The spike encoder: turns a stream's events into the flits that each producer sends, in order (rules F1, F2)."""

from typing import NamedTuple

import numpy as np

from .compiler import allocating_kernel

END_OF_TOKEN = -1


class Flits(NamedTuple):
    """All flits of a phase, producer after producer, each in the order of sending."""

    event: np.ndarray  # int32[flits]: border class x channels + channel, or END_OF_TOKEN
    value: np.ndarray  # uint8[flits]
    tree: np.ndarray  # int16[flits]
    step: np.ndarray  # int32[flits]
    start: np.ndarray  # int64[producers + 1]: a producer's flits are start[s] : start[s + 1]


class Senders(NamedTuple):
    """Who sends what over which tree."""

    producer: np.ndarray  # int32[channels]: index of the producer that owns the channel
    tree: np.ndarray  # int16[channels]: tree of the channel's events
    end_tree: np.ndarray  # int16[trees]: trees in order of producer; each carries an end-of-token flit per step
    end_start: np.ndarray  # int64[producers + 1]: a producer's trees are end_tree[end_start[s] : end_start[s + 1]]
    largest: int  # 2^value_bits - 1, largest value of a flit


class Rows(NamedTuple):
    """The stream's events in the order of the steps."""

    first: np.ndarray  # int64[steps]: index of the step's first event
    stop: np.ndarray  # int64[steps]
    border: np.ndarray  # int32[steps]: border class of the step's token


@allocating_kernel
def count_flits(rows, channels, values, senders):
    """Flits of each producer over all steps: int64[producers]."""
    producers = senders.end_start.size - 1
    total = np.zeros(producers, np.int64)
    for step in range(rows.first.size):
        for at in range(rows.first[step], rows.stop[step]):
            value = np.int64(values[at]) if values.size else 1
            total[senders.producer[channels[at]]] += -(-value // senders.largest)
    for producer in range(producers):
        total[producer] += rows.first.size * (senders.end_start[producer + 1] - senders.end_start[producer])
    return total


@allocating_kernel
def encode(rows, channels, values, width, senders):
    """The flits of a phase.

    channels: uint16[events].  values: uint8[events], or empty where all are 1.  width: channels of the stream.
    """
    totals = count_flits(rows, channels, values, senders)
    producers = totals.size
    start = np.zeros(producers + 1, np.int64)
    for producer in range(producers):
        start[producer + 1] = start[producer] + totals[producer]
    size = start[producers]
    flits = Flits(
        np.empty(size, np.int32), np.ones(size, np.uint8), np.empty(size, np.int16), np.empty(size, np.int32), start
    )
    cursor = start[:producers].copy()
    for step in range(rows.first.size):
        for at in range(rows.first[step], rows.stop[step]):
            channel = channels[at]
            producer = senders.producer[channel]
            left = np.int64(values[at]) if values.size else 1
            while left > 0:
                slot = cursor[producer]
                flits.event[slot] = rows.border[step] * width + channel
                flits.value[slot] = min(left, senders.largest)
                flits.tree[slot] = senders.tree[channel]
                flits.step[slot] = step
                cursor[producer] += 1
                left -= senders.largest
        for producer in range(producers):
            for end in range(senders.end_start[producer], senders.end_start[producer + 1]):
                slot = cursor[producer]
                flits.event[slot] = END_OF_TOKEN
                flits.tree[slot] = senders.end_tree[end]
                flits.step[slot] = step
                cursor[producer] += 1
    return flits
