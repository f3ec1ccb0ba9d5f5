"""Seeded traces of any size without torch, for benchmarks and tests.

`synthetic_trace` makes a spiking transformer, `mlp_trace` a stack of linear layers on given spikes, `workload` a named
benchmark; `builder.Builder` grows any other graph. With `neuron="relu"` each is a quantised ANN of the same shapes.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .builder import Builder, Style
from .errors import UserError, nearest
from .trace import SelectForm, Trace, Window


@dataclass(frozen=True, kw_only=True)
class Recipe(Style):
    """A spiking transformer: convolutions with pools, then `depth` blocks with a selector before all but the first.

    sps: output channels of the convolutions; the last is the embedding. pools: those of them with a pool behind.
    pool_sums: these pools lie in front of the neurons, on the sums (C10), as in spikingjelly's Spikformer.
    The last convolution is added to its input where the shapes agree and no pool follows. keep: ratio of tokens per
    selector, the i-th leaves int(tokens x keep^i); 1 means no selectors.
    """

    pixel_channels: int = 3
    height: int = 8
    width: int = 8
    sps: tuple[int, ...] = (8, 16, 16)
    pools: tuple[int, ...] = (1,)
    pool_sums: bool = False
    kernel: int = 3
    depth: int = 2
    heads: int = 2
    mlp_ratio: int = 4
    keep: float = 0.7
    form: SelectForm = "learned"
    classes: int = 10


@dataclass(frozen=True, kw_only=True)
class MlpRecipe(Style):
    """Linear layers on spikes that no layer made: widths[0] channels in, one layer per further width.

    largest: values of the given spikes run from 1 to it. silent, full: share of (timestep, token) rows without any
    spike, and with all of them. residual: adds a layer's input to its spikes where the widths agree.
    """

    height: int = 1
    width: int = 4
    widths: tuple[int, ...] = (32, 64, 32)
    largest: int = 1
    silent: float = 0.0
    full: float = 0.0
    residual: bool = False
    classes: int = 0


def synthetic_trace(recipe: Recipe | None = None, **changes: Any) -> Trace:
    """A spiking transformer of the recipe (`Recipe()` where none is given) with some fields changed, run on noise."""
    recipe = replace(recipe or Recipe(), **changes)
    builder = Builder(recipe)
    stream = builder.pixels(recipe.pixel_channels, recipe.height, recipe.width)
    for index, channels in enumerate(recipe.sps):
        last = index > 0 and index == len(recipe.sps) - 1 and index not in recipe.pools
        residual = stream if last and builder.streams[stream].channels == channels else ""
        pooled = Window(3, 3, 2, 1, 1) if recipe.pool_sums and index in recipe.pools else None
        stream = builder.conv(f"sps{index}", stream, channels, recipe.kernel, residual, pooled)
        if index in recipe.pools and pooled is None:
            stream = builder.pool(f"pool{index}", stream)
    width, tokens = recipe.sps[-1], builder.streams[stream].tokens
    for block in range(recipe.depth):
        if block and recipe.keep < 1:
            builder.select(f"select{block}", stream, max(1, int(tokens * recipe.keep**block)), recipe.form)
        fused = builder.linear(f"block{block}.qkv", stream, 3 * width)
        mixed = builder.attention(f"block{block}.attention", fused, recipe.heads)
        stream = builder.linear(f"block{block}.projection", mixed, width, stream)
        wide = builder.linear(f"block{block}.fc1", stream, recipe.mlp_ratio * width)
        stream = builder.linear(f"block{block}.fc2", wide, width, stream)
    builder.head("head", stream, recipe.classes)
    told = {key: value for key, value in asdict(recipe).items() if value or key != "pool_sums"}  # which came later
    return builder.trace(recipe=str(told))


def mlp_trace(recipe: MlpRecipe | None = None, **changes: Any) -> Trace:
    """Linear layers on random spikes, as a trace from another tool has them: no pixels; a head only with `classes`."""
    recipe = replace(recipe or MlpRecipe(), **changes)
    builder = Builder(recipe)
    shape = (recipe.images, builder.style.timesteps, recipe.height * recipe.width, recipe.widths[0])
    dense = (builder.rng.random(shape) < recipe.spike_density) * builder.rng.integers(1, recipe.largest + 1, shape)
    kind = builder.rng.random(shape[:3])
    dense[kind < recipe.silent] = 0
    full = kind > 1 - recipe.full
    dense[full] = np.maximum(dense[full], 1)
    stream = builder.spikes("input", dense, recipe.height, recipe.width)
    for index, width in enumerate(recipe.widths[1:]):
        residual = stream if recipe.residual and builder.streams[stream].channels == width else ""
        stream = builder.linear(f"linear{index}", stream, width, residual)
    if recipe.classes:
        builder.head("head", stream, recipe.classes)
    return builder.trace(recipe=str(asdict(recipe)))


WORKLOADS = {
    "spikformer": Recipe(
        height=32, width=32, sps=(48, 96, 192, 384, 384), pools=(2, 3), depth=4, heads=12, spike_density=0.149
    ),
    "imagenet": Recipe(
        height=224,
        width=224,
        sps=(64, 128, 256, 512, 512),
        pools=(0, 1, 2, 3),
        depth=8,
        heads=8,
        keep=1.0,
        classes=1000,
    ),
}


def workload(name: str, images: int = 1, seed: int = 0) -> Trace:
    """A named benchmark: `spikformer` is Spikformer-4-384 on 32 x 32 pixels with T = 4, 64 tokens kept 64/44/31/21,
    10 % of the weights and 14.9 % spikes; `imagenet` is Spikformer-8-512 with 196 tokens.

    Raises UserError for another name.
    """
    if name not in WORKLOADS:
        raise UserError(f"no workload {name!r}; {nearest(name, WORKLOADS)}")
    return synthetic_trace(WORKLOADS[name], images=images, seed=seed)
