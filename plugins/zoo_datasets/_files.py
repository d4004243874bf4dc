"""Records of the data sets that are files and folders."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["FILES"]

FILES: tuple[Component, ...] = (
    Component(
        kind="dataset",
        name="folder",
        target="zoo_datasets.folders:folder",
        summary="Images in train/val[/test] folders, or in class folders, split by the seed",
        aliases=("image-folder", "imagefolder"),
        tags=("files",),
        params=(Param(name="path", type="str", summary="the folder"),),
    ),
    Component(
        kind="dataset",
        name="manifest",
        target="zoo_datasets.folders:manifest",
        summary="A table of paths and labels: CSV, TSV, JSON lines or Parquet",
        tags=("files", "multi-label", "soft labels", "weights", "groups"),
        params=(
            Param(name="path", type="str", summary="the table"),
            Param(name="image", type="str", summary="column of the paths"),
            Param(name="label", type="str", summary="column of the labels"),
            Param(name="split_column", type="str", summary="column of train, val and test"),
            Param(name="weight", type="str", summary="column of the sample weights"),
            Param(name="group", type="str", summary="column of what must stay in one split"),
            Param(
                name="separator",
                type="str",
                summary="between several labels of an image: | or pipe, comma, semicolon, space",
            ),
            Param(
                name="multi_label",
                type="bool",
                default=False,
                summary="an image can have any number of labels",
            ),
            Param(name="folder", type="str", summary="what relative paths are below"),
        ),
    ),
    Component(
        kind="dataset",
        name="idx",
        target="zoo_datasets.folders:idx",
        summary="IDX files, the format of MNIST, plain or .gz (LeCun et al. 1998)",
        tags=("files", "grey"),
        params=(Param(name="path", type="str", summary="the folder"),),
    ),
    Component(
        kind="dataset",
        name="cifar",
        target="zoo_datasets.folders:cifar",
        summary="CIFAR-10 or CIFAR-100 as distributed, read without unpickling (Krizhevsky 2009)",
        tags=("files", "colour"),
        params=(
            Param(name="path", type="str", summary="the folder or the .tar.gz"),
            Param(
                name="labels",
                type="str",
                default="fine",
                choices=("fine", "coarse"),
                summary="which labels of CIFAR-100",
            ),
        ),
    ),
    Component(
        kind="dataset",
        name="npz",
        target="zoo_datasets.folders:npz",
        summary="NumPy arrays: x_train, y_train, ... or MedMNIST's names",
        tags=("files",),
        params=(Param(name="path", type="str", summary="the .npz file"),),
    ),
)
"""In the order in which lists show them."""
