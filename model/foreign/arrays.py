"""Named arrays out of files that other programs wrote: npz, torch's, or pickled tensors; never code, never a bomb."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...simulator.errors import UserError
from ..checkpoint import TORCH_MAGIC, ZIP_MAGIC, load_plain, oddity, refuse_bomb, room_of, within
from .unpickler import UnpickleError, unpickle

Array = NDArray[Any]

MOST_ITEMS, DEEPEST = 100_000, 4  # on a level, levels; Layer_0/x is on the third
NUMBERS = "buif"  # kinds of numpy types


def read_arrays(path: str | Path) -> dict[str, Array]:
    """All numeric arrays of a file by their path in it: `conv2d_1`, of a list `Conv2d/0`, of nested dicts `Layer_0/x`.

    Bits that are packed as uint8 `N` beside their shape `N_shape` are unpacked to bool. Arrays share the file's memory
    where they can. Raises UserError where the file is missing, damaged, of no known form, could run code, or unfolds to
    far more than it holds.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: is a folder, not a file" if path.is_dir() else f"{path}: no such file")
    try:
        return _unpack_bits(_read(path))
    except (UserError, UnpickleError) as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read(path: Path) -> dict[str, Array]:
    room = room_of(path)
    with path.open("rb") as file:
        beginning = file.read(len(TORCH_MAGIC))
        if beginning.startswith(ZIP_MAGIC):
            return _read_zip(path, room)
        if beginning.startswith(TORCH_MAGIC):
            return _named(load_plain(path, "torch file"), room)
        file.seek(0)
        return _named(unpickle(file, path.stat().st_size), room)


def _read_zip(path: Path, room: int) -> dict[str, Array]:
    try:
        archive = zipfile.ZipFile(path)
    except Exception:  # whatever the reader stumbles over
        raise UserError("truncated or damaged: no zip archive") from None
    with archive:
        members = archive.infolist()
        refuse_bomb(archive, room)
        if any(member.filename.endswith("data.pkl") for member in members):
            return _named(load_plain(path, "torch file"), room)
        found = [member for member in members if member.filename.endswith(".npy")]
        if not found:
            raise UserError("a zip archive, but neither an .npz nor a torch file")
        arrays = ((member.filename.removesuffix(".npy"), _read_npy(archive, member)) for member in found)
        return {name: array for name, array in arrays if array is not None}


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array | None:
    """One array, if it is of numbers; its shape must be what its bytes make."""
    try:
        with archive.open(member) as file:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read_header(file)
            if dtype.kind not in NUMBERS:
                return None
            count = 1
            for size in shape:
                count *= size
            if min(shape, default=0) < 0 or count * dtype.itemsize > member.file_size:
                raise ValueError
        with archive.open(member) as file:
            array: Array = npy.read_array(file, allow_pickle=False)
        return array
    except Exception:  # whatever the reader stumbles over
        raise UserError(f"array {member.filename!r} is damaged") from None


def _named(content: Any, room: int) -> dict[str, Array]:
    """The tensors of nested dicts and lists, by path."""
    arrays: dict[str, Array] = {}
    plain = ((name, tensor) for name, tensor in _walk(content) if not oddity(tensor))
    for name, tensor in within(plain, room):
        numbers = tensor.detach()
        arrays[name] = (numbers.float() if numbers.dtype == torch.bfloat16 else numbers).numpy()
    return arrays


def _walk(content: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What lies in `content`, level by level; of one that lies in itself, or many times in others, not without end."""
    level: list[tuple[str, Any]] = [("", content)]
    for _ in range(DEEPEST):
        deeper: list[tuple[str, Any]] = []
        for name, item in level:
            if isinstance(item, torch.Tensor):
                yield name, item
            for key, value in _children(item):
                deeper.append((f"{name}/{key}" if name else str(key), value))
                if len(deeper) > MOST_ITEMS:
                    raise UserError(f"holds more than {MOST_ITEMS:,} things")
        level = deeper


def _children(item: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(item, (list, tuple)):
        return enumerate(item)
    return ((key, value) for key, value in item.items() if isinstance(key, str)) if isinstance(item, Mapping) else ()


def _unpack_bits(arrays: dict[str, Array]) -> dict[str, Array]:
    """`N` and `N_shape` -> bool `N`."""
    unpacked = dict(arrays)
    for name, bits in arrays.items():
        shape = arrays.get(f"{name}_shape")
        if shape is None or shape.ndim != 1 or shape.dtype.kind not in "iu" or bits.dtype != np.uint8:
            continue
        sizes = [int(size) for size in shape]
        count = int(np.prod(sizes, dtype=object)) if sizes else 1
        if bits.ndim != 1 or min(sizes, default=0) < 0 or len(bits) != -(-count // 8):
            raise UserError(f"array {name!r}: {name}_shape = {sizes}, but it does not hold so many bits")
        unpacked[name] = np.unpackbits(bits, count=count).reshape(sizes).astype(np.bool_)
        del unpacked[f"{name}_shape"]
    return unpacked
