"""Figures of a few chosen points, from their reports: where the energy goes, and what the cores do."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...figures import energy_by_component, stacked_bars
from ...style import blank
from ...views import Report, images_of


def cycles_by_cause(causes: Mapping[str, Mapping[str, float]], ax: Axes) -> None:
    """Stacked bars, one per point: thousand cycles per image, split as the cores spent them on average.

    causes: point -> cause -> cycles per image, the mean over the cores.
    """
    stacked_bars(causes, 1e3, ax)
    ax.set_ylabel("thousand cycles per image")
    ax.set_title("Cycles by cause, mean over the cores")


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
