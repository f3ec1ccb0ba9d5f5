"""What makes no difference to what: counts to time, events to order, partition and batch, the trace to the chip."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from cases import chip_with, make_case
from law_runs import ADDED, DRAM, ROOMY, SEEDS, equal, every_case, ran, reference, transformer, without
from sparsespike.simulator.activity import Action
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Events


def test_a_skipped_token_causes_no_event():
    """Whatever dropped tokens would have done behind the selector, a chip that skips them does the same."""
    trace = transformer()
    streams = dict(trace.streams)
    for layer in trace.layers:
        if layer.selector >= 0 and layer.target:
            stream = streams[layer.target]
            dense = stream.events.to_dense(stream.channels).reshape(2, 3, stream.tokens, -1)
            assert dense.transpose(0, 2, 1, 3)[~trace.kept_mask(0, stream.tokens)].any()
            dense = dense * trace.kept_mask(0, stream.tokens)[:, None, :, None]
            streams[layer.target] = replace(stream, events=Events.from_dense(dense))
    bare = replace(trace, streams=streams, shadow=False)
    chip = chip_with(mesh__columns=2, mesh__rows=2, attention__order="qk_first")
    assert equal(run(bare, chip), reference())
    off = reference(token_unit__policy="off")
    assert off.count(Action.ADD) > reference().count(Action.ADD)
    assert off.total_cycles > reference().total_cycles


@every_case
@pytest.mark.parametrize(
    "change",
    [
        {"dram.bandwidth_gb_s": 0.05, "dram.latency_ns": 999.0},
        {"mesh.buffer_flits": 17},
        {"core.fifo_flits": 33},
        {"core.contexts": 5, "core.encode_width": 5},
        {"token_unit.scan_width": 5, "attention.sweep_width": 5, "attention.width": 9, "clock_mhz": 123.0},
    ],
    ids=["dram", "buffers", "fifo", "contexts and words", "widths"],
)
def test_counts_do_not_depend_on_time(seed, change):
    case, before = make_case(seed), ran(seed)
    if "core.contexts" in change:  # they take accumulators, and with `time_inner` potentials
        change = change | {key: ROOMY[key] for key in ("core.accumulator_words", "core.potential_kib")}
        before = run(case.trace, case.chip.replace({"core.potential_kib": ROOMY["core.potential_kib"]}))
    other = run(case.trace, case.chip.replace(change))
    np.testing.assert_array_equal(other.counts, before.counts)
    np.testing.assert_array_equal(other.synaptic_events, before.synaptic_events)


@cache
def by_channels_and_by_tokens(seed):
    """Both runs; nothing where a residual has no place by tokens (P3)."""
    case = make_case(seed)
    chips = [case.chip.replace(ROOMY | {"core.partition": partition}) for partition in ("channel", "token")]
    try:
        return [run(case.trace, chip) for chip in chips]
    except UserError as error:
        if "rule P3" in str(error):
            return []
        raise


@every_case
def test_tokens_or_channels_are_the_same_additions(seed):
    """P2 moves work from core to core, and makes none."""
    runs = by_channels_and_by_tokens(seed)
    for one, other in pairwise(runs):
        np.testing.assert_array_equal(one.synaptic_events, other.synaptic_events)
        np.testing.assert_array_equal(one.counts[:, ADDED], other.counts[:, ADDED])
        np.testing.assert_array_equal(one.spikes, other.spikes)


def test_most_cases_can_be_cut_by_tokens():
    assert sum(bool(by_channels_and_by_tokens(seed)) for seed in SEEDS) > 0.8 * len(SEEDS)


@every_case
def test_a_batch_adds_the_same_and_fetches_no_more(seed):
    case = make_case(seed)
    one, two, all_of_them = (
        run(case.trace, case.chip.replace(ROOMY | {"core.time_batch": batch})) for batch in (1, 2, 8)
    )
    for other in (two, all_of_them):
        np.testing.assert_array_equal(one.counts[:, ADDED], other.counts[:, ADDED])
        np.testing.assert_array_equal(one.synaptic_events, other.synaptic_events)
    fetched = [result.counts[:, Action.WEIGHT_READ] for result in (one, two, all_of_them)]
    assert (fetched[0] >= fetched[1]).all()
    assert (fetched[1] >= fetched[2]).all()


@pytest.mark.parametrize("change", [{"mesh.link_bits": 4}, {"core.lanes": 1, "core.accumulator_banks": 1}])
def test_counts_do_not_depend_on_links_and_lanes(change):
    chip = chip_with(mesh__columns=2, mesh__rows=2, attention__order="qk_first").replace(change)
    other = run(transformer(), chip)
    np.testing.assert_array_equal(other.counts, reference().counts)
    assert other.total_cycles > reference().total_cycles


def test_gate_has_the_cycles_of_off_and_the_counts_of_kept_tokens():
    skip, gate, off = (reference(token_unit__policy=policy) for policy in ("skip", "gate", "off"))
    np.testing.assert_array_equal(gate.cycles, off.cycles)
    np.testing.assert_array_equal(gate.causes, off.causes)
    np.testing.assert_array_equal(without(gate.counts, Action.SCAN), without(skip.counts, Action.SCAN))
    assert skip.count(Action.SCAN) > gate.count(Action.SCAN) == off.count(Action.SCAN) == 0
    assert (off.counts >= gate.counts).all()
    assert off.count(Action.NEURON_UPDATE) > gate.count(Action.NEURON_UPDATE)


@every_case
def test_the_same_run_again_is_identical(seed):
    case = make_case(seed)
    assert equal(run(case.trace, case.chip), ran(seed))


@every_case
def test_the_order_of_time_and_tokens_changes_no_event(seed):
    case = make_case(seed)
    other = "time_inner" if case.chip.core.order == "time_outer" else "time_outer"
    roomy = {key: ROOMY[key] for key in ("core.accumulator_words", "core.potential_kib")}
    swapped = run(case.trace, case.chip.replace(roomy | {"core.order": other}))
    np.testing.assert_array_equal(
        without(swapped.counts, *DRAM, Action.SCAN), without(ran(seed).counts, *DRAM, Action.SCAN)
    )


def test_a_chip_leaves_the_trace_alone():
    trace = synthetic_trace(seed=3, depth=1, height=4, width=4)
    before = trace.sha256
    fresh = synthetic_trace(seed=3, depth=1, height=4, width=4)
    for chip in (chip_with(), chip_with(core__lanes=1, mesh__columns=3), chip_with(core__order="time_inner")):
        run(fresh, chip, verify=True)
    assert fresh.sha256 == before


def test_images_one_by_one_do_the_same_work():
    """All but what comes from DRAM: a run of two images is the run of one, and of the other."""
    chip = chip_with(mesh__columns=2, mesh__rows=2, attention__order="qk_first")
    both, first = reference(), run(transformer().first(1), chip)
    weights = (*DRAM, Action.WEIGHT_WRITE, Action.POINTER_WRITE)
    assert (without(both.counts, *weights) >= without(first.counts, *weights)).all()
    np.testing.assert_array_equal(both.cycles[:1], first.cycles)
    once = [Action.WEIGHT_WRITE, Action.POINTER_WRITE]
    np.testing.assert_array_equal(both.counts[:, once], first.counts[:, once])  # resident: loaded for the first image
