"""Data sets from small files in the official layouts: what is read, what is left out, and what is refused."""

import gzip
import hashlib
import io
import struct
import tarfile
from itertools import pairwise

import numpy as np
import official_files
import pytest
from official_files import archive, cifar_files, fashion_files, idx, made, write
from sparsespike.cli import main
from sparsespike.model.data import DATA_SETS, cifar, fashion, load_data
from sparsespike.simulator.errors import UserError

FASHION, CIFAR = made(200, 40, (1, 28, 28)), made(200, 40, (3, 32, 32))


@pytest.fixture
def fashion_folder(tmp_path):
    write(tmp_path / "fashion-mnist", fashion_files(FASHION))
    return tmp_path


@pytest.fixture
def cifar_folder(tmp_path):
    write(tmp_path / "cifar10" / "cifar-10-batches-bin", cifar_files(CIFAR))
    return tmp_path


def parts_of(dataset):
    return dataset.train, dataset.validation, dataset.test


def content(dataset):
    return b"".join(a.tobytes() for part in parts_of(dataset) for a in (part.images, part.labels, part.ids))


def test_digits_are_the_bytes_that_they_always_were():
    digest = hashlib.sha256(content(load_data("digits"))).hexdigest()
    assert digest == "134257da42e3505b2812dff535e6a6f3404b50de36df59999982f3c27c1bf744"


@pytest.mark.parametrize(("name", "data"), [("fashion-mnist", FASHION), ("cifar10", CIFAR)])
def test_splits_are_the_official_images_at_their_official_positions(tmp_path, name, data):
    if name == "cifar10":
        write(tmp_path / name / "cifar-10-batches-bin", cifar_files(data))
    else:
        write(tmp_path / name, fashion_files(data))
    dataset = load_data(name, tmp_path)
    mean, std = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)) if name == "cifar10" else ((0.0,), (1.0,))
    for part in parts_of(dataset):
        pixels, labels = (data.test, data.test_labels) if part is dataset.test else (data.train, data.train_labels)
        for index, position in enumerate(part.ids):
            assert part.labels[index] == labels[position]
            for channel, image in enumerate(part.images[index]):
                scaled = pixels[position, channel].astype(np.float32) / np.float32(255)
                expected = (scaled - np.float32(mean[channel])) / np.float32(std[channel])
                assert image.tobytes() == expected.tobytes()
        assert (part.images.dtype, part.labels.dtype, part.ids.dtype) == (np.float32, np.int64, np.int64)
        assert part.ids.tolist() != sorted(part.ids)
        assert len(set(part.labels[:40].tolist())) > 7
    assert sorted([*dataset.train.ids, *dataset.validation.ids]) == list(range(200))
    assert sorted(dataset.test.ids) == list(range(40))
    assert np.bincount(dataset.validation.labels).tolist() == [2] * 10
    assert (dataset.name, dataset.classes) == (name, 10)
    again = load_data(name, tmp_path)
    assert content(again) == content(dataset)


def test_the_background_of_clothes_is_exactly_0(fashion_folder):
    assert not load_data("fashion-mnist", fashion_folder).train.images[:, :, 0].any()


@pytest.mark.parametrize(("name", "tokens"), [("digits", 64), ("fashion-mnist", 49), ("cifar10", 64)])
def test_stems_bring_images_to_their_tokens(fashion_folder, name, tokens):
    write(fashion_folder / "cifar10" / "cifar-10-batches-bin", cifar_files(CIFAR))
    dataset = load_data(name, fashion_folder)
    sides = [dataset.train.images.shape[2]]
    for _, pool in dataset.stem:
        sides.append((sides[-1] + 1) // 2 if pool else sides[-1])
    assert sides[-1] ** 2 == tokens
    assert dataset.stem[-1][0] == 1
    assert all(before >= after for (before, _), (after, _) in pairwise(dataset.stem))


def test_a_cifar_archive_is_read_where_it_lies(cifar_folder):
    unpacked = load_data("cifar10", cifar_folder)
    other = cifar_folder / "other"
    write(other / "cifar10", {"cifar-10-binary.tar.gz": archive(cifar_files(CIFAR))})
    assert content(load_data("cifar10", other)) == content(unpacked)
    assert [path.name for path in (other / "cifar10").iterdir()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("where", ["../../evil", "/tmp/evil", "."])
def test_an_archive_of_other_members_is_refused_and_never_unpacked(tmp_path, where):
    write(tmp_path / "a" / "cifar10", {"cifar-10-binary.tar.gz": archive(cifar_files(CIFAR), where)})
    with pytest.raises(UserError, match=r"binary.tar.gz: not the binary version of CIFAR-10: .*test_batch.bin missing"):
        load_data("cifar10", tmp_path / "a")
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "cifar10", "cifar-10-binary.tar.gz"}


def member(name, size=0, kind=tarfile.REGTYPE):
    """A tar.gz with one member of that kind, of zeros."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
        entry.size, entry.type, entry.linkname = size, kind, "/etc/passwd"
        tar.addfile(entry, io.BytesIO(bytes(size)))
    return buffer.getvalue()


WHOLE = archive(cifar_files(CIFAR))


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", "truncated or not a tar.gz"),
        (b"<html>not found</html>", "truncated or not a tar.gz"),
        (gzip.compress(b"not a tar" * 100), "truncated or not a tar.gz|not the binary version"),
        (WHOLE[: len(WHOLE) // 2], "truncated or not a tar.gz"),
        (WHOLE[:5000] + b"\x00\x01" * 50 + WHOLE[5100:], "truncated or not a tar.gz"),
        (member("data_batch_1.bin", kind=tarfile.SYMTYPE), "data_batch_1.bin in it is no batch"),
        (member("data_batch_1.bin", 30_730_001), "data_batch_1.bin in it is no batch of at most 30730000 bytes"),
    ],
    ids=["empty", "html", "no tar", "half", "damaged", "link", "too long"],
)
def test_damaged_archives_are_refused(tmp_path, packed, message):
    write(tmp_path / "cifar10", {"cifar-10-binary.tar.gz": packed})
    with pytest.raises(UserError, match=rf"{tmp_path}/cifar10/cifar-10-binary.tar.gz: .*({message})"):
        load_data("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data_batch_3.bin", lambda old: old[:-1], "data_batch_3.bin: truncated or no CIFAR-10 batch: 122919 bytes"),
        ("test_batch.bin", lambda old: b"", "test_batch.bin: truncated"),
        ("test_batch.bin", lambda old: old[:3073] + b"\x0a" + old[3074:], "image 1 has label 10; only 0 to 9"),
        ("data_batch_5.bin", None, "data_batch_5.bin: no such file"),
    ],
)
def test_damaged_batches_are_refused(cifar_folder, name, change, message):
    path = cifar_folder / "cifar10" / "cifar-10-batches-bin" / name
    old = path.read_bytes()
    path.unlink()
    if change:
        path.write_bytes(change(old))
    with pytest.raises(UserError, match=message):
        load_data("cifar10", cifar_folder)


def header(*numbers, magic=(0, 0, 8, 1)):
    return bytes(magic) + struct.pack(f">{len(numbers)}I", *numbers)


IMAGES, LABELS, TEST_LABELS = official_files.FASHION[0], official_files.FASHION[1], official_files.FASHION[3]


def packed_as(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # the same bytes in every process that collects these tests


@pytest.mark.parametrize(
    ("name", "packed", "message"),
    [
        (IMAGES, b"", "not an IDX file of bytes with 3 axes .it starts with nothing"),
        (IMAGES, b"<html>", "truncated or not a gzip file"),
        (IMAGES, idx(FASHION.train[:, 0])[:-20], "truncated or not a gzip file"),
        (IMAGES, idx(FASHION.train_labels), "not an IDX file of bytes with 3 axes .it starts with 00 00 08 01"),
        (LABELS, idx(FASHION.train[:, 0]), "not an IDX file of bytes with 1 axes .it starts with 00 00 08 03"),
        (LABELS, packed_as(header(3, magic=(0, 0, 13, 1)) + b"abc"), "it starts with 00 00 0d 01"),
        (LABELS, packed_as(header(3) + b"ab"), "header promises 3 bytes, but it holds 2"),
        (LABELS, packed_as(header(3) + b"abcd"), "header promises 3 bytes, but it holds 4"),
        (LABELS, packed_as(header()), "header promises more bytes, but it holds 0"),
        (
            IMAGES,
            packed_as(header(2**32 - 1, 2**32 - 1, 2**32 - 1, magic=(0, 0, 8, 3))),
            "promises 4294967295 x 4294967295 x 4294967295 bytes, but it holds 0",
        ),
        (IMAGES, idx(FASHION.train[:, 0, :, :14]), "images of 28 x 14 pixels; fashion-mnist has 28 x 28"),
        (LABELS, idx(FASHION.train_labels[:-1]), f"199 labels for the 200 images of {IMAGES}"),
        (TEST_LABELS, idx(FASHION.test_labels + np.uint8(1)), "image 9 has label 10; only 0 to 9 are classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_damaged_idx_files_are_refused(fashion_folder, name, packed, message):
    path = fashion_folder / "fashion-mnist" / name
    path.write_bytes(packed)
    with pytest.raises(UserError, match=rf"{path}: .*{message}"):
        load_data("fashion-mnist", fashion_folder)


def test_empty_parts_are_refused(fashion_folder):
    place = fashion_folder / "fashion-mnist"
    (place / official_files.FASHION[2]).write_bytes(idx(FASHION.test[:0, 0]))
    (place / TEST_LABELS).write_bytes(idx(FASHION.test_labels[:0]))
    with pytest.raises(UserError, match="too few images: none is left for the test split"):
        load_data("fashion-mnist", fashion_folder)


def test_a_folder_in_the_place_of_a_file_is_refused(fashion_folder):
    path = fashion_folder / "fashion-mnist" / LABELS
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=rf"{path}: cannot be read: Is a directory"):
        load_data("fashion-mnist", fashion_folder)


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10"])
def test_listed_images_are_left_out(fashion_folder, name):
    write(fashion_folder / "cifar10" / "cifar-10-batches-bin", cifar_files(CIFAR))
    place = fashion_folder / name
    whole = load_data(name, fashion_folder)
    assert "left out" not in whole.source
    (place / "leave_out_test.txt").write_text("# damaged\n3\n\n 17 # also\n3\n")
    dataset = load_data(name, fashion_folder)
    assert dataset.source.endswith("; left out as listed beside it: 2 test images")
    assert sorted(dataset.test.ids) == [position for position in range(40) if position not in (3, 17)]
    assert content(dataset)[: len(dataset.train.images)] == content(whole)[: len(whole.train.images)]
    (place / "leave_out_train.txt").write_text("0\n199\n100")
    dataset = load_data(name, fashion_folder)
    assert dataset.source.endswith("; left out as listed beside it: 2 test images and 3 training images")
    rest = sorted([*dataset.train.ids, *dataset.validation.ids])
    assert rest == [position for position in range(200) if position not in (0, 100, 199)]
    data = CIFAR if name == "cifar10" else FASHION
    assert dataset.train.labels.tolist() == data.train_labels[dataset.train.ids].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n40\n", "leave_out_test.txt, line 2: '40' is no image; they are numbered 0 to 39"),
        ("-1", "line 1: '-1' is no image"),
        ("seven", "line 1: 'seven' is no image"),
        ("9" * 5000, "line 1: '9+' is no image"),
        ("\u0661", "line 1: '\u0661' is no image"),
        ("\n".join(map(str, range(40))), "none is left for the test split"),
    ],
)
def test_lists_that_are_none_are_refused(fashion_folder, text, message):
    (fashion_folder / "fashion-mnist" / "leave_out_test.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        load_data("fashion-mnist", fashion_folder)


def test_a_list_that_is_no_text_is_refused(fashion_folder):
    (fashion_folder / "fashion-mnist" / "leave_out_train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"leave_out_train.txt: cannot be read"):
        load_data("fashion-mnist", fashion_folder)


def published(files, contents):
    """Those official files, as if these were the bytes that their makers publish."""
    pairs = zip(files, contents, strict=True)
    return tuple(type(file)(file.name, official_files.md5(content), file.address) for file, content in pairs)


def test_published_bytes_are_taken_silently_and_others_with_one_line(fashion_folder, monkeypatch, capsys):
    files = published(fashion.FILES, fashion_files(FASHION).values())
    monkeypatch.setattr(fashion, "FILES", files)
    assert load_data("fashion-mnist", fashion_folder).source == fashion.SOURCE
    assert capsys.readouterr().err == ""
    path = fashion_folder / "fashion-mnist" / LABELS
    path.write_bytes(idx(FASHION.train_labels[::-1]))
    source = load_data("fashion-mnist", fashion_folder).source
    assert source == f"{fashion.SOURCE}; not the published bytes: {LABELS}"
    warning = f"warning: {path.parent}: not the published bytes (another MD5), taken as they are: {LABELS}\n"
    assert capsys.readouterr() == ("", warning)


def test_unpacked_batches_and_the_archive_have_md5s_of_their_own(cifar_folder, monkeypatch, capsys):
    files = cifar_files(CIFAR)
    monkeypatch.setattr(cifar, "BATCHES", published(cifar.BATCHES, files.values()))
    assert load_data("cifar10", cifar_folder).source == cifar.SOURCE
    assert capsys.readouterr().err == ""
    other = cifar_folder / "other"
    write(other / "cifar10", {"cifar-10-binary.tar.gz": WHOLE})
    assert load_data("cifar10", other).source == f"{cifar.SOURCE}; not the published bytes: cifar-10-binary.tar.gz"
    assert capsys.readouterr().err.count("\n") == 1
    (packed,) = published((cifar.ARCHIVE,), (WHOLE,))
    monkeypatch.setattr(cifar, "ARCHIVE", packed)
    assert load_data("cifar10", other).source == cifar.SOURCE
    assert capsys.readouterr().err == ""


def test_the_folder_is_as_given_else_the_variables_else_data_here(fashion_folder, tmp_path_factory, monkeypatch):
    expected = content(load_data("fashion-mnist", fashion_folder))
    monkeypatch.setenv("SPARSESPIKE_DATA", str(fashion_folder))
    assert content(load_data("fashion-mnist")) == expected
    other, elsewhere = made(100, 30, (1, 28, 28)), tmp_path_factory.mktemp("elsewhere")
    write(elsewhere / "data" / "fashion-mnist", fashion_files(other))
    assert len(load_data("fashion-mnist", elsewhere / "data").test.labels) == 30
    monkeypatch.chdir(elsewhere)
    assert content(load_data("fashion-mnist")) == expected
    for unset in (lambda: monkeypatch.setenv("SPARSESPIKE_DATA", ""), lambda: monkeypatch.delenv("SPARSESPIKE_DATA")):
        unset()
        assert len(load_data("fashion-mnist").test.labels) == 30


def test_every_data_set_of_the_table_is_named_as_in_it(fashion_folder):
    write(fashion_folder / "cifar10" / "cifar-10-batches-bin", cifar_files(CIFAR))
    assert [load_data(name, fashion_folder).name for name in DATA_SETS] == list(DATA_SETS)


def test_the_command_line_reads_the_folder_that_it_is_given(fashion_folder, monkeypatch, capsys):
    options = ["--data", "fashion-mnist", "--data-folder", str(fashion_folder), "--out", str(fashion_folder / "out")]
    monkeypatch.setattr("sys.argv", ["sparsespike", "trace", "digits", *options])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {fashion_folder}/fashion-mnist: not the published bytes")
    assert error.startswith("error: images are (1, 28, 28)")
