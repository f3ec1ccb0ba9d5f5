"""The fit of the area table: gates of each block as a non-negative sum of terms, from the synthesised points.

synthesise.py writes the points (synthesis.csv) and then calls `write`; gates.toml is what simulator/area reads.
"""

import csv
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rtl.area_points import BLOCKS, Block
from scipy.optimize import nnls

Floats = NDArray[np.float64]
DIGITS = 6
"""Significant digits of a coefficient."""

YOSYS = "0.23"
"""What the table was made with; another version maps otherwise, by a percent or so."""

HEADER = f"""\
# Gate equivalents (NAND gates of two inputs) of the blocks of the SystemVerilog twin, as sums of coefficient x term.
# Written by `make area-table` from synthesis.csv; not to be edited. Errors are relative to the synthesised gates:
# rms and max of the fit's own points, leave-one-out (each point by a fit to the others), held_out (larger points).

tools = "Yosys {YOSYS} (synth, dfflibmap, abc), area of the cells"
library = "osu018_stdcells.lib of Debian's qflow-tech-osu018 1.3.17; NAND2X1 = 24 um2"
unit = "gate equivalents"
"""


def read_points(table: Path, name: str) -> tuple[list[dict[str, int]], Floats, NDArray[np.bool_]]:
    """Quantities, gate equivalents and whether held out, of every line of a block."""
    quantities, gates, held_out = [], [], []
    for row in csv.DictReader(table.read_text().splitlines()):
        if row["block"] == name:
            sizes = {key: int(value) for key, value in (pair.split("=") for pair in row["sizes"].split())}
            quantities.append(BLOCKS[name].quantities(sizes))
            gates.append(float(row["gate_equivalents"]))
            held_out.append(row["held_out"] == "1")
    return quantities, np.array(gates), np.array(held_out)


def matrix(terms: Sequence[str], quantities: Sequence[dict[str, int]]) -> Floats:
    """Each term of each point: float64[points, terms]."""
    return np.array(
        [
            [1.0 if term == "const" else prod(point[name] for name in term.split("*")) for term in terms]
            for point in quantities
        ],
        dtype=np.float64,
    )


def coefficients(terms: Floats, gates: Floats) -> Floats:
    """Non-negative least squares of relative errors; the columns are scaled so that none is lost in another's size."""
    scaled = terms / gates[:, None]
    size = np.abs(scaled).max(axis=0)
    found, _ = nnls(scaled / size, np.ones_like(gates))
    return np.array([float(f"{value:.{DIGITS}g}") for value in found / size])


def fit_block(name: str, block: Block, table: Path) -> str:
    """A block's section of gates.toml."""
    quantities, gates, held_out = read_points(table, name)
    terms = matrix(block.terms, quantities)
    inside, seen = terms[~held_out], gates[~held_out]
    found = coefficients(inside, seen)
    errors = np.abs(inside @ found / seen - 1.0)
    alone = [
        abs(float(inside[k] @ coefficients(np.delete(inside, k, 0), np.delete(seen, k))) / seen[k] - 1.0)
        for k in range(len(seen))
    ]
    beyond = np.abs(terms[held_out] @ found / gates[held_out] - 1.0)
    largest = {key: max(point[key] for point in quantities) for key in quantities[0]}
    lines = [
        f"[blocks.{name}]",
        f"points = {len(seen)}",
        f"rms_error = {float(np.sqrt(np.mean(errors**2))):.4f}",
        f"max_error = {float(errors.max()):.4f}",
        f"leave_one_out_max = {max(alone):.4f}",
        f"held_out_error = {float(beyond.max()):.4f}",
        f'source = "tests/rtl/{block.files[0]}, module {name}; synthesis.csv"',
        "largest = { " + ", ".join(f"{key} = {float(value)}" for key, value in largest.items()) + " }",
        f"[blocks.{name}.terms]",
        *(f'"{term}" = {value}' for term, value in zip(block.terms, found, strict=True)),
    ]
    return "\n".join(lines) + "\n"


def text(table: Path) -> str:
    """gates.toml, of the blocks that the table has points of."""
    known = {row["block"] for row in csv.DictReader(table.read_text().splitlines())}
    return "\n".join([HEADER, *(fit_block(name, block, table) for name, block in BLOCKS.items() if name in known)])


def write(table: Path) -> None:
    """Fit all blocks and put gates.toml beside the table of points."""
    (table.parent / "gates.toml").write_text(text(table))
