"""Small networks for capture, with weights and pixels that eight bits hold exactly, and what a trace says of them."""

import numpy as np
import torch
from sparsespike import capture, load_chip, simulate
from sparsespike.model.neuron import LIF
from torch import nn

TIMESTEPS = 4


class Folded(nn.Module):
    """Stateless layers on [T, B, …]: time folded into the batch and back."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, x):
        return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def on_grid(module: nn.Module, seed: int = 0, density: float = 1.0) -> nn.Module:
    """Weights k / 64, each channel's largest 127 / 64: what 8 bits hold exactly, so that integers lose nothing."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-127, 128, module.weight.shape, generator=generator).float()
    weight *= torch.rand(weight.shape, generator=generator) < density
    weight.flatten(1)[:, 0] = 127.0
    module.weight.data = weight / 64
    if module.bias is not None:
        module.bias.data = torch.randint(-30, 31, module.bias.shape, generator=generator).float() / 64
    return module


def image(*shape: int, seed: int = 5) -> torch.Tensor:
    """Pixels k / 128 of which the largest is 127 / 128."""
    pixels = torch.randint(0, 128, shape, generator=torch.Generator().manual_seed(seed)).float()
    pixels.view(-1)[0] = 127.0
    return pixels / 128


def images(count: int = 3) -> torch.Tensor:
    return image(count, 2, 10, 8).expand(TIMESTEPS, -1, -1, -1, -1).contiguous()


def stream_rows(trace, name: str) -> np.ndarray:
    stream = trace.streams[name]
    shape = trace.images, trace.numerics.timesteps, stream.tokens, stream.channels
    return stream.events.to_dense(stream.channels).reshape(shape)


def rows_read(model: nn.Module, layer: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """What a layer of a model on [T, B, tokens, channels] reads in one run: uint8[B, T, tokens, channels]."""
    read: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: read.append(given[0].clone()))
    with torch.no_grad():
        model(inputs)
    hook.remove()
    return read[0].permute(1, 0, 2, 3).to(torch.uint8).numpy()


def spikes(*shape: int, seed: int = 3) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


class Net(nn.Module):
    """A model of one function: `run(self, x)` with the layers that it is given."""

    def __init__(self, run, **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.eval()

    def forward(self, x):
        return self.run(self, x)


def linear(inputs: int, outputs: int, seed: int = 1, bias: bool = True) -> nn.Module:
    return on_grid(nn.Linear(inputs, outputs, bias=bias), seed)


def forward(model: nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Spikes of every neuron by its path: [T, B, …], as the model's own pass gives them."""
    found = {}
    hooks = [
        module.register_forward_hook(lambda module, given, out, path=path: found.setdefault(path, out.clone()))
        for path, module in model.named_modules()
        if isinstance(module, LIF)
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return found


def exact(model: nn.Module, inputs: torch.Tensor, time_axis: int | None = 0):
    """Its trace, of which every neuron fires as the model's did: `rows` of them are [T, B, tokens, channels]."""
    trace = capture(model, inputs, time_axis)
    assert trace.level == "exact", trace.replay_reason
    assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0
    own = forward(model, inputs)
    assert all(part.any() and not part.all() for part in own.values())
    for path, part in own.items():
        rows = part if part.ndim == 4 else part[:, :, None]
        assert np.array_equal(stream_rows(trace, path), rows.permute(1, 0, 2, 3).to(torch.uint8).numpy()), path
    simulate(trace, load_chip("edge"), verify=True)
    return trace


class PlainNeuron(nn.Module):
    """A leaky neuron in plain torch, which no one has told capture of."""

    def forward(self, x):
        v, spikes = torch.zeros_like(x[0]), []
        for current in x:
            v = 0.7 * v + current
            fired = (v > 1.3).float()
            v = v * (1 - fired)
            spikes.append(fired)
        return torch.stack(spikes)
