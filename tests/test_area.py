"""Area: the shipped fit is what its points give, areas are hand-worked sums, bands hold, the unknown is refused."""

import csv
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from rtl import area_fit, synthesise
from rtl.area_points import BLOCKS
from sparsespike.simulator.area import AREA_SCOPE, area_mm2
from sparsespike.simulator.area.blocks import Logic, estimated_gates, fitted_logic
from sparsespike.simulator.area.density import area_factor, area_table, cell_um2, gate_um2
from sparsespike.simulator.area.gates import beyond, gate_table, gates
from sparsespike.simulator.energy import memories_of, table_of_node
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import Chip, chip_names, load_chip
from sparsespike.simulator.sram import macro_costs

SHIPPED = Path(synthesise.TABLE).parent
near = pytest.approx

# Key -> a larger value that the chip takes. What makes a block larger, and nothing smaller.
LARGER = {
    "mesh.buffer_flits": 8,
    "mesh.value_bits": 6,
    "mesh.channel_bits": 14,
    "mesh.tree_bits": 9,
    "core.fifo_flits": 32,
    "core.contexts": 3,
    "core.lanes": 16,
    "core.input_macs": 16,
    "core.accumulator_banks": 32,
    "core.accumulator_words": 2048,
    "core.accumulator_bits": 32,
    "core.weight_kib": 128.0,
    "core.weight_word_bits": 128,
    "core.pointer_kib": 32.0,
    "core.sweep_width": 16,
    "core.potential_kib": 64.0,
    "core.potential_bits": 28,
    "core.spike_kib": 64.0,
    "core.encode_width": 64,
    "core.time_batch": 2,
    "token_unit.scan_width": 16,
    "token_unit.macs": 16,
    "token_unit.comparators": 16,
    "token_unit.feature_kib": 128.0,
    "token_unit.weight_kib": 160.0,
    "attention.units": 3,
    "attention.width": 128,
    "attention.sweep_width": 16,
    "attention.operand_kib": 128.0,
    "attention.accumulator_words": 8192,
    "mesh.rows": 5,
    "mesh.columns": 5,
}
WIDTHS_OF_MEMORIES = ("core.weight_word_bits", "core.potential_bits", "core.sweep_width")


@pytest.fixture(scope="module")
def chip() -> Chip:
    return load_chip("mesh16")


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_shipped_fit_is_what_the_shipped_points_give():
    assert (SHIPPED / "gates.toml").read_text() == area_fit.text(SHIPPED / "synthesis.csv")


def test_every_elaboration_is_in_the_table_once():
    rows = list(csv.DictReader((SHIPPED / "synthesis.csv").read_text().splitlines()))
    found = [(row["block"], row["sizes"], row["held_out"]) for row in rows]
    wanted = [
        (name, " ".join(f"{key}={value}" for key, value in sizes.items()), str(int(held)))
        for name, block in BLOCKS.items()
        for sizes, held in block.sizes()
    ]
    assert found == wanted


@pytest.mark.parametrize("name", BLOCKS)
def test_the_errors_that_are_stated_are_the_fits(name: str):
    """Worked out again from the points with plain loops."""
    fit = gate_table().blocks[name]
    quantities, found, held_out = area_fit.read_points(SHIPPED / "synthesis.csv", name)
    errors = [abs(gates(name, point) / real - 1) for point, real in zip(quantities, found, strict=True)]
    inside = [error for error, held in zip(errors, held_out, strict=True) if not held]
    outside = [error for error, held in zip(errors, held_out, strict=True) if held]
    assert fit.max_error == near(max(inside), abs=6e-5)
    assert fit.rms_error == near(math.sqrt(sum(error**2 for error in inside) / len(inside)), abs=6e-5)
    assert fit.held_out_error == near(max(outside), abs=6e-5)
    assert fit.points == len(inside)
    assert min(fit.terms.values()) >= 0
    assert fit.largest == {key: max(point[key] for point in quantities) for key in quantities[0]}


@pytest.mark.parametrize("name", [name for name in BLOCKS if name not in ("adder", "comparator", "register")])
def test_a_block_is_predicted_well_beyond_the_points_of_its_fit(name: str):
    assert gate_table().blocks[name].held_out_error < 0.25


def test_the_fit_finds_what_points_were_made_of():
    terms = np.array([[2.0, 1.0], [4.0, 1.0], [7.0, 1.0]])
    assert area_fit.coefficients(terms, terms @ np.array([3.0, 5.0])) == near(np.array([3.0, 5.0]), rel=1e-5)


def test_no_coefficient_is_negative_even_where_points_ask_for_it():
    found = area_fit.coefficients(np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]), np.array([1.0, 3.0, 5.0]))
    assert found[1] == 0
    assert found[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_yosys_gives_the_shipped_points_again(name: str):
    """The smallest elaboration of each block; a text that has changed since asks for `make area-table`."""
    if absent := synthesise.missing():
        pytest.skip(f"the area table: {absent}")
    points = csv.DictReader((SHIPPED / "synthesis.csv").read_text().splitlines())
    rows = {row["sizes"]: row for row in points if row["block"] == name}
    told, row = min(rows.items(), key=lambda point: float(point[1]["gate_equivalents"]))
    sizes = {key: int(value) for key, value in (pair.split("=") for pair in told.split())}
    assert vars(synthesise.synthesise(name, BLOCKS[name], sizes)) == {
        "gate_equivalents": float(row["gate_equivalents"]),
        "flip_flops": int(row["flip_flops"]),
        "cells": int(row["cells"]),
    }


# --- mm2 ------------------------------------------------------------------------------------------------------------


def test_a_gate_at_45_nm_by_hand():
    """osu018 24 x 0.053; sky130 3.7536 x 0.053 / 0.34; Nangate45 as it stands; over 0.85, 0.7 and 0.5."""
    cells = [24 * 0.053, 3.7536 * 0.053 / 0.34, 0.798]
    assert cell_um2(45) == near(np.array([min(cells), np.prod(cells) ** (1 / 3), max(cells)]))
    assert gate_um2(45) == near(cell_um2(45) / np.array([0.85, 0.7, 0.5]))
    assert gate_um2(45)[1] == near(1.2008, abs=1e-3)


def test_area_factors_between_nodes_are_log_log_and_end_where_the_table_ends():
    assert area_factor(180, 180) == 1
    assert area_factor(180, 45) == 0.053
    share = math.log(22 / 20) / math.log(32 / 20)
    assert area_factor(180, 22) == near(0.011 ** (1 - share) * 0.025**share)
    assert area_factor(45, 22) == near(area_factor(180, 22) / 0.053)
    assert 0.011 < area_factor(180, 22) < area_factor(180, 28) < 0.025
    for node in (5, 250):
        for ends in ((180, node), (node, 180)):
            with pytest.raises(UserError, match=r"7 to 180 nm; no extrapolation"):
                area_factor(*ends)


def test_a_routers_area_by_hand(chip: Chip):
    """mesh16: 5 x 4 routers of 4 flits of 26 + 1 bits, 256 trees."""
    terms = gate_table().blocks["router"].terms
    assert chip.flit_bits == 1 + 8 + 1 + 12 + 4
    flits = chip.flit_bits
    number = (
        terms["buffer_flits*flit_bits"] * 4 * flits + terms["flit_bits"] * flits + terms["trees"] * 256 + terms["const"]
    )
    area = area_mm2(chip)["routers"]
    assert area.kind == "fitted"
    assert area.gates == near(20 * number)
    assert area.nominal == near(20 * number * gate_um2(45)[1] * 1e-6)
    fit = gate_table().blocks["router"]
    assert beyond("router", fitted_logic(chip)["routers"].quantities)  # 256 trees, 26 bits: more than was synthesised
    error = 1 + max(fit.leave_one_out_max, fit.held_out_error)
    assert area.high == near(20 * number * error * 1.5 * gate_um2(45)[2] * 1e-6)
    assert area.low == near(20 * number / error / 1.5 * gate_um2(45)[0] * 1e-6)


def test_input_multipliers_by_hand(chip: Chip):
    """16 cores x 8, a multiplier of 8 x 8 bits and an adder of 28."""
    blocks = gate_table().blocks
    number = 16 * 8 * (blocks["multiplier"].terms["width*value_bits"] * 64 + blocks["adder"].terms["width"] * 28)
    assert blocks["multiplier"].terms["width"] == blocks["multiplier"].terms["value_bits"] == 0
    area = area_mm2(chip)["input multipliers"]
    assert area.kind == "estimated"
    assert area.nominal == near(number * gate_um2(45)[1] * 1e-6)
    assert (area.low, area.high) == near(tuple(number * gate_um2(45)[[0, 2]] * 1e-6 * np.array([0.5, 2])))


def test_macros_keep_cactis_area(chip: Chip):
    areas = area_mm2(chip)
    for name, (macro, cost) in macro_costs(chip).items():
        assert areas[name].kind == "macro"
        assert areas[name].nominal == macro.count * cost.area_mm2


@pytest.mark.parametrize("name", chip_names())
def test_bands_contain_the_nominal(name: str):
    chip = load_chip(name)
    areas = area_mm2(chip, memories_of(chip, table_of_node(chip.technology.node_nm)))
    assert {area.kind for area in areas.values()} == {"fitted", "estimated", "macro"}
    for block, area in areas.items():
        assert 0 < area.low < area.nominal < area.high, block
        assert (area.gates == 0) == (area.kind == "macro")


def test_blocks_add_up_core_by_core(chip: Chip):
    """Twice the rows is twice the cores' blocks, and no more of the token unit."""
    one, two = area_mm2(chip), area_mm2(chip.replace({"mesh.rows": 8}))
    for block in ("row engines", "neuron arrays", "input multipliers", "configuration", "weights", "potentials"):
        assert two[block].nominal == near(2 * one[block].nominal), block
    assert two["token unit"] == one["token unit"]
    assert two["attention units"] == one["attention units"]


@pytest.mark.parametrize("key", LARGER)
@pytest.mark.parametrize("name", ["mesh16", "dense"])
def test_no_area_falls_as_a_size_grows(name: str, key: str):
    """But a memory's with wider words: of CACTI's macros of one size the wider may be the smaller."""
    small = load_chip(name, {"core.weight_format": "bitmap"} if name == "dense" else None)
    before, after = area_mm2(small), area_mm2(small.replace({key: LARGER[key]}))
    kept = [block for block, area in before.items() if area.kind != "macro" or key not in WIDTHS_OF_MEMORIES]
    assert all(after[block].nominal >= before[block].nominal for block in kept)
    assert sum(after[block].nominal for block in kept) > sum(before[block].nominal for block in kept)


def test_formats_cost_in_the_order_in_which_they_were_synthesised(chip: Chip):
    """A csr entry is the widest; a bitmap's need no care at the borders of words, which outweighs its search."""
    forms = ("bitmap", "dense", "csr")
    gates_of = [area_mm2(chip.replace({"core.weight_format": form}))["row engines"].gates for form in forms]
    assert gates_of == sorted(gates_of)
    points = csv.DictReader((SHIPPED / "synthesis.csv").read_text().splitlines())
    rows = {row["sizes"]: float(row["gate_equivalents"]) for row in points if row["block"] == "row_engine"}
    common = dict(BLOCKS["row_engine"].points[0]) | {"LANES": 4}
    sizes = [" ".join(f"{key}={value}" for key, value in (common | {"FORMAT": number}).items()) for number in (1, 0, 2)]
    found = [rows[told] for told in sizes]
    assert found == sorted(found)


def test_smaller_nodes_are_smaller(chip: Chip):
    totals = []
    for node in (65, 45, 32, 22):
        areas = area_mm2(chip.replace({"technology.node_nm": node}))
        totals.append(sum(area.nominal for area in areas.values() if area.kind != "macro"))
    assert totals == sorted(totals, reverse=True)


def test_a_node_without_memories_is_refused(chip: Chip):
    with pytest.raises(UserError, match="no SRAM table for 90 nm"):
        area_mm2(chip.replace({"technology.node_nm": 90}))


def test_every_quantity_of_a_chip_is_one_of_the_fit(chip: Chip):
    for logic in fitted_logic(chip).values():
        assert set(logic.quantities) == set(gate_table().blocks[logic.block].largest), logic.block
    assert all(number > 0 for number in estimated_gates(chip).values())


def test_an_unknown_block_or_quantity_is_no_silent_zero():
    with pytest.raises(KeyError):
        gates("routre", {})
    with pytest.raises(KeyError):
        gates("fifo", {"depth": 4})
    assert isinstance(Logic("fifo", 1, {"depth": 4, "width": 8}), Logic)


def test_the_scope_says_what_is_not_counted():
    for what in ("pads", "clock", "DRAM", "wires", "quantised ANNs", "pipelined"):
        assert what in AREA_SCOPE


def test_every_number_has_a_kind_and_a_source():
    data = tomllib.loads((SHIPPED / "area.toml").read_text())
    parts = [
        *data["libraries"],
        *(data[key] for key in ("factors", "utilisation", "estimated", "fitted", "sram", "capacities")),
    ]
    assert all(len(part["source"]) > 20 and part["kind"] for part in parts)


def test_quoted_cells_lie_within_twice_the_band_of_the_gate():
    """SATA_Sim's register and comparator at 32 nm: cells without utilisation; their library is not named."""
    for check in area_table().checks:
        low, _, high = cell_um2(check.node_nm) * gates(check.primitive, {"width": check.width})
        assert low / 2 < check.um2 < 2 * high, check.what
