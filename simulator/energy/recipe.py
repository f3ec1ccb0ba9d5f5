"""A price as a sum of entries of a table, each so many times: pricing stays linear, and traceable to its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """parts: dotted key of an entry -> how often it is in the price (bits, millimetres, CACTI's picojoules, …)."""

    parts: Mapping[str, float]

    def __add__(self, other: "Recipe") -> "Recipe":
        both = [*self.parts, *other.parts]
        return Recipe({key: self.parts.get(key, 0.0) + other.parts.get(key, 0.0) for key in dict.fromkeys(both)})

    def __mul__(self, times: float) -> "Recipe":
        return Recipe({key: amount * times for key, amount in self.parts.items()})

    __rmul__ = __mul__


def of(key: str) -> Recipe:
    """One of an entry."""
    return Recipe({key: 1.0})
