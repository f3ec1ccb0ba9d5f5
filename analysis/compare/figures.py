"""Figures of the result table: one function each, from plain rows and the axes to draw on.

Names of trainings and tickets may be long: what holds one is wrapped to the room it has.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogFormatter
from numpy.typing import ArrayLike, NDArray

from ..style import BLUE, FAINT, GREY, INK, PALETTE, blank, paint
from ..tables import percent_pruned
from .groups import SPARSE, Duel, Series, duels_of, series_of
from .rows import Results, Row

# name of a figure -> what to see in it
CAPTIONS = {
    "ladder": "Accuracy against simulated energy along the pruning rounds, a panel per share of tokens kept",
    "selectors": "Learned, rate and random token selectors in the first round with 90 % pruned: accuracy and energy",
    "formula": "The field's energy formula against the simulated energy with its band, a point per ticket",
    "per_weight": "Mean energy per surviving weight of each layer of the sparsest ticket, without leakage, weights "
    "placed as they are: where pruning many weights saves most; a single one often saves nothing",
}
MARKERS = "osD^vPXd"
DASHES: tuple[Literal["--", ":", "-."], ...] = ("--", ":", "-.")  # of ANN twins
PANELS, PANEL = 3, (2.5, 1.9)  # of the ladder, side by side; inches of each without its title
NARROW, LEGEND, WIDE = 30, 44, 72  # characters that fit above a panel, in a legend, and above one plot
LINE = 0.17  # inches of a line in a legend


def compare_figures(results: Results) -> dict[str, Figure]:
    """Every figure that these rows give, by name: without two selectors trained alike there is none of selectors."""
    rows = results.on_chip
    figures = {"ladder": ladder(series_of(rows), results)}
    duels = duels_of(rows)
    if duels:
        figures["selectors"] = _selectors_figure(duels, results)
    priced = [row for row in rows if row.formula_pj > 0]
    if priced:
        figures["formula"] = _formula_figure(series_of(priced), results)
    sparsest = sparsest_of(rows)
    if sparsest is not None:
        figure = blank(7.0, 1.3 + 0.2 * len(sparsest.per_weight))
        per_weight(sparsest, results, figure.subplots())
        figures["per_weight"] = figure
    return figures


def _selectors_figure(duels: Sequence[Duel], results: Results) -> Figure:
    figure = blank(9.0, 3.6)
    left, right = figure.subplots(1, 2)
    selectors(duels, _accuracy, left)
    left.set_ylabel(f"integer accuracy, {results.test_images:,} test images (%)")
    mean = np.mean([_accuracy(row) for duel in duels for step in duel.steps.values() for row in step.rows])
    left.set_title(f"Accuracy (standard error {_standard_error(mean, results.test_images):.1f} points)")
    selectors(duels, _energy, right)
    right.set_ylabel("simulated energy with DRAM (µJ per image)")
    right.set_title(f"Energy on {results.chip}, {results.images} images")
    right.set_ylim(0, 1.15 * max(_energy(row) for duel in duels for step in duel.steps.values() for row in step.rows))
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="mean, smallest and largest")
    return figure


def _formula_figure(series: Sequence[Series], results: Results) -> Figure:
    figure = blank(7.4, 4.6)
    ax = figure.subplots()
    formula(series, results, ax)
    _, labels = ax.get_legend_handles_labels()
    figure.set_figheight(max(4.6, 1.0 + LINE * _lines_in(labels)))
    return figure


def _lines_in(texts: Iterable[str]) -> int:
    return sum(text.count("\n") + 1 for text in texts)


def _energy_label(results: Results) -> str:
    images = f"{results.images} image" + ("s" if results.images > 1 else "")
    return f"simulated energy with DRAM, {images} (µJ per image)"


def sparsest_of(rows: Sequence[Row]) -> Row | None:
    """The spiking ticket with the largest share of weights pruned, to 0.1 %, the most accurate of equals; None without.

    A chip that stores zeros gains nothing by pruning: its rows do not count.
    """
    spiking = [row for row in rows if row.ticket.neuron == "lif" and any(pj for _, pj in row.per_weight.values())]
    return max(spiking, key=lambda row: (round(row.ticket.pruned, 3), row.ticket.accuracy_integer or 0.0), default=None)


def ladder(series: Sequence[Series], results: Results) -> Figure:
    """A panel per keep ratio, a point per round: mean accuracy and energy over seeds, the other ratios in grey.

    The band is one binomial standard error of the test split: what is within it may be chance. Series of other
    selectors than the learned one are left out; ANN twins are lines at their accuracy, their energy in words.
    """
    lines = [one for one in series if one.ticket.neuron == "lif" and one.ticket.selector not in ("rate", "random")]
    twins = _twins(series)
    across = min(PANELS, max(1, len(lines)))
    down = -(-max(1, len(lines)) // across)
    columns = 2 if across > 1 else 1
    width = PANEL[0] * across + 0.6
    key = _ladder_key(lines, twins, results.test_images, round((width / columns - 0.6) / 0.06))
    rows = _lines_in(str(handle.get_label()) for handle in key) / columns
    titles = max((_lines_in([_label(one)]) for one in lines), default=0)
    figure = blank(width, (PANEL[1] + 0.8 * LINE * titles) * down + 0.5 + LINE * rows)
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for number, ax in enumerate(axes.flat):
        for other in lines:
            ax.plot(*_points(other), color=GREY, linewidth=0.6, alpha=0.5, zorder=1)
        for place, same in enumerate(twins):
            level = float(np.mean(_points(same[0])[1]))
            ax.axhline(level, color=INK, linewidth=0.8, linestyle=DASHES[place % len(DASHES)], zorder=1)
        if number < len(lines):
            _line(lines[number], number, results.test_images, ax)
        elif lines:
            ax.set_visible(False)
    figure.supxlabel(_energy_label(results) + f" on {results.chip}", fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel(f"integer accuracy,\n{results.test_images:,} test images (%)")
    figure.legend(handles=key, loc="outside upper left", ncols=columns)
    return figure


def _twins(series: Sequence[Series]) -> list[list[Series]]:
    """ANN twins, those that are the same tickets on other flits together: they share a line."""
    groups: dict[tuple[str, ...], list[Series]] = {}
    for one in series:
        if one.ticket.neuron == "relu":
            groups.setdefault(tuple(row.ticket.name for step in one.steps for row in step.rows), []).append(one)
    return list(groups.values())


def _ladder_key(
    lines: Sequence[Series], twins: Sequence[Sequence[Series]], images: int, width: int
) -> list[Line2D | Patch]:
    """What each mark of the ladder means, in lines of at most `width` characters."""
    plain: dict[str, Any] = {"color": GREY, "linewidth": 0.5}
    key: list[Line2D | Patch] = [Line2D([], [], marker="o", markersize=3.5, label="a point per pruning round", **plain)]
    key.append(Patch(color=GREY, alpha=0.3, linewidth=0, label=f"one standard error of {images:,} images"))
    if any(one.sparse for one in lines):
        ring: dict[str, Any] = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "linestyle": "none"}
        key.append(Line2D([], [], color=INK, label=f"first with at least {100 * SPARSE:.0f} % pruned", **ring))
    if len(lines) > 1:
        key.append(Line2D([], [], color=GREY, linewidth=0.6, alpha=0.5, label="the other panels' lines"))
    for place, same in enumerate(twins):
        dashes = DASHES[place % len(DASHES)]
        key.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=dashes, label=_twin_text(same)))
    for handle in key:
        handle.set_label("\n".join(textwrap.fill(part, width) for part in str(handle.get_label()).split("\n")))
    return key


def _points(series: Series) -> tuple[list[float], list[float]]:
    return [step.spread(_energy).mean for step in series.steps], [step.spread(_accuracy).mean for step in series.steps]


def _line(series: Series, number: int, test_images: int, ax: Axes) -> None:
    energies, means = _points(series)
    error, colour = _standard_error(means, test_images), PALETTE[number % len(PALETTE)]
    low, high = np.subtract(means, error), np.add(means, error)
    ax.fill_between(energies, low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)
    ax.plot(energies, means, color=colour, linewidth=0.5, marker="o", markersize=3.5, zorder=3)
    if series.sparse is not None:
        at = series.sparse.spread(_energy).mean, series.sparse.spread(_accuracy).mean
        ax.scatter(*at, 70, facecolors="none", edgecolors=INK, linewidths=1.0, zorder=4)
    ax.set_title(_label(series), fontsize=8)


def _twin_text(same: Sequence[Series]) -> str:
    """Where an ANN twin is and what it spends: in words, so that the axis is the tickets' alone."""
    accuracies = _points(same[0])[1]
    mean = f"{'mean ' if len(accuracies) > 1 else ''}{np.mean(accuracies):.1f} %"
    spent = []
    for number, one in enumerate(same):
        energies = _points(one)[0]
        ends = dict.fromkeys(f"{energy:.3g}" for energy in (min(energies), max(energies)))
        variant = one.steps[0].rows[0].variant
        spent.append((f"{variant}: " if number and variant else "") + f"{' to '.join(ends)} µJ")
    return f"{same[0].name} ({mean}):\n{'; '.join(spent)}"


def _standard_error(percentages: ArrayLike, images: int) -> NDArray[np.float64]:
    """Of a share of so many images, binomial, both in percent."""
    shares = np.asarray(percentages) / 100
    return np.asarray(100 * np.sqrt(shares * (1 - shares) / images))


def selectors(duels: Sequence[Duel], value: Callable[[Row], float], ax: Axes) -> None:
    """Points side by side, one per selector, for each duel: mean with range, each seed as a faint dot."""
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
    texts = [f"{duel.ticket.keep:g}\nround {duel.ticket.round}" for duel in duels]
    pruned = [step.ticket.pruned for duel in duels for step in duel.steps.values()]
    ends = list(dict.fromkeys(percent_pruned(share).removesuffix(" %") for share in (min(pruned), max(pruned))))
    ax.set_xlabel(f"share of tokens kept\n{' to '.join(ends)} % of the weights pruned")
    ax.set_xticks(range(len(duels)), texts)
    ax.set_xlim(-0.6, len(duels) - 0.4)
    ax.grid(axis="x", visible=False)


def formula(series: Sequence[Series], results: Results, ax: Axes) -> None:
    """Simulated energy with its band against formula energy, a point per ticket; dashed: one is n times the other."""
    every = [row for one in series for step in one.steps for row in step.rows]
    for number, one in enumerate(series):
        rows = [row for step in one.steps for row in step.rows]
        ann = one.ticket.neuron == "relu"
        shape = "*" if one.ticket.keep == 1 else "P"
        star: dict[str, Any] = {"color": INK, "marker": shape, "s": 110 if shape == "*" else 60}
        star["facecolor"] = "white" if one.steps[0].rows[0].variant else INK
        look: dict[str, Any] = star if ann else _look(number) | {"s": 20}
        x = [row.formula_pj / 1e6 for row in rows]
        ax.vlines(x, *_bands(rows), color=GREY, linewidth=0.6, alpha=0.35, zorder=1)
        label = textwrap.fill(f"{one.name}, {_times(rows)} x" if ann else one.name, LEGEND)
        ax.scatter(x, [_energy(row) for row in rows], label=label, zorder=2, **look)
    for scale, axis in ((ax.set_xscale, ax.xaxis), (ax.set_yscale, ax.yaxis)):
        scale("log")
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    low, high = _bands(every)
    _lines_of_ratio([row.formula_pj / 1e6 for row in every], [*low, *high], ax)
    ax.set_xlabel("energy per image by the formula, arithmetic only (µJ)")
    ax.set_ylabel(_energy_label(results))
    spiking = [row for row in every if row.ticket.neuron == "lif"]
    who = f"{results.chip} spends on spiking tickets" if spiking else f"{results.chip} spends on ANNs"
    ax.set_title(textwrap.fill(f"{who} {_times(spiking or every)} times what the formula says", WIDE))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="point: nominal prices\nline: lowest to highest")


def _bands(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Lowest and highest energy of each, µJ."""
    return [row.energy_low_pj / 1e6 for row in rows], [row.energy_high_pj / 1e6 for row in rows]


def _times(rows: Sequence[Row]) -> str:
    """How often the nominal energy holds the formula's, in two digits; a range where these differ."""
    ratios = [row.energy_pj / row.formula_pj for row in rows]
    ends = [f"{float(f'{ratio:.2g}'):,g}" for ratio in (min(ratios), max(ratios))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _lines_of_ratio(x: Sequence[float], y: Sequence[float], ax: Axes) -> None:
    """Dashed lines y = n x across the points' surroundings, which become the limits of the axes."""
    left, right, bottom, top = min(x) / 2, max(x) * 2, min(y) / 1.6, max(y) * 1.6
    for times in (1, 3, 10, 30, 100, 300, 1000, 3000):
        first, last = max(left, bottom / times), min(right, top / times)
        if last > 1.3 * first:
            ends = [first, last]
            ax.plot(ends, [times * end for end in ends], color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            at = last * (first / last) ** 0.06, times * last * (first / last) ** 0.06
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            ax.text(*at, f"{times} x", fontsize=7, ha="center", va="center", bbox=ground, zorder=0.5)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def per_weight(row: Row, results: Results, ax: Axes) -> None:
    """Horizontal bars, a layer each, in the order of computation: pJ per surviving weight, and how many are left."""
    names = list(row.per_weight)
    prices = [pj for _, pj in row.per_weight.values()]
    bars = ax.barh(names, prices, 0.72, color=BLUE)
    texts = [f"{pj:,.{0 if pj >= 100 else 1}f} pJ, {weights:,} weights" for weights, pj in row.per_weight.values()]
    ax.bar_label(bars, texts, fontsize=7, padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.22, y=0.01)
    ax.set_xlabel(
        "energy per surviving weight and image (pJ), the layer's mean: without leakage, weights placed\n"
        f"as they are; a single weight less often saves nothing ({results.images} images share the loading)"
    )
    title = f"{row.ticket.name}, {percent_pruned(row.ticket.pruned)} pruned, on {row.chip}"
    ax.set_title(textwrap.fill(title, WIDE))
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=FAINT)


def _accuracy(row: Row) -> float:
    return 100 * (row.ticket.accuracy_integer or 0.0)


def _energy(row: Row) -> float:
    return row.energy_pj / 1e6


def _look(number: int) -> dict[str, Any]:
    """Colour and marker: where colours come again, they do with other markers."""
    again, colour = divmod(number, len(PALETTE))
    return {"color": PALETTE[colour], "marker": MARKERS[(colour + again) % len(MARKERS)]}


def _label(series: Series) -> str:
    counts = sorted({len(step.rows) for step in series.steps})
    first, last = (percent_pruned(step.ticket.pruned) for step in (series.steps[0], series.steps[-1]))
    pruned = first if len(series.steps) == 1 else f"{first.removesuffix(' %')} to {last}"
    return f"{textwrap.fill(series.name, NARROW)}\n{pruned} pruned" + (
        f"\nmean of {_range(counts)} seeds" if counts[-1] > 1 else ""
    )


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
