"""From a model that was read to a replay: the spikes as they were, and the pattern of the weights that they meet."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...simulator.trace import (
    Attention,
    Conv,
    Events,
    Head,
    HostWork,
    Layer,
    Linear,
    Numerics,
    Pool,
    Stream,
    Trace,
    Weights,
    Window,
)
from .drafts import LayerDraft, Reading
from .streams import Draft

PIXEL_MAX = 127
Labels = NDArray[np.int64] | None  # of the images
_WIDTHS: dict[str, Any] = {"weight_bits": 8, "pixel_bits": 8, "accumulator_bits": 24, "potential_bits": 24}


class Names:
    """A name for every stream, and for every layer: that of the module; no two the same."""

    def __init__(self) -> None:
        self._of: dict[Draft | LayerDraft, str] = {}
        self._taken: set[str] = set()

    def of(self, draft: Draft | LayerDraft | None) -> str:
        """The draft's name, "" for none."""
        if draft is None:
            return ""
        if draft not in self._of:
            self._of[draft] = self.free(draft.name)
        return self._of[draft]

    def free(self, wanted: str) -> str:
        """`wanted`, with a number where it is taken."""
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}.{number}", number + 1
        self._taken.add(name)
        return name


def quantised_pixels(pixels: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """int8 pixels with zero-point 0, and the scale: the largest magnitude of all images is 127."""
    scale = float(np.abs(pixels).max(initial=0.0)) / PIXEL_MAX or 1.0
    return np.clip(np.rint(pixels / scale), -PIXEL_MAX, PIXEL_MAX).astype(np.int8), scale


def replay(
    reading: Reading,
    size: tuple[int, int],
    reason: str,
    host: tuple[HostWork, ...],
    provenance: Mapping[str, str],
    labels: Labels = None,
) -> Trace:
    """The trace of a reading, with the model's own spikes.

    size: images, timesteps.  reason: why it is no exact one. Targets of layers whose neurons were not seen have no
    events.
    """
    images, timesteps = size
    names, layer_names = Names(), Names()
    streams: dict[str, Stream] = {}
    layers: list[Layer] = []
    pixels = None
    for draft in reading.layers:
        if draft.source.pixels is not None:
            pixels, _ = quantised_pixels(draft.source.pixels)
        for stream in (draft.source, draft.residual):
            if stream is not None:
                streams[names.of(stream)] = _stream(names.of(stream), stream)
        layer = _layer(draft, layer_names.of(draft), names)
        layers.append(layer)
        if draft.target is not None:
            streams[layer.target] = _stream(layer.target, draft.target)
        elif layer.target:
            streams[layer.target] = _unseen(layer, streams[layer.source])
    return Trace(
        numerics=Numerics(timesteps=timesteps, fraction_bits=0, **_WIDTHS),
        streams=streams,
        layers=tuple(layers),
        images=images,
        pixels=pixels,
        kept=(),
        logits=None,
        labels=labels,
        shadow=True,
        level="replay",
        replay_reason=reason,
        host=host,
        provenance=dict(provenance),
    )


def _stream(name: str, draft: Draft) -> Stream:
    if draft.spikes is None:
        return Stream(name, "real", draft.channels, draft.height, draft.width)
    return Stream(name, draft.content, draft.channels, draft.height, draft.width, Events.from_dense(draft.dense))


def _unseen(layer: Layer, source: Stream) -> Stream:
    outputs = layer.weights.output_channels if isinstance(layer, (Conv, Linear)) else source.channels
    height, width = layer.outputs(source.height, source.width)
    return Stream(layer.target, "binary", outputs, height, width)


def _layer(draft: LayerDraft, name: str, names: Names) -> Layer:
    common: dict[str, Any] = {
        "name": name,
        "source": names.of(draft.source),
        "residual": names.of(draft.residual),
    }
    if draft.kind == "head":
        assert draft.weights is not None
        return Head(
            name=name,
            source=common["source"],
            weights=_pattern(draft.weights),
            bias=np.zeros(len(draft.weights), np.int64),
        )
    common["target"] = names.of(draft.target) if draft.target is not None else names.free(f"{name}.out")
    if draft.kind == "pool":
        return Pool(**common, window=draft.window, form=draft.pool_form)
    if draft.kind in ("attention", "hadamard"):
        return Attention(**common, heads=draft.heads, form="product" if draft.kind == "attention" else "hadamard")
    assert draft.weights is not None
    weights = _pattern(draft.weights)
    if draft.kind == "linear":
        return Linear(**common, weights=weights, bias=None)
    return Conv(**common, weights=weights, bias=None, window=written(draft), pooled=draft.pooled)


def written(draft: LayerDraft) -> Window | None:
    """A convolution's window as a trace holds it: None for the one that a square odd kernel has by itself."""
    assert draft.weights is not None
    side = draft.weights.shape[2]
    return None if draft.window == Window(side, side, 1, side // 2, side // 2) and side % 2 else draft.window


def _pattern(weights: NDArray[np.float64]) -> Weights:
    """Which weights are not pruned; a replay needs no more of them."""
    pattern = Weights.from_dense((weights != 0).astype(np.int8))
    return Weights(
        pattern.input_channels, pattern.output_channels, pattern.taps, pattern.pointers, pattern.outputs, None
    )
