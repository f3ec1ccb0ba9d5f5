"""Spikes of the model as the trace's streams: by image, timestep, token and channel of the neurons that fired them."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .currents import is_sum
from .fields import Field, NotFollowedError, channel_of, image_of, time_of, token_of
from .layout import Layout
from .places import Places
from .sites import Site, Sites
from .values import Content, Spikes, Value


@dataclass(eq=False)
class Draft:
    """A stream to be.

    spikes: [images, timesteps, tokens, channels], packed.  pixels: of real input, in place of them: float32[images,
    channels, height, width].
    carriers: the values that it is made of.  made_by: their site, where they have one.
    shift: the first of its channels, where they are a part of a layer's outputs.
    unit: what a count of 1 stands for in the model: of the sums of an average pool a part of a spike.
    encoded: of input that is spikes, whether a reader has said what its tokens and channels are.
    """

    name: str
    content: Content
    channels: int
    height: int
    width: int
    carriers: frozenset[Value]
    made_by: Site | None = None
    spikes: Spikes | None = None
    pixels: NDArray[np.float32] | None = None
    encoded: bool = False
    unit: float = 1.0
    shift: int = 0

    @property
    def carrier(self) -> Value:
        """The first of the values that it is made of."""
        return first_made(self.carriers)

    @property
    def dense(self) -> NDArray[np.uint8]:
        """uint8[images, timesteps, tokens, channels]. Raises ValueError where it is pixels."""
        if self.spikes is None:
            raise ValueError(f"{self.name}: real values")
        return self.spikes.dense()

    @property
    def tokens(self) -> int:
        """Grid positions."""
        return self.height * self.width


def first_made(values: Iterable[Value]) -> Value:
    """The one that the model made before the others."""
    return min(values, key=lambda value: value.serial)


def carriers_of(value: Value) -> frozenset[Value]:
    """The values that computed something, behind all moves."""
    if value.fixed:
        return frozenset()
    if not value.moves:
        return frozenset({value})
    return frozenset().union(*(carriers_of(parent) for parent in value.parents))


@dataclass
class Streams:
    """Every stream of a recording, found when something reads it.

    found: by the values that they are made of and the first of their channels.
    """

    sites: Sites
    places: Places
    images: int
    timesteps: int
    found: dict[tuple[frozenset[Value], int], Draft] = field(default_factory=dict)

    def take(self, values: list[Value], name: str) -> Draft:
        """The stream that these values, one per call of whoever reads them, are made of."""
        carriers = frozenset().union(*map(carriers_of, values))
        key = carriers, self._first_channel(values, carriers)
        if key not in self.found:
            self.found[key] = self._make(values, carriers, name)
        return self.found[key]

    def holding(self, carriers: frozenset[Value]) -> Draft | None:
        """The first stream that these values, or these among others, make."""
        return next((draft for (key, _), draft in self.found.items() if carriers <= key), None)

    def _first_channel(self, values: list[Value], carriers: frozenset[Value]) -> int:
        """Of neurons that are not known one by one only those were seen that someone reads."""
        maker = self.sites.of(first_made(carriers)) if carriers else None
        seen = values[0].seen
        if (maker is not None and maker.kind != "other") or seen is None or not values[0].spiking:
            return 0
        try:
            return self.places.of(seen).smallest(channel_of)
        except NotFollowedError:
            return 0

    def _make(self, values: list[Value], carriers: frozenset[Value], name: str) -> Draft:
        makers = {self.sites.of(carrier) for carrier in carriers}
        maker = makers.pop() if len(makers) == 1 else None
        if maker is not None and maker.kind == "neuron":
            values, name = maker.calls, maker.path
        elif maker is not None and maker.kind == "pool":
            name = maker.path or name
        contents = [value.content for value in values if value.content is not None]
        summed = maker is None and any(is_sum(carrier, self.sites) for carrier in carriers)
        content: Content = (
            "real" if summed or "real" in contents or not contents else "integer" if "integer" in contents else "binary"
        )
        if content == "real":
            return Draft(name, "real", 0, 0, 0, carriers, maker)
        seen = [value.seen for value in values]
        # What has no timestep of its own was made once for each call of its reader, or is the same at all of them.
        parts = [
            (self.places.of(value).timed(call, len(seen)), value)
            for call, value in enumerate(seen)
            if value is not None
        ]
        tokens, channels = (1 + max(layout.largest(field) for layout, _ in parts) for field in (token_of, channel_of))
        shift = min(layout.smallest(channel_of) for layout, _ in parts)
        channels -= shift
        height, width = self._grid(first_made(carriers), tokens)
        dense = np.zeros((self.images, self.timesteps, tokens, channels), np.uint8)
        for layout, value in parts:
            _scatter(dense, layout, value, shift)
        spikes = Spikes.pack(dense) if content == "binary" else Spikes.of(torch.from_numpy(dense))
        return Draft(name, content, channels, height, width, carriers, maker, spikes, shift=shift)

    def _grid(self, value: Value, tokens: int) -> tuple[int, int]:
        """Height and width of the map that the tokens are the positions of; one row where they never were a map."""
        while True:
            site = self.sites.of(value)
            if site is not None and site.kind in ("synapse", "pool") and len(value.shape) == 4:
                grid = value.shape[2:]
                if grid[0] * grid[1] == tokens:
                    return grid[0], grid[1]
            live = [parent for parent in value.parents if not parent.fixed]
            if not live:
                return 1, tokens
            value = live[0]


@dataclass(frozen=True)
class Seen:
    """How a reader sees a stream: `same` (tokens and channels as they are), `flat` (all of a row at once), or `other`.

    order: int64[inputs]: for `same` the channel of each of the reader's inputs, for `flat` its place in a row.
    """

    form: str
    order: Tensor


def seen_as_maps(layout: Layout, draft: Draft) -> Seen:
    """A convolution's operand [stack, channels, …]: every row must hold the whole map in the same way."""
    grid = range(2, len(layout.parts))
    tokens = torch.full((1,), layout.first(token_of))
    for axis in grid:
        tokens = (tokens[:, None] + layout.change(axis, token_of)).reshape(-1)
    channels = channel_of(layout.axis(1)) - draft.shift
    if not layout.constant([0], token_of, channel_of):
        return Seen("other", channels)
    in_order = torch.equal(tokens, torch.arange(draft.tokens)) and layout.constant(grid, channel_of)
    as_fired = len(grid) == 1 or tuple(layout.shape[2:]) == (draft.height, draft.width)
    if in_order and as_fired and layout.constant([1], token_of) and _all_of(channels, draft):
        return Seen("same", channels)
    if len(tokens) == 1 and len(channels) == draft.tokens * draft.channels:
        return Seen("flat", layout.axis(1) - draft.shift)
    return Seen("other", channels)


def seen_as_rows(layout: Layout, draft: Draft) -> Seen:
    """A linear layer's operand [rows, inputs]: one token each, or a flattened map each."""
    channels = channel_of(layout.axis(1)) - draft.shift
    if not layout.constant([0], channel_of):
        return Seen("other", channels)
    if layout.constant([1], token_of) and _all_of(channels, draft):
        return Seen("same", channels)
    if len(channels) == draft.tokens * draft.channels and layout.constant([0], token_of):
        return Seen("flat", layout.axis(1) - draft.shift)
    return Seen("other", channels)


def _all_of(channels: Tensor, draft: Draft) -> bool:
    """Whether every channel of the stream is read once."""
    return sorted(channels.tolist()) == list(range(draft.channels))


def _scatter(dense: NDArray[np.uint8], layout: Layout, value: Value, shift: int) -> None:
    """Put a value's spikes where they belong: dense[image, timestep, token, channel - shift].

    An element's address there is a sum of one number per axis, as its place is; along most axes it grows evenly, and
    then a strided view of `dense` has the shape of the value.
    """
    assert value.spikes is not None
    spikes = value.spikes.dense()
    fields = tuple(zip((image_of, time_of, token_of, channel_of), dense.strides, strict=True))
    first = sum(max(layout.first(field), 0) * stride for field, stride in fields)  # what is static counts as timestep 0
    first -= shift * dense.strides[3]
    parts = [_steps(layout, axis, fields) for axis in range(spikes.ndim)]
    assert first + sum(part.min() for part in parts) >= 0  # a strided view knows no bounds of its own
    steps = range(dense.shape[1]) if layout.static else (0,)  # static: the same at all timesteps
    assert first + steps[-1] * dense.strides[1] + sum(part.max() for part in parts) < dense.size
    strides = [_stride(part) for part in parts]
    for step in steps:
        flat = dense.reshape(-1)[first + step * dense.strides[1] :]
        if None not in strides:
            np.lib.stride_tricks.as_strided(flat, spikes.shape, [stride or 0 for stride in strides])[...] = spikes
        else:
            flat[functools.reduce(np.add.outer, parts)] = spikes


def _steps(layout: Layout, axis: int, fields: tuple[tuple[Field, int], ...]) -> NDArray[np.int64]:
    """int64[size], bytes: how far from the first position of an axis the others lie."""
    total = np.zeros(len(layout.parts[axis]), np.int64)
    for field_of, stride in fields:
        total += layout.change(axis, field_of).numpy() * stride
    return total


def _stride(part: NDArray[np.int64]) -> int | None:
    """The distance of one position to the next, where it is always the same."""
    if len(part) == 1:
        return 0
    steps = np.diff(part)
    return int(steps[0]) if bool((steps == steps[0]).all()) else None
