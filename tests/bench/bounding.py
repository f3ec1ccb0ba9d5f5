"""Rows about lower bounds: how much faster than the event loop they are, and how near they come to it."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from sparsespike.simulator import engine
from sparsespike.simulator.activity import Activity
from sparsespike.simulator.bounds import Bounds, bound_placed
from sparsespike.simulator.hardware import Chip, load_chip
from sparsespike.simulator.placement import Placement, place
from sparsespike.simulator.trace import Trace, load_trace

from .clock import Contender, Sample, interleave, middle_of
from .rows import Row, Setting
from .simulator_runs import simulate
from .workloads import digits_file, load_workload, transformer_chip

SUMS, STEPWISE = "sums", "stepwise"  # the two forms of a bound (B11): by resources alone, and step by step
FORMS = {SUMS: False, STEPWISE: True}


def bound_rows(setting: Setting) -> list[Row]:
    """Those of the two rows that are wanted."""
    measured = {"bounds_speed": _speed, "bounds_tightness": _tightness}
    return [measured[name](setting) for name in setting.picks(*measured)]


def _speed(setting: Setting) -> Row:
    """The event loop of one image of `spikformer` over its bounds; both without placement."""
    trace, chip = load_workload("spikformer", setting.folder / "bench"), transformer_chip("spikformer")
    events = int(engine.run(trace, chip).synaptic_events.sum())
    placement = place(trace, chip)
    contenders: dict[str, Contender] = {"loop": lambda: simulate(trace, chip, events)[0]}
    contenders |= {form: middle_of(_bounding(placement, stepwise)) for form, stepwise in FORMS.items()}
    laps = interleave(contenders, setting.rounds, setting.step)
    ratios = {form: laps["loop"].over(laps[form], "loop") for form in FORMS}
    return Row(
        "bounds_speed",
        ratios[SUMS],
        events,
        laps[SUMS].seconds(),
        "event loop",
        laps["loop"].seconds("loop"),
        events,
        first_seconds=laps[SUMS].first_seconds,
        rounds=setting.rounds,
        note=f"by resources alone; step by step {ratios[STEPWISE]:.0f} x",
        more={f"ratio_{STEPWISE}": ratios[STEPWISE]},
    )


def _bounding(placement: Placement, stepwise: bool) -> Contender:
    def run() -> Sample:
        began = time.perf_counter()
        bound_placed(placement, stepwise=stepwise)
        return {"seconds": time.perf_counter() - began}

    return run


def _tightness(setting: Setting) -> Row:
    """For each kind of layer the median of bound / simulated cycles over all workloads; the row is the lowest one."""
    kinds: dict[str, dict[str, list[float]]] = {form: {} for form in FORMS}
    events, seconds = 0, 0.0
    for trace, chip in _workloads(setting.folder / "bench"):
        placement, found = place(trace, chip), engine.run(trace, chip)
        events += int(found.synaptic_events.sum())
        for form, stepwise in FORMS.items():
            began = time.perf_counter()
            bounds = bound_placed(placement, stepwise=stepwise)
            seconds += (time.perf_counter() - began) * (form == SUMS)
            _collect(kinds[form], trace, bounds, found)
    medians = {form: {kind: statistics.median(ratios) for kind, ratios in kinds[form].items()} for form in FORMS}
    texts = (f"{kind} {medians[SUMS][kind]:.2f} ({medians[STEPWISE][kind]:.2f})" for kind in sorted(medians[SUMS]))
    return Row(
        "bounds_tightness",
        min(medians[SUMS].values()),
        events,
        seconds,
        note=f"medians by resources alone (step by step): {', '.join(texts)}",
        more={f"{form}_{kind}": median for form in FORMS for kind, median in medians[form].items()},
    )


def _workloads(folder: Path) -> Iterator[tuple[Trace, Chip]]:
    yield load_workload("spikformer", folder), transformer_chip("spikformer")
    for chip in ("edge", "mesh16", "dense"):
        yield load_trace(digits_file(folder)), load_chip(chip)


def _collect(kinds: dict[str, list[float]], trace: Trace, bounds: Bounds, found: Activity) -> None:
    """Bound / simulated cycles of every layer, by its kind; the layer that sees pixels is one of its own."""
    for index, layer in enumerate(trace.layers):
        kind = "input" if trace.streams[layer.source].kind == "real" else type(layer).__name__.lower()
        kinds.setdefault(kind, []).extend((bounds.alone[:, index] / found.cycles[:, index]).tolist())
