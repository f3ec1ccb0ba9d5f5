"""From the bytes of official image files to a data set's splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...simulator.errors import UserError
from .dataset import Split, shuffled, stratified_split

VALIDATION_SHARE, VALIDATION_SEED = 0.1, 8806


@dataclass(frozen=True)
class Pictures:
    """An official part (training or test) as it is published.

    pixels: uint8[count, channels, height, width], 0 to 255.  labels: uint8[count].
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Splits:
    """The three splits, and a remark on images that were left out ("" where none was)."""

    train: Split
    validation: Split
    test: Split
    remark: str


def check_labels(name: str | Path, labels: NDArray[np.uint8], classes: int) -> None:
    """Raise UserError naming the file and the first label that is no class."""
    wrong = np.flatnonzero(labels >= classes)
    if wrong.size:
        raise UserError(f"{name}: image {wrong[0]} has label {labels[wrong[0]]}; only 0 to {classes - 1} are classes")


def make_splits(
    train: Pictures, test: Pictures, normalise: Callable[[NDArray[np.uint8]], NDArray[np.float32]], folder: Path
) -> Splits:
    """A seeded tenth of each class of the training part becomes the validation split; the test part is the test split.

    leave_out_train.txt and leave_out_test.txt in `folder` list images that are neither trained on nor scored.
    Raises UserError for a list that is none, or that leaves too little.
    """
    labels, kept = train.labels.astype(np.int64), _kept(folder / "leave_out_train.txt", len(train.labels))
    scored = _kept(folder / "leave_out_test.txt", len(test.labels))
    validation = np.zeros_like(kept)
    rest = np.flatnonzero(kept)
    validation[rest[stratified_split(labels[rest], VALIDATION_SHARE, VALIDATION_SEED)]] = True

    def split(part: Pictures, chosen: NDArray[np.bool_]) -> Split:
        ids = shuffled(chosen)
        return Split(normalise(part.pixels[ids]), part.labels[ids].astype(np.int64), ids)

    parts = (split(train, kept & ~validation), split(train, validation), split(test, scored))
    for what, part in zip(("training", "validation", "test"), parts, strict=True):
        if not len(part.labels):
            raise UserError(f"{folder}: too few images: none is left for the {what} split")
    left_out = {"test": int((~scored).sum()), "training": int((~kept).sum())}
    named = [f"{count} {what} images" for what, count in left_out.items() if count]
    return Splits(*parts, remark=f"; left out as listed beside it: {' and '.join(named)}" if named else "")


def _kept(path: Path, count: int) -> NDArray[np.bool_]:
    """bool[count]: False for the images that the file lists, one number (from 0) per line, `#` starts a comment."""
    kept = np.ones(count, np.bool_)
    if not path.exists():
        return kept
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < count):
            raise UserError(f"{path}, line {number}: {text!r} is no image; they are numbered 0 to {count - 1}")
        kept[int(text)] = False
    return kept


def normalised(
    pixels: NDArray[np.uint8], mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)
) -> NDArray[np.float32]:
    """(x / 255 - mean) / std by channel, in float32.

    pixels: uint8[count, channels, height, width].  mean, std: one per channel, of x / 255.
    """
    images = pixels.astype(np.float32)
    images /= np.float32(255)
    images -= np.array(mean, np.float32)[:, None, None]
    images /= np.array(std, np.float32)[:, None, None]
    return images
