"""capture: who makes time, what neurons remember, and how long a run may be."""

import time

import numpy as np
import pytest
import torch
from small_nets import TIMESTEPS, Net, linear, spikes, stream_rows
from sparsespike import UserError, capture
from sparsespike.model.neuron import LIF
from torch import nn


class Stateful(nn.Module):
    """A neuron of nobody's library that keeps its potential as an attribute, and its last spikes in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.v = 0.0
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.v = 0.5 * self.v + x
        fired = (self.v >= 1).float()
        self.v = self.v * (1 - fired)
        self.last = fired
        return fired


def test_a_run_leaves_no_state_behind():
    model = nn.Sequential(linear(5, 6, 1), Stateful(), linear(6, 4, 2), Stateful()).eval()
    inputs = spikes(TIMESTEPS, 2, 5)
    first = capture(model, inputs, step_by_step=True)
    assert model[1].v == 0.0
    assert torch.equal(model[1].last, torch.zeros(1))
    assert capture(model, inputs, step_by_step=True).sha256 == first.sha256


def test_numbers_that_a_model_overwrites_come_back():
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.fire = linear(5, 6, 1), LIF()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return self.fire(self.first(x))

    model = Counts().eval()
    capture(model, spikes(TIMESTEPS, 2, 5))
    assert model.calls == 0


def once(self, x):
    """Direct coding: the first layer works on the image once, neurons in a loop fire on it again and again."""
    current, out = self.first(x), []
    v = w = 0.0
    for _ in range(TIMESTEPS):
        v = 0.5 * v + current
        fired = (v >= 1.2).float()
        v = v * (1 - fired)
        w = 0.5 * w + self.second(fired)
        late = (w >= 1.0).float()
        w = w * (1 - late)
        out.append(late)
    return torch.stack(out)


def test_neurons_that_loop_on_a_sum_that_is_made_once():
    model = Net(once, first=linear(5, 6, 1), second=linear(6, 4, 2))
    inputs = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) * 2
    trace = capture(model, inputs, None)
    read: list[torch.Tensor] = []
    model.second.register_forward_pre_hook(lambda module, given: read.append(given[0].clone()))
    with torch.no_grad():
        model(inputs)
    own = torch.stack(read, 1)[:, :, None]
    assert not torch.equal(own[:, 0], own[:, 1])
    assert np.array_equal(stream_rows(trace, trace.layers[1].source), own.to(torch.uint8).numpy())


def by_hand(self, x):
    v, out = 0.0, []
    for part in x:
        v = 0.5 * v + self.first(part)
        fired = (v >= 1).float()
        v = v * (1 - fired)
        out.append(fired)
    return self.second(torch.stack(out))


def test_a_long_history_is_followed():
    model, inputs = Net(by_hand, first=linear(5, 6, 1), second=linear(6, 4, 2)), spikes(400, 1, 5)
    trace = capture(model, inputs)
    assert trace.numerics.timesteps == 400
    assert trace.layers[0].target == trace.layers[1].source


def test_more_timesteps_than_can_be_told_apart():
    model = Net(lambda self, x: self.fire(self.first(x)), first=linear(5, 6, 1), fire=LIF())
    with pytest.raises(UserError, match="2047 timesteps; capture tells 2046 apart"):
        capture(model, spikes(2047, 1, 5))


def test_depth_takes_no_more_than_its_time():
    class Block(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            for index, part in enumerate("qkv"):
                setattr(self, part, linear(6, 6, seed + index, bias=False))
                setattr(self, f"{part}_fire", LIF())
            self.fire = LIF()

        def forward(self, x):
            q, k, v = (getattr(self, f"{part}_fire")(getattr(self, part)(x)) for part in "qkv")
            return self.fire(0.25 * (q @ k.mT @ v)) + x  # the other way round than most write it

    model = nn.Sequential(linear(5, 6), LIF(), *(Block(3 * index) for index in range(16))).eval()
    start = time.process_time()
    trace = capture(model, spikes(TIMESTEPS, 2, 4, 5), level="replay")
    assert time.process_time() - start < 30  # three to the power of its depth would take hours
    assert len(trace.layers) >= 1 + 16 * 2


@pytest.mark.parametrize("leave", ["item", "tolist", "numpy"])
def test_numbers_that_leave_torch_are_seen(leave):
    def run(self, x):
        fired = self.fire(self.first(x))
        total = fired.sum()
        number = {"item": total.item, "tolist": total.tolist, "numpy": lambda: float(total.numpy())}[leave]()
        return fired if number > 3 else 1 - fired

    model = Net(run, first=linear(5, 6, 1), fire=LIF())
    with pytest.raises(UserError, match="decides by a value that it has computed"):
        capture(model, spikes(TIMESTEPS, 2, 5))
