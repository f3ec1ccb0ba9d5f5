"""Prosperity (Wei et al., HPCA 2025), product- and bit-sparse, as its public simulator computes it.

Source: github.com/dubcyfor3/Prosperity, simulator/simulator.py at 6ee1c6f (MIT). A product is cut into tiles of 256
rows, 16 columns and 128 outputs, rows by place and then by timestep. A cycle adds 128 weights for a spike that is left,
or passes on the result of an equal row. At the same time prefixes are searched, a row of two spikes or more per cycle,
and spikes of rows counted, 8 rows per cycle; the longer of both counts.

The public code computes a layer in two ways, on a GPU and on a CPU, which differ in what is fetched how often and in
how often rows are counted. Published times, densities and traffic of Prosperity are the GPU's, attention excepted,
which only the CPU has; those of bit sparsity are the CPU's. Here likewise: `_streamed` and `_tiled`.
"""

from ..kernels.spike_matrix import TILE_COLUMNS, TILE_ROWS
from .cost import Cost, up
from .workload import Matrix, Mixing, Work

ADDERS = 128  # outputs of a tile
NEURON_UNITS = 32
POPULATION_COUNTERS = 8
WEIGHT_BITS = 8
DRAM_BITS_PER_CYCLE = 1024  # 64 GB/s at 500 MHz
SPIKE_BUFFER_BITS = TILE_ROWS * TILE_COLUMNS
WEIGHT_BUFFER_BITS = TILE_COLUMNS * ADDERS * WEIGHT_BITS


class Prosperity:
    """Prosperity on an image; product: product sparsity, else only silent inputs are skipped.

    stored: whether the spikes of the layer before lie in the buffer; the model takes layers for a chain.
    """

    def __init__(self, product: bool) -> None:
        self.product = product
        self.stored = False

    def cost(self, work: Work) -> Cost:
        """Of the next layer: its product or attention, and what its neurons take longer."""
        if isinstance(work.operand, Mixing):
            attend = self._attention if work.operand.form == "product" else self._masked_attention
            cycles, bits = attend(work.operand)
        else:
            multiply = self._streamed if self.product else self._tiled
            cycles, bits = multiply(work.operand, self.stored, False)
        if not work.neurons:
            return Cost(cycles, 0, bits)
        neuron_cycles, written = self._neurons(work, cycles)
        return Cost(cycles, neuron_cycles, bits + written)

    def _streamed(self, matrix: Matrix, stored: bool, weights_stored: bool) -> tuple[int, int]:
        """(cycles, DRAM bits) of a product, all of which is fetched for each tile of rows or outputs: the GPU's way."""
        rows, columns, outputs = matrix.rows, matrix.columns, matrix.outputs
        wide = up(outputs, ADDERS)
        bits = columns * outputs * WEIGHT_BITS * up(rows, TILE_ROWS) + rows * columns * wide // matrix.taps
        compute = self._compute(matrix, rows // POPULATION_COUNTERS)
        return _lasts(compute, bits, _first_tile(matrix, stored, weights_stored)), bits

    def _tiled(self, matrix: Matrix, stored: bool, weights_stored: bool) -> tuple[int, int]:
        """(cycles, DRAM bits) of a product, of which what fits the buffers is fetched once: the CPU's way.

        stored, weights_stored: what is in the buffers from the start.
        """
        high, deep = _cut(matrix.rows, TILE_ROWS), _cut(matrix.columns, TILE_COLUMNS)
        wide = up(matrix.outputs, ADDERS)
        bits = 0
        if not stored:
            once = matrix.rows * matrix.columns <= SPIKE_BUFFER_BITS
            sizes = ((rows * columns, high[rows] * deep[columns]) for rows in high for columns in deep)
            bits += sum(size // matrix.taps * count for size, count in sizes) * (1 if once else wide)
        if not weights_stored:
            weights = matrix.columns * matrix.outputs * WEIGHT_BITS
            once = weights <= WEIGHT_BUFFER_BITS or matrix.columns <= TILE_COLUMNS
            bits += weights * (1 if once else up(matrix.rows, TILE_ROWS))
        counted = sum(rows // POPULATION_COUNTERS * high[rows] for rows in high) * up(matrix.columns, TILE_COLUMNS)
        return _lasts(self._compute(matrix, counted), bits, _first_tile(matrix, stored, weights_stored)), bits

    def _compute(self, matrix: Matrix, counting: int) -> int:
        """Cycles of a product without the memory; counting: those in which rows are counted."""
        wide = up(matrix.outputs, ADDERS)
        if not self.product:
            return matrix.spikes * wide
        tiles = matrix.tiles
        return max(tiles.left + tiles.exact, tiles.searched + counting) * wide

    def _neurons(self, work: Work, cycles: int) -> tuple[int, int]:
        """(cycles that they add to those of the layer before, DRAM bits): 32 at a time, two cycles per timestep.

        Behind a product only those of its last tile come after it; behind attention all that it does not hide.
        """
        steps, bits = work.timesteps, work.neurons * work.timesteps
        compute = up(work.neurons, NEURON_UNITS) * steps * 2
        last = up(TILE_ROWS * ADDERS // steps, NEURON_UNITS) * steps * 2
        added = min(last, compute)
        self.stored = bits < SPIKE_BUFFER_BITS
        written = 0 if self.stored else bits
        if isinstance(work.operand, Mixing):
            whole = compute + max(0, written // DRAM_BITS_PER_CYCLE - compute)
            added = max(added, whole - cycles)
        return added, written

    def _attention(self, mixing: Mixing) -> tuple[int, int]:
        """(cycles, DRAM bits): two small products per timestep and head, one after the other."""
        cycles = bits = 0
        for first, second in mixing.products:
            kept = first.rows * first.outputs * WEIGHT_BITS < WEIGHT_BUFFER_BITS  # what the second takes for weights
            if not kept:
                bits += first.columns * first.outputs  # as the public code has it: those of the first, a bit each
            for matrix, weights_stored in ((first, self.stored), (second, kept)):
                took, moved = self._tiled(matrix, self.stored, weights_stored)
                cycles, bits = cycles + took, bits + moved
        return cycles, bits

    def _masked_attention(self, mixing: Mixing) -> tuple[int, int]:
        """(cycles, DRAM bits) of Spike-Driven Transformer's: two passes of 128 channels per cycle, neurons between."""
        steps, width = mixing.timesteps, mixing.heads * mixing.head_width
        operations = steps * mixing.tokens * width
        read = 0 if self.stored else 3 * operations
        first = 0 if self.stored else 3 * mixing.tokens * mixing.head_width
        neurons = up(width, NEURON_UNITS) * steps * 2
        if steps * width >= SPIKE_BUFFER_BITS:
            neurons += max(0, steps * width // DRAM_BITS_PER_CYCLE - neurons)
        compute = max(operations // ADDERS, neurons) + operations // ADDERS
        self.stored = operations < SPIKE_BUFFER_BITS
        bits = read + (0 if self.stored else operations)
        return _lasts(compute, bits, first), bits


def _cut(size: int, tile: int) -> dict[int, int]:
    """Sizes of the tiles of a side -> how many there are."""
    return {extent: count for extent, count in ((tile, size // tile), (size % tile, 1)) if extent and count}


def _first_tile(matrix: Matrix, stored: bool, weights_stored: bool) -> int:
    """Bits that are fetched before anything starts."""
    deep = min(TILE_COLUMNS, matrix.columns)
    weights = 0 if weights_stored else deep * min(ADDERS, matrix.outputs) * WEIGHT_BITS
    return weights + (0 if stored else deep * min(TILE_ROWS, matrix.rows))


def _lasts(compute: int, bits: int, first: int) -> int:
    """Cycles of a layer that computes while all but its first bits come and go."""
    rest = (bits - first) // DRAM_BITS_PER_CYCLE
    return first // DRAM_BITS_PER_CYCLE + max(compute, rest)
