"""The shelf of kept rows: whole or not at all, whoever writes and whenever one is killed."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import resource
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.cache import cache_entries, remove_entry
from zoo.engine.features.rows import HeldRows, Layout, MappedRows
from zoo.engine.features.shelf import Shelf, shelf_key

LAYOUT = Layout(shape=(3, 4), channels_last=False, dtype=torch.float32)
ABOUT = {"what": "numbers", "weights": "abc"}


def ids_of(numbers):
    return np.array([list(int(n).to_bytes(16, "big")) for n in numbers], dtype=np.uint8)


def rows_of(numbers, layout=LAYOUT):
    base = torch.tensor(list(numbers), dtype=torch.float32).view(-1, *[1] * len(layout.shape))
    return layout.store(base + torch.arange(float(np.prod(layout.shape))).view(layout.shape))


def write(root, numbers, *, keep=True, about=ABOUT, layout=LAYOUT):
    shelf = Shelf.open(root, about=about, layout=layout)
    with shelf.write(ids_of(numbers), layout, keep=keep) as writing:
        for part in np.array_split(np.array(numbers), 3):
            if len(part):
                writing.add(rows_of(part, layout))
        writing.finish()
    return shelf


def taken(shelf, numbers, layout=LAYOUT):
    places = shelf.find(ids_of(numbers))
    mapped = MappedRows(shelf.arrays, places, layout, torch.device("cpu"))
    return mapped.take(np.arange(len(numbers)))


LAYOUTS = {
    "vectors": Layout(shape=(7,), channels_last=False, dtype=torch.float32),
    "maps": Layout(shape=(3, 2, 2), channels_last=True, dtype=torch.float32),
    "bf16": Layout(shape=(3, 2, 2), channels_last=False, dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_come_back_as_they_were_from_several_files_in_any_order(tmp_path, name):
    layout = LAYOUTS[name]
    write(tmp_path, range(10), layout=layout)
    write(tmp_path, range(20, 25), layout=layout)
    write(tmp_path, range(8, 12), layout=layout)
    shelf = Shelf.open(tmp_path, about=ABOUT, layout=layout)
    assert len(shelf.files) == 3
    wanted = [24, 3, 11, 3, 9, 20, 0]
    assert shelf.find(ids_of([99, 3]))[0] == -1
    found = taken(shelf, wanted, layout)
    expected = layout.restore(rows_of(wanted, layout))
    assert found.dtype == torch.float32
    assert found.shape == (7, *layout.shape)
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
    held = HeldRows(rows_of(wanted, layout), layout)
    places = shelf.find(ids_of(wanted))
    mapped = MappedRows(shelf.arrays, places, layout, torch.device("cpu"))
    assert held.checksum == mapped.checksum
    assert torch.equal(held.take(np.array([2, 2])).copied(), mapped.take(np.array([2, 2])))


def test_a_checksum_tells_any_other_bit(tmp_path):
    rows = rows_of(range(600))
    first = HeldRows(rows.clone(), LAYOUT).checksum
    rows.view(-1).view(torch.int32)[-5] ^= 1
    assert HeldRows(rows, LAYOUT).checksum != first


def test_another_key_and_another_layout_are_other_shelves(tmp_path):
    write(tmp_path, range(4))
    other = Shelf.open(tmp_path, about={**ABOUT, "weights": "abd"}, layout=LAYOUT)
    assert not other.files
    assert shelf_key(ABOUT) != shelf_key({**ABOUT, "weights": "abd"})
    wrong = LAYOUTS["vectors"]
    assert not Shelf.open(tmp_path, about=ABOUT, layout=wrong).files, "and what is wrong is removed"
    assert not Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT).files


def test_leaving_early_leaves_nothing(tmp_path):
    shelf = Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT)
    with shelf.write(ids_of(range(4)), LAYOUT, keep=True) as writing:
        writing.add(rows_of(range(2)))
    assert not list(tmp_path.rglob("*.*"))


def test_what_is_not_to_be_kept_stays_mapped_and_goes(tmp_path):
    shelf = write(tmp_path, range(6), keep=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert torch.equal(taken(shelf, [5, 0]), rows_of([5, 0]))


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
    shelf = write(tmp_path, range(3))
    for name, age in ((".tmp-1-old", 2 * 86400), (".tmp-2-new", 60)):
        (shelf.folder / name).write_bytes(b"x")
        os.utime(shelf.folder / name, (time.time() - age,) * 2)
    write(tmp_path, range(5, 7))
    assert sorted(p.name for p in shelf.folder.glob(".tmp*")) == [".tmp-2-new"]


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.ENOENT]
)
def test_a_file_that_cannot_be_read_now_is_not_found_and_stays(tmp_path, monkeypatch, number):
    shelf = write(tmp_path, range(5))
    (file,) = shelf.folder.glob("*.safetensors")
    monkeypatch.setattr("zoo.engine.features.shelf._verified", set())
    with monkeypatch.context() as patches:

        def fails(*_):
            raise OSError(number, os.strerror(number))

        patches.setattr(hashlib, "file_digest", fails)
        assert not Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT).files
    assert file.exists()
    assert torch.equal(
        taken(Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT), [4, 1]), rows_of([4, 1])
    )


def test_too_many_open_files_cost_no_rows(tmp_path):
    shelf = write(tmp_path, range(5))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # to look at a file, not to map it
    try:
        assert not Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT).files
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(shelf.folder.glob("*.safetensors"))
    assert len(Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT).files) == 1


def test_what_has_the_name_of_a_file_and_is_a_folder_goes(tmp_path):
    shelf = write(tmp_path, range(5))
    (file,) = shelf.folder.glob("*.safetensors")
    file.unlink()
    (file / "deep").mkdir(parents=True)
    assert not Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT).files
    assert not file.exists()


def _keep_writing(root, first):
    torch.set_num_threads(1)
    number = first
    while True:
        write(root, range(number, number + 40))
        number += 40


def _start(root, first):
    process = multiprocessing.get_context("fork").Process(target=_keep_writing, args=(root, first))
    process.start()
    return process


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_that_write_at_once_and_are_killed_anywhere_leave_whole_files(tmp_path):
    random = np.random.default_rng(0)
    for trial in range(6):
        both = [_start(tmp_path, 10_000 * (2 * trial + which)) for which in (0, 1)]
        time.sleep(float(random.uniform(0.05, 0.25)))
        for process in both:
            os.kill(process.pid, signal.SIGKILL)
        for process in both:
            process.join()
        shelf = Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT)
        numbers = [int.from_bytes(key, "big") for key in shelf.places]
        assert torch.equal(taken(shelf, numbers), rows_of(numbers))
    assert len(shelf.files) >= 6
    assert len(numbers) == 40 * len(shelf.files)


@settings(max_examples=60)
@given(content=st.binary(max_size=300), at=st.integers(0, 400), cut=st.integers(0, 900))
def test_no_damage_brings_a_wrong_row(tmp_path_factory, content, at, cut):
    root = tmp_path_factory.mktemp("shelf")
    shelf = write(root, range(9))
    (file,) = shelf.folder.glob("*.safetensors")
    whole = file.read_bytes()
    damaged = (whole[:at] + content + whole[at + len(content) :])[: len(whole) - cut]
    file.write_bytes(damaged)
    found = Shelf.open(root, about=ABOUT, layout=LAYOUT)
    if damaged == whole:
        assert torch.equal(taken(found, range(9)), rows_of(range(9)))
    else:
        assert not found.files
        assert not found.places


def test_a_shelf_that_may_only_be_read_is_read(tmp_path, monkeypatch):
    write(tmp_path, range(5))

    def refused(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refused)
    found = Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT)
    assert torch.equal(taken(found, [4, 1]), rows_of([4, 1]))


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"digest": []}', "", '{"digest'])
def test_what_does_not_say_what_it_is_holds_nothing_and_is_mended(tmp_path, content):
    shelf = write(tmp_path, range(5))
    (shelf.folder / "about.json").write_text(content)
    assert not Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT).files
    write(tmp_path, range(5))
    assert len(Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT).files) == 1


def test_rows_whose_folder_is_cleared_while_they_are_written_are_there(tmp_path):
    shelf = Shelf.open(tmp_path, about=ABOUT, layout=LAYOUT)
    with shelf.write(ids_of(range(6)), LAYOUT, keep=True) as writing:
        writing.add(rows_of(range(4)))
        for entry in cache_entries(tmp_path):
            assert remove_entry(entry)
        writing.add(rows_of(range(4, 6)))
        writing.finish()
    assert torch.equal(taken(shelf, [5, 0, 4]), rows_of([5, 0, 4]))
    assert not list(tmp_path.rglob("*.*"))
