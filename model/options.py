"""The options of `sparsespike train`: the fields of `request.TrainRequest`, in its order, and what they mean.

A module of its own, without torch, so that the command line can show them at once.
"""

from typing import Any

# option -> (what it is with the recipe `rounds`, help); other recipes have other values
TRAIN_OPTIONS: dict[str, tuple[Any, str]] = {
    "data": ("digits", "Data set to train on: digits, fashion-mnist or cifar10."),
    "seed": (0, "Seed of everything random."),
    "rounds": (0, "Pruning rounds after the dense first one."),
    "prune": (0.25, "Share of the surviving weights that a round removes."),
    "sparsity": (0.0, "Share of the weights that a single round removes gradually; 0 for none."),
    "keep": (0.7, "Share of the tokens that each selector keeps; 1 for no selectors."),
    "selector": ("learned", "Token selector: learned, rate or random."),
    "activation": ("relu", "Of a learned selector's hidden units: relu or gelu."),
    "neuron": ("lif", "lif, or relu for the quantised ANN twin (with --timesteps 1)."),
    "teacher": ("", "Network whose logits are learned, too: a shipped ticket, a file, or an official checkpoint."),
    "start": ("", "Network whose weights are begun with: a shipped ticket, a file, or an official checkpoint."),
    "epochs": (12, "Epochs per round."),
    "rewind": (2, "Epoch of the first round whose weights later rounds start from."),
    "warm_up": (1, "Epochs of a round in which the learning rate rises."),
    "batch": (32, "Images per step."),
    "learning_rate": (5e-3, "Peak learning rate."),
    "last_rate": (0.01, "Share of it that a round ends with."),
    "weight_decay": (0.06, "Weight decay."),
    "smoothing": (0.1, "Label smoothing."),
    "mixup": (0.0, "Alpha of mixup, in the first two thirds of a round; 0 for none."),
    "width": (48, "Embedding width."),
    "depth": (4, "Transformer blocks."),
    "heads": (4, "Attention heads."),
    "timesteps": (4, "Timesteps."),
    "precision": ("float32", "While training: float32, or bfloat16 for all but potentials, weights and statistics."),
    "device": ("cpu", "cpu or cuda."),
    "threads": (1, "Threads of torch; the last bits of the result depend on it."),
}
