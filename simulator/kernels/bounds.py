"""A phase step by step instead of cycle by cycle: when each step is released at the earliest (section B).

No flit is moved: of a step only the sums count, so that a run takes as long as there are events, not cycles.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import intrinsic, overload

from .compiler import inlined_kernel, inner_kernel, kernel

NO_WAY = -(1 << 40)  # in place of a way, where no flit goes: earlier than any cycle


class Encoders(NamedTuple):
    """The producers' spike memories (E1). A piece is what 64 channels of the stream hold of a word."""

    by_token: bool
    owner: np.ndarray  # int32[channels] or, by token, int32[tokens]: index of the producer
    group: np.ndarray  # int64[pieces]: which 64 channels; pieces in the order of producers, then of words
    mask: np.ndarray  # uint64[pieces]: which of these
    word: np.ndarray  # int64[pieces]: number of the word, of all producers' one after the other
    producer: np.ndarray  # int64[pieces]; 0 by token, where all have the same
    words: np.ndarray  # int64[producers]
    ends: np.ndarray  # int64[producers]: end-of-token flits per step


class Takers(NamedTuple):
    """The consumers, and how far it is to them."""

    of_channel: np.ndarray  # int64[channels], or empty (P3)
    of_token: np.ndarray  # int64[tokens], or empty
    service: np.ndarray  # int32[batch * kinds, columns], cycles of an event with n = 1 … batch timesteps (R4)
    kinds: int  # 0 where an event takes n cycles (C2)
    expected: np.ndarray  # int64[consumers]: end-of-token flits per step (F3)
    sweep: np.ndarray  # int64[consumers]: cycles per closed output and timestep
    way: np.ndarray  # int64[producers, consumers]: cycles from sending to arrival, NO_WAY where no flit goes
    nearest: np.ndarray  # int64[consumers]: least of these
    farthest: np.ndarray  # int64[producers]: most of them
    flit_cycles: int


class Steps(NamedTuple):
    """The steps of a layer on an image."""

    row: np.ndarray  # int64[steps]: row of Packed
    token: np.ndarray  # int64[steps]
    kind: np.ndarray  # int64[steps]: kind of the event of channel 0: border class x channels
    scan: np.ndarray  # int32[steps]
    sweeps: np.ndarray  # int64[steps]: timesteps x outputs that the step closes (C4)
    ready: np.ndarray  # int64[steps, producers], or int64[0, 0]: cycle before which a producer does not start (L4)
    gate: int  # cycle before which no step is granted (L8)


class Step(NamedTuple):
    """A step on its way."""

    number: int
    sender: int  # the producer that sends it alone (by token), or -1: all do
    taker: int  # the consumer that takes it alone (by token), or -1: all do
    granted: int  # cycle of its grant (C6)


class Chain(NamedTuple):
    """How far producers and consumers are, at the earliest; modified in place, goes on from image to image."""

    sent: np.ndarray  # int64[producers]: cycle of the last flit
    served: np.ndarray  # int64[consumers]: end of the service of all flits so far
    passed: np.ndarray  # int64[consumers]: arrival of the last of all flits so far
    swept: np.ndarray  # int64[consumers]: cycle from which the next sweep may begin
    taken: np.ndarray  # int64[lines]: steps so far, j of C6; one line for all consumers, or by token one for each
    worked: np.ndarray  # int64[consumers]: cycles of service so far
    sent_to: np.ndarray  # int64[producers, consumers], or [producers, 1] where they are multicast: flits so far
    released: np.ndarray  # int64[lines, contexts]: latest release of the last step in each context, -1 before


class Sums(NamedTuple):
    """What a step comes to; scratch."""

    flits: np.ndarray  # int64[producers]: event flits
    looks: np.ndarray  # int64[producers]: cycles of their encoders at the step's words
    service: np.ndarray  # int32[columns or consumers]: cycles of the event flits
    came: np.ndarray  # int64[consumers]: event flits


@intrinsic
def _count_ones(typing, word):
    """One instruction of the processor, which numba has no public name for."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return word(word), generate


def count_ones(word):
    """Bits of a word that are set."""
    return int(word).bit_count()


@overload(count_ones, inline="always")
def _count_word(word):
    return lambda word: np.int64(_count_ones(word))  # type: ignore[call-arg]


@inner_kernel
def sum_words(packed, encoders, row, sums):
    """Flits of all producers in a row, and cycles that their encoders look at its words (E1)."""
    for producer in range(sums.flits.size):
        sums.flits[producer] = 0
        sums.looks[producer] = encoders.words[producer]
    heard = np.int64(-1)
    for piece in range(encoders.mask.size):
        found = count_ones(packed.bits[row, encoders.group[piece]] & encoders.mask[piece])
        producer, word = encoders.producer[piece], encoders.word[piece]
        silent = found == 0 or word == heard
        sums.flits[producer] += found
        sums.looks[producer] += found - (0 if silent else 1)  # a word takes a cycle for each flit, at least one
        heard = heard if found == 0 else word
    for at in range(packed.again_start[row], packed.again_start[row + 1]):
        sums.flits[encoders.owner[packed.again[at]]] += 1
        sums.looks[encoders.owner[packed.again[at]]] += 1


@inner_kernel
def sum_words_of_one(packed, encoders, row, one, sums):
    """The same where one producer alone has the row, all its channels (by token)."""
    flits, silent, heard = packed.start[row + 1] - packed.start[row], encoders.words[one], np.int64(-1)
    for piece in range(encoders.mask.size):
        found = packed.bits[row, encoders.group[piece]] & encoders.mask[piece]
        if found != np.uint64(0) and encoders.word[piece] != heard:
            heard = encoders.word[piece]
            silent -= 1
    sums.flits[one] = flits
    sums.looks[one] = flits + silent


@inlined_kernel
def line_of(packed, takers, kind, at):
    """The line of the table of service that holds for a flit."""
    before = np.uint64(packed.active[at]) - np.uint64(1) if packed.active.size > 0 else np.uint64(0)
    return before * np.uint64(takers.kinds) + np.uint64(kind) + np.uint64(packed.channel[at])


@inner_kernel
def sum_service(packed, encoders, takers, row, kind, sender, chain, sums):
    """Cycles of a row's event flits at the consumers, and how many come to each."""
    begin, stop = packed.start[row], packed.start[row + 1]
    for column in range(sums.service.size):
        sums.service[column] = 0
    if takers.kinds > 0:
        for consumer in range(sums.came.size if takers.flit_cycles > 1 else 0):
            sums.came[consumer] = stop - begin
        while begin + 4 <= stop:  # four at a time: the sums are read and written once
            one = takers.service[line_of(packed, takers, kind, begin)]
            two = takers.service[line_of(packed, takers, kind, begin + 1)]
            three = takers.service[line_of(packed, takers, kind, begin + 2)]
            four = takers.service[line_of(packed, takers, kind, begin + 3)]
            for column in range(sums.service.size):
                sums.service[column] += (one[column] + two[column]) + (three[column] + four[column])
            begin += 4
        for at in range(begin, stop):
            one = takers.service[line_of(packed, takers, kind, at)]
            for column in range(sums.service.size):
                sums.service[column] += one[column]
        return
    for consumer in range(sums.came.size):
        sums.came[consumer] = 0
    for at in range(begin, stop):
        consumer = takers.of_channel[packed.channel[at]] if takers.of_channel.size > 0 else 0
        sums.service[consumer] += packed.active[at] if packed.active.size > 0 else 1
        sums.came[consumer] += 1
        if takers.of_channel.size > 0:
            chain.sent_to[sender if sender >= 0 else encoders.owner[packed.channel[at]], consumer] += 1


@inner_kernel
def send_step(encoders, takers, steps, chain, sums, step):
    """E2: move every producer (or one alone) over a step.

    Returns the earliest cycle of a flit of it or of a later one; the producer whose end of the token may come last, and
    when that sends it.
    """
    earliest, slowest, latest, ended = np.int64(1 << 62), 0, np.int64(-1), np.int64(0)
    first, stop = (step.sender, step.sender + 1) if step.sender >= 0 else (0, encoders.words.size)
    for producer in range(first, stop):
        begin = max(chain.sent[producer] + 1, step.granted)
        if steps.ready.shape[0] > 0:
            begin = max(begin, steps.ready[step.number, producer])
        begin += steps.scan[step.number]
        earliest = min(earliest, begin + 1)
        looked = begin + sums.looks[producer]
        chain.sent[producer] = looked + encoders.ends[producer]
        if takers.of_channel.size == 0:
            chain.sent_to[producer, max(0, step.taker)] += sums.flits[producer] + encoders.ends[producer]
        else:
            for consumer in range(takers.nearest.size):
                chain.sent_to[producer, consumer] += takers.way[producer, consumer] > 0
        if looked + takers.farthest[producer] > latest:
            slowest, latest = producer, looked + takers.farthest[producer]
            ended = looked + 1  # the first of its end-of-token flits
    if step.sender >= 0:
        earliest = step.granted + 1  # by token, another producer may be at a later step already
    return earliest, slowest, ended


@inlined_kernel
def take_step(takers, chain, sums, consumer, column, earliest, ended, sweeps):
    """C1 to C5 on sums: a consumer serves a step and sweeps it; returns its release.

    ended: when an end of the token comes to it.
    """
    arrival = earliest + takers.nearest[consumer]
    service = sums.service[column] + takers.expected[consumer]
    chain.worked[consumer] += service
    served = max(chain.served[consumer], arrival + 1) + service
    chain.served[consumer] = served
    if takers.flit_cycles > 1:  # else output L is no slower than the adders
        flits = sums.came[consumer] + takers.expected[consumer]
        passed = max(chain.passed[consumer], arrival - takers.flit_cycles) + takers.flit_cycles * flits
        chain.passed[consumer] = passed
        served = max(served, passed + 2)
    begin = max(chain.swept[consumer], served, ended + 2)
    length = sweeps * takers.sweep[consumer]
    chain.swept[consumer] = begin + max(np.int64(1), length)
    return begin + length + 1


@kernel
def bound_phase(packed, encoders, takers, steps, chain, sums, released):
    """Walk through a layer's steps on one image; returns the earliest end of the phase (C8), 0 without steps.

    chain: modified in place.  released: int64[steps, consumers], written where the step has the consumer; or
    int64[0, 0].
    """
    end = np.int64(0)
    for number in range(steps.row.size):
        token, row = steps.token[number], steps.row[number]
        one = encoders.owner[token] if encoders.by_token else -1
        only = takers.of_token[token] if takers.of_token.size > 0 else -1
        if one >= 0:
            sum_words_of_one(packed, encoders, row, one, sums)
        else:
            sum_words(packed, encoders, row, sums)
        sum_service(packed, encoders, takers, row, steps.kind[number], one, chain, sums)
        line = max(only, 0)  # contexts: one set for all consumers, or each has its own
        context = chain.taken[line] % chain.released.shape[1]
        granted = max(np.int64(steps.gate), chain.released[line, context] + 1)  # C6; a free context was never released
        step = Step(number, one, only, granted)
        earliest, slowest, ended = send_step(encoders, takers, steps, chain, sums, step)
        first, stop = (only, only + 1) if only >= 0 else (0, takers.nearest.size)
        latest = np.int64(-1)
        for consumer in range(first, stop):
            column = consumer if sums.service.size > 1 else 0
            arrival = ended + takers.way[slowest, consumer]
            release = take_step(takers, chain, sums, consumer, column, earliest, arrival, steps.sweeps[number])
            latest = max(latest, release)
            if released.shape[0] > 0:
                released[number, consumer] = release
        chain.released[line, context] = latest
        chain.taken[line] += 1
        end = max(end, latest + 1)
    return end
