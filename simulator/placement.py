"""Where a trace meets a chip: which core holds which outputs and weights, which route each event takes.

Everything that can be decided before the first cycle is decided here, once, into flat arrays; what does not fit is
refused with the numbers. Rules P, R and F2 of ARCHITECTURE.md.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cuts import Cut, Home, lay_out
from .hardware import Chip
from .kernels.weight_memory import BITMAP, CSR, DENSE, EventCosts, RowFormat, RowSizes, measure_events, measure_rows
from .memory import remember
from .ranges import largest_values
from .taps import Taps, find_taps
from .trace import Attention, Conv, Head, Layer, Linear, Pool, Select, Stream, Trace, Weights
from .wiring import Consumers, Phase, plan_phase

FORMATS = {"dense": DENSE, "bitmap": BITMAP, "csr": CSR}
KEPT_CHIPS = 4  # whose stored weights a trace remembers
KEPT_PHASES = 8  # placements whose phases it remembers


@dataclass(frozen=True)
class Stored:
    """A layer's weights on the cores: rows as they lie, and what an event costs."""

    weights: Weights
    rows: RowSizes
    costs: EventCosts
    taps: Taps
    words: NDArray[np.int64]  # [cores]
    pointers: NDArray[np.int64]  # [cores]
    columns: NDArray[np.int64]  # [cores]: column of `rows` and `costs` that holds for each core
    shared: bool  # all cores hold the same rows: cut by tokens

    @property
    def pointing(self) -> int:
        """Cores that look up their own pointers for an event: all that hold rows, or by tokens the token's."""
        return min(1, int(self.pointers.max())) if self.shared else int((self.pointers > 0).sum())

    def transfer_bytes(self, word_bits: int) -> int:
        """D2: bytes that the weight bus brings, once for all cores that share them."""
        words, pointers = (
            (self.words.max(), self.pointers.max()) if self.shared else (self.words.sum(), self.pointers.sum())
        )
        return -(-int(words) * word_bits // 8) + 4 * int(pointers)


@dataclass(frozen=True)
class LayerPlan:
    """A layer on the chip; cut, phase and stored are absent where a layer has no cores, no events, no weights.

    owned: int64[cores], output channels of each core.
    """

    layer: Layer
    source: Stream
    target: Stream | None
    owned: NDArray[np.int64]
    cut: Cut | None = None
    phase: Phase | None = None
    stored: Stored | None = None
    unit_bytes: int = 0  # selector weights in the token unit
    weight_bytes: int = 0  # all weights and pointers, as one transfer brings them (D2)
    batch: int = 1  # timesteps of a batch, at most those of the trace (G4)

    @cached_property
    def service(self) -> NDArray[np.int32]:
        """R4, C2: int32[batch, events, consumers], cycles of an event with values in 1 … batch timesteps."""
        assert self.phase is not None
        consumers, batch = self.phase.consumers, self.batch
        if self.stored is None:
            shape = (batch, self.source.channels, len(consumers.routers))
            return np.ascontiguousarray(np.broadcast_to(np.arange(1, batch + 1)[:, None, None], shape), np.int32)
        return np.ascontiguousarray(self.stored.costs.service[:, :, self.stored.columns[consumers.cores]])


@dataclass(frozen=True)
class Placement:
    """All layers of a trace on a chip, and the width of each stream's values in bits."""

    trace: Trace
    chip: Chip
    plans: tuple[LayerPlan, ...]
    value_bits: dict[str, int]
    homes: dict[str, Home]

    @cached_property
    def derived(self) -> dict[Any, Any]:
        """What follows from the placement alone and was found once, by what it is."""
        return {}


def place(trace: Trace, chip: Chip, cuts: Mapping[str, Iterable[int]] | None = None) -> Placement:
    """Decide where everything lies and runs. cuts: see `lay_out`.

    Raises UserError for what does not fit or cannot be run (P3, P4).
    """
    from .capacity import check_capacity

    floorplan = lay_out(trace, chip, cuts)
    plans = tuple(
        _plan_layer(trace, chip, layer, floorplan.cuts.get(layer.name), floorplan.homes) for layer in trace.layers
    )
    values = largest_values(trace)
    bits = {name: value.bit_length() for name, value in values.items()}
    placement = Placement(trace, chip, plans, bits, floorplan.homes)
    check_capacity(placement, values)
    return placement


def _plan_layer(trace: Trace, chip: Chip, layer: Layer, cut: Cut | None, homes: dict[str, Home]) -> LayerPlan:
    source = trace.streams[layer.source]
    parts: dict[str, Any] = {"layer": layer, "source": source, "target": trace.streams.get(layer.target), "cut": cut}
    parts["batch"] = min(chip.core.time_batch, trace.numerics.timesteps)
    parts["owned"] = np.zeros(chip.cores, np.int64) if cut is None else np.diff(cut.bounds)
    if isinstance(layer, (Conv, Linear, Head)):
        assert cut is not None
        if cut.by_token:
            parts["owned"] = np.where(np.diff(cut.bounds) > 0, layer.weights.output_channels, 0)
        layout = row_format(chip, chip.core.input_macs if source.kind == "real" else chip.core.lanes)
        stored = _keep_stored(trace)(layer.name, layout, cut.by_token, tuple(cut.bounds.tolist()), parts["batch"])
        parts |= {"stored": stored, "weight_bytes": stored.transfer_bytes(chip.core.weight_word_bits)}
    elif isinstance(layer, Select):
        unit_bytes = selector_bytes(chip, layer)
        parts |= {"unit_bytes": unit_bytes, "weight_bytes": unit_bytes}
    if source.kind != "real" and not isinstance(layer, Pool):
        parts["phase"] = _keep_phase(trace, chip, layer, cut, homes[source.name])
    return LayerPlan(**parts)


def _keep_phase(trace: Trace, chip: Chip, layer: Layer, cut: Cut | None, home: Home) -> Phase:
    """`plan_phase`, remembered by all that it asks of the chip: where units stand, and how channels lie in words."""
    source = trace.streams[layer.source]
    key = (
        layer.name,
        (chip.mesh.columns, chip.mesh.rows, chip.attention.units, chip.mesh.value_bits, chip.core.encode_width),
        (home.by, home.owner.tobytes()),
        None if cut is None else (cut.by_token, cut.bounds.tobytes()),
    )
    return remember(
        trace.derived,
        "phases",
        key,
        lambda: plan_phase(chip, source, home, _find_consumers(chip, layer, cut, source)),
        KEPT_PHASES * len(trace.layers),
    )


def _find_consumers(chip: Chip, layer: Layer, cut: Cut | None, source: Stream) -> Consumers:
    """P3."""
    service = np.array(chip.service_routers, np.int32)
    none = np.zeros(0, np.int32)
    if isinstance(layer, Select):
        return Consumers(service[:1], none)
    if isinstance(layer, Attention):
        width = source.channels // 3
        head = np.arange(source.channels) % width // (width // layer.heads)
        used = min(layer.heads, chip.attention.units)
        return Consumers(service[1 : 1 + used], none, of_channel=(head % chip.attention.units).astype(np.int64))
    assert cut is not None
    active = np.flatnonzero(np.diff(cut.bounds)).astype(np.int32)
    of_token = np.searchsorted(active, cut.owner) if cut.by_token else None
    return Consumers(np.array(chip.core_routers, np.int32)[active], active, of_token=of_token)


def hidden_weights(chip: Chip, layer: Select) -> int:
    """E of rule T2: hidden weights that the scorer multiplies."""
    if layer.hidden is None:
        return 0
    return layer.hidden.size if chip.core.weight_format == "dense" else layer.hidden.nonzeros


def hidden_bytes(chip: Chip, layer: Select) -> int:
    """D2: bytes of the hidden weights of a selector."""
    bits = chip.core.weight_bits + (0 if chip.core.weight_format == "dense" else chip.core.index_bits)
    return -(-hidden_weights(chip, layer) * bits // 8)


def selector_bytes(chip: Chip, layer: Select) -> int:
    """D2: bytes that a selector has in the token unit's weight memory."""
    if layer.hidden is None:
        return 0
    table = 0 if layer.table is None else len(layer.table)
    return hidden_bytes(chip, layer) + layer.hidden.output_channels + table


def _keep_stored(trace: Trace) -> Callable[..., Stored]:
    """`store_weights` on a trace, which remembers what it found for the last chips: most keys leave it as it is."""
    make = partial(store_weights, trace)
    kept: Callable[..., Stored] = trace.derived.setdefault(
        "stored", lru_cache(maxsize=KEPT_CHIPS * len(trace.layers))(make)
    )
    return kept


def store_weights(
    trace: Trace, name: str, layout: RowFormat, by_token: bool, bounds: tuple[int, ...], batch: int
) -> Stored:
    """Lay a layer's weights out on the cores and tabulate what every event costs (R1 to R5).

    name, by_token, bounds: of the layer and its cut.  batch: most timesteps of an event.
    By tokens all cores that have some hold the same rows, which are laid out once.
    """
    layer = trace.layer(name)
    assert isinstance(layer, (Conv, Linear, Head))
    source, weights = trace.streams[layer.source], layer.weights
    taps = find_taps(source.height, source.width, layer.geometry, layer.pooled if isinstance(layer, Conv) else None)
    first = np.array([0, weights.output_channels] if by_token else bounds)
    rows = measure_rows(layout, weights.pointers, weights.outputs, first)
    costs = measure_events(layout, rows, weights.outputs, first, taps.valid, weights.input_channels, batch)
    active = np.diff(bounds) > 0
    columns = np.zeros(len(active), np.int64) if by_token else np.arange(len(active))
    words = np.where(active, rows.words.sum(axis=0, dtype=np.int64)[columns], 0)
    pointers = np.where(active & (layout.kind != DENSE), len(weights.pointers) - 1, 0).astype(np.int64)
    return Stored(weights, rows, costs, taps, words, pointers, columns, by_token)


def row_format(chip: Chip, lanes: int) -> RowFormat:
    """The chip's weight memory in plain integers; `lanes` are the input MACs for real pixels (I1)."""
    core = chip.core
    return RowFormat(
        FORMATS[core.weight_format],
        core.weight_bits,
        core.index_bits,
        core.weight_word_bits,
        core.weight_banks,
        lanes,
        core.accumulator_banks,
    )
