"""Chip files: the shipped presets, every kind of mistake in one, and derived numbers worked out by hand."""

import re
import tomllib
from collections.abc import Iterator
from importlib import resources

import pytest
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import Chip, chip_fields, chip_keys, chip_names, chip_text, load_chip
from sparsespike.simulator.sram import macro_costs

PRESETS = ("dense", "edge", "mesh16")
LIKE_OTHERS = ("loas-like", "loihi-like", "prosperity-like", "vesta-like")  # test_presets.py
KINDS = {"measured", "simulated", "quoted second-hand", "derived", "assumed"}


def flat(chip: Chip) -> dict[str, object]:
    """Dotted key -> value."""
    found: dict[str, object] = {}
    for key, value in chip.settings().items():
        found |= {f"{key}.{leaf}": inner for leaf, inner in value.items()} if isinstance(value, dict) else {key: value}
    return found


def edited(*edits: tuple[str, str]) -> str:
    """The text of mesh16 with some lines changed; each edit must hit exactly one place."""
    text, _ = chip_text("mesh16")
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in mesh16.toml"
        text = text.replace(old, new)
    return text


# --- presets ------------------------------------------------------------------------------------------------------


def test_the_shipped_chips_are_known_by_name_and_load():
    assert chip_names() == sorted(PRESETS + LIKE_OTHERS)
    assert {name: load_chip(name).name for name in PRESETS} == {name: name for name in PRESETS}
    assert {name: load_chip(name).cores for name in PRESETS} == {"dense": 16, "edge": 4, "mesh16": 16}


def test_dense_is_mesh16_with_the_sparsity_features_off_and_nothing_else():
    sparse, dense = flat(load_chip("mesh16")), flat(load_chip("dense"))
    different = {key: (sparse[key], dense[key]) for key in sparse if sparse[key] != dense[key]}
    assert set(different) == {"name", "description", "core.weight_format", "token_unit.policy"}
    assert different["core.weight_format"] == ("csr", "dense")
    assert different["token_unit.policy"] == ("skip", "off")


@pytest.mark.parametrize("name", ["mesh16", "dense"])
def test_the_large_presets_hold_every_layer_of_the_cifar_spikformer_with_dense_weights(name):
    # largest: 3 x 3 convolution of 384 channels; 24 outputs a core fill three 64-bit words per row
    core = load_chip(name, {"core.weight_format": "dense"}).core
    assert core.weight_kib * 1024 >= 384 * 9 * 3 * 8
    assert core.pointer_kib * 1024 >= 4 * 384 * 9
    # open outputs (R, P4): map widths 32 and 16 behind the pools, outputs a core 12 and 24
    for width, owned in ((32, 12), (16, 24)):
        assert (2 * width + 3 + core.contexts - 1) * owned <= core.accumulator_words


def test_a_file_and_a_preset_of_the_same_text_are_the_same_chip(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(edited())
    assert load_chip(path) == load_chip(str(path)) == load_chip("mesh16")


def test_a_chip_is_frozen():
    chip = load_chip("edge")
    with pytest.raises(ValueError, match="frozen"):
        chip.core.lanes = 16


@pytest.mark.parametrize("name", PRESETS + LIKE_OTHERS)
def test_every_value_of_a_chip_file_is_a_key_and_every_key_is_in_the_file(name):
    assert list(flat(load_chip(name))) == chip_keys()


def test_every_key_has_a_description():
    fields = chip_fields()
    assert list(fields) == chip_keys()
    assert [key for key, text in fields.items() if not text.strip()] == []


# --- mistakes -----------------------------------------------------------------------------------------------------

BAD_FILES = {
    "unknown key, close to a valid one": ([("\nlanes = 8", "\nlanse = 8\nlanes = 8")], ["core.lanse", "'core.lanes'"]),
    "unknown section": ([("[dram]", "[drum]\nsize = 1\n\n[dram]")], ["drum", "unknown key"]),
    "unknown key at the top": ([("clock_mhz =", "clok_mhz = 1.0\nclock_mhz =")], ["clok_mhz", "'clock_mhz'"]),
    "text for a number": ([("\nlanes = 8", '\nlanes = "8"')], ["core.lanes = '8'", "integer"]),
    "fraction for a count": ([("\nlanes = 8", "\nlanes = 8.0")], ["core.lanes = 8.0", "integer"]),
    "truth value for a count": ([("\nlanes = 8", "\nlanes = true")], ["core.lanes = True", "integer"]),
    "number for a name": ([('type = "LPDDR4"', "type = 4")], ["dram.type = 4", "string"]),
    "a number for a section": (
        [("[dram]", "[other]"), ("clock_mhz =", "dram = 3\nclock_mhz =")],
        ["dram = 3", "other"],
    ),
    "zero lanes": ([("\nlanes = 8", "\nlanes = 0")], ["core.lanes = 0", "1"]),
    "negative latency": ([("latency_ns = 60.0", "latency_ns = -1.0")], ["dram.latency_ns = -1.0", "0"]),
    "a mesh too wide": ([("columns = 4", "columns = 17")], ["mesh.columns = 17", "16"]),
    "no clock": ([("clock_mhz = 500.0", "clock_mhz = 0.0")], ["clock_mhz = 0.0", "0"]),
    "a clock that is no number": ([("clock_mhz = 500.0", "clock_mhz = nan")], ["clock_mhz = nan"]),
    "a latency that is no number": ([("latency_ns = 60.0", "latency_ns = nan")], ["dram.latency_ns = nan"]),
    "infinite bandwidth": ([("bandwidth_gb_s = 12.8", "bandwidth_gb_s = inf")], ["dram.bandwidth_gb_s = inf"]),
    "unknown format": ([('"csr"', '"coo"')], ["core.weight_format = 'coo'", "'bitmap'", "'csr'"]),
    "unknown policy": ([('"skip"', '"jump"')], ["token_unit.policy = 'jump'", "'gate'"]),
    "a missing key": ([("\nlanes = 8\n", "\n")], ["core.lanes: missing"]),
    "a missing section": ([("[dram]", "[dran]")], ["dram: missing", "dran"]),
    "a word too narrow for an entry": ([("weight_word_bits = 64", "weight_word_bits = 11")], ["core.weight_word_bits"]),
    "a bank smaller than a word": ([("weight_kib = 96.0", "weight_kib = 0.03")], ["core.weight_kib"]),
    "faults of four kinds at once": (
        [
            ("\nlanes = 8", "\nlanse = 8\nlanes = 0"),
            ("\nrows = 4", '\nrows = "four"'),
            ("burst_bytes = 64", ""),
            ('"time_outer"', '"sideways"'),
        ],
        [
            "core.lanse",
            "'core.lanes'",
            "core.lanes = 0",
            "mesh.rows = 'four'",
            "dram.burst_bytes: missing",
            "core.order",
        ],
    ),
    "not TOML": ([("[mesh]", "[mesh")], ["not valid TOML", "line"]),
    "a key given twice": ([("\nlanes = 8", "\nlanes = 8\nlanes = 8")], ["not valid TOML"]),
}


@pytest.mark.parametrize(("edits", "fragments"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_chip_file_is_refused_in_one_message_that_names_it_and_its_faults(tmp_path, edits, fragments):
    path = tmp_path / "bad.toml"
    path.write_text(edited(*edits))
    with pytest.raises(UserError) as caught:
        load_chip(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_two_faults_between_keys_are_both_reported():
    with pytest.raises(UserError) as caught:
        load_chip("mesh16", {"core.weight_word_bits": 11, "core.weight_kib": 0.001})
    assert "core.weight_word_bits" in str(caught.value)
    assert "core.weight_kib" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "fragments"),
    [
        ("nowhere.toml", ["nowhere.toml", "no such file"]),
        ("mesh61", ["'mesh61'", "'mesh16'"]),
        ("zzz", ["'zzz'", *PRESETS]),
    ],
)
def test_a_chip_that_is_not_there_is_refused(tmp_path, monkeypatch, source, fragments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_chip(source)
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00name"], ids=["a folder", "not UTF-8"])
def test_a_chip_that_cannot_be_read_as_text_is_refused(tmp_path, content):
    path = tmp_path / "odd.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"odd\.toml: (is a folder, not a chip file|cannot be read as a text file)"):
        load_chip(path)


def test_memories_beyond_the_table_are_all_named_and_a_missing_node_once():
    with pytest.raises(UserError) as caught:
        macro_costs(load_chip("mesh16", {"core.spike_kib": 4096.0, "core.weight_kib": 65536.0}))
    for fragment in ("core.weight_kib = 65536: a macro of 16384 KiB", "core.spike_kib = 4096: a macro of 4096 KiB"):
        assert fragment in str(caught.value)
    with pytest.raises(UserError) as caught:
        macro_costs(load_chip("mesh16", {"technology.node_nm": 28}))
    assert str(caught.value).count("28 nm") == 1
    assert "core." not in str(caught.value)


# --- replace ------------------------------------------------------------------------------------------------------


def test_replace_changes_what_it_names_and_nothing_else():
    chip = load_chip("mesh16")
    before = flat(chip)
    changed = flat(chip.replace({"core.lanes": 32, "clock_mhz": 250.0}))
    assert changed == before | {"core.lanes": 32, "clock_mhz": 250.0}
    assert flat(chip) == before
    assert flat(load_chip("mesh16", {"core.lanes": 32, "clock_mhz": 250.0})) == changed


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        ({"core.lane": 4}, ["core.lane: unknown key", "'core.lanes'"]),
        ({"lanes": 4}, ["lanes: unknown key"]),
        ({"core": 4}, ["core: unknown key"]),
        ({"core.lanes.more": 4}, ["core.lanes.more: unknown key"]),
        ({"name.first": "x"}, ["name.first: unknown key"]),
        ({"": 4}, [": unknown key"]),
        ({"core.lanes": 0}, ["core.lanes = 0"]),
        ({"core.lanes": "8"}, ["core.lanes = '8'"]),
        ({"core.weight_word_bits": 11}, ["core.weight_word_bits"]),
        (
            {"core.lane": 4, "mesh.rows": 0, "dram.typ": "x"},
            ["core.lane:", "mesh.rows = 0", "dram.typ:", "'dram.type'"],
        ),
    ],
)
def test_replace_refuses_unknown_keys_and_bad_values_together(overrides, fragments):
    with pytest.raises(UserError) as caught:
        load_chip("mesh16").replace(overrides)
    message = str(caught.value)
    assert "'mesh16'" in message
    assert [fragment for fragment in fragments if fragment not in message] == []


# --- derived numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "columns", "cores", "services"),
    [
        # 4 x 4 cores and 1 + 2 units in one service column: rows of five routers
        ({}, 5, (0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18), (4, 9, 14)),
        # 3 x 2 cores and 1 + 4 units: ceil(5 / 2) = 3 service columns, filled downwards one after the other
        ({"mesh.columns": 3, "mesh.rows": 2, "attention.units": 4}, 6, (0, 1, 2, 6, 7, 8), (3, 9, 4, 10, 5)),
        # one core, one unit of each kind, all in a row
        ({"mesh.columns": 1, "mesh.rows": 1, "attention.units": 1}, 3, (0,), (1, 2)),
        # exactly full: 1 + 1 units in two rows
        ({"mesh.columns": 2, "mesh.rows": 2, "attention.units": 1}, 3, (0, 1, 3, 4), (2, 5)),
    ],
)
def test_routers_stand_where_rule_n1_puts_them(overrides, columns, cores, services):
    chip = load_chip("mesh16", overrides)
    assert (chip.router_columns, chip.routers) == (columns, columns * chip.mesh.rows)
    assert chip.core_routers == cores
    assert chip.service_routers == services


@pytest.mark.parametrize(
    ("overrides", "bits", "cycles"),
    [
        ({}, 26, 1),  # 1 + 8 + 1 + 12 + 4 on 32 wires
        ({"mesh.link_bits": 26}, 26, 1),
        ({"mesh.link_bits": 25}, 26, 2),
        ({"mesh.link_bits": 9}, 26, 3),
        ({"mesh.link_bits": 8}, 26, 4),
        ({"mesh.link_bits": 1}, 26, 26),
        ({"core.contexts": 1}, 26, 1),  # one context still takes a bit
        ({"core.contexts": 3}, 27, 1),
        ({"core.contexts": 4}, 27, 1),
        ({"core.contexts": 5, "mesh.link_bits": 27}, 28, 2),
        ({"core.contexts": 64}, 31, 1),
        ({"core.time_batch": 2}, 30, 1),  # a value for each timestep
        ({"core.time_batch": 3}, 34, 2),
        ({"mesh.tree_bits": 1, "mesh.channel_bits": 1, "mesh.value_bits": 1}, 5, 1),
    ],
)
def test_flit_bits_and_cycles_follow_rule_f4(overrides, bits, cycles):
    chip = load_chip("mesh16", overrides)
    assert (chip.flit_bits, chip.flit_cycles) == (bits, cycles)


@pytest.mark.parametrize(
    ("overrides", "transfer", "cycles"),
    [
        ({}, 0, 0),  # no bytes, no latency either
        # 60 ns at 500 MHz are 30 cycles; 6.4 GB/s are 12.8 bytes per cycle
        ({}, 64, 30 + 5),  # 64 / 12.8 = 5 exactly
        ({}, 1, 30 + 5),  # rounded up to a burst
        ({}, 65, 30 + 10),
        ({}, 192, 30 + 15),
        ({"dram.bandwidth_gb_s": 12.8}, 64, 30 + 3),  # 2.5 cycles
        ({"dram.bandwidth_gb_s": 12.8}, 128, 30 + 5),
        ({"dram.bandwidth_gb_s": 6.39}, 64, 30 + 6),  # a hair less than 12.8 bytes per cycle
        ({"dram.bandwidth_gb_s": 6.41}, 64, 30 + 5),
        ({"dram.latency_ns": 0.0}, 64, 5),
        ({"dram.latency_ns": 0.1}, 64, 1 + 5),  # 0.05 cycles
        ({"dram.latency_ns": 60.1}, 64, 31 + 5),  # 30.05 cycles
        # 1.1 ns at 10 GHz are 11 cycles; 1.1 x 10000 in binary floats is a little more
        ({"clock_mhz": 10000.0, "dram.latency_ns": 1.1, "dram.bandwidth_gb_s": 640.0}, 64, 11 + 1),
        # 0.07 GB/s at 1 MHz are 70 bytes per cycle: ten cycles for 700 bytes
        ({"clock_mhz": 1.0, "dram.bandwidth_gb_s": 0.07, "dram.burst_bytes": 70, "dram.latency_ns": 0.0}, 700, 10),
    ],
)
def test_dram_cycles_are_rule_d1_in_exact_decimals(overrides, transfer, cycles):
    assert load_chip("edge", overrides).dram_cycles(transfer) == cycles


@pytest.mark.parametrize(
    ("burst", "transfer", "moved"), [(64, 0, 0), (64, 1, 64), (64, 64, 64), (64, 65, 128), (1, 7, 7), (48, 100, 144)]
)
def test_bytes_move_in_whole_bursts(burst, transfer, moved):
    assert load_chip("edge", {"dram.burst_bytes": burst}).in_bursts(transfer) == moved


def test_the_clock_period_of_500_mhz_is_2_ns():
    assert load_chip("mesh16").clock_period_ns == 2.0


# --- sources ------------------------------------------------------------------------------------------------------


def energy_files() -> list[tuple[str, str]]:
    folder = resources.files("sparsespike.hwconfigs.energy")
    return [(entry.name, entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".toml")]


def test_every_number_of_every_energy_table_says_what_it_is_and_where_it_comes_from():
    files = energy_files()
    assert "cmos45.toml" in {name for name, _ in files}
    for name, text in files:
        table = tomllib.loads(text)
        if "scaled" in table:  # holds no prices, only how they are made
            assert len(table["scaled"]["source"]) > 10
            bare = [line for line in text.splitlines() if re.match(r"(voltage_v|widen|leakage_widen)", line)]
            assert all("#" in line for line in bare), name
            continue
        entries = list(entries_of(table))
        assert len(entries) > 3
        assert [entry for entry in entries if entry["kind"] not in KINDS] == [], name
        assert [entry for entry in entries if len(entry["source"]) < 10] == [], name
        assert [entry for entry in entries if not ({"node_nm", "device"} & set(entry))] == [], name


def entries_of(table: dict) -> Iterator[dict]:
    """Every table that holds a value, however deep."""
    for part in table.values():
        if isinstance(part, dict):
            yield from ([part] if "value" in part else entries_of(part))
