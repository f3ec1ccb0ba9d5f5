"""Geometry and arrays become a trace: recorded spikes as streams, layers between them, and what is not known said."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...simulator.errors import UserError
from ...simulator.trace import Attention, Conv, Events, Layer, Linear, Numerics, Pool, Stream, Trace, Weights, Window
from .arrays import Array
from .geometry import Geometry, LayerGeometry
from .spikes import Shape, Spikes, read_spikes
from .weights import describe_weights, find_weights

# Widths that nobody recorded: the smallest, so that nothing is demanded of a chip; its own widths are what is priced.
UNKNOWN_POTENTIAL_BITS, UNKNOWN_FRACTION_BITS = 2, 0
MOST_BITS = 32


@dataclass(frozen=True)
class _Step:
    """A layer with what it reads and makes. spikes: None where nobody recorded what it reads.

    stream: name of what it reads; "" where that is what the layer before makes.
    """

    layer: LayerGeometry
    stream: str
    reads: Shape
    makes: Shape
    spikes: Spikes | None
    weights: Weights | None


def build_trace(geometry: Geometry, arrays: Mapping[str, Array], provenance: Mapping[str, str], reason: str) -> Trace:
    """The replay of a geometry on a file's arrays.

    Raises UserError with all that does not fit: arrays that are missing, shapes, timesteps and images that differ.
    """
    steps = _steps(geometry, arrays)
    images, timesteps = next(step.spikes.shape[:2] for step in steps if step.spikes is not None)
    streams, targets = _connect(steps)
    unrecorded = [name for name, stream in streams.items() if stream.events is None]
    said = {"weights": describe_weights(geometry.layers)} if any(step.weights for step in steps) else {}
    if unrecorded:
        said["unrecorded"] = ", ".join(unrecorded)
    return Trace(
        numerics=Numerics(
            timesteps=timesteps,
            fraction_bits=UNKNOWN_FRACTION_BITS,
            weight_bits=geometry.weight_bits,
            pixel_bits=8,
            accumulator_bits=_accumulator_bits(steps, geometry.weight_bits),
            potential_bits=UNKNOWN_POTENTIAL_BITS,
        ),
        streams=streams,
        layers=tuple(_layer(step, *ends) for step, ends in zip(steps, targets, strict=True)),
        images=images,
        pixels=None,
        kept=(),
        logits=None,
        provenance={**provenance, **said},
        level="replay",
        replay_reason=reason,
        host=geometry.host,
    )


def _steps(geometry: Geometry, arrays: Mapping[str, Array]) -> list[_Step]:
    """What every layer reads and makes. Raises UserError with the faults of all layers."""
    faults: list[str] = []
    steps: list[_Step] = []
    before: Shape | None = None
    for layer in geometry.layers:
        try:
            step = _step(layer, arrays, before)
        except UserError as fault:
            faults.append(f"layer {layer.name!r}: {fault}")
            before = None
            continue
        steps.append(step)
        before = step.makes
    faults += _differing(steps, geometry.timesteps)
    if faults:
        raise UserError("; ".join(faults))
    return steps


def _step(layer: LayerGeometry, arrays: Mapping[str, Array], before: Shape | None) -> _Step:
    spikes, reads = None, before
    if layer.inputs:
        spikes, reads = read_spikes(layer, arrays, before)
    if reads is None:
        raise UserError("input: missing, and no layer stands before it")
    channels, height, width = reads
    if layer.kind == "attention":
        if channels % (3 * layer.heads):
            raise UserError(f"heads = {layer.heads}: q, k and v together have {channels} channels")
        return _Step(layer, "+".join(layer.inputs), reads, (channels // 3, height, width), spikes, None)
    window = _window(layer, reads)
    high, wide = window.outputs(height, width)
    if min(high, wide) < 1:
        raise UserError(f"kernel = {[window.height, window.width]} is larger than its padded map {[height, width]}")
    made = layer.channels or channels
    weights = None
    if layer.channels:
        weights = find_weights(layer, channels, (window.height, window.width), arrays)
    return _Step(layer, "+".join(layer.inputs), reads, (made, high, wide), spikes, weights)


def _window(layer: LayerGeometry, reads: Shape) -> Window:
    """What an output sees: of a flattened map all of it, of a linear layer its own token."""
    if layer.kind == "linear":
        return Window(1, 1) if layer.map is None else Window(*reads[1:])
    return Window(*layer.kernel, layer.stride, *layer.padding)


def _differing(steps: list[_Step], timesteps: int | None) -> list[str]:
    """Layers whose timesteps or images are not those of the others."""
    found = {step.layer.name: step.spikes.shape[:2] for step in steps if step.spikes is not None}
    if not found:
        return []
    usual = max(found.values(), key=list(found.values()).count)
    wanted = (usual[0], timesteps or usual[1])
    return [
        f"layer {name!r}: {have[1]} timesteps of {have[0]} images, where others have {wanted[1]} of {wanted[0]}; "
        "say other axes, or leave the layer out"
        for name, have in found.items()
        if have != wanted
    ]


def _connect(steps: list[_Step]) -> tuple[dict[str, Stream], list[tuple[str, str]]]:
    """The streams, and (source, target) of each layer."""
    sources = _name_sources(steps)
    recorded = {name: step for name, step in zip(sources, steps, strict=True) if name}
    streams: dict[str, Stream] = {}
    ends: list[tuple[str, str]] = []
    for index, step in enumerate(steps):
        source = sources[index] or ends[-1][1]
        if source not in streams:
            streams[source] = _stream(source, step.reads, step.spikes, graded=False)
        layer = step.layer
        graded = layer.kind == "pool" and (layer.form == "sum" or streams[source].kind == "integer")
        known = {name: other for name, other in recorded.items() if name not in sources[: index + 1]}
        target = _find_target(step, sources[index + 1 : index + 2], known, graded)
        if target in streams:
            raise UserError(f"layer {layer.name!r}: output = {target!r}: another layer makes that already")
        spikes = recorded[target].spikes if target in recorded else None
        streams[target] = _stream(target, step.makes, spikes, graded)
        ends.append((source, target))
    return streams, ends


def _name_sources(steps: list[_Step]) -> list[str]:
    """What each layer reads, by its arrays; "" where by the layer before. One array in two shapes is two streams."""
    shapes: dict[str, list[Shape]] = {}
    names = []
    for step in steps:
        seen = shapes.setdefault(step.stream, [])
        if step.reads not in seen:
            seen.append(step.reads)
        names.append(step.stream + "'" * seen.index(step.reads) if step.stream else "")
    return names


def _find_target(step: _Step, following: list[str], known: Mapping[str, _Step], graded: bool) -> str:
    """The stream that a layer writes: what it says, else the next layer's if it fits, else one that nobody recorded.

    known: what later layers read and earlier ones do not.  graded: whether the layer can make more than 0 and 1.
    """
    said = step.layer.output
    for name in following if said is None else [said]:
        other = known.get(name)
        if other is None or other.spikes is None or other.reads != step.makes:
            continue
        if graded or int(other.spikes.max()) <= 1:
            return name
    if said:
        raise UserError(
            f"layer {step.layer.name!r}: output = {said!r}: no later layer reads that array as {list(step.makes)} "
            "(channels, height, width) of 0 and 1"
        )
    return f"{step.layer.name}.out"


def _stream(name: str, shape: Shape, spikes: Spikes | None, graded: bool) -> Stream:
    graded = graded or (spikes is not None and int(spikes.max()) > 1)
    events = None if spikes is None else Events.from_dense(spikes)
    return Stream(name, "integer" if graded else "binary", *shape, events)


def _accumulator_bits(steps: list[_Step], weight_bits: int) -> int:
    """That hold the largest sum there can be (P4), every weight taken as the largest; biases add nothing."""
    largest = 1
    for step in steps:
        if step.weights is not None:
            met = int(np.bincount(step.weights.outputs, minlength=1).max())
            value = 1 if step.spikes is None else int(step.spikes.max())
            largest = max(largest, met * (2 ** (weight_bits - 1) - 1) * value)
    return min(MOST_BITS, largest.bit_length() + 1)


def _layer(step: _Step, source: str, target: str) -> Layer:
    layer = step.layer
    ends: dict[str, Any] = {"name": layer.name, "source": source, "target": target}
    if layer.kind == "pool":
        return Pool(**ends, kernel=layer.kernel[0], stride=layer.stride, padding=layer.padding[0], form=_form(layer))
    if layer.kind == "attention":
        return Attention(**ends, heads=layer.heads, form=_form(layer))
    assert step.weights is not None
    if layer.kind == "linear" and layer.map is None:
        return Linear(**ends, weights=step.weights, bias=None)
    conv = Conv(**ends, weights=step.weights, bias=None)
    window = _window(layer, step.reads)
    return conv if window == conv.geometry and window.height % 2 else replace(conv, window=window)


def _form(layer: LayerGeometry) -> Any:
    """Of a pool or an attention; the first is the usual one."""
    return layer.form or {"pool": "max", "attention": "product"}[layer.kind]
