"""The Pareto front: the points that no other point beats in every objective."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def non_dominated(objectives: ArrayLike) -> NDArray[np.bool_]:
    """Mask of the points that are on the front; every objective is to be small.

    objectives: float[points, objectives]. A point is dominated if another is at most as large in every objective and
    smaller in one; so equal points are on the front together or not at all. Exact: comparisons only, no tolerance.
    Raises ValueError where a value is not a number, because nothing compares with it.
    """
    values = np.asarray(objectives, np.float64)
    if values.ndim != 2:
        raise ValueError(f"objectives must have two axes (points, objectives), not {values.ndim}")
    if np.isnan(values).any():
        raise ValueError("an objective is not a number")
    front = np.zeros(len(values), np.bool_)
    # In lexicographic order a point can only be dominated by an earlier one, and if by any, then by one of the front.
    order = np.lexsort(values.T[::-1])
    for index in order:
        leaders = values[front]
        beaten = (leaders <= values[index]).all(1) & (leaders < values[index]).any(1)
        front[index] = not beaten.any()
    return front
