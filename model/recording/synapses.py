"""A layer of weights: who feeds it, how it sees that, and what its weights are in the order of those neurons."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...simulator.trace import Window
from .affine import scalar
from .context import Context
from .drafts import LayerDraft
from .encoding import read_spikes, still_images
from .fields import TOKEN, NotFollowedError, channel_of, token_of
from .proof import prove_sums
from .readout import averaged, read_head
from .sites import Site, bias, operand, weight
from .streams import Draft, Seen, seen_as_maps, seen_as_rows
from .values import Value, evaluate

Sides = tuple[int, int, int, int]  # zeros left, right, above and below a map


def read_synapse(context: Context, site: Site) -> None:
    """A convolution or linear layer: of the images, of spikes, or a head of averaged spikes."""
    operands, padding = _unpadded([operand(call) for call in site.calls], site)
    spikes, factor = _unscaled(operands)
    source = context.streams.take(spikes, f"in:{site.path}")
    given = all(value.from_input for value in operands)
    images = still_images(context, site, operands, must=source.content == "real") if given else None
    averages = source.content == "real" or (source.made_by is None and averaged(spikes[0]) is not None)
    if images is None and averages:
        read_head(context, site, operands)
        return
    kernel = _kernel(context, site, padding, factor)
    if kernel is None:
        return
    layer = LayerDraft("linear", site.path, (site,), source, bias=bias(site.value))
    if images is not None:
        _pixels(layer, images)
        seen = Seen("same", torch.arange(source.channels))
    elif given:
        layer.source = read_spikes(context, site, operands, source)
        seen = Seen("same", torch.arange(layer.source.channels))
    else:
        places = context.places.of(operands[0])
        seen = (seen_as_maps if site.value.op == "convolution" else seen_as_rows)(places, source)
    context.refuse_recurrence(site, layer.source)
    if (odd := _reads_other(context, site, seen, layer.source)) is not None:
        context.foreign(odd, *site.calls)
        return
    _place(layer, *kernel, seen)
    prove_sums(context, layer, site)
    context.add(site, layer)


def _unpadded(operands: list[Value], site: Site) -> tuple[list[Value], Sides]:
    """A convolution's operands in front of a padding with zeros, and its sizes."""
    first = operands[0]
    if first.op != "constant_pad_nd" or site.value.op != "convolution":
        return operands, (0, 0, 0, 0)
    sizes, number = list(first.arguments[1]), first.arguments[2] if len(first.arguments) > 2 else 0
    left, right, top, bottom = sizes + [0] * (4 - len(sizes))
    if number != 0 or min(left, right, top, bottom) < 0:
        raise NotFollowedError(first)
    return [value.parents[0] for value in operands], (left, right, top, bottom)


def _unscaled(operands: list[Value]) -> tuple[list[Value], float]:
    """The spikes that operands are a multiple of, and by what: weights take that up. Else the operands and 1."""
    found, factor = operands, 1.0
    while not any(value.from_input for value in found):
        numbers = {scalar(value.origin) for value in found}
        number = numbers.pop()
        if numbers or number is None:
            break
        factor *= number
        found = [next(part for part in value.origin.parents if not part.fixed) for value in found]
    return (found, factor) if all(value.spiking for value in found) else (operands, 1.0)


def _kernel(context: Context, site: Site, padding: Sides, factor: float) -> tuple[Tensor, Window] | None:
    """factor x float64[outputs, inputs, ky, kx] as the model has them, and the window; None where the chip has none."""
    dense = factor * evaluate(weight(site.value)).to(torch.float64)
    if site.value.op != "convolution":
        return dense.mT[:, :, None, None], Window(1, 1)
    stride, inner, dilation, transposed, _, groups = site.value.arguments[3:9]
    if dense.ndim == 3:  # one-dimensional: a map of height 1
        dense, inner, dilation, stride = dense[:, :, None], [0, *inner], [1, *dilation], [*stride, *stride]
    odd = _odd(dense.ndim - 2, stride, transposed)
    if odd is not None:
        context.foreign(odd, *site.calls)
        return None
    left, right, top, bottom = padding
    pad_y, pad_x = max(top, bottom), max(left, right)
    # A side with less padding than the other: as much of it, which pruned weights see.
    dense = F.pad(
        _ungrouped(_dilated(dense, dilation), groups), (pad_x - left, pad_x - right, pad_y - top, pad_y - bottom)
    )
    high, wide = dense.shape[2:]
    return dense, Window(high, wide, stride[0], inner[0] + pad_y, inner[1] + pad_x)


def _odd(dimensions: int, stride: list[int], transposed: bool) -> str | None:
    """What a convolution has that none of the chip has."""
    if transposed:
        return "transposed convolution"
    if dimensions > 2:
        return "three-dimensional convolution"
    return "two strides in one convolution" if stride[0] != stride[1] else None


def _pixels(layer: LayerDraft, images: NDArray[np.float32]) -> None:
    """The first layer: a convolution of pixels; a linear one is a 1 x 1 convolution of a row of tokens.

    images: float32[images, 1, channels, …] of maps, [images, tokens, channels] of rows.
    """
    source = layer.source
    source.content, source.spikes = "real", None
    if layer.sites[0].value.op == "convolution":
        source.pixels = images.reshape(len(images), images.shape[2], -1, images.shape[-1])
    else:
        source.pixels = np.ascontiguousarray(images.transpose(0, 2, 1)[:, :, None])
    source.channels, source.height, source.width = source.pixels.shape[1:]


def _reads_other(context: Context, site: Site, seen: Seen, source: Draft) -> str | None:
    """What it reads, unless its rows are all images and timesteps of the stream, and all tokens where a row is one."""
    rows = torch.cat([context.places.stack(call) + (context.places.tokens(call) << TOKEN) for call in site.calls])
    if source.pixels is not None:
        return None  # each image once, whatever the timesteps
    each = source.tokens if site.value.op != "convolution" and seen.form == "same" else 1
    whole = context.streams.images * context.streams.timesteps * each
    if len(rows) == len(torch.unique(rows)) == whole:
        return None
    if len(torch.unique(rows)) == whole and len(site.calls) > 1:
        return f"a layer that is run {len(site.calls)} times on the same spikes"
    return "a layer that reads only some of the timesteps or tokens"


def _place(layer: LayerDraft, kernel: Tensor, window: Window, seen: Seen) -> None:
    """Give a layer its weights in the order of the neurons that it reads. Raises NotFollowedError."""
    source, value = layer.source, layer.sites[0].value
    if seen.form == "flat" and window == Window(1, 1) and source.tokens > 1:  # fully connected
        matrix = kernel[:, :, 0, 0]
        full = torch.zeros(len(matrix), source.tokens, source.channels, dtype=torch.float64)
        full[:, token_of(seen.order), channel_of(seen.order)] = matrix
        kernel = full.permute(0, 2, 1).reshape(len(matrix), source.channels, source.height, source.width)
        window = Window(source.height, source.width)
    elif seen.form == "same" or (seen.form == "flat" and window == Window(1, 1)):
        kernel = kernel[:, torch.argsort(channel_of(seen.order))]
    else:  # it takes tokens and channels for others than those that fired
        raise NotFollowedError(_rearranged(value))
    if len(value.shape) == 3 and value.op == "convolution" and source.height > 1 and window != Window(1, 1):
        raise NotFollowedError(value)  # one-dimensional, along a map whose rows lie one behind the other
    layer.weights, layer.window = kernel.contiguous().numpy(), window
    layer.kind = "linear" if window == Window(1, 1) and source.pixels is None else "conv"


def _rearranged(reader: Value) -> Value:
    """Whatever left out, repeated or added elements on the way to a reader; else the reader itself."""
    value = operand(reader)
    while value.moves and not value.identity:
        live = [parent for parent in value.parents if not parent.fixed]
        if len(live) != 1 or math.prod(live[0].shape) != math.prod(value.shape):
            return value
        value = live[0]
    return reader


def _ungrouped(dense: Tensor, groups: int) -> Tensor:
    """A grouped convolution's weights among zeros: what a group does not see is pruned."""
    if groups == 1:
        return dense
    outputs, inputs = dense.shape[:2]
    full = torch.zeros(outputs, inputs * groups, *dense.shape[2:], dtype=dense.dtype)
    each = outputs // groups
    for group in range(groups):
        rows = slice(group * each, (group + 1) * each)
        full[rows, group * inputs : (group + 1) * inputs] = dense[rows]
    return full


def _dilated(dense: Tensor, dilation: list[int]) -> Tensor:
    """A dilated kernel with its gaps written out as zeros."""
    if tuple(dilation) == (1, 1):
        return dense
    high, wide = ((size - 1) * gap + 1 for size, gap in zip(dense.shape[2:], dilation, strict=True))
    full = torch.zeros(*dense.shape[:2], high, wide, dtype=dense.dtype)
    full[:, :, :: dilation[0], :: dilation[1]] = dense
    return full
