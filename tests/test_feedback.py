"""What surviving weights cost: exact additions against loops and runs, and means against counts and prices."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cases import chip_with, make_case
from law_runs import all_counted, transformer
from sparsespike import additions_per_weight
from sparsespike.analysis.single import RunRequest, run_single
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.energy import action_prices, load_energy_table
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.feedback import price_weights, uses_per_row
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.report import simulate
from sparsespike.simulator.report_file import load_report
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Conv, Head, Linear, Select, Weights, save_trace

SEEDS = range(2000, 2030)
TABLE = load_energy_table("cmos45")
ADDED = (Action.ADD, Action.MULTIPLY_ADD)
OF_WEIGHTS = {"weight_read", "weight_write", "add", "multiply_add", "accumulator_update", "dram_read"}


def weights_of(layer):
    return layer.hidden if isinstance(layer, Select) else getattr(layer, "weights", None)


def with_weights(trace, name, dense):
    """The trace with other weights in one layer, nothing else changed: its spikes are replayed as they were."""
    layer = trace.layer(name)
    field = "hidden" if isinstance(layer, Select) else "weights"
    sides = (layer.geometry.height, layer.geometry.width) if isinstance(layer, Conv) else ()
    shape = (*dense.shape[:2], *sides)
    changed = replace(layer, **{field: Weights.from_dense(dense.reshape(shape))})
    return replace(trace, layers=tuple(changed if each is layer else each for each in trace.layers))


# --- additions of each weight ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_additions_of_all_weights_are_the_synaptic_events(seed):
    case, activity = make_case(seed), all_counted(seed)
    policy = case.chip.token_unit.policy
    policy = "off" if policy == "gate" else policy  # as `all_counted` runs it
    found = 0
    for index, layer in enumerate(case.trace.layers):
        if isinstance(layer, (Conv, Linear, Head)):
            additions = additions_per_weight(case.trace, layer.name, policy=policy)
            assert additions.shape == layer.weights.to_dense().shape
            assert additions.dtype == np.int64
            assert additions.sum() == activity.synaptic_events[index], layer.name
            found += 1
    assert found


@pytest.mark.parametrize("policy", ["skip", "gate", "off"])
def test_each_policy_counts_its_own_tokens(policy):
    chip = chip_with(token_unit__policy=policy)
    activity = run(transformer(), chip)
    additions = {
        layer.name: additions_per_weight(transformer(), layer.name, policy=policy).sum()
        for layer in transformer().layers
        if isinstance(layer, (Conv, Linear, Head))
    }
    events = dict(zip(activity.layers, activity.synaptic_events.tolist(), strict=True))
    assert additions == {name: events[name] for name in additions}
    behind = uses_per_row(transformer(), "block1.qkv", policy=policy).sum()
    assert (behind == uses_per_row(transformer(), "block1.qkv").sum()) == (policy != "off")
    assert (uses_per_row(transformer(), "head", policy=policy) == uses_per_row(transformer(), "head")).all()


def test_additions_are_those_of_a_loop_over_every_spike_and_tap():
    trace = synthetic_trace(images=2, timesteps=2, height=4, width=5, sps=(3, 4, 4), pools=(), depth=0, seed=3)
    layer = trace.layer("sps1")
    stream, dense = trace.streams[layer.source], layer.weights.to_dense()
    spikes = stream.events.to_dense(stream.channels).reshape(-1, stream.height, stream.width, stream.channels)
    expected = np.zeros(dense.shape, np.int64)
    for _, y, x, channel in np.argwhere(spikes):
        for tap in range(9):
            ky, kx = divmod(tap, 3)
            if 0 <= y - ky + 1 < stream.height and 0 <= x - kx + 1 < stream.width:
                expected[:, channel, tap] += dense[:, channel, tap] != 0
    assert expected.sum() > 0
    assert (additions_per_weight(trace, "sps1") == expected).all()
    # pixels: every one once, whatever its value, for all timesteps
    pixels = additions_per_weight(trace, "sps0")
    assert set(pixels[:, :, 4][pixels[:, :, 4] > 0]) == {2 * 4 * 5}
    assert set(pixels[:, :, 0][pixels[:, :, 0] > 0]) == {2 * 3 * 4}


@pytest.mark.parametrize("kernel", [3, 7])
def test_a_kernel_larger_than_the_map_reaches_what_is_there(kernel):
    changes = {"weight_density": 1.0, "spike_density": 0.5}
    trace = synthetic_trace(height=2, width=1, sps=(2, 3), pools=(), kernel=kernel, depth=0, seed=1, **changes)
    activity = run(trace, chip_with())
    for index, name in enumerate(("sps0", "sps1")):
        assert additions_per_weight(trace, name).sum() == activity.synaptic_events[index] > 0


def test_an_ann_s_activations_count_once():
    trace = synthetic_trace(neuron="relu", seed=5)
    activity = run(trace, chip_with())
    largest = max(
        int(s.events.values.max())
        for s in trace.streams.values()
        if s.events is not None and s.events.values is not None
    )
    assert largest > 1
    for index, layer in enumerate(trace.layers):
        if isinstance(layer, (Conv, Linear, Head)):
            assert additions_per_weight(trace, layer.name).sum() == activity.synaptic_events[index]


@pytest.mark.parametrize("weight_format", ["csr", "bitmap", "dense"])
@pytest.mark.parametrize("name", ["sps0", "sps1", "block1.qkv", "block1.fc1", "select1", "head"])
def test_pruning_a_weight_saves_exactly_its_additions(name, weight_format):
    trace, chip = transformer(), chip_with(core__weight_format=weight_format, mesh__value_bits=1)
    index = [layer.name for layer in trace.layers].index(name)
    additions = additions_per_weight(trace, name)
    place = np.unravel_index(additions.argmax(), additions.shape)
    dense = weights_of(trace.layer(name)).to_dense().copy()
    dense[place] = 0
    whole, pruned = run(trace, chip), run(with_weights(trace, name, dense), chip)
    saved = whole.counts - pruned.counts
    learned = name.startswith("select")
    expected = 0 if weight_format == "dense" else additions[place]
    assert additions[place] > 0
    assert whole.synaptic_events.sum() - pruned.synaptic_events.sum() == (0 if learned else additions[place])
    assert saved[index, Action.SELECTOR_MAC if learned else ADDED].sum() == expected
    assert saved[:, Action.ACCUMULATOR_UPDATE].sum() == (0 if learned else expected)
    # and nothing that the means leave out
    fixed = [action for action in Action if action.key not in OF_WEIGHTS | {"selector_mac"}]
    assert (np.delete(saved, index, axis=0)[:, ADDED] == 0).all()
    assert (saved[:, fixed] == 0).all() or weight_format != "dense"  # cuts may move: P1 weighs channels
    assert (saved[:, [Action.NEURON_UPDATE, Action.SPIKE_READ, Action.SPIKE_WRITE]] == 0).all()
    assert (saved[:, Action.POINTER_READ] == 0).all()


def test_a_trace_s_additions_add_up_over_its_images():
    trace = transformer()
    last = additions_per_weight(trace, "block0.fc2") - additions_per_weight(trace.first(1), "block0.fc2")
    assert trace.images == 2
    assert (last >= 0).all()
    assert last.sum() > 0


# --- means ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_format", ["csr", "bitmap"])
@pytest.mark.parametrize("partition", ["channel", "token"])
def test_means_times_weights_are_the_counts(weight_format, partition):
    chip = load_chip("mesh16", {"core.weight_format": weight_format, "core.partition": partition})
    trace = transformer()
    activity = run(trace, chip)
    found = price_weights(trace, chip, TABLE, activity)
    prices = dict(zip((action.key for action in Action), action_prices(chip, TABLE)[:, 1], strict=True))
    assert set(found) == {layer.name for layer in trace.layers if weights_of(layer) is not None}
    for index, layer in enumerate(trace.layers):
        if layer.name not in found:
            continue
        mean, weights = found[layer.name], weights_of(layer)
        assert mean.weights == weights.nonzeros == (weights.to_dense() != 0).sum()
        assert mean.cycles == activity.cycles[:, index].sum() / mean.weights
        served = activity.causes[index, [Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH]].sum()
        assert mean.service_cycles == served / mean.weights
        allowed = {"selector_mac", "dram_read"} if isinstance(layer, Select) else OF_WEIGHTS
        assert set(mean.actions) <= allowed
        for action in Action:
            if action.key in allowed - {"dram_read", "selector_mac"}:
                assert mean.actions.get(action.key, 0) == activity.counts[index, action] / mean.weights
        energy = sum(prices[key] * amount for key, amount in mean.actions.items())
        assert mean.energy_pj == pytest.approx(energy, rel=1e-12)
        assert 0 < mean.energy_pj * mean.weights < activity.counts[index] @ action_prices(chip, TABLE)[:, 1]


@pytest.mark.parametrize("partition", ["channel", "token"])
def test_bytes_of_weights_with_pointers_and_pixels_are_all_that_came(partition):
    chip = load_chip("mesh16", {"core.partition": partition, "dram.burst_bytes": 1})
    trace = transformer().first(1)
    activity = run(trace, chip)
    found = price_weights(trace, chip, TABLE, activity)
    for index, layer in enumerate(trace.layers):
        if layer.name not in found:
            continue
        mean, counts = found[layer.name], activity.counts[index]
        assert counts[Action.DRAM_WRITE] == 0  # nothing spills
        rest = layer.hidden.output_channels if isinstance(layer, Select) else 4 * counts[Action.POINTER_WRITE]
        if partition == "token" and isinstance(layer, Linear):
            rest //= (np.diff(activity.cuts[layer.name]) > 0).sum()
        pixels = trace.pixels[0].size if index == 0 else 0
        weights = round(mean.actions["dram_read"] * mean.weights, 6)
        assert int(np.ceil(weights)) + int(rest) + pixels == counts[Action.DRAM_READ]


def test_what_streams_in_for_every_image_costs_as_often():
    trace, means = transformer(), []
    for weight_kib in (96.0, 0.25):  # all weights of a core, or those of one layer
        chip = load_chip("mesh16", {"core.weight_kib": weight_kib, "core.weight_word_bits": 32})
        means.append(price_weights(trace, chip, TABLE, run(trace, chip)))
    resident, streaming = means
    assert trace.images == 2
    for name, mean in resident.items():
        for action in {"weight_write", "dram_read"} & set(mean.actions):
            assert streaming[name].actions[action] == 2 * mean.actions[action]
    assert resident["select1"].actions["selector_mac"] == streaming["select1"].actions["selector_mac"] == 2 * 16


def test_where_zeros_are_stored_pruning_saves_nothing():
    report = simulate(transformer(), load_chip("mesh16", {"core.weight_format": "dense"}))
    assert report.per_weight
    for mean in report.per_weight.values():
        assert (mean.actions, mean.energy_pj, mean.service_cycles) == ({}, 0, 0)
        assert mean.cycles > 0


def test_a_layer_without_survivors_has_no_mean():
    trace = transformer()
    empty = with_weights(trace, "block0.fc1", np.zeros_like(trace.layer("block0.fc1").weights.to_dense()))
    report = simulate(empty, load_chip("mesh16"))
    assert "block0.fc1" not in report.per_weight
    assert "block0.fc2" in report.per_weight
    assert additions_per_weight(empty, "block0.fc1").sum() == 0
    assert uses_per_row(empty, "block0.fc1").sum() > 0  # what growing a weight would cost


# --- refusals, and the ways out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "policy", "match"),
    [
        ("block0.fc3", "skip", "layer 'block0.fc3': unknown; did you mean 'block0.fc"),
        ("block0.attention", "skip", "layer 'block0.attention': has no weights"),
        ("head", "of", "policy = 'of': unknown; did you mean 'off'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(name, policy, match):
    with pytest.raises(UserError, match=match):
        additions_per_weight(transformer(), name, policy=policy)


def test_dropped_tokens_cannot_be_counted_without_a_shadow():
    trace = synthetic_trace(depth=2, keep=0.5, shadow=False, seed=2)
    assert additions_per_weight(trace, "block1.qkv").sum() > 0
    with pytest.raises(UserError, match="shadow"):
        additions_per_weight(trace, "block1.qkv", policy="off")


def test_the_report_holds_the_means_and_older_ones_still_load(tmp_path):
    report = simulate(transformer(), load_chip("mesh16"))
    report.save(tmp_path / "new.json")
    plain = load_report(tmp_path / "new.json")
    for layer in plain["layers"]:
        mean = report.per_weight.get(layer["name"])
        assert layer.pop("per_weight") == (None if mean is None else vars(mean))
    older = tmp_path / "old.json"
    older.write_text(json.dumps(plain))
    assert load_report(older) == plain


def test_simulate_prints_them_where_asked(tmp_path, capsys):
    save_trace(transformer(), tmp_path / "trace.safetensors")
    run_single(RunRequest(tmp_path / "trace.safetensors", per_weight=True))
    printed = capsys.readouterr().out
    assert "Per surviving weight, per image" in printed
    run_single(RunRequest(tmp_path / "trace.safetensors"))
    assert "Per surviving weight" not in capsys.readouterr().out
