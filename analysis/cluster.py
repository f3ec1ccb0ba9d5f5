"""A cluster of dask workers that do the runs: an address in, joblib's backend configured for it.

The workers need this package in the same version, which is checked; what `prepare` holds is sent to each of them once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from joblib import parallel_config

from ..simulator.errors import UserError

PATIENCE_S = 15.0  # how long an unreachable scheduler is waited for


@contextmanager
def connected(address: str, prepare: Callable[[], None] | None = None) -> Iterator[int]:
    """Let joblib use the cluster behind a scheduler's address; yields its number of threads.

    prepare: called once on every worker, also on those that come later.
    Raises UserError where distributed is not installed, the address is none, nobody answers, there is no worker, or
    a worker cannot be prepared.
    """
    try:
        from distributed import Client, WorkerPlugin
    except ImportError:
        raise UserError("--dask needs the library distributed: pip install 'sparsespike[dask]'") from None
    try:
        client = Client(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--dask {address}: no scheduler answers ({_reason(error)})") from None
    with client:
        width = sum(client.nthreads().values())
        if not width:
            raise UserError(f"--dask {address}: the scheduler has no worker")
        if prepare is not None:
            try:
                client.register_plugin(_plugin(WorkerPlugin, prepare))
            except Exception as error:  # whatever a worker's process raises
                raise UserError(f"--dask {address}: a worker cannot do this work ({_reason(error)})") from None
        with parallel_config("dask", client=client):
            yield width


def _plugin(base: Any, prepare: Callable[[], None]) -> Any:
    """A plugin of workers that calls `prepare`; its name holds what it depends on, so that none is left out."""

    class Prepare(base):
        name = f"sparsespike-{uuid4().hex}"

        def setup(self, worker: object) -> None:
            prepare()

    return Prepare()


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
