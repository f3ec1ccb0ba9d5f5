"""Rows of weights: words, banks, groups, lanes and accumulator banks in cases built for each (rules R1 to R5, I1).

Worked out by hand as in test_gates; a row's causes are demanded beside its cycles.
"""

import numpy as np
import pytest
from handmade import (
    ARRIVE,
    CLOSE,
    END,
    LOOK_UP,
    PERIOD,
    ROW,
    WAY,
    conv_trace,
    expect_cycles,
    linear_trace,
    pixel_trace,
    quick,
    up,
)
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run

SERVICE = (Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH, Cause.CONTROL)


def expect_service(trace, chip, compute, conflict, fetch, control=0, sweep=1):
    """One event on one core: its service and the causes of it; the end of the token is CONTROL, too."""
    service = compute + conflict + fetch + control
    expect_cycles(trace, chip, ARRIVE + WAY + service + END + sweep + CLOSE)
    assert run(trace, chip).causes[0, SERVICE].tolist() == [compute, conflict, fetch, control + END]


def row_of(*outputs, owned=16):
    """One event, whose row has weights for these outputs."""
    return linear_trace([[int(output in outputs)] for output in range(owned)], [[[1]]])


# ---- lanes, banks, words ----


@pytest.mark.parametrize("lanes", [1, 3, 4, 8, 15, 16, 32])
def test_lanes(lanes):
    expect_service(ROW, quick(core__lanes=lanes), up(16, lanes), 0, 0)


@pytest.mark.parametrize("banks", [1, 3, 4, 8, 16])
def test_accumulator_banks(banks):
    """16 outputs at once: the fullest bank has ceil(16 / banks) of them."""
    expect_service(ROW, quick(core__accumulator_banks=banks), 1, up(16, banks) - 1, 0)


@pytest.mark.parametrize("banks", [1, 2, 3, 5, 6])
def test_weight_banks(banks):
    """16 weights, 3 to a word of 24 bits: 6 words, so many in a cycle; the one group needs the last."""
    expect_service(ROW, quick(core__weight_banks=banks), 1, 0, up(6, banks) - 1)


@pytest.mark.parametrize("bits", [12, 15, 16, 24, 64, 128])
def test_weight_word_bits(bits):
    words = up(16, bits // 8)
    expect_service(ROW, quick(core__weight_banks=1, core__weight_word_bits=bits), 1, 0, words - 1)


# ---- fetch and adders together (R3, R4) ----

SEVEN = linear_trace(np.ones((7, 1), int), [[[1]]])
SEVEN_WORDS = {"core__weight_word_bits": 12, "core__weight_banks": 2, "core__lanes": 3}  # one weight to a word


def test_the_row_of_the_rules():
    """f = 2, 3, 4 of F = 4: fetch, compute, compute, compute."""
    expect_service(SEVEN, quick(**SEVEN_WORDS), 3, 0, 1)


def test_conflicts_hide_the_fetch():
    """2 accumulator banks: m = 2, 2, 1 and t = 1 + 2, 5, 6."""
    expect_service(SEVEN, quick(**SEVEN_WORDS, core__accumulator_banks=2), 3, 2, 1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_timesteps_hide_the_fetch(n):
    """t = 1 + n, then n per group as soon as n >= f(g) - f(g-1)."""
    trace = linear_trace(np.ones((7, 1), int), np.ones((n, 1, 1), int))
    expect_service(trace, quick(**SEVEN_WORDS, core__time_batch=n), 3 * n, 0, 1, sweep=n)


@pytest.mark.parametrize("banks", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("lanes", [1, 2, 4, 6])
@pytest.mark.parametrize("conflicts", [False, True])
def test_fetch_bound_lane_bound_and_mixed(banks, lanes, conflicts):
    """12 weights, 2 to a word: 6 words. Group g needs its last weight's word; t(g) by R4."""
    trace = linear_trace(np.ones((12, 1), int), [[[1]]])
    chip = quick(
        core__weight_banks=banks,
        core__lanes=lanes,
        core__weight_word_bits=16,
        core__accumulator_banks=1 if conflicts else 16,
    )
    added, groups = 0, 12 // lanes
    each = lanes if conflicts else 1  # m
    for group in range(groups):
        read = up(up((group + 1) * lanes, 2), banks)  # f
        added = max(added, read - 1) + each
    fetch = added - groups * each
    expect_service(trace, chip, groups, groups * (each - 1), fetch)


def test_a_row_may_start_in_any_bank():
    """Channel 1's row follows channel 0's 7 words, so it begins in bank 1 of 2; it takes as long."""
    trace = linear_trace(np.ones((7, 2), int), [[[0, 1]]])
    expect_service(trace, quick(**SEVEN_WORDS), 3, 0, 1)


@pytest.mark.parametrize(
    ("banks", "fetch"),
    [
        (1, 4),
        (2, 2),  # words 4 5, 7 8
        (3, 2),  # word 7 lies in the bank of word 4
        (4, 2),  # word 8 lies in the bank of word 4: 4 banks, and yet two cycles for four words
        (5, 1),
    ],
)
def test_words_of_a_convolution_meet_in_a_bank(banks, fetch):
    """2 x 2 map, kernel 3, a word per row: the event in the last token reads taps 4, 5, 7, 8 and closes all outputs."""
    trace = conv_trace(np.ones((3, 1, 3, 3), int), [[[0], [0], [0], [1]]], 2)
    chip = quick(core__weight_banks=banks, core__accumulator_banks=3)
    service = fetch - 1 + 4  # one group of 12 weights, four of them in each accumulator bank
    expect_cycles(trace, chip, ARRIVE + WAY + 3 * PERIOD + service + END + 4 * 1 + CLOSE)
    assert run(trace, chip).causes[0, SERVICE].tolist() == [1, 3, fetch - 1, 4 * END]


# ---- formats (R1, R2) ----


@pytest.mark.parametrize(
    ("form", "words", "groups"),
    [("dense", up(16, 3), 1), ("bitmap", up(16 + 2 * 8, 24), 1), ("csr", up(2, 2), 1)],
)
def test_weight_format(form, words, groups):
    """2 of 16 weights, one bank of 24 bits."""
    expect_service(row_of(0, 1), quick(core__weight_format=form, core__weight_banks=1), groups, 0, words - 1)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_index_bits(bits):
    """The only weight is output 15: floor(15 / 2^bits) padding entries before it, which take lanes."""
    padding = 15 // 2**bits
    trace = row_of(15)
    chip = quick(core__weight_format="csr", core__index_bits=bits, core__lanes=1, core__weight_word_bits=12)
    expect_service(trace, chip, padding + 1, 0, 0)
    assert run(trace, chip).count(Action.WEIGHT_READ) == padding + 1
    assert run(trace, chip).count(Action.ADD) == 1


@pytest.mark.parametrize("banks", [1, 2, 3])
@pytest.mark.parametrize("lanes", [1, 2, 3, 5])
def test_the_last_word_of_csr_may_be_partly_filled(banks, lanes):
    """5 entries, two to a word of 24 bits: the third word holds one."""
    added = 0
    for last in range(min(lanes, 5), 5 + lanes, lanes):
        added = max(added, up(up(min(last, 5), 2), banks) - 1) + 1
    groups = up(5, lanes)
    chip = quick(core__weight_format="csr", core__weight_banks=banks, core__lanes=lanes)
    expect_service(row_of(0, 1, 2, 3, 4), chip, groups, 0, added - groups)


@pytest.mark.parametrize("bits", [12, 16, 20, 23, 24, 25, 32])
def test_weights_of_a_bitmap_cross_the_borders_of_words(bits):
    """16 bits, then weights of 8 bits: entry i ends with bit 16 + 8 (i + 1); one lane, one bank."""
    added = 0
    for entry in range(3):
        added = max(added, up(16 + 8 * (entry + 1), bits) - 1) + 1
    words = up(16 + 3 * 8, bits)
    chip = quick(core__weight_format="bitmap", core__weight_word_bits=bits, core__weight_banks=1, core__lanes=1)
    expect_service(row_of(2, 7, 15), chip, 3, 0, max(words, added) - 3)
    assert run(row_of(2, 7, 15), chip).count(Action.WEIGHT_READ) == words


@pytest.mark.parametrize("owned", [16, 24, 25, 60])
def test_a_bitmap_of_zeros_is_fetched_all_the_same(owned):
    words = up(owned, 24)
    trace = row_of(owned=owned)
    chip = quick(core__weight_format="bitmap", core__weight_banks=1, core__sweep_width=64)
    expect_service(trace, chip, 0, 0, words)


def test_an_empty_row_takes_a_cycle():
    chip = quick(core__weight_format="csr")
    expect_service(row_of(), chip, 0, 0, 0, control=1)
    assert run(row_of(), chip).count(Action.WEIGHT_READ) == 0


# ---- input convolution (I1) ----


@pytest.mark.parametrize("macs", [1, 3, 8, 15, 16])
@pytest.mark.parametrize("sweep", [1, 2])
def test_input_macs(macs, sweep):
    """4 pixels, done once; 4 outputs of 16 channels swept at each of 3 timesteps; a look-up before, CLOSE behind."""
    chip = quick(core__input_macs=macs, core__sweep_width=16 // sweep)
    expect_cycles(pixel_trace(3), chip, ARRIVE + LOOK_UP + 4 * up(16, macs) + 3 * 4 * sweep + CLOSE)


@pytest.mark.parametrize("banks", [1, 2, 6])
def test_input_fetch(banks):
    chip = quick(core__input_macs=16, core__weight_banks=banks)
    expect_cycles(pixel_trace(1), chip, ARRIVE + LOOK_UP + 4 * up(6, banks) + 4 + CLOSE)
    assert run(pixel_trace(1), chip).causes[0, Cause.WEIGHT_FETCH] == 4 * (up(6, banks) - 1)
