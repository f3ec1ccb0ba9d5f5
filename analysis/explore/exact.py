"""The exact front of a space for less than a sweep: bounds of all points, then simulation of those left open by them.

Both are stored as they come (tables `bounds` and `points`), so that an interrupted run goes on where it stopped, and
points that a sweep has simulated are not simulated again. What a point must be to be left out: pruning.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..parallel import EVERYWHERE, Workers, finished
from ..space import Space
from .point import Point, TraceFile, bound_point, open_traces, point_of, program_version, sending, simulate_point
from .pruning import Goal, Leaders, in_order
from .store import Row, Store, open_store
from .sweep import Progress, Sample, Step, attach, checked, chosen, kept_on_interrupt
from .twins import Twins

BLOCK = 16  # neighbours of the grid that one worker bounds in turn: they share placements

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Exact:
    """What an exact front took. points: of the space; fit: of these; simulated: of these, earlier runs included."""

    points: int
    fit: int
    simulated: int


@dataclass(frozen=True)
class Steps:
    """Who is told how far the two halves are, each as (points done, points)."""

    bounding: Step | None = None
    simulating: Step | None = None


NOBODY = Steps()


def run_exact(
    space: Space,
    paths: Mapping[str, str | Path],
    out: str | Path,
    goal: Goal,
    *,
    sample: Sample | None = None,
    workers: Workers = EVERYWHERE,
    steps: Steps = NOBODY,
) -> Exact:
    """Simulate as many points of `space`, or of a sample, as it takes to know its front; results go to `out`.

    The front of the points that `out` then holds is that of the whole space (`results.fronts`), or with `goal.within`
    one within that factor. Points that do not fit are stored with their reason. Needs memory for the bounds of all
    points. paths: trace of the space -> its file, where that is another.
    Raises UserError for a bad trace or result file, and where a point has no number for an objective;
    KeyboardInterrupt (saying what is kept) on Ctrl-C.
    """
    traces = open_traces(checked(space), paths)
    team = sending(workers, traces.values())
    with open_store(out, create=True) as store:
        attach(store, space, traces)
        survey = _Survey(space, traces, store, sample)
        survey.bound(team, steps.bounding)
        survey.simulate(goal, team, steps.simulating)
        simulated = survey.keys(survey.fitting()) & store.keys(program_version())
        return Exact(len(survey.choices), len(survey.fitting()), len(simulated))


class _Survey:
    """The points of a space, what they are chosen by, and what is known of them."""

    def __init__(self, space: Space, traces: Mapping[str, TraceFile], store: Store, sample: Sample | None) -> None:
        self._space, self._traces, self._store = space, traces, store
        self.choices: dict[str, Values] = {}  # by key
        for values in chosen(space, sample):
            self.choices.setdefault(self._entry(values).key, values)
        self._bounds: dict[str, Row] = {}

    def _entry(self, values: Values) -> Point | Row:
        return point_of(self._space, self._traces, self._space.candidate(values))

    def bound(self, workers: Workers, step: Step | None) -> None:
        """Bounds of all points that the file does not hold yet; those that do not fit become results."""
        store, program = self._store, program_version()
        known = store.keys(program, bounds=True) & self.choices.keys()
        progress = Progress(step, len(known), len(self.choices))
        missing = (self._entry(values) for key, values in self.choices.items() if key not in known)
        with kept_on_interrupt(progress, store.path):
            progress.show()
            with closing(finished(_bound_block, _blocks(missing, BLOCK), workers)) as results:
                for rows in results:
                    store.add_all(rows, bounds=True)
                    progress.more(len(rows))
        self._bounds = {row.key: row for row in store.rows(bounds=True, program=program) if row.key in self.choices}
        unfit = [row for row in self._bounds.values() if not row.feasible]
        stored = store.keys(program)
        store.add_all([row for row in unfit if row.key not in stored])

    def fitting(self) -> list[Row]:
        """Bounds of the points that fit."""
        return [row for row in self._bounds.values() if row.feasible]

    @staticmethod
    def keys(rows: Iterable[Row]) -> set[str]:
        """Keys of rows."""
        return {row.key for row in rows}

    def simulate(self, goal: Goal, workers: Workers, step: Step | None) -> None:
        """Those that nothing settles, in the order of their bounds."""
        fitting = self.fitting()
        floors = np.array([goal.floor(row) for row in fitting]).reshape(len(fitting), len(goal.objectives))
        leaders, program = Leaders(goal), program_version()
        done = [row for row in self._store.rows(program=program) if row.key in self._bounds]
        for row in done:
            if row.feasible:
                leaders.add(row)
        known = self.keys(done)
        twins = Twins(self._point, [row for row in done if row.feasible])
        progress = Progress(step, sum(row.key in known for row in fitting), len(fitting))
        order = [at for at in in_order(floors).tolist() if fitting[at].key not in known]
        open_points = self._open([fitting[at] for at in order], leaders, twins, progress)
        with kept_on_interrupt(progress, self._store.path):
            progress.show()
            with closing(finished(simulate_point, open_points, workers)) as results:
                for row in results:
                    self._store.add(row)
                    if row.feasible:
                        twins.add(row)
                        leaders.add(row)
                    progress.more()

    def _open(self, bounds: Sequence[Row], leaders: Leaders, twins: Twins, progress: Progress) -> Iterator[Point]:
        """Points, one by one, that nothing simulated by then settles, and that no other process has simulated."""
        for bound in bounds:
            found = self._store.get(bound.key, bound.program)
            if found is not None and found.feasible:
                leaders.add(found)
                twins.add(found)
            if found is not None or leaders.settle(bound) or self._settled_by_twin(bound, leaders, twins):
                progress.more()
            else:
                yield self._point(bound)

    def _settled_by_twin(self, bound: Row, leaders: Leaders, twins: Twins) -> bool:
        """Whether it is settled by what a twin says of it; what that is takes the place of the bound in the file."""
        sharp = twins.sharpen(bound)
        settled = sharp is not bound and leaders.settle(sharp)
        if settled:
            self._store.add(sharp, bounds=True)
        return settled

    def _point(self, row: Row) -> Point:
        point = self._entry(self.choices[row.key])
        assert isinstance(point, Point)
        return point


def _blocks(entries: Iterable[Point | Row], size: int) -> Iterator[tuple[Point | Row, ...]]:
    left = iter(entries)
    while block := tuple(islice(left, size)):
        yield block


def _bound_block(block: Sequence[Point | Row]) -> list[Row]:
    return [entry if isinstance(entry, Row) else bound_point(entry) for entry in block]
