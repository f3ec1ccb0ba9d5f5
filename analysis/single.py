"""One trace on one chip: what `sparsespike simulate` prints and writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..simulator.cuts import load_cuts
from ..simulator.hardware import load_chip
from ..simulator.report import simulate
from ..simulator.trace import load_trace
from .console import progress, show
from .views import cause_table, component_table, layer_table, summary_table, verified_line


def run_single(
    trace: str | Path,
    hardware: str | Path,
    settings: Mapping[str, Any],
    energy: str,
    *,
    images: int | None = None,
    placement: str | Path | None = None,
    verify: bool = False,
    json_out: str | Path | None = None,
) -> None:
    """Simulate, print the tables, write the report where asked. Raises UserError as its parts do."""
    chip, spikes = load_chip(hardware, settings), load_trace(trace)
    cuts = None if placement is None else load_cuts(placement)
    with progress(f"{Path(trace).stem} on {chip.name}") as step:
        report = simulate(spikes, chip, energy, verify=verify, images=images, cuts=cuts, progress=step)
    plain = report.to_json()
    if json_out is not None:
        report.save(json_out)
    show(
        summary_table({chip.name: plain}, Path(trace).name),
        layer_table(plain),
        component_table(plain),
        cause_table(plain),
    )
    if verify:
        show(verified_line([plain]))
