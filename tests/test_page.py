"""The page of a result file: what it holds, and what it does in a real browser."""

import base64
import json
import random
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser, chromium
from made_points import made_row
from sparsespike import UserError, load_chip
from sparsespike.analysis.explore.advice.chip_file import chip_toml, flat_keys, point_names
from sparsespike.analysis.explore.metrics import METRICS
from sparsespike.analysis.explore.results import fronts
from sparsespike.analysis.explore.store import Row, open_store
from sparsespike.analysis.explore.views.page import packed, write_page
from sparsespike.analysis.explore.views.page.data import page_data
from sparsespike.analysis.views import Report

LARGEST = 8 * 10**6  # bytes
OBJECTIVES = ("latency", "energy")
HOSTILE = "<br><img src=x onerror='document.body.dataset.broken=1'>"


def base_of(path: Path) -> dict[str, Any]:
    with open_store(path) as store:
        about = store.about()
    return {"name": about["base chip"], **about["base"]}


def reports_of(path: Path, rows: list[Row]) -> dict[str, Report]:
    with open_store(path) as store:
        return {row.key: store.report(row.key) for row in rows if row.feasible}


@pytest.fixture(scope="module")
def found(swept_file: Path, swept: list[Row]) -> tuple[list[Row], dict[str, Report], dict[str, Any]]:
    """Points, reports and base chip; a second trace of a hostile name, half as good, doubles the points."""

    def half_as_good(row: Row) -> Row:
        metrics = row.metrics and {name: 2 * (value or 0) for name, value in row.metrics.items()}
        return replace(row, key=row.key[::-1], trace=HOSTILE, metrics=metrics and metrics | {"accuracy": 0.5})

    again = [half_as_good(row) for row in swept]
    reports = reports_of(swept_file, swept)
    reports |= {key[::-1]: report for key, report in reports.items()}
    return [*swept, *again], reports, base_of(swept_file)


@pytest.fixture(scope="module")
def page(found: tuple[list[Row], dict[str, Report], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, reports, base = found
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, rows, lambda row: reports[row.key], base, OBJECTIVES)
    return path


def chip_text(row: Row, report: Report, base: dict[str, Any]) -> str:
    return chip_toml(flat_keys(report["provenance"]["chip"]) | point_names(row, base["name"]))


# ---- what it holds


def test_columns_hold_every_point(found: tuple[list[Row], dict[str, Report], dict[str, Any]], tmp_path: Path) -> None:
    rows, reports, base = found
    steps: list[tuple[int, int]] = []
    made = page_data(rows, lambda row: reports[row.key], base, OBJECTIVES, lambda *step: steps.append(step))
    data = json.loads(json.dumps(made))
    feasible = [row for row in rows if row.feasible]
    assert data["points"] == len(feasible) == 16
    assert steps == [(at, 16) for at in range(1, 17)]
    assert sum(count for count, _ in data["unfit"]) == len(rows) - 16
    metrics = {metric["name"]: metric["values"] for metric in data["metrics"]}
    for at, row in enumerate(feasible):
        assert row.key.startswith(data["keys"][at])
        assert {name: metrics[name][at] for name in METRICS} == row.metrics
        said = {axis["key"]: axis["values"][axis["index"][at]] for axis in data["axes"]}
        assert said == {"trace": row.trace, "core.lanes": row.settings["core.lanes"]} | {
            key: value for key, value in row.settings.items() if key == "core.weight_format"
        }
        report = reports[row.key]
        energy = {name.replace(" ", "_"): values[at] for name, values in data["energy"].items()}
        for part, pj in report["energy_pj"]["by_component"].items():
            assert energy.get(part, 0) == pytest.approx(pj / report["images"], rel=5.1e-3)
        assert sum(values[at] for values in data["cycles"].values()) == pytest.approx(report["cycles"], rel=5.1e-3)
        text = data["toml"]["text"]
        for key, column in data["toml"]["keys"].items():
            text = text.replace("{{" + key + "}}", column["texts"][column["index"][at]])
        assert text == chip_text(row, report, base)
        (tmp_path / "chip.toml").write_text(text)
        chip = load_chip(tmp_path / "chip.toml").model_dump(mode="json", exclude={"name", "description", "sources"})
        assert chip == {key: value for key, value in report["provenance"]["chip"].items() if key in chip}


def test_texts_are_packed_and_nothing_is_fetched(page: Path) -> None:
    assert zlib.decompress(base64.b64decode(packed("ä <script>"))).decode() == "ä <script>"
    text = page.read_text("utf-8")
    assert "default-src 'none'" in text
    assert "://" not in text
    assert HOSTILE not in text
    assert text.count("<script") == 3
    assert "<!--" not in text


def test_the_page_says_which_library_is_missing(
    found: tuple[list[Row], dict[str, Report], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, reports, base = found
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UserError, match=r"needs the library plotly: pip install 'sparsespike\[report\]'"):
        write_page(tmp_path / "page.html", rows, lambda row: reports[row.key], base, OBJECTIVES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fourteen_thousand_points_stay_small(
    found: tuple[list[Row], dict[str, Report], dict[str, Any]], tmp_path: Path
) -> None:
    """Numbers without any pattern, which cannot be packed; real ones can."""
    _, reports, base = found
    report, rng = next(iter(reports.values())), random.Random(5)
    parts, causes = report["energy_pj"]["by_component"], report["cycles_by_cause"]

    def drawn(row: Row) -> Report:
        energy = {"by_component": {part: rng.uniform(1, 1e7) for part in parts}}
        return {**report, "energy_pj": energy, "cycles_by_cause": {cause: rng.randint(1, 10**6) for cause in causes}}

    rows = [
        made_row(
            {"core.lanes": 2 ** (at % 6), "core.weight_banks": at % 7, "core.fifo_flits": at},
            trace=f"ticket {at % 10}",
            **{name: rng.random() for name in METRICS},
        )
        for at in range(14_000)
    ]
    write_page(tmp_path / "page.html", rows, drawn, base, OBJECTIVES)
    assert 10**6 < (tmp_path / "page.html").stat().st_size < LARGEST


# ---- what it does


@pytest.fixture(scope="module")
def opened(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with browser(path, tmp_path_factory.mktemp("browser")) as window:
        window.open(page.as_uri())
        yield window


def dataset(window: Browser, name: str) -> str:
    return str(window.ask(f"document.body.dataset.{name}"))


def test_a_browser_is_seen_to_complain_and_to_fetch(tmp_path: Path) -> None:
    """The checks below can fail."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    (tmp_path / "bad.html").write_text(
        '<body data-ready="yes"><img src="http://127.0.0.1:9/x.png"><script>console.error("no"); missing()</script>'
    )
    with browser(path, tmp_path) as window:
        window.open((tmp_path / "bad.html").as_uri())
        window.wait("document.readyState === 'complete'")
    assert window.requests == ["http://127.0.0.1:9/x.png"]
    assert any('"no"' in text or "'no'" in text for text in window.complaints)
    assert any("missing is not defined" in text for text in window.complaints)


def test_the_points_and_their_front_are_there(
    opened: Browser, found: tuple[list[Row], dict[str, Report], dict[str, Any]]
) -> None:
    rows, _, _ = found
    opened.ask("document.getElementById('everything').click()")
    assert dataset(opened, "points") == "16"
    drawn = opened.ask(
        "document.getElementById('plot').data.flatMap((trace) => trace.name === 'front' ? [] : trace.x).length"
    )
    assert drawn == 16
    for objectives in (OBJECTIVES, ("latency", "energy", "area"), ("area", "accuracy"), ("throughput", "peak_power")):
        for name in METRICS:
            box = f"document.querySelector('#objectives input[name={name}]')"
            want = str(name in objectives).lower()
            opened.ask(f"{box} && {box}.checked !== {want} && {box}.click()")
        best = {row.key[:12] for front in fronts(rows, objectives).values() for row in front}
        assert set(opened.ask("[...front].map((at) => data.keys[at])")) == best, objectives
        assert dataset(opened, "front") == str(len(best))


def test_a_click_on_a_point_shows_its_chip_file(
    opened: Browser, found: tuple[list[Row], dict[str, Report], dict[str, Any]], tmp_path: Path
) -> None:
    rows, reports, base = found
    feasible = [row for row in rows if row.feasible]
    opened.ask("document.getElementById('everything').click()")
    slowest = max(range(16), key=lambda at: (feasible[at].metrics or {})["latency"] or 0)
    place = opened.ask(
        f"""(() => {{ const plot = document.getElementById('plot'), box = plot.getBoundingClientRect();
        const trace = plot.data.find((one) => one.customdata.includes({slowest}));
        const at = trace.customdata.indexOf({slowest}), layout = plot._fullLayout;
        return [box.left + layout.xaxis._offset + layout.xaxis.l2p(trace.x[at]),
                box.top + layout.yaxis._offset + layout.yaxis.l2p(trace.y[at])]; }})()"""
    )
    opened.click(*place)
    opened.wait("document.body.dataset.chosen")
    row = feasible[slowest]
    assert row.key.startswith(dataset(opened, "chosen"))
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    opened.wait("document.querySelector('#plot .hovertext')")
    assert row.trace == HOSTILE
    assert f"trace {HOSTILE}" in opened.ask("document.querySelector('#plot .hovertext').textContent")
    text = chip_text(row, reports[row.key], base)
    assert opened.ask("document.getElementById('chip').textContent") == text
    assert row.key[:12] in opened.ask("location.hash")
    largest = max(reports[row.key]["energy_pj"]["by_component"].items(), key=lambda part: part[1])[0]
    assert opened.ask("document.querySelector('#energy .bar span').textContent") == largest.replace("_", " ")
    assert opened.ask("document.querySelectorAll('#cycles .bar').length") > 3
    opened.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    opened.ask("document.getElementById('save').click()")
    saved = tmp_path / f"edge-{row.key[:8]}.toml"
    opened.wait("true")
    for _ in range(200):
        if saved.exists() and saved.read_text("utf-8") == text:
            break
        opened.ask("new Promise((done) => setTimeout(done, 50))")
    assert load_chip(saved).core.lanes == row.settings["core.lanes"]


def test_filters_leave_points_out_and_the_table_follows(opened: Browser) -> None:
    opened.ask("document.getElementById('everything').click()")
    opened.ask("document.querySelector('#axes input[name=\"core.lanes=8\"]').click()")
    assert dataset(opened, "points") == "12"
    lanes = opened.ask("[...document.querySelectorAll('#table tbody tr')].map((row) => row.cells[2].textContent)")
    assert sorted(lanes) == ["1"] * 4 + ["2"] * 4 + ["4"] * 4
    opened.ask("document.querySelector('#axes input[name^=\"trace=\"]').click()")
    assert dataset(opened, "points") == "6"
    opened.ask("document.getElementById('onlyfront').click()")
    assert opened.ask("document.querySelectorAll('#table tbody tr').length") == int(dataset(opened, "front"))
    opened.ask("document.getElementById('onlyfront').click()")
    opened.ask("document.getElementById('everything').click()")
    assert dataset(opened, "points") == "16"


def test_the_table_is_sorted_and_chooses(
    opened: Browser, found: tuple[list[Row], dict[str, Report], dict[str, Any]]
) -> None:
    rows, _, _ = found
    opened.ask("document.getElementById('everything').click()")
    heads = opened.ask("[...document.querySelectorAll('#table th')].map((cell) => cell.textContent)")
    opened.ask(f"document.querySelectorAll('#table th')[{heads.index('energy per image')}].click()")
    keys = opened.ask("[...document.querySelectorAll('#table tbody tr')].map((row) => row.dataset.key)")
    energy = {row.key[:12]: (row.metrics or {})["energy"] for row in rows if row.feasible}
    assert [energy[key] for key in keys] == sorted(energy.values())  # type: ignore[type-var]
    opened.ask("document.querySelectorAll('#table tbody tr')[5].click()")
    assert dataset(opened, "chosen") == keys[5]


def test_axes_can_be_any_metric(opened: Browser) -> None:
    for name, unit in (("area", "mm²"), ("accuracy", "%"), ("dram", "kB"), ("throughput", "kimages/s"), ("cycles", "")):
        opened.ask(
            f"(async () => {{ const select = document.getElementById('x'); select.value = '{name}'; await draw(); }})()"
        )
        title = opened.ask("document.getElementById('plot').layout.xaxis.title.text")
        assert title.startswith(METRICS[name].label)
        assert title.endswith(f"({unit})" if unit else METRICS[name].label)
        values = opened.ask("document.getElementById('plot')._fullLayout.xaxis.range")
        assert values[0] < values[1]


def test_an_address_leads_to_a_point_and_nothing_went_wrong(opened: Browser, page: Path) -> None:
    key = opened.ask("data.keys[3]")
    opened.ask("document.body.dataset.ready = ''")
    opened.call("Page.navigate", url="about:blank")
    opened.call("Page.navigate", url=f"{page.as_uri()}#point={key}")
    opened.wait("document.body && document.body.dataset.ready === 'yes'")
    assert dataset(opened, "chosen") == key
    # what was asked of the page above, a trace with a hostile name among it, left the console and the network alone
    assert HOSTILE in opened.ask("document.body.innerText")
    assert opened.ask("document.body.dataset.broken") is None
    assert opened.complaints == []
    assert opened.requests == []
