"""Scaling between nodes: the equations against numbers of others, shipped tables by hand, and what is refused."""

from statistics import median

import numpy as np
import pytest
from cacti import ROWS, near
from sparsespike.simulator.activity import Action
from sparsespike.simulator.area import area_mm2
from sparsespike.simulator.area.density import area_factor, area_table
from sparsespike.simulator.energy import STANDING, action_prices, find_prices, load_energy_table, memories_of, price
from sparsespike.simulator.energy.scaling import (
    ENERGY,
    FAMILIES,
    NODES,
    delay_factor,
    energy_band,
    energy_factor,
)
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.sram import macro_costs
from test_energy import CHIP, TABLE, activity


def built(node: int):
    """mesh16 at a node."""
    return CHIP.replace({"technology.node_nm": node})


# --- the equations ------------------------------------------------------------------------------------------------


def test_the_example_of_the_authors_corrigendum():
    """65 nm at 1.3 V to 32 nm at 0.9 V: 2.604, 0.4571, and 1 pJ becomes 0.1755 pJ, in their digits."""
    assert energy_factor((65, 1.3), (32, 0.9), "HP") == pytest.approx(0.1755, abs=0.0001)
    factors = {node: np.polyval(ENERGY["HP"][node], volts) for node, volts in ((65, 1.3), (32, 0.9))}
    assert factors == {65: pytest.approx(2.604, abs=0.0005), 32: pytest.approx(0.4571, abs=0.00005)}


@pytest.mark.parametrize(
    ("start", "end", "theirs"),
    [(65, 32, 0.5314445219818558), (45, 32, 0.6593402787798331), (130, 65, 0.40437579953344904)],
)
def test_a_second_reading_of_the_low_power_numbers(start, end, theirs):
    """hwcomponents 1.0.114, tech_node_energy(end, start) at its 0.8 V; its 45 and 32 nm are low-power ones."""
    assert energy_factor((start, 0.8), (end, 0.8), "LP") == near(theirs)


def test_a_second_reading_of_the_high_performance_numbers():
    """The same at 20 nm and below; from 45 nm it starts from the low-power numbers."""
    assert energy_factor((20, 0.8), (7, 0.8), "HP") == near(0.42661879895561367)
    mixed = energy_factor((45, 0.8), (14, 0.8), "HP") * np.polyval(ENERGY["HP"][45], 0.8)
    assert mixed / np.polyval(ENERGY["LP"][45], 0.8) == near(0.13884447779284875)


def test_factors_are_one_at_home_and_multiply_on_the_way():
    for family in FAMILIES:
        assert energy_factor((45, 0.9), (45, 0.9), family) == 1.0
        step = energy_factor((45, 0.9), (32, 1.0), family) * energy_factor((32, 1.0), (14, 0.8), family)
        assert step == near(energy_factor((45, 0.9), (14, 0.8), family))
        for volts in (0.7, 0.8, 0.9, 1.0):
            falling = [energy_factor((130, volts), (node, volts), family) for node in NODES]
            assert falling == sorted(falling, reverse=True)
    assert area_factor(45, 14) == near(0.0093 / 0.053)


def test_between_listed_nodes_factors_are_log_log():
    """28 nm is ln(32 / 28) / ln(32 / 20) = 0.2841 of the way from 32 to 20 nm, of which E is 0.4571 and 0.2008."""
    e32 = 0.8367 * 0.81 - 0.4341 * 0.9 + 0.1701
    e20 = 0.373 * 0.81 - 0.1582 * 0.9 + 0.04104
    share = np.log(32 / 28) / np.log(32 / 20)
    assert share == pytest.approx(0.2841, abs=0.0001)
    assert energy_factor((32, 0.9), (28, 0.9), "HP") == near((e20 / e32) ** share)
    assert area_factor(45, 28) == near((0.025 / 0.053) ** (1 - share) * (0.011 / 0.053) ** share)


def test_the_band_spans_families_and_the_nodes_around_and_is_widened():
    listed = energy_band((45, 0.9), (14, 0.8), "HP", 1.25)
    both = [energy_factor((45, 0.9), (14, 0.8), family) for family in FAMILIES]
    assert listed.tolist() == [near(min(both) / 1.25), near(both[0]), near(max(both) * 1.25)]
    between = energy_band((45, 0.9), (28, 0.9), "HP", 1.0)
    ends = [energy_factor((45, 0.9), (node, 0.9), family) for node in (32, 20) for family in FAMILIES]
    assert between[[0, 2]].tolist() == [near(min(ends)), near(max(ends))]
    assert energy_band((45, 0.9), (28, 0.9), "LP", 1.0)[1] == near(energy_factor((45, 0.9), (28, 0.9), "LP"))


@pytest.mark.parametrize("device", ["lstp", "lop", "hp"])
def test_cacti_s_own_memories_shrink_as_the_equations_say(device):
    """45 nm to 22 nm, each word read: CACTI's median ratio is in the band, and within 1.3 of the nominal factor."""
    large, small = ({key[2:] for key in ROWS if key[:2] == (node, device)} for node in (45, 22))
    sizes = large & small
    assert len(sizes) > 40
    ratio = median(ROWS[22, device, *key]["read_pj"] / ROWS[45, device, *key]["read_pj"] for key in sizes)
    low, nominal, high = energy_band((45, 0.9), (22, 0.8), "HP", 1.25)
    assert low < ratio < high
    assert 1 / 1.3 < ratio / nominal < 1.3


# --- shipped tables -----------------------------------------------------------------------------------------------


def test_cmos14_by_hand():
    """Logic x 0.1377 from 45 nm at 0.9 V, wires x (0.8 / 0.9)^2, lengths x sqrt(0.0093 / 0.053), DRAM as it is."""
    table = load_energy_table("cmos14")
    e45 = 1.018 * 0.81 - 0.3107 * 0.9 + 0.1539
    e14 = 0.2363 * 0.64 - 0.09675 * 0.8 + 0.02239
    assert e14 / e45 == pytest.approx(0.1377, abs=0.0001)
    entries, base = table.entries(), TABLE.entries()
    for key in ("primitives.add_bit", "primitives.clock_bit"):
        assert entries[key].value == near(base[key].value * e14 / e45)
    assert entries["primitives.link_bit_mm"].value == near(0.0404 * (0.8 / 0.9) ** 2)
    assert entries["geometry.tile_pitch"].value == near((0.0093 / 0.053) ** 0.5)
    assert {key: entry for key, entry in entries.items() if key.startswith("dram.")} == {
        key: entry for key, entry in base.items() if key.startswith("dram.")
    }
    price = action_prices(built(14), table)[Action.ADD]
    lp = (0.1556 * 0.64 - 0.06472 * 0.8 + 0.03066) / (1.103 * 0.81 - 0.362 * 0.9 + 0.2767)
    assert price.tolist() == [near(28 * 0.003 * lp / 1.25), near(0.0875 * e14 / e45), near(0.21 * e14 / e45 * 1.25)]


def test_memories_at_14_nm_are_those_of_22_nm_times_the_factors():
    table, chip = load_energy_table("cmos14"), built(14)
    access = energy_factor((22, 0.8), (14, 0.8), "HP")
    memories, own = memories_of(chip, table), macro_costs(built(22))
    delay, area = delay_factor((22, 0.8), (14, 0.8), "HP"), area_factor(22, 14)
    for name, (macro, cost) in memories.items():
        theirs = own[name][1]
        assert macro == own[name][0]
        assert (cost.read_pj, cost.write_pj) == (near(theirs.read_pj * access), near(theirs.write_pj * access))
        assert (cost.access_ns, cost.area_mm2) == (near(theirs.access_ns * delay), near(theirs.area_mm2 * area))
    read = action_prices(chip, table)[Action.WEIGHT_READ]
    assert read[1] == near(memories["weights"][1].read_pj)
    leaking = sum(macro.count * cost.leak_mw for macro, cost in memories.values())
    assert find_prices(chip, table).cycle[STANDING.index("leakage"), 1] == near(leaking * chip.clock_period_ns)
    assert area_mm2(chip, memories)["weights"].nominal == near(64 * own["weights"][1].area_mm2 * area)
    factors = area_table().factors.relative_to_180nm  # the same that logic is scaled by
    assert area == near(
        factors["14"] / (factors["20"] * (factors["32"] / factors["20"]) ** (np.log(1.1) / np.log(1.6)))
    )


def test_memories_at_22_nm_are_cacti_s_own():
    table, chip = load_energy_table("cmos22"), built(22)
    assert table.sram == TABLE.sram
    assert memories_of(chip, table) == macro_costs(chip)
    assert action_prices(chip, table)[Action.WEIGHT_READ, 1] == near(macro_costs(chip)["weights"][1].read_pj)


def test_cmos65_by_hand():
    """Upwards: logic x 1.906 from 45 nm, 0.9 V to 65 nm, 1.0 V, lengths x sqrt(0.08 / 0.053), CACTI's own macros."""
    table, chip = load_energy_table("cmos65"), built(65)
    e45 = 1.018 * 0.81 - 0.3107 * 0.9 + 0.1539
    e65 = 3.755 - 4.398 + 1.975
    assert e65 / e45 == pytest.approx(1.9060, abs=0.0001)
    assert table.primitives.add_bit.value == near(TABLE.primitives.add_bit.value * e65 / e45)
    assert table.geometry.tile_pitch.value == near((0.08 / 0.053) ** 0.5)
    assert memories_of(chip, table) == macro_costs(chip)
    assert price(activity(0), chip, table).moving[1] > price(activity(0), CHIP, TABLE).moving[1]


@pytest.mark.parametrize("name", ["cmos65", "cmos32", "cmos28", "cmos22", "cmos14"])
def test_scaled_entries_keep_their_source_note_the_factor_and_widen_their_band(name):
    table, base = load_energy_table(name), TABLE.entries()
    assert table.scaled is not None
    assert table.sha256 != TABLE.sha256
    for key, entry in table.entries().items():
        if key.startswith("leakage."):
            assert entry == base[key]  # in cells, whose leakage is CACTI's
        if key.startswith("primitives."):
            assert entry.source.startswith(f"{base[key].source}; x ")
            assert "from 45 nm by stillmaker2017, HP" in entry.source
            assert (entry.node_nm, entry.voltage_v) == (table.node_nm, table.scaled.voltage_v)
            assert entry.kind == ("assumed" if base[key].kind == "assumed" else "derived")
            assert entry.low / entry.value < base[key].low / base[key].value
            assert entry.high / entry.value > base[key].high / base[key].value
    energy, base_energy = price(activity(0), built(table.node_nm), table), price(activity(0), CHIP, TABLE)
    assert (energy.moving[1] < base_energy.moving[1]) == (table.node_nm < 45)


# --- what is refused ----------------------------------------------------------------------------------------------

SCALED = """
name = "mine"
node_nm = 14
description = "a test"
[scaled]
base = "cmos45"
method = "stillmaker2017"
family = "HP"
base_voltage_v = 0.9
voltage_v = 0.8
interpolated = false
widen = 1.25
leakage_widen = 3.0
sram_from_node_nm = 45
source = "a test of scaling"
"""
REFUSED = {
    "an unknown base": ([('"cmos45"', '"cmos445"')], ["scaled.base = 'cmos445': ", "did you mean 'cmos45'"]),
    "a scaled base": ([('"cmos45"', '"cmos22"')], ["scaled.base = 'cmos22': is scaled itself"]),
    "an unknown method": ([("stillmaker2017", "moore1965")], ["scaled.method = 'moore1965'"]),
    "its own node": ([("node_nm = 14", "node_nm = 45")], ["node_nm = 45: that of scaled.base"]),
    "a node between, not said": (
        [("node_nm = 14", "node_nm = 28")],
        ["node_nm = 28: not listed by stillmaker2017", "scaled.interpolated = true", "between 32 and 20 nm"],
    ),
    "a node beyond": ([("node_nm = 14", "node_nm = 5")], ["node_nm = 5: stillmaker2017 is for 130 to 7 nm"]),
    "memories of a node beyond": (
        [("sram_from_node_nm = 45\n", "sram_from_node_nm = 90\n"), ("node_nm = 14", "node_nm = 28")],
        ["scaled.sram_from_node_nm = 90: CACTI's macros are of 22, 32, 45, 65 nm", "node_nm = 28: not listed"],
    ),
    "memories of a node between, not said": (
        [("sram_from_node_nm = 45\n", "sram_from_node_nm = 22\n")],
        ["scaled.sram_from_node_nm = 22: not listed by stillmaker2017"],
    ),
    "memories of no node": (
        [("sram_from_node_nm = 45\n", "")],
        ["node_nm = 14: CACTI's macros are of 22, 32, 45, 65 nm; scaled.sram_from_node_nm says from which of them"],
    ),
    "no source, a band that narrows, prices of its own": (
        [('source = "a test of scaling"\n', ""), ("widen = 1.25\n", "widen = 0.5\n"), ("[scaled]", "[dram]\n[scaled]")],
        ["scaled.source: missing", "scaled.widen = 0.5", "dram: unknown key"],
    ),
    "a node between and a wrong field": (
        [("node_nm = 14", "node_nm = 28"), ("widen = 1.25\n", "widen = 0.5\n"), ('"cmos45"', '"cmos445"')],
        ["node_nm = 28: not listed", "scaled.widen = 0.5", "scaled.base = 'cmos445': no energy table"],
    ),
    "no section": ([("[scaled]", "scaled = 3\n[other]")], ["scaled = 3: must be a table", "other: unknown key"]),
    "a hash of its own": ([("[scaled]", 'sha256 = "ff"\n[scaled]')], ["sha256: unknown key"]),
}


def written(tmp_path, *edits: tuple[str, str]):
    text = SCALED
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("edits", "fragments"), REFUSED.values(), ids=REFUSED)
def test_scaling_is_refused_with_all_its_faults(tmp_path, edits, fragments):
    path = written(tmp_path, *edits)
    with pytest.raises(UserError) as caught:
        load_energy_table(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_a_change_of_the_base_changes_the_hash_of_what_is_scaled_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = load_energy_table(written(tmp_path))
    from test_energy import TEXT

    hashes = {shipped.sha256}
    for number in range(2):
        (tmp_path / "base.toml").write_text(TEXT + f"# {number}\n", encoding="utf-8")
        hashes.add(load_energy_table(written(tmp_path, ('"cmos45"', '"base.toml"'))).sha256)
    assert len(hashes) == 3


def test_a_chip_of_another_node_is_refused_under_a_scaled_table_too():
    with pytest.raises(UserError, match=r"'cmos28' is of 28 nm, chip 'edge' of 45 nm"):
        action_prices(load_chip("edge"), load_energy_table("cmos28"))
