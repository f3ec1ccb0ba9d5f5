"""What kind of file of this program a file is, from its first bytes; nothing is loaded."""

import json
from pathlib import Path
from typing import Any, Literal

from ..simulator.errors import UserError
from ..simulator.files import HEADER_KEY

Kind = Literal["ticket", "trace", "report", "results"]

# a safetensors file starts with the length of its JSON header, which is refused beyond this
LARGEST_HEADER = 64 << 20


def kind_of(path: str | Path) -> Kind:
    """Ticket, trace, report or results. Raises UserError where the file is missing or none of these."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            start = file.read(16)
            if start == b"SQLite format 3\0":
                return "results"
            if start.lstrip()[:1] == b"{":
                return "report"
            kind = _container_kind(start, file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        kind = None
    if kind == "ticket" or kind == "trace":
        return kind
    raise UserError(f"{path}: neither a ticket, a trace, a report nor a result file of sparsespike")


def _container_kind(start: bytes, file: Any) -> Any:
    length = int.from_bytes(start[:8], "little")
    if not 8 <= length <= LARGEST_HEADER:
        return None
    header = json.loads(start[8:] + file.read(length - 8))
    return json.loads(header["__metadata__"][HEADER_KEY])["kind"]
