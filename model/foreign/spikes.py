"""The arrays of a file, whatever their axes, as the spikes that a layer reads."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...simulator.errors import UserError, nearest
from .arrays import Array
from .geometry import LayerGeometry
from .schema import AXES

Spikes = NDArray[np.uint8]  # [images, timesteps, tokens, channels]
Shape = tuple[int, int, int]  # channels, height, width

MOST_VALUE = 255  # of a graded spike
_MAP_AXES = ("TCHW", "TBCHW")
_USUAL = {
    "conv": _MAP_AXES,
    "pool": _MAP_AXES,
    "linear": ("TC", "TNC", "TBNC"),
    "attention": ("TNC", "TBNC", "TBNAC"),
}


def read_spikes(layer: LayerGeometry, arrays: Mapping[str, Array], before: Shape | None) -> tuple[Spikes, Shape]:
    """What a layer reads, out of its arrays one behind the other by channels.

    before: shape of what the layer before made, whose grid tokens take if they are as many of as many channels.
    Raises UserError where an array is missing or is not what the geometry says.
    """
    parts = [_arrange(layer, name, find_array(arrays, name, "input")) for name in layer.inputs]
    if len({part.shape[:-1] for part in parts}) > 1:
        shapes = " and ".join(str(arrays[name].shape) for name in layer.inputs)
        raise UserError(f"input = {list(layer.inputs)}: shapes {shapes} differ in more than channels")
    spikes = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
    images, timesteps, height, width, channels = spikes.shape
    if layer.kind in ("linear", "attention") and layer.map is None:
        height, width = _grid(layer, (channels, height, width), before)
    return spikes.reshape(images, timesteps, -1, channels), (channels, height, width)


def find_array(arrays: Mapping[str, Array], name: str, key: str) -> Array:
    """The array of that name. Raises UserError naming the key that asks for it."""
    if name not in arrays:
        raise UserError(f"{key} = {name!r}: the file has no such array of numbers; {nearest(name, arrays)}")
    if 0 in arrays[name].shape:
        raise UserError(f"{key} = {name!r}: the array is {arrays[name].shape} and holds nothing")
    return arrays[name]


def _arrange(layer: LayerGeometry, name: str, array: Array) -> Spikes:
    """uint8[images, timesteps, height, width, channels]; tokens without a grid lie in one row."""
    usual = ("TC", "TBC", *_MAP_AXES) if layer.map else _USUAL[layer.kind]
    axes = layer.axes or next((some for some in usual if len(some) == array.ndim), "")
    if len(axes) != array.ndim or "T" not in axes:
        said = f"axes = {axes!r} do" if axes else f"axes, if not said {' or '.join(usual)}, do"
        raise UserError(f"array {name!r} is {array.shape}: {said} not name each of its axes, or none as T")
    sizes = dict(zip(axes, array.shape, strict=True))
    images, timesteps, height, width, tokens, heads, channels = (sizes.get(axis, 1) for axis in _ORDER)
    if "N" in axes and ({"H", "W"} & set(axes) or layer.kind in ("conv", "pool")):
        raise UserError(f"axes = {axes!r}: tokens N where there is a map, H and W")
    ordered = as_spikes(array, name).transpose([axes.index(axis) for axis in _ORDER if axis in axes])
    spikes = ordered.reshape(images, timesteps, height, width * tokens, heads * channels)
    return spikes if layer.map is None else _unflatten(spikes, layer.map, name)


_ORDER = "BTHWNAC"
assert set(_ORDER) == set(AXES)


def _unflatten(spikes: Spikes, shape: Shape, name: str) -> Spikes:
    """A flattened map, channels slowest as torch flattens, back on its grid; one that is none as it is."""
    images, timesteps, high, wide, inputs = spikes.shape
    channels, height, width = shape
    if (inputs, high, wide) == shape:
        return spikes
    if (high, wide) != (1, 1) or inputs != math.prod(shape):
        have = inputs if (high, wide) == (1, 1) else (inputs, high, wide)
        raise UserError(f"array {name!r} has {have} inputs, but map = {list(shape)} makes {math.prod(shape)}")
    return spikes.reshape(images, timesteps, channels, height, width).transpose(0, 1, 3, 4, 2)


def _grid(layer: LayerGeometry, shape: Shape, before: Shape | None) -> tuple[int, int]:
    _, height, width = shape
    if layer.grid is not None:
        if math.prod(layer.grid) != height * width:
            raise UserError(f"grid = {list(layer.grid)}: the array has {height * width} tokens")
        return layer.grid
    if before is not None and height == 1 and before[1] * before[2] == width:
        return before[1:]
    return height, width


def as_spikes(array: Array, name: str) -> NDArray[np.uint8]:
    """Numbers as spikes. Raises UserError unless all are whole, from 0 to 255."""
    if array.dtype == np.bool_ or array.dtype == np.uint8:
        return array.astype(np.uint8)
    with np.errstate(invalid="ignore"):  # of what is no number, which the comparison finds
        spikes = array.astype(np.uint8)
    wrong = np.flatnonzero((spikes != array).reshape(-1))
    if len(wrong):
        found = array.reshape(-1)[wrong[0]]
        raise UserError(f"array {name!r} holds {found}; spikes are whole numbers from 0 to {MOST_VALUE}")
    return spikes
