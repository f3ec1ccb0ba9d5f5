"""Points that are wanted one set after another: taken from the result file where they are there, else simulated."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

from ...parallel import EVERYWHERE, Workers, finished
from ...space import Space
from ...space.design import ENERGY, TRACE
from ..point import Point, TraceFile, bound_point, point_of, program_version, sending, simulate_point
from ..store import Row, Store
from .variation import Axes, Choice

Values = Mapping[str, Any]  # dimension of the space -> value


class Evaluation:
    """The points of a space, whose memory is a result file: nothing that it holds is computed again."""

    def __init__(
        self, space: Space, traces: Mapping[str, TraceFile], store: Store, workers: Workers = EVERYWHERE
    ) -> None:
        self.space = space
        self._traces, self._store = traces, store
        self._workers = sending(workers, traces.values())
        self._rows = _by_key(store.rows(program=program_version()))
        self.computed = 0  # points that were not in the file

    @cached_property
    def _bounds(self) -> dict[str, Row]:
        return _by_key(self._store.rows(bounds=True, program=program_version()))

    def rows(self, chosen: Sequence[Values], done: Callable[[], None] = lambda: None) -> list[Row]:
        """Rows of choices, in their order. done: called as each of those that are new is stored."""
        entries = self._entries(chosen)
        missing = {entry.key: entry for entry in entries if entry.key not in self._rows}
        with closing(finished(_simulated, missing.values(), self._workers)) as results:
            for row in results:
                self._store.add(row)
                self._rows[row.key] = row
                self.computed += 1
                done()
        return [self._rows[entry.key] for entry in entries]

    def bounds(self, chosen: Sequence[Values]) -> list[Row]:
        """Rows of their lower bounds, in their order."""
        entries = self._entries(chosen)
        missing = {entry.key: entry for entry in entries if entry.key not in self._bounds}
        with closing(finished(_bounded, missing.values(), self._workers)) as results:
            for row in results:
                self._store.add(row, bounds=True)
                self._bounds[row.key] = row
        return [self._bounds[entry.key] for entry in entries]

    def known(self) -> dict[Choice, Row]:
        """What the file holds of the space's grid."""
        found = ((self.choice_of(row), row) for row in self._rows.values())
        return {choice: row for choice, row in found if choice is not None}

    def choice_of(self, row: Row) -> Choice | None:
        """The indices of a row's values; None where it is none of the grid."""
        values = {TRACE: row.trace, ENERGY: row.prices if self.space.energies != (None,) else None, **row.settings}
        return choice_of(self.space, values)

    def _entries(self, chosen: Sequence[Values]) -> list[Point | Row]:
        return [point_of(self.space, self._traces, self.space.candidate(values)) for values in chosen]


def choice_of(space: Space, values: Values) -> Choice | None:
    """The inverse of `Space.chosen`; None where a value is none of its dimension's, or a dimension is missing."""
    try:
        return tuple(every.index(values[key]) for key, every in space.dimensions.items())
    except (KeyError, ValueError):
        return None


def axes_of(space: Space) -> Axes:
    """The dimensions of a space as a search sees them: those whose values are numbers have an order."""
    every = space.dimensions.values()
    ordered = tuple(all(type(value) in (int, float) for value in values) for values in every)
    sizes = tuple(len(values) for values in every)
    return Axes(tuple(space.dimensions), sizes, ordered, lambda choice: space.allows(space.chosen(choice)))


def _by_key(rows: Sequence[Row]) -> dict[str, Row]:
    """By key."""
    return {row.key: row for row in rows}


def _simulated(entry: Point | Row) -> Row:
    return entry if isinstance(entry, Row) else simulate_point(entry)


def _bounded(entry: Point | Row) -> Row:
    return entry if isinstance(entry, Row) else bound_point(entry)
