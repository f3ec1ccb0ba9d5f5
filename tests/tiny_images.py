"""A data set for training tests: 4 x 4 images of three classes, a bright row at the top, the middle, the bottom."""

import numpy as np
from sparsespike.model.data import Augmentation, Dataset, Split


def tiny(count: int, augmentation: Augmentation) -> Dataset:
    """`count` training images with noise, 12 for validation, 12 for tests."""

    def split(images: int, seed: int) -> Split:
        generator = np.random.default_rng(seed)
        labels = np.arange(images, dtype=np.int64) % 3
        pixels = 0.3 * generator.random((images, 1, 4, 4), np.float32)
        pixels[np.arange(images), 0, labels] += 0.7
        return Split(pixels, labels, np.arange(images, dtype=np.int64))

    stem = ((2, False), (1, False))
    return Dataset("tiny", "made here", 3, split(count, 0), split(12, 1), split(12, 2), stem, augmentation)
