"""capture: what looks like a layer of the chip and is another thing must not be taken for it."""

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
    forward,
    image,
    images,
    linear,
    on_grid,
    rows_read,
    spikes,
    stream_rows,
)
from sparsespike import UserError, capture
from sparsespike.model.neuron import LIF
from sparsespike.model.recording import synapses
from sparsespike.model.recording.streams import Seen, seen_as_rows
from torch import nn


def varied(count: int, seed: int = 7) -> torch.Tensor:
    """Factors 1/2, 1 and 2, no two neighbours alike: what eight bits lose nothing by."""
    return torch.tensor([0.5, 1.0, 2.0])[(torch.arange(count) + seed) % 3]


# --- factors between sums and neurons


def test_factors_belong_to_the_axis_they_lie_on():
    """Tokens are as many as channels, so that a factor per token has the shape of one per channel."""

    def run(self, x):  # [T, B, 6 tokens, 5]
        return self.second_fire(self.second(self.fire(self.first(x) * self.factor)))

    layers = {"first": linear(5, 6, 1), "second": linear(6, 6, 2), "fire": LIF(), "second_fire": LIF()}
    inputs, by_channel = spikes(TIMESTEPS, 2, 6, 5), Net(run, **layers)
    by_channel.register_buffer("factor", varied(6))
    exact(by_channel, inputs)
    by_token = Net(run, **layers)
    by_token.register_buffer("factor", varied(6)[:, None])
    trace = capture(by_token, inputs)
    assert trace.level == "replay"
    assert "mul in" in trace.replay_reason


def test_factors_follow_channels_through_a_transposition_and_heads():
    def run(self, x):
        wide = self.first(x).unflatten(-1, (2, 3)).transpose(-2, -3) * self.by_head  # [T, B, heads, tokens, 3]
        wide = wide * self.within
        return self.second_fire(self.second(self.fire(wide.transpose(-2, -3).flatten(-2))))

    model = Net(run, first=linear(5, 6, 1), second=linear(6, 4, 2), fire=LIF(), second_fire=LIF())
    model.register_buffer("by_head", torch.tensor([0.5, 1.0])[:, None, None])
    model.register_buffer("within", torch.tensor([2.0, 1.0, 0.5]))
    trace = exact(model, spikes(TIMESTEPS, 2, 7, 5))
    assert [layer.weights.output_channels for layer in trace.layers] == [6, 4]


def test_a_batch_norm_over_tokens_is_none_over_channels():
    def run(self, x):  # [T, B, 6 tokens, 5] -> [T B, tokens, channels]: the norm's channels are tokens
        sums = self.norm(self.first(x).flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.second_fire(self.second(self.fire(sums)))

    norm = nn.BatchNorm1d(6)
    norm.running_mean.copy_(varied(6))
    model = Net(run, first=linear(5, 6, 1), second=linear(6, 4, 2), norm=norm, fire=LIF(), second_fire=LIF())
    trace = capture(model, spikes(TIMESTEPS, 2, 6, 5))
    assert trace.level == "replay"
    assert "batch_norm in norm" in trace.replay_reason


def test_a_sum_that_is_spread_over_tokens_is_none_of_each_token():
    def run(self, x):
        sums = self.first(x)
        return self.second_fire(self.second(self.fire(sums + self.other(x.flatten(2))[:, :, None])))

    model = Net(
        run, first=linear(5, 6, 1), other=linear(20, 6, 3), second=linear(6, 4, 2), fire=LIF(), second_fire=LIF()
    )
    assert capture(model, spikes(TIMESTEPS, 2, 4, 5)).level == "replay"


# --- pools


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2, 2, ceil_mode=True),
        nn.MaxPool2d(2, 1, dilation=2),
        nn.MaxPool2d(2, (2, 1)),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d((3, 3)),
    ],
    ids=["ceil", "dilation", "strides", "divisor", "adaptive"],
)
@pytest.mark.parametrize("sums", [True, False], ids=["sums", "spikes"])
def test_pools_of_another_kind(pool, sums):
    """A 7 x 7 map: neither its height nor its width is a multiple of 2 or 3."""
    order = (Folded(pool), LIF()) if sums else (LIF(), Folded(pool))
    model = nn.Sequential(
        *(Folded(on_grid(nn.Conv2d(2, 6, 3, padding=1), 1)), *order, Folded(on_grid(nn.Conv2d(6, 4, 1), 2)), LIF())
    ).eval()
    pixels = image(2, 2, 7, 7).expand(TIMESTEPS, -1, -1, -1, -1)
    if sums:
        trace = capture(model, pixels)
        assert trace.level == "replay"
        assert "pool" in trace.replay_reason
    else:
        with pytest.raises(UserError, match=r"a pool of (two strides|uneven windows|a dilated window|another divisor)"):
            capture(model, pixels)


# --- convolutions and rows


@pytest.mark.parametrize("sides", [(1, 0, 1, 0), (0, 2, 1, 1), (2, 1, 0, 0)])
@pytest.mark.parametrize("stride", [1, 2])
def test_zeros_on_one_side_are_those_of_a_larger_kernel(sides, stride):
    def run(self, x):
        maps = F.pad(self.fire(self.first(x)).flatten(0, 1), sides)
        return self.end(self.second(maps).unflatten(0, x.shape[:2]))

    first, second = Folded(on_grid(nn.Conv2d(2, 6, 3, padding=1), 1)), on_grid(nn.Conv2d(6, 4, 2, stride), 2)
    model = Net(run, first=first, second=second, fire=LIF(), end=LIF())
    trace = capture(model, images(2))
    assert trace.level == "exact", trace.replay_reason
    assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
    own = forward(model, images(2))["end"]
    assert own.any()
    assert np.array_equal(stream_rows(trace, "end"), own.flatten(3).permute(1, 0, 3, 2).to(torch.uint8).numpy())


def test_a_transposed_convolution_is_the_hosts_or_refused():
    model = nn.Sequential(
        *(Folded(on_grid(nn.Conv2d(2, 6, 3, padding=1), 1)), LIF()),
        *(Folded(nn.ConvTranspose2d(6, 4, 2, stride=2)), LIF(), Folded(nn.Conv2d(4, 4, 3, stride=(1, 2))), LIF()),
        *(Folded(nn.Conv2d(4, 3, 3)), LIF()),
    ).eval()
    with pytest.raises(UserError, match=r"transposed convolution in '2\.inner\.0', two strides in one convolution in"):
        capture(model, images())
    trace = capture(model, images(), unsupported="host")
    assert [work.operation for work in trace.host] == ["transposed convolution", "two strides in one convolution"]
    assert [layer.name for layer in trace.layers] == ["0.inner.0", "6.inner.0"]


def test_a_layer_that_reads_some_timesteps_only_is_refused():
    def run(self, x):
        return self.second(self.fire(self.first(x))[-1])

    model = Net(run, first=linear(5, 6, 1), second=linear(6, 4, 2), fire=LIF())
    with pytest.raises(UserError, match="a layer that reads only some of the timesteps or tokens in 'second'"):
        capture(model, spikes(TIMESTEPS, 2, 5))


def test_a_layer_that_reads_one_token_only_is_refused():
    def run(self, x):
        return self.second_fire(self.second(self.fire(self.first(x))[:, :, 0]))

    model = Net(run, first=linear(5, 6, 1), second=linear(6, 4, 2), fire=LIF(), second_fire=LIF())
    with pytest.raises(UserError, match="a layer that reads only some of the timesteps or tokens in 'second'"):
        capture(model, spikes(TIMESTEPS, 2, 7, 5))


def test_weights_that_serve_two_layers():
    def run(self, x):
        return self.fire_b(self.both(self.fire_a(self.both(x))))

    trace = exact(Net(run, both=linear(6, 6), fire_a=LIF(), fire_b=LIF()), spikes(TIMESTEPS, 2, 6))
    assert [layer.name for layer in trace.layers] == ["both", "both.2"]


def test_input_that_two_layers_see_in_two_ways():
    """As a map and as a row: two streams, of which neither may be turned into the other's shape."""

    def run(self, x):  # [T, B, 2, 4, 4]
        self.fire(self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        return self.flat_fire(self.flat(x.flatten(2)))

    model = Net(run, conv=on_grid(nn.Conv2d(2, 3, 3, padding=1)), flat=linear(32, 5), fire=LIF(), flat_fire=LIF())
    inputs = spikes(TIMESTEPS, 2, 2, 4, 4)
    trace = capture(model, inputs)
    assert trace.level == "replay"
    assert "a second stream of spikes that no layer of the model makes" in trace.replay_reason
    as_map, as_row = (stream_rows(trace, layer.source) for layer in trace.layers)
    assert np.array_equal(as_map, inputs.flatten(3).permute(1, 0, 3, 2).to(torch.uint8).numpy())
    assert np.array_equal(as_row, inputs.flatten(2).permute(1, 0, 2)[:, :, None].to(torch.uint8).numpy())


# --- attention


class Hadamard(nn.Module):
    """q AND neuron(factor x sum over tokens of k AND v), then a layer."""

    def __init__(self, turned: bool = False, factor: float = 1.0) -> None:
        super().__init__()
        self.q, self.k, self.v, self.last = (linear(5, 6, seed, bias=False) for seed in (1, 2, 3, 4))
        self.last = linear(6, 4, 5)
        for part in ("q", "k", "v", "gate", "end"):
            setattr(self, f"{part}_fire", LIF())
        self.turned, self.factor = turned, factor

    def forward(self, x):
        q, k, v = (getattr(self, f"{part}_fire")(getattr(self, part)(x)) for part in "qkv")
        sums = (k * (v.flip(-1) if self.turned else v)).sum(-2, keepdim=True)
        return self.end_fire(self.last(q * self.gate_fire(self.factor * sums)))


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_hadamard_attention_is_exact(factor):
    model, inputs = Hadamard(factor=factor).eval(), spikes(TIMESTEPS, 2, 7, 5)
    trace = capture(model, inputs)
    assert trace.level == "exact", trace.replay_reason
    assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
    own = forward(model, inputs)
    assert own["gate_fire"].any()
    assert not own["gate_fire"].all()
    assert np.array_equal(
        stream_rows(trace, trace.layers[-1].target), own["end_fire"].permute(1, 0, 2, 3).to(torch.uint8).numpy()
    )


def attention(self, x):
    """q, k and v out of one layer, in three ways of writing it; x: [T, B, tokens, 5]."""
    sums = self.qkv(x)
    if self.form == "one neuron":
        q, k, v = self.fire(sums).chunk(3, -1)
    elif self.form == "three neurons":
        q, k, v = (fire(part) for fire, part in zip(self.fires, sums.chunk(3, -1), strict=True))
    else:  # as timm writes it
        q, k, v = self.fire(sums).unflatten(-1, (3, -1)).movedim(-2, 0)
    return self.end(self.last(self.mid(0.5 * (q @ k.mT @ v))))


@pytest.mark.parametrize("neuron", [LIF, PlainNeuron], ids=["known", "unknown"])
@pytest.mark.parametrize("form", ["one neuron", "three neurons", "unflattened"])
def test_attention_out_of_one_layer(form, neuron):
    model = Net(attention, qkv=linear(5, 18, 1, bias=False), last=linear(6, 4, 2))
    model.form, model.fire, model.mid, model.end = form, neuron(), neuron(), neuron()
    model.fires = nn.ModuleList([neuron(), neuron(), neuron()])
    model.eval()
    inputs = spikes(TIMESTEPS, 2, 7, 5)
    trace = capture(model, inputs)
    assert [layer.name for layer in trace.layers] == ["qkv", "attention", "last"]
    assert trace.level == ("exact" if neuron is LIF else "replay")
    if neuron is LIF:
        assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
    own = rows_read(model, model.last, inputs)
    assert own.any()
    assert np.array_equal(stream_rows(trace, trace.layers[2].source), own)


def test_a_layer_whose_outputs_two_neurons_share_is_two():
    def run(self, x):
        first, second = self.both(x).chunk(2, -1)
        return self.end(self.last(self.fire_a(first)) + 0 * self.other(self.fire_b(second)))

    model = Net(run, both=linear(5, 12, 1), last=linear(6, 4, 2), other=linear(6, 4, 3))
    model.fire_a, model.fire_b, model.end = LIF(), LIF(), LIF()
    model.eval()
    inputs = spikes(TIMESTEPS, 2, 5)
    trace = capture(model, inputs, level="replay")
    own = forward(model, inputs)
    assert [layer.name for layer in trace.layers][:2] == ["both.0", "both.6"]
    assert [layer.weights.output_channels for layer in trace.layers] == [6, 6, 4, 4]
    for name in ("fire_a", "fire_b"):
        assert np.array_equal(stream_rows(trace, name), own[name].permute(1, 0, 2)[:, :, None].to(torch.uint8).numpy())


def test_hadamard_attention_of_other_channels_is_none():
    with pytest.raises(UserError, match="a product of two activations"):
        capture(Hadamard(turned=True).eval(), spikes(TIMESTEPS, 2, 7, 5))


# --- sums of integers, recurrence, and the rest


def test_residuals_of_averaged_spikes_are_no_spikes():
    """A mean pool's output counts quarters; spikes of a layer count whole."""

    def run(self, x):
        maps = self.fire_a(self.first(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        small = F.avg_pool2d(maps.flatten(0, 1), 2)
        fired = self.fire_b(self.second(small).unflatten(0, x.shape[:2]))
        summed = fired + small.unflatten(0, x.shape[:2])
        return self.fire_c(self.third(summed.flatten(0, 1)).unflatten(0, x.shape[:2]))

    model = Net(
        run,
        first=on_grid(nn.Conv2d(2, 6, 3, padding=1), 1),
        second=on_grid(nn.Conv2d(6, 6, 3, padding=1), 2),
        third=on_grid(nn.Conv2d(6, 4, 1), 3),
        **{f"fire_{part}": LIF() for part in "abc"},
    )
    with pytest.raises(UserError, match=r"neither spikes nor the input in 'third'"):
        capture(model, images(2)[..., :8, :])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.back, self.last = linear(5, 6, 1), linear(6, 6, 2), linear(6, 4, 3)

    def forward(self, x):
        v, fired, out = torch.zeros(x.shape[1], 6), torch.zeros(x.shape[1], 6), []
        for part in x:
            v = 0.5 * v + self.first(part) + self.back(fired)
            fired = (v > 1).float()
            v = v * (1 - fired)
            out.append(self.last(fired))
        return torch.stack(out)


def test_recurrent_connections_are_refused_by_name():
    with pytest.raises(UserError, match=r"module 'back': reads spikes of the timestep before"):
        capture(Recurrent().eval(), spikes(TIMESTEPS, 2, 5))


def test_a_neuron_called_by_keyword_and_a_division_that_rounds():
    def run(self, x):
        return self.fire(x=torch.div(self.first(x), 1.0, rounding_mode="floor"))

    trace = capture(Net(run, first=linear(5, 6, 1), fire=LIF()), spikes(TIMESTEPS, 2, 5))
    assert trace.level == "replay"
    assert "div in" in trace.replay_reason


def test_labels_are_as_many_as_images():
    model = Net(lambda self, x: self.fire(self.first(x)), first=linear(5, 6, 1), fire=LIF())
    for labels, message in (
        ([1, 2, 3], "labels: 3 of them, but the inputs hold 2 images"),
        ([0.5, 1], "labels: float64, need integers"),
        ([[1], [2]], "labels: shape"),
    ):
        with pytest.raises(UserError, match=message):
            capture(model, spikes(TIMESTEPS, 2, 5), labels=labels)


# --- what no rule foresees is held against what the model did


def test_sums_that_are_not_those_of_the_stream_are_refused():
    """Spikes that are changed in place behind the back of a view of them."""

    def run(self, x):
        fired = self.fire(self.first(x))
        _, early = fired.view(-1, 6), fired.view(-1, 6)
        fired *= self.mask
        return self.second_fire(self.second(early).unflatten(0, x.shape[:2]))

    model = Net(run, first=linear(5, 6, 1), second=linear(6, 4, 2), fire=LIF(), second_fire=LIF())
    model.register_buffer("mask", torch.tensor([0.0, 1, 0, 1, 0, 1]))
    with pytest.raises(UserError, match=r"module 'second': its sums are not its weights times the spikes"):
        capture(model, spikes(TIMESTEPS, 2, 5))


def test_neurons_that_are_read_in_another_order_are_refused(monkeypatch):
    def turned(layout, draft):
        seen = seen_as_rows(layout, draft)
        return Seen(seen.form, seen.order.flip(0))

    monkeypatch.setattr(synapses, "seen_as_rows", turned)
    model = Net(
        lambda self, x: self.end(self.second(self.fire(self.first(x)))),
        **{"first": linear(5, 6, 1), "fire": LIF(), "second": linear(6, 4, 2), "end": LIF()},
    )
    with pytest.raises(UserError, match=r"module 'second': its sums are not its weights times the spikes"):
        capture(model, spikes(TIMESTEPS, 2, 5))


class Stubborn(LIF):
    """A known neuron whose rule its user has changed: it never fires twice in a row."""

    def forward(self, x):
        out = super().forward(x)
        return torch.cat([out[:1], out[1:] * (1 - out[:-1])])


def test_spikes_that_are_not_those_of_the_rule_are_replayed():
    model = Net(lambda self, x: self.fire(self.first(x)), first=linear(5, 6, 1), fire=Stubborn())
    trace = capture(model, spikes(TIMESTEPS, 2, 5))
    assert trace.level == "replay"
    assert "are not what its sums and its neurons' rule give" in trace.replay_reason
