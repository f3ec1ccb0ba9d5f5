"""Pooled sums of a convolution against dense arithmetic of another make, torch's; their tables, files and refusals."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from cases import any_window, chip_with
from handmade import neurons_of, silence, trace_of
from sparsespike.model.integer import IntegerNetwork
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.feedback import additions_per_weight
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.taps import find_taps, open_outputs
from sparsespike.simulator.trace import Conv, Membrane, Stream, Window, load_trace, save_trace
from sparsespike.simulator.trace_file import flatten_trace
from torch.nn import functional as F

SEEDS = range(60)
UNPOOLED = "c087e392bbf648adc71aceabfada63352205f2a5baeac217d62a706d9f7a1873"  # from before sums could be pooled


@cache
def network(seed):
    """Spikes or pixels through two convolutions that pool their sums, and neurons of several kinds; three timesteps."""
    rng = np.random.default_rng([11, seed])
    size = tuple(int(side) for side in rng.integers(1, 10, 2))
    builder = Builder(Style(images=2, timesteps=3, weight_density=0.7, spike_density=0.3, seed=seed))
    if seed % 2:
        stream = builder.pixels(2, *size)
    else:
        stream = builder.spikes("given", rng.integers(0, 4, (2, 3, size[0] * size[1], 2)), *size)
    for name, channels in (("first", 3), ("second", 4)):
        builder.membrane(*[(128, 0), (256, 256), (200, 90)][seed % 3])
        window = any_window(rng, *size, 4)
        pooled = any_window(rng, *window.outputs(*size), 4)
        stream = builder.conv(name, stream, channels, window, pooled=pooled)
        size = pooled.outputs(*window.outputs(*size))
    builder.count()
    return builder.trace()


def maps(trace, name):
    """float64[timesteps, images, channels, height, width]; pixels at every timestep."""
    stream, timesteps = trace.streams[name], trace.numerics.timesteps
    if stream.kind == "real":
        return torch.tensor(trace.pixels, dtype=torch.float64).expand(timesteps, *trace.pixels.shape)
    shape = trace.images, timesteps, stream.height, stream.width, stream.channels
    dense = stream.events.to_dense(stream.channels).reshape(shape)
    return torch.tensor(dense, dtype=torch.float64).permute(1, 0, 4, 2, 3)


def by_torch(trace, layer):
    """What a layer fires: conv2d, max_pool2d among values below every sum, and leaky neurons, in whole numbers."""
    seen, pooled, numerics = layer.geometry, layer.pooled, trace.numerics
    weights = layer.weights.to_dense().reshape(*layer.weights.to_dense().shape[:2], seen.height, seen.width)
    kept, taken = (layer.membrane or Membrane()).decay, (layer.membrane or Membrane()).reset_by
    bias, theta = (torch.tensor(one.astype(np.int64))[:, None, None] for one in (layer.bias, layer.theta))
    potential, fired, high = torch.zeros(1, dtype=torch.int64), [], 2 ** (numerics.potential_bits - 1)
    for source in maps(trace, layer.source):
        weighted = torch.tensor(weights, dtype=torch.float64)
        sums = F.conv2d(source, weighted, stride=seen.stride, padding=(seen.pad_y, seen.pad_x))
        around = F.pad(sums, (pooled.pad_x, pooled.pad_x, pooled.pad_y, pooled.pad_y), value=-float("inf"))
        largest = F.max_pool2d(around, (pooled.height, pooled.width), pooled.stride).long()
        current = (largest + bias) << numerics.fraction_bits
        potential = (((potential * kept) >> 8) + current).clamp(-high, high - 1)
        spikes = potential >= theta
        left = 0 if taken is None else potential - torch.tensor(taken.astype(np.int64))[:, None, None]
        potential = torch.where(spikes, left, potential)
        fired.append(spikes.double())
    return torch.stack(fired)


@pytest.mark.parametrize("seed", SEEDS)
def test_pooled_sums_are_what_torch_computes(seed):
    trace = network(seed)
    for layer in trace.layers:
        assert torch.equal(by_torch(trace, layer), maps(trace, layer.target)), layer.name


def test_the_networks_are_worth_comparing():
    """Most of them spike, and in many the pool's padding would win, or an output lies in no window or in several."""
    spiking = padded = left_out = shared = 0
    for trace in map(network, SEEDS):
        spiking += all(len(trace.streams[layer.target].events.channels) for layer in trace.layers)
        for layer in trace.layers:
            source = trace.streams[layer.source]
            made = layer.geometry.outputs(source.height, source.width)
            read = [one for one in looked_at(*made, layer.pooled) for one in one]
            padded += layer.pooled.pad_y + layer.pooled.pad_x > 0
            left_out += len(set(read)) < made[0] * made[1]
            shared += len(set(read)) < len(read)
    assert spiking >= 40
    assert min(padded, left_out, shared) >= 20


@pytest.mark.parametrize("seed", SEEDS)
def test_the_chip_computes_pooled_sums(seed):
    """From the events alone (R5), in both schedules and orders."""
    trace = network(seed)
    made = [trace.streams[layer.target] for layer in trace.layers]
    neurons = sum(trace.images * trace.numerics.timesteps * stream.tokens * stream.channels for stream in made)
    for changes in ({}, {"core__order": "time_inner"}, {"schedule": "pipelined", "mesh__columns": 4}):
        result = run(trace, chip_with(**changes), verify=True)
        assert result.verified.neurons == neurons
    for index, layer in enumerate(trace.layers):  # pools change nothing about the convolution's events
        assert additions_per_weight(trace, layer.name).sum() == result.synaptic_events[index]


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if network(seed).pixels is not None])
def test_the_integer_network_computes_pooled_sums(seed):
    trace = network(seed)
    shapes = {name: (one.channels, one.height, one.width) for name, one in trace.streams.items()}
    (result,) = IntegerNetwork(trace.numerics, trace.layers, shapes, 1.0, 0, 0, 0).runs(trace.pixels.astype(np.float32))
    for name, values in result.streams.items():
        stream = trace.streams[name]
        np.testing.assert_array_equal(values.reshape(-1, stream.channels), stream.events.to_dense(stream.channels))
    np.testing.assert_array_equal(result.logits, trace.logits)


# ---- the tables (C10, P4, D5) ----


def looked_at(height, width, window):
    """[output] -> inputs, by the definition of a window."""
    rows, columns = window.outputs(height, width)
    found = []
    for oy, ox in np.ndindex(rows, columns):
        top, left = oy * window.stride - window.pad_y, ox * window.stride - window.pad_x
        ys = range(max(top, 0), min(top + window.height, height))
        found.append([y * width + x for y in ys for x in range(max(left, 0), min(left + window.width, width))])
    return found


def geometry(seed):
    """(height, width, window, pooled, outputs of the window, outputs that each pooled one reads)."""
    rng = np.random.default_rng([13, seed])
    height, width = (int(side) for side in rng.integers(1, 9, 2))
    window = any_window(rng, height, width, 4)
    made = window.outputs(height, width)
    pooled = any_window(rng, *made, 4)
    return height, width, window, pooled, looked_at(height, width, window), looked_at(*made, pooled)


@pytest.mark.parametrize("seed", range(150))
def test_tables_are_what_windows_look_at(seed):
    height, width, window, pooled, outputs, places = geometry(seed)
    taps, alone = find_taps(height, width, window, pooled), find_taps(height, width, window)
    closing = [max(max(outputs[output]) for output in read) for read in places]
    assert taps.closing.tolist() == closing
    assert taps.sweeps.tolist() == [
        sum(len(read) for read, last in zip(places, closing, strict=True) if last == token)
        for token in range(height * width)
    ]
    for name in ("border", "valid", "base", "reach", "outputs"):
        np.testing.assert_array_equal(getattr(taps, name), getattr(alone, name))


def most_alive(spans, tokens, contexts):
    """The most spans (first, last) of inputs that some of `contexts` successive inputs, map after map, lie in."""
    around = range(2 + contexts)
    return max(
        sum(
            first + other * tokens <= now + contexts - 1 and now <= last + other * tokens
            for first, last in spans
            for other in around
        )
        for now in range(tokens)
    )


@pytest.mark.parametrize("seed", range(150))
def test_no_more_is_open_than_the_rules_say(seed):
    """P4: an output from the first input that it sees until the last pooled one that reads it closes. D5: those."""
    height, width, window, pooled, outputs, places = geometry(seed)
    contexts = 1 + seed % 5
    closing = [max(max(outputs[output]) for output in read) for read in places]
    until = [max(inputs) for inputs in outputs]
    for read, last in zip(places, closing, strict=True):
        for output in read:
            until[output] = max(until[output], last)
    spans = [(min(inputs), last) for inputs, last in zip(outputs, until, strict=True)]
    assert most_alive(spans, height * width, contexts) <= open_outputs(height, width, window, contexts, pooled)
    spans = [(min(min(outputs[output]) for output in read), last) for read, last in zip(places, closing, strict=True)]
    assert most_alive(spans, height * width, contexts) <= open_outputs(height, width, pooled.over(window), contexts)
    assert pooled.over(window).outputs(height, width) == pooled.outputs(*window.outputs(height, width))


# ---- one pool of sums, two of spikes ----


def test_a_pool_of_one_changes_nothing():
    """Cycle for cycle; only that each sum is compared with nothing."""
    builder = Builder(Style(images=2, timesteps=2, weight_density=0.6, seed=4))
    builder.conv("conv", builder.spikes("given", builder.rng.integers(0, 2, (2, 2, 12, 3)), 3, 4), 5)
    old = builder.trace()
    new = replace(old, layers=(replace(old.layers[0], pooled=Window(1, 1)),))
    chip = chip_with(core__order="time_inner", core__potential_kib=0.25)
    before, after = run(old, chip, verify=True), run(new, chip, verify=True)
    np.testing.assert_array_equal(before.cycles, after.cycles)
    assert np.flatnonzero((before.counts != after.counts).any(axis=0)).size == 1
    assert old.sha256 != new.sha256


def test_a_transformer_whose_stem_pools_sums():
    """As spikingjelly's Spikformer does: fewer layers, the same map behind them, other spikes."""
    of_spikes = synthetic_trace(seed=3, height=6, width=6, depth=1, sps=(4, 6), pools=(1,))
    of_sums = synthetic_trace(seed=3, height=6, width=6, depth=1, sps=(4, 6), pools=(1,), pool_sums=True)
    assert of_spikes.sha256 == UNPOOLED
    assert len(of_sums.layers) == len(of_spikes.layers) - 1
    assert of_sums.streams["sps1.out"].tokens == of_spikes.streams["pool1.out"].tokens == 9
    run(of_sums, chip_with(), verify=True)


# ---- files and refusals ----


def test_files_keep_it(tmp_path):
    trace = network(4)
    save_trace(trace, tmp_path / "t.safetensors")
    back = load_trace(tmp_path / "t.safetensors")
    assert back.sha256 == trace.sha256
    assert [layer.pooled for layer in back.layers] == [layer.pooled for layer in trace.layers]
    plain = [layer for layer in flatten_trace(synthetic_trace(depth=1))[1]["layers"] if layer["kind"] == "conv"]
    assert plain
    assert not any("pooled" in layer for layer in plain)


def pooled_trace(pooled, target=(1, 4), window=None):
    """A silent convolution of 4 x 4 with a pool of its sums; target: (height, places)."""
    layer = replace(neurons_of(Conv, np.ones((1, 1, 3, 3), int), "given", "made"), pooled=pooled, window=window)
    return trace_of([layer], [silence("given", 1, 16, 1, 4), silence("made", 1, target[1], 1, target[0])], 1)


REFUSED = {
    "no window": (lambda: pooled_trace((2, 2, 2)), "pooled: window is a tuple"),
    "size": (lambda: pooled_trace(Window(2, 2, 1)), r"needs \(1, 3, 3\)"),
    "kernel": (lambda: pooled_trace(Window(5, 2, 2)), "pooled: a kernel 5 high on a map that is padded 4 high"),
    "padding alone": (lambda: pooled_trace(Window(2, 2, 2, 0, 2)), "pooled: a padding of 2 around a kernel 2 wide"),
    "stride": (lambda: pooled_trace(Window(2, 2, 0)), "pooled: its window's stride = 0"),
    "far beyond": (lambda: pooled_trace(Window(6, 6, 1, 5, 5)), "pooled: pads more than the map's own 4 x 4"),
    "far beyond, in front": (
        lambda: replace(
            pooled_trace(Window(2, 2, 2), (2, 4)),
            streams={"given": silence("given", 1, 1, 1), "made": silence("made", 1, 4, 1, 2)},
            layers=(
                replace(
                    neurons_of(Conv, np.ones((1, 1, 5, 5), int), "given", "made"),
                    window=Window(5, 5, 1, 4, 4),
                    pooled=Window(2, 2, 4),
                ),
            ),
        ),
        "pads more than the map's own 1 x 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_pools_of_sums_are_refused(name):
    make, said = REFUSED[name]
    with pytest.raises(UserError, match=f"layer 'layer'.*{said}"):
        make()


def test_the_sound_one_is_not_refused():
    assert pooled_trace(Window(2, 2, 2), (2, 4)).layers[0].reach == Window(4, 4, 2, 1, 1)


def test_an_ann_pools_its_activations():
    builder = Builder(Style(neuron="relu", weight_density=0.5))
    builder.conv("conv", builder.pixels(1, 4, 4), 2, pooled=Window(2, 2, 2))
    with pytest.raises(UserError, match=r"'conv': sums are pooled, but numerics\.neuron is 'relu'"):
        builder.trace()


def test_one_wrong_spike_is_refused():
    trace = network(6)
    stream = trace.streams["first.out"]
    dense = stream.events.to_dense(stream.channels)
    dense[0, 0] ^= 1
    wrong = replace(stream, events=type(stream.events).from_dense(dense))
    assert isinstance(wrong, Stream)
    with pytest.raises(UserError, match="'first'"):
        run(replace(trace, streams={**trace.streams, "first.out": wrong}, logits=None), chip_with(), verify=True)
