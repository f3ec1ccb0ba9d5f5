"""Seeded pairs of a chip and a trace, small and of every sort, for holding the simulator against the oracle."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
from oracle.dram import Memory
from oracle.setting import Setting
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import Chip
from sparsespike.simulator.placement import place
from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Trace

BASE = {
    "name": "test",
    "description": "A chip with room for everything",
    "clock_mhz": 500.0,
    "schedule": "layerwise",
    "technology": {"node_nm": 45, "sram_device": "lstp"},
    "mesh": {
        "columns": 2,
        "rows": 1,
        "buffer_flits": 4,
        "link_bits": 64,
        "value_bits": 2,
        "channel_bits": 10,
        "tree_bits": 8,
    },
    "core": {
        "fifo_flits": 8,
        "contexts": 2,
        "lanes": 4,
        "input_macs": 8,
        "accumulator_banks": 4,
        "accumulator_words": 65536,
        "accumulator_bits": 32,
        "weight_format": "csr",
        "weight_bits": 8,
        "index_bits": 4,
        "weight_kib": 1024.0,
        "weight_banks": 2,
        "weight_word_bits": 24,
        "pointer_kib": 1024.0,
        "sweep_width": 4,
        "potential_kib": 1024.0,
        "potential_bits": 32,
        "spike_kib": 1024.0,
        "encode_width": 8,
        "order": "time_outer",
        "time_batch": 1,
        "partition": "channel",
    },
    "token_unit": {
        "policy": "skip",
        "scan_width": 4,
        "macs": 4,
        "comparators": 2,
        "feature_kib": 1024.0,
        "weight_kib": 1024.0,
    },
    "attention": {
        "units": 1,
        "width": 8,
        "sweep_width": 4,
        "order": "auto",
        "operand_kib": 1024.0,
        "accumulator_words": 65536,
    },
    "dram": {"type": "lpddr4", "bandwidth_gb_s": 8.0, "latency_ns": 50.0, "burst_bytes": 32},
}


def chip_with(**changes):
    """The roomy chip with changes; keys are `part__key`, as in mesh__columns=2."""
    data = deepcopy(BASE)
    for key, value in changes.items():
        part, _, leaf = key.partition("__")
        if leaf:
            assert leaf in data[part], key
            data[part][leaf] = value
        else:
            data[part] = value
    return Chip.model_validate(data)


@dataclass(frozen=True)
class Case:
    """A chip and a trace that it accepts."""

    seed: int
    chip: Chip
    trace: Trace


@cache
def make_case(seed, neuron=None):
    """The case of a seed; mostly several cores and layers. neuron: None makes every seventh an ANN."""
    neuron = neuron or ("relu" if seed % 7 == 6 else "lif")
    rng = np.random.default_rng([7, seed])
    chip = _random_chip(rng)
    trace = _random_trace(rng, chip, neuron)
    if neuron == "relu":
        chip = _ann_chip(rng, chip, trace)
    return Case(seed, _maybe_pipelined(rng, _fitted(rng, chip, trace), trace), trace)


ROOM = {
    "core.accumulator_words": 65536,
    "core.weight_kib": 4096.0,
    "core.pointer_kib": 4096.0,
    "core.spike_kib": 4096.0,
    "core.potential_kib": 4096.0,
    "token_unit.weight_kib": 4096.0,
    "attention.accumulator_words": 65536,
    "mesh.tree_bits": 16,
}


def _maybe_pipelined(rng, chip, trace):
    """One chip in four runs all layers at once, with more cores and room for everything, if the trace can be run so."""
    if rng.random() >= 0.25:
        return chip
    columns, rows = _pick(rng, (4, 4), (3, 4), (5, 3), (6, 2))
    pipelined = chip.replace(ROOM | {"schedule": "pipelined", "mesh.columns": columns, "mesh.rows": rows})
    try:
        place(trace, pipelined)
    except UserError:
        return chip
    return pipelined


def _pick(rng, *values):
    """One of the values, as a plain Python object."""
    return values[int(rng.integers(len(values)))]


def _random_chip(rng):
    """Everything but the sizes of memories and the widths that depend on the trace."""
    columns, rows = _pick(rng, (1, 1), (2, 1), (1, 2), (2, 2), (2, 2), (3, 1), (2, 3), (3, 2), (4, 4), (1, 4))
    return chip_with(
        clock_mhz=_pick(rng, 100.0, 333.0, 500.0, 1000.0),
        mesh__columns=columns,
        mesh__rows=rows,
        mesh__buffer_flits=_pick(rng, 1, 1, 2, 3, 8),
        mesh__link_bits=_pick(rng, 5, 8, 13, 24, 64),
        mesh__value_bits=_pick(rng, 1, 1, 2, 3, 4),
        core__fifo_flits=_pick(rng, 1, 2, 3, 5, 16),
        core__contexts=_pick(rng, 1, 1, 2, 3, 4),
        core__lanes=_pick(rng, 1, 2, 3, 4, 8, 32),
        core__input_macs=_pick(rng, 1, 3, 4, 16),
        core__accumulator_banks=_pick(rng, 1, 2, 3, 4, 8),
        core__weight_format=_pick(rng, "dense", "bitmap", "csr", "csr"),
        core__index_bits=_pick(rng, 1, 1, 2, 3, 5),
        core__weight_banks=_pick(rng, 1, 2, 3, 4),
        core__weight_word_bits=_pick(rng, 13, 16, 24, 37, 64),
        core__sweep_width=_pick(rng, 1, 2, 3, 8),
        core__encode_width=_pick(rng, 1, 2, 3, 8, 32),
        core__order=_pick(rng, "time_outer", "time_inner"),
        core__time_batch=_pick(rng, 1, 1, 1, 2, 3, 4),
        core__partition=_pick(rng, "channel", "channel", "token"),
        token_unit__policy=_pick(rng, "skip", "skip", "gate", "off"),
        token_unit__scan_width=_pick(rng, 1, 2, 3, 8),
        token_unit__macs=_pick(rng, 1, 3, 16),
        token_unit__comparators=_pick(rng, 1, 2, 5),
        attention__units=_pick(rng, 1, 2, 3, 4),
        attention__width=_pick(rng, 1, 4, 7, 64),
        attention__sweep_width=_pick(rng, 1, 3, 8),
        attention__order=_pick(rng, "auto", "auto", "qk_first", "kv_first"),
        dram__bandwidth_gb_s=_pick(rng, 0.1, 0.37, 1.7, 12.8, 100.0),
        dram__latency_ns=_pick(rng, 0.0, 7.3, 60.0, 200.0),
        dram__burst_bytes=_pick(rng, 1, 16, 32, 64),
    )


def _ann_chip(rng, chip, trace):
    """M3, M6: values in one flit or in a few; the order of products that the trace has, or its choice."""
    orders = [layer.order for layer in trace.layers if isinstance(layer, Attention)]
    order = orders[0] if len(set(orders)) == 1 and rng.random() < 0.5 else "auto"
    return chip.replace({"mesh.value_bits": _pick(rng, 8, 8, 7, 6, 4), "attention.order": order})


def _random_trace(rng, chip, neuron):
    style = Style(
        neuron=neuron,
        images=_pick(rng, 1, 1, 2, 3),
        timesteps=_pick(rng, 1, 2, 3, 4),
        weight_density=_pick(rng, 0.1, 0.3, 0.3, 0.6, 1.0),
        spike_density=_pick(rng, 0.05, 0.15, 0.3, 0.5),
        weight_bits=_pick(rng, 2, 4, 6, 8),
        potential_bits=_pick(rng, None, None, 10, 16),
        shadow=chip.token_unit.policy != "skip" or bool(rng.integers(2)),
        seed=int(rng.integers(1 << 30)),
    )
    grow = _pick(rng, _linear_stack, _linear_stack, _convolutions, _transformer, _transformer, _transformer)
    builder = Builder(style)
    grow(rng, builder)
    return builder.trace()


def _given(rng, builder, channels, height, width, largest):
    """A stream that no layer writes, with silent rows and full ones."""
    style = builder.style
    shape = (style.images, style.timesteps, height * width, channels)
    largest *= 28 if style.neuron == "relu" else 1  # up to 252
    dense = (rng.random(shape) < style.spike_density) * rng.integers(1, largest + 1, shape)
    kind = rng.random(shape[:3])
    dense[kind < 0.2] = 0
    dense[kind > 0.9] = rng.integers(1, largest + 1)
    return builder.spikes("given", dense, height, width)


def _linear_stack(rng, builder):
    height, width = _pick(rng, (1, 1), (1, 3), (2, 2), (2, 3), (1, 7))
    stream = _given(rng, builder, int(rng.integers(1, 40)), height, width, _pick(rng, 1, 1, 3, 9))
    for index in range(int(rng.integers(1, 4))):
        channels = _pick(rng, int(rng.integers(1, 40)), builder.streams[stream].channels)
        same = builder.streams[stream].channels == channels
        stream = builder.linear(f"linear{index}", stream, channels, stream if same and rng.random() < 0.7 else "")
    if rng.random() < 0.3:
        _select(rng, builder, "select", stream, int(rng.integers(1, height * width + 1)))
        stream = builder.linear("behind", stream, int(rng.integers(1, 20)))
    if rng.random() < 0.5:
        builder.head("head", stream, int(rng.integers(1, 11)))


def _select(rng, builder, name, stream, keep):
    """T6: every other scorer has a table."""
    form, table = _pick(rng, ("learned", False), ("learned", True), ("rate", False), ("random", False))
    builder.select(name, stream, keep, form, table=table)


def _stem(rng, builder, channels):
    """A map of spikes: given, or from pixels through convolutions with or without pools."""
    height, width = _pick(rng, (2, 2), (3, 2), (3, 3), (4, 3), (4, 4))
    if rng.random() < 0.3:
        return _given(rng, builder, channels, height, width, _pick(rng, 1, 2, 5))
    stream = builder.pixels(int(rng.integers(1, 4)), height, width)
    for index in range(int(rng.integers(1, 3))):
        last = index > 0 and builder.streams[stream].channels == channels
        kernel = _pick(rng, 1, 3, 3, 3, 5)
        stream = builder.conv(f"conv{index}", stream, channels, kernel, stream if last and rng.random() < 0.7 else "")
        if builder.streams[stream].kind == builder.neurons.kind and height > 2 and rng.random() < 0.3:
            stream = builder.pool(f"pool{index}", stream)
    return stream


def _convolutions(rng, builder):
    stream = _stem(rng, builder, int(rng.integers(1, 9)))
    for index in range(int(rng.integers(1, 3))):
        channels = _pick(rng, int(rng.integers(1, 12)), builder.streams[stream].channels)
        same = builder.streams[stream].channels == channels
        residual = stream if same and rng.random() < 0.6 else ""
        stream = builder.conv(f"more{index}", stream, channels, _pick(rng, 1, 3, 3, 5), residual)
    builder.head("head", stream, int(rng.integers(1, 11)))


def _transformer(rng, builder):
    heads = int(rng.integers(1, 4))
    width = heads * int(rng.integers(1, 6))
    stream = _stem(rng, builder, width)
    left = builder.streams[stream].tokens
    for block in range(int(rng.integers(1, 3))):
        if rng.random() < 0.7:
            left = int(rng.integers(1, left + 1))
            _select(rng, builder, f"select{block}", stream, left)
        fused = builder.linear(f"qkv{block}", stream, 3 * width)
        order = _pick(rng, None, "qk_first", "kv_first") if builder.style.neuron == "relu" else None
        mixed = builder.attention(f"attention{block}", fused, heads, order=order)
        stream = builder.linear(f"projection{block}", mixed, width, stream)
        if rng.random() < 0.6:
            wide = builder.linear(f"fc1-{block}", stream, int(rng.integers(1, 4)) * width)
            stream = builder.linear(f"fc2-{block}", wide, width, stream)
    builder.head("head", stream, int(rng.integers(1, 11)))


def _fitted(rng, chip, trace):
    """The chip with fields just wide enough, and memories for all or for some: then weights stream and data spill."""
    channels = max(stream.channels for stream in trace.streams.values())
    trees = (chip.cores + chip.attention.units) * max(chip.cores, chip.attention.units)
    setting = Setting(trace, chip)
    memory = Memory(setting)
    numbers = trace.numerics
    banks, bits = chip.core.weight_banks, chip.core.weight_word_bits
    one = max(max(words) for words in memory.words)
    every = max(sum(layer[core] for layer in memory.words) for core in range(chip.cores))
    words = max(1, _pick(rng, one, int(rng.integers(one, every + 1)), every, every))
    pointers = _pick(rng, max(max(layer) for layer in memory.pointers), sum(max(layer) for layer in memory.pointers))
    scorer = _pick(rng, max(memory.selector), sum(memory.selector))
    layers = range(len(trace.layers))
    spikes = max(memory.spike_bits(layer, core) for layer in layers for core in range(chip.cores)) // 8 + 1
    potentials = (
        max(memory.potential_bits_held(layer, 0, core) for layer in layers for core in range(chip.cores)) // 8 + 1
    )
    return chip.replace(
        {
            "mesh.channel_bits": max(1, (channels - 1).bit_length()) + int(rng.integers(3)),
            "mesh.tree_bits": (trees - 1).bit_length() + 1,
            "core.weight_bits": min(8, numbers.weight_bits + int(rng.integers(3))),
            "core.accumulator_bits": max(8, numbers.accumulator_bits),
            "core.accumulator_words": max(1, _accumulators(setting)),
            "core.potential_bits": max(8, numbers.potential_bits + int(rng.integers(3))),
            "core.weight_kib": (words + banks - 1) // banks * banks * bits / 8192,
            "core.pointer_kib": max(1, pointers) * 4 / 1024,
            "core.spike_kib": max(1, int(spikes * _pick(rng, 0.3, 0.7, 1, 1))) / 1024,
            "core.potential_kib": max(1, int(potentials * _pick(rng, 0.3, 0.7, 1, 1))) / 1024,
            "token_unit.weight_kib": max(1, scorer) / 1024,
            "attention.accumulator_words": max(1, _attention_words(setting, rng)),
        }
    )


def _accumulators(setting):
    """P4: the accumulators that the largest layer needs on a core."""
    needed = 0
    for layer, weights in zip(setting.trace.layers, setting.weights, strict=True):
        owned = max(len(core.owned) for core in weights) if weights else 0
        places = 1
        if isinstance(layer, Linear):
            places = setting.chip.core.contexts
        elif isinstance(layer, Conv):
            places = (layer.kernel - 1) * setting.source(layer).width + layer.kernel + setting.chip.core.contexts - 1
        if isinstance(layer, Conv) and setting.chip.core.order == "time_inner":
            places *= setting.timesteps
        elif not isinstance(layer, Head):
            places *= min(setting.timesteps, setting.chip.core.time_batch)
        needed = max(needed, owned * places)
    return needed


def _attention_words(setting, rng):
    """A2: enough for one order at least; sometimes not for the other, so that `auto` has to give in."""
    needed = 1
    for layer in setting.trace.layers:
        if isinstance(layer, Attention):
            d = setting.heads_of(layer)[1]
            tokens = setting.source(layer).height * setting.source(layer).width
            forms = {"qk_first": tokens + tokens * d, "kv_first": d * d + tokens * d}
            needed = max(needed, forms.get(layer.order or setting.chip.attention.order, forms["qk_first"]))
            if rng.random() < 0.5:
                needed = max(needed, *forms.values())
    return needed
