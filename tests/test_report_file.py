"""Reports that users hand back: what every reader relies on is there, or the file is refused in a sentence."""

import json

import pytest
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.report import SCHEMA_VERSION
from sparsespike.simulator.report_file import load_report

LAYER = {
    "name": "fc",
    "cycles": 9,
    "cycles_by_cause": {},
    "counts": {},
    "synaptic_events": 0,
    "spikes": 0,
    "critical_resource": "compute",
    "critical_cycles": 9,
    "weight_imbalance": 1.0,
    "energy_pj": {"lanes": 1.0},
}
ENERGY = {"total": 1.0, "low": 0.5, "high": 2, "by_component": {"lanes": 1.0}, "by_layer": {"fc": 1.0}}
SMALL = {
    "schema_version": SCHEMA_VERSION,
    "chip": "edge",
    "images": 1,
    "cycles": 9,
    "cycles_per_image": [9],
    "latency_s": 1e-6,
    "images_per_s": 1e6,
    "cycles_by_cause": {},
    "traffic_bytes": {},
    "sram_bytes": 0,
    "counts": {},
    "energy_pj": ENERGY,
    "area_mm2": 1.5,
    "area_scope": "everything",
    "synaptic_events": 0,
    "accuracy": 1.0,
    "layers": [LAYER],
    "provenance": {},
}


def whole(**changes) -> str:
    """The text of a small report that `load_report` takes, with changes; a value None takes the key away."""
    return json.dumps({key: value for key, value in (SMALL | changes).items() if value is not None})


BAD_REPORTS = {
    "cut off": (whole()[:-5], "not JSON, or cut off"),
    "empty": ("", "not JSON, or cut off"),
    "newer": (whole(schema_version=SCHEMA_VERSION + 1), f"version {SCHEMA_VERSION + 1} is newer"),
    "of no version": (whole(schema_version="first"), "schema_version"),
    "without a version": (whole(schema_version=None), "schema_version: missing"),
    "older": (whole(schema_version=SCHEMA_VERSION - 1), f"version {SCHEMA_VERSION - 1} is older"),
    "without two keys": (whole(layers=None, cycles=None), "cycles: missing; layers: missing"),
    "newer and of other keys": (f'{{"schema_version": {SCHEMA_VERSION + 1}}}', "is newer"),
    "with text for a number": (whole(latency_s="fast"), "latency_s: "),
    "with a number for the layers": (whole(layers=1), "layers: "),
    "with a layer without counts": (
        whole(layers=[{k: v for k, v in LAYER.items() if k != "counts"}]),
        r"layers\.0\.counts: missing",
    ),
    "with a number for its energy": (whole(energy_pj=1.0), "energy_pj: "),
    "without a total": (whole(energy_pj={**ENERGY, "total": None}), r"energy_pj\.total: "),
    "of no images": (whole(images=0), "images: "),
    "of more images than it lists": (whole(images=8), "images = 8: cycles_per_image has 1"),
    "of other cycles than it lists": (whole(cycles=7), "cycles = 7: cycles_per_image adds up to 9"),
    "with a word for a flag": (whole(bound="yes"), "bound: "),
    "with a key twice": (whole().replace('"images": 1', '"images": 1, "images": 2'), "'images' stands twice"),
    "of reprice": (json.dumps({"kind": "prices", "schema_version": 1}), "holds 'prices', and no report"),
    "of diff": (json.dumps({"kind": "diff", "schema_version": 1}), "holds 'diff', and no report"),
    "with a list for its energy": (whole(energy_pj=[]), "energy_pj: must be an object of named values$"),
    "with a number for a layer": (whole(layers=[3]), r"layers\.0: must be an object of named values$"),
    "foreign": ('{"name": "something else"}', "not a report of sparsespike"),
    "a list": ("[1, 2]", "not a report of sparsespike"),
    "a number": ("3", "not a report of sparsespike"),
    "not text": (b"\xff\xfe\x80", "cannot be read as a text file"),
}


def test_the_report_that_the_bad_ones_are_made_from_is_good(tmp_path):
    path = tmp_path / "good.json"
    path.write_text(whole())
    assert load_report(path)["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize(("content", "message"), BAD_REPORTS.values(), ids=BAD_REPORTS)
def test_a_damaged_newer_or_foreign_file_is_refused(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        load_report(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_report_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_report(tmp_path / "none.json")
