"""Quantised ANNs (section M): values held against plain Python integers, time and counts against the oracle."""

from dataclasses import replace
from functools import cache
from os import environ

import numpy as np
import pytest
from agreement import differences
from ann_reference import Slow
from broken_traces import changed, layer_with, numerics_with, stream_with
from cases import chip_with, make_case
from oracle import simulate_slowly
from sparsespike.simulator.activity import Action
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.kernels.neuron_array import requantise
from sparsespike.simulator.synthetic import mlp_trace, synthetic_trace
from sparsespike.simulator.trace import (
    Attention,
    Events,
    Head,
    Requant,
    load_trace,
    save_trace,
)
from sparsespike.simulator.trace_file import flatten_trace

SEEDS = range(20_000, 20_000 + int(environ.get("SPARSESPIKE_ANN_CASES", "30")))


@cache
def network():
    """A small ANN with pools, attention in both orders, residuals, learned selectors and their shadow."""
    return synthetic_trace(
        neuron="relu", seed=4, images=2, depth=3, height=6, width=6, weight_density=0.4, spike_density=0.3, keep=0.6
    )


# ---- against the oracle ----


@pytest.mark.parametrize("seed", SEEDS)
def test_an_ann_on_the_simulator_equals_the_oracle(seed):
    """Cycles, causes, counts; and the chip computes every activation, kept token and logit of the trace itself."""
    case = make_case(seed, "relu")
    found = differences(run(case.trace, case.chip, verify=True), simulate_slowly(case.trace, case.chip))
    assert not found, f"seed {seed}: {len(found)} differences, the first:\n" + "\n".join(found[:5])


# ---- values, once more in plain Python ----


def test_a_synthetic_ann_is_what_plain_integers_give():
    """Every activation, dropped tokens too, every kept token, every logit; with values that clip and both orders."""
    trace = network()
    clipped = 0
    for image in range(trace.images):
        slow = Slow(trace, image)
        for name, stream in trace.streams.items():
            if stream.events is not None:
                dense = stream.events.to_dense(stream.channels).reshape(trace.images, stream.tokens, stream.channels)
                assert dense[image].tolist() == slow.values[name], name
        assert [kept[image].tolist() for kept in trace.kept] == slow.kept
        assert trace.logits[image].tolist() == slow.logits
        clipped += slow.clipped
    assert clipped > 20
    orders = {layer.order for layer in trace.layers if isinstance(layer, Attention)}
    assert orders == {"qk_first", "kv_first"}


@pytest.mark.parametrize("schedule", ["layerwise", "pipelined"])
@pytest.mark.parametrize("policy", ["skip", "gate", "off"])
def test_verify_computes_an_ann_on_the_chip(policy, schedule):
    """And counts what it compared; activations that need several flits arrive whole."""
    trace = network()
    chip = chip_with(token_unit__policy=policy, mesh__value_bits=3, schedule=schedule, mesh__columns=8, mesh__rows=4)
    checked = run(trace, chip.replace({"mesh.tree_bits": 16}), verify=True).verified
    assert checked.neurons > checked.spikes > 0
    assert checked.logits == trace.logits.size


@pytest.mark.parametrize("name", ["sps0", "pool1", "sps2", "block0.qkv", "block0.attention", "block1.projection"])
def test_verify_refuses_an_activation_that_is_off_by_one(name):
    trace = network()
    layer = trace.layer(name)
    stream = trace.streams[layer.target]
    dense = stream.events.to_dense(stream.channels)
    token = stream.tokens + (int(trace.kept[layer.selector][1][0]) if layer.selector >= 0 else 0)  # second image
    dense[token, 1] = dense[token, 1] + 1 if dense[token, 1] < 255 else 254
    wrong = stream_with(trace, layer.target, events=Events.from_dense(dense))
    with pytest.raises(UserError, match=f"'{name}', image 1"):
        run(wrong, chip_with(mesh__value_bits=8), verify=True)


@pytest.mark.parametrize(
    ("total", "bias", "multiplier", "shift", "out"),
    [
        (988, 12, 20_000, 16, 255),  # the example of section M: 305, clipped
        (3, 0, 1, 1, 2),  # 1.5 rounds up
        (1, 0, 1, 1, 1),  # 0.5 too
        (-1, 0, 1, 1, 0),  # and -0.5, to 0
        (-300, 10, 32_767, 8, 0),  # ReLU
        (511, 0, 1, 1, 255),  # 256 is clipped
        (509, 0, 1, 1, 255),  # 254.5 rounds to 255
        (2**31 - 1, 0, 32_767, 46, 1),  # nothing overflows
        (-(2**31), 0, 32_767, 46, 0),
    ],
)
def test_requantisation_by_hand(total, bias, multiplier, shift, out):
    outputs = np.zeros((1, 1), np.uint8)
    one = (np.array([value], np.int64) for value in (bias, multiplier, shift))
    requantise(np.array([[total]], np.int64), *one, outputs)
    assert outputs[0, 0] == out


# ---- what it costs ----


def one_layer(values, weights, **chip):
    """A linear layer without bias on the given activations [tokens, channels] on one core; its run."""
    builder = Builder(Style(neuron="relu", seed=1))
    weights = np.asarray(weights, np.int8)
    builder._weights = lambda *_: weights[:, :, None]
    given = builder.spikes("given", np.asarray(values)[None, None], 1, len(values))
    builder.linear("linear", given, len(weights))
    chip = {"mesh__columns": 1, "core__accumulator_banks": 8} | chip
    return run(builder.trace(), chip_with(**chip), verify=True)


def test_an_activation_takes_one_pass_or_as_many_as_its_flits():
    """M3, M4 by hand: the example of section M, 200 and 3 on weights 5 and -4."""
    wide = one_layer([[200, 3]], [[5, -4]], mesh__value_bits=8)
    assert wide.count(Action.MULTIPLY_ADD) == wide.count(Action.ACCUMULATOR_UPDATE) == 2
    assert wide.count(Action.FIFO_READ) == 2 + 1  # and the end of the token
    narrow = one_layer([[200, 3]], [[5, -4]], mesh__value_bits=4)
    assert narrow.count(Action.MULTIPLY_ADD) == 14 + 1
    assert narrow.count(Action.FIFO_READ) == 14 + 1 + 1
    assert wide.synaptic_events.tolist() == narrow.synaptic_events.tolist() == [2]
    assert narrow.total_cycles > wide.total_cycles


def test_a_value_of_one_is_multiplied_too_and_takes_the_time_of_any_other():
    """M3, M4: what the values are shows nowhere where a flit carries them whole."""
    ones = one_layer([[1, 1, 0]], [[1, 2, 3], [4, 5, 6]], mesh__value_bits=8)
    large = one_layer([[255, 77, 0]], [[1, 2, 3], [4, 5, 6]], mesh__value_bits=8)
    assert np.array_equal(ones.counts, large.counts)
    assert np.array_equal(ones.cycles, large.cycles)
    assert (ones.count(Action.ADD), ones.count(Action.MULTIPLY_ADD)) == (0, 4)


def test_an_ann_needs_no_room_for_potentials():
    """M1, L2: where all layers are at work at once, a memory of nearly nothing stops a spiking network alone."""
    small = {"core__potential_kib": 0.01, "mesh__value_bits": 8, "mesh__columns": 4, "schedule": "pipelined"}
    recipe = {"height": 4, "width": 4, "widths": (16, 16), "seed": 2}
    with pytest.raises(UserError, match="KiB of potentials on a core"):
        run(mlp_trace(timesteps=1, **recipe), chip_with(**small))
    assert run(mlp_trace(neuron="relu", **recipe), chip_with(**small), verify=True).total_cycles > 0


def test_an_ann_has_no_potentials_to_move():
    """M4: a potential memory of nearly nothing costs a spiking network DRAM traffic, and an ANN none."""
    chip = chip_with(core__potential_kib=0.01, mesh__value_bits=8)
    recipe = {"height": 4, "width": 4, "widths": (16, 16), "seed": 2}
    lif, ann = run(mlp_trace(timesteps=4, **recipe), chip), run(mlp_trace(neuron="relu", **recipe), chip)
    assert lif.count(Action.DRAM_WRITE) > 0 == ann.count(Action.DRAM_WRITE)
    assert lif.count(Action.POTENTIAL_READ) > 0 == ann.count(Action.POTENTIAL_READ)
    assert (lif.count(Action.NEURON_UPDATE), lif.count(Action.REQUANTISE)) == (4 * 16 * 16, 0)
    assert (ann.count(Action.NEURON_UPDATE), ann.count(Action.REQUANTISE)) == (0, 16 * 16)


def test_a_pool_compares_values():
    """M5."""
    trace = network()
    source = trace.streams[trace.layer("pool1").source]
    result = run(trace, chip_with(mesh__value_bits=8))
    assert result.count(Action.POOL_MAX) == trace.images * source.tokens * source.channels
    assert result.count(Action.POOL_OR) == 0


@pytest.mark.parametrize(("tokens", "order"), [(9, "kv_first"), (9, "qk_first"), (3, "kv_first"), (3, "qk_first")])
def test_the_trace_says_which_product_comes_first(tokens, order):
    """M6: `auto` follows it, where a spiking network would take the one of fewer operations; 4 channels per head."""
    builder = Builder(Style(neuron="relu", seed=8, spike_density=0.5))
    given = builder.spikes("given", builder.rng.integers(0, 256, (1, 1, tokens, 12)), 1, tokens)
    builder.attention("attention", given, 1, order=order)
    result = run(builder.trace(), chip_with(mesh__value_bits=8), verify=True)
    assert result.count(Action.REQUANTISE) == (4 * 4 if order == "kv_first" else tokens * tokens) + tokens * 4


@pytest.mark.parametrize("order", ["qk_first", "kv_first"])
def test_attention_multiplies_where_its_operand_is_not_zero(order):
    """M6 by hand, on the trace's own zeros; `auto` follows the trace."""
    trace = network()
    layer = next(layer for layer in trace.layers if isinstance(layer, Attention) and layer.order == order)
    index = trace.layers.index(layer)
    result = run(trace, chip_with(mesh__value_bits=8))
    width, d = 16, 16 // layer.heads
    stream = trace.streams[layer.source]
    dense = stream.events.to_dense(stream.channels).reshape(trace.images, stream.tokens, 3 * width)
    macs = second = inner = 0
    for image in range(trace.images):
        kept = np.flatnonzero(trace.kept_mask(layer.selector, stream.tokens)[image])
        q = np.count_nonzero(dense[image, kept, :width])
        v = np.count_nonzero(dense[image, kept, 2 * width :])
        n = len(kept)
        macs += n * (q + v) if order == "qk_first" else d * (q + v)
        second += n * v if order == "qk_first" else d * q
        inner += layer.heads * (n * n if order == "qk_first" else d * d) + n * width
        neurons = trace.images * n * width
    assert result.counts[index, Action.ATTENTION_MAC] == macs
    assert result.counts[index, Action.ACCUMULATOR_UPDATE] == second + neurons
    assert result.counts[index, Action.REQUANTISE] == inner
    assert result.counts[index, Action.AND_POPCOUNT] == result.counts[index, Action.ATTENTION_ADD] == 0


# ---- what is refused ----


def test_another_order_than_the_trace_s_is_refused():
    with pytest.raises(UserError, match=r'attention\.order must be "auto" or "qk_first", not "kv_first"'):
        run(network(), chip_with(attention__order="kv_first"))


def test_narrow_accumulators_and_operand_memories_are_refused():
    """P4, M6: 9 keys, heads of 8: 9 x 255^2 needs 21 bits; operands 3 x 9 x 16 x 8 bit are 432 bytes."""
    with pytest.raises(UserError, match=r"'block0\.attention' needs 585,225 as the largest .* gives 524,287"):
        run(network(), chip_with(core__accumulator_bits=20))
    with pytest.raises(UserError, match=r"'block0\.attention' needs 432 bytes of operands per unit, .* gives 430"):
        run(network(), chip_with(attention__operand_kib=0.42))


def requant_with(name, field="requant", **changes):
    """The network with one requantisation changed."""
    return layer_with(network(), name, **{field: replace(getattr(network().layer(name), field), **changes)})


MULTIPLIER = np.full(24, 20_000, np.int32)
BROKEN = {
    "two timesteps": (lambda: numerics_with(network(), timesteps=2), "timesteps = 2, needs 1 where neurons are 'relu'"),
    "potentials": (lambda: numerics_with(network(), potential_bits=16), "potential_bits = 16, needs 0"),
    "fraction bits": (lambda: numerics_with(network(), fraction_bits=1), "fraction_bits = 1, needs 0"),
    "another neuron": (lambda: numerics_with(network(), neuron="relv"), "neuron = 'relv'; did you mean 'relu'"),
    "a spiking network's numbers": (
        lambda: numerics_with(network(), neuron="lif", potential_bits=16),
        "a requantisation, but numerics.neuron is 'lif'",
    ),
    "no requantisation": (
        lambda: layer_with(network(), "sps0", requant=None),
        "'sps0': level = 'exact', but its requant is missing",
    ),
    "a threshold": (lambda: layer_with(network(), "sps0", theta=np.ones(8, np.int32)), "'sps0': a threshold"),
    "short multipliers": (lambda: requant_with("sps0", multiplier=MULTIPLIER), "requant: multiplier: shape"),
    "wide shifts": (lambda: requant_with("sps0", shift=np.ones(8, np.int32)), "requant: shift: type int32"),
    "multiplier of 0": (
        lambda: requant_with("sps0", multiplier=changed(network().layer("sps0").requant.multiplier, 3, 0)),
        "multiplier must be 1 to 32767",
    ),
    "multiplier of 16 bits": (
        lambda: requant_with("sps0", multiplier=changed(network().layer("sps0").requant.multiplier, 3, 32768)),
        "multiplier must be 1 to 32767",
    ),
    "shift of 0": (lambda: requant_with("sps0", shift=np.zeros(8, np.uint8)), "shift must be 1 to 46"),
    "shift of 47": (lambda: requant_with("sps0", shift=np.full(8, 47, np.uint8)), "shift must be 1 to 46"),
    "no order": (lambda: layer_with(network(), "block0.attention", order=""), "order = ''"),
    "another order": (
        lambda: layer_with(network(), "block0.attention", order="qv_first"),
        "order = 'qv_first'; did you mean",
    ),
    "no inner scale": (lambda: layer_with(network(), "block0.attention", inner=None), "inner: missing"),
    "attention's threshold": (lambda: layer_with(network(), "block0.attention", theta=3), "a threshold"),
    "binary activations": (lambda: stream_with(network(), "sps0.out", kind="binary"), "activations are integer|binary"),
    "order of spikes": (
        lambda: layer_with(synthetic_trace(), "block0.attention", order="qk_first"),
        "an order or a requantisation, but numerics.neuron is 'lif'",
    ),
    "requantised spikes": (
        lambda: layer_with(
            synthetic_trace(), "block0.attention", requant=Requant(np.ones(1, np.int32), np.ones(1, np.uint8))
        ),
        "an order or a requantisation",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_refused(name):
    build, message = BROKEN[name]
    with pytest.raises(UserError, match=message):
        build()


def test_a_file_gives_the_ann_back(tmp_path):
    saved = save_trace(network(), tmp_path / "ann.safetensors")
    loaded = load_trace(tmp_path / "ann.safetensors")
    assert loaded.sha256 == network().sha256 == saved
    assert loaded.numerics == network().numerics
    for ours, theirs in zip(network().layers, loaded.layers, strict=True):
        assert type(ours) is type(theirs)
        for field in ("requant", "inner"):
            if getattr(ours, field, None) is not None:
                assert getattr(theirs, field).multiplier.tolist() == getattr(ours, field).multiplier.tolist()
                assert getattr(theirs, field).shift.tolist() == getattr(ours, field).shift.tolist()
    assert any(isinstance(layer, Head) for layer in loaded.layers)


def test_a_spiking_trace_s_file_has_no_word_of_anns():
    """So that bytes and checksums of traces made before stay what they were."""
    tensors, header = flatten_trace(synthetic_trace())
    words = str(header["numerics"]) + str(header["layers"])
    assert not any(word in words + str(list(tensors)) for word in ("neuron", "requant", "inner", "order"))
