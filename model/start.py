"""Trained networks that a training depends on: one whose weights it begins with, and its teacher."""

from pathlib import Path

import torch

from ..simulator.errors import UserError
from .config import SpikformerConfig
from .official import Official, read_trained
from .pruning import Masks, full_masks
from .spikformer import Spikformer
from .ticket import Ticket
from .tickets import find

Trained = Ticket | Official

# Of two networks whose arrays have the same shapes, what makes them compute something else. T, the share of kept tokens
# and the neuron may differ: a training adapts weights to them.
_SAME = ("heads", "sps_pools", "attention_scale")


def find_trained(name: str, like: SpikformerConfig) -> tuple[Path, Trained]:
    """A shipped ticket by name, a ticket's file, or an official checkpoint; `like` tells what that does not say.

    Raises UserError where there is none, it is damaged, or a variance in it is below 0.
    """
    path = find(name)
    return path, read_trained(path, like)


def begin_with(model: Spikformer, path: Path, trained: Trained) -> Masks:
    """Copy the weights, biases and batch-norm statistics that a network shares with a trained one, in place.

    Selectors that the trained one does not have keep their initial weights. Returns the masks: what is pruned there
    stays pruned. Raises UserError where a shape differs, where the trained network has a layer that this one lacks, and
    where heads, pools, the scale of attention or the activation of learned selectors are others.
    """
    state = model.state_dict()
    wrong = [
        f"{name} {array.shape}, here {tuple(state[name].shape) if name in state else 'none'}"
        for name, array in trained.parameters.items()
        if name not in state or array.shape != tuple(state[name].shape)
    ]
    if wrong:
        raise UserError(f"{path}: its network is another: {'; '.join(wrong[:3])}")
    theirs, ours = trained.config, model.config
    both_learn = all(config.selector == "learned" and config.keep_counts for config in (theirs, ours))
    for name in (*_SAME, "activation") if both_learn else _SAME:
        if getattr(theirs, name) != getattr(ours, name):
            raise UserError(
                f"{path}: its network is another: {name} = {getattr(theirs, name)}, here {getattr(ours, name)}"
            )
    model.load_state_dict(state | {name: torch.from_numpy(array) for name, array in trained.parameters.items()})
    return full_masks(model) | {name: torch.from_numpy(mask.copy()) for name, mask in trained.masks.items()}


def teacher_of(path: Path, trained: Trained, config: SpikformerConfig) -> Spikformer:
    """The frozen network in evaluation mode. Raises UserError where images or classes are others than the student's."""
    for name in ("image_channels", "image_size", "classes"):
        theirs, ours = getattr(trained.config, name), getattr(config, name)
        if theirs != ours:
            raise UserError(f"{path}: a teacher with {name} = {theirs}; the student has {ours}")
    return trained.network()
