"""The bench measures what it says: its loop adds up the right sums, its counts are the simulator's, bars can fail."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from bench import exact_fronts, mlp, readme, report
from bench.against_sanafe import rows_against_sanafe
from bench.bare_work import Work, count_events, count_work, list_work, run_work
from bench.clock import Laps, interleave, middle_of, stopwatch
from bench.rows import BARS, Row, Setting, table
from bench.sanafe_mlp import draw_network
from bench.simulator_runs import simulate
from bench.worker import Worker
from numpy.typing import NDArray
from sparsespike.simulator.activity import Action
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Stream, Trace

Ints = NDArray[np.int64]
ISSUE_ROWS = (
    "mlp_replay_vs_sanafe",
    "mlp_packets_vs_sanafe",
    "mlp_verify_vs_sanafe",
    "spikformer_vs_bare_loop",
    "spikformer_whole",
    "imagenet_event_cost_ratio",
    "bounds_speed",
    "bounds_tightness",
    "two_processes",
    "start",
)


# --- the workload mlp


def test_the_recorded_run_is_that_of_the_script() -> None:
    drawn, run = draw_network(), mlp.recorded()
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(drawn.masks, run.masks, strict=True))
    assert np.array_equal(drawn.spikes, run.spikes["input"])
    assert {name: int(spikes.sum()) for name, spikes in run.spikes.items()} == mlp.SPIKES
    met = sum(
        int((run.spikes[name] @ mask.sum(axis=1)).sum())
        for name, mask in zip(("input", "hidden"), run.masks, strict=True)
    )
    assert met == mlp.SYNAPTIC_EVENTS == count_events(mlp.replay_trace())


def test_the_int8_network_keeps_every_synapse_and_fires_as_stated() -> None:
    trace = mlp.int8_trace()
    for name, mask in zip(("fc1", "fc2"), mlp.recorded().masks, strict=True):
        weights = cast(Linear, trace.layer(name)).weights.to_dense()[:, :, 0].T
        assert np.array_equal(weights != 0, mask)
        assert np.abs(weights.astype(int)).max() > 100  # the scale uses int8's range
    assert {name: len(cast(Any, trace.streams[name].events).channels) for name in mlp.SPIKES} == mlp.INT8_SPIKES
    assert count_events(trace) == mlp.INT8_SYNAPTIC_EVENTS


@pytest.mark.parametrize(("per_core", "cores"), [(128, (3, 12, 3)), (32, (12, 48, 12))])
def test_layers_own_as_many_cores_as_on_sanafe(per_core: int, cores: tuple[int, ...]) -> None:
    cuts, chip = mlp.sanafe_cuts(mlp.replay_trace(), per_core), mlp.mlp_chip(per_core)
    owned = {name: np.diff(bounds) for name, bounds in cuts.items()}
    assert [int((sizes > 0).sum()) for sizes in owned.values()] == list(cores)
    assert np.array_equal(sum(owned.values()), np.full(chip.cores, per_core))


def test_the_chip_verifies_the_int8_network() -> None:
    trace, per_core = mlp.int8_trace(), 128
    cuts = mlp.sanafe_cuts(trace, per_core)
    _, activity = simulate(trace, mlp.mlp_chip(per_core), mlp.INT8_SYNAPTIC_EVENTS, cuts=cuts, verify=True)
    assert activity.verified is not None
    assert activity.verified.spikes == mlp.INT8_SPIKES["hidden"] + mlp.INT8_SPIKES["output"]
    with pytest.raises(RuntimeError, match="instead of 2,621,538"):
        simulate(trace, mlp.mlp_chip(per_core), mlp.INT8_SYNAPTIC_EVENTS + 1, cuts=cuts)


# --- the bare loop


@pytest.fixture(scope="module", params=[0, 1])
def small(request: pytest.FixtureRequest) -> Trace:
    """Two blocks, convolutions with borders, residuals of value 2 and more; 9 tokens on 4 or on 8 channels a head."""
    seed: int = request.param
    return synthetic_trace(height=6, width=6, sps=(4, 8, 16), heads=4 - 2 * seed, spike_density=0.3, seed=seed)


def dense_of(trace: Trace, stream: Stream) -> Ints:
    """int64[timesteps, tokens, channels] of the first image."""
    assert stream.events is not None
    dense = stream.events.to_dense(stream.channels).reshape(trace.images, -1, stream.tokens, stream.channels)
    return dense[0].astype(np.int64)


def correlate(values: Ints, weights: Ints, height: int, width: int) -> Ints:
    """int64[rows, tokens, outputs] from values[rows, tokens, inputs] and weights[outputs, inputs, taps], one by one."""
    kernel = round(weights.shape[2] ** 0.5)
    sums = np.zeros((len(values), height * width, len(weights)), np.int64)
    for y, x, ky, kx in np.ndindex(height, width, kernel, kernel):
        iy, ix = y + ky - kernel // 2, x + kx - kernel // 2
        if 0 <= iy < height and 0 <= ix < width:
            sums[:, y * width + x] += values[:, iy * width + ix] @ weights[:, :, ky * kernel + kx].T
    return sums


def expected_sums(trace: Trace, work: Work) -> Ints:
    layer = work.layer
    source = trace.streams[layer.source]
    kept = np.flatnonzero(trace.kept_mask(layer.selector, source.tokens)[0])
    if isinstance(layer, Attention):
        q, k, v = np.split(dense_of(trace, source)[:, kept], 3, axis=2)
        heads = [np.split(part, layer.heads, axis=2) for part in (q, k, v)]
        return np.concatenate([(a @ b.transpose(0, 2, 1)) @ c for a, b, c in zip(*heads, strict=True)], axis=2)
    assert isinstance(layer, (Conv, Linear, Head))
    weights = layer.weights.to_dense().astype(np.int64)
    if isinstance(layer, Conv):
        pixels = cast(Any, trace.pixels)
        real = source.kind == "real"
        values = pixels[0].reshape(1, source.channels, -1).transpose(0, 2, 1) if real else dense_of(trace, source)
        return correlate(values.astype(np.int64), weights, source.height, source.width)
    sums = dense_of(trace, source)[:, kept] @ weights[:, :, 0].T
    return sums.sum(axis=(0, 1)) if isinstance(layer, Head) else sums


@pytest.mark.parametrize("fused", [False, True])
def test_the_bare_loop_adds_up_the_sums(small: Trace, fused: bool) -> None:
    work = list_work(small)
    assert {type(one.layer) for one in work} == {Conv, Linear, Attention, Head}
    run_work(work, fused)
    for one in work:
        assert np.array_equal(one.acc.reshape(-1), expected_sums(small, one).reshape(-1)), one.layer.name


def test_the_bare_loop_meets_the_simulators_events(small: Trace) -> None:
    sample, activity = simulate(small, load_chip("mesh16"), count_events(small))
    assert max(cast(Any, stream.events.values).max() for stream in small.streams.values() if has_values(stream)) > 1
    for layer, events, counts in zip(small.layers, activity.synaptic_events, activity.counts, strict=True):
        amount = count_work(small, layer)
        added = counts[[Action.ADD, Action.MULTIPLY_ADD, Action.ATTENTION_ADD]].sum()
        assert (amount.events, amount.additions) == (events, added), layer.name
    assert "derived" not in vars(small)  # a run that finds what an earlier one has left with the trace is none
    assert 0 < sample["linear_loop"] < sample["loop"] < sample["seconds"] < sample["with_placing"]
    assert sample["linear_loop"] < sample["linear"] < sample["seconds"]


def has_values(stream: Stream) -> bool:
    return stream.events is not None and stream.events.values is not None


# --- the clock


def laps(*seconds: float) -> Laps:
    return Laps({"seconds": 99.0}, tuple({"seconds": one} for one in seconds))


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def contender(name: str, times: Iterator[float]) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            order.append(name)
            return {"seconds": next(times)}

        return run

    seen: list[tuple[int, int]] = []
    found = interleave(
        {"a": contender("a", iter([9.0, 1.0, 4.0, 2.0])), "b": contender("b", iter([8.0, 2.0, 2.0, 2.0]))},
        3,
        lambda done, total: seen.append((done, total)),
    )
    assert order == ["a", "b"] * 4
    assert seen[-1] == (8, 8)
    assert (found["a"].first["seconds"], found["a"].seconds()) == (9.0, 2.0)
    assert found["a"].over(found["b"]) == 1.0  # of 0.5, 2 and 1, round by round


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    assert laps(1, 10, 100).over(laps(1, 100, 10)) == 1
    assert laps(2, 10, 30).over(laps(1, 2, 15)) == 2  # 2, 5, 2; the medians would give 5


def test_the_middle_run_counts() -> None:
    times = iter([3.0, 1.0, 2.0])
    sample = middle_of(lambda: {"seconds": next(times)})()
    assert (sample["seconds"], sample["first"]) == (2.0, 3.0)
    assert (Laps(sample, ()).first_seconds, Laps({"seconds": 4.0}, ()).first_seconds) == (3.0, 4.0)


def test_a_stopwatch_counts_the_calls_asked_for_and_puts_everything_back() -> None:
    module = SimpleNamespace(wait=time.sleep)
    with stopwatch((cast(ModuleType, module), "wait"), only=lambda seconds: seconds > 0.01) as spent:
        module.wait(0.02)
        module.wait(0.001)
    assert 0.02 <= spent.seconds < 0.02 + 0.001 + 0.5
    assert module.wait is time.sleep
    with pytest.raises(AttributeError), stopwatch((cast(ModuleType, module), "gone")):
        pass


# --- rows, JSON, README


@pytest.mark.parametrize(
    ("name", "ratio", "seconds", "holds", "met"),
    [
        ("mlp_replay_vs_sanafe", 30.0, 1.0, True, True),
        ("mlp_replay_vs_sanafe", 29.9, 1.0, True, False),
        ("mlp_replay_vs_sanafe", None, 1.0, True, None),
        ("spikformer_vs_bare_loop", 6.0, 1.0, True, True),
        ("spikformer_vs_bare_loop", 6.1, 1.0, True, False),
        ("imagenet_event_cost_ratio", 1.0, 1.0, True, True),
        ("imagenet_event_cost_ratio", 1.0, 1.0, False, False),  # more memory than it may take
        ("start", None, 2.0, True, True),
        ("start", None, 2.1, True, False),
    ],
)
def test_bars(name: str, ratio: float | None, seconds: float, holds: bool, met: bool | None) -> None:
    assert Row(name, ratio, 1, seconds, holds=holds).met is met


def test_every_row_of_the_table_has_a_bar_and_a_way_to_be_measured() -> None:
    grouped = [name for names, _ in report.GROUPS for name in names]
    assert sorted(grouped) == sorted(BARS)
    assert set(ISSUE_ROWS) <= set(BARS)


ROWS = (
    Row("mlp_replay_vs_sanafe", 41.25, 2_597_294, 0.0125, "SANA-FE, 128 per core", 0.515, 2_597_294, rounds=5),
    Row("start", None, 1_234, 2.5, note="slow", more={"extra": 7}),
)


def test_the_whole_bench_is_written_and_fills_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = tuple(((row.name,), lambda setting, row=row: [row]) for row in ROWS)
    monkeypatch.setattr(report, "GROUPS", groups)
    report.measure(["start"], 5, tmp_path)
    assert not (tmp_path / "bench.json").exists()  # some rows alone are no result
    assert "start: slow" in capsys.readouterr().out
    report.measure([], 5, tmp_path)
    found = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    first, second = found["rows"]
    assert (first["name"], first["ratio"], first["events"], first["seconds"]) == (
        "mlp_replay_vs_sanafe",
        41.25,
        2_597_294,
        0.0125,
    )
    assert (first["bar"], first["sense"], first["met"]) == (30, "at least", True)
    assert (second["ratio"], second["met"], second["extra"]) == (None, False, 7)
    assert found["provenance"]["sanafe"] is None
    assert found["provenance"]["rounds"] == 5
    assert set(found["provenance"]) == {"sparsespike", "python", "numpy", "numba", "sanafe", "rounds"}  # no machine
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- bench:performance -->\nold\n<!-- /bench:performance -->\nafter\n", "utf-8")
    readme.fill(page, tmp_path / "bench.json")
    lines = page.read_text("utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    row = next(line for line in lines if "mlp_replay" in line)
    assert row.startswith("| `mlp_replay_vs_sanafe` | ")
    assert row.endswith("| **41.2 x** | ≥ 30 x | 2,597,294 | 12.5 ms | SANA-FE, 128 per core: 515 ms |")
    assert "| 2.50 s | ≤ 2 s |" in next(line for line in lines if "`start`" in line)


def test_a_readme_without_the_block_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing\n")
    (tmp_path / "bench.json").write_text("{}")
    with pytest.raises(UserError, match="<!-- bench:performance --> is needed"):
        readme.fill(tmp_path / "README.md", tmp_path / "bench.json")
    with pytest.raises(UserError, match="cannot be read"):
        readme.fill(tmp_path / "README.md", tmp_path / "gone.json")
    (tmp_path / "README.md").write_text("<!-- bench:performance -->\n<!-- /bench:performance -->\n")
    with pytest.raises(UserError, match="not what make bench writes"):
        readme.fill(tmp_path / "README.md", tmp_path / "bench.json")


def test_a_row_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'mlp_replay_vs_sanafe'"):
        report.measure(["mlp_replay"], 5, tmp_path)


def test_without_sanafe_its_rows_say_so_and_go_on(tmp_path: Path) -> None:
    setting = Setting(tmp_path, 1, ["mlp_replay_vs_sanafe"], lambda done, total: None)
    (row,) = rows_against_sanafe(setting)
    assert (row.ratio, row.met, row.events) == (None, None, mlp.SYNAPTIC_EVENTS)
    assert row.note == "SANA-FE is not installed here"
    assert row.loop_seconds is not None
    assert 0 < row.loop_seconds < row.seconds
    assert "-" in table([row.to_json()]).rows[0]


def test_a_worker_that_dies_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="has ended"):
        Worker.of("nonsense", tmp_path)


def test_the_bench_of_exact_fronts_sweeps_a_space_and_holds_the_fronts_against_it(
    space_file: Path, trace_file: Path, tmp_path: Path
) -> None:
    found = exact_fronts.measure(str(space_file), [str(trace_file)], tmp_path)
    assert [one.objectives for one in found] == list(exact_fronts.OBJECTIVES)
    assert all((one.points, one.fit) == (16, 8) and 0 < one.simulated <= 8 for one in found)
    assert all(one.sweep_s is not None and one.latency_tightness <= 1 for one in found)
    again = exact_fronts.measure(str(space_file), [str(trace_file)], tmp_path)
    assert [one.sweep_s for one in again] == [None, None]  # nothing was swept, so that nothing was timed
    assert "| 8 of 16 |" in exact_fronts.table(found)
