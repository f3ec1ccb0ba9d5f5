"""The result table as data and pictures: rows from reports, lines that belong together, tables, figures, README blocks.

Rows are of one report with made-up accuracy and energy, so that what must be sorted, joined and drawn is known.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from sparsespike import UserError, load_chip, simulate
from sparsespike.analysis.compare import figures as compare_figures
from sparsespike.analysis.compare import readme as compare_readme
from sparsespike.analysis.compare.counted import attention_accumulates, loaded_once
from sparsespike.analysis.compare.figures import CAPTIONS, sparsest_of
from sparsespike.analysis.compare.folder import write_folder
from sparsespike.analysis.compare.groups import Spread, duels_of, series_of
from sparsespike.analysis.compare.rows import WIDE_FLITS, Results, Row, TicketFacts, load_results, make_row
from sparsespike.analysis.compare.table import band, full_table, summary_steps, summary_table
from sparsespike.analysis.style import blank
from sparsespike.simulator.hardware import Chip
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Trace

SCHEDULE, TOKENS = "25 % a round", (64, 44, 31, 21)
TRAINING = {"epochs": "10", "prune": "0.25"}
FACTS = TicketFacts(
    *("t", "0", "lif", "learned", 0.7, "4-48, T = 4", "relu", 0, 1, SCHEDULE, TRAINING, TOKENS),
    *(1000, 1000, 0.85, 5),
)


COUNTED = {"comparison": {"attention_accumulates": 50, "loaded_once": 1024}}


def formula(real_macs: float, operations: float) -> float:
    """Not the field's prices: a row takes those that it is given."""
    return 5 * real_macs + operations


@pytest.fixture
def drawn(reports: dict[str, Any]) -> list[Row]:
    """Two seeds of a ladder, all tokens, another selector, an ANN."""
    plain = make_row(FACTS, reports["edge"] | COUNTED, "", formula)

    def row(left: int, accuracy: float, energy: float, **facts: Any) -> Row:
        name = f"ticket{left}-{accuracy}"
        ticket = dataclasses.replace(FACTS, name=name, weights_left=left, accuracy_integer=accuracy, **facts)
        prices = {"energy_low_pj": energy * 5e5, "energy_pj": energy * 1e6, "energy_high_pj": energy * 2e6}
        return dataclasses.replace(plain, ticket=ticket, formula_pj=energy * 1e5, **prices)

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


def beside(trace: Trace, chip: Chip) -> dict[str, dict[str, int]]:
    return {"comparison": {count.__name__: count(trace, chip) for count in (attention_accumulates, loaded_once)}}


@pytest.mark.parametrize("kib", [0.5, 64.0])
def test_what_is_loaded_once_is_what_later_images_do_not_read(kib: float) -> None:
    """Nothing, where the weights do not fit on the chip together."""
    trace = synthetic_trace(seed=3, images=3, depth=2)
    chip = load_chip("edge", {"core.weight_kib": kib})
    read = [simulate(trace, chip, images=count).traffic_bytes["dram_read"] for count in (1, 2, 3)]
    assert read[2] - read[1] == read[1] - read[0]
    assert loaded_once(trace, chip) == read[0] - (read[1] - read[0])
    assert (loaded_once(trace, chip) > 0) == (kib > 1)


def test_everything_in_an_ann_is_a_multiplication() -> None:
    trace = synthetic_trace(neuron="relu", seed=3, images=1, depth=2)
    report = simulate(trace, load_chip("mesh16")).to_json()
    row = make_row(dataclasses.replace(FACTS, neuron="relu"), report | beside(trace, load_chip("mesh16")), "", formula)
    counts = report["counts"]
    assert row.real_macs == report["synaptic_events"] + counts["attention_mac"] + counts["selector_mac"]
    assert counts["attention_mac"] > 0
    assert (row.synaptic_operations, row.attention_additions, row.attention_accumulates) == (0, 0, 0)
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
    other = dataclasses.replace(drawn[1].ticket, schedule="54 % a round", training=TRAINING | {"prune": "0.54"})
    names = [one.name for one in series_of([drawn[0], dataclasses.replace(drawn[1], ticket=other)])]
    assert names == ["keep 0.7, 25 % a round", "keep 0.7, 54 % a round"]


def _other(row: Row, name: str = "", **facts: Any) -> Row:
    return dataclasses.replace(row, ticket=dataclasses.replace(row.ticket, name=name or row.ticket.name, **facts))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"training": TRAINING | {"epochs": "20"}}, "epochs 20"),
        ({"training": TRAINING | {"teacher": "yes"}}, "with teacher"),
        ({"shape": "4-48, T = 2"}, "4-48, T = 2"),
        ({"activation": "gelu"}, "gelu"),
    ],
)
def test_other_trainings_are_never_averaged(facts: dict[str, Any], said: str, drawn: list[Row]) -> None:
    """Not even when seed and round fit."""
    found = series_of([drawn[0], _other(drawn[2], **facts)])
    assert [[len(step.rows) for step in one.steps] for one in found] == [[1], [1]]
    assert sum(said in one.name for one in found) == 1
    assert len(duels_of([drawn[0], _other(drawn[7], **facts)])) == ("activation" in facts)


def test_the_same_seed_and_round_twice_are_two_trainings(drawn: list[Row]) -> None:
    """A ladder and parts of another: each folder stays together, also where only one of its rounds is there twice."""
    first = [_other(drawn[4], f"a/{left}", round=number, weights_left=left) for number, left in enumerate((900, 500))]
    second = [_other(row, row.ticket.name.replace("a/", "b/")) for row in first[1:]]
    second.append(_other(drawn[4], "b/300", round=2, weights_left=300))
    found = series_of([*second, *first, _other(first[1], "a/again")])
    steps = [[[row.ticket.name for row in step.rows] for step in one.steps] for one in found]
    assert steps == [[["a/900"], ["a/500"]], [["a/again"]], [["b/500"], ["b/300"]]]
    assert len({one.name for one in found}) == 3


def test_an_ann_on_wider_flits_is_a_line_of_its_own(drawn: list[Row], results: Results) -> None:
    wide = dataclasses.replace(drawn[8], variant=WIDE_FLITS)
    both = dataclasses.replace(results, rows=(drawn[8], wide))
    assert [one.name for one in series_of(both.on_chip)] == [
        "ANN twin, all tokens",
        "ANN twin, all tokens, 8-bit flits",
    ]
    assert "mesh.value_bits = 8" in full_table(both).note
    assert "value_bits" not in full_table(results).note


def test_selectors_meet_at_the_same_round(drawn: list[Row]) -> None:
    """Not at the same number of weights: a learned selector has some of its own."""
    (duel,) = duels_of(drawn)
    assert {name: len(step.rows) for name, step in duel.steps.items()} == {"learned": 2, "rate": 1}
    assert duel.ticket.round == 9
    assert duels_of([row for row in drawn if row.ticket.selector != "rate"]) == []


def test_selectors_meet_once_in_the_first_sparse_round(drawn: list[Row]) -> None:
    """Not in every round; where none is as sparse in both, in the last."""
    both = [_other(row, round=number, weights_left=left, weights=1000)
            for row in (drawn[2], drawn[7]) for number, left in ((0, 1000), (8, 101), (9, 100), (10, 60))]  # fmt: skip
    assert [(duel.ticket.round, duel.sparse) for duel in duels_of(both)] == [(9, True)]
    assert [(duel.ticket.round, duel.sparse) for duel in duels_of(both[:2] + both[4:6])] == [(8, False)]
    other = [_other(row, keep=0.9) for row in both]
    assert [duel.ticket.keep for duel in duels_of(both + other)] == [0.9, 0.7]


# ---- tables, figures, the file, the README


def test_tables_say_what_rows_say(results: Results) -> None:
    table = full_table(results)
    assert len(table.rows) == len(results.rows)
    for cells, row in zip(table.rows, results.rows, strict=True):
        said = dict(zip(table.columns, cells, strict=True))
        assert said["ticket"] == row.name
        assert said["cycles"] == f"{row.cycles:,.0f}"
        assert said["pruned"] == f"{100 * row.ticket.pruned:.2f} %"
        assert (said["of all"], said["round"]) == ("85.00 %", str(row.ticket.round))
        assert (said["network"], said["keep"]) == (row.ticket.network, f"{row.ticket.keep:g}")
        assert said["load, once"] == "1.0 KiB"
        assert said["energy (2 images)"] == f"{row.energy_pj / 1e6:.1f} µJ"
        assert said["band"] == f"{band(row.energy_low_pj, row.energy_high_pj)}"
        assert said["integer"].endswith("*") == (row.ticket.accuracy_from == "measured")
    assert "measured now" in table.note
    short = summary_table(results)
    said = {f"{row[0]}, round {row[5]}": dict(zip(short.columns, row, strict=True)) for row in short.rows}
    assert list(said) == [
        *("all tokens, round 0", "all tokens, round 9", "keep 0.7, round 0", "keep 0.7, round 9"),
        *("keep 0.7, rate, round 9", "ANN twin, all tokens, round 0"),
    ]
    assert said["keep 0.7, round 9"]["seeds"] == "2"
    assert said["keep 0.7, round 9"]["integer"] == "92.0 % (90.0 to 94.0)"
    assert said["keep 0.7, round 9"]["energy (2 images)"] == "21.0 µJ (20.0 to 22.0)"
    assert said["keep 0.7, round 9"]["band"] == "10.5 µJ to 42.0 µJ"
    assert said["all tokens, round 9"]["integer"] == "95.0 %"


def test_the_table_says_between_what_shares_of_the_energy_are_assumed(results: Results) -> None:
    def noted(*shares: float) -> str:
        rows = [dataclasses.replace(row, assumed_share=share) for row, share in zip(results.rows, shares, strict=False)]
        return full_table(dataclasses.replace(results, rows=tuple(rows))).note

    assert "Of the energy 5.0 % to 20.1 % rests on assumed prices." in noted(0.201, 0.05, 0.1)
    assert "Of the energy 20.0 % rests on assumed prices." in noted(0.2, 0.2)
    assert "assumed" not in noted(0.1, 0.05)


def test_just_below_90_percent_never_reads_as_90(drawn: list[Row], results: Results) -> None:
    share = {"weights": 142_392, "weights_left": 14_256, "round": 8}
    rows = (_other(drawn[1], weights=142_392, weights_left=142_392), _other(drawn[2], **share))
    assert 0.8995 < rows[1].ticket.pruned < 0.9
    table = summary_table(dataclasses.replace(results, rows=rows))
    assert [row[0] for row in table.rows] == ["keep 0.7", "keep 0.7 (the sparsest: below 90 %)"]
    assert [row[table.columns.index("pruned")] for row in table.rows] == ["0.00 %", "89.99 %"]


def test_panels_of_the_ladder_are_means_and_standard_errors(drawn: list[Row], results: Results) -> None:
    figure = compare_figures.ladder(series_of(drawn), results)
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert [title.split("\n")[0] for title in titles] == ["all tokens", "keep 0.7"]
    assert "0.00 to 92.00 % pruned\nmean of 1 to 2 seeds" in titles[1]
    panel = figure.axes[1]
    (line,) = [line for line in panel.lines if line.get_marker() == "o"]
    assert np.round(np.column_stack(line.get_data()), 9).tolist() == [[31.0, 98.0], [25.0, 96.0], [21.0, 92.0]]
    band_of, ring = panel.collections
    low, high = band_of.get_paths()[0].vertices[:, 1].min(), band_of.get_paths()[0].vertices[:, 1].max()
    error = [100 * (share * (1 - share) / 359) ** 0.5 for share in (0.92, 0.98)]
    assert (low, high) == pytest.approx((92 - error[0], 98 + error[1]))
    assert np.round(ring.get_offsets(), 9).tolist() == [[21.0, 92.0]]
    dashed = [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == "--"]
    assert dashed == pytest.approx([97.0])
    (legend,) = figure.legends
    assert "ANN twin, all tokens (97.0 %):\n15 µJ" in [text.get_text() for text in legend.get_texts()]
    assert panel.get_xlim()[0] > 15  # which is not on the axis
    assert "2 images" in figure.get_supxlabel()
    assert "edge" in figure.get_supxlabel()
    assert "359" in figure.axes[0].get_ylabel()


def test_the_other_figures_show_the_rows(drawn: list[Row], results: Results) -> None:
    rows = [dataclasses.replace(row, formula_pj=1.0) if row.ticket.neuron == "relu" else row for row in drawn]
    ax = blank(6, 4).subplots()
    compare_figures.formula(series_of(rows), results, ax)
    points = np.vstack([one.get_offsets() for one in ax.collections if isinstance(one, PathCollection)])
    assert sorted(points.tolist()) == sorted([row.formula_pj / 1e6, row.energy_pj / 1e6] for row in rows)
    assert "spiking tickets 10 times" in ax.get_title()  # whatever the ANN spends
    bands = np.vstack([one.get_segments() for one in ax.collections if isinstance(one, LineCollection)])
    assert sorted(bands[:, :, 1].tolist()) == sorted(
        [row.energy_low_pj / 1e6, row.energy_high_pj / 1e6] for row in rows
    )
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
    compare_figures.per_weight(row, results, ax)
    assert [bar.get_width() for bar in ax.patches] == [pj for _, pj in row.per_weight.values()]
    assert all(text in ax.get_xlabel() for text in ("pJ", "layer's mean", "without leakage", "2 images"))
    assert row.chip in ax.get_title()
    assert [text.get_text() for text in ax.get_yticklabels()] == list(row.per_weight)


def test_many_series_stay_apart(results: Results) -> None:
    """Sixteen trainings: no two have the same colour and marker."""
    rows = [_other(results.rows[0], keep=keep / 20, round=0, seed=1) for keep in range(1, 17)]
    ax = blank(6, 4).subplots()
    compare_figures.formula(series_of(rows), results, ax)
    handles, _ = ax.get_legend_handles_labels()
    looks = {(tuple(one.get_facecolor()[0]), one.get_paths()[0].vertices.tobytes()) for one in handles}
    assert len(looks) == 16


def test_rows_without_a_formula_energy_give_no_figure_of_it(results: Results) -> None:
    """A ticket with nothing left, say."""
    nothing = tuple(dataclasses.replace(row, formula_pj=0.0) for row in results.rows)
    assert "formula" not in compare_figures.compare_figures(dataclasses.replace(results, rows=nothing))


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
    text = "a\n<!-- tickets:summary-digits -->\nwhat was here\n<!-- /tickets:summary-digits -->\nb\n"
    path.write_text(text + "<!-- tickets:ladder-digits -->\n<!-- /tickets:ladder-digits -->\n")
    assert compare_readme.fill(path, [out / "results.json"]) == ["summary-digits", "ladder-digits"]
    filled = path.read_text()
    assert summary_table(results).to_markdown() in filled
    assert "what was here" not in filled
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


def _changed(data: dict[str, Any], **changes: object) -> str:
    """With a first row that says something else, of its ticket or of its run."""
    row = data["rows"][0]
    ticket = row["ticket"] | {key: value for key, value in changes.items() if key in row["ticket"]}
    return _with(data, rows=[row | {key: value for key, value in changes.items() if key in row} | {"ticket": ticket}])


BROKEN = {
    "no rows": (lambda data: _with(data, rows=[]), "no rows"),
    "no weights": (lambda data: _changed(data, weights=0, weights_left=0), "weights = 0"),
    "more left than there are": (lambda data: _changed(data, weights_left=1001), "weights_left = 1001"),
    "less than none left": (lambda data: _changed(data, weights_left=-1), "weights_left = -1"),
    "no energy": (lambda data: _changed(data, energy_pj=0.0), "energy_pj = 0.0"),
    "not a number": (lambda data: _changed(data, cycles=float("nan")), "cycles = nan"),
    "no tokens": (lambda data: _changed(data, tokens=[64, 0]), "tokens"),
    "an accuracy of 7": (lambda data: _changed(data, accuracy_integer=7), "accuracy_integer = 7"),
    "a price in words": (lambda data: _changed(data, per_weight={"head": [3, "much"]}), "per_weight"),
    "a load of true": (lambda data: _changed(data, load_bytes=True), "load_bytes"),
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
