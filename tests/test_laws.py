"""Laws that hold whatever the numbers of a chip are: conservation, independence, lower bounds, idleness."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from cases import chip_with, make_case
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Attention, Conv, Events, Head, Linear, Pool, Select, Weights

SEEDS = range(1000, 1040)
every_case = pytest.mark.parametrize("seed", SEEDS)
DRAM = (Action.DRAM_READ, Action.DRAM_WRITE)


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
        for name in ("counts", "cycles", "causes", "synaptic_events", "spikes", "imbalance", "saturations")
    )


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


# ---- conservation ----


@every_case
def test_every_core_cycle_has_one_cause(seed):
    result = ran(seed)
    assert (result.causes >= 0).all()
    np.testing.assert_array_equal(result.causes.sum(1), result.cycles.sum(0) * result.cores)


def tokens_at_work(case, layer, image):
    """Tokens whose actions count: the kept ones, but all with `off`, the head apart."""
    stream = case.trace.streams[layer.source]
    if layer.selector < 0 or (case.chip.token_unit.policy == "off" and not isinstance(layer, Head)):
        return list(range(stream.tokens))
    return case.trace.kept[layer.selector][image].tolist()


def flits_per_channel(case, layer):
    """int64[tokens, channels]: event flits of a layer's source, over images, timesteps and tokens at work."""
    trace, stream = case.trace, case.trace.streams[layer.source]
    dense = stream.events.to_dense(stream.channels).astype(np.int64)
    dense = dense.reshape(trace.images, trace.numerics.timesteps, stream.tokens, stream.channels)
    most = 2**case.chip.mesh.value_bits - 1
    total = np.zeros((stream.tokens, stream.channels), np.int64)
    for image in range(trace.images):
        tokens = tokens_at_work(case, layer, image)
        total[tokens] += (-(-dense[image][:, tokens] // most)).sum(0)
    return total


def producers_and_pairs(case, layer):
    """Sources of flits and, for attention, pairs of a source and a unit that it has channels for."""
    trace, chip, stream = case.trace, case.chip, case.trace.streams[layer.source]
    writer = next((one for one in trace.layers if one.target == layer.source), None)
    channels = np.arange(stream.channels)
    if isinstance(writer, Attention):
        homes = channels // (stream.channels // writer.heads) % chip.attention.units
    else:
        homes = channels * chip.cores // stream.channels
    if not isinstance(layer, Attention):
        return len(set(homes.tolist())), 0
    units = channels % (stream.channels // 3) // (stream.channels // 3 // layer.heads) % chip.attention.units
    return len(set(homes.tolist())), len(set(zip(homes.tolist(), units.tolist(), strict=True)))


@every_case
def test_every_flit_that_is_sent_is_consumed_at_every_leaf(seed):
    case, result = make_case(seed), ran(seed)
    for index, layer in enumerate(case.trace.layers):
        written, read = result.counts[index, Action.FIFO_WRITE], result.counts[index, Action.FIFO_READ]
        assert written == read
        if isinstance(layer, Pool) or case.trace.streams[layer.source].kind == "real":
            assert written == 0
            continue
        images = range(case.trace.images)
        steps = sum(len(tokens_at_work(case, layer, image)) for image in images) * case.trace.numerics.timesteps
        producers, pairs = producers_and_pairs(case, layer)
        events = int(flits_per_channel(case, layer).sum())
        if isinstance(layer, Select):
            assert written == events + steps * producers
        elif isinstance(layer, Attention):
            assert written == events + steps * pairs
        else:
            assert written == (events + steps * producers) * min(case.chip.cores, layer.weights.output_channels)


@every_case
def test_a_pruned_weight_causes_no_addition(seed):
    """Sparse formats add once per event flit and surviving weight of its row; `dense` once per weight of any kind."""
    case, result = make_case(seed), ran(seed)
    for index, layer in enumerate(case.trace.layers):
        stream = case.trace.streams[layer.source]
        added = result.counts[index, Action.ADD] + result.counts[index, Action.MULTIPLY_ADD]
        if not isinstance(layer, (Conv, Linear, Head)):
            assert added == 0
            continue
        if case.chip.core.weight_format == "dense":
            per_row = np.full(len(layer.weights.pointers) - 1, layer.weights.output_channels)
        else:
            per_row = np.diff(layer.weights.pointers)
        per_row = per_row.reshape(stream.channels, layer.weights.taps)
        if stream.kind == "real":
            flits = np.full((stream.tokens, stream.channels), case.trace.images)
        else:
            flits = flits_per_channel(case, layer)
        valid = reached(stream, layer.kernel if isinstance(layer, Conv) else 1)
        assert added == np.einsum("nc,ct,nt->", flits, per_row, valid)


def reached(stream, kernel):
    """int64[tokens, taps]: 1 where a tap of a token's event falls into the map."""
    pad = kernel // 2
    inside = np.pad(np.ones((stream.height, stream.width), np.int64), pad)
    shifts = [(2 * pad - ky, 2 * pad - kx) for ky in range(kernel) for kx in range(kernel)]
    return np.stack([inside[y : y + stream.height, x : x + stream.width].ravel() for y, x in shifts], axis=1)


# ---- what makes no difference ----


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
        {"token_unit.scan_width": 5, "attention.sweep_width": 5, "attention.width": 9, "clock_mhz": 123.0},
    ],
    ids=["dram", "buffers", "fifo", "widths"],
)
def test_counts_do_not_depend_on_time(seed, change):
    case = make_case(seed)
    other = run(case.trace, case.chip.replace(change))
    np.testing.assert_array_equal(other.counts, ran(seed).counts)
    np.testing.assert_array_equal(other.synaptic_events, ran(seed).synaptic_events)


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
    big = case.chip.core.accumulator_words * case.trace.numerics.timesteps
    swapped = run(case.trace, case.chip.replace({"core.order": other, "core.accumulator_words": big}))
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


# ---- lower bounds ----


@every_case
def test_no_layer_is_faster_than_its_additions(seed):
    case, result = make_case(seed), all_counted(seed)
    core, cycles = case.chip.core, result.cycles.sum(0)
    for index, layer in enumerate(case.trace.layers):
        added = int(result.counts[index, Action.ADD] + result.counts[index, Action.MULTIPLY_ADD])
        real = case.trace.streams[layer.source].kind == "real"
        per_cycle = core.input_macs if real else min(core.lanes, core.accumulator_banks)
        assert cycles[index] * per_cycle * case.chip.cores >= added
        words = int(result.counts[index, Action.WEIGHT_READ])
        assert cycles[index] * core.weight_banks * case.chip.cores >= words
        assert cycles[index] * case.chip.cores >= int(result.counts[index, Action.POTENTIAL_WRITE])
        if not isinstance(layer, Attention):
            swept = int(result.counts[index, Action.NEURON_UPDATE])
            assert cycles[index] * core.sweep_width * case.chip.cores >= swept
        popcounts = int(result.counts[index, Action.AND_POPCOUNT])
        assert cycles[index] * case.chip.attention.width * case.chip.attention.units >= popcounts


@every_case
def test_no_run_is_faster_than_its_memory(seed):
    case, result = make_case(seed), all_counted(seed)
    moved = result.count(Action.DRAM_READ) + result.count(Action.DRAM_WRITE)
    per_cycle = Fraction(str(case.chip.dram.bandwidth_gb_s)) * 1000 / Fraction(str(case.chip.clock_mhz))
    assert result.total_cycles * per_cycle >= moved


@every_case
def test_no_link_carries_more_than_a_flit_in_its_time(seed):
    """Each consumer has one output L that a flit holds for s cycles; so flits over leaves x s bound a layer."""
    case, result = make_case(seed), all_counted(seed)
    mesh, contexts = case.chip.mesh, case.chip.core.contexts
    flit_bits = 1 + mesh.tree_bits + (1 if contexts <= 2 else 2) + mesh.channel_bits + mesh.value_bits
    s = -(-flit_bits // mesh.link_bits)
    for index, cycles in enumerate(result.cycles.sum(0)):
        leaves = case.chip.cores + case.chip.attention.units
        assert cycles * leaves >= int(result.counts[index, Action.FIFO_WRITE]) * s


# ---- idleness ----


def test_silence_costs_the_static_part_only():
    """Without a spike nothing is fetched or added; ends of tokens are sent and neurons swept all the same."""
    trace = transformer()
    streams = {
        name: stream
        if stream.events is None
        else replace(stream, events=Events.from_dense(np.zeros((len(stream.events.offsets) - 1, stream.channels), int)))
        for name, stream in trace.streams.items()
    }
    silent = run(replace(trace, streams=streams), chip_with(mesh__columns=2, mesh__rows=2, attention__order="qk_first"))
    behind = slice(1, None)  # the first layer sees pixels, whatever they are
    idle = (Action.ADD, Action.MULTIPLY_ADD, Action.WEIGHT_READ, Action.POINTER_READ, Action.ATTENTION_ADD)
    assert not silent.counts[behind, list(idle)].any()
    assert not silent.synaptic_events[behind].any()
    assert not silent.causes[behind, [Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH]].any()
    same = [Action.NEURON_UPDATE, Action.POTENTIAL_READ, Action.POTENTIAL_WRITE, Action.SPIKE_WRITE, Action.SCAN]
    np.testing.assert_array_equal(silent.counts[:, same], reference().counts[:, same])
    assert (silent.counts <= reference().counts).all()


def test_fewer_weights_mean_fewer_additions_one_by_one():
    """Pruning a single weight takes away exactly the events of its row."""
    trace = transformer()
    layer = trace.layer("block0.fc1")
    dense = layer.weights.to_dense()
    output, channel, _ = np.argwhere(dense)[0]
    dense[output, channel, 0] = 0
    pruned = replace(layer, weights=Weights.from_dense(dense[:, :, 0]))
    layers = tuple(pruned if one.name == layer.name else one for one in trace.layers)
    chip = chip_with(mesh__columns=2, mesh__rows=2, attention__order="qk_first")
    before, after = reference(), run(replace(trace, layers=layers), chip)
    stream = trace.streams[layer.source]
    values = stream.events.to_dense(stream.channels)[:, channel].astype(int)
    at = before.layers.index(layer.name)
    added = [Action.ADD, Action.MULTIPLY_ADD]
    assert before.counts[at, added].sum() - after.counts[at, added].sum() == (-(-values // 3)).sum()
    assert before.synaptic_events[at] - after.synaptic_events[at] == values.sum()
