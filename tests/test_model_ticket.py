"""Ticket files: nothing is lost, and nothing damaged, foreign or newer gets in."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.pruning import apply_masks, full_masks, prunable, prune_survivors
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.ticket import Calibration, Ticket, load_ticket, make_ticket, save_ticket
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.files import load_tensors, save_tensors

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
        (lambda tensors, header: header["config"].update(depth=3), "not a valid ticket|is missing"),
        (lambda tensors, header: header["config"].update(classes=4), "bytes|shape"),
        (lambda tensors, header: header["config"].update(width=4), "'width' is unknown"),
        (lambda tensors, header: header["config"].pop("keep"), "'keep' is missing"),
        (lambda tensors, header: header["config"].update(selector="best"), "selector 'best'"),
        (lambda tensors, header: header["calibration"].update(hidden_max=[]), "hidden_max"),
        (lambda tensors, header: header["calibration"].update(pixel_max=0), "pixel_max"),
        (lambda tensors, header: header.pop("provenance"), "provenance"),
        (lambda tensors, header: tensors.pop("mask/head.weight"), "mask/head.weight"),
        (lambda tensors, header: tensors.update({"mask/head.weight": np.zeros(9, np.uint8)}), "needs 3 bytes"),
        (lambda tensors, header: tensors.update({"survivors/head.weight": np.zeros(99, np.float32)}), "99 surviving"),
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
