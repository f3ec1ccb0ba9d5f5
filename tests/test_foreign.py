"""Spikes of other tools as traces: what is counted, what is claimed, and what is refused."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import chip_with
from oracle import simulate_slowly
from sparsespike.model.foreign import foreign_trace
from sparsespike.model.foreign.schema import LAYER, TOP
from sparsespike.simulator.engine import run
from sparsespike.simulator.hardware import load_chip
from sparsespike.simulator.report import simulate
from sparsespike.simulator.trace import Attention, Conv, Linear, Pool, load_trace, save_trace
from spike_files import LENET, LENET_TOML, family_a, family_b, imported, lenet_arrays, write_pickle, write_toml

pytestmark = pytest.mark.torch

# section 1.9 of its authors' figures: 3.465e6, over conv2d_1, fc_0 and fc_1
PUBLISHED_SOPS = 3_465_016
CHIP = load_chip("mesh16")


def im2col_spikes(maps, kernel):
    """Spikes after im2col without padding: each as often as windows see it. maps[..., height, width]."""
    return np.lib.stride_tricks.sliding_window_view(maps, (kernel, kernel), axis=(-2, -1)).sum()


def sops_of(arrays):
    """Spikes, after im2col, times output channels, from the arrays alone."""
    conv, fc0, fc1 = (arrays[name] for name in ("conv2d_1", "fc_0", "fc_1"))
    return [int(im2col_spikes(conv, 5)) * 16, int(fc0.sum()) * 120, int(fc1.sum()) * 84]


def dense_of(trace, name):
    """uint8[images, timesteps, tokens, channels] of a stream."""
    stream = trace.streams[name]
    return stream.events.to_dense(stream.channels).reshape(trace.images, -1, stream.tokens, stream.channels)


# ---- the real trace ----


def test_lenet_has_the_published_number_of_synaptic_operations():
    trace = foreign_trace(LENET, LENET_TOML)
    report = simulate(trace, CHIP).to_json()
    counted = [layer["synaptic_events"] for layer in report["layers"]]
    assert counted == [2_804_080, 0, 604_320, 56_616]
    assert [counted[0], *counted[2:]] == sops_of(lenet_arrays())
    assert report["synaptic_events"] == PUBLISHED_SOPS
    arrays = lenet_arrays()
    columns = [im2col_spikes(arrays["conv2d_1"], 5), arrays["fc_0"].sum(), arrays["fc_1"].sum()]
    sizes = [32 * 12 * 12 * 6 * 25, 32 * 576, 32 * 120]
    assert f"{sum(columns) / sum(sizes):.7f}" == "0.2536399"  # the published bit density


def test_the_page_shows_the_geometry_that_ships():
    page = (Path(__file__).parent.parent / "model" / "README.md").read_text("utf-8")
    assert f"```toml\n{LENET_TOML.read_text()}```\n" in page
    keys = {key for keys in (TOP, *LAYER.values()) for key in keys} - {"layer", "host"}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_lenet_is_what_its_arrays_hold():
    trace, arrays = foreign_trace(LENET, LENET_TOML), lenet_arrays()
    kinds = [(type(layer), layer.source, layer.target) for layer in trace.layers]
    assert kinds == [
        (Conv, "conv2d_1", "conv2d_1.out"),
        (Pool, "conv2d_1.out", "fc_0"),
        (Conv, "fc_0", "fc_1"),
        (Linear, "fc_1", "fc_1.out"),
    ]
    maps = arrays["conv2d_1"].transpose(0, 2, 3, 1).reshape(1, 32, 256, 6)
    np.testing.assert_array_equal(dense_of(trace, "conv2d_1"), maps)
    flat = arrays["fc_0"].reshape(32, 16, 36).transpose(0, 2, 1)  # channels slowest, as torch flattens
    np.testing.assert_array_equal(dense_of(trace, "fc_0")[0], flat)
    np.testing.assert_array_equal(dense_of(trace, "fc_1")[0, :, 0], arrays["fc_1"])
    assert [name for name, stream in trace.streams.items() if stream.events is None] == ["conv2d_1.out", "fc_1.out"]
    assert trace.provenance["unrecorded"] == "conv2d_1.out, fc_1.out"
    assert trace.provenance["weights"] == "none pruned (conv2d_1, fc_0, fc_1)"
    assert (trace.level, trace.logits, trace.layer("fc_1").bias) == ("replay", None, None)
    assert "lenet5_mnist.npz" in trace.replay_reason
    assert [(work.name, work.operations, work.after) for work in trace.host] == [
        ("conv2d_0", 153_600, ""),
        ("fc_2", 840, "fc_1"),
    ]


def test_a_replay_survives_its_file_and_runs_the_same(tmp_path):
    trace = foreign_trace(LENET, LENET_TOML)
    assert save_trace(trace, tmp_path / "t.safetensors") == trace.sha256
    loaded = load_trace(tmp_path / "t.safetensors")
    assert (loaded.sha256, loaded.level, loaded.host) == (trace.sha256, "replay", trace.host)
    one, other = run(trace, CHIP), run(loaded, CHIP)
    np.testing.assert_array_equal(one.cycles, other.cycles)
    np.testing.assert_array_equal(one.counts, other.counts)


def test_both_twins_take_the_same_cycles(tmp_path):
    """A slice of the real spikes, two maps of 6 x 6 in three timesteps, with a pool over what nobody recorded."""
    arrays = lenet_arrays()
    conv = arrays["conv2d_1"][:3, :2, :6, :6]
    trace = imported(
        tmp_path,
        """
        name = "slice"
        weights = "dense"
        layer = [
          {name = "c", kind = "conv", channels = 3, kernel = 3},
          {name = "p", kind = "pool", kernel = 2},
          {name = "f", kind = "linear", map = [3, 2, 2], channels = 5},
        ]""",
        c=conv,
        f=arrays["fc_1"][:3, :12],
    )
    assert trace.layer("p").target == "f"
    chip = chip_with()
    fast, slow = run(trace, chip), simulate_slowly(trace, chip)
    assert fast.cycles.tolist() == [list(cycles) for cycles in slow.cycles]
    assert fast.synaptic_events.tolist() == [int(im2col_spikes(conv, 3)) * 3, 0, int(arrays["fc_1"][:3, :12].sum()) * 5]


@pytest.mark.parametrize("protocol", [2, 4])
def test_both_families_and_torch_files_give_the_same_trace(tmp_path, protocol):
    expected = foreign_trace(LENET, LENET_TOML)
    content = family_a(lenet_arrays())
    torch.save(content, tmp_path / "a.pth")
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    files = [write_pickle(tmp_path / "a.pkl", content, protocol), tmp_path / "a.pth", tmp_path / "old.pth"]
    for file in files:
        trace = foreign_trace(file, LENET_TOML)
        for name, stream in expected.streams.items():
            if stream.events is not None:
                np.testing.assert_array_equal(dense_of(trace, name), dense_of(expected, name))
    by_kind = write_pickle(tmp_path / "b.pkl", family_b(lenet_arrays()), protocol)
    text = LENET_TOML.read_text().replace('kind = "conv"', 'kind = "conv"\ninput = "Conv2d/1"')
    text = text.replace("map = ", 'input = "Linear/0"\nmap = ').replace(
        "channels = 84", 'input = "Linear/1"\nchannels = 84'
    )
    trace = foreign_trace(by_kind, write_toml(tmp_path, text))
    assert run(trace, CHIP).synaptic_events.tolist() == run(expected, CHIP).synaptic_events.tolist()
    assert run(trace, CHIP).cycles.tolist() == run(expected, CHIP).cycles.tolist()


# ---- weights ----


@pytest.mark.parametrize("order", ["IO", "OI"])
def test_dual_sparse_matrices_keep_their_weights_pattern(tmp_path, order):
    """LoAS-style: Layer_i -> {x: spikes (T, M, K), w: pruned weights}; of floats, as training leaves them."""
    rng = np.random.default_rng(1)
    content, text, expected = {}, 'name = "pairs"\n', []
    for index, (inputs, outputs) in enumerate(((12, 8), (8, 5))):
        x = (rng.random((4, 6, inputs)) < 0.3).astype(np.float32)
        w = rng.normal(size=(inputs, outputs)) * (rng.random((inputs, outputs)) < 0.4)
        stored = w if order == "IO" else w.T
        content[f"Layer_{index}"] = {"x": torch.from_numpy(x), "w": torch.from_numpy(stored).to(torch.bfloat16)}
        text += f"""[[layer]]
            name = "Layer_{index}"
            kind = "linear"
            input = "Layer_{index}/x"
            channels = {outputs}
            weights = "Layer_{index}/w"
            weight_axes = "{order}"
            """
        expected.append(int((x.sum((0, 1)) @ (w != 0)).sum()))
    for name, write in (("m.pth", torch.save), ("m.pkl", lambda what, path: write_pickle(path, what))):
        write(content, tmp_path / name)
        trace = foreign_trace(tmp_path / name, write_toml(tmp_path, text))
        assert run(trace, CHIP).synaptic_events.tolist() == expected
        assert trace.layer("Layer_0").target == "Layer_1/x"
        assert trace.layer("Layer_0").weights.values is None
        assert "pattern of 'Layer_0/w' (Layer_0)" in trace.provenance["weights"]


def test_a_convolution_takes_its_pattern_in_either_form(tmp_path):
    """As torch keeps it, and unrolled for im2col: inputs, then rows, then columns of the kernel."""
    rng = np.random.default_rng(2)
    x = rng.random((3, 2, 5, 6)) < 0.4
    w = rng.random((4, 2, 3, 2)) < 0.5
    shape = "channels = 4, kernel = [3, 2], stride = 2, padding = [1, 0]"
    text = f'name = "c"\nlayer = [{{{{name = "x", kind = "conv", {shape}, weights = "{{}}"}}}}]'
    traces = [imported(tmp_path, text.format(name), x=x, w=w, flat=w.reshape(4, -1)) for name in ("w", "flat")]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), axis=(2, 3))[:, :, ::2, ::2]
    expected = int(np.einsum("tiyxab,oiab->", windows.astype(int), w.astype(int)))
    for trace in traces:
        assert run(trace, CHIP).synaptic_events.tolist() == [expected]
    np.testing.assert_array_equal(traces[0].layers[0].weights.to_dense(), w.reshape(4, 2, 6))


def test_a_made_up_pattern_is_seeded_and_said(tmp_path):
    text = """name = "drawn"
        weight_density = 0.25
        layer = [{{name = "x", kind = "linear", channels = 200, seed = {}}}]"""
    x = np.ones((2, 100), bool)
    one, same, other = (imported(tmp_path, text.format(seed), x=x) for seed in (7, 7, 8))
    assert one.sha256 == same.sha256
    assert one.layers[0].weights.nonzeros != other.layers[0].weights.nonzeros
    assert one.layers[0].weights.nonzeros / 20_000 == pytest.approx(0.25, abs=0.02)
    assert one.provenance["weights"] == "random pattern of density 0.25, seed 7, made up (x)"


# ---- axes, transformers ----


@pytest.mark.parametrize("axes", ["".join(order) for order in itertools.permutations("TBCHW")][::7])
def test_axes_in_any_order(tmp_path, axes):
    dense = np.random.default_rng(3).random((3, 2, 4, 5, 6)) < 0.5  # T B C H W
    text = f"""name = "a"
        weights = "dense"
        layer = [{{name = "x", kind = "conv", channels = 2, kernel = 1, axes = "{axes}"}}]"""
    trace = imported(tmp_path, text, x=dense.transpose(["TBCHW".index(axis) for axis in axes]))
    assert (trace.images, trace.numerics.timesteps) == (2, 3)
    np.testing.assert_array_equal(dense_of(trace, "x"), dense.transpose(1, 0, 3, 4, 2).reshape(2, 3, 30, 4))


BLOCK = """
name = "block"
weights = "dense"
layer = [
  {name = "conv2d_rpe_sps", kind = "conv", channels = 8, kernel = 3, padding = 1},
  {name = "fc_q_enc_0", kind = "linear", channels = 24},
  {name = "attention_enc_0", kind = "attention", heads = 2},
  {name = "fc_o_enc_0", kind = "linear", channels = 8, output = ""},
  {name = "fc_1_enc_0", kind = "linear", channels = 16},
]"""


def block_arrays():
    """A transformer's block in Prosperity's names: T first, a batch of 1, q, k and v apart with heads of their own."""
    rng = np.random.default_rng(4)

    def draw(*shape):
        return rng.random(shape) < 0.3

    return {
        "conv2d_rpe_sps": draw(4, 6, 3, 2),
        "fc_q_enc_0": draw(4, 6, 8),
        **{f"attention_enc_0_{part}": draw(4, 1, 6, 2, 4) for part in "qkv"},
        "fc_o_enc_0": draw(4, 6, 8),
        "fc_1_enc_0": draw(4, 1, 6, 8),
    }


def test_a_transformers_block(tmp_path):
    arrays = block_arrays()
    trace = imported(tmp_path, BLOCK, **arrays)
    qkv = "+".join(f"attention_enc_0_{part}" for part in "qkv")
    assert [(layer.source, layer.target) for layer in trace.layers] == [
        ("conv2d_rpe_sps", "fc_q_enc_0"),
        ("fc_q_enc_0", qkv),
        (qkv, "fc_o_enc_0"),
        ("fc_o_enc_0", "fc_o_enc_0.out"),
        ("fc_1_enc_0", "fc_1_enc_0.out"),
    ]
    assert isinstance(trace.layers[2], Attention)
    assert (trace.streams[qkv].height, trace.streams[qkv].width) == (3, 2)  # the convolution's grid, handed on
    fused = np.concatenate([arrays[f"attention_enc_0_{part}"].reshape(4, 6, 8) for part in "qkv"], axis=-1)
    np.testing.assert_array_equal(dense_of(trace, qkv)[0], fused)
    spikes = [int(arrays[name].sum()) for name in ("fc_q_enc_0", "fc_o_enc_0", "fc_1_enc_0")]
    counted = run(trace, CHIP).synaptic_events.tolist()
    assert [counted[1], *counted[3:]] == [spikes[0] * 24, spikes[1] * 8, spikes[2] * 16]


def test_a_layers_output_is_the_next_ones_input_only_where_it_can_be(tmp_path):
    """Not where shapes differ, not where a neuron cannot have made the values, not where it was read before."""
    text = """name = "chain"
        weights = "dense"
        layer = [{{name = "a", kind = "linear", channels = 6}},
                 {{name = "b", kind = "linear", channels = 6, input = "{}"}}]"""
    spikes = np.eye(6, dtype=np.uint8)[None]
    arrays = {"a": spikes, "b": spikes, "graded": 3 * spikes, "small": spikes[:, :, :5]}
    made = {name: imported(tmp_path, text.format(name), **arrays).layer("a").target for name in ("b", *arrays)}
    assert made == {"b": "b", "a": "a.out", "graded": "a.out", "small": "a.out"}
    graded = imported(tmp_path, text.format("graded"), **arrays)
    assert (graded.streams["graded"].kind, graded.streams["graded"].events.values.max()) == ("integer", 3)


def test_one_array_in_two_shapes_is_two_streams(tmp_path):
    text = """name = "twice"
        weights = "dense"
        layer = [{name = "x", kind = "linear", channels = 3, output = ""},
                 {name = "y", kind = "linear", input = "x", map = [2, 2, 2], channels = 3}]"""
    trace = imported(tmp_path, text, x=np.ones((2, 8), bool))
    assert [layer.source for layer in trace.layers] == ["x", "x'"]
    assert run(trace, CHIP).synaptic_events.tolist() == [48, 48]
