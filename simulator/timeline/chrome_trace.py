"""Chrome trace events, the JSON that Perfetto opens: slices and counters on tracks, streamed, of bounded size.

Knows nothing of chips. A track is (process, track): "pid" and "tid" of the format; 1 cycle is 1 us.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

HEADS = {
    "slice": '{"ph":"X","pid":%d,"tid":%d,"ts":%d,"dur":%d,',
    "counter": '{"ph":"C","pid":%d,"ts":%d,',
}
TRACK_BITS = 40  # of the number of a track
CHUNK = 65536  # events that are put into words at a time
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Events:
    """Events of one sort, in columns of equal length.

    process, track, begin, length: int64[events], the last two in cycles; a counter holds its value for `length`.
    text: what stands behind the numbers of an event, JSON with a place (%d, %s, %r) for each of `values`.
    values: columns, as many as `text` has places.
    """

    kind: Literal["slice", "counter"]
    process: NDArray[np.int64]
    track: NDArray[np.int64]
    begin: NDArray[np.int64]
    length: NDArray[np.int64]
    text: str
    values: tuple[Sequence[Any] | NDArray[Any], ...] = ()

    def clipped(self, first: int, last: int) -> "Events":
        """What lies in the cycles from `first` up to, not including, `last`; slices without length are dropped."""
        end = self.begin + self.length
        kept = (self.begin < last) & ((end > first) | (self.begin >= first))
        if self.kind == "slice":
            kept &= self.length > 0
        begin = np.maximum(self.begin, first)
        length = np.minimum(end, last) - begin
        values = tuple(np.asarray(column)[kept] for column in self.values)
        return Events(self.kind, self.process[kept], self.track[kept], begin[kept], length[kept], self.text, values)


def slices(
    process: Any, track: Any, begin: Any, length: Any, text: str, *values: Sequence[Any] | NDArray[Any]
) -> Events:
    """Complete events; plain numbers hold for all of them."""
    begin = np.asarray(begin, np.int64).reshape(-1)
    columns = (np.asarray(column, np.int64) for column in (process, track, length))
    process, track, length = (np.broadcast_to(column, begin.shape) for column in columns)
    return Events("slice", process, track, begin, length, text, values)


def named(name: str, category: str = "", **arguments: str) -> str:
    """The text of an event: its name, its category if it has one, and its arguments, each with its place (%d, …)."""
    parts = [f'"name":{json.dumps(name)}']
    if category:
        parts.append(f'"cat":{json.dumps(category.replace("%", "%%"))}')
    if arguments:
        parts.append('"args":{' + ",".join(f'"{key}":{place}' for key, place in arguments.items()) + "}")
    return ",".join(parts) + "}"


@contextmanager
def open_stream(path: Path, compress: bool) -> Iterator[IO[bytes]]:
    """A new file; compressed without a time and a name in it, so that equal content gives equal bytes."""
    with path.open("wb") as raw:
        if not compress:
            yield raw
            return
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            yield cast(IO[bytes], packed)


class TraceFile:
    """A file of trace events that is being written to a stream.

    first, last: cycles of which events are written, the latter excluded; `last` shrinks when no more events may come.
    room: how many may still come.  written: how many have.
    """

    def __init__(self, stream: IO[bytes], room: int, first: int = 0, last: int = NEVER) -> None:
        self.room, self.first, self.last, self.written = room, first, last, 0
        self._stream, self._separator = stream, "\n"
        self._processes: set[int] = set()
        self._tracks: set[tuple[int, int]] = set()
        stream.write(b'{"displayTimeUnit":"ms","traceEvents":[')

    def write(self, batch: Sequence[Events]) -> None:
        """Write what lies in the cycles that are asked for.

        Where room runs out, `last` becomes the first cycle of which not everything has room: what lies before is whole.
        """
        batch = [events.clipped(self.first, self.last) for events in batch]
        begins = np.concatenate([np.zeros(0, np.int64), *(events.begin for events in batch)])
        if len(begins) > self.room:
            self.last = int(np.partition(begins, self.room)[self.room])
            batch = [events.clipped(self.first, self.last) for events in batch]
        self.room -= sum(len(events.begin) for events in batch)
        self._write(batch)

    def write_all(self, batch: Sequence[Events]) -> None:
        """Write all, whatever `first`, `last` and `room` are: for the few events that stand beside."""
        self._write([events.clipped(0, NEVER) for events in batch])

    def mark(self, process: int, cycle: int, name: str) -> None:
        """A line through all tracks."""
        event = {"ph": "i", "s": "g", "pid": process, "tid": 0, "ts": cycle, "name": name}
        self._put([json.dumps(event, separators=(",", ":"))])
        self.written += 1

    def finish(self, name: Callable[[int, int | None], str], other: Mapping[str, Any]) -> None:
        """Name the processes and tracks that were used, and say in "otherData" what the file is.

        name: of (process, track), or of (process, None). Both are shown in the order of their numbers.
        """
        for process in sorted(self._processes):
            self._name(process, 0, "process", process, name(process, None))
        for process, track in sorted(self._tracks):
            self._name(process, track, "thread", track, name(process, track))
        self._stream.write(b'\n],"otherData":' + json.dumps(other).encode() + b"}\n")

    def _name(self, process: int, track: int, what: str, order: int, name: str) -> None:
        for key, value in ((f"{what}_name", {"name": name}), (f"{what}_sort_index", {"sort_index": order})):
            event = {"ph": "M", "pid": process, "tid": track, "name": key, "args": value}
            self._put([json.dumps(event, separators=(",", ":"))])

    def _write(self, batch: Sequence[Events]) -> None:
        for events in batch:
            columns = [events.process, events.begin]
            if events.kind == "slice":
                columns = [events.process, events.track, events.begin, events.length]
                pairs = np.unique(events.process << TRACK_BITS | events.track)
                self._tracks |= {(pair >> TRACK_BITS, pair & (1 << TRACK_BITS) - 1) for pair in pairs.tolist()}
            self._processes |= set(np.unique(events.process).tolist())
            lists = [np.asarray(column).tolist() for column in (*columns, *events.values)]
            pattern = HEADS[events.kind] + events.text
            for start in range(0, len(events.begin), CHUNK):
                self._put([pattern % row for row in zip(*(one[start : start + CHUNK] for one in lists), strict=True)])
            self.written += len(events.begin)

    def _put(self, lines: Sequence[str]) -> None:
        self._stream.write((self._separator + ",\n".join(lines)).encode())
        self._separator = ",\n"
