"""Seeded pairs of a chip and a trace, small and of every sort, for holding the simulator against the oracle."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
from fitted import fit, pick
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import Chip
from sparsespike.simulator.placement import place
from sparsespike.simulator.trace import Attention, Trace, Window

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
    return Case(seed, _maybe_pipelined(rng, fit(rng, chip, trace), trace), trace)


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
    columns, rows = pick(rng, (4, 4), (3, 4), (5, 3), (6, 2))
    pipelined = chip.replace(ROOM | {"schedule": "pipelined", "mesh.columns": columns, "mesh.rows": rows})
    try:
        place(trace, pipelined)
    except UserError:
        return chip
    return pipelined


def _random_chip(rng):
    """Everything but the sizes of memories and the widths that depend on the trace."""
    columns, rows = pick(rng, (1, 1), (2, 1), (1, 2), (2, 2), (2, 2), (3, 1), (2, 3), (3, 2), (4, 4), (1, 4))
    return chip_with(
        clock_mhz=pick(rng, 100.0, 333.0, 500.0, 1000.0),
        mesh__columns=columns,
        mesh__rows=rows,
        mesh__buffer_flits=pick(rng, 1, 1, 2, 3, 8),
        mesh__link_bits=pick(rng, 5, 8, 13, 24, 64),
        mesh__value_bits=pick(rng, 1, 1, 2, 3, 4),
        core__fifo_flits=pick(rng, 1, 2, 3, 5, 16),
        core__contexts=pick(rng, 1, 1, 2, 3, 4),
        core__lanes=pick(rng, 1, 2, 3, 4, 8, 32),
        core__input_macs=pick(rng, 1, 3, 4, 16),
        core__accumulator_banks=pick(rng, 1, 2, 3, 4, 8),
        core__weight_format=pick(rng, "dense", "bitmap", "csr", "csr"),
        core__index_bits=pick(rng, 1, 1, 2, 3, 5),
        core__weight_banks=pick(rng, 1, 2, 3, 4),
        core__weight_word_bits=pick(rng, 13, 16, 24, 37, 64),
        core__sweep_width=pick(rng, 1, 2, 3, 8),
        core__encode_width=pick(rng, 1, 2, 3, 8, 32),
        core__order=pick(rng, "time_outer", "time_inner"),
        core__time_batch=pick(rng, 1, 1, 1, 2, 3, 4),
        core__partition=pick(rng, "channel", "channel", "token"),
        token_unit__policy=pick(rng, "skip", "skip", "gate", "off"),
        token_unit__scan_width=pick(rng, 1, 2, 3, 8),
        token_unit__macs=pick(rng, 1, 3, 16),
        token_unit__comparators=pick(rng, 1, 2, 5),
        attention__units=pick(rng, 1, 2, 3, 4),
        attention__width=pick(rng, 1, 4, 7, 64),
        attention__sweep_width=pick(rng, 1, 3, 8),
        attention__order=pick(rng, "auto", "auto", "qk_first", "kv_first"),
        dram__bandwidth_gb_s=pick(rng, 0.1, 0.37, 1.7, 12.8, 100.0),
        dram__latency_ns=pick(rng, 0.0, 7.3, 60.0, 200.0),
        dram__burst_bytes=pick(rng, 1, 16, 32, 64),
    )


def _ann_chip(rng, chip, trace):
    """M3, M6: values in one flit or in a few; the order of products that the trace has, or its choice."""
    orders = [layer.order for layer in trace.layers if isinstance(layer, Attention)]
    order = orders[0] if len(set(orders)) == 1 and rng.random() < 0.5 else "auto"
    return chip.replace({"mesh.value_bits": pick(rng, 8, 8, 7, 6, 4), "attention.order": order})


def _random_trace(rng, chip, neuron):
    style = Style(
        neuron=neuron,
        images=pick(rng, 1, 1, 2, 3),
        timesteps=pick(rng, 1, 2, 3, 4),
        weight_density=pick(rng, 0.1, 0.3, 0.3, 0.6, 1.0),
        spike_density=pick(rng, 0.05, 0.15, 0.3, 0.5),
        weight_bits=pick(rng, 2, 4, 6, 8),
        potential_bits=pick(rng, None, None, 10, 16),
        shadow=chip.token_unit.policy != "skip" or bool(rng.integers(2)),
        seed=int(rng.integers(1 << 30)),
    )
    stacks, transformers = [_linear_stack, _linear_stack], [_transformer] * 3
    grow = pick(rng, *stacks, _convolutions, _windowed, _windowed, *transformers)
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
    height, width = pick(rng, (1, 1), (1, 3), (2, 2), (2, 3), (1, 7))
    stream = _given(rng, builder, int(rng.integers(1, 40)), height, width, pick(rng, 1, 1, 3, 9))
    for index in range(int(rng.integers(1, 4))):
        _membrane(rng, builder)
        channels = pick(rng, int(rng.integers(1, 40)), builder.streams[stream].channels)
        same = builder.streams[stream].channels == channels
        stream = builder.linear(f"linear{index}", stream, channels, stream if same and rng.random() < 0.7 else "")
    if rng.random() < 0.3:
        _select(rng, builder, "select", stream, int(rng.integers(1, height * width + 1)))
        stream = builder.linear("behind", stream, int(rng.integers(1, 20)))
    if rng.random() < 0.5:
        builder.head("head", stream, int(rng.integers(1, 11)))


def _membrane(rng, builder):
    """V1: how the neurons of layers to come leak and reset; half of the time as without a membrane."""
    if builder.style.neuron != "relu" and rng.random() < 0.7:
        builder.membrane(pick(rng, 128, 128, 128, 256, 256, 230, 255, 77, 1), pick(rng, 0, 0, 256, 256, 300, 90))


def _select(rng, builder, name, stream, keep):
    """T6: every other scorer has a table."""
    form, table = pick(rng, ("learned", False), ("learned", True), ("rate", False), ("random", False))
    builder.select(name, stream, keep, form, table=table)


def _stem(rng, builder, channels):
    """A map of spikes: given, or from pixels through convolutions with or without pools."""
    height, width = pick(rng, (2, 2), (3, 2), (3, 3), (4, 3), (4, 4), (5, 4), (6, 6))
    if rng.random() < 0.3:
        return _given(rng, builder, channels, height, width, pick(rng, 1, 2, 5))
    stream = builder.pixels(int(rng.integers(1, 4)), height, width)
    for index in range(int(rng.integers(1, 3))):
        last = index > 0 and builder.streams[stream].channels == channels
        kernel = pick(rng, 1, 3, 3, 3, 5)
        residual = stream if last and rng.random() < 0.7 else ""
        pooled = None if residual else _pooled(rng, builder, builder.streams[stream])
        stream = builder.conv(f"conv{index}", stream, channels, kernel, residual, pooled)
        made = builder.streams[stream]
        if made.kind == builder.neurons.kind and made.height > 2 and rng.random() < 0.3:
            stream = builder.pool(f"pool{index}", stream)
    return stream


def _pooled(rng, builder, source):
    """C10: some convolutions that keep the map's size pool their sums as networks do, 2 x 2 or 3 x 3 at stride 2."""
    if builder.style.neuron == "relu" or min(source.height, source.width) < 2 or rng.random() < 0.5:
        return None
    return pick(rng, Window(2, 2, 2), Window(3, 3, 2, 1, 1))


def _convolutions(rng, builder):
    stream = _stem(rng, builder, int(rng.integers(1, 9)))
    for index in range(int(rng.integers(1, 3))):
        _membrane(rng, builder)
        channels = pick(rng, int(rng.integers(1, 12)), builder.streams[stream].channels)
        same = builder.streams[stream].channels == channels
        residual = stream if same and rng.random() < 0.6 else ""
        pooled = None if residual else _pooled(rng, builder, builder.streams[stream])
        stream = builder.conv(f"more{index}", stream, channels, pick(rng, 1, 3, 3, 5), residual, pooled)
    builder.head("head", stream, int(rng.integers(1, 11)))


def _windowed(rng, builder):
    """Convolutions and pools of any geometry, perhaps a whole map into the last layer; with or without a head."""
    size = pick(rng, (1, 9), (7, 1), (4, 4), (5, 4), (6, 6), (3, 7), (7, 5))
    wide, largest, seen = int(rng.integers(2, 13)), pick(rng, 1, 2, 5), rng.random() < 0.5
    stream = builder.pixels(1 + wide // 4, *size) if seen else _given(rng, builder, wide, *size, largest)
    for index in range(int(rng.integers(1, 4))):
        _membrane(rng, builder)
        source = builder.streams[stream]
        size = source.height, source.width
        channels, window, pooled = pick(rng, int(rng.integers(1, 12)), source.channels), _window(rng, *size), None
        made = window.outputs(*size)
        if builder.style.neuron == "lif" and rng.random() < 0.5:
            pooled = _window(rng, *made, 3)
            made = pooled.outputs(*made)
        keeps = made == size
        residual = stream if keeps and channels == source.channels and source.kind == builder.neurons.kind else ""
        stream = builder.conv(f"conv{index}", stream, channels, window, residual, pooled)
        if rng.random() < 0.5:
            form = pick(rng, "max", "sum") if builder.style.neuron == "lif" else "max"
            stream = builder.pool(f"pool{index}", stream, form=form, window=_window(rng, *made, 3))
    source = builder.streams[stream]
    if rng.random() < 0.5:
        stream = builder.conv("whole", stream, int(rng.integers(1, 12)), Window(source.height, source.width))
    if rng.random() < 0.4:
        builder.head("head", stream, int(rng.integers(1, 11)))
    elif rng.random() < 0.7:
        builder.count()


def _window(rng, rows, columns, most=4):
    """A window of kernels up to `most` that fits the map, sometimes with inputs that none sees in between."""

    def side(size):
        kernel = int(rng.integers(1, most + 1))
        pads = [pad for pad in range(kernel) if kernel <= size + 2 * pad and pad <= size]
        return (kernel, pick(rng, *pads)) if pads else (1, 0)

    (height, pad_y), (width, pad_x) = side(rows), side(columns)
    return Window(height, width, pick(rng, 1, 1, 2, 2, 3), pad_y, pad_x)


def _transformer(rng, builder):
    heads = int(rng.integers(1, 4))
    width = heads * int(rng.integers(1, 6))
    stream = _stem(rng, builder, width)
    left = builder.streams[stream].tokens
    for block in range(int(rng.integers(1, 3))):
        if rng.random() < 0.7:
            left = int(rng.integers(1, left + 1))
            _select(rng, builder, f"select{block}", stream, left)
        _membrane(rng, builder)
        fused = builder.linear(f"qkv{block}", stream, 3 * width)
        _membrane(rng, builder)
        mixed = _attention(rng, builder, f"attention{block}", fused, heads)
        _membrane(rng, builder)
        stream = builder.linear(f"projection{block}", mixed, width, stream)
        if rng.random() < 0.6:
            wide = builder.linear(f"fc1-{block}", stream, int(rng.integers(1, 4)) * width)
            stream = builder.linear(f"fc2-{block}", wide, width, stream)
    builder.head("head", stream, int(rng.integers(1, 11)))


def _attention(rng, builder, name, fused, heads):
    """A4: every other spiking one is masked."""
    if builder.style.neuron == "relu":
        return builder.attention(name, fused, heads, order=pick(rng, None, "qk_first", "kv_first"))
    return pick(rng, builder.attention, builder.masked_attention)(name, fused, heads)


def any_window(rng, height, width, most):
    """A window that fits the map; every sort of stride and padding, rectangular ones too."""

    def side(size):
        kernel = int(rng.integers(1, most + 1))
        pads = [pad for pad in range(kernel) if pad <= size and kernel <= size + 2 * pad]
        return (kernel, int(rng.choice(pads))) if pads else (1, 0)

    (kernel_y, pad_y), (kernel_x, pad_x) = side(height), side(width)
    return Window(kernel_y, kernel_x, int(rng.integers(1, 4)), pad_y, pad_x)
