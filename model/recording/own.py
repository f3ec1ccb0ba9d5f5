"""This project's own networks: their selectors keep tokens by the data, which no watching from outside can follow."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from ...simulator.trace import Trace
from ..calibrate import calibrate
from ..data import Split
from ..export import trace_ticket
from ..pruning import prunable
from ..spikformer import Spikformer
from ..ticket import make_ticket
from .trace import Labels


def own_trace(model: Spikformer, images: Tensor, labels: Labels) -> Trace:
    """The trace that `export` makes of a ticket of this network, with ranges from these images.

    images: float32[images, channels, height, width]. Weights that are 0 count as pruned.
    """
    pixels = images.numpy()
    masks = {name: weight.detach() != 0 for name, weight in prunable(model).items()}
    ticket = make_ticket(model, masks, calibrate(model, pixels))
    known = np.zeros(len(pixels), np.int64) if labels is None else labels
    split = Split(pixels, known, np.arange(len(pixels), dtype=np.int64))
    trace = trace_ticket(ticket, split, {"source": "capture", "model": type(model).__name__})
    return trace if labels is not None else replace(trace, labels=None)
