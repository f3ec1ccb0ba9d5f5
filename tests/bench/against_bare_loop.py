"""Rows against the bare loop of the same additions: one image of workload `spikformer`, 16 cores, 16 lanes.

One run of the simulator gives both rows: its linear layers, and all of it.
"""

import time
from collections.abc import Callable

from sparsespike.simulator.activity import Action
from sparsespike.simulator.trace import Layer, Linear, Trace

from .bare_work import Amount, count_work, list_work, run_work
from .clock import Contender, Laps, Sample, interleave, middle_of
from .rows import Row, Setting
from .simulator_runs import expect, simulate
from .workloads import load_workload, transformer_chip

Chosen = Callable[[Layer], bool]

FUSED = " fused"

# row -> (its layers, the part of a run of the simulator that they take, the event loop's share of it)
PARTS: dict[str, tuple[Chosen, str, str]] = {
    "spikformer_vs_bare_loop": (lambda layer: isinstance(layer, Linear), "linear", "linear_loop"),
    "spikformer_whole": (lambda layer: True, "seconds", "loop"),
}


def rows_against_bare_loop(setting: Setting) -> list[Row]:
    """Those of the two rows that are wanted."""
    names = setting.picks(*PARTS)
    if not names:
        return []
    trace = load_workload("spikformer", setting.folder / "bench")
    amounts = {layer.name: count_work(trace, layer) for layer in trace.layers}
    contenders: dict[str, Contender] = {"simulator": middle_of(_simulator(trace, amounts))}
    for name in names:
        contenders[name] = middle_of(_bare_loop(trace, PARTS[name][0], fused=False))
        contenders[name + FUSED] = middle_of(_bare_loop(trace, PARTS[name][0], fused=True))
    laps = interleave(contenders, setting.rounds, setting.step)
    return [_row(name, trace, amounts, laps) for name in names]


def _simulator(trace: Trace, amounts: dict[str, Amount]) -> Contender:
    chip = transformer_chip("spikformer")
    adding = (Action.ADD, Action.MULTIPLY_ADD, Action.ATTENTION_ADD)

    def run() -> Sample:
        sample, activity = simulate(trace, chip, sum(amount.events for amount in amounts.values()))
        for layer, events, counts in zip(activity.layers, activity.synaptic_events, activity.counts, strict=True):
            expect(int(events), amounts[layer].events, f"synaptic events of {layer!r}")
            expect(int(counts[list(adding)].sum()), amounts[layer].additions, f"additions of {layer!r}")
        return sample

    return run


def _bare_loop(trace: Trace, chosen: Chosen, *, fused: bool) -> Contender:
    work = [one for one in list_work(trace) if chosen(one.layer)]

    def run() -> Sample:
        began = time.perf_counter()
        run_work(work, fused)
        return {"seconds": time.perf_counter() - began}

    return run


def _row(name: str, trace: Trace, amounts: dict[str, Amount], laps: dict[str, Laps]) -> Row:
    chosen, part, loop = PARTS[name]
    ours, bare = laps["simulator"], laps[name]
    events, additions = (
        sum(amounts[layer.name][at] for layer in trace.layers if chosen(layer)) for at in range(len(Amount._fields))
    )
    return Row(
        name,
        ours.over(bare, part),
        events,
        ours.seconds(part),
        "bare loop",
        bare.seconds(),
        events,
        ours.seconds("placing"),
        ours.seconds(loop),
        ours.first_seconds,
        len(ours.samples),
        more={
            "additions": additions,
            "nanoseconds_per_addition": bare.seconds() / additions * 1e9,
            "ratio_of_event_loop": ours.over(bare, loop),
            "ratio_to_fused_loop": ours.over(laps[name + FUSED], part),
        },
    )
