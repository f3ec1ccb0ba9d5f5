"""A cluster of dask workers that do the runs: an address in, joblib's backend configured for it.

The workers need this package in the same version; what `prepare` holds, traces say, is sent to each of them once.
Imported only by those who have a cluster: distributed is a library of its own.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from distributed import Client, WorkerPlugin
from joblib import parallel_config

from ..simulator.errors import UserError

ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?[\w.\-\[\]:]+:\d{1,5}")
PATIENCE_S = 12.0  # how long a scheduler that does not answer is waited for, and then a worker


class Prepare(WorkerPlugin):
    """Calls a function once on every worker, also on those that come later."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        self.name = f"sparsespike-{uuid4().hex}"  # a plugin of a known name would be left out
        self._prepare = prepare

    def setup(self, worker: object) -> None:
        """Of a worker that has just come, or is there already."""
        self._prepare()


@contextmanager
def connected(address: str, prepare: Callable[[], None] | None = None) -> Iterator[int]:
    """Let joblib use the cluster behind a scheduler's address; yields its number of threads.

    prepare: called once on every worker.
    Raises UserError where the address is none, nobody answers, there is no worker, or a worker cannot be prepared.
    """
    if not ADDRESS.fullmatch(address):
        raise UserError(f"--dask {address}: must be the address of a scheduler, such as tcp://10.0.0.1:8786")
    try:
        client = Client(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--dask {address}: no scheduler answers ({_reason(error)})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError:
            raise UserError(f"--dask {address}: the scheduler has no worker") from None
        if prepare is not None:
            try:
                client.register_plugin(Prepare(prepare))
            except Exception as error:  # whatever a worker's process raises
                raise UserError(f"--dask {address}: a worker cannot do this work ({_reason(error)})") from None
        with parallel_config("dask", client=client):
            yield sum(client.nthreads().values())


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
