"""Results of sweeps in one sqlite file: a row per point, keyed by the content of everything that it depends on."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..simulator.errors import UserError

# sqlite's own fields for telling one program's files from another's
APPLICATION_ID, VERSION = 0x53505253, 2  # 2: area counts logic too

_SCHEMA = """
CREATE TABLE points (
    key TEXT PRIMARY KEY,       -- SHA-256 of trace, chip and energy table
    program TEXT NOT NULL,      -- that computed it; another program's result is replaced, never mixed in
    trace TEXT NOT NULL,        -- name of the trace file, and the start of its content's checksum
    chip TEXT NOT NULL,         -- base chip
    settings TEXT NOT NULL,     -- JSON: dotted chip key -> value
    feasible INTEGER NOT NULL,  -- 0 where the trace does not fit the chip
    reason TEXT NOT NULL,       -- why not
    images INTEGER,
    cycles INTEGER,             -- of all images
    latency_s REAL,             -- mean per image
    energy_pj REAL,             -- of all images
    area_mm2 REAL, accuracy REAL,
    report TEXT                 -- JSON: the whole report
)
"""


@dataclass(frozen=True)
class Row:
    """One simulated point. report: the report's JSON, None where the point is infeasible for the reason given."""

    key: str
    program: str
    trace: str
    chip: str
    settings: Mapping[str, Any]
    report: Mapping[str, Any] | None
    reason: str = ""

    @property
    def feasible(self) -> bool:
        """Whether the trace fits the chip."""
        return self.report is not None

    @property
    def label(self) -> str:
        """The settings in short: last part of each key and its value."""
        return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in self.settings.items())


class Store:
    """An open result file. Every added row is committed at once, so an interrupted sweep loses nothing finished."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def keys(self, program: str) -> set[str]:
        """Keys of the points that this program has computed."""
        with _translated(self.path):
            return {key for (key,) in self._connection.execute("SELECT key FROM points WHERE program = ?", (program,))}

    def add(self, row: Row) -> None:
        """Store a point and commit."""
        report = row.report or {}
        values = (
            row.key,
            row.program,
            row.trace,
            row.chip,
            json.dumps(dict(row.settings)),
            int(row.feasible),
            row.reason,
            report.get("images"),
            report.get("cycles"),
            report.get("latency_s"),
            report.get("energy_pj", {}).get("total"),
            report.get("area_mm2"),
            report.get("accuracy"),
            json.dumps(row.report) if row.feasible else None,
        )
        with _translated(self.path), self._connection:
            self._connection.execute(f"INSERT OR REPLACE INTO points VALUES ({', '.join('?' * len(values))})", values)

    def rows(self) -> list[Row]:
        """All points, ordered by content (trace, chip, settings), whatever order they were finished in."""
        query = "SELECT key, program, trace, chip, settings, report, reason FROM points"
        with _translated(self.path):
            rows = [
                Row(key, program, trace, chip, json.loads(settings), json.loads(report) if report else None, reason)
                for key, program, trace, chip, settings, report, reason in self._connection.execute(query)
            ]
        return sorted(rows, key=_order)


def _order(row: Row) -> tuple[Any, ...]:
    values = tuple((key, isinstance(value, str), value) for key, value in row.settings.items())
    return row.trace, row.chip, tuple(key for key, _, _ in values), values, row.key


@contextmanager
def open_store(path: str | Path, *, create: bool = False) -> Iterator[Store]:
    """Open a result file, made anew where it does not exist and `create` is set.

    Raises UserError where it is missing, damaged, another program's, of a newer version, or cannot be written.
    """
    path = Path(path)
    if not path.exists() and not create:
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; a result file is needed")
    fresh = not path.exists() or path.stat().st_size == 0
    if fresh and not create:
        raise UserError(f"{path}: empty, not a result file of sparsespike")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    with _translated(path):
        connection = sqlite3.connect(path)
    try:
        with _translated(path):
            if fresh:
                _found(connection)
            _check(path, connection)
        yield Store(path, connection)
    finally:
        connection.close()


def remove_outdated(path: str | Path) -> None:
    """Remove a result file of an older version, for those who make it again anyway; any other file is left alone."""
    path = Path(path)
    if not path.is_file():
        return
    with _translated(path), closing(sqlite3.connect(path)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID and version < VERSION:
        path.unlink()


def _found(connection: sqlite3.Connection) -> None:
    """Lay a new file out, in one transaction: a half-made one never stands on disk."""
    with connection:
        connection.execute("BEGIN")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(_SCHEMA)


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise UserError(f"{path}: not a result file of sparsespike; give another name or remove it")
    if version > VERSION:
        raise UserError(f"{path}: results of version {version} are newer than this program's {VERSION}; update it")
    if version < VERSION:
        raise UserError(f"{path}: results of version {version} are older than {VERSION}; sweep again into a new file")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UserError(f"{path}: damaged ({verdict.splitlines()[0]}); remove it and sweep again")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn sqlite's complaints about the file into sentences."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UserError(f"{path}: cannot be used: {error}") from None
    except (sqlite3.DatabaseError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: damaged or not a result file of sparsespike ({error})") from None
