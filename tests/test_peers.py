"""Published accelerators' models against a slow twin on traces of any shape, and rule by rule."""

import numpy as np
import pytest
from peers_cases import STEPS, Net, draw_trace
from peers_twin import run_slowly
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.peers import PEERS, run_peers
from sparsespike.simulator.synthetic import synthetic_trace
from sparsespike.simulator.trace import Window

CASES = 150


def costs_of(report, name):
    """[(cycles, neuron cycles, DRAM bits)] by layer."""
    return [(cost.cycles, cost.neuron_cycles, cost.dram_bits) for cost in report.runs[name].costs]


def alone(dense, outputs=16, window=None, size=None):
    """The report of one layer on dense[timesteps, tokens, channels]: linear, or with a window a convolution."""
    net = Net(1, len(dense))
    if window is None:
        net.linear(np.asarray(dense)[None], outputs)
    else:
        net.conv(np.asarray(dense)[None], size, outputs, window)
    return run_peers(net.trace())


# ---- the slow twin


def differences(trace):
    """Where the models and the twin are not equal, as text."""
    report, (slow, bit, product) = run_peers(trace), run_slowly(trace)
    wrong = []
    for name in PEERS:
        for index, found in enumerate(costs_of(report, name)):
            each = zip(*(image[index] for image in slow[name]), strict=True)
            expected = tuple(None if part[0] is None else sum(part) for part in each)
            if found != expected:
                wrong.append(f"{name}, {report.layers[index].name}: {found}, expected {expected}")
        totals = tuple(sum(cycles + behind for cycles, behind, _ in image) for image in slow[name])
        if report.runs[name].cycles_per_image != totals:
            wrong.append(f"{name}: {report.runs[name].cycles_per_image}, expected {totals}")
    if (report.density.bit, report.density.product) != (bit, product):
        wrong.append(f"densities {report.density}, expected {bit} and {product}")
    return wrong


@pytest.mark.parametrize("first", range(0, CASES, 30))
def test_both_twins_agree_on_traces_of_any_shape(first):
    for seed in range(first, first + 30):
        assert differences(draw_trace(seed)) == [], seed


def test_the_drawn_traces_have_what_they_should():
    """Every kind of layer, every number of timesteps, several tiles, silent and full ones, padded arrays of PTB."""
    traces = [draw_trace(seed) for seed in range(CASES)]
    layers = [layer for trace in traces for layer in run_peers(trace).layers]
    assert {trace.numerics.timesteps for trace in traces} == set(STEPS)
    assert {layer.kind for layer in layers} == {"conv", "linear", "attention"}
    assert {trace.images for trace in traces} == {1, 2}
    assert any(trace.kept for trace in traces)
    for seen in (
        lambda layer: layer.rows > 256,
        lambda layer: layer.columns > 16,
        lambda layer: layer.outputs > 128,
        lambda layer: layer.graded > 0,
        lambda layer: layer.spikes == 0,
        lambda layer: layer.density.bit == 1,
        lambda layer: layer.rows % 8 and layer.rows > 8,
        lambda layer: layer.rows == 1,
    ):
        assert sum(1 for layer in layers if seen(layer)) >= 3


@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((6, 6), Window(1, 1)),
        ((7, 5), Window(3, 3, 2, 1, 1)),
        ((1, 30), Window(1, 5, 3, 0, 2)),
        ((4, 4), Window(4, 4)),
        ((16, 20), Window(2, 3, 1, 0, 1)),
    ],
)
def test_silent_and_full_maps(steps, full, size, window):
    net = Net(1, steps)
    net.conv(np.full((1, steps, size[0] * size[1], 3), full, np.uint8), size, 130, window)
    net.linear(np.full((1, steps, 9, 33), full, np.uint8), 130)
    net.attention(np.full((1, steps, 9, 12), full, np.uint8), 2, "product")
    assert differences(net.trace()) == []


@pytest.mark.parametrize(
    ("tokens", "inputs", "outputs"),
    [
        (150, 128, 16),  # weights of just a tile's bits: they stay
        (150, 128, 17),
        (150, 16, 300),  # one tile of columns: they stay
        (150, 17, 300),
        (64, 16, 300),  # spikes of just a tile's bits
        (64, 17, 300),
        (8, 8, 128),  # neurons that make just a tile's bits, so that the next layer fetches them
        (8, 8, 127),
    ],
)
def test_what_just_fits_the_buffers(tokens, inputs, outputs):
    rng = np.random.default_rng(8)
    net = Net(1, 4)
    net.linear((rng.random((1, 4, tokens, inputs)) < 0.2).astype(np.uint8), outputs)
    net.linear((rng.random((1, 4, 9, 9)) < 0.2).astype(np.uint8), 9)
    assert differences(net.trace()) == []


@pytest.mark.parametrize("form", ["product", "hadamard"])
@pytest.mark.parametrize(("tokens", "width"), [(60, 46), (46, 46), (47, 60), (60, 45), (32, 32), (64, 32), (128, 8)])
@pytest.mark.parametrize("before", [8, 300])
def test_wide_attention(form, tokens, width, before):
    """What the first product makes fits as weights of the second up to 45 x 45; before: whether q, k, v are stored."""
    rng = np.random.default_rng(9)
    net = Net(1, 1)
    net.linear((rng.random((1, 1, 16, 9)) < 0.2).astype(np.uint8), before)
    net.attention((rng.random((1, 1, tokens, 6 * width)) < 0.1).astype(np.uint8), 2, form)
    net.linear((rng.random((1, 1, 9, 9)) < 0.2).astype(np.uint8), 9)
    assert differences(net.trace()) == []


def test_neurons_that_attention_does_not_hide():
    """Many neurons behind silent attention: they end later than the last tile's would."""
    net = Net(1, 1)
    net.attention(np.zeros((1, 1, 2000, 3 * 64), np.uint8), 2, "product")
    trace = net.trace()
    assert differences(trace) == []
    (cost,) = run_peers(trace).runs["prosperity"].costs
    assert cost.total == 2000 * 64 // 32 * 2  # all that its neurons take, and nothing else


# ---- rules, each by hand


def left_of(rows):
    """Ones that product sparsity leaves in rows of one timestep, of which the only column tile is made."""
    density = alone(np.array([rows], np.uint8)).layers[0].density
    return density.left


def test_prefixes():
    """A row starts from the largest other whose spikes are among its own; of equal rows only the first is computed."""
    assert left_of([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]) == 2 + 1 + 1
    assert left_of([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]) == 1 + 1 + 2  # the order makes no difference
    assert left_of([[1, 1, 0, 0], [0, 0, 1, 1]]) == 4
    assert left_of([[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]]) == 2
    assert left_of([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]) == 1 + 1 + 2  # one spike takes no prefix, but is one
    assert left_of([[0, 0, 0, 0], [1, 1, 0, 0]]) == 2


def test_prefixes_end_with_their_tile():
    spikes = np.zeros((1, 257, 2), np.uint8)
    spikes[0, [0, 255, 256]] = 1
    assert alone(spikes).layers[0].density.left == 2 + 0 + 2


def test_prosperity_orders_rows_by_place_and_sato_by_time():
    """Two places, 256 timesteps: to Prosperity the first place is a tile."""
    spikes = np.zeros((256, 2, 2), np.uint8)
    spikes[:, 0] = 1
    assert alone(spikes).layers[0].density.left == 2
    rows = np.zeros((2, 100, 7), np.uint8)  # first all places have one spike, then seven
    rows[:, :, 0] = rows[1] = 1
    by_time, by_place = (most_of_units(order.sum(2).reshape(-1)) for order in (rows, rows.transpose(1, 0, 2)))
    assert (by_time, by_place) == (8, 9)
    assert alone(rows).runs["sato"].costs[0].cycles == by_time * 16


def most_of_units(spikes):
    """Most of 128 units, each row to the one with least."""
    units = [0] * 128
    for count in spikes:
        units[units.index(min(units))] += int(count)
    return max(units)


def test_an_exact_match_takes_a_cycle():
    """256 equal rows of 16 spikes and 128 outputs: 16 cycles for the first, one for each other."""
    report = alone(np.ones((1, 256, 16), np.uint8), 128)
    cost = report.runs["prosperity"].costs[0]
    first, all_bits = 16 * 128 * 8 + 16 * 256, 16 * 128 * 8 + 256 * 16
    assert all_bits == first
    assert cost.cycles == first // 1024 + max(16 + 255, 256 + 256 // 8)  # searching, and counting 8 rows per cycle
    assert report.runs["prosperity_bit_sparse"].costs[0].cycles == first // 1024 + 256 * 16
    assert cost.neuron_cycles == 256 * 128 // 32 * 2


def test_neurons():
    """48 neurons in 8 timesteps; SATO takes log2 T + 1, PTB and MINT 3 of 16, Eyeriss nothing below 12 timesteps."""
    behind = {name: run.costs[0].neuron_cycles for name, run in alone(np.zeros((8, 3, 4), np.uint8)).runs.items()}
    assert behind == {
        "eyeriss": 0,
        "ptb": 48 * 8 * 3 // 16,
        "sato": 48 * 4,
        "mint": 48 * 8 * 3 // 16,
        "prosperity_bit_sparse": 2 * 8 * 2,
        "prosperity": 2 * 8 * 2,
    }
    thirty = {name: run.costs[0].neuron_cycles for name, run in alone(np.zeros((30, 3, 4), np.uint8)).runs.items()}
    assert thirty["eyeriss"] == 2 * 48 // 14
    assert thirty["sato"] == 48 * (np.log2(30.0) + 1)


def test_ptb_pairs_inputs_that_never_meet():
    """One window on 8 places: inputs 0 and 1 share a step, 2 is everywhere, 3 nowhere, 4 meets all others."""
    spikes = np.zeros((4, 8, 5), np.uint8)
    spikes[0, :4, 0] = spikes[1, 4:, 1] = spikes[:, :, 2] = spikes[3, 1:7, 4] = 1
    cost = alone(spikes, 17).runs["ptb"].costs[0]
    assert cost.cycles == 1 + (1 + 1 + 1) * 2 * 4 + 8 * 32
    on_one = alone(spikes[:, :1], 17).runs["ptb"].costs[0]  # one token: inputs that spike, 0 and 2
    assert on_one.cycles == 1 + 2 * 2 * 4 + 32


def test_a_flattened_map_is_a_linear_layer():
    """A window over the whole map costs what a linear layer on its places costs, in every peer."""
    rng = np.random.default_rng(5)
    maps = (rng.random((6, 12, 4)) < 0.3).astype(np.uint8)  # 3 x 4 places
    flat = maps.transpose(0, 2, 1).reshape(6, 1, 48)
    conv, linear = alone(maps, 40, Window(3, 4), (3, 4)), alone(flat, 40)
    for name in PEERS:
        assert costs_of(conv, name) == costs_of(linear, name)


def test_pooled_sums_have_neurons_behind_the_pool():
    net = Net(1, 4)
    spikes = np.ones((1, 4, 36, 2), np.uint8)
    net.conv(spikes, (6, 6), 8, Window(3, 3, 1, 1, 1))
    net.conv(spikes, (6, 6), 8, Window(3, 3, 1, 1, 1), Window(2, 2, 2))
    plain, pooled = run_peers(net.trace()).layers
    assert (plain.rows, pooled.rows) == (4 * 36, 4 * 36)
    assert (plain.neurons, pooled.neurons) == (36 * 8, 9 * 8)


def test_only_kept_tokens_are_there():
    rng = np.random.default_rng(6)
    spikes = (rng.random((1, 3, 10, 8)) < 0.4).astype(np.uint8)
    net = Net(1, 3)
    net.select(spikes, 4, rng)
    net.linear(spikes, 5)
    trace = net.trace()
    report, bare = run_peers(trace), alone(spikes[0][:, trace.kept[0][0]], 5)
    for name in PEERS:
        assert costs_of(report, name) == costs_of(bare, name)


def test_values_count_as_one_spike():
    rng = np.random.default_rng(7)
    spikes = rng.integers(0, 4, (4, 6, 8)).astype(np.uint8)
    graded, plain = alone(spikes), alone(np.minimum(spikes, 1))
    assert graded.layers[0].graded == (spikes > 1).sum()
    for name in PEERS:
        assert costs_of(graded, name) == costs_of(plain, name)


# ---- laws


@pytest.mark.parametrize("seed", range(0, CASES, 10))
def test_laws(seed):
    """Images stand alone, layers add up, product sparsity leaves no more than there is, DRAM only knows shapes."""
    trace = draw_trace(seed)
    whole, plain = run_peers(trace), run_peers(trace).to_json()
    for layer in whole.layers:
        assert 0 <= layer.density.left <= layer.density.spikes <= layer.density.elements
    for name, run in whole.runs.items():
        assert sum(run.cycles_per_image) == pytest.approx(run.cycles, rel=1e-12)
        assert run.cycles_per_image[0] == run_peers(trace, 1).runs[name].cycles
        peer = plain["peers"][name]
        assert sum(layer["cycles"] for layer in peer["layers"]) == pytest.approx(peer["cycles"], rel=1e-12)
        for part, total in peer["energy_pj"].items():
            found = sum(layer["energy_pj"][part] for layer in peer["layers"])
            assert found == pytest.approx(total, rel=1e-9)
    assert whole.runs["prosperity"].dram_bits % trace.images == 0


def test_progress_and_images():
    trace = draw_trace(next(seed for seed in range(CASES) if draw_trace(seed).images == 2))
    told = []
    assert run_peers(trace, 99, lambda done, total: told.append((done, total))).images == 2
    assert told == [(1, 2), (2, 2)]
    assert run_peers(trace, 1).images == 1


# ---- what is refused


def test_an_ann_is_refused():
    with pytest.raises(UserError, match="of an ANN, whose activations have 8 bits"):
        run_peers(synthetic_trace(neuron="relu", depth=1))


def test_a_trace_that_no_peer_runs_is_refused():
    trace = synthetic_trace(sps=(8,), depth=0, pools=())
    with pytest.raises(UserError, match=r"no layer .*sps0: reads pixels, not spikes; head: the classifier"):
        run_peers(trace)
