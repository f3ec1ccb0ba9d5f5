"""The commands that look into a space without sweeping it: search and sensitivity."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .analysis.shell import REQUIRED, command, flag
from .cli_explore import Dask, Jobs, Objectives, ResultsOut, SpaceName, Traces

look = typer.Typer(no_args_is_help=True)

Plots = Annotated[Path | None, typer.Option(metavar="DIR", help="Also write the figures, to this folder.")]

SEARCH_OPTIONS = {
    "space": (SpaceName, REQUIRED),
    "out": (ResultsOut, REQUIRED),
    "traces": (Traces, None),
    "objectives": (Objectives, "latency,energy"),
    "budget": (Annotated[int, typer.Option(metavar="N", min=1, help="Simulations.")], 200),
    "seed": (Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")], 0),
    "population": (Annotated[int, typer.Option(metavar="N", min=2, help="Points of a generation.")], 20),
    "bounds": (Annotated[bool, typer.Option(help="Do not simulate what lower bounds rule out.")], True),
    "against_random": (flag("--against-random", "Simulate as many points drawn at random, and compare."), False),
    "plots": (Plots, None),
    "jobs": (Jobs, -1),
    "dask": (Dask, None),
}


@command(look, "search", SEARCH_OPTIONS)
def _search(**options: Any) -> None:
    """Look for the Pareto front of a space that is too large to sweep, by NSGA-II, with a budget of simulations.

    What the result file holds already costs nothing, and is where a search begins. Interrupted, the same command goes
    on where it stopped; with a larger budget it goes further. Beside the file stands its journal, FILE.journal.

    Example: sparsespike search --space codesign --objectives latency,energy,accuracy --budget 300 --out found.sqlite
    """
    from .searches import SearchRequest, search

    search(SearchRequest(**options))


SENSITIVITY_OPTIONS = {
    "space": (SpaceName, REQUIRED),
    "out": (ResultsOut, REQUIRED),
    "traces": (Traces, None),
    "objective": (Annotated[str, typer.Option(help="What is explained: latency, energy, area, …")], "energy"),
    "samples": (Annotated[int, typer.Option(metavar="N", help="Rows of the design, a power of two.")], 128),
    "seed": (Annotated[int, typer.Option(min=0, help="Of the design and of the intervals.")], 0),
    "around": (
        Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the reference point; repeatable.")],
        None,
    ),
    "plots": (Plots, None),
    "jobs": (Jobs, -1),
    "dask": (Dask, None),
}


@command(look, "sensitivity", SENSITIVITY_OPTIONS)
def _sensitivity(**options: Any) -> None:
    """Which axis of a space matters: Sobol indices over all of it, and what each axis does around one point.

    Points that the result file holds are not simulated again.

    Example: sparsespike sensitivity --space digits --objective energy --out results.sqlite
    """
    from .searches import SensitivityRequest, sensitivity

    sensitivity(SensitivityRequest(**options))
