"""How far interpolated SRAM figures are from CACTI's own, at macros that the table does not hold."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ..simulator.sram_table import COLUMNS, HELD_OUT, Macros, Point, macros_of, read_points, technologies

# what the interpolation has to keep at 19 of 20 held-out points of each node and device, as shares of CACTI's figure
READ_BAR, AREA_BAR = 0.10, 0.15


@dataclass(frozen=True)
class Validation:
    """Held-out points of one node and transistor type, and the interpolation's relative error at each.

    on_curve: bool[points], whether the table holds other sizes of the point's word width.
    errors: float64[points, COLUMNS], interpolated / CACTI - 1.
    """

    node_nm: int
    device: str
    points: tuple[Point, ...]
    on_curve: NDArray[np.bool_]
    errors: NDArray[np.float64]

    def of(self, column: str, on_curve: bool) -> NDArray[np.float64]:
        """|error| of one column, float64[points with that `on_curve`]."""
        return np.abs(self.errors[self.on_curve == on_curve, COLUMNS.index(column)])


@dataclass(frozen=True)
class Published:
    """A figure that others have published for a memory, and where."""

    size_kib: float
    width_bits: int
    node_nm: int
    read_pj: float
    what: str
    source: str


def validations() -> Iterator[Validation]:
    """Every node and transistor type of the table against the held-out file."""
    for node, device in technologies():
        points = tuple(read_points(HELD_OUT, node, device))
        yield _validation(node, device, points, macros_of(node, device))


def _validation(node: int, device: str, points: tuple[Point, ...], macros: Macros) -> Validation:
    errors = [macros.cost(point.size_kib, point.width_bits) / point.cost - 1 for point in points]
    on_curve = np.array([point.width_bits in macros.widths for point in points], np.bool_)
    return Validation(node, device, points, on_curve, np.reshape(errors, (-1, len(COLUMNS))))


def published() -> list[Published]:
    """The published reads that the macros are held against."""
    text = (resources.files("sparsespike.hwconfigs.energy") / "sram_published.csv").read_text("utf-8")
    return [
        Published(
            float(row["size_kib"]),
            int(row["width_bits"]),
            int(row["node_nm"]),
            float(row["read_pJ"]),
            row["what"],
            row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    ]
