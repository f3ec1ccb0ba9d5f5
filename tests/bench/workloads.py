"""The traces and chips of the rows about spiking transformers; traces are made once and kept in the output folder."""

import hashlib
from pathlib import Path

from sparsespike.model.tickets import shipped
from sparsespike.simulator import synthetic
from sparsespike.simulator.hardware import Chip, load_chip
from sparsespike.simulator.trace import Trace, load_trace, save_trace

from .worker import run_python

MAKERS = ("builder.py", "neurons.py", "synthetic.py", "trace.py")

# Spikformer-8-512 on 224 x 224 pixels needs more memory than mesh16 has; what a core does in a cycle is the same.
LARGER = {
    "core.accumulator_words": 4096,
    "core.pointer_kib": 32.0,
    "attention.operand_kib": 96.0,
    "attention.accumulator_words": 16384,
}


def transformer_chip(name: str) -> Chip:
    """mesh16 with 16 lanes; for `imagenet` with larger memories."""
    return load_chip("mesh16", {"core.lanes": 16, **(LARGER if name == "imagenet" else {})})


def _stored(name: str, folder: Path, ticket: Path | None = None) -> Path:
    """Where a trace is kept; the name holds a digest of what makes it, code and ticket, so that it is never stale."""
    room = Path(str(synthetic.__file__)).parent
    files = [room / file for file in MAKERS] + ([] if ticket is None else [ticket])
    sources = b"".join(file.read_bytes() for file in files)
    return folder / f"{name}-{hashlib.sha256(sources).hexdigest()[:12]}.safetensors"


def workload_file(name: str, folder: Path) -> Path:
    """The stored trace of a named workload, made where it is not there."""
    path = _stored(name, folder)
    if not path.exists():
        save_trace(synthetic.workload(name), path)
    return path


def load_workload(name: str, folder: Path) -> Trace:
    """The trace of a named workload."""
    return load_trace(workload_file(name, folder))


def digits_file(folder: Path) -> Path:
    """One digits image through the shipped ticket, by a process of its own, since that takes torch."""
    path = _stored("digits", folder, shipped("digits"))
    if not path.exists():
        run_python("sparsespike.cli", "trace", "digits", "--images", "1", "--out", str(path))
    return path
