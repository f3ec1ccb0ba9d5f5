"""Official checkpoints: outputs equal an independent forward pass, and what is not understood is refused by name."""

import argparse
import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from official_reference import Reference, official_state
from sparsespike import load_chip, simulate
from sparsespike.model import official as official_module
from sparsespike.model.checkpoint import is_torch_file, load_state_dict, save_checkpoint
from sparsespike.model.evaluate import evaluate
from sparsespike.model.export import trace_dataset
from sparsespike.model.official import Official, Unsaid, read_official, read_trained, ticket_from_official
from sparsespike.model.ticket import load_ticket, save_ticket
from sparsespike.simulator.errors import UserError

SMALL = Unsaid(heads=3, image_size=16)


def pictures(count, size, channels=3, seed=5):
    """float32[count, channels, size, size], smooth enough that tokens differ."""
    coarse = torch.randn(count, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear") * 1.5


def settled(images, heads, **recipe):
    """A state dict whose neurons fire on these images."""
    state = official_state(**recipe)
    Reference(state, images, heads=heads, settle=True)
    return state


def watched(official: Official, images: torch.Tensor):
    """Our network in double precision: (output, spikes by layer and block), [T, B, N, C] of all tokens."""
    model, spikes = official.network().double(), {}

    def keep(module, *place):
        module.register_forward_hook(lambda module, inputs, output: spikes.__setitem__(place, output))

    keep(model.patch_embed, "stem", 0)
    for index, block in enumerate(model.block):
        keep(block.attn.attn_lif, "attention", index)
        keep(block.mlp.fc1_lif, "fc1", index)
    keep(model.block[-1], "block", index)
    return model(images.double()), spikes


def compare(official, state, images, keep):
    """Every spike on tokens that are left, which tokens these are, and the logits."""
    want = Reference(state, images, heads=official.config.heads, keep=keep)
    output, spikes = watched(official, images)
    for mask, kept in zip(output.masks, want.kept[1:], strict=True):
        assert [row.nonzero()[:, 0].tolist() for row in mask] == kept.sort(1).values.tolist()
    assert set(spikes) == set(want.spikes)
    for (layer, block), demanded in want.spikes.items():
        kept = want.kept[block if keep < 1 else 0]
        ids = kept[None, :, :, None].expand(4, -1, -1, demanded.shape[3])
        assert torch.equal(spikes[layer, block].gather(2, ids), demanded), (layer, block)
        assert demanded.std() > 0.1, f"{layer} of block {block} is equal by silence"
    torch.testing.assert_close(output.logits, want.logits, rtol=1e-9, atol=1e-9)
    return want


@pytest.mark.parametrize("keep", [0.7, 0.5, 1.0])
def test_outputs_equal_an_independent_forward_pass(keep, tmp_path):
    images = pictures(2, 16)
    state = settled(images, 3)
    torch.save({"state_dict": state, "epoch": 299}, tmp_path / "small.pth")
    official = read_official(tmp_path / "small.pth", Unsaid(heads=3, image_size=16, keep=keep))
    assert official.config.kept_tokens == tuple(int(16 * keep**index) for index in range(4))
    compare(official, state, images, keep)


def test_the_papers_own_shapes(tmp_path, note):
    """SparseSpikformer-4-384 for CIFAR-10: 64 tokens, of which 44, 31 and 21 are left."""
    images = pictures(1, 32)
    state = settled(images, 12, width=384, drive=0.7)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "paper.pth")
    official = read_official(tmp_path / "paper.pth")
    assert official.config.sps_channels == (48, 96, 192, 384)
    assert official.config.kept_tokens == (64, 44, 31, 21)
    trained = sum(t.numel() for name, t in state.items() if "running" not in name and "batches" not in name)
    assert trained == 9_553_792  # as the paper's network counts, unused norms included
    assert sum(a.size for name, a in official.parameters.items() if "running" not in name) == trained - 6_144
    want = compare(official, state, images, 0.7)
    compared = sum(spikes.numel() for spikes in want.spikes.values())
    note(f"official 4-384 checkpoint: {compared:,} neuron outputs equal an independent forward pass")


def write(content, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    return tmp_path / "file.pth"


STATE = official_state()
CONTAINERS = {
    "bare": lambda state: state,
    "timm": lambda state: {"epoch": 3, "arch": "s", "state_dict": state, "args": argparse.Namespace(lr=5e-4)},
    "reference scripts": lambda state: {"model": state, "optimizer": {"state": {}}, "args": argparse.Namespace(T=4)},
    "parallel": lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    "half": lambda state: {name: t.half() if t.is_floating_point() else t for name, t in state.items()},
    "final norm": lambda state: {**state, "norm.weight": torch.ones(24), "norm.bias": torch.zeros(24)},
}


@pytest.mark.parametrize("form", CONTAINERS)
def test_containers_and_unused_norms(form, tmp_path):
    official = read_official(write(CONTAINERS[form](STATE), tmp_path), SMALL)
    used = {name for name in STATE if ".norm" not in name and not name.endswith("num_batches_tracked")}
    assert set(official.parameters) == used
    for name, array in official.parameters.items():
        exact = STATE[name].half().float() if form == "half" else STATE[name]
        assert array.dtype == np.float32
        assert np.array_equal(array, exact.numpy())


@pytest.mark.parametrize("length", [0x80, 0x0280, 0x504B])
def test_a_ticket_is_no_torch_file_whatever_its_length(length, tmp_path):
    """It begins with the length of its header, which may look like the beginning of a pickle."""
    (tmp_path / "t.safetensors").write_bytes(length.to_bytes(8, "little") + b"{" * 100)
    assert not is_torch_file(tmp_path / "t.safetensors")
    assert not is_torch_file(tmp_path)


def test_the_older_file_format(tmp_path):
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert is_torch_file(tmp_path / "old.pth")
    assert read_official(tmp_path / "old.pth", SMALL).config.width == 24


@pytest.mark.parametrize(
    ("recipe", "unsaid", "expected"),
    [
        ({"classes": 100}, {}, {"classes": 100, "keep": 0.7, "activation": "gelu"}),
        ({"selectors": False, "depth": 2}, {}, {"depth": 2, "keep": 1.0, "activation": "relu"}),
        ({"width": 12, "ratio": 2, "convs": 3}, {"pools": 1}, {"mlp_ratio": 2, "sps_pools": (False, False, True)}),
        ({"channels": 1}, {"timesteps": 2, "keep": 0.5}, {"image_channels": 1, "timesteps": 2, "keep": 0.5}),
    ],
)
def test_the_configuration_follows_from_shapes(recipe, unsaid, expected, tmp_path):
    config = read_official(write(official_state(**recipe), tmp_path), Unsaid(heads=3, image_size=16, **unsaid)).config
    assert {name: getattr(config, name) for name in expected} == expected


def test_selectors_are_left_out_where_all_tokens_are_kept(tmp_path):
    official = read_official(write(STATE, tmp_path), Unsaid(heads=3, image_size=16, keep=1.0))
    assert not [name for name in official.parameters if name.startswith("predictor")]


def changed(drop=(), **more):
    return {name: tensor for name, tensor in STATE.items() if name not in drop} | more


BAD = {
    "missing": (
        lambda: changed(("head.bias", "patch_embed.proj_conv1.weight")),
        r"missing: 'patch_embed.proj_conv1.weight', 'head.bias'$",
    ),
    "a whole block": (
        lambda: {name: tensor for name, tensor in STATE.items() if not name.startswith("block.2.")},
        "missing: 'block.2.attn.q_linear.weight', .* and 24 more$",
    ),
    "unknown": (
        lambda: changed(**{"block.0.attn.q_linaer.weight": torch.ones(2), "pos_embed": torch.ones(2)}),
        r"unknown: 'block.0.attn.q_linaer.weight' \(did you mean 'block.0.attn.q_linear.weight'\?\), 'pos_embed'$",
    ),
    "missing and unknown": (
        lambda: changed(("head.bias",), **{"head.bais": torch.ones(10)}),
        r"missing: 'head.bias'; unknown: 'head.bais' \(did you mean 'head.bias'\?\)$",
    ),
    "shape": (
        lambda: changed(**{"block.1.attn.v_linear.weight": torch.ones(24, 25)}),
        r"of another shape: 'block.1.attn.v_linear.weight' is \(24, 25\), not \(24, 24\)$",
    ),
    "one selector too few": (
        lambda: {name: tensor for name, tensor in STATE.items() if not name.startswith("predictor.2")},
        "missing: 'predictor.2.linear.0.weight', .*'predictor.2.linear.2.bias'$",
    ),
    "not finite": (
        lambda: changed(**{"head.bias": torch.full((10,), torch.nan)}),
        "no finite floating-point numbers: 'head.bias'",
    ),
    "whole numbers": (
        lambda: changed(**{"head.bias": torch.ones(10, dtype=torch.int64)}),
        "no finite floating-point numbers: 'head.bias'",
    ),
    "event camera": (
        lambda: {"model": changed(**{"block.0.attn.q_conv.weight": torch.ones(24, 24, 1)})},
        r"it is of the event-camera or ImageNet variant.*block.0.attn.q_conv.weight.*only the CIFAR variant",
    ),
    "image net": (
        lambda: changed(**{"block.0.mlp.fc1_conv.weight": torch.ones(24, 24, 1, 1)}),
        "it is of the event-camera or ImageNet variant",
    ),
    "another network": (lambda: {"conv1.weight": torch.ones(3)}, "missing: .*and .* more; unknown: 'conv1.weight'"),
    "an absurd depth": (lambda: changed(**{"block.987654321.norm.x": torch.ones(3)}), "unknown: 'block.987654321.norm"),
    "no tensors": (lambda: {**STATE, "epoch": 3}, "beside named tensors it holds 'epoch'"),
    "a list": (lambda: [torch.ones(3)], "holds no state dict, bare or under 'state_dict' or 'model'"),
    "numbered": (lambda: {3: torch.ones(3)}, "beside named tensors it holds 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused_by_name(name, tmp_path):
    build, message = BAD[name]
    path = write(build(), tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        read_official(path, SMALL)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("unsaid", "message"),
    [
        ({"heads": 5}, "width 24 does not split into 5 heads"),
        ({"pools": 9}, "pools = 9: there are 4 convolutions"),
        ({"keep": 1.5}, "keep = 1.5"),
    ],
)
def test_what_cannot_be_said_is_refused(unsaid, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_official(write(STATE, tmp_path), Unsaid(**({"heads": 3} | unsaid)))


def test_a_share_to_keep_needs_selectors(tmp_path):
    with pytest.raises(UserError, match=r"keep = 0.5: there are no selectors"):
        read_official(write(official_state(selectors=False), tmp_path), Unsaid(heads=3, keep=0.5))


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return print, ("run",)


def test_no_file_runs_code(tmp_path, capsys):
    torch.save({"state_dict": STATE, "trap": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UserError, match=r"needs \S*print to be read, but no file may run code here"):
        load_state_dict(tmp_path / "trap.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"bare\.pth"):
        load_state_dict(tmp_path / "bare.pth")
    assert capsys.readouterr().out == ""


def test_damaged_files_and_other_kinds(tmp_path):
    path = write(STATE, tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged, or no file of torch's"):
        read_official(path)
    with pytest.raises(UserError, match="no such file"):
        read_official(tmp_path / "nowhere.pth")
    save_checkpoint({"round": 0}, path)
    with pytest.raises(UserError, match="the state of a training; the tickets beside it"):
        read_official(path)


# --- tickets ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def for_digits(tmp_path_factory):
    """An official checkpoint for 8 x 8 images of one colour, a third of its weights pruned."""
    path = tmp_path_factory.mktemp("official") / "digits.pth"
    state = settled(torch.from_numpy(digits_images()), 12, channels=1, width=144, drive=2.5)
    for name, tensor in state.items():
        if tensor.ndim >= 2:
            tensor[torch.rand(tensor.shape, generator=torch.Generator().manual_seed(len(name))) < 1 / 3] = 0.0
    torch.save({"state_dict": state}, path)
    return path, state


def digits_images():
    from sparsespike.model.data import load_data

    return load_data("digits").train.images[:20]


def test_a_ticket_from_an_official_file(for_digits, tmp_path):
    path, state = for_digits
    ticket = ticket_from_official(path, digits_images())
    pruned = sum(int((tensor == 0).sum()) for tensor in state.values() if tensor.ndim >= 2)
    assert (ticket.zeros, ticket.prunable) == (pruned, sum(t.numel() for t in state.values() if t.ndim >= 2))
    assert 0.3 < ticket.sparsity < 0.37
    assert ticket.calibration.pixel_max == 1.0
    assert min(ticket.calibration.hidden_max) > 0
    save_ticket(ticket, tmp_path / "t.safetensors")
    again = load_ticket(tmp_path / "t.safetensors")
    assert again.sha256 == ticket.sha256
    assert again.config == ticket.config
    assert again.provenance["official_file"] == "digits.pth"


def test_weights_to_begin_a_training_with(for_digits, tmp_path):
    path, state = for_digits
    ticket = ticket_from_official(path, digits_images())
    save_ticket(ticket, tmp_path / "t.safetensors")
    like = replace(ticket.config, heads=6, timesteps=2)
    official, again = read_trained(path, like), read_trained(tmp_path / "t.safetensors", like)
    assert official.config == like
    assert again.config == ticket.config
    for one in (official, again):
        assert set(one.masks) == {name for name in one.parameters if one.parameters[name].ndim >= 2}
        assert np.array_equal(one.network().state_dict()["head.weight"], state["head.weight"])
    assert official.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_trace_takes_an_official_file_and_the_chip_computes_it(for_digits, monkeypatch):
    path, _ = for_digits
    monkeypatch.setattr(official_module, "CALIBRATION_IMAGES", 20)
    trace = trace_dataset(path, "digits", 2)
    assert trace.layer("select0").table is not None
    assert trace.provenance["ticket_official_file"] == "digits.pth"
    assert min(len(s.events.channels) for s in trace.streams.values() if s.events) > 0
    for chip in ("edge", "mesh16"):
        assert simulate(trace, load_chip(chip), verify=True).activity.verified.tokens == 2 * (4 + 2 + 1)
    assert evaluate(path, "digits", 5).images == 5


def test_images_and_classes_must_fit(for_digits, tmp_path):
    path, _ = for_digits
    with pytest.raises(UserError, match=r"a network for images of \(1, 16, 16\).*these 2 are \(3, 16, 16\)"):
        ticket_from_official(path, pictures(2, 16).numpy())
    other = write(official_state(channels=1, classes=7), tmp_path)
    with pytest.raises(UserError, match="tells 7 classes apart, but digits has 10"):
        trace_dataset(other, "digits", 1)
