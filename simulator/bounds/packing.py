"""What flits a trace's streams make, whoever sends them, found once per trace (rule F1)."""

import numpy as np

from ..kernels.packing import Packed, Recorded, find_bits, pack_events
from ..trace import Stream, Trace

NO_VALUES = np.zeros(0, np.uint8)


def pack(trace: Trace, stream: Stream, batch: int, largest: int) -> Packed:
    """The flits of a stream, kept with the trace.

    batch: timesteps that share a flit (at most the trace's).  largest: the largest value of a flit, m of F1.
    """
    kept = trace.derived
    top = _largest(stream)
    key = ("packed", stream.name, batch, min(largest, top))  # all larger m make the same flits
    if key not in kept:
        kept[key] = _pack(trace, stream, batch, largest, top)
    found: Packed = kept[key]
    return found


def _largest(stream: Stream) -> int:
    assert stream.events is not None
    values = stream.events.values
    return 1 if values is None or not len(values) else int(values.max())


def _pack(trace: Trace, stream: Stream, batch: int, largest: int, top: int) -> Packed:
    assert stream.events is not None
    events, timesteps = stream.events, trace.numerics.timesteps
    start, channels, active = events.offsets, events.channels, NO_VALUES
    if batch > 1 or top > largest:
        values = NO_VALUES if events.values is None else events.values
        room = len(channels) if top <= largest else int((-(-values.astype(np.int64) // largest)).sum())
        flits, active = np.empty(room, np.uint16), np.empty(room, np.uint8)
        recorded = Recorded(start, channels, values, timesteps, stream.tokens)
        start = pack_events(recorded, batch, largest, flits, active)
        channels, active = flits[: start[-1]].copy(), active[: start[-1]].copy() if batch > 1 else NO_VALUES
    return Packed(start, channels, active, *find_bits(start, channels, stream.channels))
