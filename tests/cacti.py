"""The CACTI table as it stands in its file, read here once more: what tests of memories and of prices count with."""

import csv
from importlib import resources
from math import log

import pytest

ENERGY = resources.files("sparsespike.hwconfigs.energy")
COLUMNS = {"read_pj": ["read_pJ"], "write_pj": ["write_pJ"], "leak_mw": ["leak_mW_350K", "gate_leak_mW_350K"]}
COLUMNS |= {"access_ns": ["access_ns"], "area_mm2": ["area_mm2"]}


def read(name):
    """(node, device, KiB, bits) -> what the macro costs, of each row of a file."""
    rows = csv.DictReader((ENERGY / name).read_text("utf-8").splitlines())
    return {
        (int(row["node_nm"]), row["device"], float(row["size_kib"]), int(row["width_bits"])): {
            name: sum(float(row[column]) for column in columns) for name, columns in COLUMNS.items()
        }
        for row in rows
    }


ROWS, HELD_OUT = read("sram_cacti.csv"), read("sram_heldout.csv")


def near(value):
    """Equal but for the last bits of a float."""
    return pytest.approx(value, rel=1e-12)


def lop45(size: int, width: int, column: str) -> float:
    """One number of one row of the CACTI table."""
    return ROWS[45, "lop", size, width][column]


def between(low: float, high: float, share: float) -> float:
    """Between two numbers on a logarithmic scale."""
    return low ** (1 - share) * high**share


def off_grid(size: float, width: int, column: str, node: int = 45, device: str = "lop") -> float:
    """A size at a width of the table: its row, or between the two rows about it."""
    sizes = [row[2] for row in ROWS if (row[0], row[1], row[3]) == (node, device, width)]
    lower, upper = max(s for s in sizes if s <= size), min(s for s in sizes if s >= size)
    low, high = (ROWS[node, device, edge, width][column] for edge in (lower, upper))
    return low if lower == upper else between(low, high, log(size / lower) / log(upper / lower))
