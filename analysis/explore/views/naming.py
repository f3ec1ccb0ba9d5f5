"""What points, settings and traces are called in figures and tables: letters, last parts of keys, stems of files."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, islice, product
from pathlib import PurePath
from string import ascii_uppercase
from typing import Any, TypeVar

from ....simulator.errors import UserError
from ...tables import Table
from ..metrics import METRICS, described
from ..results import fronts
from ..store import Row

SHORT = 12  # characters of a point's key that are shown; `row_of` finds a point by fewer, where they are unique
MOST_NAMED = 24  # letters in a figure, over all its fronts

Item = TypeVar("Item")


def letters(number: int) -> list[str]:
    """A, B, …, Z, AA, AB, …"""
    every = ("".join(text) for length in count(1) for text in product(ascii_uppercase, repeat=length))
    return list(islice(every, number))


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, both ends among them, the others evenly in between."""
    if len(items) <= most:
        return list(items)
    if most < 2:
        return list(items[:most])
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def varied(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """Key -> its values, in the order of the rows, of every key that has several."""
    values: dict[str, dict[Any, None]] = {}
    for row in rows:
        for key, value in row.settings.items():
            values.setdefault(key, {})[value] = None
    return {key: list(found) for key, found in values.items() if len(found) > 1}


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Dotted key -> its last part, "lanes" for "core.lanes"; the whole key where two would be called the same."""
    return _unique({key: key.rpartition(".")[2].replace("_", " ") for key in keys})


def short_traces(rows: Iterable[Row]) -> dict[str, str]:
    """Trace as the space has it -> its file's stem, or the whole where two would be called the same."""
    return _unique({row.trace: PurePath(row.trace).name.removesuffix(".safetensors") for row in rows})


def _unique(short: Mapping[str, str]) -> dict[str, str]:
    often = Counter(short.values())
    return {whole: name if often[name] == 1 else whole for whole, name in short.items()}


def setting_text(row: Row, keys: Mapping[str, str]) -> str:
    """ "lanes 8, weight format csr" for `keys`, as `short_keys` names them."""
    return ", ".join(f"{name} {row.settings[key]}" for key, name in keys.items() if key in row.settings)


def row_of(rows: Sequence[Row], key: str) -> Row:
    """The feasible point of a key, or of its first characters. Raises UserError where there is none, or several."""
    found = [row for row in rows if row.key.startswith(key.strip().lower())]
    if len(found) != 1 or not key.strip():
        why = f"{len(found)} points begin so; give more of it" if found else "no point has this key (see plot --csv)"
        raise UserError(f"point {key!r}: {why}")
    if not found[0].feasible:
        raise UserError(f"point {key!r}: does not fit: {found[0].reason}")
    return found[0]


def named_points(rows: Sequence[Row], objectives: Sequence[str], keys: Sequence[str] = ()) -> dict[str, Row]:
    """Letter -> point: those of `keys`; without any, the fronts, each thinned out where there are too many to name.

    Raises UserError as `row_of` does.
    """
    if keys:
        chosen = list({row.key: row for row in (row_of(rows, key) for key in keys)}.values())
    else:
        found = fronts(rows, objectives)
        most = max(2, MOST_NAMED // max(1, len(found)))
        chosen = [row for front in found.values() for row in spread(front, most)]
    return dict(zip(letters(len(chosen)), chosen, strict=True))


def named_table(rows: Sequence[Row], named: Mapping[str, Row], metrics: Sequence[str]) -> Table:
    """The named points: what they are, and their metrics. rows: all points, for what tells them apart."""
    keys, traces = short_keys(varied(rows)), short_traces(rows)
    shown = tuple(dict.fromkeys((*metrics, "area")))
    cells = tuple(
        (
            name,
            setting_text(row, keys),
            traces[row.trace],
            *described(row.metrics or {}, shown).values(),
            row.key[:SHORT],
        )
        for name, row in named.items()
    )
    columns = ("point", "settings", "trace", *(METRICS[name].label for name in shown), "key")
    return Table("Named points", columns, cells)
