"""Which point of a result file meets some limits at the least cost, what binds, and how near the others come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....simulator.errors import UserError
from ...tables import percent
from ..metrics import METRICS, costs, described
from ..store import Row

LIMITED = (
    "latency",
    "energy",
    "area",
    "accuracy",
)  # what limits can be set on; accuracy: at least, the others: at most


@dataclass(frozen=True)
class Bound:
    """A limit and what it does. slack: share of the limit that the chosen point leaves.

    next: the point that costs less and meets all other limits, with the least breach of this one; None where no point
    costs less without this limit, so that it does not bind.
    """

    name: str
    limit: float
    slack: float
    next: Row | None


@dataclass(frozen=True)
class Choice:
    """The point that is recommended, of so many that meet the limits."""

    row: Row
    meeting: int
    bounds: tuple[Bound, ...]


def breach(row: Row, name: str, limit: float) -> float:
    """By what share of a limit a point misses it; 0 or less where it meets it. Infinite where it has no such number."""
    value = (row.metrics or {})[name]
    if value is None:
        return float("inf")
    return METRICS[name].sense * (value - limit) / limit


def meets(row: Row, limits: Mapping[str, float]) -> bool:
    """Whether a point meets every limit; on the limit is within."""
    return all(breach(row, name, limit) <= 0 for name, limit in limits.items())


def recommend(rows: Sequence[Row], limits: Mapping[str, float], cheapest: str) -> Choice:
    """The feasible point with the least `cheapest` of those that meet all limits; limits: metric -> in its own unit.

    Of equal ones the one with the lower latency, energy and area. Raises UserError where none meets them, saying which
    limit is missed by how little.
    """
    feasible = [row for row in rows if row.feasible]
    meeting = [row for row in feasible if meets(row, limits)]
    if not meeting:
        raise UserError(_nearest_miss(feasible, limits))
    best = min(meeting, key=lambda row: _order(row, cheapest))
    bounds = tuple(_bound(name, limits, feasible, best, cheapest) for name in limits)
    return Choice(best, len(meeting), bounds)


def _order(row: Row, cheapest: str) -> tuple[object, ...]:
    return (*costs(row.metrics or {}, (cheapest, "latency", "energy", "area")), row.key)


def _bound(name: str, limits: Mapping[str, float], rows: Sequence[Row], best: Row, cheapest: str) -> Bound:
    others = {other: limit for other, limit in limits.items() if other != name}
    cost = costs(best.metrics or {}, (cheapest,))
    cheaper = [row for row in rows if meets(row, others) and costs(row.metrics or {}, (cheapest,)) < cost]
    near = min(cheaper, key=lambda row: (breach(row, name, limits[name]), _order(row, cheapest)), default=None)
    return Bound(name, limits[name], -breach(best, name, limits[name]), near)


def _nearest_miss(rows: Sequence[Row], limits: Mapping[str, float]) -> str:
    """The point whose breaches add up to least, and how far the limits are from what is there at all."""
    unknown = [name for name in limits if all((row.metrics or {})[name] is None for row in rows)]
    if unknown:
        return f"no point has {' or '.join(unknown)} (traces without labels have no accuracy)"
    near = min(rows, key=lambda row: (sum(max(0.0, breach(row, *limit)) for limit in limits.items()), row.key))
    missed = {name: breach(near, name, limit) for name, limit in limits.items() if breach(near, name, limit) > 0}
    said = " and ".join(
        f"--{name} {written(name, limits[name])} by {percent(share)} of it (it has {_of(near, name)})"
        for name, share in missed.items()
    )
    met = [name for name in limits if name not in missed]
    alone = [name for name, limit in limits.items() if not any(breach(row, name, limit) <= 0 for row in rows)]
    parts = [
        f"no point of {len(rows):,} meets {', '.join(f'--{name} {written(name, limits[name])}' for name in limits)}",
        f"the nearest, {near.label} on {near.trace}, misses {said}" + (f" and meets {', '.join(met)}" if met else ""),
    ]
    if alone:
        reached = ", ".join(f"{METRICS[name].label} {_best(rows, name)}" for name in alone)
        parts.append(f"the best of all points: {reached}")
    else:
        parts.append("each limit alone is met by some point")
    return "; ".join(parts)


def _best(rows: Sequence[Row], name: str) -> str:
    known = [row for row in rows if (row.metrics or {})[name] is not None]
    return _of(min(known, key=lambda row: costs(row.metrics or {}, (name,))), name)


def _of(row: Row, name: str) -> str:
    return described(row.metrics or {}, (name,))[name]


def written(name: str, value: float) -> str:
    """A metric's value as it is written."""
    return METRICS[name].text(value)
