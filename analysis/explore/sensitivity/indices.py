"""Which axis of a space matters: Sobol indices, the shares of an objective's variance that each axis explains.

The first-order index of an axis is what it explains alone, the total index what would be left if all others were known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, qmc

from ....simulator.errors import UserError
from ...tables import Table, percent
from ..search.variation import Choice

Values = NDArray[np.float64]

RESAMPLES, CONFIDENCE = 999, 0.95
FEWEST = 8  # rows of the design without which an index is a guess


@dataclass(frozen=True)
class Design:
    """Saltelli's: two independent samples A and B of choices, and for each axis A with that axis' values from B.

    a, b: int64[rows, axes].  ab: int64[axes, rows, axes].
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    ab: NDArray[np.int64]

    def choices(self) -> list[Choice]:
        """All of its points, A's, B's, then those of each axis."""
        every = np.vstack([self.a, self.b, *self.ab])
        return [tuple(row) for row in every.tolist()]


def saltelli(sizes: Sequence[int], rows: int, seed: int) -> Design:
    """A design of a Sobol sequence: every value of an axis is as likely as any other.

    sizes: values of each axis.  Raises UserError where rows is no power of two, which keeps the sequence balanced.
    """
    if rows < 2 or rows & (rows - 1):
        near = max(2, 1 << (max(rows, 1).bit_length() - 1))
        raise UserError(f"samples = {rows}: must be a power of two, e.g. {near} or {2 * near}")
    counts = np.array(sizes)
    points = qmc.Sobol(2 * len(counts), rng=np.random.default_rng(seed), bits=64).random(rows)
    places = np.minimum((points * np.tile(counts, 2)).astype(np.int64), np.tile(counts, 2) - 1)
    a, b = places[:, : len(counts)], places[:, len(counts) :]
    ab = np.repeat(a[None], len(counts), 0)
    for axis in range(len(counts)):
        ab[axis, :, axis] = b[:, axis]
    return Design(a, b, ab)


@dataclass(frozen=True)
class Indices:
    """Sobol indices of each axis, with intervals of CONFIDENCE from a bootstrap over the design's rows.

    first, total: float64[axes].  first_interval, total_interval: float64[2, axes], low and high.
    rows: of the design that were used.  dropped: rows with a point that does not fit, or that constraints forbid.
    """

    names: tuple[str, ...]
    first: Values
    total: Values
    first_interval: Values
    total_interval: Values
    rows: int
    dropped: int

    def order(self) -> list[int]:
        """Axes, the greatest total index first."""
        return np.argsort(-self.total, kind="stable").tolist()


def sobol_indices(names: Sequence[str], design: Design, values: Callable[[Choice], float | None], seed: int) -> Indices:
    """Indices of a function of choices; rows of the design that touch a point without a value (None) are dropped.

    The estimators are those of scipy.stats.sobol_indices (Saltelli et al., 2010), which takes no design with gaps.
    Where rows were dropped the axes are no longer independent, so that indices need not add up.
    Raises UserError where too few rows are left.
    """
    found = np.array([np.nan if (value := values(choice)) is None else value for choice in design.choices()])
    table = found.reshape(len(names) + 2, len(design.a))  # [A, B, AB of each axis][rows]
    whole = np.isfinite(table).all(0)
    rows, dropped = int(whole.sum()), int((~whole).sum())
    if rows < FEWEST:
        raise UserError(
            f"only {rows} of the design's {rows + dropped} rows fit whole, and {FEWEST} are needed: take more samples, "
            "or a space of which more fits"
        )
    table = table[:, whole] - table[:2, whole].mean()
    first, total = _estimates(table)
    if not table.any():  # the same everywhere: nothing to explain, and nothing to resample
        return Indices(tuple(names), first, total, np.stack([first] * 2), np.stack([total] * 2), rows, dropped)
    spread = bootstrap(
        (np.arange(rows),),
        lambda chosen: np.concatenate(_estimates(table[:, chosen])),
        vectorized=False,
        method="percentile",
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = np.split(spread.low, 2), np.split(spread.high, 2)
    return Indices(tuple(names), first, total, np.stack([low[0], high[0]]), np.stack([low[1], high[1]]), rows, dropped)


def _estimates(table: Values) -> tuple[Values, Values]:
    """First-order and total indices of centred values, float64[A, B, AB of each axis][rows]."""
    a, b, ab = table[0], table[1], table[2:]
    variance = np.var(table[:2])
    if variance == 0:
        return np.zeros(len(ab)), np.zeros(len(ab))
    return (b * (ab - a)).mean(1) / variance, 0.5 * ((a - ab) ** 2).mean(1) / variance


def indices_table(indices: Indices, objective: str) -> Table:
    """Axes by what they matter, with intervals."""
    rows = [
        (
            indices.names[axis],
            _cell(indices.first, indices.first_interval, axis),
            _cell(indices.total, indices.total_interval, axis),
        )
        for axis in indices.order()
    ]
    note = (
        f"Shares of the variance of {objective} over the space, each value of an axis as likely as any other: by an "
        f"axis alone (first order), and with all that it takes part in (total); {percent(CONFIDENCE, 0)} intervals of "
        f"a bootstrap over {indices.rows} rows of the design."
    )
    if indices.dropped:
        note += (
            f" {indices.dropped} more rows touch a point that does not fit or is forbidden, and were dropped: axes are "
            "not independent in what is left."
        )
    return Table(f"What {objective} depends on", ("axis", "first order", "total"), tuple(rows), note)


def _cell(values: Values, interval: Values, axis: int) -> str:
    return f"{values[axis]:.3f} ({interval[0, axis]:.3f} to {interval[1, axis]:.3f})"
