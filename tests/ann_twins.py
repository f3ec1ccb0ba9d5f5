"""Quantised ANN twins for tests: random tickets, and a small one trained on digits."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from sparsespike.model.calibrate import calibrate
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.data import Split, load_data
from sparsespike.model.export import trace_ticket
from sparsespike.model.pruning import apply_masks, full_masks, prunable, prune_survivors
from sparsespike.model.selector import token_ratio_loss
from sparsespike.model.settle import settle_norms
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.ticket import Ticket, make_ticket
from sparsespike.simulator.trace import Trace

TINY = SpikformerConfig(
    image_channels=2,
    image_size=5,
    timesteps=1,
    sps_channels=(4, 6),
    sps_pools=(True, False),
    depth=3,
    heads=2,
    mlp_ratio=2,
    attention_scale=0.5,
    classes=3,
    keep=0.6,
    neuron="relu",
)
SMALL = SpikformerConfig(timesteps=1, sps_channels=(12, 24), depth=2, heads=3, neuron="relu")  # for digits


def images_for(config: SpikformerConfig, count: int, seed: int = 0) -> np.ndarray:
    shape = (count, config.image_channels, config.image_size, config.image_size)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_ticket(config: SpikformerConfig, seed: int = 0, pruned: float = 0.5) -> Ticket:
    """An untrained network whose batch norms are not the identity, but keep values in range."""
    torch.manual_seed(seed)
    model = Spikformer(config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.ndim >= 2:
                tensor.copy_(torch.randn_like(tensor))
            elif "_bn" in name:
                tensor.copy_(torch.rand_like(tensor) + 0.25)
    masks = prune_survivors(prunable(model), full_masks(model), pruned)
    apply_masks(model, masks)
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            module.train()  # the norms alone: selectors keep the tokens that they keep in use
    model(torch.from_numpy(images_for(config, 20, 9)))
    return make_ticket(model, masks, calibrate(model, images_for(config, 20, 9)))


def trace_of(ticket: Ticket, images: np.ndarray) -> Trace:
    numbers = np.arange(len(images), dtype=np.int64)
    return trace_ticket(ticket, Split(images, numbers % ticket.config.classes, numbers))


def dense(trace: Trace, name: str) -> np.ndarray:
    """int64[images, tokens, channels]"""
    stream = trace.streams[name]
    return stream.events.to_dense(stream.channels).reshape(trace.images, stream.tokens, -1).astype(np.int64)


@cache
def trained(pruned: bool = False) -> Ticket:
    """A small twin that has learned the digits, for a few epochs; pruned in two steps to 9 % of its weights."""
    cuts = {3: 0.7, 6: 0.7} if pruned else {}
    epochs, threads = 3 + 3 * len(cuts), torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        split, model = load_data("digits").train, Spikformer(SMALL)
        masks, optimiser = full_masks(model), torch.optim.AdamW(model.parameters())
        for epoch in range(epochs):
            if epoch in cuts:
                masks = prune_survivors(prunable(model), masks, cuts[epoch])
            optimiser.param_groups[0]["lr"] = 6e-3 * 0.3 ** (epoch % 3)
            for chosen in torch.randperm(len(split.labels)).numpy()[: 80 * 16].reshape(80, 16):
                output = model(torch.from_numpy(split.images[chosen]))
                loss = F.cross_entropy(output.logits, torch.from_numpy(split.labels[chosen]))
                loss = loss + 2 * token_ratio_loss(output.masks, SMALL.keep)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                apply_masks(model, masks)
        settle_norms(model, split.images)
        ticket = make_ticket(model, masks, calibrate(model, split.images))
    torch.set_num_threads(threads)
    return ticket
