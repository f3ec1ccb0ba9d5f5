"""Spiking self-attention, found by its data: two matrix products of spikes without a softmax in between.

Which operand is q, which k and which v, and which axis is tokens, follows from where the elements came from; the order
of the two products and a transposed layout make no difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .fields import TIME, TOKEN, NotFollowedError, channel_of, ranks, token_of
from .layout import Layout
from .values import Value, evaluate

Find = Callable[[Value], Layout]


@dataclass(frozen=True)
class AttentionView:
    """q, k and v as the products take them, and the neurons that their channels are.

    channels: for each of the three int64[heads, head width], channel numbers within its stream.
    places: of the second product; its channels count head by head.
    scale: factor of the products.
    """

    q: Value
    k: Value
    v: Value
    channels: tuple[Tensor, Tensor, Tensor]
    places: Layout
    scale: float


def product_inside(value: Value) -> tuple[Value, float] | None:
    """The product of two live values that a value is but for moves and factors; and the factors' product."""
    factor = 1.0
    while True:
        live = [parent for parent in value.parents if not parent.fixed]
        if value.op in ("bmm", "mm") and len(live) == 2:
            return value, factor
        if len(live) != 1 or not (value.moves or value.op in ("mul", "div")):
            return None
        if not value.moves:
            number = _number(value)
            if number is None:
                return None
            factor = factor * number if value.op == "mul" else factor / number
        value = live[0]


def _number(value: Value) -> float | None:
    others = [part for part in value.arguments if not (isinstance(part, Value) and not part.fixed)]
    if len(others) != 1:
        return None
    if isinstance(others[0], Value):
        tensor = evaluate(others[0])
        return float(tensor) if tensor.numel() == 1 else None
    return float(others[0])


def view_attention(value: Value, find: Find) -> AttentionView:
    """The attention that ends in the product `value`. Raises NotFollowedError where it is none."""
    left, right = value.parents[:2]
    inner, factor = product_inside(left), 1.0
    if inner is not None:  # (A B) C
        first, factor = inner
        chain = (*first.parents[:2], right)
    else:
        inner = product_inside(right)
        if inner is None:
            raise NotFollowedError(value)
        first, factor = inner  # A (B C)
        chain = (left, *first.parents[:2])
    found = [_matrices(find(part)) for part in chain]
    tokens = [_token_axis(part, value) for part in found]  # 1 or 2: rows or columns
    # k is in the middle. Its product over channels is with q, over tokens with v.
    if tokens[1] == 2:  # channels run along k's rows: the operand before it is q
        q, k, v = 0, 1, 2
    else:
        q, k, v = 2, 1, 0
    if tokens[q] != (1 if q == 0 else 2) or tokens[v] != (1 if v == 2 else 2):
        raise NotFollowedError(value)
    heads = tuple(_channels(found[part], tokens[part], value) for part in (q, k, v))
    places = _outcome(found[q], tokens[q], heads[2], value, transposed=q == 2)
    return AttentionView(chain[q], chain[k], chain[v], (heads[0], heads[1], heads[2]), places, factor)


def _matrices(layout: Layout) -> Layout:
    return layout if len(layout.parts) == 3 else Layout(layout.base, (torch.zeros(1, dtype=torch.int64), *layout.parts))


def _token_axis(layout: Layout, value: Value) -> int:
    """The axis along which tokens change and channels do not; along the other one it is the other way round."""
    for axis in (1, 2):
        if layout.constant([axis], channel_of) and layout.constant([3 - axis], token_of):
            return axis
    raise NotFollowedError(value)


def _channels(layout: Layout, token_axis: int, value: Value) -> Tensor:
    """int64[heads, head width], the same for every image and timestep."""
    groups = layout.axis(0)
    tokens, width = token_of(layout.axis(token_axis)), layout.change(3 - token_axis, channel_of)
    if not torch.equal(tokens, torch.arange(len(tokens))) or not layout.constant([0], token_of):
        raise NotFollowedError(value)
    heads, moments = _heads(groups)
    table = torch.stack([channel_of(groups[heads == head]) for head in range(int(heads.max()) + 1)])
    if table.shape[1] != moments or not torch.equal(table, table[:, :1].expand(table.shape)):
        raise NotFollowedError(value)
    return table[:, :1] + width


def _heads(groups: Tensor) -> tuple[Tensor, int]:
    """(int64[groups]: the head of each, how many images and timesteps there are)."""
    when = groups >> TIME
    head, _ = ranks(when)
    return head, len(torch.unique(when))


def _outcome(q: Layout, token_axis: int, v_channels: Tensor, value: Value, transposed: bool) -> Layout:
    """Places of the second product: q's token and moment, channels head by head."""
    groups = q.axis(0)
    head, _ = _heads(groups)
    width = v_channels.shape[1]
    rows = ((groups >> TIME) << TIME) + head * width
    parts = [rows, token_of(q.axis(token_axis)) << TOKEN, torch.arange(width)]
    if transposed:
        parts[1], parts[2] = parts[2], parts[1]
    return Layout.of(0, parts).reshaped(value.shape)


def product_places(left: Layout, right: Layout, shape: Sequence[int]) -> Layout:
    """Places of a product of two activations that is no spiking attention: the tokens of the one, the other's channels.

    Where both have tokens there, or both channels, as in the square of softmax attention, columns count as channels.
    """
    left, right = _matrices(left), _matrices(right)
    groups, (rows, columns) = left.axis(0), shape[-2:]
    when = (groups >> TIME) << TIME
    sides = [not layout.constant([axis], token_of) for layout, axis in ((left, 1), (right, 2))]
    if sides == [True, False]:
        parts = [token_of(left.axis(1)) << TOKEN, channel_of(right.axis(2))]
        return Layout.of(0, [when + right.change(0, channel_of), *parts]).reshaped(shape)
    if sides == [False, True]:
        parts = [channel_of(left.axis(1)), token_of(right.axis(2)) << TOKEN]
        return Layout.of(0, [when + left.change(0, channel_of), *parts]).reshaped(shape)
    heads, _ = _heads(groups)
    parts = [torch.arange(rows) << TOKEN, torch.arange(columns)]
    return Layout.of(0, [when + heads * columns, *parts]).reshaped(shape)
