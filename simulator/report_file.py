"""Reports read back from JSON: what every reader relies on is there and of its type, or the file is refused."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UserError
from .files import read_json
from .report import SCHEMA_VERSION
from .validation import NO_TABLE


class _Saved(BaseModel):
    """What everything that reads a report relies on; further keys are let through."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _SavedEnergy(_Saved):
    total: float
    low: float
    high: float
    by_component: dict[str, float]
    by_layer: dict[str, float]
    assumed_share: float = Field(default=0.0, ge=0, le=1)
    warning: str = ""


class _SavedLayer(_Saved):
    name: str
    cycles: int
    cycles_by_cause: dict[str, int]
    counts: dict[str, int]
    synaptic_events: int
    spikes: int
    critical_resource: str
    critical_cycles: int
    weight_imbalance: float
    energy_pj: dict[str, float]


class _SavedReport(_Saved):
    schema_version: int
    chip: str
    images: int = Field(ge=1)
    cycles: int
    cycles_per_image: list[int]
    latency_s: float
    images_per_s: float | None
    cycles_by_cause: dict[str, int]
    traffic_bytes: dict[str, int]
    sram_bytes: int
    counts: dict[str, int]
    energy_pj: _SavedEnergy
    area_mm2: float
    area_scope: str
    synaptic_events: int
    accuracy: float | None
    bound: bool = False
    layers: list[_SavedLayer]
    provenance: dict[str, Any]

    def faults(self) -> list[str]:
        """What its own numbers say against each other."""
        faults, listed = [], len(self.cycles_per_image)
        if listed != self.images:
            faults.append(f"images = {self.images}: cycles_per_image has {listed}")
        if sum(self.cycles_per_image) != self.cycles:
            faults.append(f"cycles = {self.cycles}: cycles_per_image adds up to {sum(self.cycles_per_image)}")
        return faults


def load_report(path: str | Path) -> dict[str, Any]:
    """Read a report written by `Report.save`.

    Raises UserError where it is missing, cut off, something else, of another version, or lacks keys, has wrong types or
    numbers that contradict each other (all named).
    """
    report = read_json(path, "report")
    if isinstance(report, dict) and isinstance(
        report.get("kind"), str
    ):  # first: other files have versions of their own
        raise UserError(f"{path}: holds {report['kind']!r:.40}, and no report of `sparsespike simulate --json`")
    version = report.get("schema_version") if isinstance(report, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:  # first: a newer report may have other keys
        raise UserError(f"{path}: report version {version} is newer than this program's {SCHEMA_VERSION}")
    if isinstance(version, int) and version < SCHEMA_VERSION:
        raise UserError(f"{path}: report version {version} is older than {SCHEMA_VERSION}; simulate its trace again")
    try:
        faults = _SavedReport.model_validate(report).faults()
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {_reason(fault)}".removeprefix(": ") for fault in error.errors()
        ]
    if faults:
        raise UserError(f"{path}: not a report of sparsespike: {'; '.join(faults)}")
    return dict(report)


def _reason(fault: Any) -> str:
    if fault["type"] in NO_TABLE:
        return "must be an object of named values"
    return "missing" if fault["type"] == "missing" else fault["msg"].removeprefix("Input ")
