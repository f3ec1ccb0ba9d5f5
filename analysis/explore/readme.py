"""Fill a README's blocks about a swept space from its result file, so that no figure or number in it is typed.

A block is `<!-- explore:WHAT-SPACE -->` … `<!-- /explore:WHAT-SPACE -->`, WHAT a table or a figure of `Shown`.
    python -m sparsespike.analysis.explore.readme RESULTS codesign README.md…
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os.path import relpath
from pathlib import Path

from matplotlib.figure import Figure

from ...simulator.errors import UserError, nearest
from ...simulator.files import write_text
from ..console import progress
from ..readme import GALLERY, block_names, fill_blocks
from ..space import Space, load_space
from ..style import save_png, styled
from ..tables import Table
from .metrics import cost_text, costs
from .results import by_trace, fronts, read_rows
from .search.contest import Contest, contest
from .search.curves import curves_figure
from .sensitivity.figures import sobol_figure
from .sensitivity.indices import indices_table
from .sensitivity.influence import Influence, Question, run_sensitivity
from .store import Row, open_store
from .views.chosen import bars_figure
from .views.figures import scatter_figure
from .views.ladder import ladder_figure
from .views.naming import named_points, named_table, short_traces, spread

KIND = "explore"
OBJECTIVES = ("latency", "energy", "accuracy")
EXPLAINED = "energy"
SAMPLES = 4096  # rows of the sensitivity's design; a constraint leaves some of them
BUDGET, SEEDS = 300, 5  # simulations of a search, and searches of each kind
MOST_NAMED = 12  # points of the front that a page can name
MOST_BARS = 8

CAPTIONS = {
    "front": "Latency against energy and accuracy of all points that fit, the front ringed",
    "ladder": "Tickets on chips of the front: accuracy against energy",
    "bars": "Energy by component and cycles by cause of points of the front",
    "sobol": "Share of the variance of energy that each axis explains, alone and in all, where constraints leave rows",
    "search": "Hypervolume against simulations: NSGA-II and random sampling, median and range over seeds",
}


@dataclass(frozen=True)
class Shown:
    """What can be shown of a finished sweep: each table and figure is made when a page asks for it."""

    space: Space
    results: Path

    @property
    def makers(self) -> dict[str, Callable[[], Table | Figure]]:
        """WHAT -> what makes it."""
        return {
            "points": self.points,
            "named": lambda: named_table(self.rows, self.named, OBJECTIVES),
            "contest": lambda: self.contest.table(OBJECTIVES),
            "indices": lambda: indices_table(self.influence.indices, EXPLAINED),
            "front": lambda: scatter_figure(self.rows, OBJECTIVES, self.named),
            "ladder": self.ladder,
            "bars": self.bars,
            "sobol": lambda: sobol_figure(self.influence.indices, EXPLAINED),
            "search": lambda: curves_figure(self.contest.curves),
        }

    @cached_property
    def rows(self) -> list[Row]:
        """All points of the file."""
        return read_rows(self.results)

    @cached_property
    def named(self) -> dict[str, Row]:
        """Letter -> point of the front."""
        front = named_points(self.rows, OBJECTIVES)
        return named_points(self.rows, OBJECTIVES, [row.key for row in spread(list(front.values()), MOST_NAMED)])

    @cached_property
    def contest(self) -> Contest:
        """NSGA-II against random sampling, looked up."""
        return contest(self.space, self.results, OBJECTIVES, BUDGET, SEEDS)

    @cached_property
    def influence(self) -> Influence:
        """What energy depends on; every point is known."""
        with open_store(self.results) as store:
            paths = store.trace_files()
        with progress(f"sensitivity over {self.space.name}") as step:
            return run_sensitivity(self.space, paths, self.results, Question(EXPLAINED, SAMPLES), step=step)

    def points(self) -> Table:
        """How many points of each ticket fit and are on the front, its least latency and energy, and its accuracy."""
        front = {row.key for rows in fronts(self.rows, OBJECTIVES).values() for row in rows}
        names, every = short_traces(self.rows), by_trace(self.rows)
        cells = []
        for trace, rows in every.items():
            fit = [row for row in rows if row.feasible]
            on_it = sum(row.key in front for row in fit)
            best = {
                name: min((costs(row.metrics or {}, [name])[0] for row in fit), default=None) for name in OBJECTIVES
            }
            texts = ("-" if cost is None else cost_text(name, cost) for name, cost in best.items())
            cells.append((names[trace], f"{len(rows):,}", f"{len(fit):,}", f"{on_it:,}", *texts))
        columns = ("ticket", "points", "fit", "on the front", "least latency", "least energy", "accuracy")
        note = f"Front of {', '.join(OBJECTIVES)}, all tickets together: {len(front):,} points. Per image."
        return Table(f"Tickets in {self.space.name}", columns, tuple(cells), note)

    def ladder(self) -> Figure:
        """Raises UserError where no chip has two tickets."""
        figure = ladder_figure(self.rows, self.named)
        if figure is None:
            raise UserError(f"{self.results}: no chip of the front has two tickets")
        return figure

    def bars(self) -> Figure:
        """Where energy and cycles of some points of the front go."""
        with open_store(self.results) as store:
            names = spread(list(self.named), MOST_BARS)
            return bars_figure({name: store.report(self.named[name].key) for name in names})


def fill(readmes: Sequence[str | Path], results: str | Path, space: str) -> list[str]:
    """Rewrite the blocks about a space in every page; pictures in use are drawn into analysis/gallery of this folder.

    Returns the names of the blocks. Raises UserError where a file cannot be read, the results are another space's or
    not all of it, a page has no block, or a block has no table or figure of its name; then no page is written.
    """
    shown = Shown(load_space(space), Path(results))
    makers = {f"{what}-{shown.space.name}": make for what, make in shown.makers.items()}
    texts = {Path(readme): _read(Path(readme)) for readme in readmes}
    names = {readme: block_names(text, KIND) for readme, text in texts.items()}
    for readme, wanted in names.items():
        if not wanted:
            raise UserError(f"{readme}: has no block <!-- {KIND}:WHAT-{shown.space.name} -->")
        for name in wanted:
            if name not in makers:
                raise UserError(f"{readme}: no table or figure {name!r}; {nearest(name, makers)}")
    every = list(dict.fromkeys(name for wanted in names.values() for name in wanted))
    with styled():
        made = {name: makers[name]() for name in every}
        for name, one in made.items():
            if isinstance(one, Figure):
                save_png(one, GALLERY / f"{name}.png")
    for readme, text in texts.items():
        contents = {name: _content(name, one, readme.parent) for name, one in made.items()}
        write_text(readme, fill_blocks(text, KIND, contents.__getitem__))
    return every


def _read(readme: Path) -> str:
    try:
        return readme.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{readme}: cannot be read: {error.strerror}") from None


def _content(name: str, made: Table | Figure, folder: Path) -> str:
    """A table, or the picture of that name as a page in `folder` finds it."""
    if isinstance(made, Table):
        return made.to_markdown()
    what, _, space = name.partition("-")
    return f"![{CAPTIONS[what]} ({space})]({Path(relpath(GALLERY / f'{name}.png', folder)).as_posix()})"


if __name__ == "__main__":
    try:
        if len(sys.argv) < 4:
            raise UserError("give a result file, its space, and at least one README.md")
        sys.stdout.write("filled: " + ", ".join(fill(sys.argv[3:], sys.argv[1], sys.argv[2])) + "\n")
    except UserError as mistake:
        sys.stderr.write(f"error: {mistake}\n")
        sys.exit(2)
