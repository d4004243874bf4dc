"""Decoded images on disk: reused, renewed when a file changes, whole after a kill, shared."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.pixels import decoded
from zoo.data.pixels.decoded import DecodedRows, cache_folder
from zoo.data.pixels.store import Store
from zoo.data.reading.folder import FileImages
from zoo.errors import MachineError
from zoo.protocols import Preprocessing

NUM = 12
LONG_AGO = 1_600_000_000 * 10**9


def write(path, colour, *, time_ns=LONG_AGO):
    Image.new("RGB", (8, 8), colour).save(path, "BMP")
    os.utime(path, ns=(time_ns, time_ns))


@pytest.fixture
def images(tmp_path):
    """Twelve images of one colour each, old enough to be recorded."""
    (tmp_path / "images").mkdir()
    names = tuple(f"{index}.bmp" for index in range(NUM))
    for index, name in enumerate(names):
        write(tmp_path / "images" / name, (10 * index, 0, 0))
    return FileImages(root=tmp_path / "images", names=names)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def opened(images, cache, *, budget=0, channels=3, **options):
    return Store.open(
        images, preprocessing=Preprocessing(**{"image_size": 8, **options}), channels=channels,
        budget_bytes=budget, num_threads=1, keep_decoded=cache,
    )  # fmt: skip


def rows_of(images, cache, channels=3, **options):
    return DecodedRows.open(
        cache, files=[images.source(index) for index in range(NUM)],
        preprocessing=Preprocessing(**{"image_size": 8, **options}), channels=channels,
    )  # fmt: skip


def reds(store):
    return store.fetch(np.arange(NUM))[:, 0, 4, 4].tolist()


RAMP = [10 * index for index in range(NUM)]


def overwrite_unseen(path, colour):
    """Changes a file in place so that its size, time and inode stay what they were."""
    before = path.stat()
    with path.open("r+b") as file:
        Image.new("RGB", (8, 8), colour).save(file, "BMP")
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("budget", [0, 2**30])
def test_a_second_run_decodes_nothing(images, cache, budget):
    assert reds(opened(images, cache, budget=budget)) == RAMP
    # Were anything decoded, it would be white.
    for index in range(NUM):
        overwrite_unseen(images.source(index), "white")
    again = opened(images, cache, budget=budget)
    assert reds(again) == RAMP
    assert (again.held is None) == (budget == 0)


def test_what_changed_is_decoded_anew_and_nothing_else(images, cache):
    assert reds(opened(images, cache)) == RAMP
    overwrite_unseen(images.source(0), "white")
    write(images.source(3), (200, 0, 0), time_ns=LONG_AGO + 1)  # another time
    other = images.root / "other.bmp"  # another inode, with the same time and size
    write(other, (201, 0, 0))
    other.replace(images.source(4))
    Image.new("RGB", (9, 9), (202, 0, 0)).save(images.source(5), "BMP")  # another size
    os.utime(images.source(5), ns=(LONG_AGO, LONG_AGO))
    expected = [*RAMP[:3], 200, 201, 202, *RAMP[6:]]
    assert reds(opened(images, cache)) == expected
    assert rows_of(images, cache).missing().size == 0


def test_a_file_written_a_moment_ago_is_used_but_not_recorded(images, cache):
    Image.new("RGB", (8, 8), (77, 0, 0)).save(images.source(2), "BMP")
    store = opened(images, cache)
    assert reds(store)[2] == 77
    del store
    assert rows_of(images, cache).missing().tolist() == [2]


def test_each_way_of_preparing_has_rows_of_its_own(images, cache):
    ways = [
        {},
        {"channels": 1},
        {"image_size": 4},
        {"interpolation": "nearest"},
        {"crop_fraction": 0.5},
        {"fit": "squash"},
        {"fit": "pad"},
        {"fit": "pad", "mean": (0.1, 0.2, 0.3)},
    ]
    folders = {rows_of(images, cache, **way).folder for way in ways}
    assert len(folders) == len(ways)
    same = rows_of(images, cache, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)).folder
    assert same == rows_of(images, cache).folder
    fewer = FileImages(root=images.root, names=images.names[::-1])
    assert rows_of(fewer, cache).folder not in folders


def test_damaged_files_of_the_cache_are_made_anew(images, cache):
    opened(images, cache)
    folder = rows_of(images, cache).folder
    for name in ("pixels", "rows"):
        os.truncate(folder / name, 20)
        assert reds(opened(images, cache)) == RAMP
    (folder / "rows").unlink()
    assert reds(opened(images, cache)) == RAMP


def test_a_kill_while_it_is_filled_leaves_good_rows(images, cache):
    script = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from zoo.data.pixels import store
        from zoo.data.reading.folder import FileImages
        from zoo.protocols import Preprocessing

        class Deadly(FileImages):
            def source(self, index):
                # Called once for each name while opening, and then to decode.
                Deadly.calls += 1
                if Deadly.calls > 12 and index == int(sys.argv[3]):
                    os.kill(os.getpid(), 9)
                return super().source(index)

        Deadly.calls = 0
        store._CHUNK = 4
        names = tuple(f"{index}.bmp" for index in range(12))
        store.Store.open(
            Deadly(root=Path(sys.argv[1]), names=names),
            preprocessing=Preprocessing(image_size=8), channels=3, budget_bytes=0,
            num_threads=1, keep_decoded=Path(sys.argv[2]),
        )
    """)
    root = Path(__file__).parents[2]
    for victim, missing in ((2, range(NUM)), (9, range(8, NUM))):
        run = subprocess.run(
            [sys.executable, "-c", script, str(images.root), str(cache), str(victim)],
            env={**os.environ, "PYTHONPATH": str(root)}, timeout=120, check=False,
        )  # fmt: skip
        assert run.returncode == -9
        rows = rows_of(images, cache)
        assert rows.missing().tolist() == list(missing)
        assert rows.pixels_NSSC[: missing[0], 4, 4, 0].tolist() == RAMP[: missing[0]]
        del rows
    assert reds(opened(images, cache)) == RAMP


def test_while_one_fills_another_does_without_and_then_both_read(images, cache):
    first = rows_of(images, cache)
    assert first.writable
    assert rows_of(images, cache) is None
    other = opened(images, cache)  # not an error: it decodes as it needs them
    assert other.kept is None
    assert reds(other) == RAMP
    del first
    filler = opened(images, cache)
    reading = rows_of(images, cache)
    assert not reading.writable
    assert reading.missing().size == 0
    # A reader finds a change: it decodes the image itself and leaves the file to the others.
    write(images.source(1), (250, 0, 0), time_ns=LONG_AGO + 5)
    second = opened(images, cache)
    assert not second.kept.writable
    assert reds(second)[1] == 250
    assert reds(filler) == RAMP


def test_the_lock_goes_with_the_store(images, cache):
    store = opened(images, cache, budget=2**30)
    assert rows_of(images, cache).writable  # held in memory: the file is not needed any more
    store = opened(images, cache)
    assert not rows_of(images, cache).writable
    del store
    assert rows_of(images, cache).writable


def test_too_little_space_is_said_before_anything_is_written(images, cache, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda path: Usage(0, 0, 5 * 2**20))
    with pytest.raises(MachineError, match="not enough space") as caught:
        opened(images, cache)
    assert caught.value.exit_code == 6
    assert "257 MiB needed, 5 MiB free" in caught.value.found
    assert "ZOO_CACHE" in caught.value.hint
    assert not list(cache.rglob("pixels"))
    monkeypatch.undo()
    assert reds(opened(images, cache)) == RAMP
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    assert reds(opened(images, cache)) == RAMP  # it is all there: nothing more is needed


def test_a_cache_that_cannot_be_written_is_a_machine_error(images, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MachineError, match="cannot be kept"):
        opened(images, tmp_path / "file")


def test_a_full_disk_while_writing_is_a_machine_error(images, cache, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    rows = rows_of(images, cache)
    monkeypatch.setattr(decoded.os, "fsync", full)
    with pytest.raises(MachineError, match="cannot be kept") as caught:
        rows.write(np.array([0]), np.zeros((1, 8, 8, 3), dtype=np.uint8))
    assert caught.value.found == "No space left on device"
    monkeypatch.undo()
    del rows, caught  # both hold the lock, and in Python 3.13 so does a ring of frames
    gc.collect()
    assert rows_of(images, cache).missing().size == NUM


def test_pixels_on_disk_are_those_that_were_decoded(images, cache):
    without = Store.open(images, preprocessing=Preprocessing(image_size=8), channels=3,
                         budget_bytes=0, num_threads=1)  # fmt: skip
    every = np.arange(NUM)
    assert torch.equal(opened(images, cache).fetch(every), without.fetch(every))


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ZOO_CACHE")
    assert cache_folder().name == "zoo"
    assert cache_folder().is_absolute()
