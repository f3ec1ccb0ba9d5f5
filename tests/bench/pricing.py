"""The row about prices: how long it takes to price one run in one technology, by layer and component."""

import time

from sparsespike.simulator.energy import Pricer, load_energy_table
from sparsespike.simulator.engine import run
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.trace import load_trace

from .clock import Sample, interleave, middle_of
from .rows import Row, Setting
from .workloads import digits_file

CALLS = 1000
TABLES = ("cmos45", "formula45")  # in turn, so that nothing of the call before helps


def reprice_row(setting: Setting) -> Row:
    """A call of a `Pricer` on the counts of one digits image: an array by layer and component, with bands."""
    chip, trace = load_chip("mesh16"), load_trace(digits_file(setting.folder / "bench")).first(1)
    activity = run(trace, chip)
    pricers = [Pricer(chip, load_energy_table(name)) for name in TABLES]
    counts, cycles, layers = activity.counts, activity.cycles.sum(axis=0), activity.layers
    totals = [float(pricer(counts, cycles, layers).total[1]) for pricer in pricers]

    def price() -> Sample:
        began, found = time.perf_counter(), []
        for call in range(CALLS):
            found.append(pricers[call % 2](counts, cycles, layers))
        seconds = time.perf_counter() - began
        for energy, total in zip(found[-2:], totals, strict=True):
            if abs(energy.components[:, :, 1].sum() - total) > 1e-9 * total:
                raise RuntimeError("the layers' components do not add up to the total")
        began = time.perf_counter()
        for energy in found:
            energy.by_layer_and_component()
        return {"seconds": seconds / CALLS, "named": (time.perf_counter() - began) / CALLS}

    laps = interleave({"price": middle_of(price)}, setting.rounds, setting.step)["price"]
    return Row(
        "reprice",
        None,
        int(activity.synaptic_events.sum()),
        laps.seconds(),
        first_seconds=laps.first_seconds,
        rounds=setting.rounds,
        note=f"{1 / laps.seconds():,.0f} runs priced per second, one at a time; {laps.seconds('named') * 1e6:.0f} us "
        "more each for the nominal numbers as dicts",
    )
