"""The values: what arriving flits add to accumulators (R5), and what neurons make of the sums (V1, M2)."""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel, kernel


class Values(NamedTuple):
    """Where a layer adds its numbers up when the chip computes them itself.

    Not `weighted`: the flit's value goes to sums[slot, channel] (token unit, attention units).
    `weighted`: through the consumer's share of the weights to the outputs of the valid taps.
    """

    weighted: bool
    channels: int  # channels of the source stream: event = border class x channels + channel
    taps: int
    share: np.ndarray  # int64[rows, cores + 1], as in RowSizes
    core: np.ndarray  # int32[consumers]: core of each consumer
    outputs: np.ndarray  # uint16[nonzeros]
    weights: np.ndarray  # int8[nonzeros]
    valid: np.ndarray  # bool[classes, taps]
    reach: np.ndarray  # int64[classes, taps]: output position minus `base`, as in Taps
    slot: np.ndarray  # int64[steps]: row of `sums` of the step's `base`, in the first timestep of its batch
    stride: int  # rows from one timestep of the batch to the next
    sums: np.ndarray  # int64[slots, outputs]; modified in place


@inlined_kernel
def deliver(values, consumer, event, step, flit_values, flit):
    """Add one event's values, times the consumer's weights, to the sums. flit_values: uint8[flits, batch]."""
    border = event // values.channels if event >= values.channels else 0  # mostly 0, and a division takes its time
    channel = event - border * values.channels
    for at in range(flit_values.shape[1]):
        value = np.int64(flit_values[flit, at])
        if value == 0:
            continue
        slot = values.slot[step] + at * values.stride
        if values.weighted:
            add_rows(values, consumer, border, channel, slot, value)
        else:
            values.sums[slot, channel] += value


@kernel
def deliver_all(values, flits, arrivals, first_step, last_step, first_consumer):
    """Add up what has arrived for the steps of one layer. arrivals: int32[arrivals, 2], (flit, consumer)."""
    for at in range(arrivals.shape[0]):
        flit = arrivals[at, 0]
        step = flits.step[flit]
        if first_step <= step < last_step:
            consumer = arrivals[at, 1] - first_consumer
            deliver(values, consumer, flits.event[flit], step - first_step, flits.values, flit)


@inlined_kernel
def add_rows(values, consumer, border, channel, slot, value):
    """Add a value through the rows of the taps that are valid in a border class (R5)."""
    core = values.core[consumer]
    for tap in range(values.taps):
        if not values.valid[border, tap]:
            continue
        row = channel * values.taps + tap
        first, stop = values.share[row, core], values.share[row, core + 1]
        sums = values.sums[slot + values.reach[border, tap]]
        outputs, weights = values.outputs[first:stop], values.weights[first:stop]
        for at in range(outputs.size):
            sums[outputs[at]] += np.int64(weights[at]) * value


@kernel
def fire(sums, bias, theta, decay, reset_by, fraction_bits, potential_bits, spikes):
    """Leaky integrate-and-fire over time (V1); returns how many updates were clipped.

    sums: int64[timesteps, tokens, channels].  bias, theta, reset_by: int64[channels]; reset_by 0: a spike leaves 0.
    spikes: uint8[timesteps, tokens, channels]; written in place.
    """
    timesteps, tokens, channels = sums.shape
    highest = (np.int64(1) << (potential_bits - 1)) - 1
    lowest = -highest - 1
    clipped = 0
    for token in range(tokens):
        for channel in range(channels):
            potential = np.int64(0)
            for timestep in range(timesteps):
                current = (sums[timestep, token, channel] + bias[channel]) << fraction_bits
                potential = ((potential * decay) >> 8) + current
                if potential > highest or potential < lowest:
                    clipped += 1
                    potential = min(max(potential, lowest), highest)
                if potential >= theta[channel]:
                    spikes[timestep, token, channel] = 1
                    potential = potential - reset_by[channel] if reset_by[channel] > 0 else np.int64(0)
    return clipped


@kernel
def requantise(sums, bias, multiplier, shift, outputs):
    """ReLU and requantisation to unsigned 8 bits (M2).

    sums: int64[places, channels].  bias, multiplier, shift: int64[channels].
    outputs: uint8[places, channels]; written in place.
    """
    places, channels = sums.shape
    for place in range(places):
        for channel in range(channels):
            half = np.int64(1) << (shift[channel] - 1)
            value = ((sums[place, channel] + bias[channel]) * multiplier[channel] + half) >> shift[channel]
            outputs[place, channel] = min(max(value, 0), 255)


@kernel
def deliver_pixels(values, border, pixels):
    """Add up the input convolution (I1): every pixel through every core's share of the weights.

    border: int32[tokens].  pixels: int8[channels, tokens].
    """
    for token in range(border.size):
        for channel in range(values.channels):
            for consumer in range(values.core.size):
                value = np.int64(pixels[channel, token])
                add_rows(values, consumer, border[token], channel, values.slot[token], value)
