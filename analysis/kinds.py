"""What kind of file of this program a file is, from its first bytes; nothing is loaded."""

import json
import re
from pathlib import Path
from typing import Any, Literal

from ..simulator.errors import UserError
from ..simulator.files import HEADER_KEY

Kind = Literal["ticket", "trace", "report", "results", "comparison"]

# a safetensors file starts with the length of its JSON header, which is refused beyond this
LARGEST_HEADER = 64 << 20

# what `compare` and `peers` write begins with its kind, a report with its version
HEAD, NAMED = 64, re.compile(rb'\s*\{\s*"kind"\s*:\s*"(\w+)"')


def kind_of(path: str | Path) -> Kind:
    """Ticket, trace, report, results of a sweep, or comparison. Raises UserError where it is none of these."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            start = file.read(16)
            if start == b"SQLite format 3\0":
                return "results"
            if start.lstrip()[:1] == b"{":
                head = start + file.read(HEAD)
                named = NAMED.match(head)
                if named is None:
                    return "report"
                kind: Any = named[1].decode()
            else:
                kind = _container_kind(start, file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        kind = None
    if kind == "ticket" or kind == "trace" or kind == "comparison":
        return kind
    raise UserError(f"{path}: neither a ticket, a trace, a report, a comparison nor a result file of sparsespike")


def _container_kind(start: bytes, file: Any) -> Any:
    length = int.from_bytes(start[:8], "little")
    if not 8 <= length <= LARGEST_HEADER:
        return None
    header = json.loads(start[8:] + file.read(length - 8))
    return json.loads(header["__metadata__"][HEADER_KEY])["kind"]
