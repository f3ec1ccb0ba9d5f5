"""Checkpoints of the official Spikformer and SparseSpikformer code (CIFAR variant) as networks of this program.

Parameters have the same names there and here. What a state dict does not say (`Unsaid`) has the paper's values unless
told otherwise.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..simulator.errors import UserError, nearest
from .calibrate import calibrate
from .checkpoint import SHOWN, is_torch_file, listed, load_state_dict
from .config import SpikformerConfig
from .data import Dataset
from .spikformer import Spikformer
from .ticket import Ticket, check_variances, load_ticket, network_of, parameter_shapes

CALIBRATION_IMAGES = 256  # of the training images: enough for ranges, and seconds even at the paper's size
PAPER = SpikformerConfig(
    image_channels=3, image_size=32, sps_channels=(48, 96, 192, 384), sps_pools=(False, False, True, True), heads=12
)

# In the files, but in no forward pass of the official code; and torch's count of batches.
_UNUSED = re.compile(r"(block\.\d+\.norm[12]|norm)\.(weight|bias)|.*\.num_batches_tracked")
# What only the event-camera and ImageNet variants have.
_OTHER_VARIANT = re.compile(r"block\.\d+\.(attn\.[qkv]_conv|mlp\.fc[12]_conv)\..*")

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Unsaid:
    """What a state dict does not say of its network.

    heads: attention heads.  timesteps: T.  image_size: side of the images.
    pools: how many of the stem's convolutions, from the last, have a max pool behind them.
    keep: share of tokens that each selector keeps; None takes the paper's 0.7 where there are selectors, and 1 leaves
    the selectors out.
    """

    heads: int = PAPER.heads
    timesteps: int = PAPER.timesteps
    image_size: int = PAPER.image_size
    pools: int = sum(PAPER.sps_pools)
    keep: float | None = None


@dataclass(frozen=True)
class Official:
    """A network from an official checkpoint.

    parameters: float32 arrays by name, those of `parameter_shapes(config)`.
    masks: bool arrays of the prunable weights; a weight that is exactly 0 is pruned.
    sha256: of the file.
    """

    config: SpikformerConfig
    parameters: Mapping[str, NDArray[np.float32]]
    sha256: str
    masks: Mapping[str, NDArray[np.bool_]] = field(init=False)

    def __post_init__(self) -> None:
        masks = {name: array != 0 for name, array in self.parameters.items() if array.ndim >= 2}
        object.__setattr__(self, "masks", masks)

    def network(self) -> Spikformer:
        """The float network, in evaluation mode."""
        return network_of(self.config, self.parameters)


def read_official(path: str | Path, unsaid: Unsaid | None = None) -> Official:
    """Read a checkpoint of the official code, CIFAR variant.

    Embedding width, depth, convolutions, classes and colours follow from the shapes, `unsaid` tells the rest. Unused
    layer norms are left out. Raises UserError where the file is no state dict, is of the event-camera or ImageNet
    variant, or a name or shape is not that of such a network: all of them at once; and for variances below 0.
    """
    state = load_state_dict(path)
    used = {name: tensor for name, tensor in state.items() if not _UNUSED.fullmatch(name)}
    try:
        _refuse_other_variants(used)
        config = _infer(used, unsaid or Unsaid())
        if not config.keep_counts:
            used = {name: tensor for name, tensor in used.items() if not name.startswith("predictor.")}
        faults = list(_differences(used, parameter_shapes(config)))
        if faults:
            raise UserError("; ".join(faults))
    except UserError as error:
        raise UserError(f"{path}: no official CIFAR checkpoint: {error}") from None
    parameters = {name: used[name].float().numpy().copy() for name in parameter_shapes(config)}
    try:
        check_variances(parameters)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Official(config, parameters, hashlib.sha256(Path(path).read_bytes()).hexdigest())


def read_trained(path: str | Path, like: SpikformerConfig) -> Ticket | Official:
    """A ticket file, or an official checkpoint for which `like` tells what the file does not say.

    Both have `config`, `parameters`, `masks`, `sha256` and `network()`: enough to begin a training with, or to teach.
    Raises UserError as `load_ticket` and `read_official`.
    """
    if not is_torch_file(path):
        return load_ticket(path)
    unsaid = Unsaid(heads=like.heads, timesteps=like.timesteps, image_size=like.image_size, pools=sum(like.sps_pools))
    return read_official(path, unsaid)


def ticket_from_official(path: str | Path, images: NDArray[np.float32], unsaid: Unsaid | None = None) -> Ticket:
    """An official checkpoint as a ticket, which can be lowered, traced and saved.

    images: float32[count, channels, height, width], training images normalised as in its training; their ranges become
    the ticket's calibration. unsaid: None takes the images' size and the paper's values.
    Raises UserError as `read_official`, and where the images do not fit the network.
    """
    official = read_official(path, unsaid or Unsaid(image_size=images.shape[-1]))
    return _calibrated(official, images, Path(path))


def open_ticket(path: str | Path, dataset: Dataset) -> Ticket:
    """A ticket file; or an official checkpoint as a ticket, calibrated on training images of the data set.

    Raises UserError as `load_ticket` and `ticket_from_official`, and where the checkpoint has other classes.
    """
    if not is_torch_file(path):
        return load_ticket(path)
    images = dataset.train.images[:CALIBRATION_IMAGES]
    official = read_official(path, Unsaid(image_size=images.shape[-1]))
    theirs, ours = official.config.classes, dataset.classes
    if theirs != ours:
        raise UserError(f"{path}: tells {theirs} classes apart, but {dataset.name} has {ours}")
    return _calibrated(official, images, Path(path))


def _calibrated(official: Official, images: NDArray[np.float32], path: Path) -> Ticket:
    config = official.config
    want, have = (config.image_channels, config.image_size, config.image_size), images.shape[1:]
    if have != want or not len(images):
        raise UserError(
            f"{path}: a network for images of {want} (channels, height, width); these {len(images)} are {have}"
        )
    provenance = {"official_file": path.name, "official_sha256": official.sha256}
    calibration = calibrate(official.network(), images)
    return Ticket(config, official.parameters, official.masks, calibration, provenance)


def _refuse_other_variants(used: Mapping[str, Tensor]) -> None:
    found = [repr(name) for name in used if _OTHER_VARIANT.fullmatch(name)]
    if found:
        raise UserError(
            f"it is of the event-camera or ImageNet variant, whose projections are convolutions ({listed(found, 3)}); "
            "only the CIFAR variant, whose projections are linear layers, can be run here"
        )


def _infer(used: Mapping[str, Tensor], unsaid: Unsaid) -> SpikformerConfig:
    """The configuration that the shapes tell; where an array is missing, the paper's, so that it can be named."""
    count = _count(used, r"patch_embed\.proj_conv(\d*)\.weight", len(PAPER.sps_channels))
    selectors = any(name.startswith("predictor.") for name in used)
    if not 0 <= unsaid.pools <= count:
        raise UserError(f"pools = {unsaid.pools}: there are {count} convolutions")
    if not selectors and unsaid.keep not in (None, 1):
        raise UserError(f"keep = {unsaid.keep}: there are no selectors (predictor.*)")
    names = [f"patch_embed.proj_conv{index or ''}.weight" for index in range(count)]
    norms = [name.replace("conv", "bn") for name in names]  # has as many channels, should the convolution be missing
    channels = tuple(
        _size(used, conv, 0, _size(used, norm, 0, PAPER.width)) for conv, norm in zip(names, norms, strict=True)
    )
    return SpikformerConfig(
        image_channels=_size(used, names[0], 1, PAPER.image_channels),
        image_size=unsaid.image_size,
        timesteps=unsaid.timesteps,
        sps_channels=channels,
        sps_pools=tuple(index >= count - unsaid.pools for index in range(count)),
        depth=_count(used, r"block\.(\d+)\..*", PAPER.depth),
        heads=unsaid.heads,
        mlp_ratio=max(1, _size(used, "block.0.mlp.fc1_linear.weight", 0, PAPER.hidden) // channels[-1]),
        classes=_size(used, "head.weight", 0, PAPER.classes),
        keep=(PAPER.keep if selectors else 1.0) if unsaid.keep is None else unsaid.keep,
        activation="gelu" if selectors else "relu",
    )


def _count(used: Mapping[str, Tensor], pattern: str, default: int) -> int:
    """One more than the largest number in the names of a pattern, none counting as 0; no more than is plausible."""
    numbers = {int(match[1] or 0) for name in used if (match := re.fullmatch(pattern, name))}
    return min(max(numbers) + 1, 2 * len(numbers)) if numbers else default


def _size(used: Mapping[str, Tensor], name: str, axis: int, default: int) -> int:
    shape = used[name].shape if name in used else ()
    return shape[axis] if len(shape) > axis and shape[axis] else default


def _differences(used: Mapping[str, Tensor], wanted: Mapping[str, Shape]) -> Iterator[str]:
    """What is missing, what is unknown, what has another shape, and what is no finite floating point number."""
    missing = [repr(name) for name in wanted if name not in used]
    if missing:
        yield f"missing: {listed(missing)}"
    unknown = [name for name in used if name not in wanted]
    if unknown:
        hints = [_hint(name, wanted) for name in unknown[:SHOWN]] + [""] * (len(unknown) - SHOWN)
        yield f"unknown: {listed([repr(name) + hint for name, hint in zip(unknown, hints, strict=True)])}"
    both = [name for name in wanted if name in used]
    shapes = [
        f"{name!r} is {tuple(used[name].shape)}, not {wanted[name]}"
        for name in both
        if tuple(used[name].shape) != wanted[name]
    ]
    if shapes:
        yield f"of another shape: {listed(shapes)}"
    wild = [repr(name) for name in both if not (used[name].is_floating_point() and used[name].isfinite().all())]
    if wild:
        yield f"no finite floating-point numbers: {listed(wild)}"


def _hint(name: str, valid: Iterable[str]) -> str:
    """The nearest valid name, if one is near."""
    hint = nearest(name, valid)
    return f" ({hint})" if hint.startswith("did") else ""
