"""Real data sets by name, with fixed splits. A new one is a function and a line in the table."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..simulator.errors import UserError, nearest


@dataclass(frozen=True)
class Split:
    """Images of one purpose.

    images: float32[count, channels, height, width], normalised.  labels: int64[count].
    ids: int64[count], position of each image in the source data set.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """A data set and what the network must know to fit it.

    test is held out: nothing is trained on it and nothing is chosen by it. validation is a part of the training images.
    stem: one (divisor, pool) per SPS convolution: it has width / divisor channels and may be followed by a pool.
    shift: training augmentation, largest shift in pixels; the border is filled with 0, the background.
    """

    name: str
    source: str
    classes: int
    train: Split
    validation: Split
    test: Split
    stem: tuple[tuple[int, bool], ...]
    shift: int


def stratified_split(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """bool[count]: True for the `share` of each class (rounded to the nearest) that a seeded shuffle puts aside."""
    generator = np.random.default_rng(seed)
    aside = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        aside[generator.permutation(members)[: round(share * len(members))]] = True
    return aside


def _digits() -> Dataset:
    """scikit-learn's copy of the UCI handwritten digits: 1797 images of 8 x 8 pixels, values 0 to 16."""
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    # Normalised to 0 … 1 with no offset: the background stays exactly 0, as the convolutions' padding is.
    images = (pixels / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    labels = target.astype(np.int64)
    test = stratified_split(labels, 0.2, seed=2311)
    rest = np.flatnonzero(~test)
    validation = np.zeros_like(test)
    validation[rest[stratified_split(labels[rest], 0.1, seed=8806)]] = True

    def split(chosen: NDArray[np.bool_]) -> Split:
        # Shuffled once, so that the first few images of a split already show every class.
        ids = np.random.default_rng(0).permutation(np.flatnonzero(chosen)).astype(np.int64)
        return Split(images[ids], labels[ids], ids)

    return Dataset(
        name="digits",
        source="scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, test part; CC BY 4.0)",
        classes=10,
        train=split(~test & ~validation),
        validation=split(validation),
        test=split(test),
        stem=((2, False), (1, False)),
        shift=1,
    )


DATA_SETS: dict[str, Callable[[], Dataset]] = {"digits": _digits}


def load_data(name: str) -> Dataset:
    """The data set of that name; raises UserError naming the nearest where there is none."""
    if name not in DATA_SETS:
        raise UserError(f"unknown data set {name!r}; {nearest(name, DATA_SETS)}")
    return DATA_SETS[name]()


def shifted(images: NDArray[np.float32], shifts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each image moved by its own (dy, dx), the uncovered border filled with 0.

    images: float32[count, channels, height, width].  shifts: int64[count, 2].
    """
    height, width = images.shape[2:]
    reach = int(np.abs(shifts).max(initial=0))
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    rows = reach - shifts[:, 0, None] + np.arange(height)
    columns = reach - shifts[:, 1, None] + np.arange(width)
    count, channels = np.arange(len(images)), np.arange(images.shape[1])
    return padded[
        count[:, None, None, None], channels[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]
