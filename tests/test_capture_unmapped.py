"""capture: nothing between spikes and neurons vanishes; an operation is mapped, named, or counted as the host's."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_nets import (
    TIMESTEPS,
    Folded,
    Net,
    PlainNeuron,
    exact,
    images,
    linear,
    on_grid,
    rows_read,
    spikes,
    stream_rows,
)
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


UNDRIVEN = {
    "spikes": lambda y: 1.5 * y,
    "the sum of spikes": lambda y: y.unflatten(-1, (2, 3)).sum(-1),
}


@pytest.mark.parametrize("what", UNDRIVEN)
def test_neurons_without_a_layer_are_named(what):
    def run(self, x):
        return self.end(UNDRIVEN[what](self.fire(self.first(x))))

    model, inputs = Net(run, first=linear(INPUTS, MIDDLE), fire=LIF(), end=LIF()), given("end")
    with pytest.raises(UserError, match=f"neurons that read {what} without weights in 'end'"):
        capture(model, inputs)
    trace = capture(model, inputs, unsupported="host")
    assert [layer.name for layer in trace.layers] == ["first"]
    assert trace.host[0].name == "end"


def test_the_second_of_the_tensors_that_a_model_returns_counts_too():
    def run(self, x):
        fired = self.fire(self.first(x))
        return fired, {"more": self.end(torch.baddbmm(self.zero, fired, self.w.t().expand(TIMESTEPS, MIDDLE, OUTPUTS)))}

    model = Net(run, first=linear(INPUTS, MIDDLE), fire=LIF(), end=PlainNeuron())
    model.w, model.zero = nn.Parameter(linear(MIDDLE, OUTPUTS, 3).weight.data), torch.zeros(1, 1, OUTPUTS)
    with pytest.raises(UserError, match="batched products with fixed matrices"):
        capture(model, given("end"))


# --- softmax attention, activations and norms: named, and the host's


def softmax_attention(self, x):
    """x: [T, B, tokens, INPUTS]; two heads of 3 channels."""
    q, k, v = (self.fires[part](self.parts[part](x)).unflatten(-1, (2, 3)).transpose(2, 3) for part in range(3))
    mixed = (4 * torch.softmax(q @ k.mT, -1) @ v).transpose(2, 3).flatten(3)
    return self.end(self.last(self.middle(mixed) if self.spiking else mixed))


@pytest.mark.parametrize("neuron", [LIF, PlainNeuron], ids=["known", "unknown"])
@pytest.mark.parametrize("spiking", [True, False], ids=["neurons behind", "a layer behind"])
def test_softmax_attention_is_named_and_the_hosts(spiking, neuron):
    model = Net(softmax_attention, last=linear(MIDDLE, OUTPUTS, 2), middle=neuron(), end=neuron())
    model.parts = nn.ModuleList([linear(INPUTS, MIDDLE, seed) for seed in (4, 5, 6)])
    model.fires, model.spiking = nn.ModuleList([neuron() for _ in range(3)]), spiking
    model.eval()
    inputs, tokens = spikes(TIMESTEPS, 2, 7, INPUTS), 7
    with pytest.raises(UserError, match=r"no counterpart for softmax in '.root.'.*or say unsupported='host'"):
        capture(model, inputs)
    trace = capture(model, inputs, unsupported="host")
    work = {entry.operation: entry.operations for entry in trace.host}
    assert work["softmax"] == TIMESTEPS * 2 * tokens * tokens
    assert work["a product of two activations"] == 2 * TIMESTEPS * tokens * tokens * MIDDLE
    assert [layer.name for layer in trace.layers] == ["parts.0", "parts.1", "parts.2"] + ["last"] * spiking
    with torch.no_grad():
        for part in range(3):
            own = model.fires[part](model.parts[part](inputs)).permute(1, 0, 2, 3).to(torch.uint8).numpy()
            assert np.array_equal(stream_rows(trace, trace.layers[part].target), own)
    if spiking:
        own = rows_read(model, model.last, inputs)
        assert own.any()
        assert np.array_equal(stream_rows(trace, trace.layers[3].source), own)


BETWEEN = {
    "the activation gelu": nn.GELU(),
    "normalisation by statistics of the data itself": nn.InstanceNorm2d(6),
    "group normalisation": nn.GroupNorm(2, 6),
}


@pytest.mark.parametrize("neuron", [LIF, PlainNeuron], ids=["known", "unknown"])
@pytest.mark.parametrize("name", BETWEEN)
def test_what_lies_between_sums_and_neurons_is_named_and_the_layer_stays(name, neuron):
    model = nn.Sequential(
        *(Folded(on_grid(nn.Conv2d(2, 6, 3, padding=1), 1), BETWEEN[name]), neuron()),
        *(Folded(on_grid(nn.Conv2d(6, 4, 3), 2)), neuron()),
    ).eval()
    with pytest.raises(UserError, match=rf"no counterpart for {name} in '0.inner.1'; take"):
        capture(model, images(2))
    trace = capture(model, images(2), unsupported="host")
    assert [(work.name, work.operation) for work in trace.host] == [("0.inner.1", name)]
    assert trace.host[0].operations == TIMESTEPS * 6 * 10 * 8
    assert [layer.name for layer in trace.layers] == ["0.inner.0", "2.inner.0"]


def test_a_layer_that_is_run_twice_is_called_that():
    def run(self, x):
        self.fire(self.first(x))
        return self.end(self.last(self.fire(self.first(x))))

    model = Net(run, first=linear(INPUTS, MIDDLE), last=linear(MIDDLE, 4, 2), fire=PlainNeuron(), end=PlainNeuron())
    with pytest.raises(UserError, match="a layer that is run 2 times on the same spikes in 'first'"):
        capture(model, given("end"))


# --- what cannot be followed is called by its name, and that the host is no way out is said

LOST = {
    r"interpolation \(F.interpolate\)": lambda y: F.interpolate(y, scale_factor=2),
    "pixel_shuffle": lambda y: F.pixel_shuffle(y[:, :4].repeat(1, 6, 1, 1), 2),
    "unfold": lambda y: F.unfold(y, 3, padding=1).unflatten(2, y.shape[2:])[:, :6],
    "padding_mode='reflect'": lambda y: F.pad(y, (1, 1, 1, 1), mode="reflect"),
    r"written part by part \(padding_mode='circular'": lambda y: F.pad(y, (1, 1, 1, 1), mode="circular"),
    r"a padding of its own \(F.pad\)": lambda y: F.pad(y.unflatten(0, (TIMESTEPS, 2)), (1, 1, 1, 1)).flatten(0, 1),
    r"a slice \(a crop\)": lambda y: y[..., 1:-1, 1:-1],
    r"cat \(of shifted": lambda y: torch.cat([torch.zeros_like(y[:2]), y[:-2]]),
}


@pytest.mark.parametrize("place", ["end", "middle"])
def test_recurrent_modules_are_named_as_a_whole(place):
    def run(self, x):
        sums = self.memory(self.fire(self.first(x)))[0]
        return self.end(self.last(self.fire(sums))) if place == "middle" else sums

    layers = {"first": linear(INPUTS, MIDDLE), "memory": nn.GRU(MIDDLE, MIDDLE), "last": linear(MIDDLE, OUTPUTS, 2)}
    model = Net(run, **layers, fire=PlainNeuron(), end=PlainNeuron())
    with pytest.raises(UserError, match=r"recurrence \(GRU\) in 'memory'"):
        capture(model, given("end"))


@pytest.mark.parametrize("unsupported", ["refuse", "host"])
@pytest.mark.parametrize("name", LOST)
def test_what_cannot_be_followed_is_called_by_its_name(name, unsupported):
    def run(self, x):
        first = self.fire(self.first(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        return self.end(self.last(LOST[name](first.flatten(0, 1))).unflatten(0, x.shape[:2]))

    convs = {"first": on_grid(nn.Conv2d(2, 6, 3), 1), "last": on_grid(nn.Conv2d(6, 4, 3), 2)}
    model = Net(run, **convs, fire=PlainNeuron(), end=PlainNeuron())
    said = rf"module '.root.': behind .*{name}.*|no counterpart for {name} in '.root.'.*"
    with pytest.raises(UserError, match=rf"({said})unsupported='host' does not help") as caught:
        capture(model, images(2), unsupported=unsupported)
    assert re.search("take (it|them) out of the model", str(caught.value))
