"""Figures of a sweep, each drawn from rows into axes: the front with named points, and what each axis does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, StrMethodFormatter

from ...style import BLUE, INK, PALETTE, blank
from ...tables import prefix
from ..metrics import METRICS, costs
from ..pareto import non_dominated
from ..results import by_trace
from ..store import Row
from .labels import label_points
from .naming import setting_text, short_keys, short_traces, varied

Pair = tuple[str, str]

LATENCY_ENERGY: Pair = ("latency", "energy")
WIDE = 12.0  # an axis whose largest value is so many times its smallest is logarithmic
MANY = 2000  # points, from where on they are pixels in a vector file, or it would be slow to open
MARKERS = "osD^vP*X"
COLUMNS = 2  # of panels, where there are many


def front_scatter(rows: Sequence[Row], ax: Axes, pair: Pair = LATENCY_ENERGY, objectives: Sequence[str] = ()) -> None:
    """Scatter of the feasible points of a sweep in two metrics, those on the Pareto front ringed.

    rows: that compete with one another.  objectives: of the front; without any, the two metrics, and a line joins it.
    Colour and marker tell the values of the axis with the fewest texts or numbers (the weight format, say).
    """
    feasible = [row for row in rows if row.feasible]
    points = scaled(feasible, pair)
    key = _telling_axis(feasible)
    values = [row.settings.get(key, "") for row in feasible]
    size = 34 if len(points) < MANY / 4 else 10
    for number, value in enumerate(dict.fromkeys(values)):
        mine = points[[other == value for other in values]]
        label = f"{short_keys([key])[key]}: {value}" if key else "configuration"
        faint = 0.8 if len(points) <= MANY else 0.35  # where points hide one another
        style: Any = {"color": PALETTE[number % 8], "marker": MARKERS[number % 8], "linewidths": 0, "alpha": faint}
        ax.scatter(mine[:, 0], mine[:, 1], size, label=label, rasterized=len(points) > MANY, **style)
    judged = tuple(objectives) or pair
    front = points[non_dominated([costs(row.metrics or {}, judged) for row in feasible])]
    if set(judged) == set(pair):
        line = front[np.argsort(front[:, 0])]
        ax.plot(*line.T, color=INK, linewidth=1.2, drawstyle="steps-post", zorder=3, label="Pareto front")
    ax.scatter(front[:, 0], front[:, 1], 70, facecolors="none", edgecolors=INK, linewidths=1.0, zorder=4)
    label_axes(ax, feasible, pair)
    words = " and ".join(METRICS[name].label.removesuffix(" per image") for name in pair)
    ax.set_title(f"{words[0].upper()}{words[1:]} of {len(points):,} configurations")
    # looking for the emptiest corner takes long among many points; the good ones are in the lower left anyway
    ax.legend(loc="best" if len(points) < MANY / 4 else "upper right")


def scaled(rows: Sequence[Row], pair: Pair) -> np.ndarray:
    """float64[rows, 2]: two metrics of feasible rows in the units of `label_axes`; NaN where a row has none."""
    numbers = np.array([[_number(row, name) for name in pair] for row in rows], np.float64).reshape(-1, 2)
    return numbers / [axis_unit(rows, name)[0] for name in pair]


def _number(row: Row, name: str) -> float:
    value = (row.metrics or {})[name]
    return float("nan") if value is None else value


def axis_unit(rows: Sequence[Row], name: str) -> tuple[float, str]:
    """(so many of the metric's own unit make one of the axis, label of the axis), by the largest value."""
    metric = METRICS[name]
    if name == "accuracy":
        return 0.01, "accuracy (%)"
    if not metric.unit or metric.unit == "mm²":
        return 1.0, f"{metric.label} ({metric.unit})" if metric.unit else metric.label
    largest = max((abs(_number(row, name)) for row in rows), default=0.0)
    factor, sign = prefix(0.0 if np.isnan(largest) else largest)
    return factor, f"{metric.label} ({sign}{metric.unit})"


def label_axes(ax: Axes, rows: Sequence[Row], pair: Pair) -> None:
    """Name and unit on both axes; one of very different values is logarithmic."""
    points = scaled(rows, pair)
    for values, name, axis in zip(points.T, pair, ("x", "y"), strict=True):
        getattr(ax, f"set_{axis}label")(axis_unit(rows, name)[1])
        known = values[np.isfinite(values)]
        if len(known) and known.min() > 0 and known.max() > WIDE * known.min():
            set_log(ax, axis)
    ax.margins(0.08)


def set_log(ax: Axes, axis: str) -> None:
    """A logarithmic axis whose ticks read 0.1, 1, 10, or 10^5 where that would be long."""
    getattr(ax, f"set_{axis}scale")("log")
    low, high = getattr(ax, f"get_{axis}lim")()
    plain = StrMethodFormatter("{x:g}") if low > 1e-3 and high < 1e5 else LogFormatterSciNotation()
    getattr(ax, f"{axis}axis").set_major_formatter(plain)


def _telling_axis(rows: Sequence[Row]) -> str:
    """The axis to colour by: one whose values are words where there is one, else the one with the fewest values."""
    several = varied(rows)
    return min(several, key=lambda key: (not isinstance(several[key][0], str), len(several[key])), default="")


def settings_effect(rows: Sequence[Row], key: str, ax: Axes) -> None:
    """What one axis does: latency against its values, a line for each setting of the other axes."""
    feasible = [row for row in rows if row.feasible and key in row.settings]
    places = list(dict.fromkeys(row.settings[key] for row in feasible))
    if places and not any(isinstance(place, str) for place in places):
        places.sort()
    heights = scaled([row for row in rows if row.feasible], LATENCY_ENERGY)[:, 0]
    height = dict(zip((row.key for row in rows if row.feasible), heights.tolist(), strict=True))
    others: dict[Any, list[tuple[int, float]]] = {}
    for row in feasible:
        rest = tuple((name, value) for name, value in row.settings.items() if name != key)
        others.setdefault((row.trace, row.prices, rest), []).append((places.index(row.settings[key]), height[row.key]))
    lines = [sorted(line) for line in others.values()]
    faint = min(0.6, max(0.02, 20 / max(1, len(lines))))
    ax.add_collection(LineCollection(lines, colors=BLUE, linewidths=0.8, alpha=faint, rasterized=len(lines) > MANY))
    dots = np.array([dot for line in lines for dot in line]).reshape(-1, 2)
    ax.scatter(dots[:, 0], dots[:, 1], 9, color=BLUE, alpha=faint, linewidths=0, rasterized=len(dots) > MANY)
    ax.set_xticks(range(len(places)), [str(place) for place in places])
    ax.set_xlabel(key)
    ax.margins(0.08)
    ax.set_ylim(bottom=0)


def scatter_figure(
    rows: Sequence[Row], objectives: Sequence[str] = LATENCY_ENERGY, named: Mapping[str, Row] | None = None
) -> Figure:
    """The first objective against each other one, the points of `named` by their letters, with a key below.

    A panel per trace, unless accuracy is an objective: then tickets compete.
    """
    feasible = [row for row in rows if row.feasible]
    groups = {"": feasible} if "accuracy" in objectives else by_trace(feasible)
    named, traces = named or {}, short_traces(feasible)
    seconds = list(objectives[1:]) or ["energy" if objectives[0] != "energy" else "latency"]
    panels = [(trace, group, second) for trace, group in groups.items() for second in seconds]
    columns = min(COLUMNS, len(panels)) if len(panels) > COLUMNS or len(seconds) > 1 else 1
    lines = -(-len(panels) // columns)
    legend = [f"{name}  {setting_text(row, short_keys(varied(rows)))}" for name, row in named.items()]
    if len(groups) == 1 and len(traces) > 1:
        legend = [f"{text}; {traces[row.trace]}" for text, row in zip(legend, named.values(), strict=True)]
    figure = blank(6.4 if columns == 1 else 5.4 * columns, 4.2 * lines + 0.16 * len(legend))
    axes = figure.subplots(lines, columns, squeeze=False).reshape(-1)
    if legend:
        figure.supxlabel("\n".join(legend), x=0.02, ha="left", size=7.5)
    for (trace, group, second), ax in zip(panels, axes, strict=False):
        pair = (objectives[0], second)
        front_scatter(group, ax, pair, objectives if len(objectives) > 1 else ())
        if len(groups) > 1:
            ax.set_title(f"{traces[trace]}, {len(group):,} configurations")
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    label_points(
        [
            (ax, _places(group, (objectives[0], second), named))
            for (_, group, second), ax in zip(panels, axes, strict=False)
        ]
    )
    return figure


def _places(rows: Sequence[Row], pair: Pair, named: Mapping[str, Row]) -> dict[str, tuple[float, float]]:
    """Letter -> where its point stands, of the named points among the rows."""
    at = dict(zip((row.key for row in rows), scaled(rows, pair).tolist(), strict=True))
    return {name: (at[row.key][0], at[row.key][1]) for name, row in named.items() if row.key in at}


def effects_figure(rows: Sequence[Row]) -> Figure:
    """A panel per axis that has several values, of which there must be one: latency against its values."""
    keys = list(varied(rows))
    columns = min(4, len(keys))
    lines = -(-len(keys) // columns)
    figure = blank(2.6 * columns + 0.6, 2.6 * lines + 0.2)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for key, ax in zip(keys, panels.reshape(-1), strict=False):
        settings_effect(rows, key, ax)
    for ax in panels.reshape(-1)[len(keys) :]:
        ax.set_axis_off()
    for ax in panels[:, 0]:
        ax.set_ylabel(axis_unit([row for row in rows if row.feasible], "latency")[1])
    figure.suptitle("Each line changes one key and holds the others", x=0.02, ha="left", size=10, weight="bold")
    return figure
