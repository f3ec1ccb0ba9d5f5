"""Augmentation: equal to plain Python with the same draws, and no draw for what is switched off."""

import math

import numpy as np
import pytest
import torch
from sparsespike.model.data import Augmentation, augmented, load_data, shifted

ALL = Augmentation(shift=3, flip=True, erase=0.6)


def batch(count, channels=2, height=9, width=7, seed=0):
    return np.random.default_rng(seed).standard_normal((count, channels, height, width)).astype(np.float32)


def plain(images, augmentation):
    """What `augmented` does, pixel by pixel, from the draws that it promises."""
    count, channels, height, width = images.shape
    result = images.copy()
    if augmentation.shift:
        shifts = torch.randint(-augmentation.shift, augmentation.shift + 1, (count, 2)).tolist()
        for n, c, y, x in np.ndindex(images.shape):
            row, column = y - shifts[n][0], x - shifts[n][1]
            inside = 0 <= row < height and 0 <= column < width
            result[n, c, y, x] = images[n, c, row, column] if inside else 0
    if augmentation.flip:
        for n, draw in enumerate(torch.rand(count).tolist()):
            if draw < 0.5:
                result[n] = [[row[::-1] for row in channel] for channel in result[n].tolist()]
    if augmentation.erase:
        erased = [n for n, draw in enumerate(torch.rand(count).tolist()) if draw < augmentation.erase]
        sizes, places = torch.rand(len(erased), 10, 2).tolist(), torch.rand(len(erased), 2).tolist()
        noise = torch.randn(len(erased), channels, height, width).numpy()
        for index, n in enumerate(erased):
            for area_draw, aspect_draw in sizes[index]:
                area = height * width * (0.02 + (1 / 3 - 0.02) * area_draw)
                aspect = math.exp(math.log(0.3) + (math.log(1 / 0.3) - math.log(0.3)) * aspect_draw)
                tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
                if tall < height and wide < width:
                    top = math.floor(places[index][0] * (height - tall + 1))
                    left = math.floor(places[index][1] * (width - wide + 1))
                    for y in range(top, top + tall):
                        for x in range(left, left + wide):
                            result[n, :, y, x] = noise[index, :, y, x]
                    break
    return result


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(shift=1),
        Augmentation(shift=8),
        Augmentation(flip=True),
        Augmentation(erase=1.0),
        Augmentation(shift=2, erase=0.3),
        ALL,
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(40, 2, 9, 7), (25, 1, 8, 8), (1, 3, 5, 12), (30, 1, 2, 2)])
def test_augmentation_is_that_of_plain_python(augmentation, shape):
    images = batch(*shape)
    before = images.copy()
    torch.manual_seed(7)
    done = augmented(images, augmentation)
    state = torch.get_rng_state()
    torch.manual_seed(7)
    assert done.tobytes() == plain(before, augmentation).tobytes()
    assert torch.equal(torch.get_rng_state(), state)
    assert images.tobytes() == before.tobytes()
    assert (done.dtype, done.shape) == (np.float32, images.shape)
    assert not np.shares_memory(done, images)


def test_nothing_is_drawn_for_what_is_switched_off():
    state = torch.get_rng_state()
    images = batch(5)
    assert augmented(images, Augmentation()).tobytes() == images.tobytes()
    assert torch.equal(torch.get_rng_state(), state)


def test_digits_are_shifted_with_the_draws_that_they_always_had():
    """The digits tickets were trained with a draw per image and a window on the padded image."""
    digits = load_data("digits")
    assert digits.augmentation == Augmentation(shift=1)
    images = digits.train.images[:32]
    torch.manual_seed(3)
    shifts = torch.randint(-1, 2, (32, 2)).numpy()
    next_draw = torch.rand(1)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = [p[:, 1 - dy : 9 - dy, 1 - dx : 9 - dx] for p, (dy, dx) in zip(padded, shifts, strict=True)]
    torch.manual_seed(3)
    assert augmented(images, digits.augmentation).tobytes() == np.stack(expected).tobytes()
    assert torch.equal(torch.rand(1), next_draw)


def test_shifts_of_no_image_and_by_nothing():
    assert shifted(batch(0), np.zeros((0, 2), np.int64)).shape == (0, 2, 9, 7)
    images = batch(3)
    assert shifted(images, np.zeros((3, 2), np.int64)).tobytes() == images.tobytes()


def test_augmentation_happens_as_often_as_it_should():
    images = np.ones((4000, 1, 8, 8), np.float32)
    images[:, :, :, 0] = 2
    torch.manual_seed(0)
    mirrored = augmented(images, Augmentation(flip=True))[:, 0, 0, 7] == 2
    assert 0.47 < mirrored.mean() < 0.53
    changed = augmented(images, Augmentation(erase=0.25)) != images
    assert 0.22 < changed.any((1, 2, 3)).mean() < 0.28
    sizes = changed.sum((1, 2, 3))[changed.any((1, 2, 3))]
    assert sizes.min() >= 1
    assert sizes.max() <= 30  # a third of 64 and what rounding both sides adds
    assert (changed.mean((0, 1)) > 0.004).all()  # every pixel can be reached
