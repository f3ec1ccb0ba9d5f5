"""Eyeriss, PTB, SATO and MINT, as Prosperity's authors model them for comparison.

Source: github.com/dubcyfor3/Prosperity, simulator/baselines.py at 6ee1c6f (MIT). These are that paper's models of the
four, not their own authors'. All leave attention out; the neurons behind it count.
"""

import math

import numpy as np

from ..kernels.spike_matrix import pair_inputs, share_out
from .cost import Cost, up
from .workload import Matrix, Work

UNITS = 128  # of SATO and MINT
EYERISS_ROWS, EYERISS_COLUMNS = 14, 12
PTB_ROWS, PTB_WINDOW = 16, 4  # outputs side by side, and timesteps that an array takes at once
DRAM_BITS_PER_CYCLE = 1024
WEIGHT_BITS = 8
PTB_FIRST_BITS = 16 * 8 * (8 + 4)  # fetched before PTB's array of 16 x 8 starts: weights of 8, spikes of 4 bits


def eyeriss(work: Work) -> Cost:
    """A dense array of 14 x 12: ceil(N / 12) (K M // 14); neurons (T // 12) n // 14, none below 12 timesteps.

    From shapes alone.
    """
    neurons = work.timesteps // EYERISS_COLUMNS * work.neurons // EYERISS_ROWS
    if not isinstance(work.operand, Matrix):
        return Cost(0, neurons)
    matrix = work.operand
    passes = up(matrix.outputs, EYERISS_COLUMNS)
    return Cost(passes * (matrix.columns * matrix.rows // EYERISS_ROWS), neurons)


def sato(work: Work) -> Cost:
    """128 units, each row for the one with the fewest spikes so far, rows in the order of time: most spikes x N.

    Neurons take n (log2 T + 1) cycles, which need not be a whole number.

    From the spikes of each row, timestep by timestep.
    """
    neurons = work.neurons * (_log2(work.timesteps) + 1)
    if not isinstance(work.operand, Matrix):
        return Cost(0, neurons)
    matrix = work.operand
    most = share_out(matrix.spikes_by_row.reshape(-1), np.zeros(UNITS, np.int64))
    return Cost(int(most) * matrix.outputs, neurons)


def _log2(steps: int) -> float:
    """Whole where it is."""
    return steps.bit_length() - 1 if steps & (steps - 1) == 0 else math.log2(steps)


def mint(work: Work) -> Cost:
    """128 units: spikes x ceil(N / 128); neurons n T 3 // 16.

    From the number of spikes.
    """
    neurons = _window_neurons(work)
    if not isinstance(work.operand, Matrix):
        return Cost(0, neurons)
    return Cost(work.operand.spikes * up(work.operand.outputs, UNITS), neurons)


def ptb(work: Work) -> Cost:
    """A 16 x 8 array with time windows of 4: steps x ceil(N / 16) x 4 + places x 32; neurons n T 3 // 16.

    Time is padded to a power of two; an input spikes in a window where it does in one of its timesteps. On one token
    the array's columns are the windows, and a step is an input that spikes; else see `pair_inputs`. DRAM moves each
    tensor once, at 1024 bits per cycle, while the array computes.
    The public code stops where T < 4, and where windows x places are no multiple of 8; here silent ones fill up.

    From the inputs that spike in each time window.
    """
    neurons = _window_neurons(work)
    if not isinstance(work.operand, Matrix):
        return Cost(0, neurons)
    matrix = work.operand
    compute = _ptb_steps(matrix) * up(matrix.outputs, PTB_ROWS) * PTB_WINDOW + matrix.places * PTB_ROWS * 2
    spikes, made = matrix.rows * matrix.columns, matrix.rows * matrix.outputs
    bits = spikes + matrix.columns * matrix.outputs * WEIGHT_BITS + made
    rest = (bits - PTB_FIRST_BITS) // DRAM_BITS_PER_CYCLE
    return Cost(PTB_FIRST_BITS // DRAM_BITS_PER_CYCLE + max(compute, rest), neurons, bits)


def _ptb_steps(matrix: Matrix) -> int:
    """Steps of the array."""
    padded = max(PTB_WINDOW, 1 << (matrix.timesteps - 1).bit_length())
    silent = np.zeros((padded - matrix.timesteps, *matrix.maps.shape[1:]), np.uint8)
    steps = np.concatenate([matrix.maps, silent])
    windows = steps.reshape(-1, PTB_WINDOW, *steps.shape[1:]).max(axis=1)
    if matrix.connected or (matrix.window.taps == 1 and matrix.maps.shape[1:3] == (1, 1)):
        return int(windows.any(axis=0).sum())
    row, masks = np.empty((2, matrix.columns), np.uint8)
    return int(pair_inputs(matrix.in_windows(windows), row, masks))


def _window_neurons(work: Work) -> int:
    """Cycles of neurons in PTB and MINT: three operations per timestep, 16 at a time."""
    return work.neurons * work.timesteps * 3 // 16
