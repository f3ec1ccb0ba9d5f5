"""What the commands about design spaces do: tickets become traces, points become rows, rows become answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .analysis.console import progress, show
from .analysis.explore.results import front_table, read_rows
from .analysis.explore.store import Row
from .analysis.explore.sweep import Sample, run_sweep
from .analysis.parallel import Workers
from .analysis.space import Space, load_space
from .model.tickets import SHIPPED, shipped

if TYPE_CHECKING:
    from .analysis.explore.answer import RecommendRequest
    from .analysis.explore.plots import PlotRequest

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
    space, given = opened_space(request.space, request.traces)
    paths = trace_paths(space, given, request.out)
    sample = None if request.sample is None else Sample(request.sample, request.seed)
    with progress(f"sweep of {space.name}") as step:
        outcome = run_sweep(space, paths, request.out, sample=sample, workers=request.workers, step=step)
    show(
        f"{outcome.points} points in {request.out}: {outcome.known} were known, {outcome.infeasible} do not fit",
        front_table(read_rows(request.out), FIRST_LOOK),
    )


def opened_space(name: str, traces: Sequence[str] | None) -> tuple[Space, dict[str, Path]]:
    """A space by name or file, and the files of traces that replace its own, by name.

    A given file is called by its name without the ending, so that rows do not depend on where it lies.
    """
    space = load_space(name)
    if not traces:
        return space, {}
    names = [Path(trace).stem if Path(trace).suffix else trace for trace in traces]
    if len(set(names)) < len(names):
        names = list(traces)
    pairs = zip(names, traces, strict=True)
    given = {name: Path(trace) for name, trace in pairs if trace not in SHIPPED or Path(trace).exists()}
    return replace(space, traces=tuple(names)), given


def trace_paths(space: Space, given: Mapping[str, Path], beside: Path) -> dict[str, Path]:
    """Trace of the space -> its file; a shipped ticket becomes a trace, on its own data set, next to the results."""
    from .model.ticket import load_ticket
    from .recipes import traced

    paths = dict(given)
    for name in space.traces:
        if name in paths:
            continue
        paths[name] = trace_file(name, space.images, beside)
        if name in SHIPPED and not paths[name].exists():
            data = load_ticket(shipped(name)).provenance["data"]
            traced(name, data, space.images or IMAGES, paths[name])
    return paths


def trace_file(name: str, images: int | None, beside: Path) -> Path:
    """Where a trace of a space is: at the path that it is named by, or, of a shipped ticket, next to the results."""
    from .model.tickets import SHIPPED

    if name in SHIPPED and not Path(name).exists():
        return beside.parent / "traces" / f"{name}-{images or IMAGES}.safetensors"
    return Path(name)


def plot(request: "PlotRequest") -> None:
    """Write the figures of a result file, and what else is asked for."""
    from .analysis.explore.plots import lines, plot_results  # a library for figures, which nothing else here needs

    plots = plot_results(request, partial(trace_file, beside=request.results))
    show(plots.named, *lines(plots))


def recommend(request: "RecommendRequest") -> None:
    """Write the chip that a result file recommends, and say why."""
    from .analysis.explore.answer import answer

    show(*answer(request, partial(trace_file, beside=request.results)))


def sweep_rows(name: str, paths: Mapping[str, str | Path], out: Path) -> list[Row]:
    """The points of a shipped space on traces that are there already."""
    space = replace(load_space(name), traces=tuple(paths))
    with progress(f"sweep of {space.name}") as step:
        run_sweep(space, paths, out, step=step)
    return read_rows(out)
