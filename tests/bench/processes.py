"""Rows about processes: the scale test and its memory, two at once, and how long a start takes."""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsespike.simulator.trace import load_trace

from .bare_work import count_events
from .clock import Contender, Sample, interleave
from .rows import Row, Setting
from .simulator_runs import expect
from .worker import Worker, run_python
from .workloads import digits_file, workload_file

PEAK_MIB = 3e9 / 2**20  # 3 GB
LEAST_SECONDS = 0.5  # that a request to a worker should last


def imagenet_row(setting: Setting) -> Row:
    """Time per spike that is sent, over spikformer's, each in a process of its own; peak memory of imagenet's.

    Spikes that no flit carries, those of pools, count in neither. Per synaptic event the ratio would be kinder: events
    of large values in the residual stream of eight blocks count several times.
    """
    folder = setting.folder / "bench"
    for name in ("spikformer", "imagenet"):
        workload_file(name, folder)  # made here, so that the workers' memory is that of loading and simulating alone
    with Worker.of("spikformer", folder) as small, Worker.of("imagenet", folder) as large:
        contenders: dict[str, Contender] = {"spikformer": small.run_once, "imagenet": large.run_once}
        laps = interleave(contenders, setting.rounds, setting.step)
    spikformer, imagenet = laps["spikformer"], laps["imagenet"]
    peak = max(sample["peak_mib"] for sample in imagenet.samples)
    time_ratio = imagenet.over(spikformer)
    few, many = spikformer.first, imagenet.first
    return Row(
        "imagenet_event_cost_ratio",
        time_ratio * few["spikes"] / many["spikes"],
        int(many["events"]),
        imagenet.seconds(),
        "spikformer",
        spikformer.seconds(),
        int(few["events"]),
        imagenet.seconds("placing"),
        imagenet.seconds("loop"),
        large.first["seconds"],
        len(imagenet.samples),
        holds=peak < PEAK_MIB,
        note=f"peak memory {peak:,.0f} MiB, of loading a stored trace and simulating it; may be {PEAK_MIB:,.0f}",
        more={
            "spikes": int(many["spikes"]),
            "against_spikes": int(few["spikes"]),
            "ratio_per_synaptic_event": time_ratio * few["events"] / many["events"],
            "peak_mib": peak,
        },
    )


def two_processes_row(setting: Setting) -> Row:
    """Twice as many images by two processes, over one of them alone; placement included."""
    folder = setting.folder / "bench"
    workload_file("spikformer", folder)
    with Worker.of("spikformer", folder) as first, Worker.of("spikformer", folder) as second:
        first.run_once()
        runs = max(1, round(LEAST_SECONDS / first.run_once()["seconds"]))

        def together(*workers: Worker) -> Sample:
            began = time.perf_counter()
            for worker in workers:
                worker.ask(runs)
            for worker in workers:
                worker.answer()
            return {"seconds": time.perf_counter() - began}

        contenders: dict[str, Contender] = {
            "one": lambda: together(first),
            "two": lambda: together(first, second),
        }
        laps = interleave(contenders, setting.rounds, setting.step)
    return Row(
        "two_processes",
        2 * laps["one"].over(laps["two"]),
        2 * runs * int(first.first["events"]),
        laps["two"].seconds(),
        "one process",
        laps["one"].seconds(),
        runs * int(first.first["events"]),
        first_seconds=first.first["seconds"],
        rounds=setting.rounds,
        note="of an idle machine with two cores or more",
    )


def start_row(setting: Setting) -> Row:
    """The command line on one digits image, kernels compiled before, from the shell's prompt to the next."""
    path = digits_file(setting.folder / "bench")
    events = count_events(load_trace(path))

    def run(*options: str) -> Sample:
        began = time.perf_counter()
        run_python("sparsespike.cli", "simulate", str(path), *options)
        return {"seconds": time.perf_counter() - began}

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        run("--json", str(report))
        expect(json.loads(report.read_text())["synaptic_events"], events, "synaptic events")
    laps = interleave({"start": run}, setting.rounds, setting.step)["start"]
    return Row("start", None, events, laps.seconds(), rounds=setting.rounds, first_seconds=laps.first_seconds)


def cold_start_row(setting: Setting) -> Row:
    """Every kernel compiled by a process whose cache is empty, running included; once."""
    path = digits_file(setting.folder / "bench")
    setting.step(0, 1)
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        found: Mapping[str, Any] = json.loads(run_python("bench.cold", str(path), NUMBA_CACHE_DIR=cache))
        seconds = time.perf_counter() - began
    expect(found["loaded"], 0, "kernels loaded from a cache that should be empty")
    setting.step(1, 1)
    note = f"{found['kernels']} kernels"
    if found["missing"]:
        note += f"; never compiled: {', '.join(found['missing'])}"
    compiled = {"kernels": found["kernels"] - len(found["missing"])}
    return Row("start_cold", None, found["events"], seconds, holds=not found["missing"], note=note, more=compiled)
