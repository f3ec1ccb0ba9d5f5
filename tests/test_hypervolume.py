"""Hypervolume: by hand, against inclusion and exclusion, against Monte Carlo, and the laws it obeys."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from sparsespike.analysis.explore.search.hypervolume import REFERENCE, Scale, hypervolume

BY_HAND = [
    ([[1.0, 1.0]], [3.0, 4.0], 6.0),
    ([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]], [3.0, 3.0], 6.0),
    ([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [2.0, 2.0], [1.0, 1.0]], [3.0, 3.0], 6.0),  # dominated, and twice
    ([[0.0, 3.0], [5.0, 0.0]], [3.0, 3.0], 0.0),  # on the reference, and beyond it
    ([[2.0], [1.0]], [4.0], 3.0),
    ([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [2.0, 2.0, 2.0], 7.0),
    ([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 2.0, 2.0]], [3.0, 3.0, 3.0, 3.0], 17.0),
    (np.zeros((0, 3)), [1.0, 1.0, 1.0], 0.0),
]


@pytest.mark.parametrize(("points", "reference", "volume"), BY_HAND)
def test_by_hand(points: list[list[float]], reference: list[float], volume: float) -> None:
    assert hypervolume(points, reference) == volume


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_equals_inclusion_and_exclusion(objectives: int) -> None:
    """Whole numbers, so that equality is exact; another formula: the boxes, less those of pairs, and so on."""
    for seed in range(40):
        points = np.random.default_rng([objectives, seed]).integers(0, 6, (7, objectives))
        expected = 0
        for count in range(1, len(points) + 1):
            for chosen in combinations(points, count):
                expected += (-1) ** (count + 1) * int(np.prod(np.maximum(5 - np.max(chosen, axis=0), 0)))
        assert hypervolume(points, np.full(objectives, 5)) == expected


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_agrees_with_monte_carlo(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    points = rng.random((30, objectives))
    thrown = rng.random((40_000, objectives))
    hits = (points[:, None] <= thrown).all(2).any(0).mean()
    spread = np.sqrt(hits * (1 - hits) / len(thrown))
    assert abs(hypervolume(points, np.ones(objectives)) - hits) < 4 * spread


def test_more_points_never_less() -> None:
    points: NDArray[np.float64] = np.random.default_rng(3).random((25, 3))
    volumes = [hypervolume(points[:count], np.ones(3)) for count in range(26)]
    assert volumes == sorted(volumes)
    assert volumes[-1] == pytest.approx(hypervolume(points[::-1], np.ones(3)), rel=1e-12)


def test_a_scale_is_that_of_the_front() -> None:
    front = np.array([[10.0, 0.5], [20.0, 0.3], [40.0, 0.1]])
    scale = Scale.of(np.vstack([front, [[90.0, 0.9]]]))  # the last one is dominated, and stretches nothing
    assert (scale.best, scale.worst) == ((10.0, 0.1), (40.0, 0.5))
    assert scale.share(front) == 1.0
    assert scale.share([[90.0, 0.9]]) == scale.share([]) == 0.0
    alone = REFERENCE * (REFERENCE - 1)  # an end of the front: the whole width in one objective, a tenth in the other
    assert scale.share(front[:1]) == pytest.approx(alone / scale.whole, rel=1e-12)


def test_an_objective_without_range_does_no_harm() -> None:
    scale = Scale.of([[1.0, 7.0], [2.0, 7.0]])
    assert scale.share([[1.0, 7.0]]) == 1.0
    assert 0 < scale.share([[2.0, 7.0]]) < 1


def test_a_curve_is_the_share_of_what_was_there() -> None:
    points = np.random.default_rng(5).random((40, 3))
    scale = Scale.of(points)
    known = points[:4]
    curve = scale.curve(points[4:], known)
    assert curve == pytest.approx([scale.share(points[: 5 + number]) for number in range(36)], rel=1e-12)
    assert curve[-1] == pytest.approx(1.0, rel=1e-12)
    assert len(scale.curve([])) == 0


@pytest.mark.parametrize(
    ("points", "reference", "said"),
    [([1.0, 2.0], [3.0], "must be"), ([[1.0, 2.0]], [3.0], "must be"), ([[np.nan, 2.0]], [3.0, 3.0], "not a number")],
)
def test_nonsense_is_refused(points: list[object], reference: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hypervolume(points, reference)  # type: ignore[arg-type]
