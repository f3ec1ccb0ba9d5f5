"""Token unit, attention units, pools and DRAM: each one's own parameter moves the cycles as its formula says.

Worked out by hand as in test_gates (rules T, A, S, D).
"""

import numpy as np
import pytest
from handmade import (
    ARRIVE,
    CLOSE,
    END,
    HEADS,
    PERIOD,
    READ,
    ROW,
    SILENT,
    WAY,
    D,
    attention_trace,
    expect_cycles,
    linear_trace,
    pool_trace,
    quick,
    select_trace,
    silent_steps,
    stack,
    up,
)
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run

# ---- token unit (T) ----

TOKENS = 8
GATHERED = silent_steps(TOKENS, 0, outputs=2)  # T1: to the token unit, one column east of the core


@pytest.mark.parametrize("width", [1, 3, 4, 8])
def test_scan_width(width):
    """Only token 7 is left: 8 bits are scanned in front of it; before, 8 bits of the bitmap were written (T2, T4)."""
    trace, scan = select_trace("random", TOKENS, 1, then=1), up(TOKENS, width)
    chip = quick(token_unit__scan_width=width)
    expect_cycles(trace, chip, GATHERED + scan, layer=0)
    expect_cycles(trace, chip, scan + silent_steps(1, 1), layer=1)
    assert run(trace, chip).causes[1, Cause.FIFO_EMPTY] == scan + READ + SILENT


@pytest.mark.parametrize(("order", "scans"), [("time_outer", 3), ("time_inner", 1)])
@pytest.mark.parametrize("width", [1, 3, 8])
def test_time_inner_scans_once(order, scans, width):
    """3 timesteps of token 7: each scans the bitmap from its start, or the first alone."""
    trace, scan = select_trace("random", TOKENS, 1, then=1, timesteps=3), up(TOKENS, width)
    chip = quick(token_unit__scan_width=width, core__order=order)
    expect_cycles(trace, chip, scans * scan + silent_steps(3, 1), layer=1)


@pytest.mark.parametrize("width", [1, 3, 8])
def test_a_producer_scans_its_own_tokens(width):
    """Cut by tokens, tokens 4 to 7 lie on core 1: 4 bits stand in front of its token 7."""
    trace = select_trace("random", TOKENS, 1, then=2)
    chip = quick(mesh__columns=2, token_unit__scan_width=width, core__partition="token")
    expect_cycles(trace, chip, up(TOKENS // 2, width) + silent_steps(1, 1), layer=2)


def test_gate_does_not_scan():
    trace = select_trace("random", TOKENS, 1, then=1)
    for policy in ("gate", "off"):
        expect_cycles(trace, quick(token_unit__policy=policy), silent_steps(TOKENS, 1), layer=1)


@pytest.mark.parametrize("comparators", [1, 2, 3, 8])
def test_comparators(comparators):
    chip = quick(token_unit__comparators=comparators, token_unit__scan_width=TOKENS)
    expect_cycles(select_trace("rate", TOKENS, 3), chip, GATHERED + TOKENS * up(TOKENS, comparators) + 1)


@pytest.mark.parametrize(("form", "entries"), [("csr", 19), ("dense", 20)])
@pytest.mark.parametrize("macs", [1, 2, 4, 7, 19, 20, 64])
def test_macs(form, entries, macs):
    """A cycle to read the weights; per token the hidden ones, then the 5 scores, then its rank; the bitmap."""
    chip = quick(token_unit__macs=macs, token_unit__comparators=8, token_unit__scan_width=8, core__weight_format=form)
    scored = 1 + TOKENS * (up(entries, macs) + up(5, macs))
    trace = select_trace("learned", TOKENS, 3)
    expect_cycles(trace, chip, ARRIVE + GATHERED + scored + TOKENS + 1)
    assert run(trace, chip).critical[0].cycles == max(scored + TOKENS + 1, TOKENS * PERIOD)  # K1: T2, or the encoder


# ---- attention (A) ----


def attended(tokens, products, sweep):
    """A3 on one unit, two columns east of the core: its heads one after the other, a read before, a write behind."""
    return silent_steps(tokens, 0, outputs=3) + HEADS * (products + sweep) + 2


@pytest.mark.parametrize("width", [256, 64, 50, 8, 1])
def test_attention_width(width):
    """Two products of 8 x 8 x D each, then 8 x D neurons, 16 at a time."""
    chip = quick(attention__width=width, attention__sweep_width=16, attention__order="qk_first")
    expect_cycles(attention_trace(8), chip, attended(8, 2 * up(8 * 8 * D, width), 2))


@pytest.mark.parametrize("width", [256, 64, 50, 8, 1])
@pytest.mark.parametrize("tokens", [2, 8])
def test_kv_first(width, tokens):
    """K^TV, then Q(K^TV): tokens x D x D each, whatever auto would choose."""
    chip = quick(attention__width=width, attention__sweep_width=64, attention__order="kv_first")
    expect_cycles(attention_trace(tokens), chip, attended(tokens, 2 * up(tokens * D * D, width), 1))


@pytest.mark.parametrize("sweep_width", [32, 31, 8, 1])
def test_attention_sweep_width(sweep_width):
    chip = quick(attention__width=256, attention__sweep_width=sweep_width, attention__order="qk_first")
    expect_cycles(attention_trace(8), chip, attended(8, 2, up(8 * D, sweep_width)))


@pytest.mark.parametrize(("tokens", "products"), [(3, 3 * 3 * D), (4, 4 * 4 * D), (5, 5 * D * D), (9, 9 * D * D)])
def test_attention_order_auto(tokens, products):
    """More tokens than the head is wide: K^TV first, which takes tokens x D x D; else tokens x tokens x D."""
    chip = quick(attention__width=1, attention__sweep_width=64)
    expect_cycles(attention_trace(tokens), chip, attended(tokens, 2 * products, 1))


def test_attention_order_gives_in_where_accumulators_are_missing():
    """9 tokens: 9 + 9 x D accumulators are there, D x D + 9 x D are not."""
    for words, products in ((D * D + 9 * D - 1, 9 * 9 * D), (D * D + 9 * D, 9 * D * D)):
        chip = quick(attention__width=1, attention__sweep_width=64, attention__accumulator_words=words)
        expect_cycles(attention_trace(9), chip, attended(9, 2 * products, 1))


def test_two_units_share_the_heads():
    """A head each; the second unit is one column further, and its end of a step is sent one later."""
    chip = quick(attention__units=2, attention__width=1, attention__order="qk_first", attention__sweep_width=64)
    period = READ + SILENT + 2 * END
    arrived = silent_steps(1, 0, outputs=4) + END + 7 * period
    expect_cycles(attention_trace(8), chip, arrived + 2 * 8 * 8 * D + 1 + 2)


# ---- pool (S1) ----


@pytest.mark.parametrize("width", [1, 3, 8, 16])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_pool(width, columns):
    """2 timesteps x 5 tokens x the words of the widest share of 16 channels; the last write, the end."""
    chip = quick(core__sweep_width=width, mesh__columns=columns)
    expect_cycles(pool_trace(2, 5, 16), chip, 2 * 5 * up(up(16, columns), width) + CLOSE)


# ---- DRAM (D) ----


@pytest.mark.parametrize(
    ("bandwidth", "latency", "burst", "cycles"),
    [
        (1.0, 0.0, 1, 9),  # 18 bytes at 2 bytes per cycle of 500 MHz
        (0.5, 0.0, 1, 18),
        (1.0, 0.0, 32, 16),
        (1.0, 0.0, 64, 32),
        (0.3, 0.0, 1, 30),  # exactly 30: 18 / 0.6, which a binary float would round up
        (1.0, 50.0, 1, 25 + 9),
        (1.0, 50.1, 1, 26 + 9),
    ],
)
def test_dram(bandwidth, latency, burst, cycles):
    """The row's 6 words of 24 bits must be there before the layer starts, in the cycle after (D1, D4)."""
    chip = quick(dram__bandwidth_gb_s=bandwidth, dram__latency_ns=latency, dram__burst_bytes=burst)
    expect_cycles(ROW, chip, cycles + 1 + WAY + 1 + END + 1 + CLOSE)
    assert run(ROW, chip).causes[0, Cause.DRAM] == cycles + 1
    assert run(ROW, chip).counts[0, Action.DRAM_READ] == up(18, burst) * burst


BYTES = 16 * 6 * 3  # 16 rows of 16 weights, 6 words of 24 bits each
TRANSFER = BYTES // 2
WORK = silent_steps(1, 1)


def holding(layers):
    """Room for the weights of so many layers, and a channel that brings one of them in TRANSFER cycles."""
    return quick(core__weight_kib=layers * BYTES / 1024, dram__bandwidth_gb_s=1.0, dram__burst_bytes=1)


@pytest.mark.parametrize(
    ("layers", "held", "waiting"),
    [
        (2, 2, TRANSFER - WORK),  # both fit: the second came on while the first waited for its start, and worked
        (2, 1, TRANSFER + 1),  # it waits for the first layer's end
        (3, 2, TRANSFER + 1 - WORK),  # two of three: allowed from the start of the layer before
        (3, 1, TRANSFER + 1),
    ],
)
def test_weight_kib(layers, held, waiting):
    expect_cycles(stack(layers), holding(held), TRANSFER + 1 + WORK, layer=0)
    for layer in range(1, layers):
        expect_cycles(stack(layers), holding(held), waiting + WORK, layer=layer)


@pytest.mark.parametrize(("room", "beyond"), [(4, 0), (3, 1), (1, 3)])
def test_spike_kib(room, beyond):
    """16 + 16 spikes are 4 bytes; those beyond are written and read, 2 bytes per cycle, while the layer works (D5)."""
    chip = quick(core__spike_kib=room / 1024, dram__bandwidth_gb_s=1.0, dram__burst_bytes=1, dram__latency_ns=100.0)
    moved = 50 + beyond if beyond else 0
    expect_cycles(stack(1), chip, 50 + TRANSFER + 1 + max(WORK, moved))
    counts = run(stack(1), chip).counts[0]
    assert (counts[Action.DRAM_READ], counts[Action.DRAM_WRITE]) == (BYTES + beyond, beyond)


@pytest.mark.parametrize(("order", "held"), [("time_outer", 64), ("time_inner", 16 * 64)])
@pytest.mark.parametrize(("batch", "batches"), [(1, 3), (2, 2), (3, 1)])
@pytest.mark.parametrize("beyond", [0, 4, 7])
def test_potential_kib(order, held, batch, batches, beyond):
    """16 potentials of 32 bits; with `time_inner` a set per context. Those beyond go out and in between batches."""
    trace = linear_trace(np.ones((16, 16), int), np.zeros((3, 1, 16), int))
    chip = quick(
        core__potential_kib=(held - beyond) / 1024,
        core__order=order,
        core__time_batch=batch,
        dram__bandwidth_gb_s=1.0,
        dram__burst_bytes=1,
        dram__latency_ns=100.0,
    )
    bytes_moved = (batches - 1) * beyond
    moved = 50 + bytes_moved if bytes_moved else 0
    last = 3 - batch * (batches - 1)  # timesteps of the last step; none is swept for longer than a PERIOD
    expect_cycles(trace, chip, 50 + TRANSFER + 1 + max(silent_steps(batches, 1) - 1 + last, moved))
    assert run(trace, chip).counts[0, Action.DRAM_WRITE] == bytes_moved
