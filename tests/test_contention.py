"""Every kind of contention twice on one case: with a resource that is short it binds, with an ample one it is gone.

`sign` measures it; with the ample resource it must be down to `floor`, worked out by hand (rules of ARCHITECTURE.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from handmade import (
    ARRIVE,
    BURST,
    CLOSE,
    END,
    HEADS,
    HOP,
    READ,
    ROW,
    SILENT,
    WAY,
    D,
    attention_trace,
    linear_of,
    linear_trace,
    logged,
    pool_trace,
    quick,
    select_trace,
    silence,
    silent_steps,
    stack,
    stream_of,
    trace_of,
    two_layers,
)
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError


@dataclass(frozen=True)
class Run:
    """A case and what it did; `layer` is the one that is looked at."""

    trace: Any
    chip: Any
    cuts: dict[str, list[int]] | None
    layer: int

    @property
    def result(self):
        return run(self.trace, self.chip, cuts=self.cuts)

    @property
    def log(self):
        return logged(self.trace, self.chip, self.layer, self.cuts)


def cause(kind: Cause) -> Callable[[Run], int]:
    """Core cycles of a cause in the layer."""
    return lambda one: int(one.result.causes[one.layer, kind])


def last_send(one: Run) -> int:
    """Cycle in which the producer was rid of its last flit."""
    return max(cycle for cycle, _, event, _ in one.log if event == "send")


def waited_for_look_up(one: Run) -> int:
    """Cycles between the arrival of flits in the FIFO and the look-up of their rows (C1); s = 1, one core."""
    arrived = [cycle + HOP for cycle, _, event, _ in one.log if event.startswith("grant.L")]
    return sum(cycle for cycle, _, event, _ in one.log if event == "lookup") - sum(arrived)


@dataclass(frozen=True)
class Contention:
    """One line of the table. base: of the chip `quick`; tight, ample: what is changed in it, or in the cuts."""

    sign: Callable[[Run], int]
    floor: int
    trace: Any
    tight: dict[str, Any]
    ample: dict[str, Any]
    base: dict[str, Any] = field(default_factory=dict)
    layer: int = 0
    slower: bool = True  # the layer takes longer, too

    def runs(self) -> tuple[Run, Run]:
        """With the resource short, and ample."""
        found = []
        for change in (self.tight, self.ample):
            change = dict(change)
            trace, cuts = change.pop("trace", self.trace), change.pop("cuts", self.base.get("cuts"))
            keys = {key: value for key, value in self.base.items() if key != "cuts"} | change
            found.append(Run(trace, quick(**keys), cuts, self.layer))
        return found[0], found[1]


LINKS = {"mesh__columns": 2, "core__contexts": 2, "mesh__value_bits": 1}
NINE = linear_trace(np.ones((16, 1), int), [[[9]]])  # nine flits of one bit from core 1 of 2
BOTH = linear_trace(np.ones((16, 2), int), [[[4, 4]]])  # four flits from each of 2 cores
SILENCE = linear_trace(np.ones((16, 1), int), np.zeros((1, 6, 1), int))
LAST = linear_trace(np.ones((16, 16), int), [[[0] * 15 + [1]]])
TOKENS = linear_trace(np.ones((16, 1), int), np.ones((1, 4, 1), int))
SLOW_DRAM = {"dram__bandwidth_gb_s": 1.0, "dram__burst_bytes": 1}
WEIGHTS = 16 * 6 * 3  # bytes of a layer of `stack`; two of them come in a cycle of SLOW_DRAM
FIRST = WAY - READ  # on its way: the first flit of a core that is the producer
GATHERED = silent_steps(8, 0, outputs=2)
BROUGHT = silent_steps(8, 0, outputs=3)


def dropped_tokens(spiking=1):
    """A selector keeps the last of 8 tokens; the others spike in vain."""
    trace = select_trace("random", 8, 1)
    made = silence("made", 1, 8, 16)
    given = stream_of("given", np.full((1, 8, 4), spiking))
    behind = linear_of(np.ones((16, 4), int), "given", "made", 0, "behind")
    return trace_of([*trace.layers, behind], [given, made], 1, trace.kept)


def two_branches():
    """Core 0 sends to itself, where the first row has 20 weights, and to core 1, where the last has 20."""
    weights = np.zeros((40, 5), int)
    weights[:20, 0], weights[20:, 4] = 1, 1
    return two_layers(np.ones((5, 1), int), weights, np.ones((1, 1, 5), int))


FAN_OUT = {"mesh__columns": 2, "core__weight_format": "csr", "core__lanes": 1, "core__sweep_width": 64}
FAN_OUT |= {"cuts": {"first": [0, 5, 5], "second": [0, 20, 40]}}
SCORED = {"token_unit__scan_width": 8, "token_unit__comparators": 8, "token_unit__macs": 20}
UNIT = {"attention__width": 4096, "attention__sweep_width": 64}
GRAIN = {"attention__width": 1, "attention__sweep_width": 64}

TABLE = {
    # ---- mesh ----
    "router buffers": Contention(
        cause(Cause.NETWORK), 2 * FIRST + HOP, NINE, {"mesh__buffer_flits": 1}, {"mesh__buffer_flits": 2}, LINKS
    ),
    "output arbitration": Contention(
        cause(Cause.NETWORK),
        FIRST,
        BOTH,
        {"mesh__link_bits": 11},
        {"mesh__link_bits": 64},
        LINKS | {"cuts": {"layer": [0, 16, 16]}},
    ),
    "multicast replication": Contention(
        cause(Cause.NETWORK),
        2 * FIRST + HOP,
        two_branches(),
        {"core__fifo_flits": 1},
        {"core__fifo_flits": 8},
        FAN_OUT,
        layer=1,
    ),
    "back-pressure to the sender": Contention(
        last_send,
        READ + 9,
        BURST,
        {"core__fifo_flits": 1, "mesh__buffer_flits": 1},
        {"core__fifo_flits": 8, "mesh__buffer_flits": 2},
        {"core__lanes": 1},
        slower=False,  # the lanes are behind anyway
    ),
    # ---- cores ----
    "event FIFO": Contention(cause(Cause.NETWORK), FIRST, BURST, {"core__fifo_flits": 1}, {"core__fifo_flits": 2}),
    "row look-up": Contention(waited_for_look_up, 0, BURST, {"core__lanes": 1}, {"core__lanes": 16}),
    "weight banks": Contention(cause(Cause.WEIGHT_FETCH), 0, ROW, {"core__weight_banks": 1}, {"core__weight_banks": 6}),
    "lanes": Contention(cause(Cause.COMPUTE), 1, ROW, {"core__lanes": 1}, {"core__lanes": 16}),
    "accumulator banks": Contention(
        cause(Cause.BANK_CONFLICT), 0, ROW, {"core__accumulator_banks": 1}, {"core__accumulator_banks": 16}
    ),
    "empty rows": Contention(
        cause(Cause.CONTROL),
        END,
        linear_trace(np.zeros((16, 9), int), np.ones((1, 1, 9), int)),
        {"core__weight_format": "csr"},
        {"core__weight_format": "dense"},  # which has none: zeros are added
        slower=False,
    ),
    "contexts": Contention(cause(Cause.GRANT_WAIT), 0, SILENCE, {"core__contexts": 1}, {"core__contexts": 6}),
    "sweep width": Contention(
        cause(Cause.NEURON_SWEEP), 1 + 1, SILENCE, {"core__sweep_width": 1}, {"core__sweep_width": 16}
    ),
    "sweep width of a pool": Contention(
        cause(Cause.NEURON_SWEEP),
        2 * 5 + CLOSE,
        pool_trace(2, 5, 16),
        {"core__sweep_width": 1},
        {"core__sweep_width": 16},
    ),
    "encode width": Contention(
        cause(Cause.FIFO_EMPTY), READ, LAST, {"core__encode_width": 1}, {"core__encode_width": 16}
    ),
    "tokens on few cores": Contention(
        cause(Cause.BARRIER),
        2 * 1,  # the last cycle of the phase, on both
        TOKENS,
        {"cuts": {"layer": [0, 3, 4]}},
        {"cuts": {"layer": [0, 2, 4]}},
        {"mesh__columns": 2, "core__partition": "token"},
    ),
    "channels on few cores": Contention(
        cause(Cause.BARRIER),
        2 * 1 + HOP,  # and core 1, the producer, is done first
        ROW,
        {"cuts": {"layer": [0, 15, 16]}},
        {"cuts": {"layer": [0, 8, 16]}},
        {"mesh__columns": 2, "core__lanes": 1},
    ),
    # ---- token unit ----
    "scan width": Contention(
        cause(Cause.FIFO_EMPTY),
        1 + READ + SILENT,
        select_trace("random", 8, 1, then=1),
        {"token_unit__scan_width": 1},
        {"token_unit__scan_width": 8},
        layer=1,
    ),
    "multipliers of the selector": Contention(
        cause(Cause.SELECTOR),
        GATHERED + 1 + 8 * (1 + 1) + 8 + 1,
        select_trace("learned", 8, 3),
        {"token_unit__macs": 1},
        {"token_unit__macs": 20},
        SCORED,
    ),
    "comparators of the selector": Contention(
        cause(Cause.SELECTOR),
        GATHERED + 8 + 1,
        select_trace("rate", 8, 3),
        {"token_unit__comparators": 1},
        {"token_unit__comparators": 8},
        SCORED,
    ),
    "barrier of the selector": Contention(
        lambda one: int(one.result.causes[:, Cause.SELECTOR].sum()),
        0,
        None,
        {"trace": select_trace("random", 8, 3)},
        {"trace": linear_trace(np.ones((16, 4), int), np.zeros((1, 8, 4), int))},
        slower=False,
    ),
    "silent tokens": Contention(
        cause(Cause.CONTROL),
        END,
        select_trace("random", 8, 1, then=1),
        {"token_unit__policy": "off"},
        {"token_unit__policy": "skip"},
        SCORED,
        layer=1,
    ),
    "tokens that were dropped, off": Contention(
        cause(Cause.COMPUTE),
        4,
        dropped_tokens(),
        {"token_unit__policy": "off"},
        {"token_unit__policy": "skip"},
        layer=1,
    ),
    "tokens that were dropped, gated": Contention(
        cause(Cause.COMPUTE),
        4,
        dropped_tokens(),
        {"token_unit__policy": "gate"},
        {"token_unit__policy": "skip"},
        layer=1,
    ),
    # ---- attention units ----
    "attention width, qk_first": Contention(
        cause(Cause.ATTENTION),
        BROUGHT + HEADS * (2 + 1) + 2,
        attention_trace(8),
        {"attention__width": 1},
        {"attention__width": 4096},
        UNIT | {"attention__order": "qk_first"},
    ),
    "attention width, kv_first": Contention(
        cause(Cause.ATTENTION),
        BROUGHT + HEADS * (2 + 1) + 2,
        attention_trace(8),
        {"attention__width": 1},
        {"attention__width": 4096},
        UNIT | {"attention__order": "kv_first"},
    ),
    "QK^T of many tokens": Contention(
        cause(Cause.ATTENTION),
        BROUGHT + HEADS * (2 * 8 * D * D + 1) + 2,
        attention_trace(8),
        {"attention__order": "qk_first"},
        {"attention__order": "kv_first"},
        GRAIN,
    ),
    "K^TV of few tokens": Contention(
        cause(Cause.ATTENTION),
        silent_steps(2, 0, outputs=3) + HEADS * (2 * 2 * 2 * D + 1) + 2,
        attention_trace(2),
        {"attention__order": "kv_first"},
        {"attention__order": "qk_first"},
        GRAIN,
    ),
    # ---- DRAM ----
    "DRAM bandwidth": Contention(
        cause(Cause.DRAM), ARRIVE, ROW, {"dram__bandwidth_gb_s": 0.1}, {"dram__bandwidth_gb_s": 10000.0}
    ),
    "DRAM latency": Contention(cause(Cause.DRAM), ARRIVE, ROW, {"dram__latency_ns": 100.0}, {"dram__latency_ns": 0.0}),
    "prefetch": Contention(
        cause(Cause.DRAM),
        WEIGHTS // 2 - silent_steps(1, 1),
        stack(2),
        {"core__weight_kib": WEIGHTS / 1024},
        {"core__weight_kib": 2 * WEIGHTS / 1024},
        SLOW_DRAM,
        layer=1,
    ),
    "spilled spikes": Contention(
        cause(Cause.DRAM),
        WEIGHTS // 2 + 1,
        linear_trace(np.ones((16, 16), int), np.zeros((1, 6, 16), int)),
        {"core__spike_kib": 1 / 1024},
        {"core__spike_kib": 6 * 4 / 1024},
        SLOW_DRAM | {"dram__burst_bytes": 32},
    ),
    "spilled potentials": Contention(
        cause(Cause.DRAM),
        WEIGHTS // 2 + 1,
        linear_trace(np.ones((16, 16), int), np.zeros((3, 1, 16), int)),
        {"core__potential_kib": 1 / 1024},
        {"core__potential_kib": 16 * 4 / 1024},
        SLOW_DRAM,
    ),
}


@pytest.mark.parametrize("what", TABLE)
def test_it_binds_where_the_resource_is_short(what):
    line = TABLE[what]
    tight, ample = line.runs()
    assert line.sign(tight) > line.sign(ample)
    if line.slower:
        assert tight.result.cycles[0, line.layer] > ample.result.cycles[0, line.layer]


@pytest.mark.parametrize("what", TABLE)
def test_it_is_absent_where_the_resource_is_ample(what):
    line = TABLE[what]
    _, ample = line.runs()
    assert line.sign(ample) == line.floor


def test_gate_takes_the_time_of_off_and_the_additions_of_skip():
    off, gate, skip = (run(dropped_tokens(), quick(token_unit__policy=policy)) for policy in ("off", "gate", "skip"))
    assert off.cycles[0, 1] == gate.cycles[0, 1] > skip.cycles[0, 1]
    assert off.count(Action.ADD) == 8 * gate.count(Action.ADD)
    assert gate.count(Action.ADD) == skip.count(Action.ADD) == 4 * 16


def test_operands_that_do_not_fit_are_refused():
    """A3's operand memory: q, k and v of 8 tokens, of all heads of the unit."""
    need = 3 * 8 * D * HEADS
    run(attention_trace(8), quick(attention__operand_kib=need / 8192))
    with pytest.raises(UserError, match=r"attention\.operand_kib"):
        run(attention_trace(8), quick(attention__operand_kib=(need - 8) / 8192))


# ---- the critical resource (K) ----

SCORING = 1 + 8 * (19 + 5) + 8 + 1
FOUR = linear_trace(np.ones((16, 4), int), np.zeros((1, 6, 4), int))

CRITICAL = {
    "compute": (ROW, {"core__lanes": 1}, 16 + END),
    "bank_conflict": (ROW, {"core__accumulator_banks": 1}, 16 + END),
    "weight_fetch": (ROW, {"core__weight_banks": 1}, 6 + END),
    "control": (FOUR, {"mesh__columns": 4}, 6 * 4 * END),  # an end from each of four producers
    "neuron_sweep": (SILENCE, {"core__sweep_width": 1}, 6 * 16),
    "encoder": (LAST, {"core__encode_width": 1}, READ + 16 * SILENT + END),
    "network": (ROW, {"core__contexts": 2, "mesh__link_bits": 1}, 2 * 22),
    "token_unit": (
        select_trace("learned", 8, 3),
        SCORED | {"token_unit__macs": 1, "core__weight_format": "csr"},
        SCORING,
    ),
    "attention_unit": (attention_trace(8), GRAIN | {"attention__order": "qk_first"}, HEADS * (2 * 8 * 8 * D + 1)),
    "dram": (ROW, {"dram__bandwidth_gb_s": 0.5, "dram__burst_bytes": 1}, 18),
}


@pytest.mark.parametrize("resource", CRITICAL)
def test_the_critical_resource_is_named_with_its_busy_cycles(resource):
    trace, changes, busy = CRITICAL[resource]
    critical = run(trace, quick(**changes)).critical[0]
    assert (critical.resource, critical.cycles) == (resource, busy)
