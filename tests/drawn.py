"""A timeline as a test reads it: slices and counters by the names of their tracks."""

import gzip
import json
import re
from collections import Counter, defaultdict
from functools import partial

from sparsespike.simulator.engine import run
from sparsespike.simulator.timeline import Timeline

OUTLINE = ("run", "layers", "DRAM and weight bus")


def record(path, trace, chip, **options):
    """(activity, the file as JSON) of a run with a timeline."""
    timeline = Timeline(path, **options)
    activity = timeline.record(partial(run, trace, chip), {"chip": chip.name})
    content = path.read_bytes()
    return activity, json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


class Drawn:
    """A timeline by the names of its tracks."""

    def __init__(self, data):
        self.other, self.events = data["otherData"], data["traceEvents"]
        meta = [event for event in self.events if event["ph"] == "M"]
        self.process = {e["pid"]: e["args"]["name"] for e in meta if e["name"] == "process_name"}
        self.track = {(e["pid"], e["tid"]): e["args"]["name"] for e in meta if e["name"] == "thread_name"}
        self.slices, self.counters, self.named = defaultdict(list), defaultdict(list), defaultdict(list)
        self.busy = Counter()  # cycles by track, process and layer
        for event in self.events:
            if event["ph"] == "X":
                name = self.track[event["pid"], event["tid"]]
                self.slices[event["pid"], event["tid"]].append(event)
                self.named[name].append((event["pid"], event))
                self.busy[name, event["pid"], event.get("cat")] += event["dur"]
            elif event["ph"] == "C":
                self.counters[event["pid"], event["name"]].append((event["ts"], *event["args"].values()))

    def on(self, *tracks):
        """(process, slice) of all tracks of these names."""
        return [one for track in tracks for one in self.named[track]]

    def spans(self, track):
        """(begin, length, name) on a track that only one unit has."""
        return [(one["ts"], one["dur"], one["name"]) for _, one in self.on(track)]

    def busiest(self, layer, *tracks):
        """Cycles of the busiest process on these tracks in a layer."""
        cycles = [sum(self.busy[track, pid, layer] for track in tracks) for pid in self.process]
        return max(cycles, default=0)


def place_of(one):
    """The number in a slice's name."""
    return int(re.sub(r"\D", "", one["name"]))
