"""Sweeps that are killed, run out of disk, or share a file: nothing finished is lost, and the table is the same."""

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sparsespike.analysis import space
from sparsespike.analysis.explore import store, sweep
from sparsespike.analysis.explore.results import read_rows
from sparsespike.analysis.parallel import Workers

SPACE = """
chip = "edge"
images = 1
[axes]
core.lanes = [1, 2, 4, 8]
core.weight_format = ["bitmap", "csr"]
core.contexts = [2, 4]
core.weight_kib = [0.125, 32.0]
core.sweep_width = [2, 4]
"""
POINTS = 64
KILLS = int(os.environ.get("SPARSESPIKE_KILLS", "5"))


@pytest.fixture(scope="module")
def whole(trace_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[store.Row]:
    """The sweep without a break, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "space.toml").write_text(SPACE)
    found = replace(space.load_space(folder / "space.toml"), traces=("digits",))
    sweep.run_sweep(found, {"digits": trace_file}, folder / "r.sqlite", workers=Workers(1))
    return read_rows(folder / "r.sqlite")


def command(folder: Path, trace_file: Path, jobs: int = 1) -> list[str]:
    """The same sweep as a command, whose results are folder/r.sqlite."""
    (folder / "space.toml").write_text(SPACE)
    options = ["--space", folder / "space.toml", "--out", folder / "r.sqlite", "--jobs", jobs]
    return [sys.executable, "-m", "sparsespike.cli", *map(str, ["sweep", trace_file, *options])]


def kept_in(path: Path) -> int:
    """Points in a result file that others may be writing, or that is not there yet."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
    try:
        return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


@pytest.mark.slow
def test_killed_at_random_moments_the_table_is_the_same(
    whole: list[store.Row], trace_file: Path, tmp_path: Path, note: Callable[[str], None]
) -> None:
    """Each run is killed, with its workers, after some more points and a random while."""
    dice, out = random.Random(0), tmp_path / "r.sqlite"
    kept = [0]
    while len(kept) <= KILLS:
        process = subprocess.Popen(command(tmp_path, trace_file, 1 + len(kept) % 2), stdout=-3, start_new_session=True)
        target = kept[-1] + dice.choice([0, 1, 2, 3])
        while kept_in(out) < target and process.poll() is None:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        kept.append(kept_in(out))
    assert kept == sorted(kept)
    assert 0 < kept[-1] < POINTS
    ended = subprocess.run(command(tmp_path, trace_file), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert f"{POINTS} points in {out}: {kept[-1]} were known, 32 do not fit" in ended.stdout
    assert read_rows(out) == whole
    assert not list(tmp_path.glob("*-journal"))
    note(f"a sweep of {POINTS} points killed {KILLS} times: {', '.join(map(str, kept))} points kept")


def test_a_full_disk_is_a_line_and_what_was_finished_stays(
    whole: list[store.Row], trace_file: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands in for the disk."""
    most = 120 << 10

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    # kernels are compiled already, so that the result file alone meets the limit
    ended = subprocess.run(
        command(tmp_path, trace_file), capture_output=True, text=True, timeout=300, preexec_fn=limit, check=False
    )
    assert ended.returncode == 2, ended.stdout
    assert ended.stderr.startswith(f"error: {tmp_path / 'r.sqlite'}: cannot be used: ")
    assert ended.stderr.count("\n") == 1
    kept = len(read_rows(tmp_path / "r.sqlite"))
    assert 0 < kept < POINTS
    again = subprocess.run(command(tmp_path, trace_file), capture_output=True, text=True, timeout=300, check=False)
    assert f"{kept} were known" in again.stdout
    assert read_rows(tmp_path / "r.sqlite") == whole


@pytest.mark.slow
def test_two_processes_share_a_file(
    whole: list[store.Row], trace_file: Path, tmp_path: Path, note: Callable[[str], None]
) -> None:
    """Both begin in an empty folder at once; what one has done the other does not do again."""
    both = [
        subprocess.Popen(command(tmp_path, trace_file), stdout=-1, stderr=-1, text=True, start_new_session=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert read_rows(tmp_path / "r.sqlite") == whole
    note(f"two processes on one file: {'; '.join(out.splitlines()[0].partition(': ')[2] for out, _ in said)}")
