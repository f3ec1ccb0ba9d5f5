"""Where a trace meets a chip: which core holds which outputs and weights, which route each event takes.

Everything that can be decided before the first cycle is decided here, once, into flat arrays; what does not fit is
refused with the numbers. Rules P, R and F2 of ARCHITECTURE.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hardware import Chip
from .kernels.encoder import Senders
from .kernels.weight_memory import BITMAP, CSR, DENSE, EventCosts, RowFormat, RowSizes, measure_events, measure_rows
from .routes import Trees, build_trees
from .trace import Attention, Conv, Head, Layer, Linear, Pool, Select, Stream, Trace, Weights

FORMATS = {"dense": DENSE, "bitmap": BITMAP, "csr": CSR}


@dataclass(frozen=True)
class Home:
    """Where a stream's channels lie (P2): owner int32[channels] counts cores, or attention units."""

    at_attention: bool
    owner: NDArray[np.int32]


@dataclass(frozen=True)
class Taps:
    """Which kernel taps stay inside the map (R5).

    border: int32[tokens], class of each token.  valid: bool[classes, taps].
    reach: int64[taps], output position minus input position.  closes: int32[tokens], outputs that a token closes (C4).
    """

    border: NDArray[np.int32]
    valid: NDArray[np.bool_]
    reach: NDArray[np.int64]
    closes: NDArray[np.int32]


@dataclass(frozen=True)
class Stored:
    """A layer's weights on the cores: rows as they lie, and what an event costs."""

    weights: Weights
    rows: RowSizes
    costs: EventCosts
    taps: Taps
    words: NDArray[np.int64]  # [cores]
    pointers: NDArray[np.int64]  # [cores]


@dataclass(frozen=True)
class Phase:
    """Who sends the source stream's flits to whom, over which trees (P3, F2, F3)."""

    producers: NDArray[np.int32]  # router of each
    consumers: NDArray[np.int32]  # router of each
    consumer_cores: NDArray[np.int32]  # core number of each, where they are cores
    expected: NDArray[np.int32]  # end-of-token flits per step and consumer
    senders: Senders
    trees: Trees


@dataclass(frozen=True)
class LayerPlan:
    """A layer on the chip. bounds: int64[cores + 1], first output of each core; phase and stored may be absent."""

    layer: Layer
    source: Stream
    target: Stream | None
    bounds: NDArray[np.int64]
    phase: Phase | None = None
    stored: Stored | None = None
    unit_bytes: int = 0  # selector weights in the token unit
    weight_bytes: int = 0  # all weights and pointers, as one transfer brings them (D2)

    @cached_property
    def owned(self) -> NDArray[np.int64]:
        """int64[cores]: output channels of each core."""
        return np.diff(self.bounds)

    @cached_property
    def service(self) -> NDArray[np.int32]:
        """R4, C2: cycles of each event on each consumer of the phase, int32[events, consumers]."""
        assert self.phase is not None
        if self.stored is None:
            return np.ones((self.source.channels, len(self.phase.consumers)), np.int32)
        costs = self.stored.costs
        cycles = np.maximum(1, np.maximum(costs.accumulate, costs.fetch))[:, self.phase.consumer_cores]
        return np.ascontiguousarray(cycles, np.int32)


@dataclass(frozen=True)
class Placement:
    """All layers of a trace on a chip, and the width of each stream's values in bits."""

    trace: Trace
    chip: Chip
    plans: tuple[LayerPlan, ...]
    value_bits: dict[str, int]
    homes: dict[str, Home]


def cores_of(channels: int, cores: int) -> NDArray[np.int64]:
    """P1: int64[cores + 1], first channel of each core; core of channel c is floor(c x cores / channels)."""
    owner = np.arange(channels) * cores // channels
    return np.searchsorted(owner, np.arange(cores + 1)).astype(np.int64)


def place(trace: Trace, chip: Chip) -> Placement:
    """Decide where everything lies and runs. Raises UserError for what does not fit or cannot be run (P4)."""
    from .capacity import check_capacity

    homes: dict[str, Home] = {}
    plans: list[LayerPlan] = []
    for layer in trace.layers:
        source = trace.streams[layer.source]
        if source.kind != "real" and source.name not in homes:
            homes[source.name] = Home(False, _owners(source.channels, chip.cores))
        plan = _plan_layer(trace, chip, layer, homes)
        plans.append(plan)
        if plan.target is not None:
            homes[layer.target] = _home_of_target(chip, layer, plan, homes)
    values = largest_values(trace)
    placement = Placement(trace, chip, tuple(plans), {name: v.bit_length() for name, v in values.items()}, homes)
    check_capacity(placement, values)
    return placement


def largest_values(trace: Trace) -> dict[str, int]:
    """Largest value that each stream can hold by its making: 1 per spike, plus its residual's; pixels by their bits."""
    largest: dict[str, int] = {}
    for stream in trace.streams.values():
        if stream.kind == "real":
            largest[stream.name] = 2 ** (trace.numerics.pixel_bits - 1)
        elif stream.events is not None and stream.events.values is not None and len(stream.events.values):
            largest[stream.name] = int(stream.events.values.max())
        else:
            largest[stream.name] = 1
    for layer in trace.layers:
        if layer.target:
            largest[layer.target] = 1 + (largest[layer.residual] if layer.residual else 0)
    return largest


def _owners(channels: int, cores: int) -> NDArray[np.int32]:
    return (np.arange(channels) * cores // channels).astype(np.int32)


def _home_of_target(chip: Chip, layer: Layer, plan: LayerPlan, homes: dict[str, Home]) -> Home:
    assert plan.target is not None
    channels = plan.target.channels
    if isinstance(layer, Attention):
        head = np.arange(channels) // (channels // layer.heads)
        return Home(True, (head % chip.attention.units).astype(np.int32))
    return Home(False, _owners(channels, chip.cores))


def _plan_layer(trace: Trace, chip: Chip, layer: Layer, homes: dict[str, Home]) -> LayerPlan:
    source = trace.streams[layer.source]
    target = trace.streams.get(layer.target)
    parts: dict[str, Any] = {"layer": layer, "source": source, "target": target}
    if isinstance(layer, (Conv, Linear, Head)):
        bounds = cores_of(layer.weights.output_channels, chip.cores)
        stored = store_weights(chip, layer.weights, bounds, source, isinstance(layer, Conv))
        parts |= {"bounds": bounds, "stored": stored}
        word_bits = int(stored.words.sum()) * chip.core.weight_word_bits
        parts["weight_bytes"] = -(-word_bits // 8) + 4 * int(stored.pointers.sum())
        if source.kind != "real":
            active = np.flatnonzero(np.diff(bounds))
            routers = np.array(chip.core_routers, np.int32)[active]
            parts["phase"] = _plan_phase(chip, homes[source.name], routers, active, None)
        return LayerPlan(**parts)
    if isinstance(layer, Select):
        routers = np.array(chip.service_routers[:1], np.int32)
        phase = _plan_phase(chip, homes[source.name], routers, None, None)
        unit_bytes = _unit_bytes(chip, layer)
        parts |= {"unit_bytes": unit_bytes, "weight_bytes": unit_bytes}
        return LayerPlan(**parts, bounds=np.zeros(chip.cores + 1, np.int64), phase=phase)
    if isinstance(layer, Attention):
        width = source.channels // 3
        head = np.arange(source.channels) % width // (width // layer.heads)
        used = min(layer.heads, chip.attention.units)
        routers = np.array(chip.service_routers[1 : 1 + used], np.int32)
        phase = _plan_phase(chip, homes[source.name], routers, None, (head % chip.attention.units).astype(np.int64))
        return LayerPlan(**parts, bounds=np.zeros(chip.cores + 1, np.int64), phase=phase)
    assert isinstance(layer, Pool)
    return LayerPlan(**parts, bounds=cores_of(source.channels, chip.cores))


def hidden_weights(chip: Chip, layer: Select) -> int:
    """E of rule T2: hidden weights that the scorer multiplies."""
    if layer.hidden is None:
        return 0
    return layer.hidden.size if chip.core.weight_format == "dense" else layer.hidden.nonzeros


def _unit_bytes(chip: Chip, layer: Select) -> int:
    """D2: bytes of a selector's weights."""
    if layer.hidden is None:
        return 0
    bits = chip.core.weight_bits + (0 if chip.core.weight_format == "dense" else chip.core.index_bits)
    return -(-hidden_weights(chip, layer) * bits // 8) + layer.hidden.output_channels


def store_weights(chip: Chip, weights: Weights, bounds: NDArray[np.int64], source: Stream, conv: bool) -> Stored:
    """Lay a layer's weights out on the cores and tabulate what every event costs (R1 to R5)."""
    core = chip.core
    layout = RowFormat(
        FORMATS[core.weight_format],
        core.weight_bits,
        core.index_bits,
        core.weight_word_bits,
        core.weight_banks,
        core.lanes,
        core.accumulator_banks,
    )
    taps = find_taps(source.height, source.width, round(weights.taps**0.5) if conv else 1)
    rows = measure_rows(layout, weights.pointers, weights.outputs, bounds)
    costs = measure_events(layout, rows, weights.outputs, bounds, taps.valid, weights.input_channels)
    words = rows.words.sum(axis=0, dtype=np.int64)
    pointers = np.where(np.diff(bounds) > 0, len(weights.pointers) - 1, 0).astype(np.int64)
    if core.weight_format == "dense":
        pointers[:] = 0
    return Stored(weights, RowSizes(*rows), EventCosts(*costs), taps, words, pointers)


def find_taps(height: int, width: int, kernel: int) -> Taps:
    """The border classes of a map under a kernel x kernel convolution with padding kernel // 2 (R5, C4)."""
    pad = kernel // 2

    def along(size: int) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        at = np.arange(size)
        inside = (at[:, None] - np.arange(kernel) + pad >= 0) & (at[:, None] - np.arange(kernel) + pad < size)
        closes = np.bincount(np.minimum(at + pad, size - 1), minlength=size).astype(np.int32)
        return inside, closes

    rows, closed_rows = along(height)
    columns, closed_columns = along(width)
    pattern = (rows[:, None, :, None] & columns[None, :, None, :]).reshape(height * width, kernel * kernel)
    valid, border = np.unique(pattern, axis=0, return_inverse=True)
    ky, kx = np.divmod(np.arange(kernel * kernel), kernel)
    reach = (pad - ky) * width + (pad - kx)
    return Taps(
        border.reshape(-1).astype(np.int32),
        np.ascontiguousarray(valid),
        reach.astype(np.int64),
        (closed_rows[:, None] * closed_columns[None, :]).reshape(-1),
    )


def _plan_phase(
    chip: Chip,
    home: Home,
    consumers: NDArray[np.int32],
    cores: NDArray[Any] | None,
    unit_of_channel: NDArray[np.int64] | None,
) -> Phase:
    """Trees from the producers of a stream to consumers: multicast to all, or to the unit of each channel (F2)."""
    routers = chip.service_routers[1:] if home.at_attention else chip.core_routers
    present = np.unique(home.owner)
    producer = np.searchsorted(present, home.owner).astype(np.int32)
    branches: list[tuple[int, Sequence[int]]] = []
    tree_of_channel = np.zeros(len(home.owner), np.int16)
    end_start = [0]
    expected = np.zeros(len(consumers), np.int32)
    for index, owner in enumerate(present):
        mine = producer == index
        if unit_of_channel is None:
            tree_of_channel[mine] = len(branches)
            branches.append((routers[owner], consumers.tolist()))
            expected += 1
        else:
            for unit in np.unique(unit_of_channel[mine]):
                tree_of_channel[mine & (unit_of_channel == unit)] = len(branches)
                branches.append((routers[owner], [int(consumers[unit])]))
                expected[unit] += 1
        end_start.append(len(branches))
    senders = Senders(
        producer,
        tree_of_channel,
        np.arange(len(branches), dtype=np.int16),
        np.array(end_start, np.int64),
        2**chip.mesh.value_bits - 1,
    )
    return Phase(
        np.array([routers[owner] for owner in present], np.int32),
        consumers,
        (np.zeros(0) if cores is None else cores).astype(np.int32),
        expected,
        senders,
        build_trees(chip, branches),
    )
