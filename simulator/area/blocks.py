"""The blocks of a chip with their gates, and their areas in mm2 with a band. Quantities are named as in gates.toml."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..hardware import Chip
from ..layers import VALUE_BITS
from ..sourced import Band
from ..sram import Macro, MacroCost, macro_costs
from .density import area_table, gate_um2
from .gates import Quantities, beyond, gate_table, gates

BlockKind = Literal["fitted", "estimated", "macro"]

AREA_SCOPE = (
    "SRAM macros; routers, event FIFOs, row engines with their accumulators, neurons, encoders and token unit as "
    "fitted to synthesis; input multipliers, attention units and configuration registers as estimated. "
    "Not counted: pads, clock tree, wires of the mesh and of the weight bus, DRAM controller and interface, "
    "units of quantised ANNs, pools and address logic of convolutions, what `pipelined` adds"
)

POTENTIAL_TERMS = ("sweep_width*potential_bits", "sweep_width*accumulator_bits")
"""Of the neuron array's fit: the arithmetic of a word of neurons, without its control."""


@dataclass(frozen=True)
class BlockArea:
    """mm2 of all blocks of a kind together, low <= nominal <= high; gates: their gate equivalents, 0 of a macro."""

    nominal: float
    low: float
    high: float
    kind: BlockKind
    gates: float = 0.0


@dataclass(frozen=True)
class Logic:
    """`count` equal blocks of gates.toml, each of these quantities."""

    block: str
    count: int
    quantities: Quantities


def area_mm2(chip: Chip, memories: Mapping[str, tuple[Macro, MacroCost]] | None = None) -> dict[str, BlockArea]:
    """Block -> its area at the chip's node; memories come first, under their names in `sram_macros`.

    A macro: count x CACTI's area. Logic: gate equivalents x um2 of a placed gate; low and high are the products of the
    lows and highs of both. memories: the chip's, where they are not `macro_costs`'.
    Raises UserError for a node beyond the area factors, and what `macro_costs` raises.
    """
    costs = macro_costs(chip) if memories is None else memories
    spread = area_table().sram.band
    areas = {name: _block(macro.count * cost.area_mm2 * spread, "macro", 0.0) for name, (macro, cost) in costs.items()}
    gate_mm2 = gate_um2(chip.technology.node_nm) * 1e-6
    for name, logic in fitted_logic(chip).items():
        number = logic.count * gates(logic.block, logic.quantities)
        areas[name] = _block(number * _fit_band(logic) * gate_mm2, "fitted", number)
    for name, number in estimated_gates(chip).items():
        areas[name] = _block(number * area_table().estimated.band * gate_mm2, "estimated", number)
    return areas


def area_json(areas: Mapping[str, BlockArea]) -> dict[str, dict[str, Any]]:
    """The areas as plain data."""
    return {name: dict(vars(area)) for name, area in areas.items()}


def _block(band: Band, kind: BlockKind, number: float) -> BlockArea:
    low, nominal, high = band.tolist()
    return BlockArea(nominal, low, high, kind, number)


def _fit_band(logic: Logic) -> Band:
    """(low, 1, high) of a fitted block: its largest held-out error e as 1 / (1 + e) and 1 + e, wider beyond it."""
    table = area_table()
    high = 1.0 + gate_table().blocks[logic.block].error
    if beyond(logic.block, logic.quantities):
        high *= table.fitted.beyond_factor
    return np.array([1.0 / high, 1.0, high])


def fitted_logic(chip: Chip) -> dict[str, Logic]:
    """Blocks that the twin has, under their names in reports. Service nodes have a FIFO, attention units an encoder."""
    core, mesh, unit = chip.core, chip.mesh, chip.token_unit
    known, units = area_table().capacities, chip.attention.units
    router = {"buffer_flits": mesh.buffer_flits, "flit_bits": chip.flit_bits, "trees": 1 << mesh.tree_bits}
    encoder = {
        "encode_bits": core.encode_width * mesh.value_bits * core.time_batch,
        "tokens": known.tokens,
        "token_bits": known.tokens.bit_length(),
    }
    selector = {
        "macs": unit.macs,
        "comparators": unit.comparators,
        "scan_width": unit.scan_width,
        "tokens": known.tokens,
        "hidden": known.hidden,
    }
    fifo = {"depth": core.fifo_flits, "width": chip.flit_bits}
    return {
        "routers": Logic("router", chip.routers, router),
        "event FIFOs": Logic("fifo", chip.cores + 1 + units, fifo),
        "row engines": Logic("row_engine", chip.cores, row_quantities(chip)),
        "neuron arrays": Logic("neuron_array", chip.cores, neuron_quantities(chip, core.sweep_width)),
        "encoders": Logic("encoder", chip.cores + units, encoder),
        "token unit": Logic("token_unit", 1, selector),
    }


def row_quantities(chip: Chip) -> dict[str, float]:
    """Of a core's row engine.

    The twin keeps a whole row at hand; two fetches suffice for the same cycles, because a fetch can wait as long as the
    adders have words. A bitmap's next output is likewise looked for in what is at hand.
    """
    core = chip.core
    window = 2 * core.weight_banks * core.weight_word_bits
    return {
        "lanes": core.lanes,
        "accumulator_banks": core.accumulator_banks,
        "accumulator_bits": core.accumulator_bits,
        "weight_bits": core.weight_bits,
        "value_bits": chip.mesh.value_bits,
        "outputs": window,
        "weight_banks": core.weight_banks,
        "accumulator_words": core.accumulator_words,
        "window_bits": window,
        "entry_bits": core.weight_bits + core.index_bits * (core.weight_format == "csr"),
        "bitmap": int(core.weight_format == "bitmap"),
        "aligned": int(core.weight_format != "bitmap"),
    }


def neuron_quantities(chip: Chip, sweep_width: int) -> dict[str, float]:
    """Of a neuron array that updates so many neurons per cycle."""
    core = chip.core
    return {
        "sweep_width": sweep_width,
        "potential_bits": core.potential_bits,
        "accumulator_bits": core.accumulator_bits,
        "contexts": core.contexts,
    }


def estimated_gates(chip: Chip) -> dict[str, float]:
    """Blocks that the twin has not, in gate equivalents, put together from primitives.

    input multipliers: a multiplier weight x pixel and an adder each. attention units: an AND and population count, or a
    row of adders, per bit of `width`; accumulators; a word of neurons. configuration: registers of a core, keep bitmap.
    """
    core, attention, known = chip.core, chip.attention, area_table().capacities
    addition = gates("adder", {"width": core.accumulator_bits})
    multiplier = gates("multiplier", {"width": core.weight_bits, "value_bits": VALUE_BITS})
    sums = {"accumulator_words": attention.accumulator_words, "accumulator_bits": core.accumulator_bits}
    neurons = neuron_quantities(chip, attention.sweep_width)
    terms = gate_table().blocks["neuron_array"].terms
    sweep = sum(terms[term] * neurons["sweep_width"] * neurons[term.split("*")[1]] for term in POTENTIAL_TERMS)
    products = gates("and_popcount", {"width": attention.width}) + attention.width * addition
    registers = gates("register", {"width": known.configuration_words * 32 + known.tokens})
    return {
        "input multipliers": chip.cores * core.input_macs * (multiplier + addition),
        "attention units": attention.units * (products + gates("accumulators", sums) + sweep),
        "configuration": chip.cores * registers,
    }
