"""Figures of the result table: one function each, from plain rows and the axes to draw on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from ..style import BLUE, FAINT, GREY, INK, PALETTE, blank, paint
from .groups import SPARSE, Duel, Series, duels_of, series_of
from .rows import Results, Row

# name of a figure -> what to see in it
CAPTIONS = {
    "ladder": "Accuracy against simulated energy along the pruning rounds, a line per share of tokens kept",
    "selectors": "Learned, rate and random token selectors at the same round: accuracy and energy",
    "formula": "The field's energy formula against the simulated energy, a point per ticket",
    "per_weight": "Energy per surviving weight, layer by layer, of the sparsest ticket: where to prune next",
}
MARKERS = "osD^vPXd"


def compare_figures(results: Results) -> dict[str, Figure]:
    """Every figure that these rows give, by name: without two selectors trained alike there is none of selectors."""
    rows = results.on_chip
    figures = {}
    figure = blank(7.0, 4.6)
    ladder(series_of(rows), figure.subplots())
    figures["ladder"] = figure
    duels = duels_of(rows)
    if duels:
        figure = blank(7.4, 3.4)
        left, right = figure.subplots(1, 2)
        selectors(duels, _accuracy, left)
        left.set_ylabel("integer accuracy, whole test set (%)")
        left.set_title("Accuracy")
        selectors(duels, _energy, right)
        right.set_ylabel("energy per image, simulated with DRAM (µJ)")
        right.set_title("Energy")
        right.set_ylim(
            0, 1.15 * max(_energy(row) for duel in duels for step in duel.steps.values() for row in step.rows)
        )
        right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="mean, smallest and largest")
        figures["selectors"] = figure
    figure = blank(7.0, 4.6)
    formula(series_of(rows), figure.subplots())
    figures["formula"] = figure
    sparsest = sparsest_of(rows)
    if sparsest is not None:
        figure = blank(7.0, 1.3 + 0.2 * len(sparsest.per_weight))
        per_weight(sparsest, figure.subplots())
        figures["per_weight"] = figure
    return figures


def sparsest_of(rows: Sequence[Row]) -> Row | None:
    """The spiking ticket with the largest share of weights pruned, to 0.1 %, the most accurate of equals; None without.

    A chip that stores zeros gains nothing by pruning: its rows do not count.
    """
    spiking = [row for row in rows if row.ticket.neuron == "lif" and any(pj for _, pj in row.per_weight.values())]
    return max(spiking, key=lambda row: (round(row.ticket.pruned, 3), row.ticket.accuracy_integer or 0.0), default=None)


def ladder(series: Sequence[Series], ax: Axes) -> None:
    """A line per keep ratio, a point per round: mean accuracy and energy over seeds, with the accuracy's range.

    Series of other selectors than the learned one are left out; ANN twins are stars.
    """
    ringed = []
    for number, one in enumerate(series):
        if one.ticket.selector in ("rate", "random"):
            continue
        ann = one.ticket.neuron == "relu"
        energies = [step.spread(_energy).mean for step in one.steps]
        accuracies = [step.spread(_accuracy) for step in one.steps]
        means = np.array([spread.mean for spread in accuracies])
        reach = np.array([[s.mean - s.low, s.high - s.mean] for s in accuracies]).T
        look: dict[str, Any] = (
            {"color": INK, "marker": "*", "markersize": 12} if ann else _look(number) | {"markersize": 4.5}
        )
        style: dict[str, Any] = {"linestyle": "none" if ann else "-", "linewidth": 1.1, "label": _label(one)}
        ax.errorbar(energies, means, reach if reach.any() else None, capsize=2, elinewidth=0.8, **style, **look)
        if one.sparse is not None:
            ringed.append((one.sparse.spread(_energy).mean, one.sparse.spread(_accuracy).mean))
    if ringed:
        text = f"first with at least {100 * SPARSE:.0f} %"
        x, y = zip(*ringed, strict=True)
        ax.scatter(x, y, 95, facecolors="none", edgecolors=INK, linewidths=1.0, zorder=5, label=text)
    ax.set_xlabel("energy per image, simulated with DRAM (µJ)")
    ax.set_ylabel("integer accuracy, whole test set (%)")
    ax.set_title("Accuracy and energy, a point per pruning round")
    ax.margins(0.06)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="tokens, weights pruned")


def selectors(duels: Sequence[Duel], value: Callable[[Row], float], ax: Axes) -> None:
    """Points side by side, one per selector, for each keep and round: mean with range, each seed as a faint dot."""
    names = list(dict.fromkeys(name for duel in duels for name in duel.steps))
    for number, name in enumerate(names):
        colour, _ = paint(number)
        shift = 0.22 * (number - (len(names) - 1) / 2)
        places = [place + shift for place, duel in enumerate(duels) if name in duel.steps]
        spreads = [duel.steps[name].spread(value) for duel in duels if name in duel.steps]
        for place, duel in zip(places, (duel for duel in duels if name in duel.steps), strict=True):
            values = [value(row) for row in duel.steps[name].rows]
            ax.scatter([place] * len(values), values, 8, color=colour, alpha=0.5, linewidths=0)
        means = [spread.mean for spread in spreads]
        reach = np.array([[s.mean - s.low, s.high - s.mean] for s in spreads]).T
        counts = sorted({spread.count for spread in spreads})
        label = f"{name} ({_range(counts)} ticket{'s' if counts[-1] > 1 else ''})"
        look: dict[str, Any] = {"color": colour, "marker": MARKERS[number], "markersize": 6, "label": label}
        ax.errorbar(places, means, reach, linestyle="none", capsize=3, elinewidth=1.0, **look)
    texts = [f"keep {d.ticket.keep:g}\nround {d.ticket.round}\n{100 * d.ticket.pruned:.1f} % pruned" for d in duels]
    ax.set_xticks(range(len(duels)), texts)
    ax.set_xlim(-0.6, len(duels) - 0.4)
    ax.grid(axis="x", visible=False)


def formula(series: Sequence[Series], ax: Axes) -> None:
    """Simulated against formula energy, a point per ticket; dashed lines where one is n times the other."""
    every = [row for one in series for step in one.steps for row in step.rows]
    for number, one in enumerate(series):
        rows = [row for step in one.steps for row in step.rows]
        ann = one.ticket.neuron == "relu"
        look: dict[str, Any] = {"color": INK, "marker": "*", "s": 110} if ann else _look(number) | {"s": 26}
        ax.scatter([row.formula_pj / 1e6 for row in rows], [_energy(row) for row in rows], label=one.name, **look)
    for scale, axis in ((ax.set_xscale, ax.xaxis), (ax.set_yscale, ax.yaxis)):
        scale("log")
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    ratios = [row.energy_pj / row.formula_pj for row in every]
    _lines_of_ratio([row.formula_pj / 1e6 for row in every], [_energy(row) for row in every], ax)
    ax.set_xlabel("energy per image by the formula, arithmetic only (µJ)")
    ax.set_ylabel("energy per image, simulated with DRAM (µJ)")
    ax.set_title(f"The chip spends {min(ratios):.2g} to {max(ratios):.2g} times what the formula says")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _lines_of_ratio(x: Sequence[float], y: Sequence[float], ax: Axes) -> None:
    """Dashed lines y = n x across the points' surroundings, which become the limits of the axes."""
    left, right, bottom, top = min(x) / 2, max(x) * 2, min(y) / 1.6, max(y) * 1.6
    for times in (1, 3, 10, 30, 100, 300, 1000, 3000):
        first, last = max(left, bottom / times), min(right, top / times)
        if last > 1.3 * first:
            ends = [first, last]
            ax.plot(ends, [times * end for end in ends], color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            at = (last, times * last)
            ax.annotate(f"{times} x", at, (-3, -10), textcoords="offset points", fontsize=7, ha="right")
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def per_weight(row: Row, ax: Axes) -> None:
    """Horizontal bars, a layer each, in the order of computation: pJ per surviving weight, and how many are left."""
    names = list(row.per_weight)
    prices = [pj for _, pj in row.per_weight.values()]
    bars = ax.barh(names, prices, 0.72, color=BLUE)
    texts = [f"{pj:.3g} pJ, {weights:,} weights" for weights, pj in row.per_weight.values()]
    ax.bar_label(bars, texts, fontsize=7, padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.22, y=0.01)
    ax.set_xlabel("energy per surviving weight and image (pJ): what falls as weights are pruned, the layer's mean")
    ax.set_title(f"{row.ticket.name}, {100 * row.ticket.pruned:.1f} % pruned, on {row.chip}")
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=FAINT)


def _accuracy(row: Row) -> float:
    return 100 * (row.ticket.accuracy_integer or 0.0)


def _energy(row: Row) -> float:
    return row.energy_pj / 1e6


def _look(number: int) -> dict[str, Any]:
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}


def _label(series: Series) -> str:
    counts = sorted({len(step.rows) for step in series.steps})
    first, last = (100 * step.ticket.pruned for step in (series.steps[0], series.steps[-1]))
    pruned = f"{first:.0f} %" if len(series.steps) == 1 else f"{first:.0f} to {last:.1f} %"
    return f"{series.name}, {pruned}" + (f"\n(points: mean of {_range(counts)} tickets)" if counts[-1] > 1 else "")


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
