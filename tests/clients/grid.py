"""Weights that eight bits hold exactly, so that the integer network must fire exactly as the float one does."""

import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def put_on_grid(model: nn.Module, density: float = 1.0) -> nn.Module:
    """Weights k / 64, the largest of each channel 127 / 64, biases too; batch norms that change nothing."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            fan_in = module.weight[0].numel()
            weight = torch.randn(module.weight.shape, generator=generator) * (180 / fan_in**0.5)
            weight = weight.round().clamp(-127, 127) * (torch.rand(weight.shape, generator=generator) < density)
            weight.flatten(1)[:, 0] = 127.0
            module.weight.data = weight / 64
            if module.bias is not None:
                module.bias.data = torch.randint(-30, 31, module.bias.shape, generator=generator) / 64
        elif isinstance(module, NORMS):
            module.weight.data.fill_(1.0)
            module.bias.data.zero_()
            module.running_mean.zero_()
            module.running_var.fill_(1.0 - module.eps)
    return model.eval()


def grid_images(*shape: int) -> Tensor:
    """Pixels k / 128, of which the largest is 127 / 128."""
    pixels = torch.randint(0, 128, shape, generator=torch.Generator().manual_seed(5)).float()
    pixels.view(-1)[0] = 127.0
    return pixels / 128
