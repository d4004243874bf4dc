"""From a path or an address to a file or bytes that can be read in any order."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, cast

from zoo.errors import DataError, MachineError, printable
from zoo.network.weight_files import offline
from zoo.unfinished import part_file, remove_abandoned
from zoo_datasets.patterns import not_installed, scheme_of

__all__ = ["Fetcher"]

MEMORY_BYTES = 256 << 20
"""Unpacked shards stay in memory while all of them together are no larger."""

_CURL = MappingProxyType({
    6: "no such host, or no network", 7: "no connection", 18: "the connection ended early",
    22: "the server refused it", 28: "the server did not answer in time",
    35: "no encrypted connection", 56: "the connection broke", 60: "a wrong certificate",
})  # fmt: skip
"""What the exit codes of curl mean, from its manual."""

_BLOCK = 1 << 20
_LARGEST_RATIO = 100
"""Unpacked to packed bytes. Images hardly shrink; a bomb of zeros does a thousandfold."""


class Fetcher:
    """Opens shards one after the other, and remembers how much of them it holds in memory.

    Args:
        folder: Where unpacked shards that are too large for memory go; the user's cache by default.
        memory_bytes: How much is held in memory.
    """

    def __init__(self, *, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self.notes: list[str] = []
        self._folder = folder
        self._free = memory_bytes

    def fetch(self, source: str) -> tuple[Path | bytes, str]:
        """Returns (file or content, name) of a shard that can be read at any place.

        Raises:
            DataError: It does not exist, is no regular file, or does not unpack.
            MachineError: No network, no room on the disk.
        """
        name = source.replace("\\", "/").rpartition("/")[2] or source
        if scheme_of(source):
            return self._unpacked(source, name, identity=source, packed=None), name
        path = Path(source)
        try:
            status = path.stat()
        except OSError as error:
            raise _unreadable(source, error.strerror or str(error)) from error
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(source, "not a regular file")
        with path.open("rb") as file:
            if _packing(file.read(6)) is None:
                return path, name
        identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
        return self._unpacked(source, name, identity=identity, packed=status.st_size), name

    def forget(self, opened: Path | bytes) -> None:
        """Removes a shard that turned out to be broken from the cache, if it came from there."""
        if isinstance(opened, Path) and opened.parent == (self._folder or _cache()):
            opened.unlink(missing_ok=True)

    def _unpacked(
        self, source: str, name: str, *, identity: str, packed: int | None
    ) -> Path | bytes:
        """Returns the plain tar file: from the cache, else read into memory or into the cache."""
        folder = self._folder or _cache()
        target = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.tar"
        if target.is_file():
            self.notes.append(f"{printable(name)} was read from the cache: {printable(target)}")
            return target
        try:
            with _stream(source) as stream:
                held = BytesIO()
                blocks = _blocks(stream, source, packed)
                for block in blocks:
                    held.write(block)
                    if held.tell() > self._free:
                        break
                else:
                    self._free -= held.tell()
                    return held.getvalue()
                folder.mkdir(parents=True, exist_ok=True)
                remove_abandoned(folder, "*.part")
                with part_file(folder, mode=0o600) as part:
                    part.file.write(held.getvalue())
                    del held
                    for block in blocks:
                        part.file.write(block)
                    part.become(target)
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            raise _unreadable(source, f"truncated or damaged: {error}") from error
        except OSError as error:
            if packed is None:
                raise MachineError(
                    f"cannot fetch the shard {printable(source)}", found=_why(error),
                    kept="nothing half-written stays",
                    hint="fetch the shards by hand and give their paths",
                ) from error  # fmt: skip
            raise MachineError(
                f"cannot unpack the shard {printable(source)}",
                found=error.strerror or str(error), kept="nothing half-written stays",
                hint=f"make room below {printable(folder)}, or unpack the shards yourself",
            ) from error  # fmt: skip
        return target


def _blocks(stream: IO[bytes], source: str, packed: int | None) -> Iterator[bytes]:
    """Yields the unpacked content of a stream, up to so much more than its packed size.

    Args:
        stream: It, at its beginning.
        source: Where it is from.
        packed: Its size. None if that is not known: then what was read so far counts.
    """
    counted = _Rejoined(stream)
    plain = _unpacking(counted)
    total = 0
    while block := plain.read(_BLOCK):
        total += len(block)
        size = counted.num_bytes if packed is None else packed
        if total > max(_LARGEST_RATIO * size, 64 * _BLOCK):
            raise _unreadable(source, f"more than {_LARGEST_RATIO} times as large once unpacked")
        yield block


def _packing(head: bytes) -> str | None:
    """Returns how content that begins so is compressed, None when it is not."""
    for start, kind in ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz")):
        if head.startswith(start):
            return kind
    return None


def _unpacking(stream: _Rejoined) -> IO[bytes]:
    """Returns the stream, unpacked if it is compressed."""
    whole = cast("IO[bytes]", stream)
    kind = _packing(stream.head)
    if kind == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=whole))
    if kind == "bzip2":
        return cast("IO[bytes]", bz2.BZ2File(whole))
    if kind == "xz":
        return cast("IO[bytes]", lzma.LZMAFile(whole))
    return whole


class _Rejoined:
    """A stream whose beginning is known before it is read. Only ``read``, as a pipe has it.

    Attributes:
        head: What is left of its first six bytes.
        num_bytes: How much of it was read.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._rest = stream
        self.head = stream.read(6)
        self.num_bytes = len(self.head)

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            head, self.head = self.head, b""
            return head + self._counted(self._rest.read())
        if self.head:
            head, self.head = self.head[:size], self.head[size:]
            return head
        return self._counted(self._rest.read(size))

    def _counted(self, content: bytes) -> bytes:
        self.num_bytes += len(content)
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


@contextmanager
def _stream(source: str) -> Iterator[IO[bytes]]:
    """Opens a path or an address. The webdataset library knows how to reach the latter."""
    if not scheme_of(source):
        with Path(source).open("rb") as file:
            yield file
        return
    if offline():
        raise OSError("ZOO_OFFLINE or HF_HUB_OFFLINE is set")
    try:
        from webdataset.gopen import gopen
    except ImportError as error:
        raise not_installed(error) from error
    try:
        opened: Any = gopen(source)
    except Exception as error:  # the hub's client has its own exceptions for a network that is not
        raise OSError(f"{type(error).__name__}: {error}") from error
    with closing(opened):  # raises OSError when the program that fetches failed, now or half-way
        yield opened


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("classifier-zoo") / "shards"


def _why(error: OSError) -> str:
    """Returns in words why the program that fetches has failed, where its exit code tells."""
    text = str(error)
    code = re.search(r"\['(\w+)'.*\bexit (\d+) ", text)
    if code is None:
        return printable(text)
    meaning = _CURL.get(int(code[2]), "") if code[1] == "curl" else ""
    return f"{code[1]} ended with exit code {code[2]}" + (f": {meaning}" if meaning else "")


def _unreadable(source: str, reason: str) -> DataError:
    return DataError(f"cannot read the shard {printable(source)}", found=printable(reason))
