"""Which points cannot be on the front, by what is known of them: lower bounds of them against simulated others.

The rule: a point is left out once a simulated one is at most as large as its lower bound in every objective and smaller
in one. It is then smaller in one, and larger in none, than what the point would have come to, whatever that is: the
point is dominated, and so is all that it would have dominated. Equal points are left in, as `non_dominated` does.

With `within` = e a point is left out as soon as a simulated one is at most (1 + e) times its bound in every objective.
Each point of the true front is then within the factor 1 + e, in every objective, of one that is simulated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...simulator.errors import UserError
from .metrics import BOUNDED, costs, parse_objectives
from .store import Row

Floats = NDArray[np.float64]

# Bounds of energies are made lower by this, relatively: those of a run and of its bound are sums of a few thousand
# floats, the same but for cycles, and rounding (2^-53 each) may put the one that is not larger above the other. Latency
# needs none: it is a mean of integers times a constant, and rounding turns the order of no two such.
ROUNDING = 1e-9
SUMMED = ("energy", "edp")


@dataclass(frozen=True)
class Goal:
    """A front that is asked for. within: 0 for the exact one, else how far off it may be, relatively."""

    objectives: tuple[str, ...]
    within: float = 0.0

    def group(self, row: Row) -> str:
        """Points of one group have one front (results.fronts): those of a trace, or all where accuracy is judged."""
        return "" if "accuracy" in self.objectives else row.trace

    def costs(self, row: Row) -> Floats:
        """float64[objectives], all to be small. Raises UserError where the point has no such number."""
        return np.array(costs(row.metrics or {}, self.objectives))

    def floor(self, bound: Row) -> Floats:
        """float64[objectives] that the simulated costs are never below, from the point's lower bounds."""
        exact = [name not in SUMMED for name in self.objectives]
        return np.where(exact, 1.0, 1 - ROUNDING) * costs(bound.metrics or {}, self.objectives)


def parse_goal(objectives: str, within: str | None = None) -> Goal:
    """ "latency,energy", "5%" -> a goal. Raises UserError for objectives without a bound, and a share that is none."""
    names = parse_objectives(objectives)
    unknown = [name for name in names if name not in BOUNDED]
    if unknown:
        raise UserError(
            f"objective {unknown[0]!r}: nothing is known of it without simulating (it is a ratio, or a time between "
            f"images), so that no point can be left out; an exact front is of {', '.join(BOUNDED)}"
        )
    return Goal(names, 0.0 if within is None else _share(within))


def _share(text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UserError(f"within = {text!r}: must be a share between 0 % and 100 %, as 5% or 0.05")
    return share


class Leaders:
    """The simulated points that no other simulated one dominates, by group; it says what they leave nothing to gain of.

    One thread adds while another asks: what is added replaces an array, and none is modified.
    """

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self._costs: dict[str, Floats] = {}

    def add(self, row: Row) -> None:
        """A simulated point that fits."""
        mine, group = self.goal.costs(row), self.goal.group(row)
        known = self._costs.get(group, np.zeros((0, len(mine))))
        beaten = (mine <= known).all(1) & (mine < known).any(1)
        self._costs[group] = np.vstack([known[~beaten], mine])

    def settle(self, bound: Row) -> bool:
        """Whether the point of a bound may be left out."""
        known = self._costs.get(self.goal.group(bound))
        if known is None:
            return False
        floor = self.goal.floor(bound)
        if self.goal.within > 0:
            return bool((known <= (1 + self.goal.within) * floor).all(1).any())
        return bool(((known <= floor).all(1) & (known < floor).any(1)).any())


def in_order(floors: Floats) -> NDArray[np.int64]:
    """The order to simulate in, int64[points]: by the sum of the ranks in each objective. floors: [points, objectives].

    What can settle a point by its floor has one that is nowhere larger, and so comes before it: one after the other, no
    order simulates fewer points. Points that are good in all objectives come first: a part of the run is of use, too.
    """
    ranks = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in floors.T]
    order: NDArray[np.int64] = np.argsort(np.sum(ranks, axis=0), kind="stable")
    return order


def unsettled(rows: Sequence[Row], bounds: Sequence[Row], objectives: Sequence[str]) -> int:
    """How many points that have a bound, but were not simulated, may be on the front of `rows` all the same.

    0: leaving them out has changed nothing, and the front is exact. Raises UserError as `metrics.costs` does.
    """
    goal = Goal(tuple(objectives))
    known = {row.key for row in rows}
    leaders = Leaders(goal)
    for row in rows:
        if row.feasible:
            leaders.add(row)
    skipped = [row for row in bounds if row.feasible and row.key not in known]
    if any(name not in BOUNDED for name in objectives):
        return len(skipped)
    return sum(not leaders.settle(row) for row in skipped)
