"""`sparsespike hardware --check`: are the memories' figures right? Published reads, held-out macros; a chip's area.

As a program it fills the marked blocks of Markdown files and draws the figure beside them:
    python -m sparsespike.analysis.sram_view hwconfigs/energy/README.md
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..simulator.area import AREA_SCOPE, area_json, area_mm2
from ..simulator.energy import memories_of, table_of_node
from ..simulator.errors import UserError, nearest
from ..simulator.files import write_text
from ..simulator.hardware import Chip, chip_text, load_chip
from ..simulator.sram import CELL_KIB, CELL_WIDTH, Macro, MacroCost, cell_leakage_nw, macro_costs, sram_cost
from ..simulator.sram_table import COLUMNS, HELD_OUT, macros_of, read_points, technologies
from .console import show
from .figures import sram_interpolation
from .readme import GALLERY, block_names, fill_blocks
from .sram_validation import AREA_BAR, READ_BAR, published, validations
from .style import blank, save_png, styled
from .tables import Table, percent, si
from .views import area_table, chips_table

KIND = "sram"


def show_hardware(chip: str | None, *, check: bool = False) -> None:
    """List the shipped chips or print one, its area by block aside; with `check`, what memories' figures rest on."""
    if check:
        show(*(make() for make in TABLES.values()), *([] if chip is None else chip_tables(chip)))
    elif chip is None:
        show(chips_table())
    else:
        show(chip_text(chip)[0].rstrip())
        show("", chip_tables(chip)[1], aside=True)


def published_table() -> Table:
    """Published reads against the interpolated macro of each transistor type: pJ, and published over ours."""
    reads = published()
    rows = []
    for read in reads:
        ours = [
            sram_cost(read.size_kib, read.width_bits, node, device).read_pj
            for node, device in technologies()
            if node == read.node_nm
        ]
        name = f"{read.size_kib:g} KiB x {read.width_bits} bit, {read.node_nm} nm"
        cells = (f"{pj:.2f} pJ ({read.read_pj / pj:.2f})" for pj in ours)
        rows.append((name, f"{read.read_pj:g} pJ", *cells))
    devices = (device for node, device in technologies() if node == reads[0].node_nm)
    note = (
        f"In brackets: published over ours. {reads[0].source.partition(':')[0]}, a cache read, quoted second-hand; "
        "ours: the data array alone, CACTI 7."
    )
    return Table("A read, published and interpolated", ("macro", "published", *devices), tuple(rows), note)


def held_out_table(on_curve: bool = True) -> Table:
    """Errors at held-out macros by node and transistor type, at widths of the table or at widths between."""
    rows, beyond, total = [], [0, 0], 0
    for check in validations():
        read, area = check.of("read_pJ", on_curve), check.of("area_mm2", on_curve)
        others = (_tail(check.of(column, on_curve)) for column in ("write_pJ", "leak_mW", "access_ns"))
        rows.append((f"{check.node_nm} nm {check.device}", f"{read.size}", _three(read), _three(area), *others))
        beyond = [beyond[0] + int((read > READ_BAR).sum()), beyond[1] + int((area > AREA_BAR).sum())]
        total += read.size
    where = "sizes between those of the table" if on_curve else "sizes and word widths between those of the table"
    note = (
        f"|error| against CACTI 7 at {where}, drawn by a seed without a look at the table: median / 95th percentile / "
        f"worst, of the last three 95th percentile / worst. Of {total} macros {beyond[0]} are off by more than "
        f"{percent(READ_BAR, 0)} in read energy, {beyond[1]} by more than {percent(AREA_BAR, 0)} in area."
    )
    title = "Interpolation against held-out CACTI macros" + ("" if on_curve else ", other word widths")
    columns = ("process", "macros", "read", "area", "write", "leakage", "access time")
    return Table(title, columns, tuple(rows), note)


def leakage_table() -> Table:
    """What a bit of SRAM leaks by node and transistor type, and how many times as much one type leaks as another."""
    devices = ("hp", "lop", "lstp")
    rows = []
    for node in sorted({node for node, _ in technologies()}, reverse=True):
        leak = {device: cell_leakage_nw(node, device) for device in devices}
        of_45 = leak["lop"] / cell_leakage_nw(45, "lop")
        cells = (f"{leak[device]:.3g} nW" for device in devices)
        rows.append((f"{node} nm", *cells, f"{of_45:.2f} x", f"{leak['lop'] / leak['lstp']:.0f} x"))
    note = (
        f"CACTI 7, 350 K, subthreshold and gates, per bit of a macro of {CELL_KIB:g} KiB x {CELL_WIDTH} bit with its "
        "periphery; other macros leak a little more or less."
    )
    columns = ("node", *devices, "lop over lop at 45 nm", "lop over lstp")
    return Table("Leakage of a bit of SRAM", columns, tuple(rows), note)


def _three(errors: NDArray[np.float64]) -> str:
    return f"{100 * np.median(errors):.2f} / {_tail(errors)}"


def _tail(errors: NDArray[np.float64]) -> str:
    return f"{100 * np.percentile(errors, 95):.1f} / {100 * errors.max():.1f} %"


def chip_tables(source: str | Path) -> tuple[Table, Table]:
    """Every SRAM of a chip, and its area by block.

    At a node that CACTI has not, memories are those of the shipped energy table of that node. Raises UserError as
    `load_chip`, `table_of_node` and `macro_costs` do.
    """
    chip = load_chip(source)
    node = chip.technology.node_nm
    theirs = node in {known for known, _ in technologies()}
    memories = macro_costs(chip) if theirs else memories_of(chip, table_of_node(node))
    return macros_table(chip, memories), area_table(area_json(area_mm2(chip, memories)), AREA_SCOPE)


def macros_table(chip: Chip, costs: Mapping[str, tuple[Macro, MacroCost]]) -> Table:
    """Every SRAM of a chip: what it is, what it costs, and whether it answers within a clock period."""
    rows = tuple(_macro_row(name, macro, cost, chip.clock_period_ns) for name, (macro, cost) in costs.items())
    leak = sum(macro.count * cost.leak_mw for macro, cost in costs.values())
    area = sum(macro.count * cost.area_mm2 for macro, cost in costs.values())
    note = (
        f"Energy per word; leakage (at 350 K) and area of all of a kind, together {si(leak * 1e-3, 'W')} and "
        f"{area:.3g} mm². A clock period at {chip.clock_mhz:g} MHz is {chip.clock_period_ns:.2f} ns."
    )
    if any(cost.extrapolated for _, cost in costs.values()):
        note += " * larger than any macro of the table: extrapolated."
    columns = ("memory", "macros", "word", "read", "write", "access", "leakage", "area")
    title = f"SRAM of {chip.name}, {chip.technology.node_nm} nm {chip.technology.sram_device}"
    return Table(title, columns, rows, note)


def _macro_row(name: str, macro: Macro, cost: MacroCost, period_ns: float) -> tuple[str, ...]:
    return (
        name + (" *" if cost.extrapolated else ""),
        f"{macro.count:,} x {macro.size_kib:g} KiB",
        f"{macro.width_bits} bit",
        f"{cost.read_pj:.3g} pJ",
        f"{cost.write_pj:.3g} pJ",
        f"{cost.access_ns:.2f} ns, {'in time' if cost.access_ns <= period_ns else 'too slow'}",
        si(macro.count * cost.leak_mw * 1e-3, "W"),
        f"{macro.count * cost.area_mm2:.3g} mm²",
    )


TABLES: dict[str, Callable[[], Table]] = {
    "published": published_table,
    "leakage": leakage_table,
    "held-out": held_out_table,
    "held-out-widths": partial(held_out_table, on_curve=False),
}


def interpolation_figure(width_bits: int = 64) -> Figure:
    """Interpolated read energy against size at one word width, with the held-out macros, a panel per node."""
    nodes = sorted({node for node, _ in technologies()})
    figure = blank(2.4 * len(nodes) + 0.6, 2.9)
    panels = figure.subplots(1, len(nodes), sharey=True, squeeze=False)[0]
    for node, ax in zip(nodes, panels, strict=True):
        devices = [device for other, device in technologies() if other == node]
        largest = macros_of(node, devices[0]).largest_kib
        sizes = np.geomspace(1, largest, 1500).clip(1, largest).tolist()
        curves = {device: [sram_cost(size, width_bits, node, device).read_pj for size in sizes] for device in devices}
        held = {
            device: [
                (point.size_kib, float(point.cost[COLUMNS.index("read_pJ")]))
                for point in read_points(HELD_OUT, node, device)
                if point.width_bits == width_bits
            ]
            for device in devices
        }
        sram_interpolation(sizes, curves, held, ax)
        ax.set_title(f"{node} nm")
    panels[0].set_ylabel(f"read of {width_bits} bits (pJ)")
    panels[0].legend(loc="upper left")
    return figure


def fill(page: str | Path) -> None:
    """Rewrite the blocks `<!-- sram:NAME -->` of a Markdown file. Raises UserError for a name without a table."""
    text = Path(page).read_text("utf-8")
    for name in block_names(text, KIND):
        if name not in TABLES:
            raise UserError(f"{page}: no table {name!r}; {nearest(name, TABLES)}")
    write_text(page, fill_blocks(text, KIND, lambda name: TABLES[name]().to_markdown()))


def main(pages: Sequence[str]) -> None:
    """Fill the pages, and draw the figure that they show into analysis/gallery."""
    for page in pages:
        fill(page)
    with styled():
        save_png(interpolation_figure(), GALLERY / "sram.png")


if __name__ == "__main__":
    main(sys.argv[1:])
