"""Energy tables of one's own: numbers that are too large or too small, everything free, what files get wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cacti import lop45
from sparsespike import UserError, load_chip, simulate
from sparsespike.analysis.reprice_view import show_repriced
from sparsespike.analysis.single import RunRequest, run_single
from sparsespike.simulator.activity import Action
from sparsespike.simulator.energy import Pricer, find_prices, load_energy_table, load_energy_tables, memories_of
from sparsespike.simulator.hardware import chip_text
from sparsespike.simulator.sram import macro_costs
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import save_trace
from test_energy import TEXT

TRACE = synthetic_trace(images=1)


def table_file(folder: Path, *edits: tuple[str, str], name: str = "mine.toml") -> Path:
    """cmos45 with changes, each of which must hit exactly one place."""
    text = TEXT
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def flat_file(folder: Path, number: str) -> Path:
    """cmos45 with this number for every value, low and high."""
    path = folder / f"{number}.toml"
    path.write_text(re.sub(r"(?m)^(value|low|high) = .*$", rf"\1 = {number}", TEXT), encoding="utf-8")
    return path


# --- numbers ------------------------------------------------------------------------------------------------------

ADD = "value = 0.003125\nlow = 0.003\nhigh = 0.0075\n"


@pytest.mark.parametrize("number", ["1e308", "1e305", "1.1e9", "0.9e-12", "1e-300"])
@pytest.mark.parametrize("key", ["value", "low", "high"])
def test_a_number_that_no_process_has_is_refused(tmp_path: Path, key: str, number: str) -> None:
    path = table_file(tmp_path, (ADD, re.sub(rf"{key} = .*", f"{key} = {number}", ADD)))
    with pytest.raises(UserError, match=rf"primitives\.add_bit\.{key} = .*: must be 0, or from 1e-12 to 1e\+09"):
        load_energy_table(path)


@pytest.mark.parametrize("key", ["widen", "leakage_widen"])
def test_a_band_without_end_is_refused(tmp_path: Path, key: str) -> None:
    from test_energy_scaling import SCALED

    path = tmp_path / "mine.toml"
    path.write_text(re.sub(rf"(?m)^{key} = .*$", f"{key} = 1e300", SCALED))
    with pytest.raises(UserError, match=rf"scaled\.{key} = 1e\+300"):
        load_energy_table(path)


@pytest.mark.parametrize("number", ["1e9", "1e-12", "0.0"])
def test_the_largest_and_the_smallest_numbers_and_none_go_all_the_way(
    tmp_path: Path, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Simulated, printed, written, priced again; everything that is written is a number of JSON."""
    table, trace, report = flat_file(tmp_path, number), tmp_path / "t.safetensors", tmp_path / "r.json"
    save_trace(TRACE, trace)
    run_single(RunRequest(trace, hardware="edge", energy=str(table), json=report, per_weight=True))
    show_repriced(report, [str(table)], tmp_path / "prices.json")
    plain, prices = (json.loads(path.read_text()) for path in (report, tmp_path / "prices.json"))
    assert prices["priced"][0]["energy_pj"] == plain["energy_pj"]
    free = number == "0.0"
    assert (plain["energy_pj"]["total"] == 0) == free
    assert (plain["tops_per_w"] is None) == free
    assert plain["pj_per_synaptic_event"] == plain["energy_pj"]["total"] / plain["synaptic_events"]
    assert ("per synaptic operation" in capsys.readouterr().out) == (not free)


def test_sums_beyond_64_bits_are_attributed_as_they_are_priced() -> None:
    """Four layers of 2^62 additions, and of as many cycles."""
    counts, layers = np.zeros((4, len(Action)), np.int64), ("a", "b", "c", "d")
    counts[:, Action.ADD] = 2**62
    cycles = np.full(4, 2**62)
    chip = load_chip("edge")
    energy = Pricer(chip, load_energy_table("cmos45"))(counts, cycles, layers)
    assert energy.by_component()["lanes"] == pytest.approx(2.0**64 * chip.core.accumulator_bits * 0.003125, rel=1e-12)
    for parts in (energy.by_entry(), energy.by_kind()):
        assert min(parts.values()) >= 0
        assert sum(parts.values()) == pytest.approx(energy.total[1], rel=1e-12)


def test_a_register_s_band_is_what_its_source_gives() -> None:
    """8-bit register 0.083 pJ; low: half; high: a bit written to CACTI's macro of 4 KiB x 32 bit in lop."""
    entry = load_energy_table("cmos45").primitives.register_bit
    assert entry.value == 0.083 / 8
    assert entry.low == pytest.approx(entry.value / 2, rel=5e-3)
    assert entry.high == pytest.approx(lop45(4, 32, "write_pj") / 32, rel=5e-3)


def test_factors_on_cacti_s_figures_count_at_cacti_s_nodes_too(tmp_path: Path) -> None:
    access = "value = 1.0\nlow = 0.8\nhigh = 3.2"
    leakage = "value = 1.0\nlow = 0.3\nhigh = 3.0"
    table = load_energy_table(
        table_file(tmp_path, (access, access.replace("1.0", "2.0")), (leakage, leakage.replace("1.0", "1.5")))
    )
    chip = load_chip("edge")
    prices, own = find_prices(chip, table), macro_costs(chip)
    for name, (macro, cost) in memories_of(chip, table).items():
        plain = own[name][1]
        assert macro == own[name][0]
        assert (cost.read_pj, cost.write_pj, cost.leak_mw) == (
            2 * plain.read_pj,
            2 * plain.write_pj,
            1.5 * plain.leak_mw,
        )
        assert (cost.access_ns, cost.area_mm2) == (plain.access_ns, plain.area_mm2)
    assert prices.action[Action.WEIGHT_READ, 1] == memories_of(chip, table)["weights"][1].read_pj


# --- words --------------------------------------------------------------------------------------------------------


def test_blanks_are_no_source(tmp_path: Path) -> None:
    blank = f"{' ' * 13}"
    add = f'source = "{load_energy_table("cmos45").primitives.add_bit.source}"'
    with pytest.raises(UserError, match=r"primitives\.add_bit\.source"):
        load_energy_table(table_file(tmp_path, (add, f'source = "{blank}"')))
    chip = tmp_path / "chip.toml"
    text, _, said = chip_text("edge")[0].partition("[[sources]]")
    chip.write_text(text + "[[sources]]" + re.sub('source = ".*"', f'source = "{blank}"', said))
    with pytest.raises(UserError, match=r"sources\.0\.source"):
        load_chip(chip)


WRONG = {
    "a hash of one's own": ([('name = "cmos45"', 'name = "mine"\nsha256 = "ff"')], ["sha256: unknown key"]),
    "a file of one's own": ([('name = "cmos45"', 'name = "mine"\nfile = "x"')], ["file: unknown key"]),
    "an action that is no table": (
        [('name = "cmos45"', 'name = "mine"\nactions = { add = 3.0 }')],
        ["actions.add = 3.0: must be a table with keys of its own"],
    ),
    "actions that are no table": (
        [('name = "cmos45"', 'name = "mine"\nactions = 3')],
        ["actions = 3: must be a table with keys of its own"],
    ),
    "no node": ([("\nnode_nm = 45\ndescription", "\ndescription")], ["node_nm: missing"]),
}


@pytest.mark.parametrize(("edits", "fragments"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_table_is_said_once(
    tmp_path: Path, edits: list[tuple[str, str]], fragments: list[str]
) -> None:
    path = table_file(tmp_path, *edits)
    with pytest.raises(UserError) as caught:
        load_energy_table(path)
    assert str(caught.value).count("; ") == sum("unknown key" in fragment for fragment in fragments)  # and its hint
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []
    assert "instance of" not in str(caught.value)


def test_a_table_without_dram_prices_no_chip(tmp_path: Path) -> None:
    path = tmp_path / "nodram.toml"
    path.write_text(TEXT.partition("# Row activation")[0] + "[dram]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"nodram\.toml: dram: names no type of DRAM, of which every chip has one$"):
        load_energy_table(path)


def test_messages_name_the_file_of_a_table_not_its_name_alone(tmp_path: Path) -> None:
    hbm = TEXT.partition("[dram.LPDDR4.read]")[0] + "[dram.HBM2.read]" + TEXT.partition("[dram.HBM2.read]")[2]
    path = tmp_path / "hbm.toml"
    path.write_text(hbm, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        simulate(TRACE, load_chip("edge"), path)
    assert str(caught.value) == f"dram.type = 'LPDDR4': not in table 'cmos45' ({path}); valid: HBM2"
    with pytest.raises(UserError, match=rf"energy table 'cmos45' \({path}\) is of 45 nm"):
        simulate(TRACE, load_chip("edge", {"technology.node_nm": 22}), path)


def test_a_node_without_table_or_macros_is_named_with_its_key() -> None:
    with pytest.raises(UserError, match=r"^technology\.node_nm = 16: no energy table of 16 nm is shipped"):
        simulate(TRACE, load_chip("edge", {"technology.node_nm": 16}))
    with pytest.raises(UserError, match=r"technology\.node_nm = 90, technology\.sram_device = 'lstp': no SRAM table"):
        macro_costs(load_chip("edge", {"technology.node_nm": 90}))


def test_all_faults_of_all_tables_are_said_at_once(tmp_path: Path) -> None:
    one = table_file(tmp_path, (ADD, ADD.replace("low = 0.003\n", "low = -0.003\n")), name="one.toml")
    other = table_file(tmp_path, ('unit = "pJ/bit/mm"', 'unit = "fJ/bit/mm"'), name="other.toml")
    with pytest.raises(UserError) as caught:
        load_energy_tables([one, "cmos45", "nope", other, "cmos15"])
    fragments = [f"{one}: primitives.add_bit", f"{other}: primitives.link_bit_mm.unit", "'nope'", "'cmos15'"]
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []


def test_all_faults_of_sources_are_said_at_once(tmp_path: Path) -> None:
    """A kind that is none hides neither keys that are named twice nor unknown ones."""
    path = tmp_path / "chip.toml"
    text = chip_text("edge")[0].partition("[[sources]]")[0]
    entry = '[[sources]]\nkind = "{}"\nsource = "somewhere in a document"\nkeys = {}\n'
    path.write_text(
        text
        + entry.format("guessed", '["core.lanes", "core.lane"]')
        + entry.format("chosen", '["core.lanes"]')
        + entry.format("chosen", "3")
    )
    with pytest.raises(UserError) as caught:
        load_chip(path)
    for fragment in ("'guessed'", "core.lane: unknown key", "core.lanes: named 2 times", "sources.2.keys = 3"):
        assert fragment in str(caught.value)


def test_a_report_with_a_number_that_json_has_not_is_not_written(tmp_path: Path) -> None:
    report = simulate(TRACE, load_chip("edge"))
    report.energy_pj["total"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        report.save(tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []
