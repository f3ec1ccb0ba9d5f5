"""Results of explorations in one sqlite file: a row per point, keyed by the content of everything that it depends on.

Every row is committed as it comes, so that a process that is killed loses what it was at and nothing else; several
processes may write to one file.
"""

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...simulator.errors import UserError
from .metrics import METRICS, Metrics

# sqlite's own fields for telling one program's files from another's
APPLICATION_ID, VERSION = 0x53505253, 3  # 3: one space per file, metrics as columns, compressed reports
TRACE_FILES = "trace files"  # a line of `about`
BUSY_S = 60.0  # how long one process waits for another's commit

_COLUMNS = ", ".join(f'"{name}" REAL' for name in METRICS)
_NAMES = ", ".join(f'"{name}"' for name in METRICS)
_KNOWN = f"key, program, trace, prices, settings, reason, {_NAMES}"  # all but the report
_ROW = f"""
    key TEXT PRIMARY KEY,       -- SHA-256 of trace, chip and energy table
    program TEXT NOT NULL,      -- that computed it; another program's result is replaced, never mixed in
    trace TEXT NOT NULL,        -- as the space names it
    prices TEXT NOT NULL,       -- energy table
    settings TEXT NOT NULL,     -- JSON: dotted chip key -> value
    reason TEXT NOT NULL,       -- why it does not fit, "" where it does
    {_COLUMNS},                 -- metrics.py, each per image; NULL where the point has none
    report BLOB                 -- the whole report as JSON, deflated; NULL where it does not fit
"""
_SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS points ({_ROW})",
    f"CREATE TABLE IF NOT EXISTS bounds ({_ROW})",  # the same points without stepping: lower bounds
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",  # the space
)


@dataclass(frozen=True)
class Row:
    """One point. trace, prices: names of trace and energy table.

    metrics: None where it is infeasible for the reason given.  report: its JSON, only while it is new.
    """

    key: str
    program: str
    trace: str
    prices: str
    settings: Mapping[str, Any]
    metrics: Metrics | None
    reason: str = ""
    report: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def feasible(self) -> bool:
        """Whether the trace fits the chip."""
        return self.metrics is not None

    @property
    def label(self) -> str:
        """The settings in short: last part of each key and its value."""
        return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in self.settings.items())


class Store:
    """An open result file; its methods may be called from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()

    def bind(self, about: Mapping[str, Any]) -> None:
        """Say of which space the file is, e.g. its name and base chip; names -> JSON-able values.

        Raises UserError, naming what differs, where the file is of another space.
        """
        known = self.about()
        for name, value in about.items():
            if name in known and known[name] != json.loads(json.dumps(value)):
                said = f"{name}: {_short(known[name])}, not {_short(value)}"
                raise UserError(f"{self.path}: holds results of another space ({said}); give another file")
        values = [(name, json.dumps(value)) for name, value in about.items()]
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", values)

    def about(self) -> dict[str, Any]:
        """What `bind` said; empty in a new file."""
        with self._lock, _translated(self.path):
            return {name: json.loads(value) for name, value in self._connection.execute("SELECT * FROM about")}

    def remember_traces(self, files: Mapping[str, str]) -> None:
        """Keep where the file of each trace is, for those who run a point again."""
        values = json.dumps(self.trace_files() | dict(files))
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (TRACE_FILES, values))

    def trace_files(self) -> dict[str, str]:
        """Name of a trace -> its file, where the last exploration found it."""
        return dict(self.about().get(TRACE_FILES, {}))

    def has(self, key: str, program: str, *, bounds: bool = False) -> bool:
        """Whether this program has computed a point, or its bound."""
        query = f"SELECT 1 FROM {_table(bounds)} WHERE key = ? AND program = ?"
        with self._lock, _translated(self.path):
            return self._connection.execute(query, (key, program)).fetchone() is not None

    def keys(self, program: str, *, bounds: bool = False) -> set[str]:
        """Keys of the points that this program has computed."""
        query = f"SELECT key FROM {_table(bounds)} WHERE program = ?"
        with self._lock, _translated(self.path):
            return {key for (key,) in self._connection.execute(query, (program,))}

    def get(self, key: str, program: str, *, bounds: bool = False) -> Row | None:
        """A point that this program has computed, or its bound, without its report; None where it has not."""
        query = f"SELECT {_KNOWN} FROM {_table(bounds)} WHERE key = ? AND program = ?"
        with self._lock, _translated(self.path):
            found = self._connection.execute(query, (key, program)).fetchone()
            return None if found is None else _row(found)

    def add(self, row: Row, *, bounds: bool = False) -> None:
        """Store a point, or its bound, and commit."""
        self.add_all([row], bounds=bounds)

    def add_all(self, rows: Iterable[Row], *, bounds: bool = False) -> None:
        """Store points, or their bounds, and commit once: all are there, or none."""
        values = [_values(row) for row in rows]
        if not values:
            return
        marks = ", ".join("?" * len(values[0]))
        with self._writing() as connection:
            connection.executemany(f"INSERT OR REPLACE INTO {_table(bounds)} VALUES ({marks})", values)

    def rows(self, *, bounds: bool = False, program: str | None = None) -> list[Row]:
        """All points of a program, or else of the one that wrote last, without reports.

        Ordered by content (trace, settings, energy table), whatever order they were finished in.
        """
        table = _table(bounds)
        query = f"""SELECT {_KNOWN} FROM {table} WHERE program =
            coalesce(?, (SELECT program FROM {table} ORDER BY rowid DESC LIMIT 1))"""
        with self._lock, _translated(self.path):
            return sorted(map(_row, self._connection.execute(query, (program,))), key=_order)

    def outdated(self) -> int:
        """Points in the file that an older program computed; `rows` leaves them out."""
        query = """SELECT count(*) FROM points
            WHERE program != (SELECT program FROM points ORDER BY rowid DESC LIMIT 1)"""
        with self._lock, _translated(self.path):
            return int(self._connection.execute(query).fetchone()[0])

    def report(self, key: str) -> dict[str, Any]:
        """The whole report of a point that fits. Raises UserError where there is none."""
        query = "SELECT report FROM points WHERE key = ?"
        with self._lock, _translated(self.path):
            found = self._connection.execute(query, (key,)).fetchone()
            if found is None or found[0] is None:
                raise UserError(f"{self.path}: holds no report of point {key[:12]}")
            try:
                return dict(json.loads(zlib.decompress(found[0])))
            except (zlib.error, ValueError) as error:
                raise UserError(f"{self.path}: damaged at point {key[:12]} ({error})") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self.path), self._connection:
            yield self._connection


def _table(bounds: bool) -> str:
    return "bounds" if bounds else "points"


def _values(row: Row) -> tuple[Any, ...]:
    metrics = row.metrics or {}
    report = None if row.report is None else zlib.compress(json.dumps(row.report).encode(), 1)
    numbers = [metrics.get(name) for name in METRICS]
    return (
        *(row.key, row.program, row.trace, row.prices, json.dumps(dict(row.settings)), row.reason),
        *numbers,
        report,
    )


def _row(values: tuple[Any, ...]) -> Row:
    key, program, trace, prices, settings, reason, *numbers = values
    metrics = None if reason else dict(zip(METRICS, numbers, strict=True))
    return Row(key, program, trace, prices, json.loads(settings), metrics, reason)


def _order(row: Row) -> tuple[Any, ...]:
    values = tuple((key, isinstance(value, str), value) for key, value in row.settings.items())
    return row.trace, tuple(key for key, _, _ in values), values, row.prices, row.key


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


@contextmanager
def open_store(path: str | Path, *, create: bool = False) -> Iterator[Store]:
    """Open a result file; with `create` for writing, and made anew where it does not exist.

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
        connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    try:
        with _translated(path):
            if fresh:
                _found(connection)
            _check(path, connection)
            if create:
                # A commit need not wait for the disk: a process that is killed loses nothing, nor does a second writer.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
        yield Store(path, connection)
    finally:
        if create:
            # One file again, which can be copied, and read where nothing may be written; not while another writes.
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA journal_mode = DELETE")
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
        connection.execute("BEGIN IMMEDIATE")  # two processes may be here at once
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        for statement in _SCHEMA:
            connection.execute(statement)


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
