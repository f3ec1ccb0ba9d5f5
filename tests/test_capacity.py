"""Rule P4, two-sided: what just fits a chip runs; with one word, byte or bit less it is refused with both numbers."""

import numpy as np
import pytest
from cases import chip_with
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.placement import place
from sparsespike.simulator.synthetic import mlp_trace
from sparsespike.simulator.trace import Attention, Conv, Linear

TOKENS, WIDTH = 6, 8  # 2 x 3 tokens, 8 channels


def network():
    """Spikes through a convolution, a selector, attention and a linear layer to a head; every weight is there."""
    builder = Builder(Style(images=1, timesteps=2, weight_density=1.0, spike_density=0.3, weight_bits=4, seed=1))
    stream = builder.spikes("given", builder.rng.integers(0, 2, (1, 2, TOKENS, WIDTH)), 2, 3)
    stream = builder.conv("conv", stream, WIDTH)
    builder.select("select", stream, 4)
    stream = builder.linear("qkv", stream, 3 * WIDTH)
    stream = builder.attention("attention", stream, 2)
    stream = builder.linear("projection", stream, WIDTH)
    builder.head("head", stream, 3)
    return builder.trace()


TRACE = network()
OWNED = 4  # channels of the convolution on each of 2 cores
CONV_PLACES = 2 * 3 + 3 + 2 - 1  # (kernel - 1) x width + kernel + contexts - 1

LIMITS = {
    # key: (the least that is enough, the next smaller, changes beside it, the layer that is refused)
    "core.weight_kib": (
        8 * 9 * 2 * 3 / 1024,
        8 * 9 * 2 * 3 / 1024 - 6 / 1024,
        {},
        "conv",
    ),  # rows of 2 words of 3 bytes
    "core.pointer_kib": (8 * 9 * 4 / 1024, (8 * 9 * 4 - 1) / 1024, {}, "conv"),
    "core.accumulator_words": (CONV_PLACES * OWNED, CONV_PLACES * OWNED - 1, {}, "conv"),
    "token_unit.feature_kib": (TOKENS * WIDTH * 2 / 1024, (TOKENS * WIDTH * 2 - 1) / 1024, {}, "select"),
    "token_unit.weight_kib": ((8 * 4 * 12 // 8 + 4) / 1024, (8 * 4 * 12 // 8 + 3) / 1024, {}, "select"),
    "attention.operand_kib": (3 * 2 * TOKENS * WIDTH / 8192, (3 * 2 * TOKENS * WIDTH - 1) / 8192, {}, "attention"),
    "attention.accumulator_words": (4 + 4 * 4, 19, {"attention.order": "qk_first"}, "attention"),
    "mesh.channel_bits": (5, 4, {}, "projection|attention|qkv"),
}


@pytest.mark.parametrize("key", LIMITS)
def test_what_just_fits_runs_and_one_less_is_refused(key):
    enough, less, beside, layer = LIMITS[key]
    chip = chip_with(core__weight_word_bits=24).replace(beside)
    run(TRACE, chip.replace({key: enough}), verify=True)
    with pytest.raises(UserError, match=rf"'({layer})'.*{key.replace('.', '[.]')}"):
        run(TRACE, chip.replace({key: less}))


@pytest.mark.parametrize(
    ("order", "places"), [("time_outer", CONV_PLACES), ("time_inner", CONV_PLACES * 2)], ids=["outer", "inner"]
)
def test_time_inner_holds_a_window_per_timestep(order, places):
    chip = chip_with(core__order=order)
    run(TRACE, chip.replace({"core.accumulator_words": places * OWNED}))
    with pytest.raises(UserError, match=rf"{places * OWNED}.*core[.]accumulator_words.*{places * OWNED - 1}"):
        run(TRACE, chip.replace({"core.accumulator_words": places * OWNED - 1}))


@pytest.mark.parametrize(("batch", "sums"), [(1, 1), (2, 2), (3, 2)])
def test_a_batch_takes_a_window_per_timestep(batch, sums):
    """But no more than the trace's two; with `time_inner` these are there anyway."""
    for order, places in (("time_outer", sums), ("time_inner", 2)):
        chip = chip_with(core__time_batch=batch, core__order=order)
        need = CONV_PLACES * OWNED * places
        run(TRACE, chip.replace({"core.accumulator_words": need}), verify=True)
        with pytest.raises(UserError, match=rf"{need}.*core[.]accumulator_words.*{need - 1}"):
            run(TRACE, chip.replace({"core.accumulator_words": need - 1}))


@pytest.mark.parametrize(("partition", "owned"), [("channel", 6), ("token", 12)])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("contexts", [1, 2, 7])
def test_a_linear_layer_holds_a_sum_per_context_and_timestep(contexts, batch, partition, owned):
    """12 outputs on 2 cores: half of them on each, or all where tokens are cut."""
    chip = chip_with(core__contexts=contexts, core__time_batch=batch, core__partition=partition)
    trace = mlp_trace(widths=(5, 12), seed=2, weight_density=1.0)
    need = owned * contexts * batch
    run(trace, chip.replace({"core.accumulator_words": need}))
    with pytest.raises(UserError, match=rf"{need}.*core[.]accumulator_words"):
        run(trace, chip.replace({"core.accumulator_words": need - 1}))


def test_every_core_of_a_layer_cut_by_tokens_holds_all_weights():
    """5 rows of 12 entries, 2 to a word of 3 bytes: 90 bytes in place of 45."""
    trace = mlp_trace(widths=(5, 12), seed=2, weight_density=1.0)
    for partition, size in (("channel", 45), ("token", 90)):
        chip = chip_with(core__partition=partition, core__weight_banks=1)
        run(trace, chip.replace({"core.weight_kib": size / 1024}))
        with pytest.raises(UserError, match=rf"'linear0' needs {size} bytes.*core[.]weight_kib gives {size - 3}"):
            run(trace, chip.replace({"core.weight_kib": (size - 1) / 1024}))


@pytest.mark.parametrize("field", ["weight_bits", "potential_bits", "accumulator_bits"])
def test_words_narrower_than_the_trace_are_refused(field):
    """The builder gives the trace the least accumulators and potentials that hold its sums."""
    trace = mlp_trace(widths=(64, 32), weight_density=0.5, weight_bits=6, largest=9, classes=4, seed=2)
    need = getattr(trace.numerics, field)
    run(trace, chip_with().replace({f"core.{field}": need}))
    with pytest.raises(UserError, match=rf"core[.]{field}"):
        run(trace, chip_with().replace({f"core.{field}": need - 1}))


def test_trees_beyond_their_numbers_are_refused():
    """4 producers to 2 units, each with channels for both: 8 trees."""
    chip = chip_with(mesh__columns=4, attention__units=2)
    run(TRACE, chip.replace({"mesh.tree_bits": 3}))
    with pytest.raises(UserError, match=r"mesh[.]tree_bits"):
        run(TRACE, chip.replace({"mesh.tree_bits": 2}))


def test_dropped_tokens_without_a_shadow_cannot_be_computed():
    builder = Builder(Style(images=1, timesteps=2, shadow=False, seed=1))
    stream = builder.spikes("given", np.ones((1, 2, 4, 3), int), 2, 2)
    builder.select("select", stream, 2, "rate")
    builder.linear("behind", stream, 5)
    trace = builder.trace()
    run(trace, chip_with(), verify=True)
    for policy in ("gate", "off"):
        with pytest.raises(UserError, match="shadow"):
            run(trace, chip_with(token_unit__policy=policy))


def test_the_network_is_what_the_limits_assume():
    shapes = {layer.name: layer.weights.nonzeros for layer in TRACE.layers if isinstance(layer, (Conv, Linear))}
    assert shapes == {"conv": 8 * 8 * 9, "qkv": 8 * 24, "projection": 8 * 8}
    assert TRACE.layer("select").hidden.nonzeros == 8 * 4
    assert isinstance(TRACE.layer("attention"), Attention)


def test_more_trees_than_16_bits_with_a_sign_can_number():
    """A convolution by channels before a linear layer by tokens has a tree for every pair of cores."""
    builder = Builder(Style(images=1, timesteps=1, weight_density=0.1, spike_density=0.1, seed=4))
    given = builder.spikes("given", builder.rng.integers(0, 2, (1, 1, 256, 4)), 16, 16)
    builder.linear("linear", builder.conv("conv", given, 256, 1), 4)
    trace = builder.trace()
    chip = chip_with(mesh__columns=16, mesh__rows=16, mesh__tree_bits=16, core__partition="token")
    plan = place(trace, chip).plans[1]
    senders = plan.phase.senders
    trees = len(plan.phase.trees.links)
    assert trees > 40_000
    assert int(senders.channel_tree.max()) + int(senders.token_tree.max()) == trees - 1
