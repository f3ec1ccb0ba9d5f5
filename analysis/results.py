"""What a sweep's result file says: its front as a table, its figures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..simulator.errors import UserError, nearest
from .figures import latency_energy, settings_effect
from .frontier import non_dominated
from .store import Row, open_store
from .style import blank, save, styled
from .tables import Table, percent, si
from .views import Report, images_of, per_image

# name -> (value to make small, its text)
OBJECTIVES: dict[str, tuple[Callable[[Report], float], Callable[[float], str]]] = {
    "latency": (lambda report: per_image(report)["latency_s"], lambda value: si(value, "s")),
    "energy": (lambda report: per_image(report)["energy_pj"] * 1e-12, lambda value: si(value, "J")),
    "area": (lambda report: report["area_mm2"], lambda value: f"{value:.3g} mm²"),
    "cycles": (lambda report: report["cycles"] / images_of(report), lambda value: f"{value:,.0f}"),
    "error": (lambda report: 1 - (report["accuracy"] or 0.0), percent),
}


def read_rows(results: str | Path) -> list[Row]:
    """All points of a result file. Raises UserError where none of them is feasible."""
    with open_store(results) as store:
        rows = store.rows()
    if not any(row.feasible for row in rows):
        raise UserError(f"{results}: holds no point that fits" + (f"; the first: {rows[0].reason}" if rows else ""))
    return rows


def front_table(rows: Sequence[Row], objectives: str) -> Table:
    """The Pareto front of each trace under comma-separated objectives, the best in the first objective on top."""
    names = [name.strip() for name in objectives.split(",")]
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(f"no objective {name!r}; {nearest(name, OBJECTIVES)}")
    feasible = [row for row in rows if row.feasible]
    cells = [cell for group in by_trace(feasible).values() for cell in _front_cells(group, names)]
    note = f"{len(cells)} of {len(feasible)} points"
    if len(rows) > len(feasible):
        note += f"; {len(rows) - len(feasible)} more do not fit"
    beyond = sum(bool((row.report or {}).get("extrapolated_macros")) for row in feasible)
    if beyond:
        note += f"; {beyond} with memories extrapolated beyond the SRAM table"
    return Table(f"Pareto front: {', '.join(names)}", ("settings", "chip", "trace", *names), tuple(cells), f"{note}.")


def _front_cells(rows: Sequence[Row], names: Sequence[str]) -> list[tuple[str, ...]]:
    values = np.array([[OBJECTIVES[name][0](row.report or {}) for name in names] for row in rows], np.float64)
    front = non_dominated(values)
    cells = []
    for index in np.lexsort(values.T[::-1]):
        if front[index]:
            texts = [OBJECTIVES[name][1](value) for name, value in zip(names, values[index], strict=True)]
            cells.append((rows[index].label, rows[index].chip, rows[index].trace, *texts))
    return cells


def by_trace(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each trace: what different work costs is never compared."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.trace, []).append(row)
    return groups


def scatter_figure(rows: Sequence[Row]) -> Figure:
    """Latency against energy with the front, a panel per trace."""
    groups = by_trace([row for row in rows if row.feasible])
    figure = blank(6.4, 4.2 * len(groups))
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for (trace, group), ax in zip(groups.items(), panels, strict=True):
        latency_energy(group, ax)
        if len(groups) > 1:
            ax.set_title(f"{trace}: {ax.get_title(loc='left')}")
    return figure


def effects_figure(rows: Sequence[Row]) -> Figure:
    """A panel per axis: latency against its values."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    figure = blank(2.6 * len(keys) + 0.6, 2.8)
    panels = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    for key, ax in zip(keys, panels, strict=True):
        settings_effect(rows, key, ax)
    panels[0].set_ylabel("latency per image (µs)")
    figure.suptitle("Each line changes one key and holds the others", x=0.02, ha="left", size=10, weight="bold")
    return figure


def plot_results(rows: Sequence[Row], out: str | Path) -> list[Path]:
    """Write the figures of a sweep; returns their paths. Raises UserError where it cannot."""
    paths: list[Path] = []
    with styled():
        for name, draw in (("latency_energy", scatter_figure), ("settings", effects_figure)):
            save(draw(rows), Path(out), name)
            paths += [Path(out) / f"{name}.png", Path(out) / f"{name}.svg"]
    return paths
