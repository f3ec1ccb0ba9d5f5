"""Convolutional networks of any geometry against dense arithmetic of another make: torch's conv2d and pools."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from cases import any_window, chip_with
from sparsespike.model.integer import IntegerNetwork
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.feedback import additions_per_weight
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.taps import find_taps, open_outputs
from sparsespike.simulator.trace import Conv, Events, Pool, Window
from torch.nn import functional as F

SEEDS = range(60)


@cache
def network(seed):
    """Spikes or pixels through a convolution, a pool, another convolution and, half of the time, a whole map; T = 1."""
    rng = np.random.default_rng([3, seed])
    height, width = (int(size) for size in rng.integers(1, 10, 2))
    builder = Builder(Style(images=2, timesteps=1, weight_density=0.7, spike_density=0.3, seed=seed))
    if rng.random() < 0.5:
        stream = builder.pixels(2, height, width)
    else:
        stream = builder.spikes("given", rng.integers(0, 4, (2, 1, height * width, 2)), height, width)
    stream = builder.conv("first", stream, 3, any_window(rng, height, width, 5))
    form = "sum" if seed % 2 else "max"
    stream = builder.pool("pool", stream, form=form, window=any_window(rng, *size(builder, stream), most=3))
    stream = builder.conv("second", stream, 4, any_window(rng, *size(builder, stream), 5))
    if rng.random() < 0.5:
        builder.conv("whole", stream, 5, Window(*size(builder, stream)))
    builder.count()
    return builder.trace()


def size(builder, stream):
    """Height and width of a stream's map."""
    return builder.streams[stream].height, builder.streams[stream].width


def maps(trace, name):
    """float64[images, channels, height, width] of a stream at its one timestep."""
    stream = trace.streams[name]
    if stream.kind == "real":
        return torch.tensor(trace.pixels, dtype=torch.float64)
    dense = stream.events.to_dense(stream.channels).reshape(trace.images, stream.height, stream.width, -1)
    return torch.tensor(dense, dtype=torch.float64).permute(0, 3, 1, 2)


def by_torch(trace, layer):
    """What a layer makes of its source, by torch; at one timestep a neuron fires where sum + bias reaches theta."""
    source, seen = maps(trace, layer.source), layer.geometry
    where = {"stride": seen.stride, "padding": (seen.pad_y, seen.pad_x)}
    if isinstance(layer, Conv):
        dense = layer.weights.to_dense().reshape(*layer.weights.to_dense().shape[:2], seen.height, seen.width)
        weights, bias = torch.tensor(dense, dtype=torch.float64), torch.tensor(layer.bias.astype(float))
        sums = F.conv2d(source, weights, bias, **where)
        return sums >= torch.tensor(layer.theta.astype(float))[:, None, None]
    # torch's own pools pad by half a kernel at most: zeros in front of them are the same where no value is below
    padded = F.pad(source, (seen.pad_x, seen.pad_x, seen.pad_y, seen.pad_y))
    if layer.form == "max":
        return F.max_pool2d(padded, (seen.height, seen.width), seen.stride)
    return (F.avg_pool2d(padded, (seen.height, seen.width), seen.stride) * seen.taps).round()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trace_of_any_geometry_is_what_torch_computes(seed):
    trace = network(seed)
    for layer in trace.layers:
        assert torch.equal(by_torch(trace, layer).double(), maps(trace, layer.target)), layer.name
    assert torch.equal(maps(trace, trace.layers[-1].target).sum((2, 3)).long(), torch.tensor(trace.logits))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_chip_computes_any_geometry(seed):
    """From the events alone (R5), on two cores, in both schedules."""
    trace = network(seed)
    for changes in ({}, {"schedule": "pipelined", "mesh__columns": 4, "mesh__rows": 2}):
        made = [trace.streams[layer.target] for layer in trace.layers if isinstance(layer, Conv)]
        neurons = sum(trace.images * stream.tokens * stream.channels for stream in made)
        assert run(trace, chip_with(**changes), verify=True).verified.neurons == neurons


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if network(seed).pixels is not None])
def test_the_integer_network_computes_any_geometry(seed):
    trace = network(seed)
    shapes = {name: (one.channels, one.height, one.width) for name, one in trace.streams.items()}
    reference = IntegerNetwork(trace.numerics, trace.layers, shapes, 1.0, 0, 0, 0)
    (result,) = reference.runs(trace.pixels.astype(np.float32))
    for name, values in result.streams.items():
        stream = trace.streams[name]
        np.testing.assert_array_equal(values.reshape(-1, stream.channels), stream.events.to_dense(stream.channels))
    np.testing.assert_array_equal(result.logits, trace.logits)


def test_the_networks_are_of_every_sort():
    """Strides, paddings, rectangles, inputs that no window sees, maps that shrink to one place."""
    seen = [
        (layer.geometry, trace.streams[layer.source])
        for trace in map(network, SEEDS)
        for layer in trace.layers
        if isinstance(layer, (Conv, Pool))
    ]
    signs = {
        "strides": lambda window, _: window.stride > 1,
        "paddings": lambda window, _: window.pad_y + window.pad_x > 0,
        "wide paddings": lambda window, _: window.pad_x > window.width // 2,
        "even kernels": lambda window, _: window.height % 2 == 0,
        "rectangular kernels": lambda window, _: window.height != window.width,
        "rectangular maps": lambda _, source: source.height != source.width,
        "gaps": lambda window, source: not find_taps(source.height, source.width, window).valid.any(axis=1).all(),
        "whole maps": lambda window, source: window.taps == source.tokens > 1,
    }
    for name, sign in signs.items():
        assert sum(sign(*one) for one in seen) >= 10, name


@pytest.mark.parametrize("seed", SEEDS)
def test_additions_of_any_geometry_are_the_synaptic_events(seed):
    trace = network(seed)
    events = run(trace, chip_with()).synaptic_events
    for index, layer in enumerate(trace.layers):
        if isinstance(layer, Conv):
            assert additions_per_weight(trace, layer.name).sum() == events[index]


# ---- the tables (R5, C4, P4) ----


def looked_at(height, width, window):
    """[output] -> {tap: input}, by the definition of a window."""
    rows, columns = window.outputs(height, width)
    found = []
    for oy, ox in np.ndindex(rows, columns):
        inputs = {}
        for ky, kx in np.ndindex(window.height, window.width):
            y, x = oy * window.stride + ky - window.pad_y, ox * window.stride + kx - window.pad_x
            if 0 <= y < height and 0 <= x < width:
                inputs[ky * window.width + kx] = y * width + x
        found.append(inputs)
    return found


@pytest.mark.parametrize("seed", range(100))
def test_tables_of_taps_are_what_windows_look_at(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 9, 2))
    window = any_window(rng, height, width, 5)
    taps, found = find_taps(height, width, window), looked_at(height, width, window)
    met = {
        (token, tap, int(taps.base[token] + taps.reach[border, tap]))
        for token, border in enumerate(taps.border)
        for tap in np.flatnonzero(taps.valid[border])
    }
    assert met == {(token, tap, output) for output, inputs in enumerate(found) for tap, token in inputs.items()}
    assert taps.closing.tolist() == [max(inputs.values()) for inputs in found]
    assert taps.sweeps.sum() == taps.outputs == len(found)


@pytest.mark.parametrize("seed", range(100))
def test_no_more_outputs_are_open_than_the_rule_says(seed):
    """Inputs of successive maps come one after the other: each output from the first that it sees to the last."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 9, 2))
    window, contexts = any_window(rng, height, width, 5), int(rng.integers(1, 9))
    spans = [(min(inputs.values()), max(inputs.values())) for inputs in looked_at(height, width, window)]
    tokens, maps_in_flight = height * width, range(2 + contexts)
    most = max(
        sum(
            first + other * tokens <= now + contexts - 1 and now <= last + other * tokens
            for first, last in spans
            for other in maps_in_flight
        )
        for now in range(tokens)
    )
    assert most <= open_outputs(height, width, window, contexts)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 6), (5, 4), (8, 8)])
def test_a_window_that_keeps_the_map_has_its_closed_formula(height, width, kernel):
    window = Window(kernel, kernel, 1, kernel // 2, kernel // 2)
    for contexts in (1, 2, 5):
        assert open_outputs(height, width, window, contexts) == (kernel - 1) * width + kernel + contexts - 1


# ---- one geometry, two ways to say it ----


def test_the_window_of_old_is_one_of_many():
    """A convolution without a window is the one whose map keeps its size, cycle for cycle."""
    old = synthetic_trace(height=6, width=5, sps=(4, 6), pools=(), depth=0, seed=4)
    new = replace(old, layers=tuple(with_window(layer) for layer in old.layers))
    chip = chip_with(core__order="time_inner", core__potential_kib=0.25)
    before, after = run(old, chip, verify=True), run(new, chip, verify=True)
    np.testing.assert_array_equal(before.cycles, after.cycles)
    np.testing.assert_array_equal(before.counts, after.counts)
    assert old.sha256 != new.sha256


def with_window(layer):
    """A convolution whose window is written out."""
    return replace(layer, window=layer.geometry) if isinstance(layer, Conv) else layer


def test_one_wrong_spike_of_a_strided_layer_is_refused():
    trace = network(3)
    layer = trace.layers[0]
    stream = trace.streams[layer.target]
    dense = stream.events.to_dense(stream.channels)
    dense[-1, 0] ^= 1
    wrong = {**trace.streams, stream.name: replace(stream, events=Events.from_dense(dense))}
    with pytest.raises(UserError, match="'first'"):
        run(replace(trace, streams=wrong, logits=None), chip_with(), verify=True)
