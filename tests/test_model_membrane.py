"""The integer reference runs any membrane and masked attention as the trace of the same layers says."""

from dataclasses import replace

import numpy as np
import pytest
from cases import chip_with
from sparsespike.model.integer import IntegerNetwork, _Forward
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.trace import Conv, Membrane, Numerics, Trace, Weights

# decay, share of a threshold that a spike takes off (0: it leaves 0)
MEMBRANES = [(128, 0), (256, 0), (256, 256), (230, 0), (230, 300), (128, 128), (1, 90)]


def network_of(trace: Trace) -> IntegerNetwork:
    """The integer network whose trace this is; its pixels are images already."""
    shapes = {name: (stream.channels, stream.height, stream.width) for name, stream in trace.streams.items()}
    return IntegerNetwork(trace.numerics, trace.layers, shapes, 1.0, 0, 0, 0)


def masked_transformer(decay: int, share: int, potential_bits: int | None, seed: int) -> Trace:
    """Pixels, a convolution, a selector, masked attention and a head; the membranes are everybody's."""
    builder = Builder(
        Style(images=3, timesteps=4, spike_density=0.3, weight_density=0.5, potential_bits=potential_bits, seed=seed)
    )
    builder.membrane(decay, share)
    stream = builder.conv("conv", builder.pixels(2, 3, 3), 8)
    builder.select("choice", stream, 6, "rate")
    mixed = builder.masked_attention("mix", builder.linear("fused", stream, 24), 2)
    builder.head("head", builder.linear("last", mixed, 8, stream), 3)
    return builder.trace()


@pytest.mark.parametrize(("decay", "share"), MEMBRANES)
@pytest.mark.parametrize("potential_bits", [None, 17, 32])
def test_the_reference_equals_the_trace_and_the_chip(decay, share, potential_bits):
    """Streams, kept tokens, logits and how often a potential is clipped; 32 bits are worked off in 64."""
    trace = masked_transformer(decay, share, potential_bits, seed=decay + share)
    (result,) = network_of(trace).runs(trace.pixels.astype(np.float32))
    for name, computed in result.streams.items():
        stream = trace.streams[name]
        assert np.array_equal(computed.reshape(-1, stream.channels), stream.events.to_dense(stream.channels)), name
    assert np.array_equal(result.kept[0], trace.kept[0])
    assert np.array_equal(result.logits, trace.logits)
    checked = run(trace, chip_with(token_unit__policy="off"), verify=True)
    assert checked.saturations == result.saturated
    assert (result.saturated > 0) == (potential_bits == 17)
    assert potential_bits == 17 or 0.03 < result.streams["mix.out"].mean() < 0.9  # clipped, it may stay below theta


@pytest.mark.parametrize("potential_bits", [23, 24, 28, 32])
def test_products_of_wide_potentials_do_not_overflow(potential_bits):
    """Potentials at both ends of their width, times a decay of 255: as in whole numbers of any size."""
    high = 2 ** (potential_bits - 1)
    numerics = Numerics(6, 0, 8, 8, min(32, potential_bits), potential_bits)
    layer = Conv(
        name="c", source="pixels", target="y", weights=Weights.from_dense(np.ones((1, 1), np.int8)), bias=np.zeros(1)
    )
    forward = _Forward(IntegerNetwork(numerics, (layer,), {"pixels": (1, 1, 1)}, 1.0, 0, 0, 0), np.zeros((1, 1, 1, 1)))
    rng = np.random.default_rng(potential_bits)
    sums = rng.choice([-high, -high + 1, -1, 0, high // 2, high - 1], (1, 6, 500, 1))
    theta, membrane = high - 1, Membrane(255, np.array([high - 1], np.int32))
    spikes = forward._neurons(sums.astype(np.int32), 0, theta, membrane)
    for at in range(500):
        u = 0
        for t in range(6):
            u = max(-high, min(high - 1, u * 255 // 256 + int(sums[0, t, at, 0])))
            assert spikes[0, t, at, 0] == (u >= theta)
            u -= (high - 1) * (u >= theta)
    assert 0.05 < spikes.mean() < 0.9


def test_no_membrane_is_halving_and_a_reset_to_0():
    """A layer without one, one that says so, and a decay that a multiplication makes of the same: all alike."""
    trace = masked_transformer(128, 0, None, seed=1)
    alike = replace(
        trace,
        layers=tuple(
            replace(layer, membrane=Membrane()) if hasattr(layer, "membrane") else layer for layer in trace.layers
        ),
    )
    images = trace.pixels.astype(np.float32)
    assert np.array_equal(network_of(trace).logits(images), network_of(alike).logits(images))
    run(alike, chip_with(), verify=True)


@pytest.mark.parametrize("spare", [-1, 0, 1, 2])
def test_potentials_are_clipped_as_long_as_one_can_leave_its_width(spare):
    """The longest chain of the largest sums of either sign, and mixed ones: at `spare` 1 nothing can be clipped."""
    steps, fraction, accumulator = 12, 3, 6
    largest, high = 2 ** (accumulator - 1) - 1, 2 ** (accumulator + fraction + spare - 1)
    numerics = Numerics(steps, fraction, 8, 8, accumulator, accumulator + fraction + spare)
    layer = Conv(name="c", source="pixels", target="made", weights=Weights.from_dense(np.ones((1, 1))), bias=None)
    forward = _Forward(IntegerNetwork(numerics, (layer,), {"pixels": (1, 1, 1)}, 1.0, 0, 0, 0), np.zeros((1, 1, 1, 1)))
    sums = np.random.default_rng(spare + 1).choice([-largest, largest, 0, 1], (1, steps, 40, 1))
    sums[0, :, 0], sums[0, :, 1] = -largest, largest
    theta = high - 1
    spikes, clipped = forward._neurons(sums.astype(np.int32), 0, theta), 0
    for at in range(40):
        u = 0
        for t in range(steps):
            wide = u // 2 + int(sums[0, t, at, 0]) * 2**fraction
            u = max(-high, min(high - 1, wide))
            clipped += u != wide
            assert spikes[0, t, at, 0] == (u >= theta)
            u *= u < theta
    assert forward.saturated == clipped
    assert (clipped > 0) == (spare < 1)
