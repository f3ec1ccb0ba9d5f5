"""Official files of data sets: where they lie, whether they are the published bytes, and how they get there."""

import hashlib
import os
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ...simulator.errors import UserError
from ...simulator.files import write_whole

FOLDER_VARIABLE = "SPARSESPIKE_DATA"
FOLDER = "data"
CHUNK = 1 << 18  # bytes
TIMEOUT_S = 15.0  # of silence


@dataclass(frozen=True)
class OfficialFile:
    """A file as its makers publish it.

    name: its path below the folder of its data set.  md5: of the published bytes, in hexadecimal.
    address: where it can be downloaded; empty for a file that only an archive holds.
    """

    name: str
    md5: str
    address: str = ""


@dataclass(frozen=True)
class Contents:
    """Files read whole: their bytes by name, and the names of those whose bytes are not the published ones."""

    bytes_: dict[str, bytes]
    foreign: tuple[str, ...]

    @property
    def remark(self) -> str:
        """What to add to the sentence on a data set's source."""
        return f"; not the published bytes: {', '.join(self.foreign)}" if self.foreign else ""


def data_folder(folder: str | Path | None) -> Path:
    """The folder that holds a folder per data set: as given, else $SPARSESPIKE_DATA, else data in the working one."""
    return Path(folder if folder is not None else os.environ.get(FOLDER_VARIABLE) or FOLDER).absolute()


def read_files(folder: Path, files: Sequence[OfficialFile]) -> Contents:
    """The files' bytes; those that are not in the data set's folder are downloaded into it first.

    Bytes other than the published ones are taken with a warning on stderr: what lies in the folder is the user's own.
    Raises UserError where a file cannot be read, or is missing and cannot be downloaded as it was published.
    """
    missing = [file for file in files if not (folder / file.name).exists()]
    if missing:
        _download(folder, missing)
    contents = {file.name: _read(folder / file.name) for file in files}
    foreign = [file.name for file in files if _md5(contents[file.name]) != file.md5]
    if foreign:
        _warn(f"{folder}: not the published bytes (another MD5), taken as they are: {', '.join(foreign)}")
    return Contents(contents, tuple(foreign))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _warn(text: str) -> None:
    Console(stderr=True, highlight=False).print(f"warning: {escape(text)}", soft_wrap=True)


def _download(folder: Path, files: Sequence[OfficialFile]) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for file in files:
            _fetch(folder, file, progress)


def _fetch(folder: Path, file: OfficialFile, progress: Progress) -> None:
    path = folder / file.name
    if not file.address:
        raise UserError(f"{path}: no such file; an unpacked archive has it in that folder")
    task = progress.add_task(escape(file.name), total=None)
    try:
        with urllib.request.urlopen(file.address, timeout=TIMEOUT_S) as response:
            progress.update(task, total=response.length)
            write_whole(path, lambda temporary: _receive(response, temporary, path, file, progress, task))
    except (OSError, HTTPException) as error:  # before anything arrived: write_whole has said its own
        if isinstance(error, HTTPError):
            error.close()
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{path}: no such file, and {file.address} cannot be reached ({reason}); fetch it from there, or name the "
            f"folder that holds {folder.name}/{file.name} with --data-folder or {FOLDER_VARIABLE}"
        ) from None


def _receive(
    response: HTTPResponse, temporary: Path, path: Path, file: OfficialFile, progress: Progress, task: TaskID
) -> None:
    """Write what arrives to `temporary`; raises UserError, so that `path` is not written, unless it is as published."""
    digest = hashlib.md5(usedforsecurity=False)
    with temporary.open("wb") as out:
        while chunk := _next_chunk(response, path, file):
            out.write(chunk)
            digest.update(chunk)
            progress.advance(task, len(chunk))
    if digest.hexdigest() != file.md5:
        raise UserError(
            f"{path}: not kept: {file.address} sent other bytes than the published ones, or not all of them "
            f"(MD5 {digest.hexdigest()}, published {file.md5})"
        )


def _next_chunk(response: HTTPResponse, path: Path, file: OfficialFile) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:  # not to be taken for one of the disk
        raise UserError(f"{path}: not kept: the download from {file.address} broke off ({error})") from None
