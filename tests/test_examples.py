"""The worked examples of simulator/ARCHITECTURE.md, as they stand there, are what both twins do."""

from dataclasses import replace

import numpy as np
import pytest
from handmade import (
    conv_trace,
    linear_of,
    linear_trace,
    logged,
    neurons_of,
    pool_trace,
    quick,
    silence,
    silent_steps,
    stream_of,
    trace_of,
    up,
)
from oracle import simulate_slowly
from oracle.windows import closing_inputs, open_outputs, pool_of, view_of
from sparsespike.simulator.activity import Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.layer_time import attention_cycles, selector_cycles, time_job
from sparsespike.simulator.phase import list_tokens, list_work, scan_cycles
from sparsespike.simulator.placement import place
from sparsespike.simulator.trace import Attention, Conv, Membrane, Select, Stream, Weights, Window


def cycles_of(trace, chip, name, cuts=None):
    """Cycles of the events of one name, in the order of the log, on which both twins agree."""
    return [cycle for cycle, _, event, _ in logged(trace, chip, cuts=cuts) if event == name]


def took(trace, chip, layer=0):
    """Cycles of a layer, without the waiting for DRAM; both twins."""
    slow, fast = simulate_slowly(trace, chip), run(trace, chip)
    assert slow.cycles[0][layer] == fast.cycles[0, layer]
    return int(fast.cycles[0, layer]) - int(fast.causes[layer, Cause.DRAM]) // chip.cores


# ---- N ----


def test_a_flit_through_three_routers():
    """Sent in 0, granted in 1, 2 and, by output L, in 3; arrived at 4, where it is looked up (C1)."""
    weights = np.ones((1, 1), int)
    trace = trace_of(
        [linear_of(weights, "given", "between", name="first"), linear_of(weights, "between", "made", name="second")],
        [silence("given", 1, 1, 1), stream_of("between", [[[1]]]), silence("made", 1, 1, 1)],
        1,
    )
    chip = quick(mesh__columns=3)
    log = logged(trace, chip, layer=1, cuts={"first": [0, 1, 1, 1], "second": [0, 0, 0, 1]})
    sent = next(cycle for cycle, _, event, _ in log if event == "send")
    flights = [(cycle - sent, unit, event) for cycle, unit, event, _ in log if event.startswith("grant.")]
    assert [min(one for one in flights if one[1] == unit) for unit in range(3)] == [
        (1, 0, "grant.E.L"),
        (2, 1, "grant.E.W"),
        (3, 2, "grant.L.W"),
    ]
    looked = min(cycle for cycle, _, event, _ in log if event == "lookup")
    assert looked - sent == 4


# ---- E ----


def test_the_encoder():
    """Two words of 4 channels, spikes in 5 and 6: read in 0, a silent word in 1, sent in 2 and 3, the end in 4."""
    spikes = np.zeros((1, 1, 8), int)
    spikes[0, 0, 5:7] = 1
    trace = linear_trace(np.ones((1, 8), int), spikes)
    assert cycles_of(trace, quick(core__encode_width=4), "send") == [2, 3, 4]


# ---- R ----


def test_a_row_of_seven_words():
    """Over 2 banks, one entry to a word, 3 lanes: service 4, one cycle of it fetching."""
    chip = quick(core__weight_word_bits=12, core__weight_banks=2, core__lanes=3)
    trace = linear_trace(np.ones((7, 1), int), [[[1]]])
    assert up(7, chip.core.weight_word_bits // 8) == 7  # dense: words of the row
    event, end = cycles_of(trace, chip, "take")
    assert end - event == 4
    causes = run(trace, chip).causes[0]
    assert [causes[Cause.COMPUTE], causes[Cause.BANK_CONFLICT], causes[Cause.WEIGHT_FETCH]] == [3, 0, 1]


# ---- C ----


def test_a_context():
    """Service 3, 2 words of potentials, one context: closed in 8, released in 11, the next granted in 12."""
    spikes = np.zeros((1, 2, 1), int)
    spikes[0, 0] = 1
    chip = quick(core__contexts=1, core__lanes=6, core__sweep_width=8)
    trace = linear_trace(np.ones((16, 1), int), spikes)
    assert cycles_of(trace, chip, "send")[:2] == [1, 2]
    assert cycles_of(trace, chip, "grant.L.L")[:2] == [2, 3]
    assert cycles_of(trace, chip, "lookup")[:2] == [3, 4]
    assert cycles_of(trace, chip, "take")[:2] == [4, 7]
    assert cycles_of(trace, chip, "sweep")[0] == 8
    assert cycles_of(trace, chip, "release")[0] == 11
    assert cycles_of(trace, chip, "open") == [12]


# ---- R5, C4, P4 ----


def test_a_strided_window():
    """3 x 3, stride 2, pads 1 on 4 x 4: four taps and one; (1, 1), (1, 3), (3, 1), (3, 3) close; 4 open at a time."""
    window = Window(3, 3, 2, 1, 1)
    taps = np.arange(9).reshape(3, 3)

    def strided(token):
        """A spike there; the only weight of each of 9 outputs is that of its own tap."""
        spikes = np.zeros((1, 16, 1), int)
        spikes[0, token] = 1
        weights = [[taps == tap] for tap in range(9)]
        return conv_trace(np.array(weights, int), spikes, 4, window)

    chip = quick(core__contexts=1, core__accumulator_words=4 * 9)
    for token, met in ((5, {0: 3, 2: 2, 6: 1, 8: 0}), (0, {4: 0})):
        sums = np.zeros((4, 9), int)
        sums[list(met.values()), list(met)] = 1
        trace = strided(token)
        made = stream_of("made", sums[None], 2)  # theta = 1: what is added fires
        run(replace(trace, streams=trace.streams | {"made": made}), chip, verify=True)
    view = view_of(strided(0).layers[0], strided(0).streams["given"])
    assert place(strided(0), chip).plans[0].stored.taps.closing.tolist() == closing_inputs(view) == [5, 7, 13, 15]
    with pytest.raises(UserError, match="needs 36 accumulators"):
        run(strided(0), chip.replace({"core.accumulator_words": 35}))


# ---- C10, P4 ----


def test_pooled_sums():
    """3 x 3, pads 1 on 4 x 4, pooled 2 x 2 at stride 2: inputs 10, 11, 14, 15 close, sweeps of 4; 16 open, else 11."""
    weights, silent = np.ones((8, 1, 3, 3), int), np.zeros((1, 16, 1), int)
    trace = conv_trace(weights, silent, 4, Window(3, 3, 1, 1, 1), Window(2, 2, 2))
    layer, given = trace.layers[0], trace.streams["given"]
    taps = place(trace, quick()).plans[0].stored.taps
    assert taps.closing.tolist() == closing_inputs(view_of(layer, given), pool_of(layer, given)) == [10, 11, 14, 15]
    chip = quick(core__sweep_width=8)
    begins, ends = cycles_of(trace, chip, "sweep"), cycles_of(trace, chip, "release")
    lengths = [end - begin - 1 for begin, end in zip(begins, ends, strict=True)]
    assert lengths == [0] * 10 + [4, 4, 0, 0, 4, 4]
    for pooled, places in ((layer.pooled, 16), (None, 11)):
        assert open_outputs(view_of(layer, given), 1, pool_of(layer, given) if pooled else None) == places
    one = chip.replace({"core.contexts": 1, "core.accumulator_words": 16 * 8})
    run(trace, one)
    with pytest.raises(UserError, match="needs 128 accumulators"):
        run(trace, one.replace({"core.accumulator_words": 16 * 8 - 1}))


# ---- V ----


@pytest.mark.parametrize(("membrane", "at_last"), [(None, 30), (Membrane(230, np.array([20], np.int32)), 40)])
def test_the_neuron(membrane, at_last):
    """Sums 3, 0, 5, bias 1, F = 2: 16, 12 and 30, a spike, 0; or 16, 18 and 40, a spike, 20, and then 17 + 4."""
    spikes = np.zeros((4, 1, 5), int)
    spikes[0, 0, :3] = spikes[2] = 1
    again = int(membrane is not None)
    for theta, fires in ((20, [0, 0, 1, again]), (at_last, [0, 0, 1, 0]), (at_last + 1, [0, 0, 0, 0])):
        given, made = stream_of("given", spikes), stream_of("made", np.array(fires).reshape(4, 1, 1))
        layer = replace(
            linear_of(np.ones((1, 5), int), "given", "made"),
            bias=np.array([1], np.int32),
            theta=np.array([theta], np.int32),
            membrane=membrane,
        )
        trace = trace_of([layer], [given, made], 4)
        activity = run(replace(trace, numerics=replace(trace.numerics, fraction_bits=2)), quick(), verify=True)
        assert (activity.verified.neurons, activity.verified.spikes) == (4, sum(fires))


# ---- I, S ----


def test_the_input_convolution():
    """8 x 8 pixels of one channel, service 2, 2 owned channels, 4 timesteps: 128 + 256 + 3."""
    layer = neurons_of(Conv, np.ones((2, 1, 1, 1), int), "pixels", "made")
    streams = [Stream("pixels", "real", 1, 8, 8), silence("made", 4, 64, 2, 8)]
    trace = trace_of([layer], streams, 4, pixels=np.ones((1, 1, 8, 8), np.int8))
    chip = quick(core__input_macs=1, core__sweep_width=8)
    placement = place(trace, chip)
    timing = time_job(placement, placement.plans[0])
    assert timing.cycles == took(trace, chip) == 387
    assert timing.causes[0, Cause.COMPUTE] == 128
    assert timing.causes[0, Cause.NEURON_SWEEP] == 256 + 2


def test_the_pool():
    """The same map: 4 x 64 x 1 + 2."""
    trace = pool_trace(4, 64, 2)
    chip = quick(core__sweep_width=8)
    placement = place(trace, chip)
    assert time_job(placement, placement.plans[0]).cycles == took(trace, chip) == 258


# ---- T ----


def kept(*tokens):
    return np.array([tokens], np.uint16)


def test_scans():
    """Tokens 2, 3 and 9 are left, 4 bits a cycle: 1, 1 and 2."""
    layers = [
        Select(name="choice", source="given", form="random", keep=3),
        linear_of(np.ones((1, 4), int), "given", "made", 0),
    ]
    trace = trace_of(layers, [silence("given", 1, 10, 4), silence("made", 1, 10, 1)], 1, (kept(2, 3, 9),))
    chip = quick(token_unit__scan_width=4)
    placement = place(trace, chip)
    plan = placement.plans[1]
    work = list_work(chip, list_tokens(placement, plan, 0), 1)
    assert scan_cycles(placement, plan, work).tolist() == [1, 1, 2]
    assert took(trace, chip, layer=1) == silent_steps(3, 0) + 1 + 1 + 2 + 1  # each in front of its step; a sweep


def test_the_learned_selector():
    """10 candidates of 16 tokens, E = 60, hidden = 8, 8 macs, 4 comparators, 8 bits: 1 + 90 + 30 + 2."""
    hidden = np.ones((8, 8), int)
    hidden[:4, 0] = 0
    learned = {"hidden_bias": np.zeros(8, np.int32), "score_weights": np.ones(8, np.int8)}
    before = Select(name="before", source="given", form="random", keep=10)
    choice = Select(
        name="choice",
        source="given",
        selector=0,
        form="learned",
        keep=4,
        hidden=Weights.from_dense(hidden),
        **learned,
    )
    trace = trace_of([before, choice], [silence("given", 1, 16, 8)], 1, (kept(*range(10)), kept(*range(4))))
    unit = {"token_unit__macs": 8, "token_unit__comparators": 4, "token_unit__scan_width": 8}
    chip = quick(core__weight_format="csr", **unit)
    placement = place(trace, chip)
    assert selector_cycles(placement, placement.plans[1]) == 1 + 10 * (8 + 1) + 10 * 3 + 2 == 123
    scans = 10 * 1  # T4: tokens 0 to 9 follow one another
    assert took(trace, chip, layer=1) == silent_steps(10, 0, outputs=2) + scans + 123


def test_a_scorer_with_a_table():
    """-37 + 2 = -35, >> 2 is -9: as much as a silent token's 2 >> 2 = 0 by the ReLU, entry 119 of the table."""
    table = np.zeros(256, np.int8)
    table[119] = 5
    scorer = {"hidden": Weights.from_dense(np.full((1, 1), -37)), "hidden_bias": np.array([2], np.int32)}
    scorer |= {"hidden_shift": 2, "score_weights": np.ones(1, np.int8)}
    given = stream_of("given", np.array([[[0], [1]]]))
    for entries, best in ((None, 0), (table, 1)):
        choice = Select(name="choice", source="given", form="learned", keep=1, table=entries, **scorer)
        run(trace_of([choice], [given], 1, (kept(best),)), quick(), verify=True)
        with pytest.raises(UserError, match="keeps other tokens"):
            run(trace_of([choice], [given], 1, (kept(1 - best),)), quick(), verify=True)


# ---- A ----


@pytest.mark.parametrize(("order", "products"), [("kv_first", 40), ("auto", 40), ("qk_first", 100)])
def test_attention(order, products):
    """20 tokens, d = 8, 4 timesteps, 4 heads on 2 units: 4 x 2 x (40 + 20) + 2 = 482 behind the phase, or with 100."""
    streams = [silence("given", 4, 20, 3 * 4 * 8), silence("made", 4, 20, 4 * 8)]
    trace = trace_of([Attention(name="mix", source="given", target="made", heads=4, theta=1)], streams, 4)
    unit = {"attention__units": 2, "attention__width": 64, "attention__sweep_width": 8, "attention__order": order}
    chip = quick(core__encode_width=96, **unit)
    placement = place(trace, chip)
    behind = 4 * 2 * (products + 20)
    assert attention_cycles(placement, placement.plans[0]).tolist() == [behind, behind]
    period = 1 + 1 + 2  # a silent word, an end for each unit
    phase = silent_steps(1, 0, outputs=4) + 1 + (4 * 20 - 1) * period  # the second unit is four outputs away
    assert took(trace, chip) == phase + behind + 2
    if order != "qk_first":
        assert behind + 2 == 482


def test_masked_attention():
    """The same with 3 cycles for the sums, 1 for the neurons, 3 for the mask: 4 x 2 x 7 + 2 = 58 behind the phase."""
    streams = [silence("given", 4, 20, 3 * 4 * 8), silence("made", 4, 20, 4 * 8)]
    layer = Attention(name="mix", source="given", target="made", heads=4, theta=1, form="hadamard")
    trace = trace_of([layer], streams, 4)
    chip = quick(core__encode_width=96, attention__units=2, attention__width=64, attention__sweep_width=8)
    placement = place(trace, chip)
    assert attention_cycles(placement, placement.plans[0]).tolist() == [4 * 2 * (3 + 1 + 3)] * 2
    assert took(trace, chip) == silent_steps(1, 0, outputs=4) + 1 + (4 * 20 - 1) * 4 + 58


# ---- D ----


def test_dram():
    """60 ns at 500 MHz, 25.6 bytes a cycle, bursts of 64: 1,000 bytes take 30 + 40 cycles; the layer starts in 71."""
    dram = {"dram__latency_ns": 60.0, "dram__bandwidth_gb_s": 12.8, "dram__burst_bytes": 64}
    chip = quick(clock_mhz=500.0, core__weight_word_bits=16, **dram)
    assert (chip.in_bursts(1000), chip.dram_cycles(1000)) == (1024, 70)
    trace = linear_trace(np.ones((20, 50), int), np.zeros((1, 1, 50), int))  # 50 rows of 10 words of 2 bytes
    assert run(trace, chip).causes[0, Cause.DRAM] == simulate_slowly(trace, chip).causes[0]["DRAM"] == 71


# ---- L ----


def test_the_pipeline():
    """Two layers of one neuron side by side, two tokens of one spike: E = 15 and 24, cycles 15 and 9."""
    weights = np.ones((1, 1), int)
    spiking = np.ones((1, 2, 1), int)
    trace = trace_of(
        [linear_of(weights, "given", "between", name="one"), linear_of(weights, "between", "made", name="two")],
        [stream_of("given", spiking), stream_of("between", spiking), silence("made", 1, 2, 1)],
        1,
    )
    chip = quick(schedule="pipelined", mesh__columns=2, core__contexts=2)
    assert run(trace, chip).cycles.tolist() == simulate_slowly(trace, chip).cycles == [[15, 9]]
    log = [(event, cycle) for cycle, unit, event, _ in logged(trace, chip) if unit == 1]
    assert [cycle for event, cycle in log if event == "release"] == [20, 23]


# ---- H: replays ----


def test_weights_of_unknown_value_take_the_room_of_the_largest():
    """600 weights of 8 bits on spikes: 76,200, which 18 bits hold and 17 do not."""
    exact = linear_trace(np.ones((1, 600), int), np.ones((1, 1, 600), int))
    unknown = replace(exact.layers[0], weights=replace(exact.layers[0].weights, values=None), bias=None, theta=None)
    replay = replace(exact, layers=(unknown,), level="replay", replay_reason="no values")
    run(replay, quick(core__accumulator_bits=18))
    with pytest.raises(UserError, match=r"needs 76,200 as the largest possible sum, but .* gives 65,535"):
        run(replay, quick(core__accumulator_bits=17))
