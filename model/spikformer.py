"""Spikformer with spiking token selectors, in reading order. T time, B batch, N tokens, D width, d head width.

Parameter names are those of the official state dict, so that its checkpoints fit. Spikes are kept token by token,
[T, B, N, channels], which is also the memory order of a channels-last image, so changing between the two is free.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import SpikformerConfig
from .neuron import make_neuron
from .selector import TokenSelector


class Norm(nn.BatchNorm2d):
    """Batch norm over the last axis of [..., channels], statistics over all the others.

    It hands torch a channels-last image, because the kernel for that order is many times faster on a CPU than the
    one for rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        """float[..., channels] -> the same shape."""
        image = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
        return super().forward(image).permute(0, 2, 3, 1).reshape(x.shape)


def to_image(x: Tensor, side: int) -> Tensor:
    """[T, B, N, C] -> [T * B, C, side, side], a channels-last view."""
    return x.reshape(-1, side, side, x.shape[-1]).permute(0, 3, 1, 2)


def to_tokens(image: Tensor, timesteps: int) -> Tensor:
    """[T * B, C, side, side] -> [T, B, N, C]; the inverse of `to_image`."""
    channels = image.shape[1]
    rows = image.permute(0, 2, 3, 1).contiguous()
    return rows.reshape(timesteps, image.shape[0] // timesteps, -1, channels)


class SPS(nn.Module):
    """Spiking patch splitting: 3 x 3 convolutions with batch norm, LIF and optional pools, then position by rpe_conv.

    The first convolution sees real pixels, the same at every timestep, so it is computed once. Output x = rpe + x_feat,
    a sum of two spike trains: 0, 1 or 2.
    """

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.timesteps, self.side, self.pools = config.timesteps, config.image_size, config.sps_pools
        inputs = config.image_channels
        for index, outputs in enumerate(config.sps_channels):
            suffix = str(index or "")  # the official names: proj_conv, proj_conv1, proj_conv2 …
            setattr(self, f"proj_conv{suffix}", nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
            setattr(self, f"proj_bn{suffix}", Norm(outputs))
            setattr(self, f"proj_lif{suffix}", make_neuron(config.neuron))
            inputs = outputs
        self.rpe_conv = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.rpe_bn = Norm(inputs)
        self.rpe_lif = make_neuron(config.neuron)

    def forward(self, images: Tensor) -> Tensor:
        """float[B, C, H, W] -> [T, B, N, D]."""
        side = self.side
        x = images
        for index, pool in enumerate(self.pools):
            suffix = str(index or "")
            conv, norm, lif = (getattr(self, f"proj_{part}{suffix}") for part in ("conv", "bn", "lif"))
            if index == 0:
                current = norm(to_tokens(conv(x.contiguous(memory_format=torch.channels_last)), 1))
                x = lif(current.expand(self.timesteps, -1, -1, -1))  # [T, B, H * W, C]
            else:
                x = lif(norm(to_tokens(conv(to_image(x, side)), self.timesteps)))
            if pool:
                x = to_tokens(F.max_pool2d(to_image(x, side), 3, 2, 1), self.timesteps)
                side = (side + 1) // 2
        rpe = self.rpe_lif(self.rpe_bn(to_tokens(self.rpe_conv(to_image(x, side)), self.timesteps)))
        return rpe + x


class SSA(nn.Module):
    """Spiking self-attention: q, k, v are spikes, there is no softmax, attn = (Q K^T) V * scale.

    Dropped tokens are neither keys nor values.
    """

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.heads, self.scale = config.heads, config.attention_scale
        for name in ("q", "k", "v", "proj"):
            setattr(self, f"{name}_linear", nn.Linear(config.width, config.width))
            setattr(self, f"{name}_bn", Norm(config.width))
            setattr(self, f"{name}_lif", make_neuron(config.neuron))
        self.attn_lif = make_neuron(config.neuron, 0.5)

    def _spikes(self, name: str, x: Tensor) -> Tensor:
        linear, norm, lif = (getattr(self, f"{name}_{part}") for part in ("linear", "bn", "lif"))
        return lif(norm(linear(x)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[T, B, N, D] and keep mask [B, N] -> spikes [T, B, N, D]."""
        q, k, v = (
            self._spikes(name, x).unflatten(-1, (self.heads, -1)).transpose(2, 3)  # [T, B, heads, N, d]
            for name in ("q", "k", "v")
        )
        k = k * mask[:, None, :, None]
        # Both orders give the same integers; the cheaper one depends on which of N and d is smaller.
        attended = q @ (k.mT @ v) if q.shape[-1] < q.shape[-2] else (q @ k.mT) @ v
        merged = (attended * self.scale).transpose(2, 3).flatten(3)  # [T, B, N, D]
        return self._spikes("proj", self.attn_lif(merged))


class MLP(nn.Module):
    """Two linear layers, D -> ratio D -> D, each with batch norm and LIF."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.fc1_linear = nn.Linear(config.width, config.hidden)
        self.fc1_bn = Norm(config.hidden)
        self.fc1_lif = make_neuron(config.neuron)
        self.fc2_linear = nn.Linear(config.hidden, config.width)
        self.fc2_bn = Norm(config.width)
        self.fc2_lif = make_neuron(config.neuron)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, N, D] -> spikes [T, B, N, D]."""
        x = self.fc1_lif(self.fc1_bn(self.fc1_linear(x)))
        return self.fc2_lif(self.fc2_bn(self.fc2_linear(x)))


class Block(nn.Module):
    """Encoder block: x + SSA(x), then x + MLP(x). The residual stream stays integer."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.attn = SSA(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[T, B, N, D] integers and keep mask [B, N] -> [T, B, N, D] integers."""
        x = x + self.attn(x, mask)
        return x + self.mlp(x)


class Output(NamedTuple):
    """logits: float[B, classes].  masks: cumulative keep mask of each selector, float[B, N]."""

    logits: Tensor
    masks: list[Tensor]


class Spikformer(nn.Module):
    """The whole network: SPS, blocks with selectors before blocks 1 to depth - 1, mean over kept tokens and time, head.

    Dropped tokens are carried on, so shapes stay fixed, but nothing that is kept ever sees them again: they are no keys
    or values, no candidates of a later selector, and not in the final mean - in training as in evaluation.
    (Batch norm's training statistics alone see every token.)
    """

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = SPS(config)
        self.block = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.predictor = nn.ModuleList(
            TokenSelector(
                config.selector,
                index,
                keep,
                config.width,
                config.selector_hidden,
                config.selector_seed,
                config.activation,
            )
            for index, keep in enumerate(config.keep_counts)
        )
        self.head = nn.Linear(config.width, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):  # as the official network
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Output:
        """float[B, C, H, W] -> `Output`."""
        x = self.patch_embed(images)  # [T, B, N, D]
        mask = x.new_ones(x.shape[1:3])
        masks: list[Tensor] = []
        for index, block in enumerate(self.block):
            if index and self.predictor:
                mask = self.predictor[index - 1](x, mask, images)
                masks.append(mask)
            x = block(x, mask)
        # A draw in training may drop every token of an image; its mean is then 0, not 0 / 0.
        pooled = (x.mean(0) * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1.0)
        return Output(self.head(pooled), masks)
