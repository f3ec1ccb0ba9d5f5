"""One run under other technologies, from its report: the same to the last bit under its own, counts as they were."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparsespike.analysis.reprice_view import components_table, labels, show_repriced, totals_table
from sparsespike.simulator import engine
from sparsespike.simulator.activity import Action
from sparsespike.simulator.energy import load_energy_table, price, pricer
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import Chip, load_chip
from sparsespike.simulator.report import Report, chip_sha256, simulate
from sparsespike.simulator.report_file import load_report
from sparsespike.simulator.reprice import reprice, saved_run
from sparsespike.simulator.synthetic import synthetic_trace
from test_energy import TEXT

Plain = dict[str, Any]
CHIPS = {"edge": {}, "mesh16": {}, "mesh16 at 22 nm": {"technology.node_nm": 22, "dram.type": "HBM2"}}
TRACE = synthetic_trace(height=4, width=4, sps=(4, 8), depth=2, heads=2, timesteps=2)


def chip_of(name: str) -> Chip:
    return load_chip(name.split()[0], CHIPS[name])


@pytest.fixture(scope="module", params=CHIPS)
def report(request: pytest.FixtureRequest) -> Report:
    chip = chip_of(request.param)
    return simulate(TRACE, chip, f"cmos{chip.technology.node_nm}")


@pytest.fixture(scope="module")
def plain() -> Plain:
    """A report on `edge` as plain data, through JSON."""
    return json.loads(json.dumps(simulate(TRACE, load_chip("edge")).to_json()))


def test_a_report_priced_with_its_own_table_costs_exactly_what_it_says(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    saved = load_report(tmp_path / "report.json")
    (again,) = reprice(saved_run(saved), [report.table])
    assert again.energy.to_json() == saved["energy_pj"] == report.energy_pj
    rows = again.energy.by_layer_and_component()
    assert [rows[layer["name"]] for layer in saved["layers"]] == [layer["energy_pj"] for layer in saved["layers"]]
    assert again.chip == report.chip


def test_pricing_leaves_the_counts_alone_and_is_what_a_simulation_under_that_table_costs(plain: Plain) -> None:
    before = copy.deepcopy(plain)
    run = saved_run(plain)
    counts, cycles = run.counts.copy(), run.cycles.copy()
    names = ("cmos45", "formula45", "cmos28", "cmos22", "cmos14")
    for one, name in zip(reprice(run, [load_energy_table(name) for name in names]), names, strict=True):
        chip = load_chip("edge", {"technology.node_nm": one.table.node_nm})
        activity = engine.run(TRACE, chip)
        assert one.energy.to_json() == price(activity, chip, load_energy_table(name)).to_json()
    assert plain == before
    assert np.array_equal(run.counts, counts)
    assert np.array_equal(run.cycles, cycles)


def test_the_formula_by_hand_and_its_distance_by_component(plain: Plain) -> None:
    full, formula = reprice(saved_run(plain), [load_energy_table("cmos45"), load_energy_table("formula45")])
    counts = plain["counts"]
    macs = counts["multiply_add"] + counts["selector_mac"] + counts["attention_mac"]
    expected = 4.6 * macs + 0.9 * (counts["add"] + counts["attention_add"])
    assert formula.energy.total.tolist() == [pytest.approx(expected, rel=1e-12)] * 3
    paid = {name for name, pj in formula.energy.by_component().items() if pj}
    assert paid <= {"lanes", "token_unit", "attention"}
    assert formula.energy.dram_share == 0.0 < full.energy.dram_share
    assert full.energy.total[1] > 2 * formula.energy.total[1]
    assert full.energy.by_component()["lanes"] < formula.energy.by_component()["lanes"]  # floats for 28-bit sums


def test_prices_of_chip_and_table_are_kept_but_tables_are_never_confused(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tables of one name and hash, as `model_copy` makes them; amounts are made once, whatever the prices are."""
    made = []
    recipes = pricer.action_recipes
    monkeypatch.setattr(pricer, "action_recipes", lambda *arguments: made.append(1) or recipes(*arguments))
    pricer._amounts.cache_clear()
    run, base = saved_run(plain), load_energy_table("cmos45")
    adds = sum(layer["counts"]["add"] for layer in plain["layers"])
    entry, totals = base.primitives.add_bit, []
    for step in range(20):
        changed = entry.model_copy(update={"value": entry.value + 1e-5 * step})
        table = base.model_copy(update={"primitives": base.primitives.model_copy(update={"add_bit": changed})})
        one, again = (reprice(run, [table])[0].energy for _ in range(2))
        assert one.prices is again.prices
        totals.append(one.by_component()["lanes"] - step * 1e-5 * adds * run.chip.core.accumulator_bits)
    macs = sum(layer["counts"]["multiply_add"] for layer in plain["layers"])
    drift = 19 * 1e-5 * macs * run.chip.core.accumulator_bits  # the additions of multiply-accumulates
    assert totals[-1] - totals[0] == pytest.approx(drift, rel=1e-6)
    assert len(made) == 1


# --- what is refused ----------------------------------------------------------------------------------------------


def _lacking(data: Plain) -> None:
    """As a version wrote it that knew one action less."""
    del data["counts"]["pool_add"]
    for layer in data["layers"]:
        del layer["counts"]["pool_add"]


def _unknown(data: Plain) -> None:
    data["layers"][0]["counts"]["flit_hops"] = 3


def _count(data: Plain) -> None:
    data["layers"][1]["counts"]["add"] += 1


def _cycles(data: Plain) -> None:
    data["cycles"] += 5
    data["cycles_per_image"][0] += 5


def _negative(data: Plain) -> None:
    data["layers"][0]["counts"]["add"] -= 10**9
    data["counts"]["add"] -= 10**9


def _huge(data: Plain) -> None:
    data["layers"][0]["counts"]["add"] += 2**70
    data["counts"]["add"] += 2**70


def _none(data: Plain) -> None:
    data["layers"] = []


def _twice(data: Plain) -> None:
    data["layers"][1]["name"] = data["layers"][0]["name"]


def _chip(data: Plain) -> None:
    data["provenance"]["chip"]["core"]["lanes"] += 1


def _key(data: Plain) -> None:
    data["provenance"]["chip"]["core"]["lane"] = data["provenance"]["chip"]["core"].pop("lanes")


def _no_chip(data: Plain) -> None:
    del data["provenance"]["chip"]


def _list(data: Plain) -> None:
    data["provenance"]["chip"] = []


def _beyond(data: Plain) -> None:
    """Each layer's number is within 64 bits, their sum is not."""
    for layer in data["layers"]:
        layer["counts"]["add"] = 2**62
    data["counts"]["add"] = 2**62 * len(data["layers"])


def _several(data: Plain) -> None:
    _count(data)
    _cycles(data)
    _key(data)


DAMAGE = {
    "an older version's": (_lacking, ["counts lack pool_add; simulate the trace again"]),
    "an unknown action": (_unknown, ["counts hold 'flit_hops', no action; did you mean 'flit_hop'?"]),
    "counts that do not add up": (_count, ["counts.add = ", "its layers add up to "]),
    "cycles that do not add up": (_cycles, ["cycles = ", "its layers add up to "]),
    "a negative count": (_negative, ["add below 0 or beyond"]),
    "a count beyond 64 bits": (_huge, ["add below 0 or beyond"]),
    "no layers": (_none, ["layers: there are none"]),
    "two layers of one name": (_twice, ["two of one name"]),
    "another chip": (_chip, ["provenance.chip: is not the chip that provenance.chip_sha256 is of"]),
    "an unknown key of the chip": (
        _key,
        ["provenance.chip.core.lanes: missing", "provenance.chip.core.lane: unknown key; did you mean 'core.lanes'?"],
    ),
    "no chip": (_no_chip, ["provenance.chip.core: missing"]),
    "a list for the chip": (_list, ["provenance.chip = []: must be a table"]),
    "a sum beyond 64 bits": (_beyond, ["counts.add = ", ": beyond 9223372036854775807"]),
    "several": (_several, ["counts.add = ", "cycles = ", "provenance.chip.core.lane: unknown key"]),
}


@pytest.mark.parametrize(("damage", "fragments"), DAMAGE.values(), ids=DAMAGE)
def test_an_old_or_damaged_report_is_refused_with_all_its_faults(
    plain: Plain, tmp_path: Path, damage: Any, fragments: list[str]
) -> None:
    data = copy.deepcopy(plain)
    damage(data)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError) as caught:
        show_repriced(path, ["cmos45"], tmp_path / "prices.json")
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be priced again: ")
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert not (tmp_path / "prices.json").exists()


def test_tables_that_do_not_fit_are_refused_together(plain: Plain, tmp_path: Path) -> None:
    """DRAM that no table knows, and memories of a node that CACTI has not."""
    data = copy.deepcopy(plain)
    chip = load_chip("edge", {"dram.type": "LPDDR5"})
    data["provenance"] |= {"chip": chip.model_dump(), "chip_sha256": chip_sha256(chip)}
    with pytest.raises(UserError, match=r"table 'cmos45': dram\.type = 'LPDDR5'.*'LPDDR4'.*; table 'cmos14': "):
        reprice(saved_run(data), [load_energy_table("cmos45"), load_energy_table("cmos14")])


def test_memories_that_a_node_makes_too_slow_are_refused(plain: Plain) -> None:
    data = copy.deepcopy(plain)
    chip = load_chip("edge", {"clock_mhz": 2000.0})
    data["provenance"] |= {"chip": chip.model_dump(), "chip_sha256": chip_sha256(chip)}
    with pytest.raises(UserError, match=r"table 'cmos45': .* answers in .* a clock period at 2000 MHz is 0\.50 ns"):
        reprice(saved_run(data), [load_energy_table("cmos45")])


# --- what is printed and written ----------------------------------------------------------------------------------


def test_prices_are_printed_and_written(plain: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "report.json", tmp_path / "deep" / "prices.json"
    path.write_text(json.dumps(plain))
    show_repriced(path, ["cmos45", "formula45", "cmos14"], out)
    said = " ".join(capsys.readouterr().out.split())  # notes are wrapped
    written = json.loads(out.read_text())
    assert [one["energy_table"] for one in written["priced"]] == ["cmos45", "formula45", "cmos14"]
    assert written["priced"][0]["energy_pj"] == plain["energy_pj"]
    assert written["reported"] == {"energy_table": "cmos45", "total_pj": plain["energy_pj"]["total"]}
    for one in written["priced"]:
        energy = one["energy_pj"]
        assert set(energy["bands"]["by_component"]) == set(energy["by_component"])
        assert f"{100 * energy['assumed_share']:.1f} %" in said
        assert f"{100 * energy['dram_share']:.1f} %" in said
        assert energy["warning"] in said
    assert "taken to be built there, at the same clock" in said
    show_repriced(path, [], None)
    table = capsys.readouterr().out
    assert "formula45" in table
    assert "cmos14" not in table  # all shipped tables of the chip's own node


def test_a_total_that_rests_on_guesses_says_so_by_its_table(
    plain: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """cmos45 with a clock at the upper end of its band, which is assumed."""
    path, mine = tmp_path / "report.json", tmp_path / "mine.toml"
    path.write_text(json.dumps(plain))
    text = TEXT.replace("value = 0.002\n", "value = 0.009\n").replace('"cmos45"', '"loud clock"')
    mine.write_text(text, encoding="utf-8")
    show_repriced(path, [str(mine), "formula45"], None)
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if "rests on assumed prices" in line]
    assert line.startswith("loud clock: ")
    assert "primitives.clock_bit" in line


def test_two_tables_of_one_name_are_told_apart_by_their_files(
    plain: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(plain))
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(TEXT + f"# {name}\n", encoding="utf-8")
    tables = [load_energy_table(tmp_path / f"{name}.toml") for name in ("a", "b")]
    priced = reprice(saved_run(plain), [*tables, load_energy_table("formula45")])
    expected = [f"cmos45 ({tmp_path / 'a.toml'})", f"cmos45 ({tmp_path / 'b.toml'})", "formula45"]
    assert labels(priced) == expected
    assert [row[0] for row in totals_table(priced, 1, 45).rows] == expected
    assert components_table(priced, 1).columns[1:] == tuple(expected)
    assert labels(priced[1:]) == ["cmos45", "formula45"]


def test_counts_that_were_changed_consistently_are_told_by_the_table_that_priced_them(
    plain: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data = tmp_path / "report.json", copy.deepcopy(plain)
    said = "this very table priced the report"
    path.write_text(json.dumps(data))
    show_repriced(path, ["cmos45", "cmos22"], None)
    assert said not in capsys.readouterr().out
    data["layers"][0]["counts"]["add"] += 10**6
    data["counts"]["add"] += 10**6
    path.write_text(json.dumps(data))
    show_repriced(path, ["cmos22", "cmos45"], None)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if said in line]
    assert line.startswith("cmos45: ")


def test_a_bound_says_that_its_prices_are_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sparsespike.simulator.report import bound_report

    bound_report(TRACE, load_chip("edge")).save(tmp_path / "bound.json")
    show_repriced(tmp_path / "bound.json", ["cmos45"], None)
    assert "lower bounds, nothing was stepped" in capsys.readouterr().out


def test_every_action_stands_in_a_report(plain: Plain) -> None:
    assert set(plain["counts"]) == {action.key for action in Action}
