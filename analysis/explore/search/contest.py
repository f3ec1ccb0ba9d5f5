"""NSGA-II against random sampling at the same number of simulations, over several seeds, on a space swept before.

Every point is looked up in the finished sweep's file, so that hundreds of searches take seconds:

    python -m sparsespike.analysis.explore.search.contest RESULTS --space codesign --budget 300 --seeds 5
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ....simulator.errors import UserError
from ...console import show
from ...space import Space, grid, load_space
from ...tables import Table
from ..metrics import parse_objectives
from ..store import open_store
from ..sweep import identity
from .curves import Curves, curve_table, plot_curves
from .evaluation import axes_of, choice_of
from .genetic import POPULATION, Genetic, Plan
from .hypervolume import Scale
from .problem import Problem, random_search
from .runner import costs_of, spread
from .variation import Choice, Costs

SEARCH, BOUNDED, RANDOM = "NSGA-II", "NSGA-II with bounds", "random"


@dataclass(frozen=True)
class Contest:
    """What came out. curves: search -> its share of the hypervolume after each simulation, for each seed.

    points: that fit, of `size`.
    """

    curves: Curves
    scale: Scale
    points: int
    size: int

    def wins(self, search: str) -> int:
        """Seeds in which a search ends with more hypervolume than random sampling."""
        pairs = zip(self.curves[search], self.curves[RANDOM], strict=True)
        return sum(bool(one[-1] > other[-1]) for one, other in pairs)

    def table(self, objectives: tuple[str, ...]) -> Table:
        """Median and range of each search, and who won how often."""
        table = curve_table(self.curves, self.scale, objectives)
        seeds = len(self.curves[RANDOM])
        won = "; ".join(f"{name} ahead in {self.wins(name)} of {seeds}" for name in self.curves if name != RANDOM)
        whole = f"{self.points:,} of {self.size:,} points fit"
        note = f"Median of {seeds} seeds (least to greatest); {won}; {whole}. {table.note}"
        return replace(table, title="Search against random sampling", note=note)


def hold_contest(
    problem: Problem, objectives: int, budget: int, seeds: int, *, population: int = POPULATION
) -> dict[str, list[tuple[Costs, ...]]]:
    """Costs of each simulation, in order, of each seed of each search; one with bounds where there are some."""
    found: dict[str, list[tuple[Costs, ...]]] = {SEARCH: []}
    problems = {SEARCH: replace(problem, bound=None)}
    if problem.bound is not None:
        problems[BOUNDED], found[BOUNDED] = problem, []
    for seed in range(seeds):
        for name, one in problems.items():
            search = Genetic(one, objectives, Plan(budget, population, seed))
            while search.step():
                pass
            found[name].append(search.found().costs)
    return found | {RANDOM: [random_search(problem, budget, seed).costs for seed in range(seeds)]}


def contest(
    space: Space,
    results: str | Path,
    objectives: tuple[str, ...],
    budget: int,
    seeds: int,
    population: int = POPULATION,
) -> Contest:
    """The contest on a finished sweep of `space`, with bounds, too, where the file holds those of all points.

    Raises UserError where the file is another space's, or does not hold all of its points.
    """
    with open_store(results) as store:
        store.bind(identity(space))
        answers, bounds = (
            {
                choice: costs_of(row, objectives)
                for row in store.rows(bounds=kind)
                if (
                    choice := choice_of(
                        space, {"trace": row.trace, "energy": _table(space, row.prices), **row.settings}
                    )
                )
            }
            for kind in (False, True)
        )
    size = sum(1 for values in grid(replace(space, points=())))
    if len(answers) < size:
        raise UserError(f"{results}: holds {len(answers):,} of {size:,} points of {space.name}; sweep all of it first")
    feasible = [costs for costs in answers.values() if costs is not None]
    if not feasible:
        raise UserError(f"{results}: holds no point that fits")
    scale = Scale.of(feasible)
    problem = _lookup(space, answers, bounds if len(bounds) >= size else None)
    found = hold_contest(problem, len(objectives), budget, seeds, population=population)
    curves = {name: [scale.curve(costs) for costs in each] for name, each in found.items()}
    return Contest(curves, scale, len(feasible), size)


def _table(space: Space, prices: str) -> str | None:
    return prices if space.energies != (None,) else None


def _lookup(
    space: Space, answers: Mapping[Choice, Costs | None], bounds: Mapping[Choice, Costs | None] | None
) -> Problem:
    axes = replace(axes_of(space), allowed=answers.__contains__)
    bound = None if bounds is None else lambda choices: [bounds[choice] for choice in choices]
    return Problem(axes, partial(spread, space), lambda choices: [answers[choice] for choice in choices], bound)


def main(arguments: list[str] | None = None) -> None:
    """Print the table, and write the figure where asked to."""
    parser = argparse.ArgumentParser(
        prog="contest", description="NSGA-II against random sampling, looked up in a sweep."
    )
    parser.add_argument("results", help="result file of a finished sweep")
    parser.add_argument("--space", required=True, help="the space that was swept: a shipped name or a .toml file")
    parser.add_argument("--objectives", default="latency,energy,accuracy", help="two or more, by commas")
    parser.add_argument("--budget", type=int, default=300, help="simulations of each search")
    parser.add_argument("--seeds", type=int, default=5, help="searches of each kind")
    parser.add_argument("--population", type=int, default=POPULATION, help="of NSGA-II")
    parser.add_argument("--plots", type=Path, help="folder for the figure")
    asked = parser.parse_args(arguments)
    try:
        objectives = parse_objectives(asked.objectives)
        space = load_space(asked.space)
        result = contest(space, asked.results, objectives, asked.budget, asked.seeds, asked.population)
        show(result.table(objectives))
        if asked.plots:
            show(*(f"figure: {path}" for path in plot_curves(result.curves, asked.plots)))
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
