"""The timeline: valid, nested, bounded, and in sum what the run reports."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from cases import make_case
from drawn import OUTLINE, Drawn, place_of, record
from law_runs import equal
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.trace import Attention, Conv, Linear, Pool, Select

SEEDS = (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 18, 21, 23, 25, 34, 37)
SERVICE = [Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH, Cause.CONTROL]
ROW_TRACKS = ("row service", "input convolution")
SWEEP_TRACKS = ("neuron sweep", "sweep of pixels and pools")
KEYS = {
    "X": {"ph", "pid", "tid", "ts", "dur", "name"},
    "C": {"ph", "pid", "ts", "name", "args"},
    "M": {"ph", "pid", "tid", "name", "args"},
    "i": {"ph", "s", "pid", "tid", "ts", "name"},
}
MORE = {"X": {"cat", "args"}}


@pytest.fixture(scope="module", params=SEEDS)
def drawn(request, tmp_path_factory):
    """(case, activity, timeline) of a random case, whole; in the memory one at a time."""
    case = make_case(request.param)
    path = tmp_path_factory.mktemp("timeline") / "t.json.gz"
    activity, data = record(path, case.trace, case.chip, events=10**9)
    return case, activity, Drawn(data)


def named_layers(case):
    """(number, layer) of all."""
    return list(enumerate(case.trace.layers))


def test_every_event_is_as_the_format_says(drawn):
    _, activity, timeline = drawn
    assert timeline.other["left_out"] == "nothing"
    assert timeline.other["events"] == sum(event["ph"] != "M" for event in timeline.events)
    for event in timeline.events:
        assert KEYS[event["ph"]] <= set(event) <= KEYS[event["ph"]] | MORE.get(event["ph"], set())
        assert event["name"]
        assert all(type(event[key]) is int and event[key] >= 0 for key in ("pid", "tid", "ts", "dur") if key in event)
        assert timeline.process[event["pid"]]
        if event["ph"] == "X":
            assert timeline.track[event["pid"], event["tid"]]
            assert event["dur"] > 0
            assert event["ts"] + event["dur"] <= activity.total_cycles


def test_slices_nest(drawn):
    """On a track any two are disjoint, or one lies in the other."""
    _, _, timeline = drawn
    for track, found in timeline.slices.items():
        open_ends = []
        for one in sorted(found, key=lambda one: (one["ts"], -one["dur"])):
            while open_ends and open_ends[-1] <= one["ts"]:
                open_ends.pop()
            end = one["ts"] + one["dur"]
            assert not open_ends or end <= open_ends[-1], (timeline.track[track], one)
            open_ends.append(end)


def test_watching_changes_nothing(drawn):
    case, activity, _ = drawn
    assert equal(activity, run(case.trace, case.chip))


def test_row_service_adds_up(drawn):
    """C9: on cores, to the causes of row service."""
    case, activity, timeline = drawn
    for index, layer in named_layers(case):
        if case.chip.schedule == "pipelined" and layer.source == "pixels":
            continue  # not charged to cores that take flits meanwhile (L10)
        service = activity.causes[index, SERVICE].sum()
        cores = [pid for pid, name in timeline.process.items() if name.startswith("core")]
        assert service == sum(timeline.busy[track, pid, layer.name] for track in ROW_TRACKS for pid in cores), (
            layer.name
        )


def test_sweeps_add_up(drawn):
    """W2: where timesteps are swept one by one, a core reads a word of potentials in each cycle of a sweep.

    C10: where sums are pooled, one for each window: so many fewer as neurons are updated than sums are compared.
    """
    case, activity, timeline = drawn
    numbers = case.trace.numerics
    if min(case.chip.core.time_batch, numbers.timesteps) > 1 or numbers.neuron == "relu":  # which has none (M4)
        return
    for index, layer in named_layers(case):
        if isinstance(layer, (Conv, Linear)) and case.chip.token_unit.policy != "gate":  # which counts less (T5)
            swept = sum(timeline.busy[track, pid, layer.name] for track in SWEEP_TRACKS for pid in timeline.process)
            words, compared, updated = activity.counts[
                index, [Action.POTENTIAL_READ, Action.POOL_MAX, Action.NEURON_UPDATE]
            ].tolist()
            if getattr(layer, "pooled", None) is None:
                compared = updated
            assert swept * updated == words * compared, layer.name


def test_the_critical_resource_is_the_busiest_track(drawn):
    """K1, K2: the busiest unit of each kind is as busy on its track as the run says; none is busier."""
    case, activity, timeline = drawn
    rows = [cause.key for cause in SERVICE]
    for index, layer in named_layers(case):
        critical = activity.critical[index]
        busy = dict.fromkeys(rows, timeline.busiest(layer.name, *ROW_TRACKS) if has_cores(layer) else 0)
        busy["neuron_sweep"] = timeline.busiest(layer.name, *SWEEP_TRACKS)
        busy["network"] = max(timeline.busiest(layer.name, f"output {letter}") for letter in "LNESW")
        busy["token_unit"] = timeline.busiest(layer.name, "selector")
        busy["attention_unit"] = timeline.busiest(layer.name, "products and sweeps")
        busy["dram"] = timeline.busiest(layer.name, "transfers")
        assert max(busy.values()) <= critical.cycles, (layer.name, critical, busy)
        assert busy.get(critical.resource, critical.cycles) == critical.cycles, (layer.name, critical, busy)


def has_cores(layer):
    """Whether its row service is that of cores."""
    return not isinstance(layer, Select) and hasattr(layer, "weights")


def test_grants_are_hops_and_deliveries(drawn):
    """N3, W3: an output is held for s cycles by each flit that it grants."""
    case, activity, timeline = drawn
    granted = {letter: [one["dur"] for _, one in timeline.on(f"output {letter}")] for letter in "LNESW"}
    assert {dur for one in granted.values() for dur in one} <= {case.chip.flit_cycles}
    if case.chip.token_unit.policy != "gate":  # which counts less than it sends (T5)
        assert sum(len(granted[letter]) for letter in "NESW") == activity.count(Action.FLIT_HOP)
        assert len(granted["L"]) == activity.count(Action.FIFO_READ)


def test_look_ups_lie_between_grant_and_service(drawn):
    """C1: what is granted has arrived s later, is looked up for a cycle at least, and is taken where that ends."""
    case, _, timeline = drawn
    at = defaultdict(lambda: defaultdict(list))
    for name in ("output L", "look-up", "row service", "feature sums", "operand writes"):
        for pid, one in timeline.on(name):
            if not one["name"].startswith("pixel"):
                at[pid][name if name in ("output L", "look-up") else "service"].append(one)
    for tracks in at.values():
        lists = [sorted(tracks[name], key=lambda one: one["ts"]) for name in ("output L", "look-up", "service")]
        for came, look, served in zip(*lists, strict=True):
            assert came["name"] == look["name"] == served["name"]
            assert came["args"] == look["args"] == served["args"]
            assert came["ts"] + case.chip.flit_cycles <= look["ts"]
            assert look["ts"] + look["dur"] == served["ts"]


def test_fifos_never_overflow_and_drain(drawn):
    case, _, timeline = drawn
    deepest = 0
    for (_, name), values in timeline.counters.items():
        if name == "event FIFO":
            depths = [depth for _, depth in sorted(values)]
            assert all(0 <= depth <= case.chip.core.fifo_flits for depth in depths)
            assert depths[-1] == 0
            deepest = max(deepest, *depths)
    assert deepest > 0 or not timeline.on("output L")


def test_the_load_of_links_adds_up(drawn):
    """At most 1; as long as it stays the same, the link is held as many cycles as its output's slices say."""
    _, activity, timeline = drawn
    for (pid, name), values in timeline.counters.items():
        if not name.startswith("load"):
            continue
        values.sort()
        assert all(0 <= load <= 1 for _, load in values)
        assert values[-1][1] == 0
        edges = np.array([0, *(cycle for cycle, _ in values), activity.total_cycles])
        held = np.diff(edges) * [0, *(load for _, load in values)]
        slices = [(one["ts"], one["dur"]) for process, one in timeline.named[f"output {name[-1]}"] if process == pid]
        busy = np.zeros(activity.total_cycles + 1, np.int64)
        for begin, length in slices:
            busy[begin + 1 : begin + length + 1] = 1
        assert held == pytest.approx(np.diff(np.cumsum(busy)[edges]), abs=1e-9)  # shares are fractions, cycles are not
    links = [key for key in timeline.counters if key[1].startswith("load")]
    assert len(links) == len({(pid, one) for one in "NESW" for pid, _ in timeline.on(f"output {one}")})


def test_images_and_layers_are_as_long_as_the_run_says(drawn):
    case, activity, timeline = drawn
    outer = [one for _, one in timeline.on(*{name for name in timeline.track.values() if name.startswith("images")})]
    images = sorted((one for one in outer if one["cat"] == "image"), key=place_of)
    assert [one["dur"] for one in images] == activity.latency.tolist()
    if case.chip.schedule == "layerwise":
        ends = [one["ts"] + one["dur"] for one in images]
        assert [one["ts"] for one in images] == [0, *ends[:-1]]
        for index, layer in named_layers(case):
            cycles = [one["dur"] for one in outer if one["name"] == layer.name]
            assert sum(cycles) == activity.cycles[:, index].sum()


def test_what_dram_moves_adds_up(drawn):
    """W6, D1: bytes in whole bursts; one transfer after the other."""
    case, activity, timeline = drawn
    moved = sorted((one for _, one in timeline.on("transfers")), key=lambda one: one["ts"])
    read, written = (activity.count(action) for action in (Action.DRAM_READ, Action.DRAM_WRITE))
    assert sum(case.chip.in_bursts(one["args"]["bytes"]) for one in moved) == read + written
    assert all(one["dur"] == case.chip.dram_cycles(one["args"]["bytes"]) for one in moved)
    assert all(before["ts"] + before["dur"] <= after["ts"] for before, after in pairwise(moved))


def test_steps_enclose_what_is_done_for_them(drawn):
    """C6: nothing of a step comes before its grant or after its last release; its encoder begins with the grant."""
    _, _, timeline = drawn
    steps = {}
    for (pid, _), found in timeline.slices.items():
        if timeline.process[pid] == "steps":
            for one in found:
                key = one["cat"], one["args"]["image"], place_of(one)
                assert key not in steps
                steps[key] = one["ts"], one["ts"] + one["dur"]
    visits = 0
    for (pid, tid), found in timeline.slices.items():
        if timeline.track[pid, tid].startswith("encoder"):
            for one in found:
                if one["name"].startswith("step "):
                    begin, end = steps[one["cat"], one["args"]["image"], place_of(one)]
                    assert begin <= one["ts"] < one["ts"] + one["dur"] < end
                    visits += 1
    assert visits >= len(steps)


JOBS = {  # the stage of a layer, the tracks of its work, cycles of the stage before the work and behind it (A3, S1, I1)
    "attention": (("products and sweeps",), 1, 1),
    "selector": (("selector",), 0, 0),
    "pool": (SWEEP_TRACKS, 0, 2),
    "input convolution": (ROW_TRACKS + SWEEP_TRACKS, 1, 2),
}


def test_jobs_fill_their_stages(drawn):
    """The busiest unit works from the beginning of the stage to its end but for the first read and the last writes."""
    case, _, timeline = drawn
    for layer in case.trace.layers:
        stage = stage_of(layer)
        if stage is None:
            continue
        tracks, before, behind = JOBS[stage]
        work = [one for _, one in timeline.on(*tracks) if one["cat"] == layer.name]
        begins, ends = {one["ts"] for one in work}, {one["ts"] + one["dur"] for one in work}
        if case.chip.schedule == "layerwise":
            stages = [one for _, one in timeline.on("images") if (one["name"], one["cat"]) == (stage, layer.name)]
            assert {one["ts"] + before for one in stages} <= begins
        else:
            stages = [
                one
                for (pid, _), found in timeline.slices.items()
                for one in found
                if timeline.process[pid] == "layers" and one["cat"] == layer.name
            ]
        assert len(stages) == case.trace.images
        assert {one["ts"] + one["dur"] - behind for one in stages} <= ends
        assert all(any(one["ts"] <= at < one["ts"] + one["dur"] for one in stages) for at in begins)


def stage_of(layer):
    """What a layer does beside a phase."""
    kinds = {Attention: "attention", Select: "selector", Pool: "pool", Conv: "input convolution"}
    if isinstance(layer, Conv) and layer.source != "pixels":
        return None
    return next((name for kind, name in kinds.items() if isinstance(layer, kind)), None)


def test_an_encoder_waits_for_what_it_reads(drawn):
    """L4: with `pipelined` a core begins with a token when it has swept it, and one cycle more (C5)."""
    case, _, timeline = drawn
    steps = {}
    for (pid, _), found in timeline.slices.items():
        if timeline.process[pid] == "steps":
            steps |= {(one["cat"], place_of(one)): tuple(one["args"].values()) for one in found}
    swept = {}
    for pid, one in timeline.on("neuron sweep"):
        if one["name"] == "sweep":
            swept[pid, one["cat"], steps[one["cat"], one["args"]["step"]]] = one["ts"] + one["dur"]
    writers = {layer.target: layer.name for layer in case.trace.layers if isinstance(layer, Linear)}
    for layer in case.trace.layers:
        track = "encoder" if case.chip.schedule == "layerwise" else f"encoder of {layer.name}"
        for pid, one in timeline.on(track):
            if one["name"].startswith("step ") and one["cat"] == layer.name and layer.source in writers:
                key = pid, writers[layer.source], tuple(one["args"].values())
                assert key not in swept or one["ts"] > swept[key]


# ---- bounds ----


def clip(timeline, first, last):
    """The slices of units within some cycles."""
    found = []
    for (pid, tid), slices in timeline.slices.items():
        if timeline.process[pid] not in OUTLINE:
            for one in slices:
                begin, end = max(first, one["ts"]), min(last, one["ts"] + one["dur"])
                if begin < end:
                    name = timeline.process[pid], timeline.track[pid, tid]
                    found.append((*name, begin, end, one["name"], one["cat"], str(one.get("args"))))
    return sorted(found)


def outline(timeline):
    """The slices that are always there."""
    kept = [(pid, tid) for pid, tid in timeline.slices if timeline.process[pid] in OUTLINE]
    return {key: timeline.slices[key] for key in kept}


def test_no_more_events_than_asked_for(drawn, tmp_path):
    """Up to the cycle that the file names, all is there; behind it only the outline is."""
    case, _, whole = drawn
    for events in (1000, 3000):
        _, data = record(tmp_path / "t.json", case.trace, case.chip, events=events)
        few = Drawn(data)
        _, last = few.other["detail_cycles"] or (0, 0)
        assert few.other["events"] == sum(event["ph"] != "M" for event in few.events) <= events
        assert clip(few, 0, 10**9) == clip(whole, 0, last)
        cut = [event["ts"] for event in few.events if event["ph"] == "i"]
        if whole.other["events"] <= events / 2:
            assert last == few.other["cycles"]
        if last == few.other["cycles"]:
            assert (few.other["left_out"], cut) == ("nothing", [])
            assert outline(few) == outline(whole)
        else:
            assert cut == [last]
            assert f"from cycle {last:,} to" in few.other["left_out"]
            assert f"limit of {events:,} events" in few.other["left_out"]


def test_only_the_cycles_asked_for(drawn, tmp_path):
    case, activity, whole = drawn
    first, last = activity.total_cycles // 3, activity.total_cycles // 2
    _, data = record(tmp_path / "t.json", case.trace, case.chip, cycles=(first, last), events=10**9)
    some = Drawn(data)
    assert clip(some, 0, 10**9) == clip(whole, first, last)
    assert outline(some) == outline(whole)
    assert some.other["detail_cycles"] == [first, last]
    assert sorted(event["ts"] for event in some.events if event["ph"] == "i") == [first, last]
    for key, values in whole.counters.items():  # a counter that holds a value at the first cycle says so there
        held = [value for cycle, value in sorted(values) if cycle <= first][-1:]
        shown = dict(some.counters.get(key, []))
        if held and held[0] and any(cycle > first for cycle, _ in values):
            assert shown[first] == held[0]
