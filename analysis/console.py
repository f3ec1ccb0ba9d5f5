"""Tables and progress on the terminal: results go to stdout, progress to stderr, and both read well when piped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from .tables import Table

# a pipe has no width of its own: text is wrapped here, and tables are as wide as they need to be, up to WIDEST
PIPE_WIDTH, WIDEST = 170, 10_000

Step = Callable[[int, int], None]


def show(*parts: Table | str, aside: bool = False) -> None:
    """Print tables and lines of text to stdout; without colours where that is no terminal.

    aside: to stderr, beside a file that goes to stdout.
    """
    console = _console(aside)
    for part in parts:
        if isinstance(part, str):
            console.print(Text(part), soft_wrap=True)  # one line stays one, whatever is in it
            continue
        rich = _rich(part)
        (console if console.is_terminal else _pipe(max(PIPE_WIDTH, _width(rich)), aside)).print(rich)
        if part.note:
            console.print(escape(part.note), highlight=False, style="dim")
        console.print()


def _console(aside: bool) -> Console:
    console = Console(stderr=aside)
    return console if console.is_terminal else _pipe(PIPE_WIDTH, aside)


def _pipe(width: int, aside: bool) -> Console:
    return Console(width=width, no_color=True, highlight=False, stderr=aside)


def _width(table: RichTable) -> int:
    """Characters that the table needs to show every cell whole."""
    return Console(width=WIDEST).measure(table).maximum


def _rich(table: Table) -> RichTable:
    rich = RichTable(title=escape(table.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        rich.add_column(escape(column), justify="right" if number else "left", no_wrap=not number, overflow="fold")
    for row in table.rows:
        rich.add_row(*(escape(cell) for cell in row))
    return rich


class _RateColumn(ProgressColumn):
    """Runs per second, or seconds per run where it takes longer."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


@contextmanager
def progress(title: str) -> Iterator[Step]:
    """A progress bar with rate and time left on stderr; yields a function (done, total) to call as often as one likes.

    Where stderr is no terminal nothing is drawn.
    """
    console = Console(stderr=True)
    bars = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (_RateColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*bars, *times, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
