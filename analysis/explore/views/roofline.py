"""The roofline: synaptic operations per second against those per byte of DRAM traffic, under the chips' ceilings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...style import BLUE, GREY, PALETTE, blank
from ...tables import si
from ..store import Row
from .figures import MANY, set_log
from .labels import label_points
from .naming import spread

Keys = Mapping[str, Any]
MOST_ROOFS = 3


@dataclass(frozen=True)
class Roof:
    """The ceilings of a chip.

    adders: additions that its lanes and input multipliers can do in a cycle, no more of them on a core than it has
    accumulator banks (R4, I1); with `layerwise` one kind works at a time.  operations_s: adders x clock.
    bytes_s: DRAM bandwidth.
    """

    adders: int
    operations_s: float
    bytes_s: float


def roof_of(chip: Keys) -> Roof:
    """The ceilings of a chip, from its dotted keys.

    An addition of a spike of value v counts as v synaptic operations (W7): graded spikes, of residual streams, can
    lift a point above `operations_s`, up to 2^value_bits - 1 times. Nothing can lift it above `bytes_s` x operations
    per byte.
    """
    banks = chip["core.accumulator_banks"]
    lanes, macs = min(chip["core.lanes"], banks), min(chip["core.input_macs"], banks)
    adders = lanes + macs if chip["schedule"] == "pipelined" else max(lanes, macs)
    adders *= chip["mesh.columns"] * chip["mesh.rows"]
    return Roof(adders, adders * chip["clock_mhz"] * 1e6, chip["dram.bandwidth_gb_s"] * 1e9)


def placed(rows: Sequence[Row], chips: Sequence[Keys]) -> NDArray[np.float64]:
    """float64[rows, 2]: synaptic operations per byte of DRAM traffic, and per second; all images, first to last cycle.

    chips: dotted keys of each row's chip. Infinite where a point has no DRAM traffic.
    """
    points = np.zeros((len(rows), 2))
    for at, (row, chip) in enumerate(zip(rows, chips, strict=True)):
        metrics = row.metrics or {}
        operations, moved, cycles = (metrics[name] or 0.0 for name in ("operations", "dram", "cycles"))
        points[at] = operations / moved if moved else np.inf, operations * chip["clock_mhz"] * 1e6 / cycles
    return points


def roofline(points: NDArray[np.float64], named: Mapping[str, int], roofs: Mapping[Roof, str], ax: Axes) -> None:
    """Points as `placed` has them, named ones by their letters, below the ceilings of some chips.

    named: letter -> index of its point.  roofs: ceilings -> the letters of the points below them.
    """
    finite = np.isfinite(points[:, 0])
    dots: Any = {"linewidths": 0, "rasterized": len(points) > MANY}
    ax.scatter(points[finite, 0], points[finite, 1], 12, color=GREY, alpha=0.6, label="all points", **dots)
    mine = {name: index for name, index in named.items() if finite[index]}
    ax.scatter(
        points[list(mine.values()), 0], points[list(mine.values()), 1], 34, color=BLUE, label="named points", zorder=3
    )
    low, high = points[finite, 0].min() / 3, points[finite, 0].max() * 3
    ridges = [roof.operations_s / roof.bytes_s for roof in roofs]
    across = np.geomspace(min([low, *ridges]) / 1.5, max([high, *ridges]) * 1.5, 200)
    for number, (roof, whose) in enumerate(roofs.items()):
        ceiling = np.minimum(roof.operations_s, across * roof.bytes_s)
        label = f"{whose}: {roof.adders} adders, {si(roof.operations_s, 'op/s')}; DRAM {si(roof.bytes_s, 'B/s')}"
        style: Any = {"color": PALETTE[1 + number], "linewidth": 1.4, "linestyle": ("-", "--", ":")[number]}
        ax.plot(across, ceiling, label=label, **style)
    ax.set_xlabel("synaptic operations per byte of DRAM traffic")
    ax.set_ylabel("synaptic operations per second")
    ax.set_title("Roofline: additions the chip can do, bytes DRAM can bring")
    set_log(ax, "x")
    set_log(ax, "y")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
    label_points([(ax, {name: (points[index, 0], points[index, 1]) for name, index in mine.items()})])


def roofline_figure(rows: Sequence[Row], chips: Sequence[Keys], named: Mapping[str, Row]) -> Figure | None:
    """All feasible points; the ceilings of the named points' chips, the lowest, the highest and one in between.

    chips: dotted keys of each row's chip, in the order of `rows`. None where no point has DRAM traffic.
    """
    points = placed(rows, chips)
    if not np.isfinite(points[:, 0]).any():
        return None
    place = {row.key: at for at, row in enumerate(rows)}
    at = {name: place[row.key] for name, row in named.items()}
    whose: dict[Roof, list[str]] = {}
    for name, index in at.items():
        whose.setdefault(roof_of(chips[index]), []).append(name)
    roofs = sorted(whose, key=lambda roof: (roof.operations_s, roof.bytes_s))
    figure = blank(6.4, 5.0)
    shown = {roof: _some(whose[roof]) for roof in spread(roofs, MOST_ROOFS)}
    roofline(points, at, shown, figure.subplots())
    return figure


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
