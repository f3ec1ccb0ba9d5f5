"""The networks of Prosperity's tables as shapes (its simulator/configs.py), and those tables (its reference/)."""

import csv
from pathlib import Path

import numpy as np
from sparsespike.simulator.peers.workload import POINT, Matrix, Mixing, Work
from sparsespike.simulator.trace import Window

TABLES = Path(__file__).parent / "data" / "prosperity_published.csv"


def published():
    """{(quantity, model): {workload: the number as it is printed}}"""
    with TABLES.open(newline="") as file:
        return {(row.pop("quantity"), row.pop("model")): row for row in csv.DictReader(file)}


def silent(steps, *shape):
    return np.zeros((steps, *shape), np.uint8)


def conv(steps, side, inputs, outputs, neurons=None):
    """3 x 3 on a square map that keeps its size. neurons: where there are others than its outputs."""
    matrix = Matrix(silent(steps, side, side, inputs), Window(3, 3, 1, 1, 1), outputs)
    return Work("conv", "conv", matrix, neurons or side * side * outputs, 0)


def linear(steps, tokens, inputs, outputs, neurons=None):
    matrix = Matrix(silent(steps, tokens, 1, inputs), POINT, outputs)
    return Work("linear", "linear", matrix, neurons or tokens * outputs, 0)


def attention(steps, tokens, dim, heads, form):
    parts = (silent(steps, tokens, dim) for _ in "qkv")
    return Work("attention", "attention", Mixing(*parts, heads, form), tokens * dim if form == "product" else 0, 0)


def blocks(depth, steps, tokens, dim, heads, form="product", fired=3):
    """fired: of q, k and v those that neurons make."""
    block = [
        linear(steps, tokens, dim, 3 * dim, fired * dim * tokens),
        attention(steps, tokens, dim, heads, form),
        linear(steps, tokens, dim, dim),
        linear(steps, tokens, dim, 4 * dim),
        linear(steps, tokens, 4 * dim, dim),
    ]
    return depth * block


def vision(depth, steps, dim, heads, sides, form="product"):
    """Spikformer and Spike-Driven Transformer: four convolutions behind the one that reads pixels, then blocks."""
    widths = dim // 8, dim // 4, dim // 2, dim, dim
    stem = [conv(steps, side, widths[index], widths[index + 1]) for index, side in enumerate(sides)]
    return stem + blocks(depth, steps, sides[-1] ** 2, dim, heads, form)


def vgg16():
    maps = [(32, 64, 64), (16, 64, 128), (16, 128, 128), (8, 128, 256), (8, 256, 256), (8, 256, 256), (8, 256, 512)]
    convs = [conv(32, *size) for size in maps + 5 * [(8, 512, 512)]]
    return [*convs, linear(32, 1, 8 * 8 * 512, 4096), linear(32, 1, 4096, 4096)]


def resnet18():
    """The third and fourth layer have 64 outputs, and in the published shapes neurons of 128."""
    widths = [(64, 64)] * 4 + [(64, 128)] + [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 3
    widths += [(256, 512)] + [(512, 512)] * 3
    slips = {2: 8 * 8 * 128, 3: 8 * 8 * 128}
    return [conv(32, 8, *width, neurons=slips.get(index)) for index, width in enumerate(widths)]


# workloads of one shape -> its layers. Those of text have layer normalisation, too, which no trace of ours has.
VISION = {
    ("vgg16_cifar10", "vgg16_cifar100"): vgg16,
    ("resnet18_cifar10", "resnet18_cifar100"): resnet18,
    ("spikformer_cifar10", "spikformer_cifar100"): lambda: vision(4, 4, 384, 12, (32, 32, 16, 8)),
    ("spikformer_cifar10dvs",): lambda: vision(2, 16, 256, 16, (64, 32, 16, 8)),
    ("sdt_cifar10", "sdt_cifar100"): lambda: vision(4, 4, 512, 8, (32, 32, 16, 8), "hadamard"),
    ("sdt_cifar10dvs",): lambda: vision(2, 10, 512, 8, (64, 32, 16, 8), "hadamard"),
}
TEXT = {
    ("spikebert_sst2", "spikebert_sst5"): lambda: blocks(12, 4, 128, 768, 8),
    ("spikebert_mr",): lambda: blocks(12, 4, 256, 768, 8),
    ("spikingbert_sst2", "spikingbert_qqp", "spikingbert_mnli"): lambda: blocks(4, 16, 128, 768, 12, fired=2),
}
