"""Figures of what the axes of a space do: Sobol indices, and a tornado around one point."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...style import BLUE, INK, ORANGE, blank, save, styled
from ..metrics import METRICS
from .indices import Indices
from .tornado import Tornado


def sobol_bars(indices: Indices, objective: str, ax: Axes) -> None:
    """Two bars for each axis: first-order and total index, with their intervals; what matters most on top."""
    order = indices.order()
    places = np.arange(len(order), dtype=np.float64)
    both = (
        ("alone (first order)", BLUE, -0.2, indices.first, indices.first_interval),
        ("with all it takes part in (total)", ORANGE, 0.2, indices.total, indices.total_interval),
    )
    for label, colour, shift, values, interval in both:
        ax.barh(places + shift, values[order], 0.38, color=colour, label=label)
        ax.hlines(places + shift, interval[0][order], interval[1][order], color=INK, linewidth=1.0)
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(places, [indices.names[axis] for axis in order])
    ax.invert_yaxis()
    ax.set_xlabel(f"share of the variance of {objective}")
    ax.set_title(f"What {objective} depends on")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right")


def tornado_bars(tornado: Tornado, ax: Axes) -> None:
    """A bar for each axis, from the lowest to the highest value that it reaches, the rest at the reference point."""
    metric = METRICS[tornado.objective]
    places = np.arange(len(tornado.bars), dtype=np.float64)
    low, high = (
        np.array([value(bar) for bar in tornado.bars]) for value in (lambda bar: bar.lowest, lambda bar: bar.highest)
    )
    ax.barh(places, low - tornado.reference, 0.6, tornado.reference, color=BLUE, label="below the reference")
    ax.barh(places, high - tornado.reference, 0.6, tornado.reference, color=ORANGE, label="above")
    for place, bar in zip(places, tornado.bars, strict=True):
        if bar.lowest < tornado.reference:
            ax.annotate(
                bar.at_lowest, (bar.lowest, place), (-4, 0), textcoords="offset points", ha="right", va="center", size=8
            )
        if bar.highest > tornado.reference:
            ax.annotate(bar.at_highest, (bar.highest, place), (4, 0), textcoords="offset points", va="center", size=8)
    ax.axvline(tornado.reference, color=INK, linewidth=0.9)
    ax.set_yticks(places, [bar.axis for bar in tornado.bars])
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda value, _: metric.text(value))
    ax.margins(x=0.15)
    ax.set_xlabel(metric.label)
    ax.set_title(f"{metric.label.capitalize()}, one axis at a time around {metric.text(tornado.reference)}")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right")


def sobol_figure(indices: Indices, objective: str) -> Figure:
    """The bars of every axis, by themselves."""
    figure = _tall(len(indices.names))
    sobol_bars(indices, objective, figure.add_subplot())
    return figure


def tornado_figure(tornado: Tornado) -> Figure:
    """The bars of every axis, by themselves."""
    figure = _tall(len(tornado.bars))
    tornado_bars(tornado, figure.add_subplot())
    return figure


def _tall(bars: int) -> Figure:
    return blank(6.8, 1.2 + 0.42 * bars)


def plot_sensitivity(indices: Indices, tornado: Tornado, out: str | Path) -> list[Path]:
    """Write both figures, as PNG and SVG; returns their paths. Raises UserError where it cannot."""
    with styled():
        figures = {"sobol": sobol_figure(indices, tornado.objective), "tornado": tornado_figure(tornado)}
        for name, figure in figures.items():
            save(figure, Path(out), name)
    return [Path(out) / f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
