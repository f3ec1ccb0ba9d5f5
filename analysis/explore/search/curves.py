"""Hypervolume against simulations, of one search or of several seeds of it, as a table and as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...style import PALETTE, blank, save, styled
from ...tables import Table
from ..metrics import cost_text
from .hypervolume import Scale, Values

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)  # of the budget, at which a table shows the hypervolume

Curves = Mapping[str, Sequence[Values]]  # search -> a curve for each of its seeds


def spread_of(curves: Sequence[Values]) -> Values:
    """float64[3, simulations]: median, least and greatest of curves; one that ended early stays where it was."""
    longest = max(map(len, curves))
    level = np.stack([np.pad(curve, (0, longest - len(curve)), "edge") for curve in curves if len(curve)])
    return np.stack([np.median(level, 0), level.min(0), level.max(0)])


def curve_table(curves: Curves, scale: Scale | None, objectives: Sequence[str]) -> Table:
    """The hypervolume after parts of the budget, a column for each search: the median, and its range over seeds."""
    spreads = {name: spread_of(each) for name, each in curves.items() if any(map(len, each))}
    longest = max((spread.shape[1] for spread in spreads.values()), default=0)
    rows = []
    for place in sorted({max(1, round(share * longest)) for share in SHARES}) if longest else ():
        cells = [_cell(spread[:, min(place, spread.shape[1]) - 1]) for spread in spreads.values()]
        rows.append((f"{place:,}", *cells))
    note = "" if scale is None else f"Share of the front's hypervolume. {scale_text(scale, objectives)}"
    return Table("Hypervolume", ("simulations", *spreads), tuple(rows), note)


def _cell(spread: Values) -> str:
    median, least, most = spread
    return f"{median:.4f}" if least == most else f"{median:.4f} ({least:.4f} to {most:.4f})"


def scale_text(scale: Scale, objectives: Sequence[str]) -> str:
    """What a hypervolume is measured by, in words."""
    ranges = (
        f"{name} {cost_text(name, best)} to {cost_text(name, worst)}"
        for name, best, worst in zip(objectives, scale.best, scale.worst, strict=True)
    )
    return f"The front spans {', '.join(ranges)}; the reference point is a tenth of that beyond its worst values."


def hypervolume_curves(curves: Curves, ax: Axes) -> None:
    """Lines: the share of the front's hypervolume after each simulation, median and range over a search's seeds."""
    for number, (name, each) in enumerate(curves.items()):
        if not any(map(len, each)):
            continue
        median, least, most = spread_of(each)
        places = np.arange(1, len(median) + 1)
        seeds = f", median of {len(each)} seeds" if len(each) > 1 else ""
        colour = PALETTE[number % len(PALETTE)]
        style = ("-", "--", ":", "-.")[number % 4]
        ax.plot(places, median, style, color=colour, label=f"{name}{seeds}", drawstyle="steps-post")
        if len(each) > 1:
            ax.fill_between(places, least, most, step="post", color=colour, alpha=0.18, linewidth=0)
    ax.set_xlabel("simulations")
    ax.set_ylabel("hypervolume, share of the front's")
    ax.set_ylim(0, 1.03)
    ax.set_title("What a search has found after so many simulations")
    ax.legend(loc="lower right")


def curves_figure(curves: Curves) -> Figure:
    """The curves, by themselves."""
    figure = blank(6.4, 3.6)
    hypervolume_curves(curves, figure.add_subplot())
    return figure


def plot_curves(curves: Curves, out: str | Path) -> list[Path]:
    """Write the figure, as PNG and SVG; returns their paths. Raises UserError where it cannot."""
    with styled():
        save(curves_figure(curves), Path(out), "hypervolume")
    return [Path(out) / f"hypervolume.{kind}" for kind in ("png", "svg")]
