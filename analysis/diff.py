"""What moved between two reports: the inputs that differ, the headline, and every total taken apart into its movers.

Pure computation; `diff_view` prints it. Numbers are exact fractions: of the whole runs where both saw as many images,
of one image (the mean) where not. So the parts of a movement add up to its total, however few of them are shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..simulator.errors import UserError
from ..simulator.hardware import NAMES, ORIGIN
from .views import Report, images_of, layers_of

KIND, SCHEMA_VERSION = "diff", 1  # of `Diff.to_json`
ABSENT = "absent"  # a key that one of the reports does not have

Name = tuple[str, ...]  # ("fc1",), or ("fc1", "control") for a layer's share of a cause


@dataclass(frozen=True)
class Input:
    """Something that a run was given and that differs; chip keys are named as `--set` names them."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Figure:
    """A number of the headline; None where a report has none (accuracy without labels)."""

    key: str
    unit: str
    a: Fraction | None
    b: Fraction | None

    @property
    def difference(self) -> Fraction | None:
        """B - A; None where one is missing."""
        return None if self.a is None or self.b is None else self.b - self.a


@dataclass(frozen=True)
class Change:
    """A part of a total in both reports, matched by name; None: this report has no such part, which counts as 0."""

    name: Name
    a: Fraction | None
    b: Fraction | None

    @property
    def difference(self) -> Fraction:
        """B - A."""
        return (self.b or Fraction(0)) - (self.a or Fraction(0))


@dataclass(frozen=True)
class Movement:
    """A total taken apart: its parts in both reports, largest absolute difference first, among equals in A's order.

    alike: all parts have one unit and add up; counts of different actions do not.
    """

    key: str
    unit: str
    alike: bool
    parts: tuple[Change, ...]

    @property
    def total(self) -> Change:
        """The sum of all parts."""
        return summed("total", self.parts)

    @property
    def moved(self) -> tuple[Change, ...]:
        """The parts that differ."""
        return tuple(part for part in self.parts if part.difference)

    def top(self, number: int) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
        """(the first `number` parts that moved, all others); together they are `parts`."""
        shown = self.moved[:number]
        return shown, self.parts[len(shown) :]

    def share(self, *parts: Change) -> Fraction:
        """Sum of absolute differences of some parts over that of all; 0 where nothing moved.

        Of absolute ones, because ups and downs may cancel: the net difference can be 0 where much has moved.
        """
        every = sum((abs(part.difference) for part in self.parts), Fraction(0))
        return sum((abs(part.difference) for part in parts), Fraction(0)) / every if every else Fraction(0)


@dataclass(frozen=True)
class Diff:
    """Two reports, compared.

    images: of A and of B; where they differ, numbers are per image.  only_a, only_b: layers that the other has not.
    critical: the critical resource (K2) of each layer in A and in B, None where there is no such layer.
    """

    names: tuple[str, str]
    images: tuple[int, int]
    inputs: tuple[Input, ...]
    headline: tuple[Figure, ...]
    movements: tuple[Movement, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    critical: Mapping[str, tuple[str | None, str | None]]

    @property
    def per_image(self) -> bool:
        """Whether numbers are of one image, because the runs saw different numbers of them."""
        return self.images[0] != self.images[1]

    @property
    def same_results(self) -> bool:
        """Whether every compared number, and every layer's critical resource, is equal."""
        return (
            all(figure.a == figure.b for figure in self.headline)
            and not any(movement.moved for movement in self.movements)
            and not (self.only_a or self.only_b)
            and all(a == b for a, b in self.critical.values())
        )

    @property
    def equal(self) -> bool:
        """Same inputs and same results."""
        return not self.inputs and self.same_results

    def movement(self, key: str) -> Movement:
        """The movement of that key; raises KeyError."""
        found = {movement.key: movement for movement in self.movements}
        return found[key]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data, no part left out; integers stay integers."""
        return {
            "kind": KIND,
            "schema_version": SCHEMA_VERSION,
            "reports": list(self.names),
            "images": list(self.images),
            "per_image": self.per_image,
            "equal": self.equal,
            "inputs": [vars(entry) for entry in self.inputs],
            "headline": {figure.key: {"unit": figure.unit} | _sides(figure) for figure in self.headline},
            "only_in_a": list(self.only_a),
            "only_in_b": list(self.only_b),
            "critical_resource": {name: {"a": a, "b": b} for name, (a, b) in self.critical.items() if a != b},
            "movements": {
                movement.key: {
                    "unit": movement.unit,
                    "total": _sides(movement.total) if movement.alike else None,
                    "parts": [
                        {"name": list(part.name)}
                        | _sides(part)
                        | {"share": float(movement.share(part)) if movement.alike else None}
                        for part in movement.parts
                    ],
                }
                for movement in self.movements
            },
        }


def diff_reports(a: Report, b: Report, names: tuple[str, str] = ("A", "B")) -> Diff:
    """Compare two reports as `load_report` gives them. Layers are matched by name, whatever their order.

    Raises UserError where only one holds lower bounds: what it does not know of would look as if it had vanished.
    """
    bounds = [name for name, report in zip(names, (a, b), strict=True) if report.get("bound")]
    if len(bounds) == 1:
        raise UserError(f"{bounds[0]}: lower bounds cannot be compared with a simulation; make both alike")
    images = images_of(a), images_of(b)
    per_a, per_b = (1, 1) if images[0] == images[1] else images
    layers_a, layers_b = ({layer["name"]: layer for layer in layers_of(report)} for report in (a, b))
    every = {**layers_a, **layers_b}
    return Diff(
        names=names,
        images=images,
        inputs=tuple(_inputs(a, b)),
        headline=_headline(a, b, per_a, per_b),
        movements=_movements(a, b, per_a, per_b),
        only_a=tuple(name for name in layers_a if name not in layers_b),
        only_b=tuple(name for name in layers_b if name not in layers_a),
        critical={
            name: (
                layers_a[name]["critical_resource"] if name in layers_a else None,
                layers_b[name]["critical_resource"] if name in layers_b else None,
            )
            for name in every
        },
    )


def _inputs(a: Report, b: Report) -> Iterator[Input]:
    """What the runs were given, key by key; what a chip file says of itself is text, and its hash follows."""
    one, two = (_given(report) for report in (a, b))
    for key in {**one, **two}:
        if one.get(key, ABSENT) != two.get(key, ABSENT):
            yield Input(key, one.get(key, ABSENT), two.get(key, ABSENT))
    cuts_a, cuts_b = a.get("placement", {}), b.get("placement", {})
    both = [name for name in cuts_a if name in cuts_b]
    differ = sum(cuts_a[name] != cuts_b[name] for name in both)
    if differ:
        yield Input("placement", f"{len(both)} layers cut", f"{differ} of them differently")


def _given(report: Report) -> dict[str, Any]:
    record = dict(report["provenance"])
    told = NAMES | ORIGIN
    chip = dict(_flat({key: value for key, value in record.pop("chip", {}).items() if key not in told}, ""))
    record.pop("chip_sha256", None)
    return {"images": images_of(report), "chip": report["chip"], **chip, **dict(_flat(record, ""))}


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings with dotted paths."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{path}.{key}" if path else str(key))


def _headline(a: Report, b: Report, per_a: int, per_b: int) -> tuple[Figure, ...]:
    """Numbers of the run are shared out over its images where asked; means and the chip's area stay as they are."""

    def numbers(report: Report, images: int) -> Iterator[tuple[str, str, Fraction | None]]:
        traffic, energy = report["traffic_bytes"], report["energy_pj"]
        yield "cycles", "cycles", Fraction(report["cycles"], images)
        yield "latency_s", "s", Fraction(report["latency_s"])
        throughput = report["images_per_s"]
        yield "images_per_s", "images/s", None if throughput is None else Fraction(throughput)
        yield "energy_pj", "pJ", Fraction(energy["total"]) / images
        yield "energy_low_pj", "pJ", Fraction(energy["low"]) / images
        yield "energy_high_pj", "pJ", Fraction(energy["high"]) / images
        yield "energy_assumed_share", "share", Fraction(energy.get("assumed_share", 0.0))
        dram = traffic.get("dram_read", 0) + traffic.get("dram_write", 0)
        yield "dram_bytes", "bytes", Fraction(dram, images)
        yield "sram_bytes", "bytes", Fraction(report["sram_bytes"], images)
        yield "synaptic_events", "events", Fraction(report["synaptic_events"], images)
        yield "area_mm2", "mm²", Fraction(report["area_mm2"])
        yield "accuracy", "share", None if report["accuracy"] is None else Fraction(report["accuracy"])

    pairs = zip(numbers(a, per_a), numbers(b, per_b), strict=True)
    return tuple(Figure(key, unit, one, two) for (key, unit, one), (_, _, two) in pairs)


# what is taken apart, in the order in which it is shown: key -> unit, and whether the parts add up
MOVEMENTS = {
    "cycles_by_layer": ("cycles", True),
    "core_cycles_by_cause": ("core cycles", True),
    "core_cycles_by_layer_and_cause": ("core cycles", True),
    "bytes_by_memory": ("bytes", True),
    "counts_by_action": ("actions", False),
    "energy_by_component": ("pJ", True),
    "energy_by_layer": ("pJ", True),
    "energy_by_layer_and_component": ("pJ", True),
}


def _parts(report: Report) -> dict[str, dict[Name, Any]]:
    """The parts of each movement in one report."""
    layers, energy = layers_of(report), report["energy_pj"]
    return {
        "cycles_by_layer": {(layer["name"],): layer["cycles"] for layer in layers},
        "core_cycles_by_cause": _by_name(report["cycles_by_cause"]),
        "core_cycles_by_layer_and_cause": _by_layer(report, "cycles_by_cause"),
        "bytes_by_memory": _by_name(report["traffic_bytes"]),
        "counts_by_action": _by_name(report["counts"]),
        "energy_by_component": _by_name(energy["by_component"]),
        "energy_by_layer": _by_name(energy["by_layer"]),
        "energy_by_layer_and_component": _by_layer(report, "energy_pj"),
    }


def _by_name(values: Mapping[str, Any]) -> dict[Name, Any]:
    return {(name,): value for name, value in values.items()}


def _by_layer(report: Report, key: str) -> dict[Name, Any]:
    return {(layer["name"], name): value for layer in layers_of(report) for name, value in layer[key].items()}


def _movements(a: Report, b: Report, per_a: int, per_b: int) -> tuple[Movement, ...]:
    parts_a, parts_b = _parts(a), _parts(b)
    found = []
    for key, (unit, alike) in MOVEMENTS.items():
        one, two = parts_a[key], parts_b[key]
        changes = [
            Change(
                name,
                Fraction(one[name]) / per_a if name in one else None,
                Fraction(two[name]) / per_b if name in two else None,
            )
            for name in {**one, **two}
        ]
        found.append(Movement(key, unit, alike, tuple(sorted(changes, key=lambda part: -abs(part.difference)))))
    return tuple(found)


def summed(name: str, parts: tuple[Change, ...]) -> Change:
    """Several parts as one, under a name of its own."""
    a = sum((part.a or Fraction(0) for part in parts), Fraction(0))
    return Change((name,), a, sum((part.b or Fraction(0) for part in parts), Fraction(0)))


def _sides(pair: Figure | Change) -> dict[str, int | float | None]:
    return {"a": _plain(pair.a), "b": _plain(pair.b), "difference": _plain(pair.difference)}


def _plain(value: Fraction | None) -> int | float | None:
    if value is None:
        return None
    return value.numerator if value.denominator == 1 else float(value)
