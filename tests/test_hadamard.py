"""Masked (Hadamard) attention, rule A4: its spikes by a plain loop, its cycles and counts by hand."""

from dataclasses import replace

import numpy as np
import pytest
from broken_traces import TRANSFORMER, layer_with
from cases import chip_with
from handmade import (
    END,
    HEADS,
    READ,
    SILENT,
    D,
    attention_trace,
    expect_cycles,
    quick,
    silent_steps,
    stream_of,
    trace_of,
    up,
)
from sparsespike.analysis.compare.counted import attention_accumulates
from sparsespike.simulator.activity import Action
from sparsespike.simulator.builder import Builder, Style
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Attention, Events, Membrane, Select, load_trace, save_trace

# ---- spikes ----


def masked_network(seed):
    """A masked attention behind a linear layer and, mostly, a selector; (trace, its layer)."""
    rng = np.random.default_rng([89, seed])
    style = Style(
        images=2, timesteps=int(rng.integers(1, 6)), spike_density=0.35, weight_density=0.6, seed=seed, shadow=True
    )
    builder = Builder(style)
    heads, d, tokens = int(rng.integers(1, 4)), int(rng.integers(1, 6)), 6
    given = builder.spikes("given", rng.integers(0, 2, (2, style.timesteps, tokens, 9)), 2, 3)
    if seed % 4:
        builder.select("choice", given, int(rng.integers(1, tokens + 1)), "rate")
    fused = builder.linear("fused", given, 3 * heads * d)
    builder.membrane(int(rng.choice([128, 256, 230])), int(rng.choice([0, 256, 300])))
    mixed = builder.masked_attention("mix", fused, heads)
    builder.membrane()
    builder.head("head", builder.linear("last", mixed, 7), 3)
    trace = builder.trace()
    return trace, trace.layer("mix")


def dense(trace, name):
    """A stream as nested lists [image][timestep][token][channel]."""
    stream = trace.streams[name]
    shape = (trace.images, trace.numerics.timesteps, stream.tokens, stream.channels)
    return stream.events.to_dense(stream.channels).reshape(shape).tolist()


def plainly(trace, layer):
    """A4 and V1, value by value: the target of masked attention, [image][timestep][token][channel]."""
    qkv, width, numbers = dense(trace, layer.source), trace.streams[layer.target].channels, trace.numerics
    membrane = layer.membrane or Membrane()
    high, out = 2 ** (numbers.potential_bits - 1), []
    for image, steps in enumerate(qkv):
        keys = trace.kept[layer.selector][image].tolist() if layer.selector >= 0 else range(len(steps[0]))
        u, rows = [0] * width, []
        for tokens in steps:
            fired = [0] * width
            for c in range(width):
                both = sum(1 for t in keys if tokens[t][width + c] and tokens[t][2 * width + c])
                u[c] = max(-high, min(high - 1, u[c] * membrane.decay // 256 + both * 2**numbers.fraction_bits))
                if u[c] >= layer.theta:
                    fired[c] = 1
                    u[c] = 0 if membrane.reset_by is None else u[c] - int(membrane.reset_by[0])
            rows.append([[q and g for q, g in zip(token, fired, strict=False)] for token in tokens])
        out.append(rows)
    return out


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("policy", ["skip", "off"])
def test_its_spikes_are_those_of_a_plain_loop(seed, policy):
    """And the chip, which adds up what came in flits, agrees; a neuron per channel counts as one."""
    trace, layer = masked_network(seed)
    assert dense(trace, layer.target) == plainly(trace, layer)
    result = run(trace, chip_with(token_unit__policy=policy, attention__units=1 + seed % 3), verify=True)
    tokens = 6 if policy == "off" or layer.selector < 0 else trace.kept[0].shape[1]
    linear = sum(trace.streams[name].channels for name in ("fused.out", "last.out"))
    once = tokens * linear + trace.streams[layer.target].channels
    assert result.verified.neurons == trace.images * trace.numerics.timesteps * once


def test_most_of_these_networks_fire_and_hold_back():
    """Spikes let through in one of the runs above are spikes held back in another."""
    through = held = 0
    for seed in range(24):
        trace, layer = masked_network(seed)
        third = trace.streams[layer.target].channels
        q = np.array(dense(trace, layer.source))[..., :third]
        passed = np.array(dense(trace, layer.target))
        through, held = through + int(passed.sum()), held + int((q & ~passed & 1).sum())
    assert min(through, held) > 300, (through, held)


def test_one_wrong_spike_is_seen():
    trace, layer = masked_network(5)
    stream = trace.streams[layer.target]
    wrong = stream.events.to_dense(stream.channels)
    at = np.argwhere(trace.streams[layer.source].events.to_dense(3 * stream.channels)[:, : stream.channels])
    row = next((row, channel) for row, channel in at if row % 6 in trace.kept[0][row // (6 * trace.numerics.timesteps)])
    wrong[row] ^= 1
    streams = {**trace.streams, layer.target: replace(stream, events=Events.from_dense(wrong))}
    with pytest.raises(UserError, match="'mix'"):
        run(replace(trace, streams=streams), chip_with(), verify=True)


def test_a_file_gives_the_form_back(tmp_path):
    trace, _ = masked_network(1)
    digest = save_trace(trace, tmp_path / "t.safetensors")
    back = load_trace(tmp_path / "t.safetensors")
    assert (back.sha256, back.layer("mix").form) == (digest, "hadamard")


# ---- cycles (A4) ----


def masked(tokens, **changes):
    """Silent attention of HEADS heads, each D wide, of the form `hadamard`."""
    return layer_with(attention_trace(tokens), "mix", form="hadamard", **changes)


def lasts(tokens, keys, width, sweep):
    """On one unit, two columns east of the core: per head sums, sweep and mask; a read before, a write behind."""
    return silent_steps(tokens, 0, outputs=3) + HEADS * (up(keys * D, width) + sweep + up(tokens * D, width)) + 2


@pytest.mark.parametrize("width", [256, 32, 31, 7, 1])
@pytest.mark.parametrize("tokens", [1, 8])
def test_attention_width(width, tokens):
    chip = quick(attention__width=width, attention__sweep_width=D)
    expect_cycles(masked(tokens), chip, lasts(tokens, tokens, width, 1))


@pytest.mark.parametrize("sweep_width", [64, D, D - 1, 1])
def test_attention_sweep_width(sweep_width):
    """The neurons of a head, not of its tokens."""
    chip = quick(attention__width=64, attention__sweep_width=sweep_width)
    expect_cycles(masked(8), chip, lasts(8, 8, 64, up(D, sweep_width)))


@pytest.mark.parametrize("order", ["auto", "qk_first", "kv_first"])
def test_the_order_of_products_has_no_say(order):
    chip = quick(attention__width=3, attention__sweep_width=D, attention__order=order)
    expect_cycles(masked(5), chip, lasts(5, 5, 3, 1))


def test_two_units_share_the_heads():
    """A head each; the second unit is one column further, and its end of a step is sent one later."""
    chip = quick(attention__units=2, attention__width=5, attention__sweep_width=D)
    arrived = silent_steps(1, 0, outputs=4) + END + 7 * (READ + SILENT + 2 * END)
    expect_cycles(masked(8), chip, arrived + 2 * up(8 * D, 5) + 1 + 2)


def test_leaks_and_resets_take_no_cycle():
    chip = quick(attention__width=5, attention__sweep_width=3)
    for membrane in (Membrane(230), Membrane(256, np.ones(1, np.int32))):
        expect_cycles(masked(8, membrane=membrane), chip, lasts(8, 8, 5, 2))


@pytest.mark.parametrize(("policy", "queries"), [("skip", 3), ("gate", 8), ("off", 8)])
def test_dropped_tokens_are_masked_but_not_counted(policy, queries):
    """Keys are the 3 kept tokens, queries those that the chip works on (A2); where it skips, it scans for them."""
    silent = attention_trace(8)
    layers = (
        Select(name="choice", source="given", form="random", keep=3),
        replace(silent.layers[0], form="hadamard", selector=0),
    )
    trace = replace(silent, layers=layers, kept=(np.array([[5, 6, 7]], np.uint16),))
    chip = quick(attention__width=2, attention__sweep_width=D, token_unit__policy=policy, token_unit__scan_width=8)
    scans = queries if policy == "skip" else 0  # one in front of each step
    phase = silent_steps(queries, 0, outputs=3) + scans
    expect_cycles(trace, chip, phase + HEADS * (up(3 * D, 2) + 1 + up(queries * D, 2)) + 2, layer=1)


@pytest.mark.parametrize(("words", "fits"), [(D, True), (D - 1, False)])
def test_it_needs_an_accumulator_per_channel_of_a_head(words, fits):
    """P4: products of 8 tokens would need 8 + 8 x D."""
    chip = quick(attention__accumulator_words=words)
    if fits:
        run(masked(8), chip)
        with pytest.raises(UserError, match=f"needs {8 + 8 * D} accumulators"):
            run(attention_trace(8), chip)
    else:
        with pytest.raises(UserError, match=f"layer 'mix' needs {D} accumulators per attention unit"):
            run(masked(8), chip)


# ---- counts (W1, W2, W5) ----

Q, K, V = (np.zeros((2, 3, 4), int) for _ in range(3))  # [timesteps, tokens, channels]: 2 heads, 2 wide
Q[0, :, 1] = Q[1, 0] = 1
K[0, :, 0] = K[0, 1] = K[1, 2, 3] = 1
V[0, 0, 0] = V[0, 1, 0] = V[0, 1, 2] = V[1, 2, 3] = V[1, 1, 1] = 1
BOTH = 4  # channel 0 at tokens 0 and 1, channel 2 at token 1, and in the second timestep channel 3 at token 2


def counted(policy="skip", kept=None, membrane=None):
    """The trace of Q, K and V; what it does to the chip's counts, in its attention layer."""
    layer = Attention(
        name="mix", source="given", target="made", heads=2, theta=1, form="hadamard", membrane=membrane, selector=-1
    )
    streams = [stream_of("given", np.concatenate([Q, K, V], axis=2)), stream_of("made", np.zeros((2, 3, 4), int))]
    layers, kepts = [layer], ()
    if kept is not None:
        choice = Select(name="choice", source="given", form="random", keep=len(kept))
        layers, kepts = [choice, replace(layer, selector=0)], (np.array([kept], np.uint16),)
    trace, chip = trace_of(layers, streams, 2, kepts), quick(token_unit__policy=policy, mesh__value_bits=1)
    return trace, chip, run(trace, chip).counts[-1]


@pytest.mark.parametrize(
    ("policy", "kept", "queries", "keys", "both"),
    [
        ("skip", None, 3, 3, BOTH),
        ("skip", [0, 2], 2, 2, 2),  # without token 1: channel 0 at token 0, channel 3 at token 2
        ("gate", [0, 2], 2, 2, 2),
        ("off", [0, 2], 3, 2, 2),
    ],
)
def test_counts(policy, kept, queries, keys, both):
    trace, chip, counts = counted(policy, kept)
    assert counts[Action.AND_POPCOUNT] == 2 * (keys + queries) * 4
    assert counts[Action.ATTENTION_ADD] == both
    assert counts[Action.OPERAND_READ] == 2 * (2 * keys + queries) * 4
    assert counts[Action.NEURON_UPDATE] == 2 * 4
    assert counts[Action.ACCUMULATOR_UPDATE] == both + 2 * 4
    assert counts[Action.SPIKE_WRITE] == 2 * queries * 4
    assert counts[[Action.LEAK_MULTIPLY, Action.RESET_SUBTRACT, Action.ATTENTION_MAC]].tolist() == [0, 0, 0]
    assert attention_accumulates(trace, chip) == both


def test_leaks_and_resets_are_counted_per_neuron():
    _, _, counts = counted(membrane=Membrane(230, np.ones(1, np.int32)))
    assert counts[[Action.LEAK_MULTIPLY, Action.RESET_SUBTRACT]].tolist() == [8, 8]


# ---- refusals ----


def test_another_form_is_refused():
    with pytest.raises(UserError, match=r"'block0\.attention': form = 'hadamar'; did you mean 'hadamard'"):
        layer_with(TRANSFORMER, "block0.attention", form="hadamar")


def test_it_takes_no_order():
    with pytest.raises(UserError, match=r"an order or a requantisation, but numerics\.neuron is 'lif'"):
        layer_with(TRANSFORMER, "block0.attention", form="hadamard", order="kv_first")


def test_an_ann_has_none():
    ann = synthetic_trace(neuron="relu", height=4, width=4, sps=(4, 6, 6), depth=1, classes=3, seed=2)
    with pytest.raises(UserError, match=r"form = 'hadamard', but numerics\.neuron is 'relu'"):
        layer_with(ann, "block0.attention", form="hadamard")
