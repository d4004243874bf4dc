"""Moves: only what is safe, told and written down before, and put back to the byte."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from zoo.data.inspection.check import check_folder
from zoo.data.inspection.quarantine import (
    default_quarantine,
    origin_of,
    plan_moves,
    quarantine,
    restore,
)
from zoo.errors import DataError, RefusedError, UsageError


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    seeds = iter(range(100))
    for split in ("train", "val", "test"):
        for label in ("cat", "dog"):
            for index in range(3):
                picture(root / split / label / f"{index}.png", next(seeds))
    return root


def content(root):
    """Path to bytes, or to where a link leads."""
    return {
        path.relative_to(root).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def moved(root, **options):
    return {move.source for move in plan_moves(root, check_folder(root), **options)}


def test_broken_files_and_doubles_move_and_come_back(data):
    (data / "train/cat/zero.png").write_bytes(b"")
    (data / "val/dog/text.png").write_bytes(b"text")
    shutil.copy(data / "train/cat/0.png", data / "train/cat/again.png")
    before = content(data)
    moves = plan_moves(data, check_folder(data))
    assert {m.source for m in moves} == {
        "train/cat/zero.png", "val/dog/text.png", "train/cat/again.png",
    }  # fmt: skip
    place = default_quarantine(data)
    told = []

    def tell(move):
        assert (data / move.source).exists()  # told before it is moved
        told.append(move)

    assert quarantine(data, moves, to=place, tell=tell) == 3
    assert told == moves
    assert check_folder(data).of("empty-file", "not-an-image", "duplicate") == []
    lines = [json.loads(line) for line in (place / "moved.jsonl").read_text().splitlines()]
    assert [line["from"] for line in lines] == [move.source for move in moves]
    assert lines[-1]["kept"] == "train/cat/0.png"
    assert origin_of(place) == data
    assert restore(data, place) == (3, [])
    assert content(data) == before
    assert restore(data, place) == (0, [])


def test_what_is_no_clear_case_stays(data):
    shutil.copy(data / "train/cat/0.png", data / "train/dog/two-labels.png")
    shutil.copy(data / "train/cat/1.png", data / "test/cat/leak.png")
    Image.open(data / "train/cat/2.png").save(data / "train/cat/same-pixels.bmp")
    assert moved(data) == set()


def test_leaks_move_only_when_asked_and_out_of_training(data):
    shutil.copy(data / "train/cat/0.png", data / "test/cat/leak.png")
    shutil.copy(data / "train/cat/0.png", data / "train/cat/again.png")
    shutil.copy(data / "train/dog/0.png", data / "val/dog/leak.png")
    shutil.copy(data / "train/dog/1.png", data / "val/cat/other-label.png")
    assert moved(data) == {"train/cat/again.png"}
    assert moved(data, leaks=True) == {"train/cat/0.png", "train/cat/again.png", "train/dog/0.png"}
    quarantine(data, plan_moves(data, check_folder(data), leaks=True), to=default_quarantine(data))
    assert check_folder(data).of("leak", "duplicate") != []  # the one with two labels stays
    assert (data / "test/cat/leak.png").exists()


def test_links_stay_and_so_does_what_they_lead_to(data, tmp_path):
    outside = tmp_path / "outside"
    picture(outside / "0.png", 7)
    picture(outside / "1.png", 7)
    (data / "train/cat/linked").symlink_to(outside)
    shutil.copy(data / "train/dog/0.png", data / "train/dog/again.png")
    (data / "val/dog/link.png").symlink_to(data / "train/dog/again.png")
    (data / "train/cat/link.png").symlink_to("0.png")
    assert moved(data) == set()
    assert moved(data, leaks=True) == set()


def test_a_file_that_changed_since_the_check_stays(data):
    shutil.copy(data / "train/cat/0.png", data / "train/cat/again.png")
    report = check_folder(data)
    picture(data / "train/cat/again.png", 99)
    assert plan_moves(data, report) == []


@pytest.mark.parametrize(
    "name", ["-rf.png", "new\nline.png", "emoji 🦊.png", os.fsdecode(b"\xff.png")]
)
def test_odd_names_go_and_come_back(data, name):
    path = data / "train/cat" / name
    path.write_bytes(b"no image")
    place = data.parent / "q"
    quarantine(data, plan_moves(data, check_folder(data)), to=place)
    assert not path.exists()
    assert restore(data, place) == (1, [])
    assert path.read_bytes() == b"no image"


def test_places_that_cannot_be_a_quarantine(data):
    (data.parent / "used").mkdir()
    for place in (data / "inside", data.parent / "used", data, data.parent / "no/where"):
        with pytest.raises(UsageError):
            quarantine(data, [], to=place)
    assert default_quarantine(data).name == "data-quarantine"
    default_quarantine(data).mkdir()
    assert default_quarantine(data).name == "data-quarantine-2"
    with pytest.raises(UsageError):
        origin_of(data.parent / "used")


def test_a_move_that_was_cut_short_can_be_put_back(data):
    (data / "train/cat/a.png").write_bytes(b"")
    (data / "train/cat/b.png").write_bytes(b"")
    before = content(data)
    moves = plan_moves(data, check_folder(data))

    class Killed(Exception):
        pass

    def tell(move):
        if move == moves[1]:
            raise Killed

    place = default_quarantine(data)
    with pytest.raises(Killed):
        quarantine(data, moves, to=place, tell=tell)
    assert not (data / "train/cat/a.png").exists()
    with (place / "moved.jsonl").open("a") as log:
        log.write('{"from": "train/cat/b.p')  # the line that was being written
    assert restore(data, place) == (1, [])
    assert content(data) == before


def test_nothing_is_overwritten(data):
    (data / "train/cat/a.png").write_bytes(b"")
    place = default_quarantine(data)
    quarantine(data, plan_moves(data, check_folder(data)), to=place)
    picture(data / "train/cat/a.png", 5)
    mended = (data / "train/cat/a.png").read_bytes()
    num_back, problems = restore(data, place)
    assert num_back == 0
    assert "is there again" in problems[0]
    assert (data / "train/cat/a.png").read_bytes() == mended


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "a/../../evil.png", "", "a\0b"])
def test_a_forged_list_moves_nothing_outside(data, tmp_path, name):
    place = tmp_path / "forged"
    (place / "files").mkdir(parents=True)
    (tmp_path / "evil.png").write_bytes(b"")
    line = json.dumps({"from": name, "to": f"files/{name}"})
    (place / "moved.jsonl").write_text(line + "\n" + line + "\n")
    with pytest.raises(RefusedError):
        restore(data, place)


def test_links_lead_a_restore_nowhere(data, tmp_path):
    (data / "train/cat/sub").mkdir()
    (data / "train/cat/sub/a.png").write_bytes(b"")
    place = default_quarantine(data)
    quarantine(data, plan_moves(data, check_folder(data)), to=place)
    (tmp_path / "elsewhere").mkdir()
    (data / "train/cat/sub").rmdir()
    (data / "train/cat/sub").symlink_to(tmp_path / "elsewhere")
    num_back, problems = restore(data, place)
    assert num_back == 0
    assert "leads elsewhere" in problems[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_is_no_quarantine(data, tmp_path):
    with pytest.raises(DataError, match="no quarantine"):
        restore(data, tmp_path)
    (tmp_path / "moved.jsonl").write_text("{}\n{}\n")
    with pytest.raises(DataError, match="damaged"):
        restore(data, tmp_path)
    with pytest.raises(UsageError):
        restore(tmp_path / "missing", tmp_path)
