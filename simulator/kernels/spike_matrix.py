"""What published accelerators count in the matrix of a layer's spikes, which is never built whole (simulator/peers)."""

from typing import NamedTuple

import numpy as np

from .compiler import inlined_kernel, inner_kernel, kernel

TILE_ROWS, TILE_COLUMNS = 256, 16  # of Prosperity; a row of a tile is the bits of a 16-bit code
CODES = 1 << TILE_COLUMNS
ARRAY_COLUMNS = 8  # of PTB's array; what falls on them at once is the bits of a byte
FULL = (1 << ARRAY_COLUMNS) - 1
SPIKES, LEFT, EXACT, SEARCHED = range(4)  # of `count_tiles`
COUNTS = 4


class SpikeMatrix(NamedTuple):
    """Spikes as im2col lays them out: a row for each place and timestep, a column for each input channel and tap.

    The row of (place, time) is what the window at that place sees of maps[time], its column input * taps + tap.
    """

    maps: np.ndarray  # uint8[timesteps, height, width, inputs], 0 or 1
    window: tuple[int, int]  # height and width of the kernel
    stride: int
    pads: tuple[int, int]  # rows of zeros above the map, columns of zeros to its left
    wide: int  # places side by side
    places: int


class Tile(NamedTuple):
    """Room for the tiles of 256 rows."""

    codes: np.ndarray  # uint16[column tiles, 256]: the rows of each tile
    marks: np.ndarray  # int64[65536]: last tile, counted from 1, in which a code was met
    distinct: np.ndarray  # int64[17, 256]: different codes of a tile, by their number of ones
    filled: np.ndarray  # int64[17]: how many


@inlined_kernel
def _ones(code):
    """Ones in 16 bits."""
    code = code - ((code >> 1) & 0x5555)
    code = (code & 0x3333) + ((code >> 2) & 0x3333)
    code = (code + (code >> 4)) & 0x0F0F
    return (code + (code >> 8)) & 0x1F


@inner_kernel
def _fill_row(matrix, place, time, row):
    """row: uint8[columns], written: what the window at `place` sees of maps[time]."""
    maps = matrix.maps
    high, wide, inputs = maps.shape[1], maps.shape[2], maps.shape[3]
    taps = matrix.window[0] * matrix.window[1]
    top = place // matrix.wide * matrix.stride - matrix.pads[0]
    left = place % matrix.wide * matrix.stride - matrix.pads[1]
    for tap in range(taps):
        y, x = top + tap // matrix.window[1], left + tap % matrix.window[1]
        inside = 0 <= y < high and 0 <= x < wide
        for channel in range(inputs):
            row[channel * taps + tap] = maps[time, y, x, channel] if inside else 0


@inner_kernel
def _best_prefix(code, ones, tile):
    """Most ones of a code in the tile that are all among those of `code`, but fewer; 0 where there is none."""
    for fewer in range(ones - 1, 0, -1):
        for index in range(tile.filled[fewer]):
            if tile.distinct[fewer, index] & ~code == 0:
                return fewer
    return 0


@inner_kernel
def _count_tile(tile, column, rows, stamp, counts):
    """Adds a tile to the counts of `count_tiles`; stamp: its number, which no tile had before."""
    tile.filled[:] = 0
    for index in range(rows):
        code = np.int64(tile.codes[column, index])
        if code == 0:
            continue
        ones = _ones(code)
        counts[SPIKES] += ones
        if ones > 1:
            counts[SEARCHED] += 1
        if tile.marks[code] != stamp:  # its prefix is found below, once all codes are known
            tile.marks[code] = stamp
            tile.distinct[ones, tile.filled[ones]] = code
            tile.filled[ones] += 1
            if ones == 1:
                counts[LEFT] += 1
        elif ones > 1:
            counts[EXACT] += 1
        else:
            counts[LEFT] += 1  # of rows with one spike none has a prefix, not even an equal one
    for ones in range(2, TILE_COLUMNS + 1):
        for index in range(tile.filled[ones]):
            counts[LEFT] += ones - _best_prefix(tile.distinct[ones, index], ones, tile)


@kernel
def count_tiles(matrix, row, tile, counts):
    """Product sparsity of a matrix in tiles of 256 rows and 16 columns; rows by place, then by timestep.

    In a tile a row with two spikes or more may start from the result of another: the prefix, a row whose spikes are
    all among its own, equal ones only above it, and of these one with most spikes.
    row: uint8[columns], room.  tile: room; its marks are 0, codes uint16[ceil(columns / 16), 256].
    counts: int64[4], added to: spikes; spikes that are left without those of prefixes; rows of which none is left;
    rows with two spikes or more, which are those that a prefix is searched for.
    """
    steps, columns = matrix.maps.shape[0], len(row)
    tiles, rows = tile.codes.shape[0], matrix.places * matrix.maps.shape[0]
    stamp = 0
    for first in range(0, rows, TILE_ROWS):
        some = min(TILE_ROWS, rows - first)
        for index in range(some):
            _fill_row(matrix, (first + index) // steps, (first + index) % steps, row)
            for column in range(tiles):
                code = 0
                for at in range(column * TILE_COLUMNS, min(columns, (column + 1) * TILE_COLUMNS)):
                    code = code << 1 | int(row[at])
                tile.codes[column, index] = code
        for column in range(tiles):
            stamp += 1
            _count_tile(tile, column, some, stamp, counts)


@inner_kernel
def _pair(masks, count):
    """Entries that are left when each in turn takes in the first one behind it with which it shares no bit.

    masks: uint8[…], the first `count` of them neither 0 nor FULL; those taken in become FULL.
    """
    length = count
    for index in range(count - 1):
        if masks[index] == FULL:
            continue
        for other in range(index + 1, count):
            if masks[index] & masks[other] == 0:
                masks[other] = FULL  # shares a bit with everything
                length -= 1
                break
    return length


@kernel
def pair_inputs(matrix, row, masks):
    """Steps that PTB's array takes over a matrix whose timesteps are time windows.

    Rows, in the order of windows, then of places, lie on 8 columns: as many successive ones on each, padded with
    silent ones. Of the 8 rows that are on at once each input takes a step if it spikes in any; the first input behind
    it that spikes in none of the same shares its step (StSAP).
    row, masks: uint8[columns], room.
    """
    rows = matrix.places * matrix.maps.shape[0]
    each = (rows + ARRAY_COLUMNS - 1) // ARRAY_COLUMNS
    length = 0
    for first in range(each):
        masks[:] = 0
        for column in range(ARRAY_COLUMNS):
            index = column * each + first
            if index >= rows:
                break
            _fill_row(matrix, index % matrix.places, index // matrix.places, row)
            for at in range(len(row)):
                masks[at] |= row[at] << column
        partial = 0
        for at in range(len(masks)):
            mask = masks[at]
            if mask == FULL:
                length += 1
            elif mask:
                masks[partial] = mask
                partial += 1
        length += _pair(masks, partial)
    return length


@kernel
def share_out(spikes, loads):
    """Spikes of the busiest unit when each row goes to the unit that has least so far (SATO).

    spikes: int64[rows].  loads: int64[units], zeros; then the spikes of each.
    """
    for index in range(len(spikes)):
        if spikes[index] == 0:
            continue
        least = 0
        for unit in range(1, len(loads)):
            if loads[unit] < loads[least]:
                least = unit
        loads[least] += spikes[index]
    most = loads[0]
    for unit in range(1, len(loads)):
        most = max(most, loads[unit])
    return most
