"""Accuracy of a ticket on held-out images, as the float network and as the integer network that the chip runs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .data import Split, load_data
from .lowering import lower
from .official import open_ticket
from .spikformer import Spikformer
from .ticket import Ticket

BATCH = 128


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers of the float and of the integer network on the same images."""

    float_: float
    integer: float
    images: int


@torch.no_grad()
def float_logits(model: Spikformer, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[images, classes] of the network in evaluation mode; its mode is put back afterwards."""
    training = model.training
    model.eval()
    device = model.head.weight.device
    batches = (torch.from_numpy(images[start : start + BATCH]).to(device) for start in range(0, len(images), BATCH))
    parts = [model(batch).logits for batch in batches]
    model.train(training)
    return torch.cat(parts).cpu().numpy()


def float_accuracy(model: Spikformer, split: Split) -> float:
    """Share of the split's images that the float network gets right."""
    return float((float_logits(model, split.images).argmax(1) == split.labels).mean())


def integer_accuracy(ticket: Ticket, split: Split) -> float:
    """Share of the split's images that the lowered integer network gets right."""
    return float((lower(ticket).logits(split.images).argmax(1) == split.labels).mean())


def evaluate(
    ticket_path: str | Path, data: str = "digits", images: int | None = None, data_folder: str | Path | None = None
) -> Accuracy:
    """Both accuracies of a ticket on the first `images` of the test split (all of them where None).

    ticket_path: a ticket, or an official checkpoint (`official.open_ticket`).
    data_folder: where the data set's files lie, as `load_data` takes it.
    Raises UserError for a bad ticket, an unknown data set, or images of another shape than the ticket's.
    """
    dataset = load_data(data, data_folder)
    ticket, test = open_ticket(ticket_path, dataset), dataset.test
    part = Split(test.images[:images], test.labels[:images], test.ids[:images])
    integer = integer_accuracy(ticket, part)  # first, because it is the one that checks the images' shape
    return Accuracy(float_accuracy(ticket.network(), part), integer, len(part.labels))
