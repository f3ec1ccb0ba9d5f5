"""Lowering and export: folding, exactness, and a slow twin that replays a trace with plain loops."""

import dataclasses

import numpy as np
import pytest
import torch
from sparsespike.model import lowering
from sparsespike.model.calibrate import calibrate
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.data import Split, load_data
from sparsespike.model.evaluate import float_accuracy, integer_accuracy
from sparsespike.model.export import trace_ticket
from sparsespike.model.integer import IntegerNetwork
from sparsespike.model.lowering import fold_norm, lower, quantise_neurons
from sparsespike.model.pruning import apply_masks, full_masks, prunable, prune_survivors
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.ticket import Calibration, Ticket, load_ticket, make_ticket
from sparsespike.model.tickets import shipped
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.trace import Attention, Conv, Head, Linear, Pool, Select, Trace, load_trace, save_trace

TINY = SpikformerConfig(
    image_channels=2,
    image_size=5,
    timesteps=4,
    sps_channels=(4, 6),
    sps_pools=(True, False),
    depth=3,
    heads=2,
    mlp_ratio=2,
    attention_scale=0.5,  # so that so few tokens can make the attention's neurons fire
    classes=3,
    keep=0.6,
)


def random_ticket(config: SpikformerConfig, seed: int = 0, pruned: float = 0.5) -> Ticket:
    """An untrained network with lively neurons and batch norms that are not the identity."""
    torch.manual_seed(seed)
    model = Spikformer(config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "_bn" in name and tensor.ndim:
                # A high bias on q, k and v makes their spikes coincide, so that attention has something to do.
                offset = 2.0 if name.endswith(("q_bn.bias", "k_bn.bias", "v_bn.bias")) else 0.5
                tensor.copy_(torch.rand_like(tensor) + offset)
            elif tensor.ndim >= 2:
                tensor.copy_(torch.randn_like(tensor))
    masks = prune_survivors(prunable(model), full_masks(model), pruned)
    apply_masks(model, masks)
    return make_ticket(model, masks, calibrate(model, images_for(config, 20, 9)))


def images_for(config: SpikformerConfig, count: int, seed: int = 0) -> np.ndarray:
    shape = (count, config.image_channels, config.image_size, config.image_size)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def split_for(config: SpikformerConfig, count: int, seed: int = 0) -> Split:
    numbers = np.arange(count, dtype=np.int64)
    return Split(images_for(config, count, seed), numbers % config.classes, numbers)


def test_folded_batch_norm_equals_layer_then_norm():
    ticket = random_ticket(TINY)
    model = ticket.network()
    x = torch.rand(1, 1, 9, 6)
    attn = model.block[0].attn
    weight, bias = fold_norm(ticket.parameters, "block.0.attn.q_linear", "block.0.attn.q_bn")
    with torch.no_grad():
        expected = attn.q_bn(attn.q_linear(x)).double().numpy()
    np.testing.assert_allclose(x.double().numpy() @ weight.T + bias, expected, rtol=1e-5, atol=1e-5)


def test_quantised_channels_use_the_whole_range_and_keep_zeros():
    weight = np.array([[0.5, -1.0, 0.0], [0.25, 0.0, 0.125], [0.0, 0.0, 0.0]])
    integers, bias, theta = quantise_neurons(weight, np.array([0.1, 0.0, 0.3]), fraction_bits=3)
    assert integers.tolist() == [[64, -127, 0], [127, 0, 64], [0, 0, 0]]
    assert theta.tolist()[:2] == [int(np.ceil(16 * 127)), int(np.ceil(16 * 127 / 0.25))]
    assert bias[:2].tolist() == [13, 0]
    # An empty channel still has its bias in range, and keeps its proportion to the threshold.
    assert 0 < bias[2] <= 32767
    assert bias[2] / theta[2] == pytest.approx(0.3 / 16, rel=1e-3)


def test_a_bias_too_large_for_its_weights_enlarges_the_scale():
    integers, bias, theta = quantise_neurons(np.array([[1e-4, 2e-5]]), np.array([5.0]), fraction_bits=3)
    assert bias.tolist() == [32767]
    assert integers.tolist() == [[1, 0]]
    assert theta[0] == int(np.ceil(16 / (5 / 32767)))


class Twin:
    """Replays a trace's layers image by image with Python integers; reads only its layers, pixels and numerics."""

    def __init__(self, trace: Trace, image: int, drawn: list[list[int]]) -> None:
        self.trace, self.image, self.drawn = trace, image, drawn
        self.time = trace.numerics.timesteps
        tokens = max(stream.tokens for stream in trace.streams.values())
        self.kept = [set(range(tokens))]
        self.values: dict[str, list[list[list[int]]]] = {}  # stream -> [time][token][channel]
        flat = trace.pixels[image].reshape(trace.pixels.shape[1], -1).astype(int)
        self.values["pixels"] = [flat.T.tolist()] * self.time
        self.logits: list[int] = []
        for layer in trace.layers:
            getattr(self, type(layer).__name__.lower())(layer)

    def fire(self, layer, sums, bias, theta):
        """sums[time][token][channel] -> spikes, one neuron per token and channel, plus the residual."""
        spikes = [[[0] * len(row) for row in step] for step in sums]
        high = 2 ** (self.trace.numerics.potential_bits - 1)
        for token in range(len(sums[0])):
            for channel in range(len(sums[0][token])):
                u = 0
                for t in range(self.time):
                    u = u // 2 + (sums[t][token][channel] + bias[channel]) * 2**self.trace.numerics.fraction_bits
                    u = max(-high, min(high - 1, u))
                    if u >= theta[channel]:
                        spikes[t][token][channel], u = 1, 0
        if layer.residual:
            for t, step in enumerate(self.values[layer.residual]):
                for token, row in enumerate(step):
                    for channel, value in enumerate(row):
                        spikes[t][token][channel] += value
        self.values[layer.target] = spikes

    def weighted(self, weights, row, tap=0, into=None):
        """Scatter one input row through the sparse weights, the way events would."""
        sums = [0] * weights.output_channels if into is None else into
        for channel, value in enumerate(row):
            line = channel * weights.taps + tap
            for entry in range(weights.pointers[line], weights.pointers[line + 1]):
                sums[weights.outputs[entry]] += int(weights.values[entry]) * value
        return sums

    def conv(self, layer: Conv):
        stream, side = self.trace.streams[layer.source], layer.geometry.height
        sums = []
        for t in range(self.time):
            maps = [[0] * layer.weights.output_channels for _ in range(stream.tokens)]
            for y in range(stream.height):
                for x in range(stream.width):
                    for ky in range(side):
                        for kx in range(side):
                            oy, ox = y - ky + side // 2, x - kx + side // 2
                            if 0 <= oy < stream.height and 0 <= ox < stream.width:
                                row = self.values[layer.source][t][y * stream.width + x]
                                self.weighted(layer.weights, row, ky * side + kx, maps[oy * stream.width + ox])
            sums.append(maps)
        self.fire(layer, sums, layer.bias.tolist(), layer.theta.tolist())

    def pool(self, layer: Pool):
        before, after = self.trace.streams[layer.source], self.trace.streams[layer.target]
        self.values[layer.target] = [
            [
                [
                    max(
                        step[y * before.width + x][channel]
                        for y in range(max(0, 2 * oy - 1), min(before.height, 2 * oy + 2))
                        for x in range(max(0, 2 * ox - 1), min(before.width, 2 * ox + 2))
                    )
                    for channel in range(before.channels)
                ]
                for oy in range(after.height)
                for ox in range(after.width)
            ]
            for step in self.values[layer.source]
        ]

    def linear(self, layer: Linear):
        sums = [[self.weighted(layer.weights, row) for row in step] for step in self.values[layer.source]]
        self.fire(layer, sums, layer.bias.tolist(), layer.theta.tolist())

    def attention(self, layer: Attention):
        width = self.trace.streams[layer.target].channels
        share, tokens = width // layer.heads, self.trace.streams[layer.source].tokens
        alive = self.kept[-1] if layer.selector >= 0 else set(range(tokens))
        sums = [[[0] * width for _ in range(tokens)] for _ in range(self.time)]
        for t, step in enumerate(self.values[layer.source]):
            for i in range(tokens):
                for j in alive:
                    for channel in range(width):
                        head = channel // share
                        overlap = sum(step[i][c] * step[j][width + c] for c in range(head * share, (head + 1) * share))
                        sums[t][i][channel] += overlap * step[j][2 * width + channel]
        self.fire(layer, sums, [0] * width, [layer.theta] * width)

    def activation(self, layer: Select, p: int) -> int:
        if layer.table is None:
            return min(127, max(0, p))
        return int(layer.table[128 + min(127, max(-128, p))])

    def select(self, layer: Select):
        tokens = self.trace.streams[layer.source].tokens
        feature = [
            [sum(values) for values in zip(*(step[token] for step in self.values[layer.source]), strict=True)]
            for token in range(tokens)
        ]
        if layer.form == "random":
            self.kept.append(set(self.drawn[len(self.kept) - 1]))
            return
        if layer.form == "rate":
            score = [sum(row) for row in feature]
        else:
            hidden = [self.weighted(layer.hidden, row) for row in feature]
            hidden = [
                [
                    self.activation(layer, (h + int(b)) // 2**layer.hidden_shift)
                    for h, b in zip(row, layer.hidden_bias, strict=True)
                ]
                for row in hidden
            ]
            score = [sum(int(w) * h for w, h in zip(layer.score_weights, row, strict=True)) for row in hidden]
        candidates = [token for token in range(tokens) if token in self.kept[-1]]
        self.kept.append(set(sorted(candidates, key=lambda token: (-score[token], token))[: layer.keep]))

    def head(self, layer: Head):
        tokens = self.kept[-1] & set(range(self.trace.streams[layer.source].tokens))
        total = [
            sum(self.values[layer.source][t][token][channel] for t in range(self.time) for token in tokens)
            for channel in range(self.trace.streams[layer.source].channels)
        ]
        sums = self.weighted(layer.weights, total)
        self.logits = [value + int(bias) for value, bias in zip(sums, layer.bias, strict=True)]


@pytest.mark.parametrize(
    "changes",
    [{"selector": "learned"}, {"activation": "gelu"}, {"selector": "rate"}, {"selector": "random"}],
    ids=["learned", "gelu", "rate", "random"],
)
@pytest.mark.parametrize("seed", range(1, 4))
def test_trace_equals_the_slow_twin(changes, seed):
    """Every spike of every stream, shadow rows included, every kept token and every logit."""
    trace = trace_ticket(random_ticket(dataclasses.replace(TINY, **changes), seed), split_for(TINY, 2, seed))
    for image in range(2):
        twin = Twin(trace, image, [kept[image].tolist() for kept in trace.kept])
        for name, stream in trace.streams.items():
            if stream.events is not None:
                dense = stream.events.to_dense(stream.channels).reshape(2, 4, stream.tokens, stream.channels)
                assert dense[image].tolist() == twin.values[name], name
        assert [sorted(kept) for kept in twin.kept[1:]] == [kept[image].tolist() for kept in trace.kept]
        assert trace.logits[image].tolist() == twin.logits
    density = [
        stream.events.channels.size / stream.events.offsets.size for stream in trace.streams.values() if stream.events
    ]
    assert min(density) > 0.01  # no stream is equal by silence
    dropped = ~trace.kept_mask(0, 9)
    shadow = trace.streams["block2.fc1"].events.to_dense(12).reshape(2, 4, 9, 12)
    assert shadow.transpose(0, 2, 1, 3)[dropped].any()


@pytest.mark.parametrize("form", ["rate", "random"])
def test_integer_network_equals_the_float_network_where_all_scales_are_powers_of_two(form, monkeypatch):
    monkeypatch.setattr(lowering, "NORM_EPSILON", 0.0)
    config = dataclasses.replace(TINY, selector=form)
    generator = np.random.default_rng(1)
    parameters = {}
    for name, array in random_ticket(config).parameters.items():
        if array.ndim >= 2:
            integers = generator.integers(-127, 128, array.shape)
            integers.reshape(len(array), -1)[:, 0] = 127  # the scale of every channel is then exactly 2^-k
            parameters[name] = (integers / 2 ** (5 if "conv" in name else 7)).astype(np.float32)
        elif "running_mean" in name or name.endswith("bias"):
            parameters[name] = (generator.integers(-5, 6, array.shape) / 2**5).astype(np.float32)
        else:
            parameters[name] = np.ones_like(array)  # batch norm's gain and variance
    masks = {name: np.ones(array.shape, np.bool_) for name, array in parameters.items() if array.ndim >= 2}
    ticket = Ticket(config, parameters, masks, Calibration(127 / 128))
    images = (generator.integers(-127, 128, (40, 2, 5, 5)) / 128).astype(np.float32)
    model = ticket.network()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
    with torch.no_grad():
        output = model(torch.from_numpy(images))
    runs = list(lower(ticket).runs(images))
    for index, mask in enumerate(output.masks):
        kept = np.concatenate([run.kept[index] for run in runs])
        assert np.array_equal(kept, np.nonzero(mask.numpy())[1].reshape(kept.shape))
    logits = np.concatenate([run.logits for run in runs])
    # One unit of an integer logit is the head's scale 2^-7 over the T x kept values that the float network averages.
    np.testing.assert_allclose(
        logits / 2**7 / (4 * config.kept_tokens[-1]), output.logits.numpy(), rtol=1e-5, atol=1e-6
    )
    assert len(np.unique(logits[:, 0])) > 10


def test_accumulator_is_wide_enough_for_any_input_and_no_wider():
    network = lower(random_ticket(TINY))
    bound = 0
    for layer in network.layers:
        if isinstance(layer, (Conv, Linear)):
            largest = 127 if layer.source == "pixels" else int(2 + 2 * TINY.depth)
            sums = np.abs(layer.weights.to_dense().astype(int)).sum((1, 2)) * largest + np.abs(layer.bias)
            bound = max(bound, int(sums.max()))
    bits = network.numerics.accumulator_bits
    assert bits <= bound.bit_length() + 3  # the head and the selectors add over time
    head = network.layers[-1]
    assert isinstance(head, Head)
    worst = np.abs(head.weights.to_dense().astype(int)).sum((1, 2)) * (2 + 2 * TINY.depth) * 4 * 3 + np.abs(head.bias)
    assert int(worst.max()) < 2 ** (bits - 1)


def test_pruned_weights_stay_zero_and_lost_survivors_are_counted():
    ticket = random_ticket(TINY, pruned=0.8)
    network = lower(ticket)
    assert network.survivors == ticket.prunable - ticket.zeros
    assert network.nonzeros <= network.survivors
    qkv = next(layer for layer in network.layers if layer.name == "block1.qkv")
    masks = np.concatenate([ticket.masks[f"block.1.attn.{part}_linear.weight"] for part in "qkv"])
    assert not qkv.weights.to_dense()[:, :, 0][~masks].any()


def test_lowering_is_a_function_of_the_ticket_and_images_do_not_influence_one_another():
    ticket, images = random_ticket(TINY), images_for(TINY, 5)
    network: IntegerNetwork = lower(ticket)
    assert np.array_equal(network.logits(images)[3:], lower(ticket).logits(images[3:]))


def test_no_selectors_where_all_tokens_are_kept(tmp_path):
    config = dataclasses.replace(TINY, keep=1.0)
    trace = trace_ticket(random_ticket(config), split_for(config, 2), {"data": "made here"})
    assert trace.kept == ()
    assert {layer.selector for layer in trace.layers} == {-1}
    save_trace(trace, tmp_path / "t.safetensors")
    again = load_trace(tmp_path / "t.safetensors")
    assert again.sha256 == trace.sha256
    assert again.provenance["data"] == "made here"
    assert again.provenance["saturated"] == "0"


def test_images_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"images are \(1, 8, 8\).*needs \(2, 5, 5\)"):
        lower(random_ticket(TINY)).logits(np.zeros((1, 1, 8, 8), np.float32))


@pytest.mark.parametrize(("timesteps", "bits"), [(1, 0), (4, 3), (9, 8), (10, 8), (16, 8)])
def test_fraction_bits_make_halving_exact_up_to_nine_timesteps(timesteps, bits):
    ticket = random_ticket(dataclasses.replace(TINY, timesteps=timesteps))
    assert lower(ticket).numerics.fraction_bits == bits


def test_sixteen_timesteps_keep_the_accuracy():
    """A trained network at another T: 15 fraction bits would leave its weights next to none."""
    ticket = load_ticket(shipped("digits-dense"))
    long = dataclasses.replace(ticket, config=dataclasses.replace(ticket.config, timesteps=16))
    test = load_data("digits").test
    part = Split(test.images[:60], test.labels[:60], test.ids[:60])
    float_ = float_accuracy(long.network(), part)
    assert float_ > 0.8
    assert abs(integer_accuracy(long, part) - float_) <= 0.02
