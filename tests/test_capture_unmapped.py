"""capture: nothing between spikes and neurons vanishes; an operation is mapped, named, or counted as the host's."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_nets import TIMESTEPS, Net, PlainNeuron, exact, linear, spikes, stream_rows
from sparsespike import UserError, capture, load_chip, simulate
from sparsespike.model.neuron import LIF
from torch import Tensor, nn

IMAGES, INPUTS, MIDDLE, OUTPUTS = 3, 5, 6, 4

# One linear layer w: float32[OUTPUTS, MIDDLE] of spikes y: [T, B, MIDDLE], as models write it.
LINEAR = {
    "matmul": lambda y, w: y @ w.t(),
    "einsum": lambda y, w: torch.einsum("tbi,oi->tbo", y, w),
    "einsum, turned": lambda y, w: torch.einsum("oi,tbi->bto", w, y).transpose(0, 1),
    "tensordot": lambda y, w: torch.tensordot(y, w, dims=([2], [1])),
    "bmm": lambda y, w: torch.bmm(y, w.t().expand(TIMESTEPS, MIDDLE, OUTPUTS)),
    "columns": lambda y, w: (w @ y.transpose(1, 2)).transpose(1, 2),
}
# The same, in ways that are not mapped: they have to be named.
NAMED = {
    "weights that are multiplied and then summed": lambda y, w: (y.unsqueeze(-2) * w).sum(-1),
    "batched products with fixed matrices": lambda y, w: torch.baddbmm(
        torch.zeros(TIMESTEPS, IMAGES, OUTPUTS), y, w.t().expand(TIMESTEPS, MIDDLE, OUTPUTS)
    ),
    "a matrix times one vector": lambda y, w: torch.stack([torch.stack([w.mv(row) for row in part]) for part in y]),
    "a bilinear form (F.bilinear)": lambda y, w: F.bilinear(y, torch.ones(*y.shape[:2], 1), w[..., None]),
}
WITHOUT_WEIGHTS = {
    "a Fourier transform": lambda y, w: torch.fft.fft(y).real,
    "cumsum": lambda y, w: y.cumsum(-1),
}


class Written(nn.Module):
    """A layer of the chip's on either or no side of an operation that is written by hand."""

    def __init__(self, operation, place: str, neuron=LIF) -> None:
        super().__init__()
        self.operation, self.place = operation, place
        self.first, self.last = linear(INPUTS if place != "first" else OUTPUTS, MIDDLE, 1), linear(OUTPUTS, 3, 2)
        self.w = nn.Parameter(linear(MIDDLE, OUTPUTS, 3).weight.data)
        self.fire, self.own, self.end = neuron(), neuron(), neuron()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "first":
            return self.fire(self.first(self.own(self.operation(x, self.w))))
        spiking = self.own(self.operation(self.fire(self.first(x)), self.w))
        return self.end(self.last(spiking)) if self.place == "middle" else spiking


def given(place: str) -> Tensor:
    return spikes(TIMESTEPS, IMAGES, MIDDLE if place == "first" else INPUTS)


@pytest.mark.parametrize("place", ["first", "middle", "end"])
@pytest.mark.parametrize("form", LINEAR)
def test_a_linear_layer_is_one_however_it_is_written(form, place):
    trace = exact(Written(LINEAR[form], place), given(place))
    plain = exact(Written(LINEAR["matmul"], place), given(place))
    assert len(trace.layers) == (3 if place == "middle" else 2)
    for ours, theirs in zip(trace.layers, plain.layers, strict=True):
        assert np.array_equal(ours.weights.values, theirs.weights.values)
        assert np.array_equal(stream_rows(trace, ours.target), stream_rows(plain, theirs.target))
    chip = load_chip("edge")
    assert simulate(trace, chip).to_json()["synaptic_events"] == simulate(plain, chip).to_json()["synaptic_events"]


@pytest.mark.parametrize("form", ["einsum", "bmm"])
def test_an_einsum_of_the_last_spikes_is_the_head(form):
    model = Net(
        lambda self, x: LINEAR[form](self.fire(self.first(x)), self.w), first=linear(INPUTS, MIDDLE), fire=LIF()
    )
    model.w = nn.Parameter(linear(MIDDLE, OUTPUTS, 3).weight.data)
    trace = exact(model, given("end"))
    assert [type(layer).__name__ for layer in trace.layers] == ["Linear", "Head"]
    with torch.no_grad():
        logits = model(given("end")).sum(0).numpy()
    assert np.allclose(trace.logits / trace.logits[0, 0], logits / logits[0, 0], rtol=1e-5)


@pytest.mark.parametrize("neuron", [LIF, PlainNeuron], ids=["known", "unknown"])
@pytest.mark.parametrize("place", ["first", "middle", "end"])
@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_mapped_is_named_wherever_it_stands(name, place, neuron):
    with pytest.raises(UserError, match=rf"no counterpart for .*{re.escape(name)} in '.root.'.*take them out"):
        capture(Written(NAMED[name], place, neuron), given(place))


@pytest.mark.parametrize("neuron", [LIF, PlainNeuron], ids=["known", "unknown"])
@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_operations_without_weights_are_named_in_front_of_neurons(name, neuron):
    with pytest.raises(UserError, match=rf"no counterpart for .*{name} in '.root.'.*take them out"):
        capture(Written(WITHOUT_WEIGHTS[name], "end", neuron), given("end"))


@pytest.mark.parametrize("neuron", [LIF, PlainNeuron], ids=["known", "unknown"])
@pytest.mark.parametrize("name", NAMED)
def test_the_hosts_share_is_counted_and_spikes_in_front_of_it_stay(name, neuron):
    model, inputs = Written(NAMED[name], "end", neuron), given("end")
    trace = capture(model, inputs, unsupported="host")
    (work,) = trace.host
    assert work.operation == name
    assert (work.operations, work.unit) == (TIMESTEPS * MIDDLE * OUTPUTS, "multiply_accumulate")
    assert [layer.name for layer in trace.layers] == ["first"]
    with torch.no_grad():
        own = model.fire(model.first(inputs)).permute(1, 0, 2)[:, :, None].to(torch.uint8).numpy()
    assert own.any()
    assert np.array_equal(stream_rows(trace, trace.layers[0].target), own)


def test_a_readout_with_weights_is_no_vote():
    """A vote (sums, the largest) of the last spikes is the host's and not counted; weights of it are a layer."""

    def vote(self, x):
        return self.fire(self.first(x)).unflatten(-1, (2, 3)).sum(-1).mean(0).argmax(-1)

    def weigh(self, x):
        return (self.fire(self.first(x)) * self.w).sum(-1)

    parts = {"first": linear(INPUTS, MIDDLE), "fire": LIF()}
    assert len(exact(Net(vote, **parts), given("end")).layers) == 1
    model = Net(weigh, **parts)
    model.w = nn.Parameter(torch.arange(MIDDLE).float())
    with pytest.raises(UserError, match="weights that are multiplied and then summed"):
        capture(model, given("end"))


def test_preparing_the_input_is_the_hosts_unless_its_weights_were_trained():
    def grey(self, x):  # [T, B, 3 colours, INPUTS]
        return self.end(self.last(self.fire(self.first((x * self.shares[:, None]).sum(2)))))

    model = Net(grey, first=linear(INPUTS, MIDDLE), fire=LIF(), last=linear(MIDDLE, OUTPUTS, 2), end=LIF())
    model.shares = torch.tensor([0.25, 0.5, 0.25])
    still = (spikes(IMAGES, 3, INPUTS) * 0.5).expand(TIMESTEPS, -1, -1, -1)
    assert len(capture(model, still).layers) == 2
    del model.shares
    model.shares = nn.Parameter(torch.tensor([0.25, 0.5, 0.25]))
    with pytest.raises(UserError, match="weights that are multiplied and then summed"):
        capture(model, still)
