"""What is no trace of another tool: geometries with faults, arrays that do not fit them, files that are none."""

import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from sparsespike.model.checkpoint import FREE_BYTES, TORCH_MAGIC
from sparsespike.model.foreign.arrays import read_arrays
from sparsespike.model.foreign.geometry import load_geometry
from sparsespike.simulator.errors import UserError
from spike_files import imported, write_pickle

pytestmark = pytest.mark.torch

GOOD = """
name = "good"
[[layer]]
name = "x"
kind = "linear"
channels = 3
weights = "dense"
"""
WRONG_GEOMETRY = {
    "no name": (GOOD.replace('name = "good"', ""), ["name: missing"]),
    "a misspelt key": (
        GOOD.replace("channels", "chanels"),
        ["layer 'x': channels: missing", "did you mean 'channels'?"],
    ),
    "an unknown kind": (GOOD.replace("linear", "linaer"), ["kind = 'linaer': did you mean 'linear'?"]),
    "no kind": (GOOD.replace('kind = "linear"', ""), ["layer 'x': kind missing"]),
    "no weights": (GOOD.replace('weights = "dense"', ""), ["none of weights", '"dense"', "weight_density"]),
    "two weights": (GOOD + "weight_density = 0.1", ["both of weights"]),
    "too dense": (GOOD.replace('weights = "dense"', "weight_density = 2"), ["weight_density = 2", "at most 1"]),
    "half a channel": (GOOD.replace("= 3", "= 2.5"), ["channels = 2.5", "whole number from 1"]),
    "true channels": (GOOD.replace("= 3", "= true"), ["channels = True"]),
    "no layers": ('name = "x"\nlayer = []', ["begin one with [[layer]]"]),
    "a layer that is none": ('name = "x"\nlayer = 3', ["layer = 3: must be tables"]),
    "twins": (GOOD + GOOD.partition('good"')[2], ["two of this name"]),
    "a foreign key": (GOOD + "heads = 2", ["heads: unknown key"]),
    "axes": (GOOD + 'axes = "TX"', ["axes = 'TX'", "letters of TBCHWNA"]),
    "axes twice": (GOOD + 'axes = "TT"', ["different letters"]),
    "host": (GOOD + '[[host]]\nname = "s"\noperation = "softmax"', ["host 's': operations: missing"]),
    "all at once": (
        GOOD.replace("= 3", "= 0").replace('weights = "dense"', "") + 'axes = 4\n[[layer]]\nkind = "pol"',
        ["channels = 0", "none of weights", "axes = 4", "layer 2: kind = 'pol': did you mean 'pool'?"],
    ),
    "broken TOML": ("name = ", ["not valid TOML"]),
}


@pytest.mark.parametrize("name", WRONG_GEOMETRY)
def test_a_wrong_geometry_is_refused_with_all_faults(tmp_path, name):
    text, expected = WRONG_GEOMETRY[name]
    with pytest.raises(UserError) as refusal:
        imported(tmp_path, text, x=np.ones((2, 3), bool))
    assert "geometry.toml" in str(refusal.value)
    for part in expected:
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    "value", ["weight_density = nan", "weight_density = 1.5", "weight_density = -1", "weights = 3"]
)
@pytest.mark.parametrize("place", ["layer", "top"])
def test_weights_that_are_said_but_wrong_are_one_fault(tmp_path, value, place):
    plain = GOOD.replace('weights = "dense"', value if place == "layer" else "")
    with pytest.raises(UserError) as refusal:
        imported(tmp_path, plain if place == "layer" else f"{value}\n{plain}", x=np.ones((2, 3), bool))
    where = "layer 'x': " if place == "layer" else ""
    assert re.search(rf"toml: {where}{value}: must be", str(refusal.value))
    assert ";" not in str(refusal.value)


@pytest.mark.parametrize("name", ["none.toml", "."])
def test_a_geometry_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=re.escape(str(tmp_path / name)) + ": (no such file|is a folder)"):
        load_geometry(tmp_path / name)


MISFITS = {
    "no such array": (
        {"y": np.ones((2, 3), bool)},
        GOOD,
        "input = 'x': the file has no such array of numbers; valid: y",
    ),
    "no axis": ({"x": np.ones(3, bool)}, GOOD, "TC or TNC or TBNC"),
    "no time": ({"x": np.ones((2, 3), bool)}, GOOD + 'axes = "NC"', "none as T"),
    "no spikes": ({"x": np.full((2, 3), 0.5)}, GOOD, "holds 0.5; spikes are whole numbers from 0 to 255"),
    "no numbers": ({"x": np.full((2, 3), np.nan)}, GOOD, "holds nan"),
    "negative": ({"x": np.full((2, 3), -1)}, GOOD, "holds -1"),
    "too large": ({"x": np.full((2, 3), 256)}, GOOD, "holds 256"),
    "empty": ({"x": np.ones((0, 3))}, GOOD, "holds nothing"),
    "texts": ({"x": np.array([["a"]])}, GOOD, "no such array of numbers"),
    "a map of another size": (
        {"x": np.ones((2, 8))},
        GOOD + "map = [2, 2, 3]",
        "8 inputs, but map = [2, 2, 3] makes 12",
    ),
    "a grid of another size": (
        {"x": np.ones((2, 4, 3))},
        GOOD + "grid = [3, 2]",
        "grid = [3, 2]: the array has 4 tokens",
    ),
    "other timesteps": (
        {"x": np.ones((2, 3))},
        "timesteps = 4\n" + GOOD,
        "2 timesteps of 1 images, where others have 4",
    ),
    "no weights": ({"x": np.ones((2, 3))}, GOOD.replace('"dense"', '"w"'), "weights = 'w': the file has no such"),
    "weights of another shape": (
        {"x": np.ones((2, 3)), "w": np.ones((3, 4))},
        GOOD.replace('"dense"', '"w"'),
        "(3, 4) as OI, but 'x' needs [3, 3, 1, 1] as OIYX",
    ),
    "weights that are not finite": (
        {"x": np.ones((2, 3)), "w": np.full((3, 3), np.inf)},
        GOOD.replace('"dense"', '"w"'),
        "not finite",
    ),
    "weights without outputs": (
        {"x": np.ones((2, 3)), "w": np.ones((3, 3))},
        GOOD.replace('"dense"', '"w"\nweight_axes = "YX"'),
        "with O and I",
    ),
    "an output nobody reads": ({"x": np.ones((2, 3))}, GOOD + 'output = "y"', "no later layer reads that array"),
    "a pool of nothing": (
        {"x": np.ones((2, 3))},
        'name = "p"\nlayer = [{name = "p", kind = "pool", kernel = 2}]',
        "no layer stands before it",
    ),
    "a kernel larger than its map": (
        {"x": np.ones((2, 1, 3, 3))},
        GOOD.replace("linear", "conv") + "kernel = 4",
        "larger than its padded map [3, 3]",
    ),
    "heads": (
        {"x": np.ones((2, 4, 12))},
        'name = "a"\nlayer = [{name = "x", kind = "attention", input = "x", heads = 3}]',
        "heads = 3: q, k and v together have 12 channels",
    ),
    "host behind nothing": (
        {"x": np.ones((2, 3))},
        GOOD + '[[host]]\nname = "s"\noperation = "softmax"\noperations = 3\nafter = "y"',
        "after = 'y' is no layer",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_its_geometry_is_refused(tmp_path, name):
    arrays, text, message = MISFITS[name]
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        imported(tmp_path, text, **arrays)
    assert str(refusal.value).startswith(str(tmp_path / "geometry.toml"))


def test_all_layers_that_do_not_fit_are_named_at_once(tmp_path):
    text = GOOD + "".join(GOOD.partition('good"')[2].replace('"x"', f'"{name}"') for name in ("y", "z"))
    with pytest.raises(UserError, match=r"layer 'y': .*layer 'z': ") as refusal:
        imported(tmp_path, text, x=np.ones((2, 3)), y=np.ones(3))
    assert "layer 'x'" not in str(refusal.value)


def peak_of_refusal(path, message):
    """Bytes at most that reading the file took before it was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message):
            read_arrays(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def compressed(path, name, data):
    """A zip archive of one member; returns its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return path


def test_a_file_that_unfolds_to_far_more_than_it_holds_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros(FREE_BYTES + 1, np.uint8))
    torch.save({"x": torch.zeros(1, dtype=torch.bool).expand(FREE_BYTES + 1)}, tmp_path / "view.pth")
    often = [torch.zeros(1, dtype=torch.bfloat16).expand(FREE_BYTES // 4)] * 1000
    for name, content in (("often.pkl", often), ("nested.pkl", [[often] * 1000] * 1000)):
        write_pickle(tmp_path / name, content)
    for name in ("zeros.npz", "view.pth", "often.pkl", "nested.pkl"):
        assert (tmp_path / name).stat().st_size < 100_000
        assert peak_of_refusal(tmp_path / name, "unfolds to|holds more than") < 3e7


def test_a_shape_that_the_bytes_do_not_make_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.uint8))
    claims = (tmp_path / "x.npy").read_bytes().replace(b"'shape': (2, 3), }    ", b"'shape': (99999999,),}")
    assert b"99999999" in claims
    for data in (claims, claims[:40]):
        path = compressed(tmp_path / "x.npz", "x.npy", data)
        assert peak_of_refusal(path, "is damaged") < 1e6
    packed = {"x": np.zeros(3, np.uint8), "x_shape": np.array([2**40, 2**40])}
    np.savez(tmp_path / "packed.npz", **packed)
    with pytest.raises(UserError, match="does not hold so many bits"):
        read_arrays(tmp_path / "packed.npz")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_whose_tensors_claim_more_than_their_numbers_is_refused(tmp_path, zipped):
    """4 numbers that are said to be 64."""
    path, lying = tmp_path / "x.pth", tmp_path / "y.pth"
    torch.save({"x": torch.ones(4, dtype=torch.uint8)}, path, _use_new_zipfile_serialization=zipped)
    claim = b"K\x00K\x04\x85", b"K\x00K\x40\x85"
    if zipped:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(lying, "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(*claim))
    else:
        lying.write_bytes(path.read_bytes().replace(*claim))
    assert lying.read_bytes() != path.read_bytes()
    with pytest.raises(UserError, match=r"y\.pth: (torch file: )?damaged"):
        read_arrays(lying)
    assert list(read_arrays(path)["x"]) == [1, 1, 1, 1]


def test_a_length_in_a_file_makes_no_room(tmp_path):
    """A reader that is asked for 2 GiB makes room for them before it looks how many there are."""
    claim = struct.pack("<I", 2**31 - 1)
    for name, data in {
        "text.pkl": b"X" + claim + b"x.",
        "bytes.pkl": b"\x80\x03B" + claim + b"x.",
        "torch.pth": TORCH_MAGIC + b"\x80\x02M\xe9\x03.\x80\x02X" + claim + b"x.",
    }.items():
        (tmp_path / name).write_bytes(data)
        assert peak_of_refusal(tmp_path / name, f"{name}: .*damaged") < 1e6


def test_other_files_are_refused_in_a_sentence(tmp_path):
    for name, content in (("a.npz", b""), ("b.pkl", b"hello"), ("c.pth", b"PK\x03\x04"), ("d.zip", None)):
        if content is None:
            compressed(tmp_path / name, "x.txt", b"x")
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: (damaged|truncated|a zip archive)"):
            read_arrays(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        read_arrays(tmp_path / "none")
    with pytest.raises(UserError, match="is a folder"):
        read_arrays(tmp_path)
