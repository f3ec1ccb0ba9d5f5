"""One look for all figures: colour-blind safe colours, quiet axes, and figures that leave pyplot's state alone."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..simulator.files import write_text, write_whole

# Okabe and Ito's palette, which readers with any colour vision can tell apart; black is kept for text
ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE, GREY = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#999999",
)
PALETTE = (BLUE, ORANGE, GREEN, SKY, RED, PURPLE, YELLOW, GREY)
INK, FAINT = "#222222", "#DDDDDD"

# beyond the palette's eight colours the same colours come again, hatched
HATCHES = ("", "////", "....")

_STYLE: Any = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.dpi": 100.0,
    "savefig.dpi": 160.0,
    "svg.fonttype": "path",  # a page with the figure in it needs no font of its own
    "svg.hashsalt": "sparsespike",  # the same data gives the same file
}


@contextmanager
def styled() -> Iterator[None]:
    """The project's matplotlib settings, for as long as a figure is drawn and saved."""
    with matplotlib.rc_context(_STYLE):
        yield


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches, drawn by Agg whatever backend the user has chosen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def paint(number: int) -> tuple[str, str]:
    """Colour and hatch of the series of that number."""
    return PALETTE[number % len(PALETTE)], HATCHES[number // len(PALETTE) % len(HATCHES)]


def svg(figure: Figure) -> str:
    """The figure as the text of an <svg> element, without date and XML head."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG file. Raises UserError where it cannot."""
    write_whole(path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None}))


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write the figure as name.png and name.svg; returns the SVG text. Raises UserError where it cannot."""
    save_png(figure, folder / f"{name}.png")
    figure.set_layout_engine("none")  # everything has found its place
    text = svg(figure)
    write_text(folder / f"{name}.svg", text)
    return text
