"""The only unpickler: reads what tensors are pickled as, in every protocol, and runs nothing that files ask for."""

import copyreg
import io
import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from sparsespike.model.foreign.arrays import read_arrays
from sparsespike.model.foreign.unpickler import MOST_OPCODES, UnpickleError, unpickle
from sparsespike.simulator.errors import UserError
from spike_files import PROTOCOLS, Gadget, family_a, family_b, gadgets, lenet_arrays, write_pickle

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")]


def read(data):
    return unpickle(io.BytesIO(data), len(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", [family_a, family_b])
def test_what_tensors_are_pickled_as_is_read(protocol, family):
    content = family(lenet_arrays())
    found = read(pickle.dumps(content, protocol=protocol))
    assert list(found) == list(content)
    for key, value in content.items():
        one, other = (value, found[key]) if isinstance(value, list) else ([value], [found[key]])
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_and_views_are_read(protocol):
    tensor = torch.arange(24).reshape(2, 3, 4)
    content = {"x": (1, -2.5, None, True, False, 2**70, "ä", b"\x00\xff"), "y": [[], {}, (), (1,), (1, 2), (1, 2, 3)]}
    found = read(pickle.dumps(content | {"t": tensor.transpose(0, 2), "e": torch.zeros(0), "f": tensor}, protocol))
    assert {key: found[key] for key in content} == content
    assert torch.equal(found["t"], tensor.transpose(0, 2))
    assert torch.equal(found["f"], tensor)
    assert found["e"].shape == (0,)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", gadgets("x"))
def test_a_gadget_is_refused_and_nothing_runs(name, protocol, tmp_path):
    marker = tmp_path / "marker"
    hostile = gadgets(marker)[name]
    for content in (hostile, {"conv": torch.ones(2), "fc": [hostile]}, (hostile, hostile)):
        path = write_pickle(tmp_path / "spikes.pkl", content, protocol)
        with pytest.raises(UserError, match=r"spikes\.pkl: ") as refusal:
            read_arrays(path)
        assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["spikes.pkl"]


def test_the_gadgets_would_run(tmp_path):
    """The marker shows that these files are dangerous: a plain load does create it."""
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(gadgets(marker)["os.system"]))
    assert marker.exists()


@pytest.mark.parametrize("container", ["legacy", "zip"])
def test_a_gadget_inside_a_tensor_or_torch_file_is_refused(container, tmp_path):
    marker, torch_file = tmp_path / "marker", io.BytesIO()
    torch.save(gadgets(marker)["os.system"], torch_file, _use_new_zipfile_serialization=container == "zip")
    nested = Gadget(torch.storage._load_from_bytes, torch_file.getvalue())
    for path in (write_pickle(tmp_path / "nested.pkl", nested), tmp_path / "plain.pth"):
        if path.suffix == ".pth":
            path.write_bytes(torch_file.getvalue())
        with pytest.raises(UserError, match=r"form of torch|no file may run code"):
            read_arrays(path)
    assert not marker.exists()


def test_persistent_ids_are_refused():
    class Persistent(pickle.Pickler):
        def persistent_id(self, what):
            return "id" if isinstance(what, torch.Tensor) else None

    for protocol in PROTOCOLS:
        file = io.BytesIO()
        Persistent(file, protocol).dump([torch.ones(2)])
        with pytest.raises(UnpickleError, match="PERSID is refused"):
            read(file.getvalue())


def test_registered_extensions_are_refused():
    name = os.system.__module__, "system"
    copyreg.add_extension(*name, 240)
    try:
        data = pickle.dumps(Gadget(os.system, "true"), protocol=2)
        assert "EXT1" in {opcode.name for opcode, _, _ in pickletools.genops(data)}
        pickle.loads(data)  # in the cache of extensions, from where it is fetched without a look at its name
        with pytest.raises(UnpickleError, match="EXT1 is refused"):
            read(data)
    finally:
        copyreg.remove_extension(*name, 240)
        copyreg.clear_extension_cache()


HAND_WRITTEN = {
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nX\x04\x00\x00\x00trueo.",
    "BUILD": b"}}b.",
    "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "a dotted name": b"\x80\x04\x8c\x0btorch._utils\x8c\x02os\x93.",
    "a name within a name": b"ctorch.storage\n_load_from_bytes.__globals__\n.",
    "a space in a module": b"ccollections OrderedDict\nx\n.",
    "a name that is no text": b"\x80\x04K\x01K\x02\x93.",
    "a call of a text": b"X\x02\x00\x00\x00os)R.",
    "a call of a type": b"cbuiltins\nlist\n)R.",
    "a call with a list": b"ccollections\nOrderedDict\n]R.",
    "a dict of something": b"ccollections\nOrderedDict\n(]tR.",
    "another encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00utf_7tR.",
    "a tensor of texts": b"ctorch._utils\n_rebuild_tensor_v2\n(X\x01\x00\x00\x00aK\x00))tR.",
    "nothing": b"",
    "no end": b"]",
    "an empty stack": b".",
    "no mark": b"t.",
    "through a mark": b"K\x01(\x85.",
    "items of no dict": b"](K\x01K\x02u.",
    "a key without a value": b"}(K\x01u.",
    "a key that is a list": b"}]K\x01s.",
    "an item of no list": b"}K\x01a.",
    "a memo that is empty": b"h\x05.",
    "an unknown opcode": b"\xf0.",
    "a long text": b"X" + struct.pack("<I", 2**31) + b"x.",
    "longer bytes": b"\x8e" + struct.pack("<Q", 2**60) + b"x.",
    "a byte array": b"\x96" + struct.pack("<Q", 2**60) + b"x.",
    "a long number": b"\x8b" + struct.pack("<i", 2**30) + b"x.",
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"X",
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_a_hand_written_pickle_is_refused(name):
    with pytest.raises(UnpickleError, match=r"^[a-z]"):
        read(HAND_WRITTEN[name])


def peak_of(function):
    """Bytes at most, and what was raised."""
    tracemalloc.start()
    try:
        with pytest.raises(UnpickleError) as refusal:
            function()
        return tracemalloc.get_traced_memory()[1], str(refusal.value)
    finally:
        tracemalloc.stop()


def test_a_small_pickle_makes_no_large_memory():
    text = b"X" + struct.pack("<I", 100_000) + b"x" * 100_000
    latin = b"X\x06\x00\x00\x00latin1"
    copies = text + b"q\x00" + latin + b"q\x01" + b"c_codecs\nencode\nq\x02" + b"h\x02h\x00h\x01\x86R" * 1000 + b"."
    huge_memo = b"K\x01r\xff\xff\xff\xffr\xfe\xff\xff\xff" + b"0."
    many = b"]" * (MOST_OPCODES + 1) + b"."
    for data, reason, room in ((copies, "more of its bytes", 2e6), (many, "opcodes", 3e7), (huge_memo, "stack", 1e6)):
        peak, message = peak_of(lambda data=data: read(data))
        assert reason in message
        assert peak < room, message


def test_a_view_larger_than_its_numbers_is_refused():
    def rebuilt(offset, size, stride):
        storage = torch.ones(4).storage()
        return Gadget(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})

    assert torch.equal(read(pickle.dumps(rebuilt(0, (2, 2), (2, 1)))), torch.ones(2, 2))
    for offset, size, stride in ((0, (5,), (1,)), (3, (2,), (1,)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (2,), ())):
        with pytest.raises(UnpickleError, match="tensor"):
            read(pickle.dumps(rebuilt(offset, size, stride)))


def test_numpy_would_unpickle_objects(tmp_path):
    """Object arrays of an .npz are pickles: they are passed over, and asked for by name they are not there."""
    np.savez(tmp_path / "a.npz", good=np.ones(2), bad=gadgets(tmp_path / "marker")["objects"])
    assert list(read_arrays(tmp_path / "a.npz")) == ["good"]
    assert not (tmp_path / "marker").exists()
