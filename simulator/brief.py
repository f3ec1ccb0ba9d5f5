"""What a run comes to at least, in short: lower bounds of cycles and exact counts, for those who look at many chips.

Neighbours in a design space share most of what this needs: the flits of a layer depend on who holds what and on the
order of the loops, not on how wide a core is. What they add up to is kept with the last few phases of the trace.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from .activity import Action, Activity, Cause
from .bounds import bound_placed
from .counts import Counted, count_layer, count_transfers
from .dram import Channel
from .hardware import Chip
from .kernels.totals import Totals
from .phase import Work, encode_phase, list_tokens, list_work, total_flits
from .placement import LayerPlan, Placement, place
from .trace import Trace


def run_brief(trace: Trace, chip: Chip, cuts: Mapping[str, Iterable[int]] | None = None) -> Activity:
    """`engine.run(..., bound=True)` without causes, busy units and weights by core: a `brief` activity.

    Raises UserError for what does not fit (rules P3, P4, L1, L2).
    """
    placement = place(trace, chip, cuts)
    layers, channel = len(placement.plans), Channel(placement, trace.images)
    bounds = bound_placed(placement, channel)
    counts, events = np.zeros((layers, len(Action)), np.int64), np.zeros(layers, np.int64)
    for image in range(trace.images):
        count_transfers(channel, image, counts)
    for index, plan in enumerate(placement.plans):
        counted = _count(placement, plan)
        counts[index] += counted.actions
        events[index] = counted.synaptic_events
    return Activity(
        layers=tuple(plan.layer.name for plan in placement.plans),
        cores=chip.cores,
        counts=counts,
        cycles=bounds.cycles,
        latency=bounds.latency,
        causes=np.zeros((0, len(Cause)), np.int64),
        synaptic_events=events,
        spikes=np.zeros(0, np.int64),
        imbalance=np.zeros(0),
        placed=np.zeros(0),
        critical=(),
        cuts={},
        bound=True,
        brief=True,
    )


def _count(placement: Placement, plan: LayerPlan) -> Counted:
    """W: of all images together, with the tokens that count (T5)."""
    works, totals = _kept(placement, plan)
    return count_layer(placement, plan, range(placement.trace.images), works, totals)


def _kept(placement: Placement, plan: LayerPlan) -> tuple[list[Work], Totals | None]:
    """Steps of a layer on all images, and what their flits add up to; kept with its phase."""
    if plan.phase is None:
        return _list_works(placement, plan), None
    chip, kept = placement.chip, plan.phase.derived
    key = "totals", chip.token_unit.policy, chip.core.order, chip.core.time_batch
    if key not in kept:
        works = _list_works(placement, plan)
        kept[key] = works, total_flits(plan, encode_phase(placement, plan, list(enumerate(works))))
    found: tuple[list[Work], Totals | None] = kept[key]
    return found


def _list_works(placement: Placement, plan: LayerPlan) -> list[Work]:
    trace = placement.trace
    tokens = [list_tokens(placement, plan, image, counted=True) for image in range(trace.images)]
    return [list_work(placement.chip, one, trace.numerics.timesteps) for one in tokens]
