"""The commands about design spaces: sweep, front and plot."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .analysis.shell import REQUIRED, command

explore = typer.Typer(no_args_is_help=True)

ResultsIn = Annotated[Path, typer.Argument(metavar="RESULTS", help="Result file of a sweep.")]
ResultsOut = Annotated[Path, typer.Option(metavar="FILE", help="Result file; finished points in it are kept.")]
Objectives = Annotated[str, typer.Option(help="Of latency, energy, area, accuracy, cycles, edp, power, …: by commas.")]
SpaceName = Annotated[str, typer.Option(metavar="NAME|FILE", help="Shipped design space or a .toml file.")]
Traces = Annotated[list[str] | None, typer.Argument(metavar="[TRACE...]", help="Instead of the space's.")]
Jobs = Annotated[int, typer.Option(help="Worker processes; -1 for one per processor.")]
Dask = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Scheduler of a dask cluster that does the work.")]

SWEEP_OPTIONS = {
    "out": (ResultsOut, REQUIRED),
    "traces": (Traces, None),
    "space": (SpaceName, "digits"),
    "sample": (Annotated[int | None, typer.Option(metavar="N", min=1, help="Only N points, a Sobol sample.")], None),
    "seed": (Annotated[int, typer.Option(min=0, help="Of the sample.")], 0),
    "jobs": (Jobs, -1),
    "dask": (Dask, None),
}


@command(explore, "sweep", SWEEP_OPTIONS)
def _sweep(**options: Any) -> None:
    """Simulate every chip of a design space, or a sample; interrupted, the same command goes on where it stopped.

    Several processes may write to one file.

    Example: sparsespike sweep --space digits --out results.sqlite
    """
    from .explorations import SweepRequest, sweep

    sweep(SweepRequest(**options))


@explore.command()
def front(results: ResultsIn, objectives: Objectives = "latency,energy") -> None:
    """The Pareto front of a sweep: the points that no other point beats in every objective.

    With accuracy among the objectives tickets compete with one another; else each has a front of its own.

    Example: sparsespike front results.sqlite --objectives latency,energy,area
    """
    from .analysis.console import show
    from .analysis.explore.results import front_table, read_rows

    show(front_table(read_rows(results), objectives))


@explore.command()
def plot(
    results: ResultsIn,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for what is written.")] = Path("out/plots"),
) -> None:
    """Figures of a sweep, as PNG and SVG: latency against energy with the front, and what each axis does.

    Example: sparsespike plot results.sqlite --out plots
    """
    from .analysis.console import show
    from .analysis.explore.figures import plot_results
    from .analysis.explore.results import read_rows

    show(*(f"figure: {path}" for path in plot_results(read_rows(results), out)))
