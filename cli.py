"""The command line: signatures and help, one call each. Everything heavy is imported by the command that needs it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .analysis.shell import REQUIRED, Commands, Options, command, flag, parse_settings, run_commands
from .cli_explore import explore
from .cli_search import look
from .model.options import TRAIN_OPTIONS

app = typer.Typer(
    name="sparsespike",
    cls=Commands,
    help="Simulate sparse spiking transformers, spike by spike, on a neuromorphic accelerator.",
    epilog="Start with: sparsespike demo",
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Ticket = Annotated[
    str, typer.Argument(metavar="TICKET", help="Ticket file, name of a shipped one (digits), or official checkpoint.")
]
Data = Annotated[str, typer.Option(help="Data set; its held-out test images are used.")]
DataFolder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Holds a folder per data set; else $SPARSESPIKE_DATA, else data.")
]
Images = Annotated[int, typer.Option(min=1, help="Number of test images, from the first.")]
Hardware = Annotated[str, typer.Option(metavar="NAME|FILE", help="Shipped chip or a .toml file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a chip key; repeatable.")
]
Baseline = Annotated[
    str | None, typer.Option(metavar="NAME", help="The chip with everything off: dense weights, all tokens (dense).")
]
Energy = Annotated[str | None, typer.Option(metavar="NAME|FILE", help="Energy table; else that of the chip's node.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for what is written.")]
TraceOut = Annotated[Path, typer.Option(metavar="FILE", help="Trace file to write.")]
JsonOut = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the whole report as JSON.")]
TimelineOut = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write what every unit did when, for Perfetto (.json or .json.gz).")
]
TimelineCycles = Annotated[
    str | None, typer.Option(metavar="FIRST:LAST", help="Cycles of which the timeline shows the units.")
]
TimelineEvents = Annotated[int | None, typer.Option(help="Events that the timeline may hold; else a million.")]
TraceIn = Annotated[Path, typer.Argument(metavar="TRACE", help="Trace file.")]
FirstImages = Annotated[int | None, typer.Option(min=1, help="Only the first images of the trace.")]
Jobs = Annotated[int, typer.Option(help="Worker processes; -1 for one per processor.")]


@app.command()
def demo(out: Out = Path("out/demo")) -> None:
    """A trained, pruned ticket on real images on three chips: tables, figures and report.html.

    Example: sparsespike demo --out out/demo
    """
    from .recipes import demo as run

    run(out)


RECIPE = typer.Option(help="What options default to: rounds, paper (15 x 300 epochs), or gradual (one round).")


def _train_option(default: Any, text: str) -> tuple[Any, Any]:
    """An option that says which value it has where neither it nor another recipe is given."""
    shown = str(default) if default != "" else "none"
    return Annotated[type(default) | None, typer.Option(help=text, show_default=shown)], None


@command(
    app,
    "train",
    {
        "out": (Out, REQUIRED),
        "recipe": (Annotated[str, RECIPE], "rounds"),
        "data_folder": (DataFolder, None),
        **{name: _train_option(default, text) for name, (default, text) in TRAIN_OPTIONS.items()},
    },
)
def _train(out: Out, recipe: str, data_folder: DataFolder, **options: Any) -> None:
    """Train a SparseSpikformer and prune it; each round leaves a ticket.

    Run again in the same folder, an interrupted training goes on where it stopped.

    Example: sparsespike train --data digits --rounds 9 --out out/ticket
    """
    from .analysis.console import show
    from .model.request import TrainRequest
    from .model.train import train

    given = {name: value for name, value in options.items() if value is not None}
    show(f"ticket: {train(TrainRequest.of(recipe, **given), out, data_folder)}")


@app.command()
def trace(
    ticket: Ticket, out: TraceOut, data: Data = "digits", images: Images = 32, data_folder: DataFolder = None
) -> None:
    """Run a ticket on test images, in integers, and write every spike to a trace file.

    Example: sparsespike trace digits --images 32 --out digits.safetensors
    """
    from .recipes import write_trace

    write_trace(ticket, data, images, out, data_folder)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Spikes: .npz, torch (.pth, .pt) or pickled tensors.")],
    geometry: Annotated[Path, typer.Option(metavar="FILE", help="Shapes of the layers that read them (TOML).")],
    out: TraceOut,
) -> None:
    """Make a trace of spikes that another tool recorded; no code in the file is run.

    Example: sparsespike import lenet5_mnist.pkl --geometry lenet5_mnist.toml --out lenet5.safetensors
    """
    from .recipes import import_spikes

    import_spikes(file, geometry, out)


# The options of `simulate`: the fields of analysis.single.RunRequest, and what makes its settings and its timeline.
SIMULATE_OPTIONS: Options = {
    "trace": (TraceIn, REQUIRED),
    "hardware": (Hardware, "mesh16"),
    "settings": (Settings, None),
    "baseline": (Baseline, None),
    "energy": (Energy, None),
    "images": (FirstImages, None),
    "placement": (Annotated[Path | None, typer.Option(metavar="FILE", help="Own cuts of layers (TOML).")], None),
    "verify": (flag("--verify", "Recompute every spike and logit; demand equality."), False),
    "bound": (flag("--bound", "Lower bounds of cycles and energy; nothing is stepped."), False),
    "per_weight": (flag("--per-weight", "Also what a surviving weight costs."), False),
    "json": (JsonOut, None),
    "timeline": (TimelineOut, None),
    "timeline_cycles": (TimelineCycles, None),
    "timeline_events": (TimelineEvents, None),
}


@command(app, "simulate", SIMULATE_OPTIONS)
def _simulate(
    settings: Settings,
    timeline: TimelineOut,
    timeline_cycles: TimelineCycles,
    timeline_events: TimelineEvents,
    **options: Any,
) -> None:
    """Replay a trace on a chip: cycles, memory traffic and energy, by layer and by component.

    A timeline opens in https://ui.perfetto.dev, where 1 us is 1 cycle: --images 1 --timeline run.json.gz

    Example: sparsespike simulate digits.safetensors --hardware mesh16 --set core.lanes=32 --verify --json report.json
    """
    from .analysis.single import RunRequest, run_single
    from .simulator.timeline import ask_timeline

    sets, asked = parse_settings(settings or []), ask_timeline(timeline, timeline_cycles, timeline_events)
    run_single(RunRequest(settings=sets, timeline=asked, **options))


@app.command()
def peers(trace: TraceIn, images: FirstImages = None, json: JsonOut = None) -> None:
    """Published models of Eyeriss, PTB, SATO, MINT and Prosperity on the same spikes: cycles, DRAM, time and energy.

    Example: sparsespike peers digits.safetensors --json peers.json
    """
    from .analysis.peers_view import show_peers

    show_peers(trace, images=images, json_out=json)


@app.command()
def reprice(
    report: Annotated[Path, typer.Argument(metavar="REPORT.json", help="Report of `simulate --json`.")],
    tables: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="More tables.")] = None,
    energy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE...", help="Energy tables; without, all shipped ones of the chip's node."),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all prices as JSON.")] = None,
) -> None:
    """The same run under other technologies: energy by component with its band, from the report alone.

    Example: sparsespike reprice report.json --energy cmos45 formula45 cmos22
    """
    from .analysis.reprice_view import show_repriced

    show_repriced(report, [*(energy or []), *(tables or [])], json)


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="Report of `simulate --json`.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="The report to compare with it.")],
    top: Annotated[int, typer.Option(min=1, help="Movers of each kind to list; the rest is summed.")] = 5,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the whole diff as JSON.")] = None,
) -> None:
    """What changed between two runs, and which layer, cause, memory and component moved, the largest first.

    Example: sparsespike diff before.json after.json --top 10
    """
    from .analysis.diff_view import run_diff

    run_diff(a, b, top=top, json_out=json)


# The options of `compare`: the fields of analysis.compare.request.CompareRequest.
COMPARE_OPTIONS: Options = {
    "tickets": (
        Annotated[list[str], typer.Argument(metavar="TICKET...", help="Ticket files or names of shipped ones.")],
        REQUIRED,
    ),
    "data": (Data, "digits"),
    "images": (Images, 32),
    "hardware": (Hardware, "mesh16"),
    "baseline": (Baseline, None),
    "energy": (Energy, None),
    "data_folder": (DataFolder, None),
    "out": (
        Annotated[Path | None, typer.Option(metavar="DIR", help="Tables, figures, results.json and all reports.")],
        None,
    ),
    "jobs": (Jobs, -1),
}


@command(app, "compare", COMPARE_OPTIONS)
def _compare(**options: Any) -> None:
    """Tickets side by side on one chip: accuracy, sparsity, operations, energy by formula and simulated, cycles, DRAM.

    With --baseline each also on the chip with everything off. With --out also figures: accuracy against energy along
    the pruning rounds, selectors, the formula against the simulation, energy per surviving weight. Interrupted or
    repeated, the same command computes only what the folder does not hold.

    Example: sparsespike compare out/*/round_*.safetensors --data digits --images 32 --hardware mesh16 --out out/table
    """
    from .analysis.compare.request import CompareRequest
    from .recipes import compare

    compare(CompareRequest(**options))


app.add_typer(explore)  # its commands stand beside these
app.add_typer(look)


@app.command()
def hardware(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A shipped chip; with --check also a file.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="What the figures of memories were held against.")] = False,
) -> None:
    """List the shipped chips, or print one as the TOML file that it is, sources beside its numbers.

    The area of its blocks stands beside it, on stderr. With --check: published reads and held-out CACTI macros against
    the interpolation; every SRAM of the chip, and its area by block.

    Example: sparsespike hardware mesh16 > mine.toml; sparsespike hardware --check mine.toml
    """
    from .analysis.sram_view import show_hardware

    show_hardware(name, check=check)


@app.command("inspect")
def inspect_file(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Ticket (a file or a shipped one's name), trace, report or results.")
    ],
) -> None:
    """What is in a ticket, a trace, a report, the results of a sweep or the results.json of a comparison.

    Example: sparsespike inspect digits
    """
    from .recipes import inspect

    inspect(file)


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        typer.echo(f"sparsespike {__version__}")
    elif context.invoked_subcommand is None:
        context.get_help()  # prints by itself


def main() -> None:
    """Entry point: 0 on success, 2 and a line on stderr for what the user can put right, 130 on Ctrl-C or SIGTERM."""
    run_commands(app, "sparsespike")


if __name__ == "__main__":
    main()
