"""The keys of a geometry file: what each may be, and every fault of a file in a sentence."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...simulator.errors import nearest
from ...simulator.trace import SIZE_MAX, TIMESTEPS_MAX


@dataclass(frozen=True)
class Key:
    """A test, the words for what passes it, and what becomes of it."""

    test: Callable[[Any], bool]
    allowed: str
    make: Callable[[Any], Any] = lambda value: value


def check_table(
    table: Mapping[str, Any], keys: Mapping[str, Key], needed: Iterable[str], where: str, faults: list[str]
) -> dict[str, Any]:
    """The sound values of a table, by key; a sentence for each of the others is added to `faults`."""
    faults += [f"{where}{key}: missing" for key in needed if key not in table]
    values = {}
    for key, value in table.items():
        if key not in keys:
            faults.append(f"{where}{key}: unknown key; {nearest(key, keys)}")
        elif not keys[key].test(value):
            faults.append(f"{where}{key} = {value!r:.60}: must be {keys[key].allowed}")
        else:
            values[key] = keys[key].make(value)
    return values


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _whole(low: int, high: int = SIZE_MAX) -> Key:
    return Key(lambda value: _is_whole(value, low, high), f"a whole number from {low} to {high}")


def _sizes(low: int, *names: str) -> Key:
    def test(value: Any) -> bool:
        wanted = isinstance(value, list) and len(value) == len(names)
        return wanted and all(_is_whole(size, low, SIZE_MAX) for size in value)

    return Key(test, f"[{', '.join(names)}], whole numbers from {low} to {SIZE_MAX}", tuple)


def _size_or_pair(low: int) -> Key:
    """One for both axes, or [y, x]."""
    whole, pair = _whole(low), _sizes(low, "y", "x")
    return Key(
        lambda value: whole.test(value) or pair.test(value),
        f"{whole.allowed}, or [y, x]",
        lambda value: tuple(value) if isinstance(value, list) else (value, value),
    )


def _one_of(*words: str) -> Key:
    return Key(lambda value: value in words, " or ".join(f'"{word}"' for word in words))


def _letters(letters: str) -> Key:
    def test(value: Any) -> bool:
        return isinstance(value, str) and 0 < len(value) == len(set(value)) and set(value) <= set(letters)

    return Key(test, f"different letters of {letters}")


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


_TEXT = Key(lambda value: isinstance(value, str) and bool(value), "a text")
_ANY_TEXT = Key(lambda value: isinstance(value, str), 'a text, or ""')
_TABLES = Key(lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value), "tables")
_INPUT = Key(lambda value: bool(value) and all(map(_TEXT.test, _listed(value))), "an array's name, or a list", _listed)
_DENSITY = Key(lambda value: type(value) in (int, float) and 0 < value <= 1, "a number above 0 and at most 1", float)
_COUNT = _whole(0, 2**62)

AXES = "TBCHWNA"  # time, images, channels, height, width, tokens, attention heads
WEIGHTS = {"weights": _TEXT, "weight_density": _DENSITY, "seed": _whole(0, 2**32 - 1)}
TOP = {
    "name": _TEXT,
    "source": _TEXT,
    "timesteps": _whole(1, TIMESTEPS_MAX),
    "weight_bits": _whole(2, 8),
    "layer": _TABLES,
    "host": _TABLES,
    **WEIGHTS,
}
_EVERY = {"name": _TEXT, "kind": _TEXT, "input": _INPUT, "output": _ANY_TEXT, "axes": _letters(AXES)}
_NEURONS = {"channels": _whole(1), "weight_axes": _letters("OIYX"), **WEIGHTS}
_GRID = {"grid": _sizes(1, "height", "width")}
LAYER = {
    "conv": _EVERY | _NEURONS | {"kernel": _size_or_pair(1), "stride": _whole(1), "padding": _size_or_pair(0)},
    "linear": _EVERY | _NEURONS | _GRID | {"map": _sizes(1, "channels", "height", "width")},
    "pool": _EVERY | {"form": _one_of("max", "sum"), "kernel": _whole(1), "stride": _whole(1), "padding": _whole(0)},
    "attention": _EVERY | _GRID | {"heads": _whole(1), "form": _one_of("product", "hadamard")},
}
NEEDED = {
    "conv": ("channels", "kernel"),
    "linear": ("channels",),
    "pool": ("kernel",),
    "attention": ("heads",),
}
HOST = {
    "name": _TEXT,
    "operation": _TEXT,
    "operations": _COUNT,
    "unit": _one_of("multiply_accumulate", "elementwise"),
    "bytes_in": _COUNT,
    "bytes_out": _COUNT,
    "after": _ANY_TEXT,
}
