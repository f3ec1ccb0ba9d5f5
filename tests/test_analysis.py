"""The analysis room: exact fronts, sweeps that survive anything, figures and a page that stand alone."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sparsespike import UserError, load_chip, load_trace, simulate
from sparsespike.analysis import gallery, readme, space, store, sweep
from sparsespike.analysis.frontier import non_dominated
from sparsespike.analysis.page import Section, not_modelled, write_page
from sparsespike.analysis.results import front_table, plot_results, read_rows
from sparsespike.analysis.style import blank, save, styled
from sparsespike.analysis.tables import Table, kib, percent, si
from sparsespike.analysis.views import layer_table, per_image, summary_table
from sparsespike.simulator.trace import Trace, save_trace

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


def test_table_forms_hold_every_cell_and_come_back() -> None:
    table = Table("a <title>", ("name", "value"), (("x & y", "1"), ("z", "2")), "a note")
    assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert table.to_markdown().splitlines()[:3] == ["| name | value |", "| --- | ---: |", "| x & y | 1 |"]
    assert "x &amp; y" in table.to_html()
    assert "a &lt;title&gt;" in table.to_html()


# ---- real material, small: one image, three chips


@pytest.fixture(scope="session")
def trace_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sparsespike.model.export import trace_dataset
    from sparsespike.model.tickets import shipped

    path = tmp_path_factory.mktemp("analysis") / "digits.safetensors"
    save_trace(trace_dataset(shipped("digits"), "digits", 2), path)
    return path


@pytest.fixture(scope="session")
def trace(trace_file: Path) -> Trace:
    return load_trace(trace_file)


@pytest.fixture(scope="session")
def reports(trace: Trace) -> dict[str, dict[str, object]]:
    return {name: simulate(trace, load_chip(name)).to_json() for name in ("edge", "mesh16", "dense")}


SPACE = """
chip = "edge"
images = 1
[axes]
core.lanes = [1, 2, 4, 8]
core.weight_kib = [0.125, 32.0]
core.weight_format = ["bitmap", "csr"]
"""


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="session")
def swept(trace_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[store.Row]:
    """The space above, swept without a break in one process."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "space.toml").write_text(SPACE)
    outcome = sweep.run_sweep(space.load_space(folder / "space.toml"), [trace_file], folder / "r.sqlite", jobs=1)
    return list(outcome.rows)


# ---- spaces and sweeps


def test_a_space_is_the_whole_grid(space_file: Path) -> None:
    found = space.load_space(space_file)
    assert len(found.candidates) == 4 * 2 * 2
    assert len({json.dumps(dict(candidate.settings)) for candidate in found.candidates}) == 16
    chips = [candidate.chip for candidate in found.candidates if candidate.chip is not None]
    assert {chip.core.lanes for chip in chips} == {1, 2, 4, 8}


def test_shipped_spaces_are_possible() -> None:
    for name in space.space_names():
        assert all(candidate.chip is not None for candidate in space.load_space(name).candidates)


def test_a_corner_without_a_chip_is_a_point_with_a_reason(tmp_path: Path, trace_file: Path) -> None:
    path = tmp_path / "corner.toml"
    path.write_text('chip = "edge"\nimages = 1\n[axes]\ncore.weight_word_bits = [8, 64]\ncore.index_bits = [0, 4]\n')
    with pytest.raises(UserError, match="index_bits"):
        space.load_space(path)
    path.write_text('chip = "edge"\nimages = 1\n[axes]\ncore.weight_word_bits = [9, 64]\ncore.index_bits = [1, 4]\n')
    outcome = sweep.run_sweep(space.load_space(path), [trace_file], tmp_path / "r.sqlite", jobs=1)
    assert [row.feasible for row in outcome.rows] == [True, False, True, True]
    assert "a word must hold a weight and its index" in outcome.rows[1].reason


def test_what_does_not_fit_is_kept_with_its_reason(swept: list[store.Row]) -> None:
    assert len(swept) == 16
    for row in swept:
        assert row.feasible == (row.settings["core.weight_kib"] == 32.0)
        assert row.feasible or "weight" in row.reason
    assert {row.trace.split()[0] for row in swept} == {"digits"}


def test_a_point_is_what_simulate_says(swept: list[store.Row], trace: Trace) -> None:
    row = next(row for row in swept if row.feasible)
    report = simulate(trace, load_chip("edge", dict(row.settings)), images=1).to_json()
    assert row.report is not None
    assert {key: row.report[key] for key in ("cycles", "counts", "energy_pj")} == {
        key: report[key] for key in ("cycles", "counts", "energy_pj")
    }


def test_known_points_are_not_run_again(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.sqlite"
    with store.open_store(out, create=True) as opened:
        for row in swept[:-2]:
            opened.add(row)
    ran = []
    monkeypatch.setattr(sweep, "simulate", lambda *args, **kwargs: ran.append(args) or simulate(*args, **kwargs))
    outcome = sweep.run_sweep(space.load_space(space_file), [trace_file], out, jobs=1)
    assert (len(ran), outcome.known) == (2, 14)
    assert list(outcome.rows) == swept


def test_another_programs_results_are_replaced(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.sqlite"
    with store.open_store(out, create=True) as opened:
        for row in swept:
            opened.add(row)
    monkeypatch.setattr(sweep, "program_version", lambda: "0.0.0+another")
    outcome = sweep.run_sweep(space.load_space(space_file), [trace_file], out, jobs=1)
    assert outcome.known == 0
    assert {row.program for row in read_rows(out)} == {"0.0.0+another"}
    assert len(read_rows(out)) == len(swept)


def test_parallel_equals_serial(swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    found = space.load_space(space_file)
    outcome = sweep.run_sweep(found, [trace_file], tmp_path / "r", jobs=2, step=lambda *step: steps.append(step))
    assert list(outcome.rows) == swept
    assert steps == [(done, 16) for done in range(17)]


def test_an_interrupted_sweep_goes_on(swept: list[store.Row], space_file: Path, trace_file: Path) -> None:
    """Ctrl-C reaches the whole group of processes, as it does in a terminal."""
    out = space_file.parent / "r.sqlite"
    arguments = ["sweep", trace_file, "--space", space_file, "--out", out, "--jobs", 2]
    command = [sys.executable, "-m", "sparsespike.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while _points_in(out) < 1 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert re.fullmatch(r"interrupted; \d+ of 16 points are kept in .*, and the same command goes on .*\n", complaint)
    kept = _points_in(out)
    assert 1 <= kept < 16
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"{kept} were known" in done.stdout
    assert read_rows(out) == swept


def _points_in(path: Path) -> int:
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def _foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE points (key TEXT)")
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    with store.open_store(path, create=True):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {store.VERSION + 1}")
    connection.close()


def _overwritten(path: Path) -> None:
    with store.open_store(path, create=True) as opened:
        for number in range(200):
            opened.add(store.Row(str(number), "p", "t", "c", {"k": "v" * 300}, None, "none"))
    content = bytearray(path.read_bytes())
    content[4096 : 4096 + 6000] = b"\xff" * 6000
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.write_text("hello, world" * 100), "not a result file"),
        (_foreign, "not a result file"),
        (_newer, "newer"),
        (_overwritten, "damaged"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text(""), "empty"),
        (lambda path: None, "no such file"),
    ],
)
def test_bad_result_files_are_refused(make: object, text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=text):
        read_rows(path)


# ---- views


def test_front_table_holds_the_front(swept: list[store.Row]) -> None:
    table = front_table(swept, "latency,energy")
    feasible = [row for row in swept if row.report is not None]
    values = [(per_image(row.report)["latency_s"], per_image(row.report)["energy_pj"]) for row in feasible]  # type: ignore[arg-type]
    expected = {row.label for row, best in zip(feasible, non_dominated(values), strict=True) if best}
    assert {row[0] for row in table.rows} == expected
    assert "8 more do not fit" in table.note
    with pytest.raises(UserError, match="energy"):
        front_table(swept, "latency,enrgy")


def test_fronts_of_two_traces_are_apart(swept: list[store.Row]) -> None:
    twice = [*swept, *(store.Row(r.key, r.program, "other", r.chip, r.settings, r.report, r.reason) for r in swept)]
    assert len(front_table(twice, "latency").rows) == 2 * len(front_table(swept, "latency").rows)


def test_tables_say_what_the_report_says(reports: dict[str, dict[str, object]]) -> None:
    table = summary_table(reports, "three chips")
    assert [row[0] for row in table.rows] == ["edge", "mesh16", "dense"]
    for row in table.rows:
        cycles = reports[row[0]]["cycles"]
        assert row[1] == f"{cycles / 2:,.0f}"  # type: ignore[operator]
    layers = layer_table(reports["edge"])
    assert [row[0] for row in layers.rows] == [layer["name"] for layer in reports["edge"]["layers"]]  # type: ignore[attr-defined]


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
    # a veil for every token that was dropped
    assert [len(ax.patches) for ax in tokens] == [0] * 2 + [64 - kept.shape[1] for kept in trace.kept for _ in range(2)]


def test_figures_leave_the_users_matplotlib_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    with styled():
        save(blank(1, 1), tmp_path, "nothing")
    assert dict(matplotlib.rcParams) == before
    code = "import sys, sparsespike.analysis.gallery\nprint('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_same_data_gives_the_same_figure(swept: list[store.Row], tmp_path: Path) -> None:
    first, second = plot_results(swept, tmp_path / "a"), plot_results(swept, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


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
