"""Torch files: training states and state dicts. The only torch.load stands here: it runs no code and falls for no bomb.

What a file may unfold to, and which tensors count as plain numbers, is said here for all files from elsewhere.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

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
# What a file may unfold to: spikes pack 8 to a byte and compress well, but hardly further than this.
FREE_BYTES, RATIO = 2**26, 256
PLAIN_TYPES = {
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
}


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
    path = Path(path)
    try:
        with ZipFile(path) as archive:
            refuse_bomb(archive, room_of(path))
            if archive.testzip():  # torch itself does not look at the checksums
                raise BadZipFile
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, state = int(content["version"]), dict(content["state"])
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # whatever the reader stumbles over, the file is not one of ours; torch's advice is for others
        raise UserError(f"{path}: cut off, damaged, or no training state; remove the file to start anew") from None
    if version > VERSION:
        raise UserError(f"{path}: training state version {version} is newer than this program's {VERSION}; update it")
    return state


def is_torch_file(path: str | Path) -> bool:
    """Whether a file begins as torch's files do; no other file of this program does."""
    path = Path(path)
    return path.is_file() and _begins(path, ZIP_MAGIC, TORCH_MAGIC)


def _begins(path: Path, *beginnings: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(max(map(len, beginnings))).startswith(beginnings)


def load_plain(file: Path | BytesIO, where: str) -> Any:
    """What torch.save has written, if it takes no code to read. Raises UserError, with `where` in front, if not.

    A compressed archive, which torch reads but does not write, must not unfold to far more than it holds.
    A file of the old form is read from memory, where nobody can make room for more bytes than there are.
    """
    try:
        if isinstance(file, Path) and _begins(file, ZIP_MAGIC):
            with ZipFile(file) as archive:
                refuse_bomb(archive, room_of(file))
        elif isinstance(file, Path):
            file = BytesIO(file.read_bytes())
        return torch.load(file, map_location="cpu", weights_only=True)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # whatever the reader stumbles over
        raise UserError(f"{where}: {_unreadable(error)}") from None


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a torch file, bare or in one of the `CONTAINERS`, without the prefix `module.`.

    Raises UserError where the file is missing or damaged, would have to run code to be read, or holds something else;
    where a tensor is not plain numbers; and where views in it show far more numbers than it holds.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with torch.serialization.safe_globals(_HARMLESS):
        content = load_plain(path, str(path))
    if isinstance(content, Mapping) and set(content) == {"version", "state"}:
        raise UserError(f"{path}: the state of a training; the tickets beside it hold trained networks")
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path}: holds no state dict, bare or under {' or '.join(map(repr, CONTAINERS))}")
    try:
        _refuse_unusual(content)
        tensors = dict(within(content.items(), room_of(path)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    parallel = all(name.startswith(PARALLEL) for name in tensors)
    return {name.removeprefix(PARALLEL) if parallel else name: tensor.detach() for name, tensor in tensors.items()}


def _refuse_unusual(content: Mapping[Any, Any]) -> None:
    """Raise UserError naming what is no named tensor, and every tensor that is not plain numbers."""
    named = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    others = [repr(name) for name in content if name not in named]
    odd = [f"{name!r} is {oddity(tensor)}" for name, tensor in named.items() if oddity(tensor)]
    faults = [f"no state dict; beside named tensors it holds {listed(others)}"] if others else []
    faults += [f"no plain numbers: {listed(odd)}"] if odd else []
    if faults:
        raise UserError("; ".join(faults))


def oddity(tensor: Tensor) -> str:
    """What keeps a tensor from being plain numbers in memory, which numpy can take as they are; "" for nothing."""
    if tensor.is_nested:  # has no shape to ask for
        return "a nested tensor"
    if tensor.device.type == "meta":
        return "a shape without numbers (device 'meta')"
    if tensor.layout != torch.strided:
        return f"sparse or packed ({tensor.layout})"
    if tensor.is_quantized:
        return f"quantised ({tensor.dtype})"
    if tensor.dtype not in PLAIN_TYPES:
        return f"of an unusual type ({tensor.dtype})"
    return "a negated view" if tensor.is_neg() else ""


def room_of(path: Path) -> int:
    """Bytes that a file may unfold to."""
    return max(FREE_BYTES, RATIO * path.stat().st_size)


def refuse_bomb(archive: ZipFile, room: int) -> None:
    """Raise UserError where the members of an archive would unfold to more than `room` bytes."""
    unfolded = sum(member.file_size for member in archive.infolist())
    if unfolded > room:
        raise UserError(f"unfolds to {unfolded:,} bytes, more than {room:,}: {RATIO} times its size")


def within(tensors: Iterable[tuple[str, Tensor]], room: int) -> Iterator[tuple[str, Tensor]]:
    """The same tensors, as long as copies of all would fit into `room` bytes: a view may show one number many times.

    Raises UserError naming the first that does not fit.
    """
    for name, tensor in tensors:
        room -= tensor.numel() * tensor.element_size()
        if room < 0:
            raise UserError(f"array {name!r} {tuple(tensor.shape)} unfolds to more than {RATIO} times the file")
        yield name, tensor


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
