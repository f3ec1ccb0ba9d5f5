"""The result table of the project: all tickets, or each training in two lines."""

from collections.abc import Callable

from ...simulator.energy import MUCH
from ..tables import Table, band, kib, percent, percent_pruned, si
from .groups import SPARSE, Series, Step, series_of
from .rows import WIDE_FLITS, Results, Row, TicketFacts


def full_table(results: Results) -> Table:
    """Every row, in the order of the command line."""
    columns = (
        *("ticket", "network", "keep", "tokens", "selector", "round", "seed", "float", "integer", "simulated"),
        *("pruned", "of all", "GMACs", "syn. ops", "MACs", "formula", *_measured_columns(results)),
    )
    return Table(f"Tickets on {results.chip}", columns, tuple(map(_cells, results.rows)), _note(results))


def summary_table(results: Results) -> Table:
    """Each series dense and at its first step of at least 90 % sparsity: means over its tickets, with their range."""
    rows = [_summary_cells(series, step) for series in series_of(results.on_chip) for step in summary_steps(series)]
    columns = (
        *("training", "network", "keep", "tokens", "selector", "round", "seeds", "integer", "pruned"),
        *("GMACs", "syn. ops", "formula", *_measured_columns(results)),
    )
    note = (
        f"{_note(results)} A row is the mean over its tickets, one per seed, in brackets the smallest and the largest; "
        f"its band is of the means. Of each training there is the beginning and the first round with at least "
        f"{100 * SPARSE:.0f} % of the weights pruned, or the last one where none has that many, which its row says."
    )
    return Table(f"Trainings on {results.chip}", columns, tuple(rows), note)


def _measured_columns(results: Results) -> tuple[str, ...]:
    images = f"{results.images} image" + ("s" if results.images > 1 else "")
    return f"energy ({images})", "band", "DRAM part", "cycles", "load, once", "DRAM / image"


def summary_steps(series: Series) -> tuple[Step, ...]:
    """The least sparse step and the first of at least 90 % sparsity; where none is, the sparsest."""
    first, sparse = series.steps[0], series.sparse or series.steps[-1]
    return (first,) if sparse is first else (first, sparse)


def _cells(row: Row) -> tuple[str, ...]:
    ticket = row.ticket
    mark = "*" if ticket.accuracy_from == "measured" else ""
    return (
        row.name,
        *_network_cells(ticket),
        *("-" if number is None else str(number) for number in (ticket.round, ticket.seed)),
        percent(ticket.accuracy_float) + mark,
        percent(ticket.accuracy_integer) + mark,
        percent(row.accuracy),
        percent_pruned(ticket.pruned),
        percent_pruned(ticket.pruned_of_all),
        f"{ticket.macs / 1e9:.3g}",
        si(row.synaptic_operations + row.attention_additions, "").strip(),
        si(row.real_macs, "").strip(),
        si(row.formula_pj * 1e-12, "J"),
        si(row.energy_pj * 1e-12, "J"),
        band(row.energy_low_pj, row.energy_high_pj),
        percent(row.dram_pj / row.energy_pj),
        f"{row.cycles:,.0f}",
        kib(row.load_bytes),
        kib(row.dram_bytes),
    )


def _network_cells(ticket: TicketFacts) -> tuple[str, ...]:
    """Network, keep, tokens of each block (once where all have as many), selector."""
    tokens = ticket.tokens if len(set(ticket.tokens)) > 1 else ticket.tokens[:1]
    return ticket.network, f"{ticket.keep:g}", "/".join(map(str, tokens)), ticket.selector


def _summary_cells(series: Series, step: Step) -> tuple[str, ...]:
    ticket = step.ticket
    fallback = step is not series.steps[0] and step is not series.sparse
    name = f"{series.name} (the sparsest: below {100 * SPARSE:.0f} %)" if fallback else series.name
    mean = {key: step.spread(value).mean for key, value in _NUMBERS.items()}
    return (
        name,
        *_network_cells(ticket),
        "-" if ticket.round is None else str(ticket.round),
        str(len(step.rows)),
        _ranged(step, lambda row: 100 * (row.ticket.accuracy_integer or 0.0), "%"),
        percent_pruned(ticket.pruned),
        f"{ticket.macs / 1e9:.3g}",
        si(mean["operations"], "").strip(),
        si(mean["formula"] * 1e-12, "J"),
        _ranged(step, lambda row: row.energy_pj / 1e6, "µJ"),
        band(mean["low"], mean["high"]),
        percent(mean["dram"] / mean["energy"]),
        f"{mean['cycles']:,.0f}",
        kib(mean["load"]),
        kib(mean["bytes"]),
    )


_NUMBERS: dict[str, Callable[[Row], float]] = {
    "operations": lambda row: row.synaptic_operations + row.attention_additions,
    "formula": lambda row: row.formula_pj,
    "energy": lambda row: row.energy_pj,
    "low": lambda row: row.energy_low_pj,
    "high": lambda row: row.energy_high_pj,
    "dram": lambda row: row.dram_pj,
    "cycles": lambda row: row.cycles,
    "load": lambda row: row.load_bytes,
    "bytes": lambda row: row.dram_bytes,
}


def _ranged(step: Step, value: Callable[[Row], float], unit: str) -> str:
    """The mean, and the smallest and the largest where there are several."""
    spread = step.spread(value)
    return f"{spread.mean:,.1f} {unit}" + (f" ({spread.low:,.1f} to {spread.high:,.1f})" if spread.count > 1 else "")


def _assumed(results: Results) -> str:
    """A sentence where more than a tenth of the energy of some row rests on assumed prices, else ""."""
    least, most = (percent(end(row.assumed_share for row in results.rows)) for end in (min, max))
    if max(row.assumed_share for row in results.rows) <= MUCH:
        return ""
    return f"Of the energy {least if least == most else f'{least} to {most}'} rests on assumed prices."


def _note(results: Results) -> str:
    """What the columns mean, how they depend on the number of images, and what the formula leaves out."""
    recorded = all(row.ticket.accuracy_from == "ticket" for row in results.rows)
    parts = [
        f"Per image, mean over the first {results.images} test images of {results.data}; `simulated`: the accuracy on "
        f"these. Float, integer: accuracy of both networks on all {results.test_images:,}, as recorded in training"
        f"{'' if recorded else ' (*: measured now)'}. Pruned: of the prunable weights; of all: of all parameters, "
        "counted as the paper does. GMACs: dense, all timesteps, as the paper counts FLOPs. Syn. ops, as the chip "
        "counts: spikes, by value, meeting a surviving weight, and integers that spikes add in attention. MACs: "
        "products with real inputs: pixels, selectors, all of an ANN's; zero activations and pruned weights cost none.",
        f"Formula, as the field counts: {results.mac_pj:g} pJ per MAC and {results.operation_pj:g} pJ per accumulate, "
        "prices of 32-bit floats whatever the network's bits; accumulates are synaptic operations of convolutions, "
        "linear layers and head, and of both products of attention firing rate x FLOPs (each spike of q meets N keys, "
        "each of v N scores).",
        f"Energy: simulated, with DRAM, table {results.energy_table}; band: from its least to its greatest prices; "
        "DRAM part: traffic and background. Weights that stay on the chip are loaded once for all images (load, once; "
        f"DRAM / image is without it): energy, DRAM part and cycles hold 1/{results.images} of that, and fall with "
        "more images.",
    ]
    parts += [said] if (said := _assumed(results)) else []
    if any(row.variant == WIDE_FLITS for row in results.rows):
        parts.append(
            f"{WIDE_FLITS}: the same chip with mesh.value_bits = 8. The chip's own flits hold less, so that an ANN's "
            "larger activations are sent and added several times; spikes are not."
        )
    return " ".join(parts)
