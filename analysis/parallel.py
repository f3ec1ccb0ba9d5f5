"""Independent runs over all processors or a cluster, each result as soon as it is there: for sweeps and comparisons."""

import signal
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ..simulator.errors import UserError

# below this many runs starting worker processes takes longer than it saves
FEW_RUNS = 4

Run = TypeVar("Run")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Who does the runs: `jobs` processes of this machine, -1 for one per processor; or a cluster's.

    dask: address of the cluster's scheduler.  prepare: what each worker of a cluster calls once before its first run,
    to be given there what processes of this machine find in files.
    """

    jobs: int = -1
    dask: str | None = None
    prepare: Callable[[], None] | None = None


EVERYWHERE = Workers()


def check_jobs(jobs: int) -> None:
    """Raise UserError for a number of worker processes that means nothing."""
    if jobs != -1 and jobs < 1:
        raise UserError(f"jobs = {jobs}: must be at least 1, or -1 for one per processor")


def checked_workers(jobs: int, dask: str | None) -> Workers:
    """Who does the runs, as a command is asked for it. Raises UserError as `check_jobs`."""
    check_jobs(jobs)
    return Workers(jobs, dask)


def finished(
    work: Callable[[Run], Result], runs: Iterable[Run], workers: Workers = EVERYWHERE
) -> Generator[Result, None, None]:
    """`work` of every run, in the order in which they end; closed early, it starts no further one.

    Runs are taken as workers become free, and a little ahead, perhaps in another thread. On this machine the first ones
    run in this process, so that workers find the kernels compiled; `work` must be importable to the others. Ctrl-C
    reaches this process alone.
    Raises UserError as `check_jobs`, and where a worker dies.
    """
    check_jobs(workers.jobs)
    left = iter(runs)
    if workers.dask is None:
        for run in islice(left, 1):
            yield work(run)
        few = list(islice(left, FEW_RUNS))
        processes = min(cpu_count() if workers.jobs < 0 else workers.jobs, len(few))
        left = chain(few, left)
        if processes <= 1 or len(few) < FEW_RUNS:
            yield from map(work, left)
            return
    with _configured(workers) as width, warnings.catch_warnings():
        # joblib's word for a generator that is closed early; whoever closes it says what is kept
        warnings.filterwarnings("ignore", ".*tasks which were still being processed", UserWarning)
        settings = {"return_as": "generator_unordered", "pre_dispatch": 2 * width, "batch_size": 1}
        try:
            with closing(Parallel(**settings)(delayed(work)(run) for run in left)) as results:
                yield from results
        except TerminatedWorkerError:
            raise UserError(
                "a worker process was killed, perhaps for want of memory (--jobs says how many there are); "
                "what was finished is kept"
            ) from None


@contextmanager
def _configured(workers: Workers) -> Iterator[int]:
    """joblib's backend for the workers; yields how many there are."""
    if workers.dask is not None:
        try:
            from .cluster import connected
        except ImportError:
            raise UserError("--dask needs the library distributed: pip install 'sparsespike[dask]'") from None
        with connected(workers.dask, workers.prepare) as width:
            yield width
        return
    jobs = cpu_count() if workers.jobs < 0 else workers.jobs
    settings = {"n_jobs": jobs, "inner_max_num_threads": 1, "initializer": _leave_interrupts_to_the_parent}
    with parallel_config("loky", **settings):
        yield jobs


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
