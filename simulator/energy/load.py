"""Energy tables from files: shipped by name or one's own by path, every fault of a file in one message."""

import hashlib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from ..activity import Action
from ..errors import UserError, nearest
from ..files import parse_toml, read_text
from ..validation import Part, sentences, walk_fields
from .scaling import scale, scaling_faults
from .table import EnergyTable, Scaled, expected_units

Model = TypeVar("Model", bound=Part)


class _ScaledFile(Part):
    """A table file that holds no prices, but says from which other table they are scaled."""

    name: str
    node_nm: int = Field(ge=3, le=180)
    description: str
    scaled: Scaled


def energy_names() -> list[str]:
    """Names of the shipped energy tables."""
    folder = resources.files("sparsespike.hwconfigs.energy")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def table_of_node(node_nm: int) -> EnergyTable:
    """The shipped table of a node, `cmos` and its nanometres. Raises UserError where there is none."""
    name, shipped = f"cmos{node_nm}", [name for name in energy_names() if name.startswith("cmos")]
    if name not in shipped:
        there = ", ".join(name.removeprefix("cmos") for name in shipped)
        raise UserError(f"no energy table of {node_nm} nm is shipped, only of {there} nm; name one of your own")
    return load_energy_table(name)


def load_energy_table(source: str | Path) -> EnergyTable:
    """A shipped table by name, or a table file by path.

    Raises UserError for an unknown name, an unreadable file, and for all faults of its content at once.
    """
    text, data = _read(source)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if "scaled" not in data:
        return _table(source, data, sha256)
    file = _validate(_ScaledFile, data, str(source), [], _keys(_ScaledFile))
    base_text, base_data = _read(file.scaled.base, f"{source}: scaled.base = {file.scaled.base!r}: ")
    if "scaled" in base_data:
        raise UserError(f"{source}: scaled.base = {file.scaled.base!r}: is scaled itself; name the table it is from")
    base = _table(file.scaled.base, base_data, hashlib.sha256(base_text.encode()).hexdigest())
    faults = scaling_faults(file.scaled, base.node_nm, file.node_nm)
    if faults:
        raise UserError(f"{source}: " + "; ".join(faults))
    whole = hashlib.sha256((text + base.sha256).encode()).hexdigest()  # what either file says changes the prices
    return scale(base, file.scaled, file.node_nm, {"name": file.name, "description": file.description, "sha256": whole})


def _read(source: str | Path, where: str = "") -> tuple[str, dict[str, Any]]:
    """The text of a table and what stands in it."""
    name = str(source)
    if name in energy_names():
        text = (resources.files("sparsespike.hwconfigs.energy") / f"{name}.toml").read_text("utf-8")
    else:
        path = Path(source)
        if path.suffix != ".toml" and not path.exists():
            raise UserError(f"{where}no energy table {name!r}; {nearest(name, energy_names())} Or give a .toml file.")
        text = read_text(path, "table")
    return text, parse_toml(text, f"{where}{name}")


def _table(source: str | Path, data: dict[str, Any], sha256: str) -> EnergyTable:
    """A table that holds its own prices."""
    units = expected_units(_section(data, "dram"), _section(data, "actions"))
    faults = list(_action_faults(data))
    for key, unit in units.items():
        entry = _at(data, key)
        if entry is not None:
            faults += _entry_faults(key, unit, entry, data.get("node_nm"))
    return _validate(EnergyTable, data | {"sha256": sha256}, str(source), faults, [*units, *_keys(EnergyTable)])


def _validate(model: type[Model], data: Any, where: str, faults: list[str], keys: list[str]) -> Model:
    """The model, or one UserError with pydantic's faults and those found already."""
    try:
        made = model.model_validate(data)
    except ValidationError as error:
        faults = sentences(error, keys) + faults
    if faults:
        raise UserError(f"{where}: " + "; ".join(faults))
    return made


def _keys(model: type[Part]) -> list[str]:
    return [key for key, _ in walk_fields(model)]


def _section(data: Mapping[str, Any], name: str) -> list[str]:
    section = data.get(name)
    return [key for key, entry in section.items() if isinstance(entry, dict)] if isinstance(section, dict) else []


def _at(data: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """What stands at a dotted key, if it is a section."""
    found: Any = data
    for step in key.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _action_faults(data: Mapping[str, Any]) -> Iterator[str]:
    known = [action.key for action in Action]
    for key in _section(data, "actions"):
        if key not in known:
            yield f"actions.{key}: unknown action; {nearest(key, known)}"


def _entry_faults(key: str, unit: str, entry: Mapping[str, Any], node: object) -> Iterator[str]:
    """What is wrong between the values of one entry, or between it and the table; their types are pydantic's."""
    low, value, high = (entry.get(name) for name in ("low", "value", "high"))
    if all(isinstance(number, int | float) for number in (low, value, high)) and not low <= value <= high:  # type: ignore[operator]
        yield f"{key}: needs low <= value <= high, has {low}, {value}, {high}"
    if isinstance(entry.get("unit"), str) and entry["unit"] != unit:
        yield f"{key}.unit = {entry['unit']!r}: must be {unit!r}"
    own, device, scaled = (entry.get(name) for name in ("node_nm", "device", "scaled_from"))
    if own is None and device is None:
        yield f"{key}: says neither node_nm nor device"
    if own is not None and entry.get("voltage_v") is None and device is None:
        yield f"{key}: says neither voltage_v nor device"
    if isinstance(own, int) and own != node and scaled is None:
        yield f"{key}.node_nm = {own}: the table is of {node} nm; nodes are mixed only with scaled_from saying how"
