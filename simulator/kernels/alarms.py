"""Alarms: what is known to happen in a later cycle, so that cycles in which nothing does can be skipped.

A wheel of slots, one per cycle to come. A slot holds planes, which are or-ed into those that they belong to when their
cycle has come. What lies beyond the end of the wheel waits in its last slot, and is put on from there.
"""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel, inner_kernel
from .planes import NONE_SET, bit, lowest, rest

SLOTS = 256
NEVER = np.int64(1 << 62)


class Alarms(NamedTuple):
    """Alarms by number; bit b of word w of a slot is alarm 64 w + b. Modified in place."""

    words: int
    slots: np.ndarray  # uint64[SLOTS x words]: cycle c has slot c modulo SLOTS
    far: np.ndarray  # uint64[words]: alarms that were put into the last slot, though their cycle comes later
    due: np.ndarray  # int64[alarms]: the cycle of these


def new_alarms(words):
    """None is set."""
    return Alarms(words, np.zeros(SLOTS * words, np.uint64), np.zeros(words, np.uint64), np.zeros(64 * words, np.int64))


@inlined_kernel
def set_alarm(alarms, word, index, cycle, due):
    """Let the alarm of an index in the plane that begins with `word` go off in a cycle after this one."""
    word += index >> 6
    slot = due
    if due >= cycle + SLOTS:
        slot = cycle + SLOTS - 1
        alarms.far[word] |= bit(index)
        alarms.due[64 * word + (index & 63)] = due
    alarms.slots[np.uint64((slot & (SLOTS - 1)) * alarms.words + word)] |= bit(index)


@inlined_kernel
def go_off(alarms, word, cycle):
    """One word of the alarms that go off in this cycle; they are no longer set."""
    at = np.uint64((cycle & (SLOTS - 1)) * alarms.words + word)
    rung = alarms.slots[at]
    alarms.slots[at] = NONE_SET
    if rung & alarms.far[word] != NONE_SET:
        rung = put_on(alarms, word, rung, cycle)
    return rung


@inner_kernel
def put_on(alarms, word, rung, cycle):
    """Put on those whose cycle lay beyond the wheel; returns the others, whose cycle has come."""
    left = rung & alarms.far[word]
    alarms.far[word] &= ~left
    while left != NONE_SET:
        index = lowest(left)
        left = rest(left)
        due = alarms.due[64 * word + index]
        if due > cycle:
            rung &= ~bit(index)
            set_alarm(alarms, word, index, cycle, due)
    return rung


@inlined_kernel
def next_alarm(alarms, cycle):
    """The first cycle after this one whose slot is not empty; NEVER where all are."""
    for later in range(cycle + 1, cycle + SLOTS):
        for word in range(alarms.words):
            if alarms.slots[np.uint64((later & (SLOTS - 1)) * alarms.words + word)] != NONE_SET:
                return later
    return NEVER
