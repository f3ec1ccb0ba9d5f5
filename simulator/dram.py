"""The DRAM channel and the weight bus: when each layer's weights arrive, and what spills cost (rules D1 to D5)."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from .capacity import pointer_words, spilled_bytes, unit_weight_bytes, weight_words
from .hardware import Chip
from .placement import LayerPlan, Placement


@dataclass(frozen=True)
class Transfer:
    """One request to DRAM: the weights of a layer, and for the first layer its pixels."""

    layer: int
    weight_bytes: int
    pixel_bytes: int

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.weight_bytes + self.pixel_bytes

    @property
    def what(self) -> str:
        """In words."""
        parts = (("weights", self.weight_bytes), ("pixels", self.pixel_bytes))
        return " and ".join(name for name, count in parts if count)


def is_resident(placement: Placement) -> bool:
    """D3: whether all weights of the trace fit on the chip together."""
    return _fit_together(placement.chip, list(placement.plans))


def _fit_together(chip: Chip, plans: list[LayerPlan]) -> bool:
    words = np.zeros(chip.cores, np.int64)
    pointers = np.zeros(chip.cores, np.int64)
    for plan in plans:
        if plan.stored is not None:
            words += plan.stored.words
            pointers += plan.stored.pointers
    unit_bytes = sum(plan.unit_bytes for plan in plans)
    return bool(
        words.max() <= weight_words(chip)
        and pointers.max() <= pointer_words(chip)
        and unit_bytes <= unit_weight_bytes(chip)
    )


def decided_by_sizes(placement: Placement, images: int) -> tuple[Hashable, ...]:
    """All that sizes of memories decide about the time of a run that fits: what stays, loads together, and spills.

    Two chips that are else alike and have this in common run alike, cycle by cycle (D3 to D5).
    """
    channel, plans = Channel(placement, images), placement.plans
    weighted = [plan for plan in plans if plan.weight_bytes]
    pairs = zip(weighted, weighted[1:] + weighted[:1], strict=True)
    together = tuple(_fit_together(placement.chip, [before, after]) for before, after in pairs)
    return channel.resident, together, tuple(map(tuple, channel.spills))


@dataclass(frozen=True)
class Moved:
    """What the channel was busy with, from when to when; what: weights, pixels, weights and pixels, or spills."""

    image: int
    layer: int
    what: str
    bytes: int
    begin: int
    end: int


@dataclass
class Channel:
    """The DRAM channel through a whole run: call `begin` and `end` for each layer of each image, in order.

    moved: what it has done so far.
    """

    placement: Placement
    images: int
    free: int = 0
    end_of_layer: int = 0
    moved: list[Moved] = field(default_factory=list)
    _queue: list[tuple[int, Transfer]] = field(default_factory=list)  # (image, transfer), in order
    _next: int = 0  # first of the queue that has not started
    _allowed: int | None = 0  # cycle from which that one may start, None where not known yet
    _arrived: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.resident = is_resident(self.placement)
        layers = range(len(self.placement.plans))
        varies = self.placement.chip.core.partition == "token"  # with the tokens that an image keeps
        first = [spilled_bytes(self.placement, 0, layer) for layer in layers]
        self.spills = [
            [spilled_bytes(self.placement, image, layer) for layer in layers] if varies and image else first
            for image in range(self.images)
        ]
        for image in range(self.images):
            self._queue += [(image, transfer) for transfer in self.transfers(image)]
        self._weighted = [index for index, plan in enumerate(self.placement.plans) if plan.weight_bytes]

    def transfers(self, image: int) -> list[Transfer]:
        """What an image needs from DRAM, in order of layers (D2, D3)."""
        found = []
        for index, plan in enumerate(self.placement.plans):
            loads = not self.resident or image == 0
            weights = plan.weight_bytes if loads else 0
            source = plan.source
            pixels = source.tokens * source.channels if index == 0 and source.kind == "real" else 0
            if weights or pixels:
                found.append(Transfer(index, weights, pixels))
        return found

    def begin(self, image: int, index: int) -> int:
        """Cycle in which a layer starts (D4); starts its spill traffic there."""
        key = (image, index)
        while self._next < len(self._queue) and self._arrived.get(key) is None and self._wanted(key):
            assert self._allowed is not None
            self._start_next()
        start = max(self.end_of_layer, self._arrived[key] + 1 if key in self._arrived else 0)
        while self._next < len(self._queue) and self._allowed is not None and self._allowed < start:
            self._start_next()
        self._spill_end = start
        if self.spills[image][index]:
            chip = self.placement.chip
            each_way = chip.in_bursts(self.spills[image][index])
            self._move(image, index, "spills", 2 * each_way, start)
            self._spill_end = self.free
        if self._allowed is None and self._waits_for(index, at_start=True):
            self._allowed = start
        return start

    def end(self, image: int, index: int, computed: int) -> int:
        """Cycle in which a layer ends, given when its computing is done: not before its spills (D5)."""
        self.end_of_layer = max(computed, self._spill_end)
        if self._allowed is None and (self._waits_for(index, at_start=False)):
            self._allowed = self.end_of_layer
        return self.end_of_layer

    def busy(self, image: int, index: int) -> int:
        """K1: cycles of a layer's transfers, its spills among them."""
        chip, spilled = self.placement.chip, self.spills[image][index]
        brought = sum(transfer.bytes for transfer in self.transfers(image) if transfer.layer == index)
        return chip.dram_cycles(brought) + chip.dram_cycles(2 * chip.in_bursts(spilled))

    def _wanted(self, key: tuple[int, int]) -> bool:
        return key in {(image, transfer.layer) for image, transfer in self._queue[self._next : self._next + 1]}

    def _start_next(self) -> None:
        """Run the next transfer of the queue, and find out what the one behind it waits for."""
        assert self._allowed is not None
        image, transfer = self._queue[self._next]
        self._move(image, transfer.layer, transfer.what, transfer.bytes, self._allowed)
        self._arrived[image, transfer.layer] = self.free
        self._next += 1
        if not (self.resident and self._next < len(self._queue) and self._queue[self._next][0] == 0):
            self._allowed = None

    def _move(self, image: int, layer: int, what: str, count: int, allowed: int) -> None:
        """One transfer after the one before (D1, D4)."""
        begin = max(self.free, allowed)
        self.free = begin + self.placement.chip.dram_cycles(count)
        self.moved.append(Moved(image, layer, what, count, begin, self.free))

    def _waits_for(self, index: int, at_start: bool) -> bool:
        """Whether the next transfer becomes allowed by this layer's start, or by its end (D3)."""
        if self._next >= len(self._queue):
            return False
        upcoming = self._queue[self._next][1].layer
        if self.resident:
            return not at_start and index == 0
        if upcoming not in self._weighted:  # pixels in front of a layer without weights: as in a resident chip
            return not at_start and index == 0
        before = self._weighted[self._weighted.index(upcoming) - 1]
        if index != before:
            return False
        plans = self.placement.plans
        together = before != upcoming and _fit_together(self.placement.chip, [plans[before], plans[upcoming]])
        return at_start if together else not at_start
