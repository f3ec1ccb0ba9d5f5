"""`sparsespike hardware --check`: what it prints is what the files say, and the page shows what the command prints."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cacti import HELD_OUT, ROWS, off_grid
from sparsespike.analysis import sram_view
from sparsespike.analysis.explore.results import front_table
from sparsespike.analysis.readme import block_names
from sparsespike.analysis.sram_validation import published, validations
from sparsespike.analysis.sram_view import (
    TABLES,
    chip_tables,
    fill,
    held_out_table,
    leakage_table,
    published_table,
    show_hardware,
)
from sparsespike.analysis.views import area_table, extrapolated_note, summary_table
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import chip_text

PAGE = Path(__file__).resolve().parent.parent / "hwconfigs" / "energy" / "README.md"


def test_published_reads_stand_beside_the_macros_of_every_transistor_type():
    assert [(read.size_kib, read.read_pj) for read in published()] == [(8, 10), (32, 20), (1024, 100)]
    table = published_table()
    assert table.columns == ("macro", "published", "hp", "lop", "lstp")
    for row, read in zip(table.rows, published(), strict=True):
        for device, cell in zip(table.columns[2:], row[2:], strict=True):
            ours = ROWS[45, device, read.size_kib, 64]["read_pj"]
            assert cell == f"{ours:.2f} pJ ({read.read_pj / ours:.2f})"


def test_errors_are_those_of_the_points_in_the_file():
    assert not ROWS.keys() & HELD_OUT.keys()
    found = {(check.node_nm, check.device): check for check in validations()}
    assert sum(len(check.points) for check in found.values()) == len(HELD_OUT)
    check = found[45, "lop"]
    for point, error in zip(check.points, check.errors, strict=True):
        cacti = HELD_OUT[45, "lop", point.size_kib, point.width_bits]
        assert point.cost == pytest.approx(list(cacti.values()), rel=1e-12)
        assert np.all(np.abs(error) < 0.5)


def test_what_a_table_of_octaves_would_miss_is_what_the_page_says():
    off, held = 0, 0
    for process in {key[:2] for key in ROWS}:
        for width in {key[3] for key in ROWS if key[:2] == process}:
            sizes = [2.0**octave for octave in range(12) if (*process, 2.0**octave, width) in ROWS]
            reads = [ROWS[(*process, size, width)]["read_pj"] for size in sizes]
            for key, cost in HELD_OUT.items():
                if key[:2] == process and key[3] == width:
                    read = np.exp(np.interp(np.log(key[2]), np.log(sizes), np.log(reads)))
                    off, held = off + (abs(read / cost["read_pj"] - 1) > 0.15), held + 1
    assert round(held / off) == 15
    assert f"one held-out read energy in fifteen ({100 * off / held:.1f} % of {held})" in PAGE.read_text("utf-8")


def test_leakage_by_node_and_type_is_of_subthreshold_and_gates_together():
    table = leakage_table()
    rows = {row[0]: row for row in table.rows}
    leak = {key: ROWS[(*key, 16.0, 64)]["leak_mw"] for key in {key[:2] for key in ROWS}}
    for node in (65, 45, 32, 22):
        cells = [f"{leak[node, device] * 1e6 / 131072:.3g} nW" for device in ("hp", "lop", "lstp")]
        ratios = [f"{leak[node, 'lop'] / leak[45, 'lop']:.2f} x", f"{leak[node, 'lop'] / leak[node, 'lstp']:.0f} x"]
        assert list(rows[f"{node} nm"]) == [f"{node} nm", *cells, *ratios]


@pytest.mark.parametrize("on_curve", [True, False])
def test_the_held_out_table_has_a_row_for_every_process(on_curve):
    table = held_out_table(on_curve)
    assert len(table.rows) == 12
    for row, check in zip(table.rows, validations(), strict=True):
        read = np.abs(check.errors[check.on_curve == on_curve, 0])
        assert row[:2] == (f"{check.node_nm} nm {check.device}", str(len(read)))
        assert row[2].startswith(f"{100 * np.median(read):.2f} / {100 * np.percentile(read, 95):.1f} / ")
    errors = np.abs(np.concatenate([check.errors[check.on_curve == on_curve] for check in validations()]))
    assert (
        f"Of {len(errors)} macros {np.sum(errors[:, 0] > 0.1)} are off by more than 10 % in read energy" in table.note
    )
    assert f"{np.sum(errors[:, 4] > 0.15)} by more than 15 % in area" in table.note


def test_the_macros_of_a_chip_add_up_and_say_whether_they_are_in_time(tmp_path):
    table = chip_tables("mesh16")[0]
    weights = dict(zip(table.columns, table.rows[0], strict=True))
    row = ROWS[45, "lstp", 24, 64]
    assert weights["macros"] == "64 x 24 KiB"
    assert weights["read"] == f"{row['read_pj']:.3g} pJ"
    assert weights["access"] == f"{row['access_ns']:.2f} ns, in time"
    assert weights["area"] == f"{64 * row['area_mm2']:.3g} mm²"
    fast = tmp_path / "fast.toml"
    fast.write_text(chip_text("mesh16")[0].replace("clock_mhz = 500.0", "clock_mhz = 700.0"))
    said = {row[0]: row[5] for row in chip_tables(fast)[0].rows}
    assert "in time" in said["weights"]
    assert "too slow" in said["operands"]


@pytest.mark.parametrize("node", [22, 32, 45, 65])
def test_macros_of_a_node_that_cacti_has_need_no_energy_table(node, tmp_path, monkeypatch):
    def none(node_nm):
        raise UserError(f"no table of {node_nm} nm")

    monkeypatch.setattr(sram_view, "table_of_node", none)
    path = tmp_path / "mine.toml"
    path.write_text(chip_text("mesh16")[0].replace("node_nm = 45 ", f"node_nm = {node} "))
    table = chip_tables(path)[0]
    assert table.title.endswith(f"{node} nm lstp")
    assert table.rows[0][3] == f"{off_grid(24, 64, 'read_pj', node, 'lstp'):.3g} pJ"
    path.write_text(chip_text("mesh16")[0].replace("node_nm = 45 ", "node_nm = 14 "))
    with pytest.raises(UserError, match="no table of 14 nm"):
        chip_tables(path)


def test_the_area_of_a_chip_by_block_is_what_its_reports_say(reports):
    report = next(iter(reports.values()))
    table = chip_tables(report["chip"])[1]
    assert table == area_table(report["area_by_block_mm2"], report["area_scope"])
    assert f"Together {report['area_mm2']:.3g} mm²" in table.note


def test_extrapolated_memories_are_marked_in_every_table_that_shows_what_they_cost(tmp_path, reports, swept):
    large = tmp_path / "large.toml"
    text = chip_text("mesh16")[0].replace('sram_device = "lstp"', 'sram_extrapolate = true\nsram_device = "lstp"')
    large.write_text(text.replace("spike_kib = 16.0", "spike_kib = 5000.0"))
    table = chip_tables(large)[0]
    assert [row[0] for row in table.rows if "*" in row[0]] == ["spikes *"]
    assert "extrapolated" in table.note
    assert "extrapolated" not in chip_tables("mesh16")[0].note

    name, report = next(iter(reports.items()))
    marked = {name: report | {"extrapolated_macros": ["spikes", "weights"]}}
    assert extrapolated_note(reports) == ""
    assert f"spikes, weights of {name}" in summary_table(marked, "one").note
    assert "extrapolated" not in front_table(swept, "latency,energy").note
    row = next(row for row in swept if row.feasible)
    row = replace(row, metrics={**row.metrics, "extrapolated": 1})
    assert "1 with memories extrapolated" in front_table([row], "latency,energy").note


def test_the_command_prints_the_checks_and_with_a_name_its_macros(capsys):
    show_hardware("edge", check=True)
    said = capsys.readouterr().out
    for words in (
        "8 KiB x 64 bit",
        "held-out CACTI macros",
        "other word widths",
        "SRAM of edge, 45 nm lstp",
        "in time",
        "Area of the chip",
    ):
        assert words in said
    show_hardware(None, check=True)
    assert "SRAM of" not in capsys.readouterr().out
    with pytest.raises(UserError, match="'edge'"):
        show_hardware("egde", check=True)


def test_the_command_line_takes_the_flag():
    command = [sys.executable, "-m", "sparsespike.cli", "hardware", "--check", "mesh16"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "SRAM of mesh16" in done.stdout
    assert not done.stderr


def test_the_page_shows_what_the_command_prints(tmp_path):
    """Regenerate with: python -m sparsespike.analysis.sram_view hwconfigs/energy/README.md"""
    assert set(block_names(PAGE.read_text("utf-8"), "sram")) == set(TABLES)
    copy = tmp_path / "README.md"
    copy.write_text(PAGE.read_text("utf-8"))
    fill(copy)
    assert copy.read_text("utf-8") == PAGE.read_text("utf-8")
    copy.write_text("<!-- sram:held-ou -->\n<!-- /sram:held-ou -->\n")
    with pytest.raises(UserError, match="'held-out'"):
        fill(copy)


def test_the_figure_has_a_panel_per_node_and_a_ring_per_held_out_macro():
    figure = sram_view.interpolation_figure()
    assert [ax.get_title(loc="center") or ax.get_title(loc="left") for ax in figure.axes] == [
        "22 nm",
        "32 nm",
        "45 nm",
        "65 nm",
    ]
    rings = sum(len(collection.get_offsets()) for ax in figure.axes for collection in ax.collections)
    assert rings == sum(row[3] == 64 for row in HELD_OUT)
