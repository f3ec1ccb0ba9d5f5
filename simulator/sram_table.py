"""CACTI 7's SRAM macros as points, and what lies between them.

CACTI picks the organisation of subarrays with the least energy x delay^2, so along a macro's size its figures are
smooth as long as the organisation stays and jump, by up to half, where another takes over. sram_cacti.csv therefore
holds for each node, transistor type and word width a curve of sizes: four to the octave, and a pair of points a 32nd
of an octave apart around each jump that was found. Node and transistor type are never interpolated.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import groupby
from math import log

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

COLUMNS = ("read_pJ", "write_pJ", "leak_mW", "access_ns", "area_mm2")
TABLE, HELD_OUT = "sram_cacti.csv", "sram_heldout.csv"


@dataclass(frozen=True)
class Point:
    """One macro as CACTI has it: float64[COLUMNS], the leakage of subthreshold and gates together."""

    node_nm: int
    device: str
    width_bits: int
    size_kib: float
    cost: NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Macros of one node, device and width by size, both in natural logarithms.

    log_kib: float64[sizes], ascending.  log_cost: float64[sizes, COLUMNS].
    """

    log_kib: NDArray[np.float64]
    log_cost: NDArray[np.float64]

    def at(self, log_kib: float) -> NDArray[np.float64]:
        """ln of what a macro of that size costs, float64[COLUMNS]: a straight line between the two sizes about it."""
        lower = int(np.clip(np.searchsorted(self.log_kib, log_kib, side="right") - 1, 0, len(self.log_kib) - 2))
        below, above = self.log_kib[lower : lower + 2]
        share = (log_kib - below) / (above - below)
        cost: NDArray[np.float64] = (1 - share) * self.log_cost[lower] + share * self.log_cost[lower + 1]
        return cost


@dataclass(frozen=True)
class Macros:
    """What macros of one node and device cost: a curve for each word width, all from smallest_kib to largest_kib."""

    curves: dict[int, Curve]
    smallest_kib: float
    largest_kib: float

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits that the table has a curve of, ascending."""
        return tuple(self.curves)

    def cost(self, size_kib: float, width_bits: float) -> NDArray[np.float64]:
        """float64[COLUMNS] of a macro; beyond the largest size the last octave goes on as it is on a log-log scale."""
        if size_kib <= self.largest_kib:
            return np.exp(self._log_cost(log(size_kib), width_bits))
        top, octave_below = (self._log_cost(log(self.largest_kib / part), width_bits) for part in (1, 2))
        return np.exp(top + log(size_kib / self.largest_kib, 2) * (top - octave_below))

    def _log_cost(self, size: float, width_bits: float) -> NDArray[np.float64]:
        """ln cost at ln KiB. A width between two curves takes both at as many words as it has itself.

        Words, not bytes: of two macros with equal rows and unequal columns CACTI chooses alike. At the table's ends,
        where one of the two would lie outside, they are taken as near to that as the mean of their sizes allows.
        """
        if width_bits in self.curves:
            return self.curves[int(width_bits)].at(size)
        narrow = max(width for width in self.curves if width < width_bits)
        wide = min(width for width in self.curves if width > width_bits)
        share = log(width_bits / narrow) / log(wide / narrow)
        smallest, largest = log(self.smallest_kib), log(self.largest_kib)
        narrow_size = max(size - log(width_bits / narrow), smallest)
        wide_size = min((size - (1 - share) * narrow_size) / share, largest)
        narrow_size = (size - share * wide_size) / (1 - share)
        cost: NDArray[np.float64] = (1 - share) * self.curves[narrow].at(narrow_size)
        return cost + share * self.curves[wide].at(wide_size)


@cache
def macros_of(node_nm: int, device: str) -> Macros:
    """The table's macros of one node and transistor type. Raises UserError where there are none."""
    points = sorted(read_points(TABLE, node_nm, device), key=lambda point: (point.width_bits, point.size_kib))
    if not points:
        known = ", ".join(f"{node} nm {kind}" for node, kind in technologies())
        hint = "an energy table of another node says from which one it scales them (scaled.sram_from_node_nm)"
        asked = f"technology.node_nm = {node_nm}, technology.sram_device = {device!r}"
        raise UserError(f"{asked}: no SRAM table for {node_nm} nm {device}; there are: {known}; {hint}")
    curves: dict[int, Curve] = {}
    for width, group in groupby(points, key=lambda point: point.width_bits):
        row = list(group)
        curves[width] = Curve(np.log([point.size_kib for point in row]), np.log([point.cost for point in row]))
    return Macros(curves, min(point.size_kib for point in points), max(point.size_kib for point in points))


@cache
def technologies() -> tuple[tuple[int, str], ...]:
    """(node in nm, transistor type) of all that the table has, finest node first."""
    begins = {tuple(line.split(",", 2)[:2]) for line in _lines(TABLE)[1:]}
    return tuple(sorted((int(node), device) for node, device in begins))


def read_points(file: str, node_nm: int, device: str) -> Iterator[Point]:
    """The rows of one node and device in a file of hwconfigs/energy, as they stand."""
    head, *rows = _lines(file)
    wanted = f"{node_nm},{device},"
    for row in csv.DictReader([head, *(row for row in rows if row.startswith(wanted))]):
        leak = float(row["leak_mW_350K"]) + float(row["gate_leak_mW_350K"])
        others = {name: float(row[name]) for name in COLUMNS if name != "leak_mW"}
        cost = np.array([(others | {"leak_mW": leak})[name] for name in COLUMNS])
        yield Point(node_nm, device, int(row["width_bits"]), float(row["size_kib"]), cost)


@cache
def _lines(file: str) -> list[str]:
    return (resources.files("sparsespike.hwconfigs.energy") / file).read_text("utf-8").splitlines()
