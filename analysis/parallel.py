"""Independent runs over all processors, each result as soon as it is there: for sweeps and comparisons."""

import signal
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config

from ..simulator.errors import UserError

# below this many runs starting worker processes takes longer than it saves
FEW_RUNS = 4


def check_jobs(jobs: int) -> None:
    """Raise UserError for a number of worker processes that means nothing."""
    if jobs != -1 and jobs < 1:
        raise UserError(f"jobs = {jobs}: must be at least 1, or -1 for one per processor")


Run = TypeVar("Run")
Result = TypeVar("Result")


def finished(work: Callable[[Run], Result], runs: Sequence[Run], jobs: int = -1) -> Generator[Result, None, None]:
    """`work` of every run, in the order in which they end; closed early, it starts no further one.

    The first runs in this process, so that workers find the kernels compiled; the others in `jobs` worker processes,
    -1 for one per processor, to which `work` must be importable. Ctrl-C reaches this process alone.
    Raises UserError as `check_jobs`.
    """
    check_jobs(jobs)
    if not runs:
        return
    yield work(runs[0])
    rest = runs[1:]
    workers = min(cpu_count() if jobs < 0 else jobs, len(rest))
    if workers <= 1 or len(rest) < FEW_RUNS:
        yield from map(work, rest)
        return
    settings = {"n_jobs": workers, "inner_max_num_threads": 1, "initializer": _leave_interrupts_to_the_parent}
    with warnings.catch_warnings(), parallel_config("loky", **settings):
        # joblib's word for a generator that is closed early; whoever closes it says what is kept
        warnings.filterwarnings("ignore", ".*tasks which were still being processed", UserWarning)
        with closing(Parallel(return_as="generator_unordered")(delayed(work)(run) for run in rest)) as results:
            yield from results


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
