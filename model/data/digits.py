"""scikit-learn's handwritten digits, which come with it: nothing is read and nothing downloaded."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .augment import Augmentation
from .dataset import Dataset, Split, shuffled, stratified_split


def digits(folder: Path) -> Dataset:
    """scikit-learn's copy of the UCI handwritten digits: 1797 images of 8 x 8 pixels, values 0 to 16.

    folder: not looked at.
    """
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
        ids = shuffled(chosen)
        return Split(images[ids], labels[ids], ids)

    return Dataset(
        name="digits",
        source="scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, test part; CC BY 4.0)",
        classes=10,
        train=split(~test & ~validation),
        validation=split(validation),
        test=split(test),
        stem=((2, False), (1, False)),
        augmentation=Augmentation(shift=1),
    )
