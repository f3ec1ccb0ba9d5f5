"""A model's last layer: a linear one of spikes that are added up over time and tokens, before it or behind it."""

from dataclasses import dataclass

import numpy as np
import torch

from .affine import scalar
from .context import Context
from .drafts import LayerDraft
from .fields import channel_of, time_of, token_of
from .pooling import odd_pool, pool_window
from .proof import prove_head
from .sites import Site, bias, weight
from .streams import Draft
from .values import Value, evaluate

_REDUCTIONS = frozenset({"mean", "sum"})
_POOLS = frozenset({"avg_pool2d", "_adaptive_avg_pool2d"})


@dataclass(frozen=True)
class Average:
    """factor x the sum of all elements of `whole` of an image, or of an image and timestep."""

    whole: Value
    factor: float


def averaged(value: Value) -> Average | None:
    """The spikes that a value is the mean or the sum of, over tokens, time or both; None where some are left out."""
    found, factor, added = None, 1.0, False
    while not value.fixed:
        live = [parent for parent in value.parents if not parent.fixed]
        number = _factor(value, live)
        if number is None:
            break
        added = added or value.op in _REDUCTIONS | _POOLS
        factor, value = factor * number, live[0]
        if added and value.spiking:
            found = Average(value, factor)
    return found


def _factor(value: Value, live: list[Value]) -> float | None:
    """What a step of an average multiplies the sum of all elements by; None where a value is no such step."""
    if len(live) != 1:
        return None
    kept = _size(value) / _size(live[0])
    if value.op in _REDUCTIONS:
        return kept if value.op == "mean" else 1.0
    if value.op in _POOLS:
        whole = odd_pool(value) is None and all(size == 1 for size in value.shape[2:])
        return kept if whole and pool_window(value)[0].taps * _size(value) == _size(live[0]) else None
    if value.moves:
        return 1.0 if kept == 1.0 else None
    return scalar(value)


def read_head(context: Context, site: Site, operands: list[Value]) -> None:
    """Real input behind neurons: spikes that were averaged over tokens or time, a head; else nothing for a chip."""
    found = [average for average in map(averaged, operands) if average is not None]
    if len(found) == len(operands) and len({average.factor for average in found}) == 1:
        stream = context.streams.take([average.whole for average in found], f"in:{site.path}")
        matrix = evaluate(weight(site.value)).to(torch.float64).reshape(-1, site.value.shape[-1]).mT
        rows = sum(len(value.shape) and value.shape[0] for value in operands)
        moments = context.streams.images * context.streams.timesteps
        whole = sum(_size(average.whole) for average in found) == moments * stream.tokens * stream.channels
        fits = site.value.op != "convolution" and stream.content != "real" and rows in (context.streams.images, moments)
        order = _order(context, operands[0], stream) if whole and fits else None
        if order is not None:
            layer = LayerDraft("head", site.path, (site,), stream, bias=bias(site.value))
            layer.weights = matrix[:, order, None, None].contiguous().numpy()
            layer.biases = rows / context.streams.images / found[0].factor
            prove_head(context, layer, site, found[0].factor)
            context.out.layers.append(layer)
            return
    context.foreign("a product of weights with values that are neither spikes nor the input", *site.calls)


def _order(context: Context, operand: Value, stream: Draft) -> torch.Tensor | None:
    """Of each channel of a stream its place among a head's inputs; None where these are no channels."""
    layout = context.places.of(operand)
    channels = channel_of(layout.axis(1))
    if not layout.constant([1], token_of, time_of) or not torch.equal(
        channels.sort().values, torch.arange(stream.channels)
    ):
        return None
    return torch.argsort(channels)


def give_head(context: Context) -> None:
    """A linear layer whose sums the model returns, added up in time or as they are, is its head."""
    if not context.out.layers:
        return
    layer = context.out.layers[-1]
    (site, *others) = layer.sites
    if layer.kind != "linear" or others or site not in context.pending or layer.source.content == "real":
        return
    if context.tape.outputs and all(_returns(context, value, site) for value in context.tape.outputs):
        layer.kind = "head"
        layer.biases = sum(call.shape[0] for call in site.calls) / context.streams.images
        context.pending.pop(site)


def _returns(context: Context, value: Value, site: Site) -> bool:
    """Whether a value is all of a layer's sums, or sums or means of them channel by channel."""
    channels = site.value.shape[-1]
    if value.shape[-1:] != (channels,):
        return False
    while context.sites.of(value) is not site:
        live = [parent for parent in value.parents if not parent.fixed]
        if value.op == "stack":  # of all timesteps, one call each
            return all(_returns(context, part, site) for part in live) and len(live) == len(site.calls)
        if _factor(value, live) is None:
            return False
        value = live[0]
    return True


def _size(value: Value) -> int:
    return int(np.prod(value.shape))
