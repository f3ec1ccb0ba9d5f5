"""The chip of a point as a chip file: what was simulated, whole, to be read by `simulate --hardware`."""

import json
from collections.abc import Mapping
from typing import Any

from ....simulator.errors import UserError
from ....simulator.hardware import NAMES, ORIGIN, Chip, chip_fields
from ...views import Report
from ..store import Row

NAME_LENGTH = 8  # characters of a point's key that its chip is called by


def chip_of(report: Report) -> Chip:
    """The chip that a stored report is of. Raises UserError where it is no chip of this program."""
    try:
        return Chip.model_validate(report["provenance"]["chip"])
    except ValueError as error:
        raise UserError(f"the report's chip is none of this program: {str(error).splitlines()[0]}") from None


def flat_keys(chip: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of a chip as a report has it; without what is said about its numbers."""
    flat: dict[str, Any] = {}
    for key, value in chip.items():
        if prefix or key not in ORIGIN:
            flat |= flat_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def point_names(row: Row, chip: str) -> dict[str, str]:
    """Name and description of a point's chip; chip: name of the one that the space starts from."""
    return {
        "name": f"{chip}-{row.key[:NAME_LENGTH]}",
        "description": f"point {row.key[:NAME_LENGTH]} of a sweep around {chip}: {row.label}",
    }


def chip_toml(values: Mapping[str, Any], head: str = "") -> str:
    """A chip file with these dotted keys and their meaning beside them; head: a comment on top."""
    return "".join(f"# {line}\n" for line in head.splitlines()) + chip_template(
        {key: toml_value(value) for key, value in values.items()}
    )


def chip_template(texts: Mapping[str, str]) -> str:
    """The same of texts that stand for the values. Keys without a table come first, as TOML demands."""
    meaning = chip_fields()
    lines: list[str] = []
    last = ""
    for key in sorted(texts, key=lambda key: "." in key):  # stable: else as they are given
        table, _, leaf = key.rpartition(".")
        if table != last:
            lines += ["", f"[{table}]"]
            last = table
        line = f"{leaf} = {texts[key]}"
        lines.append(line if key in NAMES else f"{line}  # {meaning[key]}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A text, number or truth value in TOML: as in JSON, but for the one control character that JSON leaves."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
