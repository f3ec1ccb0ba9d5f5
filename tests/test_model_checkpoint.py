"""Torch files: they go round, run no code, unfold to no more than they may, and what is odd or damaged is named."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from official_reference import official_state
from sparsespike.model.checkpoint import FREE_BYTES, load_checkpoint, load_state_dict, save_checkpoint
from sparsespike.model.official import PAPER, Unsaid, read_official
from sparsespike.model.ticket import parameter_shapes
from sparsespike.simulator.errors import UserError

SMALL = Unsaid(heads=3, image_size=16)
STATE = official_state()
WIDE = replace(PAPER, sps_channels=(96, 192, 384, 768))


def write(content, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    return tmp_path / "file.pth"


# --- training states --------------------------------------------------------------------------------------------------


def test_checkpoints_go_round_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "state.pt"
    save_checkpoint({"a": torch.arange(3), "b": {"c": 1.5}}, path)
    state = load_checkpoint(path)
    assert state["a"].tolist() == [0, 1, 2]
    assert state["b"] == {"c": 1.5}
    whole = path.read_bytes()
    flipped = whole.index(torch.arange(3).numpy().tobytes())
    damaged = [whole[:length] for length in (0, 200, len(whole) // 2, len(whole) - 1)]
    damaged.append(whole[:flipped] + b"\1" + whole[flipped + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"state.pt: cut off, damaged, or no training state; remove the file to start anew$"
        ):
            load_checkpoint(path)


def test_a_full_disk_is_a_sentence_and_leaves_the_state_before(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    save_checkpoint({"a": 1}, path)

    def full(_state, file):
        file.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0\nmore")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"state.pt: cannot be written: \[enforce fail .* vs 0$"):
        save_checkpoint({"a": 2}, path)
    assert load_checkpoint(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


class Payload:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return (print, ("executed",))


def test_checkpoints_never_run_code(tmp_path, capsys):
    torch.save({"version": 1, "state": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="no training state"):
        load_checkpoint(tmp_path / "evil.pt")
    torch.save({"version": 2, "state": {}}, tmp_path / "newer.pt")
    with pytest.raises(UserError, match="newer than this program's 1"):
        load_checkpoint(tmp_path / "newer.pt")
    assert capsys.readouterr().out == ""


# --- state dicts ------------------------------------------------------------------------------------------------------


def views(shapes):
    """Tensors of these shapes, of one number each."""
    return {name: torch.ones(()).expand(shape) for name, shape in shapes.items()}


def test_views_that_unfold_to_far_more_than_the_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "isfinite", None)  # whatever looks at the numbers comes too late
    wide = views(parameter_shapes(WIDE))
    for content in (wide, {"model": wide}):
        path = write(content, tmp_path)
        assert path.stat().st_size < 100_000
        message = r"file.pth: array '\S+' \(\S.*\) unfolds to more than 256 times the file$"
        with pytest.raises(UserError, match=message):
            read_official(path)


def test_views_of_a_small_network_are_read(tmp_path):
    assert (
        read_official(
            write(views({name: tensor.shape for name, tensor in STATE.items()}), tmp_path), SMALL
        ).config.width
        == 24
    )


def test_a_compressed_archive_that_unfolds_to_far_more_is_refused(tmp_path):
    torch.save({"x": torch.zeros(FREE_BYTES // 4 + 1)}, tmp_path / "plain.pth")
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"packed.pth: unfolds to [\d,]+ bytes, more than [\d,]+: 256 times its size"):
        load_state_dict(path)


ODD = {
    "meta": (lambda plain: plain.to("meta"), "a shape without numbers (device 'meta')"),
    "sparse": (lambda plain: plain.to_sparse(), "sparse or packed (torch.sparse_coo)"),
    "sparse rows": (lambda plain: plain.to_sparse_csr(), "sparse or packed (torch.sparse_csr)"),
    "quantised": (lambda plain: torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8), "quantised (torch.qint8)"),
    "complex": (lambda plain: plain.to(torch.complex64), "of an unusual type (torch.complex64)"),
    "float8": (lambda plain: plain.to(torch.float8_e4m3fn), "of an unusual type (torch.float8_e4m3fn)"),
    "negated": (lambda plain: torch.complex(plain, plain).conj().imag, "a negated view"),
    "nested": (lambda plain: torch.nested.nested_tensor([plain, plain[:1]]), "a nested tensor"),
}


@pytest.mark.filterwarnings("ignore:.*(prototype|beta state|deprecated|TypedStorage)")
@pytest.mark.parametrize("name", ODD)
def test_tensors_that_are_no_plain_numbers_are_refused_by_name(name, tmp_path):
    make, what = ODD[name]
    path = write(STATE | {"head.weight": make(STATE["head.weight"])}, tmp_path)
    with pytest.raises(UserError) as caught:
        read_official(path, SMALL)
    assert str(caught.value) == f"{path}: no plain numbers: 'head.weight' is {what}"


def test_every_tensor_that_is_no_plain_numbers_is_named_beside_what_is_no_tensor(tmp_path):
    content = {name: tensor.to("meta") for name, tensor in STATE.items()} | {"epoch": 3}
    with pytest.raises(UserError, match=r"it holds 'epoch'; no plain numbers: 'patch.* is a shape .* and \d+ more$"):
        read_official(write(content, tmp_path))


def test_parameters_that_still_want_gradients_are_read(tmp_path):
    state = STATE | {"head.weight": torch.nn.Parameter(STATE["head.weight"])}
    assert np.array_equal(read_official(write(state, tmp_path), SMALL).parameters["head.weight"], STATE["head.weight"])
