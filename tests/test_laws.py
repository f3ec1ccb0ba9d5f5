"""Laws that hold whatever the numbers of a chip are: conservation, lower bounds, idleness."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
from cases import chip_with, make_case
from law_runs import all_counted, every_case, ran, reference, transformer
from oracle.setting import Setting
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.trace import Attention, Conv, Events, Head, Linear, Pool, Weights

# ---- conservation ----


@every_case
def test_every_core_cycle_has_one_cause(seed):
    result = ran(seed)
    assert (result.causes >= 0).all()
    assert result.causes.sum() == result.total_cycles * result.cores
    if make_case(seed).chip.schedule == "layerwise":  # else a core may be in one layer while another sets the pace
        np.testing.assert_array_equal(result.causes.sum(1), result.cycles.sum(0) * result.cores)


def tokens_at_work(case, layer, image):
    """Tokens whose actions count: the kept ones, but all with `off`, the head apart."""
    stream = case.trace.streams[layer.source]
    if layer.selector < 0 or (case.chip.token_unit.policy == "off" and not isinstance(layer, Head)):
        return list(range(stream.tokens))
    return case.trace.kept[layer.selector][image].tolist()


def flits_per_channel(case, layer, batch=1):
    """int64[tokens, channels]: event flits of a layer's source, over images, batches and tokens at work (F1)."""
    trace, stream = case.trace, case.trace.streams[layer.source]
    dense = stream.events.to_dense(stream.channels).astype(np.int64)
    dense = dense.reshape(trace.images, trace.numerics.timesteps, stream.tokens, stream.channels)
    dense = np.maximum.reduceat(dense, np.arange(0, trace.numerics.timesteps, batch), axis=1)
    most = 2**case.chip.mesh.value_bits - 1
    total = np.zeros((stream.tokens, stream.channels), np.int64)
    for image in range(trace.images):
        tokens = tokens_at_work(case, layer, image)
        total[tokens] += (-(-dense[image][:, tokens] // most)).sum(0)
    return total


def ends_per_token(case, setting, layer):
    """int[tokens]: end-of-token flits of one step of each token, over its producers' trees (F1, F2)."""
    homes = setting.homes(layer.source)
    if not isinstance(layer, Attention):
        return [len(set(nodes)) for nodes in homes]
    channels, units = case.trace.streams[layer.source].channels, case.chip.attention.units
    width = channels // 3
    unit = [channel % width // (width // layer.heads) % units for channel in range(channels)]
    if setting.placement.lies_by_tokens(layer.source):  # a producer that holds whole tokens has trees to all units
        return [len(set(unit))] * len(homes)
    return [len(set(zip(nodes, unit, strict=True))) for nodes in homes]


@every_case
def test_every_flit_that_is_sent_is_consumed_at_every_leaf(seed):
    """P3 by the oracle's reading: where streams lie, and which cores own an output."""
    case, result = make_case(seed), ran(seed)
    setting = Setting(case.trace, case.chip)
    batch = case.chip.core.time_batch
    batches = -(-case.trace.numerics.timesteps // batch)
    for index, layer in enumerate(case.trace.layers):
        written, read = result.counts[index, Action.FIFO_WRITE], result.counts[index, Action.FIFO_READ]
        assert written == read
        if isinstance(layer, Pool) or case.trace.streams[layer.source].kind == "real":
            assert written == 0
            continue
        tokens = [token for image in range(case.trace.images) for token in tokens_at_work(case, layer, image)]
        ends = ends_per_token(case, setting, layer)
        sent = int(flits_per_channel(case, layer, batch).sum()) + batches * sum(ends[token] for token in tokens)
        leaves = 1
        if isinstance(layer, (Conv, Linear, Head)) and not setting.placement.by_tokens(layer):
            leaves = len(set(setting.placement.output_cores(layer)))
        assert written == sent * leaves


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
        valid = reached(stream, layer.geometry)
        assert added == np.einsum("nc,ct,nt->", flits, per_row, valid)


def reached(stream, window):
    """int64[tokens, taps]: 1 where a tap of a token's event meets an output: all windows laid over a map of ones."""
    reach = np.zeros((stream.height + 2 * window.pad_y, stream.width + 2 * window.pad_x, window.taps), np.int64)
    for tap, (ky, kx) in enumerate(np.ndindex(window.height, window.width)):
        last_y, last_x = reach.shape[0] - window.height + ky, reach.shape[1] - window.width + kx
        reach[ky : last_y + 1 : window.stride, kx : last_x + 1 : window.stride, tap] = 1
    inside = reach[window.pad_y : window.pad_y + stream.height, window.pad_x : window.pad_x + stream.width]
    return inside.reshape(stream.tokens, window.taps)


# ---- lower bounds ----


def time_of_layers(case, result):
    """Cycles in which each layer may have worked: its own, where layers overlap those of the run (K1)."""
    overlap = case.chip.schedule == "pipelined"
    return [result.total_cycles if overlap else int(cycles) for cycles in result.cycles.sum(0)]


@every_case
def test_no_layer_is_faster_than_its_additions(seed):
    case, result = make_case(seed), all_counted(seed)
    core, cycles = case.chip.core, time_of_layers(case, result)
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
def test_no_layer_is_faster_than_its_critical_resource(seed):
    """K1; the DRAM channel may work ahead of its layer, but never ahead of the run."""
    case, result = make_case(seed), ran(seed)
    for critical, cycles in zip(result.critical, time_of_layers(case, result), strict=True):
        assert critical.cycles <= (result.total_cycles if critical.resource == "dram" else cycles)


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
    values = case.chip.core.time_batch * mesh.value_bits
    flit_bits = 1 + mesh.tree_bits + (1 if contexts <= 2 else 2) + mesh.channel_bits + values
    s = -(-flit_bits // mesh.link_bits)
    for index, cycles in enumerate(time_of_layers(case, result)):
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
