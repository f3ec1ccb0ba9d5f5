"""One run of the simulator, timed, with its parts and its exact counts."""

import time
from collections.abc import Mapping
from dataclasses import replace

from sparsespike.simulator import engine, layer_time, pipelined
from sparsespike.simulator.activity import Activity
from sparsespike.simulator.hardware import Chip
from sparsespike.simulator.trace import Linear, Trace

from .clock import Sample, stopwatch

LOOP = ((layer_time, "run"), (pipelined, "run"))  # program.run, where it is called
LAYER_WORK = ((engine, "encode_phase"), (engine, "time_layer"), (engine, "count_layer"))


def expect(found: int, expected: int, what: str) -> None:
    """Raise RuntimeError unless both are equal: a figure about other work than it says is none."""
    if found != expected:
        raise RuntimeError(f"{what}: {found:,} instead of {expected:,}")


def simulate(
    trace: Trace, chip: Chip, events: int, *, cuts: Mapping[str, list[int]] | None = None, verify: bool = False
) -> tuple[Sample, Activity]:
    """Run a trace on a chip; RuntimeError unless it has exactly so many synaptic events.

    The trace is a new one for every run: what the simulator finds out about a trace and keeps with it is paid for.
    seconds: all of `engine.run` but placement: encoding, the event loop, counting, and where asked verification.
    placing: placement.  with_placing: both.  loop: the event loop with its arrays.
    linear, linear_loop: the same for linear layers alone, where layers run one after the other.
    """
    new = replace(trace)
    with (
        stopwatch((engine, "place")) as placing,
        stopwatch(*LOOP) as loop,
        stopwatch(*LAYER_WORK, only=lambda placement, plan, *_: isinstance(plan.layer, Linear)) as linear,
        stopwatch(*LOOP, only=lambda placement, parts, *_: isinstance(parts[0].plan.layer, Linear)) as linear_loop,
    ):
        began = time.perf_counter()
        activity = engine.run(new, chip, cuts=cuts, verify=verify)
        whole = time.perf_counter() - began
    expect(int(activity.synaptic_events.sum()), events, "synaptic events")
    if verify and (activity.verified is None or not activity.verified.spikes):
        raise RuntimeError("nothing was verified")
    sample = {
        "seconds": whole - placing.seconds,
        "placing": placing.seconds,
        "with_placing": whole,
        "loop": loop.seconds,
        "linear": linear.seconds,
        "linear_loop": linear_loop.seconds,
    }
    return sample, activity
