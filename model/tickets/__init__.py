"""Small trained tickets that ship with the package."""

from importlib import resources
from pathlib import Path

from ...simulator.errors import UserError, nearest

# The sparse ticket first; the other three are its ablation: dense and all tokens, pruned only, tokens only.
SHIPPED = ("digits", "digits-dense", "digits-pruned", "digits-tokens")


def shipped(name: str) -> Path:
    """Path of the shipped ticket of that name; raises UserError naming the nearest where there is none."""
    if name not in SHIPPED:
        raise UserError(f"no shipped ticket is called {name!r}; {nearest(name, SHIPPED)}")
    # The package is always installed as files, so the resource is a path.
    return Path(str(resources.files(__name__) / f"{name}.safetensors"))


def find(name: str) -> Path:
    """A ticket file as it is, or the shipped ticket of that name; raises UserError where there is neither."""
    path = Path(name)
    if path.exists() or path.suffix:
        return path
    if name not in SHIPPED:
        raise UserError(f"no ticket {name!r}; {nearest(name, SHIPPED)} Or give a file.")
    return shipped(name)
