"""Chips that are in part like published ones: where their numbers come from, how far they go, and what runs on them."""

import json
import re
import tomllib
from dataclasses import replace
from functools import cache
from importlib import resources

import numpy as np
import pytest
from sparsespike import UserError, load_chip, simulate
from sparsespike.analysis.diff import diff_reports
from sparsespike.analysis.explore.sweep import run_sweep
from sparsespike.analysis.parallel import Workers
from sparsespike.analysis.single import RunRequest, run_single
from sparsespike.analysis.space import load_space
from sparsespike.analysis.views import fidelity_line
from sparsespike.model.data import Split
from sparsespike.model.export import trace_ticket
from sparsespike.model.foreign import foreign_trace
from sparsespike.model.ticket import load_ticket
from sparsespike.model.tickets import shipped
from sparsespike.simulator.energy import memories_of, table_of_node
from sparsespike.simulator.hardware import chip_names, chip_text
from sparsespike.simulator.origin import CHANGED
from sparsespike.simulator.peers import run_peers
from sparsespike.simulator.report import chip_sha256
from sparsespike.simulator.sram import check_access_times, macro_costs
from sparsespike.simulator.synthetic import WORKLOADS, synthetic_trace
from sparsespike.simulator.trace import save_trace
from spike_files import LENET, LENET_TOML

pytestmark = pytest.mark.torch  # tickets and spike files become traces in the model room

OWN = ("dense", "edge", "mesh16")
NODES = {"loas-like": 32, "loihi-like": 14, "prosperity-like": 28, "vesta-like": 28}
CORES = {"loas-like": 16, "loihi-like": 128, "prosperity-like": 1, "vesta-like": 8}
NAMED = ("digits", "fashion-mnist", "lenet5_mnist", "spikformer")
KINDS = {"published", "quoted second-hand", "derived", "assumed", "chosen"}
every_preset = pytest.mark.parametrize("name", NODES)


@cache
def trace_of(workload_name):
    """Short traces: shipped tickets on an image of noise, so that no data set is needed; recorded and random spikes."""
    if workload_name == "lenet5_mnist":
        return foreign_trace(LENET, LENET_TOML)
    if workload_name == "spikformer":
        return synthetic_trace(WORKLOADS["spikformer"], depth=1)  # one block is refused as all four are
    ticket = load_ticket(shipped(workload_name))
    side = ticket.config.image_size
    noise = np.random.default_rng(5).standard_normal((1, 1, side, side)).astype(np.float32)
    return trace_ticket(ticket, Split(noise, np.zeros(1, np.int64), np.zeros(1, np.int64)))


def numbers(text):
    """Dotted keys of a chip file's numbers, from its TOML alone."""
    found = set()
    for key, value in tomllib.loads(text).items():
        if key in ("name", "description", "fidelity", "sources"):
            continue
        found |= {f"{key}.{leaf}" for leaf in value} if isinstance(value, dict) else {key}
    return found


def edited(name, folder, *edits):
    """A file of the preset with changes, each of which must hit exactly one place."""
    text, _ = chip_text(name)
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def fault_of(path):
    with pytest.raises(UserError) as caught:
        load_chip(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


# --- what the files say -------------------------------------------------------------------------------------------


def test_the_shipped_chips_are_our_own_and_these():
    assert sorted([*OWN, *NODES]) == chip_names()
    assert {name: load_chip(name).technology.node_nm for name in NODES} == NODES
    assert {name: load_chip(name).cores for name in NODES} == CORES


@every_preset
def test_every_number_says_what_it_is_and_where_it_comes_from(name):
    text, _ = chip_text(name)
    entries = tomllib.loads(text)["sources"]
    named = [key for entry in entries for key in entry["keys"]]
    assert sorted(named) == sorted(numbers(text))  # each once
    assert {entry["kind"] for entry in entries} <= KINDS
    assert {"chosen", "derived", "assumed"} <= {entry["kind"] for entry in entries}
    for entry in entries:
        if entry["kind"] == "published":
            assert "memory, unverified" not in entry["source"]
            assert "not read" not in entry["source"]
        if "unverified" in entry["source"]:
            assert entry["kind"] == "assumed"


@pytest.mark.parametrize("name", OWN)
def test_our_own_chips_say_once_that_all_is_chosen(name):
    chip = load_chip(name)
    assert chip.fidelity is None
    assert [(source.kind, source.keys) for source in chip.sources] == [("chosen", ())]


@every_preset
def test_a_preset_says_what_it_has_and_what_not(name):
    chip = load_chip(name)
    published = chip.fidelity.to.partition(" (")[0]
    assert published.lower() == name.removesuffix("-like")
    assert published in chip.description
    assert published in chip.fidelity.text
    assert len(chip.fidelity.text) > 1000
    assert set(chip.fidelity.holds) <= set(NAMED)
    assert chip.fidelity.holds


MECHANISMS = {
    "prosperity-like": ["product sparsity", "TCAM", "Softmax", "tile"],
    "loas-like": ["inner product", "bitmap", "prefix sum", "FiberCache", "temporal-parallel"],
    "vesta-like": ["same 512 processing elements", "weight-stationary", "silent spikes"],
    "loihi-like": ["asynchronous", "after every timestep", "Learning", "multicast", "DRAM"],
}


@every_preset
def test_the_text_speaks_of_the_mechanisms_that_the_chip_is_known_for(name):
    text = " ".join(load_chip(name).fidelity.text.split())
    assert [mechanism for mechanism in MECHANISMS[name] if mechanism not in text] == []


def test_memories_add_up_to_what_is_published():
    """KiB: LoAS's shared cache, all of VESTA's SRAM, Prosperity's buffers (32 of 136 are accumulators)."""

    def kib(chip):
        core = chip.core
        return chip.cores * (core.weight_kib + core.pointer_kib + core.potential_kib + core.spike_kib)

    assert kib(load_chip("loas-like")) == 256
    vesta = load_chip("vesta-like")
    assert kib(vesta) + vesta.attention.operand_kib == 107
    core = load_chip("prosperity-like").core
    assert core.weight_kib + core.potential_kib + core.spike_kib == 136 - 32
    assert 0 <= 32 * 8192 - core.accumulator_words * core.accumulator_bits < core.accumulator_bits
    loihi = load_chip("loihi-like")
    assert loihi.cores * loihi.core.weight_kib == 16 * 1024
    assert loihi.core.potential_kib * 8192 == 1024 * loihi.core.potential_bits


# --- what runs on them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload_name", NAMED)
@every_preset
def test_a_preset_runs_what_it_says_it_holds_and_refuses_the_rest_with_numbers(name, workload_name):
    chip, trace = load_chip(name), trace_of(workload_name)
    if workload_name in chip.fidelity.holds:
        exact = trace.level == "exact"
        report = simulate(trace, chip, verify=exact)
        assert report.cycles > 0
        assert (report.activity.verified is not None) == exact
        return
    with pytest.raises(UserError, match=rf"{name}.*needs [\d,.]+ .*but core\.\w+ gives [\d,.]+"):
        simulate(trace, chip)


def test_digits_runs_on_a_loihi_of_2560_neurons_a_core():
    """As its text says, and no sooner."""
    trace = trace_of("digits")
    chip = load_chip("loihi-like", {"core.potential_kib": 7.5})
    assert 2560 * chip.core.potential_bits == 7.5 * 8192
    assert simulate(trace, chip, verify=True).cycles > 0
    with pytest.raises(UserError, match=r"7\.5 KiB of potentials"):
        simulate(trace, chip.replace({"core.potential_kib": 7.49}))


@every_preset
def test_every_memory_answers_within_a_cycle(name):
    chip = load_chip(name)
    check_access_times(chip, memories_of(chip, table_of_node(chip.technology.node_nm)))


def test_macros_of_a_node_that_cacti_has_not_come_from_the_energy_table_alone():
    with pytest.raises(UserError, match=r"no SRAM table for 28 nm hp.*scaled\.sram_from_node_nm"):
        macro_costs(load_chip("prosperity-like"))


# --- what is refused ----------------------------------------------------------------------------------------------


def test_every_number_without_a_source_is_named_at_once(tmp_path):
    edits = [('"core.lanes", ', ""), (', "dram.burst_bytes"]', "]"), ('"core.input_macs"', "")]
    message = fault_of(edited("prosperity-like", tmp_path, *edits[:2]))
    assert "sources: nothing about core.lanes, dram.burst_bytes;" in message
    message = fault_of(edited("prosperity-like", tmp_path, *edits))  # an entry that now stands for all the rest
    assert "nothing about core.lanes, core.input_macs, dram.burst_bytes" in message
    assert "entry without keys" in message


@pytest.mark.parametrize(
    ("edit", "fragments"),
    [
        (('"core.lanes"', '"core.lane"'), ["core.lane: unknown key", "'core.lanes'", "nothing about core.lanes"]),
        (('"core.input_macs"', '"core.input_macs", "core.lanes"'), ["core.lanes: named 2 times"]),
        (('"core.input_macs"', '"core.input_macs", "name"'), ["name: unknown key"]),
        (('source = "Prosperity does', 'sauce = "Prosperity does'), ["sources", "sauce", "source: missing"]),
        (('to = "Prosperity (HPCA 2025)"', ""), ["fidelity.to: missing"]),
        (('holds = ["digits"]', 'holds = "digits"'), ["fidelity.holds"]),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path, edit, fragments):
    message = fault_of(edited("prosperity-like", tmp_path, edit))
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_an_unknown_kind_is_refused_with_those_that_are(tmp_path):
    text, _ = chip_text("edge")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('kind = "chosen"', 'kind = "guessed"'))
    message = fault_of(path)
    assert all(fragment in message for fragment in ("'guessed'", *(f"'{kind}'" for kind in KINDS)))


def test_a_chip_of_one_s_own_needs_no_sources_but_right_ones(tmp_path):
    text, _ = chip_text("edge")
    path = tmp_path / "mine.toml"
    path.write_text(text.partition("[[sources]]")[0])
    assert load_chip(path).sources == ()
    path.write_text(f'{text}\n[[sources]]\nkind = "chosen"\nsource = "all that is left, once more"\n')
    assert "2 entries without keys" in fault_of(path)


# --- changed chips, reports ---------------------------------------------------------------------------------------


def source_of(chip, key):
    (source,) = [source for source in chip.sources if key in source.keys]
    return source


def test_a_number_that_is_changed_is_no_longer_the_published_one():
    chip = load_chip("loas-like")
    assert source_of(chip, "clock_mhz").kind == "quoted second-hand"
    changed = chip.replace({"clock_mhz": 400.0, "core.lanes": 4, "name": "slow"})  # lanes were 4 before
    assert (source_of(changed, "clock_mhz").kind, source_of(changed, "clock_mhz").source) == ("chosen", CHANGED)
    assert source_of(changed, "core.lanes") == source_of(chip, "core.lanes")
    again = changed.replace({"core.lanes": 8})
    assert source_of(again, "core.lanes").keys == ("clock_mhz", "core.lanes")
    assert chip.replace({}) == chip
    assert source_of(load_chip("prosperity-like", {"technology.node_nm": 32}), "technology.node_nm").kind == "chosen"
    assert load_chip("edge", {"core.lanes": 4}).sources[-1].keys == ("core.lanes",)


def test_what_is_said_about_a_chip_is_no_key_of_it():
    for key in ("fidelity", "sources", "fidelity.to", "fidelity.text"):
        with pytest.raises(UserError, match=f"{key}: unknown key"):
            load_chip("loas-like", {key: "x"})


def test_two_chips_that_differ_in_words_alone_are_the_same_hardware(tmp_path):
    chip = load_chip("loas-like")
    worded = load_chip(edited("loas-like", tmp_path, ("LoAS runs no attention.", "LoAS has no attention.")))
    assert worded != chip
    assert worded.settings() == chip.settings()
    assert chip_sha256(worded) == chip_sha256(chip)
    trace = synthetic_trace(images=1)
    one, two = (simulate(trace, each).to_json() for each in (chip, worded))
    assert one["provenance"]["chip"] != two["provenance"]["chip"]
    assert diff_reports(one, two).inputs == ()


def test_a_sweep_is_not_repeated_because_of_other_words(tmp_path):
    save_trace(synthetic_trace(images=1), tmp_path / "t.safetensors")
    text, _ = chip_text("edge")
    (tmp_path / "space.toml").write_text(f'chip = "{tmp_path / "mine.toml"}"\n[axes]\ncore.lanes = [4, 8]\n')
    known = []
    for words in ("nobody else's", "ours"):
        (tmp_path / "mine.toml").write_text(text.replace("nobody else's", words))
        space = replace(load_space(tmp_path / "space.toml"), traces=(str(tmp_path / "t.safetensors"),))
        swept = run_sweep(space, {}, tmp_path / "r.sqlite", workers=Workers(1))
        known.append(swept.known)
    assert known == [0, 2]


def test_a_report_holds_what_the_chip_is_like_and_the_line_says_it():
    chip = load_chip("prosperity-like", {"core.weight_kib": 64.0})
    report = json.loads(json.dumps(simulate(synthetic_trace(images=1), chip).to_json()))
    assert report["provenance"]["chip"]["fidelity"]["text"] == chip.fidelity.text
    assert len(report["provenance"]["chip"]["sources"]) == len(chip.sources)
    line = fidelity_line(report)
    for fragment in (
        "prosperity-like is like Prosperity (HPCA 2025) in: 128 8-bit adders",
        "; not in: product sparsity",
        "; changed here: core.weight_kib",
    ):
        assert fragment in line
    assert fidelity_line(simulate(synthetic_trace(images=1), load_chip("edge")).to_json()) == ""


def test_simulate_prints_the_line(tmp_path, capsys):
    trace = tmp_path / "t.safetensors"
    save_trace(synthetic_trace(images=1), trace)
    run_single(RunRequest(trace, hardware="loas-like"))
    printed = capsys.readouterr().out
    assert "loas-like is like LoAS (MICRO 2024) in: 16 cores" in printed
    run_single(RunRequest(trace, hardware="edge"))
    assert "is like" not in capsys.readouterr().out


# --- hwconfigs/README.md ------------------------------------------------------------------------------------------

PAGE = (resources.files("sparsespike.hwconfigs") / "README.md").read_text("utf-8")


def row_of(first):
    """The cells of the page's row that begins so."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {first}")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_page_s_comparison_with_prosperity_is_what_is_measured():
    trace, chip = trace_of("lenet5_mnist"), load_chip("prosperity-like", {"core.weight_kib": 72.0})
    report = simulate(trace, chip)
    peers = run_peers(trace).runs
    sparse, full = (int(peers[name].cycles) for name in ("prosperity_bit_sparse", "prosperity"))
    published, here, why = row_of("cycles of LeNet-5")[1:]
    assert f"{sparse:,} " in published
    assert f"{report.cycles:,} on" in here
    assert f": {report.cycles / sparse - 1:.0%} more".replace("%", " %") in here
    causes = report.cycles_by_cause
    for number in (causes["grant_wait"] + causes["network"], causes["control"], report.cycles_by_layer["pool_1"]):
        assert f"{number:,}" in why
    assert row_of("with product sparsity")[1] == f"{full:,}"


def test_the_page_s_area_of_loas_s_cache_is_what_is_measured():
    costs = macro_costs(load_chip("loas-like"))
    cache = [costs[name] for name in ("weights", "pointers", "potentials", "spikes")]
    assert f"{sum(macro.count * cost.area_mm2 for macro, cost in cache):.2f} mm²" in row_of("area of LoAS")[2]


def test_the_page_s_published_rows_are_tagged_cell_by_cell_and_name_the_presets():
    table = PAGE[PAGE.index("| chip | node, clock") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert len(rows) == 24
    assert {row[-1].strip("`") for row in rows if row[-1] not in ("-", "`peers`")} == set(NODES)
    plain = [cell for row in rows for cell in row[1:8] if not re.match(r"([PQMD]: |-$|none$)", cell)]
    assert plain == []


def test_the_page_s_table_of_folders_names_each_of_them():
    folders = {entry.name for entry in resources.files("sparsespike.hwconfigs").iterdir() if entry.is_dir()}
    for name in folders - {"__pycache__"}:
        assert row_of(f"`{name}/`")[1]


@every_preset
def test_the_page_says_of_each_preset_what_it_holds(name):
    held = row_of(f"`{name}`")[1]
    names = {"digits": "`digits`", "fashion-mnist": "`fashion-mnist`", "lenet5_mnist": "LeNet-5"}
    assert [names[key] for key in load_chip(name).fidelity.holds] == held.split(", ")
