"""What a gate equivalent takes at a node, in um2: cells of real libraries, scaled, over how densely they are placed."""

import tomllib
from functools import lru_cache
from importlib import resources
from math import exp, log

import numpy as np
from pydantic import Field

from ..errors import UserError
from ..sourced import Band, Kind, Words
from ..validation import Part


class Sourced(Part):
    """What kind of number it is and where it comes from."""

    kind: Kind
    source: Words


class Library(Sourced):
    """A library of cells, by its NAND gate of two inputs."""

    name: str
    node_nm: int = Field(gt=0)
    nand2_um2: float = Field(gt=0)


class Factors(Sourced):
    """Area of the same circuit by node, nm -> relative to 180 nm."""

    relative_to_180nm: dict[str, float]


class Utilisation(Sourced):
    """Part of the placed area that cells cover; `low` is that of the smallest area."""

    value: float = Field(gt=0, le=1)
    low: float = Field(gt=0, le=1)
    high: float = Field(gt=0, le=1)


class Spread(Sourced):
    """Factors on a nominal area."""

    low_factor: float = Field(gt=0, le=1)
    high_factor: float = Field(ge=1)

    @property
    def band(self) -> Band:
        """(low, 1, high)."""
        return np.array([self.low_factor, 1.0, self.high_factor])


class Beyond(Sourced):
    """A factor on a fit's error where it extrapolates."""

    beyond_factor: float = Field(ge=1)


class Capacities(Sourced):
    """What no key of a chip file limits."""

    tokens: int = Field(ge=1)
    hidden: int = Field(ge=1)
    configuration_words: int = Field(ge=1)


class Check(Part):
    """A quoted area of a primitive, to hold the densities against; in no number."""

    what: str
    node_nm: int
    um2: float = Field(gt=0)
    primitive: str
    width: int
    source: Words


class AreaTable(Part):
    """area.toml."""

    libraries: list[Library] = Field(min_length=1)
    factors: Factors
    utilisation: Utilisation
    estimated: Spread
    fitted: Beyond
    sram: Spread
    capacities: Capacities
    checks: list[Check]


@lru_cache(maxsize=1)
def area_table() -> AreaTable:
    """The shipped table."""
    text = (resources.files("sparsespike.hwconfigs.area") / "area.toml").read_text("utf-8")
    return AreaTable.model_validate(tomllib.loads(text))


def area_factor(start_nm: int, end_nm: int) -> float:
    """Area of a circuit at a node, as a multiple of that at another: of logic, and of a macro that is scaled.

    Raises UserError beyond the table: no extrapolation.
    """
    return _of_180(end_nm) / _of_180(start_nm)


def _of_180(node_nm: int) -> float:
    """Area relative to 180 nm; between two nodes of the table by log-log interpolation."""
    factors = {int(node): factor for node, factor in area_table().factors.relative_to_180nm.items()}
    if not min(factors) <= node_nm <= max(factors):
        raise UserError(
            f"technology.node_nm = {node_nm}: area factors reach from {min(factors)} to {max(factors)} nm; "
            "no extrapolation"
        )
    lower = max(node for node in factors if node <= node_nm)
    upper = min(node for node in factors if node >= node_nm)
    if lower == upper:
        return factors[lower]
    share = log(node_nm / lower) / log(upper / lower)
    return exp((1 - share) * log(factors[lower]) + share * log(factors[upper]))


def cell_um2(node_nm: int) -> Band:
    """The area of a NAND gate: libraries x factor(node) / factor(library's node): smallest, geometric mean, largest."""
    scaled = [part.nand2_um2 * area_factor(part.node_nm, node_nm) for part in area_table().libraries]
    return np.array([min(scaled), exp(sum(map(log, scaled)) / len(scaled)), max(scaled)])


def gate_um2(node_nm: int) -> Band:
    """What a gate equivalent takes when it is placed: the NAND gate's area over the utilisation."""
    used = area_table().utilisation
    return cell_um2(node_nm) / np.array([used.low, used.value, used.high])
