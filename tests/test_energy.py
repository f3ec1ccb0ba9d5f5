"""Energy by hand: every price from the table's own numbers, and the laws of a weighted sum."""

import tomllib
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from cacti import lop45, near, off_grid
from sparsespike.simulator.activity import Action, Activity, Cause, Critical
from sparsespike.simulator.energy import (
    COMPONENT_OF,
    COMPONENTS,
    STANDING,
    Primitives,
    action_prices,
    energy_names,
    find_prices,
    load_energy_table,
    price,
)
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip

DATA = resources.files("sparsespike.hwconfigs.energy")
TEXT = (DATA / "cmos45.toml").read_text("utf-8")
RAW = tomllib.loads(TEXT)
CHIP = load_chip("mesh16", {"technology.sram_device": "lop"})  # the macros that cacti.lop45 reads
TABLE = load_energy_table("cmos45")


def potentials(column: str) -> float:
    """48 KiB x (8 neurons of 24 bits)."""
    return lop45(48, 192, column)


def by_hand(band: str) -> dict[Action, float]:
    """Every price of mesh16 in pJ for band low, value or high, by the sentences of activity.py and cmos45.toml."""
    p = {name: entry[band] for name, entry in RAW["primitives"].items()}
    sram = {"low": 0.8, "value": 1.0, "high": 3.2}[band]
    pitch = {"low": 0.7, "value": 1.0, "high": 1.5}[band]
    add28, mac, flit = 28 * p["add_bit"], 64 * p["multiply_bit2"] + 28 * p["add_bit"], 26 * p["register_bit"]
    buffer, fifo = flit + 2 * p["counter_bit"], flit + 4 * p["counter_bit"]  # queues of 4 and of 16 flits
    features = sram * lop45(64, 32, "read_pj"), sram * lop45(64, 32, "write_pj")
    dram = RAW["dram"]["LPDDR4"]
    return {
        Action.WEIGHT_READ: sram * off_grid(24, 64, "read_pj"),  # 96 KiB in 4 banks
        Action.WEIGHT_WRITE: sram * off_grid(24, 64, "write_pj"),
        Action.POINTER_READ: sram * lop45(16, 32, "read_pj"),
        Action.POINTER_WRITE: sram * lop45(16, 32, "write_pj"),
        Action.ADD: add28,
        Action.MULTIPLY_ADD: mac,
        Action.ACCUMULATOR_UPDATE: 2 * 28 * p["register_bit"],
        Action.NEURON_UPDATE: 24 * (2 * p["add_bit"] + p["compare_bit"]),
        Action.POTENTIAL_READ: sram * potentials("read_pj"),
        Action.POTENTIAL_WRITE: sram * potentials("write_pj"),
        Action.SPIKE_READ: sram * lop45(16, 64, "read_pj") / 64,
        Action.SPIKE_WRITE: sram * lop45(16, 64, "write_pj") / 64,
        Action.POOL_OR: p["and_count_bit"],
        Action.FLIT_HOP: 26 * (pitch * p["link_bit_mm"] + p["router_bit"]),
        Action.BUFFER_WRITE: buffer,
        Action.BUFFER_READ: buffer,
        Action.FIFO_WRITE: fifo,
        Action.FIFO_READ: fifo,
        Action.SCAN: p["register_bit"],
        Action.FEATURE_UPDATE: sum(features) + 16 * p["add_bit"],
        Action.SELECTOR_MAC: mac + sram * off_grid(80, 32, "read_pj") * 8 / 32 + features[0] * 16 / 32,
        Action.SCORE_COMPARE: 32 * (p["compare_bit"] + p["register_bit"]),
        Action.OPERAND_WRITE: sram * lop45(64, 64, "write_pj"),
        Action.OPERAND_READ: sram * lop45(64, 64, "read_pj") / 64,
        Action.AND_POPCOUNT: p["and_count_bit"],
        Action.ATTENTION_ADD: add28,
        Action.DRAM_READ: 8 * dram["read"][band],
        Action.DRAM_WRITE: 8 * dram["write"][band],
        Action.LEAK_MULTIPLY: 24 * 8 * p["multiply_bit2"],
        Action.RESET_SUBTRACT: 24 * p["add_bit"],
        Action.REQUANTISE: add28 + 28 * 15 * p["multiply_bit2"] + (28 + 15) * (p["add_bit"] + p["compare_bit"]),
        Action.POOL_MAX: 8 * (p["compare_bit"] + p["and_count_bit"]),
        Action.ATTENTION_MAC: mac,
        Action.POOL_ADD: 8 * p["add_bit"],
    }


def activity(seed: int, layers: tuple[str, ...] = ("a", "b", "c"), images: int = 2) -> Activity:
    """Arbitrary integers in the right shapes."""
    rng = np.random.default_rng(seed)
    many = len(layers)
    return Activity(
        layers=layers,
        cores=CHIP.cores,
        counts=rng.integers(1, 10_000, (many, len(Action))),
        cycles=rng.integers(1, 5_000, (images, many)),
        latency=np.ones(images, np.int64),
        causes=np.zeros((many, len(Cause)), np.int64),
        critical=(Critical("compute", 0),) * many,
        cuts={},
        **{name: np.zeros(many) for name in ("synaptic_events", "spikes", "imbalance", "placed")},
    )


# --- prices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "band"), [(0, "low"), (1, "value"), (2, "high")])
def test_every_price_is_what_the_table_s_numbers_give_by_hand(column, band):
    prices, expected = action_prices(CHIP, TABLE), by_hand(band)
    assert {action.key: prices[action, column] for action in Action} == {
        action.key: near(expected[action]) for action in Action
    }


def test_well_known_prices_in_picojoules():
    prices = action_prices(CHIP, TABLE)[:, 1]
    assert prices[Action.ADD] == near(0.0875)  # 28 bits at 0.1 pJ per 32
    assert prices[Action.MULTIPLY_ADD] == near(0.2 + 0.0875)  # an 8-bit multiplication
    assert prices[Action.POINTER_READ] == near(5.39858)  # 16 KiB x 32 bit, 45 nm, lop
    assert prices[Action.DRAM_READ] == near(80.0)  # LPDDR4 at 10 pJ per bit
    assert prices[Action.FLIT_HOP] == near(26 * (0.0404 + 0.1))


def test_every_action_has_a_positive_price_a_band_and_a_component():
    for name in ("edge", "mesh16", "dense"):
        low, nominal, high = action_prices(load_chip(name), TABLE).T
        assert (low > 0).all()
        assert (low <= nominal).all()
        assert (nominal <= high).all()
    assert set(COMPONENT_OF) == set(Action)
    assert set(COMPONENT_OF.values()) == set(COMPONENTS) - set(STANDING)


def test_a_small_run_costs_what_one_adds_up_by_hand():
    counts = np.zeros((2, len(Action)), np.int64)
    counts[0, [Action.ADD, Action.DRAM_READ, Action.POINTER_READ]] = 1000, 64, 10
    counts[1, Action.ADD] = 200
    run = replace(activity(0, ("first", "second")), counts=counts, cycles=np.array([[30, 10], [50, 10]]))
    energy = price(run, CHIP, TABLE)
    stands = {name: near(100 * pj) for name, pj in standing_by_hand("value").items()}  # 100 cycles
    cycle = sum(standing_by_hand("value").values())
    parts = energy.by_component()
    spent = {"lanes": near(1200 * 0.0875), "dram": near(64 * 80.0), "weight_memory": near(53.9858)}
    assert parts == dict.fromkeys(COMPONENTS, 0.0) | spent | stands
    assert energy.by_layer() == {
        "first": near(87.5 + 5120 + 53.9858 + 80 * cycle),
        "second": near(17.5 + 20 * cycle),
    }
    assert energy.moving[1] == near(87.5 + 5120 + 53.9858 + 17.5)
    assert energy.static[1] == near(100 * cycle)
    assert energy.total[1] == near(energy.moving[1] + energy.static[1])


def leakage_by_hand() -> float:
    """mW of all macros of mesh16: 16 cores x (4 weight banks, pointers, potentials, spikes), token unit, 2 units."""
    core = 4 * off_grid(24, 64, "leak_mw") + lop45(16, 32, "leak_mw") + potentials("leak_mw") + lop45(16, 64, "leak_mw")
    return 16 * core + lop45(64, 32, "leak_mw") + off_grid(80, 32, "leak_mw") + 2 * lop45(64, 64, "leak_mw")


def logic_by_hand() -> dict[str, int]:
    """Bits of logic of mesh16: 16 cores, 20 routers (4 x 4 and a service column), a token unit, 2 attention units."""
    core_clocked = 4 * 64 + 32 + 26 + 8 * (8 + 28) + 8 * 24 + 32 * 1 * 4
    clocked = 16 * core_clocked + 20 * 5 * 26 + (8 * (8 + 28) + 8) + 2 * (2 * 64 + 8 * 28)
    stored = 16 * (1024 * 28 + 16 * 26) + 20 * 5 * 4 * 26 + 16 * 26 + 2 * (4096 * 28 + 16 * 26)
    adders = 16 * (8 * 28 + 3 * 8 * 24) + 8 * 28 + 8 * 32 + 2 * (64 + 8 * 28)
    multipliers = 16 * 8 * 64 + 8 * 64
    return {"clocked": clocked, "register_bit": clocked + stored, "add_bit": adders, "multiply_bit2": multipliers}


def standing_by_hand(band: str) -> dict[str, float]:
    """pJ that mesh16 spends in a cycle of 2 ns whatever it does: mW x ns."""
    bits = logic_by_hand()
    times = {"low": 0.3, "value": 1.0, "high": 3.0}[band]
    cell = times * lop45(16, 64, "leak_mw") * 1e6 / (16 * 8192)  # nW
    leaking = sum(entry[band] * bits[key] for key, entry in RAW["leakage"].items()) * cell
    return {
        "leakage": 2.0 * leakage_by_hand() * times,
        "logic_leakage": 2.0 * leaking / 1e6,
        "clock": bits["clocked"] * RAW["primitives"]["clock_bit"][band],
        "dram_background": 2.0 * 12.8 * RAW["dram"]["LPDDR4"]["background"][band],
    }


@pytest.mark.parametrize(("column", "band"), [(0, "low"), (1, "value"), (2, "high")])
def test_what_stands_costs_per_cycle_what_one_adds_up_by_hand(column, band):
    cycle = dict(zip(STANDING, find_prices(CHIP, TABLE).cycle[:, column].tolist(), strict=True))
    assert cycle == {name: near(pj) for name, pj in standing_by_hand(band).items()}


def test_leakage_is_power_times_time():
    power = find_prices(CHIP, TABLE).cycle[STANDING.index("leakage")] / CHIP.clock_period_ns
    assert power.tolist() == [near(0.3 * leakage_by_hand()), near(leakage_by_hand()), near(3.0 * leakage_by_hand())]
    run, first = activity(1), STANDING.index("leakage")
    leaked = price(run, CHIP, TABLE).standing.sum(axis=0)[first]
    assert leaked.tolist() == [near(value) for value in power * run.cycles.sum() * 2.0]
    slow = price(run, CHIP.replace({"clock_mhz": 250.0}), TABLE).standing.sum(axis=0)
    assert slow[first].tolist() == [near(value) for value in power * run.cycles.sum() * 4.0]
    clock = STANDING.index("clock")  # by the cycle, however long it lasts
    assert slow[clock].tolist() == price(run, CHIP, TABLE).standing.sum(axis=0)[clock].tolist()


# --- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_components_layers_and_total_add_up(seed):
    energy = price(activity(seed), CHIP, TABLE)
    total = near(float(energy.total[1]))
    assert sum(energy.by_component().values()) == total
    assert sum(energy.by_layer().values()) == total
    both = energy.by_layer_and_component()
    assert {name: sum(row.values()) for name, row in both.items()} == {n: near(v) for n, v in energy.by_layer().items()}
    columns = {part: sum(row[part] for row in both.values()) for part in COMPONENTS}
    assert columns == {part: near(value) for part, value in energy.by_component().items()}


@pytest.mark.parametrize("seed", range(5))
def test_two_runs_together_cost_the_sum(seed):
    one, other = activity(seed), activity(seed + 100)
    both = replace(one, counts=one.counts + other.counts, cycles=np.concatenate([one.cycles, other.cycles]))
    parts = price(one, CHIP, TABLE).total + price(other, CHIP, TABLE).total
    assert price(both, CHIP, TABLE).total.tolist() == [near(value) for value in parts]


# primitive: actions made of nothing else | actions made of it and of others
USES = {
    "add_bit": "add attention_add reset_subtract pool_add | multiply_add neuron_update feature_update selector_mac "
    "requantise attention_mac",
    "multiply_bit2": "leak_multiply | multiply_add selector_mac requantise attention_mac",
    "compare_bit": "| neuron_update score_compare requantise pool_max",
    "register_bit": "accumulator_update scan | score_compare buffer_write buffer_read fifo_write fifo_read",
    "counter_bit": "| buffer_write buffer_read fifo_write fifo_read",
    "and_count_bit": "pool_or and_popcount | pool_max",
    "link_bit_mm": "| flit_hop",
    "router_bit": "| flit_hop",
    "clock_bit": "|",
}


def times(key: str, factor: float):
    """cmos45 with one primitive multiplied."""
    entries = dict(TABLE.primitives)
    numbers = {number: getattr(entries[key], number) * factor for number in ("low", "value", "high")}
    entries[key] = entries[key].model_copy(update=numbers)
    return TABLE.model_copy(update={"primitives": Primitives(**entries)})


@pytest.mark.parametrize("name", USES)
def test_doubling_a_primitive_doubles_its_share_of_the_actions_made_of_it_and_no_others(name):
    assert set(USES) == set(Primitives.model_fields)
    pure, mixed = (set(actions.split()) for actions in USES[name].split("|"))
    assert pure | mixed <= {action.key for action in Action}
    none, once, twice = (action_prices(CHIP, times(name, factor)) for factor in (0.0, 1.0, 2.0))
    assert np.array_equal(once, action_prices(CHIP, TABLE))
    for action in Action:
        if action.key in pure:
            assert twice[action].tolist() == (2 * once[action]).tolist(), action
        elif action.key in mixed:
            assert (once[action] > none[action]).all(), action
            assert (twice[action] > once[action]).all(), action
            assert (twice[action] - once[action]).tolist() == pytest.approx((once - none)[action].tolist(), rel=1e-9)
        else:
            assert np.array_equal(twice[action], once[action]), action


def test_pricing_again_leaves_the_counts_alone_and_gives_the_same():
    run = activity(3)
    counts, cycles = run.counts.copy(), run.cycles.copy()
    first = price(run, CHIP, TABLE)
    other = price(run, CHIP, times("add_bit", 3.0))
    assert np.array_equal(run.counts, counts)
    assert np.array_equal(run.cycles, cycles)
    assert other.total[1] > first.total[1]
    assert np.array_equal(price(run, CHIP, TABLE).components, first.components)


# --- what does not belong together, and bad tables ----------------------------------------------------------------


def test_a_table_of_another_node_is_refused():
    with pytest.raises(UserError, match=r"45 nm.*'mesh16'.*22 nm"):
        price(activity(0), CHIP.replace({"technology.node_nm": 22}), TABLE)


def test_a_memory_that_the_table_does_not_know_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"dram\.type = 'LPDDR5'.*'LPDDR4'"):
        price(activity(0), CHIP.replace({"dram.type": "LPDDR5"}), TABLE)


def test_shipped_tables_are_known_by_name_and_unknown_ones_are_refused_with_the_nearest():
    assert "cmos45" in energy_names()
    with pytest.raises(UserError, match=r"'cmos445'.*'cmos45'"):
        load_energy_table("cmos445")


def test_the_hash_of_a_table_is_that_of_its_text(tmp_path):
    path = tmp_path / "copy.toml"
    path.write_text(TEXT, encoding="utf-8")
    found = load_energy_table(path)
    assert found.model_copy(update={"file": ""}) == TABLE
    assert (found.label, TABLE.label) == (f"'cmos45' ({path})", "'cmos45'")
    path.write_text(TEXT + "\n# later\n", encoding="utf-8")
    assert load_energy_table(path).sha256 != TABLE.sha256


LOW = "value = 0.003125\nlow = 0.003\nhigh = 0.0075\n"
SOURCE = f'source = "{RAW["primitives"]["router_bit"]["source"]}"\n'
UNSCALED = f'scaled_from = "{RAW["primitives"]["router_bit"]["scaled_from"]}"\n'
BAD_TABLES = {
    "a missing and an unknown primitive": (
        [("[primitives.add_bit]", "[primitives.ad_bit]")],
        ["primitives.add_bit: missing", "primitives.ad_bit: unknown key; did you mean 'primitives.add_bit'"],
    ),
    "low above the value": (
        [(LOW, LOW.replace("low = 0.003\n", "low = 0.0032\n"))],
        ["primitives.add_bit: needs low <= value <= high, has 0.0032, 0.003125, 0.0075"],
    ),
    "high below the value": (
        [("value = 3.92\nlow = 3.92\nhigh = 6.25", "value = 3.92\nlow = 3.92\nhigh = 3.0")],
        ["dram.HBM2.read: needs low <="],
    ),
    "a negative price": ([(LOW, LOW.replace("low = 0.003\n", "low = -0.003\n"))], ["primitives.add_bit.low"]),
    "an infinite price": ([("high = 6.25", "high = inf")], ["dram.HBM2.read.high"]),
    "no source": ([(SOURCE, "")], ["primitives.router_bit.source: missing"]),
    "an empty source": ([(SOURCE, 'source = ""\n')], ["primitives.router_bit.source"]),
    "an unknown key": ([(LOW, LOW + "typical = 0.003\n")], ["primitives.add_bit.typical"]),
    "an unknown kind": ([('kind = "quoted second-hand"\nsource = "Park', 'kind = "seen"\nsource = "Park')], ["kind"]),
    "text for a number": ([("\nnode_nm = 45\ndescription", '\nnode_nm = "45"\ndescription')], ["node_nm"]),
    "an impossible node": ([("\nnode_nm = 45\ndescription", "\nnode_nm = -45\ndescription")], ["node_nm = -45"]),
    "another unit": ([(LOW, LOW), ('unit = "pJ/bit/mm"', 'unit = "fJ/bit/mm"')], ["link_bit_mm.unit = 'fJ/bit/mm'"]),
    "an unknown action": (
        [("[geometry.tile_pitch]", "[actions.flit_hops]")],
        ["geometry: missing", "actions.flit_hops: unknown action; did you mean 'flit_hop'"],
    ),
    "neither node nor device": ([('device = "x32 LPDDR4-3200"\n', "")], ["dram.LPDDR4.background: says neither"]),
    "no voltage": (
        [(LOW + 'unit = "pJ/bit"\nnode_nm = 45\nvoltage_v = 0.9\n', LOW + 'unit = "pJ/bit"\nnode_nm = 45\n')],
        ["primitives.add_bit: says neither voltage_v nor device"],
    ),
    "another node without scaling": (
        [(UNSCALED, "")],
        ["primitives.router_bit.node_nm = 32: the table is of 45 nm", "only with scaled_from"],
    ),
    "not TOML": ([("[geometry.tile_pitch]", "[geometry.tile_pitch")], ["not valid TOML"]),
    "faults everywhere at once": (
        [
            (SOURCE, ""),
            (UNSCALED, ""),
            (LOW, LOW.replace("low = 0.003\n", "low = -0.003\n") + "typical = 0.003\n"),
            ("high = 6.25", "high = 1.0"),
            ("[primitives.clock_bit]", "[primitives.clok_bit]"),
        ],
        [
            "primitives.router_bit.source: missing",
            "primitives.router_bit.node_nm = 32",
            "primitives.add_bit.low",
            "primitives.add_bit.typical",
            "dram.HBM2.read: needs low",
            "primitives.clock_bit: missing",
            "primitives.clok_bit: unknown key; did you mean 'primitives.clock_bit'",
        ],
    ),
}


@pytest.mark.parametrize(("edits", "fragments"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_energy_table_is_refused_in_one_message_with_all_its_faults(tmp_path, edits, fragments):
    text = TEXT
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_energy_table(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert [fragment for fragment in fragments if fragment not in message] == []
