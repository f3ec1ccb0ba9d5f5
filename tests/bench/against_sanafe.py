"""Rows against SANA-FE's `detailed` timing, on the spikes that its own neurons fired (workload `mlp`).

SANA-FE's time is that of chip.sim alone, without building and loading; ours is all but placement, which stands beside.
SANA-FE also computes potentials; a replay does not, the row `mlp_verify_vs_sanafe` does.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from . import mlp
from .clock import Contender, Laps, Sample, interleave, middle_of
from .rows import Row, Setting
from .simulator_runs import expect, simulate
from .worker import Worker

SCRIPT = Path(__file__).parent / "sanafe_mlp.py"
NEURONS_PER_CORE = {"mlp_replay_vs_sanafe": 128, "mlp_packets_vs_sanafe": 32, "mlp_verify_vs_sanafe": 128}
REPEATS = 5  # our runs in a round: a run takes hundredths of a second, and the first is slow, its caches are cold
PEER_REPEATS = {128: 3, 32: 1}  # SANA-FE's, by neurons on a core; at 32 one takes seconds, so that it warms itself up
PEER = "SANA-FE"


def sanafe_python(folder: Path) -> Path:
    """The interpreter of the side environment that `make bench` makes."""
    return folder / "sanafe" / "bin" / "python"


def sanafe_version(folder: Path) -> str:
    """Which SANA-FE is there; "" for none."""
    code = "import sanafe; from importlib import metadata; print(metadata.version('sanafe'))"
    try:
        done = subprocess.run([sanafe_python(folder), "-c", code], capture_output=True, text=True, env=_environment())
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _environment() -> dict[str, str]:
    """Without the paths of this interpreter: the peer has a numpy of its own."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def rows_against_sanafe(setting: Setting) -> list[Row]:
    """Those of the three rows that are wanted; a SANA-FE for 128 neurons per core, then one for 32."""
    rows: list[Row] = []
    for per_core, repeats in PEER_REPEATS.items():
        names = [name for name in setting.picks(*NEURONS_PER_CORE) if NEURONS_PER_CORE[name] == per_core]
        if names:
            rows += _rows_of(setting, names, per_core, repeats)
    return rows


def _rows_of(setting: Setting, names: Sequence[str], per_core: int, peer_repeats: int) -> list[Row]:
    contenders = {name: middle_of(_ours(name, per_core), REPEATS) for name in names}
    if not sanafe_version(setting.folder):
        laps = interleave(contenders, setting.rounds, setting.step)
        return [_row(name, laps[name], None) for name in names]
    with _start_sanafe(setting, per_core, peer_repeats) as worker:
        peer = middle_of(partial(_run_sanafe, worker), peer_repeats)
        laps = interleave({PEER: peer, **contenders}, setting.rounds, setting.step)
    return [_row(name, laps[name], laps[PEER]) for name in names]


def _start_sanafe(setting: Setting, per_core: int, repeats: int) -> Worker:
    runs = repeats * (setting.rounds + 1)
    python = str(sanafe_python(setting.folder))
    return Worker([python, str(SCRIPT), "--per-core", str(per_core), "--runs", str(runs)], _environment())


def _run_sanafe(worker: Worker) -> Sample:
    """One run; RuntimeError unless it did the very events."""
    found = worker.run_once()
    expect(found["synaptic_events"], mlp.SYNAPTIC_EVENTS, "SANA-FE's synaptic events")
    expect(found["spikes"], sum(mlp.SPIKES.values()), "SANA-FE's spikes")
    return found


def _ours(name: str, per_core: int) -> Contender:
    verify = name == "mlp_verify_vs_sanafe"
    trace = mlp.int8_trace() if verify else mlp.replay_trace()
    chip, cuts = mlp.mlp_chip(per_core), mlp.sanafe_cuts(trace, per_core)
    spikes = mlp.INT8_SPIKES if verify else mlp.SPIKES
    for stream, count in spikes.items():
        events = trace.streams[stream].events
        expect(0 if events is None else len(events.channels), count, f"spikes of {stream}")

    def run() -> Sample:
        return simulate(trace, chip, _events(name), cuts=cuts, verify=verify)[0]

    return run


def _events(name: str) -> int:
    return mlp.INT8_SYNAPTIC_EVENTS if name == "mlp_verify_vs_sanafe" else mlp.SYNAPTIC_EVENTS


def _row(name: str, ours: Laps, theirs: Laps | None) -> Row:
    events = _events(name)
    row = Row(
        name,
        None,
        events,
        ours.seconds(),
        f"{PEER}, {NEURONS_PER_CORE[name]} per core",
        placing_seconds=ours.seconds("placing"),
        loop_seconds=ours.seconds("loop"),
        first_seconds=ours.first_seconds,
        rounds=len(ours.samples),
        note="SANA-FE is not installed here",
        more={"events_per_second": events / ours.seconds()},
    )
    if theirs is None:
        return row
    scale = events / mlp.SYNAPTIC_EVENTS  # ratios are of events per second
    same = events == mlp.SYNAPTIC_EVENTS
    return replace(
        row,
        ratio=scale * theirs.over(ours),
        against_seconds=theirs.seconds(),
        against_events=mlp.SYNAPTIC_EVENTS,
        note="" if same else f"{events:,} synaptic events here, {mlp.SYNAPTIC_EVENTS:,} on SANA-FE",
        more={
            **row.more,
            "against_events_per_second": mlp.SYNAPTIC_EVENTS / theirs.seconds(),
            "ratio_of_event_loop": scale * theirs.over(ours, other_part="loop"),
            "ratio_with_placement": scale * theirs.over(ours, other_part="with_placing"),
        },
    )
