"""Which core owns what: automatic cuts against a plain formula, cuts of one's own, and every fault of their file."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from agreement import differences
from cases import chip_with
from oracle import simulate_slowly
from sparsespike import UserError, load_trace, simulate
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.cuts import cut_evenly, cut_tokens, load_cuts
from sparsespike.simulator.engine import run
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.synthetic import mlp_trace, synthetic_trace
from sparsespike.simulator.trace import Weights, save_trace


def evenly(weights, cores):
    """P1, word by word: first channel of each core, and the end."""
    whole = sum(weights)
    owner = [cores * (2 * sum(weights[:c]) + weights[c]) // (2 * whole) for c in range(len(weights))]
    return [sum(core < p for core in owner) for p in range(cores + 1)]


def nonzeros(*layers):
    """1 + the non-zero weights of each output, of all these layers."""
    return [1 + sum(int((layer.weights.outputs == c).sum()) for layer in layers) for c in range(outputs(layers[0]))]


def outputs(layer):
    return layer.weights.output_channels


# ---- the formulas ----


@pytest.mark.parametrize("seed", range(40))
def test_cut_evenly_is_rule_p1(seed):
    rng = np.random.default_rng(seed)
    cores = int(rng.integers(1, 20))
    weights = rng.integers(1, 1 + 10 ** int(rng.integers(0, 5)), int(rng.integers(1, 60)))
    bounds = cut_evenly(weights, cores).tolist()
    assert bounds == evenly(weights.tolist(), cores)
    shares = [int(weights[low:high].sum()) for low, high in pairwise(bounds)]
    assert sum(shares) == weights.sum()
    assert max(shares) <= weights.sum() / cores + weights.max()  # half a channel too much on either side


@pytest.mark.parametrize(
    ("weights", "cores", "bounds"),
    [
        ([1, 1, 1, 1], 2, [0, 2, 4]),
        ([1, 1, 1], 2, [0, 1, 3]),  # the middle of the middle one stands on the border: to the right
        ([9, 1, 1, 1], 2, [0, 1, 4]),
        ([1, 1, 1, 9], 2, [0, 3, 4]),
        ([1], 3, [0, 0, 1, 1]),  # core 1 has it; the others take no part
        ([1, 1], 4, [0, 0, 1, 1, 2]),
    ],
)
def test_cuts_by_hand(weights, cores, bounds):
    assert cut_evenly(np.array(weights), cores).tolist() == bounds


@pytest.mark.parametrize(
    ("tokens", "cores", "bounds"), [(4, 2, [0, 2, 4]), (5, 2, [0, 3, 5]), (1, 3, [0, 1, 1, 1]), (3, 4, [0, 1, 2, 3, 3])]
)
def test_tokens_are_cut_by_rule_p2(tokens, cores, bounds):
    """Token t to core floor(t x cores / tokens): 3 tokens on 4 cores go to 0, 1 and 2."""
    owner = [token * cores // tokens for token in range(tokens)]
    assert cut_tokens(tokens, cores).tolist() == [sum(core < p for core in owner) for p in range(cores + 1)] == bounds


# ---- a network ----


@cache
def network():
    """a, and b that is added to it: joined; a pool behind c joins both its sides; then a head."""
    builder = Builder(Style(images=1, timesteps=2, weight_density=0.4, spike_density=0.3, seed=4))
    rng = builder.rng
    given = builder.spikes("given", rng.integers(0, 2, (1, 2, 16, 6)), 4, 4)
    a = builder.conv("a", given, 12)
    b = builder.conv("b", a, 12, residual=a)
    c = builder.conv("c", b, 10)
    pooled = builder.pool("pool", c)
    d = builder.linear("d", pooled, 10, residual=pooled)
    builder.select("choice", d, 3)
    fused = builder.linear("qkv", d, 30)
    mixed = builder.attention("mix", fused, 2)
    builder.head("head", builder.linear("out", mixed, 10, residual=d), 5)
    return builder.trace()


CHIP = chip_with(mesh__columns=3)


def test_joined_streams_are_cut_alike_by_the_weights_of_all_their_layers():
    dense = network().layer("b").weights.to_dense()
    dense[:6] = 0  # of b, but not of a
    pruned = replace(network().layer("b"), weights=Weights.from_dense(dense.reshape(12, 12, 3, 3)))
    trace = replace(network(), layers=tuple(pruned if layer.name == "b" else layer for layer in network().layers))
    layers = {layer.name: layer for layer in trace.layers}
    cuts = {name: list(bounds) for name, bounds in run(trace, CHIP).cuts.items()}
    assert set(cuts) == {"a", "b", "c", "pool", "d", "qkv", "out", "head"}
    assert cuts["a"] == cuts["b"] == evenly(nonzeros(layers["a"], layers["b"]), 3)
    joined = [layers[name] for name in ("c", "d", "out")]
    assert cuts["c"] == cuts["pool"] == cuts["d"] == cuts["out"] == evenly(nonzeros(*joined), 3)
    assert cuts["qkv"] == evenly(nonzeros(layers["qkv"]), 3)
    assert cuts["head"] == evenly(nonzeros(layers["head"]), 3)
    assert cuts["a"] not in (evenly(nonzeros(layers["a"]), 3), evenly(nonzeros(layers["b"]), 3))


def test_dense_weights_are_cut_by_their_number():
    cuts = run(network(), CHIP.replace({"core.weight_format": "dense"})).cuts
    assert cuts["a"] == (0, 4, 8, 12)
    assert cuts["qkv"] == (0, 10, 20, 30)
    assert list(cuts["head"]) == evenly([1] * 5, 3)


STACK = mlp_trace(widths=(20, 24, 24), height=2, width=3, weight_density=0.4, classes=5, residual=True, seed=3)


def test_by_tokens_only_linear_layers_are_cut_otherwise():
    cuts = run(STACK, CHIP.replace({"core.partition": "token"})).cuts
    assert cuts["linear0"] == cuts["linear1"] == tuple(cut_tokens(6, 3).tolist())
    assert cuts["head"] == run(STACK, CHIP).cuts["head"]


# ---- cuts of one's own ----


@pytest.mark.parametrize(
    ("cuts", "also"),
    [
        ({"a": [0, 12, 12, 12]}, "b"),  # all of it on core 0, and what is added to it with it
        ({"b": [0, 0, 5, 12]}, "a"),
        ({"c": [0, 1, 2, 10], "qkv": [0, 0, 0, 30], "head": [0, 0, 4, 5]}, "pool"),
        ({"a": [0, 1, 2, 12], "b": [0, 1, 2, 12]}, "a"),
    ],
)
def test_given_cuts_replace_the_automatic_ones(cuts, also):
    result = run(network(), CHIP, cuts=cuts, verify=True)
    assert {name: list(result.cuts[name]) for name in cuts} == cuts
    assert list(result.cuts[also]) == next(iter(cuts.values()))
    untouched = {"a", "b", "c", "pool", "d", "qkv", "out", "head"} - {"pool", "d", "out", "c", "a", "b", *cuts}
    automatic = run(network(), CHIP).cuts
    assert {name: result.cuts[name] for name in untouched} == {name: automatic[name] for name in untouched}
    assert differences(result, simulate_slowly(network(), CHIP, cuts=cuts)) == []


@pytest.mark.parametrize("cuts", [{"linear0": [0, 0, 4, 6]}, {"linear0": [0, 6, 6, 6], "linear1": [0, 1, 2, 6]}])
def test_tokens_may_be_cut_by_hand(cuts):
    chip = CHIP.replace({"core.partition": "token"})
    result = run(STACK, chip, cuts=cuts, verify=True)
    assert {name: list(result.cuts[name]) for name in cuts} == cuts
    assert differences(result, simulate_slowly(STACK, chip, cuts=cuts)) == []


def test_the_automatic_cuts_written_out_change_nothing():
    automatic = run(STACK, CHIP)
    given = run(STACK, CHIP, cuts=automatic.cuts)
    np.testing.assert_array_equal(given.cycles, automatic.cycles)
    np.testing.assert_array_equal(given.counts, automatic.counts)
    assert given.cuts == automatic.cuts


def test_cuts_move_work_and_make_none():
    cuts = {"linear0": [0, 24, 24, 24]}
    moved, even = run(STACK, CHIP, cuts=cuts), run(STACK, CHIP)
    np.testing.assert_array_equal(moved.synaptic_events, even.synaptic_events)
    assert moved.placed[0] == moved.imbalance[0] == 3.0
    assert even.placed[0] < 1.2


def test_the_report_says_how_layers_were_cut():
    chip = load_chip("edge")
    report = simulate(STACK, chip, cuts={"linear1": [0, 3, 6, 12, 24]}).to_json()
    assert report["placement"]["linear1"] == report["placement"]["linear0"] == [0, 3, 6, 12, 24]
    assert report["placement"] == json.loads(json.dumps(report["placement"]))
    assert simulate(STACK, chip).to_json()["placement"]["linear1"] != [0, 3, 6, 12, 24]


# ---- files ----


def placement(folder: Path, text: str) -> Path:
    path = folder / "cuts.toml"
    path.write_text(text)
    return path


def test_a_file_of_cuts(tmp_path):
    path = placement(tmp_path, '[cuts]\na = [0, 4, 8, 12]\n"block0.fc1" = [0, 1, 2, 3]\n')
    assert load_cuts(path) == load_cuts(str(path)) == {"a": [0, 4, 8, 12], "block0.fc1": [0, 1, 2, 3]}
    assert load_cuts(placement(tmp_path, "[cuts]\n")) == {}


BAD_FILES = {
    "not TOML": ("[cuts\n", ["not valid TOML"]),
    "empty": ("", ["no table [cuts]", '"block0.fc1" = [0, 24, 48]']),
    "no table": ("cuts = 3\n", ["no table [cuts]"]),
    "another table": ("[cut]\na = [0, 1]\n", ["cut: unknown key", "[cuts]"]),
    "a key beside it": ("more = 1\n[cuts]\na = [0, 1]\n", ["more: unknown key", "[cuts]"]),
    "a number for bounds": ("[cuts]\na = 3\n", ["cuts.a = 3: a list of whole numbers"]),
    "fractions": ("[cuts]\na = [0, 1.5]\n", ["cuts.a = [0, 1.5]: a list of whole numbers"]),
    "truth values": ("[cuts]\na = [false, true]\n", ["cuts.a = [False, True]: a list of whole numbers"]),
    "a name without quotes": ("[cuts]\nblock0.fc1 = [0, 1]\n", ['put the layer\'s name in quotes: "block0.fc1"']),
    "two faults": ('[cuts]\na = "x"\nb = [[]]\n', ["cuts.a", "cuts.b"]),
}


@pytest.mark.parametrize(("text", "fragments"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_holds_no_cuts_is_refused(tmp_path, text, fragments):
    path = placement(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_cuts(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "deep.toml").write_text("cuts = " + "[" * 5000)
    (tmp_path / "long.toml").write_text("cuts = " + "9" * 5000)
    reasons = {
        "none.toml": "no such file",
        ".": "is a folder, not a placement file",
        "odd.toml": "cannot be read as a text file",
        "odd.toml/x.toml": "cannot be read: Not a directory",
        "deep.toml": "not valid TOML: nested too deeply",
        "long.toml": "not valid TOML",
    }
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=reason) as caught:
            load_cuts(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))


ASCENDING = "4 numbers are needed, the first channel of each of 3 cores and the end, ascending from 0 to 12"

MISFITS = {
    "a layer that is not there": ({"hed": [0, 1, 2, 5]}, ["no layer 'hed'", "did you mean 'head'?"]),
    "a layer without a near name": ({"zzz": [0, 1, 2, 5]}, ["no layer 'zzz'", "valid: a, b, c, d, head, out, qkv"]),
    "a layer of the token unit": (
        {"choice": [0, 1, 2, 3]},
        ["layer 'choice' runs on no cores of its own", "valid: a, b, c, d, head, out, qkv"],
    ),
    "a layer of the attention units": ({"mix": [0, 1, 2, 10]}, ["layer 'mix' runs on no cores of its own"]),
    "too few": ({"a": [0, 4, 12]}, ["layer 'a'", ASCENDING, "[0, 4, 12]"]),
    "none": ({"a": []}, ["layer 'a'", ASCENDING, "[]"]),
    "too many": ({"a": [0, 3, 6, 9, 12]}, ["layer 'a'", ASCENDING]),
    "not from 0": ({"a": [1, 4, 8, 12]}, ["layer 'a'", ASCENDING]),
    "not to the end": ({"a": [0, 4, 8, 11]}, ["layer 'a'", ASCENDING]),
    "beyond the end": ({"a": [0, 4, 8, 13]}, ["layer 'a'", ASCENDING]),
    "descending": ({"a": [0, 8, 4, 12]}, ["layer 'a'", ASCENDING, "[0, 8, 4, 12]"]),
    "below 0": ({"a": [0, -1, 4, 12]}, ["layer 'a'", ASCENDING]),
    "joined, but cut apart": (
        {"a": [0, 4, 8, 12], "b": [0, 4, 9, 12]},
        ["'a' and 'b' are joined", "[0, 4, 8, 12]", "[0, 4, 9, 12]"],
    ),
    "not even a list": ({"a": 3}, ["layer 'a': a list of whole numbers is needed, not 3"]),
    "fractions": ({"a": [0, 4, 8.5, 12]}, ["layer 'a': a list of whole numbers is needed", "8.5"]),
    "two faults at once": ({"hed": [0], "a": [0]}, ["'hed'", "layer 'a'"]),
}


@pytest.mark.parametrize(("cuts", "fragments"), MISFITS.values(), ids=MISFITS)
def test_cuts_that_do_not_fit_the_trace_are_refused(cuts, fragments):
    with pytest.raises(UserError) as caught:
        run(network(), CHIP, cuts=cuts)
    message = str(caught.value)
    assert message.startswith("placement: ")
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_by_tokens_the_cuts_are_tokens():
    chip = CHIP.replace({"core.partition": "token"})
    with pytest.raises(UserError, match="the first token of each of 3 cores and the end, ascending from 0 to 6"):
        run(STACK, chip, cuts={"linear0": [0, 8, 16, 24]})


# ---- the command line ----


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cuts") / "small.safetensors"
    save_trace(synthetic_trace(height=4, width=4, depth=1, seed=6), path)
    return path


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "sparsespike.cli", "simulate", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_a_placement_file_goes_all_the_way_into_the_report(trace_file, tmp_path):
    wide = outputs(load_trace(trace_file).layer("block0.fc1"))
    path = placement(tmp_path, f'[cuts]\n"block0.fc1" = [0, 0, 0, 1, {wide}]\n')
    done = command(trace_file, "--hardware", "edge", "--placement", path, "--verify", "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["placement"]["block0.fc1"] == [0, 0, 0, 1, wide]
    expected = simulate(load_trace(trace_file), load_chip("edge"), cuts=load_cuts(path))
    assert report["cycles"] == expected.cycles


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('[cuts]\n"block0.fc11" = [0, 1]\n', "did you mean 'block0.fc1'?"),
        ('[cuts]\n"block0.fc1" = [0, 1]\n', "5 numbers are needed"),
        ("[cut]\n", "no table [cuts]"),
    ],
)
def test_a_faulty_placement_file_gets_one_line(trace_file, tmp_path, text, fragment):
    done = command(trace_file, "--hardware", "edge", "--placement", placement(tmp_path, text))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert fragment in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
