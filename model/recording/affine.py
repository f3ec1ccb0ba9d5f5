"""Operations that scale and shift sums channel by channel: batch norm, factors, offsets."""

import torch
from torch import Tensor

from .fields import NotFollowedError, channel_of, image_of, time_of, token_of
from .places import Places
from .values import NORMS, Value, evaluate

ARITHMETIC = frozenset({"add", "sub", "mul", "div", "rsub", "neg"})


def affine(value: Value, places: Places) -> tuple[Tensor, Tensor] | None:
    """(factor, summand) of an operation with one live operand, float64[1 or channels] each.

    None where it is not affine, or differs within a channel.
    """
    if value.op in NORMS:
        return _norm(value, places)
    if value.op not in ARITHMETIC or value.keywords.get("rounding_mode") is not None:
        return None
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    if value.op == "neg":
        return -one, zero
    first_lives = isinstance(value.arguments[0], Value) and not value.arguments[0].fixed
    other = value.arguments[1] if first_lives else value.arguments[0]
    number = (evaluate(other) if isinstance(other, Value) else torch.tensor(other)).to(torch.float64)
    flat = _by_channel(number, value, places)
    if flat is None:
        return None
    alpha = float(value.keywords.get("alpha", 1))
    if value.op == "mul":
        return flat, zero
    if value.op == "div":
        return (1 / flat, zero) if first_lives else None
    if value.op == "add":
        return (one, alpha * flat) if first_lives else (alpha * one, flat)
    if value.op == "sub":
        return (one, -alpha * flat) if first_lives else (-alpha * one, flat)
    return -alpha * one, flat  # rsub: other - alpha x self


def scalar(value: Value) -> float | None:
    """The one number that a value multiplies or divides all elements of its live operand by: as a factor."""
    live = [parent for parent in value.parents if not parent.fixed]
    if value.op not in ("mul", "div") or len(live) != 1 or value.keywords.get("rounding_mode") is not None:
        return None
    first_lives = isinstance(value.arguments[0], Value) and not value.arguments[0].fixed
    other = value.arguments[1] if first_lives else value.arguments[0]
    numbers = (evaluate(other) if isinstance(other, Value) else torch.tensor(other)).reshape(-1)
    if tuple(live[0].shape) != tuple(value.shape) or bool((numbers != numbers[0]).any()):
        return None
    if value.op == "mul":
        return float(numbers[0])
    return 1 / float(numbers[0]) if first_lives else None


def _norm(value: Value, places: Places) -> tuple[Tensor, Tensor] | None:
    """Batch norm with the statistics of training; its channels are axis 1, whatever lies there."""
    weight, bias, mean, variance, *rest = value.arguments[1:]
    training = rest[0] if value.op == "native_batch_norm" else False
    epsilon = value.arguments[7] if value.op == "native_batch_norm" else value.arguments[6]
    if training or not isinstance(mean, Value) or not isinstance(variance, Value):
        return None
    gain = (evaluate(variance).to(torch.float64) + epsilon).rsqrt()
    if isinstance(weight, Value):
        gain = gain * evaluate(weight).to(torch.float64)
    shift = -evaluate(mean).to(torch.float64) * gain
    if isinstance(bias, Value):
        shift = shift + evaluate(bias).to(torch.float64)
    along = (-1,) + (1,) * (len(value.shape) - 2)
    factor, summand = (_by_channel(part.reshape(along), value, places) for part in (gain, shift))
    return None if factor is None or summand is None else (factor, summand)


def _by_channel(number: Tensor, value: Value, places: Places) -> Tensor | None:
    """Constants that are combined with a value, as float64[1 or channels] in the order of the channels.

    None where they differ from token to token, from image to image or over time, or make the value larger.
    """
    live = next(parent for parent in value.parents if not parent.fixed)
    if tuple(live.shape) != tuple(value.shape):
        return None
    if bool((number == number.reshape(-1)[0]).all()):
        return number.reshape(-1)[:1]
    try:
        layout = places.of(live)
    except NotFollowedError:
        return None
    sizes = [1] * (len(value.shape) - number.ndim) + list(number.shape)
    along = [axis for axis in range(len(sizes)) if not layout.constant([axis], channel_of)]
    if not layout.constant(along, token_of, time_of, image_of):
        return None
    if any(size > 1 for axis, size in enumerate(sizes) if axis not in along):
        return None
    channels = torch.full((1,), layout.first(channel_of))
    for axis in along:
        channels = (channels[:, None] + layout.change(axis, channel_of)).reshape(-1)
    channels = channels - channels.min()  # of a part of a layer's outputs: counted from its first
    if not torch.equal(channels.sort().values, torch.arange(len(channels))):
        return None
    by_channel = torch.empty(len(channels), dtype=torch.float64)
    wide = number.reshape([sizes[axis] for axis in along]).expand([value.shape[axis] for axis in along])
    by_channel[channels] = wide.reshape(-1)
    return by_channel
