"""Transistors of the memories of chips that are in part like published ones: what their files say is what is so."""

import pytest
from sparsespike import load_chip, simulate
from sparsespike.simulator.hardware import chip_text
from sparsespike.simulator.sram import cell_leakage_nw, macro_costs
from test_presets import every_preset, trace_of

pytestmark = pytest.mark.torch  # a ticket becomes a trace in the model room


@every_preset
def test_a_transistor_type_that_is_said_to_be_mesh16_s_is(name):
    chip = load_chip(name)
    (source,) = [source for source in chip.sources if "technology.sram_device" in source.keys]
    if "mesh16" in source.source:
        assert chip.technology.sram_device == load_chip("mesh16").technology.sram_device
    words = {"lstp": "low standby power", "lop": "low operating power", "hp": "itrs-hp"}
    said = {device: source.source.find(text) for device, text in words.items() if text in source.source}
    assert min(said, key=said.__getitem__) == chip.technology.sram_device  # the first that is named


@pytest.mark.parametrize(("name", "more"), [("loas-like", 1 / 3), ("vesta-like", 0.3)])
def test_what_the_other_transistor_type_would_change_is_what_the_source_says(name, more):
    """Of an image of noise, which costs what a digit does within a few per cent."""
    lstp, lop = (load_chip(name, {"technology.sram_device": device}) for device in ("lstp", "lop"))
    base, other = (simulate(trace_of("digits"), chip).energy.total[1] for chip in (lstp, lop))
    assert other / base - 1 == pytest.approx(more, rel=0.1)
    leaks = cell_leakage_nw(32, "lop") / cell_leakage_nw(32, "lstp")
    assert f"leaks {leaks:.0f} times as much" in chip_text("loas-like")[0]


def test_what_loihi_s_memories_leak_by_cacti_is_what_its_source_says():
    chip = load_chip("loihi-like")
    core = chip.core
    kib = chip.cores * (core.weight_kib + core.pointer_kib + core.potential_kib + core.spike_kib)
    at_22 = {
        device: macro_costs(chip.replace({"technology.node_nm": 22, "technology.sram_device": device}))
        for device in ("lop", "lstp")
    }
    lop, lstp = (sum(macro.count * cost.leak_mw for macro, cost in at_22[device].values()) for device in at_22)
    said = (
        f"the {kib / 1024:.1f} MiB of its cores would leak {lop / 1000:.0f} W at 22 nm with low-operating-power cells"
    )
    assert f"{said}, and leak {lstp:.0f} mW so" in chip_text("loihi-like")[0]
