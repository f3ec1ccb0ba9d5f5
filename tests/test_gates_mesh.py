"""The mesh's own parameters, and what its routers do where flits meet, worked out by hand (rules F, N).

As in test_gates both twins must need exactly the cycles of the formula.
"""

import numpy as np
import pytest
from handmade import (
    ARRIVE,
    BURST,
    CLOSE,
    END,
    HOP,
    LOOK_UP,
    READ,
    ROW,
    SEND,
    WAY,
    expect_cycles,
    linear_trace,
    logged,
    quick,
    two_layers,
    up,
)
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run

FLIT_BITS = 1 + 8 + 1 + 10 + 2  # end, tree, context, channel, value (F4)


def nine_flits():
    """A value of 9 in flits of one bit: nine from one producer, which is core floor(cores / 2) (P1)."""
    return linear_trace(np.ones((16, 1), int), [[[9]]])


# ---- links (F4, N3, N4) ----


@pytest.mark.parametrize(
    ("bits", "s"), [(64, 1), (FLIT_BITS, 1), (FLIT_BITS - 1, 2), (11, 2), (10, 3), (8, 3), (1, 22)]
)
def test_link_bits(bits, s):
    """The end of the token is granted s after the event: it waits for that, or for the event's service."""
    chip = quick(mesh__link_bits=bits, core__contexts=2)
    expect_cycles(ROW, chip, ARRIVE + READ + SEND + s + LOOK_UP + max(s, 1) + END + 1 + CLOSE)


@pytest.mark.parametrize(("batch", "s"), [(1, 2), (2, 2), (3, 3), (8, 3)])
def test_every_timestep_of_a_batch_widens_a_flit(batch, s):
    """20 bits and 2 for each timestep, over links of 12."""
    assert up(FLIT_BITS - 2 + 2 * batch, 12) == s
    chip = quick(mesh__link_bits=12, core__contexts=2, core__time_batch=batch)
    expect_cycles(ROW, chip, ARRIVE + READ + SEND + s + LOOK_UP + s + END + 1 + CLOSE)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(("bits", "s"), [(64, 1), (11, 2), (6, 4)])
def test_hops(columns, bits, s):
    """The one input channel lies in the middle; core 0 is `columns // 2` links west of it, no core is further away."""
    outputs = columns // 2 + 1
    chip = quick(mesh__columns=columns, mesh__link_bits=bits, core__contexts=2)
    expect_cycles(ROW, chip, ARRIVE + READ + SEND + outputs * s + LOOK_UP + s + END + 1 + CLOSE)
    assert run(ROW, chip).count(Action.FLIT_HOP) == (columns - 1) * 2


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_hops_along_y(rows):
    chip = quick(mesh__rows=rows)
    expect_cycles(ROW, chip, ARRIVE + WAY + rows // 2 * HOP + 1 + END + 1 + CLOSE)


# ---- buffers: credits (N3 to N5) ----


@pytest.mark.parametrize(("depth", "every"), [(1, 2), (2, 1), (8, 1)])
def test_buffer_flits(depth, every):
    """Room shows the cycle after a flit has left: a buffer of one flit takes one every other cycle."""
    expect_cycles(BURST, quick(mesh__buffer_flits=depth), ARRIVE + WAY + 9 * every + END + 1 + CLOSE)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("bits", "s"), [(64, 1), (11, 2), (7, 3)])
def test_a_buffer_of_one_flit_takes_one_in_s_plus_1_cycles(depth, bits, s):
    """A flit is on its way for s cycles and shows its leaving one later; two slots hide that."""
    chip = quick(mesh__columns=2, mesh__buffer_flits=depth, mesh__link_bits=bits, core__contexts=2, mesh__value_bits=1)
    assert up(FLIT_BITS - 1, bits) == s
    every = s + 1 if depth == 1 else s
    last = 9 * every  # after nine flits the end of the token
    expect_cycles(nine_flits(), chip, ARRIVE + READ + SEND + 2 * s + LOOK_UP + last + END + 1 + CLOSE)


# ---- multicast (N4) ----

FILLERS = 3


def fan_out(near, far):
    """One producer, core 0, to itself and core 1: a row of `near` weights for core 0, empty rows, one of `far`."""
    weights = np.zeros((near + far, 2 + FILLERS), int)
    weights[:near, 0] = 1
    weights[near:, -1] = 1
    trace = two_layers(np.ones((2 + FILLERS, 1), int), weights, np.ones((1, 1, 2 + FILLERS), int))
    chip = quick(mesh__columns=2, core__weight_format="csr", core__lanes=1, core__weight_bits=8, core__sweep_width=64)
    return trace, chip, {"first": [0, 2 + FILLERS, 2 + FILLERS], "second": [0, near, near + far]}


@pytest.mark.parametrize("near", [8, 20])
@pytest.mark.parametrize("far", [8, 20])
def test_a_blocked_branch_holds_up_the_other(near, far):
    """Core 0 adds for `near` cycles. A FIFO of one flit lets the look-up have flit 2, holds flit 3, and blocks 4.

    L takes flit 3 when flit 2 has gone to the look-up, in the cycle after flit 0's end; then flit 4 may go east.
    """
    trace, chip, cuts = fan_out(near, far)
    ample = WAY + HOP + (1 + FILLERS) + far + END  # the last row of core 1, one hop away
    ample = max(ample, WAY + near + FILLERS + 1 + END)  # or all rows of core 0, the last of them empty
    expect_cycles(trace, chip, ample + 1 + CLOSE, layer=1, cuts=cuts)
    freed = WAY + near + 1  # output L grants flit 3
    blocked = freed + 1 + HOP + HOP + LOOK_UP + far + END  # flit 4: output E, output L, look-up
    chip = chip.replace({"core.fifo_flits": 1})
    expect_cycles(trace, chip, blocked + 1 + CLOSE, layer=1, cuts=cuts)


# ---- arbitration (N3) ----


@pytest.mark.parametrize("value", [1, 3, 5])
def test_round_robin_at_an_output(value):
    """Three producers to core 1: its own flit comes first, then each in turn, L E W."""
    trace = linear_trace(np.ones((16, 3), int), [[[value] * 3]])
    chip, cuts = quick(mesh__columns=3, mesh__value_bits=1), {"layer": [0, 0, 16, 16]}
    grants = [event for _, router, event, _ in logged(trace, chip, cuts=cuts) if router == 1 and ".L." in event]
    assert grants == ["grant.L.L", "grant.L.E", "grant.L.W"] * (value + END)
    expect_cycles(trace, chip, ARRIVE + WAY + 3 * (value + END) + 1 + CLOSE, cuts=cuts)


@pytest.mark.parametrize(("bits", "s"), [(64, 1), (11, 2), (7, 3)])
def test_producers_share_an_output(bits, s):
    """Two producers of four flits and an end each: output L is held for s cycles by each of the ten."""
    trace = linear_trace(np.ones((16, 2), int), [[[4, 4]]])
    chip = quick(mesh__columns=2, mesh__link_bits=bits, mesh__value_bits=1, core__contexts=2)
    cuts = {"layer": [0, 16, 16]}
    expect_cycles(trace, chip, ARRIVE + READ + SEND + 10 * s + LOOK_UP + END + 1 + CLOSE, cuts=cuts)
    result = run(trace, chip, cuts=cuts)
    assert result.causes[0, Cause.IDLE] == result.cycles[0, 0] - ARRIVE  # core 1 owns no output
