"""The LIF neuron: potentials worked by hand, its gradient, and its integer form."""

import numpy as np
import pytest
import torch
from sparsespike.model.neuron import LIF, _MultiStepLIF
from sparsespike.simulator.trace import Conv, Numerics, Weights

# input -> potential after integration v + (x - v) / 2; it fires at 1 and more, and starts again from 0
HAND_WORKED = [
    (1.0, 0.5),
    (2.0, 1.25),  # fires
    (1.0, 0.5),
    (0.0, 0.25),
    (4.0, 2.125),  # fires
    (-2.0, -1.0),
    (1.5, 0.25),
    (1.75, 1.0),  # exactly at the threshold: fires
    (0.25, 0.125),
]


class Recorder:
    """Stands in for autograd's context and keeps what the forward pass saves."""

    def save_for_backward(self, *tensors: torch.Tensor) -> None:
        self.saved = tensors


def test_nine_potentials_worked_by_hand():
    x = torch.tensor([[x] for x, _ in HAND_WORKED])
    context = Recorder()
    spikes = _MultiStepLIF.forward(context, x, 1.0)
    assert context.saved[0][:, 0].tolist() == [v for _, v in HAND_WORKED]
    assert spikes[:, 0].tolist() == [float(v >= 1) for _, v in HAND_WORKED]
    assert torch.equal(LIF()(x), spikes)


def test_threshold_of_one_half_fires_earlier():
    assert LIF(0.5)(torch.tensor([[1.0], [0.9], [0.0]]))[:, 0].tolist() == [1.0, 0.0, 0.0]


class Step(torch.autograd.Function):
    """Spike with the sigmoid surrogate, one timestep: what autograd is told in the usual way."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        s = torch.sigmoid(4 * ctx.saved_tensors[0])
        return grad * 4 * s * (1 - s)


def test_gradient_equals_autograd_through_the_loop():
    torch.manual_seed(0)
    x = (3 * torch.randn(5, 200, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(5, 200, dtype=torch.float64)
    v, spikes = torch.zeros(200, dtype=torch.float64), []
    for t in range(5):
        h = v + (x[t] - v) / 2
        spikes.append(Step.apply(h - 1.0))
        v = h * (1 - spikes[-1].detach())
    (expected,) = torch.autograd.grad(torch.stack(spikes), x, weight)
    (got,) = torch.autograd.grad(LIF()(x), x, weight)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("timesteps", [1, 2, 4, 6])
def test_integer_neuron_equals_float_neuron_where_exact(timesteps):
    """theta = ceil(2^F 2 v_th / s) with F = T - 1: no halving loses a bit, so every spike is the same."""
    from sparsespike.model.integer import IntegerNetwork, _Forward

    scale, fraction = 2.0**-5, timesteps - 1
    sums = np.random.default_rng(timesteps).integers(-200, 300, (1, timesteps, 1000, 1))
    numerics = Numerics(timesteps, fraction, 8, 8, 16, 24)
    weights = Weights.from_dense(np.ones((1, 1), np.int8))
    layer = Conv(name="c", source="pixels", target="y", weights=weights, bias=np.zeros(1, np.int32), theta=None)
    network = IntegerNetwork(numerics, (layer,), {"pixels": (1, 1, 1)}, 1.0, 0, 0, 0)
    forward = _Forward(network, np.zeros((1, 1, 1, 1), np.float32))
    got = forward._neurons(sums.astype(np.int32), 0, int(np.ceil(2**fraction * 2 / scale)))
    expected = LIF()(torch.from_numpy(sums[0] * scale))
    assert 0.1 < got.mean() < 0.9
    assert forward.saturated == 0
    assert np.array_equal(got[0], expected.numpy())
