"""`sparsespike peers`: published accelerators' models on one trace, side by side and by layer."""

from pathlib import Path

from ..simulator.files import write_json
from ..simulator.peers import PEERS, PeersReport, run_peers
from ..simulator.peers.report import NO_ATTENTION
from ..simulator.trace import load_trace
from .console import progress, show
from .tables import Table, percent, si


def show_peers(trace: str | Path, *, images: int | None = None, json_out: str | Path | None = None) -> None:
    """Load a trace, run all models, print tables, and write all of it where asked. Raises UserError as its parts do."""
    with progress(f"peers on {Path(trace).stem}") as step:
        report = run_peers(load_trace(trace), images, step)
    if json_out is not None:
        write_json(json_out, report.to_json())
    show(
        peers_table(report, Path(trace).name),
        cycles_table(report),
        traffic_table(report),
        *left_out_lines(report),
    )


def peers_table(report: PeersReport, title: str) -> Table:
    """All peers side by side, per image."""
    rows = []
    plain = report.to_json()["peers"]
    for name, run in report.runs.items():
        priced, images = plain[name], report.images
        energy = priced["energy_pj"]
        neurons = sum(cost.neuron_cycles for cost in run.costs)
        joules = (si(energy[part] / images * 1e-12, "J") for part in ("on_chip", "dram", "total"))
        rows.append(
            (
                PEERS[name][0],
                f"{run.cycles / images:,.0f}",
                percent(neurons / run.cycles if run.cycles else None),
                si(priced["time_s"] / images, "s"),
                f"{priced['dram_bits_charged'] / images:,.0f}",
                *joules,
            )
        )
    columns = ("peer", "cycles", "neurons", "time", "DRAM bits", "on chip", "DRAM", "energy")
    note = (
        f"Per image, mean of {report.images}. Densities: {percent(report.density.bit, 4)} of bits, "
        f"{percent(report.density.product, 4)} with product sparsity. DRAM bits: as the energy model charges them, a "
        "fixed multiple of Prosperity's."
    )
    return Table(f"Published models on {title}", columns, tuple(rows), note)


def cycles_table(report: PeersReport) -> Table:
    """Sizes, densities and cycles by layer, per image."""
    rows = []
    for index, layer in enumerate(report.layers):
        size = f"{layer.rows:,} x {layer.columns:,} x {layer.outputs:,}" if layer.rows else "-"
        cycles = (f"{run.costs[index].total / report.images:,.0f}" for run in report.runs.values())
        rows.append((layer.name, size, percent(layer.density.bit, 2), percent(layer.density.product, 2), *cycles))
    columns = ("layer", "M x K x N", "bits", "products", *(PEERS[name][0] for name in report.runs))
    note = "Cycles with those of the neurons behind the layer. M: timesteps x places, K: inputs x taps, N: outputs."
    return Table("Cycles by layer, per image", columns, tuple(rows), note)


def traffic_table(report: PeersReport) -> Table:
    """Prosperity's DRAM traffic and the energy of each peer by layer, per image."""
    rows = []
    plain = report.to_json()["peers"].values()
    for index, (layer, bits) in enumerate(zip(report.layers, report.priced_bits, strict=True)):
        totals = (peer["layers"][index]["energy_pj"]["total"] for peer in plain)
        energy = (si(total / report.images * 1e-12, "J") for total in totals)
        rows.append((layer.name, f"{bits / report.images:,.0f}", *energy))
    columns = ("layer", "Prosperity's DRAM bits", *(PEERS[name][0] for name in report.runs))
    return Table("Energy by layer, per image", columns, tuple(rows))


def left_out_lines(report: PeersReport) -> list[str]:
    """What of the trace the figures leave out or change, in sentences."""
    lines = []
    reasons: dict[str, list[str]] = {}
    for name, reason in report.left_out.items():
        reasons.setdefault(reason, []).append(name)
    if reasons:
        said = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        lines.append(f"left out: {said}")
    mixed = [layer.name for layer in report.layers if layer.kind == "attention"]
    if mixed:
        names = ", ".join(PEERS[name][0] for name in NO_ATTENTION)
        lines.append(f"attention ({', '.join(mixed)}): only Prosperity's models time it; in {names} it is free")
    graded = sum(layer.graded for layer in report.layers)
    if graded:
        lines.append(f"{graded:,} events of a value above 1 count as one spike each: peers have spikes of one bit")
    return lines
