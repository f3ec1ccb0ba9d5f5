"""Fashion-MNIST: Zalando's clothes, 28 x 28 grey pixels, in the IDX files of MNIST."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...simulator.errors import UserError
from .augment import Augmentation
from .dataset import Dataset
from .files import OfficialFile, read_files
from .pictures import Pictures, check_labels, make_splits, normalised

NAME, CLASSES, SIDE = "fashion-mnist", 10, 28
SOURCE = "Fashion-MNIST (Zalando Research; MIT)"
_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FILES = tuple(
    OfficialFile(name, md5, _ADDRESS + name)
    for name, md5 in (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )
)
_UNSIGNED_BYTES = 0x08  # of an IDX file's magic number: 0, 0, type, axes


def fashion_mnist(folder: Path) -> Dataset:
    """60,000 training and 10,000 test images from the four official .gz files in `folder`/fashion-mnist.

    Raises UserError naming the file that is missing, truncated or of another kind.
    """
    place = folder / NAME
    contents = read_files(place, FILES)
    train, test = (_pictures(place, contents.bytes_, part) for part in ("train", "t10k"))
    # No offset: the background stays exactly 0, as the convolutions' padding is.
    splits = make_splits(train, test, normalised, place)
    return Dataset(
        name=NAME,
        source=SOURCE + contents.remark + splits.remark,
        classes=CLASSES,
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        stem=((4, True), (1, True)),  # 28 -> 14 -> 7: 49 tokens
        augmentation=Augmentation(shift=1, flip=True),
    )


def _pictures(place: Path, contents: dict[str, bytes], part: str) -> Pictures:
    """The images and labels of one part; raises UserError where they do not belong together."""
    images, labels = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    pixels = read_idx(place / images, contents[images], axes=3)
    classes = read_idx(place / labels, contents[labels], axes=1)
    if pixels.shape[1:] != (SIDE, SIDE):
        height, width = pixels.shape[1:]
        raise UserError(f"{place / images}: images of {height} x {width} pixels; {NAME} has {SIDE} x {SIDE}")
    if len(pixels) != len(classes):
        raise UserError(f"{place / labels}: {len(classes)} labels for the {len(pixels)} images of {images}")
    check_labels(place / labels, classes, CLASSES)
    return Pictures(pixels[:, None], classes)


def read_idx(path: Path, packed: bytes, axes: int) -> NDArray[np.uint8]:
    """The array of a gzipped IDX file: magic (0, 0, type, axes), each axis's length as a big-endian int32, bytes.

    path: only named in errors.  Raises UserError where it is no such file or holds fewer or more bytes than it says.
    """
    try:
        raw = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated or not a gzip file ({error})") from None
    if raw[:4] != bytes((0, 0, _UNSIGNED_BYTES, axes)):
        raise UserError(
            f"{path}: not an IDX file of bytes with {axes} axes (it starts with {raw[:4].hex(' ') or 'nothing'})"
        )
    start = 4 + 4 * axes
    shape = tuple(int(length) for length in np.frombuffer(raw[4:start], ">u4")) if len(raw) >= start else ()
    if not shape or len(raw) - start != math.prod(shape):
        promised = " x ".join(map(str, shape)) or "more"
        raise UserError(f"{path}: its header promises {promised} bytes, but it holds {max(0, len(raw) - start)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
