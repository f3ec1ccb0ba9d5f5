"""Random layers as the kernels run them: their log feeds the testbenches of the blocks, which are held against it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from cases import chip_with
from numpy.typing import NDArray
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.eventlog import Line, read_log
from sparsespike.simulator.hardware import Chip
from sparsespike.simulator.kernels.encoder import Flits
from sparsespike.simulator.kernels.neuron_array import deliver_all
from sparsespike.simulator.phase import Work, encode_phase, list_work
from sparsespike.simulator.placement import LayerPlan, Placement, place
from sparsespike.simulator.program import Outcome, Part, run
from sparsespike.simulator.trace import Head, Linear, Stream, Trace
from sparsespike.simulator.verify import new_sums, values_of
from sparsespike.simulator.wiring import Phase as Wiring

from .tools import Program

CARRIERS = ("send", "grant", "pop", "lookup", "take")
"""Log lines whose value is a flit."""


class Fields(NamedTuple):
    """Bits of the fields of a flit, from the highest; the end-of-token bit stands above them (F4)."""

    tree: int = 6
    context: int = 2
    channel: int = 6
    value: int = 3

    @property
    def bits(self) -> int:
        return 1 + sum(self)

    @property
    def parameters(self) -> dict[str, int]:
        """As the modules call them."""
        return {f"{name.upper()}_W": width for name, width in self._asdict().items()}

    def split(self, flit: int) -> list[int]:
        """End-of-token bit, tree, context, channel, value."""
        found = []
        for width in reversed(self):
            found.append(flit & (1 << width) - 1)
            flit >>= width
        return [flit, *reversed(found)]

    def join(self, parts: Sequence[int]) -> int:
        """The inverse of `split`."""
        flit = parts[0]
        for width, part in zip(self, parts[1:], strict=True):
            assert part < 1 << width
            flit = flit << width | part
        return flit


class Sample(NamedTuple):
    """A program that can be made, and what is special about it."""

    make: Callable[[], tuple[Program, list[str]]]
    sorts: frozenset[str]


FIELDS = Fields()
"""Of all testbenches; a chip's own may be narrower, so that flits are packed anew."""


@dataclass(frozen=True)
class Phase:
    """A layer on a trace's only image, as the kernels ran it."""

    placement: Placement
    plan: LayerPlan
    work: Work
    flits: Flits
    outcome: Outcome

    @property
    def trace(self) -> Trace:
        return self.placement.trace

    @property
    def chip(self) -> Chip:
        return self.placement.chip

    @property
    def wiring(self) -> Wiring:
        assert self.plan.phase is not None
        return self.plan.phase

    @property
    def steps(self) -> int:
        return len(self.work.token)

    @property
    def scans(self) -> bool:
        """Whether the keep bitmap is read (T4)."""
        return self.chip.token_unit.policy == "skip" and self.plan.layer.selector >= 0

    @cached_property
    def lines(self) -> list[Line]:
        """The kernels' log, its flits in the fields of the testbenches."""
        mesh = self.chip.mesh
        own = Fields(mesh.tree_bits, self.chip.context_bits, mesh.channel_bits, mesh.value_bits)
        return [
            (cycle, unit, event, FIELDS.join(own.split(value)) if event.split(".")[0] in CARRIERS else value)
            for cycle, unit, event, value in read_log(self.outcome.log)
        ]

    def at(self, unit: int, *events: str) -> list[Line]:
        """The lines of a router that are called so, or so with a port behind."""
        return [line for line in self.lines if line[1] == unit and line[2].startswith(events)]

    @property
    def consumers(self) -> list[tuple[int, int]]:
        """(core, router) of the cores that take flits."""
        consumers = self.wiring.consumers
        return list(zip(consumers.cores.tolist(), consumers.routers.tolist(), strict=True))

    def arrived(self) -> NDArray[np.int64]:
        """What the flits that arrived add up to by the kernels, as `verify.new_sums` has it."""
        sums, outcome = new_sums(self.placement, self.plan), self.outcome
        values = values_of(self.placement, self.plan, self.work, sums)
        deliver_all(values, outcome.flits, outcome.arrivals, 0, self.steps, 0)
        return sums

    def sums(self) -> NDArray[np.int64]:
        """int64[steps, outputs] of a linear layer."""
        return self.arrived()[self.work.first * self.plan.source.tokens + self.work.token]

    @cached_property
    def sorts(self) -> frozenset[str]:
        """What is special about the layer."""
        chip, source = self.chip, self.plan.source
        gaps = np.diff(self.work.tokens, prepend=-1)
        largest = int(self.flits.values.max(initial=0)), int(self.dense(source).max(initial=0))
        found = {
            chip.core.order: True,
            chip.core.weight_format: True,
            "scans": self.scans and gaps.max() > 1,
            "long scans": self.scans and gaps.max() > chip.token_unit.scan_width,
            "dropped tokens, all the same": self.plan.layer.selector >= 0 and chip.token_unit.policy != "skip",
            "wide flits": chip.flit_cycles > 1,
            "values above 1": largest[0] > 1,
            "values beyond a flit": largest[1] > largest[0],
            "buffers of one": chip.mesh.buffer_flits == 1,
            "FIFO of one": chip.core.fifo_flits == 1,
            "one context": chip.core.contexts == 1,
            "several contexts": chip.core.contexts > 1,
            "several producers": len(self.wiring.producers) > 1,
            "one tree per pair": self.wiring.consumers.of_channel is not None,
            "residual": bool(self.plan.layer.residual),
        }
        return frozenset(sort for sort, there in found.items() if there)

    def dense(self, stream: Stream) -> NDArray[np.uint8]:
        """A stream as uint8[timesteps, tokens, channels]."""
        assert stream.events is not None
        return stream.events.to_dense(stream.channels).reshape(-1, stream.tokens, stream.channels)


def texts(lines: Sequence[Line], unit: int | None = None) -> list[str]:
    """Lines as the testbenches write them, those of one block at `unit` where one is named."""
    return [f"{cycle} {at if unit is None else unit} {event} {value:x}" for cycle, at, event, value in lines]


def random_placement(seed: int, images: int = 1, **fixed: Any) -> Placement:
    """A random network on a random chip, some of whose keys are fixed."""
    rng = np.random.default_rng([61, seed])
    chip = _random_chip(rng, fixed)
    return place(_random_trace(rng, chip, images), chip)


def random_phases(seed: int, **fixed: Any) -> Iterator[Phase]:
    """The phases of a random network with one image; see `random_placement`."""
    placement = random_placement(seed, **fixed)
    trace, chip = placement.trace, placement.chip
    for plan in placement.plans:
        if plan.phase is None:
            continue
        listed = plan.layer.selector if chip.token_unit.policy == "skip" or isinstance(plan.layer, Head) else -1
        tokens = np.flatnonzero(trace.kept_mask(listed, plan.source.tokens)[0])  # G3
        work = list_work(chip, tokens, trace.numerics.timesteps)
        flits = encode_phase(placement, plan, [(0, work)])
        yield Phase(placement, plan, work, flits, run(placement, [Part(plan, (work,), flits)], keep=True, logged=True))


def linear_phases(seed: int, **fixed: Any) -> Iterator[Phase]:
    """Those of its linear layers."""
    return (phase for phase in random_phases(seed, **fixed) if isinstance(phase.plan.layer, Linear))


def pick(rng: np.random.Generator, *values: Any) -> Any:
    """One of the values, as a plain Python object."""
    return values[int(rng.integers(len(values)))]


def random_membrane(rng: np.random.Generator) -> tuple[int, int]:
    """Decay, and the share of a threshold that a spike takes off (V1); every other one is as in a layer without."""
    return pick(
        rng, (128, 0), (128, 0), (128, 0), (128, 256), (256, 0), (256, 256), (230, 285), (int(rng.integers(1, 257)), 0)
    )


def _random_chip(rng: np.random.Generator, fixed: dict[str, Any]) -> Chip:
    """With room for everything: what blocks do is at stake, not what fits."""
    columns, rows = pick(rng, (1, 1), (2, 1), (1, 2), (2, 2), (2, 2), (3, 2), (2, 3), (3, 3), (4, 1))
    drawn = {
        "mesh__columns": columns,
        "mesh__rows": rows,
        "mesh__buffer_flits": pick(rng, 1, 1, 2, 3, 8),
        "mesh__link_bits": pick(rng, 7, 9, 12, 24, 24, 64, 64),
        "mesh__value_bits": pick(rng, 1, 2, 2, 3),
        "mesh__channel_bits": 6,
        "mesh__tree_bits": 6,
        "core__fifo_flits": pick(rng, 1, 2, 3, 5),
        "core__contexts": pick(rng, 1, 1, 2, 3, 4),
        "core__weight_format": pick(rng, "dense", "bitmap", "csr"),
        "core__weight_bits": pick(rng, 2, 4, 5, 8),
        "core__index_bits": pick(rng, 1, 1, 2, 3, 4),
        "core__order": pick(rng, "time_outer", "time_inner"),
        "token_unit__policy": pick(rng, "skip", "skip", "skip", "gate", "off"),
        "token_unit__scan_width": pick(rng, 1, 2, 3, 8),
        "attention__units": pick(rng, 1, 2, 3),
    }
    return chip_with(**(drawn | fixed))


def _random_trace(rng: np.random.Generator, chip: Chip, images: int) -> Trace:
    """Given spikes, silent and full rows among them, through a few layers of all kinds that send events."""
    style = Style(
        images=images,
        timesteps=pick(rng, 1, 2, 3, 4, 6),
        weight_density=pick(rng, 0.1, 0.3, 0.6, 1.0),
        spike_density=pick(rng, 0.05, 0.15, 0.3, 0.5),
        weight_bits=min(chip.core.weight_bits, pick(rng, 2, 4, 8)),
        fraction_bits=pick(rng, None, None, 0, 5),
        potential_bits=pick(rng, None, 8, 8, 12),
        shadow=chip.token_unit.policy != "skip" or bool(rng.integers(2)),
        seed=int(rng.integers(1 << 30)),
    )
    builder = Builder(style)
    height, width = pick(rng, (1, 1), (1, 3), (2, 3), (3, 3), (1, 13), (4, 4))
    channels, tokens = int(rng.integers(1, 41)), height * width
    dense = rng.random((images, style.timesteps, tokens, channels)) < style.spike_density
    dense = dense * rng.integers(1, pick(rng, 2, 4, 10), dense.shape)
    kind = rng.random(dense.shape[:3])
    dense[kind < 0.2] = 0
    dense[kind > 0.9] = 1
    stream, left = builder.spikes("given", dense, height, width), tokens
    for index in range(int(rng.integers(2, 5))):
        channels = builder.streams[stream].channels
        builder.membrane(*random_membrane(rng))
        grown = pick(rng, "linear", "linear", "linear", "conv", "select", "select", "attention")
        if grown == "conv" and not builder.kept and channels <= 20:
            stream = builder.conv(f"conv{index}", stream, int(rng.integers(1, 17)))
        elif grown == "select":
            left = int(rng.integers(1, left + 1))
            form, table = pick(rng, ("learned", True), ("learned", False), ("rate", False), ("random", False))
            stream = builder.select(f"select{index}", stream, left, form, table=table)
        elif grown == "attention":
            heads = int(rng.integers(1, 4))
            fused = builder.linear(f"qkv{index}", stream, 3 * heads * int(rng.integers(1, 5)))
            attend = pick(rng, builder.attention, builder.masked_attention)
            stream = attend(f"attention{index}", fused, heads)
        else:
            same = rng.random() < 0.5 and not stream.startswith("attention")  # which lies at its units (P3)
            wide = channels if same else int(rng.integers(1, 41))
            stream = builder.linear(f"linear{index}", stream, wide, stream if same else "")
    builder.head("head", builder.linear("last", stream, int(rng.integers(1, 41))), int(rng.integers(1, 11)))
    return builder.trace()
