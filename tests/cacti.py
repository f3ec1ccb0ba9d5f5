"""The CACTI table as it stands in its file, read here once more: what tests of memories and of prices count with."""

import csv
from importlib import resources
from math import log

import pytest

TABLE = resources.files("sparsespike.hwconfigs.energy") / "sram_cacti.csv"
COLUMNS = {"read_pj": "read_pJ", "write_pj": "write_pJ", "leak_mw": "leak_mW_350K"}
COLUMNS |= {"access_ns": "access_ns", "area_mm2": "area_mm2"}
ROWS = {
    (int(row["node_nm"]), row["device"], int(row["size_kb"]), int(row["width_bits"])): {
        name: float(row[column]) for name, column in COLUMNS.items()
    }
    for row in csv.DictReader(TABLE.read_text("utf-8").splitlines())
}


def near(value):
    """Equal but for the last bits of a float."""
    return pytest.approx(value, rel=1e-12)


def lop45(size: int, width: int, column: str) -> float:
    """One number of one row of the CACTI table."""
    return ROWS[45, "lop", size, width][column]


def between(low: float, high: float, share: float) -> float:
    """Between two numbers on a logarithmic scale."""
    return low ** (1 - share) * high**share


def off_grid(size: int, width: int, column: str) -> float:
    """A size between two powers of two, at a width of the table."""
    lower = 1 << (size.bit_length() - 1)
    return between(lop45(lower, width, column), lop45(2 * lower, width, column), log(size / lower, 2))
