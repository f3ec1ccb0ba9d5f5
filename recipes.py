"""The few journeys that cross every room: tickets and images in, tables, figures and a page out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed, parallel_config

from .analysis.compare.counted import attention_accumulates, loaded_once
from .analysis.compare.folder import begin_folder, write_folder
from .analysis.compare.request import CompareRequest
from .analysis.compare.rows import SCHEMA_VERSION, Results, TicketFacts, load_results, make_row, short_names
from .analysis.compare.table import full_table
from .analysis.console import progress, show
from .analysis.explore.point import program_version
from .analysis.explore.results import front_table, read_rows
from .analysis.explore.store import remove_outdated
from .analysis.gallery import Gallery, write_demo
from .analysis.inspection import NEURONS, provenance_view, trace_table
from .analysis.reprice_view import reprice_tables
from .analysis.run_cache import Task, code_digest, run_tasks
from .analysis.tables import Table, percent_pruned, si
from .analysis.views import summary_table, verified_line
from .explorations import sweep_rows
from .simulator.energy import EnergyTable, table_of_node
from .simulator.errors import UserError
from .simulator.files import write_text
from .simulator.hardware import Chip, load_chip
from .simulator.report import simulate
from .simulator.trace import Trace, load_trace, save_trace

if TYPE_CHECKING:
    from .model.data import Dataset, Split
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
FORMULA_TABLE = "formula45"  # what the field calculates with


def demo(out: str | Path) -> None:
    """The shipped tickets on real images: three chips, the ablation, a small sweep; figures and a page in `out`."""
    out = Path(out)
    write_text(out / "README.txt", _DEMO_README)  # also finds out at once whether the folder can be written
    traces = {name: traced(name, "digits", DEMO_IMAGES, out / "traces" / f"{name}.safetensors") for name in ABLATION}
    runs = [("digits", chip) for chip in DEMO_CHIPS]
    runs += [(name, ABLATION_CHIP) for name in ABLATION if (name, ABLATION_CHIP) not in runs]
    reports = _run_all([(traces[name], chip) for name, chip in runs])
    found: dict[tuple[str, str], Any] = {}
    for (name, chip), report in zip(runs, reports, strict=True):
        report.save(out / "reports" / f"{name}-{chip}.json")
        found[name, chip] = report.to_json()
    chips = {chip: found["digits", chip] for chip in DEMO_CHIPS}
    ablation = {text: found[name, ABLATION_CHIP] for name, text in ABLATION.items()}
    results = out / "results.sqlite"
    remove_outdated(results)
    swept = sweep_rows("digits", {"digits": out / "traces" / "digits.safetensors"}, results)
    gallery = Gallery(
        chips=chips,
        ablation=ablation,
        trace=traces["digits"],
        tables={
            "chips": summary_table(chips, "The sparse ticket on three chips"),
            "ablation": summary_table(ablation, f"What pruning saves on {ABLATION_CHIP}", "ticket"),
            **reprice_tables(found["digits", ABLATION_CHIP], (_shipped_table(ABLATION_CHIP), FORMULA_TABLE)),
            "front": front_table(swept, "latency,energy,area"),
        },
        sweep=swept,
    )
    show(
        gallery.tables["chips"], verified_line(chips.values()), "", gallery.tables["ablation"], gallery.tables["front"]
    )
    with progress("figures"):
        page = write_demo(gallery, out)
    show(f"page: {page}")


def _shipped_table(chip: str) -> str:
    """The name of the energy table that a run on a shipped chip is priced with."""
    return table_of_node(load_chip(chip).technology.node_nm).name


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


def compare(request: CompareRequest) -> Results:
    """Run every ticket on the chip, print the table, and write tables and figures where asked.

    Raises UserError for an unknown chip, data set or ticket, prices that the chip cannot be built with, a ticket of
    another data set, more images than there are, a folder that cannot be written, and what does not fit the chip; all
    but the last before anything is simulated, and all but the last two before the folder is made.
    """
    from .model.counting import ACCUMULATE_PJ, MAC_PJ
    from .model.data import load_data

    table, chips = request.prices, request.chips()
    dataset = load_data(request.data, request.data_folder)
    tickets, test = _read_tickets(request, dataset), dataset.test
    if not 1 <= request.images <= len(test.labels):
        raise UserError(
            f"images = {request.images}: the test split of {request.data!r} has 1 to {len(test.labels)} images to take"
        )
    folder = None if request.out is None else begin_folder(Path(request.out))
    results = Results(
        data=request.data,
        images=request.images,
        test_images=len(test.labels),
        chip=chips[""].name,
        energy_table=table.name,
        mac_pj=MAC_PJ,
        operation_pj=ACCUMULATE_PJ,
        program=f"{program_version()}.{code_digest('sparsespike.model')}",
        command=request.command(),
        rows=(),
    )
    results = _with_rows(results, request, tickets, test, folder)
    show(full_table(results))
    if request.out is not None:
        with progress("figures"):
            written = write_folder(results, Path(request.out))
        show(*(f"written: {path}" for path in written))
    return results


def _with_rows(
    results: Results,
    request: CompareRequest,
    tickets: Mapping[Path, TicketFacts],
    test: "Split",
    folder: Path | None,
) -> Results:
    """Run what is not in the folder yet: each ticket on each chip, and accuracies that no ticket records."""
    from .model.counting import formula_energy_pj

    table = request.prices
    seen, whole = _digest(test, request.images), _digest(test, len(test.labels))
    data = (request.data, request.data_folder)
    tasks: list[Task] = []
    runs = [(path, *run) for path, facts in tickets.items() for run in request.chips(facts.neuron).items()]
    for path, _, chip in runs:
        checksum = tickets[path].sha256
        depends_on = [SCHEMA_VERSION, results.program, checksum, seen, chip.model_dump(mode="json"), table.sha256]
        name = f"{checksum[:12]}-{chip.name}".replace(", ", "-").replace(" ", "-")
        tasks.append(Task(name, depends_on, _simulated, (path, *data, request.images, chip, table)))
    unknown = {path: facts for path, facts in tickets.items() if facts.accuracy_integer is None}
    for path, facts in unknown.items():
        depends_on = [results.program, facts.sha256, whole]
        tasks.append(Task(f"{facts.sha256[:12]}-accuracy", depends_on, _measured, (path, *data)))
    with progress(f"tickets on {results.chip}") as step:
        found = run_tasks(tasks, folder, jobs=request.jobs, step=step)
    known = dict(tickets)
    for path, accuracy in zip(unknown, found[len(runs) :], strict=True):
        known[path] = replace(unknown[path], accuracy_from="measured", **accuracy)
    reports = found[: len(runs)]
    rows = [
        make_row(known[path], report, variant, formula_energy_pj)
        for (path, variant, _), report in zip(runs, reports, strict=True)
    ]
    return replace(results, rows=tuple(rows))


def _simulated(
    path: Path, data: str, data_folder: str | Path | None, images: int, chip: Chip, table: EnergyTable
) -> Mapping[str, Any]:
    """The report of a ticket on a chip, and what is counted beside it; runs in worker processes."""
    from .model.export import trace_dataset

    try:
        trace = trace_dataset(path, data, images, data_folder)
        report = simulate(trace, chip, table).to_json()
        beside = (attention_accumulates, loaded_once)
        return report | {"comparison": {count.__name__: count(trace, chip) for count in beside}}
    except UserError as error:
        raise UserError(f"{path.name} on {chip.name}: {error}") from None


def _measured(path: Path, data: str, data_folder: str | Path | None) -> Mapping[str, Any]:
    """Both accuracies of a ticket on the whole test split; runs in worker processes."""
    from .model.evaluate import evaluate

    accuracy = evaluate(path, data, data_folder=data_folder)
    return {"accuracy_float": accuracy.float_, "accuracy_integer": accuracy.integer}


def _digest(test: "Split", images: int) -> str:
    """SHA-256 of the first images of a split, and of their labels."""
    digest = hashlib.sha256(test.images[:images].tobytes())
    digest.update(test.labels[:images].tobytes())
    return digest.hexdigest()


def _read_tickets(request: CompareRequest, dataset: "Dataset") -> dict[Path, TicketFacts]:
    """File -> ticket, in the order given, equal ones once; raises UserError for one of another data set.

    Its accuracy on this data would mean nothing, and what it records of itself would stand beside other images.
    """
    from .model.facts import ticket_facts
    from .model.official import open_ticket
    from .model.tickets import find

    files: dict[str, tuple[str, Path, Ticket]] = {}
    for name in request.tickets:
        path = find(name)
        ticket = open_ticket(path, dataset)
        trained_on = ticket.provenance.get("data", request.data)
        if trained_on != request.data:
            raise UserError(f"{name}: was trained on {trained_on!r}; compare it with --data {trained_on}")
        if ticket.sha256 in files:
            show(f"{name}: the same ticket as {files[ticket.sha256][0]}, taken once")
        files.setdefault(ticket.sha256, (name, path, ticket))
    names = short_names([name for name, _, _ in files.values()])
    return {
        path: TicketFacts(name=name, **ticket_facts(ticket, len(dataset.test.labels)))
        for name, (_, path, ticket) in zip(names, files.values(), strict=True)
    }


def write_trace(ticket: str, data: str, images: int, out: str | Path, data_folder: str | Path | None = None) -> None:
    """Trace a ticket on test images, write the file and say what is in it."""
    trace = traced(ticket, data, images, out, data_folder)
    show(trace_table(Path(out), trace))


def import_spikes(file: str | Path, geometry: str | Path, out: str | Path) -> None:
    """Make a trace of spikes that another tool recorded, write the file and say what is in it."""
    from .model.foreign import foreign_trace

    with progress(f"importing {Path(file).name}"):
        trace = foreign_trace(file, geometry)
        save_trace(trace, out)
    show(trace_table(Path(out), trace), *provenance_view(trace.provenance))


def traced(ticket: str, data: str, images: int, out: str | Path, data_folder: str | Path | None = None) -> Trace:
    """The trace of a ticket on test images, also written to `out`."""
    from .model.data import load_data
    from .model.export import trace_dataset
    from .model.tickets import find

    path, dataset = find(ticket), load_data(data, data_folder)  # a download shows its own progress
    with progress(f"tracing {Path(ticket).stem}"):
        trace = trace_dataset(path, dataset, images)
    save_trace(trace, out)
    return trace


def inspect(file: str | Path) -> None:
    """Print what is in a ticket, also a shipped one by name, a trace, a report, a result file or a comparison."""
    from .analysis.kinds import kind_of
    from .model.tickets import find

    path = find(str(file))
    kind = kind_of(path)
    if kind == "trace":
        trace = load_trace(path)
        show(trace_table(path, trace), *provenance_view(trace.provenance))
    elif kind == "ticket":
        from .model.ticket import load_ticket

        ticket = load_ticket(path)
        show(_ticket_table(path, ticket), *provenance_view(ticket.provenance))
    elif kind == "comparison":
        show(full_table(load_results(path)))
    elif kind == "results":
        show(front_table(read_rows(path), "latency,energy"))
    else:
        from .simulator.report_file import load_report

        report = load_report(path)
        summary = summary_table({report["chip"]: report}, f"report {path.name}")
        show(summary, *provenance_view(report["provenance"]))


def _ticket_table(path: Path, ticket: "Ticket") -> Table:
    """What is in a ticket, in one column."""
    from .model.counting import macs, parameters, sparsity

    of_all = percent_pruned(sparsity(ticket.config, ticket.zeros, paper_counting=True).of_all)
    rows = {
        "neurons": NEURONS[ticket.config.neuron],
        "parameters": f"{parameters(ticket.config):,}",
        "weights pruned": f"{ticket.zeros:,} of {ticket.prunable:,} ({percent_pruned(ticket.sparsity)})",
        "of all parameters": f"{percent_pruned(ticket.sparsity_all)} ({of_all} as the paper counts)",
        "dense operations per image": f"{si(macs(ticket.config), 'MACs')} (T x MACs, the paper's way)",
        "tokens per block": "/".join(map(str, ticket.kept_tokens)),
        "selector": ticket.config.selector,
        "checksum": ticket.sha256[:16],
    }
    return Table(f"ticket {path.name}", ("what", "value"), tuple(rows.items()))
