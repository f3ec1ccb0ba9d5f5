"""Lottery-ticket pruning: global magnitude over the survivors, masks that stay, rewinding to an early epoch."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Masks = dict[str, Tensor]


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that pruning may touch: convolutions, q, k, v, proj, fc1, fc2, head and selectors, by name.

    Those are the parameters of two or more dimensions; batch norm and biases have one and are never pruned.
    """
    return {name: parameter for name, parameter in model.named_parameters() if parameter.ndim >= 2}


def full_masks(model: nn.Module) -> Masks:
    """bool masks of every prunable weight, all True: nothing pruned."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}


def prune_survivors(weights: Mapping[str, Tensor], masks: Masks, fraction: float) -> Masks:
    """One round of global magnitude pruning: int(fraction x survivors) weights go, the smallest |w|."""
    alive, _ = survivors(masks)
    return prune_smallest(weights, masks, int(fraction * alive))


def prune_to(weights: Mapping[str, Tensor], masks: Masks, sparsity: float) -> Masks:
    """Global magnitude pruning until int(sparsity x prunable weights) are gone; none where as many are gone already."""
    alive, prunable_weights = survivors(masks)
    return prune_smallest(weights, masks, max(0, int(sparsity * prunable_weights) - (prunable_weights - alive)))


def prune_smallest(weights: Mapping[str, Tensor], masks: Masks, count: int) -> Masks:
    """Masks without the `count` survivors of all layers together whose |w| is smallest.

    Exactly so many are removed; among equals the first in name and memory order.
    """
    names = sorted(masks)
    alive = torch.cat([masks[name].flatten() for name in names])
    size = torch.cat([weights[name].detach().abs().flatten() for name in names]).masked_fill(~alive, torch.inf)
    alive[size.argsort(stable=True)[:count]] = False
    parts = alive.split([masks[name].numel() for name in names])
    return {name: part.reshape(masks[name].shape).clone() for name, part in zip(names, parts, strict=True)}


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Set every pruned weight to exactly 0, in place. Called after each optimiser step, it keeps them there."""
    for name, weight in prunable(model).items():
        weight.mul_(masks[name])


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights, biases and batch-norm affine parameters, for `rewind`."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@torch.no_grad()
def rewind(model: nn.Module, early: Mapping[str, Tensor], masks: Masks) -> None:
    """Late rewinding: put the early parameters back, in place, and apply the masks.

    Batch norm's running statistics stay; they follow the data within an epoch.
    """
    for name, parameter in model.named_parameters():
        parameter.copy_(early[name])
    apply_masks(model, masks)


def survivors(masks: Masks) -> tuple[int, int]:
    """(weights that are left, prunable weights)."""
    return sum(int(mask.sum()) for mask in masks.values()), sum(mask.numel() for mask in masks.values())
