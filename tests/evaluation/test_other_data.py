"""Data named by a spec is looked at by the rules of a path: nothing of it is trained on."""

from __future__ import annotations

import shutil

import pytest

from zoo.errors import DataError, UsageError
from zoo.evaluation.examined import examine


def looked_at(run, data, registry):
    """Returns the split, and the labels of its images as the run counts them."""
    found = examine(run, data=str(data), registry=registry)
    return found.split, found.predictions.labels_N.tolist()


def test_a_folder_by_its_spec_is_read_as_by_its_path(run, shapes_folder, tmp_path, registry):
    dots = shutil.copytree(shapes_folder / "test" / "dot", tmp_path / "some" / "dot")
    count = len(list(dots.iterdir()))
    shutil.copytree(dots.parent, tmp_path / "tested" / "test")
    for place, split in ((dots.parent, "all"), (tmp_path / "tested", "test")):
        by_path = looked_at(run, place, registry)
        assert by_path == looked_at(run, f"folder:path={place}", registry) == (split, [1] * count)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        examine(run, data=f"folder:path={tmp_path / 'empty'}", registry=registry)


def test_hugging_face_data_without_training_images(run, shapes_folder, tmp_path, registry):
    datasets = pytest.importorskip("datasets")

    def table(*labels):
        files = [next((shapes_folder / "test" / label).iterdir()) for label in labels]
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dot", "bar"])}
        cells = {"image": [{"bytes": file.read_bytes()} for file in files], "label": labels}
        return datasets.Dataset.from_dict(cells, features=datasets.Features(features))

    def saved(name, splits):
        datasets.DatasetDict(splits).save_to_disk(tmp_path / name)
        return f"hf:name={tmp_path / name}"

    tested = saved("tested", {"test": table("dot", "dot")})
    assert looked_at(run, tested, registry) == ("test", [1, 1])
    one = saved("one", {"photos": table("dot", "bar", "dot")})
    assert looked_at(run, one, registry) == ("all", [1, 0, 1])  # in its own order: not divided
    more = saved("more", {"train": table("dot"), "test": table("bar", "dot")})
    assert looked_at(run, more, registry) == ("test", [0, 1])
    odd = saved("odd", {"one": table("dot"), "two": table("bar")})
    assert looked_at(run, f"{odd},test=two", registry) == ("test", [0])
    with pytest.raises(UsageError, match="no split that is called train or val or test"):
        examine(run, data=odd, registry=registry)


def test_shards_without_training_images(run, shapes_folder, tmp_path, registry):
    import tarfile
    from io import BytesIO

    def shard(name, *labels):
        with tarfile.open(tmp_path / name, "w") as archive:
            for number, label in enumerate(labels):
                picture = next((shapes_folder / "test" / label).iterdir()).read_bytes()
                for suffix, content in (("png", picture), ("txt", label.encode())):
                    member = tarfile.TarInfo(f"{number}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, BytesIO(content))
        return tmp_path / name

    dots, both = shard("dots.tar", "dot", "dot"), shard("both.tar", "dot", "bar")
    assert looked_at(run, f"webdataset:test={dots}", registry) == ("test", [1, 1])
    assert looked_at(run, f"webdataset:train={dots}", registry) == ("all", [1, 1])
    assert looked_at(run, f"webdataset:train={dots},test={both}", registry) == ("test", [1, 0])
    with pytest.raises(UsageError, match="needs shards"):
        examine(run, data="webdataset", registry=registry)
