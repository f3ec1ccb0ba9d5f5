"""Recommendations: limits as people write them, the cheapest point within them, what binds, and the steps beside it."""

import random
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from made_points import lanes_and_banks, made_row
from sparsespike import UserError, load_chip, load_trace, simulate
from sparsespike.analysis.explore.advice.answer import RecommendRequest, answer
from sparsespike.analysis.explore.advice.neighbours import neighbours, steps_table
from sparsespike.analysis.explore.advice.recommend import breach, recommend
from sparsespike.analysis.explore.advice.units import parse_quantity
from sparsespike.analysis.explore.store import Row, open_store
from sparsespike.analysis.tables import Table


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("latency", "2ms", 0.002),
        ("latency", "2e-3s", 0.002),
        ("latency", " 150 us ", 150e-6),
        ("latency", "150µs", 150e-6),
        ("latency", "1.5s", 1.5),
        ("latency", ".5ns", 0.5e-9),
        ("energy", "20uJ", 20e-6),
        ("energy", "0.02mJ", 20e-6),
        ("energy", "3e7pJ", 30e-6),
        ("area", "4mm2", 4.0),
        ("area", "4 mm²", 4.0),
        ("area", "400000um2", 0.4),
        ("accuracy", "97%", 0.97),
        ("accuracy", "0.97", 0.97),
        ("accuracy", "100%", 1.0),
    ],
)
def test_quantities_are_read_in_their_unit(name: str, text: str, value: float) -> None:
    assert parse_quantity(name, text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("latency", "2", "its unit is missing; write it like 2ms"),
        ("latency", "fast", "no number with a unit"),
        ("latency", "2mm", "no unit 'mm' of latency per image; did you mean 'ms'"),
        ("latency", "1e400s", "must be above 0, and finite"),
        ("latency", "-2ms", "must be above 0"),
        ("latency", "0ms", "must be above 0"),
        ("latency", "2ms4", "no unit 'ms4'"),
        ("latency", "nan", "no number"),
        ("latency", "", "no number"),
        ("energy", "20MJoule", "no unit 'MJoule'"),
        ("energy", "20uW", "no unit 'uW'"),
        ("area", "4mm", "no unit 'mm' of area; did you mean 'mm2'|'mm²'"),
        ("accuracy", "97", "a share up to 1, or up to 100%"),
        ("accuracy", "101%", "a share up to 1, or up to 100%"),
    ],
)
def test_what_is_no_quantity_is_said(name: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        parse_quantity(name, text)
    assert str(refused.value).startswith(f"--{name} {text}:")


# lanes, banks, latency, energy, area
POINTS = [
    (1, 1, 8e-3, 10e-6, 1.0),
    (2, 1, 4e-3, 12e-6, 2.0),
    (4, 1, 2e-3, 16e-6, 4.0),
    (8, 1, 1e-3, 30e-6, 8.0),
    (4, 2, 1.9e-3, 15e-6, 5.0),
]


def lanes(row: Row | None) -> tuple[int, int] | None:
    return None if row is None else (row.settings["core.lanes"], row.settings["core.weight_banks"])


def test_the_cheapest_within_the_limits_and_what_binds() -> None:
    choice = recommend(lanes_and_banks(POINTS), {"latency": 2e-3, "area": 4.5}, "energy")
    assert (lanes(choice.row), choice.meeting) == ((4, 1), 1)  # on a limit is within it
    latency, area = choice.bounds
    assert (latency.slack, lanes(latency.next)) == (0.0, (2, 1))  # slower by less than (1, 1)
    assert (area.slack, lanes(area.next)) == (pytest.approx(0.5 / 4.5), (4, 2))
    loose = recommend(lanes_and_banks(POINTS), {"latency": 5e-3, "area": 100.0}, "energy")
    assert (lanes(loose.row), loose.meeting) == ((2, 1), 4)
    assert [lanes(bound.next) for bound in loose.bounds] == [(1, 1), None]  # the area does not bind
    assert lanes(recommend(lanes_and_banks(POINTS), {"energy": 15e-6}, "latency").row) == (4, 2)
    assert lanes(recommend(lanes_and_banks(POINTS), {}, "area").row) == (1, 1)


def test_accuracy_is_a_limit_from_below() -> None:
    rows = [made_row({"core.lanes": n}, accuracy=a, energy=e) for n, a, e in ((1, 0.9, 1), (2, 0.97, 2), (4, 0.99, 3))]
    choice = recommend(rows, {"accuracy": 0.97}, "energy")
    assert choice.row.settings["core.lanes"] == 2
    assert choice.bounds[0].next is rows[0]
    assert recommend(rows, {}, "accuracy").row is rows[2]
    with pytest.raises(UserError, match=r"misses --accuracy 99.5 % by 0.5 % of it \(it has 99.0 %\)"):
        recommend(rows, {"accuracy": 0.995}, "energy")
    with pytest.raises(UserError, match="no point has accuracy"):
        recommend([made_row({}, accuracy=None)], {"accuracy": 0.9}, "energy")  # type: ignore[arg-type]


def test_the_choice_is_what_looking_at_every_point_gives() -> None:
    rng = random.Random(8)
    for _ in range(200):
        numbers = [(n, 1, *(rng.choice((1.0, 2.0, 3.0, 4.0)) for _ in range(3))) for n in range(rng.randint(1, 12))]
        rows = lanes_and_banks(numbers)  # type: ignore[arg-type]
        limits = {name: rng.choice((1.5, 2.0, 3.5)) for name in ("latency", "area")}
        fit = [n for n in numbers if n[2] <= limits["latency"] and n[4] <= limits["area"]]
        if not fit:
            with pytest.raises(UserError, match="no point of"):
                recommend(rows, limits, "energy")
            continue
        choice = recommend(rows, limits, "energy")
        assert choice.meeting == len(fit)
        metrics = choice.row.metrics or {}
        least = min((n[3], n[2], n[4]) for n in fit)
        assert (metrics["energy"], metrics["latency"], metrics["area"]) == least
        cheaper = [n for n in numbers if n[3] < least[0] and n[4] <= limits["area"]]
        found = choice.bounds[0].next
        assert (found is None) == (not cheaper)
        if found is not None:
            assert (found.metrics or {})["latency"] == min(n[2] for n in cheaper)


def test_where_nothing_meets_the_limits_the_nearest_miss_is_said() -> None:
    rows = lanes_and_banks(POINTS)
    with pytest.raises(UserError) as refused:
        recommend(rows, {"latency": 1.8e-3, "area": 4.9}, "energy")
    said = str(refused.value)
    assert "no point of 5 meets --latency 1.80 ms, --area 4.9 mm²" in said
    assert "lanes 4, weight_banks 2" in said  # 5.6 % and 2.0 %; (4, 1) misses the latency alone, by 11 %
    assert "misses --latency 1.80 ms by 5.6 % of it (it has 1.90 ms) and --area 4.9 mm² by 2.0 % of it" in said
    assert "each limit alone is met by some point" in said
    with pytest.raises(UserError, match=r"misses --latency 900 µs by 11.1 % .*; the best of all .* 1.00 ms"):
        recommend(rows, {"latency": 0.9e-3}, "energy")
    assert breach(rows[0], "latency", 4e-3) == 1.0


def test_steps_go_to_the_nearest_values_in_either_direction() -> None:
    rows = lanes_and_banks([*POINTS, (2, 2, 4e-3, 11e-6, 3.0)])
    misfit = made_row({"core.lanes": 8, "core.weight_banks": 2}, reason="its weights need more")
    elsewhere = made_row({"core.lanes": 1, "core.weight_banks": 2}, trace="another")
    every = [*rows, misfit, elsewhere]
    here = rows[4]
    steps = [(step.key, step.value, step.row) for step in neighbours(every, here)]
    assert steps == [("core.lanes", 2, rows[5]), ("core.lanes", 8, misfit), ("core.weight_banks", 1, rows[2])]
    table = steps_table(every, here)
    assert table.rows[0] == ("core.lanes 4 -> 2", "4.00 ms (+110.5 %)", "11.0 µJ (-26.7 %)", "3 mm² (-40.0 %)", "")
    assert table.rows[1][1:] == ("-", "-", "-", "does not fit: its weights need more")
    lone = steps_table([*rows, misfit, elsewhere], rows[5]).rows  # (2, 2): a step to (1, 2) is another trace's
    assert lone[0] == ("core.lanes 2 -> 1", "-", "-", "-", "not in the results")
    words = [made_row({"core.weight_format": name}) for name in ("dense", "csr", "bitmap")]
    assert [step.value for step in neighbours(words, words[1])] == ["dense", "bitmap"]


def test_the_answer_writes_a_chip_that_does_what_it_says(
    swept_file: Path, swept: list[Row], trace_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "chip.toml"
    slowest = max((row.metrics or {})["latency"] or 0 for row in swept if row.feasible)
    request = RecommendRequest(swept_file, {"latency": f"{slowest * 0.8}s"}, out=out)
    parts = answer(request)
    chip = load_chip(out)
    report = simulate(load_trace(trace_file), chip, images=1)
    allowed = [row for row in swept if row.feasible and ((row.metrics or {})["latency"] or 0) <= slowest * 0.8]
    best = min(allowed, key=lambda row: (row.metrics or {})["energy"] or 0)
    assert report.latency_s == (best.metrics or {})["latency"]
    assert report.energy_pj["total"] * 1e-12 == (best.metrics or {})["energy"]
    assert report.area_mm2 == (best.metrics or {})["area"]
    assert chip.name == f"edge-{best.key[:8]}"
    assert best.key in out.read_text()
    tables = {part.title: part for part in parts if isinstance(part, Table)}
    assert list(tables) == ["Recommended", "What limits it", "The next step along each axis, all else held"]
    largest = max(report.energy_pj["by_component"].items(), key=lambda part: part[1])
    assert tables["What limits it"].rows[0][3].startswith(largest[0].replace("_", " "))
    cause = max(report.cycles_by_cause.items(), key=lambda part: part[1])
    assert tables["What limits it"].rows[0][1].startswith(cause[0].replace("_", " "))
    lines = [part for part in parts if isinstance(part, str)]
    assert lines[-1] == f"run it: sparsespike simulate {trace_file} --images 1 --hardware {out}"


def test_mistakes_are_lines_and_nothing_is_written(
    swept_file: Path, tmp_path: Path, complaint: Callable[..., str]
) -> None:
    cases = {
        "--latency 2 --area 3mm2": "--latency 2: its unit is missing",
        "--latency 1ps": "no point of 8 meets --latency 1.00 ps",
        "--trace digit": "--trace digit: not in the results; did you mean 'digits'?",
        "--cheapest energi": "no objective 'energi'; did you mean 'energy'?",
        "--cheapest energy,area": "one metric, e.g. energy",
    }
    for options, said in cases.items():
        assert said in complaint("recommend", swept_file, "--out", tmp_path / "chip.toml", *options.split())
    assert list(tmp_path.iterdir()) == []


def test_chip_files_hold_any_text(swept_file: Path, swept: list[Row], tmp_path: Path) -> None:
    from sparsespike.analysis.explore.advice.chip_file import chip_toml, flat_keys

    with open_store(swept_file) as store:
        chip = store.report(next(row.key for row in swept if row.feasible))["provenance"]["chip"]
    odd = 'a "quoted" \\ name, \n\x7f\x00 é 🙂'
    text = chip_toml(flat_keys(chip) | {"name": odd, "description": odd}, "two\nlines")
    assert tomllib.loads(text)["name"] == odd
    path = tmp_path / "odd.toml"
    path.write_text(text, encoding="utf-8")
    assert load_chip(path).settings() == chip_without_words(chip) | {"name": odd, "description": odd}


def chip_without_words(chip: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in chip.items() if key not in ("fidelity", "sources")}
