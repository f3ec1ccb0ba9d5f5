"""The timeline of a run as Chrome trace events, for Perfetto: what every unit did in which cycle.

The outline (images, layers, DRAM) is always whole; what units did is told for a range of cycles, bounded in events.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..activity import Activity
from ..dram import Moved
from ..errors import UserError
from ..eventlog import PORT_LETTERS
from ..files import write_whole
from ..observer import Observer, Stage
from ..pipelined import Pipeline
from ..placement import Placement
from ..program import Outcome, Part
from ..trace import Attention, Pool
from .chrome_trace import NEVER, Events, TraceFile, named, open_stream, slices
from .job_slices import job_events, list_moved, list_ready, pipelined_jobs, span_layers
from .phase_slices import (
    DRAM,
    ENCODERS,
    JOB,
    JOB_NEURONS,
    JOB_ROWS,
    LANES,
    LAYERS,
    LOOK_UP,
    NEURONS,
    NODES,
    OUTPUTS,
    ROWS,
    RUN,
    STEPS,
    Scene,
    lanes,
    list_nodes,
    phase_events,
)

EVENTS = 1_000_000  # that a timeline holds unless told otherwise
FEWEST = 1000  # that one may ask for
INSIDE = 7  # outline slices of a layer on an image, at most: it, four stages in it, its transfer and its spills
SUFFIXES = (".json", ".json.gz")

Span = tuple[str, int, int, str]  # name, begin, end, category


class Timeline:
    """A timeline that is asked for, and after the run what is in it.

    cycles: (first, last), of which units are shown; the latter is excluded. None: all.
    events: at most so many, metadata not counted.
    Raises UserError for a name that ends otherwise, an empty range, too few events.
    """

    def __init__(self, path: str | Path, cycles: tuple[int, int] | None = None, events: int = EVENTS) -> None:
        self.path, self.cycles, self.events = Path(path), cycles or (0, NEVER), events
        self.summary = ""
        if not self.path.name.endswith(SUFFIXES):
            raise UserError(f"timeline {self.path}: must end with {' or '.join(SUFFIXES)}")
        if not 0 <= self.cycles[0] < self.cycles[1]:
            asked = f"timeline of cycles {self.cycles[0]}:{self.cycles[1]}"
            raise UserError(f"{asked}: the first must be 0 or more, and the last lie behind it")
        if events < FEWEST:
            raise UserError(f"timeline of {events} events: must be {FEWEST:,} or more")

    def record(self, run: Callable[..., Activity], about: Mapping[str, Any]) -> Activity:
        """Call `run` with an `observer`, and write what it saw, whole or not at all.

        about: stands in the file's "otherData" beside what the timeline says of itself.
        """
        results = []

        def write(temporary: Path) -> None:
            with open_stream(temporary, self.path.name.endswith(".gz")) as stream:
                recorder = Recorder(stream, self.cycles, self.events)
                results.append(run(observer=recorder))
                told = recorder.finish(about)
            self.summary = f"timeline: {self.path}, {told['events']:,} events; left out: {told['left_out']}"

        write_whole(self.path, write)
        return results[0]


def ask_timeline(path: Path | None, cycles: str | None, events: int | None) -> Timeline | None:
    """The timeline that the command line asks for; cycles: "FIRST:LAST", either of which may be missing.

    Raises UserError for another form of cycles, for cycles or events without a path, and as `Timeline` does.
    """
    if path is None:
        if cycles is not None or events is not None:
            raise UserError("--timeline-cycles and --timeline-events need --timeline FILE")
        return None
    first, colon, last = (cycles or ":").partition(":")
    try:
        if not colon:
            raise ValueError
        shown = int(first or 0), int(last or NEVER)
    except ValueError:
        raise UserError(f"--timeline-cycles {cycles}: must be FIRST:LAST, e.g. 1000:5000, 1000: or :5000") from None
    return Timeline(path, shown, EVENTS if events is None else events)


class Recorder(Observer):
    """Writes events while the run goes on."""

    reads_log = True

    def __init__(self, stream: IO[bytes], cycles: tuple[int, int], limit: int) -> None:
        self._limit, self._asked, self._total = limit, cycles, 0
        self._file = TraceFile(stream, limit, *cycles)
        self._image: list[Span] = []

    def see_placement(self, placement: Placement) -> None:
        """The outline takes its room first, at most half of all."""
        self._placement = placement
        chip, each = placement.chip, 1 + INSIDE * len(placement.plans)
        self._outlined = min(placement.trace.images, self._limit // 2 // each)
        self._file.room = self._limit - self._outlined * each - 2  # for the marks at both ends
        self._nodes = list(list_nodes(chip).values())

    def wants_log(self, start: int) -> bool:
        """No more logs behind the last cycle that is shown."""
        return start < self._file.last

    def see_layer(self, stage: Stage) -> None:
        """A layer, its stages, and what units did."""
        plan, outcome = self._placement.plans[stage.index], stage.timing.outcome
        done = stage.start + (0 if outcome is None else outcome.cycles)
        self._add_outline(stage, done)
        if outcome is not None and stage.start < self._file.last and done > self._file.first:
            part = Part(plan, (stage.work,), outcome.flits)
            self._file.write(list(phase_events(Scene(self._placement, [part], outcome, stage.start, 0, stage.image))))
        self._file.write(list(job_events(self._placement, plan, done)))

    def _add_outline(self, stage: Stage, done: int) -> None:
        """An image and the layers in it on one track."""
        if stage.image >= self._outlined:
            return
        plan, computed = self._placement.plans[stage.index], stage.start + stage.timing.cycles
        name, job = plan.layer.name, "attention" if isinstance(plan.layer, Attention) else "selector"
        if plan.phase is None:
            job = "pool" if isinstance(plan.layer, Pool) else "input convolution"
        self._image += [
            (name, stage.ended, stage.end, name),
            ("wait for DRAM", stage.ended, stage.start, name),
            ("events", stage.start, done, name),
            (job, done, computed, name),
            ("wait for spills", computed, stage.end, name),
        ]
        if stage.index == len(self._placement.plans) - 1:
            whole = (f"image {stage.image}", self._image[0][1], stage.end, "image")
            self._file.write_all([_outline([whole, *self._image])])
            self._image = []

    def see_pipeline(self, pipeline: Pipeline, outcome: Outcome) -> None:
        """All at once: images and layers on tracks of their own, since they overlap."""
        parts, images = list(pipeline.parts.values()), np.arange(self._outlined)
        begins, ends = (times[: self._outlined] for times in span_layers(pipeline, outcome))
        begin, length = begins[:, 0], ends.max(axis=1) - begins[:, 0]
        self._file.write_all([slices(RUN, lanes(begin, length), begin, length, named("image %d", "image"), images)])
        for index, plan in enumerate(self._placement.plans):
            begin, length = begins[:, index], ends[:, index] - begins[:, index]
            track, text = index * LANES + lanes(begin, length), named("image %d", plan.layer.name)
            self._file.write_all([slices(LAYERS, track, begin, length, text, images)])
        self._add_moved(list(list_moved(pipeline, outcome)))
        scene = Scene(self._placement, parts, outcome, 0, pipeline.begin, 0, list_ready(pipeline, outcome))
        phases = phase_events(scene) if parts else ()
        self._file.write([*phases, *pipelined_jobs(pipeline, outcome)])

    def see_end(self, cycles: int, moved: Sequence[Moved]) -> None:
        """What DRAM did stands in the outline."""
        self._total = cycles
        self._add_moved(moved)

    def _add_moved(self, moved: Sequence[Moved]) -> None:
        layers = self._placement.trace.layers
        for one in moved:
            if one.image < self._outlined:
                text = named(one.what, layers[one.layer].name, image="%d", bytes="%d")
                where = DRAM, 0, one.begin, one.end - one.begin
                self._file.write_all([slices(*where, text, [one.image], [one.bytes])])

    def finish(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """End the file; returns its "otherData"."""
        chip = self._placement.chip
        first, last = self._file.first, min(self._file.last, self._total)
        if 0 < first < self._total:
            self._file.mark(RUN, first, "what units do is shown from here on")
        if first < last < self._total:
            self._file.mark(RUN, last, "what units do is shown up to here")
        other = dict(about) | {
            "unit": "1 us is 1 cycle",
            "clock_mhz": chip.clock_mhz,
            "schedule": chip.schedule,
            "cycles": self._total,
            "detail_cycles": [first, last] if first < last else [],
            "event_limit": self._limit,
            "events": self._file.written,
            "left_out": self._left_out(first, last),
        }
        self._file.finish(self._name, other)
        return other

    def _left_out(self, first: int, last: int) -> str:
        """What is not in the file, in words."""
        missing, total, images = [], self._total, self._placement.trace.images
        if first >= last:
            missing.append(f"all that units did: no cycle of this run of {total:,} was asked for or has room")
        elif first > 0:
            missing.append(f"what units did before cycle {first:,}")
        if first < last < total:
            reason = "as asked" if last == self._asked[1] else f"limit of {self._limit:,} events"
            missing.append(f"what units did from cycle {last:,} to {total:,} ({reason})")
        if self._outlined < images:
            missing.append(f"images and layers behind the first {self._outlined:,} images of {images:,}")
        return "; ".join(missing) or "nothing"

    def _name(self, process: int, track: int | None) -> str:
        """Of a process, or of a track of it."""
        layers = self._placement.trace.layers
        if process < NODES:
            if track is None:
                return {RUN: "run", LAYERS: "layers", STEPS: "steps", DRAM: "DRAM and weight bus"}[process]
            layer, lane = divmod(track, LANES)
            of = f"{layers[layer].name} " if self._placement.chip.schedule == "pipelined" else ""
            kinds = {RUN: "images", LAYERS: f"{of}images", STEPS: f"{of}steps", DRAM: "transfers"}
            return f"{kinds[process]} {lane + 1}" if lane else kinds[process]
        node = self._nodes[process - NODES]
        return node if track is None else self._name_unit(node.split()[0], track)

    def _name_unit(self, node: str, track: int) -> str:
        if track >= ENCODERS:
            sending = [plan.layer.name for plan in self._placement.plans if plan.phase is not None]
            layerwise = self._placement.chip.schedule == "layerwise"
            return "encoder" if layerwise else f"encoder of {sending[track - ENCODERS]}"
        if track >= OUTPUTS:
            return f"output {PORT_LETTERS[track - OUTPUTS]}"
        rows = {"core": "row service", "token": "feature sums", "attention": "operand writes"}
        jobs = {"token": "selector", "attention": "products and sweeps"}
        names = {LOOK_UP: "look-up", ROWS: rows.get(node, ""), NEURONS: "neuron sweep", JOB: jobs.get(node, "")}
        return (names | {JOB_ROWS: "input convolution", JOB_NEURONS: "sweep of pixels and pools"})[track]


def _outline(spans: Sequence[Span]) -> Events:
    """Slices on the track of images and layers."""
    names, categories = (np.array([json.dumps(span[at]) for span in spans], object) for at in (0, 3))
    begin, end = (np.array([span[at] for span in spans], np.int64) for at in (1, 2))
    return slices(RUN, 0, begin, end - begin, '"name":%s,"cat":%s}', names, categories)
