"""Search in real spaces: what it finds is what a sweep finds, it goes on, and contests are looked up."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupting import LONG_SPACE, interrupt, points_in
from sparsespike import UserError
from sparsespike.analysis import space
from sparsespike.analysis.explore import point, store, sweep
from sparsespike.analysis.explore.results import front_of, read_rows
from sparsespike.analysis.explore.search import contest, curves, evaluation, genetic
from sparsespike.analysis.explore.search import runner as search
from sparsespike.analysis.explore.search.hypervolume import Scale
from sparsespike.analysis.parallel import Workers

OBJECTIVES = ("latency", "energy")


def run(file: Path, trace_file: Path, out: Path, **options: object) -> search.SearchOutcome:
    found = replace(space.load_space(file), traces=("digits",))
    settings = {"plan": genetic.Plan(100, 4), "objectives": OBJECTIVES}
    settings |= {name: options.pop(name) for name in list(options) if name != "workers"}
    workers = options.get("workers", Workers(1))
    return search.run_search(found, {"digits": trace_file}, out, search.SearchSettings(**settings), workers=workers)  # type: ignore[arg-type]


def test_a_search_without_limit_finds_the_front_of_a_sweep(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path
) -> None:
    best = front_of([row for row in swept if row.feasible], OBJECTIVES)
    plain = run(space_file, trace_file, tmp_path / "plain", bounds=False)
    assert read_rows(tmp_path / "plain") == swept  # every point, the ones that do not fit with their reason
    assert (len(plain.found.costs), plain.found.unfit) == (8, 8)
    bounded = run(space_file, trace_file, tmp_path / "bounded")
    rows = read_rows(tmp_path / "bounded")
    assert front_of([row for row in rows if row.feasible], OBJECTIVES) == best
    assert len(bounded.found.costs) + bounded.found.bounded == 8
    assert bounded.curves()["search"][0][-1] == 1.0


def test_a_finished_search_simulates_nothing(
    space_file: Path, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.sqlite"
    settings = {"plan": genetic.Plan(4, 3), "against_random": True, "bounds": False}
    one = run(space_file, trace_file, out, **settings)
    assert one.random is not None
    assert len(one.found.costs) == len(one.random.costs) == 4
    monkeypatch.setattr(point, "simulate", lambda *args, **kwargs: pytest.fail("simulated again"))
    assert run(space_file, trace_file, out, **settings) == one
    assert set(one.curves()) == {"search", "random"}
    assert max(one.curves()["search"][0].max(), one.curves()["random"][0].max()) <= 1.0


def test_a_sweep_is_where_a_search_begins(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.sqlite"
    with store.open_store(out, create=True) as opened:
        for row in swept[:12]:
            opened.add(row)
    outcome = run(space_file, trace_file, out, bounds=False)
    assert outcome.found.proposed == 4
    assert len(outcome.known) >= len(front_of([row for row in swept[:12] if row.feasible], OBJECTIVES))
    assert read_rows(out) == swept
    again = run(space_file, trace_file, out, bounds=False, plan=genetic.Plan(100, 4, seed=1))
    assert again.found.proposed == 0  # another search, and all of the space is known


def test_workers_do_not_change_what_is_found(space_file: Path, trace_file: Path, tmp_path: Path) -> None:
    one = run(space_file, trace_file, tmp_path / "one", plan=genetic.Plan(6, 6))
    two = run(space_file, trace_file, tmp_path / "two", plan=genetic.Plan(6, 6), workers=Workers(2))
    assert one == two
    assert read_rows(tmp_path / "one") == read_rows(tmp_path / "two")


def test_objectives_without_bounds_are_searched_without_them(
    space_file: Path, trace_file: Path, tmp_path: Path
) -> None:
    outcome = run(space_file, trace_file, tmp_path / "r", objectives=("power", "area"))
    assert outcome.found.bounded == 0
    assert len(outcome.found.costs) == 8
    with store.open_store(tmp_path / "r") as opened:
        assert opened.rows(bounds=True) == []


@pytest.mark.parametrize(
    ("changes", "settings", "said"),
    [
        ({}, {"objectives": ("latency",)}, "two or more"),
        ({"traces": ("a", "b")}, {}, "has 2 traces, .* accuracy among the objectives"),
        ({"traces": ()}, {}, "names no trace"),
        ({"axes": {}}, {}, "no axes to search"),
        ({}, {"plan": genetic.Plan(5, 1)}, "population = 1: must be at least 2"),
    ],
)
def test_what_cannot_be_searched(
    changes: dict[str, object], settings: dict[str, object], said: str, space_file: Path, tmp_path: Path
) -> None:
    found = replace(space.load_space(space_file), **({"traces": ("digits",)} | changes))  # type: ignore[arg-type]
    wanted = {"objectives": OBJECTIVES, "plan": genetic.Plan(5)} | settings
    with pytest.raises(UserError, match=said):
        search.run_search(found, {}, tmp_path / "r", search.SearchSettings(**wanted))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [space_file]


def test_dimensions_are_seen_as_they_are(mesh_space: space.Space) -> None:
    axes = evaluation.axes_of(mesh_space)
    assert axes.names == ("trace", "energy", "mesh.columns", "mesh.rows", "core.lanes", "core.weight_format")
    assert axes.ordered == (False, False, True, True, True, False)
    assert axes.sizes == (2, 1, 3, 3, 4, 2)
    choice = (1, 0, 2, 1, 3, 1)
    values = mesh_space.chosen(choice)
    assert evaluation.choice_of(mesh_space, values) == choice
    assert evaluation.choice_of(mesh_space, values | {"core.lanes": 3}) is None
    assert evaluation.choice_of(mesh_space, {"trace": "a"}) is None
    assert axes.allowed(choice)  # 4 x 2
    assert not axes.allowed((1, 0, 2, 0, 3, 1))  # 4 x 1


def test_a_contest_is_looked_up(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space_file.write_text(f'traces = ["{trace_file}"]\n{space_file.read_text()}')
    out = tmp_path / "r.sqlite"
    found = space.load_space(space_file)
    sweep.run_sweep(found, {}, out, workers=Workers(1), sample=sweep.Sample(9))
    with pytest.raises(SystemExit, match="2"):
        contest.main([str(out), "--space", str(space_file), "--objectives", "latency,energy"])
    assert "holds 9 of 16 points" in capsys.readouterr().err
    sweep.run_sweep(found, {}, out, workers=Workers(1))
    result = contest.contest(found, out, OBJECTIVES, budget=8, seeds=3, population=4)
    assert (result.points, result.size) == (8, 16)
    assert {name: [len(curve) for curve in each] for name, each in result.curves.items()} == {
        contest.SEARCH: [8, 8, 8],
        contest.RANDOM: [8, 8, 8],
    }
    assert all(curve[-1] == 1.0 for each in result.curves.values() for curve in each)  # all that fits, in any order
    assert result.wins(contest.SEARCH) == 0
    arguments = [str(out), "--space", str(space_file), "--objectives", "latency,energy", "--plots", str(tmp_path)]
    contest.main([*arguments, "--budget", "5", "--seeds", "2"])
    assert "8 of 16 points fit" in capsys.readouterr().out
    assert (tmp_path / "hypervolume.svg").exists()


def test_a_curve_of_several_seeds_is_told_by_its_median_and_range() -> None:
    ragged = [np.array([0.1, 0.5]), np.array([0.2, 0.3, 0.9]), np.array([0.0, 0.0, 0.3])]
    assert curves.spread_of(ragged).tolist() == [[0.1, 0.3, 0.5], [0.0, 0.0, 0.3], [0.2, 0.5, 0.9]]
    scale = Scale.of([[1e-3, 0.02], [2e-3, 0.01]])
    table = curves.curve_table(
        {"search": ragged, "random": [np.array([0.25, 0.5, 1.0])]}, scale, ("latency", "accuracy")
    )
    assert table.columns == ("simulations", "search", "random")
    assert table.rows[-1] == ("3", "0.5000 (0.3000 to 0.9000)", "1.0000")
    assert "latency 1.00 ms to 2.00 ms, accuracy 99.0 % to 98.0 %" in table.note


def test_ctrl_c_loses_nothing(trace_file: Path, tmp_path: Path) -> None:
    space_file, out = tmp_path / "long.toml", tmp_path / "r.sqlite"
    space_file.write_text(LONG_SPACE)
    arguments = ["search", trace_file, "--space", space_file, "--out", out, "--budget", 18, "--population", 4]
    command = [sys.executable, "-m", "sparsespike.cli", *map(str, arguments), "--jobs", "1", "--no-bounds"]
    complaint = interrupt(command, out, 6)
    assert re.fullmatch(r"interrupted; \d+ of 18 points are kept in .*, and the same command goes on .*\n", complaint)
    kept = points_in(out)
    assert 6 <= kept < 18
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "18 points looked at: 18 simulated" in done.stdout
    found = replace(space.load_space(space_file), traces=("digits",))
    settings = search.SearchSettings(OBJECTIVES, genetic.Plan(18, 4), bounds=False)
    search.run_search(found, {"digits": trace_file}, tmp_path / "whole", settings, workers=Workers(1))
    assert read_rows(out) == read_rows(tmp_path / "whole")
