"""One layer's events on one image as a phase: its steps, its flits, and the run of the event loop (rules G, F)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activity import Cause
from .hardware import Chip
from .kernels.consumer import BARRIER, GRANT_WAIT, NETWORK, NEURON_SWEEP, SERVICE, Steps
from .kernels.encoder import Flits, Rows, encode
from .kernels.event_loop import DEADLOCK, OUT_OF_ORDER, Ports, new_registers, run_phase
from .kernels.neuron_array import Values
from .kernels.router import MeshSize
from .placement import LayerPlan, Placement
from .trace import Conv, Head, Linear, Select

NO_VALUES = np.zeros(0, np.uint8)
BOOKED = {
    GRANT_WAIT: Cause.GRANT_WAIT,
    NETWORK: Cause.NETWORK,
    NEURON_SWEEP: Cause.NEURON_SWEEP,
    BARRIER: Cause.BARRIER,
}


@dataclass(frozen=True)
class Work:
    """The steps of a layer on an image (G3, G4): int64[steps] each; tokens: int64[tokens], ascending."""

    tokens: NDArray[np.int64]
    timestep: NDArray[np.int64]
    token: NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """What a phase took: cycles, int64[consumers, Cause], flits over links, int64[consumers] flits consumed."""

    cycles: int
    causes: NDArray[np.int64]
    hops: int
    taken: NDArray[np.int64]


def list_work(chip: Chip, tokens: NDArray[np.int64], timesteps: int) -> Work:
    """The steps in the chip's order."""
    if chip.core.order == "time_outer":
        return Work(tokens, np.repeat(np.arange(timesteps), len(tokens)), np.tile(tokens, timesteps))
    return Work(tokens, np.tile(np.arange(timesteps), len(tokens)), np.repeat(tokens, timesteps))


def scan_cycles(placement: Placement, plan: LayerPlan, work: Work) -> NDArray[np.int32]:
    """T4: cycles of reading the keep bitmap in front of each step."""
    chip = placement.chip
    scan = np.zeros(len(work.token), np.int32)
    if chip.token_unit.policy != "skip" or plan.layer.selector < 0 or not len(scan):
        return scan
    gaps = np.diff(work.tokens, prepend=-1)
    cycles = -(-gaps // chip.token_unit.scan_width)
    timesteps = placement.trace.numerics.timesteps
    if chip.core.order == "time_outer":
        return np.tile(cycles, timesteps).astype(np.int32)
    scan[::timesteps] = cycles
    return scan


def encode_phase(placement: Placement, plan: LayerPlan, image: int, work: Work) -> Flits:
    """F1: every producer's flits, in order."""
    assert plan.phase is not None
    assert plan.source.events is not None
    events, trace = plan.source.events, placement.trace
    row = (image * trace.numerics.timesteps + work.timestep) * plan.source.tokens + work.token
    border = np.zeros(len(row), np.int32)
    if plan.stored is not None:
        border = plan.stored.taps.border[work.token]
    rows = Rows(events.offsets[row], events.offsets[row + 1], border)
    values = NO_VALUES if events.values is None else events.values
    return Flits(*encode(rows, events.channels, values, plan.source.channels, plan.phase.senders))


def run(placement: Placement, plan: LayerPlan, work: Work, flits: Flits, sums: NDArray[np.int64] | None) -> Outcome:
    """Run the event loop; `sums` (modified in place) receives the numbers where the chip computes them itself.

    Raises RuntimeError where the loop breaks a rule of its own: a bug, never a user's mistake.
    """
    chip, phase = placement.chip, plan.phase
    assert phase is not None
    size = MeshSize(chip.router_columns, chip.routers, chip.mesh.buffer_flits, chip.flit_cycles)
    ports = Ports(phase.producers, phase.consumers, chip.core.fifo_flits, phase.trees.masks)
    steps = _steps(placement, plan, work)
    registers = new_registers(size, ports, flits, steps)
    values = values_of(placement, plan, work, sums)
    status, cycles, hops = run_phase(size, ports, flits, steps, plan.service, values, registers)
    if status in (DEADLOCK, OUT_OF_ORDER):
        kind = "stands still" if status == DEADLOCK else "delivers a flit after its step was closed"
        raise RuntimeError(f"layer {plan.layer.name!r}: the mesh {kind}; this is a bug of the simulator")
    return Outcome(cycles, _causes(plan, flits, registers.consumers.spent), hops, registers.consumers.taken)


def _causes(plan: LayerPlan, flits: Flits, spent: NDArray[np.int64]) -> NDArray[np.int64]:
    """C9, R4: int64[consumers, Cause]; the loop's cycles of service are split by what the events cost."""
    causes = np.zeros((len(spent), len(Cause)), np.int64)
    for column, cause in BOOKED.items():
        causes[:, cause] = spent[:, column]
    if plan.stored is not None:
        assert plan.phase is not None
        cores, costs = plan.phase.consumer_cores, plan.stored.costs
        events = np.bincount(flits.event[flits.event >= 0], minlength=len(costs.fetch))
        compute, accumulate = events @ costs.lanes_cycles[:, cores], events @ costs.accumulate[:, cores]
        causes[:, Cause.COMPUTE] = compute
        causes[:, Cause.BANK_CONFLICT] = accumulate - compute
        causes[:, Cause.WEIGHT_FETCH] = events @ np.maximum(costs.fetch - costs.accumulate, 0)[:, cores]
    busy = causes[:, [Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH]].sum(axis=1)
    causes[:, Cause.CONTROL] = spent[:, SERVICE] - busy
    return causes


def _steps(placement: Placement, plan: LayerPlan, work: Work) -> Steps:
    chip, phase = placement.chip, plan.phase
    assert phase is not None
    closes = np.zeros(len(work.token), np.int32)
    sweep = np.zeros(len(phase.consumers), np.int64)
    if plan.stored is not None:
        sweep = -(-plan.owned[phase.consumer_cores] // chip.core.sweep_width)
    if isinstance(plan.layer, Conv):
        assert plan.stored is not None
        closes = plan.stored.taps.closes[work.token]
    elif isinstance(plan.layer, Linear):
        closes[:] = 1
    elif isinstance(plan.layer, Head):
        closes[-1:] = 1
    context = (np.arange(len(closes)) % chip.core.contexts).astype(np.int32)
    return Steps(context, closes, scan_cycles(placement, plan, work), sweep, phase.expected, chip.core.contexts)


def values_of(placement: Placement, plan: LayerPlan, work: Work, sums: NDArray[np.int64] | None) -> Values:
    """What the kernels need to add up the numbers of a layer."""
    stored, phase = plan.stored, plan.phase
    none: dict[str, Any] = {"i64": np.zeros(0, np.int64), "i32": np.zeros(0, np.int32)}
    if sums is None or stored is None or stored.weights.values is None:
        slot = none["i64"]
        if sums is not None:
            by_token = isinstance(plan.layer, Select)
            slot = work.token if by_token else work.timestep * plan.source.tokens + work.token
        return Values(
            sums is not None,
            False,
            plan.source.channels,
            1,
            np.zeros((0, 0), np.int64),
            none["i32"],
            np.zeros(0, np.uint16),
            np.zeros(0, np.int8),
            np.zeros((0, 0), np.bool_),
            none["i64"],
            slot,
            np.zeros((0, 0), np.int64) if sums is None else sums,
        )
    slot = work.timestep * plan.source.tokens + work.token
    cores = np.arange(placement.chip.cores, dtype=np.int32) if phase is None else phase.consumer_cores
    return Values(
        True,
        True,
        plan.source.channels,
        stored.weights.taps,
        stored.rows.share,
        cores,
        stored.weights.outputs,
        stored.weights.values,
        stored.taps.valid,
        stored.taps.reach,
        np.zeros_like(slot) if isinstance(plan.layer, Head) else slot,
        sums,
    )
