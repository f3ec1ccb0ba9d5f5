"""Rule V1 with any leak and reset: by hand, against whole numbers of any size, and as foreign neurons state it."""

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from broken_traces import TRANSFORMER, layer_with
from handmade import attention_trace, linear_trace, quick
from oracle import simulate_slowly
from sparsespike.simulator.activity import Action
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.kernels.neuron_array import fire
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Membrane, load_trace, save_trace
from sparsespike.simulator.trace_file import flatten_trace


def fired(sums, theta, decay=128, reset_by=0, *, fraction_bits=0, bits=32, bias=0):
    """(spikes, clipped updates) of neurons sums[timesteps, neurons] alike in all but, perhaps, theta and reset_by."""
    drive = np.ascontiguousarray(np.asarray(sums, np.int64)[:, None])
    channels = [np.broadcast_to(part, drive.shape[2]).astype(np.int64) for part in (bias, theta, reset_by)]
    spikes = np.zeros(drive.shape, np.uint8)
    clipped = fire(drive, channels[0], channels[1], decay, channels[2], fraction_bits, bits, spikes)
    return spikes[:, 0], clipped


def slowly(sums, theta, decay, reset_by, fraction_bits, bits, bias):
    """Rule V1 for one neuron in whole numbers and fractions: [(potential before the reset, spike)], clipped updates."""
    high, u, told, clipped = 2 ** (bits - 1) - 1, 0, [], 0
    for x in sums:
        wide = floor(Fraction(u * decay, 256)) + (x + bias) * 2**fraction_bits
        u = max(-high - 1, min(high, wide))
        clipped += u != wide
        told.append((u, u >= theta))
        if u >= theta:
            u = u - reset_by if reset_by else 0
    return told, clipped


# (decay, reset_by, theta) -> (sum, potential before the reset) in each timestep; no fraction bits
BY_HAND = {
    (256, 10, 10): [(4, 4), (3, 7), (5, 12), (0, 2), (9, 11), (0, 1), (-7, -6), (2, -4)],  # 12 - 10 = 2, 11 - 10 = 1
    (256, 0, 10): [(4, 4), (3, 7), (5, 12), (0, 0), (9, 9), (1, 10), (-7, -7)],  # at 12 and at 10 itself: 0
    (256, 3, 10): [(19, 19), (0, 16), (0, 13), (0, 10), (0, 7)],  # one large sum fires four times
    (230, 0, 100): [(90, 90), (10, 90), (20, 100), (50, 50), (-50, -6), (0, -6), (0, -6)],  # 80.9, 80.9; floor(-5.4)
    (230, 60, 100): [(120, 120), (60, 113), (0, 47), (70, 112), (0, 46)],  # 60 stays: 53.9; 53 stays: 47.6
    (1, 0, 100): [(90, 90), (90, 90), (-1, -1), (-1, -2)],  # hardly anything is left, but a floor below 0
}


@pytest.mark.parametrize("neuron", BY_HAND)
def test_potentials_by_hand(neuron):
    (decay, reset_by, theta), table = neuron, BY_HAND[neuron]
    spikes, clipped = fired([[x] for x, _ in table], theta, decay, reset_by)
    assert spikes[:, 0].tolist() == [u >= theta for _, u in table]
    assert clipped == 0
    told, _ = slowly([x for x, _ in table], theta, decay, reset_by, 0, 32, 0)
    assert [u for u, _ in told] == [u for _, u in table]


def test_decay_128_is_a_shift():
    """floor(128 u / 256) = floor(u / 2) for all potentials of 18 bits, and for some of 32."""
    wide = np.random.default_rng(0).integers(-(2**31), 2**31, 100_000)
    for potentials in (np.arange(-(2**17), 2**17), wide, np.array([-(2**31), 2**31 - 1])):
        assert np.array_equal(potentials * 128 >> 8, potentials >> 1)
    sums = np.random.default_rng(1).integers(-300, 400, (6, 3000))
    potential, spikes = np.zeros(3000, np.int64), []
    for drive in sums:
        potential = (potential >> 1) + drive
        spikes.append(potential >= 350)
        potential = np.where(spikes[-1], 0, potential)
    assert 0.1 < np.mean(spikes) < 0.9
    assert np.array_equal(fired(sums, 350)[0], spikes)


@pytest.mark.parametrize("seed", range(40))
def test_neurons_equal_whole_numbers(seed):
    """100 neurons of one leak each: 4,000 in all, of every width, clipped or not, reset by anything that fits."""
    rng = np.random.default_rng([83, seed])
    decay = int(rng.choice([1, 77, 127, 128, 129, 230, 255, 256, rng.integers(1, 257)]))
    bits, fraction_bits = int(rng.choice([8, 12, 20, 32])), int(rng.integers(0, 5))
    high = 2 ** (bits - 1) - 1
    reach = high >> fraction_bits
    bias = int(rng.integers(-reach // 4, reach // 4 + 1))
    sums = rng.integers(-reach, 2 * reach, (12, 100))
    theta = rng.integers(1, high + 1, 100)
    reset_by = rng.integers(1, high + 1, 100) * rng.choice([0, 1, 1])
    spikes, clipped = fired(sums, theta, decay, reset_by, fraction_bits=fraction_bits, bits=bits, bias=bias)
    right = [
        slowly(sums[:, at].tolist(), int(theta[at]), decay, int(reset_by[at]), fraction_bits, bits, bias)
        for at in range(100)
    ]
    assert spikes.T.tolist() == [[spike for _, spike in told] for told, _ in right]
    assert clipped == sum(count for _, count in right)
    assert 0.02 < spikes.mean() < 0.98


# ---- as other tools state their neurons, in floats ----

STEPS, SCALE = 6, 2.0**-4
SUMS = np.random.default_rng(5).integers(-40, 90, (STEPS, 3000))


def exact_theta(threshold):
    """In potentials of STEPS - 1 fraction bits: what halvings by a factor of 2 lose nothing of."""
    return ceil(threshold / SCALE * 2 ** (STEPS - 1))


@pytest.mark.parametrize("soft", [False, True])
def test_integrate_and_fire(soft):
    """v <- v + x; fires at 1.5, and goes to 0 or down by 1.5: decay 256."""
    v, spikes = np.zeros(SUMS.shape[1]), []
    for x in SUMS * SCALE:
        v = v + x
        spikes.append(v >= 1.5)
        v = np.where(spikes[-1], v - 1.5 if soft else 0, v)
    theta = exact_theta(1.5)
    mine, clipped = fired(SUMS, theta, 256, theta * soft, fraction_bits=STEPS - 1)
    assert 0.2 < np.mean(spikes) < 0.8
    assert (np.array_equal(mine, spikes), clipped) == (True, 0)


@pytest.mark.parametrize("soft", [False, True])
def test_spikingjelly_with_its_input_decayed(soft):
    """v <- v + (x - v) / tau, tau = 2: times tau throughout, so that theta is tau x the threshold, decay 128."""
    v, spikes = np.zeros(SUMS.shape[1]), []
    for x in SUMS * SCALE:
        v = v + (x - v) / 2
        spikes.append(v >= 0.75)
        v = np.where(spikes[-1], v - 0.75 if soft else 0, v)
    theta = exact_theta(2 * 0.75)
    mine, clipped = fired(SUMS, theta, 128, theta * soft, fraction_bits=STEPS - 1)
    assert 0.2 < np.mean(spikes) < 0.8
    assert (np.array_equal(mine, spikes), clipped) == (True, 0)


@pytest.mark.parametrize(("beta", "decay"), [(1.0, 256), (0.5, 128)])
def test_snntorch_subtracts_a_timestep_later(beta, decay):
    """mem[t] = beta mem[t-1] + x[t] - s[t-1] thr: the same spikes as thr / beta subtracted at once."""
    mem, spike, spikes = np.zeros(SUMS.shape[1]), np.zeros(SUMS.shape[1]), []
    for x in SUMS * SCALE:
        mem = beta * mem + x - spike * 1.25
        spike = mem - 1.25 >= 0
        spikes.append(spike)
    theta = exact_theta(1.25)
    mine, clipped = fired(SUMS, theta, decay, int(theta / beta), fraction_bits=STEPS - 1)
    assert 0.1 < np.mean(spikes) < 0.9
    assert (np.array_equal(mine, spikes), clipped) == (True, 0)
    assert not np.array_equal(fired(SUMS, theta, decay, int(theta * beta / 2), fraction_bits=STEPS - 1)[0], spikes)


# ---- in layers ----


def leaky(decay=128, share=0, seed=3, **style):
    """Two linear layers on given spikes, the first with that membrane."""
    builder = Builder(Style(timesteps=4, spike_density=0.3, weight_density=0.5, seed=seed, **style))
    given = builder.spikes("given", builder.rng.integers(0, 2, (1, 4, 6, 20)), 2, 3)
    builder.membrane(decay, share)
    first = builder.linear("first", given, 16)
    builder.membrane()
    builder.linear("second", first, 12)
    return builder.trace()


MEMBRANES = [(256, 0), (256, 256), (230, 0), (230, 300), (128, 256), (1, 0)]


@pytest.mark.parametrize(("decay", "share"), MEMBRANES)
def test_a_chip_verifies_them_and_a_wrong_membrane_is_seen(decay, share):
    trace = leaky(decay, share)
    result = run(trace, quick(), verify=True)
    assert result.verified.neurons == 4 * 6 * (16 + 12)
    for other in (Membrane(decay=64 if decay != 64 else 32), None):
        with pytest.raises(UserError, match="'first'"):
            run(layer_with(trace, "first", membrane=other), quick(), verify=True)
    if share:
        with pytest.raises(UserError, match="'first'"):
            run(layer_with(trace, "first", membrane=Membrane(decay)), quick(), verify=True)


@pytest.mark.parametrize(("decay", "share"), MEMBRANES)
@pytest.mark.parametrize("order", ["time_outer", "time_inner"])
def test_no_leak_and_no_reset_takes_a_cycle(decay, share, order):
    """V1 in C7's cycle: the same spikes take the same time, whatever made them; only what W2 says is counted more."""
    plain = linear_trace(np.ones((16, 3), int), np.ones((4, 2, 3), int))
    reset_by = np.full(16, 5, np.int32) if share else None
    trace = layer_with(plain, "layer", membrane=Membrane(decay, reset_by))
    chip = quick(core__order=order)
    one, other = run(plain, chip), run(trace, chip)
    assert np.array_equal(one.cycles, other.cycles)
    assert simulate_slowly(trace, chip).cycles == simulate_slowly(plain, chip).cycles == one.cycles.tolist()
    more = other.counts[0] - one.counts[0]
    neurons = 4 * 2 * 16
    expected = {Action.LEAK_MULTIPLY: neurons * (decay in (230, 1)), Action.RESET_SUBTRACT: neurons * bool(share)}
    assert {action: int(more[action]) for action in Action if more[action]} == {
        action: count for action, count in expected.items() if count
    }


def test_potentials_that_saturate_are_counted():
    """8 bits hold what a leak of 128 makes of these sums, and not what piles up without any."""
    weights, spikes = np.full((1, 1), 60), np.ones((4, 1, 1), int)
    for decay, clipped in ((128, 0), (256, 2)):  # 60, 90, 105, 112; 60, 120, 180 and 187 clipped to 127
        trace = linear_trace(weights, spikes)
        trace = replace(trace, numerics=replace(trace.numerics, potential_bits=8))
        trace = layer_with(trace, "layer", membrane=Membrane(decay), theta=np.array([1000], np.int32))
        assert run(trace, quick(), verify=True).saturations == clipped


# ---- files and refusals ----


def test_a_file_gives_membranes_back(tmp_path):
    trace = leaky(230, 256)
    digest = save_trace(trace, tmp_path / "t.safetensors")
    back = load_trace(tmp_path / "t.safetensors")
    assert back.sha256 == digest == trace.sha256
    mine, other = trace.layer("first").membrane, back.layer("first").membrane
    assert (other.decay, other.reset_by.dtype) == (230, np.int32)
    assert np.array_equal(mine.reset_by, other.reset_by)
    assert back.layer("second").membrane is None
    run(back, quick(), verify=True)


def test_traces_without_them_keep_their_checksums():
    """As they were before layers had membranes, and attention a form."""
    linear = linear_trace(np.ones((2, 3), int), np.ones((4, 2, 3), int))
    assert linear.sha256 == "33c8cb2500a39c3e2f7985fc0c535d25c8e3ae414b9fd09dfde1c8bbb19849ba"
    assert attention_trace(3).sha256 == "7cb5c8f24db0d38e549e5a6099bfdd450ffdbdae7f0f5f90b26de25a1c4f2fd0"
    fields = {
        field for trace in (leaky(), TRANSFORMER) for layer in flatten_trace(trace)[1]["layers"] for field in layer
    }
    assert not fields & {"membrane", "decay", "reset_by"}
    assert layer_with(linear, "layer", membrane=Membrane()).sha256 != linear.sha256


HIGH = 2 ** (TRANSFORMER.numerics.potential_bits - 1)
FC1 = len(TRANSFORMER.layer("block0.fc1").bias)
REFUSED = {
    "a decay of 0": ("block0.fc1", Membrane(0), "decay = 0, needs 1 to 256"),
    "a decay of 257": ("sps0", Membrane(257), "decay = 257, needs 1 to 256"),
    "a decay of a half": ("sps0", Membrane(0.5), "decay = 0.5, needs 1 to 256"),
    "a dictionary": ("sps0", {"decay": 3}, "membrane is a dict"),
    "too few resets": ("block0.fc1", Membrane(256, np.ones(3, np.int32)), r"reset_by: shape \(3,\)"),
    "wide resets": ("block0.fc1", Membrane(256, np.ones(FC1, np.int64)), "reset_by: type int64"),
    "a reset by nothing": ("block0.fc1", Membrane(256, np.zeros(FC1, np.int32)), "reset_by must be 1 to"),
    "a reset beyond potentials": (
        "block0.fc1",
        Membrane(256, np.full(FC1, HIGH, np.int32)),
        f"reset_by must be 1 to {HIGH - 1}",
    ),
    "attention's resets": ("block0.attention", Membrane(256, np.ones(6, np.int32)), r"reset_by: shape \(6,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_impossible_membrane_is_refused(name):
    layer, membrane, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        layer_with(TRANSFORMER, layer, membrane=membrane)


@pytest.mark.parametrize("name", ["sps0", "block0.fc1", "block0.attention"])
def test_an_ann_has_no_membranes(name):
    ann = synthetic_trace(neuron="relu", height=4, width=4, sps=(4, 6, 6), depth=1, classes=3, seed=2)
    with pytest.raises(UserError, match=f"'{name}': a membrane, but numerics.neuron is 'relu'"):
        layer_with(ann, name, membrane=Membrane(256))
