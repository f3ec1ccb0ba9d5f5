"""Every rule that a trace must obey."""

import numpy as np

from .check import need, need_array, need_ascending, need_offsets
from .errors import nearest
from .layer_check import check_layer
from .trace import Head, Select, Stream, Trace


def check_trace(trace: Trace) -> None:
    """Raise UserError with the first broken rule: types, shapes, ranges, order, references between parts."""
    _check_numerics(trace)
    need(trace.images >= 1, "a trace needs at least one image")
    need(bool(trace.layers), "a trace needs at least one layer")
    names = [layer.name for layer in trace.layers]
    need(len(set(names)) == len(names), "two layers have one name")
    for name, stream in trace.streams.items():
        need(name == stream.name, f"stream {name!r} is called {stream.name!r}")
        _check_stream(trace, stream)
    written = {name for name, stream in trace.streams.items() if stream.kind == "real"}
    sources = {layer.source for layer in trace.layers}
    foreign = sources - {layer.target for layer in trace.layers}
    for layer in trace.layers:
        check_layer(trace, layer, written | foreign)
        written.add(layer.target)
    _check_kept(trace)
    _check_results(trace)


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
    need(neuron in ("lif", "relu"), f"numerics.neuron = {neuron!r}; {nearest(str(neuron), ('lif', 'relu'))}")
    if neuron == "relu":  # M1: no time, no potentials
        limits |= {"timesteps": (1, 1), "fraction_bits": (0, 0), "potential_bits": (0, 0)}
    for name, (low, high) in limits.items():
        value = getattr(trace.numerics, name)
        allowed = f"{low} to {high}" if low < high else f"{low} where neurons are {neuron!r}"
        need(isinstance(value, int) and low <= value <= high, f"numerics.{name} = {value!r}, needs {allowed}")


def _check_stream(trace: Trace, stream: Stream) -> None:
    what = f"stream {stream.name!r}"
    need(stream.kind in ("real", "integer", "binary"), f"{what}: unknown kind {stream.kind!r}")
    sizes = (stream.channels, stream.height, stream.width)
    need(all(isinstance(size, int) and 1 <= size <= 65535 for size in sizes), f"{what}: impossible size {sizes}")
    if stream.kind == "real":
        need(stream.events is None, f"{what}: a real stream has pixels, not events")
        shape = (trace.images, stream.channels, stream.height, stream.width)
        need_array(trace.pixels, np.int8, shape, f"{what}: pixels")
        return
    need(stream.events is not None, f"{what}: events are missing")
    assert stream.events is not None
    events = stream.events
    need_array(events.channels, np.uint16, (None,), f"{what}: channels")
    rows = trace.images * trace.numerics.timesteps * stream.tokens
    need_offsets(events.offsets, rows, len(events.channels), f"{what}: offsets")
    need_ascending(events.offsets, events.channels, stream.channels, f"{what}: channels")
    if events.values is not None:
        need_array(events.values, np.uint8, (len(events.channels),), f"{what}: values")
        need(stream.kind == "integer", f"{what}: a binary stream has no values")
        need(not len(events.values) or int(events.values.min()) >= 1, f"{what}: an event of value 0")


def _check_kept(trace: Trace) -> None:
    selects = [layer for layer in trace.layers if isinstance(layer, Select)]
    need(len(selects) == len(trace.kept), f"{len(selects)} selectors but {len(trace.kept)} lists of kept tokens")
    for index, (layer, kept) in enumerate(zip(selects, trace.kept, strict=True)):
        what = f"kept tokens of {layer.name!r}"
        tokens = trace.streams[layer.source].tokens
        need(layer.selector == index - 1, f"layer {layer.name!r}: selectors must follow one another")
        need_array(kept, np.uint16, (trace.images, layer.keep), what)
        ids = kept.astype(np.int64)
        need(bool((np.diff(ids, axis=1) > 0).all()) and int(ids.max()) < tokens, f"{what}: must ascend below {tokens}")
        if index:
            before = trace.kept_mask(index - 1, tokens)
            need(bool(np.take_along_axis(before, ids, 1).all()), f"{what}: a token that was dropped before")


def _check_results(trace: Trace) -> None:
    heads = [layer for layer in trace.layers if isinstance(layer, Head)]
    need(len(heads) <= 1, "a trace has at most one head")
    if trace.logits is not None:
        need(bool(heads), "logits without a head")
        need_array(trace.logits, np.int64, (trace.images, heads[0].weights.output_channels), "logits")
    if trace.labels is not None:
        need_array(trace.labels, np.int64, (trace.images,), "labels")
