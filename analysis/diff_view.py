"""`sparsespike diff`: two reports on the terminal, what was changed first, then what it moved, the largest first."""

from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from ..simulator.files import write_json
from ..simulator.report_file import load_report
from .console import show
from .diff import Change, Diff, Figure, Movement, diff_reports, summed
from .tables import Table, percent, si
from .views import assumed_note

TITLES = {
    "cycles_by_layer": "Layers by cycles",
    "core_cycles_by_cause": "Causes by core cycles",
    "core_cycles_by_layer_and_cause": "Layers and causes by core cycles",
    "bytes_by_memory": "Memories by bytes",
    "counts_by_action": "Actions by count",
    "energy_by_component": "Components by energy",
    "energy_by_layer": "Layers by energy",
    "energy_by_layer_and_component": "Layers and components by energy",
}
HEADLINE = {
    "cycles": "cycles",
    "latency_s": "latency",
    "images_per_s": "images/s",
    "energy_pj": "energy",
    "dram_bytes": "DRAM bytes",
    "sram_bytes": "SRAM bytes",
    "synaptic_events": "synaptic events",
    "area_mm2": "area",
    "accuracy": "accuracy",
}
BY_LAYER = tuple(key for key in TITLES if "by_layer" in key)  # a part's first name is a layer's
HASH_SHOWN = 16  # digits, as `inspect` shows
SAME = "same"


def run_diff(a: str | Path, b: str | Path, *, top: int, json_out: str | Path | None = None) -> None:
    """Load two reports, print what moved, and write all of it where asked. Raises UserError as its parts do."""
    diff = diff_reports(load_report(a), load_report(b), (str(a), str(b)))
    if json_out is not None:
        write_json(json_out, diff.to_json())
    show(*diff_parts(diff, top))


def diff_parts(diff: Diff, top: int) -> list[Table | str]:
    """What `run_diff` prints: sentences and tables, with the `top` largest movers of each kind."""
    if diff.equal:
        return [f"{diff.names[0]} and {diff.names[1]} are equal: the same inputs, the same results"]
    parts: list[Table | str] = [f"A: {diff.names[0]}", f"B: {diff.names[1]}", _basis(diff)]
    parts += [
        f"layers only in {side}: {', '.join(only)}" for side, only in (("A", diff.only_a), ("B", diff.only_b)) if only
    ]
    parts += ["", inputs_table(diff)]
    if diff.same_results:
        return [*parts, "nothing moved: all results are equal"]
    changed = [
        f"{name} ({_critical(diff, name)})" for name, (one, two) in diff.critical.items() if one and two and one != two
    ]
    if changed:
        more = f" and {len(changed) - top} more" if len(changed) > top else ""
        parts += [f"critical resources that changed: {', '.join(changed[:top])}{more}", ""]
    parts.append(headline_table(diff))
    return parts + [movers_table(diff, movement, top) for movement in diff.movements if movement.moved]


def _basis(diff: Diff) -> str:
    one, two = diff.images
    if diff.per_image:
        return f"A saw {one} images, B {two}: all figures are per image. A run's first image also loads the weights."
    if one == 1:
        return "all figures are of one image"
    return f"all figures are of {one} images together; latency is their mean"


def inputs_table(diff: Diff) -> Table:
    """What the two runs were given, where it differs."""
    rows = tuple((entry.key, _text(entry.a), _text(entry.b)) for entry in diff.inputs)
    return Table("What was changed", ("input", "A", "B"), rows or (("nothing", SAME, SAME),))


def _text(value: object) -> str:
    text = str(value)
    return text[:HASH_SHOWN] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def headline_table(diff: Diff) -> Table:
    """Both runs side by side; energy with its band."""
    figures = {figure.key: figure for figure in diff.headline}
    rows = []
    for key, title in HEADLINE.items():
        figure = figures[key]
        one, two = _number(figure.a, figure.unit), _number(figure.b, figure.unit)
        if key == "energy_pj":
            low, high = figures["energy_low_pj"], figures["energy_high_pj"]
            one = f"{one} ({_number(low.a, 'pJ')} to {_number(high.a, 'pJ')})"
            two = f"{two} ({_number(low.b, 'pJ')} to {_number(high.b, 'pJ')})"
        rows.append((title, one, two, _signed(figure.difference, figure.unit), _relative(figure)))
    shares = figures["energy_assumed_share"]
    note = assumed_note({"A": float(shares.a or 0), "B": float(shares.b or 0)})
    return Table("What came of it", ("", "A", "B", "difference", "of A"), tuple(rows), note)


def movers_table(diff: Diff, movement: Movement, top: int) -> Table:
    """The largest movers, the rest in one line, and the total, which is their sum."""
    shown, others = movement.top(top)
    rows = [(_name(movement, part), *_cells(movement, part, part)) for part in shown]
    if movement.alike:
        if others:
            rows.append((f"{len(others)} others", *_cells(movement, summed("others", others), *others)))
        rows.append(("total", *_cells(movement, movement.total, *movement.parts)))
    columns: tuple[str, ...] = ("", "A", "B", "difference", "of A", "of all movement")
    if movement.key == "cycles_by_layer":
        columns = (*columns, "critical")
        critical = [_critical(diff, part.name[0]) for part in shown]
        rows = [(*row, text) for row, text in zip_longest(rows, critical, fillvalue="")]
    note = "" if movement.alike else _unlike_note(movement, len(shown))
    return Table(TITLES[movement.key], columns, tuple(rows), note)


def _cells(movement: Movement, pair: Change, *parts: Change) -> tuple[str, ...]:
    """The numbers of a row, which stands for `parts`."""
    sides = (_number(side, movement.unit) for side in (pair.a, pair.b))
    share = percent(float(movement.share(*parts))) if movement.alike else "-"
    return (*sides, _signed(pair.difference, movement.unit), _relative(pair), share)


def _unlike_note(movement: Movement, shown: int) -> str:
    more = len(movement.moved) - shown
    left = f"{more} more moved. " if more else ""
    return f"{left}Actions differ in unit and price, so that they have no sum; their energy stands below."


def _name(movement: Movement, part: Change) -> str:
    """Names of layers as they are, of causes, memories and components in words."""
    layers = 1 if movement.key in BY_LAYER else 0
    words = (*part.name[:layers], *(name.replace("_", " ") for name in part.name[layers:]))
    only = " (only in B)" if part.a is None else " (only in A)" if part.b is None else ""
    return " · ".join(words) + only


def _critical(diff: Diff, layer: str) -> str:
    """The resource that holds a layer up, or how it changed."""
    a, b = (side and side.replace("_", " ") for side in diff.critical[layer])
    return f"{a} → {b}" if a and b and a != b else a or b or ""


def _number(value: Fraction | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "pJ":
        return si(float(value) * 1e-12, "J")
    if unit == "s":
        return si(float(value), "s")
    if unit == "share":
        return percent(float(value))
    if unit == "mm²":
        return f"{float(value):.2f} mm²"
    if unit == "images/s":
        return f"{float(value):,.0f}"
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):,.1f}"


def _signed(value: Fraction | None, unit: str) -> str:
    if value is None:
        return "-"
    text = f"{100 * float(value):.1f} points" if unit == "share" else _number(value, unit)
    return f"+{text}" if value > 0 else text


def _relative(pair: Figure | Change) -> str:
    """The difference as a share of A; a dash where A is nothing, or a share itself."""
    if not pair.a or pair.difference is None or (isinstance(pair, Figure) and pair.unit == "share"):
        return "-"
    share = 100 * float(pair.difference / pair.a)
    return f"{share:+,.1f} %" if abs(share) >= 0.05 else f"{share:+.0g} %" if share else percent(0)
