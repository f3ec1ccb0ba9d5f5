"""Labels beside points that lie close together: where each goes so that none covers another, or a point."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ..style import INK

Box = tuple[float, float, float, float]  # left, bottom, right, top

SIZE = 8.0  # of a letter, points of 1/72 inch
_RINGS = np.geomspace(10, 160, 12)  # how far from its point a label is tried
_TURNS = np.pi * (0.25 + np.arange(16) / 8)  # and in which directions, upper right first


def label_points(places: Mapping[str, tuple[float, float]], ax: Axes) -> None:
    """Write each name beside its point (x, y in data), a thin line from one to the other. Call it last: limits stay."""
    figure = ax.get_figure()
    if figure is None or not places:
        return
    ax.set_xlim(ax.get_xlim())
    ax.set_ylim(ax.get_ylim())
    figure.draw_without_rendering()  # the layout gives the axes their size
    to_points = 72 / figure.dpi
    points = ax.transData.transform(np.array(list(places.values()))) * to_points
    frame = ax.get_window_extent().get_points().reshape(-1) * to_points
    shifts = place_labels(points, list(places), tuple(frame.tolist()))
    for (name, place), shift in zip(places.items(), shifts.tolist(), strict=True):
        line = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        style = {"size": SIZE, "weight": "bold", "ha": "center", "va": "center", "annotation_clip": False}
        text = ax.annotate(name, place, shift, textcoords="offset points", arrowprops=line, zorder=5, **style)
        text.set_path_effects([withStroke(linewidth=2.0, foreground="white")])
        text.set_in_layout(False)


def place_labels(points: NDArray[np.float64], names: Sequence[str], frame: Box) -> NDArray[np.float64]:
    """float64[points, 2]: how far the middle of each label stands from its point, in points of 1/72 inch.

    points: float64[points, 2], in the same unit.  frame: labels stay inside where there is room.
    Greedy: each label takes the nearest place that covers no label before it, no point, and is in the frame; where there
    is none, the place that covers least.
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
