"""Token selectors and their effect on the network: counts, ties, and that dropped tokens are really gone."""

import numpy as np
import pytest
import torch
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.selector import TokenSelector, image_keys, keep_best, random_scores, token_ratio_loss
from sparsespike.model.spikformer import Spikformer
from sparsespike.simulator.errors import UserError

SMALL = {"image_size": 4, "sps_channels": (4, 8), "depth": 3, "heads": 2, "mlp_ratio": 2, "classes": 3}


def excited(config: SpikformerConfig, seed: int = 0) -> Spikformer:
    """A random network whose neurons fire often, so that nothing is equal by silence."""
    torch.manual_seed(seed)
    model = Spikformer(config)
    for name, parameter in model.named_parameters():
        if "_bn" in name:
            torch.nn.init.uniform_(parameter, 0.5, 2.0)
        elif parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=0.6)
    return model.eval()


@pytest.mark.parametrize(
    ("keep", "counts"),
    [
        (0.9, (64, 57, 51, 46)),
        (0.8, (64, 51, 40, 32)),
        (0.7, (64, 44, 31, 21)),
        (0.5, (64, 32, 16, 8)),
        (1.0, (64,) * 4),
    ],
)
def test_token_counts_of_the_paper(keep, counts):
    assert SpikformerConfig(keep=keep).kept_tokens == counts


def test_network_keeps_exactly_these_tokens_and_nests_them():
    model = excited(SpikformerConfig())
    with torch.no_grad():
        output = model(torch.rand(3, 1, 8, 8))
    assert [mask.sum(1).tolist() for mask in output.masks] == [[44.0] * 3, [31.0] * 3, [21.0] * 3]
    for before, after in zip(output.masks, output.masks[1:], strict=False):
        assert bool((after <= before).all())


def test_ties_go_to_the_lower_token_id_and_dropped_tokens_stay_dropped():
    score = torch.tensor([[1.0, 2.0, 2.0, 2.0, 9.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
    assert keep_best(score, mask, 2).tolist() == [[0.0, 1.0, 1.0, 0.0, 0.0]]


def test_rate_selector_keeps_the_busiest_tokens():
    x = torch.zeros(4, 1, 5, 3)
    for token, spikes in enumerate((3, 9, 1, 9, 6)):
        x[:, 0, token] = (torch.arange(12) < spikes).reshape(4, 3).float()
    kept = TokenSelector("rate", 0, 3, 3, 1)(x, torch.ones(1, 5), torch.zeros(1, 1))
    assert kept.tolist() == [[0.0, 1.0, 0.0, 1.0, 1.0]]


def test_random_selector_depends_on_image_and_seed_not_on_the_batch():
    images = np.random.default_rng(0).random((3, 1, 4, 4), np.float32)
    together = random_scores(image_keys(images), 5, 1, 16)
    alone = random_scores(image_keys(images[2:]), 5, 1, 16)
    assert np.array_equal(together[2:], alone)
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(alone, random_scores(image_keys(images[2:]), 6, 1, 16))


def gathered_logits(model: Spikformer, image: torch.Tensor, masks: list[torch.Tensor]) -> torch.Tensor:
    """Logits of one image with dropped tokens physically removed before each block."""
    x = model.patch_embed(image)
    ids = torch.arange(x.shape[2])
    for index, block in enumerate(model.block):
        if index:
            left = masks[index - 1][0, ids] == 1
            ids, x = ids[left], x[:, :, left]
        x = block(x, torch.ones(1, x.shape[2]))
    return model.head(x.mean((0, 2)))


@pytest.mark.parametrize("form", ["learned", "rate", "random"])
@pytest.mark.parametrize("drawn", [True, False], ids=["training mask", "evaluation mask"])
def test_masking_equals_removing_the_tokens(form, drawn):
    """In training (random draws) as in evaluation (top-k), what is dropped has no way into the logits."""
    model = excited(SpikformerConfig(**SMALL, selector=form, keep=0.6))
    model.predictor.train(drawn)
    images = torch.rand(4, 1, 4, 4)
    with torch.no_grad():
        output = model(images)
        for row in range(4):
            masks = [mask[row : row + 1] for mask in output.masks]
            if masks[-1].sum() == 0:
                continue
            expected = gathered_logits(model, images[row : row + 1], masks)
            torch.testing.assert_close(output.logits[row : row + 1], expected, rtol=1e-5, atol=1e-5)
    assert len({tuple(row) for row in output.masks[-1].tolist()}) > 1


def test_ratio_loss_by_hand_and_gradient_reaches_the_selector():
    masks = [torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]), torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])]
    # keep 0.5: shares 0.5 and 1 against 0.5 -> mean 0.125; shares 0.25 and 0.25 against 0.25 -> 0
    assert token_ratio_loss(masks, 0.5).item() == pytest.approx(0.0625)
    model = excited(SpikformerConfig(**SMALL, keep=0.6)).train()
    output = model(torch.rand(4, 1, 4, 4))
    (output.logits.square().sum() + token_ratio_loss(output.masks, 0.6)).backward()
    assert all(float(predictor.linear[0].weight.grad.abs().sum()) > 0 for predictor in model.predictor)


def test_parameter_names_are_the_official_ones():
    names = set(
        Spikformer(SpikformerConfig(sps_channels=(4, 8, 8, 16), sps_pools=(False, False, True, True))).state_dict()
    )
    for name in (
        "patch_embed.proj_conv.weight",
        "patch_embed.proj_conv3.weight",
        "patch_embed.proj_bn2.running_var",
        "patch_embed.rpe_bn.bias",
        "block.0.attn.q_linear.weight",
        "block.3.attn.proj_bn.running_mean",
        "block.1.mlp.fc2_linear.bias",
        "predictor.2.linear.0.weight",
        "predictor.0.linear.2.bias",
        "head.weight",
    ):
        assert name in names


def test_tokens_are_the_pixels_of_the_map():
    """Token y * width + x is the pixel (y, x) that an ordinary convolution computes."""
    model = excited(SpikformerConfig(**SMALL, keep=1.0))
    stem, images = model.patch_embed, torch.rand(2, 1, 4, 4)
    with torch.no_grad():
        got = stem(images)
        x = images.expand(4, -1, -1, -1, -1)
        for suffix in ("", "1"):
            y = getattr(stem, f"proj_conv{suffix}")(x.flatten(0, 1))
            bn = getattr(stem, f"proj_bn{suffix}")
            y = torch.nn.functional.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias)
            x = stem.rpe_lif(y.unflatten(0, (4, 2)))
        bn = stem.rpe_bn
        y = torch.nn.functional.batch_norm(
            stem.rpe_conv(x.flatten(0, 1)), bn.running_mean, bn.running_var, bn.weight, bn.bias
        )
        expected = (stem.rpe_lif(y.unflatten(0, (4, 2))) + x).flatten(3).transpose(2, 3)
    assert torch.equal(got, expected)
    assert set(got.unique().tolist()) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "5 heads"),
        ({"keep": 0.0}, "keep"),
        ({"keep": 1.2}, "keep"),
        ({"selector": "learnt"}, "did you mean 'learned'"),
        ({"timesteps": 0}, "timesteps"),
        ({"sps_pools": (False,)}, "sps_pools"),
        ({"depth": 2.5}, "depth"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        SpikformerConfig(**change)
