"""Space files: shipped by name or one's own by path, every fault of a file in one message."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ...simulator.energy import load_energy_table
from ...simulator.errors import UserError, nearest
from ...simulator.files import parse_toml
from ...simulator.hardware import chip_keys, load_chip
from ...simulator.shipped import named_text, shipped_names
from .axes import axis_values, is_range
from .constraints import Constraint, parse_constraint
from .design import ENERGY, NODE, TRACE, Space
from .order import choice_at, spread_out

KEYS = ("description", "chip", "energy", "images", "traces", "constraints", "axes", "points")
ENOUGH = 512  # chips that are tried before a value is called impossible
MOST_TRIED = 20_000  # combinations that are held against the constraints for it
MOST_HELD = 200_000  # and before it is left open whether the constraints can be met at all
SAID = ("name", "description")  # of a chip, which change nothing about it


def space_names() -> list[str]:
    """Names of the shipped spaces."""
    return shipped_names("spaces")


def load_space(source: str | Path) -> Space:
    """A shipped space by name, or a space file by path.

    Raises UserError for an unknown name, an unreadable file, and for all faults of its content at once: unknown keys,
    wrong types, empty axes, constraints that nothing meets, and values that give a possible chip in no combination.
    """
    where = f"{source}.toml" if source in space_names() else str(source)
    data = parse_toml(named_text("spaces", source, "space"), where)
    faults: list[str] = []
    axes, points = _axes(data, faults), _points(data, faults)
    constraints = _constraints(data, faults)
    faults = _scalar_faults(data) + faults
    if faults:
        raise UserError(f"{where}: " + "; ".join(faults))
    energies = tuple(_names(data.get("energy")))
    tables = dict.fromkeys([*energies, *(point[ENERGY] for point in points if ENERGY in point)])
    space = Space(
        name=Path(where).stem,
        chip=data["chip"],
        base=load_chip(data["chip"]),
        energies=energies,
        images=data.get("images"),
        traces=tuple(data.get("traces", ())),
        axes=axes,
        constraints=constraints,
        points=points,
        nodes={name: load_energy_table(name).node_nm for name in tables if name is not None},
    )
    impossible = _impossible(space)
    if impossible:
        raise UserError(f"{where}: " + "; ".join(impossible))
    return space


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """TOML reads `core.lanes = […]` as nested tables; this gives the dotted key back."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        nested = isinstance(value, dict) and not is_range(value)
        flat |= _dotted(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def _scalar_faults(data: Mapping[str, Any]) -> list[str]:
    faults = [f"{key}: unknown key; {nearest(key, KEYS)}" for key in data if key not in KEYS]
    for key in ("chip", "description"):
        if not isinstance(data.get(key, ""), str):
            faults.append(f"{key}: must be {'a name' if key == 'chip' else 'text'}")
    if "chip" not in data:
        faults.append("chip: missing")
    energies = _names(data.get("energy", "of the node"))
    if not energies or not all(isinstance(name, str) for name in energies):
        faults.append("energy: must be the name of a table, or a list of names")
    elif len(set(energies)) < len(energies):
        faults.append("energy: a name stands twice")
    images = data.get("images", 1)
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        faults.append(f"images = {images!r}: must be a whole number of 1 or more")
    traces = data.get("traces", [])
    if not isinstance(traces, list) or not all(isinstance(trace, str) for trace in traces):
        faults.append("traces: must be a list of names")
    elif len(set(traces)) < len(traces):
        faults.append("traces: a name stands twice")
    if "energy" in data and isinstance(data.get("axes"), dict) and NODE in _dotted(data["axes"]):
        faults.append(f"energy: a table has its own node; leave it out where {NODE} is an axis")
    if not data.get("axes") and not data.get("points"):
        faults.append("axes: missing")
    return faults


def _axes(data: Mapping[str, Any], faults: list[str]) -> dict[str, tuple[Any, ...]]:
    axes: dict[str, tuple[Any, ...]] = {}
    table = data.get("axes", {})
    if not isinstance(table, dict):
        faults.append("axes: must be a table of keys")
        return axes
    for key, value in _dotted(table).items():
        if key in SAID:
            faults.append(f"axes.{key}: is said about a chip, and changes nothing about it")
        elif key not in chip_keys():
            faults.append(f"axes.{key}: unknown key; {nearest(key, chip_keys())}")
        try:
            axes[key] = axis_values(value)
        except ValueError as error:
            faults.append(f"axes.{key}: {error}")
    return axes


def _points(data: Mapping[str, Any], faults: list[str]) -> tuple[dict[str, Any], ...]:
    points = data.get("points", [])
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        faults.append("points: must be tables, [[points]]")
        return ()
    known = [TRACE, ENERGY, *chip_keys()]
    flat = [_dotted(point) for point in points]
    for number, point in enumerate(flat, 1):
        faults += [f"points {number}, {key}: unknown key; {nearest(key, known)}" for key in point if key not in known]
        named = {key: point[key] for key in (TRACE, ENERGY) if key in point}
        faults += [
            f"points {number}, {key}: must be a name" for key, value in named.items() if not isinstance(value, str)
        ]
    return tuple(flat)


def _constraints(data: Mapping[str, Any], faults: list[str]) -> tuple[Constraint, ...]:
    texts = data.get("constraints", [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        faults.append("constraints: must be a list of texts")
        return ()
    read = []
    for text in texts:
        try:
            read.append(parse_constraint(text, [TRACE, ENERGY, *chip_keys()]))
        except UserError as error:
            faults.append(str(error))
    return tuple(read)


def _impossible(space: Space) -> list[str]:
    """Constraints that nothing meets, and values with which no combination gives a chip.

    A mistake in the file, not a corner of the space: corners become rows with a reason.
    """
    every = replace(space, points=(), traces=space.traces or ("",))
    if space.axes and not _can_be_met(every):
        alone = [one.text for one in space.constraints if not _can_be_met(replace(every, constraints=(one,)))]
        texts = alone or [one.text for one in space.constraints]
        return [f"constraints: no combination of the axes meets {' and '.join(map(repr, texts))}"]
    faults = []
    for key, values in space.axes.items():
        for value in values:
            with_it = replace(every, axes={**space.axes, key: (value,)})
            reasons = []
            for choice in islice(_allowed(with_it, MOST_TRIED), ENOUGH):
                candidate = with_it.candidate(choice)
                if candidate.chip is not None:
                    break
                reasons.append(candidate.reason)
            else:
                faults += reasons[:1]
    return list(dict.fromkeys(faults))


def _can_be_met(space: Space) -> bool:
    """Whether a combination meets all constraints; of the axes that none of them names the first value does for all.

    True, too, where that cannot be said after many tries.
    """
    named = frozenset[str]().union(*(constraint.keys for constraint in space.constraints))
    narrow = replace(
        space,
        traces=space.traces if TRACE in named else space.traces[:1],
        energies=space.energies if ENERGY in named else space.energies[:1],
        axes={key: values if key in named else values[:1] for key, values in space.axes.items()},
    )
    return narrow.size > MOST_HELD or any(True for _ in _allowed(narrow, MOST_HELD))


def _allowed(space: Space, tries: int) -> Iterator[dict[str, Any]]:
    """Those of so many combinations, spread over the space, that its constraints allow."""
    for index in islice(spread_out(space.size, 0), tries):
        values = space.chosen(choice_at(space, index))
        if space.allows(values):
            yield values
