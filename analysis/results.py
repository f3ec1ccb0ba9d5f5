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
    "error": (lambda report: 1 - report["accuracy"], percent),
}


def read_rows(results: str | Path) -> list[Row]:
    """All points of a result file. Raises UserError where it has none that is feasible."""
    with open_store(results) as store:
        rows = store.rows()
    if not any(row.feasible for row in rows):
        raise UserError(f"{results}: holds no point that fits" + (f"; the first: {rows[0].reason}" if rows else ""))
    return rows


def front_table(results: str | Path, objectives: str) -> Table:
    """The Pareto front of a result file under comma-separated objectives, the best in the first objective on top."""
    rows = read_rows(results)
    names = [name.strip() for name in objectives.split(",")]
    for name in names:
        if name not in OBJECTIVES:
            raise UserError(f"no objective {name!r}; {nearest(name, OBJECTIVES)}")
    feasible = [row for row in rows if row.report is not None]
    values = np.array([[OBJECTIVES[name][0](row.report or {}) for name in names] for row in feasible], np.float64)
    best = [index for index in np.lexsort(values.T[::-1]) if non_dominated(values)[index]]
    cells = tuple(
        (
            feasible[index].label,
            feasible[index].trace,
            *(OBJECTIVES[n][1](v) for n, v in zip(names, values[index], strict=True)),
        )
        for index in best
    )
    refused = len(rows) - len(feasible)
    note = (
        f"{len(best)} of {len(feasible)} points; {refused} more do not fit."
        if refused
        else f"{len(best)} of {len(feasible)} points."
    )
    return Table(f"Pareto front in {', '.join(names)}, per image", ("settings", "trace", *names), cells, note)


def scatter_figure(rows: Sequence[Row]) -> Figure:
    """Latency against energy, the front marked."""
    figure = blank(6.4, 4.2)
    latency_energy(rows, figure.subplots())
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


def plot_results(results: str | Path, out: str | Path) -> list[Path]:
    """Write the figures of a result file; returns their paths. Raises UserError where it cannot."""
    rows = read_rows(results)
    paths: list[Path] = []
    with styled():
        for name, draw in (("latency_energy", scatter_figure), ("settings", effects_figure)):
            paths += save(draw(rows), Path(out), name)
    return paths
