"""The loop always ends, and means the same compiled, with bounds checked, and as plain Python."""

import faulthandler
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cases import make_case
from sparsespike.simulator.engine import run

CASES = max(600, int(os.environ.get("SPARSESPIKE_CASES", "0")))
SECONDS = 60  # of one case; they take milliseconds


@pytest.fixture
def watchdog():
    """Ends the whole run, with a traceback, if a test does not end: a kernel cannot be interrupted."""
    yield lambda: faulthandler.dump_traceback_later(SECONDS, exit=True)
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("contexts", [1, 2])
def test_nothing_stands_still_with_places_for_one_flit(contexts, watchdog):
    """Every flit in flight drains without its consumer sending, so one place in every buffer and FIFO is enough.

    The loop raises where nothing can ever move again; the watchdog finds it where it turns in circles.
    """
    for seed in range(contexts - 1, CASES, 2):
        watchdog()
        case = make_case(seed)
        places = {"mesh.buffer_flits": 1, "core.fifo_flits": 1, "core.contexts": contexts}
        tight = case.chip.replace(places | {"core.accumulator_words": 65536})
        assert run(case.trace, tight).total_cycles >= 0


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cases import make_case
from sparsespike.simulator.engine import run
found = []
for seed in json.loads(sys.argv[2]):
    case = make_case(seed)
    result = run(case.trace, case.chip, verify=True)
    found.append([result.cycles.tolist(), result.causes.tolist(), result.counts.tolist(), vars(result.verified)])
print(json.dumps(found))
"""
SMALL = [0, 5, 7, 9, 16, 21]


def results(seeds: list[int], folder: Path, **environment: str) -> object:
    """What a fresh Python makes of some cases under other settings of numba."""
    settings = os.environ | {"NUMBA_CACHE_DIR": str(folder)} | environment
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(Path(__file__).parent), json.dumps(seeds)]
    return json.loads(subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_compiled_checked_and_plain_are_the_same(tmp_path):
    """Bounds checks find an index out of range that compiled code would read; plain Python an overflow or a mistype."""
    compiled = [run(case.trace, case.chip, verify=True) for case in map(make_case, SMALL)]
    expected = [[one.cycles.tolist(), one.causes.tolist(), one.counts.tolist(), vars(one.verified)] for one in compiled]
    assert results(SMALL, tmp_path, NUMBA_DISABLE_JIT="1") == expected
    assert results(SMALL, tmp_path, NUMBA_BOUNDSCHECK="1") == expected
