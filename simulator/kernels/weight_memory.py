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
    weights: np.ndarray  # stored weights, without csr padding; dense: all owned outputs, zeros too
    words: np.ndarray
    address: np.ndarray  # int64[rows, cores]: first word


class EventCosts(NamedTuple):
    """Per event kind (border class x input channel) and core; int32[classes * channels, cores] but where said."""

    service: np.ndarray  # int32[batch, kinds, cores]: cycles of an event with n = 1 … batch timesteps (R4)
    groups: np.ndarray  # lane groups: cycles of adding without conflicts, per timestep
    conflicts: np.ndarray  # cycles beyond these, per timestep: bank conflicts
    words: np.ndarray  # words read
    adds: np.ndarray  # additions made, per timestep
    nonzeros: np.ndarray  # surviving weights met


class Fetch(NamedTuple):
    """Scratch registers of one event's fetch; arrays of one place each, so that they can be counted up."""

    word: np.ndarray  # int64[1]: words read so far
    cycle: np.ndarray  # int64[1]: fetch cycles so far
    given: np.ndarray  # int64[weight banks]: fetch cycle in which a bank gave its last word


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
    weights = np.zeros((rows, cores), np.int32)
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
            weights[row, core] = owned if layout.kind == DENSE else stop - start
            words[row, core] = row_words(layout, count, stop - start, owned)
            address[row, core] = free
            free += words[row, core]
    return RowSizes(share, weights, words, address)


@allocating_kernel
def read_words(fetch, address, words):
    """Read `words` words from `address` on, in order: those of one fetch cycle lie in different banks (R3)."""
    for word in range(words):
        bank = (address + word) % fetch.given.size
        if fetch.cycle[0] == 0 or fetch.given[bank] == fetch.cycle[0]:
            fetch.cycle[0] += 1
        fetch.given[bank] = fetch.cycle[0]
        fetch.word[0] += 1


@allocating_kernel
def last_word(layout, owned, entry, weight):
    """The word of its row that holds the last bit of an entry; `weight` counts entries without padding (R1, R3)."""
    if layout.kind == BITMAP:
        return (owned + (weight + 1) * layout.weight_bits - 1) // layout.word_bits
    bits = layout.weight_bits + (layout.index_bits if layout.kind == CSR else 0)
    return entry // (layout.word_bits // bits)


class Adders(NamedTuple):
    """Scratch registers of one event's groups."""

    filled: np.ndarray  # int64[1]: entries in the group so far
    load: np.ndarray  # int64[accumulator banks]: the group's weights in each bank
    fullest: np.ndarray  # int64[1]: most of these
    fetched: np.ndarray  # int64[1]: fetch cycle that brought the last word it needs, f(g) of R3
    done: np.ndarray  # int64[batch]: t(g) of R4 for n = 1 … batch
    groups: np.ndarray  # int64[1]
    conflicts: np.ndarray  # int64[1]


@allocating_kernel
def add_group(adders):
    """Close a lane group (R4)."""
    most = max(np.int64(1), adders.fullest[0])
    for batch in range(adders.done.size):
        adders.done[batch] = max(adders.done[batch], adders.fetched[0] - 1) + most * (batch + 1)
    adders.groups[0] += 1
    adders.conflicts[0] += most - 1
    adders.filled[0] = 0
    adders.fullest[0] = 0
    adders.load[:] = 0


@allocating_kernel
def stream_row(layout, sizes, outputs, bounds, row, core, fetch, adders):
    """Fetch one row on one core and add its entries, group by group, as their words come (R3)."""
    first, owned = bounds[core], bounds[core + 1] - bounds[core]
    start, stop = sizes.share[row, core], sizes.share[row, core + 1]
    address, words, read = sizes.address[row, core], sizes.words[row, core], 0
    expected, entry = first, 0
    slots = owned if layout.kind == DENSE else stop - start
    for slot in range(slots):
        local, padding = slot, 0
        if layout.kind != DENSE:
            output = np.int64(outputs[start + slot])
            local = output - first
            if layout.kind == CSR:
                padding = (output - expected) >> layout.index_bits
            expected = output + 1
        for pad in range(padding + 1):
            needed = last_word(layout, owned, entry, slot) + 1
            read_words(fetch, address + read, needed - read)
            read = needed
            if pad == padding:
                bank = local % adders.load.size
                adders.load[bank] += 1
                adders.fullest[0] = max(adders.fullest[0], adders.load[bank])
            adders.fetched[0] = fetch.cycle[0]
            adders.filled[0] += 1
            entry += 1
            if adders.filled[0] == layout.lanes:
                add_group(adders)
    read_words(fetch, address + read, words - read)


@allocating_kernel
def measure_events(layout, sizes, outputs, bounds, valid, channels, batch):
    """Tabulate what an event costs, per border class, input channel and core: EventCosts.

    valid: bool[classes, taps], the taps that stay inside the map (R5).  batch: most timesteps of an event (G4).
    """
    classes, taps = valid.shape
    cores = bounds.size - 1
    shape = (classes * channels, cores)
    costs = EventCosts(
        np.zeros((batch, classes * channels, cores), np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
    )
    one = np.zeros(1, np.int64)
    fetch = Fetch(one.copy(), one.copy(), np.zeros(layout.weight_banks, np.int64))
    adders = Adders(
        one.copy(),
        np.zeros(layout.accumulator_banks, np.int64),
        one.copy(),
        one.copy(),
        np.zeros(batch, np.int64),
        one.copy(),
        one.copy(),
    )
    for border in range(classes):
        inside = np.nonzero(valid[border])[0]
        for channel in range(channels):
            event, first_row = border * channels + channel, channel * taps
            for core in range(cores):
                owned = bounds[core + 1] - bounds[core]
                if owned == 0:
                    continue
                for register in (fetch.word, fetch.cycle, fetch.given, adders.filled, adders.load, adders.fullest):
                    register[:] = 0
                for register in (adders.done, adders.groups, adders.conflicts):
                    register[:] = 0
                for tap in inside:
                    row = first_row + tap
                    stream_row(layout, sizes, outputs, bounds, row, core, fetch, adders)
                    nonzeros = sizes.share[row, core + 1] - sizes.share[row, core]
                    costs.nonzeros[event, core] += nonzeros
                    costs.adds[event, core] += owned if layout.kind == DENSE else nonzeros
                if adders.filled[0] > 0:
                    add_group(adders)
                costs.groups[event, core] = adders.groups[0]
                costs.conflicts[event, core] = adders.conflicts[0]
                costs.words[event, core] = fetch.word[0]
                for index in range(batch):
                    costs.service[index, event, core] = max(np.int64(1), fetch.cycle[0], adders.done[index])
    return costs
