"""Training states on disk. The only torch.load of the project stands here, and it never unpickles code."""

from pathlib import Path
from typing import Any

import torch

from ..simulator.errors import UserError
from ..simulator.files import write_whole

VERSION = 1


def save_checkpoint(state: dict[str, Any], path: str | Path) -> None:
    """Write a training state (tensors, numbers, strings, nested dicts and lists), whole or not at all."""
    write_whole(path, lambda temporary: torch.save({"version": VERSION, "state": state}, temporary))


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote. Raises UserError where the file is damaged, of another kind, or newer."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, state = int(content["version"]), content["state"]
    except Exception as error:  # whatever the reader stumbles over, the file is not one of ours
        first = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a training state, or damaged ({type(error).__name__}: {first})") from None
    if version > VERSION:
        raise UserError(f"{path}: training state version {version} is newer than this program's {VERSION}; update it")
    return dict(state)
