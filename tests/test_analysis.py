"""The analysis room: exact fronts, tables that say what reports say, figures and a page that stand alone."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sparsespike import UserError
from sparsespike.analysis import gallery, readme
from sparsespike.analysis.diff import diff_reports
from sparsespike.analysis.diff_view import headline_table
from sparsespike.analysis.explore import store
from sparsespike.analysis.explore.pareto import non_dominated
from sparsespike.analysis.explore.results import front_table
from sparsespike.analysis.explore.views.figures import scatter_figure
from sparsespike.analysis.page import Section, not_modelled, write_page
from sparsespike.analysis.style import blank, save, styled
from sparsespike.analysis.tables import Table, kib, percent, percent_pruned, si
from sparsespike.analysis.views import assumed_note, layer_table, summary_table, verified_line
from sparsespike.simulator.energy import MUCH
from sparsespike.simulator.trace import Trace

# ---- the front


@given(arrays(np.int64, st.tuples(st.integers(0, 40), st.integers(1, 4)), elements=st.integers(0, 5)))
def test_front_equals_brute_force(points: np.ndarray) -> None:
    expected = [
        not any(all(other <= point) and any(other < point) for other in points.tolist() for other in [np.array(other)])
        for point in points
    ]
    assert non_dominated(points).tolist() == expected


def test_front_of_equal_points_is_all_of_them() -> None:
    assert non_dominated([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]]).tolist() == [True, True, False]


@pytest.mark.parametrize(("points", "text"), [([1.0, 2.0], "two axes"), ([[float("nan"), 1.0]], "not a number")])
def test_front_refuses_what_has_none(points: list[object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        non_dominated(points)


# ---- tables


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"),
        (1.5e-3, "1.50 ms"),
        (2.344e-5, "23.4 µs"),
        (1.0, "1.00 s"),
        (999.6e-9, "1.00 µs"),
        (123456.0, "123 ks"),
        (2.5e-13, "0.25 ps"),
    ],
)
def test_si_prefixes(value: float, text: str) -> None:
    assert si(value, "s") == text


def test_small_formats() -> None:
    assert (kib(512), kib(1 << 20), percent(None), percent(0.975)) == ("0.5 KiB", "1.00 MiB", "-", "97.5 %")


@pytest.mark.parametrize(
    ("left", "of", "text"),
    [
        (10_963, 145_992, "92.49 %"),
        (31_421, 330_744, "90.50 %"),
        (100, 1000, "90.00 %"),
        (71, 100, "29.00 %"),
        (1, 1, "0.00 %"),
        (0, 1, "100.00 %"),
        (1_000_001, 10_000_000, "89.99 %"),
        (1, 10_000_000, "99.99 %"),
    ],
)
def test_pruned_weights_have_two_decimals_and_never_reach_a_percent_by_rounding(left: int, of: int, text: str) -> None:
    assert percent_pruned((of - left) / of) == percent_pruned(1 - left / of) == text


def test_table_forms_hold_every_cell_and_come_back() -> None:
    table = Table("a <title>", ("name", "value"), (("x & y", "1"), ("z", "2")), "a note")
    assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert table.to_markdown().splitlines()[:3] == ["| name | value |", "| --- | ---: |", "| x & y | 1 |"]
    assert "x &amp; y" in table.to_html()
    assert "a &lt;title&gt;" in table.to_html()


# ---- views


def test_front_table_holds_the_front(swept: list[store.Row]) -> None:
    table = front_table(swept, "latency,energy")
    feasible = [row for row in swept if row.metrics is not None]
    values = [(row.metrics["latency"], row.metrics["energy"]) for row in feasible]
    expected = {row.label for row, best in zip(feasible, non_dominated(values), strict=True) if best}
    assert {row[0] for row in table.rows} == expected
    assert "8 more do not fit" in table.note
    with pytest.raises(UserError, match="energy"):
        front_table(swept, "latency,enrgy")


def test_fronts_of_two_traces_are_apart(swept: list[store.Row]) -> None:
    twice = [*swept, *(replace(row, trace="other") for row in swept)]
    assert len(front_table(twice, "latency").rows) == 2 * len(front_table(swept, "latency").rows)


def test_with_accuracy_tickets_compete(swept: list[store.Row]) -> None:
    worse = [replace(row, trace="worse", metrics=row.metrics and {**row.metrics, "accuracy": 0.5}) for row in swept]
    assert front_table([*swept, *worse], "latency,accuracy") == replace(
        front_table(swept, "latency,accuracy"), note="1 of 16 points; 16 more do not fit."
    )


def test_tables_say_what_the_report_says(reports: dict[str, dict[str, object]]) -> None:
    table = summary_table(reports, "three chips")
    assert [row[0] for row in table.rows] == ["edge", "mesh16", "dense"]
    for row in table.rows:
        cycles = reports[row[0]]["cycles"]
        assert row[1] == f"{cycles / 2:,.0f}"  # type: ignore[operator]
        energy = reports[row[0]]["energy_pj"]
        ends = (si(energy[end] / 2 * 1e-12, "J") for end in ("low", "high"))  # type: ignore[index]
        assert dict(zip(table.columns, row, strict=True))["band"] == " to ".join(ends)
    layers = layer_table(reports["edge"])
    assert [row[0] for row in layers.rows] == [layer["name"] for layer in reports["edge"]["layers"]]  # type: ignore[attr-defined]


def test_a_table_that_shows_energy_says_what_of_it_is_assumed(reports: dict[str, dict[str, Any]]) -> None:
    """Above a tenth; and so does a comparison of two runs, of each side."""
    shares = {name: report["energy_pj"]["assumed_share"] for name, report in reports.items()}
    assert min(shares.values()) > MUCH == 0.1
    note = summary_table(reports, "three chips").note
    said = ", ".join(f"{percent(share)} of {name}'s" for name, share in shares.items())
    assert f"Energy that rests on assumed prices: {said}." in note
    few = {"edge": _with_share(reports["edge"], 0.1), "mesh16": _with_share(reports["mesh16"], 0.1001)}
    assert "assumed prices: 10.0 % of mesh16's." in summary_table(few, "two chips").note
    assert "assumed" not in summary_table({"edge": few["edge"]}, "one chip").note
    both = headline_table(diff_reports(reports["edge"], reports["mesh16"])).note
    assert both == assumed_note({"A": shares["edge"], "B": shares["mesh16"]})
    assert headline_table(diff_reports(*few.values())).note == "Energy that rests on assumed prices: 10.0 % of B's."


def _with_share(report: dict[str, Any], share: float) -> dict[str, Any]:
    return report | {"energy_pj": report["energy_pj"] | {"assumed_share": share}}


# ---- figures and page


@pytest.fixture(scope="session")
def demo_folder(
    reports: dict[str, dict[str, object]],
    trace: Trace,
    swept: list[store.Row],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    tables = {"chips": summary_table(reports, "three chips"), "front": front_table(swept, "latency,energy")}
    tables["ablation"] = summary_table(reports, "ablation", "ticket")
    gallery.write_demo(gallery.Gallery(reports, reports, trace, tables, swept), folder)
    return folder


@pytest.mark.parametrize(("updates", "text"), [(6, "12 spikes of 60 "), (0, "12 activations above 0 of 60 ")])
def test_what_was_verified_is_called_by_its_name(updates: int, text: str) -> None:
    compared = {"spikes": 12, "neurons": 60, "tokens": 3, "logits": 10, "all_equal": True}
    report = {"verified": compared, "counts": {"neuron_update": updates}}
    assert text in verified_line([report])


def test_every_figure_is_there_as_png_and_svg(demo_folder: Path) -> None:
    for name in gallery.CAPTIONS:
        png = (demo_folder / "figures" / f"{name}.png").read_bytes()
        drawing = (demo_folder / "figures" / f"{name}.svg").read_text()
        assert png.startswith(b"\x89PNG")
        assert min(len(png), len(drawing)) > 5000
        assert "</svg>" in drawing


def test_figures_have_axes_with_units_and_one_bar_per_thing(
    reports: dict[str, dict[str, object]], trace: Trace
) -> None:
    with styled():
        energy = gallery.energy_figure(reports).axes[0]
        cycles = gallery.cycles_figure(reports["mesh16"]).axes[0]
        tokens = gallery.tokens_figure(trace).axes
    assert "µJ" in energy.get_ylabel()
    tops = [max(p.get_y() + p.get_height() for p in energy.patches if round(p.get_x() + 0.3) == n) for n in range(3)]
    totals = [report["energy_pj"]["total"] / 2e6 for report in reports.values()]  # type: ignore[index]
    assert tops == pytest.approx(totals)
    ends = [max(p.get_x() + p.get_width() for p in cycles.patches if round(p.get_y() + 0.39) == n) for n in range(3)]
    layers = reports["mesh16"]["layers"]
    assert ends == pytest.approx([layer["cycles"] / 2e3 for layer in layers[:3]])  # type: ignore[index]
    # a veil over every token that was dropped, and over no other; none on the untouched images
    assert [len(ax.images) for ax in tokens] == [1] * 2 + [2] * (2 * len(trace.kept))
    for at, ax in enumerate(tokens[2:]):
        opaque = np.asarray(ax.images[1].get_array())[..., 3].reshape(-1) > 0
        assert np.array_equal(np.flatnonzero(~opaque), trace.kept[at // 2][at % 2])


def test_figures_leave_the_users_matplotlib_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    with styled():
        save(blank(1, 1), tmp_path, "nothing")
    assert dict(matplotlib.rcParams) == before
    code = "import sys, sparsespike.analysis.gallery\nprint('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_same_data_gives_the_same_figure(swept: list[store.Row], tmp_path: Path) -> None:
    paths = [tmp_path / folder / f"points.{ending}" for ending in ("png", "svg") for folder in "ab"]
    with styled():
        for folder in "ab":
            save(scatter_figure(swept), tmp_path / folder, "points")
    png, same_png, svg, same_svg = (path.read_bytes() for path in paths)
    assert (png, svg) == (same_png, same_svg)


class _Page(HTMLParser):
    """Every address that the page would fetch, every id, and whether each tag is closed."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data") and not (value or "").startswith(("#", "data:")):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(demo_folder: Path) -> None:
    text = (demo_folder / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.addresses == []
    assert "http" not in text
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert text.count("<svg ") == len(gallery.CAPTIONS)
    assert re.search(r"url\((?!#)", text) is None
    # references resolve, and to one element only
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert references
    assert set(references) <= set(page.ids)
    assert not_modelled().split(";")[0].split("`")[0] in text
    assert '<meta name="viewport"' in text


def test_the_page_escapes_what_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, "<b>", "a & b", [Section("<i>", ["<script>"])], {"<u>": "<s>"})
    text = path.read_text()
    assert "&lt;script&gt;" in text
    assert "<script" not in text


# ---- the README's blocks


def test_readme_blocks_are_filled_from_a_demo(demo_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    picture = "<!-- figures:energy -->\n<!-- /figures:energy -->\n"
    path.write_text(f"a\n<!-- figures:chips -->\nold\n<!-- /figures:chips -->\nb\n{picture}")
    assert readme.fill(path, demo_folder) == ["chips", "energy"]
    text = path.read_text()
    assert "old" not in text
    assert "| mesh16 |" in text
    assert "(analysis/gallery/energy.png)" in text
    assert (tmp_path / "analysis" / "gallery" / "energy.png").read_bytes().startswith(b"\x89PNG")
    readme.fill(path, demo_folder)
    assert path.read_text() == text
    path.write_text("<!-- figures:enrgy -->\n<!-- /figures:enrgy -->")
    with pytest.raises(UserError, match="energy"):
        readme.fill(path, demo_folder)
