"""A place: the image, timestep, token and channel of an element, in the bit fields of one integer."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .values import Value

CHANNEL_BITS, TOKEN_BITS, TIME_BITS = 20, 20, 11
TOKEN, TIME, IMAGE = CHANNEL_BITS, CHANNEL_BITS + TOKEN_BITS, CHANNEL_BITS + TOKEN_BITS + TIME_BITS
TIMESTEPS_MAX = 2**TIME_BITS - 2  # 0 in its field: no timestep
Field = Callable[[Tensor], Tensor]  # one of the four below: the field of each place


class NotFollowedError(Exception):
    """An element's place depends on the data, or on an operation that is not understood."""

    def __init__(self, value: Value) -> None:
        super().__init__(value.op)
        self.value = value


@contextlib.contextmanager
def of_chip_alone() -> Iterator[None]:
    """Let neurons go that the host drives: what cannot be followed is an operation that is named and counted."""
    try:
        yield
    except NotFollowedError as error:
        if not error.value.note.get("foreign"):
            raise


def channel_of(places: Tensor) -> Tensor:
    """The field of the channel."""
    return places & (2**CHANNEL_BITS - 1)


def token_of(places: Tensor) -> Tensor:
    """The field of the token."""
    return (places >> TOKEN) & (2**TOKEN_BITS - 1)


def time_of(places: Tensor) -> Tensor:
    """The timestep, -1 where it is static."""
    return ((places >> TIME) & (2**TIME_BITS - 1)) - 1


def image_of(places: Tensor) -> Tensor:
    """The field of the image."""
    return places >> IMAGE


def ranks(flat: Tensor) -> tuple[Tensor, int]:
    """(int64: the how-manieth of its like each element is, counted from 0; how many there are of the commonest)."""
    order = torch.argsort(flat, stable=True)
    ranked = flat[order]
    first = torch.ones_like(ranked, dtype=torch.bool)
    first[1:] = ranked[1:] != ranked[:-1]
    start = torch.nonzero(first).reshape(-1)
    copy = torch.arange(len(flat)) - start[torch.cumsum(first, 0) - 1]
    rank = torch.empty_like(copy)
    rank[order] = copy
    return rank, int(copy.max()) + 1
