"""A layer of weights: who feeds it, how it sees that, and what its weights are in the order of those neurons."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ...simulator.errors import UserError
from ...simulator.trace import Window
from .context import Context
from .drafts import LayerDraft
from .fields import NotFollowedError, channel_of, image_of, time_of, token_of
from .sites import Site, operand, weight
from .streams import Draft, Seen, seen_as_maps, seen_as_rows
from .values import Spikes, Value, evaluate

AVERAGES = frozenset({"mean", "sum", "avg_pool2d", "avg_pool1d", "_adaptive_avg_pool2d"})


def read_synapse(context: Context, site: Site) -> None:
    """A convolution or linear layer: of the images, of spikes, or a head of averaged spikes."""
    operands, padding = _unpadded([operand(call) for call in site.calls], site)
    source = context.streams.take(operands, f"in:{site.path}")
    if all(value.from_input for value in operands) and (source.content == "real" or _still(context, site, operands)):
        _pixels(context, site, operands, source)
        return
    if source.content == "real" or (source.made_by is None and averaged(operands[0]) is not None):
        _real(context, site, operands, source)
        return
    maps = site.value.op == "convolution"
    if all(value.from_input for value in operands):
        _encoded(context, site, operands, source, maps)
        seen = Seen("same", torch.arange(source.channels))
    else:
        places = context.places.of(operands[0])
        seen = seen_as_maps(places, source) if maps else seen_as_rows(places, source)
    dense = evaluate(weight(site.value)).to(torch.float64)
    bias = _bias(context, site)
    layer = LayerDraft("linear", site.path, (site,), source, bias=bias)
    if maps:
        _convolution(context, layer, site, dense, seen)
    else:
        _rows(context, layer, dense, seen)
    if padding != (0, 0) and layer.weights is not None:
        high, wide = layer.weights.shape[2:]
        inner = layer.window or Window(high, wide, 1, high // 2, wide // 2)
        window = replace(inner, pad_y=inner.pad_y + padding[0], pad_x=inner.pad_x + padding[1])
        layer.kind, layer.window = "conv", None if _plain(window) else window
    context.add(site, layer)


def _unpadded(operands: list[Value], site: Site) -> tuple[list[Value], tuple[int, int]]:
    """A convolution's operands in front of a padding with zeros, and its size (y, x): the convolution's own as well."""
    first = operands[0]
    if first.op != "constant_pad_nd" or site.value.op != "convolution":
        return operands, (0, 0)
    sizes, number = list(first.arguments[1]), first.arguments[2] if len(first.arguments) > 2 else 0
    left, right, top, bottom = sizes + [0] * (4 - len(sizes))
    if number != 0 or left != right or top != bottom or min(left, top) < 0:
        raise NotFollowedError(first)
    return [value.parents[0] for value in operands], (top, left)


def _bias(context: Context, site: Site) -> NDArray[np.float64] | None:
    part = site.value.arguments[2] if site.value.op == "convolution" else site.value.arguments[0]
    if site.value.op == "mm" or not isinstance(part, Value):
        return None
    return evaluate(part).to(torch.float64).reshape(-1).numpy()


def _convolution(context: Context, layer: LayerDraft, site: Site, dense: torch.Tensor, seen: Seen) -> None:
    stride, padding, dilation, transposed, _, groups = site.value.arguments[3:9]
    if dense.ndim == 3:  # one-dimensional: a map of height 1
        dense, stride, padding, dilation = (
            dense[:, :, None],
            [stride[0], stride[0]],
            [0, padding[0]],
            [1, dilation[0]],
        )
    if transposed or stride[0] != stride[1]:
        context.foreign("transposed convolution" if transposed else "two strides in one convolution", *site.calls)
    dense = _ungrouped(_dilated(dense, dilation), groups)
    if seen.form == "flat":  # a 1 x 1 map of all positions: fully connected
        _rows(context, layer, dense.reshape(dense.shape[0], -1), seen)
        return
    if seen.form == "other":
        _relay(context, layer, site)
    else:
        dense = dense[:, torch.argsort(seen.order)]
    window = Window(dense.shape[2], dense.shape[3], stride[0], padding[0], padding[1])
    layer.weights = dense.numpy()
    if window == Window(1, 1) and layer.source.content != "real":
        return
    layer.kind = "conv"
    layer.window = None if _plain(window) else window


def _rows(context: Context, layer: LayerDraft, dense: torch.Tensor, seen: Seen) -> None:
    """dense: float64[inputs, outputs] of a matrix product, or [outputs, inputs] of a 1 x 1 convolution."""
    matrix = dense.mT if layer.sites[0].value.op != "convolution" else dense
    source = layer.source
    if seen.form == "flat" and source.tokens > 1:
        full = torch.zeros(len(matrix), source.tokens, source.channels, dtype=torch.float64)
        full[:, token_of(seen.order), channel_of(seen.order)] = matrix
        full = full.permute(0, 2, 1).reshape(len(matrix), source.channels, source.height, source.width)
        layer.kind, layer.weights = "conv", full.contiguous().numpy()
        layer.window = Window(source.height, source.width)
        return
    if seen.form == "other":
        _relay(context, layer, layer.sites[0])
        layer.weights = matrix[:, :, None, None].contiguous().numpy()
        return
    order = torch.argsort(channel_of(seen.order))
    layer.weights = matrix[:, order][:, :, None, None].contiguous().numpy()


def _relay(context: Context, layer: LayerDraft, site: Site) -> None:
    """The reader takes tokens and channels as others than those that fired: its input is a stream of its own."""
    context.reason(site.path, "reads neurons in an order that mixes tokens and channels")
    raise NotFollowedError(site.value)


def _encoded(context: Context, site: Site, operands: list[Value], source: Draft, maps: bool) -> None:
    """Input that is spikes: its tokens and channels are what its first reader takes them for."""
    shape = operands[0].shape
    tokens = torch.zeros(shape[0], dtype=torch.int64) if maps else context.places.tokens(site.value)
    grid = shape[2:] if maps else (1 + int(tokens.max()),)
    source.channels = shape[1] if maps else shape[-1]
    source.height, source.width = grid[0] if len(grid) > 1 else 1, grid[-1]
    dense = np.zeros((context.streams.images, context.streams.timesteps, source.tokens, source.channels), np.uint8)
    for value, call in zip(operands, site.calls, strict=True):
        assert value.spikes is not None
        rows = value.spikes.dense().reshape(shape[0], source.channels, -1).transpose(0, 2, 1)
        stack = context.places.stack(call)
        for row, image, time, token in zip(rows, image_of(stack), time_of(stack), tokens, strict=True):
            steps = slice(None) if time < 0 else slice(int(time), int(time) + 1)
            dense[int(image), steps, int(token) : int(token) + len(row)] = row
    source.spikes = Spikes.of(torch.from_numpy(dense))


def _still(context: Context, site: Site, operands: list[Value]) -> bool:
    """Whether the input is the same at all timesteps: an image, which is worked on once."""
    try:
        _images(context, site, operands)
    except UserError:
        return False
    return len(operands) > 1 or context.streams.timesteps > 1


def _images(context: Context, site: Site, operands: list[Value]) -> NDArray[np.float32]:
    """float32[images, rows, …]: what the first layer reads of each image, a map or tokens.

    Raises UserError where it changes over time.
    """
    kept: dict[tuple[int, int], torch.Tensor] = {}
    for value, call in zip(operands, site.calls, strict=True):
        assert value.tensor is not None
        maps = call.op == "convolution"
        tokens = [0] * len(value.tensor) if maps else context.places.tokens(call).tolist()
        for row, image, token in zip(value.tensor, context.places.images_of(value).tolist(), tokens, strict=True):
            if not torch.equal(kept.setdefault((image, token), row), row):
                raise UserError(
                    "the input changes from timestep to timestep and is neither spikes nor whole numbers from 0 to "
                    "255: the chip's input layer works on one image; encode it as spikes"
                )
    ordered = sorted(kept.items(), key=lambda item: item[0])
    rows = [torch.stack([row for (of, _), row in ordered if of == image]) for image in range(context.streams.images)]
    return torch.stack(rows).to(torch.float32).numpy()


def _pixels(context: Context, site: Site, operands: list[Value], source: Draft) -> None:
    """The first layer: a convolution of pixels; a linear one is a 1 x 1 convolution of a row of tokens."""
    dense = evaluate(weight(site.value)).to(torch.float64)
    images = _images(context, site, operands)
    layer = LayerDraft("conv", site.path, (site,), source, bias=_bias(context, site))
    source.content, source.spikes = "real", None
    if site.value.op == "convolution":
        source.pixels = images.reshape(len(images), images.shape[2], -1, images.shape[-1])
        _convolution(context, layer, site, dense, Seen("same", torch.arange(images.shape[2])))
    else:
        source.pixels = np.ascontiguousarray(images.transpose(0, 2, 1)[:, :, None])
        layer.weights = dense.mT[:, :, None, None].contiguous().numpy()
    source.channels, source.height, source.width = source.pixels.shape[1:]
    layer.kind = "conv"
    context.add(site, layer)


def _real(context: Context, site: Site, operands: list[Value], source: Draft) -> None:
    """Real input behind neurons: spikes that were averaged over tokens or time, a head; else nothing for a chip."""
    means = [averaged(value) for value in operands]
    if all(value is not None for value in means):
        stream = context.streams.take([value for value in means if value is not None], f"in:{site.path}")
        matrix = evaluate(weight(site.value)).to(torch.float64).reshape(-1, site.value.shape[-1]).mT
        if stream.content != "real" and matrix.shape[1] == stream.channels:
            layer = LayerDraft("head", site.path, (site,), stream, bias=_bias(context, site))
            layer.weights = matrix[:, :, None, None].contiguous().numpy()
            context.out.layers.append(layer)
            return
    context.foreign("a product of weights with values that are neither spikes nor the input", *site.calls)


def averaged(value: Value) -> Value | None:
    """The spikes that a value is the mean or the sum of, over tokens, time or both; None where it is not."""
    found = None
    while not value.fixed:
        live = [parent for parent in value.parents if not parent.fixed]
        if not live or not (value.op in AVERAGES or value.moves or value.op in ("mul", "div")):
            break
        if value.op in AVERAGES and live[0].spiking:
            found = live[0]
        value = live[0]
    return found


def _plain(window: Window) -> bool:
    return (
        window.height == window.width
        and window.height % 2 == 1
        and window.stride == 1
        and window.pad_y == window.pad_x == window.height // 2
    )


def _ungrouped(dense: torch.Tensor, groups: int) -> torch.Tensor:
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


def _dilated(dense: torch.Tensor, dilation: list[int]) -> torch.Tensor:
    """A dilated kernel with its gaps written out as zeros."""
    if tuple(dilation) == (1, 1):
        return dense
    high, wide = ((size - 1) * gap + 1 for size, gap in zip(dense.shape[2:], dilation, strict=True))
    full = torch.zeros(*dense.shape[:2], high, wide, dtype=dense.dtype)
    full[:, :, :: dilation[0], :: dilation[1]] = dense
    return full
