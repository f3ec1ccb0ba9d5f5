"""What the bare loop has to do for a trace, layer by layer, and how much that is, counted from the trace alone."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sparsespike.simulator.trace import Attention, Conv, Events, Head, Layer, Linear, Stream, Trace

from .bare_loop import Map, Operands, Rows, add_attention, add_conv, add_linear, add_pixels

Ints = NDArray[np.int64]
Weighted = Conv | Linear | Head


class Work(NamedTuple):
    """One layer, ready to run: `kernel(*arguments)` adds to acc, int32[slots, outputs], which is never cleared."""

    layer: Layer
    kernel: Any
    arguments: tuple[Any, ...]
    acc: NDArray[np.int32]


class Amount(NamedTuple):
    """Of a layer: synaptic events as the simulator counts them (W7), and multiply-adds of the loop."""

    events: int
    additions: int


def list_work(trace: Trace, image: int = 0) -> list[Work]:
    """Every layer that adds something up, on the tokens that it keeps."""
    return list(_each_work(trace, image))


def run_work(work: list[Work], fused: bool = False) -> None:
    """The bare loop; `fused`: with one multiply-add per weight of an event whose value is above 1."""
    for one in work:
        graded = one.kernel in (add_linear, add_conv)
        one.kernel(*one.arguments, *((fused,) if graded else ()))


def _each_work(trace: Trace, image: int) -> Iterator[Work]:
    for layer in trace.layers:
        source = trace.streams[layer.source]
        if isinstance(layer, Attention):
            yield _attention_work(trace, layer, image)
        elif isinstance(layer, Conv) and source.kind == "real":
            yield _pixel_work(trace, layer, source, image)
        elif isinstance(layer, (Conv, Linear, Head)):
            yield _event_work(trace, layer, source, image)


def _event_work(trace: Trace, layer: Weighted, source: Stream, image: int) -> Work:
    rows, weights, events = _rows_of(trace, layer, image), layer.weights, _events(source)
    head = isinstance(layer, Head)
    acc = np.zeros((1 if head else len(rows), weights.output_channels), np.int32)
    filled = Rows(
        events.offsets[rows],
        events.offsets[rows + 1],
        np.zeros(len(rows), np.int64) if head else np.arange(len(rows)),
        events.channels,
        _values(events),
        weights.pointers,
        weights.outputs,
        _weights(layer),
        acc,
    )
    if isinstance(layer, Conv):
        return Work(layer, add_conv, (filled, Map(source.height, source.width, layer.geometry.height)), acc)
    return Work(layer, add_linear, (filled,), acc)


def _pixel_work(trace: Trace, layer: Conv, source: Stream, image: int) -> Work:
    weights = layer.weights
    assert trace.pixels is not None
    acc = np.zeros((source.tokens, weights.output_channels), np.int32)
    none, no_channels, no_values = np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.uint8)
    filled = Rows(none, none, none, no_channels, no_values, weights.pointers, weights.outputs, _weights(layer), acc)
    pixels = np.ascontiguousarray(trace.pixels[image].reshape(source.channels, source.tokens))
    return Work(layer, add_pixels, (pixels, filled, Map(source.height, source.width, layer.geometry.height)), acc)


def _attention_work(trace: Trace, layer: Attention, image: int) -> Work:
    qkv = _operands(trace, layer, image)
    timesteps, tokens, channels = qkv.shape
    width = channels // 3 // layer.heads
    acc = np.zeros((timesteps, tokens, channels // 3), np.int32)
    operands = Operands(qkv, layer.heads, np.zeros((width, width), np.int32), acc)
    return Work(layer, add_attention, (operands,), acc)


def count_events(trace: Trace, image: int = 0) -> int:
    """Synaptic events of an image."""
    return sum(count_work(trace, layer, image).events for layer in trace.layers)


def count_work(trace: Trace, layer: Layer, image: int = 0) -> Amount:
    """How much a layer has to add."""
    source = trace.streams[layer.source]
    if isinstance(layer, Attention):
        return _count_attention(trace, layer, image)
    if not isinstance(layer, (Conv, Linear, Head)):
        return Amount(0, 0)
    fan_out = _fan_out(layer, source)
    if source.kind == "real":
        return Amount(int(fan_out.sum()), int(fan_out.sum()))
    rows, events = _rows_of(trace, layer, image), _events(source)
    start, length = events.offsets[rows], np.diff(events.offsets)[rows]
    event = np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())
    token = np.repeat(rows % source.tokens, length) if isinstance(layer, Conv) else 0
    each = fan_out[token, events.channels[event]]
    return Amount(int((each * _values(events)[event]).sum()), int(each.sum()))


def _count_attention(trace: Trace, layer: Attention, image: int) -> Amount:
    """W5: ATTENTION_ADD in the order of A2 that `auto` takes."""
    qkv = _operands(trace, layer, image)
    tokens, channels = qkv.shape[1], qkv.shape[2] // 3
    width = channels // layer.heads
    spikes = qkv[:, :, :channels].sum() * width if tokens > width else qkv[:, :, 2 * channels :].sum() * tokens
    return Amount(0, int(spikes))


def _rows_of(trace: Trace, layer: Layer, image: int) -> Ints:
    """Rows of the source stream on the tokens that the layer works on, timestep after timestep."""
    tokens = trace.streams[layer.source].tokens
    kept = np.flatnonzero(trace.kept_mask(layer.selector, tokens)[image])
    timestep = image * trace.numerics.timesteps + np.arange(trace.numerics.timesteps)
    return (timestep[:, None] * tokens + kept).reshape(-1)


def _operands(trace: Trace, layer: Attention, image: int) -> NDArray[np.int32]:
    """int32[timesteps, kept tokens, channels of q, k and v]."""
    source, rows = trace.streams[layer.source], _rows_of(trace, layer, image)
    dense = _events(source).to_dense(source.channels)[rows]
    return dense.reshape(trace.numerics.timesteps, -1, source.channels).astype(np.int32)


def _events(source: Stream) -> Events:
    assert source.events is not None
    return source.events


def _values(events: Events) -> NDArray[np.uint8]:
    return np.ones(len(events.channels), np.uint8) if events.values is None else events.values


def _weights(layer: Weighted) -> NDArray[np.int8]:
    assert layer.weights.values is not None
    return layer.weights.values


def _fan_out(layer: Weighted, source: Stream) -> Ints:
    """int64[tokens or 1, channels]: non-zero weights that an event meets through the taps that stay inside the map."""
    weights = layer.weights
    sizes = np.diff(weights.pointers).reshape(weights.input_channels, weights.taps)
    if not isinstance(layer, Conv):
        return sizes[:, 0][None]
    kernel, pad = layer.geometry.height, layer.geometry.pad_y

    def inside(size: int) -> NDArray[np.bool_]:
        at = np.arange(size)[:, None] - np.arange(kernel) + pad
        return (at >= 0) & (at < size)

    valid = inside(source.height)[:, None, :, None] & inside(source.width)[None, :, None, :]
    return valid.reshape(source.tokens, -1).astype(np.int64) @ sizes.T
