"""Figures of a few chosen points, from their reports: where the energy goes, and what the cores do."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...figures import energy_by_component, stacked_series
from ...style import blank, paint
from ...views import Report, images_of


def cycles_by_cause(causes: Mapping[str, Mapping[str, float]], ax: Axes) -> None:
    """Stacked bars, one per point: thousand cycles per image, split as the cores spent them on average.

    causes: point -> cause -> cycles per image, the mean over the cores.
    """
    names = list(causes)
    bottom = np.zeros(len(names))
    for number, (part, values) in enumerate(stacked_series(list(causes.values())).items()):
        colour, hatch = paint(number)
        style: Any = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.5}
        ax.bar(names, values / 1e3, 0.6, bottom, label=part, **style)
        bottom += values / 1e3
    for position, total in enumerate(bottom):
        ax.annotate(f"{total:.3g}", (position, total), (0, 3), textcoords="offset points", ha="center", weight="bold")
    ax.set_ylabel("thousand cycles per image")
    ax.set_title("Cycles by cause, mean over the cores")
    ax.margins(y=0.1)
    ax.grid(axis="x", visible=False)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))


def mean_causes(report: Report) -> dict[str, float]:
    """Cause -> cycles per image, the mean over the cores; they add up to the cycles per image."""
    causes = report["cycles_by_cause"]
    share = report["cycles"] / images_of(report) / (sum(causes.values()) or 1)
    return {cause: count * share for cause, count in causes.items()}


def mean_components(report: Report) -> dict[str, float]:
    """Component -> pJ per image."""
    return {part: pj / images_of(report) for part, pj in report["energy_pj"]["by_component"].items()}


def bars_figure(reports: Mapping[str, Report]) -> Figure:
    """Energy by component and cycles by cause of the points, side by side. reports: letter -> report."""
    figure = blank(7.0 + 0.5 * len(reports), 3.8)
    left, right = figure.subplots(1, 2)
    energy_by_component({name: mean_components(report) for name, report in reports.items()}, left)
    cycles_by_cause({name: mean_causes(report) for name, report in reports.items()}, right)
    return figure
