"""Trained tickets that ship with the package; how each was made stands in README.md beside them."""

from importlib import resources
from pathlib import Path

from ...simulator.errors import UserError, nearest

ENDING = ".safetensors"
# Short names of those that the demo and the examples use: the sparse ticket, and its ablation.
ALIASES = {
    "digits": "digits-keep0.7-seed1-round09",
    "digits-dense": "digits-keep1.0-seed1-round00",
    "digits-pruned": "digits-keep1.0-seed1-round09",
    "digits-tokens": "digits-keep0.7-seed1-round00",
}
_FILES = {ENDING, ".pt", ".pth", ".tar"}  # a name with such an ending means a file, even where there is none
_FOLDER = Path(str(resources.files(__name__)))  # the package is always installed as files
SHIPPED = (*ALIASES, *sorted(path.name.removesuffix(ENDING) for path in _FOLDER.glob(f"*{ENDING}")))


def shipped(name: str) -> Path:
    """File of the shipped ticket of that name; raises UserError naming the nearest where there is none."""
    if name not in SHIPPED:
        raise UserError(f"no shipped ticket is called {name!r}; {nearest(name, SHIPPED)}")
    return _FOLDER / f"{ALIASES.get(name, name)}{ENDING}"


def find(name: str) -> Path:
    """A ticket file as it is, or the shipped ticket of that name; raises UserError where there is neither."""
    path = Path(name)
    if path.exists() or len(path.parts) > 1 or path.suffix in _FILES:
        return path
    if name not in SHIPPED:
        raise UserError(f"no ticket {name!r}; {nearest(name, SHIPPED)} Or give a file.")
    return shipped(name)
