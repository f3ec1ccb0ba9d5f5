"""Spiking token selector (STS): which tokens go on into the next block."""

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


def keep_best(score: Tensor, mask: Tensor, keep: int) -> Tensor:
    """Keep mask of the `keep` highest scores among the tokens that are left; ties go to the lower token id.

    score: float[batch, tokens].  mask: float[batch, tokens], 1 where a token is left.  Returns float[batch, tokens].
    """
    alive = score.masked_fill(mask == 0, -torch.inf)
    best = alive.argsort(dim=1, descending=True, stable=True)[:, :keep]
    return torch.zeros_like(mask).scatter_(1, best, 1.0)


def image_keys(images: NDArray[np.float32]) -> list[int]:
    """One number per image, a checksum of its pixels: the same image draws the same random tokens in any batch."""
    return [zlib.crc32(np.ascontiguousarray(image).tobytes()) for image in images]


def random_scores(keys: list[int], seed: int, index: int, tokens: int) -> np.ndarray:
    """float32[images, tokens]: the scores of selector number `index` of the form `random`, fixed by seed and image."""
    draws = [np.random.default_rng((seed, index, key)).random(tokens, np.float32) for key in keys]
    return np.stack(draws)


class TokenSelector(nn.Module):
    """One selector, in one of three forms; the keep mask is cumulative, so a dropped token stays dropped.

    learned: feature f = mean over time of the residual stream; Linear(D, D/2) -> activation -> Linear(D/2, 2) ->
        LogSoftmax. Training draws keep or drop per token (Gumbel-softmax, straight through); evaluation keeps the k
        best by z0 - z1. activation: `gelu` as the paper's code has it, which the chip looks up in a table, or `relu`,
        which it computes.
    rate: keeps the k tokens with the highest mean firing rate; no parameters.
    random: the paper's control. Evaluation draws by seed and image, so it does not depend on the batch.
    """

    def __init__(
        self, form: str, index: int, keep: int, width: int, hidden: int, seed: int = 0, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.form, self.index, self.keep, self.seed = form, index, keep, seed
        if form == "learned":
            between = nn.GELU() if activation == "gelu" else nn.ReLU()
            self.linear = nn.Sequential(nn.Linear(width, hidden), between, nn.Linear(hidden, 2), nn.LogSoftmax(dim=-1))

    def hidden_sums(self, x: Tensor) -> Tensor:
        """Hidden units of the learned form in front of the activation, float[batch, tokens, hidden]."""
        sums: Tensor = self.linear[0](x.mean(0))
        return sums

    def forward(self, x: Tensor, mask: Tensor, images: Tensor) -> Tensor:
        """float[time, batch, tokens, D] and the mask so far, float[batch, tokens] -> the new mask, 0 or 1."""
        if self.form == "learned":
            z = self.linear[2](self.linear[1](self.hidden_sums(x)))  # [batch, tokens, 2]: keep, drop
            if self.training:
                return F.gumbel_softmax(self.linear[3](z), hard=True)[..., 0] * mask
            # The difference does not need the softmax, and without it equal tokens tie exactly.
            return keep_best(z[..., 0] - z[..., 1], mask, self.keep)
        if self.form == "rate":
            return keep_best(x.detach().sum((0, 3)), mask, self.keep)
        if self.training:
            # float32 in any precision: the 256 values that bfloat16 tells apart below 1 would tie.
            return keep_best(torch.rand(mask.shape, device=mask.device), mask, self.keep)
        score = random_scores(image_keys(images.detach().cpu().numpy()), self.seed, self.index, mask.shape[1])
        return keep_best(torch.from_numpy(score).to(mask), mask, self.keep)


def token_ratio_loss(masks: list[Tensor], keep: float) -> Tensor:
    """Pulls the share of kept tokens to keep^i: mean over selectors i of mean over images of (mean mask - keep^i)^2.

    masks: cumulative keep masks, float[batch, tokens] each, at least one.
    """
    errors = [(mask.mean(1) - keep**index).square().mean() for index, mask in enumerate(masks, 1)]
    return torch.stack(errors).mean()
