"""The DRAM channel under random networks: what the simulator's channel moves, and when."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np
from sparsespike.simulator.dram import Channel, Transfer
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.placement import Placement

from .block_programs import Sample, pick, random_placement, texts
from .tools import Program

TRANSFERS = 32
CHANNEL = {"TRANSFERS": TRANSFERS}
MEMORIES = (0.06, 0.25, 1.0, 1024.0)  # KiB
LAST = 30000
"""No transfer is looked at that ends later: the testbench goes through every cycle."""


class _Move(NamedTuple):
    """A transfer: the cycle from which it is allowed, its bytes, its cycles."""

    allowed: int
    bytes: int
    start: int
    end: int


@dataclass
class _Watched(Channel):
    """The simulator's channel, with its transfers noted.

    rng: draws the bytes of two thirds of the transfers anew.
    """

    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    seen: list[_Move] = field(default_factory=list)

    def transfers(self, image: int) -> list[Transfer]:
        found = super().transfers(image)
        return [replace(transfer, weight_bytes=self._drawn(transfer.weight_bytes)) for transfer in found]

    def _drawn(self, given: int) -> int:
        """Some transfers end on a cycle, or one byte to either side of it (D1)."""
        chip = self.placement.chip
        rate = Fraction(str(chip.dram.bandwidth_gb_s)) * 1000 / Fraction(str(chip.clock_mhz))
        exact = int(self.rng.integers(1, 40)) * rate.numerator % 5000 + int(self.rng.integers(-1, 2))
        return max(1, pick(self.rng, given, exact, int(self.rng.integers(1, 50))))

    def begin(self, image: int, index: int) -> int:
        start = super().begin(image, index)
        chip, spilled = self.placement.chip, self.spills[image][index]
        if spilled:  # D5: written and read in one transfer
            moved = 2 * chip.in_bursts(spilled)
            self.seen.append(_Move(start, moved, self.free - chip.dram_cycles(moved), self.free))
        return start

    def _start_next(self) -> None:
        allowed, before, (_, transfer) = self._allowed, self.free, self._queue[self._next]
        assert allowed is not None
        super()._start_next()
        self.seen.append(_Move(allowed, transfer.bytes, max(allowed, before), self.free))


def channel_programs(seed: int, _: Mapping[str, int]) -> Iterator[Sample]:
    """The transfers of a random network on two images, whose layers take random times."""
    rng = np.random.default_rng([67, seed])
    placement = _small_placement(seed, rng)
    channel, end = _Watched(placement, 2, rng=rng), 0
    for image in range(2):
        for index in range(len(placement.plans)):
            start = channel.begin(image, index)
            assert start >= end
            end = channel.end(image, index, start + int(rng.integers(0, pick(rng, 2, 30, 500))))
    moves = [move for move in channel.seen if move.end < LAST][:TRANSFERS]
    sorts = {"resident" if channel.resident else "streaming", "spills" if np.any(channel.spills) else "no spills"}
    yield Sample(partial(_transfer, placement, rng, moves), frozenset(sorts))


def _transfer(placement: Placement, rng: np.random.Generator, moves: list[_Move]) -> tuple[Program, list[str]]:
    dram = placement.chip.dram
    clock, bandwidth, latency = (
        Fraction(str(value)) for value in (placement.chip.clock_mhz, dram.bandwidth_gb_s, dram.latency_ns)
    )
    rate = bandwidth * 1000 / clock
    requests = _requests(rng, [move.allowed for move in moves])
    images = {
        "registers": (-int(-latency * clock // 1000), rate.numerator, rate.denominator, dram.burst_bytes, len(moves)),
        "transfers": [
            (request % (1 << 32) << 32 | move.allowed) << 32 | move.bytes
            for request, move in zip(requests, moves, strict=True)
        ],
    }
    log = [(move.start, 0, "start", number) for number, move in enumerate(moves)]
    log += [(move.end, 0, "end", number) for number, move in enumerate(moves)]
    return images, texts(log)


def _small_placement(seed: int, rng: np.random.Generator) -> Placement:
    """Memories that hold all layers, or one of them at a time, so that weights stream in and data spill (D3, D5)."""
    fixed = {
        "clock_mhz": pick(rng, 100.0, 333.0, 500.0, 1000.0),
        "core__spike_kib": pick(rng, *MEMORIES),
        "core__potential_kib": pick(rng, *MEMORIES),
        "dram__bandwidth_gb_s": pick(rng, 0.37, 1.7, 8.0, 12.8, 100.0),
        "dram__latency_ns": pick(rng, 0.0, 0.1, 7.3, 60.0, 200.0),
        "dram__burst_bytes": pick(rng, 1, 3, 16, 32, 48, 100),
    }
    for kib in MEMORIES:
        try:
            return random_placement(seed, images=2, core__weight_kib=kib, **fixed)
        except UserError:  # a layer that does not fit
            continue
    raise AssertionError(f"seed {seed}: no memory is large enough")


def _requests(rng: np.random.Generator, allowed: list[int]) -> list[int]:
    """Cycles of the requests: one at a time, in order, each in the queue by the cycle from which it is allowed."""
    latest = list(allowed)
    for at in reversed(range(len(latest))):
        latest[at] = min(latest[at : at + 2]) - 1
    requests, cycle = [], -2 * TRANSFERS
    for bound in latest:
        cycle = bound if rng.random() < 0.3 else int(rng.integers(cycle + 1, bound + 1))
        requests.append(cycle)
    return requests
