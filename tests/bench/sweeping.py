"""Rows about sweeps: what a point costs beside its simulation, two workers over one, and memory that does not grow."""

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from sparsespike.analysis.explore import point
from sparsespike.analysis.explore.point import TraceFile, open_traces, trace_of
from sparsespike.analysis.explore.results import read_rows
from sparsespike.analysis.explore.sweep import run_sweep
from sparsespike.analysis.parallel import Workers
from sparsespike.analysis.space import Space, load_space

from .bare_work import count_events
from .clock import Sample, interleave, stopwatch
from .rows import Row, Setting
from .simulator_runs import expect
from .worker import run_python
from .workloads import digits_file

SPACE = """
chip = "edge"
images = 1
[axes]
core.lanes = [2, 4, 8]
core.contexts = [2, 4]
core.fifo_flits = {{ from = 1, to = {fifos}, step = 1 }}
"""
FEW, MANY = 2, 16  # FIFOs: 12 and 96 points
GROWTH_MIB = 16.0  # that eight times the points may take; a point kept whole takes 0.1
CORES = 2


def digits_space(folder: Path, fifos: int) -> tuple[Space, dict[str, Path]]:
    """Six chips for each depth of FIFO, on one digits image."""
    path = folder / f"space{fifos}.toml"
    path.write_text(SPACE.format(fifos=fifos))
    return replace(load_space(path), traces=("digits",)), {"digits": digits_file(folder)}


def swept(space: Space, paths: dict[str, Path], jobs: int) -> tuple[float, int]:
    """Seconds of a sweep into a new file, and the synaptic events of its rows."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run_sweep(space, paths, Path(folder) / "results.sqlite", workers=Workers(jobs))
        seconds = time.perf_counter() - began
        rows = read_rows(Path(folder) / "results.sqlite")
    return seconds, sum(round((row.metrics or {})["operations"] or 0) for row in rows)


def overhead_row(setting: Setting) -> Row:
    """A point's cost beside its simulation: choosing, reporting, storing. And the memory of eight times the points."""
    folder = setting.folder / "bench"
    space, paths = digits_space(folder, FEW)
    events = space.size * count_events_of(open_traces(space, paths))

    def sweep() -> Sample:
        with stopwatch((point, "simulate")) as simulations:
            seconds, found = swept(space, paths, 1)
        expect(found, events, "synaptic events")
        return {"seconds": seconds, "simulate": simulations.seconds, "beside": seconds - simulations.seconds}

    laps = interleave({"sweep": sweep}, setting.rounds, setting.step)["sweep"]
    few, many = (json.loads(run_python("bench.sweeping", str(folder), str(fifos))) for fifos in (FEW, MANY))
    growth = many["peak_mib"] - few["peak_mib"]
    return Row(
        "sweep_overhead",
        None,
        events,
        laps.seconds("beside") / space.size,
        "its simulation",
        laps.seconds("simulate") / space.size,
        rounds=setting.rounds,
        holds=growth < GROWTH_MIB,
        note=f"of a point; {many['points']} points take {growth:+.1f} MiB over {few['points']}, may be {GROWTH_MIB:g}",
    )


def two_workers_row(setting: Setting) -> Row:
    """Points per second of two worker processes over those of one."""
    space, paths = digits_space(setting.folder / "bench", MANY)
    events = space.size * count_events_of(open_traces(space, paths))

    def run(jobs: int) -> Sample:
        seconds, found = swept(space, paths, jobs)
        expect(found, events, "synaptic events")
        return {"seconds": seconds}

    laps = interleave({"one": lambda: run(1), "two": lambda: run(CORES)}, setting.rounds, setting.step)
    return Row(
        "sweep_two_workers",
        laps["one"].over(laps["two"]),
        events,
        laps["two"].seconds(),
        "one worker",
        laps["one"].seconds(),
        events,
        rounds=setting.rounds,
        note=f"{space.size} points; of an idle machine with two cores or more",
    )


def count_events_of(traces: dict[str, TraceFile]) -> int:
    """Synaptic events of one image."""
    return count_events(trace_of(traces["digits"]))


def main() -> None:
    """A sweep in a process of its own, for its peak memory: python -m bench.sweeping FOLDER FIFOS."""
    import resource
    import sys

    from .worker import MIB

    space, paths = digits_space(Path(sys.argv[1]), int(sys.argv[2]))
    swept(space, paths, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    sys.stdout.write(json.dumps({"points": space.size, "peak_mib": peak}) + "\n")


if __name__ == "__main__":
    main()
