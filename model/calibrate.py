"""What the training images say about the ranges that lowering must cover."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .spikformer import Spikformer
from .ticket import Calibration

BATCH = 128


@torch.no_grad()
def calibrate(model: Spikformer, images: NDArray[np.float32]) -> Calibration:
    """Run the network in evaluation mode on training images and record its ranges; its mode is put back afterwards.

    images: float32[count, channels, height, width], normalised.
    """
    largest = [0.0] * len(model.predictor) if model.config.selector == "learned" else []

    def watch(index: int, inputs: tuple[Tensor, ...]) -> None:
        x, mask, _ = inputs
        hidden = model.predictor[index].linear[:2](x.mean(0))  # after the ReLU, [batch, tokens, hidden]
        largest[index] = max(largest[index], float((hidden * mask[:, :, None]).max()))

    hooks = [
        model.predictor[index].register_forward_pre_hook(lambda _, inputs, index=index: watch(index, inputs))
        for index in range(len(largest))
    ]
    training = model.training
    model.eval()
    try:
        for start in range(0, len(images), BATCH):
            model(torch.from_numpy(images[start : start + BATCH]))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return Calibration(float(np.abs(images).max()), tuple(largest))
