"""The sparse weight memory: what each row occupies and how long an event's rows take (rules R1 to R5)."""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel, kernel

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


class Owner(NamedTuple):
    """A core and the outputs that it owns (P1)."""

    core: int
    first: int  # output
    owned: int  # outputs


class Scratch(NamedTuple):
    """What a core's fetch and adders remember while an event's rows stream by."""

    given: np.ndarray  # int64[weight banks]: fetch cycle in which a bank gave its last word
    load: np.ndarray  # int64[accumulator banks]: the group's weights in each bank
    bank: np.ndarray  # int64[outputs]: accumulator bank of each output of a core
    done: np.ndarray  # int64[batch]: t(g) of R4 for n = 1 … batch


def measure_rows(layout: RowFormat, pointers: np.ndarray, outputs: np.ndarray, bounds: np.ndarray) -> RowSizes:
    """Lay out every row on every core. A core without outputs stores nothing.

    pointers: int64[rows + 1].  outputs: uint16[nonzeros], ascending in a row.
    bounds: int64[cores + 1], first output of each core.
    """
    rows, cores = len(pointers) - 1, len(bounds) - 1
    share = np.empty((rows, cores + 1), np.int64)
    split_rows(pointers, outputs, bounds, share)
    shape = (rows, cores)
    sizes = RowSizes(share, np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int64))
    lay_rows(layout, outputs, bounds, sizes, np.zeros(cores, np.int64))
    return sizes


def measure_events(
    layout: RowFormat,
    sizes: RowSizes,
    outputs: np.ndarray,
    bounds: np.ndarray,
    valid: np.ndarray,
    channels: int,
    batch: int,
) -> EventCosts:
    """Tabulate what an event costs, per border class, input channel and core.

    valid: bool[classes, taps], the taps that stay inside the map (R5).  batch: most timesteps of an event (G4).
    """
    kinds, cores = len(valid) * channels, len(bounds) - 1
    costs = EventCosts(
        np.zeros((batch, kinds, cores), np.int32), *(np.zeros((kinds, cores), np.int32) for _ in range(5))
    )
    scratch = Scratch(
        np.zeros(layout.weight_banks, np.int64),
        np.zeros(layout.accumulator_banks, np.int64),
        np.arange(np.diff(bounds).max()) % layout.accumulator_banks,
        np.zeros(batch, np.int64),
    )
    tabulate_events(layout, sizes, outputs, bounds, valid, channels, scratch, costs)
    return costs


@kernel
def split_rows(pointers, outputs, bounds, share):
    """Where each core's share of each row begins (P1): int64[rows, cores + 1], written in place."""
    for row in range(share.shape[0]):
        at, end = pointers[row], pointers[row + 1]
        for core in range(bounds.size - 1):
            while at < end and outputs[at] < bounds[core]:
                at += 1
            share[row, core] = at
        share[row, bounds.size - 1] = end


@kernel
def lay_rows(layout, outputs, bounds, sizes, free):
    """Fill all of `sizes` but the shares, rows without gap (R2). free: int64[cores], first free word; modified."""
    for row in range(sizes.share.shape[0]):
        for core in range(bounds.size - 1):
            owned = bounds[core + 1] - bounds[core]
            if owned == 0:
                continue
            start, stop = sizes.share[row, core], sizes.share[row, core + 1]
            count = row_entries(layout.kind, layout.index_bits, outputs, start, stop, bounds[core], owned)
            words = row_words(layout, count, stop - start, owned)
            sizes.weights[row, core] = owned if layout.kind == DENSE else stop - start
            sizes.words[row, core] = words
            sizes.address[row, core] = free[core]
            free[core] += words


@inlined_kernel
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


@inlined_kernel
def row_words(layout, entries, nonzeros, owned):
    """Words that a row takes (R2)."""
    if layout.kind == BITMAP:
        return -(-(owned + nonzeros * layout.weight_bits) // layout.word_bits)
    return -(-entries // entries_per_word(layout))


@inlined_kernel
def entries_per_word(layout):
    """Whole entries that a word holds, in `dense` and `csr` (R2)."""
    return layout.word_bits // (layout.weight_bits + (layout.index_bits if layout.kind == CSR else 0))


@kernel
def tabulate_events(layout, sizes, outputs, bounds, valid, channels, scratch, costs):
    """Fill `costs`."""
    classes, taps = valid.shape
    for border in range(classes):
        for channel in range(channels):
            event = border * channels + channel
            for core in range(bounds.size - 1):
                owned = bounds[core + 1] - bounds[core]
                if owned == 0:
                    continue
                for tap in range(taps):
                    if valid[border, tap]:
                        row = channel * taps + tap
                        nonzeros = sizes.share[row, core + 1] - sizes.share[row, core]
                        costs.words[event, core] += sizes.words[row, core]
                        costs.nonzeros[event, core] += nonzeros
                        costs.adds[event, core] += owned if layout.kind == DENSE else nonzeros
                owner = Owner(core, bounds[core], owned)
                fetched, groups, conflicts = stream_event(
                    layout, sizes, outputs, owner, valid[border], channel * taps, scratch
                )
                costs.groups[event, core] = groups
                costs.conflicts[event, core] = conflicts
                for index in range(scratch.done.size):
                    costs.service[index, event, core] = max(1, fetched, scratch.done[index])


@inlined_kernel
def stream_event(layout, sizes, outputs, owner, inside, first_row, scratch):
    """Fetch an event's rows on one core and add their entries, group by group, as their words come (R3, R4).

    inside: bool[taps].  first_row: of the event's input channel.
    Returns fetch cycles, lane groups, and cycles of bank conflicts; scratch.done holds t(last).
    """
    scratch.given[:] = 0
    scratch.load[:] = 0
    scratch.done[:] = 0
    core, first, owned = owner
    cycle = ready = filled = fullest = groups = conflicts = 0
    room = layout.word_bits if layout.kind == BITMAP else entries_per_word(layout)  # of a word, in bits or in entries
    for tap in range(inside.size):
        if not inside[tap]:
            continue
        row = first_row + tap
        start, words = sizes.share[row, core], sizes.words[row, core]
        bank = sizes.address[row, core] % layout.weight_banks
        brought, needed, expected = 0, owned if layout.kind == BITMAP else 0, first
        for slot in range(owned if layout.kind == DENSE else sizes.share[row, core + 1] - start):
            local, padding = slot, 0
            if layout.kind != DENSE:
                output = np.int64(outputs[start + slot])
                local = output - first
                if layout.kind == CSR:
                    padding = (output - expected) >> layout.index_bits
                expected = output + 1
            for pad in range(padding + 1):
                needed += layout.weight_bits if layout.kind == BITMAP else 1
                while brought < needed:
                    cycle = read_word(scratch.given, bank, cycle)
                    bank = bank + 1 if bank + 1 < layout.weight_banks else 0
                    brought += room
                    words -= 1
                if pad == padding:
                    fullest = max(fullest, load_bank(scratch, local))
                ready = cycle
                filled += 1
                if filled == layout.lanes:
                    conflicts += add_group(scratch, ready, fullest)
                    filled, fullest, groups = 0, 0, groups + 1
        for _ in range(words):
            cycle = read_word(scratch.given, bank, cycle)
            bank = bank + 1 if bank + 1 < layout.weight_banks else 0
    if filled > 0:
        conflicts += add_group(scratch, ready, fullest)
        groups += 1
    return cycle, groups, conflicts


@inlined_kernel
def read_word(given, bank, cycle):
    """The cycle in which a bank gives its next word: this one, or the next if it has given one in this (R3)."""
    if cycle == 0 or given[bank] == cycle:
        cycle += 1
    given[bank] = cycle
    return cycle


@inlined_kernel
def load_bank(scratch, output):
    """A weight joins the group: how many of the group's now fall into its accumulator bank (R3)."""
    bank = scratch.bank[output]
    scratch.load[bank] += 1
    return scratch.load[bank]


@inlined_kernel
def add_group(scratch, fetched, fullest):
    """Close a lane group whose last word came in cycle `fetched` (R4); its cycles of bank conflicts per timestep."""
    most = max(1, fullest)
    for index in range(scratch.done.size):
        scratch.done[index] = max(scratch.done[index], fetched - 1) + most * (index + 1)
    scratch.load[:] = 0
    return most - 1
