"""What stands for the weights of a layer of which only spikes were recorded: a pattern, no values."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...simulator.errors import UserError
from ...simulator.trace import Weights
from .arrays import Array
from .geometry import LayerGeometry
from .spikes import find_array

MOST_WEIGHTS = 2**28  # of a layer; a few letters of TOML can ask for any number


def find_weights(layer: LayerGeometry, inputs: int, kernel: tuple[int, int], arrays: Mapping[str, Array]) -> Weights:
    """The pattern that the geometry asks for.

    inputs: channels that the layer reads.  kernel: height and width, (1, 1) but for convolutions and flattened maps.
    Raises UserError where an array is missing, or is of another shape than the layer needs.
    """
    choice, taps = layer.weights, kernel[0] * kernel[1]
    count = layer.channels * inputs * taps
    if count > MOST_WEIGHTS:
        raise UserError(f"channels = {layer.channels}: {count:,} weights, more than {MOST_WEIGHTS:,}")
    if choice.array:
        return _pattern(_from_array(layer, (layer.channels, inputs, *kernel), arrays))
    if choice.density < 1:
        rng = np.random.default_rng(choice.seed)
        return _pattern(rng.random((layer.channels, inputs, taps), dtype=np.float32) < choice.density)
    rows = inputs * taps
    every = np.tile(np.arange(layer.channels, dtype=np.uint16), rows)
    return Weights(inputs, layer.channels, taps, np.arange(rows + 1, dtype=np.int64) * layer.channels, every, None)


def describe_weights(layers: tuple[LayerGeometry, ...]) -> str:
    """Where the weights of all layers come from, for the trace's provenance."""
    said: dict[str, list[str]] = {}
    for layer in layers:
        if layer.channels:
            choice = layer.weights
            drawn = f"random pattern of density {choice.density}, seed {choice.seed}, made up"
            what = f"pattern of {choice.array!r}" if choice.array else "none pruned" if choice.density == 1 else drawn
            said.setdefault(what, []).append(layer.name)
    return "; ".join(f"{what} ({', '.join(names)})" for what, names in said.items())


def _pattern(survives: NDArray[np.bool_]) -> Weights:
    return replace(Weights.from_dense(survives), values=None)


def _from_array(
    layer: LayerGeometry, shape: tuple[int, int, int, int], arrays: Mapping[str, Array]
) -> NDArray[np.bool_]:
    """Where an array is not 0: bool[outputs, inputs, kernel height, kernel width]; I may be all but the outputs."""
    name = layer.weights.array
    array = find_array(arrays, name, "weights")
    axes = layer.weights.axes or ("OIYX" if array.ndim == 4 else "OI")
    if len(axes) != array.ndim or not {"O", "I"} <= set(axes):
        raise UserError(
            f"weights = {name!r}: weight_axes = {axes!r} do not name the axes of {array.shape}, with O and I"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"weights = {name!r}: holds numbers that are not finite")
    ordered: NDArray[Any] = array.transpose([axes.index(axis) for axis in "OIYX" if axis in axes]) != 0
    if ordered.shape[0] != shape[0] or ordered.size != math.prod(shape):
        raise UserError(f"weights = {name!r}: {array.shape} as {axes}, but {layer.name!r} needs {list(shape)} as OIYX")
    return ordered.reshape(shape)
