"""Moves what a check found out of the way, and puts it back. Nothing is deleted, ever.

What is moved:

- images that cannot be read, except those that could not be opened (that is no fault of theirs);
- of files with the same bytes, the same label and the same split: all but the first;
- only if it is asked for (leaks): of files with the same bytes and the same label in several
  splits, all but the one in test, else in val. So scores keep their images, and training loses one.

What stays: images under several labels, images that only look alike or have equal pixels in other
bytes, and whatever is a link or is reached through one.

A quarantine is a new folder on the same file system, outside the data, and each move is a rename:

    QUARANTINE/moved.jsonl      a line a file: from, to, why, sha256; written before the move
    QUARANTINE/files/...        the files, at the paths that they had

So a move that is cut short at any point can be put back, and no two files can clash.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from zoo.data.inspection.findings import UNREADABLE, Finding, Report
from zoo.data.reading.partition import SPLIT_NAMES
from zoo.data.reading.scan import scan_folder
from zoo.errors import DataError, MachineError, RefusedError, UsageError, printable

__all__ = ["Move", "default_quarantine", "origin_of", "plan_moves", "quarantine", "restore"]

LOG = "moved.jsonl"
_FILES = "files"
_RANK = {"test": 0, "val": 1}  # which copy of a leak stays


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One file that is moved.

    Args:
        source: Its path below the data folder, with forward slashes.
        why: In words.
        sha256: Of its content, hex.
        kept: The file of the same content that stays, below the data folder; empty for none.
    """

    source: str
    why: str
    sha256: str
    kept: str = ""


def plan_moves(root: Path, report: Report, *, leaks: bool = False) -> list[Move]:
    """Returns what can be moved safely, by the rules at the top of this file. Moves nothing.

    Files are read again, so that what changed since the check is not moved.

    Args:
        root: The data folder that the report is of.
        report: What a check found in it.
        leaks: Whether copies in other splits are moved as well.
    """
    top = root.resolve()
    linked = _link_targets(top)
    moves: dict[str, Move] = {}
    for finding in report.of(*UNREADABLE):
        (name,) = finding.files
        movable = finding.kind != "no-access" and _is_own_file(top, name)
        if movable and (digest := _digest(top / name)):
            why = f"{finding.kind}: {finding.detail}"
            moves[name] = Move(source=name, why=why, sha256=digest)
    for finding in report.of("duplicate", *(["leak"] if leaks else [])):
        for copies in _same_bytes(top, finding).values():
            for move in _copies_to_move(top, copies, linked, finding.kind):
                moves.setdefault(move.source, move)
    return list(moves.values())


def default_quarantine(root: Path) -> Path:
    """Returns the first of DATA-quarantine, DATA-quarantine-2, ... that is not there yet.

    Raises:
        UsageError: The data is the root of the file system.
    """
    top = root.resolve()
    if not top.name:
        raise UsageError("the root of the file system has no folder beside it", hint="--to FOLDER")
    number = 1
    while True:
        path = top.with_name(f"{top.name}-quarantine" + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(path):
            return path
        number += 1


def quarantine(
    root: Path,
    moves: Sequence[Move],
    *,
    to: Path,
    tell: Callable[[Move], None] = lambda move: None,
) -> int:
    """Moves files and returns how many. Each is told and written down before it is moved.

    Args:
        root: The data folder.
        moves: From :func:`plan_moves`.
        to: A folder that is not there yet, on the same file system.
        tell: Called before each move.

    Raises:
        UsageError: The folder is there, or is inside the data or around it.
        MachineError: It is on another file system, or a file cannot be moved.
    """
    top = root.resolve()
    place = _new_place(top, to)
    try:
        place.mkdir()
        (place / _FILES).mkdir()
        with (place / LOG).open("x", encoding="ascii") as log:
            for move in moves:
                tell(move)
                target = place / _FILES / move.source
                line = {"from": move.source, "to": f"{_FILES}/{move.source}", **asdict(move)}
                del line["source"]
                log.write(json.dumps(line) + "\n")
                log.flush()
                os.fsync(log.fileno())
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(top / move.source, target)
    except OSError as error:
        raise MachineError(
            f"cannot move files to {printable(place)}",
            found=error.strerror or str(error),
            kept="what was moved is written down there",
            hint=f"zoo data check {printable(root)} --restore {printable(place)}",
        ) from None
    return len(moves)


def restore(
    root: Path,
    place: Path,
    *,
    tell: Callable[[str], None] = lambda name: None,
    dry_run: bool = False,
) -> tuple[int, list[str]]:
    """Moves the files of a quarantine back, and returns how many and why others were not.

    A file is never put over another one, nor anywhere outside the data folder.

    Args:
        root: The data folder that they came from.
        place: The quarantine.
        tell: Called with each name before it is moved.
        dry_run: Whether files are only counted.

    Raises:
        UsageError: There is no data folder.
        DataError: The folder is no quarantine.
        RefusedError: Its list names a path outside the data or the quarantine.
    """
    if not root.is_dir():
        raise UsageError(f"{printable(root)} is not a folder to put files back into")
    names = _moved_names(place)
    top, back, problems = root.resolve(), 0, []
    for name in names:
        source, target = place / _FILES / name, top / name
        if not os.path.lexists(source):
            if not os.path.lexists(target):
                problems.append(f"{printable(name)} is neither here nor there")
            continue
        if os.path.lexists(target):
            problems.append(f"{printable(name)} is there again, the quarantined one stays")
            continue
        try:
            if not (_leads_into(source, place / _FILES) and _leads_into(target, top)):
                problems.append(f"{printable(name)} leads elsewhere, through a link")
                continue
            tell(name)
            if not dry_run:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(source, target)
        except OSError as error:
            problems.append(f"{printable(name)}: {error.strerror}")
            continue
        back += 1
    return back, problems


def origin_of(place: Path) -> Path:
    """Returns the data folder of a quarantine that was made beside it, known by the two names.

    Raises:
        UsageError: The quarantine is elsewhere.
    """
    named = re.fullmatch(r"(.+)-quarantine(-[0-9]+)?", place.resolve().name)
    root = place.resolve().with_name(named[1]) if named else None
    if root is None or not root.is_dir():
        raise UsageError(
            f"which data does {printable(place)} belong to?",
            hint=f"zoo data check PATH --restore {printable(place)}",
        )
    return root


def _copies_to_move(
    top: Path, copies: Sequence[str], linked: Collection[Path], kind: str
) -> list[Move]:
    """Returns the moves that leave one of several files of the same bytes.

    The one that stays is the same for every finding about these files: the first of its split.
    """
    own = [name for name in copies if _is_own_file(top, name)]
    if kind == "leak":
        own.sort(key=lambda name: _RANK.get(_split_of(name), 2))  # stable: else in order
    if len(own) < 2:
        return []
    kept, *rest = own
    digest = _digest(top / kept)
    return [
        Move(source=name, kept=kept, sha256=digest, why=f"{kind}: the same file as {kept}")
        for name in rest
        if top / name not in linked and (kind != "leak" or _split_of(name) != _split_of(kept))
    ]


def _same_bytes(top: Path, finding: Finding) -> dict[str, list[str]]:
    """Returns the files of one class by the digest of their content as it is now."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    if len(finding.classes) != 1:
        return {}
    for name in finding.files:
        inside = finding.classes[0] in PurePosixPath(name).parts[:-1]  # not outside any class
        if inside and (digest := _digest(top / name)):
            groups[digest].append(name)
    return groups


def _split_of(name: str) -> str:
    """Returns the split that a file's first folder means, empty for none."""
    return SPLIT_NAMES.get(PurePosixPath(name).parts[0].lower(), "")


def _link_targets(top: Path) -> set[Path]:
    """Returns the files that links in the data lead to: they stay, or those would lead nowhere."""
    names = scan_folder(top).sizes
    return {(top / name).resolve() for name in names if (top / name).is_symlink()}


def _leads_into(path: Path, folder: Path) -> bool:
    """Whether the folders of a path that are there already are all inside ``folder``."""
    parent = path.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    return parent.resolve().is_relative_to(folder.resolve())


def _is_own_file(top: Path, name: str) -> bool:
    """Whether it is a regular file that is in the data folder without passing through a link."""
    path = top / name
    try:
        return stat.S_ISREG(path.lstat().st_mode) and path.parent.resolve() == path.parent
    except OSError:
        return False


def _digest(path: Path) -> str:
    """Returns SHA-256 of a file, empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _new_place(top: Path, to: Path) -> Path:
    """Returns the absolute path of a quarantine that can be made there."""
    place = to.parent.resolve() / to.name
    if os.path.lexists(place):
        raise UsageError(
            f"the quarantine {printable(to)} is there already",
            hint="--to a new folder; without --to a new one is made beside the data",
        )
    if place.is_relative_to(top) or top.is_relative_to(place):
        raise UsageError(
            f"the quarantine {printable(to)} would be inside the data", hint="--to a folder beside"
        )
    try:
        same = os.stat(place.parent).st_dev == os.stat(top).st_dev
    except OSError as error:
        raise UsageError(
            f"the quarantine {printable(to)} cannot be made", found=error.strerror or str(error)
        ) from None
    if not same:
        raise MachineError(
            f"the quarantine {printable(to)} is on another file system than the data",
            kept="nothing was moved", hint="--to a folder on the same one",
        )  # fmt: skip
    return place


def _moved_names(place: Path) -> list[str]:
    """Returns the names in the list of a quarantine, each checked to lead nowhere else."""
    try:
        lines = (place / LOG).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DataError(
            f"{printable(place)} is no quarantine", found=f"no {LOG} that can be read"
        ) from None
    names = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            name, to = str(record["from"]), str(record["to"])
        except (ValueError, KeyError, TypeError, RecursionError):
            if number == len(lines):  # cut short before the move that it would have told of
                break
            raise DataError(f"{printable(place / LOG)} is damaged, line {number}") from None
        path = PurePosixPath(name)
        plain = not path.is_absolute() and ".." not in path.parts and "\0" not in name
        if not (plain and path.parts and to == f"{_FILES}/{name}") or Path(name).is_absolute():
            raise RefusedError(
                f"{printable(place / LOG)} names a path outside the data, line {number}",
                found=printable(name),
            )
        names.append(name)
    return names
