"""One run under other technologies, from its report alone: nothing is simulated again, and no count changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from .activity import Action
from .energy import Energy, EnergyTable, Pricer, Scaled, built_memories
from .errors import UserError, nearest
from .hardware import Chip, chip_keys
from .report import chip_sha256
from .sram import check_access_times
from .validation import sentences

MOST = 2**63 - 1


@dataclass(frozen=True)
class SavedRun:
    """What a report says of a run that prices can be put on.

    counts: int64[layers, Action].  cycles: int64[layers].  Both of all images.
    """

    chip: Chip
    layers: tuple[str, ...]
    counts: NDArray[np.int64]
    cycles: NDArray[np.int64]


@dataclass(frozen=True)
class Repriced:
    """A run in one technology. chip: the run's, at the table's node; the clock and so the cycles stay as they were."""

    table: EnergyTable
    chip: Chip
    energy: Energy

    def to_json(self) -> dict[str, Any]:
        """Plain data; `energy_pj` as in a report."""
        return {
            "energy_table": self.table.name,
            "energy_table_sha256": self.table.sha256,
            "node_nm": self.table.node_nm,
            "energy_pj": self.energy.to_json(),
        }


def saved_run(report: Mapping[str, Any]) -> SavedRun:
    """The run that a report is of; `report` as `load_report` gives it.

    Raises UserError, with all faults at once, where actions are missing or unknown, parts do not add up to the report's
    own sums, or the chip is none that this version knows: an older report, or a damaged one.
    """
    faults = list(_faults(report))
    said, chip = report["provenance"].get("chip", {}), None
    try:
        chip = Chip.model_validate(said)
    except ValidationError as error:
        inside = isinstance(said, dict)
        faults += [f"provenance.chip{'.' if inside else ' = '}{fault}" for fault in sentences(error, chip_keys())]
    else:
        if report["provenance"].get("chip_sha256") != chip_sha256(chip):
            faults.append("provenance.chip: is not the chip that provenance.chip_sha256 is of")
    if faults or chip is None:
        raise UserError("cannot be priced again: " + "; ".join(faults))
    layers = report["layers"]
    return SavedRun(
        chip=chip,
        layers=tuple(layer["name"] for layer in layers),
        counts=np.array([[layer["counts"][action.key] for action in Action] for layer in layers], np.int64),
        cycles=np.array([layer["cycles"] for layer in layers], np.int64),
    )


def _faults(report: Mapping[str, Any]) -> Iterable[str]:
    """What is missing in the counts and cycles by layer, or does not add up."""
    layers, known = report["layers"], [action.key for action in Action]
    if len({layer["name"] for layer in layers}) != max(1, len(layers)):
        yield "layers: there are none, or two of one name"
    for layer in layers:
        counts, where = layer["counts"], f"layers: {layer['name']}"
        missing = [key for key in known if key not in counts]
        if missing:
            yield f"{where}: counts lack {', '.join(missing)}; simulate the trace again"
        for key in counts:
            if key not in known:
                yield f"{where}: counts hold {key!r}, no action; {nearest(key, known)}"
        wrong = [key for key, number in {**counts, "cycles": layer["cycles"]}.items() if not 0 <= number <= MOST]
        if wrong:
            yield f"{where}: {', '.join(wrong)} below 0 or beyond {MOST}"
    for key in known:
        total, parts = report["counts"].get(key), sum(layer["counts"].get(key, 0) for layer in layers)
        if total != parts:
            yield f"counts.{key} = {total}: its layers add up to {parts}"
        elif parts > MOST:
            yield f"counts.{key} = {total}: beyond {MOST}"
    cycles = sum(layer["cycles"] for layer in layers)
    if report["cycles"] != cycles:
        yield f"cycles = {report['cycles']}: its layers add up to {cycles}"
    elif cycles > MOST:
        yield f"cycles = {cycles}: beyond {MOST}"


def reprice(run: SavedRun, tables: Sequence[EnergyTable]) -> list[Repriced]:
    """The run's energy under each table, in order; counts and cycles are those of the run.

    What depends on chip and table alone is kept: of the last 256 pairs the prices, so that many runs under the same
    tables, and of the last 256 chips the amounts, so that one run under ever new tables, cost little more than the
    sums. `tests/bench` has the rates.

    A table of another node prices the same chip built there, at the same clock. Raises UserError, for all tables at
    once, where a table does not know the chip's DRAM, CACTI not its memories, or these are too slow for the clock.
    """
    found, faults = [], []
    for table in tables:
        try:
            chip, pricer = _ready(run.chip, _This(table))
            found.append(Repriced(table, chip, pricer(run.counts, run.cycles, run.layers)))
        except UserError as error:
            faults.append(f"table {table.label}: {error}")
    if faults:
        raise UserError("; ".join(faults))
    return found


@dataclass(frozen=True, eq=False)
class _This:
    """A table as the one that it is: what it holds cannot be hashed, and to compare it takes longer than to price."""

    table: EnergyTable

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _This) and self.table is other.table


@lru_cache(maxsize=256)
def _ready(chip: Chip, this: _This) -> tuple[Chip, Pricer]:
    """The chip built at the table's node, and its prices there. Raises UserError as `reprice`, but for the table."""
    built = _built(chip, this.table.node_nm, this.table.scaled)
    return built, Pricer(built, this.table)


@lru_cache(maxsize=256)
def _built(chip: Chip, node_nm: int, scaled: Scaled | None) -> Chip:
    """The chip at another node, where its memories answer within its clock period, or UserError."""
    built = chip.replace({"technology.node_nm": node_nm})
    check_access_times(built, built_memories(built, scaled))
    return built
