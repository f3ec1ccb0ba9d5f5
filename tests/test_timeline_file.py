"""The timeline's file: examples by hand, bytes that repeat, mistakes, and the command that writes it."""

import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from cases import make_case
from drawn import OUTLINE, Drawn, place_of, record
from handmade import linear_trace, neurons_of, quick, silence, trace_of
from sparsespike import cli, load_chip
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.synthetic import mlp_trace
from sparsespike.simulator.timeline import Timeline, ask_timeline
from sparsespike.simulator.trace import Conv, Stream, load_trace, save_trace


def test_pixels_are_added_before_what_they_close(tmp_path):
    """I1: with a 3 x 3 kernel, 2 x 3 pixels close their outputs in the lower row: 1, 1 and 2 places of 2 timesteps."""
    layer = neurons_of(Conv, np.ones((2, 1, 3, 3), int), "pixels", "made")
    streams = [Stream("pixels", "real", 1, 2, 3), silence("made", 2, 6, 2, 2)]
    trace = trace_of([layer], streams, 2, pixels=np.ones((1, 1, 2, 3), np.int8))
    _, data = record(tmp_path / "t.json", trace, quick(core__sweep_width=1))
    timeline = Drawn(data)
    rows = [(name, length) for _, length, name in sorted(timeline.spans("row service"))]
    assert [name for name, _ in rows] == [f"pixel {at}" for at in range(6)]
    swept = [(name, length) for _, length, name in sorted(timeline.spans("neuron sweep"))]
    assert swept == [("sweep behind pixel 4", 2 * 2 * 2), ("sweep behind pixel 5", 2 * 4 * 2)]
    both = sorted(timeline.spans("row service") + timeline.spans("neuron sweep"))
    assert [begin + length for begin, length, _ in both[:-1]] == [begin for begin, _, _ in both[1:]]


def test_every_core_serves_the_spikes_of_the_trace(tmp_path):
    """A slice per spike and consumer, with its channel and step: which flit a line of the log is has been found out."""
    trace = mlp_trace(widths=(40, 24), height=1, width=5, timesteps=3, spike_density=0.3, seed=4)
    chip = load_chip("edge")
    _, data = record(tmp_path / "t.json", trace, chip)
    source = trace.streams[trace.layers[0].source].events
    rows = np.diff(source.offsets)
    spikes = sorted(zip(np.repeat(np.arange(len(rows)), rows).tolist(), source.channels.tolist(), strict=True))
    timeline, served = Drawn(data), defaultdict(list)
    for pid, one in timeline.on("row service"):
        if one["name"] != "end of token" and one["cat"] == trace.layers[0].name:
            served[pid].append((one["args"]["step"], place_of(one)))
    assert len(served) == chip.cores
    assert all(sorted(found) == spikes for found in served.values())


GOLDEN = {
    "images": [(0, 24, "image 0"), (0, 24, "layer"), (0, 2, "wait for DRAM"), (2, 22, "events")],
    "transfers": [(0, 1, "weights")],
    "steps": [(2, 12, "step 0"), (14, 10, "step 1")],
    "encoder": [
        (2, 3, "step 0"),
        (14, 3, "step 1"),
        (3, 1, "channel 0"),
        (4, 1, "end of token"),
        (16, 1, "end of token"),
    ],
    "output L": [(4, 1, "channel 0"), (5, 1, "end of token"), (17, 1, "end of token")],
    "look-up": [(5, 1, "channel 0"), (6, 3, "end of token"), (18, 1, "end of token")],
    "row service": [(6, 3, "channel 0"), (9, 1, "end of token"), (19, 1, "end of token")],
    "neuron sweep": [(10, 2, "sweep"), (20, 2, "sweep")],
}


def test_the_worked_example_of_contexts(tmp_path):
    """Section C of ARCHITECTURE.md, two cycles later, since weights come first; and a silent step behind it."""
    spikes = np.zeros((1, 2, 1), int)
    spikes[0, 0] = 1
    trace = linear_trace(np.ones((16, 1), int), spikes)
    _, data = record(tmp_path / "t.json", trace, quick(core__contexts=1, core__lanes=6, core__sweep_width=8))
    timeline = Drawn(data)
    assert {name: timeline.spans(name) for name in set(timeline.track.values())} == GOLDEN
    assert timeline.counters == {(5, "event FIFO"): [(5, 1), (7, 0), (18, 1), (19, 0)]}


def test_cycles_behind_the_end(tmp_path):
    case = make_case(0)
    _, data = record(tmp_path / "t.json", case.trace, case.chip, cycles=(10**6, 10**7))
    none = Drawn(data)
    assert {none.process[pid] for pid, _ in none.slices} <= set(OUTLINE)
    assert none.other["left_out"].startswith("all that units did")
    assert not [event for event in none.events if event["ph"] == "i"]


def test_images_that_have_no_room(tmp_path):
    """The outline takes at most half of the events; what it leaves out is stated."""
    trace = mlp_trace(widths=(4, 3), height=1, width=1, timesteps=1, spike_density=0.5, seed=1, images=300)
    _, data = record(tmp_path / "t.json", trace, quick(), events=1000)
    few = Drawn(data)
    assert few.other["events"] <= 1000
    images = [one for _, one in few.on("images") if one["cat"] == "image"]
    assert 0 < len(images) < 300
    assert f"images and layers behind the first {len(images)} images of 300" in few.other["left_out"]


# ---- files ----


@pytest.mark.parametrize("seed", [0, 5, 7])
def test_the_same_bytes(seed, tmp_path):
    """Twice the same; and what is packed is what is not."""
    case = make_case(seed)
    names = ("a.json", "b.json", "a.json.gz", "b.json.gz")
    for name in names:
        record(tmp_path / name, case.trace, case.chip)
    plain, again, packed, repacked = ((tmp_path / name).read_bytes() for name in names)
    assert plain == again == gzip.decompress(packed)
    assert packed == repacked
    assert packed[4:8] == bytes(4)  # the time in it


def test_a_failing_run_leaves_nothing(tmp_path):
    def stop(**_):
        raise KeyboardInterrupt

    for name in ("t.json", "t.json.gz"):
        with pytest.raises(KeyboardInterrupt):
            Timeline(tmp_path / name).record(stop, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("run.txt", None, None), r"run\.txt: must end with \.json or \.json\.gz"),
        (("run.json", "5", None), "5: must be FIRST:LAST"),
        (("run.json", "a:b", None), "a:b: must be FIRST:LAST"),
        (("run.json", "7:7", None), "and the last lie behind it"),
        (("run.json", None, 10), "1,000 or more"),
        ((None, "1:2", None), "need --timeline FILE"),
        ((None, None, 5000), "need --timeline FILE"),
    ],
)
def test_mistakes(arguments, text):
    path, *rest = arguments
    with pytest.raises(UserError, match=text):
        ask_timeline(path and Path(path), *rest)


def test_the_command_writes_it_and_says_what_is_left_out(tmp_path, monkeypatch, capsys):
    trace = mlp_trace(widths=(40, 24), height=1, width=5, timesteps=3, spike_density=0.3, seed=4)
    save_trace(trace, tmp_path / "t.safetensors")
    asked = ["--timeline", "t.json.gz", "--timeline-cycles", "10:50"]
    monkeypatch.setattr(sys, "argv", ["sparsespike", "simulate", "t.safetensors", "--hardware", "edge", *asked])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    other = json.loads(gzip.decompress((tmp_path / "t.json.gz").read_bytes()))["otherData"]
    assert "before cycle 10; what units did from cycle 50" in other["left_out"]
    assert other["left_out"] in printed
    assert other["trace_sha256"] == load_trace(tmp_path / "t.safetensors").sha256
    assert f"{other['events']:,} events" in printed
