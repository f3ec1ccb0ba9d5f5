"""Material that several test files share: a small real trace, its reports, and a swept space."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sparsespike import load_chip, load_trace, simulate
from sparsespike.analysis import space
from sparsespike.analysis.explore import store, sweep
from sparsespike.analysis.explore.results import read_rows
from sparsespike.analysis.parallel import Workers
from sparsespike.simulator.trace import Trace, save_trace


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Adds a line to the end of pytest's report: how much was compared is worth reading where all is well, too."""
    return lambda line: record_property("note", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The notes of this run."""
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        for name, value in report.user_properties:
            if name == "note":
                terminalreporter.write_line(str(value))


@pytest.fixture(scope="session")
def trace_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sparsespike.model.export import trace_dataset
    from sparsespike.model.tickets import shipped

    path = tmp_path_factory.mktemp("analysis") / "digits.safetensors"
    save_trace(trace_dataset(shipped("digits"), "digits", 2), path)
    return path


@pytest.fixture(scope="session")
def trace(trace_file: Path) -> Trace:
    return load_trace(trace_file)


@pytest.fixture(scope="session")
def reports(trace: Trace) -> dict[str, dict[str, object]]:
    return {name: simulate(trace, load_chip(name)).to_json() for name in ("edge", "mesh16", "dense")}


SPACE = """
chip = "edge"
images = 1
[axes]
core.lanes = [1, 2, 4, 8]
core.weight_kib = [0.125, 32.0]
core.weight_format = ["bitmap", "csr"]
"""


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="session")
def swept_file(trace_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the space above, swept without a break in one process."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "space.toml").write_text(SPACE)
    found = replace(space.load_space(folder / "space.toml"), traces=("digits",))
    sweep.run_sweep(found, {"digits": trace_file}, folder / "r.sqlite", workers=Workers(1))
    return folder / "r.sqlite"


MESH_SPACE = """
chip = "mesh16"
images = 1
traces = ["a", "b"]
constraints = ["mesh.columns == mesh.rows or mesh.columns == 2 * mesh.rows"]
[axes]
mesh.columns = [1, 2, 4]
mesh.rows = [1, 2, 4]
core.lanes = [2, 4, 8, 16]
core.weight_format = ["bitmap", "csr"]
"""


@pytest.fixture
def mesh_space(tmp_path: Path) -> space.Space:
    (tmp_path / "mesh.toml").write_text(MESH_SPACE)
    return space.load_space(tmp_path / "mesh.toml")


@pytest.fixture(scope="session")
def swept(swept_file: Path) -> list[store.Row]:
    """Its points."""
    return read_rows(swept_file)


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `sparsespike` with these arguments, which are a mistake: exit code 2, and one line, which is returned."""
    from sparsespike.cli import main

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["sparsespike", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert said.count("\n") == 1
        return said

    return run
