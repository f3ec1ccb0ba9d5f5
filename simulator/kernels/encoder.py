"""The spike encoder: turns a stream's events into the flits that each producer sends, in order (rules F1, F2, E1)."""

from typing import NamedTuple

import numpy as np

from .compiler import allocating_kernel

END_OF_TOKEN = -1


class Flits(NamedTuple):
    """All flits of a phase, producer after producer, each in the order of sending."""

    event: np.ndarray  # int32[flits]: border class x channels + channel, or END_OF_TOKEN
    values: np.ndarray  # uint8[flits, batch]: value in each timestep of the batch
    active: np.ndarray  # uint8[flits]: timesteps with a value, n of rule F1
    silent: np.ndarray  # int32[flits]: words without spikes that the encoder passes over in front of it (E1)
    tree: np.ndarray  # int32[flits]
    step: np.ndarray  # int32[flits]
    start: np.ndarray  # int64[producers + 1]: a producer's flits are start[s] : start[s + 1]


class Senders(NamedTuple):
    """Who sends what over which tree: tree = channel_tree[channel] + token_tree[token]."""

    by_token: bool  # producers own tokens, not channels
    producer: np.ndarray  # int32[channels] or, by token, int32[tokens]: index of the producer that owns it
    word: np.ndarray  # int32[channels]: word of the producer's spike memory that holds the channel (E1)
    words: np.ndarray  # int32[producers]: words of a step
    channel_tree: np.ndarray  # int32[channels]
    token_tree: np.ndarray  # int32[tokens]
    end_tree: np.ndarray  # int32[ends]: like channel_tree, for the end-of-token flits of a step, in order of producer
    end_start: np.ndarray  # int64[producers + 1]: a producer's are end_tree[end_start[s] : end_start[s + 1]]
    largest: int  # 2^value_bits - 1, largest value of a flit


class Rows(NamedTuple):
    """The stream's events in the order of the steps."""

    first: np.ndarray  # int64[steps, batch]: index of the first event in each timestep
    stop: np.ndarray  # int64[steps, batch]; equal to `first` where the batch has no such timestep
    token: np.ndarray  # int32[steps]
    border: np.ndarray  # int32[steps]: border class of the step's token


class Cursors(NamedTuple):
    """Scratch of `encode`; modified in place."""

    slot: np.ndarray  # int64[producers]: where the producer's next flit goes
    looked: np.ndarray  # int32[producers]: words of the step that the encoder has passed
    event: np.ndarray  # int64[batch]: next event of each timestep
    left: np.ndarray  # int64[batch]: value not sent yet


@allocating_kernel
def next_channel(rows, step, channels, cursor):
    """The lowest channel among the next events of all timesteps of a step; -1: there are none left."""
    lowest = np.int64(-1)
    for at in range(cursor.event.size):
        if cursor.event[at] < rows.stop[step, at]:
            channel = np.int64(channels[cursor.event[at]])
            if lowest < 0 or channel < lowest:
                lowest = channel
    return lowest


@allocating_kernel
def gather(rows, step, channels, values, channel, cursor):
    """Put the channel's value in each timestep into `left` and pass its events; returns the largest."""
    largest = np.int64(0)
    for at in range(cursor.event.size):
        cursor.left[at] = 0
        event = cursor.event[at]
        if event < rows.stop[step, at] and channels[event] == channel:
            cursor.left[at] = np.int64(values[event]) if values.size else 1
            cursor.event[at] += 1
            largest = max(largest, cursor.left[at])
    return largest


@allocating_kernel
def count_flits(rows, channels, values, senders):
    """Flits of each producer over all steps: int64[producers]."""
    producers, batch = senders.words.size, rows.first.shape[1]
    total = np.zeros(producers, np.int64)
    cursor = Cursors(total, senders.words, np.zeros(batch, np.int64), np.zeros(batch, np.int64))
    for step in range(rows.first.shape[0]):
        cursor.event[:] = rows.first[step]
        channel = next_channel(rows, step, channels, cursor)
        while channel >= 0:
            producer = senders.producer[rows.token[step] if senders.by_token else channel]
            total[producer] += -(-gather(rows, step, channels, values, channel, cursor) // senders.largest)
            channel = next_channel(rows, step, channels, cursor)
        for producer in range(producers):
            if not senders.by_token or producer == senders.producer[rows.token[step]]:
                total[producer] += senders.end_start[producer + 1] - senders.end_start[producer]
    return total


@allocating_kernel
def send_event(flits, senders, cursor, producer, event, channel, token, step):
    """The flits of one channel in one step (F1), and the silent words in front of the first (E1)."""
    silent = max(0, senders.word[channel] - cursor.looked[producer])
    cursor.looked[producer] = senders.word[channel] + 1
    while cursor.left.max() > 0:
        slot = cursor.slot[producer]
        flits.event[slot] = event
        flits.tree[slot] = senders.channel_tree[channel] + senders.token_tree[token]
        flits.step[slot] = step
        flits.silent[slot] = silent
        for at in range(cursor.left.size):
            part = min(cursor.left[at], senders.largest)
            flits.values[slot, at] = part
            flits.active[slot] += part > 0
            cursor.left[at] -= part
        cursor.slot[producer] += 1
        silent = 0


@allocating_kernel
def send_ends(flits, senders, cursor, producer, token, step):
    """A producer's end-of-token flits of one step (F1)."""
    silent = senders.words[producer] - cursor.looked[producer]
    for end in range(senders.end_start[producer], senders.end_start[producer + 1]):
        slot = cursor.slot[producer]
        flits.event[slot] = END_OF_TOKEN
        flits.tree[slot] = senders.end_tree[end] + senders.token_tree[token]
        flits.step[slot] = step
        flits.silent[slot] = silent
        cursor.slot[producer] += 1
        silent = 0


@allocating_kernel
def encode(rows, channels, values, width, senders):
    """The flits of a phase; steps count from 0.

    channels: uint16[events].  values: uint8[events], or empty where all are 1.  width: channels of the stream.
    """
    totals = count_flits(rows, channels, values, senders)
    producers, batch = totals.size, rows.first.shape[1]
    start = np.zeros(producers + 1, np.int64)
    start[1:] = np.cumsum(totals)
    size = start[producers]
    flits = Flits(
        np.empty(size, np.int32),
        np.zeros((size, batch), np.uint8),
        np.zeros(size, np.uint8),
        np.zeros(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        start,
    )
    cursor = Cursors(
        start[:producers].copy(), np.zeros(producers, np.int32), np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    )
    for step in range(rows.first.shape[0]):
        token = rows.token[step]
        cursor.event[:] = rows.first[step]
        cursor.looked[:] = 0
        channel = next_channel(rows, step, channels, cursor)
        while channel >= 0:
            producer = senders.producer[token if senders.by_token else channel]
            gather(rows, step, channels, values, channel, cursor)
            event = rows.border[step] * width + channel
            send_event(flits, senders, cursor, producer, event, channel, token, step)
            channel = next_channel(rows, step, channels, cursor)
        for producer in range(producers):
            if not senders.by_token or producer == senders.producer[token]:
                send_ends(flits, senders, cursor, producer, token, step)
    return flits
