"""SRAM: CACTI's points one by one, what lies between them against macros held out, and what is refused or marked."""

from math import log

import numpy as np
import pytest
from cacti import COLUMNS, HELD_OUT, ROWS, between, lop45, near, off_grid
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.report import simulate
from sparsespike.simulator.sram import check_access_times, extrapolated_macros, macro_costs, sram_cost

CHIP = load_chip("mesh16", {"technology.sram_device": "lop"})  # the macros that cacti.lop45 reads
TECHNOLOGIES = sorted({row[:2] for row in ROWS})
every_technology = pytest.mark.parametrize(("node", "device"), TECHNOLOGIES)


def figures(cost):
    """What a macro costs, by name."""
    return {name: getattr(cost, name) for name in COLUMNS}


def curves(node, device):
    """Word width -> the sizes that the table holds at it, ascending."""
    sizes = {}
    for row in sorted(row for row in ROWS if row[:2] == (node, device)):
        sizes.setdefault(row[3], []).append(row[2])
    return sizes


def errors(node, device, columns, between_widths=False):
    """|interpolated / CACTI - 1| at the held-out macros whose widths are (not) the table's, [macros, columns]."""
    widths = curves(node, device)
    rows = {row: cost for row, cost in HELD_OUT.items() if row[:2] == (node, device)}
    return np.array(
        [
            [abs(getattr(sram_cost(size, width, node, device), name) / cost[name] - 1) for name in columns]
            for (_, _, size, width), cost in rows.items()
            if (width not in widths) == between_widths
        ]
    )


def test_every_point_of_the_cacti_table_comes_back_as_it_stands():
    assert len(ROWS) > 6000
    for (node, device, size, width), row in ROWS.items():
        cost = sram_cost(size, width, node, device)
        assert figures(cost) == near(row), (node, device, size, width)
        assert not cost.extrapolated


def test_the_table_spans_every_octave_at_every_width_of_every_technology():
    assert len(TECHNOLOGIES) == 12
    for node, device in TECHNOLOGIES:
        for width in (32, 64, 128, 192, 256):
            assert {float(1 << octave) for octave in range(12)} <= set(curves(node, device)[width])


def test_no_held_out_macro_is_in_the_table():
    assert len(HELD_OUT) > 1000
    assert not HELD_OUT.keys() & ROWS.keys()
    for node, device in TECHNOLOGIES:  # one size drawn in each octave, but for those that the table happens to hold
        for width in curves(node, device):
            held = [size for kept, kind, size, bits in HELD_OUT if (kept, kind, bits) == (node, device, width)]
            assert len({int(log(size, 2)) for size in held}) >= 8


@every_technology
def test_macros_held_out_are_met_at_the_widths_of_the_table(node, device):
    """19 of 20 within 10 % of CACTI's read energy and 15 % of its area, and half of them within 1 %."""
    read, area = errors(node, device, ("read_pj", "area_mm2")).T
    assert len(read) > 50
    assert np.percentile(read, 95) <= 0.10
    assert np.percentile(area, 95) <= 0.15
    assert max(np.median(read), np.median(area)) <= 0.01


@every_technology
def test_macros_held_out_are_met_at_widths_between_those_of_the_table(node, device):
    """Organisations change along the width too, and no curve says where: a tail misses the bars."""
    read, area = errors(node, device, ("read_pj", "area_mm2"), between_widths=True).T
    assert len(read) == 30
    assert max(np.median(read), np.median(area)) <= 0.02
    assert max(np.percentile(read, 95), np.percentile(area, 95)) <= 0.20


@pytest.mark.parametrize(("size", "width"), [(49.0, 64), (3.01, 128), (1501.0, 32), (77.7, 192)])
def test_a_size_off_the_grid_lies_between_its_neighbours(size, width):
    sizes = curves(45, "lop")[width]
    lower, upper = max(s for s in sizes if s < size), min(s for s in sizes if s > size)
    for name, value in figures(sram_cost(size, width, 45, "lop")).items():
        low, high = lop45(lower, width, name), lop45(upper, width, name)
        assert min(low, high) < value < max(low, high), name
        assert value == near(between(low, high, log(size / lower) / log(upper / lower))), name


@every_technology
def test_between_two_points_nothing_overshoots_them_and_nothing_turns(node, device):
    """Five sizes in every gap: each figure goes from one end to the other without turning, whatever jump is there."""
    rng = np.random.default_rng(1)
    for width, sizes in curves(node, device).items():
        for gap in rng.choice(len(sizes) - 1, 12, replace=False):
            lower, upper = sizes[gap], sizes[gap + 1]
            costs = [figures(sram_cost(size, width, node, device)) for size in np.geomspace(lower, upper, 7)[1:-1]]
            for name in COLUMNS:
                ends = ROWS[node, device, lower, width][name], ROWS[node, device, upper, width][name]
                steps = np.diff([ends[0], *(cost[name] for cost in costs), ends[1]])
                assert np.all(steps * np.sign(ends[1] - ends[0]) >= 0), (width, lower, name)


@pytest.mark.parametrize(("width", "narrow", "wide"), [(80, 64, 96), (160, 128, 192), (40, 32, 48)])
def test_a_width_between_two_is_taken_at_as_many_words_of_both(width, narrow, wide):
    share = log(width / narrow) / log(wide / narrow)
    words = 1000  # no macro of any of the three widths is in the table
    low, high = (off_grid(words * bits / 8192, bits, "read_pj") for bits in (narrow, wide))
    assert sram_cost(words * width / 8192, width, 45, "lop").read_pj == near(between(low, high, share))


@pytest.mark.parametrize("edge", [1.0, 2048.0])
def test_at_the_ends_of_the_table_a_width_between_two_is_taken_at_equal_size(edge):
    """As many words of 32 and of 48 bits as there are in 1 KiB of 40 bits would be no macro of the table."""
    narrow, wide = (lop45(edge, width, "area_mm2") for width in (32, 48))
    middle = between(narrow, wide, log(40 / 32) / log(48 / 32))
    assert sram_cost(edge, 40, 45, "lop").area_mm2 == near(middle)
    inward = edge * (1 + 1e-9 if edge < 10 else 1 - 1e-9)
    assert sram_cost(inward, 40, 45, "lop").area_mm2 == pytest.approx(middle, rel=1e-7)


def test_nothing_is_extrapolated_above_the_table_unless_asked():
    assert sram_cost(2048.0, 64, 45, "lop").read_pj == near(lop45(2048, 64, "read_pj"))
    with pytest.raises(UserError, match=r"2049 KiB.*2048 KiB.*sram_extrapolate"):
        sram_cost(2049.0, 64, 45, "lop")
    with pytest.raises(UserError, match=r"no SRAM table for 28 nm lop.*45 nm lop"):
        sram_cost(16.0, 64, 28, "lop", extrapolate=True)


def test_an_extrapolated_macro_goes_on_as_the_last_octave_did_and_says_so():
    cost = sram_cost(8192.0, 64, 45, "lop", extrapolate=True)
    assert cost.extrapolated
    for name in COLUMNS:
        last, before = lop45(2048, 64, name), lop45(1024, 64, name)
        assert getattr(cost, name) == near(last * (last / before) ** 2), name
    assert not sram_cost(2048.0, 64, 45, "lop", extrapolate=True).extrapolated
    # 1024 bits are four macros of 1 MiB
    assert not sram_cost(4096.0, 1024, 45, "lop", extrapolate=True).extrapolated


def test_a_chip_beyond_the_table_is_refused_or_asked_for_and_then_marked_in_its_report(trace):
    large = {"core.weight_kib": 16384.0, "core.weight_banks": 4, "clock_mhz": 50.0}
    with pytest.raises(UserError, match=r"core\.weight_kib = 16384: a macro of 4096 KiB.*sram_extrapolate"):
        macro_costs(CHIP.replace(large))
    chip = CHIP.replace(large | {"technology.sram_extrapolate": True})
    assert extrapolated_macros(macro_costs(chip)) == ["weights"]
    assert extrapolated_macros(macro_costs(CHIP)) == []
    assert simulate(trace, chip).to_json()["extrapolated_macros"] == ["weights"]
    assert simulate(trace, CHIP).to_json()["extrapolated_macros"] == []


@pytest.mark.parametrize("width", [1, 8, 32, 64, 200])
def test_below_1_kib_and_32_bits_the_smallest_macro_is_paid_for(width):
    assert sram_cost(0.01, width, 45, "lop") == sram_cost(1.0, max(32, width), 45, "lop")


def test_a_word_of_512_bits_is_two_macros_of_256_bits_and_half_the_size():
    wide, half = figures(sram_cost(64.0, 512, 45, "lop")), ROWS[45, "lop", 32, 256]
    both = {name: value if name == "access_ns" else 2 * value for name, value in half.items()}
    assert wide == near(both)


def test_leakage_is_that_of_subthreshold_and_gates():
    """CACTI prints the two apart; 8 KiB x 64 bit, 45 nm, lop: 0.115913 mW and 0.475348 mW."""
    assert sram_cost(8.0, 64, 45, "lop").leak_mw == near(0.115913 + 0.475348)


def test_macros_of_a_chip_are_priced_at_the_size_of_one_of_them():
    costs = macro_costs(CHIP)
    counts = {"weights": 64, "pointers": 16, "potentials": 16, "spikes": 16, "features": 1, "selector weights": 1}
    assert {name: macro.count for name, (macro, _) in costs.items()} == counts | {"operands": 2}
    assert figures(costs["weights"][1]) == near(ROWS[45, "lop", 24, 64])
    assert figures(costs["spikes"][1]) == near(ROWS[45, "lop", 16, 64])


def test_a_memory_that_is_too_slow_for_the_clock_is_refused_with_its_key_and_both_times():
    check_access_times(CHIP)
    with pytest.raises(UserError) as caught:
        check_access_times(CHIP.replace({"clock_mhz": 3000.0}))
    message = str(caught.value)
    # 24 KiB answer in 0.890 ns, 64 KiB x 64 bit in 1.097 ns; a period at 3 GHz is 0.333 ns
    for fragment in (
        "core.weight_kib = 96:",
        "0.89 ns",
        "attention.operand_kib = 64:",
        "1.10 ns",
        "3000 MHz",
        "0.33 ns",
    ):
        assert fragment in message
    # at 1 GHz the 24 KiB memories are fast enough, those of 64 KiB are not
    with pytest.raises(UserError, match=r"attention\.operand_kib") as caught:
        check_access_times(CHIP.replace({"clock_mhz": 1000.0}))
    assert "core.weight_kib" not in str(caught.value)
