"""Shards that are compressed or elsewhere, and what a user may write for shards."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import serving
from shard_files import build_shards, read_all

from zoo.errors import (
    DataError,
    MachineError,
    PluginError,
    RefusedError,
    UsageError,
    ZooError,
)
from zoo_datasets.patterns import expand
from zoo_datasets.shards import webdataset
from zoo_datasets.streams import Fetcher

pytest.importorskip("webdataset")


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """The working folder, with tiny shards and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build_shards(tmp_path)
    return tmp_path


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_shards_in_memory_and_in_the_cache(shards, pack):
    plain = webdataset(train="train-000.tar", val="val-000.tar")
    (shards / "p.tar.packed").write_bytes(pack((shards / "train-000.tar").read_bytes()))
    packed = webdataset(train="p.tar.packed", val="val-000.tar")
    assert [b for _, b in read_all(packed.splits["train"])] == [
        b for _, b in read_all(plain.splits["train"])
    ]
    assert not (shards / "cache").exists()
    fetcher = Fetcher(folder=shards / "folder", memory_bytes=1000)
    path, name = fetcher.fetch("p.tar.packed")
    assert path.read_bytes() == (shards / "train-000.tar").read_bytes()
    assert name == "p.tar.packed"
    assert os.listdir(shards / "folder") == [path.name]
    second = Fetcher(folder=shards / "folder", memory_bytes=1000)
    assert second.fetch("p.tar.packed")[0] == path
    assert "from the cache" in second.notes[0]
    os.utime("p.tar.packed", ns=(1, 1))
    assert Fetcher(folder=shards / "folder", memory_bytes=1000).fetch("p.tar.packed")[0] != path


def test_damaged_and_bomb_archives_leave_nothing(shards):
    packed = gzip.compress((shards / "train-000.tar").read_bytes())
    folder = shards / "folder"
    for content in (packed[: len(packed) // 2], gzip.compress(bytes(80 << 20), 1)):
        (shards / "x.tgz").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.tgz"):
            Fetcher(folder=folder, memory_bytes=100).fetch("x.tgz")
        assert not folder.exists() or os.listdir(folder) == []


def test_a_damaged_middle_is_told(shards):
    packed = bytearray(gzip.compress(os.urandom(100_000), 9))
    packed[40_000:40_200] = bytes(200)
    (shards / "x.tgz").write_bytes(bytes(packed))
    with pytest.raises(DataError, match=r"x\.tgz"):
        Fetcher(folder=shards / "folder", memory_bytes=100).fetch("x.tgz")
    (shards / "x.tgz").write_bytes(gzip.compress(bytes(1000))[:10] + b"\xff" * 50)
    with pytest.raises(DataError, match="truncated or damaged"):
        Fetcher(folder=shards / "folder", memory_bytes=100).fetch("x.tgz")


UNPACKING = """
    import sys, time
    from pathlib import Path
    from zoo_datasets import streams

    def blocks(*_):
        yield b"x" * 1000
        print("begun", flush=True)
        time.sleep(600)  # until it is killed

    streams._blocks = blocks
    streams.Fetcher(folder=Path(sys.argv[1]), memory_bytes=10).fetch("p.tgz")
"""


def test_what_a_killed_process_left_goes_and_what_another_works_on_stays(shards):
    folder = shards / "folder"
    (shards / "p.tgz").write_bytes(gzip.compress((shards / "train-000.tar").read_bytes()))
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(UNPACKING), folder], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "plugins")])},
    ) as other:  # fmt: skip
        assert other.stdout.readline() == b"begun\n"
        (part,) = folder.iterdir()
        path, _ = Fetcher(folder=folder, memory_bytes=10).fetch("p.tgz")
        assert sorted(folder.iterdir()) == sorted([path, part])
        other.kill()
    path.unlink()
    Fetcher(folder=folder, memory_bytes=10).fetch("p.tgz")
    assert list(folder.iterdir()) == [path]


def test_a_broken_shard_does_not_stay_in_the_cache(shards, monkeypatch):
    monkeypatch.setattr("zoo_datasets.shards.Fetcher", lambda: Fetcher(memory_bytes=10))
    (shards / "x.tgz").write_bytes(gzip.compress(b"no tar file" * 100))
    with pytest.raises(DataError, match=r"x\.tgz"):
        webdataset(train="x.tgz")
    assert list((shards / "cache").rglob("*.tar*")) == []


@pytest.mark.parametrize("source", ["pipe:cat x.tar", "PIPE:curl http://x", "pipe://ls"])
def test_commands_are_refused(shards, source):
    with pytest.raises(RefusedError) as caught:
        webdataset(train=source)
    assert caught.value.exit_code == 9


def test_patterns(shards):
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand("train-*.tar") == ["train-000.tar", "train-001.tar"]
    assert expand("http://h/{0..1}.tar?x=*") == ["http://h/0.tar?x=*", "http://h/1.tar?x=*"]
    with pytest.raises(DataError, match=r"no shard matches none-\*"):
        expand("none-*.tar")
    with pytest.raises(UsageError, match="do not close"):
        expand("a-{0..1.tar")
    with pytest.raises(UsageError, match="kind that is not read"):
        expand("s5://bucket/a.tar")
    with pytest.raises(UsageError, match="more than"):
        expand("a-{0..999999999}.tar")
    with pytest.raises(UsageError, match=r"two splits: train-001\.tar"):
        webdataset(train="train-*.tar", val="train-001.tar")
    with pytest.raises(UsageError, match="needs shards"):
        webdataset()


@given(st.text(max_size=40))
@settings(max_examples=100)
def test_patterns_never_raise_anything_else(text):
    try:
        found = expand(text)
    except ZooError:
        return
    assert all(isinstance(source, str) for source in found)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


def test_addresses_are_fetched_by_the_library(shards, server):
    content = (shards / "train-000.tar").read_bytes()
    server.files = {"/a-0.tar": content, "/a-1.tar": gzip.compress(content)}
    address = server.address + "a-{0..1}.tar"
    data = webdataset(train=address, val="val-000.tar")
    assert len(data.splits["train"].images) == 20
    server.cut = 3000  # the connection ends early
    with pytest.raises(MachineError, match="cannot fetch") as caught:
        webdataset(train=address.replace("{0..1}", "0"))
    assert caught.value.exit_code == 6
    with pytest.raises(MachineError, match=r"a-2\.tar") as caught:
        webdataset(train=address.replace("{0..1}", "2"))
    assert caught.value.found == "curl ended with exit code 22: the server refused it"


def test_a_bomb_from_an_address_is_refused_while_it_comes(shards, server):
    server.files = {"/bomb.tgz": gzip.compress(bytes(200 << 20), 1)}
    folder = shards / "folder"
    for memory_bytes in (100, 1 << 30):
        with pytest.raises(DataError, match=r"bomb\.tgz") as caught:
            Fetcher(folder=folder, memory_bytes=memory_bytes).fetch(server.address + "bomb.tgz")
        assert "100 times as large" in caught.value.found
        assert not folder.exists() or os.listdir(folder) == []


def test_offline_never_tries(shards, server, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(MachineError) as caught:
        webdataset(train=server.address + "a.tar")
    assert "ZOO_OFFLINE" in caught.value.found
    assert "by hand" in caught.value.hint


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    with pytest.raises(PluginError) as caught:
        webdataset(train="x.tar")
    assert caught.value.hint == "pip install 'classifier-zoo[webdataset]'"
