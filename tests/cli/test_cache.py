"""``zoo cache``: what is kept is shown and can be cleared."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from zoo.data.cache import cache_entries, cache_limit_bytes, make_room
from zoo.data.pixels.decoded import DecodedRows
from zoo.errors import UsageError
from zoo.protocols import Preprocessing


@pytest.fixture
def cache(tmp_path):
    return Path(f"{tmp_path}-cache")


def entry(cache, kind, key, *, size, age, what=""):
    folder = cache / kind / key
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(bytes(size))
    (folder / "about.json").write_text(json.dumps({"what": what}))
    for file in folder.iterdir():
        os.utime(file, (time.time() - age,) * 2)


@pytest.fixture
def filled(cache):
    entry(cache, "features", "aaaa1111", size=5_000_000, age=3 * 86400, what="lenet at 28 px")
    entry(cache, "features", "aaaa2222", size=300, age=7200, what="\x1b[31mred\n")
    entry(cache, "decoded", "64px-3ch-bbbb", size=42_000, age=0)
    (cache / "features" / ".tmp-77-cccc").mkdir()
    (cache / "features" / ".tmp-turn-dddd").touch()  # of a process that was killed
    return cache


def test_the_list_names_them_the_last_used_first(zoo_command, filled):
    shown = zoo_command("cache", "list")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].split() == ["key", "kind", "size", "used", "what"]
    assert [line.split()[0] for line in lines[1:]] == ["64px-3ch-bbbb", "aaaa2222", "aaaa1111"]
    assert "5.0 MB  3 days ago" in lines[3]
    assert "lenet at 28 px" in lines[3]
    assert "\x1b" not in shown.out, "what files say acts on no terminal"
    assert "3 entries, 5.0 MB" in shown.err


def test_the_list_as_data(zoo_command, filled):
    table = json.loads(zoo_command("cache", "list", "--json").out)
    assert table["limit_bytes"] == 10 * 10**9
    assert table["folder"] == str(filled)
    assert [(e["kind"], e["key"]) for e in table["entries"]] == [
        ("decoded", "64px-3ch-bbbb"), ("features", "aaaa2222"), ("features", "aaaa1111"),
    ]  # fmt: skip
    assert table["entries"][2]["bytes"] >= 5_000_000


def test_one_key_is_cleared_or_all(zoo_command, filled):
    cleared = zoo_command("cache", "clear", "aaaa1")
    assert cleared.code == 0
    assert "removed 1 entry, 5.0 MB" in cleared.out
    assert [e.key for e in cache_entries(filled)] == ["64px-3ch-bbbb", "aaaa2222"]
    assert "removed 2 entries" in zoo_command("cache", "clear").out
    assert [path.name for path in filled.iterdir() if any(path.iterdir())] == []
    assert zoo_command("cache", "clear").code == 0
    assert zoo_command("cache", "list").out == ""


def test_keys_that_name_nothing_or_several(zoo_command, filled):
    wrong = zoo_command("cache", "clear", "aaaa", "zzzz", "../../etc")
    assert wrong.code == 2
    assert "'aaaa' is the beginning of 2 keys" in wrong.err
    assert "nothing is kept under the key 'zzzz'" in wrong.err
    assert "aaaa1111" in wrong.err
    assert len(cache_entries(filled)) == 3, "nothing was removed"


def test_decoded_images_in_use_stay(zoo_command, filled, shapes_folder):
    files = sorted((shapes_folder / "train" / "dot").iterdir())
    rows = DecodedRows.open(
        filled, files=files, preprocessing=Preprocessing(image_size=8), channels=3
    )
    cleared = zoo_command("cache", "clear")
    assert cleared.code == 8
    assert "1 entry in use" in cleared.err
    assert [entry.path for entry in cache_entries(filled)] == [rows.folder]
    del rows
    assert zoo_command("cache", "clear").code == 0
    assert not cache_entries(filled)


def test_a_run_shows_up_and_is_made_again_after_a_clear(zoo_command, shapes_folder, tmp_path):
    run = ("run", "--data", shapes_folder, "--model", "lenet", "--weights", "none", "--img-size",
           "16", "--freeze-epochs", "1", "--epochs", "0", "--threads", "1", "--runs",
           tmp_path / "runs")  # fmt: skip
    assert zoo_command(*run).code == 0
    (first,) = json.loads(zoo_command("cache", "list", "--json").out)["entries"]
    assert first["what"] == "lenet at 16 px, 500 before head, torch fp32"
    assert zoo_command("cache", "clear", first["key"]).code == 0
    assert zoo_command(*run).code == 0
    (again,) = json.loads(zoo_command("cache", "list", "--json").out)["entries"]
    assert (first["key"], first["bytes"]) == (again["key"], again["bytes"])


def test_a_limit_that_is_no_number(zoo_command, filled, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE_GB", "lots")
    with pytest.raises(UsageError, match="ZOO_CACHE_GB is 'lots'"):
        cache_limit_bytes()
    assert zoo_command("cache", "list", "--json").code == 2
    monkeypatch.setenv("ZOO_CACHE_GB", "0.001")
    assert cache_limit_bytes() == 10**6


def test_room_is_made_from_the_oldest_features_only(filled, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE_GB", "0.001")
    assert not make_room(filled, 2_000_000), "more than there may be"
    assert len(cache_entries(filled)) == 3
    assert make_room(filled, 900_000, keep="aaaa2222")
    assert [e.key for e in cache_entries(filled)] == ["64px-3ch-bbbb", "aaaa2222"]


def test_an_entry_that_has_no_room_loses_its_own_oldest_files(cache, monkeypatch):
    """Else what was kept for other seeds would keep those of a new one out for ever."""
    monkeypatch.setenv("ZOO_CACHE_GB", "0.001")
    entry(cache, "features", "aaaa", size=0, age=0)
    folder = cache / "features" / "aaaa"
    for number in range(4):
        file = folder / f"{9 - number:064x}.safetensors"
        file.write_bytes(bytes(240_000))
        os.utime(file, (number, number))
    assert not make_room(cache, 1_100_000, keep="aaaa")
    assert len(list(folder.glob("*.safetensors"))) == 4
    assert make_room(cache, 400_000, keep="aaaa")
    assert sorted(int(file.stem, 16) for file in folder.glob("*.safetensors")) == [6, 7]
    assert (folder / "about.json").exists()


def test_there_may_be_no_cache_at_all(zoo_command, cache):
    assert not cache.exists()
    assert zoo_command("cache", "list").code == 0
    assert zoo_command("cache", "clear").code == 0
    assert not cache.exists()
