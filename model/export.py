"""The bridge from the model room to the simulator: a ticket and some images become a trace."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..simulator.errors import UserError
from ..simulator.trace import Events, Stream, Trace
from .data import Dataset, Split, load_data
from .integer import IntegerNetwork, Run
from .lowering import lower
from .official import open_ticket
from .ticket import Ticket


def trace_dataset(
    ticket_path: str | Path, data: str | Dataset, images: int, data_folder: str | Path | None = None
) -> Trace:
    """The trace of a ticket on the first `images` images of a data set's test split, in its fixed order.

    ticket_path: a ticket, or an official checkpoint (`official.open_ticket`).
    data: the data set's name, or itself where it is loaded already.
    data_folder: where its files lie, as `load_data` takes it.
    Raises UserError for a bad ticket, an unknown data set, or a number of images that the split does not have.
    """
    dataset = data if isinstance(data, Dataset) else load_data(data, data_folder)
    ticket, test = open_ticket(ticket_path, dataset), dataset.test
    if not 1 <= images <= len(test.labels):
        held = f"the test split of {dataset.name!r} has 1 to {len(test.labels)} images to take"
        raise UserError(f"images = {images}: {held}")
    part = Split(test.images[:images], test.labels[:images], test.ids[:images])
    return trace_ticket(ticket, part, {"data": dataset.name, "split": "test"})


def trace_ticket(ticket: Ticket, split: Split, provenance: Mapping[str, str] | None = None) -> Trace:
    """Lower a ticket, run the integer network on the images, and record every spike.

    Dropped tokens are recorded too, as the shadow that a chip without token skip computes.
    """
    network = lower(ticket)
    runs = list(network.runs(split.images))
    record = {f"ticket_{key}": value for key, value in ticket.provenance.items()}
    record |= {
        "ticket": ticket.sha256,
        "image_ids": " ".join(str(number) for number in split.ids),
        "weights_prunable": str(ticket.prunable),
        "weights_survived": str(network.survivors),
        "weights_nonzero": str(network.nonzeros),
        "saturated": str(sum(run.saturated for run in runs)),
    }
    return Trace(
        numerics=network.numerics,
        streams=_streams(network, runs),
        layers=network.layers,
        images=len(split.labels),
        pixels=np.concatenate([run.pixels for run in runs if run.pixels is not None]),
        kept=tuple(np.concatenate(kept) for kept in zip(*(run.kept for run in runs), strict=True)),
        logits=np.concatenate([run.logits for run in runs]),
        labels=split.labels,
        shadow=True,
        provenance=record | dict(provenance or {}),
    )


def _streams(network: IntegerNetwork, runs: list[Run]) -> dict[str, Stream]:
    """Events of every stream; one that a residual is added to holds integers, the others spikes, or activations."""
    relu = network.numerics.neuron == "relu"
    integer = {layer.target for layer in network.layers if layer.residual or relu}
    streams: dict[str, Stream] = {}
    for name, (channels, height, width) in network.shapes.items():
        if name in runs[0].streams:
            events = Events.from_dense(np.concatenate([run.streams[name] for run in runs]))
            kind = "integer" if name in integer else "binary"
            streams[name] = Stream(name, kind, channels, height, width, events)  # type: ignore[arg-type]
        else:
            streams[name] = Stream(name, "real", channels, height, width)
    return streams
