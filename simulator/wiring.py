"""Who sends a layer's events to whom, over which multicast trees (rules P3, F2, F3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cuts import Home
from .hardware import Chip
from .kernels.encoder import Senders
from .routes import Trees, build_trees
from .trace import Stream


@dataclass(frozen=True)
class Consumers:
    """The consumers of a phase.

    routers: int32[consumers].  cores: int32[consumers], where they are cores, else empty.
    of_channel: int64[channels], the consumer that a channel goes to (attention units); None: to all.
    of_token: int64[tokens], the consumer that a token goes to (layers cut by tokens); None: to all.
    """

    routers: NDArray[np.int32]
    cores: NDArray[np.int32]
    of_channel: NDArray[np.int64] | None = None
    of_token: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Phase:
    """A phase before its first cycle. producers: int32[producers], routers; expected: int32[consumers] (F3)."""

    producers: NDArray[np.int32]
    consumers: Consumers
    expected: NDArray[np.int32]
    senders: Senders
    trees: Trees
    first_token: NDArray[np.int64]  # [producers]: first token that each may hold a part of (T4)

    @cached_property
    def derived(self) -> dict[Any, Any]:
        """What follows from a phase, its trace and the order of the chip's loops, by what it is."""
        return {}


def plan_phase(chip: Chip, source: Stream, home: Home, consumers: Consumers) -> Phase:
    """Number the trees in the order of producers, then of consumers, and find who sends over which (F2)."""
    nodes = np.array(chip.service_routers[1:] if home.by == "units" else chip.core_routers, np.int32)
    present, index = np.unique(home.owner, return_inverse=True)
    producers, owner = nodes[present], index.reshape(-1).astype(np.int32)
    by_token = home.by == "tokens"
    number, branches = _number_trees(producers, owner, by_token, consumers)
    channel_tree, token_tree = np.zeros(source.channels, np.int32), np.zeros(source.tokens, np.int32)
    start = _first(number)
    if by_token:
        token_tree[:] = start[owner] if consumers.of_token is None else number[owner, consumers.of_token]
        if consumers.of_channel is not None:
            channel_tree[:] = consumers.of_channel
        ends = [np.arange((row >= 0).sum() if consumers.of_token is None else 1) for row in number]
    elif consumers.of_token is not None:
        channel_tree[:], token_tree[:] = start[owner], consumers.of_token
        ends = [np.array([first]) for first in start]
    else:
        channel_tree[:] = number[owner, 0 if consumers.of_channel is None else consumers.of_channel]
        ends = [row[row >= 0] for row in number]
    word, words = _memory_words(chip, owner, by_token, len(present), source.channels)
    return Phase(
        producers,
        consumers,
        _expected(number, by_token, consumers),
        Senders(
            by_token,
            owner,
            word,
            words,
            channel_tree,
            token_tree,
            np.concatenate(ends).astype(np.int32),
            np.cumsum([0, *map(len, ends)]).astype(np.int64),
            2**chip.mesh.value_bits - 1,
        ),
        build_trees(chip, branches),
        np.array([np.argmax(owner == p) if by_token else 0 for p in range(len(present))], np.int64),
    )


def _first(number: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lowest tree of each producer; each has one."""
    return np.where(number >= 0, number, number.size).min(axis=1)


def _number_trees(
    producers: NDArray[np.int32], owner: NDArray[np.int32], by_token: bool, consumers: Consumers
) -> tuple[NDArray[np.int64], list[tuple[int, Sequence[int]]]]:
    """Trees int64[producers, consumers], -1 for none; [producers, 1] where they are multicast. And their branches."""
    routers = consumers.routers.tolist()
    if consumers.of_channel is None and consumers.of_token is None:
        return np.arange(len(producers))[:, None], [(int(router), routers) for router in producers]
    pairs = np.ones((len(producers), len(routers)), np.bool_)
    for one, alone in ((consumers.of_token, by_token), (consumers.of_channel, not by_token)):
        if one is not None and alone:
            pairs[:] = False
            pairs[owner, one] = True
    number = np.where(pairs, np.cumsum(pairs).reshape(pairs.shape) - 1, -1)
    return number, [(int(producers[p]), [routers[c]]) for p, c in np.argwhere(pairs)]


def _expected(number: NDArray[np.int64], by_token: bool, consumers: Consumers) -> NDArray[np.int32]:
    """F3: end-of-token flits per step: by token, of the one producer that holds the token."""
    if by_token:
        return np.ones(len(consumers.routers), np.int32)
    reach = (number >= 0).sum(axis=0).astype(np.int32)
    return reach if number.shape[1] > 1 else np.full(len(consumers.routers), reach[0], np.int32)


def _memory_words(
    chip: Chip, owner: NDArray[np.int32], by_token: bool, producers: int, channels: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """E1: int32[channels], the word of each in its producer's spike memory; int32[producers], words of a step."""
    width = chip.core.encode_width
    if by_token:
        return (np.arange(channels) // width).astype(np.int32), np.full(producers, -(-channels // width), np.int32)
    place = np.zeros(channels, np.int64)
    for producer in range(producers):
        mine = owner == producer
        place[mine] = np.arange(mine.sum())
    counts = np.bincount(owner, minlength=producers)
    return (place // width).astype(np.int32), (-(-counts // width)).astype(np.int32)
