"""The result of a simulation: activity, energy and area with their provenance, in Python and as JSON."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from . import engine
from .activity import Action, Activity, Cause
from .area import AREA_SCOPE, BlockArea, area_json, area_mm2
from .brief import run_brief
from .energy import Energy, EnergyTable, Pricer, load_energy_table, memories_of, table_of_node
from .errors import UserError
from .feedback import PerWeight, price_weights
from .files import write_text
from .hardware import Chip
from .power import efficiency, peak_power_w, run_of
from .sram import check_access_times, extrapolated_macros
from .timeline import Timeline
from .trace import HostWork, Level, Trace

SCHEMA_VERSION = 3

Progress = Callable[[int, int], None]  # (images done, images)


@dataclass(frozen=True)
class Report:
    """What one trace did on one chip, priced with one energy table.

    Quantities are of all simulated images together unless a name says otherwise; `latency_s` is of one image, the mean.
    per_weight: what each layer spends on a surviving weight, by name; layers without weights are left out.
    extrapolated: memories larger than any macro of the SRAM table.
    level, replay_reason, host: the trace's; host work is in no other number.
    """

    activity: Activity
    energy: Energy
    chip: Chip
    table: EnergyTable
    area: dict[str, BlockArea]
    accuracy: float | None
    trace_sha256: str
    trace_provenance: dict[str, str]
    per_weight: dict[str, PerWeight]
    extrapolated: tuple[str, ...] = ()
    level: Level = "exact"
    replay_reason: str = ""
    host: tuple[HostWork, ...] = ()

    @property
    def cycles(self) -> int:
        """Clock cycles of the whole run, all images."""
        return self.activity.total_cycles

    @property
    def cycles_per_image(self) -> list[int]:
        """Clock cycles of each image; the first one includes loading weights that then stay on the chip."""
        return [int(cycles) for cycles in self.activity.cycles.sum(axis=1)]

    @property
    def latency_s(self) -> float:
        """Mean seconds from the beginning of an image to its end; images may overlap (`schedule = pipelined`)."""
        return float(self.activity.latency.mean()) * self.chip.clock_period_ns * 1e-9

    @property
    def images_per_s(self) -> float | None:
        """Throughput: of all images but the first, which loads the weights and fills the pipeline; of one, its own.

        None of lower bounds: they say how early an image may end, not how long it takes after the one before.
        """
        if self.activity.bound:
            return None
        cycles = self.cycles_per_image
        steady = cycles[1:] or cycles
        return len(steady) / (sum(steady) * self.chip.clock_period_ns * 1e-9)

    @property
    def cycles_by_cause(self) -> dict[str, int]:
        """Core cycles by cause; they add up to cycles x cores."""
        return {cause.key: int(count) for cause, count in zip(Cause, self.activity.causes.sum(axis=0), strict=True)}

    @property
    def cycles_by_layer(self) -> dict[str, int]:
        """Clock cycles from the end of the layer before to the end of the layer."""
        return _named(self.activity.layers, self.activity.cycles.sum(axis=0))

    @property
    def counts(self) -> dict[str, int]:
        """How often each action happened; activity.Action says in which unit."""
        return {action.key: self.activity.count(action) for action in Action}

    @cached_property
    def traffic_bytes(self) -> dict[str, int]:
        """Bytes by memory and direction, from the counts and the widths of the chip's words."""
        core, count = self.chip.core, self.activity.count
        bits = {
            "dram_read": count(Action.DRAM_READ) * 8,
            "dram_write": count(Action.DRAM_WRITE) * 8,
            "weight_read": count(Action.WEIGHT_READ) * core.weight_word_bits,
            "weight_write": count(Action.WEIGHT_WRITE) * core.weight_word_bits,
            "pointer_read": count(Action.POINTER_READ) * 32,
            "pointer_write": count(Action.POINTER_WRITE) * 32,
            "accumulator_read": count(Action.ACCUMULATOR_UPDATE) * core.accumulator_bits,
            "accumulator_write": count(Action.ACCUMULATOR_UPDATE) * core.accumulator_bits,
            "potential_read": count(Action.POTENTIAL_READ) * core.sweep_width * core.potential_bits,
            "potential_write": count(Action.POTENTIAL_WRITE) * core.sweep_width * core.potential_bits,
            "spike_read": count(Action.SPIKE_READ),
            "spike_write": count(Action.SPIKE_WRITE),
            "feature_read": (count(Action.FEATURE_UPDATE) + count(Action.SELECTOR_MAC)) * 16,
            "feature_write": count(Action.FEATURE_UPDATE) * 16,
            "selector_read": count(Action.SELECTOR_MAC) * core.weight_bits,
            "operand_read": count(Action.OPERAND_READ),
            "operand_write": count(Action.OPERAND_WRITE),
        }
        return {name: -(-value // 8) for name, value in bits.items()}

    @property
    def sram_bytes(self) -> int:
        """All traffic of on-chip SRAM; accumulators are registers and do not count."""
        on_chip = ("weight", "pointer", "potential", "spike", "feature", "selector", "operand")
        return sum(value for name, value in self.traffic_bytes.items() if name.split("_")[0] in on_chip)

    @cached_property
    def energy_pj(self) -> dict[str, Any]:
        """pJ: total with its band, by component, by layer; what `Energy.to_json` says."""
        return self.energy.to_json()

    @property
    def area_mm2(self) -> float:
        """Nominal area of memories and logic, within `AREA_SCOPE`."""
        return sum(block.nominal for block in self.area.values())

    @property
    def efficiency(self) -> dict[str, Any]:
        """`power_w`, `edp_js`, `tops_per_w`, `pj_per_synaptic_event`: what `power.efficiency` says."""
        return efficiency(run_of(self.activity, self.energy.total, self.chip), peak_power_w(self.chip, self.table))

    @property
    def synaptic_events(self) -> int:
        """Spikes (by value) meeting a surviving weight, and pixels and activations (each once) likewise."""
        return int(self.activity.synaptic_events.sum())

    def summary(self) -> dict[str, Any]:
        """What `to_json` says of the run as a whole, but for causes, counts and the parts of energy and area."""
        low, nominal, high = self.energy.total.tolist()
        return {
            "schema_version": SCHEMA_VERSION,
            "chip": self.chip.name,
            "images": len(self.activity.cycles),
            "cycles": self.cycles,
            "cycles_per_image": self.cycles_per_image,
            "latency_s": self.latency_s,
            "images_per_s": self.images_per_s,
            "traffic_bytes": self.traffic_bytes,
            "sram_bytes": self.sram_bytes,
            "energy_pj": {"total": nominal, "low": low, "high": high},
            "area_mm2": self.area_mm2,
            "area_scope": AREA_SCOPE,
            "extrapolated_macros": list(self.extrapolated),
            "synaptic_events": self.synaptic_events,
            **self.efficiency,
            "accuracy": self.accuracy,
            "level": self.level,
            "replay_reason": self.replay_reason,
            "provenance": self._provenance(),
        }

    def to_json(self) -> dict[str, Any]:
        """The whole report as plain data; `save` writes it."""
        report: dict[str, Any] = self.summary() | {
            "cycles_by_cause": self.cycles_by_cause,
            "counts": self.counts,
            "energy_pj": self.energy_pj,
            "area_by_memory_mm2": {name: area.nominal for name, area in self.area.items() if area.kind == "macro"},
            "area_by_block_mm2": area_json(self.area),
            "saturations": self.activity.saturations,
            "host": [vars(work) for work in self.host],
            "placement": {name: list(cut) for name, cut in self.activity.cuts.items()},
            "layers": self._layers(),
        }
        if self.activity.bound:
            report["bound"] = True
        if self.activity.verified is not None:
            report["verified"] = vars(self.activity.verified) | {"all_equal": True}
        return report

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, whole or not at all."""
        write_text(path, json.dumps(self.to_json(), indent=1) + "\n")

    def _layers(self) -> list[dict[str, Any]]:
        activity, energy = self.activity, self.energy.by_layer_and_component()
        cycles = activity.cycles.sum(axis=0)
        return [
            {
                "name": name,
                "cycles": int(cycles[index]),
                "cycles_by_cause": _named([cause.key for cause in Cause], activity.causes[index]),
                "counts": _named([action.key for action in Action], activity.counts[index]),
                "synaptic_events": int(activity.synaptic_events[index]),
                "spikes": int(activity.spikes[index]),
                "imbalance": float(activity.imbalance[index]),
                "weight_imbalance": float(activity.placed[index]),
                "critical_resource": activity.critical[index].resource,
                "critical_cycles": activity.critical[index].cycles,
                "energy_pj": energy[name],
                "per_weight": vars(self.per_weight[name]) if name in self.per_weight else None,
            }
            for index, name in enumerate(activity.layers)
        ]

    def _provenance(self) -> dict[str, Any]:
        return {
            "program": f"sparsespike {__version__}",
            "trace_sha256": self.trace_sha256,
            "trace": self.trace_provenance,
            "chip": self.chip.model_dump(mode="json"),
            "chip_sha256": chip_sha256(self.chip),
            "energy_table": self.table.name,
            "energy_table_sha256": self.table.sha256,
        }


def _named(names: Any, values: Any) -> dict[str, int]:
    return {name: int(value) for name, value in zip(names, np.asarray(values), strict=True)}


def chip_sha256(chip: Chip) -> str:
    """Hash of every value of a chip, in key order; equal chips have equal hashes, whatever file they came from."""
    return hashlib.sha256(json.dumps(chip.settings(), sort_keys=True).encode()).hexdigest()


def simulate(
    trace: Trace,
    chip: Chip,
    energy: str | Path | EnergyTable | None = None,
    *,
    verify: bool = False,
    images: int | None = None,
    cuts: Mapping[str, Iterable[int]] | None = None,
    progress: Progress | None = None,
    timeline: Timeline | None = None,
) -> Report:
    """Run a trace on a chip and price it.

    energy: a table, or its name or path; without one the shipped table of the chip's node.
    verify: the chip computes its own potentials, spikes, kept tokens and logits, and all must equal the trace.
    images: only the first so many.  cuts: a placement of one's own, as `load_cuts` reads it.
    progress: called with (images done, images) after each.  timeline: is written on the way.
    Raises UserError for what does not fit the chip, an SRAM too slow for its clock, a table of another node,
    or a difference found by verification.
    """

    def step(part: Trace) -> Activity:
        run = partial(engine.run, part, chip, verify=verify, progress=progress, cuts=cuts)
        return run() if timeline is None else timeline.record(run, _origin(trace, chip))

    return _report(trace, chip, energy, images, step)


def bound_report(
    trace: Trace,
    chip: Chip,
    energy: str | Path | EnergyTable | None = None,
    *,
    images: int | None = None,
    cuts: Mapping[str, Iterable[int]] | None = None,
    progress: Progress | None = None,
    brief: bool = False,
) -> Report:
    """What `simulate` would report, without stepping: counts and traffic exact, the rest lower bounds (section B).

    Cycles, latency and energy are at least what the report says; it has no `images_per_s`.
    brief: for those who look at many chips, several times as fast: the report has a `summary` and no more.
    The other arguments are those of `simulate`, and so is what it raises.
    """
    run = partial(engine.run, chip=chip, bound=True, progress=progress, cuts=cuts)
    return _report(trace, chip, energy, images, partial(run_brief, chip=chip, cuts=cuts) if brief else run)


def _table(chip: Chip, energy: str | Path | EnergyTable | None) -> EnergyTable:
    if energy is None:
        return table_of_node(chip.technology.node_nm)
    return energy if isinstance(energy, EnergyTable) else load_energy_table(energy)


def _report(
    trace: Trace,
    chip: Chip,
    energy: str | Path | EnergyTable | None,
    images: int | None,
    run: Callable[[Trace], Activity],
) -> Report:
    """Price what `run` does with the first images; what cannot be priced is refused before it, not after."""
    part = trace
    if images is not None:
        if not 1 <= images <= trace.images:
            raise UserError(f"images = {images}: the trace holds {trace.images}")
        part = trace.first(images)
    table = _table(chip, energy)
    pricer = Pricer(chip, table)
    memories = memories_of(chip, table)
    check_access_times(chip, memories)
    activity = run(part)
    return Report(
        activity=activity,
        energy=pricer(activity.counts, activity.cycles.sum(axis=0), activity.layers),
        chip=chip,
        table=table,
        area=area_mm2(chip, memories),
        extrapolated=tuple(extrapolated_macros(memories)),
        accuracy=part.accuracy(),
        trace_sha256=trace.sha256,
        trace_provenance=dict(part.provenance),
        per_weight={} if activity.brief else price_weights(part, chip, table, activity),
        level=part.level,
        replay_reason=part.replay_reason,
        host=part.host,
    )


def _origin(trace: Trace, chip: Chip) -> dict[str, str]:
    """What a timeline says of the run that it shows."""
    return {
        "program": f"sparsespike {__version__}",
        "trace_sha256": trace.sha256,
        "chip": chip.name,
        "chip_sha256": chip_sha256(chip),
    }
