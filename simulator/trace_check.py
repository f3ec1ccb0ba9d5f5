"""Every rule that a trace must obey."""

import numpy as np
from numpy.typing import NDArray

from .check import need, need_array, need_ascending, need_offsets, need_types
from .errors import nearest
from .files import need_texts
from .layer_check import check_layer
from .ranges import check_ranges
from .trace import SIZE_MAX, TIMESTEPS_MAX, Conv, Head, Linear, Pool, Select, Stream, Trace, Weights


def check_trace(trace: Trace) -> None:
    """Raise UserError with the first broken rule: types, shapes, ranges, order, references between parts."""
    need_types(trace, "trace")
    need_texts(trace.provenance, "provenance")
    _check_level(trace)
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
    check_ranges(trace)
    _check_results(trace)
    _check_host(trace)
    if trace.level == "exact":
        _check_exact(trace)


def _check_level(trace: Trace) -> None:
    """An exact trace needs no reason, a replay does; what a replay may lack, the checks of its parts say."""
    levels = ("exact", "replay")
    need(trace.level in levels, f"level = {trace.level!r}; {nearest(str(trace.level), levels)}")
    replay = trace.level == "replay"
    need(bool(trace.replay_reason) or not replay, "level = 'replay', but replay_reason does not say why")
    need(replay or not trace.replay_reason, "replay_reason is given, but level = 'exact'")


def _check_exact(trace: Trace) -> None:
    """What only a replay may lack; events that are missing are found with their stream."""
    for layer in trace.layers:
        what = f"layer {layer.name!r}: level = 'exact', but its"
        for weights in (getattr(layer, "weights", None), getattr(layer, "hidden", None)):
            known = not isinstance(weights, Weights) or weights.values is not None
            need(known, f"{what} weights are known by pattern only; such a trace is a replay")
        if isinstance(layer, (Conv, Linear)):
            fires = "theta" if trace.numerics.neuron == "lif" else "requant"
            for name in ("bias", fires):
                need(getattr(layer, name) is not None, f"{what} {name} is missing; such a trace is a replay")
        if isinstance(layer, Head):
            need(trace.logits is not None, f"{what} logits are missing; such a trace is a replay")


def _check_numerics(trace: Trace) -> None:
    limits = {
        "timesteps": (1, TIMESTEPS_MAX),
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
        need(type(value) is int and low <= value <= high, f"numerics.{name} = {value!r}, needs {allowed}")


def _check_stream(trace: Trace, stream: Stream) -> None:
    what = f"stream {stream.name!r:.60}"
    need_types(stream, what)
    need(bool(stream.name), "a stream has no name")
    need(stream.kind in ("real", "integer", "binary"), f"{what}: unknown kind {stream.kind!r}")
    sizes = (stream.channels, stream.height, stream.width)
    need(all(type(size) is int and 1 <= size <= SIZE_MAX for size in sizes), f"{what}: impossible size {sizes}")
    if stream.kind == "real":
        need(stream.events is None, f"{what}: a real stream has pixels, not events")
        shape = (trace.images, stream.channels, stream.height, stream.width)
        need_array(trace.pixels, np.int8, shape, f"{what}: pixels")
        return
    if stream.events is None and trace.level == "replay":
        readers = {layer.name for layer in trace.layers if layer.source == stream.name and not isinstance(layer, Pool)}
        need(not readers, f"{what}: events are missing, but layer {min(readers, default='')!r} reads them")
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
        classes = heads[0].weights.output_channels if heads else None
        need_array(trace.logits, np.int64, (trace.images, classes), "logits")
        if not heads and trace.level == "exact":
            _check_counted(trace, trace.logits)
    if trace.labels is not None:
        need_array(trace.labels, np.int64, (trace.images,), "labels")


def _check_counted(trace: Trace, logits: NDArray[np.int64]) -> None:
    """Logits without a head: the last layer's target, summed over time and the tokens that are left."""
    last = trace.layers[-1]
    need(bool(last.target), f"logits without a head, but the last layer {last.name!r} has no target to count")
    stream = trace.streams[last.target]
    need_array(logits, np.int64, (trace.images, stream.channels), f"logits without a head, counts of {last.target!r}")
    assert stream.events is not None
    events, kept = stream.events, trace.kept_mask(last.selector, stream.tokens)
    row = np.repeat(np.arange(len(events.offsets) - 1), np.diff(events.offsets))
    image = row // (trace.numerics.timesteps * stream.tokens)
    value = kept[image, row % stream.tokens] * (1 if events.values is None else events.values.astype(np.int64))
    counted = np.bincount(image * stream.channels + events.channels, weights=value, minlength=logits.size)
    wrong = np.argwhere(counted.reshape(logits.shape) != logits)  # exact below 2^53
    need(not len(wrong), f"logits are not what {last.target!r} adds up to, first in image {wrong[:1, :1].sum()}")


def _check_host(trace: Trace) -> None:
    names = {"", *(layer.name for layer in trace.layers)}
    for work in trace.host:
        what = f"host work {work.name!r}"
        need_types(work, what)
        need(bool(work.name), f"{what}: needs a name")
        need(bool(work.operation), f"{what}: needs an operation")
        units = ("multiply_accumulate", "elementwise")
        need(work.unit in units, f"{what}: unit = {work.unit!r}; {nearest(str(work.unit), units)}")
        for name in ("operations", "bytes_in", "bytes_out"):
            value = getattr(work, name)
            need(value >= 0, f"{what}: {name} = {value!r}, needs a number of at least 0")
        need(work.after in names, f"{what}: after = {work.after!r} is no layer; {nearest(str(work.after), names)}")
