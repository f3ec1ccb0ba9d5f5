"""A Spikformer as its authors wrote it, on spikingjelly 0.0.0.0.12: time in the batch, pools behind neurons."""

import torch
from clients.counting import additions, as_rows, dense, watched
from clients.grid import grid_images, put_on_grid
from sparsespike import capture, load_chip, simulate
from spikingjelly.clock_driven import functional
from spikingjelly.clock_driven.neuron import LIFNode, MultiStepLIFNode
from torch import nn

TIMESTEPS, HEADS = 4, 2


def lif(threshold: float = 1.0) -> MultiStepLIFNode:
    return MultiStepLIFNode(tau=2.0, v_threshold=threshold, detach_reset=True, backend="torch")


class Stem(nn.Module):
    """Spiking patch splitting: convolution, batch norm, neurons, pool; then relative position encoding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.bn, self.lif = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), lif()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.rpe_conv, self.rpe_bn, self.rpe_lif = (
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            lif(),
        )

    def forward(self, x):
        time, batch, _, height, width = x.shape
        x = self.bn(self.conv(x.flatten(0, 1))).reshape(time, batch, -1, height, width).contiguous()
        x = self.pool(self.lif(x).flatten(0, 1).contiguous())
        height, width = x.shape[-2:]
        kept = x.reshape(time, batch, -1, height, width).contiguous()
        x = self.rpe_bn(self.rpe_conv(x)).reshape(time, batch, -1, height, width).contiguous()
        return (self.rpe_lif(x) + kept).flatten(-2).transpose(-1, -2)  # [T, B, N, C]


class Attention(nn.Module):
    """(Q K^T) V, scaled, without softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("q", "k", "v", "proj"):
            setattr(self, f"{name}_linear", nn.Linear(width, width))
            setattr(self, f"{name}_bn", nn.BatchNorm1d(width))
            setattr(self, f"{name}_lif", lif())
        self.attn_lif = lif(0.5)

    def _spikes(self, name, x):
        time, batch, tokens, width = x.shape
        linear, norm, fire = (getattr(self, f"{name}_{part}") for part in ("linear", "bn", "lif"))
        summed = norm(linear(x.flatten(0, 1)).transpose(-1, -2)).transpose(-1, -2)
        return fire(summed.reshape(time, batch, tokens, width).contiguous())

    def forward(self, x):
        time, batch, tokens, width = x.shape
        q, k, v = (
            self._spikes(name, x)
            .reshape(time, batch, tokens, HEADS, width // HEADS)
            .permute(0, 1, 3, 2, 4)
            .contiguous()
            for name in ("q", "k", "v")
        )
        attended = (q @ k.transpose(-2, -1)) @ v * 0.25
        merged = attended.transpose(2, 3).reshape(time, batch, tokens, width).contiguous()
        return self._spikes("proj", self.attn_lif(merged))


class Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.bn1, self.lif1 = nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), lif()
        self.fc2, self.bn2, self.lif2 = nn.Linear(2 * width, width), nn.BatchNorm1d(width), lif()

    def forward(self, x):
        time, batch, tokens, _ = x.shape
        for linear, norm, fire in ((self.fc1, self.bn1, self.lif1), (self.fc2, self.bn2, self.lif2)):
            summed = norm(linear(x.flatten(0, 1)).transpose(-1, -2)).transpose(-1, -2)
            x = fire(summed.reshape(time, batch, tokens, -1).contiguous())
        return x


class Spikformer(nn.Module):
    def __init__(self, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.stem = Stem(width)
        self.attention = nn.ModuleList(Attention(width) for _ in range(depth))
        self.mlp = nn.ModuleList(Perceptron(width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        x = self.stem(images.unsqueeze(0).repeat(TIMESTEPS, 1, 1, 1, 1))
        for attention, mlp in zip(self.attention, self.mlp, strict=True):
            x = x + attention(x)
            x = x + mlp(x)
        return self.head(x.mean(2).mean(0))


def make() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model, generator = Spikformer(), torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.uniform_(-0.05, 0.05, generator=generator)
            module.running_var.uniform_(0.01, 0.03, generator=generator)
    return model.eval(), torch.rand(3, 3, 8, 8, generator=generator)


def test_the_integer_network_is_derived_and_the_chip_reproduces_it():
    model, images = make()
    trace = capture(model, images, None, labels=[1, 2, 3])
    assert trace.level == "exact", trace.replay_reason
    for chip in ("mesh16", "edge"):
        assert simulate(trace, load_chip(chip), verify=True).cycles > 0


def test_integers_fire_exactly_as_the_model_where_eight_bits_hold_its_weights():
    model, images = put_on_grid(Spikformer(), 0.3), grid_images(3, 3, 8, 8)
    trace = capture(model, images, None)
    assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
    fired = [float(dense(trace, name).float().mean()) for name in ("stem.lif", "attention.0.attn_lif", "mlp.1.lif1")]
    assert all(0.01 < share < 0.9 for share in fired), fired


def test_replayed_spikes_and_operations_are_the_models_own():
    model, images = make()
    trace = capture(model, images, None, level="replay")
    with watched(model) as (read, outputs):
        model(images)
    functional.reset_net(model)
    for path in ("stem.lif", "mlp.0.lif1", "mlp.1.lif1"):
        spikes = outputs[path][0]
        rows = as_rows(spikes) if spikes.ndim == 5 else spikes.permute(1, 0, 2, 3)
        assert torch.equal(dense(trace, path), rows.to(torch.uint8)), path
    counted = {
        entry["name"]: entry["synaptic_events"] for entry in simulate(trace, load_chip("mesh16")).to_json()["layers"]
    }
    modules = dict(model.named_modules())
    for path in ("stem.rpe_conv", "attention.0.proj_linear", "mlp.0.fc1", "mlp.0.fc2", "mlp.1.fc2"):
        assert counted[path] == additions(modules[path], read[path]) > 0, path
    fused = [additions(modules[f"attention.1.{part}_linear"], read[f"attention.1.{part}_linear"]) for part in "qkv"]
    assert counted["attention.1.q_linear"] == sum(fused) > 0


def test_single_step_neurons_are_called_step_by_step():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(12, 20), LIFNode(tau=2.0, v_reset=None), nn.Linear(20, 5), LIFNode(tau=4.0)).eval()
    spikes = (torch.rand(6, 3, 12) < 0.5).float()
    with torch.no_grad():
        expected = torch.stack([model(part) for part in spikes])
    functional.reset_net(model)
    trace = capture(model, spikes, level="replay")
    assert torch.equal(dense(trace, "3"), as_rows(expected).to(torch.uint8))
    assert capture(model, spikes).level == "exact"  # and its state was put back in between
