"""Files that are written whole or not at all, TOML, and a safetensors container that proves it is undamaged."""

import contextlib
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .errors import UserError

HEADER_KEY = "sparsespike"


def write_whole(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then rename it into place.

    A failure or Ctrl-C on the way leaves an existing file as it was and no fragment behind.
    Raises UserError where the folder cannot be made or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{path}: cannot be written: {path.parent} is no folder") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:  # a full disk comes as either
        raise UserError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_whole(path, write)


def parse_toml(text: str, where: str | Path) -> dict[str, Any]:
    """The tables of a TOML text. Raises UserError, with `where` in front, where it is none."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{where}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # also a number of thousands of digits
        raise UserError(f"{where}: not valid TOML: {error}") from None


def read_toml(path: str | Path, kind: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises UserError as `read_text`, and where it is no TOML."""
    return parse_toml(read_text(path, kind), path)


def read_text(path: str | Path, kind: str) -> str:
    """A text file; `kind` says in errors what it is. Raises UserError where it is missing, a folder, or unreadable."""
    path = Path(path)
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a {kind} file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read as a text file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def need_texts(item: Any, what: str) -> None:
    """Raise UserError unless it is a flat mapping of texts to texts, all of them such as UTF-8 holds; `what`: its name.

    So that a file's provenance can be printed, searched and handed on without looking at it again.
    """
    if not isinstance(item, Mapping):
        raise UserError(f"{what} = {item!r:.60}: needs texts by name")
    for name, value in item.items():
        if not _is_text(name):
            raise UserError(f"{what}: {name!r:.60} is no text")
        if not _is_text(value):
            raise UserError(f"{what}.{name} = {value!r:.60}: needs a text")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def checksum(tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> str:
    """SHA-256 over every tensor's name, type, shape and bytes in name order, and over the header's canonical JSON."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def save_tensors(path: str | Path, kind: str, version: int, tensors: Mapping[str, np.ndarray], header: Any) -> str:
    """Write arrays and a JSON-able header as one safetensors file; returns the content's checksum.

    kind and version stand in the file and are checked by `load_tensors`. The same content gives the same bytes.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    envelope = {"kind": kind, "version": version, "header": header}
    digest = checksum(arrays, envelope)
    metadata = {HEADER_KEY: json.dumps(envelope | {"sha256": digest}, sort_keys=True)}
    write_whole(path, lambda temporary: save_file(arrays, temporary, metadata=metadata))
    return digest


def load_tensors(path: str | Path, kind: str, version: int) -> tuple[dict[str, np.ndarray], Any, str]:
    """Read what `save_tensors` wrote: (arrays, header, checksum). Never unpickles.

    Raises UserError where the file is missing, is not such a file, is of another kind or a newer version,
    is truncated, or its content does not give its checksum.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: is a folder, not a {kind} file" if path.is_dir() else f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: truncated or not a {kind} file ({error})") from None
    try:
        envelope = json.loads(metadata[HEADER_KEY])
        digest = envelope.pop("sha256")
        found_kind, found_version, header = envelope["kind"], envelope["version"], envelope["header"]
        if type(found_version) is not int:
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UserError(f"{path}: not a {kind} file of sparsespike (its header is missing or damaged)") from None
    if found_kind != kind:
        raise UserError(f"{path}: holds a {found_kind}, but a {kind} is needed here")
    if found_version > version:
        raise UserError(f"{path}: {kind} version {found_version} is newer than this program's {version}; update it")
    if checksum(tensors, envelope) != digest:
        raise UserError(f"{path}: damaged: the content does not give its checksum")
    return tensors, header, digest
