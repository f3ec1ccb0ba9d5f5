"""The workload `mlp`, with the very spikes that SANA-FE's neurons fired, and the same network in int8.

Both run on a mesh with as many cores as SANA-FE uses, 128 (or 32) neurons on each, layers on cores of their own: that
is `schedule = "pipelined"`, where all layers are at work at once as on SANA-FE's chip, with the cuts below.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sparsespike.simulator.hardware import Chip, load_chip
from sparsespike.simulator.trace import Conv, Events, Layer, Linear, Numerics, Stream, Trace, Weights

from .sanafe_mlp import HIDDEN, INPUTS, THRESHOLD, TIMESTEPS, draw_network

SPIKES_FILE = Path(__file__).parent.parent / "data" / "mlp_spikes.npz"

SYNAPTIC_EVENTS = 2_597_294
SPIKES = {"input": 7_633, "hidden": 36_994, "output": 31_458}

# The int8 network fires a little differently: weights are rounded, and here a spike acts in the timestep in which it is
# fired, on SANA-FE in the next.
INT8_SYNAPTIC_EVENTS = 2_621_537
INT8_SPIKES = {"input": 7_633, "hidden": 37_619, "output": 32_249}
INT8_SCALE = 12  # steps of int8 per unit of weight: the largest weight comes near 127
FRACTION_BITS = 8
NOT_EXACT = "SANA-FE's weights, thresholds and potentials are floating-point numbers; only the weights' pattern is kept"

LAYERS = {"input": INPUTS, "fc1": HIDDEN, "fc2": INPUTS}
SHAPES = {128: (6, 3), 32: (6, 12)}  # neurons on a core: columns and rows of cores
COLUMNS = {"input": (0, 1), "fc1": (1, 5), "fc2": (5, 6)}  # the columns of cores that a layer owns, first and end


@dataclass(frozen=True)
class Recorded:
    """SANA-FE's run: bool[timesteps, neurons] by population, bool[inputs, outputs] of both layers."""

    spikes: dict[str, NDArray[np.bool_]]
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]]


@cache
def recorded() -> Recorded:
    """What stands in tests/data: the masks, and every neuron's spikes as SANA-FE 2.2.9 fired them, a bit each."""

    def unpack(bits: NDArray[np.uint8], *shape: int) -> NDArray[np.bool_]:
        return np.unpackbits(bits)[: shape[0] * shape[1]].reshape(shape).astype(np.bool_)

    with np.load(SPIKES_FILE) as file:
        timesteps, inputs, hidden, outputs = file["shape"].tolist()
        sizes = {"input": ("x", inputs), "hidden": ("h", hidden), "output": ("y", outputs)}
        spikes = {name: unpack(file[key], timesteps, size) for name, (key, size) in sizes.items()}
        masks = unpack(file["mask1"], inputs, hidden), unpack(file["mask2"], hidden, outputs)
    return Recorded(spikes, masks)


def replay_trace() -> Trace:
    """SANA-FE's run as a replay: weights by their pattern only, all spikes given.

    Its inputs are neurons on cores of their own, without synapses. So are they here: a convolution of one pixel without
    any weight, which has no synaptic event and whose neurons are swept in every timestep; rule L1 then gives it cores.
    """
    run = recorded()
    none = Weights(1, INPUTS, 1, np.zeros(2, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.int8))
    inputs = Conv(name="input", source="pixel", target="input", weights=none, bias=None)
    patterns = [replace(Weights.from_dense(mask.T), values=None) for mask in run.masks]
    streams = [Stream("pixel", "real", 1, 1, 1), *(_stream(name, spikes) for name, spikes in run.spikes.items())]
    return _trace(streams, [inputs, *_linear_layers(patterns, None)], np.zeros((1, 1, 1, 1), np.int8), NOT_EXACT)


def int8_trace() -> Trace:
    """The same network with int8 weights and its own spikes, by rule V1: all that the chip needs to verify itself.

    A weight that would round to 0 becomes 1, so that no synapse is lost. Its input is given, lies where it is first
    read (rule L1: on the 9 first cores), and takes no cores of its own.
    """
    drawn = draw_network()
    weights = [_quantise(mask, values) for mask, values in zip(drawn.masks, drawn.weights, strict=True)]
    theta = round(THRESHOLD * INT8_SCALE) << FRACTION_BITS
    hidden = _fire(drawn.spikes @ weights[0], theta)
    spikes = {"input": drawn.spikes, "hidden": hidden, "output": _fire(hidden @ weights[1], theta)}
    layers = _linear_layers([Weights.from_dense(dense.T) for dense in weights], theta)
    return _trace([_stream(name, fired) for name, fired in spikes.items()], layers, None)


def _quantise(mask: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    steps = np.clip(np.rint(weights * INT8_SCALE), -127, 127).astype(np.int64)
    steps[steps == 0] = 1
    return steps * mask


def _fire(sums: NDArray[np.int64], theta: int) -> NDArray[np.bool_]:
    """V1 without bias: bool[timesteps, neurons]."""
    potential = np.zeros(sums.shape[1], np.int64)
    spikes = np.zeros(sums.shape, np.bool_)
    for timestep, drive in enumerate(sums):
        potential = (potential >> 1) + (drive << FRACTION_BITS)
        spikes[timestep] = potential >= theta
        potential[spikes[timestep]] = 0
    return spikes


def _stream(name: str, spikes: NDArray[np.bool_]) -> Stream:
    return Stream(name, "binary", spikes.shape[1], 1, 1, Events.from_dense(spikes))


def _linear_layers(weights: list[Weights], theta: int | None) -> list[Layer]:
    """theta: None of a replay, which knows no biases either."""
    names = (("fc1", "input", "hidden"), ("fc2", "hidden", "output"))
    return [
        Linear(
            name=name,
            source=source,
            target=target,
            weights=one,
            bias=None if theta is None else np.zeros(one.output_channels, np.int32),
            theta=None if theta is None else np.full(one.output_channels, theta, np.int32),
        )
        for (name, source, target), one in zip(names, weights, strict=True)
    ]


def _trace(
    streams: list[Stream], layers: list[Layer], pixels: NDArray[np.int8] | None, replay_reason: str = ""
) -> Trace:
    numerics = Numerics(
        timesteps=TIMESTEPS,
        fraction_bits=FRACTION_BITS,
        weight_bits=8,
        pixel_bits=8,
        accumulator_bits=24,
        potential_bits=24,
    )
    return Trace(
        numerics=numerics,
        streams={stream.name: stream for stream in streams},
        layers=tuple(layers),
        images=1,
        pixels=pixels,
        kept=(),
        logits=None,
        provenance={"origin": "SANA-FE 2.2.9, tests/bench/sanafe_mlp.py"},
        level="replay" if replay_reason else "exact",
        replay_reason=replay_reason,
    )


def mlp_chip(per_core: int) -> Chip:
    """mesh16 with 8 lanes, as many cores as SANA-FE uses, and room for the spikes of 100 timesteps."""
    columns, rows = SHAPES[per_core]
    changes = {"mesh.columns": columns, "mesh.rows": rows, "core.lanes": 8, "core.spike_kib": 64.0}
    return load_chip("mesh16", {"schedule": "pipelined", **changes})


def sanafe_cuts(trace: Trace, per_core: int) -> dict[str, list[int]]:
    """As many neurons on a core as SANA-FE's mapping has, on as many cores, each layer in columns of its own.

    Routes go along x first (N2), so that a tree branches in each column it reaches: whole columns make short trees.
    """
    columns, rows = SHAPES[per_core]
    cuts = {}
    for layer in trace.layers:
        if layer.name in LAYERS:
            first, end = COLUMNS[layer.name]
            mine = [first <= core % columns < end for core in range(columns * rows)]
            cuts[layer.name] = [min(LAYERS[layer.name], per_core * sum(mine[:core])) for core in range(len(mine) + 1)]
    return cuts
