"""Ctrl-C in the midst of a command that fills a result file."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

LONG_SPACE = """
chip = "edge"
[axes]
core.lanes = [1, 2, 4, 8]
core.weight_format = ["bitmap", "csr"]
core.sweep_width = [2, 4]
core.contexts = [2, 4]
"""
TRIES = 5  # on a busy machine a command may be done before the key is pressed


def interrupt(command: Sequence[str], out: Path, seen: int) -> str:
    """Press Ctrl-C once so many points are in the file; it reaches all processes, as in a terminal. What is said."""
    for _ in range(TRIES):
        for file in out.parent.glob(f"{out.name}*"):
            file.unlink()
        process = subprocess.Popen(
            command, stdout=-1, stderr=-1, text=True, start_new_session=True, preexec_fn=_heed_the_key
        )
        deadline = time.monotonic() + 120
        while points_in(out) < seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
        if process.returncode != 0:
            break
    assert process.returncode == 130, complaint
    return complaint


def _heed_the_key() -> None:
    """A shell that starts tests in the background has them, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def points_in(path: Path) -> int:
    """Points of a result file that may be being written."""
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
