"""The few journeys that cross every room: tickets and images in, tables, figures and a page out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed, parallel_config

from .analysis.console import progress, show
from .analysis.gallery import Gallery, write_demo
from .analysis.results import front_table, read_rows
from .analysis.space import load_space
from .analysis.sweep import Outcome, run_sweep
from .analysis.tables import Table, percent
from .analysis.views import SUMMARY_COLUMNS, summary_cells, summary_table, verified_line
from .simulator.errors import UserError, nearest
from .simulator.files import write_text
from .simulator.hardware import load_chip
from .simulator.report import simulate
from .simulator.trace import Trace, load_trace, save_trace

if TYPE_CHECKING:
    from .model.ticket import Ticket
    from .simulator.report import Report

DEMO_CHIPS = ("edge", "mesh16", "dense")
DEMO_IMAGES = 8  # simulated; the accuracy on the whole test set stands in the tickets
# ticket -> what it is, from the dense network to the sparse one
ABLATION = {
    "digits-dense": "dense weights, all tokens",
    "digits-pruned": "pruned weights",
    "digits-tokens": "pruned tokens",
    "digits": "both",
}
ABLATION_CHIP = "mesh16"


def demo(out: str | Path) -> None:
    """The shipped tickets on real images: three chips, the ablation, a small sweep; figures and a page in `out`."""
    out = Path(out)
    write_text(out / "README.txt", _DEMO_README)  # also finds out at once whether the folder can be written
    traces = {name: _traced(name, "digits", DEMO_IMAGES, out / "traces" / f"{name}.safetensors") for name in ABLATION}
    runs = [("digits", chip) for chip in DEMO_CHIPS]
    runs += [(name, ABLATION_CHIP) for name in ABLATION if (name, ABLATION_CHIP) not in runs]
    reports = _run_all([(traces[name], chip) for name, chip in runs])
    found: dict[tuple[str, str], Any] = {}
    for (name, chip), report in zip(runs, reports, strict=True):
        report.save(out / "reports" / f"{name}-{chip}.json")
        found[name, chip] = report.to_json()
    chips = {chip: found["digits", chip] for chip in DEMO_CHIPS}
    ablation = {text: found[name, ABLATION_CHIP] for name, text in ABLATION.items()}
    sweep = _run_space("digits", [str(out / "traces" / "digits.safetensors")], out / "results.sqlite", -1)
    gallery = Gallery(
        chips=chips,
        ablation=ablation,
        trace=traces["digits"],
        tables={
            "chips": summary_table(chips, "The sparse ticket on three chips"),
            "ablation": summary_table(ablation, f"What pruning saves on {ABLATION_CHIP}", "ticket"),
            "front": front_table(sweep.rows, "latency,energy,area"),
        },
        sweep=sweep.rows,
    )
    show(
        gallery.tables["chips"], verified_line(chips.values()), "", gallery.tables["ablation"], gallery.tables["front"]
    )
    with progress("figures"):
        page = write_demo(gallery, out)
    show(f"page: {page}")


def _run_all(runs: Sequence[tuple[Trace, str]]) -> list["Report"]:
    """Each trace on its chip and verified, the first alone so that kernels compile once, the others side by side.

    Threads are enough, since the event loop runs outside Python's lock.
    """
    reports = []
    with progress("three chips and the ablation") as step, parallel_config("threading", n_jobs=-1):
        step(0, len(runs))
        reports.append(simulate(runs[0][0], load_chip(runs[0][1]), verify=True))
        jobs = (delayed(simulate)(trace, load_chip(chip), verify=True) for trace, chip in runs[1:])
        rest = Parallel(return_as="generator")(jobs)
        for report in rest:
            reports.append(report)
            step(len(reports), len(runs))
    return reports


_DEMO_README = """What `sparsespike demo` leaves here:
  report.html     the page with everything on it; open this one
  figures/        each figure as PNG and SVG
  traces/         the spikes of the shipped tickets on real images
  reports/        each run as JSON
  results.sqlite  the sweep
  tables.json     the tables of the page
"""


def compare(tickets: Sequence[str], data: str, images: int, hardware: str, baseline: str | None = None) -> None:
    """Tickets side by side on one chip: accuracy, sparsity, operations, cycles, traffic, energy.

    baseline: each ticket once more on the chip with everything off (`hardware.BASELINES`).
    """
    from .model.export import trace_dataset
    from .model.ticket import load_ticket

    chip = load_chip(hardware)
    chips = {"": chip} if baseline is None else {"": chip, f", {baseline} baseline": chip.baseline(baseline)}
    paths = [ticket_path(name) for name in tickets]
    rows = []
    with progress(f"tickets on {chip.name}") as step:
        for done, (name, path) in enumerate(zip(tickets, paths, strict=True)):
            step(done, len(paths))
            ticket = load_ticket(path)
            trace = trace_dataset(path, data, images)
            kept = "/".join(map(str, ticket.kept_tokens))
            sparse = percent(ticket.sparsity)
            for suffix, one in chips.items():
                report = simulate(trace, one).to_json()
                who, operations = Path(name).stem + suffix, f"{report['synaptic_events'] / images:,.0f}"
                rows.append((who, percent(report["accuracy"]), sparse, kept, operations, *summary_cells(report)))
    columns = ("ticket", "accuracy", "weights pruned", "tokens", "synaptic events", *SUMMARY_COLUMNS)
    note = f"Per image, on the first {images} test images of {data}."
    show(Table(f"Tickets on {chip.name}", columns, tuple(rows), note))


def write_trace(ticket: str, data: str, images: int, out: str | Path) -> None:
    """Trace a ticket on test images, write the file and say what is in it."""
    trace = _traced(ticket, data, images, out)
    show(_trace_table(Path(out), trace))


def sweep(space: str, traces: Sequence[str], out: str | Path, jobs: int) -> None:
    """Run a design space; traces given here replace the space's. Names of shipped tickets are traced beside `out`."""
    outcome = _run_space(space, traces, out, jobs)
    show(
        f"{len(outcome.rows)} points in {out}: {outcome.known} were known, {outcome.infeasible} do not fit",
        front_table(outcome.rows, "latency,energy"),
    )


def _run_space(name: str, traces: Sequence[str], out: str | Path, jobs: int) -> Outcome:
    space = load_space(name)
    paths = [_trace_path(trace, space.images, Path(out)) for trace in traces or space.traces]
    with progress(f"sweep of {space.name}") as step:
        return run_sweep(space, paths, out, jobs=jobs, step=step)


def _trace_path(name: str, images: int | None, beside: Path) -> Path:
    """A trace file as it is; a shipped ticket's name becomes a trace next to the results."""
    from .model.tickets import SHIPPED

    path = Path(name)
    if name not in SHIPPED or path.exists():
        return path
    path = beside.parent / f"{name}.safetensors"
    _traced(name, "digits", images or DEMO_IMAGES, path)
    return path


def _traced(ticket: str, data: str, images: int, out: str | Path) -> Trace:
    from .model.export import trace_dataset

    with progress(f"tracing {Path(ticket).stem}"):
        trace = trace_dataset(ticket_path(ticket), data, images)
    save_trace(trace, out)
    return trace


def ticket_path(name: str) -> Path:
    """A ticket file as it is, or the shipped ticket of that name; raises UserError where there is neither."""
    from .model.tickets import SHIPPED, shipped

    path = Path(name)
    if path.exists() or path.suffix:
        return path
    if name not in SHIPPED:
        raise UserError(f"no ticket {name!r}; {nearest(name, SHIPPED)} Or give a file.")
    return shipped(name)


def inspect(file: str | Path) -> None:
    """Print what is in a ticket, a trace, a report or a result file."""
    from .analysis.kinds import kind_of

    path = Path(file)
    kind = kind_of(path)
    if kind == "trace":
        trace = load_trace(path)
        show(_trace_table(path, trace), _provenance(trace.provenance))
    elif kind == "ticket":
        from .model.ticket import load_ticket

        ticket = load_ticket(path)
        show(_ticket_table(path, ticket), _provenance(ticket.provenance))
    elif kind == "results":
        show(front_table(read_rows(path), "latency,energy"))
    else:
        from .simulator.report import load_report

        report = load_report(path)
        show(summary_table({report["chip"]: report}, f"report {path.name}"), _provenance(report["provenance"]))


def _trace_table(path: Path, trace: Trace) -> Table:
    """What is in a trace, in one column."""
    events = [stream.events for stream in trace.streams.values() if stream.events is not None]
    weights = [layer.weights for layer in trace.layers if hasattr(layer, "weights")]
    nonzeros, size = sum(w.nonzeros for w in weights), sum(w.size for w in weights)
    rows = {
        "images": f"{trace.images:,}",
        "layers": f"{len(trace.layers)}",
        "neurons": {"lif": "spiking", "relu": "ReLU, 8 bits"}[trace.numerics.neuron],
        "timesteps": f"{trace.numerics.timesteps}",
        "spikes": f"{sum(len(event.channels) for event in events):,}",
        "weights left": f"{nonzeros:,} of {size:,} ({percent(nonzeros / max(1, size))})",
        "tokens kept": "/".join(str(kept.shape[1]) for kept in trace.kept) or "all",
        "accuracy": percent(trace.accuracy()),
        "checksum": trace.sha256[:16],
    }
    return Table(f"trace {path.name}", ("what", "value"), tuple(rows.items()))


def _ticket_table(path: Path, ticket: "Ticket") -> Table:
    """What is in a ticket, in one column."""
    rows = {
        "weights pruned": f"{ticket.zeros:,} of {ticket.prunable:,} ({percent(ticket.sparsity)})",
        "of all parameters": percent(ticket.sparsity_all),
        "tokens per block": "/".join(map(str, ticket.kept_tokens)),
        "selector": ticket.config.selector,
        "checksum": ticket.sha256[:16],
    }
    return Table(f"ticket {path.name}", ("what", "value"), tuple(rows.items()))


def _provenance(record: Mapping[str, Any]) -> Table:
    plain = {key: str(value) for key, value in record.items() if not isinstance(value, Mapping)}
    rows = tuple((key, text if len(text) <= 100 else f"{text[:97]}...") for key, text in plain.items())
    return Table("Provenance", ("what", "value"), rows)
