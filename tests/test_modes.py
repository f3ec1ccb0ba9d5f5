"""The loop always ends, and means the same compiled, with bounds checked, and as plain Python."""

import faulthandler
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cases import chip_with, make_case
from sparsespike.simulator.engine import run
from sparsespike.simulator.phase import encode_phase, list_tokens, list_work
from sparsespike.simulator.placement import place
from sparsespike.simulator.program import Part
from sparsespike.simulator.program import run as run_parts
from sparsespike.simulator.synthetic import mlp_trace

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


def test_a_flit_behind_the_end_of_its_step_is_noticed():
    """The loop watches its own rule: here a consumer is told to expect too few end-of-token flits."""
    trace = mlp_trace(widths=(8, 8), height=1, width=2, timesteps=1, spike_density=0.5, seed=2)
    placement = place(trace, chip_with(mesh__columns=2))
    plan = placement.plans[0]
    hasty = replace(plan, phase=replace(plan.phase, expected=plan.phase.expected - 1))
    work = list_work(placement.chip, list_tokens(placement, plan, 0), 1)
    flits = encode_phase(placement, plan, [(0, work)])
    with pytest.raises(RuntimeError, match="after its step was closed"):
        run_parts(placement, [Part(hasty, (work,), flits)])


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cases import make_case
from sparsespike.simulator.engine import run
found = []
for seed in json.loads(sys.argv[2]):
    case = make_case(seed)
    result = run(case.trace, case.chip, verify=True, watch=lambda *phase: None)
    found.append([result.cycles.tolist(), result.causes.tolist(), result.counts.tolist(), vars(result.verified)])
print(json.dumps(found))
"""
SMALL = [0, 5, 7, 9, 16, 21]
MORE = list(range(60))


def results(seeds: list[int], folder: Path, **environment: str) -> object:
    """What a fresh Python makes of some cases under other settings of numba."""
    settings = os.environ | {"NUMBA_CACHE_DIR": str(folder)} | environment
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(Path(__file__).parent), json.dumps(seeds)]
    return json.loads(subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_compiled_checked_and_plain_are_the_same(tmp_path):
    """Bounds checks find an index out of range that compiled code would read; plain Python an overflow or a mistype."""
    compiled = [run(case.trace, case.chip, verify=True) for case in map(make_case, MORE)]
    expected = [[one.cycles.tolist(), one.causes.tolist(), one.counts.tolist(), vars(one.verified)] for one in compiled]
    assert results(MORE, tmp_path, NUMBA_BOUNDSCHECK="1") == expected
    assert results(SMALL, tmp_path, NUMBA_DISABLE_JIT="1") == [expected[seed] for seed in SMALL]
