"""What the commands about design spaces do: tickets become traces, points become rows, rows become answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .analysis.console import progress, show
from .analysis.explore.exact import Steps, run_exact
from .analysis.explore.pruning import Goal, parse_goal
from .analysis.explore.results import front_table, left_out, read_rows
from .analysis.explore.store import Row, open_store
from .analysis.explore.sweep import Sample, identity, run_sweep
from .analysis.parallel import Workers, checked_workers
from .analysis.space import Space, load_space
from .model.tickets import SHIPPED, shipped
from .simulator.errors import UserError

if TYPE_CHECKING:
    from .analysis.explore.advice.answer import RecommendRequest
    from .analysis.explore.views.plots import PlotRequest

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
    exact_front: str | None = None
    within: str | None = None
    jobs: int = -1
    dask: str | None = None

    @property
    def workers(self) -> Workers:
        """Who does the work. Raises UserError for a number of jobs that means nothing."""
        return checked_workers(self.jobs, self.dask)

    @property
    def goal(self) -> Goal | None:
        """The front that is asked for; None for all points."""
        if self.exact_front is not None:
            return parse_goal(self.exact_front, self.within)
        if self.within is not None:
            raise UserError("--within says how far off a front may be: --exact-front must say which")
        return None

    @property
    def part(self) -> Sample | None:
        """The sample that is asked for; None for the whole space."""
        return None if self.sample is None else Sample(self.sample, self.seed)


def sweep(request: SweepRequest) -> None:
    """Run a design space, or a sample of it. Names of shipped tickets are traced beside the result file."""
    goal, workers = request.goal, request.workers
    space, paths = opened_space(request.space, request.traces, request.out)
    if goal is not None:
        _exact(request, goal, space, paths)
        return
    with progress(f"sweep of {space.name}") as step:
        outcome = run_sweep(space, paths, request.out, sample=request.part, workers=workers, step=step)
    show(f"{outcome.points} points in {request.out}: {outcome.known} were known, {outcome.infeasible} do not fit")
    show_front(request.out, FIRST_LOOK)


def _exact(request: SweepRequest, goal: Goal, space: Space, paths: Mapping[str, Path]) -> None:
    with progress(f"bounds of {space.name}") as bounding, progress(f"front of {space.name}") as simulating:
        steps = Steps(bounding, simulating)
        found = run_exact(space, paths, request.out, goal, sample=request.part, workers=request.workers, steps=steps)
    share = f"{found.simulated} of the {found.fit} that fit were simulated" + (
        f" ({found.simulated / found.fit:.0%})" if found.fit else ""
    )
    far = f"; each point of the true front is within {goal.within:.3g} of one of these" if goal.within else ""
    show(f"{found.points} points, bounds of all in {request.out}: {share}{far}")
    show_front(request.out, ",".join(goal.objectives))


def show_front(results: Path, objectives: str) -> None:
    """The front of a result file, and whether points that were left out may be on it."""
    show(front_table(read_rows(results), objectives), *left_out(results, objectives))


def opened_space(
    name: str, traces: Sequence[str] | None, out: Path, check: Callable[[Space], None] = lambda space: None
) -> tuple[Space, dict[str, Path]]:
    """A space by name or file, and where the file of each of its traces is; `traces` replace its own.

    A shipped ticket becomes a trace, on its own data set, next to the results. A given file is called by its name
    without the ending, so that rows do not depend on where it lies. check: what else must be right with the space,
    before a ticket is traced. Raises UserError, before that too, where `out` is no result file of this space.
    """
    space = load_space(name)
    given = list(traces or space.traces)
    names = [Path(trace).stem if traces and Path(trace).suffix else trace for trace in given]
    if len(set(names)) < len(names):
        names = given
    space = replace(space, traces=tuple(names))
    check(space)
    if out.exists():
        with open_store(out) as store:
            store.bind(identity(space))
    files = {name: name for name in space.every_trace} | dict(zip(names, given, strict=True))
    return space, {name: _trace_file(trace, space.images, out) for name, trace in files.items()}


def _trace_file(name: str, images: int | None, out: Path) -> Path:
    from .model.ticket import load_ticket
    from .recipes import traced

    if name not in SHIPPED or Path(name).exists():
        return Path(name)
    path = out.parent / "traces" / f"{name}-{images or IMAGES}.safetensors"
    traced(name, load_ticket(shipped(name)).provenance["data"], images or IMAGES, path)
    return path


def plot(request: "PlotRequest") -> None:
    """Write the figures of a result file, and what else is asked for."""
    from .analysis.explore.views.plots import (  # a library for figures, which nothing else here needs
        lines,
        plot_results,
    )

    plots = plot_results(request)
    show(plots.named, *lines(plots))


def recommend(request: "RecommendRequest") -> None:
    """Write the chip that a result file recommends, and say why."""
    from .analysis.explore.advice.answer import answer

    show(*answer(request))


def sweep_rows(name: str, paths: Mapping[str, str | Path], out: Path) -> list[Row]:
    """The points of a shipped space on traces that are there already."""
    space = replace(load_space(name), traces=tuple(paths))
    with progress(f"sweep of {space.name}") as step:
        run_sweep(space, paths, out, step=step)
    return read_rows(out)
