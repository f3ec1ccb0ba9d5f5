"""The official networks once more, from the paper's description, in plain torch functions on a state dict.

Tensors lie as in the official code, [T, B, C, H, W] in the stem and [T, B, N, C] behind it; LIF neurons are a loop over
time; tokens that a selector drops are physically removed. Nothing of this program is used.
"""

import torch
import torch.nn.functional as F

T = 4


def official_state(*, width=24, depth=4, classes=10, channels=3, ratio=4, selectors=True, convs=4, drive=1.8):
    """A seeded state dict with the official names and shapes, unused layer norms and counts of batches included.

    drive: bias of q, k and v; the fewer tokens and channels there are, the more of their spikes must coincide for the
    neurons behind them to fire.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape, spread=1.0, around=0.0):
        return torch.randn(shape, generator=generator) * spread + around

    state = {}

    def norm(name, size, around=0.9):
        state[f"{name}.weight"] = draw(size, spread=0.2, around=1.2)
        state[f"{name}.bias"] = draw(size, spread=0.3, around=around)
        state[f"{name}.running_mean"] = torch.zeros(size)
        state[f"{name}.running_var"] = torch.ones(size)
        state[f"{name}.num_batches_tracked"] = torch.tensor(117300)

    def linear(name, outputs, inputs):
        state[f"{name}.weight"] = draw(outputs, inputs, spread=inputs**-0.5)
        state[f"{name}.bias"] = draw(outputs, spread=0.1)

    inputs = channels
    for index in range(convs):
        suffix, outputs = str(index or ""), max(1, width >> (convs - 1 - index))
        state[f"patch_embed.proj_conv{suffix}.weight"] = draw(outputs, inputs, 3, 3, spread=(9 * inputs) ** -0.5)
        norm(f"patch_embed.proj_bn{suffix}", outputs)
        inputs = outputs
    state["patch_embed.rpe_conv.weight"] = draw(width, width, 3, 3, spread=(9 * width) ** -0.5)
    norm("patch_embed.rpe_bn", width)
    for block in range(depth):
        for unused in ("norm1", "norm2"):
            state[f"block.{block}.{unused}.weight"] = torch.ones(width)
            state[f"block.{block}.{unused}.bias"] = torch.zeros(width)
        for name in "q", "k", "v", "proj":
            linear(f"block.{block}.attn.{name}_linear", width, width)
            norm(f"block.{block}.attn.{name}_bn", width, 0.9 if name == "proj" else drive)
        for name, outputs, size in (("fc1", ratio * width, width), ("fc2", width, ratio * width)):
            linear(f"block.{block}.mlp.{name}_linear", outputs, size)
            norm(f"block.{block}.mlp.{name}_bn", outputs)
    for index in range(depth - 1) if selectors else ():
        linear(f"predictor.{index}.linear.0", width // 2, width)
        linear(f"predictor.{index}.linear.2", 2, width // 2)
    linear("head", classes, width)
    return state


class Reference:
    """One evaluation of a state dict on images, in double precision but for the potentials.

    settle: first set each batch norm's statistics to those of its own input, in `state`, so that neurons fire.
    spikes: what some neurons fired, [T, B, N, C] of the tokens that were left, by layer and block.
    kept: ids of the tokens that were left, [B, N]; first of all, then behind each selector.
    """

    def __init__(self, state, images, *, heads=12, keep=1.0, pools=2, settle=False):
        self.state, self.heads, self.settle = state, heads, settle
        self.spikes = {}
        x = self.stem(images.double(), pools)
        tokens, depth = x.shape[2], 1 + max(int(name.split(".")[1]) for name in state if name.startswith("block."))
        self.kept = [torch.arange(tokens).expand(len(images), -1)]
        for block in range(depth):
            if block and keep < 1:
                x = self.select(block - 1, x, int(tokens * keep**block))
            x = x + self.attention(block, x)
            x = x + self.mlp(block, x)
        self.spikes["block", depth - 1] = x
        self.logits = F.linear(x.mean(2).mean(0), self.weight("head.weight"), self.weight("head.bias"))

    def weight(self, name):
        return self.state[name].double()

    def norm(self, name, x):
        """x[TB, C, ...]"""
        if self.settle:
            rest = [axis for axis in range(x.dim()) if axis != 1]
            self.state[f"{name}.running_mean"] = x.mean(rest).float()
            self.state[f"{name}.running_var"] = x.var(rest).float()
        mean, variance, gain, shift = (
            self.weight(f"{name}.{part}") for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, gain, shift, training=False, eps=1e-5)

    @staticmethod
    def lif(x, v_th=1.0):
        """x[T, ...]; tau = 2, hard reset to 0."""
        x, v, spikes = x.float(), 0.0, []
        for current in x:
            v = v + (current - v) / 2
            fired = (v >= v_th).float()
            v = v * (1 - fired)
            spikes.append(fired)
        return torch.stack(spikes).double()

    def stem(self, images, pools):
        x = images.expand(T, *images.shape)  # direct coding: the same picture at every timestep
        convs = sum(name.startswith("patch_embed.proj_conv") for name in self.state)
        for index in range(convs):
            x = self.convolve(x, f"proj_conv{index or ''}", f"proj_bn{index or ''}")
            if index >= convs - pools:
                x = F.max_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, (T, -1))
        x = self.convolve(x, "rpe_conv", "rpe_bn") + x
        x = x.flatten(3).transpose(2, 3)
        self.spikes["stem", 0] = x
        return x

    def convolve(self, x, conv, norm):
        y = F.conv2d(x.flatten(0, 1), self.weight(f"patch_embed.{conv}.weight"), padding=1)
        return self.lif(self.norm(f"patch_embed.{norm}", y).unflatten(0, (T, -1)))

    def project(self, name, x):
        """Linear, batch norm over channels, LIF: [T, B, N, C] both ways."""
        y = F.linear(x, self.weight(f"{name}_linear.weight"), self.weight(f"{name}_linear.bias"))
        y = self.norm(f"{name}_bn", y.flatten(0, 1).transpose(1, 2)).transpose(1, 2)
        return self.lif(y.unflatten(0, (T, -1)))

    def attention(self, block, x):
        name = f"block.{block}.attn"
        q, k, v = (
            self.project(f"{name}.{part}", x).unflatten(3, (self.heads, -1)).permute(0, 1, 3, 2, 4) for part in "qkv"
        )
        mixed = (q @ k.transpose(-2, -1)) * 0.125 @ v
        self.spikes["attention", block] = self.lif(mixed.transpose(2, 3).flatten(3), 0.5)
        return self.project(f"{name}.proj", self.spikes["attention", block])

    def mlp(self, block, x):
        hidden = self.project(f"block.{block}.mlp.fc1", x)
        self.spikes["fc1", block] = hidden
        return self.project(f"block.{block}.mlp.fc2", hidden)

    def select(self, index, x, keep):
        """The best tokens by the probability to be kept, gathered, the best first."""
        name = f"predictor.{index}.linear"
        h = F.gelu(F.linear(x.mean(0), self.weight(f"{name}.0.weight"), self.weight(f"{name}.0.bias")))
        z = F.log_softmax(F.linear(h, self.weight(f"{name}.2.weight"), self.weight(f"{name}.2.bias")), dim=-1)
        best = z[..., 0].argsort(dim=1, descending=True)[:, :keep]
        self.kept.append(self.kept[-1].gather(1, best))
        return x.gather(2, best[None, :, :, None].expand(T, -1, -1, x.shape[3]))
