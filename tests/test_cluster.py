"""Sweeps on a cluster of dask workers: the same rows, whatever becomes of a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from sparsespike import UserError
from sparsespike.analysis import cluster as cluster_module
from sparsespike.analysis import parallel, space
from sparsespike.analysis.cluster import PATIENCE_S
from sparsespike.analysis.explore import point, store, sweep
from sparsespike.analysis.explore.results import read_rows
from sparsespike.analysis.parallel import Workers, finished

pytest.importorskip("distributed")

SPACE = """
chip = "edge"
images = 1
[axes]
core.lanes = [1, 2, 4, 8]
core.weight_format = ["bitmap", "csr"]
core.contexts = [2, 4]
core.weight_kib = [0.125, 32.0]
"""
SEEN = 6  # rows after which a worker is killed


@dataclass
class Cluster:
    """A scheduler and its workers, each in a process of its own."""

    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]]

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start one more, with a working folder of its own: it sees no file of the others by a relative path."""
        folder = self.folder / f"worker{len(self.processes)}"
        folder.mkdir()
        options = [
            "--nthreads",
            "1",
            "--no-dashboard",
            "--no-nanny",
            "--death-timeout",
            "60",
            "--local-directory",
            folder,
        ]
        self.processes.append(started("worker", self.address, *options, "--local-directory", folder, cwd=folder))
        return self.processes[-1]


def started(kind: str, *arguments: object, cwd: Path) -> subprocess.Popen[bytes]:
    """A process of dask's command line, in a group of its own so that it can be killed with all below it."""
    command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, stdout=-3, stderr=-3, start_new_session=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    file = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    found = Cluster("", folder, [started("scheduler", *options, cwd=folder)])
    deadline = time.monotonic() + 60
    while not found.address:
        assert time.monotonic() < deadline, "the scheduler does not start"
        time.sleep(0.05)
        if file.exists() and file.stat().st_size:
            found.address = json.loads(file.read_text())["address"]
    try:
        yield found
    finally:
        for process in found.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def swept_by(workers: Workers, out: Path, trace_file: Path, **options: object) -> list[store.Row]:
    """The rows of the space above on the shared trace."""
    path = out.with_suffix(".toml")
    path.write_text(SPACE)
    found = replace(space.load_space(path), traces=("digits",))
    sweep.run_sweep(found, {"digits": trace_file}, out, workers=workers, **options)  # type: ignore[arg-type]
    return read_rows(out)


def test_a_cluster_gives_the_same_rows(
    cluster: Cluster, trace_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trace_file.parent)  # a relative path: workers cannot read it, the trace is sent to them
    for _ in range(2):
        cluster.add_worker()
    await_workers(cluster, 2)
    rows = swept_by(Workers(dask=cluster.address), tmp_path / "there.sqlite", Path(trace_file.name))
    assert rows == swept_by(Workers(1), tmp_path / "here.sqlite", trace_file)
    assert sum(row.feasible for row in rows) == 16
    with store.open_store(tmp_path / "there.sqlite") as there, store.open_store(tmp_path / "here.sqlite") as here:
        for row in rows:
            if row.feasible:
                assert there.report(row.key) == here.report(row.key)


def test_a_killed_worker_costs_time_and_nothing_else(cluster: Cluster, trace_file: Path, tmp_path: Path) -> None:
    victim, _ = cluster.add_worker(), cluster.add_worker()
    await_workers(cluster, 2)
    seen: list[int] = []

    def kill(done: int, total: int) -> None:
        seen.append(done)
        if done == SEEN:
            os.killpg(victim.pid, signal.SIGKILL)

    rows = swept_by(Workers(dask=cluster.address), tmp_path / "there.sqlite", trace_file, step=kill)
    assert victim.wait() == -signal.SIGKILL
    assert seen == list(range(33))
    assert rows == swept_by(Workers(1), tmp_path / "here.sqlite", trace_file)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "tcp://no.such.host:8786"])
def test_a_scheduler_that_cannot_be_reached_is_a_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PATIENCE_S < 15  # for an answer, and again for a worker: the line comes within half a minute
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 2.0)
    start = time.monotonic()
    with pytest.raises(UserError, match=f"--dask {address}: no scheduler answers"):
        list(finished(abs, [1], Workers(dask=address)))
    assert time.monotonic() - start < 12


@pytest.mark.parametrize("address", ["nowhere", "x://y:1", "tcp://", "", "tcp://a:b"])
def test_what_is_no_address_is_a_line_at_once(address: str) -> None:
    with pytest.raises(UserError, match=f"--dask {address}: must be the address of a scheduler"):
        list(finished(abs, [1], Workers(dask=address)))


def test_a_cluster_without_workers_is_a_line(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 2.0)
    with pytest.raises(UserError, match="has no worker"):
        list(finished(abs, [1], Workers(dask=cluster.address)))


def test_a_worker_of_another_version_is_a_line(cluster: Cluster) -> None:
    cluster.add_worker()
    await_workers(cluster)
    other = Workers(dask=cluster.address, prepare=partial(point.keep_traces, "0.0.0+another", {}))
    with pytest.raises(UserError, match=r"cannot do this work \(this worker runs sparsespike .*, not 0.0.0\+another\)"):
        list(finished(abs, [1], other))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "sparsespike.analysis.cluster")
    with pytest.raises(UserError, match=r"pip install 'sparsespike\[dask\]'"):
        list(parallel.finished(abs, [1], Workers(dask="tcp://127.0.0.1:1")))


def await_workers(cluster: Cluster, count: int = 1) -> None:
    """Until so many workers have reported to the scheduler."""
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)
