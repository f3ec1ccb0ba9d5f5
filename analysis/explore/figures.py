"""Figures of a sweep, each drawn from rows into axes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..style import BLUE, INK, PALETTE, blank, save, styled
from .pareto import non_dominated
from .results import by_trace
from .store import Row


def latency_energy(rows: Sequence[Row], ax: Axes) -> None:
    """Scatter of the feasible points of a sweep on one trace: latency and energy per image, with the Pareto front.

    Colour and marker tell the values of the axis with the fewest texts or numbers (the weight format, say).
    """
    feasible = [row for row in rows if row.feasible]
    points = np.array([_latency_energy(row) for row in feasible]).reshape(-1, 2)
    key = _telling_axis(feasible)
    values = [row.settings.get(key, "") for row in feasible]
    for number, value in enumerate(dict.fromkeys(values)):
        mine = points[[other == value for other in values]]
        label = f"{key.rpartition('.')[2].replace('_', ' ')}: {value}" if key else "configuration"
        ax.scatter(
            mine[:, 0], mine[:, 1], 34, color=PALETTE[number % 8], marker="osD^vP*X"[number % 8], label=label, alpha=0.9
        )
    front = non_dominated(points)
    line = points[front][np.argsort(points[front][:, 0])]
    ax.plot(*line.T, color=INK, linewidth=1.2, drawstyle="steps-post", zorder=1, label="Pareto front")
    ax.scatter(line[:, 0], line[:, 1], 110, facecolors="none", edgecolors=INK, linewidths=1.0)
    ax.set_xlabel("latency per image (µs)")
    ax.set_ylabel("energy per image (µJ)")
    ax.set_title(f"Latency and energy of {len(points)} configurations")
    ax.margins(0.08)
    ax.legend(loc="best")


def settings_effect(rows: Sequence[Row], key: str, ax: Axes) -> None:
    """What one axis does: latency against its values, a line for each setting of the other axes."""
    feasible = [row for row in rows if row.feasible and key in row.settings]
    places = list(dict.fromkeys(row.settings[key] for row in feasible))
    others: dict[str, list[Row]] = {}
    for row in feasible:
        rest = ", ".join(f"{name}={value}" for name, value in row.settings.items() if name != key)
        others.setdefault(f"{row.trace} {rest}", []).append(row)
    for group in others.values():
        points = np.array([(places.index(row.settings[key]), _latency_energy(row)[0]) for row in group])
        ax.plot(*points.T, color=BLUE, marker="o", markersize=3, linewidth=0.8, alpha=0.6)
    ax.set_xticks(range(len(places)), [str(place) for place in places])
    ax.set_xlabel(key)
    ax.set_ylim(bottom=0)


def _latency_energy(row: Row) -> tuple[float, float]:
    """Microseconds and microjoules per image."""
    assert row.metrics is not None
    return (row.metrics["latency"] or 0) * 1e6, (row.metrics["energy"] or 0) * 1e6


def _telling_axis(rows: Sequence[Row]) -> str:
    """The axis to colour by: one whose values are words where there is one, else the one with the fewest values."""
    values: dict[str, dict[object, None]] = {}
    for row in rows:
        for key, value in row.settings.items():
            values.setdefault(key, {})[value] = None
    several = {key: found for key, found in values.items() if len(found) > 1}
    return min(several, key=lambda key: (not isinstance(next(iter(several[key])), str), len(several[key])), default="")


def scatter_figure(rows: Sequence[Row]) -> Figure:
    """Latency against energy with the front, a panel per trace."""
    groups = by_trace([row for row in rows if row.feasible])
    figure = blank(6.4, 4.2 * len(groups))
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for (trace, group), ax in zip(groups.items(), panels, strict=True):
        latency_energy(group, ax)
        if len(groups) > 1:
            ax.set_title(f"{trace}: {ax.get_title(loc='left')}")
    return figure


def effects_figure(rows: Sequence[Row]) -> Figure:
    """A panel per axis: latency against its values."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    figure = blank(2.6 * len(keys) + 0.6, 2.8)
    panels = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    for key, ax in zip(keys, panels, strict=True):
        settings_effect(rows, key, ax)
    panels[0].set_ylabel("latency per image (µs)")
    figure.suptitle("Each line changes one key and holds the others", x=0.02, ha="left", size=10, weight="bold")
    return figure


def plot_results(rows: Sequence[Row], out: str | Path) -> list[Path]:
    """Write the figures of a sweep; returns their paths. Raises UserError where it cannot."""
    paths: list[Path] = []
    with styled():
        for name, draw in (("latency_energy", scatter_figure), ("settings", effects_figure)):
            save(draw(rows), Path(out), name)
            paths += [Path(out) / f"{name}.png", Path(out) / f"{name}.svg"]
    return paths
