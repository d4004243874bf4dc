"""Opens torchvision's data sets: as they are on the disk, else downloaded beside and moved there.

torchvision downloads and unpacks straight to where it looks for the data, and takes a folder that
is there for a complete one. So it is given an empty folder to work in, and what it made is moved
only when all of it could be opened.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any, TypeVar

from zoo.data.reading.scan import listed
from zoo.errors import MachineError, ZooError, in_words, printable
from zoo.network.weight_files import offline
from zoo.unfinished import part_folder, remove_abandoned
from zoo_torchvision._datasets import Known

__all__ = ["open_or_download"]

_PREFIX = ".download-"
"""How the folders begin in which a download is made."""

_SECONDS = 30.0
"""Longest wait for a server to answer or to send the next bytes."""

_MISSING = (RuntimeError, FileNotFoundError, NotADirectoryError)
"""What torchvision raises where files are not there, or are not those it knows."""

_READ_ANYWHERE = ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100")
"""Classes whose files zoo reads from any folder, as they are downloaded or unpacked."""

_T = TypeVar("_T")


def open_or_download(
    known: Known,
    folder: Path,
    open_in: Callable[[Path, bool], _T],
    *,
    name: str,
    download: bool,
) -> _T:
    """Returns ``open_in(folder, False)``, after a download if the data is not there yet.

    Args:
        known: The data set.
        folder: Where its files are, or will be.
        open_in: Opens the data set below a folder, downloading if its second argument is true.
        name: What the user calls it.
        download: Whether it may be downloaded.

    Raises:
        MachineError: It is not there and cannot be fetched. Nothing half-written stays.
    """
    archives = [archive for archive in known.archives if (folder / archive).is_file()]
    reason = "the folder is not there"
    # Where there is no download, opening already unpacks, and not beside.
    unpacked = known.fetches or all((folder / file).exists() for file in known.files)
    if folder.is_dir() and (unpacked or not archives):
        try:
            return open_in(folder, False)
        except _MISSING as error:
            reason = _words(error)
    if not download and not archives:
        raise _not_there(known, folder, name, f"{reason}; download=false")
    if not known.fetches and not archives:
        raise _not_there(known, folder, name, f"{reason}; torchvision has no download of it")
    if offline() and not archives:
        raise _not_there(known, folder, name, "ZOO_OFFLINE or HF_HUB_OFFLINE is set")
    tried: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder, f"{_PREFIX}????????")
        with part_folder(folder, prefix=_PREFIX) as part:
            _make(known, folder, part / "data", archives, open_in, tried, download=download)
    except (ZooError, MemoryError):
        raise
    except Exception as error:  # from the network, the disk, and of every kind of archive
        raise _not_there(known, folder, name, _words(error), tried) from error
    finally:
        _remove_empty(folder)
    return open_in(folder, False)


def _make(
    known: Known, folder: Path, part: Path, archives: list[str],
    open_in: Callable[[Path, bool], object], tried: list[str], *, download: bool,
) -> None:  # fmt: skip
    """Downloads and unpacks in a folder of its own, and moves what that made to where it belongs.

    Args:
        known: The data set.
        folder: Where it belongs.
        part: The folder, which is made.
        archives: Those that are there already.
        open_in: Opens the data set below a folder, downloading if its second argument is true.
        tried: Takes the addresses that are asked.
        download: Whether any may be.
    """
    part.mkdir()
    for archive in archives:
        (part / archive).parent.mkdir(parents=True, exist_ok=True)
        if known.fetches:  # a copy, since a download writes over a file that is not the one
            shutil.copyfile(folder / archive, part / archive)
        else:
            (part / archive).symlink_to((folder / archive).resolve())
    with _guarded(tried, refuse=offline() or not download):
        open_in(part, known.fetches)
    for archive in () if known.fetches else archives:
        (part / archive).unlink()
    _move(part, folder)


def _not_there(
    known: Known, folder: Path, name: str, reason: str, tried: list[str] | None = None
) -> MachineError:
    """Returns the error that says how to put the data there by hand."""
    places = listed(known.archives or known.files, most=6)
    unpacked = f", or unpacked {listed(known.files, most=6)}" if known.archives else ""
    if known.cls in _READ_ANYWHERE:
        unpacked += "; or name the folder where they are: --data FOLDER"
    return MachineError(
        f"the data set {name} is not in {printable(folder)} and cannot be fetched: {reason}",
        found=f"tried {listed(tried, most=4)}" if tried else "",
        kept="nothing half-written stays",
        hint=f"put by hand below {printable(folder)}: {places}{unpacked}",
    )


def _words(error: BaseException) -> str:
    inner = getattr(error, "reason", None) if isinstance(error, urllib.error.URLError) else None
    return in_words(inner if isinstance(inner, Exception) else error, kind=False)


@contextmanager
def _guarded(tried: list[str], *, refuse: bool) -> Iterator[None]:
    """Keeps what torchvision does with the network and with archives within bounds, for a while.

    Args:
        tried: Takes the addresses that are asked.
        refuse: Whether none may be.

    It waits for ever on a server that stops sending, tries again without encryption, and unpacks
    tar files without a look at where their names lead.
    """
    plain_open = urllib.request.urlopen

    def bounded_open(request: Any, *args: Any, **options: Any) -> Any:
        address = request.full_url if isinstance(request, urllib.request.Request) else str(request)
        if refuse:
            raise urllib.error.URLError("no download: ZOO_OFFLINE is set, or download=false given")
        if address.startswith("http:") and f"https:{address[5:]}" in tried:
            raise urllib.error.URLError(f"{address} is not tried without encryption")
        if address not in tried:
            tried.append(address)
        options.setdefault("timeout", _SECONDS)
        try:
            return plain_open(request, *args, **options)
        except urllib.error.HTTPError as error:
            error.close()  # the answer is kept with the error, and its connection with it
            raise

    urllib.request.urlopen = bounded_open  # type: ignore[assignment]  # put back below
    quiet = None if sys.stderr.isatty() else io.StringIO()
    try:
        with _tar_kept_inside(), redirect_stderr(quiet or sys.stderr):  # bars are for terminals
            yield
    finally:
        urllib.request.urlopen = plain_open


@contextmanager
def _tar_kept_inside() -> Iterator[None]:
    """Has tar files unpacked so that nothing is written outside their folder, for a while.

    The attribute that says so is documented for programs that call others' code, and from Python
    3.14 on it is what happens anyway. Before 3.11.4 there is none, and a function takes its place.
    """
    name: str
    safe: object
    if hasattr(tarfile, "data_filter"):
        name, safe = "extraction_filter", staticmethod(tarfile.data_filter)
    else:
        name, safe = "extractall", _extract_plain_files
    there, before = name in vars(tarfile.TarFile), vars(tarfile.TarFile).get(name)
    setattr(tarfile.TarFile, name, safe)
    try:
        yield
    finally:
        if there:
            setattr(tarfile.TarFile, name, before)
        else:
            delattr(tarfile.TarFile, name)


def _extract_plain_files(archive: tarfile.TarFile, path: str = ".", *_: Any, **__: Any) -> None:
    """Writes the files and folders of an archive below a folder.

    Raises:
        tarfile.ExtractError: One is something else, or would be written elsewhere.
    """
    root = os.path.realpath(path)
    for member in archive:
        target = os.path.realpath(os.path.join(root, member.name))
        if not (member.isreg() or member.isdir()) or os.path.commonpath([root, target]) != root:
            raise tarfile.ExtractError(f"{member.name!r} is not a file of the archive's folder")
        member.mode = 0o755 if member.isdir() else 0o644
        archive.extract(member, root)


def _move(source: Path, target: Path) -> None:
    """Moves what is in a folder into another, files first, folders into folders that are there."""
    entries = sorted(source.iterdir(), key=lambda entry: (entry.is_dir(), entry.name))
    for entry in entries:
        place = target / entry.name
        if not _both_folders(entry, place):
            try:
                os.replace(entry, place)
                continue
            except OSError:
                if not _both_folders(entry, place):  # unless another process was faster
                    raise
        _move(entry, place)


def _both_folders(entry: Path, place: Path) -> bool:
    return entry.is_dir() and place.is_dir() and not place.is_symlink()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # there is something in it
        folder.rmdir()
