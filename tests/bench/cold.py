"""Run everything that a user can run, so that every kernel is compiled: python -m bench.cold TRACE. Answers JSON.

Started with an empty NUMBA_CACHE_DIR; its time is that of a first call of each command after an installation.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparsespike.simulator import engine, kernels
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.peers import run_peers
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import load_trace


def main(path: Path) -> None:
    """One image in both schedules, verified and watched, in batches of timesteps, with bounds; an ANN; the peers."""
    trace, ann = load_trace(path), synthetic_trace(neuron="relu")
    chip = load_chip("mesh16")
    pipelined = chip.replace({"schedule": "pipelined", "core.spike_kib": 64.0})
    runs = [
        engine.run(trace, chip, verify=True, watch=lambda *log: None),
        engine.run(trace, pipelined, verify=True, watch=lambda *log: None),
        engine.run(trace, chip.replace({"core.time_batch": 4})),
        engine.run(trace, chip, bound=True),
        engine.run(trace, chip.replace({"core.time_batch": 4}), bound=True),
        engine.run(trace, pipelined, bound=True),
        engine.run(ann, chip, verify=True),
    ]
    run_peers(trace, 1)
    events = sum(int(activity.synaptic_events.sum()) for activity in runs)
    compiled = dict(_kernels())
    found = {
        "events": events,
        "kernels": len(compiled),
        "missing": sorted(name for name, kernel in compiled.items() if not kernel.overloads),
        "loaded": sum(sum(kernel.stats.cache_hits.values()) for kernel in compiled.values()),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _kernels() -> Iterator[tuple[str, Any]]:
    """Every compiled function of the kernels' room."""
    for module in pkgutil.iter_modules(kernels.__path__):
        for name, value in vars(importlib.import_module(f"{kernels.__name__}.{module.name}")).items():
            if hasattr(value, "overloads"):
                yield f"{value.__module__.rpartition('.')[2]}.{name}", value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
