"""capture: what a model returns, read off as logits of a head or as spike counts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_nets import TIMESTEPS, Folded, Net, exact, image, linear, on_grid, spikes
from sparsespike import UserError, capture, load_chip, simulate
from sparsespike.model.neuron import LIF
from torch import nn


def same_but_for_a_scale(trace, logits):
    """Weights k / 64 under a scale of their own: the same numbers but for that scale."""
    ours = trace.logits - trace.logits.mean()
    theirs = logits.numpy() - logits.numpy().mean()
    return np.allclose(ours / np.abs(ours).max(), theirs / np.abs(theirs).max(), atol=1e-2)


@pytest.mark.parametrize("mean", [True, False], ids=["mean", "every timestep"])
def test_a_linear_readout_of_the_last_spikes_is_the_head(mean):
    def run(self, x):
        sums = self.head(self.fire(self.first(x)))
        return sums.mean(0) if mean else sums

    model, inputs = Net(run, first=linear(5, 6, 1), head=linear(6, 4, 2), fire=LIF()), spikes(TIMESTEPS, 3, 5)
    trace = exact(model, inputs)
    assert type(trace.layers[-1]).__name__ == "Head"
    with torch.no_grad():
        logits = model(inputs) if mean else model(inputs).mean(0)
    # weights k/64 under a scale of their own: the same numbers but for that scale
    scale = trace.logits[0, 0] / float(logits[0, 0])
    assert np.allclose(trace.logits, scale * logits.numpy(), rtol=1e-5)


@pytest.mark.parametrize("inside", ["sum", "mean"])
def test_biases_of_a_head_count_as_often_as_the_model_adds_them(inside):
    def run(self, x):
        fired = self.fire(self.first(x))
        return self.head(fired.sum(2) if inside == "sum" else fired.mean(2)).mean(0)

    model, inputs = Net(run, first=linear(5, 6, 1), head=linear(6, 4, 2), fire=LIF()), spikes(TIMESTEPS, 3, 7, 5)
    trace = exact(model, inputs)
    with torch.no_grad():
        logits = model(inputs).numpy()
    scale = trace.logits[0, 0] / logits[0, 0]
    assert np.allclose(trace.logits, scale * logits, rtol=2e-2)


def test_a_mean_of_some_tokens_is_no_head():
    def run(self, x):
        return self.head(self.fire(self.first(x))[:, :, 1:].mean(2)).mean(0)

    model = Net(run, first=linear(5, 6, 1), head=linear(6, 4, 2), fire=LIF())
    with pytest.raises(UserError, match=r"neither spikes nor the input|only some of the timesteps or tokens"):
        capture(model, spikes(TIMESTEPS, 3, 7, 5))


@pytest.mark.parametrize("order", ["as they are", "shuffled"])
def test_a_head_reads_channels_in_the_order_in_which_they_come(order):
    """As many tokens as channels, so that nothing but the data tells which is which."""
    shuffle = torch.tensor([3, 1, 5, 0, 2, 4])

    def run(self, x):  # [T, B, 6 tokens, 6 channels]
        fired = self.fire(self.first(x))
        return self.head((fired[..., shuffle] if order == "shuffled" else fired).mean(2).mean(0))

    model, inputs = Net(run, first=linear(5, 6, 1), head=linear(6, 4, 2), fire=LIF()), spikes(TIMESTEPS, 3, 6, 5)
    trace = exact(model, inputs)
    with torch.no_grad():
        assert same_but_for_a_scale(trace, model(inputs))


def test_a_mean_over_channels_is_no_head():
    def run(self, x):
        return self.head(self.fire(self.first(x)).mean(-1).mean(0))

    model = Net(run, first=linear(5, 6, 1), head=linear(6, 4, 2), fire=LIF())
    with pytest.raises(UserError, match=r"neither spikes nor the input in 'head'"):
        capture(model, spikes(TIMESTEPS, 3, 6, 5))


def test_a_sum_pool_stays_one_where_it_never_adds_up_to_two():
    model = nn.Sequential(
        *(
            Folded(on_grid(nn.Conv2d(1, 2, 1), 1)),
            LIF(),
            Folded(nn.AvgPool2d(2)),
            Folded(on_grid(nn.Conv2d(2, 3, 1), 2)),
        ),
        LIF(),
    ).eval()
    pixels = torch.zeros(1, 1, 4, 4)
    pixels[0, 0, 1, 2] = 127 / 128
    trace = capture(model, pixels.expand(TIMESTEPS, -1, -1, -1, -1), 0)
    assert trace.level == "exact", trace.replay_reason
    assert simulate(trace, load_chip("edge"), verify=True).cycles > 0


@pytest.mark.parametrize("returned", ["dict", "tuple"])
def test_what_is_returned_in_a_container(returned):
    def run(self, x):
        fired = self.fire(self.first(x))
        return {"spikes": fired, "other": x} if returned == "dict" else (fired, x)

    model, inputs = Net(run, first=linear(5, 6, 1), fire=LIF()), spikes(TIMESTEPS, 3, 5)
    assert exact(model, inputs).logits.shape == (3, 6)


def test_sums_that_the_model_returns_in_part_are_no_head():
    def run(self, x):
        return self.head(self.fire(self.first(x)))[-1]

    model = Net(run, first=linear(5, 6, 1), head=linear(6, 4, 2), fire=LIF())
    trace = capture(model, spikes(TIMESTEPS, 3, 5))
    assert trace.level == "replay"
    assert "nor does the model return their plain sum or mean over time" in trace.replay_reason


def test_votes_are_counted_by_the_host():
    """A mean over groups of output neurons, as networks for gestures have it, is behind the last spikes."""

    def run(self, x):
        fired = self.fire(self.first(x))
        return F.avg_pool1d(fired.flatten(0, 1)[:, None], 3)[:, 0].unflatten(0, x.shape[:2]).mean(0)

    model, inputs = Net(run, first=linear(5, 6, 1), fire=LIF()), spikes(TIMESTEPS, 3, 5)
    assert [layer.name for layer in exact(model, inputs).layers] == ["first"]


@pytest.mark.parametrize("written", ["one factor", "two factors", "in front of a mean"])
def test_spikes_that_are_scaled_are_spikes(written):
    """As networks have it that were converted from others: a factor behind neurons, its inverse before the next."""

    def run(self, x):
        fired = self.fire(self.first(x))
        if written == "in front of a mean":
            return self.head((0.5 * fired).mean(0))
        scaled = fired * 0.5 if written == "one factor" else (fired * 2).flatten(0, 1).unflatten(0, x.shape[:2]) / 4
        return self.head(self.end(self.second(scaled)))

    model = Net(run, first=linear(5, 6, 1), second=linear(6, 6, 3), head=linear(6, 4, 2), fire=LIF())
    if written != "in front of a mean":
        model.end = LIF()
    inputs = spikes(TIMESTEPS, 3, 5)
    trace = exact(model, inputs)
    assert type(trace.layers[-1]).__name__ == "Head"
    with torch.no_grad():
        returned = model(inputs)
    assert same_but_for_a_scale(trace, returned if written == "in front of a mean" else returned.mean(0))


def test_classes_that_the_model_returns_are_the_hosts():
    def run(self, x):
        return self.fire(self.first(x)).sum(0).argmax(-1)

    model = Net(run, first=linear(5, 6, 1), fire=LIF())
    assert exact(model, spikes(TIMESTEPS, 3, 5)).logits.shape == (3, 6)


@pytest.mark.parametrize("pool", [nn.MaxPool1d(2), nn.AvgPool1d(2)], ids=["max", "mean"])
def test_pools_along_a_row(pool):
    def run(self, x):  # [T, B, 2, 12]
        fired = self.fire(self.first(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        small = self.pool(fired.flatten(0, 1))
        return self.end(self.second(small).unflatten(0, x.shape[:2]))

    model = Net(
        run,
        **{"first": on_grid(nn.Conv1d(2, 4, 3), 1), "second": on_grid(nn.Conv1d(4, 3, 3), 2), "pool": pool},
        **{"fire": LIF(), "end": LIF()},
    )
    trace = capture(model, image(2, 2, 12).expand(TIMESTEPS, -1, -1, -1))
    assert [type(layer).__name__ for layer in trace.layers] == ["Conv", "Pool", "Conv"]
    assert trace.level == "exact", trace.replay_reason
    assert float(trace.provenance["spikes_as_in_the_model"]) > 0.99
    assert simulate(trace, load_chip("edge"), verify=True).cycles > 0
