"""torchvision's data sets that are not there: what is said, and that no half download stays."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import textwrap
import time
from io import BytesIO
from pathlib import Path

import pytest
import torch
import torchvision.datasets
from serving import serving
from torchvision_files import BUILDERS
from torchvision_reading import contents, needed, read, trust

from zoo.errors import MachineError
from zoo_torchvision._datasets import KNOWN
from zoo_torchvision._downloads import open_or_download
from zoo_torchvision.datasets import build


@pytest.fixture
def trusted(monkeypatch):
    trust(monkeypatch)


@pytest.mark.parametrize("name", KNOWN)
def test_offline_says_where_the_files_go(name, tmp_path):
    needed(name)
    with pytest.raises(MachineError) as caught:
        read(name, tmp_path / "data")
    error = caught.value
    assert error.exit_code == 6
    assert error.kept == "nothing half-written stays"
    first = (KNOWN[name].archives or KNOWN[name].files)[0]
    assert first in error.hint
    assert str(tmp_path / "data") in error.hint
    assert not (tmp_path / "data").exists()


def test_without_download(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    with pytest.raises(MachineError, match="download=false"):
        read("mnist", tmp_path, download=False)


def test_the_folder_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        build(dataset="mnist")
    assert os.path.join("classifier-zoo", "torchvision", "mnist") in caught.value.hint


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture
def mnist_server(server, tmp_path, monkeypatch):
    """MNIST's four files, offered by a server of our own."""
    BUILDERS["mnist"](tmp_path / "source")
    resources = []
    for path in sorted((tmp_path / "source" / "MNIST" / "raw").iterdir()):
        packed = gzip.compress(path.read_bytes())
        server.files[f"/{path.name}.gz"] = packed
        resources.append((f"{path.name}.gz", hashlib.md5(packed).hexdigest()))
    address = server.address
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    return server


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_download_is_moved_when_it_is_whole(mnist_server, tmp_path):
    root = tmp_path / "data"
    data = read("mnist", root)
    assert len(data.splits["test"].images) == 8
    assert os.listdir(root) == ["MNIST"]
    asked = len(mnist_server.asked)
    read("mnist", root)
    assert len(mnist_server.asked) == asked


@pytest.mark.parametrize("fault", ["cut", "missing", "other content"])
def test_a_download_that_fails_leaves_nothing(mnist_server, tmp_path, fault):
    root = tmp_path / "data"
    last = sorted(mnist_server.files)[-1]
    if fault == "cut":
        mnist_server.cut = 40
    elif fault == "missing":
        del mnist_server.files[last]
    else:
        mnist_server.files[last] = gzip.compress(b"something else")
    with pytest.raises(MachineError) as caught:
        read("mnist", root)
    assert mnist_server.address in caught.value.found
    assert not root.exists()
    root.mkdir()
    (root / "mine.txt").write_text("kept")
    with pytest.raises(MachineError):
        read("mnist", root)
    assert everything_in(root) == ["mine.txt"]


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    begun = []

    def open_in(place, fetch):
        (place / "food-101").mkdir()
        begun.append(place)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_or_download(
            KNOWN["food101"], tmp_path / "data", open_in, name="food101", download=True
        )
    assert len(begun) == 1
    assert not (tmp_path / "data").exists()


DOWNLOADING = """
    import sys, time
    from pathlib import Path
    from zoo_torchvision._datasets import KNOWN
    from zoo_torchvision._downloads import open_or_download

    def open_in(place, fetch):
        if not fetch:
            raise FileNotFoundError
        (place / "half").write_text("of it")
        print("begun", flush=True)
        time.sleep(600)  # until it is killed

    open_or_download(KNOWN["mnist"], Path(sys.argv[1]), open_in, name="mnist", download=True)
"""


def test_what_a_killed_download_left_goes_and_that_of_another_process_stays(mnist_server, tmp_path):
    root = tmp_path / "data"
    (root / ".download-abcdefgh" / "MNIST").mkdir(parents=True)  # of a zoo that had no locks
    search = [str(Path(__file__).parents[2] / name) for name in (".", "plugins")]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DOWNLOADING), root], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
    ) as other:  # fmt: skip
        assert other.stdout.readline() == b"begun\n"
        before = sorted(os.listdir(root))
        assert len(before) == 2
        read("mnist", root)
        assert sorted(os.listdir(root)) == [*before, "MNIST"], "it is in use, or may be"
        other.kill()
    (root / "MNIST").rename(tmp_path / "away")
    for path in (root / ".download-abcdefgh", *(root / ".download-abcdefgh").iterdir()):
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    read("mnist", root)
    assert os.listdir(root) == ["MNIST"]


def test_two_that_download_at_once_both_end_well(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    real = os.replace

    def slow_replace(source, target):
        if not Path(target).exists() and Path(source).is_dir():
            (Path(target) / "images").mkdir(parents=True)  # another process was faster
            (Path(target) / "images" / "0.png").write_text("theirs")
        real(source, target)

    def open_in(place, fetch):
        if fetch:
            (place / "food-101" / "images").mkdir(parents=True)
            (place / "food-101" / "images" / "0.png").write_text("ours")
        return (place / "food-101" / "images" / "0.png").read_text()

    monkeypatch.setattr(os, "replace", slow_replace)
    root = tmp_path / "data"
    assert open_or_download(KNOWN["food101"], root, open_in, name="f", download=True) == "ours"
    assert everything_in(root) == ["food-101", "food-101/images", "food-101/images/0.png"]


def test_no_server_at_all(mnist_server, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(MachineError, match="cannot be fetched"):
        read("mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_archives_put_there_by_hand_are_unpacked_without_a_network(mnist_server, tmp_path,
                                                                   monkeypatch):  # fmt: skip
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in mnist_server.files.items():
        (raw / name[1:]).write_bytes(content)
    assert len(read("mnist", tmp_path / "data").splits["test"].images) == 8
    assert mnist_server.asked == []
    (tmp_path / "other" / "MNIST" / "raw").mkdir(parents=True)
    first = tmp_path / "other" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    first.write_bytes(b"not the file")
    with pytest.raises(MachineError, match="ZOO_OFFLINE"):
        read("mnist", tmp_path / "other")
    assert mnist_server.asked == []
    assert first.read_bytes() == b"not the file"
    assert everything_in(tmp_path / "other")[2:] == ["MNIST/raw/train-images-idx3-ubyte.gz"]


@pytest.fixture(
    params=[
        "filter",
        pytest.param(
            "no filter",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="a later Python has it"),
        ),
    ]
)
def tar(request, monkeypatch):
    """Python's tarfile as it is, and as it was before 3.11.4."""
    if request.param == "no filter":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    before = dict(vars(tarfile.TarFile))
    yield
    assert dict(vars(tarfile.TarFile)) == before


@pytest.mark.usefixtures("tar")
def test_imagenet_is_unpacked_beside(tmp_path, trusted):
    pytest.importorskip("scipy")
    BUILDERS["imagenet"](tmp_path / "source")
    root = tmp_path / "data"
    root.mkdir()
    source = tmp_path / "source"
    ids = ["n01", "n02", "n03"]
    with tarfile.open(root / "ILSVRC2012_img_train.tar", "w") as outer:
        for wnid in ids:
            with tarfile.open(tmp_path / f"{wnid}.tar", "w") as inner:
                for path in (source / "train" / wnid).iterdir():
                    inner.add(path, path.name)
            outer.add(tmp_path / f"{wnid}.tar", f"{wnid}.tar")
    told, _ = torch.load(source / "meta.bin", weights_only=True)
    images = sorted((source / "val").rglob("*.JPEG"), key=lambda path: path.name)
    torch.save((told, [path.parent.name for path in images]), root / "meta.bin")
    (root / "ILSVRC2012_img_val.tar").write_bytes(b"cut")
    with pytest.raises(MachineError):
        read("imagenet", root)
    archives = ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "meta.bin"]
    assert everything_in(root) == archives
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as archive:
        for path in images:
            archive.add(path, path.name)
    data = read("imagenet", root)
    assert contents(data.splits["val"]) == contents(read("imagenet", source).splits["val"])
    assert sorted(os.listdir(root)) == [*archives, "train", "val"]
    assert not any((root / archive).is_symlink() for archive in archives)


@pytest.mark.usefixtures("tar")
@pytest.mark.parametrize("way", ["up", "absolute", "through a link"])
def test_archives_cannot_write_outside(server, tmp_path, monkeypatch, way):
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        if way == "through a link":
            link = tarfile.TarInfo("out")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
            archive.addfile(link)
        info = tarfile.TarInfo({
            "up": "../../../../escaped.txt", "through a link": "out/escaped.txt",
            "absolute": f"{tmp_path}/escaped.txt",
        }[way])  # fmt: skip
        info.size = 4
        archive.addfile(info, BytesIO(b"evil"))
    address = server.address + "fgvc-aircraft-2013b.tar.gz"
    monkeypatch.setattr(torchvision.datasets.FGVCAircraft, "_URL", address)
    server.files["/fgvc-aircraft-2013b.tar.gz"] = packed.getvalue()
    root = tmp_path / "a" / "b" / "c" / "data"
    with pytest.raises(MachineError):
        read("fgvc-aircraft", root)
    assert list(tmp_path.rglob("escaped.txt")) == []
    assert not root.exists()


@pytest.mark.usefixtures("tar")
def test_cifar_is_downloaded_by_torchvision_and_read_by_zoo(server, tmp_path, monkeypatch):
    BUILDERS["cifar10"](tmp_path / "source")
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tmp_path / "source" / "cifar-10-batches-py", "cifar-10-batches-py")
    create = torchvision.datasets.CIFAR10
    server.files["/c.tar.gz"] = packed.getvalue()
    monkeypatch.setattr(create, "url", server.address + "c.tar.gz")
    monkeypatch.setattr(create, "tgz_md5", hashlib.md5(packed.getvalue()).hexdigest())
    data = read("cifar10", tmp_path / "data")
    assert data.classes == ("ant", "bee", "cow", "dog")
    assert sorted(os.listdir(tmp_path / "data")) == [
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
    ]
