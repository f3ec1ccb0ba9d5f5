"""The rules that every layer of a trace must obey."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .check import need, need_array, need_ascending, need_offsets
from .errors import nearest
from .trace import (
    MULTIPLIER_MAX,
    SHIFT_MAX,
    TABLE_ENTRIES,
    Attention,
    Conv,
    Head,
    Layer,
    Linear,
    Pool,
    Requant,
    Select,
    Trace,
    Weights,
)


def check_layer(trace: Trace, layer: Layer, known: set[str]) -> None:
    """Raise UserError where a layer breaks a rule; `known` are the streams that are there before it."""
    what = f"layer {layer.name!r}"
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
    if layer.residual:
        added, target = trace.streams[layer.residual], trace.streams[layer.target]
        same = (added.channels, added.tokens) == (target.channels, target.tokens)
        need(same, f"{what}: residual {layer.residual!r} and target {layer.target!r} differ in shape")


def _check_weights(weights: Any, bits: int, what: str) -> None:
    need(isinstance(weights, Weights), f"{what}: missing")
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


def _check_neurons(trace: Trace, layer: Conv | Linear, what: str) -> None:
    _check_weights(layer.weights, trace.numerics.weight_bits, f"{what}: weights")
    source, outputs = trace.streams[layer.source], layer.weights.output_channels
    need(layer.weights.input_channels == source.channels, f"{what}: weights and source differ in channels")
    need_array(layer.bias, np.int32, (outputs,), f"{what}: bias")
    _target(trace, layer, outputs, source.height, source.width, what)
    if _relu(trace):
        need(layer.theta is None, f"{what}: a threshold, but numerics.neuron is 'relu'")
        _check_requant(layer.requant, outputs, f"{what}: requant")
        return
    need(layer.requant is None, f"{what}: a requantisation, but numerics.neuron is 'lif'")
    need_array(layer.theta, np.int32, (outputs,), f"{what}: theta")
    assert layer.theta is not None
    need(bool((layer.theta >= 1).all()), f"{what}: a threshold below 1 fires without input")


def _check_conv(trace: Trace, layer: Conv, what: str) -> None:
    _check_neurons(trace, layer, what)
    need(layer.kernel**2 == layer.weights.taps and layer.kernel % 2 == 1, f"{what}: needs a square kernel of odd side")
    need(layer.selector == -1, f"{what}: a convolution behind a selector is not defined")


def _check_linear(trace: Trace, layer: Linear, what: str) -> None:
    _check_neurons(trace, layer, what)
    need(layer.weights.taps == 1, f"{what}: a linear layer has one tap")
    need(trace.streams[layer.source].kind != "real", f"{what}: only a convolution reads real input")


def _check_pool(trace: Trace, layer: Pool, what: str) -> None:
    source = trace.streams[layer.source]
    kind = "integer" if _relu(trace) else "binary"
    need(source.kind == kind, f"{what}: only max pooling of a {kind} stream is defined")
    need(
        (layer.kernel, layer.stride, layer.padding) == (3, 2, 1), f"{what}: only 3 x 3, stride 2, padding 1 is defined"
    )
    _target(trace, layer, source.channels, (source.height + 1) // 2, (source.width + 1) // 2, what)


def _check_select(trace: Trace, layer: Select, what: str) -> None:
    source = trace.streams[layer.source]
    need(layer.form in ("learned", "rate", "random"), f"{what}: unknown form {layer.form!r}")
    need(isinstance(layer.keep, int) and 1 <= layer.keep <= source.tokens, f"{what}: cannot keep {layer.keep} tokens")
    if layer.form != "learned":
        need(layer.table is None, f"{what}: a table of activations, but the form {layer.form!r} has none")
        return
    _check_weights(layer.hidden, trace.numerics.weight_bits, f"{what}: hidden")
    assert layer.hidden is not None
    need(layer.hidden.input_channels == source.channels, f"{what}: hidden weights and source differ in channels")
    need_array(layer.hidden_bias, np.int32, (layer.hidden.output_channels,), f"{what}: hidden_bias")
    need_array(layer.score_weights, np.int8, (layer.hidden.output_channels,), f"{what}: score_weights")
    need(isinstance(layer.hidden_shift, int) and 0 <= layer.hidden_shift < 32, f"{what}: impossible hidden_shift")
    if layer.table is not None:
        need_array(layer.table, np.int8, (TABLE_ENTRIES,), f"{what}: table")


def _check_attention(trace: Trace, layer: Attention, what: str) -> None:
    source = trace.streams[layer.source]
    need(source.kind == ("integer" if _relu(trace) else "binary"), f"{what}: q, k and v must be binary")
    need(layer.heads >= 1 and source.channels % (3 * layer.heads) == 0, f"{what}: channels do not split into heads")
    _target(trace, layer, source.channels // 3, source.height, source.width, what)
    if _relu(trace):
        need(layer.theta == 0, f"{what}: a threshold, but numerics.neuron is 'relu'")
        allowed = ("qk_first", "kv_first")
        need(layer.order in allowed, f"{what}: order = {layer.order!r}; {nearest(str(layer.order), allowed)}")
        _check_requant(layer.inner, 1, f"{what}: inner")
        _check_requant(layer.requant, 1, f"{what}: requant")
        return
    spiking = layer.order == "" and layer.inner is None and layer.requant is None
    need(spiking, f"{what}: an order or a requantisation, but numerics.neuron is 'lif'")
    need(isinstance(layer.theta, int) and layer.theta >= 1, f"{what}: a threshold below 1 fires without input")


def _check_head(trace: Trace, layer: Head, what: str) -> None:
    _check_weights(layer.weights, trace.numerics.weight_bits, f"{what}: weights")
    need(layer.weights.input_channels == trace.streams[layer.source].channels, f"{what}: weights and source differ")
    need_array(layer.bias, np.int64, (layer.weights.output_channels,), f"{what}: bias")
