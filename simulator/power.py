"""Power and efficiency: the most that a chip can draw, and what a run drew, per image and per synaptic operation.

Peak power is an upper bound from the chip alone: every port, lane, bank, link and unit does in every cycle the dearest
of what it can do, none ever waits. No run draws as much: units share their data, and phases do not all overlap. Two
things have no bound in a chip file and get one from their ports: pointers (a convolution reads one per tap; here one
per core and cycle), and the first products of a quantised ANN's attention, requantised `sweep_width` per cycle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .activity import Action, Activity
from .energy import EnergyTable, find_prices
from .hardware import Chip
from .layers import VALUE_BITS
from .sourced import Band

Choices = tuple[tuple[Action, ...], ...]

NEURON: Choices = (
    (Action.NEURON_UPDATE, Action.LEAK_MULTIPLY, Action.RESET_SUBTRACT, Action.POOL_MAX),
    (Action.REQUANTISE, Action.POOL_MAX),
    (Action.POOL_OR,),
    (Action.POOL_ADD,),
)
PRODUCT: Choices = ((Action.AND_POPCOUNT,), (Action.ATTENTION_ADD,), (Action.ATTENTION_MAC,))


@dataclass(frozen=True)
class Port:
    """Something that may be busy every cycle: `rate` times per cycle it does all actions of one of its `choices`."""

    rate: float
    choices: Choices


def ports(chip: Chip) -> list[Port]:
    """Everything on a chip that actions happen at, with the most of them per cycle. ARCHITECTURE.md has the rules."""
    return [*_memory_ports(chip), *_core_ports(chip), *_network_ports(chip), *_service_ports(chip)]


def _memory_ports(chip: Chip) -> list[Port]:
    """An access per bank and cycle (R3), a pointer; a word of potentials read and written (C7); the channel (D1)."""
    core, units = chip.core, chip.attention.units
    bits = max(chip.mesh.value_bits, VALUE_BITS) * core.time_batch
    bytes_per_cycle = chip.dram.bandwidth_gb_s * 1e3 / chip.clock_mhz
    return [
        Port(chip.cores * core.weight_banks, ((Action.WEIGHT_READ,), (Action.WEIGHT_WRITE,))),
        Port(chip.cores, ((Action.POINTER_READ,), (Action.POINTER_WRITE,))),
        Port(chip.cores, ((Action.POTENTIAL_READ, Action.POTENTIAL_WRITE),)),
        Port((chip.cores + units) * (core.encode_width + core.sweep_width) * bits, ((Action.SPIKE_READ,),)),
        Port((chip.cores * core.sweep_width + units * chip.attention.width) * bits, ((Action.SPIKE_WRITE,),)),
        Port(bytes_per_cycle, ((Action.DRAM_READ,), (Action.DRAM_WRITE,))),
    ]


def _core_ports(chip: Chip) -> list[Port]:
    """Lanes and input multipliers add, no more of them than banks (R4, I1); neurons (C4); scans (T4)."""
    core = chip.core
    additions = min(core.lanes, core.accumulator_banks) + min(core.input_macs, core.accumulator_banks)
    return [
        Port(chip.cores * additions, ((Action.ADD,), (Action.MULTIPLY_ADD,))),
        Port(chip.cores * additions, ((Action.ACCUMULATOR_UPDATE,),)),
        Port(chip.cores * core.sweep_width, NEURON),
        Port((chip.cores + chip.attention.units) * chip.token_unit.scan_width, ((Action.SCAN,),)),
    ]


def _network_ports(chip: Chip) -> list[Port]:
    """A flit per link, and per local port into and out of a router, every `flit_cycles` cycles (N3, F4)."""
    columns, rows = chip.router_columns, chip.mesh.rows
    links = 2 * ((columns - 1) * rows + columns * (rows - 1)) / chip.flit_cycles
    nodes = chip.cores + 1 + chip.attention.units
    producers = chip.cores + chip.attention.units  # a flit per cycle, whatever its width (N5)
    delivered = nodes / chip.flit_cycles
    return [
        Port(links, ((Action.FLIT_HOP,),)),
        Port(links + producers, ((Action.BUFFER_WRITE,),)),
        Port(links + delivered, ((Action.BUFFER_READ,),)),
        Port(delivered, ((Action.FIFO_WRITE, Action.FIFO_READ),)),
    ]


def _service_ports(chip: Chip) -> list[Port]:
    """Token unit (T1, T2): an event, `macs`, `comparators`. Attention (A2, A3): `width` products, neurons, operands."""
    unit, attention = chip.token_unit, chip.attention
    products = attention.units * attention.width
    return [
        Port(1, ((Action.FEATURE_UPDATE,),)),
        Port(unit.macs, ((Action.SELECTOR_MAC,),)),
        Port(unit.comparators, ((Action.SCORE_COMPARE,),)),
        Port(attention.units, ((Action.OPERAND_WRITE,),)),
        Port(2 * products * VALUE_BITS, ((Action.OPERAND_READ,),)),
        Port(products, PRODUCT),
        Port(products + attention.units * attention.sweep_width, ((Action.ACCUMULATOR_UPDATE,),)),
        Port(attention.units * attention.sweep_width, NEURON),
    ]


def peak_power_w(chip: Chip, table: EnergyTable) -> Band:
    """clock x (sum over ports of rate x dearest choice, and what a cycle costs whatever happens), in W, with its band.

    pJ per cycle x MHz = uW. Raises UserError as `find_prices` does.
    """
    found = find_prices(chip, table)
    prices = found.action
    per_cycle = sum(
        (
            port.rate * np.max([prices[list(choice)].sum(axis=0) for choice in port.choices], axis=0)
            for port in ports(chip)
        ),
        start=found.cycle.sum(axis=0),
    )
    peak: Band = per_cycle * chip.clock_mhz * 1e-6
    return peak


@dataclass(frozen=True)
class Run:
    """What the efficiencies of a run are worked out from.

    energy_pj: of all images, (low, nominal, high).  time_s: of the whole run.  latency_s: mean per image.
    """

    energy_pj: Band
    time_s: float
    latency_s: float
    images: int
    synaptic_events: int
    bound: bool


def run_of(activity: Activity, energy_pj: Band, chip: Chip) -> Run:
    """A run of a chip, priced."""
    period_s = chip.clock_period_ns * 1e-9
    return Run(
        energy_pj=energy_pj,
        time_s=activity.total_cycles * period_s,
        latency_s=float(activity.latency.mean()) * period_s,
        images=len(activity.cycles),
        synaptic_events=int(activity.synaptic_events.sum()),
        bound=activity.bound,
    )


def efficiency(run: Run, peak_w: Band) -> dict[str, object]:
    """The report's `power_w`, `edp_js`, `tops_per_w` and `pj_per_synaptic_event`.

    power_w: average = energy / time; None of lower bounds, whose ratio bounds nothing. peak: the chip's. Each with its
    band: average_low, average_high and so on.
    edp_js = energy per image x latency, J s.
    pj_per_synaptic_event = energy / synaptic events (W7: one weight that meets one spike, by its value); DRAM, leakage
    and all else are in the energy.  tops_per_w = synaptic events / energy, 10^12 per J: an operation is one synaptic
    event, an addition or multiply-accumulate that was really done. Those that a dense accelerator would have done in
    its place are not operations here. Both None where a run had no synaptic event, tops_per_w also where it was free.
    """
    energy, events = float(run.energy_pj[1]), run.synaptic_events
    known = not run.bound and run.time_s > 0
    average = (run.energy_pj * 1e-12 / run.time_s).tolist() if known else (None, None, None)
    return {
        "power_w": _band("average", average) | _band("peak", peak_w.tolist()),
        "edp_js": energy * 1e-12 / run.images * run.latency_s,
        "tops_per_w": events / energy if events and energy else None,
        "pj_per_synaptic_event": energy / events if events else None,
    }


def _band(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    low, nominal, high = values
    return {name: nominal, f"{name}_low": low, f"{name}_high": high}
