"""Each block's own parameter moves the cycles of a case built for it, exactly as its formula says.

Every number is worked out by hand from simulator/ARCHITECTURE.md and demanded of the simulator and of the oracle.
"""

import numpy as np
import pytest
from cases import chip_with
from oracle import simulate_slowly
from sparsespike.simulator.activity import Action, Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.trace import Attention, Conv, Events, Linear, Numerics, Select, Stream, Trace, Weights

ARRIVE = 1  # weights come in one transfer, and the channel of `quick` brings any in one cycle
WAY = 2  # a flit sent in 0 is at its router in 1, granted there in 1, in the FIFO at 1 + s = 2
END = 1  # an end-of-token flit


def quick(**changes):
    """One core; nothing in the way but what a test puts there: a row of 16 weights is fetched and added in 1 cycle."""
    base = {
        "mesh__columns": 1,
        "mesh__buffer_flits": 8,
        "core__fifo_flits": 16,
        "core__contexts": 16,
        "core__weight_format": "dense",
        "core__lanes": 16,
        "core__accumulator_banks": 16,
        "core__weight_banks": 6,
        "core__weight_word_bits": 24,
        "core__sweep_width": 16,
        "dram__latency_ns": 0.0,
        "dram__bandwidth_gb_s": 10000.0,
    }
    return chip_with(**(base | changes))


def expect_cycles(trace, chip, cycles, layer=0):
    """Both twins need exactly so many cycles."""
    assert simulate_slowly(trace, chip).cycles[0][layer] == cycles
    assert run(trace, chip).cycles[0, layer] == cycles


def trace_of(layers, streams, timesteps, kept=(), pixels=None):
    """One image; spikes are replayed, so that targets may stay silent."""
    numerics = Numerics(timesteps, 0, 8, 8, 16, 16)
    return Trace(numerics, {s.name: s for s in streams}, tuple(layers), 1, pixels, kept, None)


def stream_of(name, dense, height=1):
    """dense[timesteps, tokens, channels]."""
    dense = np.asarray(dense)
    kind = "integer" if dense.max() > 1 else "binary"
    return Stream(name, kind, dense.shape[2], height, dense.shape[1] // height, Events.from_dense(dense))


def linear_of(weights, source, target, selector=-1, name="layer"):
    outputs = len(weights)
    bias, theta = np.zeros(outputs, np.int32), np.ones(outputs, np.int32)
    sparse = Weights.from_dense(np.asarray(weights))
    return Linear(name=name, source=source, target=target, selector=selector, weights=sparse, bias=bias, theta=theta)


def linear_trace(weights, spikes):
    """One linear layer: weights[outputs][inputs] on spikes[timesteps][tokens][inputs]."""
    spikes = np.asarray(spikes)
    given = stream_of("given", spikes)
    made = stream_of("made", np.zeros((*spikes.shape[:2], len(weights)), int))
    return trace_of([linear_of(weights, "given", "made")], [given, made], len(spikes))


ROW = linear_trace(np.ones((16, 1), int), [[[1]]])  # one event, one row of 16 weights


def one_event(service, sweep=1):
    """ROW on one core: the event's way and service, the end of the token, the sweep."""
    return ARRIVE + WAY + service + END + sweep


# ---- core ----


@pytest.mark.parametrize(("lanes", "service"), [(16, 1), (15, 2), (8, 2), (4, 4), (3, 6), (1, 16)])
def test_lanes(lanes, service):
    expect_cycles(ROW, quick(core__lanes=lanes), one_event(service))


@pytest.mark.parametrize(("banks", "service"), [(16, 1), (8, 2), (4, 4), (3, 6), (1, 16)])
def test_accumulator_banks(banks, service):
    """16 outputs at once: the fullest bank has ceil(16 / banks) of them."""
    expect_cycles(ROW, quick(core__accumulator_banks=banks), one_event(service))


@pytest.mark.parametrize(("banks", "service"), [(6, 1), (5, 2), (3, 2), (2, 3), (1, 6)])
def test_weight_banks(banks, service):
    """16 weights, 3 to a word of 24 bits: 6 words, of which the fullest bank has ceil(6 / banks)."""
    expect_cycles(ROW, quick(core__weight_banks=banks), one_event(service))


@pytest.mark.parametrize(("bits", "service"), [(128, 1), (64, 2), (24, 6), (16, 8), (15, 16), (12, 16)])
def test_weight_word_bits(bits, service):
    """ceil(16 / floor(bits / 8)) words from one bank."""
    expect_cycles(ROW, quick(core__weight_banks=1, core__weight_word_bits=bits), one_event(service))


@pytest.mark.parametrize(("width", "sweep"), [(16, 1), (15, 2), (8, 2), (5, 4), (1, 16)])
def test_sweep_width(width, sweep):
    expect_cycles(ROW, quick(core__sweep_width=width), one_event(1, sweep))


@pytest.mark.parametrize(("bits", "padding"), [(4, 0), (3, 1), (2, 3), (1, 7)])
def test_index_bits(bits, padding):
    """The only weight is output 15: floor(15 / 2^bits) padding entries before it, one lane cycle each."""
    trace = linear_trace([[0]] * 15 + [[1]], [[[1]]])
    chip = quick(core__weight_format="csr", core__index_bits=bits, core__lanes=1, core__weight_word_bits=12)
    expect_cycles(trace, chip, one_event(padding + 1))
    assert run(trace, chip).count(Action.WEIGHT_READ) == padding + 1


@pytest.mark.parametrize(("form", "service"), [("dense", 6), ("bitmap", 2), ("csr", 1)])
def test_weight_format(form, service):
    """2 of 16 weights, one bank of 24 bits: 16 x 8 bits; 16 + 2 x 8 bits; 2 entries of 12 bits."""
    trace = linear_trace([[1], [1]] + [[0]] * 14, [[[1]]])
    expect_cycles(trace, quick(core__weight_format=form, core__weight_banks=1), one_event(service))


@pytest.mark.parametrize(("depth", "every"), [(1, 2), (2, 1), (16, 1)])
def test_fifo_flits(depth, every):
    """A slot is free the cycle after a service has begun: depth 1 takes a flit in 1 + s = 2 cycles, more hide that."""
    events = 9
    trace = linear_trace(np.ones((16, events), int), np.ones((1, 1, events), int))
    expect_cycles(trace, quick(core__fifo_flits=depth), ARRIVE + WAY + events * every + END + 1)


@pytest.mark.parametrize(("depth", "every"), [(1, 2), (2, 1), (8, 1)])
def test_buffer_flits(depth, every):
    """Room shows the cycle after a flit has left: a buffer of one flit takes one every other cycle."""
    events = 9
    trace = linear_trace(np.ones((16, events), int), np.ones((1, 1, events), int))
    expect_cycles(trace, quick(mesh__buffer_flits=depth), ARRIVE + WAY + events * every + END + 1)


TOKENS = 7
SILENT = linear_trace(np.ones((16, 1), int), np.zeros((1, TOKENS, 1), int))


@pytest.mark.parametrize("sweep", [1, 2, 4])
def test_one_context_waits_for_every_release(sweep):
    """A step's flit is served WAY after its grant, then swept; the next grant is 1 + the release."""
    chip = quick(core__contexts=1, core__sweep_width=16 // sweep)
    expect_cycles(SILENT, chip, ARRIVE + TOKENS * (WAY + END + sweep) + TOKENS - 1)


@pytest.mark.parametrize("sweep", [1, 2, 4])
def test_as_many_contexts_as_tokens_hide_all_but_the_sweeps(sweep):
    """End-of-token flits come one per cycle, and sweeps follow one another."""
    chip = quick(core__contexts=TOKENS, core__sweep_width=16 // sweep)
    expect_cycles(SILENT, chip, ARRIVE + WAY + END + TOKENS * sweep)


# ---- mesh ----

FLIT_BITS = 1 + 8 + 1 + 10 + 2  # end, tree, context, channel, value


@pytest.mark.parametrize(
    ("bits", "s"), [(64, 1), (FLIT_BITS, 1), (FLIT_BITS - 1, 2), (11, 2), (10, 3), (8, 3), (1, 22)]
)
def test_link_bits(bits, s):
    """Granted in 1 and 1 + s, each in the FIFO s later: the end of the token decides, or the event's service."""
    chip = quick(mesh__link_bits=bits, core__contexts=2)
    expect_cycles(ROW, chip, ARRIVE + max(1 + 2 * s, 2 + s) + END + 1)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize(("bits", "s"), [(64, 1), (11, 2), (6, 4)])
def test_hops(columns, bits, s):
    """The input channel is core 0's: its end-of-token flit, granted in 1 + s, crosses `columns` outputs to the last."""
    chip = quick(mesh__columns=columns, mesh__link_bits=bits, core__contexts=2)
    expect_cycles(ROW, chip, ARRIVE + (1 + s) + columns * s + END + 1)


@pytest.mark.parametrize(("bits", "flits"), [(1, 7), (2, 3), (3, 1), (8, 1)])
def test_value_bits(bits, flits):
    """A value of 7 goes as ceil(7 / (2^bits - 1)) flits, one cycle of service each."""
    expect_cycles(linear_trace(np.ones((16, 1), int), [[[7]]]), quick(mesh__value_bits=bits), one_event(flits))


# ---- token unit ----


def select_trace(form, tokens, keep, then=False):
    """A selector on silent tokens keeping the last ones; `then` a linear layer behind it."""
    given = stream_of("given", np.zeros((1, tokens, 4), int))
    learned = {}
    if form == "learned":
        hidden = np.ones((5, 4), int)
        hidden[0, 0] = 0  # E = 19 of 20
        learned = {
            "hidden": Weights.from_dense(hidden),
            "hidden_bias": np.zeros(5, np.int32),
            "score_weights": np.ones(5, np.int8),
        }
    layers = [Select(name="choice", source="given", form=form, keep=keep, **learned)]
    streams = [given]
    if then:
        layers.append(linear_of(np.ones((16, 4), int), "given", "made", 0, "behind"))
        streams.append(stream_of("made", np.zeros((1, tokens, 16), int)))
    kept = np.arange(tokens - keep, tokens, dtype=np.uint16)[None]
    return trace_of(layers, streams, 1, (kept,))


def gathered(tokens):
    """Silent tokens to the token unit, one column east: an end-of-token flit per cycle, one more hop than to a core."""
    return WAY + 1 + tokens


@pytest.mark.parametrize("width", [1, 3, 4, 8])
def test_scan_width(width):
    """Only token 7 is left: 8 bits are scanned in front of it; before, 8 bits of the bitmap were written."""
    trace, scan = select_trace("random", 8, 1, then=True), -(-8 // width)
    chip = quick(token_unit__scan_width=width)
    expect_cycles(trace, chip, gathered(8) + scan, layer=0)
    expect_cycles(trace, chip, scan + WAY + END + 1, layer=1)
    causes = run(trace, chip).causes[1]
    assert causes[Cause.GRANT_WAIT] == scan


@pytest.mark.parametrize("comparators", [1, 2, 3, 8])
def test_comparators(comparators):
    chip = quick(token_unit__comparators=comparators, token_unit__scan_width=8)
    expect_cycles(select_trace("rate", 8, 3), chip, gathered(8) + 8 * -(-8 // comparators) + 1)


@pytest.mark.parametrize(("form", "entries"), [("csr", 19), ("dense", 20)])
@pytest.mark.parametrize("macs", [1, 2, 4, 7, 19, 20, 64])
def test_macs(form, entries, macs):
    """Per token the hidden weights, then the 5 scores; its weights were brought before."""
    chip = quick(token_unit__macs=macs, token_unit__comparators=8, token_unit__scan_width=8, core__weight_format=form)
    scored = 8 * (-(-entries // macs) + -(-5 // macs))
    expect_cycles(select_trace("learned", 8, 3), chip, ARRIVE + gathered(8) + scored + 8 + 1)


# ---- attention ----

HEADS, D = 2, 4


def attention_trace(tokens):
    given = stream_of("given", np.zeros((1, tokens, 3 * HEADS * D), int))
    made = stream_of("made", np.zeros((1, tokens, HEADS * D), int))
    return trace_of([Attention(name="mix", source="given", target="made", heads=HEADS, theta=1)], [given, made], 1)


def brought(tokens):
    """Silent tokens to unit 0, two columns east of the core; a single unit, so one tree."""
    return WAY + 2 + tokens


@pytest.mark.parametrize("width", [256, 64, 50, 8, 1])
def test_attention_width(width):
    """Both heads on one unit: two products of 8 x 8 x 4 each, then 8 x 4 neurons, 16 at a time."""
    chip = quick(attention__width=width, attention__sweep_width=16, attention__order="qk_first")
    expect_cycles(attention_trace(8), chip, brought(8) + HEADS * (2 * -(-8 * 8 * D // width) + 2))


@pytest.mark.parametrize(("sweep_width", "sweep"), [(32, 1), (31, 2), (8, 4), (1, 32)])
def test_attention_sweep_width(sweep_width, sweep):
    chip = quick(attention__width=256, attention__sweep_width=sweep_width, attention__order="qk_first")
    expect_cycles(attention_trace(8), chip, brought(8) + HEADS * (2 + sweep))


@pytest.mark.parametrize(("tokens", "products"), [(3, 3 * 3 * D), (4, 4 * 4 * D), (5, 5 * D * D), (9, 9 * D * D)])
def test_attention_order_auto(tokens, products):
    """More tokens than the head is wide: K^TV first, which takes tokens x d x d; else tokens x tokens x d."""
    chip = quick(attention__width=1, attention__sweep_width=64)
    expect_cycles(attention_trace(tokens), chip, brought(tokens) + HEADS * (2 * products + 1))


def test_attention_order_gives_in_where_accumulators_are_missing():
    """9 tokens: 9 + 9 x 4 accumulators are there, 4 x 4 + 9 x 4 are not."""
    chip = quick(attention__width=1, attention__sweep_width=64, attention__accumulator_words=51)
    expect_cycles(attention_trace(9), chip, brought(9) + HEADS * (2 * 9 * 9 * D + 1))
    chip = quick(attention__width=1, attention__sweep_width=64, attention__accumulator_words=52)
    expect_cycles(attention_trace(9), chip, brought(9) + HEADS * (2 * 9 * D * D + 1))


# ---- input convolution and DRAM ----


def pixel_trace(timesteps=3):
    """2 x 2 pixels of 1 channel, kernel 1, 16 outputs."""
    bias, theta = np.zeros(16, np.int32), np.ones(16, np.int32)
    weights = Weights.from_dense(np.ones((16, 1, 1, 1), int))
    layer = Conv(name="stem", source="pixels", target="made", weights=weights, bias=bias, theta=theta)
    streams = [Stream("pixels", "real", 1, 2, 2), stream_of("made", np.zeros((timesteps, 4, 16), int), 2)]
    return trace_of([layer], streams, timesteps, pixels=np.ones((1, 1, 2, 2), np.int8))


@pytest.mark.parametrize(("macs", "each"), [(16, 1), (15, 2), (8, 2), (3, 6), (1, 16)])
@pytest.mark.parametrize("sweep", [1, 2])
def test_input_macs(macs, each, sweep):
    """4 pixels, done once; 4 outputs of 16 channels swept at each of 3 timesteps."""
    chip = quick(core__input_macs=macs, core__sweep_width=16 // sweep)
    expect_cycles(pixel_trace(), chip, ARRIVE + 4 * each + 3 * 4 * sweep)


@pytest.mark.parametrize(
    ("bandwidth", "latency", "burst", "cycles"),
    [
        (1.0, 0.0, 1, 9),  # 18 bytes at 2 bytes per cycle of 500 MHz
        (0.5, 0.0, 1, 18),
        (1.0, 0.0, 32, 16),
        (1.0, 0.0, 64, 32),
        (0.3, 0.0, 1, 30),  # exactly 30: 18 / 0.6, which a binary float would round up
        (1.0, 50.0, 1, 25 + 9),
        (1.0, 50.1, 1, 26 + 9),
    ],
)
def test_dram(bandwidth, latency, burst, cycles):
    """The row's 6 words of 24 bits must be there before the layer starts."""
    chip = quick(dram__bandwidth_gb_s=bandwidth, dram__latency_ns=latency, dram__burst_bytes=burst)
    expect_cycles(ROW, chip, one_event(1) - ARRIVE + cycles)
    assert run(ROW, chip).causes[0, Cause.DRAM] == cycles
    assert run(ROW, chip).counts[0, Action.DRAM_READ] == -(-18 // burst) * burst


BYTES = 16 * 6 * 3  # 16 rows of 16 weights, 6 words of 24 bits each
WORK = WAY + END + 1  # a silent token


def stack(layers):
    """Silent layers of 16 to 16 channels."""
    streams = [stream_of(f"s{index}", np.zeros((1, 1, 16), int)) for index in range(layers + 1)]
    square = np.ones((16, 16), int)
    return trace_of(
        [linear_of(square, f"s{index}", f"s{index + 1}", name=f"layer{index}") for index in range(layers)], streams, 1
    )


def holding(layers):
    """Room for the weights of so many layers, and a channel that brings one of them in BYTES / 2 cycles."""
    return quick(core__weight_kib=layers * BYTES / 1024, dram__bandwidth_gb_s=1.0, dram__burst_bytes=1)


@pytest.mark.parametrize(
    ("layers", "held", "waiting"),
    [
        (2, 2, BYTES // 2 - WORK),  # both fit: the second came on while the first worked
        (2, 1, BYTES // 2),  # it waits for the first layer's end
        (3, 2, BYTES // 2 - WORK),  # two of three: allowed from the start of the layer before
        (3, 1, BYTES // 2),
    ],
)
def test_weight_kib(layers, held, waiting):
    expect_cycles(stack(layers), holding(held), BYTES // 2 + WORK, layer=0)
    for layer in range(1, layers):
        expect_cycles(stack(layers), holding(held), waiting + WORK, layer=layer)


@pytest.mark.parametrize(("room", "beyond"), [(4, 0), (3, 1), (1, 3)])
def test_spike_kib(room, beyond):
    """16 + 16 spikes are 4 bytes; those beyond are written and read, 2 bytes per cycle, while the layer works."""
    chip = quick(core__spike_kib=room / 1024, dram__bandwidth_gb_s=1.0, dram__burst_bytes=1, dram__latency_ns=100.0)
    moved = 50 + beyond if beyond else 0
    expect_cycles(stack(1), chip, 50 + BYTES // 2 + max(WORK, moved))
    counts = run(stack(1), chip).counts[0]
    assert (counts[Action.DRAM_READ], counts[Action.DRAM_WRITE]) == (BYTES + beyond, beyond)


@pytest.mark.parametrize(("order", "held"), [("time_outer", 64), ("time_inner", 16 * 64)])
@pytest.mark.parametrize("beyond", [0, 4, 7])
def test_potential_kib(order, held, beyond):
    """16 potentials of 32 bits; with `time_inner` a set per context. Those beyond go out and in twice for 3 steps."""
    trace = linear_trace(np.ones((16, 16), int), np.zeros((3, 1, 16), int))
    chip = quick(
        core__potential_kib=(held - beyond) / 1024,
        core__order=order,
        dram__bandwidth_gb_s=1.0,
        dram__burst_bytes=1,
        dram__latency_ns=100.0,
    )
    work = WAY + END + 3  # three silent steps, their sweeps one after the other
    moved = 50 + 2 * beyond if beyond else 0
    expect_cycles(trace, chip, 50 + BYTES // 2 + max(work, moved))
    assert run(trace, chip).counts[0, Action.DRAM_WRITE] == 2 * beyond
