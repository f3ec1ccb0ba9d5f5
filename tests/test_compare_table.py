"""The result table as data and pictures: rows from reports, lines that belong together, tables, figures, README blocks.

Rows are of one report with made-up accuracy and energy, so that what must be sorted, joined and drawn is known.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparsespike import UserError, load_chip, simulate
from sparsespike.analysis.compare import figures as compare_figures
from sparsespike.analysis.compare import readme as compare_readme
from sparsespike.analysis.compare.figures import CAPTIONS, MARKERS, sparsest_of
from sparsespike.analysis.compare.folder import write_folder
from sparsespike.analysis.compare.groups import Spread, duels_of, series_of
from sparsespike.analysis.compare.rows import Results, Row, TicketFacts, load_results, make_row
from sparsespike.analysis.compare.table import full_table, summary_steps, summary_table
from sparsespike.analysis.style import INK, blank
from sparsespike.simulator.synthetic import synthetic_trace

SCHEDULE, TOKENS = "25 % a round", (64, 44, 31, 21)
FACTS = TicketFacts("t", "0", "lif", "learned", 0.7, "4-48, T = 4", 0, 1, SCHEDULE, TOKENS, 1000, 1000, 1100, 5)


def formula(real_macs: float, operations: float) -> float:
    """Not the field's prices: a row takes those that it is given."""
    return 5 * real_macs + operations


@pytest.fixture
def drawn(reports: dict[str, Any]) -> list[Row]:
    """Two seeds of a ladder, all tokens, another selector, an ANN."""
    plain = make_row(FACTS, reports["edge"], "", formula)

    def row(left: int, accuracy: float, energy: float, **facts: Any) -> Row:
        name = f"ticket{left}-{accuracy}"
        ticket = dataclasses.replace(FACTS, name=name, weights_left=left, accuracy_integer=accuracy, **facts)
        return dataclasses.replace(plain, ticket=ticket, energy_pj=energy * 1e6, formula_pj=energy * 1e5)

    every = {"keep": 1.0, "selector": "none"}
    return [
        row(80, 0.90, 20, round=9, seed=2),
        row(1000, 0.97, 30, round=0, seed=1),
        row(80, 0.94, 22, round=9, seed=1),
        row(1000, 0.99, 32, round=0, seed=2),
        row(500, 0.96, 25, round=3, seed=1),
        row(1000, 0.98, 40, round=0, **every),
        row(90, 0.95, 35, round=9, **every),
        row(78, 0.91, 21, round=9, selector="rate", weights=980),
        row(1000, 0.97, 15, round=0, neuron="relu", shape="4-48, T = 1", accuracy_from="measured", **every),
    ]


@pytest.fixture
def results(drawn: list[Row]) -> Results:
    return Results("digits", 2, 359, "edge", "cmos45", 4.6, 0.9, "0.1.0+abc", "sparsespike compare", tuple(drawn))


@pytest.fixture
def out(results: Results, tmp_path: Path) -> Path:
    write_folder(results, tmp_path / "compared")
    return tmp_path / "compared"


@pytest.fixture
def saved(results: Results, tmp_path: Path) -> Path:
    results.save(tmp_path / "results.json")
    return tmp_path / "results.json"


# ---- rows


def test_everything_in_an_ann_is_a_multiplication() -> None:
    trace = synthetic_trace(neuron="relu", seed=3, images=1, depth=2)
    report = simulate(trace, load_chip("mesh16")).to_json()
    row = make_row(dataclasses.replace(FACTS, neuron="relu"), report, "", formula)
    counts = report["counts"]
    assert row.real_macs == report["synaptic_events"] + counts["attention_mac"] + counts["selector_mac"]
    assert counts["attention_mac"] > 0
    assert (row.synaptic_operations, row.attention_additions) == (0, 0)
    assert row.formula_pj == 5 * row.real_macs


# ---- what belongs together


def test_tickets_that_differ_in_round_and_seed_are_a_line(drawn: list[Row]) -> None:
    found = {one.name: [len(step.rows) for step in one.steps] for one in series_of(drawn)}
    assert found == {"all tokens": [1, 1], "keep 0.7": [2, 1, 2], "keep 0.7, rate": [1], "ANN twin, all tokens": [1]}
    keep = series_of(drawn)[1]
    assert [step.ticket.weights_left for step in keep.steps] == [1000, 500, 80]
    assert keep.steps[2].spread(lambda row: row.energy_pj) == Spread(21e6, 20e6, 22e6, 2)
    assert keep.sparse is keep.steps[2]
    assert summary_steps(keep) == (keep.steps[0], keep.steps[2])
    assert summary_steps(series_of(drawn[1:2])[0]) == (series_of(drawn[1:2])[0].steps[0],)


def test_names_say_shape_and_schedule_where_they_must(drawn: list[Row]) -> None:
    other = dataclasses.replace(drawn[1].ticket, schedule="54 % a round")
    names = [one.name for one in series_of([drawn[0], dataclasses.replace(drawn[1], ticket=other)])]
    assert names == ["keep 0.7, 4-48, T = 4, 25 % a round", "keep 0.7, 4-48, T = 4, 54 % a round"]


def test_selectors_meet_at_the_same_round(drawn: list[Row]) -> None:
    """Not at the same number of weights: a learned selector has some of its own."""
    (duel,) = duels_of(drawn)
    assert {name: len(step.rows) for name, step in duel.steps.items()} == {"learned": 2, "rate": 1}
    assert duel.ticket.round == 9
    assert duels_of([row for row in drawn if row.ticket.selector != "rate"]) == []


# ---- tables, figures, the file, the README


def test_tables_say_what_rows_say(results: Results) -> None:
    table = full_table(results)
    assert len(table.rows) == len(results.rows)
    for cells, row in zip(table.rows, results.rows, strict=True):
        said = dict(zip(table.columns, cells, strict=True))
        assert said["ticket"] == row.name
        assert said["cycles"] == f"{row.cycles:,.0f}"
        assert said["pruned"] == f"{100 * row.ticket.pruned:.1f} %"
        assert said["of all"] == f"{100 * (row.ticket.weights - row.ticket.weights_left) / 1100:.1f} %"
        assert said["energy"] == f"{row.energy_pj / 1e6:.1f} µJ"
        assert said["integer"].endswith("*") == (row.ticket.accuracy_from == "measured")
    assert "measured now" in table.note
    short = summary_table(results)
    said = {row[0]: dict(zip(short.columns, row, strict=True)) for row in short.rows}
    assert list(said) == [
        *("all tokens, round 0", "all tokens, round 9", "keep 0.7, round 0", "keep 0.7, round 9"),
        *("keep 0.7, rate, round 9", "ANN twin, all tokens, round 0"),
    ]
    assert said["keep 0.7, round 9"]["tickets"] == "2"
    assert said["keep 0.7, round 9"]["integer"] == "92.0 % (90.0 to 94.0)"
    assert said["keep 0.7, round 9"]["energy"] == "21.0 µJ (20.0 to 22.0)"
    assert said["all tokens, round 9"]["integer"] == "95.0 %"


def test_lines_of_the_ladder_are_means_and_ranges(drawn: list[Row]) -> None:
    ax = blank(6, 4).subplots()
    compare_figures.ladder(series_of(drawn), ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert not any("rate" in label for label in labels)
    assert any(label.startswith("keep 0.7, 0 to 92.0 %") and "1 to 2 tickets" in label for label in labels)
    points = [np.column_stack(container.lines[0].get_data()).tolist() for container in ax.containers]
    assert [[31.0, 98.0], [25.0, 96.0], [21.0, 92.0]] in [np.round(one, 9).tolist() for one in points]
    stars = [c.lines[0] for c in ax.containers if c.lines[0].get_marker() == "*"]
    assert [(star.get_color(), star.get_linestyle()) for star in stars] == [(INK, "None")]
    rings = np.round(np.vstack([c.get_offsets() for c in ax.collections if len(c.get_facecolors()) == 0]), 9).tolist()
    assert [21.0, 92.0] in rings
    assert ("µJ" in ax.get_xlabel(), "%" in ax.get_ylabel()) == (True, True)


def test_the_other_figures_show_the_rows(drawn: list[Row], results: Results) -> None:
    ax = blank(6, 4).subplots()
    compare_figures.formula(series_of(drawn), ax)
    points = np.vstack([collection.get_offsets() for collection in ax.collections])
    assert sorted(points.tolist()) == sorted([row.formula_pj / 1e6, row.energy_pj / 1e6] for row in drawn)
    assert "10 to 10 times" in ax.get_title()
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert (points > [low, bottom]).all()
    assert (points < [high, top]).all()
    ax = blank(6, 4).subplots()
    compare_figures.selectors(duels_of(drawn), lambda row: row.energy_pj / 1e6, ax)
    means = [line.get_ydata().tolist() for line in (container.lines[0] for container in ax.containers)]
    assert means == [[21.0], [21.0]]
    ax = blank(6, 4).subplots()
    row = sparsest_of(results.rows)
    assert row is results.rows[2]  # the more accurate of the two
    compare_figures.per_weight(row, ax)
    assert [bar.get_width() for bar in ax.patches] == [pj for _, pj in row.per_weight.values()]
    assert "pJ" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_yticklabels()] == list(row.per_weight)


def test_many_series_stay_apart(results: Results) -> None:
    """Six keep ratios of twelve rounds: no two lines have the same colour and marker."""
    rows = [
        dataclasses.replace(
            results.rows[0],
            ticket=dataclasses.replace(FACTS, keep=keep / 10, weights_left=1000 - 80 * number, accuracy_integer=0.9),
        )
        for keep in range(5, 11)
        for number in range(12)
    ]
    ax = blank(6, 4).subplots()
    compare_figures.ladder(series_of(rows), ax)
    looks = {(container.lines[0].get_color(), container.lines[0].get_marker()) for container in ax.containers}
    assert len(looks) == 6 <= len(MARKERS)


def test_the_folder_holds_tables_results_and_figures(results: Results, out: Path) -> None:
    for name in CAPTIONS:
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (out / "figures" / f"{name}.svg").read_text()
    text = (out / "table.md").read_text()
    assert full_table(results).to_markdown() in text
    assert summary_table(results).to_markdown() in text
    assert load_results(out / "results.json") == results


def test_a_figure_that_rows_no_longer_give_is_removed(results: Results, out: Path) -> None:
    fewer = dataclasses.replace(results, rows=results.rows[:2])
    write_folder(fewer, out)
    assert {path.stem for path in (out / "figures").iterdir()} == set(CAPTIONS) - {"selectors"}


def test_readme_blocks_are_filled_from_results(results: Results, out: Path, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    text = "a\n<!-- tickets:summary-digits -->\nold\n<!-- /tickets:summary-digits -->\nb\n"
    path.write_text(text + "<!-- tickets:ladder-digits -->\n<!-- /tickets:ladder-digits -->\n")
    assert compare_readme.fill(path, [out / "results.json"]) == ["summary-digits", "ladder-digits"]
    filled = path.read_text()
    assert summary_table(results).to_markdown() in filled
    assert "old" not in filled
    assert "(analysis/gallery/ladder-digits.png)" in filled
    picture = tmp_path / "analysis" / "gallery" / "ladder-digits.png"
    assert picture.read_bytes() == (out / "figures" / "ladder.png").read_bytes()
    compare_readme.fill(path, [out / "results.json"])
    assert path.read_text() == filled


@pytest.mark.parametrize(
    ("text", "twice", "complaint"),
    [
        ("<!-- tickets:ladder-digit -->\n<!-- /tickets:ladder-digit -->", False, "did you mean 'ladder-digits'"),
        ("nothing", False, "has no block"),
        ("<!-- tickets:all-digits -->\n<!-- /tickets:all-digits -->", True, "second result file for digits"),
    ],
)
def test_readmes_that_cannot_be_filled(text: str, twice: bool, complaint: str, saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        compare_readme.fill(path, [saved] * (1 + twice))
    assert not (tmp_path / "analysis").exists()
    assert path.read_text() == text


def _with(data: dict[str, object], **changes: object) -> str:
    return json.dumps(data | changes)


BROKEN = {
    "cut off": (lambda data: json.dumps(data)[:-9], "cut off"),
    "another kind": (lambda data: _with(data, kind="report"), "not the results.json"),
    "newer": (lambda data: _with(data, schema_version=99), "version 99"),
    "without rows": (lambda data: json.dumps({k: v for k, v in data.items() if k != "rows"}), "rows"),
    "a key too many": (lambda data: _with(data, extra=1), "extra"),
    "a wrong type": (lambda data: _with(data, images="2"), "images"),
    "a wrong row": (lambda data: _with(data, rows=[data["rows"][0] | {"cycles": None}]), "cycles"),
    "a wrong ticket": (lambda data: _with(data, rows=[data["rows"][0] | {"ticket": {}}]), "tokens"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_results_that_are_none_are_refused(name: str, saved: Path) -> None:
    breaking, complaint = BROKEN[name]
    saved.write_text(breaking(json.loads(saved.read_text())))
    with pytest.raises(UserError, match=complaint):
        load_results(saved)
