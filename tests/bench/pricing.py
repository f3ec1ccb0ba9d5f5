"""The row about prices: how long it takes to price one run in one technology, by layer and component."""

import time
from collections.abc import Callable, Iterator
from itertools import count

from sparsespike.simulator.energy import EnergyTable, Pricer, load_energy_table
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.report import simulate
from sparsespike.simulator.reprice import SavedRun, reprice, saved_run
from sparsespike.simulator.trace import load_trace

from .clock import Sample, interleave, middle_of
from .rows import Row, Setting
from .workloads import digits_file

CALLS = 1000
TABLES = ("cmos45", "formula45")  # in turn, so that nothing of the call before helps

Parts = dict[str, dict[str, float]]  # layer -> component -> pJ


def reprice_row(setting: Setting) -> Row:
    """One digits image through the public `reprice`, a table a call, and its joules by layer and component as dicts.

    Beside it: the same under tables that nobody has seen before, and a `Pricer`'s call alone, which leaves an array.
    """
    report = simulate(load_trace(digits_file(setting.folder / "bench")).first(1), load_chip("mesh16"))
    run, tables = saved_run(report.to_json()), [load_energy_table(name) for name in TABLES]
    pricers = [Pricer(run.chip, table) for table in tables]
    totals = [float(pricer(run.counts, run.cycles, run.layers).total[1]) for pricer in pricers]
    fresh = _new_tables(tables[0])

    def known() -> Sample:
        return _timed(lambda call: _parts(run, tables[call % 2]), totals)

    def new() -> Sample:
        made = [next(fresh) for _ in range(CALLS)]
        return _timed(lambda call: _parts(run, made[call]), None)

    def call_alone() -> Sample:
        began = time.perf_counter()
        for call in range(CALLS):
            pricers[call % 2](run.counts, run.cycles, run.layers)
        return {"seconds": (time.perf_counter() - began) / CALLS}

    kinds = {"known": middle_of(known), "new": middle_of(new), "call": middle_of(call_alone)}
    laps = interleave(kinds, setting.rounds, setting.step)
    rate = {name: f"{1 / lap.seconds():,.0f}" for name, lap in laps.items()}
    return Row(
        "reprice",
        None,
        report.synaptic_events,
        laps["known"].seconds(),
        first_seconds=laps["known"].first_seconds,
        rounds=setting.rounds,
        note=f"{rate['known']} runs priced per second by `reprice`, one at a time, under tables that it knows; "
        f"{rate['new']} under ever new ones; {rate['call']} calls of a `Pricer` alone",
    )


def _parts(run: SavedRun, table: EnergyTable) -> Parts:
    (priced,) = reprice(run, [table])
    return priced.energy.by_layer_and_component()


def _timed(price: Callable[[int], Parts], totals: list[float] | None) -> Sample:
    """Seconds of a call, the mean of `CALLS`; what they give must add up to the totals, in turn."""
    began = time.perf_counter()
    for call in range(CALLS):
        price(call)
    seconds = time.perf_counter() - began
    for call, total in enumerate(totals or ()):
        parts = price(call)
        if abs(sum(sum(part.values()) for part in parts.values()) - total) > 1e-9 * total:
            raise RuntimeError("the layers' components do not add up to the total")
    return {"seconds": seconds / CALLS}


def _new_tables(table: EnergyTable) -> Iterator[EnergyTable]:
    """Tables that differ from all before in the price of an addition."""
    for number in count(1):
        entry = table.primitives.add_bit
        changed = entry.model_copy(update={"value": entry.value * (1 + 1e-9 * number)})
        yield table.model_copy(update={"primitives": table.primitives.model_copy(update={"add_bit": changed})})
