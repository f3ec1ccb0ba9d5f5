"""The contract between a trained network and the simulated chip: what must happen, with no cycle, bank or burst in it.

A trace holds an integer spiking network (layer graph, sparse weights, thresholds), the images it saw, every spike that
it fired, which tokens its selectors kept, and its logits. `model/export.py` writes it; the simulator owns and reads it.
A quantised ANN of the same layers is a trace too (section M of ARCHITECTURE.md): its "spikes" are 8-bit activations.

Spikes lie in *streams*. A stream covers a grid of tokens (pixels of a map are tokens too); its events are grouped in
rows, one per (image, timestep, token) in that order, channels ascending. Rows always span the whole grid: tokens that
a selector has dropped are told apart by `Trace.kept`. Their rows hold the *shadow* (the dropped token carried on
through the later layers, as a chip without token skip computes it), or are empty where `Trace.shadow` is False.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .files import checksum, load_tensors, save_tensors
from .layers import (
    ACTIVATION_MAX,
    DECAY_BITS,
    HIDDEN_SHIFT_MAX,
    KEEP_ALL,
    KEEP_HALF,
    LAYER_KINDS,
    MULTIPLIER_MAX,
    SHIFT_MAX,
    SIZE_MAX,
    TABLE_ENTRIES,
    THETA_MAX,
    TIMESTEPS_MAX,
    Attention,
    AttentionForm,
    Conv,
    Head,
    HostUnit,
    HostWork,
    Layer,
    Linear,
    Membrane,
    Neuron,
    Numerics,
    Pool,
    PoolForm,
    ProductOrder,
    Requant,
    Select,
    SelectForm,
    Weights,
    Window,
)

__all__ = [
    "ACTIVATION_MAX",
    "DECAY_BITS",
    "HIDDEN_SHIFT_MAX",
    "KEEP_ALL",
    "KEEP_HALF",
    "KIND",
    "LAYER_KINDS",
    "MULTIPLIER_MAX",
    "SHIFT_MAX",
    "SIZE_MAX",
    "TABLE_ENTRIES",
    "THETA_MAX",
    "TIMESTEPS_MAX",
    "VERSION",
    "Attention",
    "AttentionForm",
    "Conv",
    "Events",
    "Head",
    "HostUnit",
    "HostWork",
    "InputKind",
    "Layer",
    "Level",
    "Linear",
    "Membrane",
    "Neuron",
    "Numerics",
    "Pool",
    "PoolForm",
    "ProductOrder",
    "Requant",
    "Select",
    "SelectForm",
    "Stream",
    "Trace",
    "Weights",
    "Window",
    "load_trace",
    "save_trace",
]

KIND, VERSION = "trace", 1

InputKind = Literal["real", "integer", "binary"]
Level = Literal["exact", "replay"]


@dataclass(frozen=True)
class Events:
    """Ragged spike events: rows of ascending channels, flat, with offsets; never padded.

    offsets: int64[rows + 1], monotone, from 0 to the number of events.
    channels: uint16[events], ascending within a row.
    values: uint8[events], 1 or more; None where every value is 1.
    """

    offsets: NDArray[np.int64]
    channels: NDArray[np.uint16]
    values: NDArray[np.uint8] | None = None

    @staticmethod
    def from_dense(dense: NDArray[Any]) -> "Events":
        """Events of an integer array dense[..., channels] whose leading axes, flattened, are the rows."""
        flat = dense.reshape(-1, dense.shape[-1])
        spiking = flat != 0
        at = np.flatnonzero(spiking)
        offsets = np.zeros(flat.shape[0] + 1, np.int64)
        np.cumsum(np.count_nonzero(spiking, axis=1), out=offsets[1:])
        values = flat.reshape(-1)[at].astype(np.uint8)
        return Events(offsets, (at % flat.shape[1]).astype(np.uint16), None if (values == 1).all() else values)

    def to_dense(self, channels: int) -> NDArray[np.uint8]:
        """The inverse of `from_dense`: uint8[rows, channels]."""
        dense = np.zeros((len(self.offsets) - 1, channels), np.uint8)
        rows = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        dense[rows, self.channels] = 1 if self.values is None else self.values
        return dense


@dataclass(frozen=True)
class Stream:
    """A named population of spikes on a grid of height x width tokens.

    kind `real` is the pixel stream: it has no events, its values are `Trace.pixels`. Of a replay nobody may have
    recorded what a layer made: a stream that only pools read, or nothing, may be without events.
    """

    name: str
    kind: InputKind
    channels: int
    height: int
    width: int
    events: Events | None = None

    @property
    def tokens(self) -> int:
        """Grid positions: height x width."""
        return self.height * self.width


@dataclass(frozen=True)
class Trace:
    """An integer network and what it did on some images; see the module's text.

    level: `exact`, the network is all here, and a chip that computes it reproduces every spike and logit; `replay`,
    spikes and sparsity are real, but values are not reproduced: of weights only the pattern may be known, biases,
    thresholds and what feeds nothing may be missing, and logits are the model's own.
    replay_reason: what keeps a replay from being exact, in a sentence.
    pixels: int8[images, channels, height, width], zero-point 0, or None where a foreign trace has none.
    kept: one uint16[images, keep] per selector: original ids of the kept tokens, ascending.
    logits: int64[images, classes]; without a head spike counts: what each channel of the last layer's target adds up to
    over the timesteps and the tokens that are left.  labels: int64[images], or None where unknown.
    """

    numerics: Numerics
    streams: Mapping[str, Stream]
    layers: tuple[Layer, ...]
    images: int
    pixels: NDArray[np.int8] | None
    kept: tuple[NDArray[np.uint16], ...]
    logits: NDArray[np.int64] | None
    labels: NDArray[np.int64] | None = None
    shadow: bool = True
    provenance: Mapping[str, str] = field(default_factory=dict)
    level: Level = "exact"
    replay_reason: str = ""
    host: tuple[HostWork, ...] = ()

    def __post_init__(self) -> None:
        from .trace_check import check_trace

        check_trace(self)

    @cached_property
    def sha256(self) -> str:
        """Checksum of the whole content, as it stands in a saved file."""
        from .trace_file import flatten_trace

        tensors, header = flatten_trace(self)
        return checksum(tensors, {"kind": KIND, "version": VERSION, "header": header})

    @cached_property
    def derived(self) -> dict[Any, Any]:
        """What follows from the trace alone and was found once, by what it is; no part of its content (bounds.py)."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy for another process holds the content alone: what was found out about it is found again there."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def layer(self, name: str) -> Layer:
        """The layer of that name; raises KeyError."""
        return next(layer for layer in self.layers if layer.name == name)

    def kept_mask(self, selector: int, tokens: int) -> NDArray[np.bool_]:
        """bool[images, tokens]: tokens that are left after a selector; all of them for selector -1."""
        mask = np.ones((self.images, tokens), np.bool_)
        if selector >= 0:
            mask[:] = False
            np.put_along_axis(mask, self.kept[selector].astype(np.int64), True, axis=1)
        return mask

    def accuracy(self) -> float | None:
        """Share of the images whose largest logit is their label; None without labels or logits."""
        if self.labels is None or self.logits is None:
            return None
        return float((self.logits.argmax(1) == self.labels).mean())

    def first(self, images: int) -> "Trace":
        """The same trace cut to its first `images` images."""
        count = min(images, self.images)
        rows = {name: count * self.numerics.timesteps * stream.tokens for name, stream in self.streams.items()}
        return replace(
            self,
            images=count,
            streams={name: _cut(stream, rows[name]) for name, stream in self.streams.items()},
            pixels=None if self.pixels is None else self.pixels[:count],
            kept=tuple(kept[:count] for kept in self.kept),
            logits=None if self.logits is None else self.logits[:count],
            labels=None if self.labels is None else self.labels[:count],
        )


def _cut(stream: Stream, rows: int) -> Stream:
    if stream.events is None:
        return stream
    end = stream.events.offsets[rows]
    values = None if stream.events.values is None else stream.events.values[:end]
    return replace(stream, events=Events(stream.events.offsets[: rows + 1], stream.events.channels[:end], values))


def save_trace(trace: Trace, path: str | Path) -> str:
    """Write a trace as one safetensors file, whole or not at all; returns its checksum."""
    from .trace_file import flatten_trace

    tensors, header = flatten_trace(trace)
    return save_tensors(path, KIND, VERSION, tensors, header)


def load_trace(path: str | Path) -> Trace:
    """Read and validate a trace file.

    Raises UserError where the file is missing, damaged, of another kind or newer, or its content breaks a rule of
    `trace_check`.
    """
    from .trace_file import restore_trace

    tensors, header, _ = load_tensors(path, KIND, VERSION)
    return restore_trace(str(path), tensors, header)
