"""Energy tables of one's own: numbers that are too large or too small, everything free, what files get wrong."""

import json
import re
from pathlib import Path

import pytest
from sparsespike import UserError, load_chip, simulate
from sparsespike.analysis.reprice_view import show_repriced
from sparsespike.analysis.single import RunRequest, run_single
from sparsespike.simulator.energy import load_energy_table
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


def test_a_report_with_a_number_that_json_has_not_is_not_written(tmp_path: Path) -> None:
    report = simulate(TRACE, load_chip("edge"))
    report.energy_pj["total"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        report.save(tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []
