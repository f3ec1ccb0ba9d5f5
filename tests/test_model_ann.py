"""Quantised ANN twins: their integers once more in plain Python, and how near these come to the float network."""

import dataclasses

import numpy as np
import pytest
import torch
from ann_reference import Slow
from ann_twins import SMALL, TINY, dense, images_for, random_ticket, trace_of, trained
from sparsespike.model import calibrate as calibration
from sparsespike.model.ann import product_order, range_names
from sparsespike.model.ann_lowering import ReluNeurons, requantisation
from sparsespike.model.calibrate import calibrate
from sparsespike.model.data import Split, load_data
from sparsespike.model.evaluate import float_accuracy, float_logits, integer_accuracy
from sparsespike.model.lowering import fold_norm, lower
from sparsespike.model.neuron import LIF
from sparsespike.model.settle import settle_norms
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.ticket import Ticket
from sparsespike.simulator.engine import run
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.trace import Attention, Conv, Linear

# ---- the float network ----


def test_only_the_neurons_differ_from_the_spiking_network():
    spiking = Spikformer(dataclasses.replace(TINY, neuron="lif"))
    twin = Spikformer(TINY)
    assert list(spiking.state_dict()) == list(twin.state_dict())
    assert not any(isinstance(module, LIF) for module in twin.modules())
    assert sum(isinstance(module, LIF) for module in spiking.modules()) == 3 + 7 * TINY.depth


def test_attention_is_a_product_without_softmax():
    model = random_ticket(TINY).network().block[0].attn
    x, mask = torch.rand(1, 2, 9, 6), torch.tensor([[1.0] * 6 + [0.0] * 3] * 2)
    with torch.no_grad():
        q, k, v = (
            torch.relu(getattr(model, f"{part}_bn")(getattr(model, f"{part}_linear")(x)))[0].reshape(2, 9, 2, 3)
            for part in "qkv"
        )
        mixed = torch.einsum("bihd,bjhd,bjhe,bj->bihe", q, k, v, mask).reshape(1, 2, 9, 6) * 0.5
        expected = torch.relu(model.proj_bn(model.proj_linear(mixed)))
        torch.testing.assert_close(model(x, mask), expected)


def test_settled_norms_are_those_of_the_training_images():
    """By hand for the first two; a channel that pruning emptied gives its bias, whatever the statistics were."""
    ticket, images = random_ticket(TINY), images_for(TINY, 300, 4)
    model = ticket.network()
    stem, block = model.patch_embed, model.block[1]
    block.mlp.fc1_linear.weight[3] = 0.0
    block.mlp.fc1_bn.running_mean[3] = 7.0  # a lag that batch norm's 1 / sqrt(epsilon) would make some thousands
    settle_norms(model, images)
    assert not any(module.training for module in model.modules())
    assert {module.momentum for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {0.1}
    batches = [stem.proj_conv(torch.from_numpy(images[at : at + 128])) for at in (0, 128)]  # the rest is no full batch
    for found, axes in ((stem.proj_bn.running_mean, "mean"), (stem.proj_bn.running_var, "var")):
        expected = torch.stack([getattr(batch.permute(1, 0, 2, 3).flatten(1), axes)(1) for batch in batches]).mean(0)
        torch.testing.assert_close(found, expected)
    assert block.mlp.fc1_bn.running_var[3] == 1.0
    wide = block.mlp.fc1_bn(block.mlp.fc1_linear(torch.rand(1, 2, 9, 6)))
    torch.testing.assert_close(wide[..., 3], block.mlp.fc1_bn.bias[3].expand(1, 2, 9))


# ---- ranges ----


def test_ranges_are_means_of_the_batches_largest_on_tokens_that_are_left(monkeypatch):
    monkeypatch.setattr(calibration, "BATCH", 10)
    ticket, images = random_ticket(TINY), images_for(TINY, 20, 9)
    model = ticket.network()
    found = calibrate(model, images).ranges
    assert set(found) == set(range_names(TINY))
    largest: dict[str, list[float]] = {"x": [], "block2.fc1": [], "block2.inner": [], "block0.inner": [], "sps0": []}
    for batch in np.split(images, 2):
        with torch.no_grad():
            x0 = x = model.patch_embed(torch.from_numpy(batch))
            sps = torch.relu(
                model.patch_embed.proj_bn(
                    model.patch_embed.proj_conv(torch.from_numpy(batch))[None].permute(0, 1, 3, 4, 2)
                )
            )
            mask, sums, product = torch.ones(10, 9), [float(x0.max())], {}
            for index, block in enumerate(model.block):
                if index:
                    mask = model.predictor[index - 1](x, mask, None)
                here = mask[None, :, :, None]
                q, k, v = (
                    torch.relu(getattr(block.attn, f"{p}_bn")(getattr(block.attn, f"{p}_linear")(x))) * here
                    for p in "qkv"
                )
                split = [one[0].reshape(10, 9, 2, 3) for one in (q, k, v)]
                kv = torch.einsum("bjhd,bjhe->bhde", split[1], split[2])
                qk = torch.einsum("bihd,bjhd->bhij", split[0], split[1])
                product[index] = float((qk if product_order(TINY, index) == "qk_first" else kv).max())
                middle = x + block.attn(x, mask)
                wide = torch.relu(block.mlp.fc1_bn(block.mlp.fc1_linear(middle)))
                x = middle + block.mlp(middle)
                sums += [float((middle * here).max()), float((x * here).max())]
        largest["x"].append(max(sums))
        largest["block2.fc1"].append(float((wide * here).max()))
        largest["block0.inner"].append(product[0])
        largest["block2.inner"].append(product[2])
        largest["sps0"].append(float(sps.max()))
    for name, both in largest.items():
        assert found[name] == pytest.approx(sum(both) / 2, rel=1e-5), name
    assert [product_order(TINY, index) for index in range(3)] == ["kv_first", "kv_first", "qk_first"]


# ---- the integer network ----


@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize(("pools", "activation"), [((True, False), "relu"), ((False, True), "gelu")])
def test_a_twin_s_trace_is_what_plain_integers_give(seed, pools, activation):
    """Every activation, dropped tokens too, every kept token, every logit; with values that clip."""
    config = dataclasses.replace(TINY, sps_pools=pools, activation=activation)
    trace = trace_of(random_ticket(config, seed), 3 * images_for(config, 2, seed))
    full = clipped = 0
    for image in range(trace.images):
        slow = Slow(trace, image)
        for name, stream in trace.streams.items():
            if stream.events is not None:
                values = dense(trace, name)[image]
                assert values.tolist() == slow.values[name], name
                assert values.any(), name  # no stream is equal by silence
                full += int((values == 255).sum())
        assert [kept[image].tolist() for kept in trace.kept] == slow.kept
        assert trace.logits[image].tolist() == slow.logits
        clipped += slow.clipped
    assert clipped > 0
    assert trace.provenance["saturated"] == str(full)
    orders = [layer.order for layer in trace.layers if isinstance(layer, Attention)]
    assert orders == [product_order(config, index) for index in range(3)]


@pytest.mark.parametrize("form", ["rate", "random"])
def test_other_selectors_run_on_a_chip_too(form):
    config = dataclasses.replace(TINY, selector=form)
    trace = trace_of(random_ticket(config, 2), images_for(config, 3))
    assert run(trace, load_chip("edge"), verify=True).verified.logits == trace.logits.size


@pytest.mark.parametrize("chip", ["mesh16", "edge"])
def test_a_chip_computes_every_activation_of_a_trained_twin(chip):
    trace = trace_of(trained(pruned=True), load_data("digits").test.images[:3])
    checked = run(trace, load_chip(chip), verify=True).verified
    assert checked.logits == 30
    assert checked.neurons > checked.spikes > 10_000
    assert checked.tokens == 3 * 64  # ranked by the one selector


def test_requantisations_are_within_their_word_lengths_and_near_the_scale():
    scale = 2.0 ** np.linspace(-31, 13.9, 2000)
    requant = requantisation(scale)
    assert requant.multiplier.min() >= 1
    assert requant.multiplier.max() <= 2**15 - 1
    assert requant.shift.min() >= 1
    assert requant.shift.max() <= 46
    np.testing.assert_allclose(requant.multiplier / 2.0**requant.shift, scale, rtol=2**-14)
    beyond = requantisation(np.array([2.0**-60, 2.0**40]))
    assert (beyond.multiplier.tolist(), beyond.shift.tolist()) == ([1, 32767], [46, 1])


def test_a_channel_without_weights_gives_its_bias():
    neurons = ReluNeurons(TINY, dict.fromkeys(range_names(TINY), 2.55))
    weight = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1e-12, 0.0], [0.5, -1.0]])
    bias = np.array([1.0, -1.0, 0.0, 0.5, 0.0])
    integers, integer_bias, fields = neurons.layer(weight, bias, 0.01, ("block0.fc1",))
    assert integers.tolist() == [[0, 0], [0, 0], [0, 0], [0, 0], [64, -127]]
    multiplier, shift = fields["requant"].multiplier.astype(np.int64), fields["requant"].shift.astype(np.int64)
    out = (integer_bias * multiplier + (1 << (shift - 1))) >> shift
    assert np.clip(out, 0, 255).tolist() == [100, 0, 0, 50, 0]


def test_a_pool_keeps_its_source_s_unit_and_sums_share_one():
    neurons = ReluNeurons(TINY, dict.fromkeys(range_names(TINY), 1.0) | {"sps0": 2.0, "x": 3.0})
    units = [neurons.unit(name) * 255 for name in ("sps0", "pool0", "sps1", "pool1", "x0", "x1.5", "block0.fc1")]
    assert units == pytest.approx([2, 2, 3, 3, 3, 3, 1])


# ---- float against integer ----


def unit_of(ticket: Ticket, name: str) -> float:
    """What 1 in a stream of SMALL stands for, from the ranges: pixels apart, what is no range feeds the residual."""
    if name == "pixels":
        return ticket.calibration.pixel_max / 127
    return ticket.calibration.ranges.get(name, ticket.calibration.ranges["x"]) / 255


NAMES = {
    "sps0": ("patch_embed.proj_conv", "patch_embed.proj_bn"),
    "sps1": ("patch_embed.proj_conv1", "patch_embed.proj_bn1"),
    "rpe": ("patch_embed.rpe_conv", "patch_embed.rpe_bn"),
}


def float_layer(ticket: Ticket, layer: Conv | Linear) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 weights[outputs, inputs, taps], bias and the units of the outputs."""
    block, _, part = layer.name.partition(".")
    pairs, outputs = [NAMES.get(layer.name)], [layer.target]
    if part:
        prefix = f"block.{block[5:]}.{'mlp' if part.startswith('fc') else 'attn'}"
        parts = list("qkv") if part == "qkv" else [part]
        pairs = [(f"{prefix}.{one}_linear", f"{prefix}.{one}_bn") for one in parts]
        outputs = [f"{block}.{one}" if part == "qkv" else layer.target for one in parts]
    folded = [fold_norm(ticket.parameters, *pair) for pair in pairs]
    weight, bias = (np.concatenate([one[at] for one in folded]) for at in (0, 1))
    units = np.repeat([unit_of(ticket, name) for name in outputs], len(bias) // len(outputs))
    return weight.reshape(*weight.shape[:2], -1), bias, units


@pytest.mark.parametrize("pruned", [False, True])
def test_no_layer_s_error_is_beyond_its_rounding(pruned):
    """Each layer in float on the integers that it got. Allowed: half a unit of each weight, of the bias and of the
    output, and 2^-14 of the output.
    """
    ticket = trained(pruned)
    images = load_data("digits").test.images[:20]
    trace = trace_of(ticket, images)
    checked = 0
    for layer in trace.layers:
        if not isinstance(layer, (Conv, Linear)):
            continue
        weight, bias, out = float_layer(ticket, layer)
        source = (
            trace.pixels.reshape(20, 1, -1).swapaxes(1, 2) if layer.source == "pixels" else dense(trace, layer.source)
        )
        side, pad = round(source.shape[1] ** 0.5), layer.geometry.pad_y
        maps = np.pad(source.reshape(20, side, side, -1).astype(float), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        kernel = 2 * pad + 1
        taps = [maps[:, y : y + side, x : x + side] for y in range(kernel) for x in range(kernel)]
        patches = np.stack(taps, -1).reshape(20, side * side, -1)  # [images, tokens, input x tap]
        unit = unit_of(ticket, layer.source)
        exact = np.maximum(patches @ weight.reshape(len(bias), -1).T * unit + bias, 0) / out
        # A sum's unit: of a channel with hardly any weights the bias sets it, at the least 2^-20 of the output's.
        grain = np.abs(weight).max((1, 2)) / 127 * unit / out
        grain = np.maximum.reduce([grain, np.abs(bias) / out / 2**23, np.full(len(bias), 2.0**-20)])
        allowed = 0.5 + grain * (0.5 * np.abs(patches).sum(-1, keepdims=True) + 0.5) + exact * 2**-14
        got = dense(trace, layer.target)
        if layer.residual:
            before = dense(trace, layer.residual)
            got, exact, allowed = (part[(got < 255)] for part in (got - before, exact, allowed))
        error = np.abs(got - np.minimum(exact, 255))
        assert (error <= allowed).all(), layer.name
        assert error.mean() < 0.5, layer.name  # rounding errors mostly cancel
        checked += error.size
    assert checked > 100_000


def test_no_attention_s_error_is_beyond_its_rounding():
    """The same for (Q K^T) V: half a unit of the first product times the other operand, and of the output."""
    ticket = trained()
    trace = trace_of(ticket, load_data("digits").test.images[:20])
    ranges, orders = ticket.calibration.ranges, set()
    for index, layer in enumerate(layer for layer in trace.layers if isinstance(layer, Attention)):
        units = {part: ranges[f"block{index}.{part}"] / 255 for part in ("q", "k", "v", "inner", "attention")}
        q, k, v = dense(trace, layer.source).reshape(20, 64, 3, 3, 8).transpose(2, 0, 3, 1, 4).astype(float)
        k = k * trace.kept_mask(layer.selector, 64)[:, None, :, None]
        kv_first = layer.order == "kv_first"
        assert kv_first  # 64 and 44 keys, heads of 8
        inner = k.swapaxes(-1, -2) @ v * units["k"] * units["v"]
        inner = np.minimum(inner, 255 * units["inner"])
        exact = (q * units["q"]) @ inner * SMALL.attention_scale
        slack = 0.5 * (q * units["q"]).sum(-1, keepdims=True) * units["inner"] * SMALL.attention_scale
        exact, slack = ((part / units["attention"]) for part in (exact, slack))
        got = dense(trace, layer.target).reshape(20, 64, 3, 8).swapaxes(1, 2)
        error = np.abs(got - np.minimum(exact, 255))
        assert (error <= 0.5 + slack + exact * 2**-13).all()
        assert got.mean() > 1
        orders.add(layer.order)


@pytest.mark.parametrize("pruned", [False, True])
def test_eight_bits_lose_less_than_a_point(pruned, note):
    ticket, data = trained(pruned), load_data("digits")
    model, parts = ticket.network(), (data.validation, data.test)
    split = Split(*(np.concatenate(both) for both in zip(*(vars(part).values() for part in parts), strict=True)))
    float_, integer = float_accuracy(model, split), integer_accuracy(ticket, split)
    note(f"ANN twin, {ticket.sparsity:.0%} pruned: float {float_:.4f}, integer {integer:.4f}")
    assert ticket.sparsity == pytest.approx(0.91 if pruned else 0, abs=1e-3)
    assert float_ > 0.92
    assert integer > float_ - 0.01
    logits = float_logits(model, split.images)
    integers = lower(ticket).logits(split.images)
    unit = (integers * logits).sum() / (integers.astype(float) ** 2).sum()
    assert np.sqrt(np.mean((integers * unit - logits) ** 2)) < 0.08 * logits.std()
    if pruned:
        empty = [
            not weights.to_dense()[channel].any()
            for layer in lower(ticket).layers
            if isinstance(layer, (Conv, Linear))
            for weights in [layer.weights]
            for channel in range(weights.output_channels)
        ]
        assert sum(empty) > 3
