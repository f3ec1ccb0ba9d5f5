"""Tickets: a trained network as one small file that holds the masks as bits and the surviving weights only."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..simulator.errors import UserError
from ..simulator.files import checksum, load_tensors, need_texts, save_tensors
from .ann import range_names
from .config import SpikformerConfig, is_number
from .pruning import Masks
from .spikformer import Spikformer

KIND, VERSION = "ticket", 1

# fields of the configuration that came later: a file without them means these values, and none is written with them
_LATER = {"neuron": "lif", "activation": "relu"}

# What float32 holds in full precision, as pixels and activations are: within it no scale overflows.
_LEAST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

# torch counts batches there; nothing in evaluation or lowering reads it
_UNUSED = "num_batches_tracked"


@dataclass(frozen=True)
class Calibration:
    """What lowering must know of the training images, so that it is a function of the ticket alone.

    pixel_max: largest |pixel| after normalisation.
    hidden_max: per learned selector, the largest hidden sum that its activation tells from others, on tokens that were
        candidates: with GELU, negative ones count too, down to where it is flat; empty without learned selectors.
    ranges: of a quantised ANN, the activation that becomes 255, by name (`ann.range_names`); empty otherwise.
    """

    pixel_max: float
    hidden_max: tuple[float, ...] = ()
    ranges: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UserError naming every value that no float32 network and image can bring about."""
        faults = list(_calibration_faults(self))
        if faults:
            raise UserError("; ".join(faults))


def _calibration_faults(calibration: Calibration) -> Iterator[str]:
    allowed = f"a number from {_LEAST:.3g} to {_LARGEST:.3g}"
    pixel: Any = calibration.pixel_max  # what a file says may be anything
    hidden: Any = calibration.hidden_max
    ranges: Any = calibration.ranges
    if not is_number(pixel, _LEAST, _LARGEST):
        yield f"calibration.pixel_max = {pixel!r:.60}: needs {allowed}"
    if not (isinstance(hidden, tuple) and all(is_number(largest, 0, _LARGEST) for largest in hidden)):
        yield f"calibration.hidden_max = {hidden!r:.60}: needs numbers from 0 to {_LARGEST:.3g}"
    if not isinstance(ranges, Mapping):
        yield f"calibration.ranges = {ranges!r:.60}: needs numbers by name"
        return
    for name, largest in ranges.items():
        if not (is_number(largest, _LEAST, _LARGEST) or is_number(largest, 0, 0)):
            yield f"calibration.ranges.{name} = {largest!r:.60}: needs 0, or {allowed}"


@dataclass(frozen=True)
class Ticket:
    """A trained network with its masks and where it comes from.

    parameters: float32 arrays by official name, pruned weights exactly 0; weights, biases, batch norm with statistics.
    masks: bool arrays of the prunable weights, True where a weight survived.
    provenance: data set, seed, command, rounds, accuracy …, as text.
    Raises UserError where names, shapes or values do not fit the configuration.
    """

    config: SpikformerConfig
    parameters: Mapping[str, NDArray[np.float32]]
    masks: Mapping[str, NDArray[np.bool_]]
    calibration: Calibration
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = parameter_shapes(self.config)
        _check_names("parameters", set(self.parameters), set(shapes))
        _check_names("masks", set(self.masks), {name for name in shapes if _is_prunable(name, shapes[name])})
        for name, array in self.parameters.items():
            if array.shape != shapes[name]:
                raise UserError(
                    f"{name}: shape {array.shape} does not fit the configuration, which needs {shapes[name]}"
                )
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise UserError(f"{name}: needs finite float32 numbers")
        for name, mask in self.masks.items():
            if mask.shape != shapes[name]:
                raise UserError(f"mask of {name}: shape {mask.shape}, needs {shapes[name]}")
            if self.parameters[name][~mask].any():
                raise UserError(f"{name}: a pruned weight is not 0")
        check_variances(self.parameters)
        learned = len(self.config.keep_counts) if self.config.selector == "learned" else 0
        if len(self.calibration.hidden_max) != learned:
            raise UserError(
                f"calibration.hidden_max: {len(self.calibration.hidden_max)} numbers for {learned} selectors"
            )
        _check_names("calibration.ranges", set(self.calibration.ranges), set(range_names(self.config)))
        need_texts(self.provenance, "provenance")

    @property
    def prunable(self) -> int:
        """Weights that pruning may touch."""
        return sum(mask.size for mask in self.masks.values())

    @property
    def zeros(self) -> int:
        """Weights that pruning has removed."""
        return sum(int(mask.size - mask.sum()) for mask in self.masks.values())

    @property
    def trainable(self) -> int:
        """All trained parameters, biases and batch norm included (running statistics are not trained)."""
        return sum(array.size for name, array in self.parameters.items() if "running_" not in name)

    @property
    def sparsity(self) -> float:
        """Removed weights / prunable weights."""
        return self.zeros / self.prunable

    @property
    def sparsity_all(self) -> float:
        """Removed weights / all parameters: the number that the paper prints."""
        return self.zeros / self.trainable

    @property
    def kept_tokens(self) -> tuple[int, ...]:
        """Tokens that each block works on."""
        return self.config.kept_tokens

    @cached_property
    def sha256(self) -> str:
        """Checksum of the content, as it stands in a saved file."""
        tensors, header = _flatten(self)
        return checksum(tensors, {"kind": KIND, "version": VERSION, "header": header})

    def network(self) -> Spikformer:
        """The trained float network, in evaluation mode."""
        return network_of(self.config, self.parameters)


def network_of(config: SpikformerConfig, parameters: Mapping[str, NDArray[np.float32]]) -> Spikformer:
    """The float network with these parameters (those of `parameter_shapes`), in evaluation mode, frozen.

    Raises UserError where a variance is below 0.
    """
    check_variances(parameters)
    with torch.device("meta"):  # without initial weights, which would draw from torch's random state
        model = Spikformer(config)
    state = {name: torch.from_numpy(array.copy()) for name, array in parameters.items()}
    unused = {name: torch.tensor(0) for name in model.state_dict() if name.endswith(_UNUSED)}
    model.load_state_dict(state | unused, assign=True)
    return model.requires_grad_(False).eval()


def check_variances(parameters: Mapping[str, NDArray[np.float32]]) -> None:
    """Raise UserError naming every batch norm whose running variance is below 0: its square root is no number."""
    below = {name: array.min() for name, array in parameters.items() if name.endswith("running_var") and array.size}
    faults = [f"{name} goes down to {least:.3g}" for name, least in below.items() if least < 0]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(f"{', '.join(faults[:3])}{more}: a variance is never below 0")


def parameter_shapes(config: SpikformerConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array that a ticket of this configuration holds."""
    with torch.device("meta"):  # shapes without memory
        state = Spikformer(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(_UNUSED)}


def make_ticket(
    model: Spikformer, masks: Masks, calibration: Calibration, provenance: Mapping[str, str] | None = None
) -> Ticket:
    """Take a trained network and its masks out of torch."""
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_UNUSED)}
    return Ticket(
        model.config,
        {name: tensor.detach().cpu().numpy().astype(np.float32, copy=True) for name, tensor in state.items()},
        {name: mask.cpu().numpy().copy() for name, mask in masks.items()},
        calibration,
        dict(provenance or {}),
    )


def save_ticket(ticket: Ticket, path: str | Path) -> str:
    """Write a ticket as one safetensors file, whole or not at all; returns its checksum."""
    tensors, header = _flatten(ticket)
    return save_tensors(path, KIND, VERSION, tensors, header)


def load_ticket(path: str | Path) -> Ticket:
    """Read and validate a ticket file.

    Raises UserError where the file is missing, damaged, of another kind or newer, or does not fit its configuration.
    """
    tensors, header, _ = load_tensors(path, KIND, VERSION)
    try:
        return _restore(tensors, header)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
        raise UserError(f"{path}: not a valid ticket ({type(error).__name__}: {error})") from None


def _flatten(ticket: Ticket) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    tensors: dict[str, np.ndarray] = {}
    for name, array in ticket.parameters.items():
        mask = ticket.masks.get(name)
        if mask is None:
            tensors[f"parameter/{name}"] = array
        else:
            tensors[f"mask/{name}"] = np.packbits(mask)
            tensors[f"survivors/{name}"] = array[mask]
    plain = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in vars(ticket.config).items()
        if key not in _LATER or value != _LATER[key]
    }
    calibration: dict[str, Any] = {
        "pixel_max": ticket.calibration.pixel_max,
        "hidden_max": list(ticket.calibration.hidden_max),
    }
    if ticket.calibration.ranges:  # a spiking ticket keeps its bytes and checksum
        calibration["ranges"] = dict(ticket.calibration.ranges)
    return tensors, {"config": plain, "calibration": calibration, "provenance": dict(ticket.provenance)}


def _read_config(header: Mapping[str, Any]) -> SpikformerConfig:
    found = _table(header, "config")
    given = _LATER | found
    _check_names("configuration keys", set(given), {entry.name for entry in dataclasses.fields(SpikformerConfig)})
    return SpikformerConfig(**{key: _as_tuple(value) for key, value in given.items()})


def _read_calibration(header: Mapping[str, Any]) -> Calibration:
    found = {"ranges": {}} | _table(header, "calibration")
    _check_names("calibration keys", set(found), {entry.name for entry in dataclasses.fields(Calibration)})
    return Calibration(**{key: _as_tuple(value) for key, value in found.items()})


def _read_provenance(header: Mapping[str, Any]) -> dict[str, str]:
    found = _table(header, "provenance")
    need_texts(found, "provenance")
    return found


def _table(header: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = header.get(key)
    if not isinstance(found, dict):
        raise UserError(f"{key}: missing" if found is None else f"{key} = {found!r:.60}: needs values by name")
    return found


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read_header(header: Any) -> tuple[SpikformerConfig, Calibration, dict[str, str]]:
    """The three parts. Raises UserError with the faults of all of them."""
    if not isinstance(header, dict):
        raise UserError(f"header = {header!r:.60}: needs config, calibration and provenance")
    parts: list[Any] = []
    faults = []
    for read in (_read_config, _read_calibration, _read_provenance):
        try:
            parts.append(read(header))
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("; ".join(faults))
    config, calibration, provenance = parts
    return config, calibration, provenance


def _restore(tensors: Mapping[str, np.ndarray], header: Any) -> Ticket:
    config, calibration, provenance = _read_header(header)
    if config.depth > len(tensors):  # before so many blocks are made
        raise UserError(f"configuration: depth = {config.depth}, but the file holds {len(tensors)} arrays")
    parameters: dict[str, np.ndarray] = {}
    masks: dict[str, np.ndarray] = {}
    for name, shape in parameter_shapes(config).items():
        if _is_prunable(name, shape):
            size = int(np.prod(shape))
            bits, alive = (_array(tensors, f"{part}/{name}") for part in ("mask", "survivors"))
            if bits.dtype != np.uint8 or bits.shape != (-(-size // 8),):
                raise UserError(f"mask of {name}: needs {-(-size // 8)} bytes")
            masks[name] = np.unpackbits(bits, count=size).astype(np.bool_).reshape(shape)
            if alive.dtype != np.float32:
                raise UserError(f"survivors of {name}: {alive.dtype}, needs float32 numbers")
            if alive.shape != (int(masks[name].sum()),):
                raise UserError(f"{name}: {alive.size} surviving weights, but its mask has {int(masks[name].sum())}")
            parameters[name] = np.zeros(shape, np.float32)
            parameters[name][masks[name]] = alive
        else:
            parameters[name] = _array(tensors, f"parameter/{name}")
    return Ticket(config, parameters, masks, calibration, provenance)


def _array(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in tensors:
        raise UserError(f"array {name!r} is missing")
    return tensors[name]


def _is_prunable(name: str, shape: tuple[int, ...]) -> bool:
    """The rule of `pruning.prunable`, by shape alone."""
    return name.endswith("weight") and len(shape) >= 2


def _check_names(what: str, have: set[str], want: set[str]) -> None:
    if have != want:
        wrong = [f"{name!r} is missing" for name in sorted(want - have)]
        wrong += [f"{name!r} is unknown" for name in sorted(have - want)]
        raise UserError(f"{what}: {'; '.join(wrong[:3])}")
