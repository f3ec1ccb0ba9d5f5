"""Damaged and hostile files, by the thousand: whatever is done to one, reading it gives a result or a UserError.

Run as a program, it reads mutation after mutation under a limit of memory and of time for each:

    python tests/fuzz.py KIND FIRST COUNT
"""

import contextlib
import copy
import json
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

HEADROOM = 1 << 30  # address space beyond that of the modules; what torch and numba reserve is in them
SECONDS = 10  # for one file: SIGALRM ends the process in the midst of whatever it does
FIXED, PER_BYTE = 4 << 20, 40  # memory for one file: traced by Python and numpy

NUMBERS = [-1, 0, 1, 2, 7, 255, 65535, 65536, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, 0.5, -0.0, 1e300]
NUMBERS += [float("nan"), float("inf")]
OTHERS = [None, True, False, "", "x", "\ud800", "real", "binary", "exact", "replay", [], {}, [[]], {"a": 1}, "9" * 5000]
DTYPES = [np.bool_, np.int8, np.uint8, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64]
EXTREMES = [0, 1, -1, 2, 127, -128, 255, 2**15, 65535, 2**31 - 1, -(2**31), 2**62, -(2**63)]


# ---- mutations ----


def mutate_bytes(data, rng):
    """Bytes flipped, cut out, doubled, put in, the end cut off, eight of them made a large length."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at, size = rng.randrange(len(data) + 1), rng.choice([1, 2, 8, 100])
        match rng.randrange(7):
            case 0 | 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                data[at:at] = bytes(rng.choices(range(256), k=size))
            case 5:
                data[at : at + 8] = struct.pack("<Q", rng.choice([0, 1, 2**16, 2**31, 2**40, 2**63, len(data)]))
            case 6:
                del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def mutate_json(value, rng):
    """One place in nested lists and dicts changed: another value, a part gone, doubled or exchanged."""
    places = list(_places(value))
    if not places:
        return value
    holder, key = rng.choice(places)
    match rng.randrange(6):
        case 0 | 1 | 2:
            holder[key] = _other(holder[key], rng)
        case 3:
            del holder[key]
        case 4:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place])
        case 5 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case _ if isinstance(holder, dict):
            holder[rng.choice(["x", "", "values", "level", "host", "window"])] = rng.choice(NUMBERS + OTHERS)
    return value


def _other(value, rng):
    if type(value) in (int, float) and rng.random() < 0.7:
        return rng.choice([*NUMBERS, value + 1, value - 1, value * 2, -value])
    return rng.choice(NUMBERS + OTHERS)


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def mutate_arrays(arrays, rng):
    """An array changed in an entry, in type or in shape, cut, exchanged for another, or gone."""
    name, other = rng.choice(sorted(arrays)), rng.choice(sorted(arrays))
    array = arrays[name]
    match rng.randrange(9):
        case 0 | 1 | 2 if array.size:
            changed = array.copy().reshape(-1)
            changed[rng.randrange(array.size)] = np.array(rng.choice(EXTREMES)).astype(array.dtype)
            arrays[name] = changed.reshape(array.shape)
        case 3:
            with np.errstate(invalid="ignore", over="ignore"):
                arrays[name] = array.astype(rng.choice(DTYPES))
        case 4:
            arrays[name] = array.reshape(-1)[: rng.randrange(array.size + 1)]
        case 5:
            arrays[name] = array[None] if rng.random() < 0.5 else array.reshape(-1)
        case 6:
            arrays[name], arrays[other] = arrays[other], array
        case 7:
            arrays[name] = np.zeros(rng.choice([(0,), (), (1,), (0, 3), (7,)]), array.dtype)
        case _:
            del arrays[name]
    return arrays


def mutate_container(data, rng):
    """A safetensors file with another table of contents: types, shapes and offsets that its bytes do not make."""
    length = struct.unpack("<Q", data[:8])[0]
    table, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    names = [name for name in table if name != "__metadata__"]
    entry = table[rng.choice(names)]
    match rng.randrange(4):
        case 0:
            entry["dtype"] = rng.choice(["I8", "U8", "F64", "BOOL", "BF16", "F8_E4M3", "I64", "x"])
        case 1:
            entry["shape"] = rng.choice([[2**40], [2**32, 2**32], [-1], [0], [2**31, 0], [], [1.5], "x"])
        case 2:
            entry["data_offsets"] = [rng.choice([0, 1, 2**40]), rng.choice([0, 8, 2**40, 2**63])]
        case 3:
            mutate_json(table, rng)
    written = json.dumps(table).encode()
    return struct.pack("<Q", len(written)) + written + body


# ---- what is mutated, and how it is read ----


@dataclass(frozen=True)
class Kind:
    """seeds: sound files.  mutate: (one of them, rng) -> bytes.  read: path -> what is in it.  use: what was read."""

    seeds: list
    mutate: object
    read: object
    use: object
    room: object = lambda path: FIXED + PER_BYTE * path.stat().st_size  # bytes that reading it may take


def trace_kind():
    """Traces of all sorts of layers; what is accepted must also run."""
    from cases import chip_with
    from sparsespike.model.foreign import foreign_trace
    from sparsespike.simulator.bounds import bound
    from sparsespike.simulator.engine import run
    from sparsespike.simulator.errors import UserError
    from sparsespike.simulator.report import simulate
    from sparsespike.simulator.synthetic import mlp_trace, synthetic_trace
    from sparsespike.simulator.trace import load_trace, save_trace
    from spike_files import LENET, LENET_TOML

    small = {"timesteps": 2, "height": 4, "width": 4, "sps": (4, 6, 6), "classes": 3, "weight_density": 0.4}
    traces = [
        synthetic_trace(images=2, depth=3, keep=0.6, seed=2, **small),
        mlp_trace(timesteps=2, widths=(6, 6, 5), largest=9, residual=True, classes=2, seed=4),
        mlp_trace(widths=(6, 6, 5), neuron="relu", classes=2, seed=5),
        foreign_trace(LENET, LENET_TOML),
    ]
    chip = chip_with()

    def use(trace):
        """As much of the program as reads a trace: its values verified, where it has them, and its bounds."""
        trace = trace.first(1)
        run(trace, chip)
        with contextlib.suppress(UserError):  # a replay has nothing to verify
            simulate(trace, chip, verify=True)
        bound(trace, chip)

    return Kind(_written(traces, save_trace), mutate_stored, load_trace, use)


def ticket_kind():
    """Tickets of both neurons."""
    import torch
    from sparsespike.model.ann import range_names
    from sparsespike.model.config import SpikformerConfig
    from sparsespike.model.lowering import lower
    from sparsespike.model.pruning import full_masks
    from sparsespike.model.spikformer import Spikformer
    from sparsespike.model.ticket import Calibration, load_ticket, make_ticket, save_ticket

    def ticket(**changes):
        torch.manual_seed(0)
        shape = {"image_size": 4, "sps_channels": (4, 8), "depth": 2, "heads": 2, "mlp_ratio": 2, "classes": 3}
        config = SpikformerConfig(**shape, **changes)
        model = Spikformer(config)
        ranges = dict.fromkeys(range_names(config), 1.0)
        return make_ticket(model, full_masks(model), Calibration(1.0, (3.5,), ranges), {"data": "digits"})

    seeds = _written([ticket(), ticket(neuron="relu", timesteps=1)], save_ticket)
    small = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)

    def use(ticket):
        """Both networks; images of 4 x 4 run in the integer one, the thousand timesteps of a mutation do not."""
        ticket.network()
        lowered = lower(ticket)
        if ticket.config.timesteps <= 8:
            lowered.logits(small)

    return Kind(seeds, mutate_stored, load_ticket, use)


def foreign_kind():
    """Spike files of every form, each with its geometry in front."""
    import torch
    from cases import chip_with
    from sparsespike.model.foreign import foreign_trace
    from sparsespike.simulator.engine import run
    from spike_files import LENET_TOML, family_a, lenet_arrays

    chip = chip_with()
    text = LENET_TOML.read_text()
    arrays = {name: array[:2] for name, array in lenet_arrays().items()}
    geometry = text.replace("timesteps = 32", "timesteps = 2")
    content, files = family_a(arrays), []
    for zipped in (True, False):
        file = BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        files.append(file.getvalue())
    files += [pickle.dumps(content, protocol) for protocol in (0, 2, 4)]
    files.append(_npz(arrays))

    def mutate(seed, rng):
        data, toml = seed, geometry.encode()
        if rng.random() < 0.3:
            toml = mutate_bytes(toml, rng)
        elif data.startswith(b"PK") and rng.random() < 0.7:  # inside, so that the archive's checksums are right
            data = _mutate_zip(data, rng)
        else:
            data = mutate_bytes(data, rng)
        return struct.pack("<Q", len(toml)) + toml + data

    def read(path):
        packed = path.read_bytes()
        length = 8 + struct.unpack("<Q", packed[:8])[0]
        (path.parent / "g.toml").write_bytes(packed[8:length])
        (path.parent / "spikes").write_bytes(packed[length:])
        return foreign_trace(path.parent / "spikes", path.parent / "g.toml")

    def room(path):
        """A geometry warrants the memory of the network that it describes, however large the mutation has made it."""
        return HEADROOM if geometry.encode() not in path.read_bytes() else FIXED + PER_BYTE * path.stat().st_size

    return Kind(files, mutate, read, lambda trace: run(trace.first(1), chip), room)


KINDS = {"trace": trace_kind, "ticket": ticket_kind, "foreign": foreign_kind}


def _written(items, save):
    with tempfile.TemporaryDirectory() as folder:
        path, files = Path(folder) / "seed", []
        for item in items:
            save(item, path)
            files.append(path.read_bytes())
        return files


def mutate_stored(data, rng):
    """A file of ours: its bytes, its table of contents, or, with a checksum made anew, its header or arrays."""
    match rng.randrange(4):
        case 0:
            return mutate_bytes(data, rng)
        case 1:
            return mutate_container(data, rng)
    arrays, envelope = _opened(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        if rng.random() < 0.6:
            envelope = mutate_json(envelope, rng)
        elif arrays:
            mutate_arrays(arrays, rng)
    return _closed(arrays, envelope)


def _opened(data):
    from safetensors import safe_open

    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        with safe_open(file.name, framework="numpy") as opened:
            envelope = json.loads(opened.metadata()["sparsespike"])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    del envelope["sha256"]
    return arrays, envelope


def _closed(arrays, envelope):
    from safetensors.numpy import save
    from sparsespike.simulator.files import HEADER_KEY, checksum

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    whole = {**envelope, "sha256": checksum(arrays, envelope)}
    return save(arrays, metadata={HEADER_KEY: json.dumps(whole, sort_keys=True)})


def _npz(arrays):
    file = BytesIO()
    packed = {name: np.packbits(array) for name, array in arrays.items()}
    shapes = {f"{name}_shape": np.array(array.shape) for name, array in arrays.items()}
    np.savez_compressed(file, **packed, **shapes)
    return file.getvalue()


def _mutate_zip(data, rng):
    file = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            inside = old.read(name)
            new.writestr(name, mutate_bytes(inside, rng) if name == chosen else inside)
    return file.getvalue()


# ---- the run ----


def try_one(kind, number, path):
    """Whether the mutation of that number was accepted; raises whatever is no UserError."""
    from sparsespike.simulator.errors import UserError

    rng = random.Random(number)
    path.write_bytes(kind.mutate(kind.seeds[number % len(kind.seeds)], rng))
    room = kind.room(path)
    tracemalloc.start()
    found = None
    try:
        found = kind.read(path)
    except UserError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= room, f"{peak:,} bytes for a file of {path.stat().st_size:,}"
    if found is not None:
        with contextlib.suppress(UserError):  # a sound file of something that no chip runs
            kind.use(found)
    return found is not None


def main(name, first, count):
    """Print how many mutations there were and how many were accepted; 1 and the number of the first that went wrong."""
    warnings.simplefilter("error")
    kind = KINDS[name]()
    accepted, began = 0, time.monotonic()
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            sys.stderr.write(f"{name} {number}\n")  # the last one is the one that took too long
            signal.alarm(SECONDS)
            try:
                accepted += try_one(kind, number, Path(folder) / "mutation")
            except Exception:
                traceback.print_exc()
                sys.stdout.write(f"{name} {number} went wrong\n")
                return 1
            finally:
                signal.alarm(0)
    sys.stdout.write(f"{name}: {count} mutations, {accepted} accepted, {time.monotonic() - began:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
