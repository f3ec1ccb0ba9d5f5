"""A design space: a base chip and axes of values, read from TOML; its grid is the list of chips to simulate."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from ..simulator.errors import UserError, nearest
from ..simulator.files import parse_toml, read_text
from ..simulator.hardware import Chip, chip_keys, load_chip

KEYS = ("chip", "energy", "images", "traces", "axes")


@dataclass(frozen=True)
class Candidate:
    """One point of the grid: the settings that differ from the base chip, and the chip, or why there can be none."""

    settings: Mapping[str, Any]
    chip: Chip | None
    reason: str = ""


@dataclass(frozen=True)
class Space:
    """The grid of all combinations of the axes' values.

    chip: base chip, a shipped name or a path.  energy: energy table.  images: images of each trace, None for all.
    traces: trace files, or names of shipped tickets.  axes: chip key -> values, in file order.
    """

    name: str
    chip: str
    energy: str
    images: int | None
    traces: tuple[str, ...]
    axes: Mapping[str, tuple[Any, ...]]

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every combination, the last axis fastest."""
        base = load_chip(self.chip)
        grid = itertools.product(*self.axes.values())
        return tuple(_candidate(base, dict(zip(self.axes, values, strict=True))) for values in grid)


def _candidate(base: Chip, settings: dict[str, Any]) -> Candidate:
    try:
        return Candidate(settings, base.replace(settings))
    except UserError as error:
        return Candidate(settings, None, str(error))


def space_names() -> list[str]:
    """Names of the shipped spaces."""
    folder = resources.files("sparsespike.hwconfigs.spaces")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_space(source: str | Path) -> Space:
    """A shipped space by name, or a space file by path.

    Raises UserError for an unknown name, an unreadable file, and for all faults of its content at once: unknown keys,
    wrong types, and values that give a possible chip in no combination.
    """
    text, where = _read(source)
    data = parse_toml(text, where)
    faults = _faults(data)
    if faults:
        raise UserError(f"{where}: " + "; ".join(faults))
    axes = {key: tuple(values) for key, values in _dotted(data["axes"]).items()}
    space = Space(
        name=Path(where).stem,
        chip=data["chip"],
        energy=data.get("energy", "cmos45"),
        images=data.get("images"),
        traces=tuple(data.get("traces", ())),
        axes=axes,
    )
    impossible = _impossible(space)
    if impossible:
        raise UserError(f"{where}: " + "; ".join(impossible))
    return space


def _read(source: str | Path) -> tuple[str, str]:
    name = str(source)
    if name in space_names():
        return (resources.files("sparsespike.hwconfigs.spaces") / f"{name}.toml").read_text("utf-8"), f"{name}.toml"
    path = Path(source)
    if path.suffix != ".toml" and not path.exists():
        raise UserError(f"no space {name!r}; {nearest(name, space_names())} Or give a .toml file.")
    return read_text(path, "space"), name


def _dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """TOML reads `core.lanes = […]` as nested tables; this gives the dotted key back."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _faults(data: Mapping[str, Any]) -> list[str]:
    faults = [f"{key}: unknown key; {nearest(key, KEYS)}" for key in data if key not in KEYS]
    for key in ("chip", "energy"):
        if not isinstance(data.get(key, ""), str):
            faults.append(f"{key}: must be a name")
    if "chip" not in data:
        faults.append("chip: missing")
    images = data.get("images", 1)
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        faults.append(f"images = {images!r}: must be a whole number of 1 or more")
    traces = data.get("traces", [])
    if not isinstance(traces, list) or not all(isinstance(trace, str) for trace in traces):
        faults.append("traces: must be a list of names")
    axes = data.get("axes")
    if not isinstance(axes, dict) or not axes:
        return [*faults, "axes: missing"]
    for key, values in _dotted(axes).items():
        if key not in chip_keys():
            faults.append(f"axes.{key}: unknown key; {nearest(key, chip_keys())}")
        if not isinstance(values, list) or not values:
            faults.append(f"axes.{key}: must be a list of values")
        elif any(values.count(value) > 1 for value in values):
            faults.append(f"axes.{key}: a value stands twice")
    return faults


def _impossible(space: Space) -> list[str]:
    """Values with which no combination gives a chip: a mistake in the file, not a corner of the space."""
    faults = []
    for key, values in space.axes.items():
        for value in values:
            with_it = [candidate for candidate in space.candidates if candidate.settings[key] == value]
            if all(candidate.chip is None for candidate in with_it):
                faults.append(with_it[0].reason)
    return list(dict.fromkeys(faults))
