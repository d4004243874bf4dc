"""Opens a Hugging Face data set: from a folder, a file, the library's cache or the hub."""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from zoo.errors import (
    DataError,
    MachineError,
    PluginError,
    RefusedError,
    UsageError,
    ZooError,
    in_words,
    printable,
)
from zoo.network.weight_files import offline

__all__ = ["fetch"]

BUILDERS: Mapping[str, str] = {".parquet": "parquet", ".arrow": "arrow"}
"""How a single file is read, by its suffix. Other tables are for ``--data FILE``."""

_SECONDS = 8.0
"""Longest wait for the hub to answer."""

_HUB_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
_SAVED = ("dataset_dict.json", "state.json")


def fetch(name: str, *, config: str | None, revision: str | None) -> dict[str, Any]:
    """Returns the splits by name, each a ``datasets.Dataset``.

    Args:
        name: A folder, a file or files by a pattern, or a name on the hub. What is there as a
            folder or file is read as such.
        config: Configuration, where there are several.
        revision: Commit, tag or branch on the hub.

    Raises:
        PluginError: The package ``datasets`` is not installed.
        MachineError: The hub cannot be reached and the data set is not in the cache.
        RefusedError: The data set wants to run code of its own.
        UsageError: No such configuration.
        DataError: There is no such data set, or it cannot be read.
    """
    try:
        import datasets
    except ImportError as error:
        raise PluginError(
            "the dataset datasets/hf needs datasets, which is not installed",
            found=str(error), hint="pip install 'classifier-zoo[hf]'",
        ) from error  # fmt: skip
    with _quiet(datasets):
        found = _local(datasets, name, config) or _from_hub(datasets, name, config, revision)
    if isinstance(found, datasets.Dataset):
        return {str(found.split or "train"): found}
    return dict(found)


def _local(datasets: Any, name: str, config: str | None) -> Any:
    """Returns what is here under this name, None when nothing is."""
    path = Path(name)
    several = any(sign in name for sign in "*?[")
    if not several and not path.exists():
        if path.is_absolute() or name.startswith((".", "~")) or path.suffix in BUILDERS:
            raise DataError(f"there is no data set at {printable(name)}")
        return None
    with _reported(name, hub=False), _without_network(datasets):
        if path.is_dir() and any((path / file).is_file() for file in _SAVED):
            return datasets.load_from_disk(name)
        if path.is_dir():  # by its whole path: "csv" alone would be a reader of the library
            return datasets.load_dataset(str(path.resolve()), config)
        if path.suffix not in BUILDERS:
            raise DataError(
                f"{printable(name)} is not a file of a Hugging Face data set",
                found=printable(path.suffix) or "no suffix",
                hint=f"{' or '.join(BUILDERS)}; other tables are read with --data FILE",
            )
        return datasets.load_dataset(BUILDERS[path.suffix], data_files=name)


def _from_hub(datasets: Any, name: str, config: str | None, revision: str | None) -> Any:
    """Returns a data set of the hub, from the library's cache when the hub cannot be reached."""
    if name in datasets.packaged_modules._PACKAGED_DATASETS_MODULES:
        raise UsageError(
            f"{name!r} is a reader of the library and no data set", hint="give the folder or file"
        )
    if not _HUB_NAME.fullmatch(name):
        raise DataError(
            f"there is no data set at {printable(name)}, and it cannot be a name on the hub",
            hint="USER/NAME, or the path of a folder or file",
        )
    why = "ZOO_OFFLINE or HF_HUB_OFFLINE is set" if offline() else _unreachable(datasets, name)
    if not why:
        with _reported(name, hub=True):
            return datasets.load_dataset(name, config, revision=revision)
    try:
        with _without_network(datasets):
            return datasets.load_dataset(name, config, revision=revision)
    except Exception as error:
        raise MachineError(
            f"the data set {printable(name)} cannot be fetched from the Hugging Face hub: {why}",
            found=f"no folder of that name here, and none in {datasets.config.HF_DATASETS_CACHE}",
            kept="nothing half-written stays",
            hint=f"elsewhere: datasets.load_dataset({name!r}).save_to_disk('DIR'); "
            "then here: --data hf:name=DIR",
        ) from error


def _unreachable(datasets: Any, name: str) -> str:
    """Returns why the hub does not answer, empty when it does.

    Without the look its client tries many times before it says that there is no network.
    """
    address = f"{datasets.config.HF_ENDPOINT}/datasets/{name}"
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "zoo"})
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()  # the hub's own address
    except urllib.error.HTTPError as error:
        error.close()
        return ""  # it answers: its client says better what it wants
    except (OSError, ValueError, HTTPException) as error:  # the last from a portal's login page
        why = getattr(error, "reason", error)
        return f"no network ({in_words(why) if isinstance(why, BaseException) else printable(why)})"
    return ""


@contextmanager
def _reported(name: str, *, hub: bool) -> Iterator[None]:
    """Turns what the library raises into an error in words."""
    try:
        yield
    except (ZooError, MemoryError):
        raise
    except Exception as error:  # of its own classes, of Arrow's, of the hub's client and of fsspec
        text = " ".join(str(error).split())
        kind = type(error).__name__
        cause = f" ({in_words(error.__cause__, kind=False)})" if error.__cause__ else ""
        shown = in_words(error) + cause
        if "scripts are no longer supported" in text or "trust_remote_code" in text:
            raise RefusedError(
                f"{printable(name)} is refused: reading it would run code that is in it",
                found=shown, hint="ask its authors for a version as Parquet files",
            ) from error  # fmt: skip
        if "BuilderConfig" in text or "Config name is missing" in text:
            raise UsageError(
                f"{printable(name)} needs another configuration", found=shown, hint="config=NAME"
            ) from error
        if hub and kind == "DatasetNotFoundError":
            raise DataError(
                f"there is no data set {printable(name)} on the hub, or it is private",
                found=shown, hint="huggingface-cli login, where it is private or asks for consent",
            ) from error  # fmt: skip
        if isinstance(error, ConnectionError) or (hub and "HTTP" in kind):
            raise MachineError(f"cannot fetch {printable(name)}", found=shown) from error
        if isinstance(error, OSError) and error.errno is not None and not hub:
            raise MachineError(f"cannot read {printable(name)}", found=shown) from error
        raise DataError(
            f"{printable(name)} cannot be read as a Hugging Face data set", found=shown,
            hint="a folder that save_to_disk wrote, Parquet files, or a name on the hub",
        ) from error  # fmt: skip


@contextmanager
def _without_network(datasets: Any) -> Iterator[None]:
    """Makes the library work from what is here, for a while.

    Its environment variables are read when it is imported. Without this it would also count every
    opening of a local folder on a server of its own.
    """
    import huggingface_hub.constants as hub

    before = datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Keeps the library's progress bars for terminals."""
    if sys.stderr.isatty() or datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
