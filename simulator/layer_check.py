"""The rules that every layer of a trace must obey."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .check import need, need_array, need_ascending, need_offsets, need_types
from .errors import nearest
from .trace import (
    HIDDEN_SHIFT_MAX,
    KEEP_ALL,
    MULTIPLIER_MAX,
    SHIFT_MAX,
    SIZE_MAX,
    TABLE_ENTRIES,
    THETA_MAX,
    Attention,
    Conv,
    Head,
    Layer,
    Linear,
    Membrane,
    Pool,
    Requant,
    Select,
    Trace,
    Weights,
    Window,
)


def check_layer(trace: Trace, layer: Layer, known: set[str]) -> None:
    """Raise UserError where a layer breaks a rule; `known` are the streams that are there before it."""
    what = f"layer {layer.name!r:.60}"
    need_types(layer, what)
    need(layer.source in trace.streams, f"{what}: its source {layer.source!r} is no stream")
    need(layer.source in known, f"{what}: its source {layer.source!r} is written only later")
    need(-1 <= layer.selector < len(trace.kept), f"{what}: no selector {layer.selector}")
    need(
        not layer.residual or layer.residual in known, f"{what}: its residual {layer.residual!r} is not written before"
    )
    checks: dict[type[Layer], Callable[[Trace, Any, str], None]] = {
        Conv: _check_conv,
        Linear: _check_linear,
        Pool: _check_pool,
        Select: _check_select,
        Attention: _check_attention,
        Head: _check_head,
    }
    checks[type(layer)](trace, layer, what)
    need(not layer.target or layer.target not in known, f"{what}: its target {layer.target!r} is there before it")
    if layer.residual:
        added, target = trace.streams[layer.residual], trace.streams[layer.target]
        same = (added.channels, added.tokens) == (target.channels, target.tokens)
        need(same, f"{what}: residual {layer.residual!r} and target {layer.target!r} differ in shape")


def _check_weights(weights: Any, bits: int, what: str) -> None:
    need(isinstance(weights, Weights), f"{what}: missing")
    need_types(weights, what)
    need_array(weights.outputs, np.uint16, (None,), f"{what}: outputs")
    rows = weights.input_channels * weights.taps
    need_offsets(weights.pointers, rows, len(weights.outputs), f"{what}: pointers")
    need_ascending(weights.pointers, weights.outputs, weights.output_channels, f"{what}: outputs")
    if weights.values is not None:
        need_array(weights.values, np.int8, (len(weights.outputs),), f"{what}: values")
        high = 2 ** (bits - 1) - 1
        inside = (np.abs(weights.values.astype(np.int16)) <= high) & (weights.values != 0)
        need(bool(inside.all()), f"{what}: values must be -{high} to {high} and never 0")


def _target(trace: Trace, layer: Layer, channels: int, height: int, width: int, what: str) -> None:
    need(layer.target in trace.streams, f"{what}: its target {layer.target!r} is no stream")
    stream = trace.streams[layer.target]
    have, want = (stream.channels, stream.height, stream.width), (channels, height, width)
    need(have == want, f"{what}: target {layer.target!r} is {have}, needs {want} (channels, height, width)")
    if _relu(trace):
        need(stream.kind == "integer", f"{what}: target {layer.target!r} is {stream.kind}, but activations are integer")


def _relu(trace: Trace) -> bool:
    return trace.numerics.neuron == "relu"


def _check_requant(requant: Any, channels: int, what: str) -> None:
    need(isinstance(requant, Requant), f"{what}: missing, but numerics.neuron is 'relu'")
    need_array(requant.multiplier, np.int32, (channels,), f"{what}: multiplier")
    need_array(requant.shift, np.uint8, (channels,), f"{what}: shift")
    for name, array, high in (("multiplier", requant.multiplier, MULTIPLIER_MAX), ("shift", requant.shift, SHIFT_MAX)):
        need(bool(((array >= 1) & (array <= high)).all()), f"{what}: {name} must be 1 to {high}")


def _check_membrane(trace: Trace, layer: Conv | Linear | Attention, channels: int, what: str) -> None:
    """V1; an ANN has no membranes."""
    membrane = layer.membrane
    if membrane is None:
        return
    need(not _relu(trace), f"{what}: a membrane, but numerics.neuron is 'relu'")
    need(isinstance(membrane, Membrane), f"{what}: membrane is a {type(membrane).__name__}")
    decay = membrane.decay
    need(type(decay) is int and 1 <= decay <= KEEP_ALL, f"{what}: decay = {decay!r}, needs 1 to {KEEP_ALL}")
    if membrane.reset_by is not None:
        need_array(membrane.reset_by, np.int32, (channels,), f"{what}: reset_by")
        high = 2 ** (trace.numerics.potential_bits - 1) - 1  # so that no subtraction leaves the potential's width
        inside = (membrane.reset_by >= 1) & (membrane.reset_by <= high)
        need(bool(inside.all()), f"{what}: reset_by must be 1 to {high}, the largest potential")


def _check_neurons(trace: Trace, layer: Conv | Linear, height: int, width: int, what: str) -> None:
    """The neurons of a layer on a target of that size."""
    source, outputs = trace.streams[layer.source], layer.weights.output_channels
    need(layer.weights.input_channels == source.channels, f"{what}: weights and source differ in channels")
    if layer.bias is not None:
        need_array(layer.bias, np.int32, (outputs,), f"{what}: bias")
    _target(trace, layer, outputs, height, width, what)
    _check_membrane(trace, layer, outputs, what)
    if _relu(trace):
        need(layer.theta is None, f"{what}: a threshold, but numerics.neuron is 'relu'")
        if layer.requant is not None:
            _check_requant(layer.requant, outputs, f"{what}: requant")
        return
    need(layer.requant is None, f"{what}: a requantisation, but numerics.neuron is 'lif'")
    if layer.theta is not None:
        need_array(layer.theta, np.int32, (outputs,), f"{what}: theta")
        need(bool((layer.theta >= 1).all()), f"{what}: a threshold below 1 fires without input")


def _check_window(window: Any, size: tuple[int, int], what: str) -> tuple[int, int]:
    """That a window fits a map of (height, width) (R5); (height, width) of what comes out."""
    need(isinstance(window, Window), f"{what}: window is a {type(window).__name__}")
    for name, low in (("height", 1), ("width", 1), ("stride", 1), ("pad_y", 0), ("pad_x", 0)):
        value = getattr(window, name)
        sound = type(value) is int and low <= value <= SIZE_MAX
        need(sound, f"{what}: its window's {name} = {value!r}, needs at least {low}, at most {SIZE_MAX}")
    axes = ("high", window.height, window.pad_y, size[0]), ("wide", window.width, window.pad_x, size[1])
    for way, kernel, pad, inputs in axes:
        need(
            pad < kernel,
            f"{what}: a padding of {pad} around a kernel {kernel} {way}; windows in the padding alone see nothing",
        )
        padded = inputs + 2 * pad
        need(kernel <= padded, f"{what}: a kernel {kernel} {way} on a map that is padded {padded} {way}")
    return window.outputs(*size)


def _check_inside(window: Window, size: tuple[int, int], what: str) -> None:
    """That a map of (height, width) does not grow far beyond itself."""
    inside = window.pad_y <= size[0] and window.pad_x <= size[1]
    need(inside, f"{what}: pads more than the map's own {size[0]} x {size[1]}")


def _check_pooled(trace: Trace, layer: Conv, made: tuple[int, int], what: str) -> tuple[int, int]:
    """C4: that a window fits the map of a convolution's sums; (height, width) of what comes out."""
    if layer.pooled is None:
        return made
    need(not _relu(trace), f"{what}: sums are pooled, but numerics.neuron is 'relu'; pool the activations instead")
    source = trace.streams[layer.source]
    _check_inside(layer.geometry, (source.height, source.width), what)  # no stream bounds the map of its sums
    size = _check_window(layer.pooled, made, f"{what}: pooled")
    _check_inside(layer.pooled, made, f"{what}: pooled")
    return size


def _check_conv(trace: Trace, layer: Conv, what: str) -> None:
    _check_weights(layer.weights, trace.numerics.weight_bits, f"{what}: weights")
    taps, geometry = layer.weights.taps, layer.geometry
    if layer.window is None:
        square = geometry.taps == taps and geometry.height % 2 == 1
        need(square, f"{what}: {taps} taps are no square kernel of odd side, and there is no window")
    source = trace.streams[layer.source]
    made = _check_window(geometry, (source.height, source.width), what)
    sides = f"{geometry.height} x {geometry.width}"
    need(taps == geometry.taps, f"{what}: its weights have {taps} taps, its window {sides}")
    _check_neurons(trace, layer, *_check_pooled(trace, layer, made, what), what)
    need(layer.selector == -1, f"{what}: a convolution behind a selector is not defined")


def _check_linear(trace: Trace, layer: Linear, what: str) -> None:
    _check_weights(layer.weights, trace.numerics.weight_bits, f"{what}: weights")
    source = trace.streams[layer.source]
    _check_neurons(trace, layer, source.height, source.width, what)
    need(layer.weights.taps == 1, f"{what}: a linear layer has one tap")
    need(source.kind != "real", f"{what}: only a convolution reads real input")


def _check_pool(trace: Trace, layer: Pool, what: str) -> None:
    source = trace.streams[layer.source]
    need(source.kind != "real", f"{what}: pools {layer.source!r}, but only a convolution reads real input")
    kind = "integer" if _relu(trace) else source.kind
    need(source.kind == kind, f"{what}: its source {layer.source!r} is {source.kind}, but activations are integer")
    need(layer.form in ("max", "sum"), f"{what}: form = {layer.form!r}; {nearest(str(layer.form), ('max', 'sum'))}")
    geometry = layer.geometry
    size = source.height, source.width
    height, width = _check_window(geometry, size, what)
    _check_inside(geometry, size, what)
    _target(trace, layer, source.channels, height, width, what)
    if kind == "integer" or layer.form == "sum":
        target = trace.streams[layer.target]
        need(target.kind == "integer", f"{what}: target {layer.target!r} is {target.kind}, but values are integer")
    need(layer.selector == -1, f"{what}: a pool behind a selector is not defined")


def _check_end(layer: Select | Head, what: str) -> None:
    """What it makes is no stream: kept tokens, or logits."""
    for name in ("target", "residual"):
        value = getattr(layer, name)
        need(not value, f"{what}: its {name} is {value!r:.60}, but a {type(layer).__name__.lower()} writes no stream")


def _check_select(trace: Trace, layer: Select, what: str) -> None:
    _check_end(layer, what)
    source = trace.streams[layer.source]
    need(layer.form in ("learned", "rate", "random"), f"{what}: unknown form {layer.form!r}")
    need(1 <= layer.keep <= source.tokens, f"{what}: cannot keep {layer.keep} tokens")
    if layer.form != "learned":
        need(layer.table is None, f"{what}: a table of activations, but the form {layer.form!r} has none")
        return
    _check_weights(layer.hidden, trace.numerics.weight_bits, f"{what}: hidden")
    assert layer.hidden is not None
    need(layer.hidden.input_channels == source.channels, f"{what}: hidden weights and source differ in channels")
    need_array(layer.hidden_bias, np.int32, (layer.hidden.output_channels,), f"{what}: hidden_bias")
    need_array(layer.score_weights, np.int8, (layer.hidden.output_channels,), f"{what}: score_weights")
    need(0 <= layer.hidden_shift <= HIDDEN_SHIFT_MAX, f"{what}: impossible hidden_shift")
    if layer.table is not None:
        need_array(layer.table, np.int8, (TABLE_ENTRIES,), f"{what}: table")


def _check_attention(trace: Trace, layer: Attention, what: str) -> None:
    source = trace.streams[layer.source]
    need(source.kind == ("integer" if _relu(trace) else "binary"), f"{what}: q, k and v must be binary")
    need(layer.heads >= 1 and source.channels % (3 * layer.heads) == 0, f"{what}: channels do not split into heads")
    _target(trace, layer, source.channels // 3, source.height, source.width, what)
    _check_membrane(trace, layer, 1, what)
    forms = ("product", "hadamard")
    need(layer.form in forms, f"{what}: form = {layer.form!r}; {nearest(str(layer.form), forms)}")
    if _relu(trace):
        need(layer.form == "product", f"{what}: form = 'hadamard', but numerics.neuron is 'relu'")
        need(layer.theta == 0, f"{what}: a threshold, but numerics.neuron is 'relu'")
        allowed = ("qk_first", "kv_first")
        need(layer.order in allowed, f"{what}: order = {layer.order!r}; {nearest(str(layer.order), allowed)}")
        _check_requant(layer.inner, 1, f"{what}: inner")
        _check_requant(layer.requant, 1, f"{what}: requant")
        return
    spiking = layer.order == "" and layer.inner is None and layer.requant is None
    need(spiking, f"{what}: an order or a requantisation, but numerics.neuron is 'lif'")
    low = 0 if trace.level == "replay" else 1  # 0 where it is unknown
    need(layer.theta >= low, f"{what}: a threshold below 1 fires without input")
    need(layer.theta <= THETA_MAX, f"{what}: theta = {layer.theta!r:.60}, can be {THETA_MAX} at most")


def _check_head(trace: Trace, layer: Head, what: str) -> None:
    _check_end(layer, what)
    _check_weights(layer.weights, trace.numerics.weight_bits, f"{what}: weights")
    need(layer.weights.input_channels == trace.streams[layer.source].channels, f"{what}: weights and source differ")
    need_array(layer.bias, np.int64, (layer.weights.output_channels,), f"{what}: bias")
