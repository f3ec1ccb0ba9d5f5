"""An axis of a design space: a list of values, or a range of numbers in steps or by a factor."""

from fractions import Fraction
from math import isfinite
from typing import Any

RANGE_KEYS = ("from", "to", "step", "times")
MOST_VALUES = 10_000


def is_range(value: Any) -> bool:
    """Whether a table of a space file is a range, and not a nested key."""
    return isinstance(value, dict) and "from" in value


def axis_values(value: Any) -> tuple[Any, ...]:
    """The values of `[2, 4, 8]`, `{ from = 2, to = 8, step = 2 }` or `{ from = 2, to = 8, times = 2 }`, both ends in.

    Raises ValueError, saying what is wrong.
    """
    if is_range(value):
        return _steps(value)
    if not isinstance(value, list):
        raise ValueError("must be a list of values, or { from = …, to = …, step = … } or { …, times = … }")
    if not value:
        raise ValueError("holds no value")
    if any(not isinstance(entry, int | float | str) for entry in value):
        raise ValueError("must be numbers or words")
    if any(value.count(entry) > 1 for entry in value):
        raise ValueError("a value stands twice")
    return tuple(value)


def _steps(table: dict[str, Any]) -> tuple[int | float, ...]:
    unknown = [key for key in table if key not in RANGE_KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown; a range has from, to and step, or times")
    if "to" not in table or ("step" in table) == ("times" in table):
        raise ValueError("a range has from, to and either step or times")
    first, last = table["from"], table["to"]
    move = table["step"] if "step" in table else table["times"]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in (first, last, move)):
        raise ValueError("from, to, step and times must be numbers")
    if not all(map(isfinite, (first, last, move))):
        raise ValueError("from, to, step and times must be finite")
    if first > last or ("step" in table and move <= 0) or ("times" in table and (move <= 1 or first <= 0)):
        raise ValueError("holds no value: from must not be beyond to, step above 0, times above 1")
    # as the file has them, in decimals: three steps of 0.1 are 0.3, which binary fractions miss
    begin, end, by = (Fraction(str(number)) for number in (first, last, move))
    whole = all(isinstance(number, int) for number in (first, move))
    values: list[int | float] = []
    while (value := begin + len(values) * by if "step" in table else begin * by ** len(values)) <= end:
        values.append(int(value) if whole else float(value))
        if len(values) > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES:,} values")
    return tuple(values)
