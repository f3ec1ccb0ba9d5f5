"""CIFAR-10 in its binary version: records of a label byte and 3 x 32 x 32 pixels, channel by channel."""

import gzip
import io
import tarfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from ...simulator.errors import UserError
from .augment import Augmentation
from .dataset import Dataset
from .files import CHUNK, Contents, OfficialFile, read_files
from .pictures import Pictures, check_labels, make_splits, normalised

NAME, CLASSES, SHAPE = "cifar10", 10, (3, 32, 32)
SOURCE = "CIFAR-10 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009)"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the paper's recipe
RECORD = 1 + 3 * 32 * 32
ARCHIVE = OfficialFile(
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
)
UNPACKED = "cifar-10-batches-bin"
# The archive's members; their MD5s follow from the archive's.
BATCHES = tuple(
    OfficialFile(f"{UNPACKED}/{name}", md5)
    for name, md5 in (
        ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
        ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
        ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
        ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
        ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
        ("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
    )
)
LARGEST = 10_000 * RECORD  # bytes of an official batch; a longer one in an archive is not read


def cifar10(folder: Path) -> Dataset:
    """50,000 training and 10,000 test images from `folder`/cifar10, which holds the official archive or is unpacked.

    Where there are both, the unpacked batches are read. Raises UserError naming the file that is missing, truncated
    or of another kind.
    """
    place = folder / NAME
    contents = read_files(place, BATCHES) if (place / UNPACKED).exists() else _from_archive(place)
    batches = [_pictures(place / file.name, contents.bytes_[file.name]) for file in BATCHES]
    train = Pictures(
        np.concatenate([batch.pixels for batch in batches[:-1]]),
        np.concatenate([batch.labels for batch in batches[:-1]]),
    )
    splits = make_splits(train, batches[-1], partial(normalised, mean=MEAN, std=STD), place)
    return Dataset(
        name=NAME,
        source=SOURCE + contents.remark + splits.remark,
        classes=CLASSES,
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        stem=((8, False), (4, False), (2, True), (1, True)),  # 32 -> 16 -> 8: 64 tokens
        augmentation=Augmentation(shift=4, flip=True, erase=0.25),
    )


def _from_archive(place: Path) -> Contents:
    """The batches out of the archive, by name and into memory: nothing is unpacked to the disk."""
    path, wanted = place / ARCHIVE.name, {file.name for file in BATCHES}
    contents = read_files(place, (ARCHIVE,))
    found: dict[str, bytes] = {}
    try:
        # gzip itself, because tarfile's own reader of packed streams does not look at their checksum.
        packed = gzip.GzipFile(fileobj=io.BytesIO(contents.bytes_[ARCHIVE.name]))
        with packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                if member.name not in wanted:
                    continue
                if not member.isreg() or member.size > LARGEST:
                    raise UserError(f"{path}: {member.name} in it is no batch of at most {LARGEST} bytes")
                file = archive.extractfile(member)
                assert file is not None  # as it is a regular file
                found[member.name] = file.read()
            while packed.read(CHUNK):  # the checksum stands at the end
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated or not a tar.gz file ({error})") from None
    missing = sorted(wanted - set(found))
    if missing:
        raise UserError(f"{path}: not the binary version of CIFAR-10: {', '.join(missing)} missing in it")
    return Contents(found, contents.foreign)


def _pictures(path: Path, content: bytes) -> Pictures:
    """The records of one batch; raises UserError where they are not whole or a label is no class."""
    if not content or len(content) % RECORD:
        raise UserError(f"{path}: truncated or no CIFAR-10 batch: {len(content)} bytes are no records of {RECORD}")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0]
    check_labels(path, labels, CLASSES)
    return Pictures(records[:, 1:].reshape(-1, *SHAPE), labels)
