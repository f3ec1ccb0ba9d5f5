"""Pooled sums of a convolution (C10, P4, I1, D5, L4): cycles and counts worked out by hand, map by map.

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
)
from oracle import simulate_slowly
from sparsespike.simulator.activity import Action
from sparsespike.simulator.bounds import bound
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.trace import Conv, Stream, Window

PADDED, HALVED = Window(3, 3, 1, 1, 1), Window(2, 2, 2)

# name: (map, window, pooled, places that are pooled, input -> outputs that the sweep behind it reads)
HAND = {
    # output (1, 1) of the convolution is closed by input (2, 2), (1, 3) by (2, 3), (3, 1) by (3, 2), (3, 3) by (3, 3)
    "3 x 3 pad 1, 2 x 2": ((4, 4), PADDED, HALVED, 4, {10: 4, 11: 4, 14: 4, 15: 4}),
    # 2 x 4 outputs, whose last row is closed by inputs (5, 4) to (5, 7)
    "5 x 5 valid, 2 x 2": ((6, 8), Window(5, 5), HALVED, 2, {45: 4, 47: 4}),
    # along both axes the pool sees outputs 0, 1 and 1, 2, 3: what lies in its padding is not read
    "3 x 3 pad 1, 3 x 3 stride 2 pad 1": ((4, 4), PADDED, Window(3, 3, 2, 1, 1), 4, {10: 4, 11: 6, 14: 6, 15: 9}),
    # outputs of inputs 0, 2, 4, 6, 8, of which the pool sees the first two and the last two
    "every second, two of three": ((1, 9), Window(1, 1, 2), Window(1, 2, 3), 2, {2: 2, 8: 2}),
    # two outputs, both pooled places see both; input 4 is seen by none and closes nothing
    "padding beyond the last output": ((1, 5), Window(1, 2, 2), Window(1, 3, 1, 0, 1), 2, {3: 4}),
    # the whole map of outputs is one place: a pool over everything
    "the largest of all": ((3, 3), Window(2, 2), Window(2, 2), 1, {8: 4}),
}
every = pytest.mark.parametrize("name", HAND)


@every
@pytest.mark.parametrize("sweep", [1, 2, 8])
@pytest.mark.parametrize("batches", [[1], [2, 1]])
def test_each_input_sweeps_the_windows_that_it_closes(name, sweep, batches):
    """Silent steps end one per PERIOD; a sweep reads a word per output, group of neurons and timestep."""
    (height, width), window, pooled, places, read = HAND[name]
    timesteps, tokens = sum(batches), height * width
    trace = conv_trace(kernel(window), np.zeros((timesteps, tokens, 1), int), height, window, pooled)
    begin = free = step = length = 0
    for times in batches:
        for token in range(tokens):
            begin, length = max(WAY + SILENT + END + step * PERIOD, free), times * read.get(token, 0) * sweep
            free, step = begin + max(1, length), step + 1
    cycles = ARRIVE + begin + length + CLOSE
    chip = quick(core__contexts=64, core__sweep_width=16 // sweep, core__time_batch=2)
    expect_cycles(trace, chip, cycles)
    assert bound(trace, chip).total_cycles <= cycles
    result = run(trace, chip)
    assert result.count(Action.POOL_MAX) == 16 * timesteps * sum(read.values())
    assert result.count(Action.NEURON_UPDATE) == result.count(Action.SPIKE_WRITE) == 16 * timesteps * places
    assert result.count(Action.POTENTIAL_READ) == result.count(Action.POTENTIAL_WRITE) == len(batches) * sweep * places


@every
@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("sweep", [1, 4])
def test_pixels(name, timesteps, sweep):
    """I1: every pixel once, a cycle for each row of weights, at least one; then the sweeps of every timestep."""
    (height, width), window, pooled, places, read = HAND[name]
    layer = replace(neurons_of(Conv, kernel(window), "pixels", "made"), window=window, pooled=pooled)
    rows, columns = layer.outputs(height, width)
    assert rows * columns == places
    streams = [Stream("pixels", "real", 1, height, width), silence("made", timesteps, places, 16, rows)]
    trace = trace_of([layer], streams, timesteps, pixels=np.ones((1, 1, height, width), np.int8))
    taps = np.zeros((height, width), int)  # that an input goes through: the windows of all outputs, laid over the map
    for oy, ox in np.ndindex(*window.outputs(height, width)):
        top, left = oy * window.stride - window.pad_y, ox * window.stride - window.pad_x
        taps[max(top, 0) : top + window.height, max(left, 0) : left + window.width] += 1
    chip = quick(core__input_macs=16, core__sweep_width=16 // sweep)
    swept = timesteps * sum(read.values()) * sweep
    expect_cycles(trace, chip, ARRIVE + LOOK_UP + int(np.maximum(taps, 1).sum()) + swept + CLOSE)
    assert run(trace, chip).count(Action.POOL_MAX) == 16 * timesteps * sum(read.values())
    assert run(trace, chip).count(Action.NEURON_UPDATE) == 16 * timesteps * places


def test_events_go_to_outputs_that_no_window_has():
    """R5 holds for the convolution, whoever looks at its sums: of three outputs the pool sees one."""
    spikes = np.ones((1, 3, 1), int)
    trace = conv_trace(kernel(Window(1, 1)), spikes, 1, Window(1, 1), Window(1, 1, 3))
    result = run(trace, quick())
    assert result.count(Action.ADD) == result.synaptic_events[0] == 3 * 16
    assert (result.count(Action.NEURON_UPDATE), result.count(Action.POOL_MAX)) == (16, 16)
    assert simulate_slowly(trace, quick()).counts[0]["ADD"] == 3 * 16


# ---- what is compared ----


@pytest.mark.parametrize(("bias", "fires"), [(2, 0), (3, 1), (4, 1)])
def test_the_largest_sum_and_no_zero_around_it(bias, fires):
    """Sums -3, -2, -2, -3 under a pool that is wider than the map: -2 + bias, and 1 is the threshold."""
    layer = neurons_of(Conv, [[[[-1]], [[-2]]]], "given", "made")
    spikes = [[[1, 1], [0, 1], [0, 1], [1, 1]]]
    layer = replace(layer, bias=np.array([bias], np.int32), pooled=Window(4, 4, 2, 1, 1))
    trace = trace_of([layer], [stream_of("given", spikes, 2), stream_of("made", [[[fires]]])], 1)
    assert run(trace, quick(), verify=True).verified.neurons == 1
    other = replace(trace, streams={**trace.streams, "made": stream_of("made", [[[1 - fires]]])})
    with pytest.raises(UserError, match="the chip computes"):
        run(other, quick(), verify=True)


# ---- open outputs and potentials (P4, D5) ----

OPEN = {
    # An output of row y is open from input (y - 1, x - 1) to (y' + 1, x' + 1), y' the odd row of its pair. At input 18,
    # (2, 2): all 16 of the first pair of rows, the 8 of row 2, which began at 7 to 14, and those of row 3 that began at
    # 15, 16, 17, 18.
    "3 x 3 pad 1, 2 x 2": ((8, 8), PADDED, HALVED, 1, 16 + 8 + 4),
    "and two contexts": ((8, 8), PADDED, HALVED, 2, 16 + 8 + 5),
    "5 x 5 valid, 2 x 2": ((6, 6), Window(5, 5), HALVED, 1, 4),
    "and the next map": ((6, 6), Window(5, 5), HALVED, 2, 4 + 1),
    # one of each pair is seen by none, and open for its own two inputs alone; the other for as long
    "every second": ((1, 8), Window(1, 2), Window(1, 1, 2), 1, 2),
    # outputs 0 and 1 are open until 2, outputs 2 and 3 until 4: output 2 lies in two windows, and is read by both
    "windows that overlap": ((1, 9), Window(1, 1), Window(1, 3, 2), 1, 3),
}


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize(("order", "times"), [("time_outer", 1), ("time_inner", 3)])
@pytest.mark.parametrize("schedule", ["layerwise", "pipelined"])
def test_accumulators_for_the_open_outputs(name, order, times, schedule):
    """What just fits runs, one less is refused; `time_inner` holds them for all 3 timesteps."""
    grid, window, pooled, contexts, places = OPEN[name]
    chip = quick(core__contexts=contexts, core__order=order, schedule=schedule)
    assert cycles_with_just(4 * places * times, grid, chip, window, pooled) > 0


@pytest.mark.parametrize(("order", "places"), [("time_outer", 16), ("time_inner", 8)])
def test_potentials_of_the_pooled_outputs(order, places):
    """D5: all 4 x 4; or those open at one time: a neuron sees 4 x 4 inputs at stride 2, 28 from first to last.

    Of them rows of 4 begin 16 apart: two rows at most.
    """
    bits = places * 16 * 32
    trace = conv_trace(kernel(PADDED), np.zeros((3, 64, 1), int), 8, PADDED, HALVED)
    for kib, spilled in ((bits / 8192, 0), ((bits - 8) / 8192, 1)):
        chip = quick(core__contexts=1, core__order=order, core__potential_kib=kib)
        assert run(trace, chip).count(Action.DRAM_WRITE) == simulate_slowly(trace, chip).counts[0]["DRAM_WRITE"]
        assert run(trace, chip).count(Action.DRAM_WRITE) == chip.in_bursts(2 * spilled)


# ---- pipelined (L1, L4) ----


def piped(rows=1):
    """(1, 2) on rows x 5, pooled 1 x 2 at stride 2: per row two places, closed by inputs 2 and 4; a linear layer."""
    window = Window(1, 2)
    layers = [
        replace(neurons_of(Conv, kernel(window, 1), "given", "between"), window=window, pooled=Window(1, 2, 2)),
        linear_of([[1]], "between", "made", name="linear"),
    ]
    given = stream_of("given", np.zeros((1, 5 * rows, 1), int), rows)
    return trace_of(layers, [given, silence("between", 1, 2 * rows, 1, rows), silence("made", 1, 2 * rows, 1, rows)], 1)


def test_a_pipelined_layer_waits_for_what_closes_its_tokens():
    trace = piped()
    chip = quick(schedule="pipelined", mesh__columns=2, core__contexts=8)

    def released(step):
        """C5, of the convolution: begin and length of the sweep, two words, and 1."""
        return PIPED + WAY + SILENT + END + step * PERIOD + 2 + 1

    assert released(4) > released(2) + PERIOD  # the second token comes when the first has been sent
    ends = np.cumsum(run(trace, chip).cycles)
    assert ends.tolist() == np.cumsum(simulate_slowly(trace, chip).cycles).tolist()
    assert ends.tolist() == [released(4) + 1, passes(released(4)) + 1]
    assert (bound(trace, chip).ends.reshape(-1) <= ends).all()


GROWN = {"kernel": Window(2, 2, 1, 1, 1), "pooled": Window(2, 2)}  # a map grows by one and is pooled back


def residual_around(pooled):
    """Maps of 3 x 3 all along: three convolutions, of which one pools; the last adds what came in front of them."""
    builder = Builder(Style(timesteps=2, weight_density=1.0, seed=1))
    given = builder.spikes("given", builder.rng.integers(0, 2, (1, 2, 9, 2)), 3, 3)
    stream = first = builder.conv("first", given, 2)
    for name in ("second", "third", "added"):
        residual = first if name == "added" else ""
        stream = builder.conv(name, stream, 2, residual=residual, **(GROWN if name == pooled else {}))
    return builder.trace()


@pytest.mark.parametrize("pooled", ["", "second", "third", "added"])
def test_a_pipeline_adds_nothing_around_pooled_sums(pooled):
    """L1: a pooled output may close before its own token has come; one layer after the other it does not matter."""
    trace, chip = residual_around(pooled), quick(schedule="pipelined", mesh__columns=4)
    run(trace, quick(), verify=True)
    if not pooled:
        run(trace, chip, verify=True)
        return
    with pytest.raises(UserError, match=r"'added' adds 'first\.out', from which its sums are not made token by token"):
        run(trace, chip)
