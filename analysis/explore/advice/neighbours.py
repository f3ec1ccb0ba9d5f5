"""The next step from a point along each axis of its results, in either direction, and what it would change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...tables import Table
from ..metrics import METRICS
from ..store import Row
from ..views.naming import varied

COMPARED = ("latency", "energy", "area")


@dataclass(frozen=True)
class StepTo:
    """A point beside another. key: the axis.  value: of the neighbour.  row: None where it is not in the results."""

    key: str
    value: Any
    row: Row | None


def neighbours(rows: Sequence[Row], point: Row) -> list[StepTo]:
    """For each key with several values in the results: the next lower and the next higher one, all else held.

    Words have no order: every other one is a step.
    """
    there = {_place(row): row for row in rows}
    steps = []
    for key, values in varied(rows).items():
        if key not in point.settings:
            continue
        for value in _beside(values, point.settings[key]):
            place = (point.trace, point.prices, frozenset({**point.settings, key: value}.items()))
            steps.append(StepTo(key, value, there.get(place)))
    return steps


def _place(row: Row) -> tuple[str, str, frozenset[tuple[str, Any]]]:
    return row.trace, row.prices, frozenset(row.settings.items())


def _beside(values: Sequence[Any], value: Any) -> list[Any]:
    if any(isinstance(one, str | bool) for one in values):
        return [one for one in values if one != value]
    below, above = [one for one in values if one < value], [one for one in values if one > value]
    return [*([max(below)] if below else []), *([min(above)] if above else [])]


def steps_table(rows: Sequence[Row], point: Row) -> Table:
    """What the next steps would change in latency, energy and area."""
    cells = []
    for step in neighbours(rows, point):
        name = f"{step.key} {point.settings[step.key]} -> {step.value}"
        if step.row is None:
            cells.append((name, *["-"] * len(COMPARED), "not in the results"))
        elif not step.row.feasible:
            cells.append((name, *["-"] * len(COMPARED), f"does not fit: {step.row.reason}"))
        else:
            cells.append((name, *(_change(point, step.row, metric) for metric in COMPARED), ""))
    columns = ("step", *(METRICS[name].label for name in COMPARED), "")
    return Table("The next step along each axis, all else held", columns, tuple(cells))


def _change(here: Row, there: Row, name: str) -> str:
    one, other = (here.metrics or {})[name], (there.metrics or {})[name]
    if one is None or other is None or not one:
        return "-"
    return f"{METRICS[name].text(other)} ({100 * (other / one - 1):+.1f} %)"
