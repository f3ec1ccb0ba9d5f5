"""What `recommend` says: the chip, what limits it, which limit binds, and where the next steps lead."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ....simulator.energy import table_of_node
from ....simulator.errors import UserError, nearest
from ....simulator.files import write_text
from ...tables import Table, percent, si
from ...views import Report, images_of, layers_of
from ..metrics import METRICS, described, parse_objectives
from ..results import read_rows
from ..store import Row, open_store
from ..views.naming import SHORT
from .chip_file import chip_of, chip_toml, flat_keys, point_names
from .neighbours import steps_table
from .recommend import LIMITED, Bound, Choice, recommend, written
from .units import parse_quantity

MOST_PARTS = 5  # components and causes that are named
SHOWN = ("latency", "energy", "area", "accuracy", "throughput", "power", "dram")


@dataclass(frozen=True)
class RecommendRequest:
    """What `sparsespike recommend` is asked for. limits: metric -> text, e.g. "2ms".  trace: of which alone."""

    results: Path
    limits: Mapping[str, str] = field(default_factory=dict)
    cheapest: str = "energy"
    trace: str | None = None
    out: Path = Path("out/recommended.toml")


def answer(request: RecommendRequest) -> list[Table | str]:
    """The recommendation in tables and lines; its chip file is written.

    Raises UserError for a mistake in the request or the file, and where no point meets the limits.
    """
    cheapest = _objective(request.cheapest)
    limits = _limits(request.limits)
    rows = _rows_of(read_rows(request.results), request.trace)
    choice = recommend(rows, limits, cheapest)
    with open_store(request.results) as store:
        report, about = store.report(choice.row.key), store.about()
        trace = store.trace_files().get(choice.row.trace, choice.row.trace)
    base = PurePath(about.get("base chip", report["chip"])).stem
    write_text(request.out, _chip_text(choice.row, report, base, limits, cheapest))
    steps = steps_table(rows, choice.row)
    return [
        _point_table(choice, cheapest),
        *_binding_lines(choice, cheapest),
        _limits_table(report),
        steps if steps.rows else "the results have no other value of any axis: no step to compare with",
        f"chip file: {request.out}",
        f"run it: sparsespike simulate {trace} --images {images_of(report)} --hardware {request.out}"
        + _energy_option(report),
    ]


def _objective(text: str) -> str:
    names = parse_objectives(text)
    if len(names) != 1:
        raise UserError(f"--cheapest {text}: one metric, e.g. energy")
    return names[0]


def _limits(texts: Mapping[str, str]) -> dict[str, float]:
    """Raises UserError for all faults at once."""
    limits, faults = {}, []
    for name in LIMITED:
        if name in texts:
            try:
                limits[name] = parse_quantity(name, texts[name])
            except UserError as error:
                faults.append(str(error))
    if faults:
        raise UserError("; ".join(faults))
    return limits


def _rows_of(rows: Sequence[Row], trace: str | None) -> list[Row]:
    traces = list(dict.fromkeys(row.trace for row in rows))
    if trace is not None and trace not in traces:
        raise UserError(f"--trace {trace}: not in the results; {nearest(trace, traces)}")
    return [row for row in rows if trace is None or row.trace == trace]


def _chip_text(row: Row, report: Report, base: str, limits: Mapping[str, float], cheapest: str) -> str:
    chip = chip_of(report).model_dump(mode="json")
    asked = ", ".join(f"{name} {written(name, limit)}" for name, limit in limits.items())
    numbers = ", ".join(f"{name} {text}" for name, text in described(row.metrics or {}, ("latency", "energy")).items())
    head = (
        f"{best_of(cheapest)} of a sweep around {base}" + (f" within {asked}" if asked else "") + ".\n"
        f"On {row.trace} with energy table {row.prices}: {numbers} per image. Point {row.key}."
    )
    return chip_toml(flat_keys(chip) | point_names(row, base), head)


def best_of(name: str) -> str:
    """ "The least energy per image", "The highest accuracy"."""
    return f"The {'least' if METRICS[name].sense > 0 else 'highest'} {METRICS[name].label}"


def _point_table(choice: Choice, cheapest: str) -> Table:
    row = choice.row
    rows = [("settings", row.label), ("trace", row.trace), ("energy table", row.prices), ("key", row.key[:SHORT])]
    rows += [(METRICS[name].label, text) for name, text in described(row.metrics or {}, SHOWN).items()]
    note = f"{best_of(cheapest)} of {choice.meeting:,} points that meet the limits."
    if (row.metrics or {}).get("extrapolated"):
        note += " Some of its memories are extrapolated beyond the SRAM table."
    return Table("Recommended", ("", "this chip"), tuple(rows), note)


def _binding_lines(choice: Choice, cheapest: str) -> list[str]:
    if not choice.bounds:
        return ["no limit was given"]
    return [_binding_line(choice.row, bound, cheapest) for bound in choice.bounds]


def _binding_line(row: Row, bound: Bound, cheapest: str) -> str:
    head = f"--{bound.name} {written(bound.name, bound.limit)}:"
    used = f"{described(row.metrics or {}, (bound.name,))[bound.name]}, {100 * bound.slack:.2g} % of the limit to spare"
    if bound.next is None:
        return f"{head} does not bind ({used})"
    numbers = described(bound.next.metrics or {}, (bound.name, cheapest))
    return (
        f"{head} binds ({used}); at {numbers[bound.name]} there is {bound.next.label} on {bound.next.trace} "
        f"with {METRICS[cheapest].label} {numbers[cheapest]}"
    )


def _limits_table(report: Report) -> Table:
    """The largest causes of core cycles, critical units and energy components, side by side."""
    causes = _largest(report["cycles_by_cause"])
    units = Counter[str]()
    for layer in layers_of(report):
        units[layer["critical_resource"]] += layer["cycles"]
    components = _largest(report["energy_pj"]["by_component"])
    images = images_of(report)
    rows = []
    for at in range(MOST_PARTS):
        cause, unit, component = (_part(parts, at) for parts in (causes, _largest(units), components))
        joules = si(components[at][1] * 1e-12 / images, "J") if at < len(components) else ""
        rows.append((str(at + 1), cause, unit, component, joules))
    columns = ("", "what cores do, of core cycles", "critical unit, of cycles", "energy, of all", "per image")
    note = "Critical unit: the one that is busy longest in a layer, weighted with the layer's cycles."
    return Table("What limits it", columns, tuple(row for row in rows if any(row[1:])), note)


def _largest(parts: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(name, value, share), the largest first, without what is 0."""
    total = sum(parts.values()) or 1
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return [(name.replace("_", " "), value, value / total) for name, value in ordered if value]


def _part(parts: Sequence[tuple[str, float, float]], at: int) -> str:
    return f"{parts[at][0]} {percent(parts[at][2])}" if at < len(parts) else ""


def _energy_option(report: Report) -> str:
    """The option that `simulate` needs to price as the sweep did; none where it would anyway."""
    table, node = report["provenance"]["energy_table"], chip_of(report).technology.node_nm
    try:
        return "" if table == table_of_node(node).name else f" --energy {table}"
    except UserError:  # no shipped table is of the node
        return f" --energy {table}"
