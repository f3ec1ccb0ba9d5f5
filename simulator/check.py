"""Small checks of arrays that come from files; each raises UserError with a sentence."""

import dataclasses
from typing import Any

import numpy as np

from .errors import UserError


def need(condition: bool, message: str) -> None:
    """Raise UserError with the message unless the condition holds."""
    if not condition:
        raise UserError(message)


_TYPES = {int: "a whole number", str: "a text of printable characters", bool: "true or false"}


def need_types(item: Any, what: str) -> None:
    """A dataclass whose fields of type int, str and bool hold just these: True is no number, a name can be printed."""
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.type in _TYPES:
            sound = type(value) is field.type and (field.type is not str or value.isprintable())
            need(sound, f"{what}: {field.name} = {value!r:.60}, needs {_TYPES[field.type]}")


def need_array(array: Any, dtype: Any, shape: tuple[int | None, ...], what: str) -> None:
    """An array of this type and shape; None stands for any length."""
    need(isinstance(array, np.ndarray), f"{what}: missing")
    need(array.dtype == dtype, f"{what}: type {array.dtype}, needs {np.dtype(dtype)}")
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    need(fits, f"{what}: shape {array.shape}, needs {shape}")


def need_offsets(offsets: Any, rows: int, entries: int, what: str) -> None:
    """int64[rows + 1], monotone from 0 to the number of entries."""
    need_array(offsets, np.int64, (rows + 1,), what)
    need(offsets[0] == 0 and offsets[-1] == entries, f"{what}: must run from 0 to {entries}")
    need(bool((np.diff(offsets) >= 0).all()), f"{what}: must never fall")


def need_ascending(offsets: np.ndarray, indices: np.ndarray, limit: int, what: str) -> None:
    """Ragged rows of indices below `limit`, each index of a row above the one before."""
    if not len(indices):
        return
    need(int(indices.max()) < limit, f"{what}: {int(indices.max())} is not below {limit}")
    rising = np.ones(len(indices), np.bool_)
    rising[1:] = indices[1:] > indices[:-1]
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    rising[starts] = True
    need(bool(rising.all()), f"{what}: must ascend within a row")
