"""A trained run in another format: written beside, opened again, compared, then put in its place.

RUN/exports/<exporter>/  model<suffix>  what the exporter writes: a file, or a folder
                         model.json     what a program needs to use it: classes, preprocessing...

Shapes: B batch, C channels, S side of the input in pixels, K classes.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from zoo.disk import TEMPORARY, machine_errors, make_folder, sync_folder
from zoo.engine.features.threads import one_thread
from zoo.errors import (
    MachineError,
    PluginError,
    RefusedError,
    UsageError,
    ZooError,
    in_words,
    printable,
)
from zoo.evaluation.export_description import (
    WRITTEN_BY,
    best_of,
    description,
    own_preprocessing,
)
from zoo.evaluation.export_proof import Comparison, Sample, compare, sample
from zoo.evaluation.trained import Trained, load_trained, rebuilt
from zoo.network.inference.proof import TOLERANCE
from zoo.registry import build, load_target, parse_choice
from zoo.runs.checkpoint import file_digest
from zoo.runs.plain_files import table_of
from zoo.unfinished import part_folder, remove_abandoned

if TYPE_CHECKING:
    from zoo.protocols import Exporter
    from zoo.registry import Choice, Entry, Registry

__all__ = ["Export", "export"]

_DESCRIPTION, _STEM = "model.json", "model"
_OLD = "old"
_BESIDE = "-export-"
"""Stands before the target's name in that of the folder beside it, where an export is made."""


_ITS_FAULT = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
"""What an exporter raises that takes the wrong path. Any other OSError tells of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A run that was exported, and proved to be the same.

    Args:
        path: The folder.
        file: What the exporter wrote in it.
        exporter: Full id of the exporter, with its arguments.
        num_bytes: Size of what it wrote.
        network_bytes: Size of the run's weights.
        comparison: How the export differs from the network.
        compared_on: What was compared: ``validation images`` or ``random images``.
        notes: What the user should know, a line each.
    """

    path: Path
    file: Path
    exporter: str
    num_bytes: int
    network_bytes: int
    comparison: Comparison
    compared_on: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {**asdict(self), "path": str(self.path), "file": str(self.file)}


def export(
    path: Path,
    *,
    to: str = "onnx",
    output: Path | None = None,
    force: bool = False,
    registry: Registry,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Export:
    """Writes the best weights of a run in another format, and proves that they are the same.

    Args:
        path: The run folder.
        to: Spec of an exporter.
        output: The folder that is made; by default ``exports/<exporter>`` in the run folder.
        force: Replace an earlier export that is there.
        registry: The components to choose from.
        progress: Told what is being done, how many of the steps are done, of how many.

    Raises:
        UsageError: There is something already, or there is no such exporter.
        CheckpointError: The run has no weights that can be used.
        PluginError: The exporter's package is missing, it cannot write this network, or what it
            wrote gives other logits than the network. Then nothing is left.
        MachineError: It cannot be written.
        RefusedError: ``force`` would replace what is no export.
    """
    choice = parse_choice(registry, "exporter", to)
    load_target(choice.entry)  # a package that is missing is known before any work
    trained = load_trained(path, registry=registry)
    target = path / "exports" / choice.entry.component.name if output is None else output
    _settle_all(target.parent)
    _check_target(target, force=force)
    progress("reading images", 0, 4)
    images = sample(trained, registry=registry)
    exporter = _exporter(choice, trained, registry)
    with _folder_beside(target) as folder, _blamed(choice.entry):
        file = folder / f"{_STEM}{exporter.suffix}"
        progress("exporting", 1, 4)
        # Two at least, and none that the proof is given: an exporter may write into them.
        example_BCSS = torch.cat([images.images_NCSS[:2]] * 2)[:2].clone()
        exporter(trained.model, example_BCSS, file)
        _check_written(choice.entry, folder, file, exporter.suffix)
        progress("comparing", 2, 4)
        with one_thread():
            comparison = compare(trained, exporter.load(file), images.images_NCSS)
        if not comparison.difference <= TOLERANCE:
            raise _other_logits(choice.entry, comparison, images)
        progress("describing", 3, 4)
        contents = _contents(folder, file)
        table = description(trained, choice, contents, comparison, images.what, registry)
        text = json.dumps(table, indent=1, ensure_ascii=True) + "\n"
        (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
    progress("exported", 4, 4)
    return Export(
        path=target, file=target / file.name, exporter=choice.spec,
        num_bytes=sum(one["bytes"] for one in contents.values()),
        network_bytes=(path / "best" / "model.safetensors").stat().st_size,
        comparison=comparison, compared_on=images.what, notes=_notes(images, comparison),
    )  # fmt: skip


def _exporter(choice: Choice, trained: Trained, registry: Registry) -> Exporter:
    """Returns the exporter, and checks what the core needs of it before it writes."""

    def rebuild() -> torch.nn.Module:
        return rebuilt(
            best_of(trained)["components"], registry, num_classes=len(trained.classes),
            channels=trained.channels, image_size=trained.preprocessing.image_size,
        )  # fmt: skip

    exporter: Exporter = build(
        choice, classes=trained.classes, preprocessing=own_preprocessing(trained), rebuild=rebuild
    )
    suffix = getattr(exporter, "suffix", None)
    legal = isinstance(suffix, str) and (
        not suffix or (suffix.startswith(".") and suffix[1:].replace(".", "").isalnum())
    )
    if not legal or suffix == Path(_DESCRIPTION).suffix:
        raise PluginError(
            f"the exporter {choice.entry.id} has no ending for its file",
            found=f"its suffix is {printable(repr(suffix))}",
            hint=f"report it to the authors of {choice.entry.origin}: '.onnx', or '' for a folder",
        )
    return exporter


# ---- where it goes ----------------------------------------------------------------------------


def _check_target(target: Path, *, force: bool) -> None:
    """Refuses to write over anything but an earlier export, and over that without ``force``."""
    where = printable(target)
    if not (target.exists() or target.is_symlink()):
        return
    ours = (
        target.is_dir()
        and not target.is_symlink()
        and isinstance(table := table_of(target / _DESCRIPTION), dict)
        and table.get("written_by") == WRITTEN_BY
        and all(one.name.partition(".")[0] == _STEM for one in target.iterdir())
    )
    if force and not ours:
        raise RefusedError(
            f"{where} is not an export of zoo's, and is not replaced",
            hint="choose another folder with --out",
        )
    if not force:
        hint = "--force replaces it, --out writes elsewhere" if ours else "--out writes elsewhere"
        raise UsageError(f"{where} is there already", hint=hint)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Yields a temporary folder; when the body ends well, it is synced and becomes the target.

    An earlier export steps aside for it, and comes back whatever happens before it is replaced.
    """
    kept = "the run is as it was"
    with machine_errors("writing", target, kept=kept, then="or name another --out"):
        make_folder(target.parent)
        with part_folder(
            target.parent, prefix=TEMPORARY, suffix=f"{_BESIDE}{target.name}", settle=_put_back
        ) as beside:
            new = beside / "new"
            new.mkdir()
            yield new
            for one in sorted(new.rglob("*"), reverse=True):
                if one.is_dir():
                    sync_folder(one)
                else:
                    with one.open("rb+") as file:
                        os.fsync(file.fileno())
            for folder in (new, beside, target.parent):
                sync_folder(folder)
            if target.exists():
                target.rename(beside / _OLD)
                sync_folder(beside)
            new.rename(target)
            sync_folder(target.parent)


def _settle_all(folder: Path) -> None:
    """Removes what killed exports left in a folder, and puts back what they were to replace."""
    remove_abandoned(folder, f"{TEMPORARY}????????{_BESIDE}*", settle=_put_back)


def _put_back(beside: Path) -> None:
    """Puts the earlier export back from the folder where another was made, if none replaced it.

    Raises:
        MachineError: It cannot be put back. It stays, and the next export tries again.
    """
    target = beside.with_name(beside.name.partition(_BESIDE)[2])
    old = beside / _OLD
    if target.exists() or not old.exists():
        return
    try:
        old.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise MachineError(
            f"the export {printable(target)} cannot be put back where it was",
            found=error.strerror or printable(error), kept=f"it is in {printable(old)}",
            hint="move it there, or export again when the disk can be written",
        ) from error  # fmt: skip


# ---- what the exporter did --------------------------------------------------------------------


@contextmanager
def _blamed(entry: Entry) -> Iterator[None]:
    """Turns what an exporter raises into an error that names it. A full disk is not its fault."""
    try:
        yield
    except (ZooError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, _ITS_FAULT):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"the exporter {entry.id} failed",
            found=f"{in_words(error)} at {printable(frame.filename)}:{frame.lineno}",
            kept="the run is as it was; nothing was written",
            hint=f"choose another: zoo list exporters; or report it to the authors of "
            f"{entry.origin}",
        ) from error


def _check_written(entry: Entry, folder: Path, file: Path, suffix: str) -> None:
    """Refuses an exporter that wrote something else than what it was asked for."""
    found = sorted(one.name for one in folder.iterdir())
    kind = file.is_file() if suffix else file.is_dir()
    # Links would leave the run with what they point at.
    links = [one for one in folder.rglob("*") if one.is_symlink()]
    if found != [file.name] or not kind or links:
        raise PluginError(
            f"the exporter {entry.id} did not write {'a file' if suffix else 'a folder'} "
            f"{file.name} alone",
            found=f"it left {printable(', '.join(found)) or 'nothing'}",
            kept="the run is as it was; nothing was written",
            hint=f"report it to the authors of {entry.origin}",
        )


def _other_logits(entry: Entry, comparison: Comparison, images: Sample) -> PluginError:
    """Says that an export is not the network: the exporter broke what its kind promises."""
    far = comparison.difference
    found = (
        f"logits {far:.2g} of the largest apart, allowed are {TOLERANCE:g}; "
        f"{comparison.num_same} of {comparison.num_images} {images.what} get the same answer"
        if far < float("inf")
        else "logits of another shape or type, or that are not finite"
    )
    return PluginError(
        f"what the exporter {entry.id} wrote gives other logits than the network",
        found=found, kept="the run is as it was; nothing was written",
        hint="choose another: zoo list exporters",
    )  # fmt: skip


def _contents(folder: Path, file: Path) -> dict[str, dict[str, Any]]:
    """Returns size and digest of each file that was written, by its name in the folder."""
    files = [file] if file.is_file() else sorted(one for one in file.rglob("*") if one.is_file())
    return {
        one.relative_to(folder).as_posix(): {
            "bytes": one.stat().st_size,
            "sha256": file_digest(one),
        }
        for one in files
    }


def _notes(images: Sample, comparison: Comparison) -> tuple[str, ...]:
    notes = [images.note] if images.note else []
    if comparison.num_same < comparison.num_images:
        number = comparison.num_images - comparison.num_same
        notes.append(f"{number} {images.what} are so close to a tie that rounding decides")
    return tuple(notes)
