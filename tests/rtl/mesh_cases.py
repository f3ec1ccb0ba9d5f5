"""Seeded stacks of linear layers for the meshes that the tests elaborate, and the chips that these meshes are."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from cases import chip_with
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.hardware import Chip
from sparsespike.simulator.placement import place
from sparsespike.simulator.ranges import largest_values
from sparsespike.simulator.trace import Linear, Select, Trace

from .block_programs import random_membrane
from .mesh_program import Case, Cuts, Shape

COMMON = {"LAYERS": 4, "BUFFER_DEPTH": 8, "FIFO_DEPTH": 16, "CONTEXT_W": 2, "CONTEXTS": 4, "INDEX_W": 4, "WEIGHT_W": 8}
SHAPES: Mapping[str, Shape] = {
    # 2 x 2 cores, wide enough for the two layers of the shipped ticket's MLP.
    "2x2": COMMON
    | {"COLUMNS": 3, "ROWS": 2, "CORE_COLUMNS": 2, "TREE_W": 2, "CHANNEL_W": 8, "VALUE_W": 2, "STREAM_W": 3}
    | {"INPUTS": 256, "OUTPUTS": 64, "LANES": 4, "ACCUMULATOR_BANKS": 8, "WEIGHT_BANKS": 2, "WORD_W": 24}
    | {"BANK_DEPTH": 2048, "ROW_WORDS": 32, "ACC_W": 24, "SWEEP": 4, "TOKENS": 64, "NEURONS": 64, "POTENTIAL_W": 24}
    | {"ENCODE_W": 8, "WORDS": 8, "SCAN": 16, "SPIKE_DEPTH": 4096},
    # 3 x 2 cores whose lanes, banks and words of spikes are no powers of two.
    "3x2": COMMON
    | {"COLUMNS": 4, "ROWS": 2, "CORE_COLUMNS": 3, "TREE_W": 3, "CHANNEL_W": 6, "VALUE_W": 3, "STREAM_W": 4}
    | {"INPUTS": 192, "OUTPUTS": 12, "LANES": 5, "ACCUMULATOR_BANKS": 5, "WEIGHT_BANKS": 3, "WORD_W": 13}
    | {"BANK_DEPTH": 1024, "ROW_WORDS": 12, "ACC_W": 21, "SWEEP": 2, "TOKENS": 9, "NEURONS": 24, "POTENTIAL_W": 20}
    | {"ENCODE_W": 6, "WORDS": 2, "SCAN": 5, "SPIKE_DEPTH": 512},
    # 4 x 4 cores with one bank of weights, one neuron at a time.
    "4x4": COMMON
    | {"COLUMNS": 5, "ROWS": 4, "CORE_COLUMNS": 4, "TREE_W": 4, "CHANNEL_W": 6, "VALUE_W": 1, "STREAM_W": 2}
    | {"INPUTS": 192, "OUTPUTS": 8, "LANES": 2, "ACCUMULATOR_BANKS": 2, "WEIGHT_BANKS": 1, "WORD_W": 16}
    | {"BANK_DEPTH": 2048, "ROW_WORDS": 8, "ACC_W": 20, "SWEEP": 1, "TOKENS": 12, "NEURONS": 32, "POTENTIAL_W": 32}
    | {"ENCODE_W": 3, "WORDS": 3, "SCAN": 8, "SPIKE_DEPTH": 1024},
}


def chip_of(shape: Shape, **changes: object) -> Chip:
    """The chip that an elaboration is; what its registers decide may be changed."""
    given = {
        "mesh__columns": shape["CORE_COLUMNS"],
        "mesh__rows": shape["ROWS"],
        "mesh__channel_bits": shape["CHANNEL_W"],
        "mesh__tree_bits": shape["TREE_W"],
        "core__lanes": shape["LANES"],
        "core__accumulator_banks": shape["ACCUMULATOR_BANKS"],
        "core__accumulator_bits": shape["ACC_W"],
        "core__weight_banks": shape["WEIGHT_BANKS"],
        "core__weight_word_bits": shape["WORD_W"],
        "core__sweep_width": shape["SWEEP"],
        "core__potential_bits": shape["POTENTIAL_W"],
        "core__encode_width": shape["ENCODE_W"],
    }
    return chip_with(**(given | changes))


def draw_case(seed: int, shape: Shape) -> Case:
    """The case of a seed: the first of its random ones that the mesh has room for.

    Of five one is crowded: the ends of few events' steps pile up in front of a core that owns much, so that one that
    owns a single word sweeps it in one cycle after the other (C4: forwarding).
    """
    rng = np.random.default_rng([47, seed, shape["CORE_COLUMNS"] * shape["ROWS"]])
    crowded = seed % 5 == 0
    while True:
        chip = _random_chip(rng, shape, crowded)
        trace = _random_trace(rng, chip, shape, crowded)
        cuts = _random_cuts(rng, trace, shape, crowded) if crowded or rng.random() < 0.5 else None
        case = Case(trace, chip, cuts)
        if _fits(case, shape):
            return case


def mlp_of(trace: Trace, block: str) -> Trace:
    """The layers fc1 and fc2 of a block, behind a selector that keeps what the last one before them kept."""
    layers = [layer for layer in trace.layers if layer.name in (f"{block}.fc1", f"{block}.fc2")]
    kept = trace.kept[layers[0].selector]
    choice = Select(name="select", source=layers[0].source, form="random", keep=kept.shape[1])
    names = {name for layer in layers for name in (layer.source, layer.target, layer.residual) if name}
    return replace(
        trace,
        layers=(choice, *(replace(layer, selector=0) for layer in layers)),
        streams={name: stream for name, stream in trace.streams.items() if name in names},
        kept=(kept,),
        pixels=None,
        logits=None,
        labels=None,
    )


def _pick(rng, *values):
    """One of the values, as a plain Python object."""
    return values[int(rng.integers(len(values)))]


def _random_chip(rng: np.random.Generator, shape: Shape, crowded: bool) -> Chip:
    """Small buffers, wide flits: what is a register is drawn, mostly where things get tight."""
    chip = chip_of(
        shape,
        mesh__buffer_flits=_pick(rng, 1, 1, 2, 3, shape["BUFFER_DEPTH"]),
        mesh__value_bits=int(rng.integers(1, shape["VALUE_W"] + 1)),
        core__fifo_flits=_pick(rng, 1, 1, 2, 5, shape["FIFO_DEPTH"]),
        core__contexts=int(rng.integers(1, shape["CONTEXTS"] + 1)),
        core__weight_format=_pick(rng, "dense", "bitmap", "csr"),
        core__weight_bits=int(rng.integers(4, shape["WEIGHT_W"] + 1)),
        core__index_bits=int(rng.integers(1, shape["INDEX_W"] + 1)),
        core__order=_pick(rng, "time_outer", "time_inner"),
        token_unit__policy=_pick(rng, "skip", "skip", "gate", "off"),
        token_unit__scan_width=_pick(rng, 1, 2, shape["SCAN"]),
    )
    if crowded:
        chip = chip.replace(
            {
                "mesh.buffer_flits": shape["BUFFER_DEPTH"],
                "mesh.value_bits": 1,
                "core.fifo_flits": 2,
                "core.contexts": shape["CONTEXTS"],
                "core.order": "time_inner",
            }
        )
    return chip.replace({"mesh.link_bits": -(-chip.flit_bits // (1 if crowded else _pick(rng, 1, 1, 2, 3)))})


def _random_trace(rng: np.random.Generator, chip: Chip, shape: Shape, crowded: bool) -> Trace:
    """One to three layers, some with residuals, some behind a selector; silent and full steps, empty rows."""
    builder = Builder(
        Style(
            timesteps=4 if crowded else int(rng.integers(1, 5)),
            weight_density=_pick(rng, 0.05, 0.3, 0.6, 1.0),
            spike_density=_pick(rng, 0.05, 0.15, 0.4),
            weight_bits=chip.core.weight_bits,
            potential_bits=_pick(rng, None, 12, 16),
            seed=int(rng.integers(1 << 30)),
        )
    )
    tokens = int(rng.integers(1, min(9, shape["TOKENS"]) + 1))
    channels = int(rng.integers(1, 4)) if crowded else _random_width(rng, shape)
    largest = _pick(rng, *((1, 1) if not crowded else ()), (1 << shape["STREAM_W"]) - 1)
    dense = rng.integers(1, largest + 1, (1, builder.style.timesteps, tokens, channels))
    dense *= rng.random(dense.shape) < builder.style.spike_density
    kind = rng.random(dense.shape[:3])
    dense[kind < (0.6 if crowded else 0.2)] = 0
    dense[kind > 0.9] = rng.integers(1, largest + 1)
    stream = builder.spikes("given", dense, 1, tokens)
    if rng.random() < 0.5:
        builder.select("select", stream, int(rng.integers(1, tokens + 1)), "random")
    for number in range(int(rng.integers(1, 4))):
        builder.membrane(*random_membrane(rng))
        width = channels if rng.random() < 0.5 else _random_width(rng, shape)
        alike = [name for name, one in builder.streams.items() if one.channels == width]
        residual = _pick(rng, *alike) if alike and rng.random() < 0.6 else ""
        stream = builder.linear(f"linear{number}", stream, width, residual)
    return builder.trace()


def _random_width(rng: np.random.Generator, shape: Shape) -> int:
    cores = shape["CORE_COLUMNS"] * shape["ROWS"]
    return int(rng.integers(1, min(cores * shape["OUTPUTS"], 64) + 1))


def _random_cuts(rng: np.random.Generator, trace: Trace, shape: Shape, crowded: bool) -> Cuts:
    """Uneven cuts, cores without an output among them; alike where widths are, so that residuals find their target."""
    cores = shape["CORE_COLUMNS"] * shape["ROWS"]
    bounds: dict[int, list[int]] = {}
    cuts = {}
    for layer in trace.layers:
        if isinstance(layer, Linear):
            width = layer.weights.output_channels
            inner = np.sort(rng.integers(0, width + 1, cores - 1)).tolist()
            if crowded:
                inner = [min(shape["SWEEP"], width)] * (cores - 1)
            cuts[layer.name] = bounds.setdefault(width, [0, *inner, width])
    return cuts


def _fits(case: Case, shape: Shape) -> bool:
    """Whether cores have room for what they own (outputs, words of a step, values) and for all rows."""
    values = largest_values(case.trace)
    if max(values.values()) >= 1 << shape["STREAM_W"]:
        return False
    inputs = sum(layer.weights.input_channels for layer in case.trace.layers if isinstance(layer, Linear))
    if inputs > shape["INPUTS"] or case.trace.numerics.potential_bits > shape["POTENTIAL_W"]:
        return False
    homes = place(case.trace, case.chip, case.cuts).homes.values()
    return max(int(np.bincount(home.owner).max()) for home in homes) <= shape["OUTPUTS"]
