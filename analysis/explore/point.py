"""A point of a space that can be simulated: a trace on a chip under an energy table, and the key of its result."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ... import __version__
from ...simulator.energy import EnergyTable, load_energy_table
from ...simulator.errors import UserError
from ...simulator.hardware import NAMES, ORIGIN, Chip
from ...simulator.report import bound_report, simulate
from ...simulator.trace import Trace, load_trace
from ..parallel import Workers
from ..run_cache import code_digest
from ..space import Candidate, Space
from .metrics import metrics_of
from .store import Row

TRACES_KEPT = 32  # in a process: spikes of small tickets are some MiB


@dataclass(frozen=True)
class TraceFile:
    """A trace of a space. name: as the space has it.  path: its file.  sha256: of the images used."""

    name: str
    path: str
    images: int | None
    sha256: str


@dataclass(frozen=True)
class Point:
    """key: what its result is stored under.  prices: energy table.  settings: what differs from the base chip."""

    key: str
    trace: TraceFile
    prices: str
    settings: Mapping[str, Any]
    chip: Chip

    def row(self, report: Mapping[str, Any] | None, reason: str = "") -> Row:
        """The result as it is stored."""
        metrics = None if report is None else metrics_of(report)
        return Row(self.key, program_version(), self.trace.name, self.prices, self.settings, metrics, reason, report)


def open_traces(space: Space, paths: Mapping[str, str | Path]) -> dict[str, TraceFile]:
    """The traces of a space; paths: name -> file. Raises UserError for a missing or bad one."""
    return {name: _open(name, str(paths.get(name, name)), space.images) for name in space.every_trace}


def _open(name: str, path: str, images: int | None) -> TraceFile:
    return TraceFile(name, path, images, _load(path, images).sha256)


def point_of(space: Space, traces: Mapping[str, TraceFile], candidate: Candidate) -> Point | Row:
    """The point of a candidate; where there is no such chip, its row with the reason."""
    trace = traces[candidate.trace]
    if candidate.chip is None or candidate.energy is None:
        key = _key(trace.sha256, candidate.energy, [space.chip, dict(candidate.settings)])
        prices, reason = candidate.energy or "", candidate.reason
        return Row(key, program_version(), trace.name, prices, candidate.settings, None, reason)
    table = table_of(candidate.energy).sha256
    key = _key(trace.sha256, table, candidate.chip.model_dump(exclude=ORIGIN | NAMES))
    return Point(key, trace, candidate.energy, candidate.settings, candidate.chip)


def _key(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=64)
def table_of(energy: str) -> EnergyTable:
    """Read once in each process: that takes longer than to price a run."""
    return load_energy_table(energy)


@lru_cache(maxsize=1)
def program_version() -> str:
    """The version and a digest of the simulator's source and data, so that results of two programs never mix."""
    digest = code_digest("sparsespike.simulator", "sparsespike.hwconfigs.energy", "sparsespike.hwconfigs.area")
    return f"{__version__}+{digest}"


def simulate_point(point: Point) -> Row:
    """The row of a point, simulated; one that does not fit has a reason instead of a report."""
    try:
        return point.row(simulate(trace_of(point.trace), point.chip, table_of(point.prices)).to_json())
    except UserError as error:
        return point.row(None, str(error))


def bound_point(point: Point) -> Row:
    """The same without stepping: latency and energy are lower bounds, area and accuracy exact; no report is kept."""
    try:
        report = bound_report(trace_of(point.trace), point.chip, table_of(point.prices), brief=True).summary()
    except UserError as error:
        return point.row(None, str(error))
    metrics = metrics_of(report)
    return Row(point.key, program_version(), point.trace.name, point.prices, point.settings, metrics)


# Traces that a cluster's workers were sent, by checksum; elsewhere they are read from their files.
_SENT: dict[str, Trace] = {}


def keep_traces(program: str, traces: Mapping[str, Trace]) -> None:
    """Hold traces, by checksum, in this process, so that points on them need no file.

    Raises UserError where this process runs another version than `program`: its results would be another's.
    """
    if program_version() != program:
        raise UserError(f"this worker runs sparsespike {program_version()}, not {program}")
    _SENT.update(traces)


def sending(workers: Workers, files: Iterable[TraceFile]) -> Workers:
    """The workers, those of a cluster with the traces that they will need."""
    if workers.dask is None:
        return workers
    traces = {file.sha256: trace_of(file) for file in files}
    return replace(workers, prepare=partial(keep_traces, program_version(), traces))


def trace_of(file: TraceFile) -> Trace:
    """The trace of a point, read once in each process. Raises UserError where the file is another one by now."""
    if file.sha256 in _SENT:
        return _SENT[file.sha256]
    trace = _load(file.path, file.images)
    if trace.sha256 != file.sha256:
        raise UserError(f"{file.path}: has changed since the sweep began")
    return trace


@lru_cache(maxsize=TRACES_KEPT)
def _load(path: str, images: int | None) -> Trace:
    trace = load_trace(path)
    return trace if images is None or images >= trace.images else trace.first(images)
