"""Faults that pydantic finds in a file, as sentences with the nearest valid name."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import nearest


class Part(BaseModel):
    """A table of a configuration file: frozen, no unknown keys, no silent conversion, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


NO_TABLE = {
    "model_type",
    "model_attributes_type",
    "dict_type",
}  # pydantic's names of one fault


def walk_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a model in dotted form, in order, with its field."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from walk_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def sentences(error: ValidationError, valid: Iterable[str]) -> list[str]:
    """One sentence per fault; `valid` are the dotted keys that an unknown one is compared with."""
    names = list(valid)
    return [_sentence(fault, names) for fault in error.errors()]


def _sentence(fault: Any, valid: list[str]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key; {nearest(key, valid)}"
    if fault["type"] == "missing":
        return f"{key}: missing"
    message = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if fault["type"] in NO_TABLE:
        return f"{key} = {fault['input']!r:.60}: must be a table with keys of its own".removeprefix(" = ")
    if isinstance(fault["input"], dict):
        return f"{key}: {message}"
    return f"{key} = {fault['input']!r}: {message}"
