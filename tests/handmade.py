"""Chips and traces so small that their cycles are worked out by hand, and the steps that the formulas are made of."""

from dataclasses import replace

import numpy as np
import pytest
from cases import chip_with
from oracle import simulate_slowly
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.eventlog import read_log
from sparsespike.simulator.trace import (
    Attention,
    Conv,
    Events,
    Head,
    Linear,
    Numerics,
    Pool,
    Select,
    Stream,
    Trace,
    Weights,
)

ARRIVE = 1 + 1  # D4: the channel of `quick` brings any weights in one cycle; the layer starts in the one after the end
READ = 1  # E2: the first word of a step
SILENT = 1  # E1: a word without spikes
SEND = 1  # N5: from the producer into its router
HOP = 1  # N4: s, in a chip with wide links
LOOK_UP = 1  # C1
END = 1  # C2: the service of an end-of-token flit
CLOSE = 1 + 1  # C5, C8: the last word of a sweep is written, the phase ends

WAY = READ + SEND + HOP + LOOK_UP  # from a step's grant until its first event, of the core itself, is taken
PIPED = 1 + 1 + 1  # L3: two transfers of a cycle each, and the cycle behind them
PERIOD = READ + SILENT + END  # from one silent step to the next at a producer that waits for nothing


def up(amount, width):
    """ceil(amount / width)"""
    return -(-amount // width)


def kernel(window, outputs=16):
    """All weights 1."""
    return np.ones((outputs, 1, window.height, window.width), int)


def cycles_with_just(need, grid, chip, window, pooled=None):
    """Of a convolution of three timesteps of a map, with so many accumulators; with one less it must be refused."""
    builder = Builder(Style(timesteps=3, weight_density=1.0, weight_bits=4, seed=2))
    given = builder.spikes("given", builder.rng.integers(0, 2, (1, 3, grid[0] * grid[1], 2)), *grid)
    builder.conv("conv", given, 4, window, pooled=pooled)
    trace = builder.trace()
    with pytest.raises(UserError, match=rf"needs {need} accumulators.*gives {need - 1}"):
        run(trace, chip.replace({"core.accumulator_words": need - 1}))
    return int(run(trace, chip.replace({"core.accumulator_words": need}), verify=True).cycles.sum())


def passes(start):
    """L3: a silent step of a layer from its ready token to its release, where its producer is one link away."""
    return start + READ + SILENT + SEND + 2 * HOP + LOOK_UP + END + 1 + 1


def silent_steps(steps, sweep, outputs=1):
    """Phase of silent steps on a path of so many outputs; the steps' ends come one per PERIOD, or sweeps hold them up.

    The word in front of the first end has no spike; outputs = 1 where the producer is the consumer.
    """
    first = READ + SILENT + SEND + outputs * HOP + LOOK_UP + END
    return first + (steps - 1) * max(PERIOD, sweep) + sweep + CLOSE


def quick(**changes):
    """One core; nothing in the way but what a test puts there: a row of 16 weights is fetched and added in 1 cycle."""
    base = {
        "mesh__columns": 1,
        "mesh__buffer_flits": 8,
        "core__fifo_flits": 16,
        "core__contexts": 16,
        "core__weight_format": "dense",
        "core__lanes": 16,
        "core__accumulator_banks": 16,
        "core__weight_banks": 6,
        "core__weight_word_bits": 24,
        "core__sweep_width": 16,
        "core__encode_width": 64,
        "dram__latency_ns": 0.0,
        "dram__bandwidth_gb_s": 10000.0,
    }
    return chip_with(**(base | changes))


def expect_cycles(trace, chip, cycles, layer=0, cuts=None):
    """Both twins need exactly so many cycles: they are not done one earlier, and are done then."""
    assert simulate_slowly(trace, chip, cuts=cuts).cycles[0][layer] == cycles
    assert run(trace, chip, cuts=cuts).cycles[0, layer] == cycles


def logged(trace, chip, layer=0, cuts=None):
    """The event log of a layer on the first image, on which both twins agree."""
    logs = {}
    run(trace, chip, cuts=cuts, watch=lambda image, index, rows: logs.setdefault((image, index), read_log(rows)))
    assert logs[0, layer] == simulate_slowly(trace, chip, log=True, cuts=cuts).events[0][layer]
    return logs[0, layer]


def trace_of(layers, streams, timesteps, kept=(), pixels=None):
    """One image; spikes are given, so that targets may stay silent. With a head it is a replay, without logits."""
    numerics = Numerics(timesteps, 0, 8, 8, 16, 16)
    headed = any(isinstance(layer, Head) for layer in layers)
    level = {"level": "replay", "replay_reason": "made by hand"} if headed else {}
    return Trace(numerics, {s.name: s for s in streams}, tuple(layers), 1, pixels, kept, None, **level)


def stream_of(name, dense, height=1):
    """dense[timesteps, tokens, channels]."""
    dense = np.asarray(dense)
    kind = "integer" if dense.max() > 1 else "binary"
    return Stream(name, kind, dense.shape[2], height, dense.shape[1] // height, Events.from_dense(dense))


def silence(name, timesteps, tokens, channels, height=1):
    """A stream without a spike."""
    return stream_of(name, np.zeros((timesteps, tokens, channels), int), height)


def neurons_of(kind, weights, source, target, selector=-1, name="layer"):
    """A convolution or linear layer: weights[outputs][inputs] or [outputs][inputs][ky][kx]."""
    outputs = len(weights)
    bias, theta = np.zeros(outputs, np.int32), np.ones(outputs, np.int32)
    sparse = Weights.from_dense(np.asarray(weights))
    return kind(name=name, source=source, target=target, selector=selector, weights=sparse, bias=bias, theta=theta)


def linear_of(weights, source, target, selector=-1, name="layer"):
    """weights[outputs][inputs]."""
    return neurons_of(Linear, weights, source, target, selector, name)


def linear_trace(weights, spikes):
    """One linear layer: weights[outputs][inputs] on spikes[timesteps][tokens][inputs]."""
    spikes = np.asarray(spikes)
    made = silence("made", *spikes.shape[:2], len(weights))
    return trace_of([linear_of(weights, "given", "made")], [stream_of("given", spikes), made], len(spikes))


def two_layers(first, second, spikes):
    """Layers `first` and `second`; the spikes[timesteps][tokens][channels] are those between them."""
    spikes = np.asarray(spikes)
    given = silence("given", *spikes.shape[:2], np.shape(first)[1])
    made = silence("made", *spikes.shape[:2], len(second))
    layers = [linear_of(first, "given", "between", name="first"), linear_of(second, "between", "made", name="second")]
    return trace_of(layers, [given, stream_of("between", spikes), made], len(spikes))


def conv_trace(weights, spikes, height, window=None, pooled=None):
    """One convolution: weights[outputs][inputs][ky][kx] on spikes[timesteps][tokens][inputs]."""
    given = stream_of("given", np.asarray(spikes), height)
    layer = replace(neurons_of(Conv, weights, "given", "made"), window=window, pooled=pooled)
    rows, columns = layer.outputs(given.height, given.width)
    made = silence("made", len(spikes), rows * columns, len(weights), rows)
    return trace_of([layer], [given, made], len(spikes))


def pixel_trace(timesteps=3):
    """2 x 2 pixels of 1 channel, kernel 1, 16 outputs."""
    layer = neurons_of(Conv, np.ones((16, 1, 1, 1), int), "pixels", "made")
    streams = [Stream("pixels", "real", 1, 2, 2), silence("made", timesteps, 4, 16, 2)]
    return trace_of([layer], streams, timesteps, pixels=np.ones((1, 1, 2, 2), np.int8))


def pool_trace(timesteps, tokens, channels):
    """A pool of 1 x tokens."""
    streams = [silence("given", timesteps, tokens, channels), silence("made", timesteps, up(tokens, 2), channels)]
    return trace_of([Pool(name="pool", source="given", target="made")], streams, timesteps)


def select_trace(form, tokens, keep, then=0, timesteps=1):
    """A selector on silent tokens of 4 channels keeping the last ones; then so many linear layers behind it."""
    learned = {}
    if form == "learned":
        hidden = np.ones((5, 4), int)
        hidden[0, 0] = 0  # E = 19 of 20
        learned = {
            "hidden": Weights.from_dense(hidden),
            "hidden_bias": np.zeros(5, np.int32),
            "score_weights": np.ones(5, np.int8),
        }
    layers = [Select(name="choice", source="given", form=form, keep=keep, **learned)]
    streams = [silence("given", timesteps, tokens, 4)]
    for index in range(then):
        weights = np.ones((16, streams[-1].channels), int)
        layers.append(linear_of(weights, streams[-1].name, f"made{index}", 0, f"behind{index}"))
        streams.append(silence(f"made{index}", timesteps, tokens, 16))
    kept = np.arange(tokens - keep, tokens, dtype=np.uint16)[None]
    return trace_of(layers, streams, timesteps, (kept,))


HEADS, D = 2, 4


def attention_trace(tokens):
    """Silent attention of HEADS heads, each D wide."""
    streams = [silence("given", 1, tokens, 3 * HEADS * D), silence("made", 1, tokens, HEADS * D)]
    return trace_of([Attention(name="mix", source="given", target="made", heads=HEADS, theta=1)], streams, 1)


def stack(layers):
    """Silent linear layers of 16 to 16 channels."""
    streams = [silence(f"s{index}", 1, 1, 16) for index in range(layers + 1)]
    square = np.ones((16, 16), int)
    return trace_of(
        [linear_of(square, f"s{index}", f"s{index + 1}", name=f"layer{index}") for index in range(layers)], streams, 1
    )


ROW = linear_trace(np.ones((16, 1), int), [[[1]]])  # one event, one row of 16 weights
BURST = linear_trace(np.ones((16, 9), int), np.ones((1, 1, 9), int))  # nine of them
