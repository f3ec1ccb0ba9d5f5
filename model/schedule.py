"""What changes while a round goes on: learning rate, and where pruning is gradual the sparsity."""

import math

from .request import TrainRequest

# Shares of the round at which gradual pruning begins and ends: dense weights grow first, survivors settle afterwards.
PRUNE_FROM, PRUNE_UNTIL = 0.2, 0.7
PRUNE_EVERY = 8  # a new mask so often per epoch
MIXUP_UNTIL = 2 / 3


def learning_rate(request: TrainRequest, step: int, steps: int) -> float:
    """Rate of a step of the round, `steps` to an epoch: a linear warm-up times a cosine down to the last rate."""
    warm = min(1.0, (step + 1) / (request.warm_up * steps)) if request.warm_up else 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * step / (request.epochs * steps)))
    return request.learning_rate * warm * (request.last_rate + (1 - request.last_rate) * cosine)


def sparsity_at(request: TrainRequest, step: int, steps: int) -> float | None:
    """Sparsity to prune to before a step; None where the masks stay. s (1 - (1 - progress)^3): Zhu and Gupta 2017.

    Before the last step of a round it is s, even where the round has too few steps for one after `PRUNE_UNTIL`.
    """
    if not request.sparsity:
        return None
    if step == request.epochs * steps - 1:
        return request.sparsity
    if step % max(1, steps // PRUNE_EVERY):
        return None
    done = step / (request.epochs * steps)
    progress = min(1.0, (done - PRUNE_FROM) / (PRUNE_UNTIL - PRUNE_FROM))
    return request.sparsity * (1 - (1 - progress) ** 3) if progress > 0 else None


def mixes(request: TrainRequest, epoch: int) -> bool:
    """Whether an epoch of the round mixes images."""
    return request.mixup > 0 and epoch < MIXUP_UNTIL * request.epochs
