"""The commands search and sensitivity: what they print and write, and one clear line for every mistake."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sparsespike import cli

HELLO = "hello\n"


def digits(folder: Path) -> list[object]:
    return ["--space", "digits", "--out", folder / "r"]


def beside(folder: Path, name: str) -> list[object]:
    (folder / name).write_text(HELLO)
    return digits(folder)


def blocked(folder: Path) -> list[object]:
    (folder / "file").write_text(HELLO)
    return ["--space", "digits", "--out", folder / "file" / "below"]


Mistake = tuple[Callable[[Path, Path], list[object]], str]
MISTAKES: dict[str, Mistake] = {
    "nothing to trade": (lambda t, d: ["search", t, *digits(d), "--objectives", "energy"], "two or more"),
    "several traces": (
        lambda t, d: ["search", "--space", "tokens", "--out", d / "r"],
        "traces, and what different work",
    ),
    "unknown objective": (lambda t, d: ["search", t, *digits(d), "--objectives", "eneryg,area"], "'energy'"),
    "unknown space": (lambda t, d: ["search", t, "--space", "digit", "--out", d / "r"], "'digits'"),
    "no jobs": (lambda t, d: ["search", t, *digits(d), "--jobs", "0"], "jobs = 0"),
    "another file": (lambda t, d: ["search", t, *beside(d, "r")], "not a result file"),
    "another journal": (lambda t, d: ["search", t, *beside(d, "r.journal")], "not a journal"),
    "unwritable search": (lambda t, d: ["search", t, *blocked(d)], "cannot be written"),
    "no such metric": (lambda t, d: ["sensitivity", t, *digits(d), "--objective", "speed"], "no objective 'speed'"),
    "off the powers": (lambda t, d: ["sensitivity", t, *digits(d), "--samples", 100], "64 or 128"),
    "around no axis": (lambda t, d: ["sensitivity", t, *digits(d), "--around", "core.lane=4"], "'core.lanes'"),
    "around no value": (lambda t, d: ["sensitivity", t, *digits(d), "--around", "core.lanes=5"], "has 2, 4, 8"),
    "around a word": (lambda t, d: ["sensitivity", t, *digits(d), "--around", "lanes"], "--around lanes: must be"),
    "unwritable sensitivity": (lambda t, d: ["sensitivity", t, *blocked(d)], "cannot be written"),
}


def run(arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["sparsespike", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line_and_leave_nothing(
    name: str, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mistake, text = MISTAKES[name]
    arguments = mistake(trace_file, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(arguments, monkeypatch) == 2
    printed = capfd.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert text in printed.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_search_prints_and_writes(
    trace_file: Path,
    space_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out, plots = tmp_path / "found.sqlite", tmp_path / "plots"
    options = ["--space", space_file, "--out", out, "--budget", 4, "--population", 3, "--against-random", "--jobs", 1]
    assert run(["search", trace_file, *options, "--plots", plots], monkeypatch) == 0
    printed = capfd.readouterr().out
    for text in ("4 simulated", "Pareto front: latency, energy", "Hypervolume", "search", "random", "hypervolume.png"):
        assert text in printed
    assert out.exists()
    assert (tmp_path / "found.sqlite.journal").exists()
    assert (plots / "hypervolume.svg").exists()


def test_sensitivity_prints_and_writes(
    trace_file: Path,
    space_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out, plots = tmp_path / "r.sqlite", tmp_path / "plots"
    options = ["--space", space_file, "--out", out, "--samples", 64, "--around", "core.lanes=4", "--jobs", 1]
    assert run(["sensitivity", trace_file, *options, "--objective", "latency", "--plots", plots], monkeypatch) == 0
    printed = capfd.readouterr().out
    for text in (
        "16 points in",
        "What latency depends on",
        "were dropped",
        "Around core.lanes = 4",
        "1 neighbours do not",
    ):
        assert text in printed
    assert sorted(path.name for path in plots.iterdir()) == ["sobol.png", "sobol.svg", "tornado.png", "tornado.svg"]
