"""How busy each link of the mesh is on a run, counted from the event log, as a heat map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrow, Rectangle
from numpy.typing import NDArray

from ....simulator.activity import Action
from ....simulator.engine import run
from ....simulator.eventlog import PORT_LETTERS, grants
from ....simulator.hardware import Chip
from ....simulator.trace import Trace
from ...style import FAINT, INK, blank

# output of a router -> the way to its neighbour: columns to the east, rows to the south
WAYS = {"N": (0, -1), "E": (1, 0), "S": (0, 1), "W": (-1, 0)}
MAP = "cividis_r"  # reads the same with any colour vision


@dataclass(frozen=True)
class LinkLoads:
    """Flits over each link of a run.

    flits: int64[routers, ports L N E S W], granted to each output; L is none of the links.  cycles: of the run.
    hops: what the report counts as FLIT_HOP. With `token_unit.policy = gate` that leaves out the flits of dropped
    tokens, which move all the same (G3), so the log has more; else both are equal.
    """

    chip: Chip
    flits: NDArray[np.int64]
    cycles: int
    hops: int

    @property
    def moved(self) -> int:
        """Flits over links, of the log."""
        return int(self.flits[:, 1:].sum())

    @property
    def busy(self) -> NDArray[np.float64]:
        """float64[routers, ports]: share of the cycles in which an output is held: flits x `flit_cycles` / cycles."""
        return self.flits * self.chip.flit_cycles / self.cycles


def link_loads(trace: Trace, chip: Chip) -> LinkLoads:
    """Run a trace on a chip and count the grants of every output of every router.

    Raises UserError as `simulate` does, and for flits too wide for the event log.
    """
    flits = np.zeros((chip.routers, len(PORT_LETTERS)), np.int64)

    def count(image: int, layer: int, log: NDArray[np.int64]) -> None:
        routers, outputs = grants(log)
        np.add.at(flits, (routers, outputs), 1)

    activity = run(trace, chip, watch=count)
    return LinkLoads(chip, flits, activity.total_cycles, activity.count(Action.FLIT_HOP))


def heat_map(loads: LinkLoads, most: float, ax: Axes) -> None:
    """The mesh, an arrow per link in the colour of the share of cycles in which it is busy; `most`: of the scale."""
    chip, busy = loads.chip, loads.busy
    units = _units(chip)
    for router in range(chip.routers):
        row, column = divmod(router, chip.router_columns)
        ax.add_patch(
            Rectangle((column - 0.21, row - 0.21), 0.42, 0.42, facecolor="white", edgecolor=INK, linewidth=0.8)
        )
        ax.text(column, row, units.get(router, ""), ha="center", va="center", size=6.5)
        for way, (across, down) in WAYS.items():
            if 0 <= column + across < chip.router_columns and 0 <= row + down < chip.mesh.rows:
                share = busy[router, PORT_LETTERS.index(way)]
                _arrow((column, row), (across, down), share, most, ax)
    ax.set_xlim(-0.6, chip.router_columns - 0.4)
    ax.set_ylim(chip.mesh.rows - 0.4, -0.6)
    ax.set_aspect("equal")
    ax.set_axis_off()


def _arrow(start: tuple[float, float], way: tuple[int, int], share: float, most: float, ax: Axes) -> None:
    """An arrow beside the middle line, to the right as one goes, so that the one coming back has room."""
    (x, y), (across, down) = start, way
    aside = 0.09
    place = (x + 0.24 * across - aside * down, y + 0.24 * down + aside * across)
    colour = colormaps[MAP](share / most) if share else FAINT
    shape: Any = {"width": 0.09, "head_width": 0.17, "head_length": 0.12, "length_includes_head": True}
    ax.add_patch(
        FancyArrow(*place, 0.52 * across, 0.52 * down, facecolor=colour, edgecolor=INK, linewidth=0.3, **shape)
    )
    if abs(across):
        ax.text(x + 0.5 * across, y + 0.24 * across, f"{100 * share:.0f}", ha="center", va="center", size=6)
    else:
        ax.text(x - 0.24 * down, y + 0.5 * down, f"{100 * share:.0f}", ha="center", va="center", size=6)


def _units(chip: Chip) -> dict[int, str]:
    """Router -> what stands there."""
    cores = {router: f"core\n{number}" for number, router in enumerate(chip.core_routers)}
    token_unit, *attention = chip.service_routers
    return cores | {token_unit: "token\nunit"} | {at: f"attn.\n{number}" for number, at in enumerate(attention)}


def links_figure(loads: Mapping[str, LinkLoads]) -> Figure:
    """A panel per point, all on one scale. loads: letter -> its links."""
    widths = [load.chip.router_columns for load in loads.values()]
    tallest = max(load.chip.mesh.rows for load in loads.values())
    figure = blank(1.1 * sum(widths) + 1.2 * len(loads) + 0.8, 1.1 * tallest + 1.2)
    panels = figure.subplots(1, len(loads), squeeze=False, width_ratios=widths)[0]
    most = max([float(load.busy[:, 1:].max()) for load in loads.values()] + [1e-9])
    for (name, load), ax in zip(loads.items(), panels, strict=True):
        heat_map(load, most, ax)
        ax.set_title(f"{name}: {load.moved:,} flits x links")
    scale = ScalarMappable(Normalize(0, 100 * most), MAP)
    figure.colorbar(scale, ax=panels.tolist(), shrink=0.8, label="cycles in which the link is busy (%)")
    return figure
