"""Lower bounds: never above the event loop, exact where nothing waits, near it where much does; energy follows."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from agreement import bounds_of, excesses
from cases import chip_with, make_case
from handmade import linear_trace, quick, silent_steps
from law_runs import transformer
from sparsespike.analysis.single import RunRequest
from sparsespike.simulator.activity import Cause
from sparsespike.simulator.bounds import bound
from sparsespike.simulator.bounds.earliest import Walk, list_image
from sparsespike.simulator.bounds.packing import pack
from sparsespike.simulator.brief import run_brief
from sparsespike.simulator.busy import Busy
from sparsespike.simulator.energy import load_energy_table, price
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.observer import Observer
from sparsespike.simulator.phase import encode_phase, total_flits
from sparsespike.simulator.placement import place
from sparsespike.simulator.report import bound_report, simulate
from sparsespike.simulator.report_file import load_report
from sparsespike.simulator.synthetic import mlp_trace, synthetic_trace
from sparsespike.simulator.timeline import Timeline

SEEDS = range(2000, 2060)  # the oracle's cases are bounded in test_oracle.py
every_case = pytest.mark.parametrize("seed", SEEDS)


@cache
def ran(seed):
    """The run of a case."""
    case = make_case(seed)
    return run(case.trace, case.chip)


# ---- laws ----


@every_case
def test_no_bound_is_above_the_event_loop(seed):
    """Of a layer, of the end of each, of an image, of the run; and what needs no clock is exact."""
    case = make_case(seed)
    assert excesses(*bounds_of(case.trace, case.chip), ran(seed)) == []


@every_case
def test_energy_without_stepping_is_never_above(seed):
    """Each action's energy is the same; leakage follows the bound. By one chip's prices, whatever the case's chip."""
    case, table, chip = make_case(seed), load_energy_table("cmos45"), load_chip("mesh16")
    known, true = (price(one, chip, table) for one in (run(case.trace, case.chip, bound=True), ran(seed)))
    assert np.array_equal(known.dynamic, true.dynamic)
    rounded = 1 + 1e-12  # sums over layers that share the time differently
    assert (known.static <= true.static * rounded).all()
    assert (known.total <= true.total * rounded).all()


@every_case
def test_flits_are_counted_alike(seed):
    """What the bounds go by, flits over each tree and cycles of row service, is what the encoder sends."""
    case = make_case(seed)
    placement = place(case.trace, case.chip)
    for plan in placement.plans:
        if plan.phase is None:
            continue
        walk = Walk.of(placement, plan)
        for image in range(case.trace.images):
            walk.through(image)
            work = list_image(placement, plan, image)
            totals = total_flits(plan, encode_phase(placement, plan, [(image, work)]))
            assert np.array_equal(walk.sent(), totals.sent)
            busy = Busy(placement)
            busy.add_phase(plan, [work], totals, np.zeros(len(plan.phase.producers), np.int64))
            assert walk.through(image) >= busy.port.max()  # K1


def test_a_bound_needs_the_trace_only_once():
    """What follows from the trace alone is kept with it, and changes neither its content nor a bound."""
    trace, chip = transformer(), chip_with(mesh__columns=2, mesh__rows=2)
    before = replace(trace)
    first = bound(trace, chip)
    assert trace.derived
    again = bound(trace, chip_with(mesh__columns=2, mesh__rows=2, core__lanes=2))
    assert np.array_equal(again.ends, bound(before, chip_with(mesh__columns=2, mesh__rows=2, core__lanes=2)).ends)
    assert np.array_equal(first.ends, bound(trace, chip).ends)
    assert trace.sha256 == before.sha256


@every_case
def test_in_brief_it_is_the_same(seed):
    """Cycles, counts and events of all images at once are those of a bound image by image."""
    case = make_case(seed)
    known, brief = run(case.trace, case.chip, bound=True), run_brief(case.trace, case.chip)
    for name in ("cycles", "latency", "counts", "synaptic_events"):
        assert np.array_equal(getattr(known, name), getattr(brief, name)), name


def test_what_neighbours_share_changes_nothing():
    """Chips in turn on one trace, which remembers; each as on a trace that has seen no other, back and forth."""
    changes = [
        {},
        {"core__lanes": 2},
        {"core__encode_width": 3},
        {"mesh__value_bits": 2},
        {"attention__units": 3},
        {"mesh__columns": 1},
        {"mesh__rows": 1},
        {"mesh__columns": 3, "mesh__rows": 1},
        {"mesh__link_bits": 8},
        {"core__partition": "token"},
        {"core__time_batch": 2},
        {"core__order": "time_inner"},
        {"token_unit__policy": "off"},
        {"token_unit__policy": "gate"},
        {"token_unit__scan_width": 2},
        {"core__weight_format": "dense"},
        {"core__spike_kib": 0.5},
        {"core__potential_kib": 0.0625, "core__partition": "token"},
        {"core__contexts": 2},
        {"schedule": "pipelined", "mesh__columns": 8, "mesh__rows": 4},
    ]
    chips = [chip_with(**({"mesh__columns": 2, "mesh__rows": 2, "mesh__tree_bits": 12} | change)) for change in changes]
    shared = replace(transformer())
    for chip in [*chips, *reversed(chips)]:
        alone = run_brief(replace(shared), chip)
        together = run_brief(shared, chip)
        for name in ("cycles", "latency", "counts"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)), (chip, name)


# ---- packing ----


def test_flits_of_a_stream():
    """F1 by hand: two timesteps share a flit; channel 1 has 7 and 1, channel 3 has 0 and 4; at most 3 to a flit."""
    values = np.zeros((2, 1, 4), int)
    values[0, 0, 1], values[1, 0, 1], values[1, 0, 3] = 7, 1, 4
    trace = linear_trace(np.ones((1, 4), int), values)
    packed = pack(trace, trace.streams[trace.layers[0].source], 2, 3)
    assert packed.start.tolist() == [0, 5]
    assert packed.channel.tolist() == [1, 1, 1, 3, 3]
    assert packed.active.tolist() == [2, 1, 1, 1, 1]
    assert packed.bits.tolist() == [[0b1010]]
    assert packed.again.tolist() == [1, 1, 3]
    single = pack(trace, trace.streams[trace.layers[0].source], 1, 8)
    assert (single.start.tolist(), single.channel.tolist(), len(single.again)) == ([0, 1, 3], [1, 1, 3], 0)


# ---- exact by hand ----


@pytest.mark.parametrize("contexts", [1, 2, 16])
@pytest.mark.parametrize("neurons", [1, 40])
def test_silent_steps_are_bounded_exactly(contexts, neurons):
    """One core, which waits for nothing but itself: the bound is what the chip takes (B5)."""
    chip = quick(core__contexts=contexts)
    trace = linear_trace(np.ones((neurons, 1), int), np.zeros((1, 5, 1), int))
    alone, activity = bound(trace, chip).alone[0, 0], run(trace, chip)
    assert alone == activity.cycles[0, 0] - activity.causes[0, Cause.DRAM]
    if contexts == 16:
        assert alone == silent_steps(5, -(-neurons // 16))


def test_a_context_is_bounded_exactly():
    """The worked example of sections C and B: closed in 8, released in 11, the next granted in 12, all done in 22."""
    spikes = np.zeros((1, 2, 1), int)
    spikes[0, 0] = 1
    chip = quick(core__contexts=1, core__lanes=6, core__sweep_width=8)
    trace = linear_trace(np.ones((16, 1), int), spikes)
    activity, placement = run(trace, chip), place(trace, chip)
    assert activity.cycles[0, 0] - activity.causes[0, Cause.DRAM] == 22
    walk = Walk.of(placement, placement.plans[0])
    walk.onward(list_image(placement, placement.plans[0], 0), 0, np.zeros((0, 0), np.int64), 0)
    first, second = walk.released[:, 0]
    assert first == 11
    assert walk.through(0) == 22
    assert second == 12 + 2 + 1 + 2 + 1 + 2 + 1  # read, a silent word; sent; granted, looked up; taken; swept; released


# ---- tightness ----


@pytest.mark.parametrize("changes", [{}, {"core__partition": "token"}, {"core__time_batch": 3}], ids=str)
@pytest.mark.parametrize("stepwise", [True, False], ids=["stepwise", "sums"])
def test_bounds_are_near(changes, stepwise, note):
    """Median of bound / simulated over the layers of a kind: at least 0.7."""
    chip = chip_with(mesh__columns=2, mesh__rows=2, mesh__tree_bits=12, **changes)
    bounds, activity = bound(transformer(), chip, stepwise=stepwise), run(transformer(), chip)
    kinds = {}
    for layer, alone, cycles in zip(transformer().layers, bounds.alone.T, activity.cycles.T, strict=True):
        kinds.setdefault(type(layer).__name__, []).extend((alone / cycles).tolist())
    medians = {kind: float(np.median(ratios)) for kind, ratios in kinds.items()}
    note(
        f"bound / simulated {changes}, {stepwise=}: "
        + ", ".join(f"{kind} {median:.3f}" for kind, median in medians.items())
    )
    assert min(medians.values()) >= 0.7
    assert bounds.total_cycles >= 0.7 * activity.total_cycles


def test_pipelines_are_bounded_nearly():
    """Several images through a pipeline: the run, and the latency of the first."""
    trace = mlp_trace(images=4, timesteps=3, width=6, widths=(24, 32, 24), classes=4, weight_density=0.3, seed=3)
    chip = chip_with(mesh__columns=4, mesh__rows=2, schedule="pipelined")
    bounds, activity = bound(trace, chip), run(trace, chip)
    assert 0.7 * activity.total_cycles <= bounds.total_cycles <= activity.total_cycles
    assert 0.7 * activity.latency[0] <= bounds.latency[0] <= activity.latency[0]


# ---- for users ----


def test_a_report_of_bounds_says_so(tmp_path):
    """And holds exact counts and traffic."""
    trace, chip = transformer(), load_chip("mesh16")
    known, true = bound_report(trace, chip), simulate(trace, chip)
    known.save(tmp_path / "known.json")
    assert load_report(tmp_path / "known.json")["bound"] is True
    assert "bound" not in true.to_json()
    assert known.counts == true.counts
    assert known.traffic_bytes == true.traffic_bytes
    assert 0.7 * true.cycles <= known.cycles <= true.cycles
    assert known.latency_s <= true.latency_s
    assert known.images_per_s is None  # a bound on the end of an image says nothing of the next one's
    assert known.energy_pj["total"] < true.energy_pj["total"]


def test_a_brief_report_is_its_summary():
    """To the last bit what the long one says of the run as a whole; the rest is not there."""
    trace, chip = transformer(), load_chip("mesh16")
    brief = bound_report(trace, chip, brief=True)
    summary, known = brief.summary(), bound_report(trace, chip).to_json()
    parts = known["energy_pj"]
    assert summary.pop("energy_pj") == {end: parts[end] for end in ("total", "low", "high")}
    assert {**known, **summary} == known
    with pytest.raises(IndexError):
        brief.to_json()


def test_bounds_move_no_flits(tmp_path):
    """Nothing to verify, nothing to draw; the command says so before it reads the trace."""
    trace, chip = transformer(), load_chip("mesh16")
    for seen in ({"verify": True}, {"watch": print}, {"observer": Observer()}):
        with pytest.raises(UserError, match="bound: no flit moves"):
            run(trace, chip, bound=True, **seen)
    for seen in ({"verify": True}, {"timeline": Timeline(tmp_path / "t.json")}):
        with pytest.raises(UserError, match="bound: no flit moves"):
            RunRequest("trace.safetensors", bound=True, **seen)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused():
    """As `run` refuses it."""
    with pytest.raises(UserError, match="accumulator_words"):
        bound(synthetic_trace(depth=1), chip_with(core__accumulator_words=1))
