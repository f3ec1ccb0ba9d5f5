"""Runs that the laws share: random cases, and one transformer on a roomy chip with changes."""

from functools import cache

import numpy as np
import pytest
from cases import chip_with, make_case
from sparsespike.simulator.activity import Action
from sparsespike.simulator.engine import run
from sparsespike.simulator.synthetic import synthetic_trace

SEEDS = range(1000, 1040)
every_case = pytest.mark.parametrize("seed", SEEDS)
DRAM = (Action.DRAM_READ, Action.DRAM_WRITE)
ADDED = [Action.ADD, Action.MULTIPLY_ADD]
ROOMY = {
    "mesh.tree_bits": 12,
    "core.accumulator_words": 65536,
    "core.weight_kib": 4096.0,
    "core.pointer_kib": 4096.0,
    "core.potential_kib": 4096.0,
    "core.spike_kib": 4096.0,
    "token_unit.weight_kib": 4096.0,
    "attention.accumulator_words": 65536,
}


@cache
def ran(seed):
    """The run of a case."""
    case = make_case(seed)
    return run(case.trace, case.chip)


@cache
def all_counted(seed):
    """The run of a case; `off` in place of `gate`, which takes the same time but does not count all that takes it."""
    case = make_case(seed)
    if case.chip.token_unit.policy != "gate":
        return ran(seed)
    return run(case.trace, case.chip.replace({"token_unit.policy": "off"}))


def equal(left, right):
    """Everything that a run reports, bit for bit."""
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("counts", "cycles", "causes", "synaptic_events", "spikes", "imbalance", "placed", "saturations")
    ) and (left.critical, left.cuts) == (right.critical, right.cuts)


def without(counts, *actions):
    """counts[layer, action] without some actions' columns."""
    return np.delete(counts, list(actions), axis=1)


@cache
def reference(**changes):
    """One transformer with a learned selector and residuals on a roomy 2 x 2 chip with changes."""
    chip = chip_with(mesh__columns=2, mesh__rows=2, attention__order="qk_first", **changes)
    return run(transformer(), chip)


@cache
def transformer():
    """Two images through two blocks, 16 tokens of which 9 are kept."""
    return synthetic_trace(images=2, timesteps=3, depth=2, keep=0.6, weight_density=0.3, seed=9, height=8, width=8)
