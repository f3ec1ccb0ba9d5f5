"""Where a run of the simulator and one of the oracle differ, in words."""

from itertools import zip_longest
from math import isclose

from sparsespike.simulator.activity import Action, Cause

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
