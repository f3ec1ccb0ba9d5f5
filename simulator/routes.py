"""Where units stand and the multicast trees between them (rules N1, N2, F2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .hardware import Chip
from .kernels.router import EAST, LOCAL, NORTH, PORTS, SOUTH, WEST


@dataclass(frozen=True)
class Trees:
    """The router tables of a phase.

    masks: uint8[trees, routers], the outputs that a tree serves at a router, one bit per port.
    links, routers, outputs, leaves: int64[trees], what one flit over the tree uses (W3).
    leaf_of: int64[trees], the router of a tree's first consumer, its only one where trees are not multicast.
    """

    masks: NDArray[np.uint8]
    links: NDArray[np.int64]
    routers: NDArray[np.int64]
    outputs: NDArray[np.int64]
    leaves: NDArray[np.int64]
    leaf_of: NDArray[np.int64]


def build_trees(chip: Chip, branches: Sequence[tuple[int, Sequence[int]]]) -> Trees:
    """XY trees: one per (router of the producer, routers of the consumers)."""
    columns, routers = chip.router_columns, chip.routers
    masks = np.array([_table(columns, routers, source, tuple(leaves)) for source, leaves in branches], np.uint8)
    masks = masks.reshape(len(branches), routers)
    served = (masks[:, :, None] >> np.arange(PORTS)) & 1
    outputs = served.sum(axis=(1, 2), dtype=np.int64)
    leaves_reached = served[:, :, LOCAL].sum(axis=1, dtype=np.int64)
    visited = (masks > 0).sum(axis=1, dtype=np.int64)
    leaf_of = np.array([min(leaves) for _, leaves in branches], np.int64)
    return Trees(masks, outputs - leaves_reached, visited, outputs, leaves_reached, leaf_of)


@lru_cache(maxsize=4096)  # the layers of a trace share most of their trees
def _table(columns: int, routers: int, source: int, leaves: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8[routers]: the outputs that one tree serves at each router of a mesh."""
    mask = np.zeros(routers, np.uint8)
    for leaf in leaves:
        _add_route(mask, source, leaf, columns)
    return mask


def _add_route(mask: NDArray[np.uint8], source: int, leaf: int, columns: int) -> None:
    """Mark the outputs of the route from one router to another: along x first, then along y."""
    router = source
    while router != leaf:
        row, column = divmod(router, columns)
        leaf_row, leaf_column = divmod(leaf, columns)
        if column != leaf_column:
            output, following = (EAST, router + 1) if leaf_column > column else (WEST, router - 1)
        else:
            output, following = (SOUTH, router + columns) if leaf_row > row else (NORTH, router - columns)
        mask[router] |= 1 << output
        router = following
    mask[leaf] |= 1 << LOCAL
