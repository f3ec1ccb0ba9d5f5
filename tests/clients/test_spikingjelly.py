"""Models with spikingjelly 2.0.0: its own Spikformer and Spike-Driven Transformer, and convolutional networks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clients.counting import additions, as_rows, dense, watched
from clients.grid import grid_images, put_on_grid
from sparsespike import capture, load_chip, simulate
from sparsespike.simulator.trace import Head
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model.spike_driven_transformer import SpikeDrivenTransformer
from spikingjelly.activation_based.model.spikformer import Spikformer
from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter
from torch import nn

TIMESTEPS = 3


def lively(model: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """Untrained, but with the statistics of these inputs in batch norms that make every layer fire."""
    norms = [module for module in model.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    generator = torch.Generator().manual_seed(1)
    for norm in norms:
        norm.momentum = 1.0
        norm.weight.data.uniform_(1.8, 2.6, generator=generator)
        norm.bias.data.uniform_(0.2, 0.6, generator=generator)
    with torch.no_grad():
        model.train()(inputs)
    functional.reset_net(model)
    return model.eval()


def vgg() -> tuple[nn.Module, torch.Tensor, int | None]:
    """VGG-like, pools behind neurons, a strided convolution; every other weight of a layer pruned."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(layer.Conv2d(3, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), neuron.IFNode(), layer.MaxPool2d(2, 2)),
        *(layer.Conv2d(8, 12, 3, stride=2, padding=1), layer.BatchNorm2d(12), neuron.LIFNode(tau=1.5)),
        *(
            layer.Flatten(),
            layer.Linear(12 * 16, 20),
            neuron.LIFNode(v_reset=None),
            layer.Linear(20, 10),
            neuron.LIFNode(),
        ),
    )
    functional.set_step_mode(model, "m")
    model[8].weight.data *= 6
    model[8].weight.data[::2] = 0
    images = torch.rand(2, 3, 16, 16).expand(TIMESTEPS, -1, -1, -1, -1).contiguous()
    return lively(model, images), images, 0


def spikformer() -> tuple[nn.Module, torch.Tensor, int | None]:
    """spikingjelly's own: pools in front of neurons, fused q, k, v, attention with tokens on the last axis."""
    torch.manual_seed(0)
    model = Spikformer(
        T=TIMESTEPS, img_size_h=16, img_size_w=16, patch_size=4, num_classes=10, embed_dims=32, num_heads=4, depths=2
    )
    images = torch.rand(2, 3, 16, 16)
    return lively(model, images), images, None


def sdt() -> tuple[nn.Module, torch.Tensor, int | None]:
    """Membrane shortcuts, masked Hadamard attention, a mean over tokens in front of the last neurons."""
    torch.manual_seed(0)
    model = SpikeDrivenTransformer(
        T=TIMESTEPS, num_classes=10, embed_dims=32, num_heads=2, depths=2, mlp_ratio=2, pooling_stat="0011"
    )
    images = torch.rand(2, 3, 16, 16)
    return lively(model, images), images, None


def stepwise() -> tuple[nn.Module, torch.Tensor, int | None]:
    """Single-step neurons: the model is called once per timestep, on spikes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(30, 20), neuron.LIFNode(), nn.Linear(20, 10), neuron.ParametricLIFNode(init_tau=3.0)
    )
    model[0].weight.data *= 5
    model[2].weight.data *= 5
    generator = torch.Generator().manual_seed(2)
    return model.eval(), (torch.rand(TIMESTEPS, 4, 30, generator=generator) < 0.4).float() * 1.0, 0


CLIENTS = {"vgg": vgg, "spikformer": spikformer, "sdt": sdt, "stepwise": stepwise}


@pytest.fixture(params=CLIENTS, scope="module")
def client(request):
    model, inputs, time_axis = CLIENTS[request.param]()
    functional.reset_net(model)
    return request.param, model, inputs, time_axis


def run(model, inputs, time_axis):
    """The model as its user would run it."""
    steps = any(getattr(module, "step_mode", "") == "s" for module in model.modules() if hasattr(module, "v_threshold"))
    functional.reset_net(model)
    outputs = torch.stack([model(part) for part in inputs]) if steps else model(inputs)
    functional.reset_net(model)
    return outputs


def test_replayed_spikes_are_the_models_own(client):
    _, model, inputs, time_axis = client
    trace = capture(model, inputs, time_axis, level="replay")
    with watched(model) as (_, outputs):
        run(model, inputs, time_axis)
    neurons = [path for path, module in model.named_modules() if isinstance(module, neuron.BaseNode)]
    found = [path for path in neurons if path in trace.streams]
    for path in found:
        spikes = outputs[path][0] if len(outputs[path]) == 1 else torch.stack(outputs[path])
        if path.endswith("attn_lif"):  # [T, B, heads, head width, tokens]
            spikes = spikes.flatten(2, 3)
        assert torch.equal(dense(trace, path), as_rows(spikes).to(torch.uint8)), path
    assert len(found) >= len(neurons) / 2  # the others are seen in sums with a residual, or side by side as q, k, v


def test_synaptic_operations_equal_an_independent_count(client):
    _, model, inputs, time_axis = client
    trace = capture(model, inputs, time_axis, level="replay")
    report = simulate(trace, load_chip("mesh16")).to_json()
    with watched(model) as (read, _):
        run(model, inputs, time_axis)
    counted = {entry["name"]: entry["synaptic_events"] for entry in report["layers"]}
    weighted = {
        path: module for path, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))
    }
    expected = {path: additions(module, read[path]) for path, module in weighted.items()}
    for layer_name, events in counted.items():
        if layer_name in (next(iter(weighted)), "head") or layer_name not in expected:
            continue  # pixels, and means of spikes, are counted in another way
        parts = [layer_name.replace("q_conv", f"{part}_conv") for part in "qkv"]  # side by side in one layer
        assert events == sum(expected[part] for part in dict.fromkeys(parts)) > 0, layer_name


def test_synaptic_operations_against_spikingjellys_own_counter(client):
    """Equal layer by layer, but for three things that it counts otherwise.

    Weights that are pruned count with it, though nothing is added. Values that are not 0 or 1 do not: neither spikes
    that were added up on a residual path or averaged, which the chip adds value by value, nor the images.
    """
    name, model, inputs, time_axis = client
    trace = capture(model, inputs, time_axis, level="replay")
    report = simulate(trace, load_chip("mesh16")).to_json()
    functional.reset_net(model)
    with DispatchCounterMode([counter := SynOpCounter()]):
        run(model, inputs, time_axis)
    theirs = {path: sum(counts.values()) for path, counts in counter.records.items()}
    equal = 0
    for layer_of, entry in zip(trace.layers, report["layers"], strict=True):
        if not hasattr(layer_of, "weights"):
            continue
        parts = dict.fromkeys(entry["name"].replace("q_conv", f"{part}_conv") for part in "qkv")
        counted = sum(theirs[f"{type(model).__name__}.{part}"] for part in parts)
        source = trace.streams[layer_of.source]
        if source.kind != "binary" or isinstance(layer_of, Head):
            assert counted == 0 < entry["synaptic_events"], entry["name"]
        else:
            kept = 2 if (name, entry["name"]) == ("vgg", "8") else 1  # every other row of weights is pruned
            assert counted == kept * entry["synaptic_events"] > 0, entry["name"]
            equal += 1
    assert equal >= 2


def test_integers_fire_exactly_as_the_model_where_eight_bits_hold_its_weights():
    model, _, time_axis = spikformer()
    functional.reset_net(model)
    trace = capture(put_on_grid(model, 0.3), grid_images(2, 3, 16, 16), time_axis)
    assert trace.level == "exact", trace.replay_reason
    assert float(trace.provenance["spikes_as_in_the_model"]) == 1.0


def test_a_chip_runs_it(client):
    name, model, inputs, time_axis = client
    trace = capture(model, inputs, time_axis)
    for chip in ("mesh16", "edge"):
        report = simulate(trace, load_chip(chip), verify=trace.level == "exact")
        assert report.cycles > 0
    assert (trace.level, name) in {("exact", "vgg"), ("exact", "stepwise"), ("exact", "spikformer"), ("replay", "sdt")}


def test_the_readmes_block_runs(tmp_path):
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (block,) = [part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "spikingjelly" in part]
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("exact ")
