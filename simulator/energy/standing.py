"""What a chip spends per cycle whatever it does: leakage of memories and logic, the clock, DRAM that waits.

Logic leaks like SRAM cells: CACTI knows the leakage of the chip's transistors at its node, and the table says how many
cells a bit of logic is worth. The clock is charged in every cycle for all registers that no enable gates (reads, lanes,
sweep, look-up, the head of every router input): the chip has no coarser clock gating (ARCHITECTURE.md, "Not modelled"),
so idle cores pay too. Storage made of registers (accumulators, queues) is clocked word by word, and its clock is in a
register bit's price.
"""

from dataclasses import dataclass

from ..hardware import Chip
from ..layers import VALUE_BITS
from ..sram import POINTER_WORD_BITS
from .actions import SCORE_BITS
from .recipe import Recipe, of

STANDING = ("leakage", "logic_leakage", "clock", "dram_background")
ROUTER_PORTS = 5
NW = 1e-6  # in mW; mW x ns = pJ
# a bit of logic in SRAM cells, times the band of a cell's leakage: products of two entries
LEAKING = {key: f"leakage.{key} x sram.leakage" for key in ("register_bit", "add_bit", "multiply_bit2")}


@dataclass(frozen=True)
class Logic:
    """Bits of logic on a chip, as far as its description names them.

    clocked_bits: registers that are clocked in every cycle.  register_bits: these, and storage made of registers.
    adder_bits: sum bits of adders and comparators.  multiplier_bits2: bits of one factor times bits of the other.
    """

    clocked_bits: int
    register_bits: int
    adder_bits: int
    multiplier_bits2: int


def logic_of(chip: Chip) -> Logic:
    """Logic of cores, routers, token unit and attention units; not of requantisers, DRAM controller and pads."""
    core, unit, attention = chip.core, chip.token_unit, chip.attention
    queue, macs = (
        core.fifo_flits * chip.flit_bits,
        max(core.lanes, core.input_macs),
    )  # pixels use the lanes' multipliers
    core_clocked = (
        core.weight_banks * core.weight_word_bits  # words read
        + POINTER_WORD_BITS
        + chip.flit_bits  # look-up
        + macs * (core.weight_bits + core.accumulator_bits)
        + core.sweep_width * core.potential_bits
        + core.encode_width * core.time_batch * chip.mesh.value_bits
    )
    port = chip.flit_bits  # the head that is arbitrated for
    unit_clocked = unit.macs * (core.weight_bits + core.accumulator_bits) + unit.scan_width
    attention_clocked = 2 * attention.width + attention.sweep_width * core.accumulator_bits
    clocked = (
        chip.cores * core_clocked
        + chip.routers * ROUTER_PORTS * port
        + unit_clocked
        + attention.units * attention_clocked
    )
    stored = (
        chip.cores * (core.accumulator_words * core.accumulator_bits + queue)
        + chip.routers * ROUTER_PORTS * chip.mesh.buffer_flits * chip.flit_bits
        + queue
        + attention.units * (attention.accumulator_words * core.accumulator_bits + queue)
    )
    adders = (
        chip.cores * (macs * core.accumulator_bits + 3 * core.sweep_width * core.potential_bits)
        + unit.macs * core.accumulator_bits
        + unit.comparators * SCORE_BITS
        + attention.units * (attention.width + attention.sweep_width * core.accumulator_bits)
    )
    multiplier = core.weight_bits * VALUE_BITS
    return Logic(clocked, clocked + stored, adders, multiplier * (chip.cores * macs + unit.macs))


def standing_recipes(chip: Chip, sram_leak_mw: float, cell_leak_nw: float) -> dict[str, Recipe]:
    """pJ of one clock cycle of the whole chip, by what it is spent on.

    sram_leak_mw, cell_leak_nw: CACTI's, of all macros and of one bit.
    """
    logic, period_ns = logic_of(chip), chip.clock_period_ns
    leakage = (
        logic.register_bits * of(LEAKING["register_bit"])
        + logic.adder_bits * of(LEAKING["add_bit"])
        + logic.multiplier_bits2 * of(LEAKING["multiply_bit2"])
    )
    return {
        "leakage": sram_leak_mw * period_ns * of("sram.leakage"),
        "logic_leakage": NW * cell_leak_nw * period_ns * leakage,
        "clock": logic.clocked_bits * of("primitives.clock_bit"),
        "dram_background": chip.dram.bandwidth_gb_s * period_ns * of(f"dram.{chip.dram.type}.background"),
    }
