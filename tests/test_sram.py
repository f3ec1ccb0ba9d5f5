"""SRAM: the CACTI table point by point, what lies between its points, and memories too slow for their clock."""

from math import log

import pytest
from cacti import COLUMNS, ROWS, between, lop45, near, off_grid
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.sram import check_access_times, macro_costs, sram_cost

CHIP = load_chip("mesh16")


def test_every_point_of_the_cacti_table_comes_back_as_it_stands():
    assert len(ROWS) > 500
    for (node, device, size, width), row in ROWS.items():
        assert vars(sram_cost(float(size), width, node, device)) == near(row), (node, device, size, width)


@pytest.mark.parametrize(
    ("size", "width", "lower", "upper"), [(48.0, 64, 32, 64), (3.0, 128, 2, 4), (1500.0, 32, 1024, 2048)]
)
def test_a_size_off_the_grid_lies_between_its_neighbours(size, width, lower, upper):
    for name, value in vars(sram_cost(size, width, 45, "lop")).items():
        low, high = lop45(lower, width, name), lop45(upper, width, name)
        assert min(low, high) < value < max(low, high), name
        assert value == near(between(low, high, log(size / lower, 2))), name


def test_nothing_is_extrapolated_above_the_table():
    assert sram_cost(2048.0, 64, 45, "lop").read_pj == near(lop45(2048, 64, "read_pj"))
    with pytest.raises(UserError, match=r"2049 KiB.*2048 KiB"):
        sram_cost(2049.0, 64, 45, "lop")
    with pytest.raises(UserError, match=r"no SRAM table for 28 nm lop.*45 nm lop"):
        sram_cost(16.0, 64, 28, "lop")


@pytest.mark.parametrize("width", [1, 8, 32, 64, 200])
def test_below_1_kib_and_32_bits_the_smallest_macro_is_paid_for(width):
    assert sram_cost(0.01, width, 45, "lop") == sram_cost(1.0, max(32, width), 45, "lop")


def test_a_word_of_512_bits_is_two_macros_of_256_bits_and_half_the_size():
    wide, half = vars(sram_cost(64.0, 512, 45, "lop")), ROWS[45, "lop", 32, 256]
    both = {name: value if name == "access_ns" else 2 * value for name, value in half.items()}
    assert wide == near(both)


def test_macros_of_a_chip_are_priced_at_the_size_of_one_of_them():
    costs = macro_costs(CHIP)
    counts = {"weights": 64, "pointers": 16, "potentials": 16, "spikes": 16, "features": 1, "selector weights": 1}
    assert {name: macro.count for name, (macro, _) in costs.items()} == counts | {"operands": 2}
    assert vars(costs["weights"][1]) == {name: near(off_grid(24, 64, name)) for name in COLUMNS}
    assert vars(costs["spikes"][1]) == near(ROWS[45, "lop", 16, 64])


def test_a_memory_that_is_too_slow_for_the_clock_is_refused_with_its_key_and_both_times():
    check_access_times(CHIP)
    with pytest.raises(UserError) as caught:
        check_access_times(CHIP.replace({"clock_mhz": 3000.0}))
    message = str(caught.value)
    # 24 KiB answer in 0.857 ns, 64 KiB x 64 bit in 1.097 ns; a period at 3 GHz is 0.333 ns
    for fragment in (
        "core.weight_kib = 96:",
        "0.86 ns",
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
