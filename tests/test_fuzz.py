"""Truncated, damaged and hostile files end in a UserError: no traceback, no hang, no more memory than they warrant.

`make fuzz` reads 10,000 of them.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import fuzz
import numpy as np
import pytest
from sparsespike.simulator.errors import UserError

MUTATIONS = int(os.environ.get("SPARSESPIKE_MUTATIONS", "500"))
SHARES = {"trace": 0.4, "foreign": 0.4, "ticket": 0.2}
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("kind", SHARES)
def test_a_mutated_file_is_read_or_refused(kind):
    count = int(MUTATIONS * SHARES[kind])
    command = [sys.executable, fuzz.__file__, kind, "0", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr[-3000:]}"
    accepted = int(done.stdout.split(" mutations, ")[1].split()[0])
    assert 0.02 * count < accepted < 0.3 * count  # mutations are neither all fatal nor mostly harmless


def test_the_fuzzer_sees_what_it_is_for(tmp_path):
    """It can fail: another exception, too much memory, in reading and in use; a refusal is none of these."""

    def refuse(path):
        raise UserError("refused")

    def fail(*_):
        raise KeyError("missing")

    def waste(path):
        return np.zeros(2 * fuzz.FIXED, np.uint8)

    def kind(read, use=lambda found: None):
        return fuzz.Kind([b"seed"], fuzz.mutate_bytes, read, use)

    path = tmp_path / "mutation"
    assert fuzz.try_one(kind(refuse), 0, path) is False
    assert fuzz.try_one(kind(Path.read_bytes), 0, path) is True
    assert fuzz.try_one(kind(Path.read_bytes, refuse), 0, path) is True
    for broken in (kind(fail), kind(Path.read_bytes, fail)):
        with pytest.raises(KeyError):
            fuzz.try_one(broken, 0, path)
    with pytest.raises(AssertionError, match="bytes for a file of"):
        fuzz.try_one(kind(waste), 0, path)


def test_the_fuzzer_ends_a_hang_and_limits_memory(tmp_path):
    """In a process of its own, as the alarm and the limit end it."""
    program = """
import fuzz, time
import numpy as np
fuzz.SECONDS = 1
def hang(path): time.sleep(60)
def claim(path): return np.zeros(4 << 30, np.uint8)
fuzz.KINDS = {"hang": lambda: fuzz.Kind([b"x"], fuzz.mutate_bytes, hang, hang),
              "claim": lambda: fuzz.Kind([b"x"], fuzz.mutate_bytes, claim, claim)}
raise SystemExit(fuzz.main(__import__("sys").argv[1], 0, 1))
"""
    for name, code, text in (("hang", -14, "hang 0"), ("claim", 1, "MemoryError")):
        began = time.monotonic()
        command = [sys.executable, "-c", program, name]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
        assert (done.returncode, text in done.stderr) == (code, True)
        assert time.monotonic() - began < 30
