"""Exact traces and replays, and what is left to the host: what each must hold, what it may lack, what is said of it."""

from dataclasses import replace

import numpy as np
import pytest
from broken_traces import GRADED, TRANSFORMER, layer_with, stream_with, weights_with
from cases import chip_with
from handmade import linear_trace
from oracle import simulate_slowly
from sparsespike.analysis.console import show
from sparsespike.analysis.inspection import trace_table
from sparsespike.analysis.single import RunRequest, run_single
from sparsespike.analysis.views import host_line, level_line
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.report import simulate
from sparsespike.simulator.report_file import load_report
from sparsespike.simulator.synthetic import mlp_trace
from sparsespike.simulator.trace import Attention, Conv, Events, HostWork, Linear, Pool, load_trace, save_trace
from sparsespike.simulator.trace_file import flatten_trace

REASON = "weights are floating-point numbers"
ANN = mlp_trace(widths=(6, 6, 5), neuron="relu", classes=2, seed=5)
SOFTMAX = HostWork(name="attn.softmax", operation="softmax", operations=320, bytes_in=512, bytes_out=256, after="sps0")
PRODUCT = HostWork(name="attn.matmul", operation="product", operations=4096, unit="multiply_accumulate")
HOSTED = replace(TRANSFORMER, host=(SOFTMAX, PRODUCT))


def as_replay(trace):
    """All that a replay may lack is gone: values, biases, thresholds, logits."""
    layers = []
    for layer in trace.layers:
        for name in ("weights", "hidden"):
            weights = getattr(layer, name, None)
            if weights is not None:
                layer = replace(layer, **{name: replace(weights, values=None)})
        if isinstance(layer, (Conv, Linear)):
            layer = replace(layer, bias=None, theta=None, requant=None)
        elif isinstance(layer, Attention):
            layer = replace(layer, theta=0)
        layers.append(layer)
    return replace(trace, layers=tuple(layers), logits=None, level="replay", replay_reason=REASON)


REPLAY = as_replay(TRANSFORMER)


# ---- exact and replay ----


@pytest.mark.parametrize("trace", [TRANSFORMER, GRADED, ANN], ids=["spiking", "graded", "ann"])
@pytest.mark.parametrize("schedule", ["layerwise", "pipelined"])
def test_a_replay_takes_the_cycles_and_does_the_work_of_the_exact_trace(trace, schedule):
    chip = chip_with(schedule=schedule, mesh__rows=8, mesh__columns=4, mesh__tree_bits=16)
    exact, replayed = run(trace, chip), run(as_replay(trace), chip)
    for name in ("cycles", "latency", "counts", "causes", "synaptic_events", "spikes"):
        np.testing.assert_array_equal(getattr(exact, name), getattr(replayed, name))


def test_a_replay_survives_its_file(tmp_path):
    assert save_trace(REPLAY, tmp_path / "r.safetensors") == REPLAY.sha256
    loaded = load_trace(tmp_path / "r.safetensors")
    assert (loaded.sha256, loaded.level, loaded.replay_reason) == (REPLAY.sha256, "replay", REASON)
    assert (loaded.layer("sps0").theta, loaded.layer("sps0").bias) == (None, None)
    assert loaded.first(1).level == "replay"
    assert REPLAY.sha256 != TRANSFORMER.sha256


def test_exact_traces_without_host_work_keep_their_checksum():
    """Their files hold what they held before there were levels."""
    _, header = flatten_trace(TRANSFORMER)
    assert set(header) == {"numerics", "streams", "layers", "images", "selectors", "shadow", "provenance"}
    assert set(flatten_trace(REPLAY)[1]) == {*header, "level", "replay_reason"}
    assert set(flatten_trace(HOSTED)[1]) == {*header, "host"}


LACKING = {
    "values": lambda trace: weights_with(trace, "block0.fc1", values=None),
    "the selector's values": lambda trace: weights_with(trace, "select1", "hidden", values=None),
    "the head's values": lambda trace: weights_with(trace, "head", values=None),
    "a bias": lambda trace: layer_with(trace, "sps0", bias=None),
    "a threshold": lambda trace: layer_with(trace, "block0.fc2", theta=None),
    "attention's threshold": lambda trace: layer_with(trace, "block0.attention", theta=0),
    "logits": lambda trace: replace(trace, logits=None),
}


@pytest.mark.parametrize("name", LACKING)
def test_only_a_replay_may_lack_it(name):
    with pytest.raises(UserError, match=r"such a trace is a replay|a threshold below 1"):
        LACKING[name](TRANSFORMER)
    LACKING[name](replace(TRANSFORMER, level="replay", replay_reason=REASON))


def test_an_ann_that_lacks_its_scales_is_a_replay():
    layer = next(layer.name for layer in ANN.layers if isinstance(layer, Linear))
    with pytest.raises(UserError, match="requant is missing; such a trace is a replay"):
        layer_with(ANN, layer, requant=None)
    layer_with(replace(ANN, level="replay", replay_reason=REASON), layer, requant=None)


WRONG_LEVELS = {
    "unknown": ({"level": "exactly"}, "did you mean 'exact'"),
    "no reason": ({"level": "replay"}, "does not say why"),
    "a reason for nothing": ({"replay_reason": REASON}, "but level = 'exact'"),
    "no text": ({"level": "replay", "replay_reason": 3}, "replay_reason = 3, needs a text"),
    "no level": ({"level": None}, "level = None"),
}


@pytest.mark.parametrize("name", WRONG_LEVELS)
def test_a_level_that_says_nothing_is_refused(name):
    changes, message = WRONG_LEVELS[name]
    with pytest.raises(UserError, match=message):
        replace(TRANSFORMER, **changes)


def test_a_replays_logits_must_fit_its_head():
    replay = replace(TRANSFORMER, level="replay", replay_reason=REASON)
    with pytest.raises(UserError, match="logits: shape"):
        replace(replay, logits=TRANSFORMER.logits[:, :2])


def test_a_replay_cannot_be_verified(tmp_path):
    with pytest.raises(UserError, match=f"^verify: the trace is a replay.*: {REASON}$"):
        run(REPLAY, chip_with(), verify=True)
    save_trace(REPLAY, tmp_path / "r.safetensors")
    with pytest.raises(UserError, match=REASON):
        run_single(RunRequest(tmp_path / "r.safetensors", verify=True))


def test_what_nobody_recorded_may_be_pooled_and_nothing_else():
    pool = next(layer for layer in TRANSFORMER.layers if isinstance(layer, Pool))
    before = replace(TRANSFORMER, level="replay", replay_reason=REASON)
    unrecorded = stream_with(before, pool.source, events=None)
    with pytest.raises(UserError, match="events are missing"):
        stream_with(TRANSFORMER, pool.source, events=None)
    for chip in (chip_with(), chip_with(core__order="time_inner")):
        whole, lacking, slow = run(before, chip), run(unrecorded, chip), simulate_slowly(unrecorded, chip)
        np.testing.assert_array_equal(whole.cycles, lacking.cycles)
        np.testing.assert_array_equal(whole.counts, lacking.counts)
        assert lacking.cycles.tolist() == [list(image) for image in slow.cycles]
        index = TRANSFORMER.layers.index(pool)
        assert (lacking.spikes[index], whole.spikes[index] > 0) == (0, True)
    reader = next(layer for layer in TRANSFORMER.layers if layer.source == pool.target)
    with pytest.raises(UserError, match=f"events are missing, but layer '{reader.name}' reads them"):
        stream_with(unrecorded, pool.target, events=None)


@pytest.mark.parametrize(("weights", "bits"), [(1, 8), (2, 9), (4, 10), (5, 11), (257, 16), (258, 16), (259, 17)])
def test_weights_of_unknown_value_count_as_the_largest(weights, bits):
    """P4: n weights of 8 bits sum up to at most 127 n, which b bits hold up to 2^(b-1) - 1: 258 x 127 = 32,766."""
    exact = linear_trace(np.ones((1, weights), int), np.ones((1, 1, weights), int))
    replay = as_replay(exact)
    run(replay, chip_with(core__accumulator_bits=bits))
    run(exact, chip_with(core__accumulator_bits=max(8, weights.bit_length() + 1)))
    if bits > 8:
        with pytest.raises(UserError, match=rf"needs {127 * weights:,} as the largest possible sum"):
            run(replay, chip_with(core__accumulator_bits=bits - 1))


# ---- host work ----


def test_host_work_is_counted_and_priced_nowhere(tmp_path):
    chip = load_chip("mesh16")
    plain, hosted = simulate(TRANSFORMER, chip).to_json(), simulate(HOSTED, chip).to_json()
    assert plain["host"] == []
    assert hosted["host"] == [vars(SOFTMAX), vars(PRODUCT)]
    same = set(plain) - {"host", "provenance"}
    assert {key: plain[key] for key in same} == {key: hosted[key] for key in same}
    assert save_trace(HOSTED, tmp_path / "h.safetensors") == HOSTED.sha256 != TRANSFORMER.sha256
    assert load_trace(tmp_path / "h.safetensors").host == (SOFTMAX, PRODUCT)
    simulate(HOSTED, chip).save(tmp_path / "h.json")
    assert load_report(tmp_path / "h.json")["host"] == hosted["host"]


WRONG_WORK = {
    "no name": ({"name": ""}, "needs a name"),
    "no operation": ({"operation": ""}, "needs an operation"),
    "negative": ({"operations": -1}, "operations = -1, needs a number of at least 0"),
    "half": ({"bytes_in": 0.5}, "bytes_in = 0.5, needs a whole number"),
    "true": ({"bytes_out": True}, "bytes_out = True, needs a whole number"),
    "an unknown unit": ({"unit": "mac"}, "unit = 'mac'"),
    "behind nothing": ({"after": "sps"}, "after = 'sps' is no layer; did you mean 'sps"),
}


@pytest.mark.parametrize("name", WRONG_WORK)
def test_host_work_that_says_nothing_is_refused(name):
    changes, message = WRONG_WORK[name]
    with pytest.raises(UserError, match=message):
        replace(TRANSFORMER, host=(replace(SOFTMAX, **changes),))


# ---- what is said ----


def test_level_and_host_work_in_a_line():
    assert level_line("exact", "") == ""
    assert level_line("replay", REASON).endswith(f"values are not reproduced: {REASON}")
    assert host_line([]) == ""
    assert host_line([vars(SOFTMAX), vars(PRODUCT)]) == (
        "host work, not in cycles and energy: 4,096 multiply-accumulates and 320 elementwise operations per image, "
        "0.5 KiB to the host and 0.2 KiB back (softmax of attn.softmax, product of attn.matmul)"
    )


def test_simulate_and_inspect_say_it(tmp_path, capsys):
    path = tmp_path / "r.safetensors"
    save_trace(replace(REPLAY, host=(SOFTMAX,)), path)
    run_single(RunRequest(path, images=1, json=tmp_path / "r.json"))
    said = capsys.readouterr().out
    assert f"replay: spikes and sparsity are real, values are not reproduced: {REASON}" in said
    assert "host work, not in cycles and energy: 320 elementwise operations" in said
    report = load_report(tmp_path / "r.json")
    assert (report["level"], report["replay_reason"]) == ("replay", REASON)
    show(trace_table(path, load_trace(path)))
    said = " ".join(capsys.readouterr().out.split())
    assert "level replay" in said
    assert REASON in said
    save_trace(TRANSFORMER, path)
    run_single(RunRequest(path, images=1))
    assert "replay" not in capsys.readouterr().out


# ---- types, as files may get them wrong ----


WRONG_TYPES = {
    "a name": lambda: replace(
        TRANSFORMER, layers=(replace(TRANSFORMER.layers[0], name="\x1b[2J"), *TRANSFORMER.layers[1:])
    ),
    "a residual": lambda: layer_with(TRANSFORMER, "sps0", residual=False),
    "a selector": lambda: layer_with(TRANSFORMER, "block2.fc1", selector=1.0),
    "heads": lambda: layer_with(TRANSFORMER, "block0.attention", heads=True),
    "images": lambda: replace(TRANSFORMER, images=2.0),
    "shadow": lambda: replace(TRANSFORMER, shadow=1),
    "taps": lambda: weights_with(TRANSFORMER, "block0.fc1", taps=1.0),
    "timesteps": lambda: replace(TRANSFORMER, numerics=replace(TRANSFORMER.numerics, timesteps=True)),
    "provenance": lambda: replace(TRANSFORMER, provenance={"seed": 3}),
    "half a character": lambda: replace(TRANSFORMER, provenance={"data": "\ud800"}),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_another_type_is_refused(name):
    with pytest.raises(UserError, match="needs"):
        WRONG_TYPES[name]()


def test_events_of_a_stream_are_still_checked_in_a_replay():
    stream = REPLAY.streams["sps0.out"]
    events = Events(stream.events.offsets[:-1], stream.events.channels)
    with pytest.raises(UserError, match="offsets: shape"):
        stream_with(REPLAY, "sps0.out", events=events)
