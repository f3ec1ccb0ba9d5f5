"""What a result file says: its points, and its front as a table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...simulator.errors import UserError
from ..tables import Table
from .metrics import BOUNDED, costs, described, parse_objectives
from .pareto import non_dominated
from .pruning import unsettled
from .store import Row, open_store


def read_rows(results: str | Path) -> list[Row]:
    """All points of a result file. Raises UserError where none of them is feasible."""
    with open_store(results) as store:
        rows = store.rows()
    if not any(row.feasible for row in rows):
        reasons = list(dict.fromkeys(row.reason for row in rows))
        raise UserError(f"{results}: holds no point that fits" + "".join(f"; {reason}" for reason in reasons[:3]))
    return rows


def fronts(rows: Sequence[Row], objectives: Sequence[str]) -> dict[str, list[Row]]:
    """The Pareto front of the points that fit, the best in the first objective first, by trace.

    With accuracy among the objectives tickets compete, and there is one front, called ""; else what different work
    costs is not compared.
    """
    feasible = [row for row in rows if row.feasible]
    groups = {"": feasible} if "accuracy" in objectives else by_trace(feasible)
    return {name: front_of(group, objectives) for name, group in groups.items()}


def front_of(rows: Sequence[Row], objectives: Sequence[str]) -> list[Row]:
    """The rows that no other beats in every objective, the best in the first objective first; all must be feasible."""
    values = np.array([costs(row.metrics or {}, objectives) for row in rows]).reshape(len(rows), len(objectives))
    front = non_dominated(values)
    return [rows[index] for index in np.lexsort(values.T[::-1]) if front[index]]


def by_trace(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each trace."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.trace, []).append(row)
    return groups


def front_table(rows: Sequence[Row], objectives: str) -> Table:
    """The fronts (`fronts`) under comma-separated objectives as a table."""
    names = parse_objectives(objectives)
    best = [row for front in fronts(rows, names).values() for row in front]
    feasible = [row for row in rows if row.feasible]
    cells = tuple((row.label, row.trace, *described(row.metrics or {}, names).values()) for row in best)
    note = f"{len(best)} of {len(feasible)} points"
    if len(rows) > len(feasible):
        note += f"; {len(rows) - len(feasible)} more do not fit"
    beyond = sum(bool((row.metrics or {}).get("extrapolated")) for row in feasible)
    if beyond:
        note += f"; {beyond} with memories extrapolated beyond the SRAM table"
    return Table(f"Pareto front: {', '.join(names)}", ("settings", "trace", *names), cells, f"{note}.")


def left_out(results: str | Path, objectives: str) -> list[str]:
    """A line about points that have a bound, but were not simulated: may one be on the front under these objectives?"""
    names = parse_objectives(objectives)
    with open_store(results) as store:
        rows = store.rows()
        bounds = store.rows(bounds=True, program=rows[0].program) if rows else []
    known = {row.key for row in rows}
    skipped = sum(row.feasible and row.key not in known for row in bounds)
    if not skipped:
        return []
    may = unsettled(rows, bounds, names)
    if not may:
        return [f"{skipped} more points that fit were left out: none can be on this front, by their lower bounds."]
    how = f"with --exact-front {','.join(names)}" if set(names) <= set(BOUNDED) else "without --exact-front"
    return [f"{skipped} more points that fit were left out: {may} of them may be on this front; sweep {how} to know."]
