"""Design spaces: a base chip, axes of values, constraints between keys, energy tables and traces, read from TOML."""

from .design import Candidate, Space
from .file import load_space, space_names
from .order import grid, listed, sobol

__all__ = ["Candidate", "Space", "grid", "listed", "load_space", "sobol", "space_names"]
