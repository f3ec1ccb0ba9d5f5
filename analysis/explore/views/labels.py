"""Labels beside points that lie close together: where each goes so that none covers another, or a point."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ...style import INK

Places = Mapping[str, tuple[float, float]]
Box = tuple[float, float, float, float]  # left, bottom, right, top

SIZE = 8.0  # of a letter, points of 1/72 inch
_RINGS = np.geomspace(10, 160, 12)  # how far from its point a label is tried
_TURNS = np.pi * (0.25 + np.arange(16) / 8)  # and in which directions, upper right first


def label_points(panels: Sequence[tuple[Axes, Places]]) -> None:
    """Write each name beside its point (x, y in data), a thin line from one to the other.

    panels: all of one figure, so that it is laid out once. To be called last: limits and layout stay as they are.
    """
    panels = [(ax, places) for ax, places in panels if places]
    for ax, _ in panels:
        ax.set_xlim(ax.get_xlim())
        ax.set_ylim(ax.get_ylim())
    for number, (ax, places) in enumerate(panels):
        figure = ax.figure.figure
        if not number:
            figure.draw_without_rendering()  # the layout gives the axes their size
        to_points = 72 / figure.dpi
        points = ax.transData.transform(np.array(list(places.values()))) * to_points
        left, bottom, right, top = (ax.get_window_extent().get_points().reshape(-1) * to_points).tolist()
        shifts = place_labels(points, list(places), (left, bottom, right, top))
        for (name, place), (across, up) in zip(places.items(), shifts.tolist(), strict=True):
            _write(name, place, (across, up), ax)


def _write(name: str, place: tuple[float, float], shift: tuple[float, float], ax: Axes) -> None:
    line = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    style: Any = {"size": SIZE, "weight": "bold", "ha": "center", "va": "center", "zorder": 5}
    text = ax.annotate(name, place, shift, textcoords="offset points", arrowprops=line, annotation_clip=False, **style)
    text.set_path_effects([withStroke(linewidth=2.0, foreground="white")])
    text.set_in_layout(False)


def place_labels(points: NDArray[np.float64], names: Sequence[str], frame: Box) -> NDArray[np.float64]:
    """float64[points, 2]: how far the middle of each label stands from its point, in points of 1/72 inch.

    points: float64[points, 2], in the same unit.  frame: labels stay inside where there is room.
    Greedy: each label takes the nearest place in the frame that covers no point and no label before it; where there is
    none, the place that covers least.
    """
    shifts = np.zeros((len(points), 2))
    taken = [_around(point, 5.0, 5.0) for point in points]
    for at, (point, name) in enumerate(zip(points, names, strict=True)):
        width, height = 0.75 * SIZE * len(name) + 2, SIZE + 2
        tries = [ring * np.array([np.cos(turn), np.sin(turn)]) for ring in _RINGS for turn in _TURNS]
        worth = [_covered(_around(point + shift, width, height), taken, frame) for shift in tries]
        shifts[at] = tries[int(np.argmin(worth))]
        taken.append(_around(point + shifts[at], width, height))
    return shifts


def _around(middle: NDArray[np.float64], width: float, height: float) -> Box:
    x, y = middle.tolist()
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _covered(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Area of the box over others or outside the frame."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_common(box, other) for other in taken) + area - _common(box, frame)


def _common(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
