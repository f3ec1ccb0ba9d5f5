"""What the training images say about the ranges that lowering must cover."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .ann import Ranges
from .selector import TokenSelector
from .spikformer import Spikformer
from .ticket import Calibration

BATCH = 128
GELU_FLAT = 4.0  # GELU(x) is within 2e-4 of 0 below -4, so that no sum beyond needs to be told apart


@torch.no_grad()
def calibrate(model: Spikformer, images: NDArray[np.float32]) -> Calibration:
    """Run the network, where it lies, in evaluation mode on training images and record its ranges.

    Its mode is put back afterwards.
    images: float32[count, channels, height, width], normalised.
    """
    largest = [0.0] * len(model.predictor) if model.config.selector == "learned" else []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, TokenSelector)
        x, mask, _ = inputs
        sums = module.hidden_sums(x) * mask[:, :, None]
        below = min(GELU_FLAT, -float(sums.min())) if model.config.activation == "gelu" else 0.0
        largest[module.index] = max(largest[module.index], float(sums.max()), below)

    hooks = [model.predictor[index].register_forward_pre_hook(watch) for index in range(len(largest))]
    training, device = model.training, model.head.weight.device
    model.eval()
    ranges = Ranges(model.config)
    try:
        for start in range(0, len(images), BATCH):
            with ranges.watching(model):
                model(torch.from_numpy(images[start : start + BATCH]).to(device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return Calibration(float(np.abs(images).max()), tuple(largest), ranges.result())
