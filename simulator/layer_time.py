"""How long a layer takes on an image once its weights are there: phases and closed formulas (rules C, I, S, T2, A2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .activity import Cause
from .busy import Busy
from .capacity import attention_order, kept_count, worked_count
from .placement import LayerPlan, Placement, hidden_weights
from .program import Outcome, Part, causes_of, run, service_causes
from .trace import Attention, Pool, Select


@dataclass(frozen=True)
class Timing:
    """A layer on an image, without DRAM. causes: int64[cores, Cause], which sum to `cycles` on every core.

    outcome: of the event loop, where the layer is a phase that has steps.
    """

    cycles: int
    causes: NDArray[np.int64]
    outcome: Outcome | None = None


def time_layer(
    placement: Placement, plan: LayerPlan, part: Part | None, busy: Busy, *, keep: bool, logged: bool
) -> Timing:
    """Time one layer on one image, and add to `busy`.

    part: the layer at work, None where it has no phase.  keep, logged: keep the phase's arrivals and its log.
    """
    timing = time_job(placement, plan) if part is None else _time_phase(placement, part, keep, logged)
    busy.rows += timing.causes
    add_busy(busy, plan, part, 1)
    return timing


def know_layer(placement: Placement, plan: LayerPlan, part: Part | None, busy: Busy) -> NDArray[np.int64]:
    """What is known of one layer on one image without timing it: its busy units, which are added to `busy`, and causes.

    Returns int64[cores, Cause]: row service, and where layers do not overlap what closed formulas say (I2, S1, T2, A3).
    """
    apart = placement.chip.schedule == "layerwise"
    add_busy(busy, plan, part, 1)
    if part is None:
        causes = time_job(placement, plan).causes
        busy.rows += causes
        return causes if apart else np.zeros_like(causes)
    assert plan.phase is not None
    causes = np.zeros((placement.chip.cores, len(Cause)), np.int64)
    if isinstance(plan.layer, Select):
        causes[:, Cause.SELECTOR] = selector_cycles(placement, plan) if apart else 0
    elif isinstance(plan.layer, Attention):
        causes[:, Cause.ATTENTION] = int(attention_cycles(placement, plan).max()) + 2 if apart else 0
    else:
        consumers = plan.phase.consumers
        count = len(consumers.cores)
        steps = np.full(count, part.steps) if part.alone is None else np.bincount(part.alone, minlength=count)
        causes[consumers.cores] = service_causes(plan, part.totals)
        causes[consumers.cores, Cause.CONTROL] += steps * plan.phase.expected
    busy.rows += causes
    return causes


def add_busy(busy: Busy, plan: LayerPlan, part: Part | None, images: int) -> None:
    """K1: what is busy in a layer but its rows."""
    placement = busy.placement
    if part is None:
        busy.sweep += images * sweep_cycles_of_job(placement, plan)
        return
    busy.add_phase(plan, part.work, part.totals, np.diff(part.flits.start))
    if isinstance(plan.layer, Select):
        busy.token_unit += images * selector_cycles(placement, plan)
    elif isinstance(plan.layer, Attention):
        busy.attention += images * attention_cycles(placement, plan)


def time_job(placement: Placement, plan: LayerPlan) -> Timing:
    """A layer without steps: input convolution (I1, I2) or pool (S1)."""
    return _time_pool(placement, plan) if isinstance(plan.layer, Pool) else _time_input(placement, plan)


def _time_phase(placement: Placement, part: Part, keep: bool, logged: bool) -> Timing:
    """Rules N and C, then T2 or A2 behind them."""
    plan, chip = part.plan, placement.chip
    assert plan.phase is not None
    causes = np.zeros((chip.cores, len(Cause)), np.int64)
    if not part.steps:
        outcome, cycles = None, 0
    else:
        outcome = run(placement, [part], keep=keep, logged=logged)
        cycles = outcome.cycles
    if isinstance(plan.layer, Select):
        cycles += selector_cycles(placement, plan)
        causes[:, Cause.SELECTOR] = cycles
    elif isinstance(plan.layer, Attention):
        cycles += int(attention_cycles(placement, plan).max()) + 2
        causes[:, Cause.ATTENTION] = cycles
    else:
        causes[:, Cause.IDLE] = cycles
        if outcome is not None:
            causes[plan.phase.consumers.cores] = causes_of(plan, part.totals, outcome.spent)
    return Timing(cycles, causes, outcome)


def selector_cycles(placement: Placement, plan: LayerPlan) -> int:
    """T2: scoring, ranking, and writing the keep bitmap."""
    layer, unit = plan.layer, placement.chip.token_unit
    assert isinstance(layer, Select)
    candidates = kept_count(placement.trace, layer, plan.source.tokens)
    cycles = -(-plan.source.tokens // unit.scan_width)
    if layer.hidden is not None:
        hidden = layer.hidden.output_channels
        cycles += 1 + candidates * (-(-hidden_weights(placement.chip, layer) // unit.macs) - (-hidden // unit.macs))
    if layer.form != "random":
        cycles += candidates * -(-candidates // unit.comparators)
    return cycles


def attention_cycles(placement: Placement, plan: LayerPlan) -> NDArray[np.int64]:
    """A2 to A4: int64[units], cycles of both products, or of the sums and the mask, and the sweeps."""
    layer, unit, trace = plan.layer, placement.chip.attention, placement.trace
    assert isinstance(layer, Attention)
    width = plan.source.channels // 3 // layer.heads
    queries = worked_count(trace, placement.chip, layer, plan.source.tokens)
    keys = kept_count(trace, layer, plan.source.tokens)
    swept = queries * width
    if layer.form == "hadamard":
        products, swept = -(-keys * width // unit.width) - (-queries * width // unit.width), width
    elif attention_order(placement, layer, plan.source) == "qk_first":
        products = 2 * -(-queries * keys * width // unit.width)
    else:
        products = -(-keys * width * width // unit.width) - (-queries * width * width // unit.width)
    sweep = -(-swept // unit.sweep_width)
    heads = np.bincount(np.arange(layer.heads) % unit.units, minlength=unit.units)
    return trace.numerics.timesteps * heads * (products + sweep)


def _time_pool(placement: Placement, plan: LayerPlan) -> Timing:
    """S1."""
    causes = np.zeros((placement.chip.cores, len(Cause)), np.int64)
    causes[:, Cause.NEURON_SWEEP] = sweep_cycles_of_job(placement, plan) + 2
    return _together(plan, causes)


def sweep_cycles_of_job(placement: Placement, plan: LayerPlan) -> NDArray[np.int64]:
    """int64[cores]: cycles of sweeping all tokens in all timesteps, where there are no steps (I1, S1)."""
    if isinstance(plan.layer, Pool):
        assert plan.target is not None
        tokens = max(plan.source.tokens, plan.target.tokens)  # one read and one written in a cycle
    else:
        assert plan.stored is not None
        tokens = int(plan.stored.taps.sweeps.sum())
    groups = -(-plan.owned // placement.chip.core.sweep_width)
    return placement.trace.numerics.timesteps * tokens * groups


def _time_input(placement: Placement, plan: LayerPlan) -> Timing:
    """I1, I2: the input convolution."""
    stored = plan.stored
    assert stored is not None
    costs = stored.costs
    tokens = np.bincount(stored.taps.border, minlength=len(stored.taps.valid))
    times = np.repeat(tokens, plan.source.channels)
    empty = (costs.words == 0) & (costs.groups == 0)
    causes = np.zeros((placement.chip.cores, len(Cause)), np.int64)
    causes[:, Cause.COMPUTE] = times @ costs.groups
    causes[:, Cause.BANK_CONFLICT] = times @ costs.conflicts
    causes[:, Cause.CONTROL] = times @ empty
    causes[:, Cause.WEIGHT_FETCH] = times @ costs.service[0] - causes.sum(axis=1)
    causes[:, Cause.FIFO_EMPTY] = 1
    causes[:, Cause.NEURON_SWEEP] = sweep_cycles_of_job(placement, plan) + 2
    return _together(plan, causes)


def _together(plan: LayerPlan, causes: NDArray[np.int64]) -> Timing:
    """All cores wait for the slowest, those that own nothing are idle; `causes`, modified in place, gets both."""
    causes[plan.owned == 0] = 0
    busy = causes.sum(axis=1)
    cycles = int(busy.max())
    causes[:, Cause.BARRIER] = np.where(plan.owned > 0, cycles - busy, 0)
    causes[:, Cause.IDLE] = np.where(plan.owned > 0, 0, cycles)
    return Timing(cycles, causes)
