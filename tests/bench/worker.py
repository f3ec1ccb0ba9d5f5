"""A process that runs a stored workload whenever it is told to, for rows about several processes or about memory.

    python -m bench.worker NAME FOLDER      (on stdin a line per request: how many runs)

Answers one line of JSON per request, and one at the start, when its kernels are ready.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

MIB = 1024 if sys.platform != "darwin" else 1024 * 1024  # the unit of ru_maxrss: KiB on Linux, bytes on macOS


class Worker:
    """The other end: starts a process that answers a line of JSON when it is ready, then one per request; and ends it.

    first: its first answer.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.first = self.answer()

    @staticmethod
    def of(workload: str, folder: Path) -> "Worker":
        """One that runs a stored workload, as below."""
        command = [sys.executable, "-m", "bench.worker", workload, str(folder)]
        return Worker(command, child_environment())

    def run_once(self) -> dict[str, Any]:
        """One request, and its answer."""
        self.ask(1)
        return self.answer()

    def ask(self, runs: int) -> None:
        """Let it run; `answer` waits for the end."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{runs}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What the request came to; RuntimeError where the process has died, whose own error stands above."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError("a worker of the bench has ended; its error stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()  # closes its stdin, upon which it ends


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of a Python process that finds what this one finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **changes}


def run_python(module: str, *arguments: str, **environment: str) -> str:
    """Run a module in a process of its own; its stdout. What it says on stderr is seen; CalledProcessError follows."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=child_environment(**environment))
    return done.stdout


def serve(name: str, folder: Path) -> None:
    """Answer requests until stdin ends.

    Each answer: the sums of the samples' seconds, the peak memory so far, and synaptic events and spikes of one run;
    spikes are those that flits carry.
    """
    from sparsespike.simulator.trace import Pool

    from .bare_work import count_events
    from .simulator_runs import simulate
    from .workloads import load_workload, transformer_chip

    trace, chip = load_workload(name, folder), transformer_chip(name)
    events = count_events(trace)
    sent = [not isinstance(layer, Pool) and trace.streams[layer.source].kind != "real" for layer in trace.layers]

    def run(times: int) -> None:
        samples, activities = zip(*(simulate(trace, chip, events) for _ in range(times)), strict=True)
        answer: dict[str, float] = {part: sum(sample[part] for sample in samples) for part in samples[0]}
        answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
        answer |= {"events": events, "spikes": int(activities[0].spikes[sent].sum())}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    run(1)
    for line in sys.stdin:
        run(int(line))


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
