"""A core's own parameters move the cycles of a case built for them, exactly as their formulas say.

Every number is worked out by hand from simulator/ARCHITECTURE.md and demanded of the simulator and of the oracle.
"""

import numpy as np
import pytest
from handmade import (
    ARRIVE,
    BURST,
    CLOSE,
    END,
    LOOK_UP,
    PERIOD,
    READ,
    ROW,
    SEND,
    SILENT,
    WAY,
    conv_trace,
    expect_cycles,
    linear_of,
    linear_trace,
    quick,
    silence,
    silent_steps,
    stream_of,
    trace_of,
    up,
)
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.trace import Head, Weights


def one_event(service, sweep=1):
    """ROW on one core: the event's way and service, the end of the token, the sweep."""
    return ARRIVE + WAY + service + END + sweep + CLOSE


# ---- event FIFO and look-up (C1) ----


@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 16])
def test_fifo_flits(depth, s):
    """A slot is free the cycle after its flit has gone to the look-up: one slot takes a flit in 1 + s cycles."""
    bits = 1 + 8 + 1 + 10 + 2  # F4, with 2 contexts
    chip = quick(core__fifo_flits=depth, core__contexts=2, mesh__link_bits=up(bits, s))
    every = 1 + s if depth == 1 else s
    expect_cycles(BURST, chip, ARRIVE + READ + SEND + s + LOOK_UP + 9 * every + END + 1 + CLOSE)


@pytest.mark.parametrize("service", [1, 2, 4, 16])
@pytest.mark.parametrize("depth", [1, 16])
def test_a_look_up_is_hidden_behind_the_service_before_it(service, depth):
    every = max(service, 2 if depth == 1 else 1)
    chip = quick(core__lanes=16 // service, core__fifo_flits=depth)
    expect_cycles(BURST, chip, ARRIVE + WAY + 9 * every + END + 1 + CLOSE)


# ---- encoder (E1, E2) ----


@pytest.mark.parametrize("width", [1, 3, 4, 5, 8, 15, 16, 64])
@pytest.mark.parametrize("where", ["first", "last", "both"])
def test_encode_width(where, width):
    """16 channels in words: each silent one takes a cycle, in front of an event, between two, or before the end."""
    spikes = np.zeros((1, 1, 16), int)
    spikes[0, 0, {"first": [0], "last": [15], "both": [0, 15]}[where]] = 1
    words = up(16, width)
    silent = {"first": words - 1, "last": words - 1, "both": max(0, words - 2)}[where]
    events = spikes.sum()
    trace = linear_trace(np.ones((16, 16), int), spikes)
    expect_cycles(trace, quick(core__encode_width=width), ARRIVE + WAY + events + silent + END + 1 + CLOSE)


@pytest.mark.parametrize("width", [1, 4, 16])
def test_a_silent_token_takes_a_cycle_per_word(width):
    words, tokens = up(16, width), 5
    trace = linear_trace(np.ones((16, 16), int), np.zeros((1, tokens, 16), int))
    every = READ + words * SILENT + END
    expect_cycles(trace, quick(core__encode_width=width), ARRIVE + WAY + words + END + 4 * every + 1 + CLOSE)


@pytest.mark.parametrize(("bits", "flits"), [(1, 7), (2, 3), (3, 1), (8, 1)])
def test_value_bits(bits, flits):
    """A value of 7 goes as ceil(7 / (2^bits - 1)) flits, one cycle of service each (F1)."""
    expect_cycles(linear_trace(np.ones((16, 1), int), [[[7]]]), quick(mesh__value_bits=bits), one_event(flits))


# ---- time_batch (G4, F1, R4) ----

GRADED = linear_trace(np.ones((16, 1), int), [[[1]], [[4]]])  # one channel: 1, then 4


@pytest.mark.parametrize("lanes", [16, 4, 1])
def test_a_batch_adds_for_each_of_its_timesteps(lanes):
    """(1, 4) goes as (1, 3), (0, 1): twice and once the groups; the token is swept for both timesteps."""
    groups = 16 // lanes
    chip = quick(core__lanes=lanes, core__time_batch=2)
    expect_cycles(GRADED, chip, one_event(2 * groups + groups, sweep=2))
    assert run(GRADED, chip).count(Action.FIFO_WRITE) == 2 + 1


@pytest.mark.parametrize("banks", [6, 3, 2, 1])
def test_a_batch_fetches_a_row_once(banks):
    """One group, whose last word comes in the last of F fetch cycles: F - 1 + n; F = ceil(6 words / banks)."""
    fetch = up(6, banks)
    chip = quick(core__weight_banks=banks, core__time_batch=2)
    expect_cycles(GRADED, chip, one_event((fetch - 1 + 2) + (fetch - 1 + 1), sweep=2))
    single = chip.replace({"core.time_batch": 1})
    assert run(GRADED, chip).count(Action.WEIGHT_READ) == 2 * 6
    assert run(GRADED, single).count(Action.WEIGHT_READ) == 3 * 6
    assert run(GRADED, chip).count(Action.ADD) == run(GRADED, single).count(Action.ADD) == 2 * 16


@pytest.mark.parametrize(("batch", "lengths"), [(1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (8, [5])])
@pytest.mark.parametrize("sweep", [1, 4])
def test_the_last_batch_may_be_smaller(batch, lengths, sweep):
    """5 silent timesteps of one token: a step per batch, swept tau times; a step behind a long sweep waits for it."""
    trace = linear_trace(np.ones((16, 1), int), np.zeros((5, 1, 1), int))
    begin, free = 0, 0
    for step, tau in enumerate(lengths):  # C4
        begin = max(WAY + SILENT + END + step * PERIOD, free)
        free = begin + tau * sweep
    chip = quick(core__time_batch=batch, core__sweep_width=16 // sweep)
    expect_cycles(trace, chip, ARRIVE + free + CLOSE)


# ---- contexts and grants (C6) ----

TOKENS = 6
SILENCE = linear_trace(np.ones((16, 1), int), np.zeros((1, TOKENS, 1), int))


@pytest.mark.parametrize("sweep", [1, 2, 4, 16])
def test_one_context_waits_for_every_release(sweep):
    """The next grant is 1 + the release, as if each step were a phase of its own."""
    chip = quick(core__contexts=1, core__sweep_width=16 // sweep)
    expect_cycles(SILENCE, chip, ARRIVE + TOKENS * silent_steps(1, sweep))


@pytest.mark.parametrize("contexts", [1, 2, 3])
@pytest.mark.parametrize("sweep", [1, 2])
def test_contexts_are_granted_as_they_are_released(contexts, sweep):
    """As many steps as there are contexts follow one another; those that reuse them come a whole step later."""
    assert contexts * PERIOD <= silent_steps(1, sweep)
    chip = quick(core__contexts=contexts, core__sweep_width=16 // sweep)
    rounds = TOKENS // contexts
    expect_cycles(SILENCE, chip, ARRIVE + rounds * silent_steps(1, sweep) + (contexts - 1) * PERIOD)


@pytest.mark.parametrize("sweep", [1, 2, 4, 16])
def test_as_many_contexts_as_tokens_hide_all_but_the_sweeps(sweep):
    chip = quick(core__contexts=TOKENS, core__sweep_width=16 // sweep)
    expect_cycles(SILENCE, chip, ARRIVE + silent_steps(TOKENS, sweep))


# ---- sweep (C4, C5, C8) ----


@pytest.mark.parametrize(("width", "sweep"), [(16, 1), (15, 2), (8, 2), (5, 4), (1, 16)])
def test_sweep_width(width, sweep):
    expect_cycles(ROW, quick(core__sweep_width=width), one_event(1, sweep))


@pytest.mark.parametrize("sweep", [1, 2, 4, 8, 16])
def test_a_convolution_sweeps_what_a_token_closes(sweep):
    """1 x 4 map, 3 x 3 kernel: inputs close 0, 1, 1 and 2 outputs, whose sweeps follow one another."""
    trace = conv_trace(np.ones((16, 1, 3, 3), int), np.zeros((1, 4, 1), int), 1)
    second = WAY + SILENT + END + PERIOD
    last = second + 2 * max(PERIOD, sweep)
    expect_cycles(trace, quick(core__sweep_width=16 // sweep), ARRIVE + last + 2 * sweep + CLOSE)


@pytest.mark.parametrize(("width", "sweep"), [(16, 1), (3, 4), (1, 10)])
def test_the_head_sweeps_once(width, sweep):
    """10 classes on 5 silent tokens at 2 timesteps."""
    head = Head(
        name="head", source="given", weights=Weights.from_dense(np.ones((10, 3), int)), bias=np.zeros(10, np.int64)
    )
    trace = trace_of([head], [silence("given", 2, 5, 3)], 2)
    first = WAY + SILENT + END
    expect_cycles(trace, quick(core__sweep_width=width), ARRIVE + first + 9 * PERIOD + sweep + CLOSE)


# ---- partition = token (P2, P3, G2) ----


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_tokens_of_different_cores_run_side_by_side(columns):
    """As many tokens as cores, an event each: as long as one on one core, on whole rows, without a link."""
    trace = linear_trace(np.ones((16, 1), int), np.ones((1, columns, 1), int))
    chip = quick(mesh__columns=columns, core__partition="token", core__lanes=4)
    expect_cycles(trace, chip, one_event(4))
    assert run(trace, chip).count(Action.FLIT_HOP) == 0


def test_a_token_cut_layer_behind_another_needs_no_link():
    streams = [stream_of("a", np.ones((1, 8, 4), int)), stream_of("b", np.ones((1, 8, 16), int)), silence("c", 1, 8, 3)]
    layers = [
        linear_of(np.ones((16, 4), int), "a", "b", name="first"),
        linear_of(np.ones((3, 16), int), "b", "c", name="second"),
    ]
    trace = trace_of(layers, streams, 1)
    chip = quick(mesh__columns=2, mesh__rows=2)
    hops = {way: run(trace, chip.replace({"core.partition": way})).counts for way in ("token", "channel")}
    assert not hops["token"][:, Action.FLIT_HOP].any()
    assert hops["channel"][:, Action.FLIT_HOP].all()
    two_tokens = 2 * (16 + END) + READ  # 16 events of one cycle and an end, twice; the second step's first word is read
    expect_cycles(trace, chip.replace({"core.partition": "token"}), WAY + two_tokens + 1 + CLOSE, layer=1)


def test_a_core_waits_for_the_cores_with_more_tokens():
    """5 tokens over 2 cores: floor(t x 2 / 5) gives the first 3 to core 0; the other one waits for the third."""
    trace = linear_trace(np.ones((16, 1), int), np.ones((1, 5, 1), int))
    chip = quick(mesh__columns=2, core__partition="token")
    every = READ + 1 + END  # of a step with one event
    expect_cycles(trace, chip, one_event(1) + 2 * every)
    assert run(trace, chip).causes[0, Cause.BARRIER] == every + 2 * 1  # and the last cycle of the phase, on both (C8)
