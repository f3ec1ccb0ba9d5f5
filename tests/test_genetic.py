"""NSGA-II: children that are always new, budgets, bounds, known points, and journals cut anywhere."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from sparsespike import UserError
from sparsespike.analysis.explore.pareto import non_dominated
from sparsespike.analysis.explore.search import genetic, variation
from sparsespike.analysis.explore.search.hypervolume import Scale
from sparsespike.analysis.explore.search.problem import Problem, random_search

Choice = variation.Choice
SIZES = (5, 4, 3, 1, 6)


def allowed(choice: Choice) -> bool:
    return choice[0] + choice[4] != 3


def costs(choice: Choice) -> tuple[float, float] | None:
    """Two costs that pull apart along the first axis and agree along the others; a corner does not fit."""
    if choice[1] == 0 and choice[2] == 0:
        return None
    rest = choice[1] ** 2 + choice[2] + abs(choice[4] - 2)
    return choice[0] + 0.5 * rest, 4 - choice[0] + rest


GRID = [choice for choice in product(*map(range, SIZES)) if allowed(choice)]
COSTS = {choice: costs(choice) for choice in GRID}
FEASIBLE = [value for value in COSTS.values() if value is not None]
AXES = variation.Axes(tuple("vwxyz"), SIZES, (True, True, False, True, True), allowed)


class Asked:
    """Answers, with a list of who was asked for; nobody may be asked for twice, nor against the constraints."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.simulated: list[Choice] = []
        self.stop_after = stop_after

    def __call__(self, choices: Sequence[Choice]) -> list[tuple[float, float] | None]:
        if self.stop_after is not None and len(self.simulated) >= self.stop_after:
            raise KeyboardInterrupt
        for choice in choices:
            assert choice in COSTS, "forbidden"
            assert choice not in self.simulated, "twice"
            self.simulated.append(choice)
        return [COSTS[choice] for choice in choices]


def problem_of(asked: Asked, **changes: object) -> Problem:
    def start(count: int, seed: int) -> list[Choice]:
        return [GRID[index] for index in np.random.default_rng(seed).permutation(len(GRID))[:count]]

    return replace(Problem(AXES, start, asked), **changes)  # type: ignore[arg-type]


def searched(
    plan: genetic.Plan, asked: Asked | None = None, storage: object = None, **changes: object
) -> genetic.Genetic:
    found = genetic.Genetic(problem_of(asked or Asked(), **changes), 2, plan, storage, "test")
    while found.step():
        pass
    return found


def test_children_are_new_and_allowed_until_nothing_is_left() -> None:
    rng = np.random.default_rng(0)
    tried: set[Choice] = set()
    parents = [variation.Parent(choice, COSTS[choice]) for choice in GRID[:6]]
    while (choice := variation.child(AXES, parents, tried, rng)) is not None:
        assert choice in COSTS
        assert choice not in tried
        tried.add(choice)
    assert tried == set(GRID)
    assert variation.drawn(AXES, tried, rng) is None


def test_mutations_of_numbers_are_mostly_steps() -> None:
    rng = np.random.default_rng(1)
    steps = [abs(variation.mutated(AXES, 4, 2, rng) - 2) for _ in range(2000)]
    assert min(steps) == 1
    assert 0.8 <= np.mean(np.array(steps) == 1) < 0.95
    assert {variation.mutated(AXES, 2, 0, rng) for _ in range(50)} == {1, 2}
    assert {variation.mutated(AXES, 4, 0, rng) for _ in range(200)} == {1, 2, 3, 4, 5}


def test_the_better_of_two_has_more_children() -> None:
    """Of two parents the better one wins unless it is not drawn: three times in four."""
    rng = np.random.default_rng(2)
    good, bad = (0, 1, 1, 0, 2), (4, 3, 2, 0, 5)
    parents = [variation.Parent(good, (0.0, 0.0)), variation.Parent(bad, None)]
    children = np.array([variation.child(AXES, parents, set(), rng) for _ in range(1000)])
    likeness = (children == good)[:, [0, 1, 2, 4]].mean()
    unlike = (children == bad)[:, [0, 1, 2, 4]].mean()
    assert 2 < likeness / unlike < 4


def test_what_fits_beats_what_does_not() -> None:
    assert variation.beats((1, 2), (1, 3))
    assert variation.beats((9, 9), None)
    assert not variation.beats(None, None)
    assert not variation.beats((1, 2), (1, 2))
    assert not variation.beats((0, 3), (1, 2))


@pytest.mark.parametrize("budget", [1, 7, 20, 57])
def test_the_budget_counts_simulations_of_points_that_fit(budget: int) -> None:
    asked = Asked()
    found = searched(genetic.Plan(budget, 10), asked).found()
    assert len(found.costs) == budget
    assert found.proposed == len(asked.simulated) == budget + found.unfit
    assert list(found.costs) == [COSTS[choice] for choice in asked.simulated if COSTS[choice]]


def test_a_seed_says_everything() -> None:
    one, again, other = (searched(genetic.Plan(60, 10, seed)).found() for seed in (3, 3, 4))
    assert one == again != other


def test_a_small_space_is_searched_whole_and_no_further() -> None:
    asked = Asked()
    found = searched(genetic.Plan(10_000, 8), asked).found()
    assert sorted(asked.simulated) == GRID
    assert len(found.costs) == len(FEASIBLE)
    assert found.unfit == len(GRID) - len(FEASIBLE)


def test_search_beats_random_sampling() -> None:
    scale = Scale.of(FEASIBLE)
    shares = [
        [
            scale.share(found.costs)
            for found in (searched(plan).found(), random_search(problem_of(Asked()), 60, plan.seed))
        ]
        for plan in (genetic.Plan(60, 10, seed) for seed in range(9))
    ]
    mine, random = np.median(shares, 0)
    assert mine > random + 0.2
    assert mine > 0.8


def test_random_search_draws_every_point_once() -> None:
    asked = Asked()
    known = {GRID[5]: COSTS[GRID[5]]}
    found = random_search(problem_of(asked, known=known), 10_000, 0)
    assert sorted(asked.simulated) == [choice for choice in GRID if choice != GRID[5]]
    assert found.proposed == len(GRID) - 1
    first = random_search(problem_of(Asked()), 30, 1)
    assert first.costs == random_search(problem_of(Asked()), 30, 1, batch=4).costs  # whatever is done at a time


def test_bounds_cost_nothing_and_lose_nothing() -> None:
    def bound(choices: Sequence[Choice]) -> list[tuple[float, float] | None]:
        return [None if (value := COSTS[choice]) is None else (value[0] - 0.25, value[1] - 0.25) for choice in choices]

    asked = Asked()
    found = searched(genetic.Plan(10_000, 8), asked, bound=bound).found()
    front = {tuple(value) for value in np.array(FEASIBLE)[non_dominated(FEASIBLE)].tolist()}
    assert front <= set(found.costs)
    assert found.bounded > len(GRID) / 2
    assert found.proposed == len(GRID) == len(found.costs) + found.unfit + found.bounded


def test_known_points_are_parents_and_are_not_simulated() -> None:
    """Known is the whole front: each child then shares most of its axes with one of it."""
    front = [choice for choice in GRID if COSTS[choice] and not any(map(partly_better(choice), FEASIBLE))]
    asked = Asked()
    found = searched(genetic.Plan(8, 4), asked, known={choice: COSTS[choice] for choice in front})
    assert not set(front) & set(asked.simulated)
    assert found.known == set(front)
    assert sorted(map(tuple, found.known_costs())) == sorted(COSTS[choice] for choice in front)  # type: ignore[type-var]
    near = [
        min(sum(a != b for a, b in zip(choice, other, strict=True)) for other in front) for choice in asked.simulated
    ]
    assert np.mean(near) <= 2
    strangers = [min(sum(a != b for a, b in zip(c, o, strict=True)) for o in front) for c in GRID]
    assert np.mean(near) < np.mean(strangers)


def partly_better(choice: Choice) -> object:
    return lambda other: variation.beats(other, COSTS[choice])


def test_an_interrupted_search_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    plan = genetic.Plan(50, 8)
    whole = searched(plan).found()
    for stop in (0, 3, 8, 21, 40):
        path = tmp_path / f"{stop}.journal"
        with genetic.journal(path) as storage, pytest.raises(KeyboardInterrupt):
            searched(plan, Asked(stop), storage)
        with genetic.journal(path) as storage:
            assert searched(plan, storage=storage).found() == whole
        with genetic.journal(path) as storage:  # finished: nothing is asked any more
            assert searched(plan, Asked(0), storage).found() == whole


def test_a_journal_cut_anywhere_gives_the_same_search(tmp_path: Path) -> None:
    """As a process that is killed leaves it: after any byte."""
    plan = genetic.Plan(40, 8)
    path = tmp_path / "whole.journal"
    with genetic.journal(path) as storage:
        whole = searched(plan, storage=storage).found()
    rng = np.random.default_rng(0)
    content = path.read_bytes()
    for _ in range(60):
        cut = int(rng.integers(content.index(b"\n") + 1, len(content)))
        path.write_bytes(content[:cut])
        with genetic.journal(path) as storage:
            assert searched(plan, storage=storage).found() == whole, cut
        if rng.random() < 0.3:  # cut again where it went on
            content = path.read_bytes()


def test_a_journal_cut_while_loose_ends_are_put_in_order(tmp_path: Path) -> None:
    """Killed among simulations, and killed again at any line of what the next start does before it goes on."""
    plan, path = genetic.Plan(30, 6), tmp_path / "j"
    whole = searched(plan).found()
    with genetic.journal(path) as storage, pytest.raises(KeyboardInterrupt):
        searched(plan, Asked(13), storage)
    stopped = path.read_bytes().count(b"\n")
    with genetic.journal(path) as storage:
        genetic.Genetic(problem_of(Asked()), 2, plan, storage, "test")
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) >= stopped + 2 * 6  # each that was asked is asked again, and given up in its first form
    for cut in range(stopped, len(lines) + 1):
        path.write_bytes(b"".join(lines[:cut]))
        with genetic.journal(path) as storage:
            assert searched(plan, storage=storage).found() == whole, cut


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    with genetic.journal(tmp_path / "j") as storage:
        small = searched(genetic.Plan(20, 8), storage=storage).found()
        large = searched(genetic.Plan(45, 8), storage=storage).found()
    assert large.costs[:20] == small.costs
    assert large == searched(genetic.Plan(45, 8)).found()


def test_journals_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.sqlite.journal"
    for content in (b"hello", b"hello\nworld\n", b"[1, 2]\n", b'{"op_code": 4}\n', b"\xff\xfe\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or not a journal; remove it"), genetic.journal(path):
            pass
        assert path.read_bytes() == content
    path.unlink()
    with genetic.journal(path), pytest.raises(UserError, match="another search is at it"), genetic.journal(path):
        pass
    assert not path.exists()  # nothing was written to it
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'sparsespike\[search\]'"), genetic.journal(path):
        pass
