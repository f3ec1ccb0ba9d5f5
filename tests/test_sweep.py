"""Sweeps that survive anything: the grid, the store, the interrupted run, the files that are refused."""

import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from interrupting import LONG_SPACE, interrupt, points_in
from sparsespike import UserError, load_chip, simulate
from sparsespike.analysis import space
from sparsespike.analysis.explore import point, store, sweep
from sparsespike.analysis.explore.results import read_rows
from sparsespike.analysis.parallel import Workers
from sparsespike.simulator.trace import Trace


def swept_to(out: Path, file: Path, trace_file: Path, **options: object) -> sweep.Outcome:
    """A sweep of a space file on the shared trace."""
    options = {"workers": Workers(1)} | options
    found = replace(space.load_space(file), traces=("digits",))
    return sweep.run_sweep(found, {"digits": trace_file}, out, **options)  # type: ignore[arg-type]


def test_what_does_not_fit_is_kept_with_its_reason(swept: list[store.Row]) -> None:
    assert len(swept) == 16
    for row in swept:
        assert row.feasible == (row.settings["core.weight_kib"] == 32.0)
        assert row.feasible or "weight" in row.reason
    assert {row.trace for row in swept} == {"digits"}


def test_a_corner_without_a_chip_is_a_point_with_a_reason(tmp_path: Path, trace_file: Path) -> None:
    path = tmp_path / "corner.toml"
    path.write_text('chip = "edge"\nimages = 1\n[axes]\ncore.weight_word_bits = [9, 64]\ncore.index_bits = [1, 4]\n')
    outcome = swept_to(tmp_path / "r.sqlite", path, trace_file)
    rows = read_rows(tmp_path / "r.sqlite")
    assert (outcome.points, outcome.infeasible) == (4, 1)
    assert [row.feasible for row in rows] == [True, False, True, True]
    assert "a word must hold a weight and its index" in rows[1].reason


def test_a_point_is_what_simulate_says(space_file: Path, trace_file: Path, trace: Trace, tmp_path: Path) -> None:
    swept_to(tmp_path / "r.sqlite", space_file, trace_file)
    row = next(row for row in read_rows(tmp_path / "r.sqlite") if row.feasible)
    report = json.loads(json.dumps(simulate(trace, load_chip("edge", dict(row.settings)), images=1).to_json()))
    with store.open_store(tmp_path / "r.sqlite") as opened:
        stored = opened.report(row.key)
    assert {**stored, "provenance": None} == {**report, "provenance": None}
    assert row.metrics is not None
    assert row.metrics["latency"] == report["latency_s"]
    assert row.metrics["energy"] == report["energy_pj"]["total"] * 1e-12
    assert row.metrics["accuracy"] == pytest.approx(0.98, abs=0.01)  # the ticket's, on the whole test set


def test_known_points_are_not_run_again(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.sqlite"
    with store.open_store(out, create=True) as opened:
        for row in swept[:-2]:
            opened.add(row)
    ran = []
    monkeypatch.setattr(point, "simulate", lambda *args, **kwargs: ran.append(args) or simulate(*args, **kwargs))
    outcome = swept_to(out, space_file, trace_file)
    assert (len(ran), outcome.known) == (2, 14)
    assert read_rows(out) == swept


def test_another_programs_results_are_replaced(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.sqlite"
    with store.open_store(out, create=True) as opened:
        for row in swept:
            opened.add(row)
    for module in (point, sweep):
        monkeypatch.setattr(module, "program_version", lambda: "0.0.0+another")
    swept_to(out, space_file, trace_file, sample=sweep.Sample(4))
    with store.open_store(out) as opened:
        assert opened.outdated() == 12
    assert len(read_rows(out)) == 4  # what the older program says is not mixed in
    outcome = swept_to(out, space_file, trace_file)
    assert outcome.known == 4
    assert {row.program for row in read_rows(out)} == {"0.0.0+another"}
    assert len(read_rows(out)) == len(swept)


def test_parallel_equals_serial(swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    swept_to(tmp_path / "r", space_file, trace_file, workers=Workers(2), step=lambda *step: steps.append(step))
    assert read_rows(tmp_path / "r") == swept
    assert steps == [(done, 16) for done in range(17)]


def test_the_file_of_another_space_is_refused(space_file: Path, trace_file: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "r.sqlite", tmp_path / "other.toml"
    swept_to(out, space_file, trace_file)
    text = space_file.read_text()
    for changed, said in (
        (text.replace('"edge"', '"mesh16"'), "base chip: edge, not mesh16"),
        (text.replace("images = 1", "images = 2"), "images: 1, not 2"),
        (
            text.replace("core.lanes = [1, 2, 4, 8]", "core.contexts = [2, 4]"),
            "axes: core.lanes, .*, not core.contexts",
        ),
    ):
        other.write_text(changed)
        with pytest.raises(UserError, match=f"holds results of another space \\({said}"):
            swept_to(out, other, trace_file)
    other.write_text(text.replace("[1, 2, 4, 8]", "[1, 2, 4, 8, 16]"))  # more values of the same axes are welcome
    assert swept_to(out, other, trace_file).known == 16


SEEN = 6  # points after which Ctrl-C is pressed: both workers are at it, and most of the 32 are still to come


def test_an_interrupted_sweep_goes_on(trace_file: Path, tmp_path: Path) -> None:
    space_file, out = tmp_path / "long.toml", tmp_path / "r.sqlite"
    space_file.write_text(LONG_SPACE)
    arguments = ["sweep", trace_file, "--space", space_file, "--out", out, "--jobs", 2]
    command = [sys.executable, "-m", "sparsespike.cli", *map(str, arguments)]
    complaint = interrupt(command, out, SEEN)
    assert re.fullmatch(r"interrupted; \d+ of 32 points are kept in .*, and the same command goes on .*\n", complaint)
    kept = points_in(out)
    assert SEEN <= kept < 32
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"{kept} were known" in done.stdout
    swept_to(tmp_path / "whole.sqlite", space_file, trace_file)
    assert read_rows(out) == read_rows(tmp_path / "whole.sqlite")


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE points (key TEXT)")
    connection.commit()
    connection.close()


def _of_version(path: Path, version: int) -> None:
    with store.open_store(path, create=True):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def _newer(path: Path) -> None:
    _of_version(path, store.VERSION + 1)


def _older(path: Path) -> None:
    _of_version(path, store.VERSION - 1)


def _overwritten(path: Path) -> None:
    with store.open_store(path, create=True) as opened:
        for number in range(200):
            opened.add(store.Row(str(number), "p", "t", "e", {"k": "v" * 300}, None, "none"))
    content = bytearray(path.read_bytes())
    content[4096 : 4096 + 6000] = b"\xff" * 6000
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.write_text("hello, world" * 100), "not a result file"),
        (_foreign, "not a result file"),
        (_newer, "newer"),
        (_older, "are older than 3; sweep again into a new file"),
        (_overwritten, "damaged"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text(""), "empty"),
        (lambda path: None, "no such file"),
    ],
)
def test_bad_result_files_are_refused(make: object, text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=text):
        read_rows(path)


@pytest.mark.parametrize(
    ("make", "stays"), [(_older, False), (_newer, True), (_foreign, True), (lambda path: None, False)]
)
def test_only_a_result_file_of_an_older_version_is_removed(make: object, stays: bool, tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    make(path)  # type: ignore[operator]
    store.remove_outdated(path)
    assert path.exists() == stays


def test_single_points_may_have_a_trace_and_a_table_of_their_own(trace_file: Path, tmp_path: Path) -> None:
    space_file, out = tmp_path / "s.toml", tmp_path / "r.sqlite"
    point = f'[[points]]\ncore.lanes = 4\ntrace = "{trace_file}"\nenergy = "cmos28"\n'
    space_file.write_text(f'chip = "edge"\nimages = 1\n{point}')
    sweep.run_sweep(space.load_space(space_file), {}, out, workers=Workers(1))
    [row] = read_rows(out)
    assert (row.trace, row.prices, row.settings) == (str(trace_file), "cmos28", {"core.lanes": 4})
    space_file.write_text(f'chip = "edge"\nimages = 1\n{point.replace(str(trace_file), "nothere")}')
    with pytest.raises(UserError, match="nothere"):
        sweep.run_sweep(space.load_space(space_file), {}, tmp_path / "other.sqlite", workers=Workers(1))
    assert not (tmp_path / "other.sqlite").exists()
