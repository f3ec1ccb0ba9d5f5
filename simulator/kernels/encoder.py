"""The spike encoder: turns a stream's events into the flits that each producer sends, in order (rules F1, F2, E1)."""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel, kernel

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


class Spikes(NamedTuple):
    """What the steps send before it is cut into flits: each channel of a step once, ascending."""

    first: np.ndarray  # int64[steps]: a step's spikes are first[k] : stop[k]
    stop: np.ndarray  # int64[steps]
    channel: np.ndarray  # uint16[spikes]
    values: np.ndarray  # uint8[spikes, batch]: value in each timestep of the batch; no rows where all are 1


class Stretches(NamedTuple):
    """The stream's channels cut into stretches that one producer holds; by token, one stretch that all of them hold."""

    end: np.ndarray  # int64[stretches]: one past the last channel
    of: np.ndarray  # int64[...]: stretches of the first producer, ascending, then those of the second, and so on
    start: np.ndarray  # int64[producers + 1]: a producer's are of[start[s] : start[s + 1]]


class Head(NamedTuple):
    """What the flits of a channel in a step have in common, all but their values."""

    event: int
    tree: int
    step: int


def encode(rows: Rows, channels: np.ndarray, values: np.ndarray, width: int, senders: Senders) -> Flits:
    """The flits of a phase; steps count from 0.

    channels: uint16[events].  values: uint8[events], or empty where all are 1.  width: channels of the stream.
    """
    batch, producers = rows.first.shape[1], len(senders.words)
    spikes, stretches = list_spikes(rows, channels, values), list_stretches(senders, width)
    share = np.empty((len(rows.token), len(stretches.end) + 1), np.int64)
    split_steps(spikes, stretches.end, share)
    start = np.zeros(producers + 1, np.int64)
    count_flits(rows.token, spikes, share, senders, stretches, start[1:])
    np.cumsum(start, out=start)
    size = int(start[-1])
    flits = Flits(
        np.empty(size, np.int32),
        np.empty((size, batch), np.uint8),
        np.empty(size, np.uint8),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        start,
    )
    write_flits(rows, spikes, share, width, senders, stretches, flits)
    return flits


def list_spikes(rows: Rows, channels: np.ndarray, values: np.ndarray) -> Spikes:
    """The events as they are where each timestep is a batch of its own, else brought together."""
    steps, batch = rows.first.shape
    if batch == 1:
        return Spikes(rows.first.reshape(steps), rows.stop.reshape(steps), channels, values.reshape(-1, 1))
    room = int((rows.stop - rows.first).sum())
    first, stop = np.empty(steps, np.int64), np.empty(steps, np.int64)
    spikes = Spikes(first, stop, np.empty(room, np.uint16), np.empty((room, batch), np.uint8))
    merge_timesteps(rows, channels, values, spikes, np.empty(batch, np.int64))
    return spikes


def list_stretches(senders: Senders, width: int) -> Stretches:
    """The stretches of a stream of `width` channels."""
    producers = len(senders.words)
    if senders.by_token:
        return Stretches(np.array([width]), np.zeros(producers, np.int64), np.arange(producers + 1))
    last = np.append(np.flatnonzero(np.diff(senders.producer)), width - 1)
    owner = senders.producer[last]
    return Stretches(
        last + 1, np.argsort(owner, kind="stable"), np.cumsum([0, *np.bincount(owner, minlength=producers)])
    )


@kernel
def merge_timesteps(rows, channels, values, spikes, cursor):
    """Bring the timesteps of each step's batch together; `spikes` is filled. cursor: int64[batch], scratch."""
    steps, batch = rows.first.shape
    filled = 0
    for step in range(steps):
        spikes.first[step] = filled
        for at in range(batch):
            cursor[at] = rows.first[step, at]
        channel = lowest_channel(rows.stop, step, channels, cursor)
        while channel >= 0:
            spikes.channel[filled] = channel
            for at in range(batch):
                spikes.values[filled, at] = 0
                event = cursor[at]
                if event < rows.stop[step, at] and channels[event] == channel:
                    spikes.values[filled, at] = values[event] if values.size else 1
                    cursor[at] = event + 1
            filled += 1
            channel = lowest_channel(rows.stop, step, channels, cursor)
        spikes.stop[step] = filled


@inlined_kernel
def lowest_channel(stop, step, channels, cursor):
    """The lowest channel among the next events of all timesteps of a step; -1: there are none left."""
    lowest = np.int64(-1)
    for at in range(cursor.size):
        if cursor[at] < stop[step, at]:
            channel = np.int64(channels[cursor[at]])
            if lowest < 0 or channel < lowest:
                lowest = channel
    return lowest


@inlined_kernel
def largest_value(values, spike):
    """A spike's largest value over the batch; it needs as many flits as this takes (F1)."""
    if values.shape[0] == 0:
        return 1
    largest = np.int64(0)
    for at in range(values.shape[1]):
        largest = max(largest, np.int64(values[spike, at]))
    return largest


@kernel
def split_steps(spikes, ends, share):
    """Where each stretch of channels begins among a step's spikes: share, int64[steps, stretches + 1], is filled."""
    for step in range(share.shape[0]):
        spike, stop = spikes.first[step], spikes.stop[step]
        for stretch in range(ends.size):
            share[step, stretch] = spike
            while spike < stop and spikes.channel[spike] < ends[stretch]:
                spike += 1
        share[step, ends.size] = stop


@kernel
def count_flits(tokens, spikes, share, senders, stretches, total):
    """Add the flits of all steps (F1) to total, int64[producers]."""
    for producer in range(total.size):
        ends = senders.end_start[producer + 1] - senders.end_start[producer]
        for step in range(tokens.size):
            if senders.by_token and senders.producer[tokens[step]] != producer:
                continue
            total[producer] += ends
            for at in range(stretches.start[producer], stretches.start[producer + 1]):
                stretch = stretches.of[at]
                total[producer] += spike_flits(spikes, share[step, stretch], share[step, stretch + 1], senders.largest)


@inlined_kernel
def spike_flits(spikes, first, stop, largest):
    """Flits of some spikes of a step: one for each, and for values beyond the largest of a flit more."""
    flits = stop - first
    if spikes.values.shape[0]:
        for spike in range(first, stop):
            left = largest_value(spikes.values, spike) - largest
            while left > 0:
                flits += 1
                left -= largest
    return flits


@kernel
def write_flits(rows, spikes, share, width, senders, stretches, flits):
    """Fill `flits`, producer after producer (so that writing is sequential), each step after step."""
    for producer in range(senders.words.size):
        flit = flits.start[producer]
        for step in range(rows.token.size):
            token = rows.token[step]
            if senders.by_token and senders.producer[token] != producer:
                continue
            event, tree, looked = rows.border[step] * width, senders.token_tree[token], np.int64(0)
            for at in range(stretches.start[producer], stretches.start[producer + 1]):
                stretch = stretches.of[at]
                for spike in range(share[step, stretch], share[step, stretch + 1]):
                    channel = np.int64(spikes.channel[spike])
                    word = np.int64(senders.word[channel])
                    head = Head(event + channel, senders.channel_tree[channel] + tree, step)
                    silent = max(0, word - looked)
                    flit = write_spike(flits, flit, head, silent, spikes, spike, senders.largest)
                    looked = word + 1
            flit = write_ends(flits, flit, senders, producer, senders.words[producer] - looked, tree, step)


@inlined_kernel
def write_spike(flits, flit, head, silent, spikes, spike, largest):
    """One channel's flits of one step (F1); the number of the flit after them."""
    sent, most = 0, largest_value(spikes.values, spike)
    while sent < most:
        write_head(flits, flit, head, silent)
        flits.active[flit] = write_values(flits.values, flit, spikes.values, spike, sent, largest)
        sent += largest
        silent = 0
        flit += 1
    return flit


@inlined_kernel
def write_ends(flits, flit, senders, producer, silent, tree, step):
    """A producer's end-of-token flits of one step (F1); the number of the flit after them."""
    for end in range(senders.end_start[producer], senders.end_start[producer + 1]):
        write_head(flits, flit, Head(END_OF_TOKEN, senders.end_tree[end] + tree, step), silent)
        flits.active[flit] = 0
        for at in range(flits.values.shape[1]):
            flits.values[flit, at] = 0
        silent = 0
        flit += 1
    return flit


@inlined_kernel
def write_head(flits, flit, head, silent):
    """All of a flit but its values."""
    flits.event[flit] = head.event
    flits.tree[flit] = head.tree
    flits.step[flit] = head.step
    flits.silent[flit] = silent


@inlined_kernel
def write_values(sent_values, flit, values, spike, sent, largest):
    """F1: of each timestep's value what is left after `sent`, at most the largest that a flit carries; n of F1."""
    if values.shape[0] == 0:
        sent_values[flit, 0] = 1
        return 1
    active = 0
    for at in range(sent_values.shape[1]):
        part = min(max(np.int64(values[spike, at]) - sent, 0), largest)
        sent_values[flit, at] = part
        active += part > 0
    return active
