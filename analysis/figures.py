"""One function per figure: it takes plain data and the axes to draw on, and nothing else."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from ..simulator.trace import Select, Trace
from .style import GREEN, ORANGE, PALETTE, RED, paint

Held = Mapping[str, Sequence[tuple[float, float]]]

# parts below this share of the largest bar are gathered as "other": nobody can see or name them
SMALLEST_PART = 0.004


def energy_by_component(energies: Mapping[str, Mapping[str, float]], ax: Axes) -> None:
    """Stacked bars, one per chip: energy per image in µJ by component, the largest component at the bottom.

    energies: chip -> component -> pJ per image.
    """
    stacked_bars(energies, 1e6, ax)
    ax.set_ylabel("energy per image (µJ)")
    ax.set_title("Energy by component")


def stacked_bars(bars: Mapping[str, Mapping[str, float]], unit: float, ax: Axes) -> None:
    """Upright bars of parts, each with its total above it and the largest part at the bottom; legend beside them.

    bars: name -> part -> value, drawn in multiples of `unit`.
    """
    names = list(bars)
    bottom = np.zeros(len(names))
    for number, (part, values) in enumerate(stacked_series(list(bars.values())).items()):
        colour, hatch = paint(number)
        height = values / unit
        ax.bar(names, height, 0.6, bottom, label=part, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
        bottom += height
    for position, total in enumerate(bottom):
        ax.annotate(f"{total:.3g}", (position, total), (0, 3), textcoords="offset points", ha="center", weight="bold")
    ax.margins(y=0.1)
    ax.grid(axis="x", visible=False)
    _legend_beside(ax)


def cycles_by_layer(layers: Sequence[str], causes: Sequence[Mapping[str, float]], cores: int, ax: Axes) -> None:
    """Horizontal stacked bars, one per layer: thousand cycles per image, split as the cores spent them.

    causes: for each layer, cause -> core cycles per image; `cores` of them pass in one cycle.
    """
    parts = stacked_series(causes)
    left = np.zeros(len(layers))
    for number, (part, values) in enumerate(parts.items()):
        colour, hatch = paint(number)
        width = values / cores / 1e3
        ax.barh(
            list(layers), width, 0.78, left, label=part, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3
        )
        left += width
    ax.invert_yaxis()
    ax.set_xlabel("thousand cycles per image, split by what the cores did, on average")
    ax.set_title("Cycles by layer and cause")
    ax.grid(axis="y", visible=False)
    ax.margins(y=0.01)
    _legend_beside(ax)


def kept_tokens(trace: Trace, image: int, selector: int, ax: Axes) -> None:
    """One image with the tokens that a selector has dropped veiled; selector -1 shows the image as it is."""
    assert trace.pixels is not None
    pixels = trace.pixels[image].astype(np.float64)
    picture = np.moveaxis((pixels - pixels.min()) / max(1.0, np.ptp(pixels)), 0, -1)
    if picture.shape[-1] != 3:
        picture = picture.mean(-1)
    height, width = picture.shape[:2]
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=(0, width, height, 0))
    if selector >= 0:
        veil = _veil(trace, image, selector)
        ax.imshow(veil, interpolation="nearest", extent=(0, width, height, 0))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _veil(trace: Trace, image: int, selector: int) -> NDArray[np.float64]:
    """float64[height, width, RGBA] of the selector's grid: see-through where a token is kept."""
    select = [layer for layer in trace.layers if isinstance(layer, Select)][selector]
    grid = trace.streams[select.source]
    kept = trace.kept_mask(selector, grid.tokens)[image].reshape(grid.height, grid.width)
    return np.dstack([np.broadcast_to(to_rgb(ORANGE), (*kept.shape, 3)), np.where(kept, 0.0, 0.82)])


def ablation(names: Sequence[str], energies: Sequence[float], latencies: Sequence[float], ax: Axes) -> None:
    """Grouped bars: energy and latency of each step relative to the first, which is 100 %."""
    places = np.arange(len(names))
    for shift, values, label, colour in ((-0.2, energies, "energy", GREEN), (0.2, latencies, "latency", RED)):
        shares = 100 * np.asarray(values) / values[0]
        bars = ax.bar(places + shift, shares, 0.38, label=label, color=colour)
        ax.bar_label(bars, [f"{share:.0f}" for share in shares], fontsize=8, padding=2)
    ax.set_xticks(places, names)
    ax.set_ylabel("% of the dense network")
    ax.set_title("What pruning weights and tokens saves")
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.12)
    ax.legend(loc="upper right")


def stacked_series(bars: Sequence[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Part -> its value in each bar, the largest part first, parts too small to see gathered as "other"."""
    names = dict.fromkeys(name for bar in bars for name in bar)
    values = {name: np.array([bar.get(name, 0.0) for bar in bars], np.float64) for name in names}
    visible = SMALLEST_PART * max((sum(bar.values()) for bar in bars), default=0.0)
    large = {name: series for name, series in values.items() if series.max() > visible}
    small = [series for name, series in values.items() if name not in large and series.any()]
    ordered = dict(sorted(large.items(), key=lambda part: -part[1].sum()))
    labelled = {name.replace("_", " "): series for name, series in ordered.items()}
    return labelled | ({"other": np.sum(small, axis=0)} if small else {})


def _legend_beside(ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))


def sram_interpolation(sizes: Sequence[float], curves: Mapping[str, Sequence[float]], held: Held, ax: Axes) -> None:
    """Read energy of a word against a memory's size: interpolated lines, and the held-out macros as rings.

    sizes: KiB.  curves: transistor type -> pJ at each size.  held: transistor type -> (KiB, pJ) of each macro.
    """
    for number, (device, energies) in enumerate(curves.items()):
        ax.plot(sizes, energies, color=PALETTE[number], linewidth=1.0, label=device)
        points = np.reshape(held[device], (-1, 2))
        colour = PALETTE[number]
        ax.scatter(points[:, 0], points[:, 1], 22, facecolors="none", edgecolors=colour, linewidths=1.0, zorder=3)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("size (KiB)")
