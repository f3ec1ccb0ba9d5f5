"""Ticket files: nothing is lost, and nothing damaged, foreign or newer gets in."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.lowering import lower
from sparsespike.model.pruning import apply_masks, full_masks, prunable, prune_survivors
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.start import find_trained
from sparsespike.model.ticket import Calibration, Ticket, load_ticket, make_ticket, network_of, save_ticket
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.files import load_tensors, save_tensors
from sparsespike.simulator.trace import THETA_MAX, Attention

CONFIG = SpikformerConfig(image_size=4, sps_channels=(4, 8), depth=2, heads=2, mlp_ratio=2, classes=3)


@pytest.fixture
def ticket() -> Ticket:
    torch.manual_seed(0)
    model = Spikformer(CONFIG)
    model(torch.rand(4, 1, 4, 4))  # moves the running statistics off their start
    masks = prune_survivors(prunable(model), full_masks(model), 0.9)
    apply_masks(model, masks)
    return make_ticket(model, masks, Calibration(1.0, (3.5,)), {"data": "digits", "seed": "7"})


def test_round_trip_is_bit_exact(ticket, tmp_path):
    digest = save_ticket(ticket, tmp_path / "a.safetensors")
    again = load_ticket(tmp_path / "a.safetensors")
    assert digest == ticket.sha256 == again.sha256
    assert (again.config, again.calibration, again.provenance) == (CONFIG, ticket.calibration, ticket.provenance)
    for name, array in ticket.parameters.items():
        assert np.array_equal(again.parameters[name], array)
    for name, mask in ticket.masks.items():
        assert np.array_equal(again.masks[name], mask)
    save_ticket(again, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_network_from_a_ticket_gives_the_same_logits(ticket):
    images = torch.rand(3, 1, 4, 4)
    torch.manual_seed(0)
    model = Spikformer(CONFIG)
    model.load_state_dict(ticket.network().state_dict())
    assert torch.equal(model.eval()(images).logits, ticket.network()(images).logits)


def test_sparsity_both_ways(ticket):
    weights = sum(mask.size for mask in ticket.masks.values())
    assert (ticket.prunable, ticket.zeros) == (weights, int(0.9 * weights))
    total = sum(parameter.numel() for parameter in Spikformer(CONFIG).parameters())
    assert ticket.sparsity == ticket.zeros / weights
    assert ticket.sparsity_all == ticket.zeros / total
    assert ticket.kept_tokens == (16, 11)


def test_file_holds_mask_bits_and_survivors_only(ticket, tmp_path):
    save_ticket(ticket, tmp_path / "t.safetensors")
    tensors, _, _ = load_tensors(tmp_path / "t.safetensors", "ticket", 1)
    name = "block.0.mlp.fc1_linear.weight"
    assert tensors[f"mask/{name}"].nbytes == ticket.masks[name].size // 8
    assert tensors[f"survivors/{name}"].size == int(ticket.masks[name].sum())
    assert f"parameter/{name}" not in tensors


def test_truncated_files_are_refused(ticket, tmp_path):
    path = tmp_path / "t.safetensors"
    save_ticket(ticket, path)
    content = path.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"t\.safetensors"):
            load_ticket(path)


def test_flipped_bits_are_refused(ticket, tmp_path):
    path = tmp_path / "t.safetensors"
    save_ticket(ticket, path)
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(content), 80):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(position) % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(UserError, match=r"t\.safetensors"):
            load_ticket(path)


def test_newer_and_foreign_files_are_refused(ticket, tmp_path):
    path = tmp_path / "t.safetensors"
    with pytest.raises(UserError, match="no such file"):
        load_ticket(path)
    save_tensors(path, "ticket", 2, {}, {})
    with pytest.raises(UserError, match="newer than this program's 1"):
        load_ticket(path)
    save_tensors(path, "trace", 1, {}, {})
    with pytest.raises(UserError, match="holds a trace, but a ticket is needed"):
        load_ticket(path)
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(UserError, match="not a ticket file"):
        load_ticket(path)


def rewritten(path, change) -> None:
    """Change a ticket file and make its checksum fit, so that only the content's own rules can refuse it."""
    tensors, header, _ = load_tensors(path, "ticket", 1)
    change(tensors, header)
    save_tensors(path, "ticket", 1, tensors, header)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, header: header["config"].update(depth=3), "array 'mask/block.2.*' is missing"),
        (lambda tensors, header: header["config"].update(classes=4), "bytes|shape"),
        (lambda tensors, header: header["config"].update(width=4), "'width' is unknown"),
        (lambda tensors, header: header["config"].pop("keep"), "'keep' is missing"),
        (lambda tensors, header: header["config"].update(selector="best"), "selector 'best'"),
        (lambda tensors, header: header["calibration"].update(hidden_max=[]), "hidden_max"),
        (lambda tensors, header: header["calibration"].update(pixel_max=0), "pixel_max"),
        (lambda tensors, header: header["calibration"].update(x=0), "calibration keys: 'x' is unknown"),
        (lambda tensors, header: header["calibration"].pop("pixel_max"), "calibration keys: 'pixel_max' is missing"),
        (lambda tensors, header: header.update(config=[1]), r"config = \[1\]: needs values by name"),
        (lambda tensors, header: header.update(provenance=[1]), r"provenance = \[1\]: needs values by name"),
        (lambda tensors, header: header["provenance"].update(seed=7), "provenance.seed = 7: needs a text"),
        (lambda tensors, header: header["provenance"].update(a={"b": "c"}), r"provenance.a = \{'b': 'c'\}: needs"),
        (lambda tensors, header: header["provenance"].update(a="\ud800"), "provenance.a = '.ud800': needs a text"),
        (lambda tensors, header: header.pop("provenance"), "provenance"),
        (lambda tensors, header: tensors.pop("mask/head.weight"), "array 'mask/head.weight' is missing"),
        (lambda tensors, header: tensors.update({"mask/head.weight": np.zeros(9, np.uint8)}), "needs 3 bytes"),
        (lambda tensors, header: tensors.update({"survivors/head.weight": np.zeros(99, np.float32)}), "99 surviving"),
        (
            lambda tensors, header: tensors.update({"survivors/head.weight": np.full(3, 1e300)}),
            "survivors of head.weight: float64, needs float32",
        ),
        (lambda tensors, header: tensors.update({"parameter/head.bias": np.zeros(4, np.float32)}), "head.bias: shape"),
        (lambda tensors, header: tensors.update({"parameter/head.bias": np.zeros(3)}), "float32"),
        (lambda tensors, header: tensors.update({"parameter/head.bias": np.full(3, np.nan, np.float32)}), "finite"),
    ],
)
def test_content_that_does_not_fit_is_refused(ticket, tmp_path, change, message):
    path = tmp_path / "t.safetensors"
    save_ticket(ticket, path)
    rewritten(path, change)
    with pytest.raises(UserError, match=message) as caught:
        load_ticket(path)
    assert str(path) in str(caught.value)


WRONG_VALUES = {
    "config": {
        "timesteps": [0, 1025, 10**9, 2.0, "4", None, True],
        "image_size": [0, 65536, 10**30],
        "image_channels": [True, 65536],
        "classes": [0, 10**30, True],
        "depth": [True, 10**30],
        "heads": [True, 10**30],
        "mlp_ratio": [True, 10**30],
        "selector_seed": [-1, 2**63, 1.0, True],
        "keep": [0, float("nan"), 1.1, "1", True, None],
        "attention_scale": [0, float("nan"), float("inf"), 1e-300, 1e300, True, "x"],
        "sps_channels": [[], 8, [4, True], [4, 8.0], [4, 10**9], "48"],
        "sps_pools": [[0, 1], 7, "ab"],
        "selector": [None, ["learned"]],
        "activation": [1],
        "neuron": [True],
    },
    "calibration": {
        "pixel_max": [-1, float("nan"), float("inf"), 1e308, 1e-300, 10**400, "1", True, None, [1]],
        "hidden_max": [[float("nan")], ["a"], [-1], [1e300], [True], "a", 3.5, None, {"a": 1}],
        "ranges": [[], {"x": "a"}, {"x": float("nan")}, {"x": -1}, {"x": 1e-300}, {"x": True}, None],
    },
}


@pytest.mark.parametrize(("part", "key"), [(part, key) for part, keys in WRONG_VALUES.items() for key in keys])
def test_values_that_no_network_has_are_refused_by_name(ticket, tmp_path, part, key):
    path = tmp_path / "t.safetensors"
    for value in WRONG_VALUES[part][key]:
        save_ticket(ticket, path)
        rewritten(path, lambda tensors, header, value=value: header[part].update({key: value}))
        with pytest.raises(UserError) as caught:
            load_ticket(path)
        assert re.match(rf"{re.escape(str(path))}: (calibration\.)?{key}\b", str(caught.value)), value


def test_all_faults_of_a_header_are_told_at_once(ticket, tmp_path):
    path = tmp_path / "t.safetensors"
    save_ticket(ticket, path)

    def change(tensors, header):
        header["config"].update(timesteps=10**9, keep=2)
        header["calibration"].update(pixel_max=0, hidden_max=[-1])
        header.update(provenance=3)

    rewritten(path, change)
    with pytest.raises(UserError) as caught:
        load_ticket(path)
    names = ("timesteps = ", "keep = ", "calibration.pixel_max = ", "calibration.hidden_max = ", "provenance = ")
    assert [name for name in names if name not in str(caught.value)] == []


def test_a_negative_variance_is_refused_by_name(ticket, tmp_path):
    """In a ticket's file, in the network of an official checkpoint's parameters; 0 and -0 are none."""
    path, name = tmp_path / "t.safetensors", "patch_embed.proj_bn.running_var"
    for value in (0.0, -0.0, -1e-5, -1.0):
        variance = ticket.parameters[name].copy()
        variance[2] = value
        save_ticket(ticket, path)
        rewritten(path, lambda tensors, header, variance=variance: tensors.update({f"parameter/{name}": variance}))
        if value >= 0:
            load_ticket(path)
            continue
        with pytest.raises(UserError, match=f"{path}: {name} goes down to {value:.3g}: a variance is never below 0"):
            load_ticket(path)
        with pytest.raises(UserError, match=f"{name} goes down to"):
            network_of(ticket.config, dict(ticket.parameters) | {name: variance})


def test_a_checkpoint_of_a_negative_variance_is_refused_where_a_training_begins(ticket, tmp_path):
    path, name = tmp_path / "official.pth", "block.1.attn.q_bn.running_var"
    state = {key: torch.from_numpy(array.copy()) for key, array in ticket.parameters.items()}
    torch.save(state, path)
    assert find_trained(str(path), CONFIG)[0] == path
    state[name][0] = -0.5
    torch.save(state, path)
    with pytest.raises(UserError, match=f"{path}: {name} goes down to -0.5: a variance is never below 0"):
        find_trained(str(path), CONFIG)


def test_the_widest_values_that_are_accepted_lower_without_a_warning(ticket):
    """Warnings are errors: no scale overflows; what no hidden sum reaches is refused by name."""
    images = np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype(np.float32)
    for pixel_max in (1.2e-38, 3.4e38):
        lower(dataclasses.replace(ticket, calibration=Calibration(pixel_max, (0.0,)))).logits(images)
    for scale in (2.0**-20, 2.0**20):
        config = dataclasses.replace(ticket.config, attention_scale=scale, timesteps=9)
        network = lower(dataclasses.replace(ticket, config=config, calibration=Calibration(1.0, (0.0,))))
        assert 1 <= next(layer.theta for layer in network.layers if isinstance(layer, Attention)) <= THETA_MAX
    with pytest.raises(UserError, match=r"calibration.hidden_max\[0\] = 3e\+38: no sum of that selector is so large"):
        lower(dataclasses.replace(ticket, calibration=Calibration(1.0, (3e38,))))


def test_a_pruned_weight_that_is_not_zero_is_refused(ticket):
    weights = dict(ticket.parameters)
    weights["head.weight"] = np.ones_like(weights["head.weight"])
    with pytest.raises(UserError, match="a pruned weight is not 0"):
        dataclasses.replace(ticket, parameters=weights)


def test_header_is_plain_json(ticket, tmp_path):
    save_ticket(ticket, tmp_path / "t.safetensors")
    with safe_open(tmp_path / "t.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["sparsespike"])
    assert header["kind"] == "ticket"
    assert header["header"]["provenance"]["seed"] == "7"
