"""The demo's pictures, tables and page, from its reports; `make figures` takes the README's from the same folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..simulator.files import write_json
from ..simulator.trace import Select, Trace
from .explore.store import Row
from .explore.views.figures import effects_figure, scatter_figure
from .figures import ablation, cycles_by_layer, energy_by_component, kept_tokens
from .page import Picture, Section, write_page
from .style import blank, save, styled
from .tables import Table, percent_pruned
from .views import Report, cause_table, component_table, images_of, layer_table, layers_of, per_image, verified_line

TOKEN_IMAGES = 6
TABLES_FILE = "tables.json"
# the chip whose layers are shown one by one
SHOWN_CHIP = "mesh16"


@dataclass(frozen=True)
class Gallery:
    """What a demo found. chips, ablation: name -> report; trace: the sparse ticket's; sweep: the points of a space."""

    chips: Mapping[str, Report]
    ablation: Mapping[str, Report]
    trace: Trace
    tables: Mapping[str, Table]
    sweep: Sequence[Row]


# name of a figure -> what to see in it
CAPTIONS = {
    "energy": "Energy per image by component, three chips running the same sparse ticket",
    "cycles": f"Cycles per image of each layer on {SHOWN_CHIP}, by what its cores did meanwhile",
    "tokens": "Tokens that are left after each selector; dropped ones are veiled in orange",
    "ablation": "Energy and latency of four trained tickets on one chip, relative to the dense one",
    "latency_energy": "The sweep: each point is a chip; nothing is faster and frugaler than the ringed ones",
    "settings": "What each swept key does to the latency",
}


def write_demo(gallery: Gallery, out: Path) -> Path:
    """Write figures (PNG and SVG), tables.json and report.html; returns the page's path."""
    tables = {name: table.to_json() for name, table in gallery.tables.items()}
    write_json(out / TABLES_FILE, tables)
    with styled():
        pictures = {
            name: Picture(save(figure, out / "figures", name), CAPTIONS[name])
            for name, figure in demo_figures(gallery).items()
        }
    path = out / "report.html"
    write_page(path, "sparsespike: the demo", _lead(gallery), _sections(gallery, pictures), _provenance(gallery))
    return path


def demo_figures(gallery: Gallery) -> dict[str, Figure]:
    """Every figure of the demo by name."""
    return {
        "energy": energy_figure(gallery.chips),
        "cycles": cycles_figure(gallery.chips[SHOWN_CHIP]),
        "tokens": tokens_figure(gallery.trace),
        "ablation": ablation_figure(gallery.ablation),
        "latency_energy": scatter_figure(gallery.sweep),
        "settings": effects_figure(gallery.sweep),
    }


def energy_figure(reports: Mapping[str, Report]) -> Figure:
    """Energy by component, a bar per chip."""
    figure = blank(6.8, 4.2)
    energies = {
        name: {part: pj / images_of(report) for part, pj in report["energy_pj"]["by_component"].items()}
        for name, report in reports.items()
    }
    energy_by_component(energies, figure.subplots())
    return figure


def cycles_figure(report: Report) -> Figure:
    """Cycles by layer and cause."""
    layers, images = layers_of(report), images_of(report)
    figure = blank(7.2, 1.2 + 0.19 * len(layers))
    causes = [{cause: count / images for cause, count in layer["cycles_by_cause"].items()} for layer in layers]
    cores = sum(report["cycles_by_cause"].values()) // report["cycles"]
    cycles_by_layer([layer["name"] for layer in layers], causes, cores, figure.subplots())
    return figure


def tokens_figure(trace: Trace) -> Figure:
    """A column per image, a row per selector, the untouched images on top."""
    selects = [layer for layer in trace.layers if isinstance(layer, Select)]
    columns = min(TOKEN_IMAGES, trace.images)
    figure = blank(1.05 * columns + 1.0, 1.15 * (len(selects) + 1))
    panels = figure.subplots(len(selects) + 1, columns, squeeze=False)
    for row in range(len(selects) + 1):
        for image in range(columns):
            kept_tokens(trace, image, row - 1, panels[row, image])
        tokens = trace.streams[selects[0].source].tokens if not row else selects[row - 1].keep
        panels[row, 0].set_ylabel(f"{tokens} tokens", rotation=0, ha="right", va="center")
    if trace.labels is not None:
        for image in range(columns):
            panels[0, image].set_title(f"a {trace.labels[image]}", loc="center", weight="normal", size=9)
    return figure


def ablation_figure(reports: Mapping[str, Report]) -> Figure:
    """Energy and latency of the ablation's steps."""
    figure = blank(6.4, 3.4)
    numbers = [per_image(report) for report in reports.values()]
    names = [name.replace(", ", ",\n") for name in reports]
    energies, latencies = [n["energy_pj"] for n in numbers], [n["latency_s"] for n in numbers]
    ablation(names, energies, latencies, figure.subplots())
    return figure


def _lead(gallery: Gallery) -> str:
    images = images_of(gallery.chips[SHOWN_CHIP])
    kept = "/".join(str(layer.keep) for layer in gallery.trace.layers if isinstance(layer, Select))
    survived = int(gallery.trace.provenance.get("weights_survived", 0))
    prunable = int(gallery.trace.provenance.get("weights_prunable", 0))
    pruned = f"{percent_pruned(1 - survived / prunable)} of its weights pruned and " if prunable else ""
    return (
        f"A trained spiking transformer, with {pruned}its tokens cut to {kept}, sees {images} real images of "
        "handwritten digits that it was not trained on. Its spikes are replayed, one by one, through simulated "
        "accelerators; every cycle, byte and picojoule below comes from that replay."
    )


def _sections(gallery: Gallery, pictures: Mapping[str, Picture]) -> list[Section]:
    report, tables = gallery.chips[SHOWN_CHIP], gallery.tables
    return [
        Section(
            "One ticket on three chips", [tables["chips"], verified_line(gallery.chips.values()), pictures["energy"]]
        ),
        Section("What pruning saves", [tables["ablation"], pictures["ablation"]]),
        Section("Which tokens stay", [pictures["tokens"]]),
        Section(
            f"Where the time and the energy go on {SHOWN_CHIP}",
            [pictures["cycles"], cause_table(report), component_table(report), layer_table(report)],
        ),
        Section("A small design space", [pictures["latency_energy"], tables["front"], pictures["settings"]]),
    ]


def _provenance(gallery: Gallery) -> dict[str, str]:
    origin: Mapping[str, Any] = gallery.chips[SHOWN_CHIP]["provenance"]
    record = {key.replace("_", " "): value for key, value in origin.items() if isinstance(value, str)}
    return record | {f"trace: {key.replace('_', ' ')}": value for key, value in gallery.trace.provenance.items()}
