"""What the flits of a phase add up to, in one pass: all that counts need of them (rules W1, W3, K1)."""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel, kernel


class Totals(NamedTuple):
    """Sums over the flits of a phase; a kind is a border class x input channel.

    The places of `events` are the consumers where each flit goes to one of them, else one place for all.
    """

    events: np.ndarray  # int64[places, batch, kinds]: event flits with n = 1 … batch timesteps (F1)
    ones: np.ndarray  # int64[kinds]: values of 1, timestep by timestep
    graded: np.ndarray  # int64[kinds]: values above 1
    value: np.ndarray  # int64[kinds]: sum of the values
    sent: np.ndarray  # int64[trees]: flits, end-of-token flits too
    silent: np.ndarray  # int64[producers]: silent words that the encoder passes over (E1)
    visits: np.ndarray  # int64[producers]: steps that a producer has a part of


@kernel
def add_flits(flits, place, totals):
    """Add all flits to `totals`. place: int64[trees], place of a tree's consumers."""
    for producer in range(totals.silent.size):
        silent, visits, last = 0, 0, -1
        for flit in range(flits.start[producer], flits.start[producer + 1]):
            tree, event, step = flits.tree[flit], flits.event[flit], flits.step[flit]
            silent += flits.silent[flit]
            visits += step != last
            last = step
            totals.sent[tree] += 1
            if event >= 0:
                totals.events[place[tree], flits.active[flit] - 1, event] += 1
                add_values(flits.values, flit, event, totals)
        totals.silent[producer] = silent
        totals.visits[producer] = visits


@inlined_kernel
def add_values(values, flit, event, totals):
    """Add the values of one event flit. values: uint8[flits, batch]."""
    for at in range(values.shape[1]):
        value = np.int64(values[flit, at])
        totals.ones[event] += value == 1
        totals.graded[event] += value > 1
        totals.value[event] += value
