"""The `dense` baseline: any trace on any chip with everything off, through the same engine."""

from dataclasses import replace

import numpy as np
import pytest
from cases import chip_with
from sparsespike import load_chip
from sparsespike.analysis.single import RunRequest
from sparsespike.cli import main
from sparsespike.simulator.activity import Action
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import BASELINES, chip_names
from sparsespike.simulator.report_file import load_report
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Conv, Head, Linear, save_trace

RECIPE = {"depth": 2, "keep": 0.5, "weight_density": 0.2, "seed": 6}


@pytest.mark.parametrize("neuron", ["lif", "relu"])
def test_pruned_weights_are_added_as_zeros_and_dropped_tokens_computed(neuron):
    """What a core adds is every output of every event, of all tokens; what it computes stays right."""
    trace = synthetic_trace(neuron=neuron, **RECIPE)
    chip = chip_with(mesh__value_bits=8)
    sparse, dense = run(trace, chip), run(trace, chip.baseline("dense"), verify=True)
    assert (dense.count(Action.SCAN), dense.count(Action.POINTER_READ)) == (0, 0)
    for index, layer in enumerate(trace.layers):
        if not isinstance(layer, (Conv, Linear, Head)) or trace.streams[layer.source].events is None:
            continue
        operations = int(dense.counts[index, [Action.ADD, Action.MULTIPLY_ADD]].sum())
        less = int(sparse.counts[index, [Action.ADD, Action.MULTIPLY_ADD]].sum())
        assert operations > less
        if isinstance(layer, Linear):
            events = len(trace.streams[layer.source].events.channels)
            assert operations == events * layer.weights.output_channels
            tokens = trace.streams[layer.source].tokens
            neurons = int(dense.counts[index, [Action.NEURON_UPDATE, Action.REQUANTISE]].sum())
            assert neurons == trace.numerics.timesteps * tokens * layer.weights.output_channels
    assert dense.total_cycles > sparse.total_cycles


def test_the_shipped_chip_dense_is_the_baseline_of_mesh16():
    named = {"name": "", "description": ""}
    dense, baseline = load_chip("dense").replace(named), load_chip("mesh16").baseline("dense").replace(named)
    assert dense.settings() == baseline.settings()


@pytest.mark.parametrize("name", chip_names())
def test_a_baseline_changes_its_keys_and_the_name_alone(name):
    chip = load_chip(name)
    changed = chip.baseline("dense")
    assert changed.name == f"{name}-dense"
    assert chip.replace(BASELINES["dense"] | {"name": changed.name}) == changed
    assert changed.baseline("dense").replace({"name": changed.name}) == changed


def test_an_unknown_baseline_names_the_nearest():
    with pytest.raises(UserError, match="no baseline 'dnse'; did you mean 'dense'"):
        load_chip("edge").baseline("dnse")


def test_simulate_runs_on_the_baseline(tmp_path, monkeypatch, capsys):
    trace, report = tmp_path / "t.safetensors", tmp_path / "r.json"
    save_trace(synthetic_trace(**RECIPE), trace)
    monkeypatch.setattr(
        "sys.argv", ["sparsespike", "simulate", str(trace), "--baseline", "dense", "--json", str(report)]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert "mesh16-dense" in capsys.readouterr().out
    found = load_report(report)
    core = found["provenance"]["chip"]["core"]
    assert (found["chip"], core["weight_format"]) == ("mesh16-dense", "dense")
    expected = run(synthetic_trace(**RECIPE), load_chip("mesh16").baseline("dense"))
    assert found["cycles"] == expected.total_cycles
    assert np.sum(list(found["counts"].values())) == expected.counts.sum()


def test_a_setting_that_a_baseline_takes_back_is_refused():
    request = RunRequest("t.safetensors", baseline="dense", settings={"core.weight_format": "csr"})
    with pytest.raises(UserError, match=r"--baseline dense means core.weight_format = dense; leave --set .*=csr out"):
        request.chip()
    same = replace(request, settings={"core.weight_format": "dense", "core.lanes": 8})
    assert (same.chip().core.weight_format, same.chip().core.lanes) == ("dense", 8)
