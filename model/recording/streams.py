"""Spikes of the model as the trace's streams: by image, timestep, token and channel of the neurons that fired them."""

import functools
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .currents import is_sum
from .fields import TIME, TIME_BITS, TOKEN, channel_of, image_of, time_of, token_of
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


def carriers_of(value: Value) -> frozenset[Value]:
    """The values that computed something, behind all moves."""
    if value.fixed:
        return frozenset()
    if not value.moves:
        return frozenset({value})
    return frozenset().union(*(carriers_of(parent) for parent in value.parents))


@dataclass
class Streams:
    """Every stream of a recording, found when something reads it."""

    sites: Sites
    places: Places
    images: int
    timesteps: int
    found: dict[frozenset[Value], Draft] = field(default_factory=dict)

    def take(self, values: list[Value], name: str) -> Draft:
        """The stream that these values, one per call of whoever reads them, are made of."""
        carriers = frozenset().union(*map(carriers_of, values))
        if carriers not in self.found:
            self.found[carriers] = self._make(values, carriers, name)
        return self.found[carriers]

    def _make(self, values: list[Value], carriers: frozenset[Value], name: str) -> Draft:
        contents = [value.spikes.content for value in values if value.spikes is not None]
        makers = {self.sites.of(carrier) for carrier in carriers}
        maker = makers.pop() if len(makers) == 1 else None
        if maker is not None and maker.kind == "neuron":
            values, name = maker.calls, maker.path
            contents = [value.spikes.content for value in values if value.spikes is not None]
        elif maker is not None and maker.kind == "pool":
            name = maker.path or name
        summed = maker is None and any(is_sum(carrier, self.sites) for carrier in carriers)
        content: Content = (
            "real" if summed or "real" in contents or not contents else "integer" if "integer" in contents else "binary"
        )
        if content == "real":
            return Draft(name, "real", 0, 0, 0, carriers, maker)
        parts = [(self.places.of(value), value) for value in values]
        sizes = [layout.sizes() for layout, _ in parts]
        tokens, channels = max(size[0] for size in sizes), max(size[1] for size in sizes)
        height, width = self._grid(next(iter(carriers)), tokens)
        dense = np.zeros((self.images, self.timesteps, tokens, channels), np.uint8)
        for layout, value in parts:
            _scatter(dense, layout, value)
        return Draft(name, content, channels, height, width, carriers, maker, Spikes.of(torch.from_numpy(dense)))

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

    order: int64[inputs], place (token << 20 | channel) of each input of the reader; for `same` one token's.
    """

    form: str
    order: Tensor


def seen_as_maps(layout: Layout, draft: Draft) -> Seen:
    """A convolution's operand [stack, channels, …]: every row must hold the whole map in the same way."""
    _, channels, *grid = layout.parts
    base = layout.base & (2**TIME - 1)
    if bool((layout.parts[0] & (2**TIME - 1)).any()):
        return Seen("other", channels)
    tokens = torch.zeros(1, dtype=torch.int64)
    for part in grid:
        tokens = (tokens[:, None] + part).reshape(-1)
    in_order = torch.equal(tokens, torch.arange(draft.tokens) << TOKEN) and base == 0
    if in_order and not bool(token_of(channels).any()) and _all_of(channels, draft):
        return Seen("same", channels)
    if len(tokens) == 1 and len(channels) == draft.tokens * draft.channels:
        return Seen("flat", base + channels)
    return Seen("other", channels)


def seen_as_rows(layout: Layout, draft: Draft) -> Seen:
    """A linear layer's operand [rows, inputs]: one token each, or a flattened map each."""
    rows, inputs = layout.axis(0) & (2**TIME - 1), layout.parts[1]
    one_token = not bool(token_of(inputs).any()) and not bool(channel_of(rows).any())
    if one_token and _all_of(inputs, draft):
        return Seen("same", inputs)
    if len(inputs) == draft.tokens * draft.channels and not bool(rows.any()):
        return Seen("flat", inputs)
    return Seen("other", inputs)


def _all_of(channels: Tensor, draft: Draft) -> bool:
    """Whether every channel of the stream is read once."""
    return sorted(channels.tolist()) == list(range(draft.channels))


def _scatter(dense: NDArray[np.uint8], layout: Layout, value: Value) -> None:
    """Put a value's spikes where they belong: dense[image, timestep, token, channel].

    An element's address there is a sum of one number per axis, as its place is; along most axes it grows evenly, and
    then a strided view of `dense` has the shape of the value.
    """
    assert value.spikes is not None
    spikes = value.spikes.dense()
    first, *parts = (_addresses(part, dense) for part in (torch.tensor([layout.base]), *layout.parts))
    steps = range(dense.shape[1]) if layout.static else (0,)  # static: the same at all timesteps
    strides = [_stride(part) for part in parts]
    for step in steps:
        start = int(first[0]) + step * dense.strides[1]
        flat = dense.reshape(-1)[start:]
        if None not in strides:
            np.lib.stride_tricks.as_strided(flat, spikes.shape, [stride or 0 for stride in strides])[...] = spikes
        else:
            flat[functools.reduce(np.add.outer, parts)] = spikes


def _addresses(places: Tensor, dense: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Places as distances in `dense`; what is static counts as timestep 0."""
    times = time_of(places).clamp(min=0) if len(places) == 1 else (places >> TIME) & (2**TIME_BITS - 1)
    fields = image_of(places), times, token_of(places), channel_of(places)
    distances = np.zeros(len(places), np.int64)
    for field_, stride in zip(fields, dense.strides, strict=True):
        distances += field_.numpy() * stride
    return distances


def _stride(part: NDArray[np.int64]) -> int | None:
    """The distance of one position to the next, where it is always the same."""
    if len(part) == 1:
        return 0
    steps = np.diff(part)
    return int(steps[0]) if bool((steps == steps[0]).all()) else None
