"""The neuron update on potentials worked out by hand (rule V1): halving floors, clipping counts, firing resets."""

import numpy as np
import pytest
from sparsespike.simulator.kernels.neuron_array import fire
from sparsespike.simulator.trace import KEEP_HALF


def fired(sums, theta, bits=24, bias=0):
    """Spikes of one neuron over time, and how many updates were clipped; fraction bits 0, so that halving rounds."""
    drive = np.array(sums, np.int64).reshape(-1, 1, 1)
    spikes = np.zeros(drive.shape, np.uint8)
    each = [np.array([value], np.int64) for value in (bias, theta, 0)]
    clipped = fire(drive, *each[:2], KEEP_HALF, each[2], 0, bits, spikes)
    return spikes.reshape(-1).tolist(), clipped


@pytest.mark.parametrize(
    ("sums", "theta", "spikes"),
    [
        ([1, 1], 2, [0, 0]),  # 1, floor(1/2) + 1 = 1
        ([-1, 2], 2, [0, 0]),  # -1, floor(-1/2) + 2 = 1: towards minus infinity, not towards zero
        ([3, 1], 3, [1, 0]),  # fires at theta itself; reset: 0 + 1 = 1
        ([3, 3, 0, 1], 5, [0, 0, 0, 0]),  # 3, 4, 2, 2
        ([3, 4, 4], 5, [0, 1, 0]),  # 3, 5 fires, 4
    ],
)
def test_potentials_by_hand(sums, theta, spikes):
    assert fired(sums, theta) == (spikes, 0)


@pytest.mark.parametrize(("value", "clipped"), [(127, 0), (128, 1), (-128, 0), (-129, 1)])
def test_only_what_does_not_fit_eight_bits_is_clipped(value, clipped):
    assert fired([value], 1000, bits=8) == ([0], clipped)


def test_bias_acts_in_every_timestep_and_a_silent_token_may_fire():
    assert fired([0, 0, 0], 3, bias=2) == ([0, 1, 0], 0)  # 2, 1 + 2 = 3 fires, 2
