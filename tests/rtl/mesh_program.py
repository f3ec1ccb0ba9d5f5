"""Programs for tb_mesh out of what the simulator's placement decided, and the log that its kernels ask for.

A program runs a trace's linear layers (one after the other, cut by channels, a timestep per batch) on one image. A
selector runs on the simulator alone: which tokens it kept is a register.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sparsespike.simulator.engine import run
from sparsespike.simulator.eventlog import Line, read_log
from sparsespike.simulator.hardware import Chip
from sparsespike.simulator.phase import Work, list_work
from sparsespike.simulator.placement import FORMATS, LayerPlan, Placement, place
from sparsespike.simulator.trace import Linear, Membrane, Trace
from sparsespike.simulator.verify import membrane_of

from .tools import Program, in_order

DESIGN = (
    "mesh.sv",
    "router.sv",
    "core.sv",
    "row_engine.sv",
    "neuron_array.sv",
    "encoder.sv",
    "fifo.sv",
    "sram.sv",
)
FILES = ("tb_mesh.sv", *DESIGN)
FLITS = ("send", "grant", "pop", "lookup", "take")
"""Events whose value is a flit."""

Shape = Mapping[str, int]
"""The parameters of an elaboration."""
Cuts = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Case:
    """What a program is made of."""

    trace: Trace
    chip: Chip
    cuts: Cuts | None = None
    image: int = 0


@dataclass
class Memories:
    """The memory images of a core as they grow, layer by layer; regions: where each stream lies."""

    words: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    neurons: list[int] = field(default_factory=list)
    spikes: list[int] = field(default_factory=list)
    regions: dict[str, int] = field(default_factory=dict)


def write_program(case: Case, shape: Shape) -> Program:
    """Registers, trees and memory images of a case."""
    placement = place(case.trace, case.chip, case.cuts)
    memories = [Memories() for _ in range(case.chip.cores)]
    plans = list(_linear(placement).values())
    for name in dict.fromkeys(name for plan in plans for name in (plan.source.name, plan.layer.target)):
        _lay_stream(placement, shape, memories, name, case.image)
    registers: list[int] = []
    trees = np.zeros((case.chip.routers, shape["LAYERS"], 1 << shape["TREE_W"]), np.int64)
    for number, plan in enumerate(plans):
        assert plan.phase is not None
        work = _work(placement, plan, case.image)
        for core, memory in enumerate(memories):
            registers += _registers(placement, plan, work, core, memory, shape)
            _store(placement, plan, core, memory, shape)
        masks = plan.phase.trees.masks
        trees[:, number, : len(masks)] = masks.T
    mesh, core = case.chip.mesh, case.chip.core
    images = {
        "program": [len(plans) - 1, mesh.buffer_flits, core.fifo_flits, case.chip.flit_cycles],
        "registers": registers,
        "trees": trees.ravel().tolist(),
    }
    for number, memory in enumerate(memories):
        banks = {f"bank{bank}": memory.words[bank :: core.weight_banks] for bank in range(core.weight_banks)}
        images |= {f"core{number}_{name}": words for name, words in banks.items()}
        for name in ("rows", "neurons", "spikes"):
            images[f"core{number}_{name}"] = getattr(memory, name)
        _check_depths(memory, shape)
    return images


def expected_log(case: Case, shape: Shape) -> list[str]:
    """The lines that the kernels' phases come to, and the spikes that the trace holds, in the cycles of the sweeps."""
    phases: dict[int, list[Line]] = {}

    def watch(image: int, layer: int, rows: NDArray[np.int64]) -> None:
        if image == case.image:
            phases[layer] = read_log(rows)

    run(case.trace, case.chip, cuts=case.cuts, watch=watch, verify=True)
    placement = place(case.trace, case.chip, case.cuts)
    start, lines = 0, ["0 0 layer 0"]
    for number, (layer, plan) in enumerate(_linear(placement).items()):
        log = phases[layer]
        for cycle, unit, event, value in log:
            bits = _repack(case.chip, shape, value) if event.split(".")[0] in FLITS else value
            lines.append(f"{start + cycle} {unit} {event} {bits:x}")
        lines += (f"{start + cycle} {text}" for cycle, text in _spike_lines(placement, plan, case.image, log))
        start += 1 + max(cycle for cycle, _, event, _ in log if event == "release")  # C8
        lines.append(f"{start} 0 layer {number + 1:x}")
    return in_order(lines)


def _linear(placement: Placement) -> dict[int, LayerPlan]:
    """The layers that run on the mesh, by their number in the trace."""
    return {number: plan for number, plan in enumerate(placement.plans) if isinstance(plan.layer, Linear)}


def _skips(placement: Placement, plan: LayerPlan) -> bool:
    return placement.chip.token_unit.policy == "skip" and plan.layer.selector >= 0


def _work(placement: Placement, plan: LayerPlan, image: int) -> Work:
    """G3, G4."""
    selector = plan.layer.selector if _skips(placement, plan) else -1
    kept = np.flatnonzero(placement.trace.kept_mask(selector, plan.source.tokens)[image])
    return list_work(placement.chip, kept, placement.trace.numerics.timesteps)


def _values(trace: Trace, name: str, image: int) -> NDArray[np.int64]:
    """A stream of one image: [timesteps, tokens, channels]."""
    stream = trace.streams[name]
    assert stream.events is not None
    shape = (trace.images, trace.numerics.timesteps, stream.tokens, stream.channels)
    return stream.events.to_dense(stream.channels).reshape(shape)[image].astype(np.int64)


def _spike_lines(placement: Placement, plan: LayerPlan, image: int, log: Sequence[Line]) -> Iterator[tuple[int, str]]:
    """C4: the word read in a cycle of a sweep fires in the next; V2: what fires is the target without its residual."""
    assert plan.cut is not None
    assert plan.phase is not None
    fired = _values(placement.trace, plan.layer.target, image)
    if plan.layer.residual:
        fired = fired - _values(placement.trace, plan.layer.residual, image)
    work, width = _work(placement, plan, image), placement.chip.core.sweep_width
    core_at = dict(zip(plan.phase.consumers.routers.tolist(), plan.phase.consumers.cores.tolist(), strict=True))
    for cycle, unit, event, step in log:
        if event == "sweep":
            first, end = plan.cut.bounds[core_at[unit] : core_at[unit] + 2]
            spikes = fired[work.first[step], work.token[step], first:end].tolist()
            for word, bits in enumerate(spikes[at : at + width] for at in range(0, len(spikes), width)):
                yield cycle + word + 1, f"{unit} spike.{word} {_pack(bits, 1):x}"


def _repack(chip: Chip, shape: Shape, flit: int) -> int:
    """A flit in the widths of the elaboration; the chip's own are as narrow as its contexts and values allow (F4)."""
    mesh = chip.mesh
    fields = ((mesh.value_bits, "VALUE_W"), (mesh.channel_bits, "CHANNEL_W"), (chip.context_bits, "CONTEXT_W"))
    packed = at = 0
    for bits, width in (*fields, (mesh.tree_bits, "TREE_W"), (1, "")):
        packed |= (flit & (1 << bits) - 1) << at
        flit >>= bits
        at += shape[width] if width else 1
    return packed


def _pack(values: Sequence[int], bits: int) -> int:
    """The values side by side, the first in the lowest bits; negative ones as two's complement."""
    return sum((int(value) & (1 << bits) - 1) << at * bits for at, value in enumerate(values))


def _width(count: int) -> int:
    """Bits that tell so many things apart, as $clog2."""
    return (count - 1).bit_length()


def _lay_stream(placement: Placement, shape: Shape, memories: Sequence[Memories], name: str, image: int) -> None:
    """A region for a stream on each core. What no layer writes stands in it from the beginning (E1); what one does
    is all ones before, so that a word that it forgets is seen.
    """
    trace, width = placement.trace, placement.chip.core.encode_width
    given = name not in {plan.layer.target for plan in _linear(placement).values()}
    values, owner = _values(trace, name, image), placement.homes[name].owner
    for core, memory in enumerate(memories):
        memory.regions[name] = len(memory.spikes)
        for row in values.reshape(-1, values.shape[-1])[:, owner == core].tolist():
            words = [_pack(row[at : at + width], shape["STREAM_W"]) for at in range(0, len(row), width)]
            memory.spikes += words if given else [(1 << width * shape["STREAM_W"]) - 1] * len(words)


def _registers(
    placement: Placement, plan: LayerPlan, work: Work, core: int, memory: Memories, shape: Shape
) -> list[int]:
    """Of a core in a layer, in the order of the core's ports."""
    chip, phase, numerics, tokens = placement.chip, plan.phase, placement.trace.numerics, plan.source.tokens
    assert phase is not None
    assert isinstance(plan.layer, Linear)
    mine = np.flatnonzero(placement.homes[plan.source.name].owner == core).tolist()
    residual = plan.layer.residual
    keep = sum(1 << token for token in work.tokens.tolist())
    return [
        FORMATS[chip.core.weight_format],
        chip.core.weight_bits,
        chip.core.index_bits,
        int(plan.owned[core]),
        len(memory.rows),
        len(memory.neurons),
        chip.core.contexts,
        len(phase.producers),
        numerics.fraction_bits,
        numerics.potential_bits,
        int(_skips(placement, plan)),
        len(work.tokens),
        tokens,
        numerics.timesteps,
        int(chip.core.order == "time_inner"),
        len(work.token),
        -(-len(mine) // chip.core.encode_width),
        mine[0] if mine else 0,
        chip.token_unit.scan_width,
        chip.mesh.value_bits,
        int(phase.senders.channel_tree[mine[0]]) if mine else 0,
        memory.regions[plan.source.name],
        memory.regions[plan.layer.target],
        int(bool(residual)),
        memory.regions[residual] if residual else 0,
        (plan.layer.membrane or Membrane()).decay,
        *(keep >> at & (1 << 32) - 1 for at in range(0, shape["TOKENS"], 32)),
    ]


def _store(placement: Placement, plan: LayerPlan, core: int, memory: Memories, shape: Shape) -> None:
    """A layer's rows, their table and the neurons of a core. Regions begin at bank 0, as R2 counts them from word 0."""
    layer, chip, stored = plan.layer, placement.chip, plan.stored
    if not plan.owned[core]:
        return
    assert isinstance(layer, Linear)
    assert stored is not None
    assert plan.cut is not None
    first, end = plan.cut.bounds[core : core + 2]
    memory.words += [0] * (-len(memory.words) % chip.core.weight_banks)
    base = len(memory.words)
    for row, weights in enumerate(layer.weights.to_dense()[first:end, :, 0].T.tolist()):
        words, entries = row_words(chip, weights)
        assert len(words) == stored.rows.words[row, core]
        address = base + int(stored.rows.address[row, core])
        assert address == len(memory.words)
        assert len(words) <= shape["ROW_WORDS"]
        memory.words += words
        place = address << _width(shape["ROW_WORDS"] + 1) | len(words)
        memory.rows.append(place << _width(shape["OUTPUTS"] + 1) | entries)
    memory.neurons += neuron_words(layer, range(first, end), chip.core.sweep_width, shape)


def neuron_words(layer: Linear, owned: range, sweep_width: int, shape: Shape) -> list[int]:
    """The parameters of a core's neurons: words of {bias, reset_by, theta}."""
    potential, sum_bits = shape["POTENTIAL_W"], shape["ACC_W"]
    _, reset_by = membrane_of(layer, len(layer.bias))
    neurons = [
        (_pack([layer.bias[output]], sum_bits) << potential | int(reset_by[output])) << potential
        | int(layer.theta[output])
        for output in owned
    ]
    cut = range(0, len(neurons), sweep_width)
    return [_pack(neurons[at : at + sweep_width], sum_bits + 2 * potential) for at in cut]


def row_words(chip: Chip, weights: Sequence[int]) -> tuple[list[int], int]:
    """R1, R2: the words of a row of these weights, and how many entries it has."""
    core, bits = chip.core, chip.core.weight_bits
    if core.weight_format == "bitmap":
        there = [weight for weight in weights if weight]
        row = _pack([weight != 0 for weight in weights], 1) | _pack(there, bits) << len(weights)
        length = len(weights) + len(there) * bits
        words = [row >> at & (1 << core.weight_word_bits) - 1 for at in range(0, length, core.weight_word_bits)]
        return words, len(there)
    entries = list(weights)
    if core.weight_format == "csr":
        entries = list(_runs(weights, core.index_bits))
        bits += core.index_bits
    some = core.weight_word_bits // bits
    return [_pack(entries[at : at + some], bits) for at in range(0, len(entries), some)], len(entries)


def _runs(weights: Sequence[int], index_bits: int) -> Iterator[int]:
    """R1: {weight, run}; a padding entry has the longest run and weight 0."""
    run, longest = 0, (1 << index_bits) - 1
    for weight in weights:
        if weight:
            while run > longest:
                yield longest
                run -= longest + 1
            yield weight << index_bits | run
            run = 0
        else:
            run += 1


def _check_depths(memory: Memories, shape: Shape) -> None:
    assert len(memory.words) <= shape["WEIGHT_BANKS"] * shape["BANK_DEPTH"]
    assert len(memory.rows) <= shape["INPUTS"]
    assert len(memory.neurons) <= shape["NEURONS"]
    assert len(memory.spikes) <= shape["SPIKE_DEPTH"]
