"""Gate equivalents of a block: a sum of terms, each a coefficient times a product of the block's quantities.

gates.toml holds the coefficients of a non-negative least-squares fit to synthesised elaborations, with its errors.
"""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from math import prod

from pydantic import Field

from ..sourced import Words
from ..validation import Part

Quantities = Mapping[str, float]
CONST = "const"


class BlockFit(Part):
    """The fit of one block. Errors are relative to the synthesised gates.

    terms: term ("lanes*accumulator_bits") -> gate equivalents, none negative.
    largest: quantity -> the largest that was synthesised.
    leave_one_out_max: of points predicted by a fit to the others.  held_out: of larger points that no fit has seen.
    """

    terms: dict[str, float]
    largest: dict[str, float]
    points: int = Field(ge=1)
    rms_error: float = Field(ge=0)
    max_error: float = Field(ge=0)
    leave_one_out_max: float = Field(ge=0)
    held_out_error: float = Field(ge=0)
    source: Words

    @property
    def error(self) -> float:
        """The largest relative error that a prediction had."""
        return max(self.leave_one_out_max, self.held_out_error)


class GateTable(Part):
    """gates.toml: block -> its fit, and what made it."""

    tools: str
    library: str
    unit: str
    blocks: dict[str, BlockFit]


@lru_cache(maxsize=1)
def gate_table() -> GateTable:
    """The shipped table."""
    text = (resources.files("sparsespike.hwconfigs.area") / "gates.toml").read_text("utf-8")
    return GateTable.model_validate(tomllib.loads(text))


def term_value(term: str, quantities: Quantities) -> float:
    """Product of the quantities that a term names; 1 for "const"."""
    return 1.0 if term == CONST else prod(quantities[name] for name in term.split("*"))


def gates(block: str, quantities: Quantities) -> float:
    """Gate equivalents of a block of these quantities: the sum of coefficient x term."""
    fit = gate_table().blocks[block]
    return sum(coefficient * term_value(term, quantities) for term, coefficient in fit.terms.items())


def beyond(block: str, quantities: Quantities) -> bool:
    """Whether a quantity exceeds the largest that was synthesised, so that the fit extrapolates."""
    largest = gate_table().blocks[block].largest
    return any(value > largest[name] for name, value in quantities.items())
