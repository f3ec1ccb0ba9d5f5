"""Where a run of the simulator and one of the oracle differ, in words."""

from math import isclose

from sparsespike.simulator.activity import Action, Cause


def differences(activity, slow):
    """One line per layer's cycles, cause, count, events or imbalance that differ; empty where all is equal."""
    found = []
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
