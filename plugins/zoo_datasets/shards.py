"""WebDataset shards as a component.

Shuffled epochs whose order depends on the seed alone need every sample at any time. So shards are
indexed once and read in place. What cannot be read in place, compressed shards and addresses, is
first unpacked: into memory while all of it is small, else into a file in the cache folder, where
the next run finds it. A data set that fits no disk cannot be read this way.

Suffixes: N images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo.data.reading.partition import class_order
from zoo.data.reading.parts import Part, data_set
from zoo.data.reading.peeking import peek_bytes
from zoo.data.reading.scan import bullets, listed
from zoo.data.reading.shards import Shard, ShardImages, index_shard
from zoo.errors import DataError, UsageError, count_of, printable
from zoo.protocols import DataSet
from zoo_datasets.patterns import expand
from zoo_datasets.samples import Unfit, image_part, is_sample, label_of
from zoo_datasets.streams import Fetcher

__all__ = ["webdataset"]


def webdataset(
    *,
    train: str | None = None,
    val: str | None = None,
    test: str | None = None,
    image: str | None = None,
    label: str | None = None,
    key: str | None = None,
    classes: str | None = None,
    seed: int = 0,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    on_bad: str = "fail",
    unsplit: str | None = None,
) -> DataSet:
    """Returns the samples of tar shards, in the order of shards and of places within them.

    Args:
        train: Shards: a path or address, with ``{000..003}`` for numbers or ``*`` for any text.
        val: Shards to validate on. Taken from training by ``split`` when it is not given.
        test: Shards to test on.
        image: Which part of a sample is the image; the only one with an image's suffix by default.
        label: Which part is the label: text, a number, or JSON.
        key: Which key of a JSON label.
        classes: Text file with a class name a line, which number labels count from 0.
        seed: A fact of the run: of the split, where there is no ``val``.
        split: A fact of the run: training, validation and test shares.
        on_bad: A fact of the run: ``fail`` or ``skip`` samples without an image or label, and
            images that cannot be read.
        unsplit: A fact of whoever only looks at the data: nothing is divided, and shards of any
            split are enough.

    Raises:
        UsageError: No shards were given, or an address of a kind that is not read.
        RefusedError: ``pipe:``, which would run a command.
        DataError: Shards that are missing, truncated or damaged, all at once; bad samples.
        MachineError: No network, no room on the disk.
    """
    asked = {"train": train, "val": val, "test": test}
    if not (train if unsplit is None else any(asked.values())):
        raise UsageError(
            "the data set 'webdataset' needs shards",
            hint="--data 'webdataset:train=shards/train-{000..003}.tar,val=shards/val-000.tar'",
        )
    paths = {name: expand(pattern) for name, pattern in asked.items() if pattern}
    if shared := sorted({s for own, them in paths.items() for other, others in paths.items()
                         if own != other for s in {*them} & {*others}}):  # fmt: skip
        raise UsageError(
            f"the same shards in two splits: {listed(shared)}",
            hint="leave val out to take it from training",
        )
    names = _class_names(classes) if classes else None
    fetcher, titles = Fetcher(), _titles([s for sources in paths.values() for s in sources])
    problems: list[str] = []
    shards: dict[str, list[Shard]] = {}
    for name, sources in paths.items():
        shards[name] = []
        for source in sources:
            try:
                opened, _ = fetcher.fetch(source)
                try:
                    shards[name].append(index_shard(opened, name=titles[source]))
                except DataError:
                    fetcher.forget(opened)
                    raise
            except DataError as error:
                problems.append(f"{error.what}: {error.found}")
    if problems:
        raise DataError(
            f"{count_of(len(problems), 'shard')} cannot be read\n{bullets(problems)}",
            hint="fetch or write them again",
        )
    bad: dict[str, str] = {}
    strange: list[str] = []
    parts = {
        name: _part(found, image=image, label=label, key=key, names=names, bad=bad, strange=strange)
        for name, found in shards.items()
    }
    everything = [shard for found in shards.values() for shard in found]
    notes = list(fetcher.notes)
    if strange:
        notes.append(f"left out {len(strange)} that are no samples: {listed(strange, most=3)}")
    if left := [name for shard in everything for name in shard.left_out]:
        notes.append(f"left out {len(left)} links and devices: {listed(left, most=3)}")
    if odd := [name for shard in everything for name in shard.odd]:
        notes.append(f"names that lead outside, taken as names only: {listed(odd, most=3)}")
    return data_set(
        parts, name=_common_name(next(iter(paths.values()))), seed=seed, fractions=split,
        on_bad=on_bad, notes=notes, bad=bad, to_train=unsplit is None,
    )  # fmt: skip


def _titles(sources: Sequence[str]) -> dict[str, str]:
    """Returns what each shard is called, the start of its images' names: no two are alike.

    Its file name, or as it was given where others have that file name, too.
    """
    files = {source: source.replace("\\", "/").rpartition("/")[2] or source for source in sources}
    times = Counter(files.values())
    return {source: name if times[name] == 1 else source for source, name in files.items()}


def _common_name(sources: Sequence[str]) -> str:
    """Returns what the shards are called: the file name of the first, without number and suffix."""
    stem = sources[0].replace("\\", "/").rpartition("/")[2].partition(".")[0]
    return stem.rstrip("0123456789-_") or stem or "webdataset"


def _class_names(path: str) -> tuple[str, ...]:
    try:
        names = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the class names in {printable(path)}", found=printable(error)
        ) from error
    while names and not names[-1].strip():
        names.pop()
    names = [name.strip() for name in names]
    if len(set(names)) < max(2, len(names)) or "" in names:
        raise DataError(
            f"{printable(path)} does not name classes",
            found=f"{len(names)} lines, {len(set(names))} of them different",
            hint="a different name a line; line 1 is the class 0",
        )
    return tuple(names)


def _part(
    shards: Sequence[Shard],
    *,
    image: str | None,
    label: str | None,
    key: str | None,
    names: Sequence[str] | None,
    bad: dict[str, str],
    strange: list[str],
) -> Part:
    """Returns the samples of one split.

    What lacks an image or a label goes into ``bad``, what has neither into ``strange``.
    """
    wanted_image = image.lower().removeprefix(".") if image else None
    wanted_label = label.lower().removeprefix(".") if label else None
    labels: list[str] = []
    places: list[tuple[int, int, int]] = []
    titles: list[str] = []
    for number, shard in enumerate(shards):
        for sample in shard.samples:
            if not image and not label and not is_sample(sample):
                strange.append(f"{shard.name}/{sample.key}")
                continue
            try:
                found = image_part(sample, wanted_image)
                labels.append(label_of(shard, sample, wanted_label, key, names))
            except Unfit as error:
                bad[f"{shard.name}/{sample.key}"] = str(error)
                continue
            places.append((number, *sample.parts[found]))
            titles.append(f"{shard.name}/{sample.key}.{found}")
    shard_N, offset_N, size_N = np.asarray(places, dtype=np.int64).reshape(-1, 3).T
    images = ShardImages(
        sources=[shard.source for shard in shards], shard_N=shard_N.astype(np.int32),
        offset_N=offset_N.copy(), size_N=size_N.copy(), names=titles,
    )  # fmt: skip
    classes = tuple(names) if names else class_order(labels)
    index_of = {name: index for index, name in enumerate(classes)}

    def peek(index: int) -> tuple[int, bytes]:
        return peek_bytes(
            lambda most: images.content(index, most),
            size=int(images.size_N[index]),
            name=images.name(index),
        )

    return Part(
        images=images, classes=classes, peek=peek,
        labels_N=np.asarray([index_of[name] for name in labels], dtype=np.int64),
    )  # fmt: skip
