"""Lottery-ticket pruning: which weights, how many, and that they stay gone."""

import pytest
import torch
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.pruning import apply_masks, full_masks, prunable, prune_survivors, rewind, snapshot, survivors
from sparsespike.model.spikformer import Spikformer

SMALL = SpikformerConfig(image_size=4, sps_channels=(4, 8), depth=2, heads=2, mlp_ratio=2, classes=3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Spikformer(SMALL)


def test_prunable_are_exactly_the_weights_with_two_or_more_dimensions(model):
    names = set(prunable(model))
    assert {"head.weight", "predictor.0.linear.0.weight", "patch_embed.proj_conv.weight"} <= names
    assert not [name for name in names if "bn" in name or name.endswith("bias")]


def test_shares_of_the_paper():
    """4-384 of the paper: 9,281,040 prunable of 9,330,874 parameters, with three selectors 9,503,376 of 9,553,792."""
    sizes = {"image_channels": 3, "image_size": 32, "sps_channels": (48, 96, 192, 384), "heads": 12}
    for keep, expected in ((1.0, (9_281_040, 9_330_874)), (0.7, (9_503_376, 9_553_792))):
        with torch.device("meta"):
            network = Spikformer(SpikformerConfig(**sizes, sps_pools=(False, False, True, True), keep=keep))
        weights = sum(weight.numel() for weight in prunable(network).values())
        total = sum(parameter.numel() for parameter in network.parameters())
        # The official network has two layer norms per block that nothing uses; ours leaves them out.
        assert (weights, total + 4 * 4 * 384) == expected


def test_ladder_is_exact(model):
    masks = full_masks(model)
    left, total = survivors(masks)
    assert left == total
    for _ in range(6):
        masks = prune_survivors(prunable(model), masks, 0.25)
        left -= int(0.25 * left)
        assert survivors(masks) == (left, total)


def test_the_smallest_weights_of_all_layers_go_first(model):
    weights = prunable(model)
    masks = prune_survivors(weights, full_masks(model), 0.5)
    gone = max(float(weights[name][~mask].detach().abs().max()) for name, mask in masks.items() if not mask.all())
    kept = min(float(weights[name][mask].detach().abs().min()) for name, mask in masks.items() if mask.any())
    assert gone <= kept
    shares = [float(mask.float().mean()) for mask in masks.values()]
    assert max(shares) - min(shares) > 0.1  # one threshold for all, so layers differ


def test_pruned_once_is_pruned_for_ever(model):
    first = prune_survivors(prunable(model), full_masks(model), 0.5)
    with torch.no_grad():
        for weight in prunable(model).values():
            weight.copy_(torch.rand_like(weight) + 1)  # large now, also where they are pruned
    second = prune_survivors(prunable(model), first, 0.5)
    for name, mask in second.items():
        assert not bool((mask & ~first[name]).any())


def test_masks_stay_after_optimiser_steps(model):
    masks = prune_survivors(prunable(model), full_masks(model), 0.7)
    apply_masks(model, masks)
    before = model.block[0].mlp.fc1_linear.weight.detach().clone()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = model(torch.rand(8, 1, 4, 4)).logits.square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        apply_masks(model, masks)
    for name, weight in prunable(model).items():
        assert not bool(weight[~masks[name]].any())
    changed = model.block[0].mlp.fc1_linear.weight != before
    assert torch.equal(changed, masks["block.0.mlp.fc1_linear.weight"])  # the survivors, and only they, moved


def test_rewinding_puts_everything_back_but_what_is_pruned(model):
    early = snapshot(model)
    masks = prune_survivors(prunable(model), full_masks(model), 0.4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    rewind(model, early, masks)
    for name, parameter in model.named_parameters():
        expected = early[name] * masks[name] if name in masks else early[name]
        assert torch.equal(parameter, expected)
