"""What training does to a batch of images: shifts, mirror images and erased rectangles, drawn anew every time."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

# Random erasing as in the paper's recipe (timm's): a rectangle of this share of the image and this aspect, of which the
# first of ten drawn that fits is taken.
ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 1 / 0.3)
ERASE_ATTEMPTS = 10


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of a data set; the default is none.

    shift: largest shift in pixels, up or down and left or right; the uncovered border is 0, the convolutions' padding.
    flip: whether every second image, at random, is mirrored left to right.
    erase: probability that a rectangle of the image is replaced by normal noise.
    """

    shift: int = 0
    flip: bool = False
    erase: float = 0.0


def augmented(images: NDArray[np.float32], augmentation: Augmentation) -> NDArray[np.float32]:
    """A batch shifted, then mirrored, then erased, each image by its own draws; the images given stay as they are.

    images: float32[count, channels, height, width], normalised.
    The draws come from torch's global random state, which a training state holds, and in this order; a part that is
    switched off draws nothing, so that switching another on does not disturb it:
    shift: randint(-shift, shift + 1) int64[count, 2], (dy, dx).  flip: rand[count] < 0.5.
    erase: rand[count] < erase chooses n images; for these rand[n, attempts, 2] (area, aspect), rand[n, 2] (top, left)
    and randn[n, channels, height, width].
    """
    count, reach = len(images), augmentation.shift
    shifts = torch.randint(-reach, reach + 1, (count, 2)).numpy() if reach else np.zeros((count, 2), np.int64)
    images = shifted(images, shifts)
    if augmentation.flip:
        mirrored = torch.rand(count).numpy() < 0.5
        images[mirrored] = images[mirrored, :, :, ::-1]
    if augmentation.erase:
        _erase(images, np.flatnonzero(torch.rand(count).numpy() < augmentation.erase))
    return images


def shifted(images: NDArray[np.float32], shifts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each image moved by its own (dy, dx), the uncovered border filled with 0.

    images: float32[count, channels, height, width].  shifts: int64[count, 2].
    """
    height, width = images.shape[2:]
    reach = int(np.abs(shifts).max(initial=0))
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    # Every place where an image-sized window fits on the padded image, as views: only the windows taken are copied.
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    return windows[np.arange(len(images)), :, reach - shifts[:, 0], reach - shifts[:, 1]]


def _erase(images: NDArray[np.float32], chosen: NDArray[np.int64]) -> None:
    """Fill one random rectangle of each chosen image with normal noise, in place."""
    height, width = images.shape[2:]
    size = torch.rand(len(chosen), ERASE_ATTEMPTS, 2).numpy().astype(np.float64)
    place = torch.rand(len(chosen), 2).numpy().astype(np.float64)
    noise = torch.randn(len(chosen), *images.shape[1:]).numpy()
    area = height * width * (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * size[:, :, 0])
    low, high = (math.log(aspect) for aspect in ERASED_ASPECT)
    aspect = np.exp(low + (high - low) * size[:, :, 1])  # logarithmic: as often tall as wide
    heights, widths = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (heights < height) & (widths < width)
    first = fits.argmax(1)
    index = np.arange(len(chosen))
    tall = np.where(fits.any(1), heights[index, first], 0)
    wide = np.where(fits.any(1), widths[index, first], 0)
    rows = _between(height, np.floor(place[:, 0] * (height - tall + 1)), tall)
    columns = _between(width, np.floor(place[:, 1] * (width - wide + 1)), wide)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    images[chosen] = np.where(inside, noise, images[chosen])


def _between(length: int, start: NDArray[np.float64], extent: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool[count, length]: True at the `extent` positions from `start` on."""
    positions = np.arange(length)
    return (positions >= start[:, None]) & (positions < (start + extent)[:, None])
