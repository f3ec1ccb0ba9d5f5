"""Parameters, operations and the pruning ladder: against the modules, an independent count, and the paper's figures."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import sparsespike
import torch
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.counting import (
    formula_energy_pj,
    ladder,
    layer_macs,
    layer_shapes,
    macs,
    max_token_saving,
    parameters,
    prunable,
    real_valued_macs,
    sparsity,
)
from sparsespike.model.paper import (
    KEEP,
    PRINTED_CIFAR10,
    PRINTED_CIFAR10_DVS,
    PRINTED_CIFAR100,
    PRINTED_CIFAR_G,
    PRINTED_DVS128,
    PRINTED_EVENTS_G,
    cifar,
    event_camera_shapes,
    main,
)
from sparsespike.model.pruning import full_masks, prune_survivors, survivors
from sparsespike.model.pruning import prunable as prunable_weights
from sparsespike.model.spikformer import Spikformer
from sparsespike.simulator.errors import UserError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SMALL = SpikformerConfig(
    image_channels=2,
    image_size=9,
    timesteps=3,
    sps_channels=(6, 10, 12),
    sps_pools=(True, False, True),
    depth=3,
    heads=3,
    mlp_ratio=2,
    classes=7,
    keep=0.6,
)
CONFIGS = {
    "digits": SpikformerConfig(),
    "small": SMALL,
    "rate": replace(SMALL, selector="rate"),
    "one block": replace(SMALL, depth=1),
    "all tokens": replace(SMALL, keep=1.0),
    "cifar": cifar(),
    "cifar keep .7, 100 classes": cifar(0.7, 100),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def on_meta(config: SpikformerConfig) -> Spikformer:
    """The network without memory behind it."""
    with torch.device("meta"):
        return Spikformer(config).eval()


@each_config
def test_every_parameter_of_the_module_is_counted_under_its_name(config):
    network = on_meta(config)
    held = {name: parameter.numel() for name, parameter in network.named_parameters()}
    counted = {layer.name: layer.parameters for layer in layer_shapes(config) if layer.parameters}
    by_module: dict[str, int] = {}
    for name, size in held.items():
        module = name.rpartition(".")[0]
        by_module[module] = by_module.get(module, 0) + size
    assert counted == by_module
    assert parameters(config) == sum(held.values())
    assert prunable(config) == sum(weight.numel() for weight in prunable_weights(network).values())


class Gathered(nn.Module):
    """The forward pass of a `Spikformer` that really drops tokens: blocks and selectors work on those that are left."""

    def __init__(self, network: Spikformer):
        super().__init__()
        self.network = network

    def forward(self, images):
        config = self.network.config
        x = self.network.patch_embed(images)
        for index, (block, tokens) in enumerate(zip(self.network.block, config.kept_tokens, strict=True)):
            if index and self.network.predictor and config.selector == "learned":
                self.network.predictor[index - 1].linear(x.mean(0))
            x = x[:, :, :tokens]
            x = block(x, x.new_ones(1, tokens))
        return self.network.head(x.mean((0, 2)))


def measured_macs(config: SpikformerConfig) -> dict[str, int]:
    """MACs of each module for one image, by torch's own counter."""
    network = Gathered(on_meta(config))
    images = torch.empty(1, config.image_channels, config.image_size, config.image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    counts = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    return {name.removeprefix("Gathered.network."): count for name, count in counts.items()}


@each_config
def test_macs_are_those_that_torch_counts(config):
    measured, counted = measured_macs(config), layer_macs(config)
    first = "patch_embed.proj_conv"
    assert counted[first] == config.timesteps * measured[first]  # computed once, counted at every timestep
    names = [name for name in counted if name != first and not name.endswith((".qk", ".av"))]
    assert {name: measured[name] for name in names} == {name: counted[name] for name in names}
    for index, tokens in enumerate(config.kept_tokens):
        block = f"block.{index}.attn"
        products = measured[block] - sum(measured[f"{block}.{name}_linear"] for name in ("q", "k", "v", "proj"))
        # The module takes the cheaper of (Q K^T) V and Q (K^T V): N x N x d or N x d x d products, twice, in each head.
        cheaper = min(tokens, config.width // config.heads)
        assert products == 2 * config.timesteps * tokens * cheaper * config.width
        assert counted[f"{block}.qk"] == counted[f"{block}.av"] == config.timesteps * tokens**2 * config.width
    assert macs(config) == sum(counted.values())


def test_parameters_of_the_paper():
    assert [parameters(cifar(keep), paper_counting=True) for keep in (1.0, 0.7)] == [9_330_874, 9_553_792]
    assert [prunable(cifar(keep)) for keep in (1.0, 0.7)] == [9_281_040, 9_503_376]
    extra = set(layer_shapes(cifar(), paper_counting=True)) - set(layer_shapes(cifar()))
    assert len(extra) == 8
    assert (sum(x.parameters for x in extra), sum(x.idle_zeros for x in extra)) == (6_144, 3_072)
    assert (sum(x.macs for x in extra), sum(x.weights for x in extra)) == (0, 0)


def official_event_camera(selectors: bool) -> nn.ModuleDict:
    """The modules of the event-camera network, as the authors' code declares them (paper.md section 5)."""

    def conv(inputs: int, outputs: int) -> nn.ModuleList:
        return nn.ModuleList([nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)])

    def linear(inputs: int, outputs: int, bias: bool) -> nn.ModuleList:
        return nn.ModuleList([nn.Conv1d(inputs, outputs, 1, bias=bias), nn.BatchNorm1d(outputs)])

    with torch.device("meta"):
        modules = nn.ModuleDict({"head": nn.Linear(256, 10), "norm": nn.LayerNorm(256)})
        widths = (2, 32, 64, 128, 256, 256)
        modules["stem"] = nn.ModuleList(conv(*pair) for pair in pairwise(widths))
        modules["embedding"] = nn.ParameterList([nn.Parameter(torch.empty(1, 64, 256))])
        for block in range(4):
            modules[f"norms{block}"] = nn.ModuleList([nn.LayerNorm(256), nn.LayerNorm(256)])
            modules[f"qkv{block}"] = nn.ModuleList(linear(256, 256, False) for _ in range(3))
            modules[f"rest{block}"] = nn.ModuleList(
                [linear(256, 256, True), linear(256, 1024, True), linear(1024, 256, True)]
            )
        if selectors:
            modules["predictor"] = nn.ModuleList(
                nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 2)]) for _ in range(3)
            )
    return modules


@pytest.mark.parametrize("keep", [1.0, 0.7])
def test_the_event_camera_network_has_the_official_parameters(keep):
    official = official_event_camera(keep < 1)
    layers = event_camera_shapes(keep, paper_counting=True)
    assert parameters(layers) == sum(parameter.numel() for parameter in official.parameters())
    matrices = [p for name, p in official.named_parameters() if p.ndim >= 2 and not name.startswith("embedding")]
    assert prunable(layers) == sum(parameter.numel() for parameter in matrices)
    assert sum(layer.idle_zeros for layer in layers) == 9 * 256
    plain = event_camera_shapes(keep)
    assert parameters(layers) - parameters(plain) == 9 * 2 * 256 + 64 * 256
    assert (prunable(plain), macs(plain)) == (prunable(layers), macs(layers))


def test_cifar_flops_are_printed_to_the_digit_but_for_one():
    counted = {keep: f"{macs(cifar(keep)) / 1e9:.2f}" for keep in KEEP}
    printed = {keep: f"{value:.2f}" for keep, value in PRINTED_CIFAR_G.items()}
    assert {keep for keep in KEEP if counted[keep] != printed[keep]} == {0.9}
    assert (printed[0.9], f"{macs(cifar(0.9)) / 1e9:.3f}") == ("3.44", "3.467")
    # No way to keep 57, 51 and 46 tokens gives the printed number: it is too low even with the selectors for free.
    free = sum(layer.macs for layer in layer_shapes(cifar(0.9)) if not layer.name.startswith("predictor"))
    assert f"{free / 1e9:.3f}" == "3.454"
    assert f"{macs(cifar(classes=100)) / 1e9:.2f}" == "3.74"


def test_event_camera_flops_fit_with_a_residue():
    residue = {keep: PRINTED_EVENTS_G[keep] - macs(event_camera_shapes(keep)) / 1e9 for keep in KEEP}
    assert [f"{residue[keep]:.4f}" for keep in KEEP] == ["0.0457", "0.0484", "0.0399", "0.0435", "0.0376", "0.0375"]
    # Selectors that ran once would leave a residue that grows with their number of tokens.
    once = {
        keep: residue[keep]
        + sum(x.macs * 15 / 16 for x in event_camera_shapes(keep) if x.name.startswith("pred")) / 1e9
        for keep in KEEP
    }
    assert max(once.values()) - min(once.values()) > 8 * (max(residue.values()) - min(residue.values()))
    normed = sum(x.passes * x.positions * x.outputs for x in event_camera_shapes() if x.kind == "batch norm")
    assert (f"{normed / 1e9:.3f}", f"{2 * normed / 1e9:.3f}") == ("0.025", "0.051")


def test_operations_of_the_paper_by_part():
    """MMACs per timestep, by hand: 9 C_in C_out H W; 4 D^2 N; 8 D^2 N; 2 N^2 D (paper.md section 3)."""
    per_step = {name: count / 4e6 for name, count in layer_macs(cifar()).items()}
    stem = [round(value, 3) for name, value in per_step.items() if name.startswith("patch_embed")]
    assert stem == [1.327, 42.467, 169.869, 169.869, 84.935]
    block = {name.removeprefix("block.3."): value for name, value in per_step.items() if name.startswith("block.3.")}
    assert round(sum(value for name, value in block.items() if name.endswith("_linear") and "attn" in name), 2) == 37.75
    assert round(sum(value for name, value in block.items() if name.startswith("mlp")), 2) == 75.50
    assert round(block["attn.qk"] + block["attn.av"], 2) == 3.15
    selectors = [layer.macs for layer in layer_shapes(cifar(0.7)) if layer.name.startswith("predictor")]
    assert sum(selectors) == (64 + 44 + 31) * (384 * 192 + 192 * 2)


def test_the_most_that_token_pruning_can_save():
    assert f"{max_token_saving(cifar()):.3f}" == f"{max_token_saving(cifar(0.5)):.3f}" == "0.374"
    assert f"{max_token_saving(event_camera_shapes()):.3f}" == "0.325"
    # One token left in every later block, selected for free, comes close and stays below.
    least = macs(replace(cifar(1e-9), selector="rate"))
    saving = 1 - least / macs(cifar())
    assert 0.36 < saving < max_token_saving(cifar())
    assert f"{1 - macs(cifar(0.5)) / macs(cifar()):.3f}" == "0.264"
    assert f"{1 - macs(event_camera_shapes(0.5)) / macs(event_camera_shapes()):.3f}" == "0.225"
    assert max_token_saving(replace(SMALL, depth=1)) == 0


LADDERS = {
    "CIFAR-10": (lambda keep: layer_shapes(cifar(keep), True), PRINTED_CIFAR10),
    "CIFAR-100": (lambda keep: layer_shapes(cifar(keep, 100), True), PRINTED_CIFAR100),
    "CIFAR10-DVS": (lambda keep: event_camera_shapes(keep, 10, True), PRINTED_CIFAR10_DVS),
    "DVS128 Gesture": (lambda keep: event_camera_shapes(keep, 11, True), PRINTED_DVS128),
}


@pytest.mark.parametrize(("network", "printed"), LADDERS.values(), ids=LADDERS)
def test_the_ladder_is_printed_to_the_digit(network, printed):
    for keep, place in ((1.0, 0), (0.7, 1)):
        layers = network(keep)
        removed = ladder(layers, 14)
        for number, texts in printed.items():
            if texts[place] is not None:
                share = 100 * sparsity(layers, removed[number]).of_all
                assert f"{share:.{len(texts[place]) - 3}f}" == texts[place], (keep, number)


def test_the_ladder_fits_the_cifar_network_of_the_paper_only_with_the_unused_norms():
    removed = ladder(cifar(), 9)
    ours, paper = (sparsity(cifar(), removed[9], paper_counting=counting) for counting in (False, True))
    assert (f"{ours.of_all:.4f}", f"{paper.of_all:.4f}") == ("0.9206", "0.9203")
    assert ours.of_prunable == paper.of_prunable
    assert f"{paper.of_prunable:.4f}" == "0.9249"


def test_the_ladder_is_that_of_pruning():
    torch.manual_seed(0)
    network = Spikformer(SMALL)
    masks = full_masks(network)
    for removed in ladder(SMALL, 8, 0.3):
        left, total = survivors(masks)
        assert (total, total - left) == (prunable(SMALL), removed)
        masks = prune_survivors(prunable_weights(network), masks, 0.3)


def test_impossible_ladders_are_refused():
    with pytest.raises(UserError, match="rounds = -1"):
        ladder(SMALL, -1)
    with pytest.raises(UserError, match=r"fraction = 1\.0"):
        ladder(SMALL, 2, 1.0)
    with pytest.raises(UserError, match=f"removed = -1: the network has {prunable(SMALL)} prunable weights"):
        sparsity(SMALL, -1)
    with pytest.raises(UserError, match="removed"):
        sparsity(SMALL, prunable(SMALL) + 1)


def test_formula_energy():
    """By hand: the first convolution once, the selectors on 64, 44 and 31 tokens; 4.6 and 0.9 pJ."""
    assert real_valued_macs(cifar()) == 9 * 3 * 48 * 32 * 32
    assert real_valued_macs(cifar(0.7)) - real_valued_macs(cifar()) == (64 + 44 + 31) * (384 * 192 + 192 * 2)
    assert real_valued_macs(replace(cifar(0.7), selector="random")) == real_valued_macs(cifar())
    assert formula_energy_pj(1000, 0) == pytest.approx(4600, rel=1e-12)
    assert formula_energy_pj(0, 1000) == pytest.approx(900, rel=1e-12)
    assert formula_energy_pj(10, 100) == pytest.approx(136, rel=1e-12)


def test_the_command_prints_printed_beside_counted(capsys):
    main()
    out = capsys.readouterr().out
    for text in ("9,330,874", "9,553,792", "3.4667", "-0.0267", "37.4 %", "32.5 %", "92.04"):
        assert text in out
    assert not [line for line in out.splitlines() if len(line) > 120 or line != line.rstrip()]


def test_counting_needs_no_torch():
    code = "import sys, sparsespike.model.paper; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_readme_shows_what_the_command_prints(capsys):
    main()
    page = (Path(sparsespike.__file__).parent / "model" / "README.md").read_text("utf-8")
    assert f"```text\n{capsys.readouterr().out}```\n" in page
    script = page.partition("## The paper's networks")[2].partition("```python\n")[2].partition("```")[0]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    total, ceiling, size = done.stdout.split()
    assert (int(total), float(ceiling), int(size)) == (macs(cifar(0.7)), max_token_saving(cifar()), 9_553_792)
