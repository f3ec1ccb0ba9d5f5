"""Yosys on every block of the twin, over a range of sizes: `make area-table`. area_fit.py fits what comes out.

Each line of hwconfigs/area/synthesis.csv is one elaboration, mapped to the cells of osu018 (Debian's
qflow-tech-osu018): its area divided by that of a NAND gate of two inputs. Memory macros are black boxes.
"""

import csv
import io
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rtl import area_fit, tools
from rtl.area_points import BLOCKS, Block

LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
NAND = "NAND2X1"
TABLE = tools.HERE.parent.parent / "hwconfigs" / "area" / "synthesis.csv"
COLUMNS = ("block", "sizes", "gate_equivalents", "flip_flops", "cells", "held_out")
LIMIT_S = 600
"""Of one elaboration; the longest took three minutes on a busy machine."""


@dataclass(frozen=True)
class Mapped:
    """What an elaboration takes in cells of the library."""

    gate_equivalents: float
    flip_flops: int
    cells: int


def missing() -> str:
    """What to install, or nothing where all is here."""
    if absent := tools.missing("yosys"):
        return absent
    if not LIBERTY.exists():
        return f"{LIBERTY} not found; on Debian or Ubuntu: apt-get install qflow-tech-osu018"
    version = tools.call(["yosys", "-V"]).split()[1]
    return "" if version == area_fit.YOSYS else f"it is of Yosys {area_fit.YOSYS}, and here is {version}"


def nand_area() -> float:
    """Area of the library's NAND gate, in its own unit (um2)."""
    found = re.search(rf"cell \({NAND}\) {{\s*area : ([0-9.]+);", LIBERTY.read_text())
    if not found:
        raise RuntimeError(f"{LIBERTY}: no cell {NAND}")
    return float(found[1])


def synthesise(name: str, block: Block, sizes: dict[str, int]) -> Mapped:
    """Map one elaboration. Macros turn into cells that the library does not know, which count nothing."""
    parameters = "".join(f" -chparam {key} {value}" for key, value in sizes.items() if key != "FORMAT")
    ties = [
        f"delete -input w:{port}; connect -set {port} {_constant(value, sizes)}" for port, value in block.ties.items()
    ]
    script = [
        f"read_verilog -sv -lib {tools.HERE / 'sram.sv'}",
        f"read_verilog -sv {' '.join(tools.sources(block.files))}",
        f"hierarchy -check -top {name}{parameters}; proc; flatten",
        *ties,
        "opt_clean",
        f"synth -noabc -run coarse:fine -top {name}",
        *(f"chtype -set \\macro c:{array}" for array in block.macros),
        f"synth -noabc -run fine:check -top {name}",
        f"dfflibmap -liberty {LIBERTY}; opt -fast; abc -liberty {LIBERTY}; opt_clean",
        f"tee -o /dev/stdout stat -liberty {LIBERTY}",
    ]
    said = tools.call(["timeout", str(LIMIT_S), "yosys", "-q", "-p", "; ".join(script)])
    area = re.findall(r"Chip area for module .*: ([0-9.]+)", said)
    counts = {cell: int(number) for cell, number in re.findall(r"^ +(\w+) +(\d+)$", said, re.MULTILINE)}
    total = re.findall(r"Number of cells: +(\d+)", said)
    if len(area) != 1 or any(cell.startswith("$") for cell in counts):
        raise RuntimeError(f"{name} {sizes}: not mapped\n{said}")
    gates = round(float(area[0]) / nand_area(), 2)
    flip_flops = sum(number for cell, number in counts.items() if cell.startswith("DFF"))
    macros = counts.get("sram", 0) + counts.get("macro", 0)
    return Mapped(gates, flip_flops, int(total[0]) - macros)


def _constant(value: str, sizes: dict[str, int]) -> str:
    """A tied port's constant in Verilog; a plain number is as wide as its own count needs."""
    filled = value.format(**sizes)
    return filled if "'" in filled else f"{int(filled).bit_length()}'d{filled}"


def line(name: str, sizes: dict[str, int], held_out: bool, mapped: Mapped) -> dict[str, object]:
    """A line of the table."""
    told = " ".join(f"{key}={value}" for key, value in sizes.items())
    return {"block": name, "sizes": told, "held_out": int(held_out)} | vars(mapped)


def main(chosen: list[str]) -> None:
    """Synthesise the blocks that are named (none: all), keep the other lines, then fit."""
    if absent := missing():
        print(f"the area table is left as it is: {absent}")  # noqa: T201
        return
    kept = [] if not TABLE.exists() else list(csv.DictReader(TABLE.read_text().splitlines()))
    names = chosen or list(BLOCKS)
    lines: dict[str, list[dict[str, object]]] = {name: [] for name in BLOCKS}
    for row in kept:
        if row["block"] in BLOCKS and row["block"] not in names:
            lines[row["block"]].append(dict(row))
    for name in names:
        for sizes, held_out in BLOCKS[name].sizes():
            begin = time.monotonic()
            mapped = synthesise(name, BLOCKS[name], sizes)
            lines[name].append(line(name, sizes, held_out, mapped))
            print(f"{name} {lines[name][-1]['sizes']}: {mapped} in {time.monotonic() - begin:.0f} s", flush=True)  # noqa: T201
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for block in BLOCKS for row in lines[block])
        TABLE.write_text(text.getvalue())
    area_fit.write(TABLE)


if __name__ == "__main__":
    main(sys.argv[1:])
