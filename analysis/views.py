"""What a report says, as tables: several runs side by side, and one run by layer, cause and component."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..simulator.energy import MUCH
from ..simulator.hardware import Chip, chip_names, load_chip
from ..simulator.origin import CHANGED
from .tables import Table, band, kib, percent, si

Report = Mapping[str, Any]


def images_of(report: Report) -> int:
    """Images that the run saw."""
    return int(report["images"])


def per_image(report: Report) -> dict[str, float]:
    """The numbers that runs are compared by: cycles, latency in s, energy in pJ, DRAM and SRAM bytes, per image."""
    images, traffic = images_of(report), report["traffic_bytes"]
    return {
        "cycles": report["cycles"] / images,
        "latency_s": report["latency_s"],
        "energy_pj": report["energy_pj"]["total"] / images,
        "dram_bytes": (traffic["dram_read"] + traffic["dram_write"]) / images,
        "sram_bytes": report["sram_bytes"] / images,
    }


BOUND_LINE = (
    "lower bounds, nothing was stepped: cycles, latency and energy are at least so much; what layers did, their "
    "traffic and their critical units are exact. Cycles by layer add up to the bound, and are none of the layers' own."
)
HOST_UNITS = {"multiply_accumulate": "multiply-accumulates", "elementwise": "elementwise operations"}
VERIFIED = ("spikes", "neurons", "tokens", "logits")
SUMMARY_COLUMNS = ("cycles", "latency", "images/s", "energy", "band", "DRAM", "SRAM")


def summary_cells(report: Report) -> tuple[str, ...]:
    """The cells below `SUMMARY_COLUMNS`."""
    numbers, energy, images = per_image(report), report["energy_pj"], images_of(report)
    return (
        ("≥ " if report.get("bound") else "") + f"{numbers['cycles']:,.0f}",
        si(numbers["latency_s"], "s"),
        "-" if report["images_per_s"] is None else f"{report['images_per_s']:,.0f}",
        si(numbers["energy_pj"] * 1e-12, "J"),
        band(energy["low"] / images, energy["high"] / images),
        kib(numbers["dram_bytes"]),
        kib(numbers["sram_bytes"]),
    )


def summary_table(reports: Mapping[str, Report], title: str, first: str = "chip") -> Table:
    """Runs side by side, per image: cycles, latency, energy with its band, traffic, area and accuracy.

    `accuracy` is on the images of the run; `test set` is the integer network's on all held-out images, as the ticket
    that was traced records it.
    """
    columns = (first, *SUMMARY_COLUMNS, "area", "accuracy", "test set")
    rows = tuple(
        (name, *summary_cells(report), f"{report['area_mm2']:.2f} mm²", percent(report["accuracy"]), _test_set(report))
        for name, report in reports.items()
    )
    images = sorted({images_of(report) for report in reports.values()})
    note = f"Per image, mean of {' or '.join(map(str, images))}; accuracy on the same images and on the whole test set."
    assumed = {name: report["energy_pj"].get("assumed_share", 0.0) for name, report in reports.items()}
    notes = (note, assumed_note(assumed), extrapolated_note(reports))
    return Table(title, columns, rows, " ".join(filter(None, notes)))


def assumed_note(shares: Mapping[str, float]) -> str:
    """Of shares of energy that rest on assumed prices, by name, those above a tenth in a sentence; "" without any."""
    said = ", ".join(f"{percent(share)} of {name}'s" for name, share in shares.items() if share > MUCH)
    return f"Energy that rests on assumed prices: {said}." if said else ""


def extrapolated_note(reports: Mapping[str, Report]) -> str:
    """Which memories are larger than CACTI's table, so that their energy and area are a trend; "" where none is."""
    parts = [(name, report.get("extrapolated_macros")) for name, report in reports.items()]
    said = "; ".join(f"{', '.join(macros)} of {name}" for name, macros in parts if macros)
    return f"Extrapolated beyond the SRAM table, energy and area alike: {said}." if said else ""


def _test_set(report: Report) -> str:
    known = report["provenance"]["trace"].get("ticket_integer_test_accuracy")
    return percent(float(known)) if known else "-"


def verified_line(reports: Iterable[Report]) -> str:
    """What `verify` compared in these runs, in a sentence: had one spike differed, there would be no report."""
    checked = [report for report in reports if report.get("verified")]
    spikes, neurons, tokens, logits = (sum(report["verified"][key] for report in checked) for key in VERIFIED)
    events = "spikes" if any(report["counts"]["neuron_update"] for report in checked) else "activations above 0"
    return (
        f"verified: {spikes:,} {events} of {neurons:,} neuron updates, {tokens:,} token decisions and "
        f"{logits:,} logits, all equal to the integer network's"
    )


def level_line(level: str, reason: str) -> str:
    """What a trace of this level is not good for, and why, in a line; "" where it is exact."""
    return "" if level == "exact" else f"{level}: spikes and sparsity are real, values are not reproduced: {reason}"


def host_line(host: Sequence[Mapping[str, Any]]) -> str:
    """What the chip leaves to its host, in a line; "" where nothing."""
    if not host:
        return ""
    what = ", ".join(dict.fromkeys(f"{work['operation']} of {work['name']}" for work in host))
    total = {unit: sum(work["operations"] for work in host if work["unit"] == unit) for unit in HOST_UNITS}
    counted = " and ".join(f"{total[unit]:,} {name}" for unit, name in HOST_UNITS.items() if total[unit])
    sent, back = (kib(sum(work[key] for work in host)) for key in ("bytes_in", "bytes_out"))
    return (
        f"host work, not in cycles and energy: {counted or 'no operations'} per image, "
        f"{sent} to the host and {back} back ({what})"
    )


def fidelity_line(report: Report) -> str:
    """How far the chip is like the published one that it is modelled on, in a line; "" where it is nobody else's."""
    chip = report["provenance"]["chip"]
    fidelity = chip.get("fidelity")
    if fidelity is None:
        return ""
    changed = [key for source in chip["sources"] if source["source"] == CHANGED for key in source["keys"]]
    parts = (
        f"{report['chip']} is like {fidelity['to']} in: {fidelity['has']}; not in: {fidelity['lacks']}",
        f"changed here: {', '.join(changed)}" if changed else "",
    )
    return "; ".join(filter(None, parts))


def layer_table(report: Report) -> Table:
    """One run by layer."""
    images = images_of(report)
    total = sum(report["energy_pj"]["by_layer"].values()) or 1
    rows = []
    for layer in layers_of(report):
        energy = report["energy_pj"]["by_layer"][layer["name"]]
        overlapping = report["provenance"]["chip"]["schedule"] == "pipelined"
        lasting = report["cycles"] if overlapping else layer["cycles"]
        rows.append(
            (
                layer["name"],
                f"{layer['cycles'] / images:,.0f}",
                percent(layer["cycles"] / max(1, report["cycles"])),
                f"{layer['spikes'] / images:,.0f}",
                f"{layer['synaptic_events'] / images:,.0f}",
                si(energy / images * 1e-12, "J"),
                percent(energy / total),
                f"{layer['weight_imbalance']:.2f}",
                layer["critical_resource"].replace("_", " "),
                percent(layer["critical_cycles"] / max(1, lasting)),
            )
        )
    bound = bool(report.get("bound"))
    cycles = "adds to the bound" if bound else "cycles"
    columns = ("layer", cycles, "of all", "spikes in", "synaptic events", "energy", "of all")
    note = (
        "Imbalance: most weights on a core over their mean. "
        "Critical: the unit that is busy longest, and for how much of the layer (pipelined: of the run)."
    )
    title = "What each layer adds to the lower bound, per image" if bound else "By layer, per image"
    return Table(title, (*columns, "imbalance", "critical", "busy"), tuple(rows), note)


def component_table(report: Report) -> Table:
    """One run's energy by component with its band, the largest first; what of it is static, and what assumed."""
    images, energy = images_of(report), report["energy_pj"]
    total = energy["total"] or 1
    rows = []
    for name, pj in sorted(energy["by_component"].items(), key=lambda part: -part[1]):
        if pj:
            low, _, high = (si(end / images * 1e-12, "J") for end in energy["bands"]["by_component"][name])
            rows.append((name.replace("_", " "), si(pj / images * 1e-12, "J"), percent(pj / total), low, high))
    static = percent(energy["static"][1] / total)
    note = f"Static (leakage, logic leakage, clock, DRAM background): {static}. {energy['warning']}".rstrip()
    return Table("Energy by component, per image", ("component", "energy", "of all", "low", "high"), tuple(rows), note)


def area_table(areas: Mapping[str, Mapping[str, Any]], scope: str) -> Table:
    """A chip's area by block, the largest first, each with its band and how it was come by.

    areas, scope: a report's `area_by_block_mm2` and `area_scope`, or `area_json(area_mm2(chip))` and `AREA_SCOPE`.
    """
    blocks = sorted(areas.items(), key=lambda block: -block[1]["nominal"])
    total = sum(area["nominal"] for area in areas.values())
    rows = tuple(
        (
            name,
            f"{area['nominal']:.3f} mm²",
            percent(area["nominal"] / total),
            f"{area['low']:.3f} to {area['high']:.3f}",
            f"{area['gates']:,.0f}" if area["gates"] else "-",
            area["kind"],
        )
        for name, area in blocks
    )
    columns = ("block", "area", "of all", "band, mm²", "gate equivalents", "kind")
    note = f"Together {total:.3g} mm². Counted: {scope}."
    return Table("Area of the chip", columns, rows, note)


def power_line(report: Report) -> str:
    """Power, energy x delay and efficiency of a run, in a line."""
    power, events = report["power_w"], report["pj_per_synaptic_event"]
    parts = [] if power["average"] is None else [f"{si(power['average'], 'W')} on average"]
    parts += [f"{si(power['peak'], 'W')} at most", f"energy x delay {si(report['edp_js'], 'J s')} per image"]
    if events:  # neither a run without any, nor one that cost nothing
        parts.append(f"{events:.3g} pJ per synaptic operation ({report['tops_per_w']:.3g} TOPS/W, real operations)")
    return "power: " + ", ".join(parts)


def per_weight_table(report: Report) -> Table:
    """What a surviving weight of each layer costs: the mean over the layer's weights, and what all of them make up."""
    images, rows = images_of(report), []
    for layer in layers_of(report):
        mean = layer["per_weight"]
        if mean is None:
            continue
        actions = mean["actions"]
        work = [actions.get(key, 0.0) for key in ("add", "multiply_add", "selector_mac")]
        energy = report["energy_pj"]["by_layer"][layer["name"]]
        numbers = (mean["cycles"], mean["service_cycles"], actions.get("weight_read", 0.0), sum(work))
        rows.append(
            (
                layer["name"],
                f"{mean['weights']:,}",
                *(f"{number / images:,.1f}" for number in numbers),
                si(mean["energy_pj"] / images * 1e-12, "J"),
                percent(mean["weights"] * mean["energy_pj"] / energy if energy else None),
            )
        )
    columns = ("layer", "weights left", "cycles", "row service", "words read", "additions", "energy", "of the layer")
    note = (
        "Row service: core cycles. Energy: what falls as weights are pruned, the mean over the layer's weights, and "
        "all of them as a share of its energy; end-of-token flits, pointers, sweeps and leakage stay."
    )
    return Table("Per surviving weight, per image", columns, tuple(rows), note)


def cause_table(report: Report) -> Table:
    """What the cores did with their cycles, the largest share first."""
    causes = report["cycles_by_cause"]
    if report.get("bound"):
        mesh = report["provenance"]["chip"]["mesh"]
        core_cycles = report["cycles"] * mesh["columns"] * mesh["rows"]
        causes = causes | {"not_known": core_cycles - sum(causes.values())}
    total = sum(causes.values()) or 1
    ordered = sorted(causes.items(), key=lambda cause: -cause[1])
    rows = tuple((name.replace("_", " "), percent(count / total)) for name, count in ordered if count)
    return Table("What the cores did", ("cause", "of core cycles"), rows)


def layers_of(report: Report) -> Sequence[Mapping[str, Any]]:
    """The report's layers in order; their numbers are over all images."""
    layers: Sequence[Mapping[str, Any]] = report["layers"]
    return layers


CHIPS_NOTE = (
    "sparsespike hardware NAME prints one as a file to change; of a chip that is in part like a published one it says "
    "what this model has of it, what not, and where each number comes from."
)


def chips_table() -> Table:
    """The shipped chips and what tells them apart."""
    rows = tuple(_chip_row(load_chip(name)) for name in chip_names())
    columns = ("chip", "cores", "lanes", "clock", "weight memory", "format", "tokens", "what it is")
    return Table("Shipped chips", columns, rows, CHIPS_NOTE)


def _chip_row(chip: Chip) -> tuple[str, ...]:
    core = chip.core
    memory = f"{chip.cores} x {core.weight_kib:g} KiB"
    return (
        chip.name,
        str(chip.cores),
        str(core.lanes),
        f"{chip.clock_mhz:g} MHz",
        memory,
        core.weight_format,
        chip.token_unit.policy,
        chip.description,
    )
