"""Windows of convolutions and pools (R5, C4, P4, I1, S1): cycles and counts worked out by hand, map by map.

Every number is demanded of the simulator and of the oracle.
"""

from dataclasses import replace

import numpy as np
import pytest
from handmade import (
    ARRIVE,
    CLOSE,
    END,
    LOOK_UP,
    PERIOD,
    PIPED,
    SILENT,
    WAY,
    conv_trace,
    cycles_with_just,
    expect_cycles,
    kernel,
    linear_of,
    neurons_of,
    passes,
    quick,
    silence,
    stream_of,
    trace_of,
    up,
)
from oracle import simulate_slowly
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.bounds import bound
from sparsespike.simulator.engine import run
from sparsespike.simulator.trace import Conv, Pool, Stream, Window

# name: (map, window, taps that a row's and a column's inputs go through, outputs that each input closes)
HAND = {
    # outputs see rows -1 .. 1 and 1 .. 3, and columns alike: closed by inputs 1 and 3 of rows 1 and 3
    "3 x 3, stride 2, padding 1": (
        (4, 4),
        Window(3, 3, 2, 1, 1),
        ([1, 2, 1, 1], [1, 2, 1, 1]),
        [0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1],
    ),
    # one output; the last row and column are seen by none
    "2 x 2, stride 2": ((3, 3), Window(2, 2, 2), ([1, 1, 0], [1, 1, 0]), [0, 0, 0, 0, 1, 0, 0, 0, 0]),
    "flatten and fully connected": ((2, 3), Window(2, 3), ([1, 1], [1, 1, 1]), [0, 0, 0, 0, 0, 1]),
    # one-dimensional, outputs see -1 .. 1, 1 .. 3, 3 .. 5
    "(1, 3), stride 2, padding 1": ((1, 5), Window(1, 3, 2, 0, 1), ([1], [1, 2, 1, 2, 1]), [0, 1, 0, 1, 1]),
    # two outputs side by side, closed by the last two inputs of the last row
    "valid 5 x 5": ((5, 6), Window(5, 5), ([1] * 5, [1, 2, 2, 2, 2, 1]), [*[0] * 28, 1, 1]),
    # every third input alone; the others go nowhere
    "1 x 1, stride 3": ((1, 5), Window(1, 1, 3), ([1], [1, 0, 0, 1, 0]), [1, 0, 0, 1, 0]),
    # padded so far that the first output sees one input, and the last one, too: outputs see -2 .. 0 to 1 .. 3
    "3 x 3, padding 2": ((1, 2), Window(1, 3, 1, 0, 2), ([1], [3, 3]), [1, 3]),
}
every = pytest.mark.parametrize("name", HAND)


def spikes_at(tokens, *where):
    """One timestep of one channel with spikes at some tokens."""
    spikes = np.zeros((1, tokens, 1), int)
    spikes[0, list(where)] = 1
    return spikes


def roomy(**changes):
    """A context for each step, so that none waits for a grant."""
    return quick(core__contexts=32, **changes)


@every
@pytest.mark.parametrize("sweep", [1, 2, 8])
def test_each_input_closes_its_outputs(name, sweep):
    """Silent steps end one per PERIOD; the sweeps of what they close follow one another (C4)."""
    (height, width), window, _, closes = HAND[name]
    trace = conv_trace(kernel(window), spikes_at(height * width), height, window)
    begin = free = 0
    for step, closed in enumerate(closes):
        begin = max(WAY + SILENT + END + step * PERIOD, free)
        free = begin + max(1, closed * sweep)
    cycles = ARRIVE + begin + closes[-1] * sweep + CLOSE
    chip = roomy(core__sweep_width=16 // sweep)
    expect_cycles(trace, chip, cycles)
    assert bound(trace, chip).total_cycles <= cycles
    made = sum(closes)
    assert run(trace, chip).count(Action.NEURON_UPDATE) == 16 * made
    assert run(trace, chip).count(Action.POTENTIAL_WRITE) == sweep * made
    assert run(trace, chip).count(Action.SPIKE_WRITE) == 16 * made


@every
def test_an_event_goes_through_its_taps(name):
    """A row of 16 weights takes a cycle; an event that no window sees one cycle of CONTROL, as an end of a token."""
    (height, width), window, (rows, columns), _ = HAND[name]
    for token in range(height * width):
        taps = rows[token // width] * columns[token % width]
        trace = conv_trace(kernel(window), spikes_at(height * width, token), height, window)
        result, slow = run(trace, roomy()), simulate_slowly(trace, roomy())
        assert result.causes[0, Cause.COMPUTE] == slow.causes[0]["COMPUTE"] == taps
        assert result.causes[0, Cause.CONTROL] == slow.causes[0]["CONTROL"] == height * width + (taps == 0)
        assert result.synaptic_events[0] == slow.synaptic_events[0] == result.count(Action.ADD) == 16 * taps


@every
def test_the_last_event_holds_the_phase_up(name):
    """The last input's rows, the end of its token, and the sweep of what it closes."""
    (height, width), window, (rows, columns), closes = HAND[name]
    tokens, taps = height * width, rows[-1] * columns[-1]
    trace = conv_trace(kernel(window), spikes_at(tokens, tokens - 1), height, window)
    close = WAY + (tokens - 1) * PERIOD + max(1, taps) + END
    before = WAY + SILENT + END + (tokens - 2) * PERIOD + max(1, closes[-2])  # the sweep in front of the last
    expect_cycles(trace, roomy(), ARRIVE + max(close, before) + closes[-1] + CLOSE)


@every
@pytest.mark.parametrize("timesteps", [1, 3])
def test_pixels_through_a_window(name, timesteps):
    """I1: every pixel once, at least a cycle each; then each output swept in every timestep."""
    (height, width), window, (rows, columns), closes = HAND[name]
    layer = replace(neurons_of(Conv, kernel(window), "pixels", "made"), window=window)
    made = window.outputs(height, width)
    streams = [Stream("pixels", "real", 1, height, width), silence("made", timesteps, made[0] * made[1], 16, made[0])]
    trace = trace_of([layer], streams, timesteps, pixels=np.ones((1, 1, height, width), np.int8))
    added = sum(max(1, row * column) for row in rows for column in columns)
    chip = quick(core__input_macs=16)
    expect_cycles(trace, chip, ARRIVE + LOOK_UP + added + timesteps * sum(closes) + CLOSE)
    assert run(trace, chip).count(Action.MULTIPLY_ADD) == 16 * sum(rows) * sum(columns)


# ---- open outputs (P4) ----

OPEN = {
    # window, map, contexts: outputs open at one time
    "3 x 3 as ever": (Window(3, 3, 1, 1, 1), (8, 8), 2, 2 * 8 + 3 + 1),
    "on a map of one": (Window(3, 3, 1, 1, 1), (1, 1), 1, 2 * 1 + 3),
    # an output is open for 2 x 8 + 3 = 19 inputs; one row of outputs begins with each 16, one output with each 2 of 8
    "3 x 3, stride 2": (Window(3, 3, 2, 1, 1), (8, 8), 1, 4 + 2),
    "3 x 3, stride 2, 3 contexts": (Window(3, 3, 2, 1, 1), (8, 8), 3, 4 + 3),
    "2 x 2, stride 2": (Window(2, 2, 2), (8, 8), 1, 4),  # 10 inputs, of which 4 and then none begin an output
    "the whole map": (Window(4, 5), (4, 5), 1, 1),
    "the whole map and the next one's": (Window(4, 5), (4, 5), 2, 2),
    "far behind the whole map": (Window(4, 5), (4, 5), 22, 3),  # 20 + 21 inputs hold the beginnings of 3 maps
    "one-dimensional": (Window(1, 3, 1, 0, 1), (1, 9), 2, 3 + 1),
    "every third": (Window(1, 1, 3), (1, 9), 4, 2),  # of 4 successive inputs 2 may be seen
}


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize(("order", "times"), [("time_outer", 1), ("time_inner", 3)])
def test_accumulators_for_the_open_outputs(name, order, times):
    """What just fits runs, one less is refused; `time_inner` holds them for all 3 timesteps."""
    window, grid, contexts, places = OPEN[name]
    chip = quick(core__contexts=contexts, core__order=order)
    assert cycles_with_just(4 * places * times, grid, chip, window) > 0


def test_potentials_of_the_outputs():
    """D5: a strided convolution of 4 x 4 keeps 4 outputs x 16 channels x 32 bits from one timestep to the next."""
    window, bits = Window(2, 2, 2), 4 * 16 * 32
    trace = conv_trace(kernel(window), np.zeros((3, 16, 1), int), 4, window)
    for kib, spilled in ((bits / 8192, 0), ((bits - 8) / 8192, 1)):
        chip = roomy(core__potential_kib=kib)
        assert run(trace, chip).count(Action.DRAM_WRITE) == simulate_slowly(trace, chip).counts[0]["DRAM_WRITE"]
        assert run(trace, chip).count(Action.DRAM_WRITE) == chip.in_bursts(2 * spilled)


# ---- pools (S1, W5) ----

ROWS, COLUMNS, CHANNELS = 4, 6, 16


def pooled(kind, window, timesteps=2, height=ROWS, width=COLUMNS, **form):
    """A silent map under a pool."""
    rows, columns = window.outputs(height, width)
    layer = Pool(name="pool", source="given", target="made", window=window, **form)
    given = silence("given", timesteps, height * width, CHANNELS, height)
    made = silence("made", timesteps, rows * columns, CHANNELS, rows)
    target = "integer" if form.get("form") == "sum" else kind
    return trace_of([layer], [replace(given, kind=kind), replace(made, kind=target)], timesteps)


POOLS = {
    "OR": ("binary", "max", Action.POOL_OR),
    "the largest": ("integer", "max", Action.POOL_MAX),
    "the sum": ("binary", "sum", Action.POOL_ADD),
    "the sum of integers": ("integer", "sum", Action.POOL_ADD),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("sweep_width", [16, 3])
def test_a_pool_of_2_x_2(name, sweep_width):
    """Every input once, and so many cycles (S1)."""
    kind, form, action = POOLS[name]
    trace = pooled(kind, Window(2, 2, 2), form=form)
    chip = quick(core__sweep_width=sweep_width)
    expect_cycles(trace, chip, 2 * ROWS * COLUMNS * up(CHANNELS, sweep_width) + CLOSE)
    counts = {action: run(trace, chip).count(action) for _, _, action in POOLS.values()}
    assert counts == dict.fromkeys(counts, 0) | {action: 2 * ROWS * COLUMNS * CHANNELS}
    assert run(trace, chip).count(Action.SPIKE_READ) == 2 * ROWS * COLUMNS * CHANNELS
    bits = 3 if form == "sum" else 1  # four spikes at most (P4)
    assert run(trace, chip).count(Action.SPIKE_WRITE) == 2 * 2 * 3 * CHANNELS * bits


def test_windows_that_overlap_add_a_value_to_each_of_their_sums():
    """3 x 3, padding 1: along an axis of 3 outputs see 2, 3 and 2 inputs."""
    assert run(pooled("binary", Window(3, 3, 1, 1, 1), 1, 3, 3, form="sum"), quick()).count(Action.POOL_ADD) == 49 * 16
    assert run(pooled("binary", Window(3, 3, 1, 1, 1), 1, 3, 3), quick()).count(Action.POOL_OR) == 9 * 16


def test_a_pool_that_makes_more_than_it_reads_writes_longer():
    """2 x 2 at stride 1 with padding 1: 3 x 4 inputs, 4 x 5 outputs."""
    expect_cycles(pooled("binary", Window(2, 2, 1, 1, 1), 3, 3, 4), quick(), 3 * 20 + CLOSE)


def test_inputs_that_a_pool_leaves_out_are_read():
    """1 x 2 at stride 3 on 1 x 5: outputs of the inputs 0, 1 and 3, 4; the scan passes over all five."""
    trace = pooled("integer", Window(1, 2, 3), 1, 1, 5, form="sum")
    expect_cycles(trace, quick(), 5 + CLOSE)
    assert run(trace, quick()).count(Action.POOL_ADD) == 4 * 16


# ---- pipelined (L4) ----


def test_a_pipelined_layer_waits_for_what_closes_its_tokens():
    """(1, 2) at stride 2 on 1 x 5: the next layer's two tokens are there when inputs 1 and 3 have been swept."""
    window = Window(1, 2, 2)
    layers = [
        replace(neurons_of(Conv, kernel(window, 1), "given", "between", name="conv"), window=window),
        linear_of([[1]], "between", "made", name="linear"),
    ]
    streams = [stream_of("given", spikes_at(5)), silence("between", 1, 2, 1), silence("made", 1, 2, 1)]
    trace = trace_of(layers, streams, 1)
    chip = quick(schedule="pipelined", mesh__columns=2, core__contexts=8)

    def released(step):
        """C5, of the convolution: begin and length of the sweep, and 1."""
        return PIPED + WAY + SILENT + END + step * PERIOD + 1 + 1

    assert released(3) > released(1) + PERIOD
    ends = np.cumsum(run(trace, chip).cycles)
    assert ends.tolist() == np.cumsum(simulate_slowly(trace, chip).cycles).tolist()
    assert ends[0] == released(4) - 1 + 1  # the last input closes nothing: no cycle of a sweep
    assert ends[1] == passes(released(3)) + 1
