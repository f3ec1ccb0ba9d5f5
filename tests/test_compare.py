"""`sparsespike compare`: rows that add up to what their traces count, runs that are kept, mistakes that are named."""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sparsespike import UserError, load_chip, recipes, simulate
from sparsespike.analysis.compare.figures import CAPTIONS
from sparsespike.analysis.compare.request import CompareRequest
from sparsespike.analysis.compare.rows import Results, load_results, short_names
from sparsespike.analysis.compare.table import full_table, summary_table
from sparsespike.model.counting import macs, sparsity
from sparsespike.model.data import DATA_SETS, Dataset, Split
from sparsespike.model.evaluate import evaluate
from sparsespike.model.export import trace_dataset
from sparsespike.model.facts import ticket_facts
from sparsespike.model.ticket import Calibration, Ticket, load_ticket, save_ticket
from sparsespike.model.tickets import shipped
from sparsespike.recipes import compare
from sparsespike.simulator.feedback import additions_per_weight
from sparsespike.simulator.hardware import chip_text
from sparsespike.simulator.report import Report
from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Trace

CHIP, IMAGES, HELD_OUT = "edge", 2, 24


@pytest.fixture(scope="module", autouse=True)
def _few_test_images() -> Iterator[None]:
    """Accuracy of a whole test split takes long; this one ends after its first images."""
    digits = DATA_SETS["digits"]

    def short(folder: Path) -> Dataset:
        whole = digits(folder)
        parts = (array[:HELD_OUT] for array in vars(whole.test).values())
        return dataclasses.replace(whole, test=Split(*parts))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATA_SETS, "digits", short)
        yield


# ---- small ladders: the shipped ticket with more and more of its weights gone


def pruned(ticket: Ticket, share: float, **record: object) -> Ticket:
    """The ticket with that share of each layer's surviving weights gone, and another record; None takes a key away."""
    masks, parameters = dict(ticket.masks), dict(ticket.parameters)
    for name, mask in ticket.masks.items():
        masks[name] = mask.copy()
        masks[name].reshape(-1)[np.flatnonzero(mask)[: int(share * mask.sum())]] = False
        parameters[name] = np.where(masks[name], parameters[name], 0).astype(np.float32)
    provenance = {key: str(value) for key, value in (dict(ticket.provenance) | record).items() if value is not None}
    return dataclasses.replace(ticket, masks=masks, parameters=parameters, provenance=provenance)


def with_selector(ticket: Ticket, selector: str) -> Ticket:
    """The same weights with a selector that has none of its own."""
    kept = {name: array for name, array in ticket.parameters.items() if not name.startswith("predictor")}
    masks = {name: mask for name, mask in ticket.masks.items() if name in kept}
    config = dataclasses.replace(ticket.config, selector=selector)
    return Ticket(config, kept, masks, Calibration(ticket.calibration.pixel_max), ticket.provenance)


COMMAND = "sparsespike train --data digits --seed 1 --rounds 9 --prune 0.25 --keep 0.7"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two seeds of three rounds with a learned selector, one of them with other selectors, and a dense ticket."""
    folder = tmp_path_factory.mktemp("ladder")
    ticket = load_ticket(shipped("digits"))
    paths = []
    for seed in (1, 2):
        for number, share in enumerate((0.0, 0.3, 0.6)):
            record = {"round": number + 8, "seed": seed, "command": COMMAND, "test_images": HELD_OUT}
            accuracy = {"integer_test_accuracy": 0.99 - 0.02 * number - 0.01 * seed, "float_test_accuracy": 0.5}
            paths.append(folder / f"seed{seed}" / f"round_{number + 8}.safetensors")
            save_ticket(pruned(ticket, share, **record, **accuracy), paths[-1])
    for form in ("rate", "random"):
        record = {"round": 9, "seed": 1, "command": COMMAND, "integer_test_accuracy": 0.9, "float_test_accuracy": None}
        paths.append(folder / form / "round_9.safetensors")
        save_ticket(pruned(with_selector(ticket, form), 0.3, **record), paths[-1])
    return [*map(str, paths), "digits-dense"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def results(files: list[str], out: Path) -> Results:
    return compare(CompareRequest(files, images=IMAGES, hardware=CHIP, out=out, jobs=1))


# ---- numbers


def attention_by_hand(trace: Trace) -> int:
    """Each spike of q by the keys of its head, each of v by the queries whose scores it meets, from dense arrays."""
    total = 0
    for layer in trace.layers:
        if isinstance(layer, Attention):
            source = trace.streams[layer.source]
            shape = (trace.images, trace.numerics.timesteps, source.tokens, 3, layer.heads, -1)
            q, _, v = np.moveaxis(source.events.to_dense(source.channels).reshape(shape).astype(np.int64), 3, 0)
            for image in range(trace.images):
                kept = trace.kept[layer.selector][image] if layer.selector >= 0 else np.arange(source.tokens)
                every = np.ones((len(kept), len(kept)), np.int64)  # each query with each key
                total += int(np.einsum("tnhd,nm->", q[image][:, kept], every))
                total += int(np.einsum("nm,tmhd->", every, v[image][:, kept]))
    return total


def loaded_by_hand(trace: Trace, report: Report) -> int:
    """What a run of one more image reads less than twice as much: it loads nothing again."""
    one = simulate(trace, load_chip(CHIP), images=1).traffic_bytes["dram_read"]
    return one - (report.traffic_bytes["dram_read"] - one)


@pytest.mark.parametrize("place", [0, 6, 8], ids=["learned", "rate", "dense"])
def test_a_row_is_what_simulating_its_trace_counts(results: Results, files: list[str], place: int) -> None:
    """Operations once more from the trace's spikes and weights, the formula by hand, the rest from a fresh report."""
    path = Path(files[place]) if place < 8 else shipped("digits-dense")
    trace, row = trace_dataset(path, "digits", IMAGES), results.rows[place]
    report = simulate(trace, load_chip(CHIP))
    weighted = [layer for layer in trace.layers if isinstance(layer, (Conv, Linear, Head))]
    additions = {layer.name: int(additions_per_weight(trace, layer.name).sum()) for layer in weighted}
    pixels = [layer.name for layer in weighted if trace.streams[layer.source].kind == "real"]
    assert pixels == [trace.layers[0].name]
    multiplied = additions.pop(pixels[0])
    scored = report.counts["selector_mac"]
    attended = report.counts["attention_add"]
    met = attention_by_hand(trace)
    assert row.synaptic_operations == sum(additions.values()) / IMAGES
    assert row.real_macs == (multiplied + scored) / IMAGES
    assert row.attention_additions == attended / IMAGES
    assert row.attention_accumulates == met / IMAGES
    assert (scored > 0) == (row.ticket.selector == "learned")
    by_hand = (4.6 * (multiplied + scored) + 0.9 * (sum(additions.values()) + met)) / IMAGES
    assert row.formula_pj == pytest.approx(by_hand, rel=1e-12)
    assert row.energy_pj == report.energy_pj["total"] / IMAGES
    assert row.energy_low_pj < row.energy_pj < row.energy_high_pj
    parts = report.energy_pj["by_component"]
    assert row.dram_pj == pytest.approx((parts["dram"] + parts["dram_background"]) / IMAGES, rel=1e-12)
    assert row.load_bytes == loaded_by_hand(trace, report)
    moved = report.traffic_bytes["dram_read"] + report.traffic_bytes["dram_write"]
    assert row.dram_bytes * IMAGES + row.load_bytes == moved
    assert (row.load_bytes > 0) == (place != 8)  # dense weights do not fit on this chip together
    assert (row.cycles, row.latency_s) == (report.cycles / IMAGES, report.latency_s)
    assert row.accuracy == report.accuracy
    assert row.per_weight == {name: (mean.weights, mean.energy_pj / IMAGES) for name, mean in report.per_weight.items()}
    # weights that are 0 in 8 bits are not stored, so that a trace may hold a few less than its ticket
    assert 0 <= row.ticket.weights_left - sum(weights for weights, _ in row.per_weight.values()) < 2000


def test_what_a_ticket_says_of_itself(results: Results, files: list[str]) -> None:
    facts, ticket = results.rows[1].ticket, load_ticket(files[1])
    paper = sparsity(ticket.config, ticket.zeros, paper_counting=True)
    assert paper.of_all != ticket.sparsity_all  # unused norms are counted
    assert (facts.sha256, facts.macs) == (ticket.sha256, macs(ticket.config))
    assert (facts.pruned, facts.pruned_of_all) == pytest.approx((ticket.sparsity, paper.of_all))
    assert (facts.round, facts.seed, facts.schedule) == (9, 1, "25 % a round")
    assert (facts.selector, facts.keep, facts.tokens, facts.neuron) == ("learned", 0.7, (64, 44, 31, 21), "lif")
    assert (facts.accuracy_integer, facts.accuracy_float, facts.accuracy_from) == (0.96, 0.5, "ticket")
    dense = results.rows[8].ticket
    assert (dense.selector, dense.keep, dense.weights_left, set(dense.tokens)) == ("none", 1.0, 142_392, {64})
    assert facts.training == {"data": "digits", "prune": "0.25"}


@pytest.mark.parametrize(
    ("record", "believed"),
    [
        ({}, True),
        ({"test_images": None}, False),
        ({"test_images": HELD_OUT - 1}, False),
        ({"integer_test_accuracy": "nan"}, False),
        ({"float_test_accuracy": 7}, False),
        ({"integer_test_accuracy": "good"}, False),
        ({"float_test_accuracy": None}, False),
    ],
)
def test_a_recorded_accuracy_must_be_one_of_all_test_images(record: dict[str, object], believed: bool) -> None:
    good = {"integer_test_accuracy": 0.9, "float_test_accuracy": 1, "test_images": HELD_OUT}
    facts = ticket_facts(pruned(load_ticket(shipped("digits")), 0.0, **(good | record)), HELD_OUT)
    assert (facts["accuracy_integer"], facts["accuracy_float"]) == ((0.9, 1.0) if believed else (None, None))


def test_of_a_command_only_what_makes_a_training_counts() -> None:
    ticket = load_ticket(shipped("digits"))

    def training(options: str) -> object:
        return ticket_facts(pruned(ticket, 0.0, command=f"sparsespike train {options}"), HELD_OUT)["training"]

    base = training("--seed 1 --rounds 9 --prune 0.25 --teacher a/b.safetensors --threads 1 --device cpu")
    assert base == training("--seed 2 --rounds 11 --prune 0.25 --teacher c.safetensors --threads 2 --device cuda")
    assert base != training("--seed 1 --rounds 9 --prune 0.25")
    assert base != training("--seed 1 --rounds 9 --prune 0.2 --teacher a/b.safetensors")
    assert base != training("--seed 1 --rounds 9 --prune 0.25 --teacher a --epochs 3")


def test_a_baseline_is_a_row_of_its_own_and_in_no_figure(files: list[str]) -> None:
    found = compare(CompareRequest([files[0]], images=1, hardware=CHIP, baseline="dense"))
    chip, dense = found.rows
    assert (chip.variant, dense.variant, dense.chip) == ("", "dense baseline", f"{CHIP}-dense")
    assert dense.energy_pj > chip.energy_pj
    assert dense.synaptic_operations > chip.synaptic_operations  # dropped tokens are computed
    assert dense.attention_accumulates > chip.attention_accumulates
    assert found.on_chip == (chip,)
    assert found.command.endswith(f"--hardware {CHIP} --baseline dense")
    assert [row[0] for row in full_table(found).rows] == ["round_8", "round_8, dense baseline"]


def test_accuracies_that_no_ticket_records_are_measured(files: list[str], results: Results, out: Path) -> None:
    """Of `digits-dense` too: what it records is of more images than this test split has."""
    for row, file in zip(results.rows[6:], [*files[6:8], shipped("digits-dense")], strict=True):
        expected = evaluate(file)
        assert row.ticket.accuracy_from == "measured"
        assert (row.ticket.accuracy_integer, row.ticket.accuracy_float) == (expected.integer, expected.float_)
    table = full_table(results)
    marked = [row[table.columns.index("integer")].endswith("*") for row in table.rows]
    assert marked == [row.ticket.accuracy_from == "measured" for row in results.rows]
    assert "measured now" in full_table(results).note
    assert len(list((out / "reports").glob("*-accuracy-*.json"))) == 3


# ---- what is kept


class Counted:
    """A stand-in for the work in the recipe that counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in ("_simulated", "_measured"):
            monkeypatch.setattr(recipes, name, self.wrap(name, getattr(recipes, name)))

    def wrap(self, name: str, work: object) -> object:
        def called(*arguments: object) -> object:
            self.calls.append(name)
            return work(*arguments)  # type: ignore[operator]

        return called


def test_the_second_time_nothing_is_computed(
    files: list[str], results: Results, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    request = CompareRequest(files, images=IMAGES, hardware=CHIP, out=out, jobs=1)
    assert compare(request) == results
    assert counted.calls == []
    gone, damaged = sorted((out / "reports").glob(f"*-{CHIP}-*.json"))[:2]
    gone.unlink()
    damaged.write_text(damaged.read_text()[:-50])
    assert compare(request) == results
    assert counted.calls == ["_simulated"] * 2
    assert json.loads(damaged.read_text())["images"] == IMAGES


@pytest.mark.parametrize("change", ["images", "chip", "program", "ticket", "energy"])
def test_another_question_is_computed_anew(
    change: str, files: list[str], results: Results, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(out / "reports", tmp_path / "reports")
    counted, asked = Counted(monkeypatch), {"images": IMAGES, "hardware": CHIP}
    names = [files[0]]
    compare(CompareRequest(names, out=tmp_path, jobs=1, **asked))  # type: ignore[arg-type]
    assert counted.calls == []  # the same question, although without the other tickets this one has a shorter name
    if change == "images":
        asked["images"] = 1
    elif change == "chip":
        asked["hardware"] = tmp_path / "changed.toml"  # of the same name
        asked["hardware"].write_text(chip_text(CHIP)[0].replace("contexts = ", "contexts = 1 # "))
    elif change == "energy":
        asked["energy"] = "formula45"
    elif change == "program":
        monkeypatch.setattr(recipes, "code_digest", lambda *packages: "another")
    else:
        other = tmp_path / "other.safetensors"
        save_ticket(pruned(load_ticket(files[0]), 0.1), other)
        names = [str(other)]
    compare(CompareRequest(names, out=tmp_path, jobs=1, **asked))  # type: ignore[arg-type]
    assert counted.calls == ["_simulated"]


@pytest.mark.slow
def test_worker_processes_give_the_same(files: list[str], results: Results, tmp_path: Path) -> None:
    """Without the tickets whose accuracy is measured: workers have the whole test split."""
    request = CompareRequest(files[:6], images=IMAGES, hardware=CHIP, out=tmp_path, jobs=2)
    assert compare(request).rows == results.rows[:6]


def test_a_file_is_named_by_as_little_as_tells_it_apart() -> None:
    files = ["a/keep0.7/round_0.safetensors", "a/keep1.0/round_0.safetensors", "b/round_9.safetensors", "digits"]
    assert short_names(files) == ["keep0.7/round_0", "keep1.0/round_0", "b/round_9", "digits"]  # all as long
    assert short_names(["a/one.safetensors", "b/two.safetensors"]) == ["one", "two"]
    assert short_names(["digits", "out/digits.safetensors"]) == ["digits", "out/digits"]


def test_the_same_ticket_twice_is_one_row(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(CompareRequest(["digits-dense", str(shipped("digits-dense"))], images=1, hardware=CHIP))
    assert len(found.rows) == 1
    assert "the same ticket as digits-dense" in capsys.readouterr().out


# ---- mistakes


def test_a_ticket_of_another_data_set_is_refused(files: list[str], tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_ticket(pruned(load_ticket(files[0]), 0.0, data="cifar10"), path)
    with pytest.raises(UserError, match=r"other.safetensors: was trained on 'cifar10'.*--data cifar10"):
        compare(CompareRequest(["digits", str(path)], images=1, hardware=CHIP, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tickets": ["digits-dens"]}, "'digits-dense'"),
        ({"tickets": ["none.safetensors"]}, "no such file"),
        ({"data": "digts"}, "'digits'"),
        ({"hardware": "egde"}, "'edge'"),
        ({"baseline": "dens"}, "'dense'"),
        ({"energy": "cmos445"}, "'cmos45'"),
        ({"energy": "cmos32"}, "'cmos32' is of 32 nm, chip 'edge' of 45 nm"),
        ({"hardware": "loas-like", "energy": "cmos45"}, "'cmos45' is of 45 nm, chip 'loas-like' of 32 nm"),
        ({"images": 25}, "images = 25: the test split of 'digits' has 1 to 24"),
        ({"images": 0}, "images = 0"),
        ({"jobs": 0}, "jobs = 0: must be at least 1, or -1"),
        ({"jobs": -2}, "jobs = -2"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    changes: dict[str, object], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, out = Counted(monkeypatch), tmp_path / "out"
    asked = {"tickets": ["digits-dense"], "hardware": CHIP, "out": out} | changes
    with pytest.raises(UserError, match=complaint):
        compare(CompareRequest(**asked))  # type: ignore[arg-type]
    assert counted.calls == []
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    (tmp_path / "file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "figures").touch()
    for out, culprit in (("file/out", "file/out"), ("out", "out/figures")):
        complaint = f"--out {tmp_path / out}: cannot be written: {tmp_path / culprit}: is no folder"
        with pytest.raises(UserError, match=re.escape(complaint)):
            compare(CompareRequest(["digits-dense"], images=1, hardware=CHIP, out=tmp_path / out))
    assert counted.calls == []


def test_a_ticket_that_does_not_fit_is_named(tmp_path: Path) -> None:
    chip = tmp_path / "tiny.toml"
    chip.write_text(chip_text(CHIP)[0].replace("weight_kib = ", "weight_kib = 0.125 # "))
    with pytest.raises(UserError, match=r"digits-keep1.0-seed1-round00.safetensors on .*weight"):
        compare(CompareRequest(["digits-dense"], images=1, hardware=chip))


def test_a_comparison_and_a_shipped_name_can_be_inspected(
    results: Results, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what is no terminal gets every cell whole, however wide the table is."""
    recipes.inspect(out / "results.json")
    lines = capsys.readouterr().out.splitlines()
    table = full_table(results)
    for cells in (table.columns, *table.rows):
        assert any(all(cell in line for cell in cells) for line in lines)
    recipes.inspect("digits")
    assert "weights pruned" in capsys.readouterr().out
    with pytest.raises(UserError, match="'digits'"):
        recipes.inspect("digts")


def test_a_comparison_leaves_its_folder(results: Results, out: Path) -> None:
    assert {path.stem for path in (out / "figures").iterdir()} == set(CAPTIONS)
    assert load_results(out / "results.json") == results
    text = (out / "table.md").read_text()
    assert full_table(results).to_markdown() in text
    assert summary_table(results).to_markdown() in text
    assert len(list((out / "reports").iterdir())) == len(results.rows) + 3  # accuracies of three
