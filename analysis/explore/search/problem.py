"""What a search works on, whoever answers: choices, their costs, and what is known; and the plainest search of all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .variation import Axes, Choice, Costs, drawn

Answers = Callable[[Sequence[Choice]], Sequence[Costs | None]]


@dataclass(frozen=True)
class Problem:
    """Choices and their costs, all to be small.

    start: the first so many choices of an even spread over the axes, for a seed.
    simulate: costs of choices, None of one that does not fit.
    bound: lower bounds of the same, cheaper; None where there are none to be had.
    known: costs of what was simulated before.
    """

    axes: Axes
    start: Callable[[int, int], Sequence[Choice]]
    simulate: Answers
    bound: Answers | None = None
    known: Mapping[Choice, Costs | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What a search found. costs: of each simulation, in the order in which they were made.

    proposed: points that were looked at.  unfit: of these, that do not fit.  bounded: of these, that were not simulated
    because one that was simulated is better than their bound.
    """

    costs: tuple[Costs, ...]
    proposed: int
    unfit: int
    bounded: int = 0


def random_search(problem: Problem, budget: int, seed: int, batch: int = 32) -> Found:
    """`budget` simulations of points drawn at random, none of them twice and none that is known.

    Points that do not fit cost nothing here, as they do in any other search.
    """
    rng = np.random.default_rng(seed)
    tried = set(problem.known)
    costs: list[Costs] = []
    proposed = unfit = 0
    while len(costs) < budget:
        chosen: list[Choice] = []
        while len(chosen) < min(batch, budget - len(costs)) and (choice := drawn(problem.axes, tried, rng)) is not None:
            tried.add(choice)
            chosen.append(choice)
        if not chosen:
            break
        answers = problem.simulate(chosen)
        proposed += len(chosen)
        unfit += sum(answer is None for answer in answers)
        costs += [answer for answer in answers if answer is not None]
    return Found(tuple(costs), proposed, unfit)
