"""Layers without weights of their own: pools, and the two kinds of spiking attention."""

import numpy as np
import torch
from numpy.typing import NDArray

from .context import Context
from .currents import Drive, drive_of, pools_sums
from .drafts import LayerDraft
from .fields import NotFollowedError, channel_of, image_of, time_of, token_of
from .pooling import odd_pool, pool_window, summed
from .products import product_inside
from .sites import Site
from .streams import Draft, carriers_of
from .targets import note_drive
from .values import LARGEST, Spikes, Value


def read_pool(context: Context, site: Site) -> None:
    """A pool of spikes; one of sums is a step on the way to a neuron and is met there."""
    operands = [call.parents[0] for call in site.calls]
    if pools_sums(site.value, context.sites):
        return  # a step on the way to a neuron
    if site.value.from_input or not context.is_read(site):
        return  # what is done to the input before the first layer, or to spikes that the model returns
    odd = odd_pool(site.value)
    if odd is None and _other(context, operands[0]):
        odd = "channels or timesteps"
    if odd is not None:
        context.foreign(f"a pool of {odd}", *site.calls)
        return
    source = context.streams.take(operands, f"in:{site.path}")
    window, form = pool_window(site.value)
    if form == "mean" and source.spikes is not None and source.spikes.largest * window.taps > LARGEST:
        context.foreign(f"a mean whose sums exceed {LARGEST}", *site.calls)
        return
    if form == "mean" and (window.pad_y or window.pad_x):
        context.reason(site.path, "average pooling with padding")
    elif form == "mean":
        rows, columns = window.outputs(source.height, source.width)
        pooled = Draft(site.path or "pool", "integer", source.channels, rows, columns, frozenset(site.calls), site)
        pooled.spikes = Spikes.of(torch.from_numpy(summed(source, window)))
        pooled.unit = source.unit / window.taps
        context.streams.found[pooled.carriers, 0] = pooled
    context.out.layers.append(
        LayerDraft(
            "pool",
            site.path or "pool",
            (site,),
            source,
            None,
            window=window,
            pool_form="max" if form == "max" else "sum",
        )
    )


def _other(context: Context, operand: Value) -> bool:
    """Whether the axes that a pool works on are others than those of a map: channels, timesteps."""
    layout = context.places.of(operand)
    return not layout.constant(range(2, len(layout.parts)), channel_of, time_of, image_of)


def read_product(context: Context, site: Site) -> None:
    """The second of two matrix products of spikes: attention."""
    value = site.value
    if not any(product_inside(parent) for parent in value.parents if not parent.fixed):
        return  # the first of two
    try:
        views = [context.places.attention(call) for call in site.calls]
    except NotFollowedError:
        return
    streams = [
        context.streams.take([getattr(view, part) for view in views], f"{part}:{site.path}") for part in ("q", "k", "v")
    ]
    if any(stream.content != "binary" for stream in streams):
        return
    context.products |= {site, *_firsts(context, site)}
    layer = LayerDraft(
        "attention",
        site.path or "attention",
        (site,),
        streams[0],
        heads=len(views[0].channels[0]),
        scale=views[0].scale,
    )
    layer.source = _fused(context, streams, views[0].channels, layer)
    context.add(site, layer)


def _firsts(context: Context, site: Site) -> list[Site]:
    """The sites of the first of two products."""
    inside = [product_inside(parent) for parent in site.value.parents if not parent.fixed]
    found = [context.sites.of(part[0]) for part in inside if part is not None]
    return [first for first in found if first is not None]


def _fused(context: Context, streams: list[Draft], channels: tuple[torch.Tensor, ...], layer: LayerDraft) -> Draft:
    """q, k and v side by side, head by head; one stream, and one linear layer where three made them."""
    orders = [(part.reshape(-1) - stream.shift).numpy() for stream, part in zip(streams, channels, strict=True)]
    dense = np.concatenate([stream.dense[..., order] for stream, order in zip(streams, orders, strict=True)], axis=-1)
    carriers = frozenset().union(*(stream.carriers for stream in streams))
    size = dense.shape[-1], streams[0].height, streams[0].width
    fused = Draft(f"qkv:{layer.name}", "binary", *size, carriers, None, Spikes.pack(dense))
    makers = [maker for maker in map(context.maker, streams) if maker is not None]
    if len(makers) < len(streams) or len({maker.source for maker in makers}) != 1:
        context.reason(layer.name, "q, k and v do not come from the same spikes")
        return fused
    pieces = [context.piece(maker, stream) for maker, stream in zip(makers, streams, strict=True)]
    for piece, stream in zip(pieces, streams, strict=True):
        note_drive(context, piece, stream, piece.sites[0])
    if any(piece.kind != "linear" for piece in pieces):
        context.reason(layer.name, "q, k or v come from a convolution")
        return fused
    if sum(len(maker.weights) for maker in dict.fromkeys(makers) if maker.weights is not None) != dense.shape[-1]:
        context.reason(layer.name, "q, k and v are a part of what a layer makes")
        return fused
    _merge(context, makers, pieces, orders, fused)
    return fused


def _merge(
    context: Context, makers: list[LayerDraft], pieces: list[LayerDraft], orders: list[NDArray[np.int64]], fused: Draft
) -> None:
    """Let the first of the layers that make q, k and v make all of them, in the order of `fused`."""
    first, folded = makers[0], [piece.folded for piece in pieces]
    first.weights, first.offset = (
        np.concatenate([parts[index][order] for parts, order in zip(folded, orders, strict=True)]) for index in (0, 1)
    )
    first.bias, first.gain = None, np.ones(1)
    first.neurons = tuple(dict.fromkeys(site for piece in pieces for site in piece.neurons))
    first.odd = tuple(value for piece in pieces for value in piece.odd)
    first.target = fused
    for maker in dict.fromkeys(makers):
        for site in maker.sites:
            context.pending.pop(site, None)
        if maker is not first:
            context.out.layers.remove(maker)
    first.sites = tuple(dict.fromkeys(site for maker in makers for site in maker.sites))


def read_mask(context: Context, site: Site) -> None:
    """q AND g, where g are neurons that the sum over tokens of k AND v drives: Hadamard attention."""
    q, gate = site.value.parents
    if q.shape != site.value.shape:
        q, gate = gate, q
    found = _gate(context, gate)
    if found is None or not _aligned(context, [q, gate, *found[0].value.parents]):
        return  # k AND v, or something else
    keys, fired, drive = found
    position = site.value.parents.index(q)
    operands = [[call.parents[position] for call in site.calls]]
    operands += [[call.parents[part] for call in keys.calls] for part in (0, 1)]
    streams = [
        context.streams.take(values, f"{part}:{site.path}") for values, part in zip(operands, "qkv", strict=True)
    ]
    if any(stream.content != "binary" for stream in streams):
        return
    layer = LayerDraft("hadamard", site.path or "attention", (site,), streams[0], neurons=(fired,))
    layer.gain, layer.offset = (part.numpy() for part in (drive.terms[0].gain, drive.terms[0].offset))
    context.products |= {site, keys}
    orders = tuple(torch.arange(stream.channels) + stream.shift for stream in streams)
    layer.source = _fused(context, streams, orders, layer)
    context.add(site, layer)


def _gate(context: Context, gate: Value) -> tuple[Site, Site, Drive] | None:
    """(the site of k AND v, the neurons that its sum over tokens drives, and how)."""
    carriers = carriers_of(gate)
    fired = context.sites.of(next(iter(carriers))) if len(carriers) == 1 else None
    if fired is None or fired.kind != "neuron":
        return None
    drive = drive_of(fired.value.parents[0], context.sites, context.places)
    if len(drive.terms) != 1 or drive.terms[0].site.kind != "mask" or [value.op for value in drive.odd] != ["sum"]:
        return None
    summed_up = drive.odd[0]
    inside = context.places.of(summed_up.parents[0])
    axes = [axis % len(inside.parts) for axis in summed_up.arguments[1]] if len(summed_up.arguments) > 1 else []
    tokens = [axis for axis in range(len(inside.parts)) if not inside.constant([axis], token_of)]
    return (drive.terms[0].site, fired, drive) if axes and set(tokens) <= set(axes) else None


def _aligned(context: Context, values: list[Value]) -> bool:
    """Whether the same channels of all of them meet, element by element."""
    layouts = [context.places.of(value) for value in values]
    first = layouts[0]
    return all(
        len(other.parts) == len(first.parts)
        and other.first(channel_of) - other.smallest(channel_of) == first.first(channel_of) - first.smallest(channel_of)
        and all(
            torch.equal(*torch.broadcast_tensors(other.change(axis, channel_of), first.change(axis, channel_of)))
            for axis in range(len(first.parts))
        )
        for other in layouts
    )
