"""Running a design space: every point through the simulator, in parallel, each result stored as soon as it is there."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..simulator.energy import load_energy_table
from ..simulator.errors import UserError
from ..simulator.hardware import NAMES, ORIGIN, Chip
from ..simulator.report import simulate
from ..simulator.trace import Trace, load_trace
from .parallel import finished
from .run_cache import code_digest
from .space import Space
from .store import Row, open_store


@dataclass(frozen=True)
class Point:
    """A point that can be simulated: which trace on which chip, and the key that its result is stored under."""

    key: str
    path: str
    trace: str
    base: str
    settings: Mapping[str, Any]
    chip: Chip
    energy: str
    images: int | None

    def row(self, report: Mapping[str, Any] | None, reason: str = "") -> Row:
        """The result as it is stored."""
        return Row(self.key, program_version(), self.trace, self.base, self.settings, report, reason)


@dataclass(frozen=True)
class Outcome:
    """What a sweep did. rows: every point of the space, in order; known: how many were stored before."""

    rows: tuple[Row, ...]
    known: int

    @property
    def infeasible(self) -> int:
        """Points that the trace does not fit."""
        return sum(not row.feasible for row in self.rows)


def run_sweep(
    space: Space,
    traces: Sequence[str | Path],
    out: str | Path,
    *,
    jobs: int = -1,
    step: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Simulate every point of `space` on every trace; results go to the sqlite file `out`.

    Points that `out` already holds are not run again. A point that does not fit is stored with its reason. jobs: worker
    processes, -1 for one per processor. step: called with (points done, points of the space).
    Raises UserError for a bad trace or result file; KeyboardInterrupt (saying what is kept) on Ctrl-C.
    """
    if not traces:
        raise UserError("nothing to sweep: the space names no trace; give one on the command line")
    points, refused = _points(space, traces)
    report_step = step or (lambda done, total: None)
    with open_store(out, create=True) as store:
        known = store.keys(program_version())
        every = {point.key for point in points} | {row.key for row in refused}
        for row in refused:
            store.add(row)
        missing = [point for point in points if point.key not in known]
        done = len(every) - len(missing)
        try:
            report_step(done, len(every))
            with closing(finished(_simulate, missing, jobs)) as results:
                for row in results:
                    store.add(row)
                    done += 1
                    report_step(done, len(every))
        except KeyboardInterrupt:
            kept = (
                f"interrupted; {done} of {len(every)} points are kept in {out}, and the same command goes on from there"
            )
            raise KeyboardInterrupt(kept) from None
        return Outcome(tuple(row for row in store.rows() if row.key in every), len(every & known))


def _points(space: Space, traces: Sequence[str | Path]) -> tuple[list[Point], list[Row]]:
    """The grid on every trace: points to simulate, and rows of combinations that are no chip at all."""
    points: dict[str, Point] = {}
    refused = []
    energy = load_energy_table(space.energy).sha256
    for path in map(str, traces):
        content = _load(path, space.images).sha256
        trace = f"{Path(path).stem} {content[:6]}"
        for candidate in space.candidates:
            if candidate.chip is None:
                key = _key(content, energy, [space.chip, dict(candidate.settings)])
                refused.append(
                    Row(key, program_version(), trace, space.chip, candidate.settings, None, candidate.reason)
                )
                continue
            key = _key(content, energy, candidate.chip.model_dump(exclude=ORIGIN | NAMES))
            point = Point(key, path, trace, space.chip, candidate.settings, candidate.chip, space.energy, space.images)
            points.setdefault(key, point)
    return list(points.values()), refused


def _key(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def program_version() -> str:
    """The version and a digest of the simulator's source and data, so that results of two programs never mix."""
    digest = code_digest("sparsespike.simulator", "sparsespike.hwconfigs.energy", "sparsespike.hwconfigs.area")
    return f"{__version__}+{digest}"


def _simulate(point: Point) -> Row:
    try:
        report = simulate(_load(point.path, point.images), point.chip, point.energy)
    except UserError as error:
        return point.row(None, str(error))
    return point.row(report.to_json())


@lru_cache(maxsize=2)
def _load(path: str, images: int | None) -> Trace:
    trace = load_trace(path)
    return trace if images is None else trace.first(images)
