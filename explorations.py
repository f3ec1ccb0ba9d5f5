"""What the commands about design spaces do: tickets become traces, points become rows, rows become answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .analysis.console import progress, show
from .analysis.explore.results import front_table, read_rows
from .analysis.explore.store import Row
from .analysis.explore.sweep import Sample, run_sweep
from .analysis.parallel import Workers
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
