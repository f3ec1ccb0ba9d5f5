"""Sensitivity: against scipy, known indices and the exact variances of a grid; tornados by hand."""

from dataclasses import replace
from itertools import product
from math import pi, sin
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sparsespike import UserError
from sparsespike.analysis import space
from sparsespike.analysis.explore import point, store
from sparsespike.analysis.explore.results import read_rows
from sparsespike.analysis.explore.sensitivity import figures as figures_sensitivity
from sparsespike.analysis.explore.sensitivity import indices as sensitivity
from sparsespike.analysis.explore.sensitivity import influence, tornado
from sparsespike.analysis.parallel import Workers
from sparsespike.analysis.style import blank

Choice = tuple[int, ...]


def exact(table: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """First-order and total indices of a function on a full grid: variances of conditional means, nothing sampled."""
    axes = range(table.ndim)
    others = [tuple(other for other in axes if other != axis) for axis in axes]
    first = [table.mean(rest).var() / table.var() for rest in others]
    total = [1 - table.mean(axis).var() / table.var() for axis in axes]
    return first, total


def indices_of(table: NDArray[np.float64], rows: int, seed: int = 0) -> sensitivity.Indices:
    design = sensitivity.saltelli(table.shape, rows, seed)
    return sensitivity.sobol_indices("abcdefgh"[: table.ndim], design, lambda choice: float(table[choice]), seed)


def test_a_design_is_saltellis() -> None:
    design = sensitivity.saltelli((3, 4), 16, 0)
    choices = design.choices()
    assert len(choices) == 16 * (2 + 2)
    for row in range(16):
        a, b, first, second = choices[row::16]
        assert (first, second) == ((b[0], a[1]), (a[0], b[1]))
    for sample in (design.a, design.b):
        assert sample.min(0).tolist() == [0, 0]
        assert sample.max(0).tolist() == [2, 3]
        assert np.bincount(sample[:, 1]).tolist() == [4, 4, 4, 4]  # balanced: a Sobol sequence


def test_without_gaps_indices_are_scipys() -> None:
    table = np.random.default_rng(0).random((4, 3, 5))
    design = sensitivity.saltelli(table.shape, 64, 1)
    found = indices_of(table, 64, 1)
    values = {
        "f_A": np.array([[table[tuple(row)] for row in design.a]]),
        "f_B": np.array([[table[tuple(row)] for row in design.b]]),
        "f_AB": np.array([[[table[tuple(row)] for row in page]] for page in design.ab]),
    }
    scipys = stats.sobol_indices(func=values, n=64)
    assert found.first == pytest.approx(scipys.first_order, rel=1e-12)
    assert found.total == pytest.approx(scipys.total_order, rel=1e-12)


@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 2), (7, 1, 3)])
def test_indices_are_near_the_exact_ones_of_a_grid(shape: tuple[int, ...]) -> None:
    table = np.random.default_rng(len(shape)).random(shape)
    found = indices_of(table, 8192)
    first, total = exact(table)
    assert found.first == pytest.approx(first, abs=0.03)
    assert found.total == pytest.approx(total, abs=0.03)


def test_an_additive_function_has_nothing_shared() -> None:
    """f = 1 a + 2 b + 3 c of equal axes: shares 1, 4 and 9 of 14."""
    a, b, c = np.meshgrid(*[np.arange(8.0)] * 3, indexing="ij")
    found = indices_of(1 * a + 2 * b + 3 * c, 4096)
    assert found.first == pytest.approx([1 / 14, 4 / 14, 9 / 14], abs=0.01)
    assert found.total == pytest.approx(found.first, abs=0.01)
    assert found.order() == [2, 1, 0]


def test_ishigami() -> None:
    """The textbook function on a fine grid; indices from its published variances (a = 7, b = 0.1)."""
    places = -pi + 2 * pi * (np.arange(256) + 0.5) / 256

    def value(choice: Choice) -> float:
        x, y, z = places[list(choice)]
        return sin(x) + 7 * sin(y) ** 2 + 0.1 * z**4 * sin(x)

    found = sensitivity.sobol_indices("xyz", sensitivity.saltelli((256,) * 3, 4096, 0), value, 0)
    alone, second, shared = (1 + 0.1 * pi**4 / 5) ** 2 / 2, 49 / 8, 0.01 * pi**8 * (1 / 18 - 1 / 50)
    variance = alone + second + shared
    assert found.first == pytest.approx([alone / variance, second / variance, 0], abs=0.02)
    assert found.total == pytest.approx([(alone + shared) / variance, second / variance, shared / variance], abs=0.02)


def test_intervals_hold_the_exact_indices_about_as_often_as_they_say() -> None:
    table = np.random.default_rng(4).random((4, 5))
    first, total = exact(table)
    inside = []
    for seed in range(25):
        found = indices_of(table, 128, seed)
        for (low, high), truth in ((found.first_interval, first), (found.total_interval, total)):
            inside += [bool(a <= value <= b) for a, b, value in zip(low, high, truth, strict=True)]
    assert np.mean(inside) > 0.9


def test_rows_with_a_gap_are_dropped_and_counted() -> None:
    table = np.random.default_rng(2).random((5, 4))
    design = sensitivity.saltelli(table.shape, 256, 0)
    choices = design.choices()
    gaps = {(0, 0), (3, 1)}
    touched = sum(bool(gaps & set(choices[row::256])) for row in range(256))
    found = sensitivity.sobol_indices("ab", design, lambda c: None if c in gaps else float(table[c]), 0)
    assert (found.rows, found.dropped) == (256 - touched, touched)
    assert 0 < touched < 256
    assert f"{touched} more rows" in sensitivity.indices_table(found, "energy").note
    kept = [row for row in range(256) if not gaps & set(choices[row::256])]
    a, b, ab = (part[..., kept, :] for part in (design.a, design.b, design.ab))
    assert found.first == pytest.approx(
        sensitivity.sobol_indices("ab", sensitivity.Design(a, b, ab), lambda c: float(table[c]), 0).first
    )
    with pytest.raises(UserError, match="only 0 of the design's 256 rows fit whole, and 8 are needed"):
        sensitivity.sobol_indices("ab", design, lambda choice: None, 0)


def test_what_does_not_vary_depends_on_nothing() -> None:
    found = indices_of(np.full((3, 3), 7.0), 16)
    assert found.first.tolist() == found.total.tolist() == [0, 0]


def test_a_seed_says_everything() -> None:
    table = np.random.default_rng(7).random((4, 4, 4))
    one, again, other = (indices_of(table, 64, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.total_interval, again.total_interval)
    assert not np.array_equal(one.total, other.total)


@pytest.mark.parametrize(("samples", "said"), [(0, "e.g. 2 or 4"), (100, "e.g. 64 or 128"), (-3, "e.g. 2 or 4")])
def test_samples_are_a_power_of_two(samples: int, said: str) -> None:
    with pytest.raises(UserError, match=f"samples = {samples}: must be a power of two, {said}"):
        sensitivity.saltelli((2, 2), samples, 0)


def test_the_reference_is_nearest_to_the_base_chip(mesh_space: space.Space) -> None:
    chip = mesh_space.base_values
    reference = mesh_space.chosen(tornado.reference_of(mesh_space, {}))
    assert reference["trace"] == "a"
    assert reference["core.weight_format"] == chip["core.weight_format"] == "csr"
    for key in ("mesh.columns", "mesh.rows", "core.lanes"):
        assert abs(reference[key] - chip[key]) == min(abs(value - chip[key]) for value in mesh_space.axes[key])
    moved = mesh_space.chosen(tornado.reference_of(mesh_space, {"core.lanes": 4, "trace": "b"}))
    assert moved == reference | {"core.lanes": 4, "trace": "b"}


@pytest.mark.parametrize(
    ("around", "said"),
    [
        ({"core.lane": 4}, r"around core.lane: no axis of the space; did you mean 'core.lanes'"),
        ({"core.lanes": 5}, "around core.lanes = 5: the space has 2, 4, 8, 16"),
        ({"mesh.columns": 1}, "mesh.columns = 1, mesh.rows = 4, .* is forbidden by a constraint"),
    ],
)
def test_a_reference_that_is_none(around: dict[str, object], said: str, mesh_space: space.Space) -> None:
    with pytest.raises(UserError, match=said):
        tornado.reference_of(mesh_space, around)


def test_a_tornado_by_hand(space_file: Path) -> None:
    """Around 4 lanes, 32 KiB and bitmap, of 4 x 2 x 2 points; those with the small memory do not fit."""
    found = replace(space.load_space(space_file), traces=("digits",))
    reference = tornado.reference_of(found, {"core.lanes": 4, "core.weight_format": "bitmap"})
    assert reference == (0, 0, 2, 1, 0)
    assert len(tornado.neighbours(found, reference)) == 3 + 1 + 1

    def energy(choice: Choice) -> float | None:
        return None if choice[3] == 0 else 1e-6 * (10 * (choice[2] - 1) ** 2 + 3 * choice[4] + 1)

    result = tornado.tornado_of(found, reference, "energy", energy)
    assert result.reference == pytest.approx(11e-6)
    assert [bar.axis for bar in result.bars] == ["core.lanes", "core.weight_format", "core.weight_kib"]
    lanes, formats, sizes = result.bars
    assert (lanes.at_lowest, lanes.at_highest, lanes.reach) == ("2", "8", pytest.approx(40e-6))
    assert (formats.at_lowest, formats.at_highest, formats.reach) == ("bitmap", "csr", pytest.approx(3e-6))
    assert sizes.reach == 0
    assert result.missing == 1
    assert result.table().rows[0] == ("core.lanes", "1.00 µJ at 2", "41.0 µJ at 8", "363.6 %")
    with pytest.raises(UserError, match=r"core.lanes = 4, .* does not fit; say another with --around"):
        tornado.tornado_of(found, (0, 0, 2, 0, 0), "energy", energy)


def ask(file: Path, trace_file: Path, out: Path, **options: object) -> influence.Influence:
    found = replace(space.load_space(file), traces=("digits",))
    question = influence.Question(**({"objective": "energy", "samples": 32} | options))  # type: ignore[arg-type]
    return influence.run_sensitivity(found, {"digits": trace_file}, out, question, workers=Workers(1))


def test_a_real_space_is_asked_through_its_results(
    swept: list[store.Row], space_file: Path, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space is small enough to be looked at whole: where memories fit, the indices are near the exact ones."""
    space_file.write_text(space_file.read_text().replace("[0.125, 32.0]", "[32.0]"))
    out = tmp_path / "r.sqlite"
    found = ask(space_file, trace_file, out, samples=1024)
    assert (found.points, found.known) == (8, 0)
    fitting = [row for row in swept if row.feasible]
    assert read_rows(out) == fitting
    values = {tuple(row.settings.values()): row.metrics["energy"] for row in fitting if row.metrics}
    table = np.array([[values[lanes, 32.0, form] for form in ("bitmap", "csr")] for lanes in (1, 2, 4, 8)])
    first, total = exact(table)
    assert found.indices.names == ("core.lanes", "core.weight_format")
    assert found.indices.first == pytest.approx(first, abs=0.1)
    assert found.indices.total == pytest.approx(total, abs=0.1)
    reach = {bar.axis: bar.reach for bar in found.tornado.bars}
    assert reach["core.lanes"] == pytest.approx(np.ptp([values[lanes, 32.0, "csr"] for lanes in (1, 2, 4, 8)]))
    monkeypatch.setattr(point, "simulate", lambda *args, **kwargs: pytest.fail("simulated again"))
    again = ask(space_file, trace_file, out, samples=1024)
    assert (again.points, again.known) == (8, 8)
    assert np.array_equal(again.indices.total, found.indices.total)
    assert again.tornado == found.tornado


def test_what_is_forbidden_is_not_simulated(space_file: Path, trace_file: Path, tmp_path: Path) -> None:
    text = (
        space_file.read_text()
        .replace("[0.125, 32.0]", "[16.0, 32.0]")
        .replace("[axes]", 'constraints = ["core.lanes < 8"]\n[axes]')
    )
    space_file.write_text(text)
    with pytest.raises(UserError, match="is forbidden by a constraint; say another with --around"):
        ask(space_file, trace_file, tmp_path / "r")
    found = ask(space_file, trace_file, tmp_path / "r", around={"core.lanes": 4})
    assert {row.settings["core.lanes"] for row in read_rows(tmp_path / "r")} <= {1, 2, 4}
    assert found.indices.dropped > 0
    assert found.tornado.missing == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "latency,energy"}, "one at a time"),
        ({"objective": "latnecy"}, "'latency'"),
        ({"samples": 12}, "power of two"),
        ({"around": {"core.lanes": 3}}, "the space has 1, 2, 4, 8"),
        ({"around": {"core.weight_kib": 0.125}}, "does not fit; say another"),
    ],
)
def test_questions_that_are_refused(
    options: dict[str, object], said: str, space_file: Path, trace_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        ask(space_file, trace_file, tmp_path / "r", **options)


def test_figures_show_the_numbers(tmp_path: Path) -> None:
    table = np.array([[float(10 * a + b) for b in range(3)] for a in range(4)])
    found = indices_of(table, 64)
    ax = blank(4, 3).add_subplot()
    figures_sensitivity.sobol_bars(found, "energy", ax)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == [*found.first[found.order()], *found.total[found.order()]]
    bars = (tornado.Bar("core.lanes", 1e-6, 5e-6, "2", "8"), tornado.Bar("schedule", 2e-6, 2e-6, "a", "a"))
    around = tornado.Tornado("energy", 2e-6, {"core.lanes": 4}, bars, 0)
    ax = blank(4, 3).add_subplot()
    figures_sensitivity.tornado_bars(around, ax)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([-1e-6, 0, 3e-6, 0])
    assert [text.get_text() for text in ax.texts] == ["2", "8"]
    paths = figures_sensitivity.plot_sensitivity(found, around, tmp_path)
    assert [path.name for path in paths] == ["sobol.png", "sobol.svg", "tornado.png", "tornado.svg"]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_every_choice_of_a_grid_can_be_drawn() -> None:
    design = sensitivity.saltelli((3, 2, 4), 256, 3)
    assert set(design.choices()) == set(product(range(3), range(2), range(4)))
