"""Spikes that other tools recorded, as traces: files of arrays, with the geometry of their layers in TOML.

What such a trace claims to be real is its spikes. It is a replay: thresholds, biases and values of weights are unknown,
and a pattern of weights may be made up; the trace says so itself.
"""

import hashlib
from pathlib import Path

from ...simulator.errors import UserError
from ...simulator.trace import Trace
from .arrays import read_arrays
from .geometry import load_geometry
from .network import build_trace

__all__ = ["foreign_trace"]


def foreign_trace(file: str | Path, geometry: str | Path) -> Trace:
    """The replay of a spike file: .npz, what torch.save wrote, or pickled tensors, which are read without running code.

    Raises UserError where either file cannot be read, or with all that does not fit between them.
    """
    file = Path(file)
    shape = load_geometry(geometry)
    arrays = read_arrays(file)
    provenance = {"origin": "foreign spikes", "network": shape.name, "file": file.name, "file_sha256": _sha256(file)}
    if shape.source:
        provenance["source"] = shape.source
    reason = f"the spikes are those of {file.name}; it holds no thresholds, biases or integer weights"
    try:
        return build_trace(shape, arrays, provenance, reason)
    except UserError as error:
        raise UserError(f"{geometry}: {error}") from None


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
