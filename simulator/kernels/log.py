"""The event log: what happened in which cycle, for comparison with the oracle and the RTL, and for timelines."""

from typing import NamedTuple

import numpy as np

from .compiler import inner_kernel

SEND, GRANT, POP, LOOKUP, TAKE, SWEEP, RELEASE, OPEN = range(8)
PLACE = 32  # an event's number is its kind x PLACE + where it happened: output x PORTS + input, or the input


class Log(NamedTuple):
    """Rows (cycle, unit, event, value); a unit is the number of a router. Written in place, in no order."""

    rows: np.ndarray  # int64[rows, 4]
    filled: np.ndarray  # int64[1]
    end_shift: int  # lowest bit of each field of a packed flit (F4)
    tree_shift: int
    context_shift: int
    channel_shift: int
    value_bits: int
    layers: np.ndarray  # int64[layers]: what the log calls the layers at work
    layer_shift: int  # lowest bit of the layer in the number of a step


@inner_kernel
def write(log, cycle, unit, event, value, place=0):
    """Add a row."""
    at = log.filled[0]
    log.rows[at, 0] = cycle
    log.rows[at, 1] = unit
    log.rows[at, 2] = event * PLACE + place
    log.rows[at, 3] = value
    log.filled[0] = at + 1


@inner_kernel
def name_step(log, layer, number):
    """A step as the log names it: its layer, where several are at work, and its number there."""
    return np.int64(number) + (log.layers[layer] << log.layer_shift)


@inner_kernel
def pack(log, flits, steps, channels, flit):
    """A flit as its bits lie in a link: end-of-token, tree, context, channel, values (F4).

    channels: int64[layers], width of the stream that each layer reads.
    """
    step = flits.step[flit]
    bits = (np.int64(flits.tree[flit]) << log.tree_shift) | (np.int64(steps.context[step]) << log.context_shift)
    event = np.int64(flits.event[flit])
    if event < 0:
        return bits | (np.int64(1) << log.end_shift)
    bits |= (event % channels[steps.layer[step]]) << log.channel_shift
    for at in range(flits.values.shape[1]):
        bits |= np.int64(flits.values[flit, at]) << (at * log.value_bits)
    return bits
