"""Figures of result files: that they show the numbers they say they show, and that nothing covers anything."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_points import lanes_and_banks, made_row
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from sparsespike import UserError, load_chip, simulate
from sparsespike.analysis.explore.metrics import METRICS
from sparsespike.analysis.explore.results import fronts
from sparsespike.analysis.explore.store import Row, open_store
from sparsespike.analysis.explore.views import figures, labels, ladder, links, naming, roofline
from sparsespike.analysis.explore.views.chosen import bars_figure
from sparsespike.analysis.explore.views.plots import PlotRequest, lines, plot_results
from sparsespike.analysis.style import blank, styled
from sparsespike.simulator.activity import Action
from sparsespike.simulator.engine import run
from sparsespike.simulator.eventlog import read_log
from sparsespike.simulator.trace import Trace

# ---- names and labels


def test_points_are_called_by_letters() -> None:
    assert naming.letters(28)[:2] == ["A", "B"]
    assert naming.letters(28)[25:] == ["Z", "AA", "AB"]
    assert naming.spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert naming.spread([1, 2], 4) == [1, 2]
    assert naming.spread([1, 2], 1) == [1]


def test_keys_and_traces_are_short_where_that_is_clear() -> None:
    assert naming.short_keys(["core.weight_kib", "core.lanes"]) == {
        "core.weight_kib": "weight kib",
        "core.lanes": "lanes",
    }
    both = ["core.weight_kib", "token_unit.weight_kib"]
    assert naming.short_keys(both) == dict(zip(both, both, strict=True))
    rows = [
        made_row({}, trace=trace) for trace in ("a/digits.safetensors", "keep0.7", "a/x.safetensors", "b/x.safetensors")
    ]
    assert list(naming.short_traces(rows).values()) == ["digits", "keep0.7", "a/x.safetensors", "b/x.safetensors"]


def test_points_are_named_by_front_or_by_key() -> None:
    rows = lanes_and_banks([(1, 1, 3, 1, 1), (2, 1, 2, 2, 1), (4, 1, 1, 3, 1), (8, 1, 3, 3, 1)])
    rows.append(made_row({"core.lanes": 16}, reason="too much"))
    assert list(naming.named_points(rows, ("latency", "energy")).items()) == [
        ("A", rows[2]),
        ("B", rows[1]),
        ("C", rows[0]),
    ]
    assert naming.named_points(rows, ("latency",), [rows[3].key[:9], rows[3].key, rows[0].key]) == {
        "A": rows[3],
        "B": rows[0],
    }
    for key, said in (("zz", "no point has this key"), ("", "begin so"), (rows[4].key, "does not fit: too much")):
        with pytest.raises(UserError, match=said):
            naming.named_points(rows, ("latency",), [key])
    many = [made_row({"core.lanes": n}, trace=str(n % 3), latency=n, energy=100 - n) for n in range(90)]
    named = naming.named_points(many, ("latency", "energy"))
    assert len(named) == naming.MOST_NAMED
    for front in fronts(many, ("latency", "energy")).values():  # both ends of each
        assert {front[0].key, front[-1].key} <= {row.key for row in named.values()}


def test_labels_cover_neither_points_nor_one_another() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal((60, 60), 8, (16, 2)), rng.uniform(0, 400, (24, 2)), [(0, 0), (400, 400)]])
    names = naming.letters(len(points))
    shifts = labels.place_labels(points, names, (0, 0, 400, 400))
    middles = points + shifts
    # half a letter, by the sizes that labels are placed with
    half = np.array([[(0.75 * labels.SIZE * len(name) + 2) / 2, (labels.SIZE + 2) / 2] for name in names])
    for at in range(len(points)):
        apart = np.abs(middles[at] - middles) >= half[at] + half - 1e-9
        apart[at] = True
        assert apart.any(axis=1).all(), names[at]
        assert (np.abs(middles[at] - points) >= half[at] + 2.5 - 1e-9).any(axis=1).all(), names[at]
        assert (middles[at] - half[at] >= -1e-9).all()
        assert (middles[at] + half[at] <= 400 + 1e-9).all()


# ---- the front and the axes


def scatter(rows: list[Row], pair: tuple[str, str], objectives: tuple[str, ...] = ()) -> Axes:
    with styled():
        ax = blank(5, 4).subplots()
        figures.front_scatter(rows, ax, pair, objectives)
    return ax


def test_the_scatter_rings_the_front_and_every_point_is_where_its_label_says(swept: list[Row]) -> None:
    ax = scatter(swept, ("latency", "energy"))
    assert "latency per image (µs)" in ax.get_xlabel()
    assert "energy per image (µJ)" in ax.get_ylabel()
    known = [row.metrics for row in swept if row.metrics is not None]
    expected = np.array([(m["latency"] * 1e6, m["energy"] * 1e6) for m in known])  # type: ignore[operator]
    *groups, ring = [np.asarray(group.get_offsets()) for group in ax.collections]
    drawn = np.concatenate(groups)
    assert sorted(map(tuple, drawn.round(9).tolist())) == sorted(map(tuple, expected.round(9).tolist()))
    beaten = [any((q <= p).all() and (q < p).any() for q in expected) for p in expected]
    best = expected[~np.array(beaten)]
    assert sorted(map(tuple, ring.round(9).tolist())) == sorted(map(tuple, best.round(9).tolist()))


def test_letters_stand_beside_their_points(swept: list[Row]) -> None:
    named = naming.named_points(swept, ("latency", "energy"))
    with styled():
        figure = figures.scatter_figure(swept, ("latency", "energy"), named)
    notes = {note.get_text(): note.xy for note in figure.axes[0].texts if isinstance(note, Annotation)}
    for name, row in named.items():
        metrics = row.metrics or {}
        assert notes[name] == pytest.approx(((metrics["latency"] or 0) * 1e6, (metrics["energy"] or 0) * 1e6))
    assert figure.get_supxlabel().count("\n") == len(named) - 1


def test_three_objectives_give_two_panels_and_one_front(swept: list[Row]) -> None:
    objectives = ("latency", "energy", "area")
    with styled():
        figure = figures.scatter_figure(swept, objectives)
    best = fronts(swept, objectives)["digits"]
    assert [ax.get_ylabel().split(" ")[0] for ax in figure.axes] == ["energy", "area"]
    for ax in figure.axes:
        assert len(ax.collections[-1].get_offsets()) == len(best)  # type: ignore[arg-type]


def test_an_axis_of_very_different_values_is_logarithmic() -> None:
    rows = lanes_and_banks([(1, 1, 1e-6, 1e-6, 1), (2, 1, 1e-3, 2e-6, 1)])
    ax = scatter(rows, ("latency", "energy"))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert figures.axis_unit(rows, "latency") == (1e-3, "latency per image (ms)")
    assert figures.axis_unit(rows, "accuracy") == (0.01, "accuracy (%)")


def test_effects_show_each_value_of_an_axis(swept: list[Row]) -> None:
    with styled():
        figure = figures.effects_figure(swept)
    assert [ax.get_xlabel() for ax in figure.axes] == list(naming.varied(swept))
    lanes = next(ax for ax in figure.axes if ax.get_xlabel() == "core.lanes")
    segments = lanes.collections[0].get_segments()  # type: ignore[attr-defined]
    feasible = [row for row in swept if row.feasible]
    assert len(segments) == 2  # two formats that fit
    assert sum(map(len, segments)) == len(feasible)
    csr = [row for row in feasible if row.settings["core.weight_format"] == "csr"]
    heights = [(row.metrics or {})["latency"] * 1e6 for row in sorted(csr, key=lambda row: row.settings["core.lanes"])]  # type: ignore[operator]
    assert any(segment[:, 1].tolist() == pytest.approx(heights) for segment in segments)


# ---- chosen points


def test_bars_add_up_to_the_totals(reports: dict[str, dict[str, Any]]) -> None:
    with styled():
        energy, cycles = bars_figure(reports).axes
    for ax, total in (
        (energy, lambda report: report["energy_pj"]["total"] / report["images"] / 1e6),
        (cycles, lambda report: report["cycles"] / report["images"] / 1e3),
    ):
        tops = [max(p.get_y() + p.get_height() for p in ax.patches if round(p.get_x() + 0.3) == n) for n in range(3)]
        assert tops == pytest.approx([total(report) for report in reports.values()])


def test_a_ladder_holds_the_chip_and_goes_through_its_tickets() -> None:
    def point(trace: str, lanes: int, energy: float, accuracy: float | None, prices: str = "a") -> Row:
        return made_row({"core.lanes": lanes}, trace, prices, energy=energy, accuracy=accuracy)  # type: ignore[arg-type]

    chip = point("dense", 2, 5e-6, 0.99)
    others = [point("pruned", 2, 3e-6, 0.98), point("tokens", 2, 2e-6, 0.95), point("blind", 2, 1e-6, None)]
    elsewhere = [point("pruned", 4, 1e-6, 0.5), point("tokens", 2, 1e-6, 0.5, prices="b")]
    rows = [chip, *others, *elsewhere]
    assert ladder.rungs(rows, chip) == [others[1], others[0], chip]
    with styled():
        figure = ladder.ladder_figure(rows, {"A": elsewhere[0], "B": chip, "C": others[0]})
        assert figure is not None
        ax = figure.axes[0]
        assert ladder.ladder_figure(elsewhere, {"A": elsewhere[0]}) is None
    (line,) = ax.get_lines()  # B's; C has the same chip, and A's has one ticket
    assert line.get_label() == "on the chip of B"
    assert np.asarray(line.get_xydata()) == pytest.approx(np.array([(2, 95), (3, 98), (5, 99)]))
    assert figure.get_supxlabel() == "1  tokens\n2  pruned\n3  dense"


# ---- roofline


def test_ceilings_are_lanes_by_clock_and_the_bandwidth() -> None:
    chip = {
        "core.lanes": 8,
        "core.input_macs": 6,
        "core.accumulator_banks": 16,
        "mesh.columns": 3,
        "mesh.rows": 2,
        "clock_mhz": 500.0,
        "dram.bandwidth_gb_s": 12.8,
        "schedule": "layerwise",
    }
    assert roofline.roof_of(chip) == roofline.Roof(48, 24e9, 12.8e9)
    assert roofline.roof_of(chip | {"schedule": "pipelined"}).adders == 84
    assert roofline.roof_of(chip | {"core.accumulator_banks": 4}).adders == 24
    rows = [made_row({}, operations=1000, dram=50, cycles=200), made_row({}, operations=1000, dram=0, cycles=200)]
    placed = roofline.placed(rows, [chip, chip])
    assert placed.tolist() == [[20.0, 1000 * 500e6 / 200], [np.inf, 1000 * 500e6 / 200]]
    with styled():
        assert roofline.roofline_figure(rows[1:], [chip], {}) is None


def test_no_point_lies_above_its_roof(swept: list[Row], swept_file: Path) -> None:
    with open_store(swept_file) as store:
        base = store.about()["base"]
    rows = [row for row in swept if row.feasible]
    chips = [{**base, **row.settings} for row in rows]
    near = 0.0
    for (intensity, rate), chip in zip(roofline.placed(rows, chips).tolist(), chips, strict=True):
        roof = roofline.roof_of(chip)
        graded = 2 ** chip["mesh.value_bits"] - 1
        assert rate <= roof.operations_s * graded
        assert rate <= intensity * roof.bytes_s
        near = max(near, rate / roof.operations_s)
    assert 0.05 < near < 1  # the ceiling is of the same order as what the lanes do
    named = {"A": rows[0], "B": rows[-1]}
    with styled():
        figure = roofline.roofline_figure(rows, chips, named)
    assert figure is not None
    ax = figure.axes[0]
    tops = sorted(line.get_ydata().max() for line in ax.get_lines())  # type: ignore[union-attr]
    assert tops == sorted({roofline.roof_of(chips[0]).operations_s, roofline.roof_of(chips[-1]).operations_s})


# ---- links


PIPELINED = {
    "schedule": "pipelined",
    "core.spike_kib": 64.0,
    "core.potential_kib": 64.0,
    "mesh.columns": 4,
    "mesh.rows": 4,
}


@pytest.mark.parametrize("changes", [{}, PIPELINED, {"mesh.link_bits": 8}])
def test_links_carry_what_the_report_counts(trace: Trace, changes: dict[str, Any]) -> None:
    chip = load_chip("edge", changes)
    part = trace.first(1)
    loads = links.link_loads(part, chip)
    report = simulate(part, chip)
    assert loads.moved == loads.hops == report.counts["flit_hop"] > 0
    assert loads.flits.sum() == report.counts["buffer_read"]  # L included
    assert 0 < loads.busy.max() <= 1
    assert loads.busy.max() == loads.flits.max() * chip.flit_cycles / report.cycles
    grid = loads.flits.reshape(chip.mesh.rows, chip.router_columns, 5)
    assert grid[0, :, 1].sum() == grid[:, -1, 2].sum() == grid[-1, :, 3].sum() == grid[:, 0, 4].sum() == 0  # no way out


def test_each_link_is_counted_as_the_log_says_in_words(trace: Trace) -> None:
    chip, part = load_chip("edge"), trace.first(1)
    expected: dict[tuple[int, str], int] = {}

    def count(image: int, layer: int, log: Any) -> None:
        for _, router, event, _ in read_log(log):
            if event.startswith("grant."):
                place = (router, event.split(".")[1])
                expected[place] = expected.get(place, 0) + 1

    run(part, chip, watch=count)
    flits = links.link_loads(part, chip).flits
    found = {(router, "LNESW"[port]): int(flits[router, port]) for router, port in np.argwhere(flits).tolist()}
    assert found == expected


def test_gated_tokens_move_but_are_not_counted(trace: Trace) -> None:
    loads = links.link_loads(trace.first(1), load_chip("edge", {"token_unit.policy": "gate"}))
    assert loads.moved > loads.hops > 0


def test_the_heat_map_has_an_arrow_per_link(trace: Trace) -> None:
    loads = links.link_loads(trace.first(1), load_chip("edge"))
    with styled():
        figure = links.links_figure({"A": loads})
    ax = figure.axes[0]
    columns, rows = loads.chip.router_columns, loads.chip.mesh.rows
    among = 2 * ((columns - 1) * rows + columns * (rows - 1))
    assert len(ax.patches) == columns * rows + among
    shares = sorted(int(text.get_text()) for text in ax.texts if text.get_text().isdigit())
    assert len(shares) == among
    assert shares[-1] == round(100 * float(loads.busy[:, 1:].max()))
    assert "%" in figure.axes[1].get_ylabel()
    assert loads.hops == simulate(trace.first(1), loads.chip).counts[Action.FLIT_HOP.key]


# ---- all together


def test_plot_writes_everything(swept_file: Path, swept: list[Row], tmp_path: Path) -> None:
    request = PlotRequest(swept_file, tmp_path / "out", csv=tmp_path / "points.csv")
    plots = plot_results(request)
    names = ("front", "settings", "bars", "roofline", "links")
    assert plots.written[:-1] == [tmp_path / "out" / f"{name}.{end}" for name in names for end in ("png", "svg")]
    assert all(path.stat().st_size > 1000 for path in plots.written)
    assert plots.left_out == {"ladder": "no chip has two tickets"}
    assert list(lines(plots))[-1] == "left out: ladder: no chip has two tickets"
    assert [row[-1] for row in plots.named.rows] == [
        row.key[:12] for row in fronts(swept, ("latency", "energy"))["digits"]
    ]


def test_a_single_point_can_be_plotted(swept: list[Row], swept_file: Path, tmp_path: Path) -> None:
    row = next(row for row in swept if row.feasible)
    with open_store(swept_file) as store, open_store(tmp_path / "one.sqlite", create=True) as one:
        one.bind(store.about())
        one.add(replace(row, settings={}, report=store.report(row.key)))
    request = PlotRequest(tmp_path / "one.sqlite", tmp_path / "out", page=tmp_path / "page.html")
    plots = plot_results(request)
    assert plots.left_out == {
        "settings": "no axis has several values",
        "ladder": "no chip has two tickets",
    }
    assert (tmp_path / "page.html").exists()


def test_the_csv_holds_every_point_in_full(swept: list[Row], swept_file: Path, tmp_path: Path) -> None:
    from sparsespike.analysis.explore.views.export import write_csv

    write_csv(tmp_path / "points.csv", swept)
    with (tmp_path / "points.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(swept) == 16
    for line, row in zip(found, swept, strict=True):
        assert (line["key"], line["trace"], line["energy table"]) == (row.key, row.trace, row.prices)
        assert (line["feasible"] == "1", line["reason"]) == (row.feasible, row.reason)
        assert {key: line[key] for key in row.settings} == {key: str(value) for key, value in row.settings.items()}
        for name, metric in METRICS.items():
            text = line[f"{name} [{metric.unit}]" if metric.unit else name]
            value = (row.metrics or {}).get(name)
            assert (float(text) if text else None) == value


def test_links_are_left_out_where_the_trace_is_another_or_gone(swept_file: Path, trace: Trace, tmp_path: Path) -> None:
    from sparsespike.simulator.trace import save_trace

    results = tmp_path / "r.sqlite"
    shutil.copy(swept_file, results)
    request = PlotRequest(results, tmp_path / "out")
    left_out = {}
    save_trace(trace.first(1), tmp_path / "one.safetensors")  # has the very image of the sweep: the same trace
    for name in ("gone", "one", "other"):
        if name == "other":
            _of_another_ticket(tmp_path)
        with open_store(results, create=True) as store:
            store.remember_traces({"digits": str(tmp_path / f"{name}.safetensors")})
        left_out[name] = plot_results(request).left_out.get("links of A", "")
    assert "no such file" in left_out["gone"]
    assert left_out["one"] == ""
    assert "is not the one of the results" in left_out["other"]


def _of_another_ticket(folder: Path) -> Path:
    from sparsespike.model.export import trace_dataset
    from sparsespike.model.tickets import shipped
    from sparsespike.simulator.trace import save_trace

    save_trace(trace_dataset(shipped("digits-pruned"), "digits", 1), folder / "other.safetensors")
    return folder / "other.safetensors"


def test_mistakes_are_lines_and_nothing_is_written(
    swept_file: Path, tmp_path: Path, complaint: Callable[..., str]
) -> None:
    cases = {
        "--points zz": "point 'zz': no point has this key",
        "--objectives latency,speed": "no objective 'speed'",
    }
    for options, said in cases.items():
        assert said in complaint("plot", swept_file, "--out", tmp_path / "out", *options.split())
    assert list(tmp_path.iterdir()) == []
