"""The report of a small run: its keys, its sums, its file, and what it refuses."""

import json

import numpy as np
import pytest
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.report import SCHEMA_VERSION, chip_sha256, simulate
from sparsespike.simulator.report_file import load_report
from sparsespike.simulator.trace import Events, Head, Linear, Numerics, Stream, Trace, Weights, load_trace, save_trace

PRESETS = ("dense", "edge", "mesh16")
IMAGES, TIMESTEPS, TOKENS, INPUTS, HIDDEN, CLASSES = 3, 2, 4, 24, 20, 5
FRACTION = TIMESTEPS - 1
# what DESIGN.md promises of `simulate --json`
PROMISED = {
    "schema_version",
    "cycles",
    "cycles_per_image",
    "latency_s",
    "images_per_s",
    "cycles_by_cause",
    "traffic_bytes",
    "counts",
    "energy_pj",
    "area_mm2",
    "area_scope",
    "area_by_block_mm2",
    "power_w",
    "edp_js",
    "tops_per_w",
    "pj_per_synaptic_event",
    "synaptic_events",
    "accuracy",
    "provenance",
}


def near(value):
    return pytest.approx(value, rel=1e-12)


def spikes_of(sums: np.ndarray, bias: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The neuron of the contract on sums[images, timesteps, tokens, channels]."""
    potential = np.zeros_like(sums[:, 0])
    fired = np.zeros_like(sums)
    for step in range(TIMESTEPS):
        potential = (potential >> 1) + ((sums[:, step] + bias) << FRACTION)
        fired[:, step] = potential >= theta
        potential[potential >= theta] = 0
    return fired


def make_trace() -> Trace:
    """Binary input -> linear -> head, with spikes and logits as the integer network gives them."""
    rng = np.random.default_rng(7)
    shape = (IMAGES, TIMESTEPS, TOKENS, INPUTS)
    given = (rng.random(shape) < 0.3).astype(np.int64)
    first = rng.integers(-20, 21, (HIDDEN, INPUTS)) * (rng.random((HIDDEN, INPUTS)) < 0.4)
    last = rng.integers(-20, 21, (CLASSES, HIDDEN)) * (rng.random((CLASSES, HIDDEN)) < 0.5)
    bias, theta = rng.integers(-5, 6, HIDDEN), np.full(HIDDEN, 30)
    fired = spikes_of(given @ first.T, bias, theta)
    assert 0.05 < fired.mean() < 0.95  # neither silent nor saturated
    class_bias = rng.integers(-9, 10, CLASSES)
    logits = fired.sum(axis=(1, 2)) @ last.T + class_bias
    labels = logits.argmax(axis=1)
    labels[1] = (labels[1] + 1) % CLASSES  # one of three images is classified wrongly
    layers = (
        Linear(
            name="fc",
            source="given",
            target="fired",
            weights=Weights.from_dense(first),
            bias=bias.astype(np.int32),
            theta=theta.astype(np.int32),
        ),
        Head(name="head", source="fired", weights=Weights.from_dense(last), bias=class_bias),
    )
    streams = {
        "given": Stream("given", "binary", INPUTS, 2, 2, Events.from_dense(given)),
        "fired": Stream("fired", "binary", HIDDEN, 2, 2, Events.from_dense(fired)),
    }
    numerics = Numerics(
        timesteps=TIMESTEPS, fraction_bits=FRACTION, weight_bits=8, pixel_bits=8, accumulator_bits=20, potential_bits=24
    )
    return Trace(numerics, streams, layers, IMAGES, None, (), logits, labels, provenance={"made by": "test_report"})


@pytest.fixture(scope="module")
def trace():
    return make_trace()


@pytest.fixture(scope="module", params=PRESETS)
def report(request, trace):
    return simulate(trace, load_chip(request.param), verify=True)


# --- what stands in it --------------------------------------------------------------------------------------------


def test_the_promised_keys_are_there(report):
    data = report.to_json()
    assert PROMISED - set(data) == set()
    assert {"total", "by_component", "by_layer"} <= set(data["energy_pj"])
    assert data["schema_version"] == SCHEMA_VERSION
    assert data["images"] == IMAGES
    blocks = data["area_by_block_mm2"]
    assert data["area_mm2"] == near(sum(block["nominal"] for block in blocks.values()))
    memories = {name: block["nominal"] for name, block in blocks.items() if block["kind"] == "macro"}
    assert data["area_by_memory_mm2"] == memories
    assert 0 < sum(memories.values()) < data["area_mm2"]
    assert "Not counted: pads" in data["area_scope"]


def test_cycles_are_the_same_whichever_way_one_adds_them(report):
    data, cores = report.to_json(), report.chip.cores
    assert data["cycles"] > 0
    assert data["cycles"] == sum(data["cycles_per_image"]) == sum(layer["cycles"] for layer in data["layers"])
    assert len(data["cycles_per_image"]) == IMAGES
    assert sum(data["cycles_by_cause"].values()) == data["cycles"] * cores
    assert set(data["cycles_by_cause"]) == {cause.key for cause in Cause}
    for layer in data["layers"]:
        assert sum(layer["cycles_by_cause"].values()) == layer["cycles"] * cores
    for cause, cycles in data["cycles_by_cause"].items():
        assert cycles == sum(layer["cycles_by_cause"][cause] for layer in data["layers"])
    assert report.cycles_by_layer == {layer["name"]: layer["cycles"] for layer in data["layers"]}
    assert data["latency_s"] == near(data["cycles"] / IMAGES * 2e-9)  # 500 MHz; images do not overlap
    assert data["images_per_s"] == near((IMAGES - 1) / (sum(data["cycles_per_image"][1:]) * 2e-9))  # without the first


def test_counts_are_the_sum_of_the_layers(report):
    data = report.to_json()
    assert [layer["name"] for layer in data["layers"]] == ["fc", "head"]
    assert set(data["counts"]) == {action.key for action in Action}
    for action, count in data["counts"].items():
        assert count == sum(layer["counts"][action] for layer in data["layers"])
    assert data["synaptic_events"] == sum(layer["synaptic_events"] for layer in data["layers"])


def test_synaptic_events_are_spikes_times_surviving_weights(report, trace):
    by_hand = []
    for layer in trace.layers:
        fan_out = np.diff(layer.weights.pointers)
        by_hand.append(int(fan_out[trace.streams[layer.source].events.channels].sum()))
    assert [layer["synaptic_events"] for layer in report.to_json()["layers"]] == by_hand
    assert [layer["spikes"] for layer in report.to_json()["layers"]] == [
        len(trace.streams[name].events.channels) for name in ("given", "fired")
    ]


def test_energy_is_the_same_whichever_way_one_adds_it(report):
    data = report.to_json()
    energy = data["energy_pj"]
    assert sum(energy["by_component"].values()) == near(energy["total"])
    assert sum(energy["by_layer"].values()) == near(energy["total"])
    assert 0 < energy["low"] < energy["total"] < energy["high"]
    for layer in data["layers"]:
        assert sum(layer["energy_pj"].values()) == near(energy["by_layer"][layer["name"]])
    for component, value in energy["by_component"].items():
        assert sum(layer["energy_pj"][component] for layer in data["layers"]) == near(value)


def test_traffic_is_counts_times_widths(report):
    counts, traffic = report.counts, report.traffic_bytes
    # bits per action: 64-bit weight words, 32-bit pointers, 28-bit accumulators, words of 8 potentials of 24 bits
    bits = {
        "dram_read": counts["dram_read"] * 8,
        "dram_write": counts["dram_write"] * 8,
        "weight_read": counts["weight_read"] * 64,
        "weight_write": counts["weight_write"] * 64,
        "pointer_read": counts["pointer_read"] * 32,
        "pointer_write": counts["pointer_write"] * 32,
        "accumulator_read": counts["accumulator_update"] * 28,
        "accumulator_write": counts["accumulator_update"] * 28,
        "potential_read": counts["potential_read"] * 8 * 24,
        "potential_write": counts["potential_write"] * 8 * 24,
        "spike_read": counts["spike_read"],
        "spike_write": counts["spike_write"],
        "feature_read": (counts["feature_update"] + counts["selector_mac"]) * 16,
        "selector_read": counts["selector_mac"] * 8,
        "feature_write": counts["feature_update"] * 16,
        "operand_read": counts["operand_read"],
        "operand_write": counts["operand_write"],
    }
    assert traffic == {name: (value + 7) // 8 for name, value in bits.items()}
    assert report.sram_bytes == sum(
        value for name, value in traffic.items() if not name.startswith(("dram", "accumulator"))
    )
    assert traffic["weight_read"] > 0
    assert traffic["dram_read"] % report.chip.dram.burst_bytes == 0
    # every core owns between 1 and 8 of the hidden neurons: one word of 8 each; the head's sums are no potentials
    assert traffic["potential_write"] == IMAGES * TIMESTEPS * TOKENS * report.chip.cores * 8 * 3


def test_verification_and_accuracy_are_reported(report, trace):
    data = report.to_json()
    spikes = len(trace.streams["fired"].events.channels)
    neurons = IMAGES * TIMESTEPS * TOKENS * HIDDEN
    expected = {"neurons": neurons, "spikes": spikes, "tokens": 0, "logits": IMAGES * CLASSES, "all_equal": True}
    assert data["verified"] == expected
    assert data["accuracy"] == near(2 / 3)


def test_without_verification_the_report_is_the_same_but_for_saying_so(report, trace):
    plain = simulate(trace, report.chip).to_json()
    assert "verified" not in plain
    assert plain == {key: value for key, value in report.to_json().items() if key != "verified"}


@pytest.mark.parametrize(("wrong", "where"), [("logit", "'head', image 0"), ("bias", "'fc', image 0")])
def test_a_trace_that_contradicts_itself_is_found_by_verification_only(trace, wrong, where):
    changed = make_trace()
    if wrong == "logit":
        changed.logits[0, 0] += 1
    else:
        changed.layers[0].bias[:] += 100  # every neuron fires now, but not in the trace
    with pytest.raises(UserError, match=f"verify: layer {where}"):
        simulate(changed, load_chip("edge"), verify=True)
    assert simulate(changed, load_chip("edge")).cycles == simulate(trace, load_chip("edge")).cycles


# --- provenance ---------------------------------------------------------------------------------------------------


def test_the_trace_s_hash_does_not_change_when_the_chip_does(trace, tmp_path):
    digest = save_trace(trace, tmp_path / "trace.safetensors")
    chips = [load_chip(name) for name in PRESETS] + [load_chip("edge", {"core.lanes": 32})]
    provenance = [simulate(load_trace(tmp_path / "trace.safetensors"), chip).to_json()["provenance"] for chip in chips]
    assert {entry["trace_sha256"] for entry in provenance} == {digest}
    assert len({entry["chip_sha256"] for entry in provenance}) == len(chips)
    assert [entry["chip"] for entry in provenance] == [chip.model_dump(mode="json") for chip in chips]
    assert trace.sha256 == digest


def test_equal_chips_have_equal_hashes_and_every_value_counts():
    chip = load_chip("mesh16")
    assert chip_sha256(chip) == chip_sha256(chip.replace({"core.lanes": 8, "clock_mhz": 500}))
    assert chip_sha256(chip) != chip_sha256(chip.replace({"dram.latency_ns": 60.5}))


def test_provenance_names_the_tables_and_the_trace_s_origin(report):
    provenance = report.to_json()["provenance"]
    assert provenance["program"].startswith("sparsespike ")
    assert provenance["trace"] == {"made by": "test_report"}
    assert (provenance["energy_table"], provenance["energy_table_sha256"]) == ("cmos45", report.table.sha256)
    assert len(provenance["energy_table_sha256"]) == 64


# --- images -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 2, 3])
def test_the_first_images_alone_run_as_they_do_among_all(trace, images):
    chip = load_chip("edge")
    done: list[tuple[int, int]] = []
    part = simulate(trace, chip, images=images, progress=lambda *step: done.append(step))
    assert part.cycles_per_image == simulate(trace, chip).cycles_per_image[:images]
    assert done == [(number, images) for number in range(1, images + 1)]
    assert part.trace_sha256 == trace.sha256  # of the file that was given, whatever part of it ran
    assert part.accuracy == near({1: 1.0, 2: 1 / 2, 3: 2 / 3}[images])


@pytest.mark.parametrize("images", [-1, 0, 4])
def test_a_number_of_images_that_the_trace_has_not_is_refused(trace, images):
    with pytest.raises(UserError, match=f"images = {images}: the trace holds 3"):
        simulate(trace, load_chip("edge"), images=images)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"clock_mhz": 3000.0}, "core.weight_kib"),
        ({"dram.type": "LPDDR5"}, "'LPDDR4'"),
        ({"technology.node_nm": 40}, "no energy table of 40 nm"),
    ],
)
def test_a_chip_that_cannot_be_priced_is_refused_before_the_first_image(trace, overrides, match):
    done: list[int] = []
    with pytest.raises(UserError, match=match):
        simulate(trace, load_chip("mesh16", overrides), progress=lambda image, _: done.append(image))
    assert done == []


# --- files --------------------------------------------------------------------------------------------------------


def test_a_report_comes_back_from_its_file_as_it_was(report, tmp_path):
    path = tmp_path / "new" / "report.json"
    report.save(path)
    assert load_report(path) == json.loads(json.dumps(report.to_json())) == report.to_json()
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]
    first = path.read_bytes()
    report.save(path)
    assert path.read_bytes() == first


def test_a_path_that_cannot_be_written_is_refused_and_leaves_nothing(trace, tmp_path):
    report = simulate(trace, load_chip("edge"), images=1)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "report.json", tmp_path / "file" / "a" / "b.json", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be written"):
            report.save(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []
