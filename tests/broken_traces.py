"""Two sound traces, and each rule of `trace_check` broken once: name -> (how to build it, what the refusal says)."""

from dataclasses import replace

import numpy as np
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.synthetic import mlp_trace, synthetic_trace
from sparsespike.simulator.trace import Weights, Window

TRANSFORMER = synthetic_trace(
    images=2, timesteps=2, height=4, width=4, sps=(4, 6, 6), depth=3, classes=3, weight_density=0.4, keep=0.6, seed=2
)
GRADED = mlp_trace(timesteps=2, widths=(6, 6, 5), largest=9, residual=True, classes=2, seed=4)


def counted_trace():
    """A convolutional network of several windows, without a head: its logits are spike counts."""
    builder = Builder(Style(images=2, timesteps=3, weight_density=0.5, spike_density=0.3, seed=6))
    stream = builder.conv("strided", builder.pixels(2, 7, 6), 4, Window(3, 2, 2, 1, 0))
    stream = builder.pool("sums", stream, 2, 1, 0, form="sum")
    builder.conv("last", stream, 5, Window(3, 2))
    builder.count()
    return builder.trace()


COUNTED = counted_trace()


def pooled_sums(height, width, largest=1, residual=False):
    """All values of a whole map summed up, and perhaps added to further spikes."""
    builder = Builder(Style())
    stream = builder.spikes("given", np.full((1, 4, height * width, 1), largest), height, width)
    stream = builder.pool("sum", stream, window=Window(height, width), form="sum")
    if residual:
        builder.linear("added", stream, 1, stream)
    return builder.trace()


def layer_with(trace, name, **changes):
    """The trace with one layer changed."""
    layers = tuple(replace(layer, **changes) if layer.name == name else layer for layer in trace.layers)
    return replace(trace, layers=layers)


def stream_with(trace, name, **changes):
    """The trace with one stream changed."""
    return replace(trace, streams={**trace.streams, name: replace(trace.streams[name], **changes)})


def events_with(trace, name, **changes):
    """The trace with one stream's events changed."""
    return stream_with(trace, name, events=replace(trace.streams[name].events, **changes))


def weights_with(trace, name, field="weights", **changes):
    """The trace with one layer's weights changed."""
    return layer_with(trace, name, **{field: replace(getattr(trace.layer(name), field), **changes)})


def numerics_with(trace, **changes):
    """The trace with another numeric contract."""
    return replace(trace, numerics=replace(trace.numerics, **changes))


def changed(array, index, value):
    """A copy with one entry changed."""
    copy = array.copy()
    copy[index] = value
    return copy


T, G = TRANSFORMER, GRADED
QKV = T.streams["block0.qkv.out"].events
ROW = int(np.flatnonzero(np.diff(QKV.offsets) >= 2)[0])
AT = int(QKV.offsets[ROW])
SWAPPED = changed(QKV.channels, slice(AT, AT + 2), QKV.channels[AT : AT + 2][::-1])
FC1 = T.layer("block0.fc1").weights
PAIR = int(FC1.pointers[np.flatnonzero(np.diff(FC1.pointers) >= 2)[0]])
DROPPED = next(token for token in range(4) if token not in T.kept[0][0])
HEAD = T.layer("head")

BROKEN = {
    "no timesteps": (lambda: numerics_with(T, timesteps=0), "numerics.timesteps = 0"),
    "too many fraction bits": (lambda: numerics_with(T, fraction_bits=17), "numerics.fraction_bits = 17"),
    "one weight bit": (lambda: numerics_with(T, weight_bits=1), "numerics.weight_bits = 1"),
    "wide pixels": (lambda: numerics_with(T, pixel_bits=9), "numerics.pixel_bits = 9"),
    "wide accumulators": (lambda: numerics_with(T, accumulator_bits=33), "numerics.accumulator_bits = 33"),
    "fractional potentials": (lambda: numerics_with(T, potential_bits=8.5), "numerics.potential_bits = 8.5"),
    "no images": (lambda: replace(T, images=0), "at least one image"),
    "no layers": (lambda: replace(T, layers=()), "at least one layer"),
    "two layers of a name": (lambda: replace(T, layers=T.layers + T.layers[:1]), "two layers have one name"),
    "a misnamed stream": (lambda: replace(T, streams={**T.streams, "x": T.streams["sps0.out"]}), "'x' is called"),
    "an unknown kind": (lambda: stream_with(T, "sps0.out", kind="analogue"), "unknown kind 'analogue'"),
    "an empty map": (lambda: stream_with(T, "sps0.out", height=0), "impossible size"),
    "real with events": (lambda: stream_with(T, "pixels", events=QKV), "has pixels, not events"),
    "no pixels": (lambda: replace(T, pixels=None), "pixels: missing"),
    "other pixels": (lambda: replace(T, pixels=T.pixels.astype(np.int16)), "pixels: type int16, needs int8"),
    "too few pixels": (lambda: replace(T, pixels=T.pixels[:1]), "pixels: shape"),
    "no events": (lambda: stream_with(T, "sps0.out", events=None), "'sps0.out': events are missing"),
    "wide channels": (
        lambda: events_with(T, "block0.qkv.out", channels=QKV.channels.astype(np.int64)),
        "channels: type int64",
    ),
    "short offsets": (lambda: events_with(T, "block0.qkv.out", offsets=QKV.offsets[:-1]), "offsets: shape"),
    "late offsets": (lambda: events_with(T, "block0.qkv.out", offsets=changed(QKV.offsets, 0, 1)), "must run from 0"),
    "long offsets": (lambda: events_with(T, "block0.qkv.out", offsets=changed(QKV.offsets, -1, 9999)), "must run from"),
    "falling offsets": (
        lambda: events_with(T, "block0.qkv.out", offsets=changed(QKV.offsets, 1, len(QKV.channels) + 1)),
        "must never fall",
    ),
    "channel too high": (
        lambda: events_with(T, "block0.qkv.out", channels=changed(QKV.channels, AT + 1, 18)),
        "18 is not below 18",
    ),
    "swapped channels": (lambda: events_with(T, "block0.qkv.out", channels=SWAPPED), "must ascend within a row"),
    "a channel twice": (
        lambda: events_with(T, "block0.qkv.out", channels=changed(QKV.channels, AT + 1, QKV.channels[AT])),
        "must ascend within a row",
    ),
    "binary with values": (
        lambda: events_with(T, "block0.qkv.out", values=np.ones(len(QKV.channels), np.uint8)),
        "a binary stream has no values",
    ),
    "short values": (lambda: events_with(G, "input", values=np.ones(1, np.uint8)), "values: shape"),
    "an event of nothing": (
        lambda: events_with(G, "input", values=changed(G.streams["input"].events.values, 0, 0)),
        "an event of value 0",
    ),
    "no weights": (lambda: layer_with(T, "block0.fc1", weights=None), "weights: missing"),
    "wide outputs": (
        lambda: weights_with(T, "block0.fc1", outputs=FC1.outputs.astype(np.int32)),
        "outputs: type int32",
    ),
    "short pointers": (lambda: weights_with(T, "block0.fc1", pointers=FC1.pointers[:-1]), "pointers: shape"),
    "falling pointers": (
        lambda: weights_with(T, "block0.fc1", pointers=changed(FC1.pointers, 1, len(FC1.outputs) + 1)),
        "must never fall",
    ),
    "output too high": (
        lambda: weights_with(T, "block0.fc1", outputs=changed(FC1.outputs, PAIR + 1, 24)),
        "24 is not below 24",
    ),
    "an output twice": (
        lambda: weights_with(T, "block0.fc1", outputs=changed(FC1.outputs, PAIR + 1, FC1.outputs[PAIR])),
        "must ascend within a row",
    ),
    "weight of zero": (lambda: weights_with(T, "block0.fc1", values=changed(FC1.values, 0, 0)), "never 0"),
    "weight too large": (lambda: weights_with(T, "block0.fc1", values=changed(FC1.values, 0, -128)), "-127 to 127"),
    "too few weights": (lambda: weights_with(T, "block0.fc1", values=FC1.values[:-1]), "values: shape"),
    "no source": (lambda: layer_with(T, "block0.fc1", source="gone"), "its source 'gone' is no stream"),
    "source of later": (lambda: layer_with(T, "sps1", source="head.out"), "is no stream"),
    "source written later": (lambda: layer_with(T, "block0.qkv", source="block0.projection.out"), "written only later"),
    "no selector": (lambda: layer_with(T, "block2.fc1", selector=2), "no selector 2"),
    "residual later": (lambda: layer_with(T, "block0.fc2", residual="block1.fc2.out"), "is not written before"),
    "residual of another shape": (lambda: layer_with(T, "block0.fc2", residual="sps0.out"), "differ in shape"),
    "no target": (lambda: layer_with(T, "block0.fc1", target="gone"), "its target 'gone' is no stream"),
    "target of another shape": (lambda: layer_with(T, "block0.fc1", target="block0.qkv.out"), "needs (24, 2, 2)"),
    "other inputs": (lambda: layer_with(T, "block0.fc1", source="block0.qkv.out"), "differ in channels"),
    "short bias": (lambda: layer_with(T, "block0.fc1", bias=np.zeros(23, np.int32)), "bias: shape"),
    "float bias": (lambda: layer_with(T, "block0.fc1", bias=np.zeros(24)), "bias: type float64"),
    "long thresholds": (lambda: layer_with(T, "sps0", theta=np.ones(5, np.int32)), "theta: shape"),
    "threshold of zero": (lambda: layer_with(T, "sps0", theta=np.zeros(4, np.int32)), "threshold below 1"),
    "crooked kernel": (
        lambda: weights_with(T, "sps0", taps=5, pointers=T.layer("sps0").weights.pointers[:16]),
        "must run from|square kernel",
    ),
    "even kernel": (
        lambda: layer_with(T, "sps0", weights=Weights.from_dense(np.ones((4, 3, 2, 2), np.int8))),
        "square kernel of odd side",
    ),
    "convolution behind a selector": (lambda: layer_with(T, "sps1", selector=0), "behind a selector is not defined"),
    "linear with taps": (
        lambda: layer_with(T, "block0.fc1", weights=Weights.from_dense(np.ones((24, 6, 3, 3), np.int8))),
        "one tap",
    ),
    "linear on pixels": (
        lambda: replace(
            T, layers=(replace(T.layer("block0.fc1"), source="pixels", weights=Weights.from_dense(np.ones((24, 3)))),)
        ),
        "reads real input|needs",
    ),
    "a window of another size": (
        lambda: layer_with(T, "sps0", window=Window(2, 2)),
        "its weights have 9 taps, its window 2 x 2",
    ),
    "a window that is none": (lambda: layer_with(T, "sps0", window={"height": 3}), "window is a dict"),
    "a window that stands": (lambda: layer_with(T, "sps0", window=Window(3, 3, 0)), "stride = 0, needs at least 1"),
    "half a stride": (lambda: layer_with(T, "sps0", window=Window(3, 3, 1.5)), "stride = 1.5, needs at least 1"),
    "negative padding": (lambda: layer_with(T, "sps0", window=Window(3, 3, 1, 0, -1)), "pad_x = -1, needs at least 0"),
    "a window in the padding": (
        lambda: layer_with(T, "sps0", window=Window(3, 3, 1, 3, 1)),
        "a padding of 3 around a kernel 3 high",
    ),
    "a window beyond the map": (
        lambda: layer_with(T, "sps0", window=Window(1, 9, 1, 0, 2)),
        "a kernel 9 wide on a map that is padded 8 wide",
    ),
    "a strided target": (lambda: layer_with(T, "sps0", window=Window(3, 3, 2, 1, 1)), "needs (4, 2, 2)"),
    "pool of pixels": (lambda: layer_with(T, "pool1", source="pixels"), "only a convolution reads real input"),
    "pool of another size": (lambda: layer_with(T, "pool1", kernel=2), "needs (6, 3, 3)"),
    "pool in the padding": (lambda: layer_with(T, "pool1", padding=3), "a padding of 3 around a kernel 3 high"),
    "pool beyond the map": (
        lambda: layer_with(T, "pool1", window=Window(6, 6, 1, 5, 5)),
        "pads more than the map's own 4 x 4",
    ),
    "an unknown pool": (lambda: layer_with(T, "pool1", form="mean"), "form = 'mean'"),
    "binary sums": (lambda: layer_with(T, "pool1", form="sum"), "is binary, but values are integer"),
    "sums of 256": (lambda: pooled_sums(16, 16), "a sum of its windows can be 256; values go up to 255"),
    "pool behind a selector": (lambda: layer_with(T, "pool1", selector=0), "a pool behind a selector is not defined"),
    "a residual of 255": (lambda: pooled_sums(3, 17, largest=5, residual=True), "with its residual 256 can come"),
    "pool's target": (lambda: layer_with(T, "pool1", target="sps1.out"), "needs (6, 2, 2)"),
    "unknown selector": (lambda: layer_with(T, "select1", form="best"), "unknown form 'best'"),
    "a selector that writes": (
        lambda: layer_with(T, "select1", target="gone"),
        "its target is 'gone', but a select writes no stream",
    ),
    "a selector that adds": (
        lambda: layer_with(T, "select1", residual="sps0.out"),
        "its residual is 'sps0.out', but a select writes no stream",
    ),
    "a head that writes": (
        lambda: layer_with(T, "head", target="block2.fc2.out"),
        "its target is 'block2.fc2.out', but a head writes no stream",
    ),
    "a target of two layers": (
        lambda: layer_with(T, "block1.fc1", target="block0.fc1.out"),
        "its target 'block0.fc1.out' is there before it",
    ),
    "a stream without a name": (
        lambda: replace(T, streams={**T.streams, "": replace(T.streams["sps0.out"], name="")}),
        "a stream has no name",
    ),
    "texts that are none": (lambda: replace(T, provenance={"x": 1}), "provenance.x = 1: needs a text"),
    "a list of texts": (lambda: replace(T, provenance=["x"]), "needs texts by name"),
    "keeps nothing": (lambda: layer_with(T, "select1", keep=0), "cannot keep 0 tokens"),
    "keeps too many": (lambda: layer_with(T, "select1", keep=5), "cannot keep 5 tokens"),
    "no scorer": (lambda: layer_with(T, "select1", hidden=None), "hidden: missing"),
    "other scorer": (
        lambda: layer_with(T, "select1", hidden=Weights.from_dense(np.ones((3, 5), np.int8))),
        "hidden weights and source differ",
    ),
    "no hidden bias": (lambda: layer_with(T, "select1", hidden_bias=None), "hidden_bias: missing"),
    "short score": (lambda: layer_with(T, "select1", score_weights=np.ones(2, np.int8)), "score_weights: shape"),
    "a short table": (
        lambda: layer_with(T, "select1", table=np.zeros(255, np.int8)),
        "table: shape (255,), needs (256,)",
    ),
    "a wide table": (lambda: layer_with(T, "select1", table=np.zeros(256, np.int16)), "table: type int16, needs int8"),
    "a table without a scorer": (
        lambda: layer_with(T, "select1", form="rate", table=np.zeros(256, np.int8)),
        "the form 'rate' has none",
    ),
    "negative shift": (lambda: layer_with(T, "select1", hidden_shift=-1), "impossible hidden_shift"),
    "graded attention": (
        lambda: stream_with(T, "block0.qkv.out", kind="integer"),
        "q, k and v must be binary",
    ),
    "crooked heads": (lambda: layer_with(T, "block0.attention", heads=4), "do not split into heads"),
    "attention fires always": (lambda: layer_with(T, "block0.attention", theta=0), "threshold below 1"),
    "a threshold that no potential reaches": (
        lambda: layer_with(T, "block0.attention", theta=2**31),
        "theta = 2147483648, can be 2147483647 at most",
    ),
    "attention's target": (lambda: layer_with(T, "block0.attention", target="block0.fc1.out"), "needs (6, 2, 2)"),
    "other head": (lambda: layer_with(T, "head", source="block0.qkv.out"), "weights and source differ"),
    "narrow head bias": (lambda: layer_with(T, "head", bias=HEAD.bias.astype(np.int32)), "bias: type int32"),
    "a list too few": (lambda: replace(T, kept=T.kept[:1]), "no selector 1|2 selectors but 1"),
    "a list too many": (lambda: replace(T, kept=(*T.kept, T.kept[1])), "2 selectors but 3 lists"),
    "selectors out of order": (lambda: layer_with(T, "select2", selector=-1), "selectors must follow one another"),
    "wide ids": (lambda: replace(T, kept=(T.kept[0].astype(np.int64), T.kept[1])), "type int64"),
    "ids of fewer images": (lambda: replace(T, kept=(T.kept[0][:1], T.kept[1])), "shape"),
    "ids that fall": (lambda: replace(T, kept=(T.kept[0][:, ::-1].copy(), T.kept[1])), "must ascend below 4"),
    "id too high": (lambda: replace(T, kept=(changed(T.kept[0], (0, -1), 4), T.kept[1])), "must ascend below 4"),
    "a dropped token again": (
        lambda: replace(T, kept=(T.kept[0], changed(T.kept[1], (0, 0), DROPPED))),
        "a token that was dropped before",
    ),
    "two heads": (lambda: replace(T, layers=(*T.layers, replace(HEAD, name="again"))), "at most one head"),
    "logits of nobody": (lambda: replace(T, layers=T.layers[:-1]), "logits without a head, counts of 'block2.fc2.out'"),
    "logits of no target": (
        lambda: replace(T, layers=T.layers[:10], kept=T.kept[:1]),
        "the last layer 'select1' has no target",
    ),
    "logits that nobody counted": (
        lambda: replace(COUNTED, logits=changed(COUNTED.logits, (1, 2), COUNTED.logits[1, 2] + 1)),
        "logits are not what 'last.out' adds up to, first in image 1",
    ),
    "short logits": (lambda: replace(T, logits=T.logits[:, :2]), "logits: shape"),
    "short labels": (lambda: replace(T, labels=np.zeros(1, np.int64)), "labels: shape"),
    "wide labels": (lambda: replace(T, labels=np.zeros(2, np.int32)), "labels: type int32"),
}
