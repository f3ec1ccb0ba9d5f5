"""The event log in words: what a phase did in which cycle; oracle and RTL write the same (tests/rtl/README.md)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels.log import GRANT, LOOKUP, OPEN, PLACE, POP, RELEASE, SEND, SWEEP, TAKE
from .kernels.router import PORTS

PORT_LETTERS = "LNESW"
PLAIN = {SEND: "send", LOOKUP: "lookup", TAKE: "take", SWEEP: "sweep", RELEASE: "release", OPEN: "open"}

Line = tuple[int, int, str, int]


def read_log(rows: NDArray[Any]) -> list[Line]:
    """(cycle, router, event, value) of each row of a log int64[events, 4], sorted."""
    names = {number: _name(*divmod(number, PLACE)) for number in set(rows[:, 2].tolist())}
    return sorted((cycle, unit, names[event], value) for cycle, unit, event, value in rows.tolist())


def _name(kind: int, place: int) -> str:
    if kind == GRANT:
        output, port = divmod(place, PORTS)
        return f"grant.{PORT_LETTERS[output]}.{PORT_LETTERS[port]}"
    if kind == POP:
        return f"pop.{PORT_LETTERS[place]}"
    return PLAIN[kind]


def grants(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[grants] router and int64[grants] output (a place in PORT_LETTERS) of every flit granted, in no order.

    A flit granted to an output other than L goes over a link. rows: int64[events, 4], a log.
    """
    kind, place = np.divmod(rows[:, 2], PLACE)
    granted = kind == GRANT
    return rows[granted, 1], place[granted] // PORTS
