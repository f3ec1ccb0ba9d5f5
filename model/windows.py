"""What the taps of a window see of a map."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..simulator.trace import Window


def seen_by(maps: NDArray[Any], window: Window, around: int) -> Iterator[NDArray[Any]]:
    """For each tap, ky x kernel width + kx, what it sees of maps[images, timesteps, y, x, channels].

    Views of the same form, on the grid of the window's outputs; what lies around the maps is `around`.
    """
    rows, columns = window.outputs(*maps.shape[2:4])
    pads = (0, 0), (0, 0), (window.pad_y, window.pad_y), (window.pad_x, window.pad_x), (0, 0)
    grid = np.pad(maps, pads, constant_values=around)
    for ky in range(window.height):
        for kx in range(window.width):
            down = slice(ky, ky + (rows - 1) * window.stride + 1, window.stride)
            right = slice(kx, kx + (columns - 1) * window.stride + 1, window.stride)
            yield grid[:, :, down, right]
