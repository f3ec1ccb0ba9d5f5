"""Torch files: training states and state dicts. The only torch.load stands here, and it never unpickles code."""

import argparse
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..simulator.errors import UserError
from ..simulator.files import write_whole

VERSION = 1
# Where training programs put the state dict: timm's saver, and the reference training scripts of torchvision's style.
CONTAINERS = ("state_dict", "model")
PARALLEL = "module."  # what torch's data parallel wrapper puts in front of every name
# A checkpoint beside its weights holds the options of its training in this class, which runs no code when it is read.
_HARMLESS: list[Any] = [argparse.Namespace]
SHOWN = 12  # names in an error message
# How torch's files begin: a zip archive; before 1.6 a number that only they begin with, pickled.
ZIP_MAGIC, TORCH_MAGIC = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def save_checkpoint(state: dict[str, Any], path: str | Path) -> None:
    """Write a training state (tensors, numbers, strings, nested dicts and lists), whole or not at all.

    Raises UserError where the folder cannot be written, or the disk is full.
    """

    def write(temporary: Path) -> None:
        try:
            torch.save({"version": VERSION, "state": state}, temporary)
        except RuntimeError as error:  # how torch's writer says that the disk is full
            raise OSError(str(error).partition("\n")[0]) from None

    write_whole(path, write)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote. Raises UserError where the file is damaged, of another kind, or newer."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, state = int(content["version"]), content["state"]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # whatever the reader stumbles over, the file is not one of ours; torch's advice is for others
        raise UserError(f"{path}: not a training state, or damaged; remove the file to start anew") from None
    if version > VERSION:
        raise UserError(f"{path}: training state version {version} is newer than this program's {VERSION}; update it")
    return dict(state)


def is_torch_file(path: str | Path) -> bool:
    """Whether a file begins as torch's files do; no other file of this program does."""
    path = Path(path)
    return path.is_file() and _begins(path, ZIP_MAGIC, TORCH_MAGIC)


def _begins(path: Path, *beginnings: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(max(map(len, beginnings))).startswith(beginnings)


def load_plain(file: Path | BytesIO, where: str) -> Any:
    """What torch.save has written, if it takes no code to read. Raises UserError, with `where` in front, if not.

    A file of the old form is read from memory, where nobody can make room for more bytes than there are.
    """
    try:
        if isinstance(file, Path) and not _begins(file, ZIP_MAGIC):
            file = BytesIO(file.read_bytes())
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader stumbles over
        raise UserError(f"{where}: {_unreadable(error)}") from None


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a torch file, bare or in one of the `CONTAINERS`, without the prefix `module.`.

    Raises UserError where the file is missing or damaged, would have to run code to be read, or holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    with torch.serialization.safe_globals(_HARMLESS):
        content = load_plain(Path(path), str(path))
    if isinstance(content, Mapping) and set(content) == {"version", "state"}:
        raise UserError(f"{path}: the state of a training; the tickets beside it hold trained networks")
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path}: holds no state dict, bare or under {' or '.join(map(repr, CONTAINERS))}")
    wrong = [repr(name) for name, value in content.items() if not (isinstance(name, str) and _is_weight(value))]
    if wrong:
        raise UserError(f"{path}: no state dict; beside named tensors it holds {listed(wrong)}")
    parallel = all(name.startswith(PARALLEL) for name in content)
    return {name.removeprefix(PARALLEL) if parallel else name: tensor for name, tensor in content.items()}


def _is_weight(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_quantized and not value.is_sparse and not value.is_complex()


def _unreadable(error: Exception) -> str:
    """Why torch would not read a file, in one line."""
    blocked = re.search(r"GLOBAL (\S+)", str(error))
    if blocked:
        return f"needs {blocked[1]} to be read, but no file may run code here; save its state dict alone"
    return f"damaged, or no file of torch's ({type(error).__name__})"


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """The first names with commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
