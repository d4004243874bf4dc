"""Pretrained weights into a network: which, from where, and exactly how much of them fits.

    resolve   --weights auto|none|NAME|PATH  ->  Chosen: a file on this machine, and why that one
    load      reads it, converts names, puts it into the network  ->  LoadReport

Finding, downloading and reading files is in :mod:`zoo.network.weight_files`, fitting tensors to a
network in :mod:`zoo.network.loading`; both are offered from here.
"""

from __future__ import annotations

import difflib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo.errors import CheckpointError, MachineError, UnknownName, UsageError, printable
from zoo.network.loading import LoadReport, converted, load_into, strip_prefixes
from zoo.network.weight_files import fetch, locate, offline, read_state
from zoo.plugin import fold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from zoo.protocols import Weights

__all__ = [
    "Chosen",
    "LoadReport",
    "converted",
    "fetch",
    "load",
    "load_into",
    "locate",
    "offline",
    "read_state",
    "resolve",
    "strip_prefixes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What ``--weights`` came to.

    Args:
        kind: ``random``, ``pretrained`` (offered by the model) or ``file`` (the user's own).
        reason: One line that says what was taken and why.
        path: The file; None for random weights.
        weights: The record that the model offers; only for ``pretrained``.
        converters: ``package.module:function`` targets that may turn the file's names into the
            model's. The one that fits best is used, or none.
    """

    kind: Literal["random", "pretrained", "file"]
    reason: str
    path: Path | None = None
    weights: Weights | None = None
    converters: tuple[str, ...] = ()


def resolve(
    choice: str, offered: Sequence[Weights], *, notify: Callable[[str], None] | None = None
) -> Chosen:
    """Returns the weights that ``--weights`` asks for, as a file on this machine.

    ``auto`` takes the first of ``offered`` that is installed or cached, else downloads the first
    that can be, else none. ``none`` takes none. A name takes that one of ``offered`` or fails;
    everything else is a path.

    Args:
        choice: What the user said.
        offered: What the model knows of, the default first.
        notify: Is told of a download before it starts.

    Raises:
        MachineError: A named one is not here and cannot be downloaded.
        UnknownName: Neither a name that the model offers nor a file.
        UsageError: A path of no file.
    """
    choice = choice.strip()
    if fold(choice) == "none":
        return Chosen(kind="random", reason="random weights, as asked")
    if fold(choice) == "auto":
        return _automatic(offered, notify)
    if named := [weights for weights in offered if fold(weights.name) == fold(choice)]:
        for weights in named:
            if (here := locate(weights)) is not None:
                return _pretrained(weights, here, "as asked")
        first = _downloadable(named)
        return _pretrained(first, fetch(first, notify=notify), "as asked, downloaded")
    path = Path(choice).expanduser()
    if path.is_file() or (path / "model.safetensors").is_file():
        converters = tuple(dict.fromkeys(w.convert for w in offered if w.convert))
        return Chosen(kind="file", reason=f"{printable(path)}", path=path, converters=converters)
    raise _nowhere(choice, path, offered)


_refused: dict[tuple[object, ...], tuple[float, str]] = {}
"""When a download was last refused, and why, by address."""

_SECONDS_OF_PATIENCE = 60.0
"""So long a refused download is not tried again: each run of a sweep would wait for it."""


def _automatic(offered: Sequence[Weights], notify: Callable[[str], None] | None) -> Chosen:
    if not offered:
        return Chosen(
            kind="random",
            reason="random weights: no pretrained ones are known for this model",
        )
    for weights in offered:
        if (path := locate(weights)) is not None:
            return _pretrained(weights, path, "the first that is on this machine")
    first = _downloadable(offered)
    address = first.url, first.hub, offline()
    moment, why = _refused.get(address, (-math.inf, ""))
    if time.monotonic() - moment > _SECONDS_OF_PATIENCE:
        try:
            return _pretrained(first, fetch(first, notify=notify), "downloaded")
        except (MachineError, CheckpointError) as error:
            why = error.what
            _refused[address] = time.monotonic(), why
    return Chosen(kind="random", reason=f"random weights: {why}")


def _downloadable(offered: Sequence[Weights]) -> Weights:
    return next((weights for weights in offered if weights.url or weights.hub), offered[0])


def _pretrained(weights: Weights, path: Path, why: str) -> Chosen:
    package = weights.package
    shipped = package is not None and path.as_posix().endswith(package[1])
    place = f" from the package {package[0]}" if package and shipped else ""
    return Chosen(
        kind="pretrained",
        reason=f"{weights.name}{place} ({path.name}), {why}",
        path=path,
        weights=weights,
        converters=(weights.convert,) if weights.convert else (),
    )


def _nowhere(choice: str, path: Path, offered: Sequence[Weights]) -> UsageError:
    names = [weights.name for weights in offered]
    known = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    known = f"this model's weights: {known}" if names else "this model offers no pretrained weights"
    if path.is_dir():
        return UsageError(f"{printable(path)} is a folder without a model.safetensors", found=known)
    if (
        path.suffix.lower() in (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
        or path.name != choice
    ):
        return UsageError(f"there is no weights file {printable(path)}", found=known)
    by_fold = {fold(name): name for name in names}
    close = [
        by_fold[key] for key in difflib.get_close_matches(fold(choice), by_fold, n=3, cutoff=0.5)
    ]
    return UnknownName(
        f"no weights are named {printable(choice)!r}, and there is no such file",
        found=known,
        hint=f"--weights {close[0]}"
        if close
        else "--weights auto, --weights none or --weights PATH",
    )


def load(model: nn.Module, chosen: Chosen, *, head: tuple[str, ...]) -> LoadReport | None:
    """Puts the chosen weights into a network and returns how they fit; None for random weights.

    Raises:
        CheckpointError: The file cannot be read or does not fit. The network is unchanged.
    """
    if chosen.path is None:
        return None
    state = converted(read_state(chosen.path), model, chosen.converters)
    try:
        return load_into(model, state, head=head)
    except CheckpointError as error:
        raise CheckpointError(
            f"{printable(chosen.path)}: {error.what}",
            found=error.found,
            kept=error.kept,
            hint=error.hint,
        ) from error
