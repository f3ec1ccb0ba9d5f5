"""The simulator against its slow twin, exactly: cycles, causes, counts and synaptic events on seeded random cases."""

import ast
from collections import Counter
from dataclasses import replace
from functools import cache
from os import environ
from pathlib import Path

import numpy as np
import pytest
from agreement import bounds_of, differences, excesses, log_differences
from cases import chip_with, make_case
from oracle import simulate_slowly
from oracle.dram import Memory
from oracle.setting import Setting
from oracle.windows import valid_taps, view_of
from sparsespike.simulator.activity import Verified
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.eventlog import read_log
from sparsespike.simulator.synthetic import mlp_trace, synthetic_trace
from sparsespike.simulator.trace import Conv, Events, Head, Linear, Pool

SEEDS = range(int(environ.get("SPARSESPIKE_CASES", "300")))


@cache
def slow(seed):
    """The oracle's result; the proportions below need it again."""
    case = make_case(seed)
    return simulate_slowly(case.trace, case.chip, log=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_simulator_equals_the_oracle(seed):
    """Cycles, causes, counts, critical resources, and every event of the log in its cycle and place; no bound above."""
    case, logs = make_case(seed), {}
    result = run(case.trace, case.chip, watch=lambda image, layer, rows: logs.update({(image, layer): read_log(rows)}))
    found = differences(result, slow(seed)) + log_differences(logs, slow(seed))
    found += excesses(*bounds_of(case.trace, case.chip), result)
    assert not found, f"seed {seed}: {len(found)} differences, the first:\n" + "\n".join(found[:5])


def test_most_cases_are_worth_comparing(note):
    """At least half have 2 cores, 2 layers and 200 flits, and every mechanism of the chip occurs in several."""
    large, seen, sizes = 0, dict.fromkeys(SIGNS, 0), Counter()
    for seed in SEEDS:
        case, result = make_case(seed), slow(seed)
        large += case.chip.cores >= 2 and len(case.trace.layers) >= 2 and result.flits >= 200
        sizes[len(str(result.flits))] += 1
        for name, sign in SIGNS.items():
            seen[name] += any(sign(index, case, result) for index in range(len(result.layers)))
    note(f"{len(SEEDS)} random cases equal the oracle, {large} of them large; by flits:")
    for digits in sorted(sizes):
        note(f"  below 10^{digits}: {sizes[digits]:5d} {'#' * (60 * sizes[digits] // len(SEEDS))}")
    note("  of these with " + ", ".join(f"{name}: {count}" for name, count in seen.items()))
    assert large >= len(SEEDS) / 2
    rare = {name: count for name, count in seen.items() if count < len(SEEDS) / 40}
    assert not rare, f"mechanisms that hardly occur: {rare}"


def per_row(case, index):
    """Surviving weights of each row of a layer; of one without weights none."""
    weights = getattr(case.trace.layers[index], "weights", None)
    return np.ones(0) if weights is None else np.diff(weights.pointers)


def per_token(case, index):
    """Spikes of each token and timestep of a layer's source; of pixels none."""
    events = case.trace.streams[case.trace.layers[index].source].events
    return np.ones(0) if events is None else np.diff(events.offsets)


def membrane(case, index):
    """A layer's membrane; None where it has none of its own."""
    return getattr(case.trace.layers[index], "membrane", None)


def pools_sums(layer):
    """Whether a layer pools the sums of events (C10)."""
    return getattr(layer, "pooled", None) is not None and layer.source != "pixels"


SIGNS = {
    "spilled data": lambda index, case, result: result.counts[index]["DRAM_WRITE"] > 0,
    "weights of a later image": lambda index, case, result: (
        case.trace.images > 1 and not Memory(Setting(case.trace, case.chip)).resident
    ),
    "waiting for DRAM": lambda index, case, result: index > 0 and result.causes[index]["DRAM"] > 0,
    "conflicts": lambda index, case, result: result.causes[index]["BANK_CONFLICT"] > 0,
    "fetching": lambda index, case, result: result.causes[index]["WEIGHT_FETCH"] > 0,
    "waiting for a context": lambda index, case, result: result.causes[index]["GRANT_WAIT"] > 0,
    "waiting for flits": lambda index, case, result: result.causes[index]["NETWORK"] > 0,
    "uneven cores": lambda index, case, result: result.causes[index]["BARRIER"] > 0,
    "graded spikes": lambda index, case, result: result.counts[index]["MULTIPLY_ADD"] > 0,
    "scans": lambda index, case, result: result.counts[index]["SCAN"] > 0,
    "scorers": lambda index, case, result: result.counts[index]["SELECTOR_MAC"] > 0,
    "tables": lambda index, case, result: getattr(case.trace.layers[index], "table", None) is not None,
    "ranking": lambda index, case, result: result.counts[index]["SCORE_COMPARE"] > 0,
    "attention": lambda index, case, result: result.counts[index]["AND_POPCOUNT"] > 0,
    "attention that masks": lambda index, case, result: getattr(case.trace.layers[index], "form", "") == "hadamard",
    "other leaks": lambda index, case, result: result.counts[index]["LEAK_MULTIPLY"] > 0,
    "no leak": lambda index, case, result: getattr(membrane(case, index), "decay", 128) == 256,
    "soft resets": lambda index, case, result: result.counts[index]["RESET_SUBTRACT"] > 0,
    "pools": lambda index, case, result: result.counts[index]["POOL_OR"] > 0,
    "pools of integers": lambda index, case, result: (
        isinstance(case.trace.layers[index], Pool) and result.counts[index]["POOL_MAX"] > 0
    ),
    "pooled sums": lambda index, case, result: pools_sums(case.trace.layers[index]),
    "pooled sums of pixels": lambda index, case, result: (
        getattr(case.trace.layers[index], "pooled", None) is not None and case.trace.layers[index].source == "pixels"
    ),
    "pipelined readers of pooled sums": lambda index, case, result: (
        case.chip.schedule == "pipelined"
        and any(one.target == case.trace.layers[index].source for one in case.trace.layers if pools_sums(one))
    ),
    "pools that sum": lambda index, case, result: result.counts[index]["POOL_ADD"] > 0,
    "strides": lambda index, case, result: (
        isinstance(case.trace.layers[index], Conv) and case.trace.layers[index].geometry.stride > 1
    ),
    "rectangular or even kernels": lambda index, case, result: (
        isinstance(case.trace.layers[index], Conv)
        and (window := case.trace.layers[index].window) is not None
        and (window.height != window.width or window.height % 2 == 0)
    ),
    "inputs that no window sees": lambda index, case, result: (
        isinstance(layer := case.trace.layers[index], Conv)
        and any(not taps for taps in valid_taps(view_of(layer, case.trace.streams[layer.source])))
    ),
    "windows as large as the map": lambda index, case, result: (
        isinstance(layer := case.trace.layers[index], Conv)
        and layer.weights.taps == case.trace.streams[layer.source].tokens > 1
        and case.trace.streams[layer.target].tokens == 1
    ),
    "logits without a head": lambda index, case, result: (
        case.trace.logits is not None and not isinstance(case.trace.layers[-1], Head)
    ),
    "ANNs": lambda index, case, result: case.trace.numerics.neuron == "relu",
    "activations in several flits": lambda index, case, result: (
        case.trace.numerics.neuron == "relu" and case.chip.mesh.value_bits < 8
    ),
    "attention of an ANN": lambda index, case, result: result.counts[index]["ATTENTION_MAC"] > 0,
    "layers cut by tokens": lambda index, case, result: (
        case.chip.core.partition == "token" and isinstance(case.trace.layers[index], Linear)
    ),
    "batches": lambda index, case, result: min(case.chip.core.time_batch, case.trace.numerics.timesteps) > 1,
    "pipelines": lambda index, case, result: case.chip.schedule == "pipelined",
    "waiting for the encoder": lambda index, case, result: result.causes[index]["FIFO_EMPTY"] > 0,
    "buffers of one flit": lambda index, case, result: case.chip.mesh.buffer_flits == 1,
    "one lane": lambda index, case, result: case.chip.core.lanes == 1,
    "one bank": lambda index, case, result: 1 in (case.chip.core.weight_banks, case.chip.core.accumulator_banks),
    "one core": lambda index, case, result: case.chip.cores == 1,
    "layers without spikes": lambda index, case, result: result.spikes[index] == 0,
    "rows without weights": lambda index, case, result: any(per_row(case, index) == 0),
    "tokens without spikes": lambda index, case, result: any(per_token(case, index) == 0),
    "tokens that are all spikes": lambda index, case, result: any(
        per_token(case, index) == case.trace.streams[case.trace.layers[index].source].channels
    ),
}


def test_the_simulator_is_not_compared_with_itself():
    """The oracle imports the contract (trace, enums) alone."""
    allowed = {"sparsespike.simulator.trace"}
    for path in (Path(__file__).parent / "oracle").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.startswith("sparsespike"):
                assert node.module in allowed, f"{path.name} imports {node.module}"
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith(("sparsespike", "numpy", "numba")) for alias in node.names)


# ---- the chip's own arithmetic, held against the trace ----

RECIPE = {
    "images": 2,
    "timesteps": 3,
    "height": 6,
    "width": 6,
    "weight_density": 0.4,
    "spike_density": 0.2,
    "keep": 0.6,
}


@cache
def network():
    """A small transformer with a learned selector, and its shadow."""
    return synthetic_trace(seed=5, depth=3, **RECIPE)


@pytest.mark.parametrize("policy", ["skip", "gate", "off"])
@pytest.mark.parametrize("order", ["time_outer", "time_inner"])
def test_verify_accepts_a_true_trace(policy, order):
    """And says how much it compared: every neuron of every token that the chip works on."""
    trace = network()
    result = run(trace, chip_with(token_unit__policy=policy, core__order=order), verify=True)
    neurons = spikes = 0
    for layer in trace.layers:
        if layer.target:
            stream = trace.streams[layer.target]
            dense = stream.events.to_dense(stream.channels).astype(int)
            if layer.residual:
                dense -= trace.streams[layer.residual].events.to_dense(stream.channels)
            dense = dense.reshape(trace.images, trace.numerics.timesteps, stream.tokens, stream.channels)
            skipped = policy == "skip" and layer.selector >= 0
            at_work = trace.kept_mask(layer.selector if skipped else -1, stream.tokens)
            if not isinstance(layer, Pool):  # whose outputs are spikes, but no neurons
                neurons += int(at_work.sum()) * trace.numerics.timesteps * stream.channels
            spikes += int(dense.transpose(0, 2, 1, 3)[at_work].sum())
    tokens = trace.streams["pool1.out"].tokens
    decisions = sum(int(trace.kept_mask(before - 1, tokens).sum()) for before in range(len(trace.kept)))
    assert result.verified == Verified(neurons, spikes, decisions, trace.logits.size)
    assert result.saturations == 0


def test_verify_counts_the_potentials_that_saturate():
    """By rule V1, once more, for a stack of graded linear layers with potentials of 8 bits."""
    trace = mlp_trace(largest=5, residual=True, widths=(16, 16, 16), potential_bits=8, spike_density=0.4, classes=3)
    chip = chip_with()
    clipped = 0
    for layer in trace.layers[:2]:
        source = trace.streams[layer.source]
        sums = source.events.to_dense(16).astype(int) @ layer.weights.to_dense()[:, :, 0].T.astype(int) + layer.bias
        potential = np.zeros((source.tokens, 16), int)
        for drive in sums.reshape(trace.numerics.timesteps, source.tokens, 16):
            potential = (potential >> 1) + (drive << trace.numerics.fraction_bits)
            clipped += int(((potential > 127) | (potential < -128)).sum())
            potential = np.clip(potential, -128, 127)
            potential[potential >= layer.theta] = 0
    result = run(trace, chip, verify=True)
    assert result.saturations == clipped > 0
    assert differences(result, simulate_slowly(trace, chip)) == []


def flipped(trace, name, row, channel):
    """The trace with one spike of a stream more, or one fewer."""
    stream = trace.streams[name]
    dense = stream.events.to_dense(stream.channels)
    dense[row, channel] ^= 1
    return replace(trace, streams={**trace.streams, name: replace(stream, events=Events.from_dense(dense))})


def kept_row(trace, layer, image, time, place):
    """The row of a token that the layer works on, in its target."""
    tokens = trace.streams[layer.target].tokens
    token = int(trace.kept[layer.selector][image][place]) if layer.selector >= 0 else place
    return (image * trace.numerics.timesteps + time) * tokens + token


@pytest.mark.parametrize(
    "name", ["sps0", "sps1", "pool1", "block0.qkv", "block0.attention", "block0.fc1", "block1.qkv", "block2.fc1"]
)
def test_verify_refuses_one_wrong_spike(name):
    trace = network()
    layer = trace.layer(name)
    wrong = flipped(trace, layer.target, kept_row(trace, layer, 1, 2, 0), 1)
    with pytest.raises(UserError, match=f"'{name}'"):
        run(wrong, chip_with(), verify=True)
    run(wrong, chip_with())  # without --verify a trace is replayed as it is


def test_verify_looks_at_dropped_tokens_only_where_they_are_computed():
    trace = network()
    layer = trace.layer("block2.fc1")
    dropped = next(token for token in range(9) if token not in trace.kept[1][0])
    wrong = flipped(trace, layer.target, dropped, 0)
    run(wrong, chip_with(), verify=True)
    with pytest.raises(UserError, match=r"'block2\.fc1'"):
        run(wrong, chip_with(token_unit__policy="off"), verify=True)


def test_verify_refuses_a_wrong_logit():
    trace = network()
    logits = trace.logits.copy()
    logits[1, 3] += 1
    with pytest.raises(UserError, match="'head'"):
        run(replace(trace, logits=logits), chip_with(), verify=True)


@pytest.mark.parametrize("form", ["learned", "rate"])
def test_verify_refuses_a_wrong_choice_of_tokens(form):
    builder = Builder(Style(images=1, timesteps=2, weight_density=0.6, spike_density=0.3, seed=3))
    given = builder.spikes("given", builder.rng.integers(0, 2, (1, 2, 6, 12)), 2, 3)
    builder.select("choice", given, 3, form)
    trace = builder.trace()
    run(trace, chip_with(), verify=True)
    kept = trace.kept[0].copy()
    kept[0, 0] = next(token for token in range(6) if token not in kept[0])
    with pytest.raises(UserError, match="'choice'"):
        run(replace(trace, kept=(np.sort(kept, axis=1),)), chip_with(), verify=True)


@pytest.mark.slow
def test_a_real_sized_layer_agrees():
    """384 to 1536 channels on 16 cores: wider rows, longer trees and more flits than the random cases have."""
    trace = mlp_trace(widths=(384, 1536), height=1, width=2, timesteps=2, spike_density=0.15, seed=11)
    chip = chip_with(
        mesh__columns=4, mesh__rows=4, core__lanes=16, core__accumulator_banks=16, core__contexts=4, core__index_bits=4
    )
    assert differences(run(trace, chip), simulate_slowly(trace, chip)) == []
