"""Where a run of the simulator and one of the oracle differ, in words."""

from itertools import zip_longest
from math import isclose

import numpy as np
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.bounds import bound
from sparsespike.simulator.engine import run

KINDS = {
    "sweep": "neuron_sweep",
    "port": "network",
    "token unit": "token_unit",
    "attention unit": "attention_unit",
}  # the oracle's words


def slow_critical(slow):
    """(resource, cycles) of each layer in the oracle's result."""
    found = []
    for name, busy in zip(slow.critical, slow.busy, strict=True):
        kind = name if name in busy else "row service"
        found.append((KINDS.get(name, name).lower(), busy[kind]))
    return found


def differences(activity, slow):
    """One line per layer's cycles, cause, count, events or imbalance that differ; empty where all is equal."""
    found = []
    if activity.latency.tolist() != slow.latency:
        found.append(f"latency {activity.latency.tolist()}, the oracle {slow.latency}")
    if [(critical.resource, critical.cycles) for critical in activity.critical] != slow_critical(slow):
        found.append(f"critical resources {activity.critical}, the oracle {slow_critical(slow)}")
    for index, name in enumerate(slow.layers):
        for image, cycles in enumerate(slow.cycles):
            if activity.cycles[image, index] != cycles[index]:
                fast = int(activity.cycles[image, index])
                found.append(f"layer {index} {name!r}, image {image}: {fast} cycles, the oracle {cycles[index]}")
        for kind, fast, right in ((Cause, activity.causes, slow.causes), (Action, activity.counts, slow.counts)):
            for member in kind:
                have, want = int(fast[index, member]), right[index][member.name]
                if have != want:
                    found.append(f"layer {index} {name!r}: {member.name} {have}, the oracle {want}")
        for what in ("synaptic_events", "spikes"):
            have, want = int(getattr(activity, what)[index]), getattr(slow, what)[index]
            if have != want:
                found.append(f"layer {index} {name!r}: {have} {what}, the oracle {want}")
        if not isclose(activity.imbalance[index], slow.imbalance[index], rel_tol=1e-12):
            have, want = activity.imbalance[index], slow.imbalance[index]
            found.append(f"layer {index} {name!r}: imbalance {have}, the oracle {want}")
    return found


def log_differences(logs, slow):
    """The first line in which the event log of each phase differs; logs: (image, layer) -> lines of the simulator."""
    found = []
    for (image, layer), lines in logs.items():
        expected = slow.events[image][layer]
        if lines != expected:
            pairs = zip_longest(lines, expected)
            line = next(pair for pair in pairs if pair[0] != pair[1])
            found.append(f"image {image}, layer {layer}: log line {line[0]}, the oracle {line[1]}")
    return found


def bounds_of(trace, chip):
    """What `excesses` compares with a run: bounds stepwise and not, and the run without stepping."""
    return bound(trace, chip), bound(trace, chip, stepwise=False), run(trace, chip, bound=True)


def excesses(bounds, fast, known, activity):
    """Where lower bounds exceed a run, or what is exact without a clock differs.

    bounds, fast: stepwise and not.  known: the run without stepping.
    """
    ends = np.cumsum(activity.cycles).reshape(activity.cycles.shape)
    pairs = {
        "cycles of a layer": (bounds.alone, activity.cycles),
        "end of a layer": (bounds.ends, ends),
        "latency": (bounds.latency, activity.latency),
        "cycles of a layer, not stepwise": (fast.alone, bounds.alone),
        "end of a layer, not stepwise": (fast.ends, bounds.ends),
        "latency, not stepwise": (fast.latency, bounds.latency),
        "total cycles": (np.array(known.total_cycles), np.array(activity.total_cycles)),
        "causes": (known.causes, activity.causes),
    }
    found = []
    for what, (least, true) in pairs.items():
        for place in map(tuple, np.argwhere(least > true)[:1]):
            found.append(f"{what} {place}: bound {least[place]}, {true[place]} in truth")
    for what in ("counts", "synaptic_events", "spikes", "imbalance", "placed", "critical", "cuts"):
        if not np.array_equal(getattr(known, what), getattr(activity, what)):
            found.append(f"{what} {getattr(known, what)} without stepping, {getattr(activity, what)} in truth")
    return found
