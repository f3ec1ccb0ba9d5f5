"""What training minimises: cross-entropy + 2.0 x token-ratio loss + 0.5 x distillation, as in the paper's code."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .spikformer import Output, Spikformer

TOKEN_RATIO_WEIGHT = 2.0
DISTILLATION_WEIGHT = 0.5


class Mix(NamedTuple):
    """A batch mixed with itself in reverse order: share x image + (1 - share) x the other, and so the targets."""

    images: Tensor
    share: float


def mixed(images: Tensor, alpha: float) -> Mix:
    """Mixup: one share per batch, drawn from Beta(alpha, alpha)."""
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    return Mix(images * share + images.flip(0) * (1 - share), share)


def classification_loss(logits: Tensor, labels: Tensor, smoothing: float, share: float = 1.0) -> Tensor:
    """Cross-entropy with label smoothing; of a mixed batch, of both its labels by their shares.

    logits: float[batch, classes].  labels: int64[batch].
    """
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    if share < 1:
        other = F.cross_entropy(logits, labels.flip(0), label_smoothing=smoothing)
        loss = share * loss + (1 - share) * other
    return loss


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), mean over the batch: sum over classes of p_teacher (log p_teacher - log p_student).

    Both: float[batch, classes] logits.
    """
    return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)


@torch.no_grad()
def taught(teacher: Spikformer, images: Tensor) -> Tensor:
    """The frozen teacher's logits; it is in evaluation mode, and its neurons start at rest in every batch."""
    output: Output = teacher(images)
    return output.logits
