"""One trace on one chip: what `sparsespike simulate` prints and writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..simulator.cuts import load_cuts
from ..simulator.engine import NOTHING_MOVES
from ..simulator.errors import UserError
from ..simulator.hardware import BASELINES, Chip, load_chip
from ..simulator.report import Report, bound_report, simulate
from ..simulator.timeline import Timeline
from ..simulator.trace import load_trace
from .console import progress, show
from .views import (
    BOUND_LINE,
    area_table,
    cause_table,
    component_table,
    fidelity_line,
    host_line,
    layer_table,
    level_line,
    per_weight_table,
    power_line,
    summary_table,
    verified_line,
)


@dataclass(frozen=True)
class RunRequest:
    """A run that is asked for, and what to leave of it. Raises UserError for what excludes each other.

    hardware, settings, baseline: the chip, changes of its keys, and the baseline of it that runs in its place.
    images: only the first so many.  placement: file of own cuts.
    verify: recompute everything.  bound: lower bounds, nothing is stepped.
    per_weight: also what a surviving weight costs.  json, timeline: files to write.
    """

    trace: str | Path
    hardware: str | Path = "mesh16"
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline: str | None = None
    energy: str | None = None
    images: int | None = None
    placement: str | Path | None = None
    verify: bool = False
    bound: bool = False
    per_weight: bool = False
    json: str | Path | None = None
    timeline: Timeline | None = None

    def __post_init__(self) -> None:
        if self.bound and (self.verify or self.timeline is not None):
            raise UserError(NOTHING_MOVES)
        if self.timeline is not None and self.json is not None and Path(self.json) == self.timeline.path:
            raise UserError(f"{self.json}: asked for as report and as timeline; name two files")

    def chip(self) -> Chip:
        """The chip that runs. Raises UserError as `load_chip` and `Chip.baseline` do."""
        chip = load_chip(self.hardware, self.settings)
        if self.baseline is None:
            return chip
        off = chip.baseline(self.baseline)
        for key, value in self.settings.items():
            if BASELINES[self.baseline].get(key, value) != value:
                given = f"{key} = {BASELINES[self.baseline][key]}"
                raise UserError(f"--baseline {self.baseline} means {given}; leave --set {key}={value} out")
        return off


def run_single(request: RunRequest) -> None:
    """Simulate, print the tables, write report and timeline where asked. Raises UserError as its parts do."""
    chip = request.chip()
    report = _run(request, chip)
    plain = report.to_json()
    if request.json is not None:
        report.save(request.json)
    show(
        summary_table({chip.name: plain}, Path(request.trace).name),
        layer_table(plain),
        component_table(plain),
        cause_table(plain),
        area_table(plain["area_by_block_mm2"], plain["area_scope"]),
        power_line(plain),
    )
    if request.per_weight:
        show(per_weight_table(plain))
    if request.verify:
        show(verified_line([plain]))
    if request.bound:
        show(BOUND_LINE)
    remarks = level_line(report.level, report.replay_reason), host_line(plain["host"]), fidelity_line(plain)
    show(*filter(None, remarks))
    if request.timeline is not None:
        show(request.timeline.summary)


def _run(request: RunRequest, chip: Chip) -> Report:
    trace = load_trace(request.trace)
    cuts = None if request.placement is None else load_cuts(request.placement)
    with progress(f"{Path(request.trace).stem} on {chip.name}") as step:
        if request.bound:
            return bound_report(trace, chip, request.energy, images=request.images, cuts=cuts, progress=step)
        return simulate(
            trace,
            chip,
            request.energy,
            verify=request.verify,
            images=request.images,
            cuts=cuts,
            progress=step,
            timeline=request.timeline,
        )
