"""capture: any module becomes a trace; what it cannot be told in one sentence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_nets import TIMESTEPS, Folded, PlainNeuron, image, images, on_grid, stream_rows
from sparsespike import UserError, capture, load_chip, simulate
from sparsespike.model.calibrate import calibrate
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.data import Split, load_data
from sparsespike.model.export import trace_dataset, trace_ticket
from sparsespike.model.neuron import LIF
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.ticket import load_ticket
from sparsespike.model.tickets import shipped
from torch import nn


def network(neuron=LIF, **other: nn.Module) -> nn.Sequential:
    """Convolutions, one strided, a pool, a flattened map, fully connected layers."""
    return nn.Sequential(
        *(Folded(on_grid(nn.Conv2d(2, 6, 3, padding=1), 1)), neuron()),
        *(Folded(nn.MaxPool2d(2)), Folded(on_grid(nn.Conv2d(6, 8, 3, stride=2, bias=False), 2, 0.4)), neuron()),
        *(Folded(nn.Flatten(), on_grid(nn.Linear(8 * 2 * 1, 12), 3)), neuron()),
        *(Folded(on_grid(nn.Linear(12, 5), 4)), neuron()),
    ).eval()


def own_spikes(model: nn.Sequential, inputs: torch.Tensor) -> list[np.ndarray]:
    """Spikes behind every neuron, as the model's own forward pass gives them: uint8[B, T, tokens, C]."""
    found = []
    x = inputs
    with torch.no_grad():
        for module in model:
            x = module(x)
            if isinstance(module, (LIF, PlainNeuron)):
                rows = x.flatten(3) if x.ndim > 3 else x[..., None]
                found.append(rows.permute(1, 0, 3, 2).to(torch.uint8).numpy())
    return found


def test_integers_fire_exactly_as_the_model_where_eight_bits_hold_its_weights():
    model, inputs = network(), images()
    trace = capture(model, inputs, labels=[0, 1, 2])
    assert trace.level == "exact"
    assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
    spikes = own_spikes(model, inputs)
    assert all(part.any() and not part.all() for part in spikes)
    for name, own in zip(("1", "4", "6", "8"), spikes, strict=True):
        assert np.array_equal(stream_rows(trace, name), own), name
    assert np.array_equal(trace.logits, spikes[-1].sum((1, 2)))
    assert simulate(trace, load_chip("mesh16"), verify=True).cycles > 0


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)], ids=["max", "overlap", "mean"]
)
@pytest.mark.parametrize("before", [True, False], ids=["sums", "spikes"])
def test_pools_of_sums_and_of_spikes(pool, before):
    fire = LIF()
    order = (Folded(pool), fire) if before else (fire, Folded(pool))
    model = nn.Sequential(
        *(Folded(on_grid(nn.Conv2d(2, 6, 3, padding=1), 1)), *order),
        *(Folded(on_grid(nn.Conv2d(6, 4, 3), 2)), LIF()),
    ).eval()
    trace = capture(model, images())
    assert trace.level == "exact", trace.replay_reason
    spikes = own_spikes(model, images())
    if not isinstance(pool, nn.AvgPool2d):
        assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
        assert np.array_equal(stream_rows(trace, trace.layers[-1].target), spikes[-1])
    assert float(trace.provenance["spikes_as_in_the_model"]) > 0.99
    assert simulate(trace, load_chip("mesh16"), verify=True).cycles > 0


def test_a_replay_holds_the_models_spikes_and_only_a_pattern_of_weights():
    model, inputs = network(), images()
    trace = capture(model, inputs, level="replay")
    for name, own in zip(("1", "4", "6", "8"), own_spikes(model, inputs), strict=True):
        assert np.array_equal(stream_rows(trace, name), own), name
    assert (trace.level, trace.replay_reason) == ("replay", "asked for")
    strided = trace.layers[2]
    assert strided.weights.values is None
    assert strided.weights.nonzeros == int((model[3].inner[0].weight != 0).sum())
    with pytest.raises(UserError, match="asked for"):
        simulate(trace, load_chip("mesh16"), verify=True)


def test_unknown_neurons_are_taken_as_they_fire():
    model, inputs = network(PlainNeuron), images()
    trace = capture(model, inputs)
    assert trace.level == "replay"
    assert "neurons that are not known" in trace.replay_reason
    read = [trace.layers[index].source for index in (1, 3, 4)]
    for name, own in zip(read, own_spikes(model, inputs)[:3], strict=True):
        assert np.array_equal(stream_rows(trace, name), own), name
    with pytest.raises(UserError, match=r"level = 'exact' is out of reach: .*not known"):
        capture(model, inputs, level="exact")


def test_the_same_trace_as_export_gives_for_our_own_network():
    data = load_data("digits")
    test, name = data.test, "digits-pruned"
    exported = trace_dataset(shipped(name), "digits", 16)
    model = load_ticket(shipped(name)).network().eval()
    found = capture(nn.Sequential(model).eval(), torch.from_numpy(test.images[:16]), None, labels=test.labels[:16])
    assert found.numerics == exported.numerics
    for ours, theirs in zip(found.layers, exported.layers, strict=True):
        assert type(ours) is type(theirs)
        for part in ("theta", "bias", "heads"):
            assert np.array_equal(getattr(ours, part, None), getattr(theirs, part, None)), (theirs.name, part)
        if hasattr(theirs, "weights"):
            for part in ("pointers", "outputs", "values"):
                assert np.array_equal(getattr(ours.weights, part), getattr(theirs.weights, part)), (theirs.name, part)
        if theirs.target:
            assert np.array_equal(stream_rows(found, ours.target), stream_rows(exported, theirs.target)), theirs.name
    assert np.array_equal(found.logits, exported.logits)
    assert np.array_equal(found.labels, exported.labels)


class Padded(nn.Module):
    """Zeros around a map by hand, a one-dimensional convolution, and a layer on a row of real tokens."""

    def __init__(self):
        super().__init__()
        self.first, self.second = on_grid(nn.Linear(3, 4), 1), on_grid(nn.Conv1d(4, 5, 3), 2)
        self.fire = LIF()

    def forward(self, x):  # [B, tokens, 3]
        spikes = self.fire(self.first(x).expand(TIMESTEPS, -1, -1, -1)).transpose(-1, -2)
        wide = F.pad(spikes.flatten(0, 1), (1, 1))
        return self.fire(self.second(wide).unflatten(0, (TIMESTEPS, -1)))


def test_padding_by_hand_and_tokens_of_real_numbers():
    model, inputs = Padded().eval(), image(2, 6, 3)
    trace = capture(model, inputs, None)
    assert trace.level == "exact", trace.replay_reason
    assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
    with torch.no_grad():
        own = model(inputs).permute(1, 0, 3, 2).to(torch.uint8).numpy()
    assert own.any()
    assert np.array_equal(stream_rows(trace, trace.layers[1].target), own)
    assert simulate(trace, load_chip("edge"), verify=True).cycles > 0


def test_a_network_that_never_fires_is_read_all_the_same():
    """Sums and means that are all 0 look like spikes; what made them tells that they are none."""
    model = Spikformer(SpikformerConfig(sps_channels=(8, 16), sps_pools=(False, False), heads=2, depth=2)).eval()
    trace = capture(model, torch.rand(2, 1, 8, 8), None)
    assert trace.level == "exact", trace.replay_reason
    assert [type(layer).__name__ for layer in trace.layers[-3:]] == ["Linear", "Linear", "Head"]
    assert trace.layers[-2].residual == trace.layers[-3].source


def test_our_own_selectors_are_lowered_as_export_does_it():
    ticket, test = load_ticket(shipped("digits")), load_data("digits").test
    model, part = ticket.network().eval(), Split(test.images[:8], test.labels[:8], test.ids[:8])
    trace = capture(model, torch.from_numpy(part.images), None, labels=part.labels)
    expected = trace_ticket(replace(ticket, calibration=calibrate(model, part.images)), part)
    assert replace(trace, provenance={}).sha256 == replace(expected, provenance={}).sha256
    assert [len(kept[0]) for kept in trace.kept] == [44, 31, 21]
    assert simulate(trace, load_chip("mesh16"), verify=True).accuracy == trace.accuracy()


def test_shapes_may_lie():
    """Tensors called [T, B, C, N] that lie in memory as [T, B, N, C]: the data says which neuron is which."""

    class Liar(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.fire = on_grid(nn.Linear(6, 4), 1), on_grid(nn.Linear(4, 3), 2), LIF()

        def forward(self, x):  # [T, B, N, 6]
            spikes = self.fire(self.first(x)).transpose(-1, -2)  # [T, B, 4, N], not contiguous
            spikes = spikes.reshape(spikes.shape[0], -1, *spikes.shape[2:]).permute(1, 0, 3, 2)  # [B, T, N, 4]
            return self.fire(self.second(spikes).transpose(0, 1))

    model = Liar().eval()
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.rand(TIMESTEPS, 2, 5, 6, generator=generator) < 0.5).float()
    trace = capture(model, inputs)
    with torch.no_grad():
        own = model.fire(model.first(inputs)), model(inputs)
    assert trace.level == "exact"
    for layer, spikes in zip(trace.layers, own, strict=True):
        assert np.array_equal(stream_rows(trace, layer.target), spikes.permute(1, 0, 2, 3).to(torch.uint8).numpy())


def test_a_second_capture_is_the_first_again():
    model, inputs = network(), images()
    assert capture(model, inputs).sha256 == capture(model, inputs).sha256


class Softmax(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.fire = nn.Linear(6, 8), nn.Linear(8, 4), LIF()

    def forward(self, x):
        return self.fire(self.second(self.fire(F.softmax(self.fire(self.first(x)), -1) * 4)))


def test_what_the_chip_cannot_do_is_refused_or_the_hosts():
    inputs = (torch.rand(TIMESTEPS, 2, 6) < 0.5).float()
    with pytest.raises(UserError, match=r"no counterpart for softmax in '.root.'.*unsupported='host'"):
        capture(Softmax().eval(), inputs)
    trace = capture(Softmax().eval(), inputs, unsupported="host")
    assert [(work.operation, work.operations) for work in trace.host] == [("softmax", TIMESTEPS * 8)]
    assert trace.level == "replay"
    assert "host" in simulate(trace, load_chip("mesh16")).to_json()


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.fire = nn.Linear(6, 8), LIF()

    def forward(self, x):
        spikes = self.fire(self.first(x))
        return spikes if spikes.sum() > 3 else self.first(x)


class InPlace(nn.Module):
    """Writes spikes into a buffer, timestep by timestep."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.fire = on_grid(nn.Linear(6, 8), 1), on_grid(nn.Linear(8, 3), 2), LIF()

    def forward(self, x):
        spikes = self.fire(self.first(x))
        buffer = torch.zeros(x.shape[1], x.shape[0], 8)
        for step in range(len(spikes)):
            buffer[:, step] = spikes[step]
        return self.fire(self.second(buffer).transpose(0, 1))


def test_spikes_that_are_written_into_a_buffer_are_followed():
    model, inputs = InPlace().eval(), (torch.rand(TIMESTEPS, 2, 6) < 0.5).float()
    trace = capture(model, inputs)
    assert trace.level == "exact"
    with torch.no_grad():
        own = model(inputs).permute(1, 0, 2)[:, :, None].to(torch.uint8).numpy()
    assert np.array_equal(stream_rows(trace, trace.layers[1].target), own)


def broken(**changes):
    """A model and inputs with one fault: (model, inputs, other arguments)."""
    model, inputs = network(), images()
    return model, inputs, changes


def half(model):
    return model.half()


def test_every_fault_is_one_sentence():
    inputs, model = images(), network()
    cases = {
        "a.*torch.nn.Module": (object(), inputs, {}),
        "training mode; call model.eval": (network().train(), inputs, {}),
        "is float16; capture needs float32: model.float": (network().half(), inputs, {}),
        "lies on meta; move the model first": (network().to("meta"), inputs, {}),
        "inputs: float64 on cpu, needs float32": (model, inputs.double(), {}),
        "inputs: list, needs a torch tensor": (model, [1.0], {}),
        "inputs: empty, or with NaN": (model, inputs * float("nan"), {}),
        "cannot run on inputs of shape .4, 3, 2, 10.: ": (model, inputs[..., 0], {}),
        "cannot run on inputs of shape .4, 3, 2, 9, 9.: .*time_axis": (model, torch.rand(TIMESTEPS, 3, 2, 9, 9), {}),
        "time_axis = 7, but the inputs have axes 0 to 4": (model, inputs, {"time_axis": 7}),
        "unsupported = 'hots'; did you mean 'host'": (model, inputs, {"unsupported": "hots"}),
        "level = 'exakt'; did you mean 'exact'": (model, inputs, {"level": "exakt"}),
        "step_by_step = 'a', needs True, False or None": (model, inputs, {"step_by_step": "a"}),
        "step_by_step = 1, needs True": (model, inputs, {"step_by_step": 1}),
        "decides by a value that it has computed": (Decides().eval(), torch.rand(TIMESTEPS, 2, 6).round(), {}),
        "no layer reads spikes": (nn.Sequential(nn.Linear(8, 4)).eval(), torch.rand(3, 8), {"time_axis": None}),
    }
    for message, (what, given, more) in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            capture(what, given, **more)
        assert "\n" not in str(caught.value), message


def test_weights_that_are_no_numbers():
    model = network()
    model[3].inner[0].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"3\.inner\.0\.weight: holds NaN or infinite values"):
        capture(model, images())


def test_input_that_changes_and_is_no_spikes():
    with pytest.raises(UserError, match="changes from timestep to timestep"):
        capture(network(), torch.rand(TIMESTEPS, 3, 2, 10, 8))
