"""Everything that `plot` writes of a result file: figures, the named points as a table, CSV, and the page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from matplotlib.figure import Figure

from ....simulator.errors import UserError
from ....simulator.trace import load_trace
from ...console import progress
from ...style import save, styled
from ...tables import Table
from ...views import Report
from ..advice.chip_file import chip_of
from ..metrics import parse_objectives
from ..results import read_rows
from ..store import Row, Store, open_store
from .chosen import bars_figure
from .export import write_csv
from .figures import effects_figure, scatter_figure
from .ladder import ladder_figure
from .links import LinkLoads, link_loads, links_figure
from .naming import named_points, named_table, spread, varied
from .page import write_page
from .roofline import roofline_figure

MOST_BARS = 12  # points side by side
MOST_MESHES = 2  # points whose links are shown: each is run again

Draw = Callable[[], Figure | None]


@dataclass(frozen=True)
class PlotRequest:
    """What `sparsespike plot` is asked for. points: keys of the points to name, or their first characters."""

    results: Path
    out: Path = Path("out/plots")
    points: Sequence[str] = ()
    objectives: str = "latency,energy"
    csv: Path | None = None
    page: Path | None = None


@dataclass
class Plots:
    """What was written. named: the points that figures call by letters.  left_out: figure -> why it is not there."""

    named: Table
    written: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Source:
    """An open result file, and what is shown of it."""

    store: Store
    rows: Sequence[Row]
    named: Mapping[str, Row]
    objectives: tuple[str, ...]

    @property
    def feasible(self) -> list[Row]:
        return [row for row in self.rows if row.feasible]

    @property
    def base(self) -> dict[str, Any]:
        """Dotted keys of the chip that the space starts from, its name too."""
        about = self.store.about()
        if "base" not in about:
            raise UserError(f"{self.store.path}: does not say of which space it is; sweep again into a new file")
        return {"name": PurePath(about["base chip"]).stem, **about["base"]}


def plot_results(request: PlotRequest) -> Plots:
    """Write what is asked for: every figure as PNG and SVG, the CSV and the page.

    Raises UserError for a bad result file, unknown points or objectives, and where a file cannot be written.
    """
    objectives, rows = parse_objectives(request.objectives), read_rows(request.results)
    named = named_points(rows, objectives, request.points)
    plots = Plots(named_table(rows, named, objectives))
    with open_store(request.results) as store:
        source = _Source(store, rows, named, objectives)
        _write_figures(source, request.out, plots)
        if request.csv is not None:
            write_csv(request.csv, rows)
            plots.written.append(request.csv)
        if request.page is not None:
            with progress("page") as step:
                write_page(request.page, rows, lambda row: store.report(row.key), source.base, objectives, step)
            plots.written.append(request.page)
    return plots


def _write_figures(source: _Source, out: Path, plots: Plots) -> None:
    drawn = _figures(source, plots.left_out)
    with styled(), progress("figures") as step:
        for done, (name, draw) in enumerate(drawn.items()):
            step(done, len(drawn))
            figure = draw()
            if figure is not None:
                save(figure, out, name)
                plots.written += [out / f"{name}.png", out / f"{name}.svg"]


def _figures(source: _Source, left_out: dict[str, str]) -> dict[str, Draw]:
    """Name -> what draws the figure, or says in `left_out` why there is none."""
    rows, named = source.rows, source.named
    return {
        "front": partial(scatter_figure, rows, source.objectives, named),
        "settings": lambda: _or_why(
            effects_figure(rows) if varied(rows) else None, "settings", "no axis has several values", left_out
        ),
        "bars": partial(_bars, source),
        "ladder": lambda: _or_why(ladder_figure(rows, named), "ladder", "no chip has two tickets", left_out),
        "roofline": lambda: _or_why(_roofline(source), "roofline", "no point has DRAM traffic", left_out),
        "links": partial(_links, source, left_out),
    }


def _or_why(figure: Figure | None, name: str, why: str, left_out: dict[str, str]) -> Figure | None:
    if figure is None:
        left_out[name] = why
    return figure


def _bars(source: _Source) -> Figure:
    names = spread(list(source.named), MOST_BARS)
    return bars_figure({name: source.store.report(source.named[name].key) for name in names})


def _roofline(source: _Source) -> Figure | None:
    base, rows = source.base, source.feasible
    return roofline_figure(rows, [{**base, **row.settings} for row in rows], source.named)


def _links(source: _Source, left_out: dict[str, str]) -> Figure | None:
    """The links of a few named points, each run again on its trace."""
    loads: dict[str, LinkLoads] = {}
    for name in spread(list(source.named), MOST_MESHES):
        row = source.named[name]
        try:
            loads[name] = _loads(row, source.store.report(row.key), source)
        except UserError as error:
            left_out[f"links of {name}"] = str(error)
    return links_figure(loads) if loads else None


def _loads(row: Row, report: Report, source: _Source) -> LinkLoads:
    """Raises UserError where the trace is not at hand or another by now, or the program counts otherwise by now."""
    images = source.store.about().get("images")
    trace = load_trace(source.store.trace_files().get(row.trace, row.trace))
    trace = trace if images is None or images >= trace.images else trace.first(images)
    if trace.sha256 != report["provenance"]["trace_sha256"]:
        raise UserError(f"trace {row.trace!r} is not the one of the results; sweep again")
    loads = link_loads(trace, chip_of(report))
    if loads.hops != report["counts"]["flit_hop"]:
        raise UserError("the results are another program's, which counted other flits; sweep again")
    return loads


def lines(plots: Plots) -> Iterator[str]:
    """What was written and what was left out, in lines."""
    yield from (f"written: {path}" for path in plots.written)
    yield from (f"left out: {name}: {why}" for name, why in plots.left_out.items())
