"""Configuration files that ship with the package: named without their ending, where a file of one's own has a path."""

from importlib import resources
from pathlib import Path

from .errors import UserError, nearest
from .files import read_text

ENDING = ".toml"


def shipped_names(folder: str) -> list[str]:
    """Names of the TOML files in a folder of hwconfigs, e.g. "chips"."""
    entries = resources.files(f"sparsespike.hwconfigs.{folder}").iterdir()
    return sorted(entry.name.removesuffix(ENDING) for entry in entries if entry.name.endswith(ENDING))


def named_text(folder: str, source: str | Path, kind: str) -> str:
    """The text of a shipped file by name, or of a file by path; `kind` says in errors what it is.

    Raises UserError for an unknown name (the nearest is named), and as `read_text` for a file.
    """
    name = str(source)
    if name in shipped_names(folder):
        return (resources.files(f"sparsespike.hwconfigs.{folder}") / f"{name}{ENDING}").read_text("utf-8")
    path = Path(source)
    if path.suffix != ENDING and not path.exists():
        raise UserError(f"no {kind} {name!r}; {nearest(name, shipped_names(folder))} Or give a {ENDING} file.")
    return read_text(path, kind.split()[-1])
