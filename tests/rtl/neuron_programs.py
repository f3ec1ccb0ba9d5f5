"""Neuron arrays and encoders of cores in random phases."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from sparsespike.simulator.kernels.neuron_array import fire
from sparsespike.simulator.trace import KEEP_ALL, KEEP_HALF, Membrane
from sparsespike.simulator.verify import membrane_of

from .block_programs import FIELDS, Phase, Sample, linear_phases, random_phases, texts
from .mesh_program import neuron_words
from .router_programs import held
from .tools import Program

CYCLES = 1 << 13
ARRAY = {
    "OUTPUTS": 23, "SWEEP": 8, "CONTEXTS": 4, "CONTEXT_W": FIELDS.context, "TOKENS": 16, "NEURONS": 16,
    "POTENTIAL_W": 32, "ACC_W": 20, "FRACTION_W": 3, "STEPS": 128, "CYCLES": CYCLES,
}  # fmt: skip
ENCODER = FIELDS.parameters | {
    "STREAM_W": 4, "TOKENS": 16, "WORDS": 24, "SCAN": 8, "ADDRESS_W": 12, "CYCLES": CYCLES
}  # fmt: skip
NARROW = ENCODER | {"ENCODE_W": 3}
WIDE = ENCODER | {"ENCODE_W": 8}


def array_programs(seed: int, shape: Mapping[str, int]) -> Iterator[Sample]:
    """The cores of random linear layers."""
    for phase in linear_phases(seed, core__sweep_width=shape["SWEEP"], core__lanes=1):
        if phase.outcome.cycles < shape["CYCLES"]:
            for core, router in phase.consumers:
                if phase.plan.owned[core] <= shape["OUTPUTS"]:
                    yield Sample(partial(_update, phase, shape, core, router), phase.sorts | _clipping(phase))


def _clipping(phase: Phase) -> frozenset[str]:
    """Which potentials are clipped (V1), and whether a word may be read while it is written (C4)."""
    layer, numbers = phase.plan.layer, phase.trace.numerics
    sums = phase.arrived().reshape(numbers.timesteps, -1, len(layer.bias))
    bias, theta = layer.bias.astype(np.int64), layer.theta.astype(np.int64)
    fired = np.zeros(sums.shape, np.uint8)
    membrane = membrane_of(layer, len(bias))
    clipped = fire(sums, bias, theta, *membrane, numbers.fraction_bits, numbers.potential_bits, fired)
    sweeps = [[cycle for cycle, *_ in phase.at(router, "sweep")] for _, router in phase.consumers]
    forwards = phase.chip.core.order == "time_inner" and any((np.diff(begins) == 1).any() for begins in sweeps)
    sorts = {
        "saturation": clipped,
        "forwarding": forwards,
        "no leak": membrane[0] == KEEP_ALL,
        "multiplied leak": membrane[0] not in (KEEP_ALL, KEEP_HALF),
        "soft reset": membrane[1].any(),
    }
    return frozenset(sort for sort, there in sorts.items() if there)


def _update(phase: Phase, shape: Mapping[str, int], core: int, router: int) -> tuple[Program, list[str]]:
    """End-of-token flits as they are taken, and the sums that the kernels have; sweeps, releases and spikes."""
    plan, chip, numbers, layer = phase.plan, phase.chip, phase.trace.numerics, phase.plan.layer
    first, end = plan.cut.bounds[core : core + 2].tolist()
    sweep, width = shape["SWEEP"], -(-shape["OUTPUTS"] // shape["SWEEP"])

    def words(values, bits: int) -> list[int]:
        """Words of SWEEP of a core's neurons."""
        cut = [values[at : at + sweep] for at in range(0, end - first, sweep)]
        return [sum((value % (1 << bits)) << place * bits for place, value in enumerate(word)) for word in cut]

    cycles = [0] * phase.outcome.cycles
    for cycle, _, _, flit in phase.at(router, "take"):
        ending, _, context, *_ = FIELDS.split(flit)
        cycles[cycle] = ending << FIELDS.context | context if ending else 0
    base, sums = core % 5, []
    for step in phase.sums()[:, first:end].tolist():
        sums += (words(step, shape["ACC_W"]) + [0] * width)[:width]
    images = {
        "registers": (
            len(cycles),
            end - first,
            chip.core.contexts,
            int(phase.wiring.expected[0]),
            len(phase.work.tokens),
            numbers.timesteps,
            chip.core.order == "time_inner",
            numbers.fraction_bits,
            numbers.potential_bits,
            phase.steps,
            base,
            (layer.membrane or Membrane()).decay,
        ),
        "neurons": [0] * base + neuron_words(layer, range(first, end), sweep, shape),
        "sums": sums,
        "cycles": cycles,
    }
    spikes = phase.dense(plan.target).astype(np.int64)
    if layer.residual:
        spikes -= phase.dense(phase.trace.streams[layer.residual])  # V2
    fired = spikes[phase.work.first, phase.work.token, first:end].tolist()
    log = [
        (cycle + word + 1, router, f"spike.{word}", bits)
        for cycle, _, _, step in phase.at(router, "sweep")
        for word, bits in enumerate(words(fired[step], 1))
    ]
    return images, texts([*phase.at(router, "sweep", "release"), *log], unit=0)


def encoder_programs(seed: int, shape: Mapping[str, int]) -> Iterator[Sample]:
    """The producers of random phases that send over one tree and whose channels follow one another."""
    for phase in random_phases(seed, core__encode_width=shape["ENCODE_W"]):
        senders = phase.wiring.senders
        for producer, router in enumerate(phase.wiring.producers.tolist()):
            channels = np.flatnonzero(senders.producer == producer)
            one_tree = np.diff(senders.end_start)[producer] == 1
            if one_tree and np.ptp(channels) == len(channels) - 1 and 0 < phase.outcome.cycles < shape["CYCLES"]:
                yield Sample(partial(_encode, phase, shape, producer, router, channels.tolist()), phase.sorts)


def _encode(
    phase: Phase, shape: Mapping[str, int], producer: int, router: int, channels: list[int]
) -> tuple[Program, list[str]]:
    """Steps granted and room of input L in each cycle, and the spike memory; the flits that are sent."""
    chip, senders, tokens = phase.chip, phase.wiring.senders, phase.work.tokens.tolist()
    timesteps, end = phase.trace.numerics.timesteps, phase.outcome.cycles
    opened = np.zeros(end + 1, np.int64)
    for cycle, _, _, _ in phase.at(0, "open"):
        opened[cycle] += 1
    granted = phase.steps - opened.sum() + np.cumsum(opened)[:end]
    sent = phase.at(router, "send")
    room = np.array(held(end, sent, phase.at(router, "pop.L"))) < chip.mesh.buffer_flits

    lanes, bits = shape["ENCODE_W"], shape["STREAM_W"]
    rows = phase.dense(phase.plan.source)[:, :, channels].reshape(-1, len(channels)).tolist()
    images = {
        "registers": (
            end,
            phase.scans,
            len(tokens),
            phase.plan.source.tokens,
            timesteps,
            chip.core.order == "time_inner",
            -(-len(channels) // lanes),
            channels[0],
            chip.core.contexts,
            chip.token_unit.scan_width,
            chip.mesh.value_bits,
            int(senders.end_tree[senders.end_start[producer]]),
            phase.steps,
        ),
        "keep": [sum(1 << token for token in tokens)],
        "spikes": [
            sum(value << place * bits for place, value in enumerate(row[at : at + lanes]))
            for row in rows
            for at in range(0, len(row), lanes)
        ],
        "cycles": (granted << 1 | room).tolist(),
    }
    return images, texts(sent, unit=0)
