"""Running a design space: every point through the simulator, in parallel, each result stored as soon as it is there."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...simulator.errors import UserError
from ...simulator.hardware import NAMES, ORIGIN
from ..parallel import EVERYWHERE, Workers, finished
from ..space import Space, grid, sobol
from .point import Point, TraceFile, open_traces, point_of, program_version, sending, simulate_point
from .store import Row, Store, open_store

Step = Callable[[int, int], None]


@dataclass(frozen=True)
class Sample:
    """A part of a space: `count` points of a Sobol sequence."""

    count: int
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a sweep did. known: points that were stored before; infeasible: that do not fit, of all `points`."""

    points: int
    known: int
    infeasible: int


class Progress:
    """How many of all points are done, told to whoever asked for it."""

    def __init__(self, step: Step | None, done: int, total: int) -> None:
        self.done, self.total = done, total
        self._step = step or (lambda done, total: None)

    def show(self) -> None:
        """Tell it."""
        self._step(self.done, self.total)

    def more(self, points: int = 1) -> None:
        """So many more are done."""
        self.done += points
        self.show()


def run_sweep(
    space: Space,
    paths: Mapping[str, str | Path],
    out: str | Path,
    *,
    sample: Sample | None = None,
    workers: Workers = EVERYWHERE,
    step: Step | None = None,
) -> Outcome:
    """Simulate every point of `space`, or a sample of it; results go to the sqlite file `out`.

    Points that `out` already holds are not run again; others may write to it meanwhile. A point that does not fit is
    stored with its reason. paths: trace of the space -> its file, where that is another.  step: called with (points
    done, points).
    Raises UserError for a bad trace or result file; KeyboardInterrupt (saying what is kept) on Ctrl-C.
    """
    traces = open_traces(checked(space), paths)
    team = sending(workers, traces.values())
    with open_store(out, create=True) as store:
        attach(store, space, traces)
        every = {entry.key for entry in _entries(space, traces, sample)}
        known = every & store.keys(program_version())
        progress = Progress(step, len(known), len(every))
        missing = (entry for entry in _entries(space, traces, sample, os.getpid()) if entry.key not in known)
        with kept_on_interrupt(progress, out):
            progress.show()
            with closing(finished(_done, _not_stored(missing, store, progress), team)) as results:
                for row in results:
                    store.add(row)
                    progress.more()
        infeasible = sum(not row.feasible for row in store.rows() if row.key in every)
        return Outcome(len(every), len(known), infeasible)


def _entries(
    space: Space, traces: Mapping[str, TraceFile], sample: Sample | None, seed: int | None = None
) -> Iterator[Point | Row]:
    """Points to simulate, and rows of combinations that are no chip, one by one: a space may be large."""
    return (point_of(space, traces, space.candidate(values)) for values in chosen(space, sample, seed))


def chosen(space: Space, sample: Sample | None, seed: int | None = None) -> Iterator[dict[str, object]]:
    """Choices of the points of a space or of its sample; seed: as `grid` takes it."""
    return grid(space, seed) if sample is None else sobol(space, sample.count, sample.seed)


def _not_stored(entries: Iterable[Point | Row], store: Store, progress: Progress) -> Iterator[Point | Row]:
    """Those that another process has not stored by now."""
    for entry in entries:
        if store.has(entry.key, program_version()):
            progress.more()
        else:
            yield entry


def _done(entry: Point | Row) -> Row:
    return entry if isinstance(entry, Row) else simulate_point(entry)


@contextmanager
def kept_on_interrupt(progress: Progress, out: str | Path) -> Iterator[None]:
    """Ctrl-C says what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"interrupted; {progress.done} of {progress.total} points are kept in {out}"
        raise KeyboardInterrupt(f"{kept}, and the same command goes on from there") from None


def checked(space: Space) -> Space:
    """The space, if it has traces. Raises UserError where it has none."""
    if not space.every_trace:
        raise UserError("nothing to sweep: the space names no trace; give one on the command line")
    return space


def attach(store: Store, space: Space, traces: Mapping[str, TraceFile]) -> None:
    """Say in a result file of which space it is, and where its traces are. Raises UserError for another space's."""
    store.bind(identity(space))
    store.remember_traces({name: str(Path(file.path).resolve()) for name, file in traces.items()})


def identity(space: Space) -> dict[str, Any]:
    """What all points of a result file share; values and traces may be added to a space, keys may not."""
    return {
        "base chip": space.chip,
        "base": {key: value for key, value in space.base_values.items() if key not in ORIGIN | NAMES},
        "axes": list(space.axes),
        "images": space.images,
    }
