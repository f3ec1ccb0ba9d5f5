"""All layers at work at once (section L): throughput, room, order and refusals, by formulas worked out by hand.

Every number is demanded of the simulator and of the oracle.
"""

from dataclasses import replace

import numpy as np
import pytest
from handmade import (
    CLOSE,
    END,
    HEADS,
    HOP,
    LOOK_UP,
    READ,
    SEND,
    WAY,
    D,
    linear_of,
    logged,
    pixel_trace,
    quick,
    select_trace,
    silence,
    silent_steps,
    stack,
    stream_of,
    trace_of,
    up,
)
from oracle import simulate_slowly
from sparsespike.simulator.activity import Cause
from sparsespike.simulator.engine import run
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.placement import place
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Attention, Head, Weights

WRITTEN = 1  # C5: the last word of a sweep
LAYER = 32  # a step in the log is layer << LAYER | number


def pipelined(columns, **changes):
    """`quick` cores in a row, all layers at work."""
    return quick(schedule="pipelined", mesh__columns=columns, **changes)


def both(trace, chip):
    """Activity, after both twins agreed on cycles by image and layer, and the causes add up (C9, L10)."""
    result = run(trace, chip)
    assert result.cycles.tolist() == simulate_slowly(trace, chip).cycles
    assert result.causes.sum() == result.total_cycles * result.cores
    return result


def ends(result):
    """L9: the latest E up to each image and layer."""
    return np.cumsum(result.cycles.reshape(-1)).reshape(result.cycles.shape)


def passed(service=1, sweep=1, outputs=1):
    """From the moment that a token of one spike is ready to its release in the layer; outputs on the way."""
    return WAY + (outputs - 1) * HOP + service + END + sweep + WRITTEN


def several(trace, images):
    """The same silent trace, so many images."""
    timesteps = trace.numerics.timesteps

    def longer(stream):
        if stream.events is None:
            return stream
        shape = (images * timesteps, stream.tokens, stream.channels)
        return replace(stream, events=stream_of("", np.zeros(shape, int)).events)

    return replace(
        trace,
        images=images,
        streams={name: longer(stream) for name, stream in trace.streams.items()},
        pixels=None if trace.pixels is None else np.repeat(trace.pixels, images, axis=0),
        kept=tuple(np.repeat(kept, images, axis=0) for kept in trace.kept),
    )


def chain(widths, images=1, tokens=1):
    """Linear layers widths[0] -> widths[1] -> ..., every token of every stream with one spike, in channel 0."""
    streams, layers = [], []
    for index, channels in enumerate(widths):
        spikes = np.zeros((images, tokens, channels), int)
        spikes[:, :, 0] = 1
        streams.append(stream_of(f"s{index}", spikes))
        if index:
            weights = np.ones((channels, widths[index - 1]), int)
            layers.append(linear_of(weights, f"s{index - 1}", f"s{index}", name=f"layer{index - 1}"))
    return _of_images(layers, streams, images)


def _of_images(layers, streams, images):
    """trace_of for streams that hold so many images of one timestep."""
    rows = [stream.events.to_dense(stream.channels)[: stream.tokens] for stream in streams]
    first = [stream_of(stream.name, row[None]) for stream, row in zip(streams, rows, strict=True)]
    whole = {stream.name: stream for stream in streams}
    return replace(trace_of(layers, first, 1), images=images, streams=whole)


def opened(trace, chip, layer, number):
    """Cycle in which a layer's step gets its context on the consumers."""
    wanted = layer << LAYER | number
    return {cycle for cycle, _, event, value in logged(trace, chip) if event == "open" and value == wanted}


# ---- the worked example, and throughput ----


def test_the_worked_example_of_section_l():
    chip = pipelined(2, core__contexts=2)
    result = both(chain([1, 1, 1], tokens=2), chip)
    assert ends(result).tolist() == [[15, 24]]
    assert result.cycles.tolist() == [[15, 9]]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("lanes", "sweep_width"), [(16, 2), (16, 1), (4, 16), (4, 2), (1, 16), (1, 1)])
def test_throughput(lanes, sweep_width, layers):
    """The slowest of encoder, adders and sweep sets the pace of all layers and images; the way is paid once.

    4 contexts: the FIFO takes all flits of a layer, so that none stand in the way of the next layer's in a router.
    """
    tokens, images = 8, 3
    service, sweep = 16 // lanes, 16 // sweep_width
    pace = max(READ + SEND + END, service + END, sweep)
    begin = 1 + layers  # L3: one cycle per transfer
    way = passed(service, sweep) + (layers - 1) * passed(service, sweep, outputs=2)
    chip = pipelined(layers, core__contexts=4, core__lanes=lanes, core__sweep_width=sweep_width)
    trace = chain([16] * (layers + 1), images, tokens)
    assert both(trace, chip).total_cycles == begin + way + (images * tokens - 1) * pace + 1


def test_two_encoders_share_an_input():
    """N5: with nothing else in the way, core 0 sends the flits of two layers, and their pace is no longer three."""
    trace = chain([16, 16, 16], 3, 8)
    alone = 3 + passed() + passed(outputs=2) + (3 * 8 - 1) * (READ + SEND + END) + 1
    assert both(trace, pipelined(2)).total_cycles > alone


# ---- L1: shares of cores ----


def test_more_groups_than_cores_are_refused():
    place(stack(3), pipelined(3))
    with pytest.raises(UserError, match=r"3\s+groups"):
        place(stack(3), pipelined(2))


@pytest.mark.parametrize("cores", [3, 4, 7, 12, 16])
def test_shares_by_weight(cores):
    """Group g from core g + floor((N - G) S_g / S) on; within it, channels by weight (P1)."""
    rng = np.random.default_rng(5)
    widths = [8, 40, 20, 60]
    weights = [(rng.random(shape) < 0.3).astype(int) for shape in zip(widths[1:], widths, strict=False)]
    streams = [silence(f"s{index}", 1, 1, width) for index, width in enumerate(widths)]
    layers = [linear_of(one, f"s{at}", f"s{at + 1}", name=f"layer{at}") for at, one in enumerate(weights)]
    chip = pipelined(cores, core__weight_format="csr")
    found = place(trace_of(layers, streams, 1), chip).plans
    heavy = [[1 + int(row.sum()) for row in one] for one in weights]
    totals = [sum(one) for one in heavy]
    first = [g + (cores - 3) * sum(totals[:g]) // sum(totals) for g in range(4)]
    assert first[3] == cores
    for group, (plan, channels) in enumerate(zip(found, heavy, strict=True)):
        mine, before = first[group + 1] - first[group], 0
        owner = []
        for weight in channels:
            owner.append(first[group] + mine * (2 * before + weight) // (2 * totals[group]))
            before += weight
        assert plan.cut.owner.tolist() == owner


# ---- L2: what must fit together, though each alone fits ----

TOKENS = 5


def joined():
    """Two layers of 16 channels that a residual joins, on one core; 1, 1 and 2 bits of spikes."""
    layers = stack(2).layers
    layers = [layers[0], replace(layers[1], residual="s1")]
    streams = [silence(f"s{index}", 1, TOKENS, 16) for index in range(3)]
    return trace_of(layers, streams, 1)


def selecting():
    """Two learned selectors, a layer behind each."""
    one = select_trace("learned", 8, 4, then=1)
    again = replace(one.layers[0], name="again", source="made0", selector=0, keep=2, hidden=_hidden(), form="learned")
    last = linear_of(np.ones((16, 16), int), "made0", "made1", 1, "last")
    kept = np.arange(6, 8, dtype=np.uint16)[None]
    streams = [*one.streams.values(), silence("made1", 1, 8, 16)]
    return trace_of([*one.layers, again, last], streams, 1, (*one.kept, kept))


def _hidden():
    return Weights.from_dense(np.ones((5, 16), int))


def attending():
    """Two attention layers of HEADS heads on one source, and a linear layer behind."""
    wide = 3 * HEADS * D
    mixes = [Attention(name=f"mix{at}", source="given", target=f"mixed{at}", heads=HEADS, theta=1) for at in range(2)]
    streams = [silence("given", 1, TOKENS, wide)] + [silence(f"mixed{at}", 1, TOKENS, HEADS * D) for at in range(2)]
    streams.append(silence("made", 1, TOKENS, 16))
    return trace_of([*mixes, linear_of(np.ones((16, HEADS * D), int), "mixed1", "made", name="last")], streams, 1)


ROWS, ROW_BITS = 2 * 16, 6 * 24
KEYS = {  # key: (trace, need, its unit in those of the key)
    "core.weight_kib": (joined(), ROWS * ROW_BITS, 1 / 8192),
    "core.pointer_kib": (joined(), ROWS * 4, 1 / 1024),
    "core.accumulator_words": (joined(), 2 * 3 * 16, 1),  # 3 contexts
    "core.potential_kib": (joined(), 2 * TOKENS * 16 * 32 // 8, 1 / 1024),
    "core.spike_kib": (joined(), 2 * TOKENS * 16 * (1 + 1 + 2) // 8, 1 / 1024),
    "token_unit.feature_kib": (selecting(), 8 * (4 + 16) * 16 // 8, 1 / 1024),
    "token_unit.weight_kib": (selecting(), (20 + 5) + (80 + 5), 1 / 1024),
    "attention.operand_kib": (attending(), 2 * 3 * TOKENS * HEADS * D // 8, 1 / 1024),
    "attention.accumulator_words": (attending(), 2 * (D * D + TOKENS * D), 1),
    "mesh.tree_bits": (stack(4), 2, 1),
}


@pytest.mark.parametrize("key", KEYS)
def test_all_layers_must_fit_together(key):
    trace, need, unit = KEYS[key]
    form = "csr" if key == "core.pointer_kib" else "dense"
    chip = pipelined(4, core__contexts=3, core__weight_format=form, mesh__tree_bits=8)
    if key.startswith("core."):
        chip = chip.replace({"mesh.columns": 1})
    tight = chip.replace({key: (need - 1) * unit})
    place(trace, chip.replace({key: need * unit}))
    place(trace, tight.replace({"schedule": "layerwise", "mesh.columns": 1}))  # each layer alone fits, or spills
    with pytest.raises(UserError, match=key):
        place(trace, tight)


# ---- L3: pixels ----


def job_of_pixels(timesteps):
    """I1: 4 pixels, 8 of their 16 outputs at a time."""
    return LOOK_UP + 4 * up(16, 8) + timesteps * 4 * 1 + CLOSE


@pytest.mark.parametrize(("bandwidth", "latency"), [(10000.0, 0.0), (1.0, 0.0), (1.0, 100.0), (0.1, 60.0)])
def test_pixels_of_a_later_image(bandwidth, latency):
    """They are asked for at the end of the convolution before; it begins in the cycle after they have come."""
    chip = pipelined(2, dram__bandwidth_gb_s=bandwidth, dram__latency_ns=latency, dram__burst_bytes=1)
    one = pixel_trace(1)
    behind = linear_of(np.ones((16, 16), int), "made", "last", name="behind")
    trace = trace_of([*one.layers, behind], [*one.streams.values(), silence("last", 1, 4, 16, 2)], 1, pixels=one.pixels)
    job, row = job_of_pixels(1), 6 * 3  # words of a row, bytes of a word
    begin = 1 + chip.dram_cycles(row + 4) + chip.dram_cycles(16 * row)
    later = chip.dram_cycles(4) + 1 + job
    tail = silent_steps(4, 1, outputs=2)
    result = both(several(trace, 3), chip)
    found = [begin + job + image * later + behind for image in range(3) for behind in (0, tail)]
    assert ends(result).reshape(-1).tolist() == np.maximum.accumulate(found).tolist()
    assert result.latency.tolist() == [job + tail] * 3


def test_nothing_but_jobs():
    """A trace without a single flit."""
    chip, images = pipelined(1), 3
    result = both(several(pixel_trace(3), images), chip)
    later = 1 + 1 + job_of_pixels(3)  # the pixels come in a cycle
    assert result.cycles.tolist() == [[2 + job_of_pixels(3)], [later], [later]]


# ---- L4, L5 ----


def branching(residual="", tokens=2):
    """Two layers on the same source; the second may add what the first made."""
    spikes = np.zeros((1, tokens, 16), int)
    spikes[:, :, 0] = 1
    square = np.ones((16, 16), int)
    layers = [linear_of(square, "given", "one", name="first"), linear_of(square, "given", "two", name="second")]
    layers[1] = replace(layers[1], residual=residual)
    streams = [stream_of("given", spikes), silence("one", 1, tokens, 16), silence("two", 1, tokens, 16)]
    return trace_of(layers, streams, 1)


def test_a_residual_must_be_on_the_way_to_the_source():
    place(branching("one"), quick())
    place(joined(), pipelined(1))
    place(branching("given"), pipelined(2))
    with pytest.raises(UserError, match="second"):
        place(branching("one"), pipelined(2))


def test_of_two_encoders_the_later_layer_goes_first():
    """Two steps of an event and an end each; the later layer's encoder never waits, the other fills its gaps."""
    chip = pipelined(2)
    begin = 1 + 2
    low = chip.context_bits + chip.mesh.channel_bits + chip.core.time_batch * chip.mesh.value_bits  # F4
    sent = [(cycle, flit) for cycle, unit, event, flit in logged(branching(), chip) if event == "send" and unit == 0]
    trees = [flit >> low & (2**chip.mesh.tree_bits - 1) for _, flit in sent]
    cycles = [cycle - begin for cycle, _ in sent]
    assert list(zip(cycles, trees, strict=True)) == [
        (1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (6, 0), (8, 0), (9, 0),
    ]  # fmt: skip


# ---- L7: jobs ----


@pytest.mark.parametrize("width", [64, 8, 1])
def test_attention_layers_on_one_unit_do_not_overlap(width):
    """The second one's events come first (L5), and the other waits for the unit until that is done."""
    trace = attending()
    chip = pipelined(1, attention__width=width, attention__order="qk_first", attention__sweep_width=64)
    job = HEADS * (2 * up(TOKENS * TOKENS * D, width) + 1) + 2
    arrived = 1 + 1 + silent_steps(TOKENS, 0, outputs=3)  # B, and 1 + the last release
    behind = arrived + job + silent_steps(TOKENS, 1, outputs=3)  # the linear layer, on what the second has made
    first = arrived + 2 * job
    assert ends(both(trace, chip)).tolist() == [[first, first, max(first, behind)]]


# ---- L8: room ----

SLOW = 64


def slow_second(images):
    """A layer of one neuron in front of one of SLOW neurons, one token, one spike."""
    return chain([1, 1, SLOW], images)


SLOW_CHIP = {"core__sweep_width": 1, "core__lanes": 64, "core__accumulator_banks": 64, "core__weight_banks": 32}
SLOW_BEGIN = 1 + 2
SLOW_DONE = SLOW_BEGIN + passed() + passed(sweep=SLOW, outputs=2)  # release in the second layer, image 0


def test_a_slow_reader_holds_its_source_back():
    """Each stream has room for two images: the third waits until the first has been read."""
    trace, chip = slow_second(3), pipelined(2, **SLOW_CHIP)
    assert opened(trace, chip, 0, 2) == {1 + SLOW_DONE}
    assert both(trace, chip).cycles[0].tolist() == [SLOW_BEGIN + passed() + 1, passed(sweep=SLOW, outputs=2)]


@pytest.mark.parametrize("images", [1, 2])
def test_two_images_have_room(images):
    trace, chip = slow_second(images), pipelined(2, **SLOW_CHIP)
    assert not [line for line in logged(trace, chip) if line[2] == "open"]


def classified(images):
    """A head of 16 classes on one token of one spike."""
    head = Head(
        name="head", source="s0", weights=Weights.from_dense(np.ones((16, 1), int)), bias=np.zeros(16, np.int64)
    )
    return _of_images([head], [stream_of("s0", np.ones((images, 1, 1), int))], images)


@pytest.mark.parametrize("sweep", [1, 4, 16])
def test_the_head_has_room_for_one_image(sweep):
    """An image's first step is granted in 1 + the release of the last one before it."""
    chip = pipelined(1, core__sweep_width=16 // sweep)
    trace, begin, once = classified(3), 1 + 1, passed(sweep=sweep)
    assert [opened(trace, chip, 0, number) for number in (1, 2)] == [{begin + once + 1}, {begin + 2 * once + 2}]
    result = both(trace, chip)
    assert result.cycles.tolist() == [[begin + once + 1], [once + 1], [once + 1]]
    assert result.latency.tolist() == [once + 1] * 3


# ---- L9, L10, K1 ----


def test_latency_of_two_images():
    """Both are granted at B; the second's last sweep follows the first's."""
    result = both(slow_second(2), pipelined(2, **SLOW_CHIP))
    first = SLOW_DONE - SLOW_BEGIN + 1
    assert result.latency.tolist() == [first, first + SLOW]
    assert result.total_cycles == SLOW_BEGIN + first + SLOW


def test_busy_units_are_summed_over_images():
    images = 3
    result = both(slow_second(images), pipelined(2, **SLOW_CHIP))
    assert (result.critical[1].resource, result.critical[1].cycles) == ("neuron_sweep", images * SLOW)
    assert (result.causes.sum(axis=0) >= 0).all()
    assert result.causes[0, Cause.DRAM] == SLOW_BEGIN * 2


def test_a_transformer_computes_what_its_trace_says():
    trace = synthetic_trace(images=3, sps=(4, 8), height=4, width=4, depth=2, timesteps=2, seed=3)
    found = run(trace, pipelined(4, mesh__rows=4), verify=True)
    assert found.verified.logits == 3 * 10
    assert found.causes.sum() == found.total_cycles * found.cores
