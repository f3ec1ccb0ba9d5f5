"""What a data set is: images with labels in fixed splits, and what the network and the training must know of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .augment import Augmentation


@dataclass(frozen=True)
class Split:
    """Images of one purpose.

    images: float32[count, channels, height, width], normalised.  labels: int64[count].
    ids: int64[count], position of each image in the source data set; where that has a training and a test part,
    in the part it comes from.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """A data set and what the network must know to fit it.

    test is held out: nothing is trained on it and nothing is chosen by it. validation is a part of the training images.
    stem: one (divisor, pool) per SPS convolution: it has width / divisor channels and may be followed by a pool.
    """

    name: str
    source: str
    classes: int
    train: Split
    validation: Split
    test: Split
    stem: tuple[tuple[int, bool], ...]
    augmentation: Augmentation


def stratified_split(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """bool[count]: True for the `share` of each class (rounded to the nearest) that a seeded shuffle puts aside."""
    generator = np.random.default_rng(seed)
    aside = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        aside[generator.permutation(members)[: round(share * len(members))]] = True
    return aside


def shuffled(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64[count]: the chosen positions in a fixed random order, so that the first few already show every class."""
    return np.random.default_rng(0).permutation(np.flatnonzero(chosen)).astype(np.int64)
