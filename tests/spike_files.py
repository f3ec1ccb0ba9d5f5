"""Files of spikes as other tools write them, and hostile ones; all made where a test asks for them, none shipped."""

import collections
import os
import pickle
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sparsespike.model.foreign import foreign_trace

DATA = Path(__file__).parent / "data"
LENET, LENET_TOML = DATA / "lenet5_mnist.npz", DATA / "lenet5_mnist.toml"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def lenet_arrays():
    """The recorded spikes, unpacked here once more: bool arrays by name."""
    with np.load(LENET) as file:
        return {
            name: np.unpackbits(file[name], count=int(file[f"{name}_shape"].prod()))
            .reshape(file[f"{name}_shape"])
            .astype(bool)
            for name in file.files
            if not name.endswith("_shape")
        }


def write_pickle(path, content, protocol=4):
    """A pickle file; returns its path."""
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def family_a(arrays):
    """Layer name -> BoolTensor, in the order of the network."""
    return collections.OrderedDict((name, torch.from_numpy(array)) for name, array in arrays.items())


def family_b(arrays):
    """Kind of layer -> list of BoolTensor, in the order of the network."""
    kinds = collections.defaultdict(list)
    for name, array in arrays.items():
        kinds["Conv2d" if name.startswith("conv2d") else "Linear"].append(torch.from_numpy(array))
    return kinds


def write_toml(folder, text):
    """A geometry file; returns its path."""
    path = folder / "geometry.toml"
    path.write_text(text)
    return path


def imported(folder, text, **arrays):
    """The trace of arrays in an .npz."""
    np.savez(folder / "spikes.npz", **arrays)
    return foreign_trace(folder / "spikes.npz", write_toml(folder, text))


class Gadget:
    """Pickles as a call of something: what a pickle runs when it is loaded."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Stateful:
    """Pickles as an object of a class that the file names, with a state."""

    def __init__(self):
        self.state = 1


def gadgets(marker):
    """What would create the file `marker` if it were loaded, by name."""
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Gadget(os.system, f"touch {marker}"),
        "subprocess": Gadget(subprocess.call, ["touch", str(marker)]),
        "eval": Gadget(eval, touch),
        "exec": Gadget(exec, touch),
        "open": Gadget(open, str(marker), "w"),
        "partial": Gadget(partial, os.system, f"touch {marker}"),
        "getattr": Gadget(getattr, "os", "system"),
        "import": Gadget(__import__, "os"),
        "torch.load": Gadget(torch.load, str(marker)),
        "objects": np.array([Gadget(os.system, f"touch {marker}"), None], dtype=object),
        "numbers": np.ones(3),
        "storage": torch.FloatStorage,
        "factory": collections.defaultdict(partial(os.system, f"touch {marker}")),
        "path": Path("/"),
        "set": {1, 2},
        "instance": Stateful(),
    }
