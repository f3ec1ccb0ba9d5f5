"""The trace of an integer network that was derived from a model: its own spikes, and how many the model shares."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...simulator.trace import Events, Head, Pool, Stream, Trace
from ..integer import IntegerNetwork
from .drafts import Reading
from .trace import Labels


def exact(reading: Reading, network: IntegerNetwork, labels: Labels, provenance: Mapping[str, str]) -> Trace:
    """Run the integer network on the images of a reading; every spike of it is the chip's."""
    source = reading.layers[0].source
    given = source.pixels if source.pixels is not None else source.dense
    assert given is not None
    runs = list(network.runs(given))
    first = next(iter(network.shapes))
    integer: set[str] = set()
    for layer in network.layers:
        if layer.residual or (isinstance(layer, Pool) and (layer.form == "sum" or layer.source in integer)):
            integer.add(layer.target)
    streams, spikes = {}, {}
    for name, (channels, height, width) in network.shapes.items():
        if name == first and source.pixels is not None:
            streams[name] = Stream(name, "real", channels, height, width)
            continue
        dense = source.dense if name == first else np.concatenate([run.streams[name] for run in runs])
        spikes[name] = dense
        kind = "integer" if name in integer or dense.max(initial=0) > 1 else "binary"
        streams[name] = Stream(name, kind, channels, height, width, Events.from_dense(dense))  # type: ignore[arg-type]
    logits = np.concatenate([run.logits for run in runs]) if isinstance(network.layers[-1], Head) else None
    if logits is None:
        last = network.layers[-1].target
        logits = np.concatenate([run.streams[last] for run in runs]).sum((1, 2), dtype=np.int64)
    record = {
        "weights_survived": str(network.survivors),
        "weights_nonzero": str(network.nonzeros),
        "saturated": str(sum(run.saturated for run in runs)),
        "spikes_as_in_the_model": _agreement(reading, network, spikes),
    }
    return Trace(
        numerics=network.numerics,
        streams=streams,
        layers=network.layers,
        images=len(given),
        pixels=None
        if source.pixels is None
        else np.concatenate([run.pixels for run in runs if run.pixels is not None]),
        kept=(),
        logits=logits,
        labels=labels,
        shadow=True,
        provenance=dict(provenance) | record,
    )


def _agreement(reading: Reading, network: IntegerNetwork, spikes: Mapping[str, NDArray[np.uint8]]) -> str:
    """Share of the places of all streams where the float model has the same value as the integer network.

    spikes: uint8[images, timesteps, tokens, channels] by stream.
    """
    same = total = 0
    for draft, layer in zip(reading.layers, network.layers, strict=True):
        if draft.target is not None and draft.target.spikes is not None:
            same += int(np.count_nonzero(spikes[layer.target] == draft.target.dense))
            total += spikes[layer.target].size
    return f"{same / total:.6f}" if total else ""
