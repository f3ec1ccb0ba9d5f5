"""The memories of a chip: energy, leakage, access time and area of each SRAM macro, from CACTI's points.

sram_table.py interpolates in size and width; here a chip's description becomes macros, and what no macro can be is
refused or paid for as the macros it would be built of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from .errors import UserError
from .hardware import Chip
from .sram_table import macros_of


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
    """One memory: per word read and written, leakage, access time, area. (All of its parallel parts together.)

    leak_mw: subthreshold and gate leakage at 350 K.  extrapolated: larger than any macro of the table.
    """

    read_pj: float
    write_pj: float
    leak_mw: float
    access_ns: float
    area_mm2: float
    extrapolated: bool = False


@lru_cache(maxsize=4096)
def sram_cost(size_kib: float, width_bits: int, node_nm: int, device: str, extrapolate: bool = False) -> MacroCost:
    """Cost of one memory by interpolation between CACTI's points in size and width.

    A memory below 1 KiB or 32 bit is paid for as the smallest macro there is; a word beyond 256 bit is split over
    ceil(width / 256) parallel macros. Raises UserError for a node or device that the table has not, and for a size
    beyond it unless `extrapolate`: then the last octave's trend goes on, and the cost says so.
    """
    table = macros_of(node_nm, device)
    parts = ceil(width_bits / table.widths[-1])
    size = max(size_kib / parts, table.smallest_kib)
    width = max(width_bits / parts, table.widths[0])
    beyond = size > table.largest_kib
    if beyond and not extrapolate:
        raise UserError(
            f"a macro of {size:g} KiB is beyond the SRAM table's {table.largest_kib:g} KiB: "
            "no extrapolation unless technology.sram_extrapolate = true"
        )
    read, write, leak, access, area = table.cost(size, width).tolist()
    return MacroCost(read * parts, write * parts, leak * parts, access, area * parts, beyond)


CELL_KIB, CELL_WIDTH = 16.0, 64  # the macro whose leakage, by the bit, is taken for that of a cell


def cell_leakage_nw(node_nm: int, device: str) -> float:
    """Leakage of one bit of SRAM of these transistors, with its share of a macro's periphery, in nW at 350 K."""
    return sram_cost(CELL_KIB, CELL_WIDTH, node_nm, device).leak_mw * 1e6 / (CELL_KIB * 8192)


def sram_macros(chip: Chip) -> list[Macro]:
    """Every SRAM of a chip. FIFOs, router buffers and accumulators are registers, not macros."""
    core, unit, attention = chip.core, chip.token_unit, chip.attention
    bank_kib = core.weight_kib / core.weight_banks
    return [
        Macro("weights", "core.weight_kib", chip.cores * core.weight_banks, bank_kib, core.weight_word_bits),
        Macro("pointers", "core.pointer_kib", chip.cores, core.pointer_kib, POINTER_WORD_BITS),
        Macro(
            "potentials", "core.potential_kib", chip.cores, core.potential_kib, core.sweep_width * core.potential_bits
        ),
        Macro("spikes", "core.spike_kib", chip.cores, core.spike_kib, SPIKE_WORD_BITS),
        Macro("features", "token_unit.feature_kib", 1, unit.feature_kib, FEATURE_WORD_BITS),
        Macro("selector weights", "token_unit.weight_kib", 1, unit.weight_kib, SELECTOR_WORD_BITS),
        Macro("operands", "attention.operand_kib", attention.units, attention.operand_kib, OPERAND_WORD_BITS),
    ]


POINTER_WORD_BITS = 32
SPIKE_WORD_BITS = 64
FEATURE_WORD_BITS = 32
SELECTOR_WORD_BITS = 32
OPERAND_WORD_BITS = 64


def macro_costs(chip: Chip) -> dict[str, tuple[Macro, MacroCost]]:
    """Macro name -> (the macro, the cost of one of its `count`).

    Raises UserError for a node that the table has not, else with every key whose memory it does not reach.
    """
    technology = chip.technology
    node, device, extrapolate = technology.node_nm, technology.sram_device, technology.sram_extrapolate
    macros_of(node, device)  # a missing node is said once, not for every memory
    costs, faults = {}, []
    for macro in sram_macros(chip):
        try:
            costs[macro.name] = (macro, sram_cost(macro.size_kib, macro.width_bits, node, device, extrapolate))
        except UserError as error:
            faults.append(f"{_setting(chip, macro)}: {error}")
    if faults:
        raise UserError(f"chip {chip.name!r}: " + "; ".join(faults))
    return costs


def extrapolated_macros(memories: Mapping[str, tuple[Macro, MacroCost]]) -> list[str]:
    """Names of the memories whose figures lie beyond the table."""
    return [name for name, (_, cost) in memories.items() if cost.extrapolated]


def check_access_times(chip: Chip, memories: Mapping[str, tuple[Macro, MacroCost]] | None = None) -> None:
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
