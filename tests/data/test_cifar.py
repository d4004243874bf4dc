"""CIFAR in its four forms, built as its authors' scripts did, and what hostile pickles get."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.reading import archives
from zoo.data.reading.cifar import read_cifar
from zoo.data.reading.pickled import read_pickle
from zoo.data.reading.sources import read_path
from zoo.errors import DataError, RefusedError

TEN = [f"thing{index}" for index in range(10)]
HUNDRED = [f"fine{index}" for index in range(100)]
TWENTY = [f"coarse{index}" for index in range(20)]


def rows(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def as_python_2(value):
    """Returns protocol 2 with texts as bytes, which is what Python 2 wrote."""
    content = pickle.dumps(value, protocol=2)
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def ten_python(count=20):
    files = {"batches.meta": as_python_2({"label_names": TEN, "num_vis": 3072})}
    for batch in range(1, 6):
        files[f"data_batch_{batch}"] = as_python_2(
            {
                "data": rows(count, batch),
                "labels": [i % 10 for i in range(count)],
                "filenames": [f"a_{i}.png" for i in range(count)],
            }
        )
    files["test_batch"] = as_python_2({"data": rows(10, 9), "labels": list(range(10))})
    return files


def ten_binary(count=20):
    files = {"batches.meta.txt": "\n".join(TEN).encode() + b"\n\n"}
    for batch in range(1, 6):
        labels = (np.arange(count, dtype=np.uint8) % 10)[:, None]
        files[f"data_batch_{batch}.bin"] = np.hstack([labels, rows(count, batch)]).tobytes()
    labels = np.arange(10, dtype=np.uint8)[:, None]
    files["test_batch.bin"] = np.hstack([labels, rows(10, 9)]).tobytes()
    return files


def hundred_python():
    meta = {"fine_label_names": HUNDRED, "coarse_label_names": TWENTY}

    def batch(count, seed):
        fine = [i % 100 for i in range(count)]
        return as_python_2(
            {
                "data": rows(count, seed),
                "fine_labels": fine,
                "coarse_labels": [f // 5 for f in fine],
            }
        )

    return {"meta": as_python_2(meta), "train": batch(200, 1), "test": batch(100, 9)}


def hundred_binary():
    def batch(count, seed):
        fine = np.arange(count) % 100
        heads = np.stack([fine // 5, fine], axis=1).astype(np.uint8)
        return np.hstack([heads, rows(count, seed)]).tobytes()

    return {
        "fine_label_names.txt": "\n".join(HUNDRED).encode(),
        "coarse_label_names.txt": "\n".join(TWENTY).encode(),
        "train.bin": batch(200, 1),
        "test.bin": batch(100, 9),
    }


FORMS = {
    "cifar-10-batches-py": ten_python,
    "cifar-10-batches-bin": ten_binary,
    "cifar-100-python": hundred_python,
    "cifar-100-binary": hundred_binary,
}


def put(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def pack(path, files, *, folder="cifar-10-batches-py", extra=()):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(tmp_path, form, archived):
    files = FORMS[form]()
    if archived:
        path = pack(tmp_path / f"{form}.tar.gz", files, folder=form)
    else:
        path = put(tmp_path / form, files)
    data = read_path(path, seed=0)
    hundred = "100" in form
    assert data.classes == tuple(HUNDRED if hundred else TEN)
    assert data.name == ("cifar100" if hundred else "cifar10")
    test = data.splits["test"]
    expected = rows(100 if hundred else 10, 9)
    assert test.labels_N.tolist() == list(range(100 if hundred else 10))
    for index in range(len(expected)):
        channels_first = np.asarray(test.images.read(index)).transpose(2, 0, 1)
        assert np.array_equal(channels_first.reshape(-1), expected[index])
    # Train and val together are all training images, each with its own label.
    train = rows(200, 1) if hundred else np.concatenate([rows(20, batch) for batch in range(1, 6)])
    total = 0
    for split in ("train", "val"):
        part = data.splits[split]
        for position, label in enumerate(part.labels_N):
            row = int(part.images.name(position).rpartition("-")[2])
            pixels = part.images.pixels[position].transpose(2, 0, 1)
            assert np.array_equal(pixels.reshape(-1), train[row])
            assert label == (row % 100 if hundred else row % 20 % 10)
            total += 1
    assert total == len(train)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_coarse_labels(tmp_path):
    for form in ("cifar-100-python", "cifar-100-binary"):
        data = read_cifar(put(tmp_path / form, FORMS[form]()), seed=0, labels="coarse")
        assert data.classes == tuple(TWENTY)
        assert data.splits["test"].labels_N.tolist() == [index // 5 for index in range(100)]


def test_the_two_versions_have_one_fingerprint(tmp_path):
    prints = {
        read_cifar(put(tmp_path / form, FORMS[form]()), seed=0).fingerprint
        for form in ("cifar-10-batches-py", "cifar-10-batches-bin")
    }
    assert len(prints) == 1


def test_batches_are_taken_in_the_order_of_their_numbers(tmp_path):
    files = ten_binary()
    files["data_batch_10.bin"] = files.pop("data_batch_1.bin")
    data = read_cifar(put(tmp_path / "x", files), seed=0)
    assert "training files that are not there: 5 of 10" in data.notes
    whole = read_cifar(put(tmp_path / "whole", ten_binary()), seed=0)
    assert not any("not there" in note for note in whole.notes)
    part = data.splits["train"]
    last = max(range(len(part.images)), key=lambda i: int(part.images.name(i).rpartition("-")[2]))
    row = int(part.images.name(last).rpartition("-")[2])
    expected = np.concatenate([rows(20, batch) for batch in (2, 3, 4, 5, 1)])[row]
    assert np.array_equal(part.images.pixels[last].transpose(2, 0, 1).reshape(-1), expected)


class _Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["data_batch_3", "batches.meta", "test_batch"])
def test_a_pickle_that_names_code_is_refused_and_nothing_runs(tmp_path, protocol, place):
    canary = tmp_path / "canary"
    files = ten_python(count=2)
    files[place] = pickle.dumps({"data": _Canary(str(canary))}, protocol=protocol)
    with pytest.raises(RefusedError, match=r"asks for .*mkdir to be run") as caught:
        read_cifar(put(tmp_path / "x", files), seed=0)
    assert caught.value.exit_code == 9
    assert not canary.exists()


HOSTILE = {
    "builtins": b"cbuiltins\neval\n(V1\ntR.",
    "numpy code": b"cnumpy\nload\n(Vx\ntR.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
    "instance": b"(ios\nsystem\n.",
    "numpy loads": b"cnumpy.core.multiarray\nscalar\n.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_never_run(content):
    with pytest.raises((RefusedError, DataError)):
        read_pickle(content, name="x")


DAMAGED = {
    "empty": b"",
    "no end": b"]",
    "nothing on the stack": b".",
    "mark only": b"(.",
    "no such memo": b"g7\n.",
    "object array": pickle.dumps(np.array([{}, None], dtype=object), protocol=2),
    "float array": pickle.dumps(np.zeros(3), protocol=2),
    "persistent id": b"Px\n.",
    "extension": b"\x82\x01.",
    "list in itself": b"]q\x00h\x00a.",
    "nested keys": b"(" + b"}" + b"))\x86s.",
    "bare class": b"cnumpy\nndarray\n.",
    "call of a class": b"cnumpy\nndarray\n(K\x05tR.",
    "unfilled array": b"cnumpy.core.multiarray\n_reconstruct\n(tR.",
    "huge number": b"I" + b"9" * 5000 + b"\n.",
    "long length": b"\x8b\xff\xff\xff\x7f.",
    "truncated text": b"T\xff\xff\xff\x7fabc.",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_pickles_are_told(content):
    with pytest.raises(DataError, match="is not a pickle of plain values"):
        read_pickle(content, name="x")


def test_a_small_pickle_of_many_references_does_not_grow():
    # Forty lists of ten times the one before: 10**40 items if each were taken apart.
    content = b"]q\x00"
    for level in range(40):
        content += b"](" + bytes([ord("h"), level]) * 10 + b"eq" + bytes([level + 1])
    nested = read_pickle(content + b".", name="x")
    assert len(nested) == 10


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    | st.dictionaries(st.text() | st.binary(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN, st.integers(1, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    # Protocols 1 and 2 write bytes as calls of _codecs.encode, empty ones as calls of bytes.
    content = pickle.dumps(value, protocol=protocol)
    if b"__builtin__" in content or b"builtins" in content:
        with pytest.raises(RefusedError):
            read_pickle(content, name="x")
    else:
        assert read_pickle(content, name="x") == pickle.loads(content)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content):
    with contextlib.suppress(DataError, RefusedError):
        read_pickle(content, name="x")


def test_the_archive_is_never_unpacked(tmp_path):
    outside = tmp_path / "outside"
    link = tarfile.TarInfo("cifar-10-batches-py/data_batch_9")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard = tarfile.TarInfo("test_batch")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../outside"
    escape = tarfile.TarInfo("../outside")
    absolute = tarfile.TarInfo(str(outside))
    device = tarfile.TarInfo("data_batch_8")
    device.type = tarfile.CHRTYPE
    (tmp_path / "in").mkdir()
    path = pack(
        tmp_path / "in" / "x.tar.gz", ten_python(), extra=[link, hard, escape, absolute, device]
    )
    data = read_cifar(path, seed=0)
    assert len(data.splits["test"].images) == 10
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "x.tar.gz"]


def test_archives_have_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    path = pack(tmp_path / "x.tar.gz", ten_python())
    with pytest.raises(DataError, match="too large"):
        read_cifar(path, seed=0)
    with pytest.raises(DataError, match="too large"):
        read_cifar(put(tmp_path / "y", ten_python()), seed=0)
    monkeypatch.setattr(archives, "MAX_ARCHIVE_BYTES", 100_000)
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(bytes(1_000_000)))
    other = pack(tmp_path / "z.tar.gz", {"unknown": bytes(200_000)})
    with pytest.raises(DataError, match="too large an archive"):
        read_cifar(other, seed=0)
    with pytest.raises(DataError):
        read_cifar(tmp_path / "bomb.tar.gz", seed=0)


def test_an_archive_whose_headers_only_announce_headers(zoo_command, tmp_path):
    announced = tarfile.TarInfo("././@LongLink")
    announced.type, announced.size = tarfile.GNUTYPE_LONGNAME, 4
    header = announced.tobuf(tarfile.GNU_FORMAT) + b"name" + bytes(508)
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(header * 3000))
    assert path.stat().st_size < 20_000
    outcome = zoo_command("data", "stats", path)
    assert outcome.code == 3, outcome.err
    assert "a header announces a header" in outcome.err


@pytest.mark.parametrize("cut", [0, 1, 10, 500, -3])
def test_a_truncated_archive(tmp_path, cut):
    path = pack(tmp_path / "x.tar.gz", ten_python())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError):
        read_cifar(path, seed=0)


def wrong(files, **changed):
    return {**files, **changed}


WRONG = {
    "no meta": (lambda: {k: v for k, v in ten_python().items() if k != "batches.meta"}, "neither"),
    "no test": (lambda: {k: v for k, v in ten_binary().items() if "test" not in k}, "neither"),
    "short record": (lambda: wrong(ten_binary(), **{"test_batch.bin": b"abc"}), "is damaged"),
    "label without name": (
        lambda: wrong(ten_binary(), **{"test_batch.bin": b"\x0c" + bytes(3072)}),
        "a label .* has no name",
    ),
    "no labels": (
        lambda: wrong(ten_python(), test_batch=as_python_2({"data": rows(2, 0)})),
        "without 'labels'",
    ),
    "wrong width": (
        lambda: wrong(
            ten_python(), test_batch=as_python_2({"data": rows(2, 0)[:, :9], "labels": [1, 2]})
        ),
        "holds no images",
    ),
    "counts differ": (
        lambda: wrong(ten_python(), test_batch=as_python_2({"data": rows(2, 0), "labels": [1]})),
        "2 images and 1 labels",
    ),
    "a list": (lambda: wrong(ten_python(), test_batch=as_python_2([1])), "no dict"),
    "texts as labels": (
        lambda: wrong(ten_python(), test_batch=as_python_2({"data": rows(1, 0), "labels": ["a"]})),
        "no whole numbers",
    ),
}


@pytest.mark.parametrize(("files", "found"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_told(tmp_path, files, found):
    with pytest.raises(DataError, match=found):
        read_cifar(put(tmp_path / "x", files()), seed=0)
