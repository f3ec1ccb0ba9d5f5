"""The command line: help that answers at once, and one clear line for every mistake."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from sparsespike import UserError, cli, load_trace
from sparsespike.analysis import shell
from sparsespike.analysis.single import RunRequest
from sparsespike.simulator.files import HEADER_KEY, save_tensors
from sparsespike.simulator.hardware import chip_text

COMMANDS = (
    "demo",
    "train",
    "trace",
    "simulate",
    "peers",
    "reprice",
    "diff",
    "compare",
    "sweep",
    "front",
    "search",
    "sensitivity",
    "search",
    "sensitivity",
    "plot",
    "recommend",
    "hardware",
    "inspect",
)


def run(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sparsespike.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of digits, traced by the command itself."""
    path = tmp_path_factory.mktemp("trace") / "digits.safetensors"
    done = run("trace", "digits", "--images", 4, "--out", path)
    assert done.returncode == 0, done.stderr
    assert "tokens kept" in done.stdout
    return path


def test_help_answers_at_once() -> None:
    """In processor time, since other work on the machine is none of its own."""
    seconds = []
    for _ in range(5):
        before = os.times()
        done = run("--help")
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert done.returncode == 0
    assert statistics.median(seconds) < 0.5
    assert all(f" {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    code = f"import sys; sys.argv = ['', '{command}', '--help']\nfrom sparsespike.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"Example: sparsespike {command}" in " ".join(done.stdout.split())


def test_help_loads_no_library() -> None:
    code = (
        "import sys; sys.argv = ['', '--help']\nfrom sparsespike.cli import main\n"
        "try: main()\nfinally: print({'numpy', 'torch', 'matplotlib', 'numba', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("set()")


@pytest.mark.torch
def test_train_offers_what_the_model_room_takes() -> None:
    from sparsespike.model.request import TrainRequest

    fields = {field.name: field.default for field in dataclasses.fields(TrainRequest)}
    assert {name: default for name, (default, _) in cli.TRAIN_OPTIONS.items()} == fields


def test_simulate_offers_what_a_run_takes() -> None:
    """In its order, with its defaults; where the word on the command line is another, none at all."""
    fields = {field.name: field.default for field in dataclasses.fields(RunRequest)}
    spelled = {name: default for name, (_, default) in cli.SIMULATE_OPTIONS.items()}
    assert [name for name in spelled if not name.startswith("timeline_")] == list(fields)
    assert [name for name in spelled if name not in fields] == ["timeline_cycles", "timeline_events"]
    assert (spelled.pop("trace"), spelled.pop("settings")) == (shell.REQUIRED, None)
    assert {name: fields.get(name) for name in spelled} == spelled


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("core.lanes=32", 32),
        ("clock_mhz = 250.5", 250.5),
        ("core.weight_format=csr", "csr"),
        ('core.weight_format="csr"', "csr"),
        ("core.lanes=true", True),
    ],
)
def test_settings_are_toml_or_words(setting: str, value: object) -> None:
    (parsed,) = shell.parse_settings([setting]).values()
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("setting", ["core.lanes", "=3", "core.lanes="])
def test_settings_need_key_and_value(setting: str) -> None:
    with pytest.raises(UserError, match="KEY=VALUE"):
        shell.parse_settings([setting])


# ---- mistakes: each writes its files into a folder and returns the command line; the text must stand in the message


def _damage(trace: Path, folder: Path, change: Callable[[bytearray], None]) -> Path:
    content = bytearray(trace.read_bytes())
    change(content)
    path = folder / "damaged.safetensors"
    path.write_bytes(content)
    return path


def _cut(content: bytearray) -> None:
    del content[len(content) // 2 :]


def _flip(content: bytearray) -> None:
    content[-100] ^= 1


def _newer(trace: Path, folder: Path) -> Path:
    with safe_open(trace, framework="numpy") as file:
        header = json.loads(file.metadata()[HEADER_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    path = folder / "newer.safetensors"
    save_tensors(path, "trace", header["version"] + 1, tensors, header["header"])
    return path


def _foreign(folder: Path) -> Path:
    import numpy as np

    path = folder / "foreign.safetensors"
    save_file({"weight": np.zeros(3)}, path)
    return path


LINEAR = 'name = "x"\nlayer = [{name = "fc", kind = "linear", channels = 4, weights = "dense"}]'


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _chip(folder: Path, old: str, new: str) -> Path:
    text, _ = chip_text("mesh16")
    assert old in text
    return _file(folder, "chip.toml", text.replace(old, new))


def _space(folder: Path, text: str) -> Path:
    return _file(folder, "space.toml", text)


def _blocked(folder: Path) -> Path:
    """A path that nobody can write, not even root: its parent is a file."""
    return _file(folder, "file", "") / "below"


Mistake = Callable[[Path, Path], list[object]]

MISTAKES: dict[str, tuple[Mistake, str]] = {
    "no such command": (lambda t, d: ["simulat"], "simulat"),
    "no such option": (lambda t, d: ["simulate", t, "--hardwear", "edge"], "--hardwear"),
    "no argument": (lambda t, d: ["simulate"], "TRACE"),
    "not a number": (lambda t, d: ["simulate", t, "--images", "few"], "--images"),
    "no image": (lambda t, d: ["simulate", t, "--images", 0], "--images"),
    "missing trace": (lambda t, d: ["simulate", d / "none.safetensors"], "no such file"),
    "a folder for a trace": (lambda t, d: ["simulate", d], "is a folder"),
    "truncated trace": (lambda t, d: ["simulate", _damage(t, d, _cut)], "truncated"),
    "flipped bit": (lambda t, d: ["simulate", _damage(t, d, _flip)], "damaged"),
    "newer trace": (lambda t, d: ["simulate", _newer(t, d)], "newer"),
    "another program's file": (lambda t, d: ["simulate", _foreign(d)], "not a trace"),
    "text for a trace": (lambda t, d: ["simulate", _file(d, "notes.txt", "hello\n" * 9)], "trace"),
    "unknown chip": (lambda t, d: ["simulate", t, "--hardware", "mesh61"], "'mesh16'"),
    "missing chip file": (lambda t, d: ["simulate", t, "--hardware", d / "chip.toml"], "no such file"),
    "unknown energy table": (lambda t, d: ["simulate", t, "--energy", "cmos445"], "'cmos45'"),
    "unknown chip key": (lambda t, d: ["simulate", t, "--set", "core.lane=8"], "'core.lanes'"),
    "wrong type": (lambda t, d: ["simulate", t, "--set", "core.lanes=many"], "core.lanes"),
    "impossible value": (lambda t, d: ["simulate", t, "--set", "core.lanes=0"], "core.lanes"),
    "setting without value": (lambda t, d: ["simulate", t, "--set", "core.lanes"], "KEY=VALUE"),
    "memory too small": (lambda t, d: ["simulate", t, "--set", "core.weight_kib=0.0625"], "weight"),
    "bad TOML": (lambda t, d: ["simulate", t, "--hardware", _file(d, "c.toml", "a = = 1")], "not valid TOML"),
    "unknown key in a file": (lambda t, d: ["simulate", t, "--hardware", _chip(d, "lanes =", "lames =")], "core.lames"),
    "spikes that are none": (
        lambda t, d: ["import", _file(d, "s.npz", "x"), "--geometry", _file(d, "g.toml", LINEAR), "--out", d / "o"],
        "s.npz: damaged, or no pickle",
    ),
    "no geometry": (lambda t, d: ["import", t, "--geometry", d / "g.toml", "--out", d / "o"], "g.toml: no such file"),
    "a bound to verify": (lambda t, d: ["simulate", t, "--bound", "--verify"], "no flit moves"),
    "missing placement": (lambda t, d: ["simulate", t, "--placement", d / "cuts.toml"], "cuts.toml: no such file"),
    "placement of no layer": (
        lambda t, d: ["simulate", t, "--placement", _file(d, "c.toml", "[cuts]\nhaed = [0]")],
        "did you mean 'head'?",
    ),
    "missing trace for peers": (lambda t, d: ["peers", d / "none.safetensors"], "no such file"),
    "a report for peers": (lambda t, d: ["peers", _file(d, "report.json", "{}")], "not a trace file"),
    "no image for peers": (lambda t, d: ["peers", t, "--images", 0], "--images"),
    "missing report to price": (lambda t, d: ["reprice", d / "none.json"], "no such file"),
    "a trace to price": (lambda t, d: ["reprice", t], "cannot be read as a text file"),
    "text for a report": (lambda t, d: ["reprice", _file(d, "r.json", "{}")], "not a report of sparsespike"),
    "unwritable peers": (lambda t, d: ["peers", t, "--json", _blocked(d)], "cannot be written"),
    "unwritable report": (lambda t, d: ["simulate", t, "--json", _blocked(d)], "cannot be written"),
    "unknown data set": (lambda t, d: ["trace", "digits", "--data", "digit", "--out", d / "t"], "'digits'"),
    "unknown ticket": (lambda t, d: ["trace", "digit", "--out", d / "t"], "'digits'"),
    "missing ticket": (lambda t, d: ["trace", d / "none.safetensors", "--out", d / "t"], "no such file"),
    "trace for a ticket": (lambda t, d: ["trace", t, "--out", d / "t"], "holds a trace"),
    "too many images": (lambda t, d: ["trace", "digits", "--images", 9999, "--out", d / "t"], "9999"),
    "unwritable trace": (lambda t, d: ["trace", "digits", "--images", 1, "--out", _blocked(d)], "cannot be written"),
    "unwritable demo": (lambda t, d: ["demo", "--out", _blocked(d)], "cannot be written"),
    "unknown data to train on": (lambda t, d: ["train", "--data", "digts", "--out", d / "o"], "'digits'"),
    "impossible pruning": (lambda t, d: ["train", "--prune", 1.5, "--out", d / "o"], "prune"),
    "unwritable training": (lambda t, d: ["train", "--out", _blocked(d)], "cannot be written"),
    "unknown ticket to compare": (lambda t, d: ["compare", "digits", "digits-dens"], "'digits-dense'"),
    "unknown space": (lambda t, d: ["sweep", "--space", "digit", "--out", d / "r"], "'digits'"),
    "faults of a space": (
        lambda t, d: ["sweep", t, "--space", _space(d, "chip = 3\nimage = 1\n"), "--out", d / "r"],
        "image: unknown key; did you mean 'images'?; chip: must be a name; axes: missing",
    ),
    "unknown axis": (
        lambda t, d: ["sweep", t, "--space", _space(d, 'chip = "edge"\n[axes]\ncore.lane = [1]'), "--out", d / "r"],
        "'core.lanes'",
    ),
    "impossible axis": (
        lambda t, d: [
            "sweep",
            t,
            "--space",
            _space(d, 'chip = "edge"\n[axes]\ncore.lanes = [1, "x"]'),
            "--out",
            d / "r",
        ],
        "core.lanes = 'x'",
    ),
    "nothing to sweep": (
        lambda t, d: ["sweep", "--space", _space(d, 'chip = "edge"\n[axes]\ncore.lanes = [1]'), "--out", d / "r"],
        "names no trace",
    ),
    "unwritable results": (lambda t, d: ["sweep", t, "--out", _blocked(d)], "cannot be written"),
    "another file for results": (lambda t, d: ["sweep", t, "--out", _file(d, "r", "hello" * 300)], "not a result file"),
    "missing results": (lambda t, d: ["front", d / "none.sqlite"], "no such file"),
    "nothing to recommend": (lambda t, d: ["recommend", d / "none.sqlite", "--latency", "2ms"], "no such file"),
    "nothing to plot": (lambda t, d: ["plot", _file(d, "r.sqlite", "")], "not a result file"),
    "unknown hardware": (lambda t, d: ["hardware", "egde"], "'edge'"),
    "unknown file": (lambda t, d: ["inspect", _file(d, "notes.txt", "hello")], "neither"),
    "missing file": (lambda t, d: ["inspect", d / "none"], "no such file"),
    "report that is none": (lambda t, d: ["inspect", _file(d, "r.json", "{}")], "r.json"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line_and_leave_nothing(
    name: str, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By `main` in this process: starting Python and its libraries anew takes most of a command's time."""
    mistake, text = MISTAKES[name]
    monkeypatch.setattr(sys, "argv", ["sparsespike", *map(str, mistake(trace, tmp_path))])
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capfd.readouterr()
    assert ended.value.code == 2, printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert text in printed.err
    assert "Traceback" not in printed.err + printed.out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_mistake_ends_the_process_with_2(tmp_path: Path) -> None:
    done = run("simulate", tmp_path / "none.safetensors")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_simulate_prints_and_writes(trace: Path, tmp_path: Path) -> None:
    report = tmp_path / "deep" / "report.json"
    done = run("simulate", trace, "--hardware", "mesh16", "--set", "core.lanes=2", "--verify", "--json", report)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "all equal" in done.stdout
    written = json.loads(report.read_text())
    keys = "schema_version cycles cycles_per_image latency_s cycles_by_cause traffic_bytes counts energy_pj area_mm2"
    for key in f"{keys} area_scope synaptic_events accuracy provenance".split():
        assert key in written
    assert set(written["energy_pj"]) >= {"total", "by_component", "by_layer"}
    assert len(written["cycles_per_image"]) == 4
    assert f"{written['cycles'] / 4:,.0f}" in done.stdout


def test_reprice_takes_a_list_of_tables(trace: Path, tmp_path: Path) -> None:
    report, prices = tmp_path / "report.json", tmp_path / "prices.json"
    assert run("simulate", trace, "--images", 1, "--json", report).returncode == 0
    done = run("reprice", report, "--energy", "cmos45", "formula45", "--json", prices)
    assert (done.returncode, done.stderr) == (0, "")
    named = run("reprice", report, "--energy", "cmos45", "--energy", "formula45")
    assert named.stdout == done.stdout
    written = json.loads(prices.read_text())
    assert [one["energy_table"] for one in written["priced"]] == ["cmos45", "formula45"]
    assert written["priced"][0]["energy_pj"] == json.loads(report.read_text())["energy_pj"]
    unknown = run("reprice", report, "--energy", "cmos45", "formula54")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "did you mean 'formula45'" in unknown.stderr


def test_peers_print_and_write(trace: Path, tmp_path: Path) -> None:
    written = tmp_path / "deep" / "peers.json"
    done = run("peers", trace, "--images", 2, "--json", written)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(written.read_text())
    assert report["images"] == 2
    for peer in report["peers"].values():
        assert len(peer["cycles_per_image"]) == 2
        assert sum(layer["cycles"] for layer in peer["layers"]) == peer["cycles"]
        assert f"{peer['cycles'] / 2:,.0f}" in done.stdout
    assert "neither a ticket, a trace, a report" in run("inspect", written).stderr
    assert set(report["left_out"]) == {"sps0", "select0", "select1", "select2", "head"}
    assert "in Eyeriss, PTB, SATO, MINT it is free" in done.stdout
    assert "count as one spike each" in done.stdout


def test_more_lanes_change_the_report_not_the_trace(trace: Path) -> None:
    before = load_trace(trace).sha256
    tables = [run("simulate", trace, "--images", 1, "--set", f"core.lanes={lanes}").stdout for lanes in (1, 8)]
    assert tables[0] != tables[1]
    assert load_trace(trace).sha256 == before


def test_hardware_prints_a_file_that_can_be_used(trace: Path, tmp_path: Path) -> None:
    assert all(name in run("hardware").stdout for name in ("edge", "mesh16", "dense"))
    mine, printed = tmp_path / "mine.toml", run("hardware", "edge")
    mine.write_text(printed.stdout)
    assert "Area of the chip" in printed.stderr  # aside, so that the file stays one
    assert "row engines" in printed.stderr
    done = run("simulate", trace, "--images", 1, "--hardware", mine)
    assert done.returncode == 0, done.stderr


def test_compare_and_inspect(trace: Path, tmp_path: Path) -> None:
    done = run("compare", "digits-dense", "digits", "--images", 1)
    assert done.returncode == 0, done.stderr
    assert "digits-dense" in done.stdout
    report = tmp_path / "report.json"
    run("simulate", trace, "--images", 1, "--json", report)
    for file, text in ((trace, "spikes"), (report, "energy"), ("digits", "weights pruned")):
        done = run("inspect", file)
        assert text in done.stdout + done.stderr


def test_import_makes_a_trace_that_runs_and_says_what_it_is(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "s.npz", fc=np.ones((2, 3), bool))
    out = tmp_path / "t.safetensors"
    done = run("import", tmp_path / "s.npz", "--geometry", _file(tmp_path, "g.toml", LINEAR), "--out", out)
    assert "level" in done.stdout
    assert "replay: spikes and sparsity are real" in " ".join(done.stdout.split())
    said = run("simulate", out, "--hardware", "edge", "--json", tmp_path / "r.json").stdout
    assert "replay: spikes and sparsity are real" in " ".join(said.split())
    assert json.loads((tmp_path / "r.json").read_text())["synaptic_events"] == 2 * 3 * 4
