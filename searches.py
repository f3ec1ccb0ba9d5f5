"""What the commands search and sensitivity do: a space is asked, and what was found is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .analysis.console import progress, show
from .analysis.explore.metrics import parse_objectives
from .analysis.parallel import checked_workers
from .analysis.shell import parse_settings
from .explorations import FIRST_LOOK, opened_space, show_front


@dataclass(frozen=True)
class SearchRequest:
    """What `sparsespike search` is asked for; traces replace the space's where there are some."""

    space: str
    out: Path
    traces: Sequence[str] | None = None
    objectives: str = FIRST_LOOK
    budget: int = 200
    seed: int = 0
    population: int = 20
    bounds: bool = True
    against_random: bool = False
    plots: Path | None = None
    jobs: int = -1
    dask: str | None = None


def search(request: SearchRequest) -> None:
    """Look for the front of a space: what was found, and how quickly."""
    from .analysis.explore.search.curves import curve_table, plot_curves
    from .analysis.explore.search.genetic import Plan
    from .analysis.explore.search.runner import SearchSettings, check_search, run_search

    workers = checked_workers(request.jobs, request.dask)
    objectives = parse_objectives(request.objectives)
    plan = Plan(request.budget, request.population, request.seed)
    settings = SearchSettings(objectives, plan, request.bounds, request.against_random)
    check = partial(check_search, settings=settings)
    space, paths = opened_space(request.space, request.traces, request.out, check)
    with progress(f"search of {space.name}") as step:
        outcome = run_search(space, paths, request.out, settings, workers=workers, step=step)
    show(outcome.said())
    show_front(request.out, request.objectives)
    show(curve_table(outcome.curves(), outcome.scale, objectives))
    if request.plots:
        show(*(f"figure: {path}" for path in plot_curves(outcome.curves(), request.plots)))


@dataclass(frozen=True)
class SensitivityRequest:
    """What `sparsespike sensitivity` is asked for; traces replace the space's where there are some."""

    space: str
    out: Path
    traces: Sequence[str] | None = None
    objective: str = "energy"
    samples: int = 128
    seed: int = 0
    around: Sequence[str] | None = None
    plots: Path | None = None
    jobs: int = -1
    dask: str | None = None


def sensitivity(request: SensitivityRequest) -> None:
    """Which axis of a space matters, over all of it and around a point."""
    from .analysis.explore.sensitivity.figures import plot_sensitivity
    from .analysis.explore.sensitivity.indices import indices_table
    from .analysis.explore.sensitivity.influence import Question, check_question, run_sensitivity

    workers = checked_workers(request.jobs, request.dask)
    around = parse_settings(list(request.around or ()), "--around")
    question = Question(request.objective, request.samples, request.seed, around)
    check = partial(check_question, question=question)
    space, paths = opened_space(request.space, request.traces, request.out, check)
    with progress(f"sensitivity over {space.name}") as step:
        found = run_sensitivity(space, paths, request.out, question, workers=workers, step=step)
    show(
        f"{found.points} points in {request.out}: {found.known} were known",
        indices_table(found.indices, request.objective),
        found.tornado.table(),
    )
    if request.plots:
        show(*(f"figure: {path}" for path in plot_sensitivity(found.indices, found.tornado, request.plots)))
