"""Energy tables from files: shipped by name or one's own by path, every fault of a file in one message."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from ..activity import Action
from ..errors import UserError, nearest
from ..files import parse_toml
from ..shipped import named_text, shipped_names
from ..validation import Part, sentences, walk_fields
from .scaling import scale, scaling_faults
from .table import EnergyTable, Scaled, expected_units

Model = TypeVar("Model", bound=Part)


OURS = ("sha256", "file")  # what a table holds and its file does not say


class _ScaledFile(Part):
    """A table file that holds no prices, but says from which other table they are scaled."""

    name: str
    node_nm: int = Field(ge=3, le=180)
    description: str
    scaled: Scaled


def energy_names() -> list[str]:
    """Names of the shipped energy tables."""
    return shipped_names("energy")


def table_of_node(node_nm: int) -> EnergyTable:
    """The shipped table of a node, `cmos` and its nanometres. Raises UserError where there is none."""
    name, shipped = f"cmos{node_nm}", [name for name in energy_names() if name.startswith("cmos")]
    if name not in shipped:
        there = ", ".join(name.removeprefix("cmos") for name in shipped)
        shipped_of = f"no energy table of {node_nm} nm is shipped, only of {there} nm"
        raise UserError(f"technology.node_nm = {node_nm}: {shipped_of}; name one of your own")
    return load_energy_table(name)


def load_energy_table(source: str | Path) -> EnergyTable:
    """A shipped table by name, or a table file by path.

    Raises UserError for an unknown name, an unreadable file, and for all faults of its content at once.
    """
    text, data = _read(source)
    return _scaled_table(source, data, text) if "scaled" in data else _table(source, data, text)


def load_energy_tables(sources: Iterable[str | Path]) -> list[EnergyTable]:
    """Several, in order. Raises one UserError with what `load_energy_table` finds in any of them."""
    tables, faults = [], []
    for source in sources:
        try:
            tables.append(load_energy_table(source))
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("; ".join(faults))
    return tables


def _scaled_table(source: str | Path, data: dict[str, Any], text: str) -> EnergyTable:
    """A table that says from which other one it is scaled."""
    section = data["scaled"] if isinstance(data["scaled"], dict) else {}
    base, faults = _base(section.get("base"))
    faults += scaling_faults(section, base and base.node_nm, data.get("node_nm"))
    file = _validate(_ScaledFile, data, str(source), faults, _keys(_ScaledFile))
    assert base is not None  # else there was a fault
    whole = _sha256(text + base.sha256)  # what either file says changes the prices
    said = {"name": file.name, "description": file.description, "sha256": whole, "file": _file(source)}
    return scale(base, file.scaled, file.node_nm, said)


def _base(name: object) -> tuple[EnergyTable | None, list[str]]:
    """The table that another is scaled from, or what is wrong with it; a name of another type is pydantic's to say."""
    if not isinstance(name, str):
        return None, []
    try:
        text, data = _read(name)
        if "scaled" in data:
            raise UserError("is scaled itself; name the table it is from")
        return _table(name, data, text), []
    except UserError as error:
        return None, [f"scaled.base = {name!r}: {error}"]


def _file(source: str | Path) -> str:
    """Where a table was read from, "" of a shipped one."""
    return "" if str(source) in energy_names() else str(source)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(source: str | Path) -> tuple[str, dict[str, Any]]:
    """The text of a table and what stands in it."""
    text = named_text("energy", source, "energy table")
    return text, parse_toml(text, str(source))


def _table(source: str | Path, data: dict[str, Any], text: str) -> EnergyTable:
    """A table that holds its own prices."""
    units = expected_units(_section(data, "dram"), _section(data, "actions"))
    known = [*units, *(key for key in _keys(EnergyTable) if key not in OURS)]
    faults = [f"{key}: unknown key; {nearest(key, known)}" for key in OURS if key in data]
    faults += _action_faults(data)
    if data.get("dram") == {}:
        faults.append("dram: names no type of DRAM, of which every chip has one")
    for key, unit in units.items():
        entry = _at(data, key)
        if entry is not None:
            faults += _entry_faults(key, unit, entry, data.get("node_nm"))
    ours = {"sha256": _sha256(text), "file": _file(source), "scaled": None}
    return _validate(EnergyTable, data | ours, str(source), faults, known)


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
    if isinstance(own, int) and isinstance(node, int) and own != node and scaled is None:
        yield f"{key}.node_nm = {own}: the table is of {node} nm; nodes are mixed only with scaled_from saying how"
