"""Small data sets in the layouts of the official ones, written byte by byte as their makers describe them."""

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FASHION = tuple(f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


@dataclass(frozen=True)
class Made:
    """What was written: uint8[count, channels, height, width] and uint8[count] of both parts."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def made(train: int, test: int, shape: tuple[int, int, int]) -> Made:
    """Random images with every class in turn, their first row of pixels 0."""
    generator = np.random.default_rng(train)
    parts = [generator.integers(0, 256, (count, *shape)).astype(np.uint8) for count in (train, test)]
    for part in parts:
        part[:, :, 0] = 0
    labels = [(np.arange(count) % 10).astype(np.uint8) for count in (train, test)]
    return Made(parts[0], labels[0], parts[1], labels[1])


def idx(array: np.ndarray) -> bytes:
    """An array as a gzipped IDX file."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def fashion_files(data: Made) -> dict[str, bytes]:
    """The four files by name."""
    arrays = (data.train[:, 0], data.train_labels, data.test[:, 0], data.test_labels)
    return dict(zip(FASHION, map(idx, arrays), strict=True))


def cifar_files(data: Made) -> dict[str, bytes]:
    """The six batches by name: records of a label and the pixels, channel by channel."""
    count = len(data.train) // 5
    parts = [(data.train[k * count : (k + 1) * count], data.train_labels[k * count :]) for k in range(5)]
    parts.append((data.test, data.test_labels))
    contents = (
        b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=False))
        for images, labels in parts
    )
    return dict(zip(BATCHES, contents, strict=True))


def archive(files: dict[str, bytes], folder: str = "cifar-10-batches-bin") -> bytes:
    """The files below `folder` as a tar.gz, with what the official archive holds beside them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in {"batches.meta.txt": b"airplane\n", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> None:
    """The files in `folder`, which is made."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()
