"""The commands about design spaces: sweep, front, plot and recommend; search and sensitivity are in cli_search."""

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

ExactFront = Annotated[
    str | None,
    typer.Option(metavar="OBJECTIVES", help="Only what it takes to know their exact front, as latency,energy."),
]
Within = Annotated[str | None, typer.Option(metavar="SHARE", help="Or one that is at most so far off, as 5%.")]

SWEEP_OPTIONS = {
    "out": (ResultsOut, REQUIRED),
    "traces": (Traces, None),
    "space": (SpaceName, "digits"),
    "sample": (Annotated[int | None, typer.Option(metavar="N", min=1, help="Only N points, a Sobol sample.")], None),
    "seed": (Annotated[int, typer.Option(min=0, help="Of the sample.")], 0),
    "exact_front": (ExactFront, None),
    "within": (Within, None),
    "jobs": (Jobs, -1),
    "dask": (Dask, None),
}


@command(explore, "sweep", SWEEP_OPTIONS)
def _sweep(**options: Any) -> None:
    """Simulate every chip of a design space, or a sample; interrupted, the same command goes on where it stopped.

    Several processes may write to one file. With --exact-front chips whose lower bounds are worse than a simulated one
    are left out, and the front is that of all of them.

    Example: sparsespike sweep --space digits --out results.sqlite --exact-front latency,energy
    """
    from .explorations import SweepRequest, sweep

    sweep(SweepRequest(**options))


@explore.command()
def front(results: ResultsIn, objectives: Objectives = "latency,energy") -> None:
    """The Pareto front of a sweep: the points that no other point beats in every objective.

    With accuracy among the objectives tickets compete with one another; else each has a front of its own.

    Example: sparsespike front results.sqlite --objectives latency,energy,area
    """
    from .explorations import show_front

    show_front(results, objectives)


PLOT_OPTIONS = {
    "results": (ResultsIn, REQUIRED),
    "out": (Annotated[Path, typer.Option(metavar="DIR", help="Folder for the figures.")], Path("out/plots")),
    "points": (Annotated[str, typer.Option(metavar="KEY,…", help="Points to name instead of the front's.")], ""),
    "objectives": (Objectives, "latency,energy"),
    "csv": (Annotated[Path | None, typer.Option(metavar="FILE", help="Also every point as CSV.")], None),
    "page": (Annotated[Path | None, typer.Option(metavar="FILE", help="Also the points as a page to explore.")], None),
}


@command(explore, "plot", PLOT_OPTIONS)
def _plot(points: str, **options: Any) -> None:
    """Figures of a sweep, as PNG and SVG: the front with named points, where their energy and cycles go, and more.

    Also what each axis does, the roofline, the load of the mesh's links (which runs two points again), and tickets on
    one chip. The page needs no network: points can be hovered, filtered, and clicked through to their chip files.

    Example: sparsespike plot results.sqlite --out plots --objectives latency,energy --csv points.csv --page report.html
    """
    from .analysis.explore.views.plots import PlotRequest
    from .explorations import plot

    plot(PlotRequest(points=[key for key in points.split(",") if key.strip()], **options))


RECOMMEND_OPTIONS = {
    "results": (ResultsIn, REQUIRED),
    "latency": (Annotated[str | None, typer.Option(metavar="TIME", help="At most, per image: 2ms.")], None),
    "energy": (Annotated[str | None, typer.Option(metavar="ENERGY", help="At most, per image: 20uJ.")], None),
    "area": (Annotated[str | None, typer.Option(metavar="AREA", help="At most: 4mm2.")], None),
    "accuracy": (Annotated[str | None, typer.Option(metavar="SHARE", help="At least: 97%.")], None),
    "trace": (Annotated[str | None, typer.Option(metavar="NAME", help="Only points on this trace.")], None),
    "cheapest": (Annotated[str, typer.Option(metavar="METRIC", help="What is to be least.")], "energy"),
    "out": (Annotated[Path, typer.Option(metavar="FILE", help="Chip file.")], Path("out/recommended.toml")),
}


@command(explore, "recommend", RECOMMEND_OPTIONS)
def _recommend(results: Path, cheapest: str, trace: str | None, out: Path, **limits: str | None) -> None:
    """The cheapest chip of a sweep that meets some limits, as a chip file, and what stands in the way of a better one.

    With several tickets in the results they compete: --accuracy or --trace keeps the cheapest from being the worst.

    Example: sparsespike recommend results.sqlite --latency 2ms --area 4mm2 --accuracy 97% --out chip.toml
    """
    from .analysis.explore.advice.answer import RecommendRequest
    from .explorations import recommend

    asked = {name: text for name, text in limits.items() if text is not None}
    recommend(RecommendRequest(results, asked, cheapest, trace, out))
