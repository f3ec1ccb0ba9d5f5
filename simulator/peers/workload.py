"""What peers see of a trace: the layers that they can run, each as a matrix of spikes, and what they leave out."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..kernels.spike_matrix import (
    CODES,
    COUNTS,
    EXACT,
    LEFT,
    SEARCHED,
    SPIKES,
    TILE_COLUMNS,
    TILE_ROWS,
    SpikeMatrix,
    Tile,
    count_tiles,
)
from ..trace import Attention, AttentionForm, Conv, Head, Layer, Linear, Pool, Select, Stream, Trace, Window

Spikes = NDArray[np.uint8]
POINT = Window(1, 1)


@dataclass(frozen=True)
class Tiles:
    """Product sparsity of a matrix (Prosperity): all its tiles of 256 rows and 16 columns together.

    spikes: ones.  left: ones without those of each row's prefix.  exact: rows that have spikes, but none left.
    searched: rows with two spikes or more.
    """

    spikes: int
    left: int
    exact: int
    searched: int


@dataclass(frozen=True)
class Matrix:
    """The product of a layer: spikes[rows, columns] times weights[columns, outputs].

    maps: uint8[timesteps, height, width, inputs], 0 or 1.  window: over the map; a row for each timestep and place of
    it, a column for each input channel and tap, taps fastest (im2col).  outputs: channels of the layer.
    """

    maps: Spikes
    window: Window
    outputs: int

    @property
    def connected(self) -> bool:
        """Whether the window is the whole map, without padding: a fully connected layer on one token."""
        window, size = self.window, self.maps.shape[1:3]
        return (window.height, window.width) == size and not (window.pad_y or window.pad_x)

    @property
    def taps(self) -> int:
        """Of a convolution, how often im2col repeats a spike in the middle of the map; else 1."""
        return 1 if self.connected else self.window.taps

    @property
    def timesteps(self) -> int:
        """Timesteps."""
        return self.maps.shape[0]

    @property
    def places(self) -> int:
        """Positions of the window, or tokens."""
        high, wide = self.window.outputs(*self.maps.shape[1:3])
        return high * wide

    @property
    def rows(self) -> int:
        """Timesteps x places: M."""
        return self.timesteps * self.places

    @property
    def columns(self) -> int:
        """Inputs x taps: K."""
        return self.maps.shape[3] * self.window.taps

    @cached_property
    def spikes_by_row(self) -> NDArray[np.int64]:
        """int64[timesteps, places]: ones of each row."""
        window = self.window
        pads = (0, 0), (window.pad_y, window.pad_y), (window.pad_x, window.pad_x)
        counts = np.pad(self.maps.sum(axis=3, dtype=np.int64), pads)
        seen = np.lib.stride_tricks.sliding_window_view(counts, (window.height, window.width), axis=(1, 2))
        return seen[:, :: window.stride, :: window.stride].sum(axis=(3, 4)).reshape(self.timesteps, -1)

    @property
    def spikes(self) -> int:
        """Ones of the matrix."""
        return int(self.spikes_by_row.sum())

    @cached_property
    def tiles(self) -> Tiles:
        """Its product sparsity, with rows in the order of places, then of timesteps."""
        row = np.empty(self.columns, np.uint8)
        ones = TILE_COLUMNS + 1
        room = Tile(
            np.empty((-(-self.columns // TILE_COLUMNS), TILE_ROWS), np.uint16),
            np.zeros(CODES, np.int64),
            np.empty((ones, TILE_ROWS), np.int64),
            np.empty(ones, np.int64),
        )
        counts = np.zeros(COUNTS, np.int64)
        count_tiles(self.in_windows(self.maps), row, room, counts)
        return Tiles(*(int(counts[which]) for which in (SPIKES, LEFT, EXACT, SEARCHED)))

    def in_windows(self, maps: Spikes) -> SpikeMatrix:
        """Other maps, with other timesteps, under this window, as kernels take them."""
        window = self.window
        wide = window.outputs(*maps.shape[1:3])[1]
        size, pads = (window.height, window.width), (window.pad_y, window.pad_x)
        return SpikeMatrix(np.ascontiguousarray(maps), size, window.stride, pads, wide, self.places)


@dataclass(frozen=True)
class Mixing:
    """Attention: q, k and v uint8[timesteps, tokens, width], 0 or 1; width is heads x head width."""

    queries: Spikes
    keys: Spikes
    values: Spikes
    heads: int
    form: AttentionForm

    @property
    def timesteps(self) -> int:
        """Timesteps."""
        return self.queries.shape[0]

    @property
    def tokens(self) -> int:
        """Tokens that are left."""
        return self.queries.shape[1]

    @property
    def head_width(self) -> int:
        """Channels of a head."""
        return self.queries.shape[2] // self.heads

    @cached_property
    def products(self) -> tuple[tuple[Matrix, Matrix], ...]:
        """Prosperity's two small products per timestep and head; none where the form is `hadamard`.

        With more tokens S than head width d, K^T V (K^T[d, S] holds the spikes, V is taken for weights), then Q times
        that. Else q takes the place of v and v that of q, and the operands are read as [d, heads, S] though they lie
        as [S, heads, d]: so the published code does it, in which no workload has S <= d. Sizes and numbers of spikes
        are right all the same; which spikes share a row is not.
        """
        if self.form != "product":
            return ()
        more, fewer = max(self.tokens, self.head_width), min(self.tokens, self.head_width)
        last = self.queries if self.tokens > self.head_width else self.values
        shape = (self.timesteps, more, self.heads, fewer)
        first, second = (operand.reshape(shape).transpose(0, 2, 1, 3) for operand in (self.keys, last))
        return tuple(
            (_small(first[step, head].T, fewer), _small(second[step, head], fewer))
            for step, head in np.ndindex(self.timesteps, self.heads)
        )


def _small(spikes: Spikes, outputs: int) -> Matrix:
    """The product of a matrix spikes[rows, columns], in one timestep."""
    return Matrix(np.ascontiguousarray(spikes)[None, :, None], POINT, outputs)


@dataclass(frozen=True)
class Work:
    """A layer as peers run it, on one image.

    kind: conv, linear or attention.  neurons: that fire behind it, 0 of masked attention, which has its own.
    graded: events of a value above 1, which peers take for one spike.
    """

    name: str
    kind: str
    operand: Matrix | Mixing
    neurons: int
    graded: int

    @property
    def timesteps(self) -> int:
        """Timesteps."""
        return self.operand.timesteps

    @property
    def products(self) -> tuple[Matrix, ...]:
        """The matrices that it multiplies, of which densities are counted."""
        if isinstance(self.operand, Matrix):
            return (self.operand,)
        return tuple(matrix for pair in self.operand.products for matrix in pair)


def reason_left_out(trace: Trace, layer: Layer) -> str:
    """Why no peer runs a layer, in half a sentence; "" where some do."""
    if isinstance(layer, Pool):
        return "pools take no time in any peer"
    if isinstance(layer, Select):
        return "no peer selects tokens; they get those that are kept"
    if isinstance(layer, Head):
        return "the classifier on sums is left to the host"
    if trace.streams[layer.source].kind == "real":
        return "reads pixels, not spikes"
    return ""


def works_of(trace: Trace, image: int) -> Iterator[Work]:
    """The layers of an image that peers run, in order."""
    for layer in trace.layers:
        if isinstance(layer, (Conv, Linear, Attention)) and not reason_left_out(trace, layer):
            yield _work(trace, image, layer)


def _work(trace: Trace, image: int, layer: Conv | Linear | Attention) -> Work:
    source, target = trace.streams[layer.source], trace.streams[layer.target]
    values = _values(trace, source, image)
    tokens = target.tokens
    if layer.selector >= 0:
        values = values[:, trace.kept[layer.selector][image].astype(np.int64)]
        tokens = values.shape[1]
    graded, spikes = int((values > 1).sum()), (values > 0).astype(np.uint8)
    neurons = tokens * target.channels
    operand: Matrix | Mixing
    if isinstance(layer, Attention):
        queries, keys, values = np.split(spikes, 3, axis=2)
        operand = Mixing(queries, keys, values, layer.heads, layer.form)
        neurons = neurons if layer.form == "product" else 0
    elif isinstance(layer, Conv):
        shape = (spikes.shape[0], source.height, source.width, source.channels)
        operand = Matrix(spikes.reshape(shape), layer.geometry, layer.weights.output_channels)
    else:
        operand = Matrix(spikes[:, :, None], POINT, layer.weights.output_channels)
    return Work(layer.name, type(layer).__name__.lower(), operand, neurons, graded)


def _values(trace: Trace, stream: Stream, image: int) -> NDArray[np.uint8]:
    """uint8[timesteps, tokens, channels] of an image: the value of each event, 0 where there is none."""
    assert stream.events is not None, "only pools read what has no events"
    events, steps = stream.events, trace.numerics.timesteps
    rows = steps * stream.tokens
    offsets = events.offsets[image * rows : (image + 1) * rows + 1]
    some = slice(int(offsets[0]), int(offsets[-1]))
    values = np.zeros((rows, stream.channels), np.uint8)
    at = np.repeat(np.arange(rows), np.diff(offsets))
    values[at, events.channels[some]] = 1 if events.values is None else events.values[some]
    return values.reshape(steps, stream.tokens, stream.channels)
