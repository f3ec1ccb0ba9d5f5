"""Batch norm's statistics once more after training, for a quantised ANN twin."""

import numpy as np
import torch
from numpy.typing import NDArray

from .spikformer import Norm, Spikformer

BATCH = 128
_CONSTANT = 1e-7  # a variance far below batch norm's epsilon of 1e-5: the channel carries nothing


@torch.no_grad()
def settle_norms(model: Spikformer, images: NDArray[np.float32]) -> None:
    """Replace the running statistics by those of training images with the weights at rest, in place.

    images: float32[count, channels, height, width], normalised. Tokens are selected as in evaluation.

    While training, the running mean lags behind the weights. Where pruning has left a channel constant that lag is
    multiplied by 1 / sqrt(epsilon) = 316; a spiking neuron bounds what comes of it, a ReLU does not. A constant
    channel gets the variance 1, which leaves its output as it is but does not amplify the rounding of its inputs.
    """
    norms = [module for module in model.modules() if isinstance(module, Norm)]
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    device = model.head.weight.device
    try:
        for start in range(0, len(images) - len(images) % BATCH or len(images), BATCH):
            model(torch.from_numpy(images[start : start + BATCH]).to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(training)
    for norm in norms:
        assert norm.running_var is not None
        norm.running_var[norm.running_var < _CONSTANT] = 1.0
