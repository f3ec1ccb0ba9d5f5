"""Selectors with GELU: the table's entries, that tokens are ranked as in the float network, files, and the chip."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sparsespike import load_chip, simulate
from sparsespike.model.calibrate import GELU_FLAT, calibrate
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.data import Split, load_data
from sparsespike.model.evaluate import float_logits
from sparsespike.model.export import trace_ticket
from sparsespike.model.lowering import gelu_table, lower
from sparsespike.model.selector import TokenSelector
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.ticket import Ticket, load_ticket, save_ticket
from sparsespike.model.tickets import shipped
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.trace import Select, Trace, load_trace, save_trace
from sparsespike.simulator.trace_file import flatten_trace


def gelu(x: float) -> float:
    return x * 0.5 * math.erfc(-x / math.sqrt(2))


@pytest.fixture(scope="module")
def ticket() -> Ticket:
    """The shipped network, its trained selectors with GELU in place of the ReLU, calibrated anew."""
    trained = load_ticket(shipped("digits"))
    model = Spikformer(dataclasses.replace(trained.config, activation="gelu"))
    model.load_state_dict(trained.network().state_dict())
    calibration = calibrate(model, load_data("digits").train.images[:120])
    return dataclasses.replace(trained, config=model.config, calibration=calibration)


@pytest.fixture(scope="module")
def trace(ticket: Ticket) -> Trace:
    test = load_data("digits").test
    return trace_ticket(ticket, Split(test.images[:4], test.labels[:4], test.ids[:4]))


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "unit"), [(0, 1 / 32), (3, 0.004), (9, 2e-5), (0, 1e-3), (12, 0.1)])
def test_each_entry_is_gelu_of_the_mean_of_its_sums(shift, unit):
    table = gelu_table(shift, unit)
    assert (table.dtype, table.shape) == (np.int8, (256,))
    means = [sum(p * 2**shift + low for low in range(2**shift)) / 2**shift for p in range(-128, 128)]
    exact = [gelu(mean * unit) for mean in means]
    for entry, value in zip(table.tolist(), exact, strict=True):
        assert abs(entry - value * 127 / exact[-1]) <= 0.5 + 1e-9
    assert table[255] == 127


def test_entries_by_hand():
    """32 units to 1: GELU(1) = 0.8413, GELU(-1) = -0.1587, its least -0.1700, all x 127 / GELU(3.96875) = 32.00."""
    table = gelu_table(0, 1 / 32)
    assert [int(table[128 + p]) for p in (0, 32, -32, -24, -128, 127, 64)] == [0, 27, -5, -5, 0, 127, 63]


def test_ranges_are_two_sided():
    """Sums below -4 need not be told apart, since GELU is flat there; those above do."""
    config = SpikformerConfig(
        image_size=4, sps_channels=(4, 8), depth=2, heads=2, keep=0.5, classes=3, activation="gelu"
    )
    torch.manual_seed(0)
    images = np.random.default_rng(0).random((3, 1, 4, 4), np.float32)

    def largest(bias: float, activation: str) -> float:
        model = Spikformer(dataclasses.replace(config, activation=activation))
        with torch.no_grad():
            model.predictor[0].linear[0].weight.zero_()
            model.predictor[0].linear[0].bias.fill_(bias)
        return calibrate(model, images).hidden_max[0]

    assert [largest(bias, "gelu") for bias in (0.5, 9.0, -0.5, -9.0)] == [0.5, 9.0, 0.5, GELU_FLAT]
    assert [largest(bias, "relu") for bias in (0.5, 9.0, -0.5, -9.0)] == [0.5, 9.0, 0.0, 0.0]


# --- ranking ----------------------------------------------------------------------------------------------------------


def test_module_is_linear_gelu_linear():
    torch.manual_seed(1)
    selector = TokenSelector("learned", 0, 2, 6, 3, activation="gelu").eval()
    x = torch.randn(4, 1, 5, 6)
    selector.requires_grad_(False)
    first, last = selector.linear[0], selector.linear[2]
    scores = []
    for token in range(5):
        feature = x[:, 0, token].mean(0)
        h = [gelu(float(row @ feature + bias)) for row, bias in zip(first.weight, first.bias, strict=True)]
        z = [sum(float(w) * value for w, value in zip(row, h, strict=True)) for row in last.weight]
        scores.append(z[0] - z[1] + float(last.bias[0] - last.bias[1]))
    best = sorted(sorted(range(5), key=lambda token: -scores[token])[:2])
    assert selector(x, torch.ones(1, 5), torch.zeros(1, 1))[0].nonzero()[:, 0].tolist() == best


def test_integer_network_looks_up_what_the_rule_says(ticket):
    """T6 for any table, in plain Python integers; the shift is so small that sums lie beyond both ends."""
    network, rng = lower(ticket), np.random.default_rng(3)
    changed = [
        dataclasses.replace(
            layer, hidden_shift=layer.hidden_shift - 5, table=rng.integers(-128, 128, 256).astype(np.int8)
        )
        if isinstance(layer, Select)
        else layer
        for layer in network.layers
    ]
    (run,) = dataclasses.replace(network, layers=tuple(changed)).runs(load_data("digits").test.images[:1])
    left, seen = list(range(64)), set[int]()
    for number, layer in enumerate(layer for layer in changed if isinstance(layer, Select)):
        weights, scores = layer.hidden.to_dense()[:, :, 0].tolist(), {}
        for token in left:
            feature = [sum(values) for values in zip(*run.streams[layer.source][0, :, token].tolist(), strict=True)]
            scores[token] = 0
            for row, bias, score in zip(weights, layer.hidden_bias.tolist(), layer.score_weights.tolist(), strict=True):
                p = (sum(w * f for w, f in zip(row, feature, strict=True)) + bias) // 2**layer.hidden_shift
                seen.add(p)
                scores[token] += score * int(layer.table[128 + max(-128, min(127, p))])
        left = sorted(sorted(left, key=lambda token: (-scores[token], token))[: layer.keep])
        assert run.kept[number][0].tolist() == left
    assert min(seen) < -128
    assert max(seen) > 127


def test_entries_stand_for_what_the_float_network_computes(ticket):
    """Float hidden units are the table's entries times one factor, but for what rounding explains."""
    time, network, model = ticket.config.timesteps, lower(ticket), ticket.network()
    (run,) = network.runs(load_data("digits").test.images[:20])
    for index, layer in enumerate(layer for layer in network.layers if isinstance(layer, Select)):
        linear = model.predictor[index].linear
        feature = run.streams[layer.source].astype(np.int64).sum(1)
        exact = linear[:2](torch.from_numpy(feature / time).float()).numpy()
        p = (feature @ layer.hidden.to_dense()[:, :, 0].T.astype(np.int64) + layer.hidden_bias) >> layer.hidden_shift
        unit = float(linear[0].weight.abs().max()) / 127 / time  # of a sum
        step = 2**layer.hidden_shift * unit  # of p
        factor = gelu(127.5 * step) / 127
        rounded = (feature.sum(2, keepdims=True) + 1) / 2 * unit  # of weights and bias
        error = np.abs(layer.table[np.clip(p, -128, 127) + 128] * factor - exact)
        assert (error <= 0.51 * factor + 1.13 * (step / 2 + rounded))[p <= 127].all()  # GELU is nowhere steeper
        assert error.mean() < 0.01 * exact.max()


def test_integer_scores_rank_tokens_as_float_ones_do(ticket, note):
    """On the features that the integer network sees, so that nothing but the scorer differs; a ReLU does worse."""
    test = load_data("digits").test
    network, model = lower(ticket), ticket.network()
    layers = {layer.name: layer for layer in network.layers}
    shares: dict[str, list[float]] = {"table": [], "relu": []}
    for run in network.runs(test.images[:40]):
        for index, source in enumerate(("x1", "x2", "x3")):
            layer, feature = layers[f"select{index}"], run.streams[source].astype(np.int64).sum(1)
            hidden = feature @ layer.hidden.to_dense()[:, :, 0].T.astype(np.int64) + layer.hidden_bias
            p = np.clip(hidden >> layer.hidden_shift, -128, 127)
            linear = model.predictor[index].linear
            z = linear[:3](torch.from_numpy(feature / ticket.config.timesteps).float()).numpy()
            wanted = np.argsort(np.argsort(z[..., 1] - z[..., 0], axis=1), axis=1) < layer.keep
            for form, h in (("table", layer.table[p + 128]), ("relu", np.maximum(p, 0))):
                score = h.astype(np.int64) @ layer.score_weights.astype(np.int64)
                found = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1) < layer.keep
                shares[form].append(float((wanted & found).sum() / wanted.sum()))
    table, relu = np.mean(shares["table"]), np.mean(shares["relu"])
    note(f"integer GELU keeps {table:.2%} of the tokens that the float scorer keeps, a ReLU in its place {relu:.2%}")
    assert table > 0.98
    assert 1 - table < (1 - relu) / 2


def test_integer_network_is_as_good_as_the_float_one(ticket, note):
    images, labels = load_data("digits").test.images[:120], load_data("digits").test.labels[:120]
    integer = float((lower(ticket).logits(images).argmax(1) == labels).mean())
    exact = float((float_logits(ticket.network(), images).argmax(1) == labels).mean())
    note(f"selectors with GELU on {len(labels)} digits: float {exact:.2%}, integer {integer:.2%}")
    assert abs(integer - exact) < 0.02
    assert integer > 0.8


# --- files and the chip -----------------------------------------------------------------------------------------------


def test_tables_are_part_of_the_trace(trace, ticket, tmp_path):
    save_ticket(ticket, tmp_path / "ticket.safetensors")
    assert load_ticket(tmp_path / "ticket.safetensors").config.activation == "gelu"
    digest = save_trace(trace, tmp_path / "trace.safetensors")
    again = load_trace(tmp_path / "trace.safetensors")
    assert again.sha256 == digest
    assert np.array_equal(again.layer("select1").table, trace.layer("select1").table)
    tensors, _ = flatten_trace(trace)
    assert {name for name in tensors if name.endswith("/table")} == {f"layer/select{index}/table" for index in range(3)}
    other = dataclasses.replace(trace.layer("select1"), table=trace.layer("select1").table[::-1].copy())
    layers = tuple(other if layer.name == "select1" else layer for layer in trace.layers)
    assert dataclasses.replace(trace, layers=layers).sha256 != digest


def test_without_tables_nothing_is_written_of_them():
    trained, test = load_ticket(shipped("digits")), load_data("digits").test
    tensors, header = flatten_trace(trace_ticket(trained, Split(test.images[:1], test.labels[:1], test.ids[:1])))
    assert not [name for name in tensors if "table" in name]
    assert not [layer for layer in header["layers"] if "table" in layer]


@pytest.mark.parametrize("policy", ["skip", "off"])
@pytest.mark.parametrize("chip", ["edge", "mesh16"])
def test_the_chip_computes_the_same_tokens(trace, chip, policy):
    report = simulate(trace, load_chip(chip, {"token_unit.policy": policy}), verify=True)
    assert report.activity.verified.tokens == 4 * (64 + 44 + 31)


def test_verify_notices_another_table(trace):
    """A table that turns GELU around ranks other tokens first."""
    layer = trace.layer("select0")
    wrong = dataclasses.replace(layer, table=-np.maximum(layer.table, -127))
    layers = tuple(wrong if one is layer else one for one in trace.layers)
    with pytest.raises(UserError, match="layer 'select0', image 0: the chip keeps other tokens than the trace"):
        simulate(dataclasses.replace(trace, layers=layers), load_chip("edge"), verify=True)


def test_a_table_takes_room_and_traffic_but_no_time(trace):
    """256 bytes per selector in the token unit's memory and from DRAM (D2), no cycle of the selectors' (T6)."""
    bare = tuple(dataclasses.replace(one, table=None) if hasattr(one, "table") else one for one in trace.layers)
    chip = load_chip("mesh16", {"dram.burst_bytes": 1})
    with_table, without = (simulate(one, chip).activity for one in (trace, dataclasses.replace(trace, layers=bare)))
    for index, layer in enumerate(trace.layers):
        more = with_table.counts[index] - without.counts[index]
        assert {Action(action): int(more[action]) for action in np.flatnonzero(more)} == (
            {Action.DRAM_READ: 256} if layer.name.startswith("select") else {}
        )
        assert with_table.causes[index, Cause.SELECTOR] == without.causes[index, Cause.SELECTOR]


def test_unknown_activations_are_refused():
    with pytest.raises(UserError, match="activation 'glue' is unknown; did you mean 'gelu'"):
        SpikformerConfig(activation="glue")
