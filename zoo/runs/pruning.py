"""Old checkpoints of runs, found and removed. What zoo did not write stays, whatever its name.

    run folder -> Plan (what would go; what stays, and why) -> made again under the run's lock,
    and carried out

A checkpoint goes only if its manifest and every file in it verify: then zoo wrote it and nobody
changed it. Weights of the best epochs (candidates/) go if a checkpoint names their digest. What is
a link, is not listed or does not verify stays and is named. A kill at any instant leaves whole
checkpoints, and at most a temporary folder that the next process removes.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo.disk import TEMPORARY, machine_errors, sync_folder
from zoo.errors import BusyError, CheckpointError, UsageError, printable
from zoo.runs import tree
from zoo.runs.checkpoint import FORMAT, digest_of, file_digest
from zoo.runs.folder import RunFolder
from zoo.runs.listing import is_held, is_run, list_runs, read_run
from zoo.runs.plain_files import Damaged, table_of
from zoo.runs.selecting import matching

__all__ = ["Plan", "Removal", "carry_out", "plan_for", "runs_named"]

_STEP = re.compile(r"step-(\d{8,})")
_EPOCH = re.compile(r"epoch-\d{5,}\.safetensors")
_LEFTOVER = re.compile(re.escape(TEMPORARY) + r"\d+-[0-9a-f]{8}-(.+)", re.DOTALL)
_PARTS = {"model.safetensors", "state.safetensors", "state.json", "MANIFEST.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Something that zoo wrote and that can go.

    Args:
        path: A checkpoint's folder, or a file.
        num_bytes: What its removal frees.
    """

    path: Path
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be removed of a run.

    Args:
        path: The run folder.
        removals: In the order in which they go: the newest checkpoint last.
        kept: Names of the checkpoints that stay because they are wanted.
        left: A line for each thing that stays because zoo will not touch it.
        busy: Whether a process is writing the run, so that nothing of it is touched.
    """

    path: Path
    removals: tuple[Removal, ...] = ()
    kept: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    busy: bool = False

    @property
    def num_bytes(self) -> int:
        """What all removals together free."""
        return sum(removal.num_bytes for removal in self.removals)


def runs_named(folder: Path, names: Sequence[str]) -> list[Path]:
    """Returns the run folders that names mean: below a folder by name or glob, or paths of runs.

    Args:
        folder: The folder of runs.
        names: None of them means every run of the folder.

    Raises:
        UsageError: A name means no run.
    """
    if not names:
        return [entry.path for entry in list_runs(folder)]
    found: dict[str, Path] = {}
    listed = [path for path in sorted(folder.iterdir()) if is_run(path)] if folder.is_dir() else []
    for name in names:
        exact = [path for path in (folder / name, Path(name)) if path.is_dir() and is_run(path)]
        globbed = [path for path in listed if set(name) & set("*?[") and matching(path.name, name)]
        if not exact and not globbed:
            raise UsageError(
                f"there is no run {printable(name)!r} in {printable(folder)}",
                hint=f"zoo runs --runs {printable(folder)} lists them",
            )
        found |= {os.path.abspath(path): path for path in exact[:1] or globbed}
    return list(found.values())


def plan_for(path: Path, *, keep_last: int = 0, everything: bool = False) -> Plan:
    """Returns what would be removed of a run. Reads and hashes its checkpoints, changes nothing.

    Of a run that has ended all checkpoints go but the newest ``keep_last``. One that was cut short
    keeps its newest checkpoint besides, from which it resumes. Runs in any other state are left.

    Args:
        path: The run folder.
        keep_last: How many of the newest whole checkpoints stay.
        everything: Also take the newest checkpoint of a run that was cut short.
    """
    if path.is_symlink() or (path / ".lock").is_symlink():
        what = "it" if path.is_symlink() else "its .lock"
        return Plan(path=path, left=(f"{what} is a link to somewhere else",))
    if is_held(path):
        return Plan(path=path, busy=True)
    return _plan(path, keep_last=keep_last, everything=everything)


def carry_out(path: Path, *, keep_last: int = 0, everything: bool = False) -> Plan:
    """Removes what :func:`plan_for` says, and returns it. Holds the run's lock meanwhile.

    Raises:
        BusyError: A process is writing the run. Nothing was touched.
        MachineError: Something cannot be removed; what stands before it in the plan is gone.
    """
    before = plan_for(path, keep_last=keep_last, everything=everything)
    if before.busy:
        raise BusyError(
            f"the run {printable(path)} is being written by another process",
            kept="all of it", hint="wait for it, or stop it first",
        )  # fmt: skip
    if not before.removals:
        return before
    with RunFolder(path).owned():
        plan = _plan(path, keep_last=keep_last, everything=everything)  # a resume may have come
        for removal in plan.removals:
            with machine_errors(
                "removing", removal.path, kept="best/ and all that is not listed",
                then="then zoo runs prune again",
            ):  # fmt: skip
                _remove(removal.path)
        for folder in dict.fromkeys(removal.path.parent for removal in plan.removals):
            with suppress(OSError):  # something that stays is in it
                folder.rmdir()
    return plan


def _plan(path: Path, *, keep_last: int, everything: bool) -> Plan:
    """Returns the plan of a run that nobody writes, or whose lock is held by this process."""
    entry = read_run(path)
    ended = (path / "summary.json").is_file()
    cut_short = not ended and entry.status in ("cut short", "running")  # the lock may be ours
    if entry.status != "done" and not cut_short:
        return Plan(path=path, left=(": ".join(filter(None, (entry.status, entry.why))),))
    if ended and (problem := _best_problem(path)) is not None:
        return Plan(path=path, left=(f"its checkpoints stay: {problem}",))
    left: list[str] = []
    whole: list[tuple[int, Removal]] = []
    leftovers: list[Removal] = []
    for file in _inside(path / "checkpoints", left):
        if (match := _STEP.fullmatch(file.name)) is not None:
            problem = _checkpoint_problem(file)
            if problem is None:
                whole.append((int(match[1]), _removal(file)))
            else:
                left.append(f"checkpoints/{printable(file.name)}: {problem}")
        elif _is_leftover(file, _STEP):
            leftovers.append(_removal(file))
        else:
            left.append(f"checkpoints/{printable(file.name)}: zoo did not write it")
    checkpoints = [removal for _, removal in sorted(whole, key=lambda pair: pair[0])]
    stays = keep_last if ended or everything else max(keep_last, 1)
    kept = checkpoints[len(checkpoints) - min(stays, len(checkpoints)) :]
    going = checkpoints[: len(checkpoints) - len(kept)]
    known = _candidates_of(removal.path for removal in checkpoints)
    needed = set() if ended else _candidates_of(removal.path for removal in kept)
    candidates = []
    for file in _inside(path / "candidates", left):
        if _is_leftover(file, _EPOCH):
            leftovers.append(_removal(file))
        elif not _EPOCH.fullmatch(file.name) or not _is_file(file):
            left.append(f"candidates/{printable(file.name)}: zoo did not write it")
        elif (digest := file_digest(file)) not in known:
            left.append(f"candidates/{printable(file.name)}: no checkpoint knows it")
        elif digest not in needed:
            candidates.append(_removal(file))
    # Checkpoints tell which candidates are zoo's, so they go after them.
    return Plan(
        path=path, removals=(*leftovers, *candidates, *going), left=tuple(left),
        kept=tuple(removal.path.name for removal in kept),
    )  # fmt: skip


def _best_problem(path: Path) -> str | None:
    """Returns why the best weights cannot be used, None if they can."""
    if (path / "best").is_symlink() or (path / "best" / "model.safetensors").is_symlink():
        return "best/ is a link to somewhere else"
    try:
        RunFolder(path).read_best()
    except CheckpointError as error:
        return error.found or error.what
    return None


def _inside(folder: Path, left: list[str]) -> Iterator[Path]:
    """Yields what is in a folder of the run by name; nothing of one that is a link."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or folder.resolve().parent != folder.parent.resolve():
        left.append(f"{folder.name}: it is a link to somewhere else")
    elif not folder.is_dir():
        left.append(f"{folder.name}: it is not a folder")
    else:
        yield from sorted(folder.iterdir())


def _checkpoint_problem(path: Path) -> str | None:
    """Returns why a folder is not, or not only, a checkpoint that zoo wrote; None if it is."""
    if path.is_symlink() or not path.is_dir():
        return "it is no folder of its own"
    manifest = table_of(path / "MANIFEST.json")
    if manifest is None or isinstance(manifest, Damaged):
        return "it has no manifest" if manifest is None else str(manifest)
    files = manifest.get("files")
    if manifest.get("digest") != digest_of(manifest) or not isinstance(files, dict):
        return "its manifest was changed"
    if not isinstance(step := manifest.get("step"), int) or path.name != f"step-{step:08d}":
        return "its manifest belongs to another step"
    if manifest.get("format") != FORMAT:
        return f"made by format {printable(manifest.get('format'))[:20]}, this zoo knows {FORMAT}"
    found = {file.name: file for file in path.iterdir()}
    if others := sorted(found.keys() - {*files, "MANIFEST.json"}):
        return f"it holds {printable(others[0])[:60]}, which zoo did not write"
    for name, entry in files.items():
        file = found.get(name)
        if file is None or not _is_file(file):
            return f"{printable(name)[:60]} is missing or is no file of its own"
        wanted = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else ()
        if wanted != (file.stat().st_size, file_digest(file)):
            return f"{printable(name)[:60]} was changed or cut"
    return None if _is_file(path / "MANIFEST.json") else "its manifest is a link"


def _candidates_of(checkpoints: Iterable[Path]) -> set[str]:
    """Returns the digests of the weights that checkpoints name as the best epochs'."""
    digests: set[str] = set()
    for path in checkpoints:
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            plain = json.loads((path / "state.json").read_text(encoding="utf-8"))
            state = tree.join(plain, defaultdict(lambda: torch.empty(0)))
            digests |= {str(candidate["sha256"]) for candidate in state["candidates"]}
    return digests


def _is_leftover(path: Path, tail: re.Pattern[str]) -> bool:
    """Whether it is an unfinished file or folder of zoo's, and nothing else is in it."""
    match = _LEFTOVER.fullmatch(path.name)
    if match is None or tail.fullmatch(match[1]) is None or path.is_symlink():
        return False
    if tail is _EPOCH:
        return _is_file(path)
    return path.is_dir() and all(f.name in _PARTS and _is_file(f) for f in path.iterdir())


def _is_file(path: Path) -> bool:
    """Whether it is a plain file and no link."""
    return stat.S_ISREG(path.lstat().st_mode)


def _removal(path: Path) -> Removal:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    sizes = [file.lstat() for file in files]
    return Removal(path=path, num_bytes=sum(s.st_size for s in sizes if s.st_nlink == 1))


def _remove(path: Path) -> None:
    """Removes a file or a folder. A checkpoint loses its name first, so none is ever half there."""
    if not path.is_dir():
        path.unlink()
    else:
        unfinished = path
        if not path.name.startswith(TEMPORARY):
            prefix = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
            unfinished = path.with_name(f"{prefix}-{path.name}")
            path.rename(unfinished)
            sync_folder(path.parent)
        shutil.rmtree(unfinished)
    sync_folder(path.parent)
