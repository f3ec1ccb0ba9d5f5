"""One run under several technologies, side by side: what `sparsespike reprice` prints and writes."""

from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

from ..simulator.energy import COMPONENTS, energy_names, load_energy_tables
from ..simulator.errors import UserError
from ..simulator.files import write_json
from ..simulator.report_file import load_report
from ..simulator.reprice import Repriced, reprice, saved_run
from .console import show
from .tables import Table, percent, si
from .views import BOUND_LINE

KIND, SCHEMA_VERSION = "prices", 1


def show_repriced(report: str | Path, tables: Sequence[str | Path], json_out: str | Path | None) -> None:
    """Price a saved report under these tables (all shipped ones of its node where none is named) and print them.

    Raises UserError for a report or a table that is damaged, unknown or does not fit the other.
    """
    saved = load_report(report)
    try:
        run = saved_run(saved)
    except UserError as error:
        raise UserError(f"{report}: {error}") from None
    loaded = load_energy_tables(tables or energy_names())
    if not tables:
        loaded = [table for table in loaded if table.node_nm == run.chip.technology.node_nm]
    priced = reprice(run, loaded)
    if json_out is not None:
        write_json(json_out, _plain(saved, priced))
    images = int(saved["images"])
    show(totals_table(priced, images, run.chip.technology.node_nm), components_table(priced, images))
    named = dict(zip(labels(priced), priced, strict=True))
    show(*(f"{name}: {said}" for name, one in named.items() if (said := one.energy.warning())))
    show(*(f"{name}: {said}" for name, one in named.items() if (said := _unlike(saved, one))))
    if saved.get("bound"):
        show(BOUND_LINE)


def reprice_tables(report: Mapping[str, Any], names: Sequence[str]) -> dict[str, Table]:
    """A report under these tables, as a demo shows it: `prices`, the totals, and `price_parts`, by component."""
    run = saved_run(report)
    priced = reprice(run, load_energy_tables(names))
    images = int(report["images"])
    return {
        "prices": totals_table(priced, images, run.chip.technology.node_nm),
        "price_parts": components_table(priced, images),
    }


def labels(priced: Sequence[Repriced]) -> list[str]:
    """What each technology is called: its table's name, and its file where another has the same name."""
    names = [one.table.name for one in priced]
    files = [f" ({one.table.file})" if one.table.file and names.count(one.table.name) > 1 else "" for one in priced]
    return [name + file for name, file in zip(names, files, strict=True)]


def _unlike(saved: Mapping[str, Any], one: Repriced) -> str:
    """A sentence where the very table that a report was made with gives it another total, else ""."""
    total, now = saved["energy_pj"]["total"], float(one.energy.total[1])
    if one.table.sha256 != saved["provenance"].get("energy_table_sha256") or isclose(total, now, rel_tol=1e-9):
        return ""
    return (
        f"this very table priced the report, which says {_joules(total, saved['images'])} an image; its counts give "
        f"{_joules(now, saved['images'])}: it was changed, or made by another version of this program"
    )


def totals_table(priced: Sequence[Repriced], images: int, node_nm: int) -> Table:
    """Totals per image by table: band, what moves and what stands, DRAM's share, what is assumed, over the first."""
    first = priced[0].energy.total[1]
    rows = []
    for name, one in zip(labels(priced), priced, strict=True):
        energy = one.energy
        low, nominal, high = (_joules(pj, images) for pj in energy.total)
        rows.append(
            (
                name,
                f"{one.table.node_nm} nm",
                nominal,
                f"{low} to {high}",
                _joules(energy.moving[1], images),
                _joules(energy.static[1], images),
                percent(energy.dram_share),
                percent(energy.assumed_share),
                f"{energy.total[1] / first:.3g} x" if first else "-",
            )
        )
    columns = ("table", "node", "energy", "band", "dynamic", "static", "DRAM part", "assumed", "of the first")
    note = f"Per image, mean of {images}. Counts and cycles are the report's; nothing was simulated again."
    if any(one.table.node_nm != node_nm for one in priced):
        note += f" The run's chip is of {node_nm} nm; at other nodes it is taken to be built there, at the same clock."
    return Table("The same run, priced anew", columns, tuple(rows), note)


def components_table(priced: Sequence[Repriced], images: int) -> Table:
    """Energy per image by component, a column per table; components that cost nothing anywhere are left out."""
    parts = [one.energy.by_component() for one in priced]
    rows = tuple(
        (name.replace("_", " "), *(_joules(part[name], images) for part in parts))
        for name in sorted(COMPONENTS, key=lambda name: -parts[0][name])
        if any(part[name] for part in parts)
    )
    return Table("By component, per image", ("component", *labels(priced)), rows)


def _joules(pj: float, images: int) -> str:
    return si(float(pj) / images * 1e-12, "J")


def _plain(saved: dict[str, Any], priced: Sequence[Repriced]) -> dict[str, Any]:
    """What was priced, and what it costs in each technology; pJ are of all images."""
    said = saved["provenance"]
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "chip": saved["chip"],
        "images": saved["images"],
        "cycles": saved["cycles"],
        "trace_sha256": said.get("trace_sha256"),
        "chip_sha256": said.get("chip_sha256"),
        "reported": {"energy_table": said.get("energy_table"), "total_pj": saved["energy_pj"]["total"]},
        "priced": [one.to_json() for one in priced],
    }
