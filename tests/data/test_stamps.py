"""Whether images were written since, told without reading files."""

from __future__ import annotations

import io
import os
import tarfile
import time

import numpy as np
from PIL import Image

from zoo.data.folds import joined
from zoo.data.reading.folder import FileImages
from zoo.data.reading.packed import EncodedImages, StackedImages
from zoo.data.reading.stamps import num_written_since, stamp_of
from zoo.data.subset import subset
from zoo.protocols import Split
from zoo_datasets.shards import webdataset


def png(value):
    file = io.BytesIO()
    Image.new("L", (4, 4), value).save(file, "BMP")
    return file.getvalue()


def files(root, *values):
    root.mkdir(exist_ok=True)
    for number, value in enumerate(values):
        (root / f"{number}.bmp").write_bytes(png(value))
    return FileImages(root=root, names=tuple(f"{number}.bmp" for number in range(len(values))))


def split(images):
    return Split(images=images, labels_N=np.zeros(len(images), dtype=np.int64))


def test_files_are_known_by_what_the_file_system_says(tmp_path):
    images = files(tmp_path / "a", 1, 2, 3)
    before = stamp_of(images)
    assert stamp_of(images) == before
    status = (tmp_path / "a" / "1.bmp").stat()
    (tmp_path / "a" / "1.bmp").write_bytes(png(9))
    os.utime(tmp_path / "a" / "1.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = stamp_of(images)
    assert changed != before
    (tmp_path / "a" / "1.bmp").unlink()
    assert stamp_of(images) not in (before, changed)
    assert stamp_of(files(tmp_path / "b", 1, 2, 3)) != before  # a copy: of this machine alone


def test_parts_and_joined_splits_are_their_files(tmp_path):
    images = files(tmp_path / "a", 1, 2, 3)
    some = subset(split(images), np.array([0, 2]))
    whole = joined([some, split(images)])
    before = [stamp_of(part.images) for part in (some, whole)]
    (tmp_path / "a" / "1.bmp").write_bytes(png(9))
    assert stamp_of(some.images) == before[0]
    assert stamp_of(whole.images) != before[1]


def test_encoded_images_are_known_by_their_content():
    def encoded(*values):
        parts = [png(value) for value in values]
        ends = np.cumsum([0, *map(len, parts)])
        content = np.frombuffer(b"".join(parts), np.uint8)
        return EncodedImages(content=content, offsets=ends, names=["x"] * len(parts))

    assert stamp_of(encoded(1, 2)) == stamp_of(encoded(1, 2)) != stamp_of(encoded(1, 3))
    assert num_written_since(encoded(1, 2), when_ns=0) == 0


def test_a_shard_that_is_overwritten_from_the_middle_on(tmp_path, monkeypatch):
    """Its fingerprint takes the first bytes of each image, and so stays."""
    monkeypatch.setattr("zoo.data.reading.peeking.HEAD_BYTES", 40)

    def write(value):
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for number in range(8):
                label = str(number % 2).encode()
                for name, content in ((f"{number}.bmp", png(value)), (f"{number}.cls", label)):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        data = webdataset(train=str(tmp_path / "x.tar"), split=(0.5, 0.5))
        return data.fingerprint, stamp_of(data.splits["val"].images)

    (one, before), (other, after) = write(1), write(2)
    assert one == other
    assert before != after


def test_what_is_decoded_is_known_by_its_fingerprint():
    pixels = np.zeros((2, 4, 4), dtype=np.uint8)
    assert stamp_of(StackedImages(pixels=pixels, names=["a", "b"])) == ""


def test_files_that_are_newer_are_counted(tmp_path):
    images = files(tmp_path / "a", 1, 2, 3)
    now = time.time_ns() + 10**9
    assert num_written_since(images, when_ns=now) == 0
    assert num_written_since(images, when_ns=now - 10**12) == 3
    os.utime(tmp_path / "a" / "2.bmp", ns=(now + 10**9, now + 10**9))
    assert num_written_since(images, when_ns=now) == 1
    (tmp_path / "a" / "2.bmp").unlink()
    assert num_written_since(images, when_ns=now) == 0
