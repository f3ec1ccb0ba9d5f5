"""Small networks for capture, with weights and pixels that eight bits hold exactly, and what a trace says of them."""

import numpy as np
import torch
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
