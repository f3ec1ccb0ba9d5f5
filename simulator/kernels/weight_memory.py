"""The sparse weight memory: what each row occupies and how long an event's rows take (rules R1 to R5)."""

from typing import NamedTuple

import numpy as np

from .compiler import allocating_kernel

DENSE, BITMAP, CSR = 0, 1, 2


class RowFormat(NamedTuple):
    """How a core stores and reads its rows; plain integers of the chip."""

    kind: int  # DENSE, BITMAP or CSR
    weight_bits: int
    index_bits: int
    word_bits: int
    weight_banks: int
    lanes: int
    accumulator_banks: int


class RowSizes(NamedTuple):
    """Per row (input channel x tap) and core; int32[rows, cores] but where said."""

    share: np.ndarray  # int64[rows, cores + 1]: the core's weights are outputs[share[r, p] : share[r, p + 1]]
    entries: np.ndarray  # with csr padding; dense: all owned outputs
    words: np.ndarray
    address: np.ndarray  # int64[rows, cores]: first word


class EventCosts(NamedTuple):
    """Per event kind (border class x input channel) and core; int32[classes * channels, cores]."""

    fetch: np.ndarray  # cycles that the fullest bank needs
    accumulate: np.ndarray  # cycles of all lane groups
    lanes_cycles: np.ndarray  # cycles without bank conflicts: ceil(entries / lanes)
    entries: np.ndarray  # lane slots
    words: np.ndarray  # words read
    adds: np.ndarray  # additions made
    nonzeros: np.ndarray  # surviving weights met


@allocating_kernel
def split_rows(pointers, outputs, bounds):
    """Where each core's share of each row begins (P1): int64[rows, cores + 1].

    pointers: int64[rows + 1].  outputs: uint16[nonzeros], ascending in a row.
    bounds: int64[cores + 1], first output of each core.
    """
    rows, cores = pointers.size - 1, bounds.size - 1
    share = np.empty((rows, cores + 1), np.int64)
    for row in range(rows):
        at, end = pointers[row], pointers[row + 1]
        for core in range(cores):
            while at < end and outputs[at] < bounds[core]:
                at += 1
            share[row, core] = at
        share[row, cores] = end
    return share


@allocating_kernel
def row_entries(kind, index_bits, outputs, start, stop, first, owned):
    """Stored entries of one row on one core (R1): outputs[start:stop] of a core that owns `owned` from `first` on."""
    if kind == DENSE:
        return owned
    if kind == BITMAP:
        return stop - start
    entries, expected = 0, first
    for at in range(start, stop):
        run = np.int64(outputs[at]) - expected
        entries += (run >> index_bits) + 1
        expected = np.int64(outputs[at]) + 1
    return entries


@allocating_kernel
def row_words(layout, entries, nonzeros, owned):
    """Words that a row takes (R2)."""
    if layout.kind == DENSE:
        per_word = layout.word_bits // layout.weight_bits
        return -(-entries // per_word)
    if layout.kind == BITMAP:
        return -(-(owned + nonzeros * layout.weight_bits) // layout.word_bits)
    per_word = layout.word_bits // (layout.weight_bits + layout.index_bits)
    return -(-entries // per_word)


@allocating_kernel
def measure_rows(layout, pointers, outputs, bounds):
    """Lay out every row on every core: RowSizes. A core without outputs stores nothing."""
    share = split_rows(pointers, outputs, bounds)
    rows, cores = share.shape[0], bounds.size - 1
    entries = np.zeros((rows, cores), np.int32)
    words = np.zeros((rows, cores), np.int32)
    address = np.zeros((rows, cores), np.int64)
    for core in range(cores):
        owned = bounds[core + 1] - bounds[core]
        free = 0
        if owned == 0:
            continue
        for row in range(rows):
            start, stop = share[row, core], share[row, core + 1]
            count = row_entries(layout.kind, layout.index_bits, outputs, start, stop, bounds[core], owned)
            entries[row, core] = count
            words[row, core] = row_words(layout, count, stop - start, owned)
            address[row, core] = free
            free += words[row, core]
    return RowSizes(share, entries, words, address)


@allocating_kernel
def fetch_cycles(layout, sizes, first_row, taps, core, bank_load):
    """Words that the fullest bank gives for the rows first_row + tap of the valid taps (R3). bank_load: scratch."""
    bank_load[:] = 0
    for tap in taps:
        row = first_row + tap
        for word in range(sizes.words[row, core]):
            bank_load[(sizes.address[row, core] + word) % layout.weight_banks] += 1
    return bank_load.max()


@allocating_kernel
def accumulate_cycles(layout, sizes, outputs, bounds, first_row, taps, core, bank_load):
    """Cycles of the lane groups of the valid rows, one row after the other (R3). bank_load: scratch."""
    first, owned = bounds[core], bounds[core + 1] - bounds[core]
    bank_load[:] = 0
    cycles, filled, fullest = 0, 0, 0
    for tap in taps:
        row = first_row + tap
        start, stop = sizes.share[row, core], sizes.share[row, core + 1]
        expected = first
        slots = owned if layout.kind == DENSE else stop - start
        for slot in range(slots):
            padding = 0
            if layout.kind == DENSE:
                local = slot
            else:
                output = np.int64(outputs[start + slot])
                local = output - first
                if layout.kind == CSR:
                    padding = (output - expected) >> layout.index_bits
                expected = output + 1
            for entry in range(padding + 1):
                filled += 1
                if entry == padding:
                    bank = local % layout.accumulator_banks
                    bank_load[bank] += 1
                    fullest = max(fullest, bank_load[bank])
                if filled == layout.lanes:
                    cycles += max(1, fullest)
                    filled, fullest = 0, 0
                    bank_load[:] = 0
    if filled > 0:
        cycles += max(1, fullest)
    return cycles


@allocating_kernel
def measure_events(layout, sizes, outputs, bounds, valid, channels):
    """Tabulate what an event costs, per border class, input channel and core: EventCosts.

    valid: bool[classes, taps], the taps that stay inside the map (R5).
    """
    classes, taps = valid.shape
    cores = bounds.size - 1
    shape = (classes * channels, cores)
    costs = EventCosts(
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
    )
    weight_load = np.zeros(layout.weight_banks, np.int64)
    accumulator_load = np.zeros(layout.accumulator_banks, np.int64)
    for border in range(classes):
        inside = np.nonzero(valid[border])[0]
        for channel in range(channels):
            event, first_row = border * channels + channel, channel * taps
            for core in range(cores):
                owned = bounds[core + 1] - bounds[core]
                if owned == 0:
                    continue
                costs.fetch[event, core] = fetch_cycles(layout, sizes, first_row, inside, core, weight_load)
                costs.accumulate[event, core] = accumulate_cycles(
                    layout, sizes, outputs, bounds, first_row, inside, core, accumulator_load
                )
                for tap in inside:
                    row = first_row + tap
                    nonzeros = sizes.share[row, core + 1] - sizes.share[row, core]
                    costs.entries[event, core] += sizes.entries[row, core]
                    costs.words[event, core] += sizes.words[row, core]
                    costs.nonzeros[event, core] += nonzeros
                    costs.adds[event, core] += owned if layout.kind == DENSE else nonzeros
                costs.lanes_cycles[event, core] = -(-costs.entries[event, core] // layout.lanes)
    return costs
