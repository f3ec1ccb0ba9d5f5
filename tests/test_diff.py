"""Two reports compared: what was changed, what moved, and parts that add up to their totals to the last digit."""

import json
import re
from copy import deepcopy
from fractions import Fraction

import pytest
from law_runs import transformer
from sparsespike import cli
from sparsespike.analysis.diff import MOVEMENTS, diff_reports, summed
from sparsespike.analysis.diff_view import diff_parts, movers_table, run_diff
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.report import simulate
from sparsespike.simulator.report_file import load_report
from sparsespike.simulator.synthetic import synthetic_trace

TOPS = (1, 3, 10_000)
OTHER = {"images": 3, "timesteps": 2, "depth": 1, "seed": 4}  # a trace of other layers and images
RUNS = {
    "edge": ("edge", {}, {}),
    "lanes": ("edge", {"core.lanes": 16}, {}),
    "mesh16": ("mesh16", {}, {}),
    "pipelined": ("mesh16", {"schedule": "pipelined", "mesh.columns": 5, "core.spike_kib": 48.0}, {}),
    "one image": ("edge", {}, {"images": 1}),
    "other trace": ("edge", {}, OTHER),
}
PAIRS = [
    ("edge", "lanes"),
    ("edge", "mesh16"),
    ("mesh16", "pipelined"),
    ("edge", "one image"),
    ("edge", "other trace"),
    ("other trace", "one image"),
]


@pytest.fixture(scope="module")
def runs():
    """Reports as `load_report` gives them."""
    found = {}
    for name, (chip, settings, changes) in RUNS.items():
        images = changes.get("images") if len(changes) == 1 else None
        trace = synthetic_trace(**changes) if len(changes) > 1 else transformer()
        report = simulate(trace, load_chip(chip, settings), images=images)
        found[name] = json.loads(json.dumps(report.to_json()))
    return found


@pytest.fixture
def edge(runs):
    """A report to change."""
    return deepcopy(runs["edge"])


def layer_of(report, name):
    return next(layer for layer in report["layers"] if layer["name"] == name)


def printed(parts):
    """What `show` would print, as text."""
    return "\n".join(part if isinstance(part, str) else part.to_markdown() for part in parts)


def integer(cell):
    return int(cell.replace(",", ""))


# --- the law: parts add up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=" - ".join)
@pytest.mark.parametrize("key", MOVEMENTS)
def test_parts_add_up_exactly(runs, pair, key):
    a, b = (runs[name] for name in pair)
    movement = diff_reports(a, b).movement(key)
    per_a, per_b = (1, 1) if a["images"] == b["images"] else (a["images"], b["images"])
    for top in TOPS:
        shown, others = movement.top(top)
        assert len(shown) == min(top, len(movement.moved))
        assert sorted((*shown, *others), key=str) == sorted(movement.parts, key=str)
        rest = summed("rest", others)
        for side in ("a", "b", "difference"):
            parts = sum((getattr(part, side) or 0 for part in shown), Fraction(0))
            assert parts + getattr(rest, side) == getattr(movement.total, side)
        assert all(part.difference for part in shown)
        assert min((abs(part.difference) for part in shown), default=0) >= max(
            (abs(part.difference) for part in others), default=0
        )
        assert movement.share(*shown) + movement.share(*others) == (1 if movement.moved else 0)
    headline = {
        "cycles_by_layer": lambda report: report["cycles"],
        "core_cycles_by_cause": lambda report: sum(report["cycles_by_cause"].values()),
        "core_cycles_by_layer_and_cause": lambda report: sum(report["cycles_by_cause"].values()),
        "bytes_by_memory": lambda report: sum(report["traffic_bytes"].values()),
        "counts_by_action": lambda report: sum(report["counts"].values()),
    }
    total = movement.total
    if key in headline:
        assert total.a == Fraction(headline[key](a), per_a)
        assert total.b == Fraction(headline[key](b), per_b)
    else:  # floats: the report's total is rounded on the way, the sum of the parts is not
        assert float(total.a) == pytest.approx(a["energy_pj"]["total"] / per_a, rel=1e-12)
        assert float(total.b) == pytest.approx(b["energy_pj"]["total"] / per_b, rel=1e-12)


@pytest.mark.parametrize("top", TOPS)
def test_integers_add_up_on_the_screen(runs, top):
    diff = diff_reports(runs["edge"], runs["mesh16"])
    for key in ("cycles_by_layer", "core_cycles_by_cause", "core_cycles_by_layer_and_cause", "bytes_by_memory"):
        *parts, total = movers_table(diff, diff.movement(key), top).rows
        assert total[0] == "total"
        for column in (1, 2, 3):
            assert sum(integer(row[column]) for row in parts) == integer(total[column])
        assert len(parts) <= top + 1


# --- what was changed -----------------------------------------------------------------------------------------------


def test_the_changed_key_is_named_as_set_names_it(runs):
    found = diff_reports(runs["edge"], runs["lanes"]).inputs
    assert [(entry.key, entry.a, entry.b) for entry in found] == [("core.lanes", 8, 16)]
    assert "| core.lanes | 8 | 16 |" in printed(diff_parts(diff_reports(runs["edge"], runs["lanes"]), 5))


def test_every_input_is_compared(edge):
    changed = deepcopy(edge)
    changed["chip"] = "mine"
    record = changed["provenance"]
    record["chip"]["name"], record["chip"]["description"] = "mine", "another text"
    record["chip"]["dram"]["latency_ns"] += 1
    record["chip"]["core"]["new_key"] = 3
    del record["chip"]["core"]["contexts"]
    record["trace_sha256"], record["trace"]["recipe"] = "0" * 64, "other"
    record["energy_table"], record["energy_table_sha256"] = "mine", "1" * 64
    record["program"] = "sparsespike 9"
    name = next(iter(changed["placement"]))
    changed["placement"][name][1] += 1
    keys = [entry.key for entry in diff_reports(edge, changed).inputs]
    of_chip = {"chip", "core.contexts", "core.new_key", "dram.latency_ns"}
    assert len(keys) == len(set(keys))
    assert set(keys) - of_chip == {
        "energy_table",
        "energy_table_sha256",
        "placement",
        "program",
        "trace.recipe",
        "trace_sha256",
    }
    assert of_chip <= set(keys)
    entries = {entry.key: entry for entry in diff_reports(edge, changed).inputs}
    assert (entries["core.new_key"].a, entries["core.contexts"].b) == ("absent", "absent")
    assert entries["placement"].b == "1 of them differently"
    text = printed(diff_parts(diff_reports(edge, changed), 5))
    assert f"| {'0' * 16} |" in text  # hashes are cut short
    assert "0" * 17 not in text
    assert "nothing moved: all results are equal" in text


def test_a_bound_is_not_taken_for_a_simulation(edge):
    with pytest.raises(UserError, match="B: lower bounds cannot be compared with a simulation"):
        diff_reports(edge, {**edge, "bound": True})
    both = {**edge, "bound": True, "images_per_s": None}
    assert diff_reports(both, both).equal


def test_the_inputs_stand_first(runs):
    parts = diff_parts(diff_reports(runs["edge"], runs["mesh16"]), 2)
    titles = [part.title for part in parts if not isinstance(part, str)]
    assert titles[:3] == ["What was changed", "What came of it", "Layers by cycles"]
    assert len(titles) == 2 + len(MOVEMENTS)


# --- what moved -----------------------------------------------------------------------------------------------------


def test_a_planted_change_is_found_and_nothing_else(edge):
    changed = deepcopy(edge)
    cores = sum(edge["cycles_by_cause"].values()) // edge["cycles"]
    for report_part in (changed, layer_of(changed, "block0.fc1")):
        report_part["cycles"] += 100
        report_part["cycles_by_cause"]["control"] += 100 * cores
    layer_of(changed, "block0.fc1")["critical_resource"] = "control"
    diff = diff_reports(edge, changed)
    moved = {key: [(part.name, part.difference) for part in diff.movement(key).moved] for key in MOVEMENTS}
    assert {key: parts for key, parts in moved.items() if parts} == {
        "cycles_by_layer": [(("block0.fc1",), 100)],
        "core_cycles_by_cause": [(("control",), 100 * cores)],
        "core_cycles_by_layer_and_cause": [(("block0.fc1", "control"), 100 * cores)],
    }
    assert not diff.inputs
    assert not diff.same_results
    before = layer_of(edge, "block0.fc1")["critical_resource"].replace("_", " ")
    row = movers_table(diff, diff.movement("cycles_by_layer"), 5).rows[0]
    assert (row[0], row[3], row[5], row[6]) == ("block0.fc1", "+100", "100.0 %", f"{before} → control")


def test_ups_and_downs_that_cancel_are_seen(edge):
    changed = deepcopy(edge)
    for name, by in (("dram_read", 7), ("weight_read", -7), ("spike_read", 2)):
        changed["traffic_bytes"][name] += by
    movement = diff_reports(edge, changed).movement("bytes_by_memory")
    assert [(part.name[0], part.difference) for part in movement.moved] == [
        ("dram_read", 7),
        ("weight_read", -7),
        ("spike_read", 2),
    ]
    assert movement.total.difference == 2
    assert [movement.share(part) for part in movement.moved] == [Fraction(7, 16), Fraction(7, 16), Fraction(2, 16)]


def test_layers_are_matched_by_name_not_by_place(edge):
    turned = deepcopy(edge)
    turned["layers"].reverse()
    assert diff_reports(edge, turned).equal


def test_a_layer_that_only_one_report_has_is_shown_as_such(edge):
    renamed = deepcopy(edge)
    layer_of(renamed, "head")["name"] = "classifier"
    renamed["energy_pj"]["by_layer"]["classifier"] = renamed["energy_pj"]["by_layer"].pop("head")
    diff = diff_reports(edge, renamed)
    assert (diff.only_a, diff.only_b) == (("head",), ("classifier",))
    cycles = layer_of(edge, "head")["cycles"]
    sides = {part.name: (part.a, part.b, part.difference) for part in diff.movement("cycles_by_layer").moved}
    assert sides == {("head",): (cycles, None, -cycles), ("classifier",): (None, cycles, cycles)}
    assert diff.movement("cycles_by_layer").total.difference == 0
    text = printed(diff_parts(diff, 5))
    assert "layers only in A: head\nlayers only in B: classifier" in text
    assert f"| classifier (only in B) | - | {cycles:,} | +{cycles:,} | - | 50.0 % |" in text
    assert f"| head (only in A) | {cycles:,} | - | -{cycles:,} | -100.0 % | 50.0 % |" in text


def test_actions_have_no_sum_where_they_are_shown(runs):
    diff = diff_reports(runs["edge"], runs["mesh16"])
    table = movers_table(diff, diff.movement("counts_by_action"), 2)
    assert [row[5] for row in table.rows] == ["-", "-"]
    assert re.match(r"\d+ more moved\. Actions differ in unit", table.note)


# --- images, equality, nothing --------------------------------------------------------------------------------------


def test_other_numbers_of_images_are_compared_per_image(edge):
    twice = deepcopy(edge)
    twice["images"] *= 2
    sums = ["cycles", "sram_bytes", "synaptic_events"]
    twice |= {key: 2 * edge[key] for key in sums}
    for key in ("cycles_by_cause", "traffic_bytes", "counts"):
        twice[key] = {name: 2 * value for name, value in edge[key].items()}
    energy = twice["energy_pj"]
    energy |= {key: 2 * energy[key] for key in ("total", "low", "high")}
    for key in ("by_component", "by_layer"):
        energy[key] = {name: 2 * value for name, value in energy[key].items()}
    for layer in twice["layers"]:
        layer["cycles"] *= 2
        for key in ("cycles_by_cause", "energy_pj"):
            layer[key] = {name: 2 * value for name, value in layer[key].items()}
    diff = diff_reports(edge, twice)
    assert diff.per_image
    assert diff.same_results
    assert [entry.key for entry in diff.inputs] == ["images"]
    assert "A saw 2 images, B 4: all figures are per image" in printed(diff_parts(diff, 5))
    assert not diff.equal


def test_equal_reports_are_said_to_be_equal_in_one_line(edge, tmp_path, capsys):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(edge))
    run_diff(tmp_path / "a.json", tmp_path / "b.json", top=5, json_out=tmp_path / "d.json")
    out = capsys.readouterr().out
    assert out == f"{tmp_path}/a.json and {tmp_path}/b.json are equal: the same inputs, the same results\n"
    assert json.loads((tmp_path / "d.json").read_text())["equal"] is True


def test_changed_critical_resources_are_listed_though_no_cycle_moved(edge):
    changed = deepcopy(edge)
    for layer in changed["layers"][:3]:
        layer["critical_resource"] = "token_unit"
    before = [layer["critical_resource"].replace("_", " ") for layer in edge["layers"]]
    names = [layer["name"] for layer in edge["layers"]]
    text = printed(diff_parts(diff_reports(edge, changed), 2))
    first, second = (f"{names[place]} ({before[place]} → token unit)" for place in range(2))
    assert f"critical resources that changed: {first}, {second} and 1 more" in text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("accuracy",), 0.25),
        (("latency_s",), 1.0),
        (("area_mm2",), 1.0),
        (("energy_pj", "high"), 1e9),
        (("layers", 3, "critical_resource"), "dram"),
        (("layers", 3, "energy_pj", "lanes"), 1e9),
        (("counts", "scan"), 10**9),
    ],
)
def test_no_result_differs_unseen(edge, path, value):
    changed = deepcopy(edge)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    diff = diff_reports(edge, changed)
    assert not diff.equal
    assert "are equal" not in printed(diff_parts(diff, 5))


def test_without_labels_there_is_no_accuracy_to_compare(edge):
    blind = deepcopy(edge)
    blind["accuracy"], edge["accuracy"] = None, 0.5
    text = printed(diff_parts(diff_reports(edge, blind), 5))
    assert "| accuracy | 50.0 % | - | - | - |" in text
    edge["accuracy"], blind["accuracy"] = 0.5, 0.75
    assert "| accuracy | 50.0 % | 75.0 % | +25.0 points | - |" in printed(diff_parts(diff_reports(edge, blind), 5))


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=" - ".join)
def test_the_machine_readable_diff_holds_everything(runs, pair, tmp_path):
    a, b = (runs[name] for name in pair)
    for name, report in (("a", a), ("b", b)):
        (tmp_path / name).write_text(json.dumps(report))
    run_diff(tmp_path / "a", tmp_path / "b", top=1, json_out=tmp_path / "new" / "d.json")
    data = json.loads((tmp_path / "new" / "d.json").read_text())
    assert data["reports"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert list(data["movements"]) == list(MOVEMENTS)
    assert data["per_image"] == (a["images"] != b["images"])
    assert data["images"] == [a["images"], b["images"]]
    if data["per_image"]:
        return
    layers = {part["name"][0]: part for part in data["movements"]["cycles_by_layer"]["parts"]}
    assert {name: part["a"] for name, part in layers.items()} == {
        layer["name"]: layer["cycles"] for layer in a["layers"]
    }
    assert sum(part["difference"] for part in layers.values()) == b["cycles"] - a["cycles"]
    assert data["movements"]["cycles_by_layer"]["total"]["difference"] == data["headline"]["cycles"]["difference"]
    assert all(isinstance(part["difference"], int) for part in layers.values())


def test_a_number_that_is_none_is_refused_with_its_key(edge, tmp_path):
    edge["layers"][0]["energy_pj"]["lanes"] = float("nan")
    edge["latency_s"] = float("inf")
    (tmp_path / "a.json").write_text(json.dumps(edge))
    with pytest.raises(UserError, match=r"latency_s: .*finite.*layers\.0\.energy_pj\.lanes: .*finite"):
        load_report(tmp_path / "a.json")


def test_the_command_says_what_is_wrong_in_one_line(edge, tmp_path, capsys, monkeypatch):
    good = tmp_path / "good.json"
    good.write_text(json.dumps(edge))
    (tmp_path / "bad.json").write_text("{}")

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["sparsespike", "diff", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, *capsys.readouterr()

    code, out, err = command(good, good)
    assert (code, err) == (0, "")
    assert "are equal" in out
    for arguments, message in (
        ((good, tmp_path / "none.json"), "none.json: no such file"),
        ((good, tmp_path / "bad.json"), "bad.json: not a report of sparsespike"),
        ((good, good, "--top", 0), "--top"),
        ((good, good, "--json", good / "d.json"), "cannot be written"),
    ):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
