"""CACTI 7 once more: rows of the shipped SRAM tables run again, or the curve of another word width made.

    python tests/cacti_rerun.py DIR --rows 40               so many rows of both tables, drawn by a seed: all equal?
    python tests/cacti_rerun.py DIR --curve 80 45 lop       rows for sram_cacti.csv
DIR is the package folder of hwcomponents-cacti 1.0.40 built from its source (pip install --no-binary
hwcomponents-cacti hwcomponents-cacti, Python 3.12): it holds default_cfg.cfg and cacti/cacti.
"""

import argparse
import csv
import random
import re
import subprocess
import sys
import tempfile
from functools import cache
from importlib import resources
from math import log
from pathlib import Path
from typing import Any

TABLES = ("sram_cacti.csv", "sram_heldout.csv")
KELVIN, LARGEST_OCTAVE = 350, 11
# column of ours -> column of CACTI's result file, and what makes its unit ours
COLUMNS = {
    "read_pJ": ("Dynamic read energy (nJ)", 1e3),
    "write_pJ": ("Dynamic write energy (nJ)", 1e3),
    "access_ns": ("Access time (ns)", 1),
    "cycle_ns": ("Random cycle time (ns)", 1),
    "area_mm2": ("Area (mm2)", 1),
}
ORGANISATION = ("Ndwl", "Ndbl", "Nspd", "Ndcm", "Ndsam_level_1", "Ndsam_level_2")
PRINTED = {"leak_mW_350K": "leakage", "gate_leak_mW_350K": "gate leakage"}
ORDER = ("read_pJ", "write_pJ", *PRINTED, "access_ns", "cycle_ns", "area_mm2")
STEEP = ("read_pJ", "write_pJ", "access_ns", "area_mm2")
FINEST, STRAIGHT = 5, 0.01  # an octave is halved so often where an organisation changes or a line is off by so much

Key = tuple[int, str, int, float]  # node, device, bits, KiB
Macro = dict[str, Any]  # COLUMNS and PRINTED in our units, "organisation"


@cache
def run(package: Path, key: Key) -> Macro:
    """One macro: COLUMNS, PRINTED, and the organisation of subarrays that CACTI chose."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "macro.cfg"
        asked.write_text(configuration(package, key))
        said = subprocess.run(
            ["./cacti", "-infile", asked], cwd=package / "cacti", capture_output=True, text=True, check=True
        ).stdout
        with Path(f"{asked}.out").open(newline="") as file:
            row = {name.strip(): value for name, value in list(csv.DictReader(file))[-1].items() if name}
    found: Macro = {name: float(row[theirs]) * unit for name, (theirs, unit) in COLUMNS.items()}
    for name, words in PRINTED.items():
        found[name] = float(re.search(rf"Total {words} power of a bank \(mW\): (\S+)", said)[1])
    return found | {"organisation": tuple(row[name] for name in ORGANISATION)}


def configuration(package: Path, key: Key) -> str:
    """The wrapper's defaults (ED^2, wires with 30 % delay penalty) with our device, temperature, size and width."""
    node, device, bits, kib = key
    text = (package / "default_cfg.cfg").read_text().replace("itrs-lstp", f"itrs-{device}")
    text = text.replace("-operating temperature (K) 300", f"-operating temperature (K) {KELVIN}")
    asked = {
        "-size (bytes)": round(kib * 1024),
        "-read-write port ": 1,
        "-block size (bytes)": bits // 8,
        "-technology (u)": node / 1000,
        "-output/input bus width ": bits,
        "-UCA bank": 1,
        "-cache type": '"ram"',
        "-tag size (b)": 0,
        "-associativity": 1,
    }
    return text + "\n" + "".join(f"{name} {value}\n" for name, value in asked.items())


def differing(package: Path, count: int) -> list[str]:
    """What of `count` rows of each table CACTI says otherwise."""
    faults = []
    for table in TABLES:
        text = (resources.files("sparsespike.hwconfigs.energy") / table).read_text("utf-8")
        for row in random.Random(count).sample(list(csv.DictReader(text.splitlines())), count):
            key = int(row["node_nm"]), row["device"], int(row["width_bits"]), float(row["size_kib"])
            again = run(package, key)
            faults += [
                f"{table}: {key}: {name}: {row[name]}, CACTI {again[name]:.6g}"
                for name in ORDER
                if f"{again[name]:.6g}" != row[name]
            ]
    return faults


def curve(package: Path, node: int, device: str, bits: int) -> dict[float, Macro]:
    """KiB -> macro: four sizes to the octave; finer halves where the organisation changes or a line fails."""

    def at(kib: float) -> Macro:
        sizes[kib] = run(package, (node, device, bits, kib))
        return sizes[kib]

    def refine(low: float, high: float, level: int) -> None:
        middle = (low + high) / 2
        ends, straight = (at(low), at(high)), _strays(at(low), at(middle), at(high), middle, (low, high)) < STRAIGHT
        if level < FINEST and not (straight and ends[0]["organisation"] == ends[1]["organisation"]):
            refine(low, middle, level + 1)
            refine(middle, high, level + 1)
        elif level >= FINEST or straight:
            del sizes[middle]

    sizes: dict[float, Macro] = {}
    grid = [2.0**octave * (4 + part) / 4 for octave in range(LARGEST_OCTAVE) for part in range(4)]
    for low, high in zip(grid, [*grid[1:], 2.0**LARGEST_OCTAVE], strict=True):
        refine(low, high, 2)
    return dict(sorted(sizes.items()))


def _strays(low: Macro, middle: Macro, high: Macro, kib: float, ends: tuple[float, float]) -> float:
    """How far the middle is from the straight line between two macros, on a log-log scale, at worst."""
    share = log(kib / ends[0]) / log(ends[1] / ends[0])
    return max(abs(log(middle[name] / low[name]) - share * log(high[name] / low[name])) for name in STEEP)


def main() -> int:
    """Exit code 1 where a row differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, metavar="DIR")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--curve", nargs=3, metavar=("BITS", "NODE", "DEVICE"))
    asked = parser.parse_args()
    if asked.curve:
        bits, node, device = int(asked.curve[0]), int(asked.curve[1]), asked.curve[2]
        for kib, macro in curve(asked.package, node, device, bits).items():
            figures = ",".join(f"{macro[name]:.6g}" for name in ORDER)
            sys.stdout.write(f"{node},{device},{bits},{kib:.15g},{figures}\n")
    faults = differing(asked.package, asked.rows)
    sys.stdout.write("".join(f"{fault}\n" for fault in faults) + f"{len(faults)} figures differ\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
