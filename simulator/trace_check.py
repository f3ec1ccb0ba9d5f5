"""A trace as a file's arrays and header and back, and every rule that a trace must obey."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import UserError, nearest
from .trace import (
    LAYER_KINDS,
    TABLE_ENTRIES,
    Attention,
    Conv,
    Events,
    Head,
    Layer,
    Linear,
    Numerics,
    Pool,
    Requant,
    Select,
    Stream,
    Trace,
    Weights,
)

MULTIPLIER_MAX = 2**15 - 1  # of a requantisation: with the shift a scale of 15 significant bits (M2)
SHIFT_MAX = 46  # a 32-bit sum times a multiplier has no bit beyond


# Fields that ReLU networks and tables brought; left out at these values, so that other traces keep their checksums.
_ABSENT = {"neuron": "lif", "requant": None, "inner": None, "order": "", "table": None}


def _stored(item: Any) -> dict[str, Any]:
    """The fields of a dataclass that a file holds."""
    fields = vars(item).items()
    return {key: value for key, value in fields if not (key in _ABSENT and _same(value, _ABSENT[key]))}


def _same(value: Any, absent: Any) -> bool:
    return not isinstance(value, np.ndarray) and bool(value == absent)


def flatten_trace(trace: Trace) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The trace as named arrays and a JSON-able header; `restore_trace` is the inverse."""
    tensors: dict[str, np.ndarray] = {}

    def put(prefix: str, item: Any) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in _stored(item).items():
            if isinstance(value, np.ndarray):
                tensors[f"{prefix}/{key}"] = value
            elif isinstance(value, (Weights, Events, Requant)):
                plain[key] = put(f"{prefix}/{key}", value)
            else:
                plain[key] = value
        return plain

    header = {
        "numerics": _stored(trace.numerics),
        "streams": [put(f"stream/{stream.name}", stream) for stream in trace.streams.values()],
        "layers": [
            {"kind": type(layer).__name__.lower()} | put(f"layer/{layer.name}", layer) for layer in trace.layers
        ],
        "images": trace.images,
        "selectors": len(trace.kept),
        "shadow": trace.shadow,
        "provenance": dict(trace.provenance),
    }
    tensors |= {f"kept/{index}": kept for index, kept in enumerate(trace.kept)}
    for name in ("pixels", "logits", "labels"):
        array = getattr(trace, name)
        if array is not None:
            tensors[name] = array
    return tensors, header


def restore_trace(where: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> Trace:
    """The inverse of writing: named arrays and header -> Trace. Raises UserError naming `where`."""
    try:
        streams = [_restore(Stream, f"stream/{plain['name']}", plain, tensors) for plain in header["streams"]]
        layers = [
            _restore(LAYER_KINDS[plain["kind"]], f"layer/{plain['name']}", plain, tensors) for plain in header["layers"]
        ]
        return Trace(
            numerics=Numerics(**header["numerics"]),
            streams={stream.name: stream for stream in streams},
            layers=tuple(layers),
            images=header["images"],
            pixels=tensors.get("pixels"),
            kept=tuple(tensors[f"kept/{index}"] for index in range(header["selectors"])),
            logits=tensors.get("logits"),
            labels=tensors.get("labels"),
            shadow=header["shadow"],
            provenance=header["provenance"],
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UserError(f"{where}: not a valid trace ({type(error).__name__}: {error})") from None


def _restore(kind: type[Any], prefix: str, plain: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    nested = {"weights": Weights, "hidden": Weights, "events": Events, "requant": Requant, "inner": Requant}
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        value = plain.get(field.name)
        if f"{prefix}/{field.name}" in tensors:
            arguments[field.name] = tensors[f"{prefix}/{field.name}"]
        elif field.name in nested and isinstance(value, Mapping):
            arguments[field.name] = _restore(nested[field.name], f"{prefix}/{field.name}", value, tensors)
        elif field.name in plain:
            arguments[field.name] = value
    return kind(**arguments)


def check_trace(trace: Trace) -> None:
    """Raise UserError with the first broken rule: types, shapes, ranges, order, references between parts."""
    _check_numerics(trace)
    _need(trace.images >= 1, "a trace needs at least one image")
    _need(bool(trace.layers), "a trace needs at least one layer")
    names = [layer.name for layer in trace.layers]
    _need(len(set(names)) == len(names), "two layers have one name")
    for name, stream in trace.streams.items():
        _need(name == stream.name, f"stream {name!r} is called {stream.name!r}")
        _check_stream(trace, stream)
    written = {name for name, stream in trace.streams.items() if stream.kind == "real"}
    sources = {layer.source for layer in trace.layers}
    foreign = sources - {layer.target for layer in trace.layers}
    for layer in trace.layers:
        _check_layer(trace, layer, written | foreign)
        written.add(layer.target)
    _check_kept(trace)
    _check_results(trace)


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _array(array: Any, dtype: Any, shape: tuple[int | None, ...], what: str) -> None:
    _need(isinstance(array, np.ndarray), f"{what}: missing")
    _need(array.dtype == dtype, f"{what}: type {array.dtype}, needs {np.dtype(dtype)}")
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    _need(fits, f"{what}: shape {array.shape}, needs {shape}")


def _check_numerics(trace: Trace) -> None:
    limits = {
        "timesteps": (1, 1024),
        "fraction_bits": (0, 16),
        "weight_bits": (2, 8),
        "pixel_bits": (2, 8),
        "accumulator_bits": (2, 32),
        "potential_bits": (2, 32),
    }
    neuron = trace.numerics.neuron
    _need(neuron in ("lif", "relu"), f"numerics.neuron = {neuron!r}; {nearest(str(neuron), ('lif', 'relu'))}")
    if neuron == "relu":  # M1: no time, no potentials
        limits |= {"timesteps": (1, 1), "fraction_bits": (0, 0), "potential_bits": (0, 0)}
    for name, (low, high) in limits.items():
        value = getattr(trace.numerics, name)
        allowed = f"{low} to {high}" if low < high else f"{low} where neurons are {neuron!r}"
        _need(isinstance(value, int) and low <= value <= high, f"numerics.{name} = {value!r}, needs {allowed}")


def _check_offsets(offsets: Any, rows: int, entries: int, what: str) -> None:
    _array(offsets, np.int64, (rows + 1,), what)
    _need(offsets[0] == 0 and offsets[-1] == entries, f"{what}: must run from 0 to {entries}")
    _need(bool((np.diff(offsets) >= 0).all()), f"{what}: must never fall")


def _ascending(offsets: np.ndarray, indices: np.ndarray, limit: int, what: str) -> None:
    if not len(indices):
        return
    _need(int(indices.max()) < limit, f"{what}: {int(indices.max())} is not below {limit}")
    rising = np.ones(len(indices), np.bool_)
    rising[1:] = indices[1:] > indices[:-1]
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    rising[starts] = True
    _need(bool(rising.all()), f"{what}: must ascend within a row")


def _check_stream(trace: Trace, stream: Stream) -> None:
    what = f"stream {stream.name!r}"
    _need(stream.kind in ("real", "integer", "binary"), f"{what}: unknown kind {stream.kind!r}")
    sizes = (stream.channels, stream.height, stream.width)
    _need(all(isinstance(size, int) and 1 <= size <= 65535 for size in sizes), f"{what}: impossible size {sizes}")
    if stream.kind == "real":
        _need(stream.events is None, f"{what}: a real stream has pixels, not events")
        shape = (trace.images, stream.channels, stream.height, stream.width)
        _array(trace.pixels, np.int8, shape, f"{what}: pixels")
        return
    _need(stream.events is not None, f"{what}: events are missing")
    assert stream.events is not None
    events = stream.events
    _array(events.channels, np.uint16, (None,), f"{what}: channels")
    rows = trace.images * trace.numerics.timesteps * stream.tokens
    _check_offsets(events.offsets, rows, len(events.channels), f"{what}: offsets")
    _ascending(events.offsets, events.channels, stream.channels, f"{what}: channels")
    if events.values is not None:
        _array(events.values, np.uint8, (len(events.channels),), f"{what}: values")
        _need(stream.kind == "integer", f"{what}: a binary stream has no values")
        _need(not len(events.values) or int(events.values.min()) >= 1, f"{what}: an event of value 0")


def _check_weights(weights: Any, bits: int, what: str) -> None:
    _need(isinstance(weights, Weights), f"{what}: missing")
    _array(weights.outputs, np.uint16, (None,), f"{what}: outputs")
    rows = weights.input_channels * weights.taps
    _check_offsets(weights.pointers, rows, len(weights.outputs), f"{what}: pointers")
    _ascending(weights.pointers, weights.outputs, weights.output_channels, f"{what}: outputs")
    if weights.values is not None:
        _array(weights.values, np.int8, (len(weights.outputs),), f"{what}: values")
        high = 2 ** (bits - 1) - 1
        inside = (np.abs(weights.values.astype(np.int16)) <= high) & (weights.values != 0)
        _need(bool(inside.all()), f"{what}: values must be -{high} to {high} and never 0")


def _check_layer(trace: Trace, layer: Layer, known: set[str]) -> None:
    what = f"layer {layer.name!r}"
    _need(layer.source in trace.streams, f"{what}: its source {layer.source!r} is no stream")
    _need(layer.source in known, f"{what}: its source {layer.source!r} is written only later")
    _need(-1 <= layer.selector < len(trace.kept), f"{what}: no selector {layer.selector}")
    _need(
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
        _need(same, f"{what}: residual {layer.residual!r} and target {layer.target!r} differ in shape")


def _target(trace: Trace, layer: Layer, channels: int, height: int, width: int, what: str) -> None:
    _need(layer.target in trace.streams, f"{what}: its target {layer.target!r} is no stream")
    stream = trace.streams[layer.target]
    have, want = (stream.channels, stream.height, stream.width), (channels, height, width)
    _need(have == want, f"{what}: target {layer.target!r} is {have}, needs {want} (channels, height, width)")
    if _relu(trace):
        _need(
            stream.kind == "integer", f"{what}: target {layer.target!r} is {stream.kind}, but activations are integer"
        )


def _relu(trace: Trace) -> bool:
    return trace.numerics.neuron == "relu"


def _check_requant(requant: Any, channels: int, what: str) -> None:
    _need(isinstance(requant, Requant), f"{what}: missing, but numerics.neuron is 'relu'")
    _array(requant.multiplier, np.int32, (channels,), f"{what}: multiplier")
    _array(requant.shift, np.uint8, (channels,), f"{what}: shift")
    for name, array, high in (("multiplier", requant.multiplier, MULTIPLIER_MAX), ("shift", requant.shift, SHIFT_MAX)):
        _need(bool(((array >= 1) & (array <= high)).all()), f"{what}: {name} must be 1 to {high}")


def _check_neurons(trace: Trace, layer: Conv | Linear, what: str) -> None:
    _check_weights(layer.weights, trace.numerics.weight_bits, f"{what}: weights")
    source, outputs = trace.streams[layer.source], layer.weights.output_channels
    _need(layer.weights.input_channels == source.channels, f"{what}: weights and source differ in channels")
    _array(layer.bias, np.int32, (outputs,), f"{what}: bias")
    _target(trace, layer, outputs, source.height, source.width, what)
    if _relu(trace):
        _need(layer.theta is None, f"{what}: a threshold, but numerics.neuron is 'relu'")
        _check_requant(layer.requant, outputs, f"{what}: requant")
        return
    _need(layer.requant is None, f"{what}: a requantisation, but numerics.neuron is 'lif'")
    _array(layer.theta, np.int32, (outputs,), f"{what}: theta")
    assert layer.theta is not None
    _need(bool((layer.theta >= 1).all()), f"{what}: a threshold below 1 fires without input")


def _check_conv(trace: Trace, layer: Conv, what: str) -> None:
    _check_neurons(trace, layer, what)
    _need(layer.kernel**2 == layer.weights.taps and layer.kernel % 2 == 1, f"{what}: needs a square kernel of odd side")
    _need(layer.selector == -1, f"{what}: a convolution behind a selector is not defined")


def _check_linear(trace: Trace, layer: Linear, what: str) -> None:
    _check_neurons(trace, layer, what)
    _need(layer.weights.taps == 1, f"{what}: a linear layer has one tap")
    _need(trace.streams[layer.source].kind != "real", f"{what}: only a convolution reads real input")


def _check_pool(trace: Trace, layer: Pool, what: str) -> None:
    source = trace.streams[layer.source]
    kind = "integer" if _relu(trace) else "binary"
    _need(source.kind == kind, f"{what}: only max pooling of a {kind} stream is defined")
    _need(
        (layer.kernel, layer.stride, layer.padding) == (3, 2, 1), f"{what}: only 3 x 3, stride 2, padding 1 is defined"
    )
    _target(trace, layer, source.channels, (source.height + 1) // 2, (source.width + 1) // 2, what)


def _check_select(trace: Trace, layer: Select, what: str) -> None:
    source = trace.streams[layer.source]
    _need(layer.form in ("learned", "rate", "random"), f"{what}: unknown form {layer.form!r}")
    _need(isinstance(layer.keep, int) and 1 <= layer.keep <= source.tokens, f"{what}: cannot keep {layer.keep} tokens")
    if layer.form != "learned":
        _need(layer.table is None, f"{what}: a table of activations, but the form {layer.form!r} has none")
        return
    _check_weights(layer.hidden, trace.numerics.weight_bits, f"{what}: hidden")
    assert layer.hidden is not None
    _need(layer.hidden.input_channels == source.channels, f"{what}: hidden weights and source differ in channels")
    _array(layer.hidden_bias, np.int32, (layer.hidden.output_channels,), f"{what}: hidden_bias")
    _array(layer.score_weights, np.int8, (layer.hidden.output_channels,), f"{what}: score_weights")
    _need(isinstance(layer.hidden_shift, int) and 0 <= layer.hidden_shift < 32, f"{what}: impossible hidden_shift")
    if layer.table is not None:
        _array(layer.table, np.int8, (TABLE_ENTRIES,), f"{what}: table")


def _check_attention(trace: Trace, layer: Attention, what: str) -> None:
    source = trace.streams[layer.source]
    _need(source.kind == ("integer" if _relu(trace) else "binary"), f"{what}: q, k and v must be binary")
    _need(layer.heads >= 1 and source.channels % (3 * layer.heads) == 0, f"{what}: channels do not split into heads")
    _target(trace, layer, source.channels // 3, source.height, source.width, what)
    if _relu(trace):
        _need(layer.theta == 0, f"{what}: a threshold, but numerics.neuron is 'relu'")
        allowed = ("qk_first", "kv_first")
        _need(layer.order in allowed, f"{what}: order = {layer.order!r}; {nearest(str(layer.order), allowed)}")
        _check_requant(layer.inner, 1, f"{what}: inner")
        _check_requant(layer.requant, 1, f"{what}: requant")
        return
    spiking = layer.order == "" and layer.inner is None and layer.requant is None
    _need(spiking, f"{what}: an order or a requantisation, but numerics.neuron is 'lif'")
    _need(isinstance(layer.theta, int) and layer.theta >= 1, f"{what}: a threshold below 1 fires without input")


def _check_head(trace: Trace, layer: Head, what: str) -> None:
    _check_weights(layer.weights, trace.numerics.weight_bits, f"{what}: weights")
    _need(layer.weights.input_channels == trace.streams[layer.source].channels, f"{what}: weights and source differ")
    _array(layer.bias, np.int64, (layer.weights.output_channels,), f"{what}: bias")


def _check_kept(trace: Trace) -> None:
    selects = [layer for layer in trace.layers if isinstance(layer, Select)]
    _need(len(selects) == len(trace.kept), f"{len(selects)} selectors but {len(trace.kept)} lists of kept tokens")
    for index, (layer, kept) in enumerate(zip(selects, trace.kept, strict=True)):
        what = f"kept tokens of {layer.name!r}"
        tokens = trace.streams[layer.source].tokens
        _need(layer.selector == index - 1, f"layer {layer.name!r}: selectors must follow one another")
        _array(kept, np.uint16, (trace.images, layer.keep), what)
        ids = kept.astype(np.int64)
        _need(bool((np.diff(ids, axis=1) > 0).all()) and int(ids.max()) < tokens, f"{what}: must ascend below {tokens}")
        if index:
            before = trace.kept_mask(index - 1, tokens)
            _need(bool(np.take_along_axis(before, ids, 1).all()), f"{what}: a token that was dropped before")


def _check_results(trace: Trace) -> None:
    heads = [layer for layer in trace.layers if isinstance(layer, Head)]
    _need(len(heads) <= 1, "a trace has at most one head")
    if trace.logits is not None:
        _need(bool(heads), "logits without a head")
        _array(trace.logits, np.int64, (trace.images, heads[0].weights.output_channels), "logits")
    if trace.labels is not None:
        _array(trace.labels, np.int64, (trace.images,), "labels")
