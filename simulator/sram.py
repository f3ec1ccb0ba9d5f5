"""SRAM macros: energy, leakage, access time and area by interpolating a table of CACTI 7 runs.

The table (hwconfigs/energy/sram_cacti.csv) holds 1 KiB to 2 MiB x 32 to 256 bit x 22 to 65 nm x three transistor types
at 350 K. Size and width are interpolated log-log; node and transistor type never are.
"""

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import ceil, log
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .hardware import Chip

Point = TypeVar("Point", int, float)

COLUMNS = ("read_pJ", "write_pJ", "leak_mW_350K", "access_ns", "area_mm2")


@dataclass(frozen=True)
class Macro:
    """A memory as the chip file describes it: `count` equal ones of size_kib, read and written by words of width_bits.

    key: the chip key that sets its size, for messages.
    """

    name: str
    key: str
    count: int
    size_kib: float
    width_bits: int


@dataclass(frozen=True)
class MacroCost:
    """One memory: per word read and written, leakage, access time, area. (All of its parallel parts together.)"""

    read_pj: float
    write_pj: float
    leak_mw: float
    access_ns: float
    area_mm2: float


@lru_cache(maxsize=1)
def _table() -> dict[tuple[int, str], dict[tuple[float, int], NDArray[np.float64]]]:
    """(node, device) -> (size KiB, width bits) -> COLUMNS, as CACTI gave them."""
    text = (resources.files("sparsespike.hwconfigs.energy") / "sram_cacti.csv").read_text("utf-8")
    table: dict[tuple[int, str], dict[tuple[float, int], NDArray[np.float64]]] = {}
    for row in csv.DictReader(text.splitlines()):
        grid = table.setdefault((int(row["node_nm"]), row["device"]), {})
        grid[float(row["size_kb"]), int(row["width_bits"])] = np.array([float(row[column]) for column in COLUMNS])
    return table


def _grid(node_nm: int, device: str) -> dict[tuple[float, int], NDArray[np.float64]]:
    """(size KiB, width bits) -> COLUMNS of one node and transistor type. Raises UserError where there is none."""
    table = _table()
    if (node_nm, device) not in table:
        known = ", ".join(f"{node} nm {kind}" for node, kind in sorted(table))
        hint = "an energy table of another node says from which one it scales them (scaled.sram_from_node_nm)"
        raise UserError(f"technology: no SRAM table for {node_nm} nm {device}; there are: {known}; {hint}")
    return table[node_nm, device]


@lru_cache(maxsize=4096)
def sram_cost(size_kib: float, width_bits: int, node_nm: int, device: str) -> MacroCost:
    """Cost of one memory by log-log interpolation in size and width.

    A memory below 1 KiB or 32 bit is paid for as the smallest macro there is; a word beyond 256 bit is split over
    ceil(width / 256) parallel macros. Raises UserError for a node, device or size outside the table: no extrapolation.
    """
    grid = _grid(node_nm, device)
    sizes = sorted({size for size, _ in grid})
    widths = sorted({width for _, width in grid})
    parts = ceil(width_bits / widths[-1])
    size = max(size_kib / parts, sizes[0])
    width = max(width_bits / parts, widths[0])
    if size > sizes[-1]:
        raise UserError(f"a macro of {size:g} KiB is beyond the SRAM table's {sizes[-1]:g} KiB: no extrapolation")
    low_size, high_size, at_size = _bracket(sizes, size)
    low_width, high_width, at_width = _bracket(widths, width)
    logs = {key: np.log(grid[key]) for key in ((s, w) for s in (low_size, high_size) for w in (low_width, high_width))}
    narrow = (1 - at_size) * logs[low_size, low_width] + at_size * logs[high_size, low_width]
    wide = (1 - at_size) * logs[low_size, high_width] + at_size * logs[high_size, high_width]
    read, write, leak, access, area = np.exp((1 - at_width) * narrow + at_width * wide).tolist()
    return MacroCost(read * parts, write * parts, leak * parts, access, area * parts)


def _bracket(grid: list[Point], value: float) -> tuple[Point, Point, float]:
    """Neighbours of a value in an ascending grid, and how far between them it lies on a logarithmic scale."""
    upper = next(point for point in grid if point >= value)
    lower = max(point for point in grid if point <= value)
    return lower, upper, 0.0 if lower == upper else log(value / lower) / log(upper / lower)


def sram_macros(chip: Chip) -> list[Macro]:
    """Every SRAM of a chip. FIFOs, router buffers and accumulators are registers, not macros."""
    core, unit, attention = chip.core, chip.token_unit, chip.attention
    bank_kib = core.weight_kib / core.weight_banks
    return [
        Macro("weights", "core.weight_kib", chip.cores * core.weight_banks, bank_kib, core.weight_word_bits),
        Macro("pointers", "core.pointer_kib", chip.cores, core.pointer_kib, 32),
        Macro(
            "potentials", "core.potential_kib", chip.cores, core.potential_kib, core.sweep_width * core.potential_bits
        ),
        Macro("spikes", "core.spike_kib", chip.cores, core.spike_kib, SPIKE_WORD_BITS),
        Macro("features", "token_unit.feature_kib", 1, unit.feature_kib, FEATURE_WORD_BITS),
        Macro("selector weights", "token_unit.weight_kib", 1, unit.weight_kib, SELECTOR_WORD_BITS),
        Macro("operands", "attention.operand_kib", attention.units, attention.operand_kib, OPERAND_WORD_BITS),
    ]


SPIKE_WORD_BITS = 64
FEATURE_WORD_BITS = 32
SELECTOR_WORD_BITS = 32
OPERAND_WORD_BITS = 64


def macro_costs(chip: Chip) -> dict[str, tuple[Macro, MacroCost]]:
    """Macro name -> (the macro, the cost of one of its `count`).

    Raises UserError for a node that the table has not, else with every key whose memory it does not reach.
    """
    node, device = chip.technology.node_nm, chip.technology.sram_device
    _grid(node, device)  # a missing node is said once, not for every memory
    costs, faults = {}, []
    for macro in sram_macros(chip):
        try:
            costs[macro.name] = (macro, sram_cost(macro.size_kib, macro.width_bits, node, device))
        except UserError as error:
            faults.append(f"{_setting(chip, macro)}: {error}")
    if faults:
        raise UserError(f"chip {chip.name!r}: " + "; ".join(faults))
    return costs


def check_access_times(chip: Chip, memories: dict[str, tuple[Macro, MacroCost]] | None = None) -> None:
    """Raise UserError for every SRAM that cannot answer within a clock period.

    memories: the chip's, where they are not `macro_costs`'.
    """
    faults = [
        f"{_setting(chip, macro)}: a macro of {macro.size_kib:g} KiB answers in "
        f"{cost.access_ns:.2f} ns, but a clock period at {chip.clock_mhz:g} MHz is {chip.clock_period_ns:.2f} ns"
        for macro, cost in (macro_costs(chip) if memories is None else memories).values()
        if cost.access_ns > chip.clock_period_ns
    ]
    if faults:
        raise UserError(f"chip {chip.name!r}: " + "; ".join(faults))


def _setting(chip: Chip, macro: Macro) -> str:
    """The key that sets a macro's size, with its value: for weights that of all banks together."""
    banks = chip.core.weight_banks if macro.name == "weights" else 1
    return f"{macro.key} = {macro.size_kib * banks:g}"
