"""All rows, one after the other: a table on the screen and a JSON file."""

import json
import platform
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import sparsespike
from sparsespike.analysis.console import progress, show
from sparsespike.simulator.errors import UserError, nearest
from sparsespike.simulator.files import write_text

from .against_bare_loop import rows_against_bare_loop
from .against_sanafe import rows_against_sanafe, sanafe_version
from .bounding import bound_rows
from .pricing import reprice_row
from .processes import cold_start_row, imagenet_row, start_row, two_processes_row
from .rows import BARS, Row, Setting, table
from .sweeping import overhead_row, two_workers_row

SCHEMA_VERSION = 1
RESULT = "bench.json"

Group = tuple[tuple[str, ...], Callable[[Setting], Iterable[Row]]]

# rows that are measured together, and how
GROUPS: tuple[Group, ...] = (
    (("mlp_replay_vs_sanafe", "mlp_packets_vs_sanafe", "mlp_verify_vs_sanafe"), rows_against_sanafe),
    (("spikformer_vs_bare_loop", "spikformer_whole"), rows_against_bare_loop),
    (("imagenet_event_cost_ratio",), lambda setting: [imagenet_row(setting)]),
    (("bounds_speed", "bounds_tightness"), bound_rows),
    (("two_processes",), lambda setting: [two_processes_row(setting)]),
    (("reprice",), lambda setting: [reprice_row(setting)]),
    (("sweep_two_workers",), lambda setting: [two_workers_row(setting)]),
    (("sweep_overhead",), lambda setting: [overhead_row(setting)]),
    (("start",), lambda setting: [start_row(setting)]),
    (("start_cold",), lambda setting: [cold_start_row(setting)]),
)


def measure(names: Sequence[str], rounds: int, folder: Path) -> None:
    """Measure some rows, or all; show them, and write DIR/bench.json; a few replace theirs in the file that is there.

    Raises UserError for a row that does not exist.
    """
    for name in names:
        if name not in BARS:
            raise UserError(f"no row {name!r}; {nearest(name, BARS)}")
    wanted = names or list(BARS)
    folder = folder.resolve()
    (folder / "bench").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for members, run in GROUPS:
        if any(name in wanted for name in members):
            with progress(" ".join(name for name in members if name in wanted)) as step:
                rows += [row.to_json() for row in run(Setting(folder, rounds, wanted, step))]
    rows.sort(key=lambda row: list(BARS).index(row["name"]))
    show(table(rows, f"median of {rounds} interleaved rounds"))
    found, path = result(rows, rounds, sanafe_version(folder)), folder / RESULT
    if names and not _complete(found, path):
        return
    write_text(path, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    show(f"written: {path}")


def _complete(found: dict[str, Any], path: Path) -> bool:
    """Add the rows of a file that was measured under the same versions; whether there is one."""
    try:
        before = json.loads(path.read_text("utf-8"))
    except OSError:
        return False
    if before["provenance"] != found["provenance"]:
        return False
    rows = {row["name"]: row for row in [*before["rows"], *found["rows"]]}
    found["rows"] = [rows[name] for name in BARS if name in rows]
    return True


def result(rows: Sequence[dict[str, Any]], rounds: int, sanafe: str) -> dict[str, Any]:
    """What bench.json holds: the rows, and under which versions they were measured; nothing about the machine."""
    versions = {name: metadata.version(name) for name in ("numpy", "numba")}
    provenance = {
        "sparsespike": sparsespike.__version__,
        "python": platform.python_version(),
        **versions,
        "sanafe": sanafe or None,
        "rounds": rounds,
    }
    return {"schema_version": SCHEMA_VERSION, "provenance": provenance, "rows": list(rows)}
