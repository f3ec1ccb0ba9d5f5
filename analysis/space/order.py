"""Which points of a space are looked at, and in which order: the whole grid, a Sobol sample, or the listed ones."""

from collections.abc import Iterator
from math import gcd

import numpy as np
from scipy.stats import qmc

from ...simulator.errors import UserError
from .design import ENERGY, TRACE, Space

Choice = tuple[int, ...]
BLOCK = 32  # neighbours of the grid that stay together: they share placements, and tables of row costs
TRIES = 64  # draws of a sample for each point asked for, before the constraints are said to be too narrow


def choice_at(space: Space, index: int) -> Choice:
    """The choice at a place of the grid, the last dimension fastest."""
    places = []
    for values in reversed(space.dimensions.values()):
        index, place = divmod(index, len(values))
        places.append(place)
    return tuple(reversed(places))


def grid(space: Space, seed: int | None = None) -> Iterator[dict[str, object]]:
    """Every combination that the constraints allow, then the listed points.

    seed: None for the order of the axes; else blocks of neighbours come in an order drawn from it, so that what is done
    first is spread over the space, and two processes with two seeds rarely do the same.
    """
    for block in spread_out(-(-space.size // BLOCK), seed):
        for index in range(block * BLOCK, min(block * BLOCK + BLOCK, space.size)):
            values = space.chosen(choice_at(space, index))
            if space.allows(values):
                yield values
    yield from listed(space)


def spread_out(count: int, seed: int | None) -> Iterator[int]:
    """0 to count - 1, each once, in an order drawn from the seed; none is held, as a space may be larger than memory.

    Strides of a golden section, or nearly, spread what comes first as evenly as numbers can be spread.
    """
    if seed is None or count < 3:
        yield from range(count)
        return
    rng = np.random.default_rng(seed)
    stride = max(1, int(count * (0.55 + 0.15 * rng.random())))
    while gcd(stride, count) != 1:
        stride += 1
    first = int(count * rng.random())
    yield from ((first + number * stride) % count for number in range(count))


def listed(space: Space) -> Iterator[dict[str, object]]:
    """The points that the file lists one by one, on every trace and table that they do not name."""
    for point in space.points:
        for trace in (point[TRACE],) if TRACE in point else space.traces:
            for energy in (point[ENERGY],) if ENERGY in point else space.energies:
                settings = {key: value for key, value in point.items() if key not in (TRACE, ENERGY)}
                yield {TRACE: trace, ENERGY: energy, **settings}


def sobol(space: Space, count: int, seed: int) -> Iterator[dict[str, object]]:
    """`count` different points of the grid from a scrambled Sobol sequence (scipy.stats.qmc), or all, if fewer.

    Raises UserError where there are no axes, or where constraints leave too few of the points drawn.
    """
    if not space.axes:
        raise UserError(f"space {space.name}: has no axes to draw from")
    sizes = np.array([len(values) for values in space.dimensions.values()])
    sampler = qmc.Sobol(len(sizes), scramble=True, rng=np.random.default_rng(seed))
    seen: set[Choice] = set()
    found = 0
    batch = 1 << max(3, int(np.ceil(np.log2(count))))  # a power of two keeps the sequence balanced
    for _ in range(TRIES):
        for drawn in np.minimum((sampler.random(batch) * sizes).astype(np.int64), sizes - 1).tolist():
            if found == count or len(seen) == space.size:
                return
            choice = tuple(drawn)
            if choice in seen:
                continue
            seen.add(choice)
            values = space.chosen(choice)
            if space.allows(values):
                found += 1
                yield values
    if not found:
        raise UserError(f"space {space.name}: the constraints allow none of {len(seen):,} points that were drawn")
