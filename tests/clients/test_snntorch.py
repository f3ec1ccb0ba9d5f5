"""Models with snnTorch's neurons (1.0.0), as its tutorials write them: states handed on by hand, or hidden."""

import snntorch as snn
import snntorch.utils
import torch
import torch.nn.functional as F
from clients.counting import additions, as_rows, dense, watched
from sparsespike import capture, load_chip, simulate
from torch import nn

STEPS = 8


class Mlp(nn.Module):
    """The fully connected network of tutorial 5: the same image at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(64, 40), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(40, 10), snn.Leaky(beta=0.5, reset_mechanism="zero")

    def forward(self, x):
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, potentials = [], []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            potentials.append(mem2)
        return torch.stack(spikes, dim=0), torch.stack(potentials, dim=0)


class Convolutional(nn.Module):
    """The convolutional network of tutorial 6: pools in front of the neurons, valid convolutions, a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(1, 6, 5), snn.Leaky(beta=0.5)
        self.conv2, self.lif2 = nn.Conv2d(6, 8, 3), snn.Leaky(beta=0.5)
        self.fc1, self.lif3 = nn.Linear(8 * 2 * 2, 10), snn.Leaky(beta=0.5)

    def forward(self, x):
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spikes = []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(F.max_pool2d(self.conv1(x), 2), mem1)
            spk2, mem2 = self.lif2(F.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc1(spk2.view(x.shape[0], -1)), mem3)
            spikes.append(spk3)
        return torch.stack(spikes)


def hidden() -> nn.Module:
    """Hidden states: the model takes one step per call."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), snn.Leaky(beta=0.75, init_hidden=True), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(4 * 9, 10), snn.Leaky(beta=0.75, init_hidden=True, reset_mechanism="zero")),
    )


def check(model, inputs, time_axis, paths):
    """Spikes and operations of a replay are the model's own; the integer network runs on two chips, verified."""
    replay = capture(model, inputs, time_axis, level="replay")
    with watched(model) as (read, outputs):
        if time_axis is None:
            model(inputs)
        else:
            snntorch.utils.reset(model)
            for part in inputs:
                model(part)
            snntorch.utils.reset(model)
    counted = {
        entry["name"]: entry["synaptic_events"] for entry in simulate(replay, load_chip("mesh16")).to_json()["layers"]
    }
    modules = dict(model.named_modules())
    for layer, neurons in paths.items():
        assert torch.equal(dense(replay, neurons), as_rows(torch.stack(outputs[neurons])).to(torch.uint8)), neurons
        if layer:
            assert counted[layer] == additions(modules[layer], read[layer]) > 0, layer
    exact = capture(model, inputs, time_axis)
    assert exact.level == "exact", exact.replay_reason
    for chip in ("mesh16", "edge"):
        assert simulate(exact, load_chip(chip), verify=True).cycles > 0
    assert float(exact.provenance["spikes_as_in_the_model"]) > 0.95
    return exact


def test_fully_connected():
    torch.manual_seed(0)
    exact = check(Mlp().eval(), 2 * torch.rand(5, 64), None, {"fc2": "lif2"})
    assert exact.numerics.timesteps == STEPS


def test_convolutional():
    torch.manual_seed(0)
    check(Convolutional().eval(), 3 * torch.rand(2, 1, 16, 16), None, {"conv2": "lif2", "fc1": "lif3"})


def test_hidden_states():
    torch.manual_seed(0)
    spikes = (torch.rand(STEPS, 3, 1, 8, 8) < 0.5).float()
    check(hidden().eval(), spikes, 0, {"0": "1", "4": "5"})
