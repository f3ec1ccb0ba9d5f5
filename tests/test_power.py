"""Peak power by hand, no run above it, and the efficiencies of a run by their formulas."""

from collections import Counter

import numpy as np
import pytest
from cases import make_case
from law_runs import ran, transformer
from sparsespike.analysis.views import area_table, power_line
from sparsespike.simulator.activity import Action
from sparsespike.simulator.energy import STANDING, action_prices, find_prices, load_energy_table
from sparsespike.simulator.hardware import chip_names, load_chip
from sparsespike.simulator.power import Run, efficiency, peak_power_w, ports
from sparsespike.simulator.report import bound_report, simulate

near = pytest.approx
SEEDS = 60

# What a rule allows more of in a cycle than the port gives (power.py says so).
UNBOUNDED = (Action.POINTER_READ, Action.REQUANTISE)


def most_per_cycle(chip) -> Counter[Action]:
    """How often an action may happen in a cycle, over all ports."""
    rates: Counter[Action] = Counter()
    for port in ports(chip):
        for action in {action for choice in port.choices for action in choice}:
            rates[action] += port.rate
    return rates


@pytest.mark.parametrize("name", chip_names())
def test_every_action_has_a_port(name: str):
    rates = most_per_cycle(load_chip(name))
    assert set(rates) == set(Action)
    assert min(rates.values()) > 0


def test_no_run_does_more_of_anything_than_its_ports_allow():
    """Random networks and chips; counted per run, so that a rate that is too small by one lane shows."""
    seen: Counter[Action] = Counter()
    tightest: dict[Action, float] = {}
    for seed in range(SEEDS):
        chip, activity = make_case(seed).chip, ran(seed)
        rates = most_per_cycle(chip)
        for action in Action:
            if action in UNBOUNDED:
                continue
            count, most = activity.count(action), activity.total_cycles * rates[action]
            assert count <= most, (seed, action)
            seen[action] += count > 0
            tightest[action] = max(tightest.get(action, 0.0), count / max(1, most))
    assert min(seen[action] for action in Action if action not in UNBOUNDED) > 0
    assert tightest[Action.ATTENTION_ADD] + tightest[Action.AND_POPCOUNT] > 0.05
    assert tightest[Action.WEIGHT_READ] > 0.05


def test_peak_power_of_mesh16_by_hand():
    """The terms of the definition, multiplied out once more; pJ a cycle x 500 MHz."""
    chip, table = load_chip("mesh16"), load_energy_table("cmos45")
    price = dict(zip(Action, action_prices(chip, table)[:, 1], strict=True))
    neuron = max(
        price[Action.NEURON_UPDATE]
        + price[Action.LEAK_MULTIPLY]
        + price[Action.RESET_SUBTRACT]
        + price[Action.POOL_MAX],
        price[Action.REQUANTISE] + price[Action.POOL_MAX],
        price[Action.POOL_OR],
        price[Action.POOL_ADD],
    )
    product = max(price[Action.AND_POPCOUNT], price[Action.ATTENTION_ADD], price[Action.ATTENTION_MAC])
    links = 2 * (4 * 4 + 5 * 3)  # both ways between 5 x 4 routers, of which the last column has no core
    per_cycle = (
        16 * 4 * max(price[Action.WEIGHT_READ], price[Action.WEIGHT_WRITE])
        + 16 * max(price[Action.POINTER_READ], price[Action.POINTER_WRITE])
        + 16 * (price[Action.POTENTIAL_READ] + price[Action.POTENTIAL_WRITE])
        + (16 + 2) * (32 + 8) * 8 * price[Action.SPIKE_READ]
        + (16 * 8 + 2 * 64) * 8 * price[Action.SPIKE_WRITE]
        + 12.8e9 / 500e6 * max(price[Action.DRAM_READ], price[Action.DRAM_WRITE])
        + 16 * (8 + 8) * (max(price[Action.ADD], price[Action.MULTIPLY_ADD]) + price[Action.ACCUMULATOR_UPDATE])
        + 16 * 8 * neuron
        + (16 + 2) * 8 * price[Action.SCAN]
        + links * price[Action.FLIT_HOP]
        + (links + 18) * price[Action.BUFFER_WRITE]
        + (links + 19) * price[Action.BUFFER_READ]
        + 19 * (price[Action.FIFO_WRITE] + price[Action.FIFO_READ])
        + price[Action.FEATURE_UPDATE]
        + 8 * price[Action.SELECTOR_MAC]
        + 8 * price[Action.SCORE_COMPARE]
        + 2 * price[Action.OPERAND_WRITE]
        + 2 * 2 * 64 * 8 * price[Action.OPERAND_READ]
        + 2 * 64 * product
        + (2 * 64 + 2 * 8) * price[Action.ACCUMULATOR_UPDATE]
        + 2 * 8 * neuron
    )
    standing = find_prices(chip, table).cycle[:, 1].sum()  # by hand in test_energy.py
    low, nominal, high = peak_power_w(chip, table)
    assert nominal == near((per_cycle + standing) * 500e6 * 1e-12)
    assert low < nominal < high


@pytest.mark.parametrize("key", ["core.lanes", "core.weight_banks", "core.sweep_width", "attention.width", "mesh.rows"])
def test_peak_power_grows_with_what_may_be_busy(key: str):
    chip, table = load_chip("mesh16"), load_energy_table("cmos45")
    part, leaf = key.split(".")
    larger = chip.replace({key: 2 * getattr(getattr(chip, part), leaf)})
    assert (peak_power_w(larger, table) > peak_power_w(chip, table)).all()


def test_dynamic_peak_power_goes_with_the_clock_and_dram_and_leakage_do_not():
    chip, table = load_chip("mesh16"), load_energy_table("cmos45")
    slow, fast = (peak_power_w(chip.replace({"clock_mhz": clock}), table) for clock in (100.0, 200.0))
    prices = action_prices(chip, table)
    dram = 12.8e9 * np.maximum(prices[Action.DRAM_READ], prices[Action.DRAM_WRITE]) * 1e-12
    cycle = dict(zip(STANDING, find_prices(chip, table).cycle, strict=True))
    waiting = sum(
        cycle[name] for name in ("leakage", "logic_leakage", "dram_background")
    )  # per cycle of mesh16's clock
    still = dram + waiting * chip.clock_mhz * 1e-6
    assert fast - still == near(2 * (slow - still))


def test_efficiencies_by_hand():
    """Two images, 3 uJ together, 1 ms in all, 0.4 ms each: 3 mW; 1.5 uJ x 0.4 ms; 3e6 pJ / 2e6 events."""
    run = Run(np.array([2e6, 3e6, 6e6]), 1e-3, 0.4e-3, 2, 2_000_000, False)
    found = efficiency(run, np.array([0.1, 0.2, 0.4]))
    assert found["power_w"] == near(
        {"average": 3e-3, "average_low": 2e-3, "average_high": 6e-3, "peak": 0.2, "peak_low": 0.1, "peak_high": 0.4}
    )
    assert found["edp_js"] == near(1.5e-6 * 0.4e-3)
    assert found["pj_per_synaptic_event"] == near(1.5)
    assert found["tops_per_w"] == near(2e6 / 3e-6 / 1e12)


def test_bounds_have_no_average_power_and_silent_runs_no_efficiency():
    found = efficiency(Run(np.array([2e6, 3e6, 6e6]), 1e-3, 0.4e-3, 2, 0, True), np.array([0.1, 0.2, 0.4]))
    assert found["power_w"]["average"] is found["power_w"]["average_high"] is None
    assert found["power_w"]["peak"] == 0.2
    assert found["tops_per_w"] is found["pj_per_synaptic_event"] is None


def test_a_reports_power_and_efficiency_follow_from_its_energy_time_and_events():
    report = simulate(transformer(), load_chip("edge"))
    data = report.to_json()
    energy, time_s = data["energy_pj"], data["cycles"] * report.chip.clock_period_ns * 1e-9
    power = data["power_w"]
    bands = ("total", "low", "high")
    found = [power[key] for key in ("average", "average_low", "average_high")]
    assert found == near([energy[key] * 1e-12 / time_s for key in bands])
    assert power["average"] < power["peak"] == near(peak_power_w(report.chip, report.table)[1])
    assert data["edp_js"] == near(energy["total"] * 1e-12 / data["images"] * data["latency_s"])
    assert data["pj_per_synaptic_event"] == near(energy["total"] / data["synaptic_events"])
    assert data["tops_per_w"] == near(1 / data["pj_per_synaptic_event"])
    line = power_line(data)
    assert "on average" in line
    assert f"{data['pj_per_synaptic_event']:.3g} pJ per synaptic operation" in line
    rows = area_table(data["area_by_block_mm2"], data["area_scope"]).rows
    assert {row[0] for row in rows} == set(data["area_by_block_mm2"])
    assert rows[0][0] == max(report.area, key=lambda name: report.area[name].nominal)


def test_lower_bounds_say_no_average_power():
    data = bound_report(transformer(), load_chip("edge")).to_json()
    assert data["power_w"]["average"] is None
    assert "on average" not in power_line(data)
