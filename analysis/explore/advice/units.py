"""Quantities as people write them: "2ms", "4 mm2", "20uJ", "97%", read into the unit of a metric."""

import math
import re

from ....simulator.errors import UserError, nearest
from ..metrics import METRICS

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12}
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
_EXAMPLES = {"s": "2ms", "J": "20uJ", "mm²": "4mm2", "W": "50mW", "": "97%"}


def units_of(name: str) -> dict[str, float]:
    """Units that a metric can be given in -> how much each is in the metric's own: s, J, mm², W, a share."""
    unit = METRICS[name].unit
    if unit == "mm²":
        return {"mm2": 1.0, "mm²": 1.0, "mm^2": 1.0, "um2": 1e-6, "µm²": 1e-6, "cm2": 100.0}
    if name == "accuracy":
        return {"%": 0.01, "": 1.0}
    return {prefix + unit: factor for prefix, factor in _PREFIXES.items()}


def parse_quantity(name: str, text: str) -> float:
    """A limit of a metric in its own unit: parse_quantity("latency", "2ms") = 0.002.

    Raises UserError for what is no number, for a missing, unknown or another metric's unit (the nearest is named), and
    for a value that no chip can have: 0 or below, or an accuracy above 100 %.
    """
    where, units = f"--{name} {text}", units_of(name)
    example = f"write it like {_EXAMPLES[METRICS[name].unit]}"
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise UserError(f"{where}: no number with a unit; {example}")
    number, unit = float(found[1]), found[2]
    if unit not in units:
        why = "its unit is missing" if not unit else f"no unit {unit!r} of {METRICS[name].label}; {_hint(unit, units)}"
        raise UserError(f"{where}: {why}; {example}")
    value = number * units[unit]
    if not 0 < value < math.inf:
        raise UserError(f"{where}: must be above 0, and finite")
    if name == "accuracy" and value > 1:
        raise UserError(f"{where}: an accuracy is a share up to 1, or up to 100%")
    return value


def _hint(unit: str, units: dict[str, float]) -> str:
    """Names the nearest unit; many are but prefixes of one, so that a list of all would say little."""
    return nearest(unit, [name for name in units if name])
