"""What the commands about design spaces do: tickets become traces, points become rows, rows become answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .analysis.console import progress, show
from .analysis.explore.metrics import parse_objectives
from .analysis.explore.results import front_table, read_rows
from .analysis.explore.store import Row
from .analysis.explore.sweep import Sample, run_sweep
from .analysis.parallel import Workers
from .analysis.shell import parse_settings
from .analysis.space import Space, load_space

IMAGES = 8  # of a ticket's trace, where the space does not say
FIRST_LOOK = "latency,energy"


@dataclass(frozen=True)
class SweepRequest:
    """What `sparsespike sweep` is asked for; traces replace the space's where there are some."""

    out: Path
    traces: Sequence[str] | None = None
    space: str = "digits"
    sample: int | None = None
    seed: int = 0
    jobs: int = -1
    dask: str | None = None

    @property
    def workers(self) -> Workers:
        """Who does the work."""
        return Workers(self.jobs, self.dask)


def sweep(request: SweepRequest) -> None:
    """Run a design space, or a sample of it. Names of shipped tickets are traced beside the result file."""
    space = opened_space(request.space, request.traces)
    paths = trace_paths(space, request.out)
    sample = None if request.sample is None else Sample(request.sample, request.seed)
    with progress(f"sweep of {space.name}") as step:
        outcome = run_sweep(space, paths, request.out, sample=sample, workers=request.workers, step=step)
    show(
        f"{outcome.points} points in {request.out}: {outcome.known} were known, {outcome.infeasible} do not fit",
        front_table(read_rows(request.out), FIRST_LOOK),
    )


def opened_space(name: str, traces: Sequence[str] | None) -> Space:
    """A space by name or file, with other traces where some are given."""
    space = load_space(name)
    return replace(space, traces=tuple(traces)) if traces else space


def trace_paths(space: Space, beside: Path) -> dict[str, Path]:
    """Trace of the space -> its file; a shipped ticket becomes a trace, on its own data set, next to the results."""
    from .model.ticket import load_ticket
    from .model.tickets import SHIPPED, shipped
    from .recipes import traced

    paths = {}
    for name in space.traces:
        paths[name] = Path(name)
        if name in SHIPPED and not paths[name].exists():
            paths[name] = beside.parent / "traces" / f"{name}-{space.images or IMAGES}.safetensors"
            data = load_ticket(shipped(name)).provenance["data"]
            traced(name, data, space.images or IMAGES, paths[name])
    return paths


def sweep_rows(name: str, paths: Mapping[str, str | Path], out: Path) -> list[Row]:
    """The points of a shipped space on traces that are there already."""
    space = replace(load_space(name), traces=tuple(paths))
    with progress(f"sweep of {space.name}") as step:
        run_sweep(space, paths, out, step=step)
    return read_rows(out)


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
    from .analysis.explore.curves import curve_table, plot_curves
    from .analysis.explore.genetic import Plan
    from .analysis.explore.search import SearchSettings, run_search

    space = opened_space(request.space, request.traces)
    objectives = parse_objectives(request.objectives)
    plan = Plan(request.budget, request.population, request.seed)
    settings = SearchSettings(objectives, plan, request.bounds, request.against_random)
    paths, workers = trace_paths(space, request.out), Workers(request.jobs, request.dask)
    with progress(f"search of {space.name}") as step:
        outcome = run_search(space, paths, request.out, settings, workers=workers, step=step)
    show(outcome.said(), front_table(read_rows(request.out), request.objectives))
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
    samples: int = 64
    seed: int = 0
    around: Sequence[str] | None = None
    plots: Path | None = None
    jobs: int = -1
    dask: str | None = None


def sensitivity(request: SensitivityRequest) -> None:
    """Which axis of a space matters, over all of it and around a point."""
    from .analysis.explore.figures_sensitivity import plot_sensitivity
    from .analysis.explore.influence import Question, run_sensitivity
    from .analysis.explore.sensitivity import indices_table

    space = opened_space(request.space, request.traces)
    around = parse_settings(list(request.around or ()), "--around")
    question = Question(request.objective, request.samples, request.seed, around)
    paths, workers = trace_paths(space, request.out), Workers(request.jobs, request.dask)
    with progress(f"sensitivity over {space.name}") as step:
        found = run_sensitivity(space, paths, request.out, question, workers=workers, step=step)
    show(
        f"{found.points} points in {request.out}: {found.known} were known",
        indices_table(found.indices, request.objective),
        found.tornado.table(),
    )
    if request.plots:
        show(*(f"figure: {path}" for path in plot_sensitivity(found.indices, found.tornado, request.plots)))
