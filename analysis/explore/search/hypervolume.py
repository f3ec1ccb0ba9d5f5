"""Hypervolume: how much of the objective space a set of points dominates, exactly, in any number of objectives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..pareto import non_dominated

Values = NDArray[np.float64]

# The reference point stands a tenth of the front's range beyond its worst value in each objective, so that the ends of
# the front count, too.
REFERENCE = 1.1


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume of all that lies between at least one of the points and the reference; every objective is to be small.

    points: float[points, objectives].  reference: float[objectives]; a point that is not below it in every objective
    adds nothing. Exact: slices along the last objective, down to areas under a staircase; n points in d objectives take
    some n^(d-1) steps, so that it is meant for fronts, and for few objectives.
    Raises ValueError where shapes do not fit, or a value is not a number.
    """
    values, corner = np.asarray(points, np.float64), np.asarray(reference, np.float64)
    if values.ndim != 2 or corner.shape != values.shape[1:] or not values.shape[1]:
        raise ValueError(
            f"points {values.shape} and reference {corner.shape} must be [points, objectives], [objectives]"
        )
    if np.isnan(values).any() or np.isnan(corner).any():
        raise ValueError("an objective is not a number")
    inside = values[(values < corner).all(1)]
    return _volume(inside[non_dominated(inside)], corner)


def _volume(points: Values, corner: Values) -> float:
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    ends = np.append(points[1:, -1], corner[-1])
    if points.shape[1] == 2:
        lowest = np.minimum.accumulate(points[:, 0])
        return float(np.sum((ends - points[:, 1]) * (corner[0] - lowest)))
    volume = 0.0
    for number, (start, end) in enumerate(zip(points[:, -1], ends, strict=True), 1):
        if end > start:  # between two points the slice is that of all points so far
            volume += (end - start) * _volume(points[:number, :-1], corner[:-1])
    return volume


@dataclass(frozen=True)
class Scale:
    """What hypervolumes are measured by: a front, whose best value in each objective becomes 0, its worst 1.

    The reference point is `REFERENCE` in each objective, and a volume is told as a share of the front's own, so that
    the whole front has 1.
    """

    best: tuple[float, ...]
    worst: tuple[float, ...]
    whole: float

    @staticmethod
    def of(points: ArrayLike) -> "Scale":
        """The scale of the front of these points, float[points, objectives], of which there must be one."""
        values = np.asarray(points, np.float64)
        front = values[non_dominated(values)]
        best, worst = front.min(0), front.max(0)
        return Scale(tuple(best), tuple(worst), hypervolume(_unit(front, best, worst), np.full(len(best), REFERENCE)))

    def share(self, points: ArrayLike) -> float:
        """Hypervolume of the points as a share of the front's; 0 without a point."""
        values = np.asarray(points, np.float64).reshape(-1, len(self.best))
        scaled = _unit(values, np.array(self.best), np.array(self.worst))
        return hypervolume(scaled, np.full(len(self.best), REFERENCE)) / self.whole

    def curve(self, points: ArrayLike, known: ArrayLike = ()) -> Values:
        """float64[points]: the share of the first one, of the first two, …, each together with the `known` points."""
        front = np.asarray(known, np.float64).reshape(-1, len(self.best))
        front = front[non_dominated(front)]
        shares: list[float] = []
        share = self.share(front)
        for point in np.asarray(points, np.float64).reshape(-1, len(self.best)):
            if not (front <= point).all(1).any():
                front = np.vstack([front[~(point <= front).all(1)], point])
                share = self.share(front)
            shares.append(share)
        return np.array(shares)


def _unit(values: Values, best: Values, worst: Values) -> Values:
    """Where a front has one value in an objective there is no range to scale by: the value itself is taken."""
    width = np.where(worst > best, worst - best, np.abs(best))
    return (values - best) / np.where(width > 0, width, 1.0)
