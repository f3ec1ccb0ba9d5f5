"""The result table of the project: all tickets, or each training in two lines."""

from collections.abc import Callable

from ..tables import Table, kib, percent, si
from .groups import SPARSE, Series, Step, series_of
from .rows import Results, Row

_COLUMNS = (
    "float",
    "integer",
    "simulated",
    "pruned",
    "of all",
    "tokens",
    "GMACs",
    "syn. ops",
    "MACs",
    "formula",
    "energy",
    "DRAM part",
    "cycles",
    "DRAM bytes",
)


def full_table(results: Results) -> Table:
    """Every row, in the order of the command line."""
    rows = tuple((row.name, *_cells(row)) for row in results.rows)
    return Table(f"Tickets on {results.chip}", ("ticket", *_COLUMNS), rows, _note(results))


def summary_table(results: Results) -> Table:
    """Each series dense and at its first step of at least 90 % sparsity: means over its tickets, with their range."""
    rows = [_summary_cells(series, step) for series in series_of(results.on_chip) for step in summary_steps(series)]
    columns = (
        "training",
        "tickets",
        "integer",
        "pruned",
        "tokens",
        "GMACs",
        "syn. ops",
        "formula",
        "energy",
        "DRAM part",
    )
    note = (
        f"{_note(results)} A row is the mean over its tickets, in brackets the smallest and the largest. Of each "
        f"training there is the beginning and the first round with at least {percent(SPARSE, 0)} of the weights pruned."
    )
    return Table(f"Trainings on {results.chip}", (*columns, "cycles", "DRAM bytes"), tuple(rows), note)


def summary_steps(series: Series) -> tuple[Step, ...]:
    """The least sparse step and the first of at least 90 % sparsity; where none is, the sparsest."""
    first, sparse = series.steps[0], series.sparse or series.steps[-1]
    return (first,) if sparse is first else (first, sparse)


def _cells(row: Row) -> tuple[str, ...]:
    ticket = row.ticket
    mark = "*" if ticket.accuracy_from == "measured" else ""
    return (
        percent(ticket.accuracy_float) + mark,
        percent(ticket.accuracy_integer) + mark,
        percent(row.accuracy),
        percent(ticket.pruned),
        percent(ticket.pruned_of_all),
        ticket.tokens_text,
        f"{ticket.macs / 1e9:.3g}",
        si(row.synaptic_operations + row.attention_additions, "").strip(),
        si(row.real_macs, "").strip(),
        si(row.formula_pj * 1e-12, "J"),
        si(row.energy_pj * 1e-12, "J"),
        percent(row.dram_pj / row.energy_pj),
        f"{row.cycles:,.0f}",
        kib(row.dram_bytes),
    )


def _summary_cells(series: Series, step: Step) -> tuple[str, ...]:
    ticket = step.ticket
    name = series.name if ticket.round is None else f"{series.name}, round {ticket.round}"
    mean = {key: step.spread(value).mean for key, value in _NUMBERS.items()}
    return (
        name,
        str(len(step.rows)),
        _ranged(step, lambda row: 100 * (row.ticket.accuracy_integer or 0.0), "%"),
        percent(ticket.pruned),
        ticket.tokens_text,
        f"{ticket.macs / 1e9:.3g}",
        si(mean["operations"], "").strip(),
        si(mean["formula"] * 1e-12, "J"),
        _ranged(step, lambda row: row.energy_pj / 1e6, "µJ"),
        percent(mean["dram"] / mean["energy"]),
        f"{mean['cycles']:,.0f}",
        kib(mean["bytes"]),
    )


_NUMBERS: dict[str, Callable[[Row], float]] = {
    "operations": lambda row: row.synaptic_operations + row.attention_additions,
    "formula": lambda row: row.formula_pj,
    "energy": lambda row: row.energy_pj,
    "dram": lambda row: row.dram_pj,
    "cycles": lambda row: row.cycles,
    "bytes": lambda row: row.dram_bytes,
}


def _ranged(step: Step, value: Callable[[Row], float], unit: str) -> str:
    """The mean, and the smallest and the largest where there are several."""
    spread = step.spread(value)
    return f"{spread.mean:,.1f} {unit}" + (f" ({spread.low:,.1f} to {spread.high:,.1f})" if spread.count > 1 else "")


def _note(results: Results) -> str:
    recorded = all(row.ticket.accuracy_from == "ticket" for row in results.rows)
    return (
        f"Per image, mean over the first {results.images} test images of {results.data}; `simulated`: the accuracy on "
        f"these. Float, integer: accuracy of both networks on all {results.test_images:,}, as recorded in training"
        f"{'' if recorded else ' (*: measured now)'}. Pruned: of the prunable weights, and of all parameters. GMACs: "
        "dense, all timesteps, as the paper counts FLOPs. Syn. ops: spikes, by value, meeting a surviving weight, and "
        "additions of attention. MACs: products with real inputs: pixels, selectors, all of an ANN's. "
        f"Formula: {results.mac_pj:g} pJ per MAC, {results.operation_pj:g} pJ per synaptic operation. "
        f"Energy: simulated, with DRAM, table {results.energy_table}; weights that stay on the chip are loaded once "
        "for all images."
    )
