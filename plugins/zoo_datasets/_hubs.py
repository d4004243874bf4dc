"""Records of the data sets that come through other libraries' formats, each an extra."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["HUBS"]


def _text(name: str, summary: str) -> Param:
    return Param(name=name, type="str", summary=summary, optional=True)


HUBS: tuple[Component, ...] = (
    Component(
        kind="dataset",
        name="hf",
        target="zoo_datasets.hub:hugging_face",
        summary="Hugging Face datasets: a name on the hub, a saved folder, Parquet (extra: hf)",
        aliases=("huggingface", "hugging-face"),
        tags=("files", "download"),
        requires=("datasets",),
        params=(
            Param(name="name", type="str", summary="name on the hub, folder or Parquet file"),
            _text("config", "configuration, where the data set has several"),
            _text("revision", "commit or branch on the hub"),
            _text("image", "column of the images; found by its type"),
            _text("label", "column of the labels; found by its type"),
            _text("train", "which split to train on; found by its name"),
            _text("val", "which split to validate on"),
            _text("test", "which split to test on"),
        ),
    ),
    Component(
        kind="dataset",
        name="webdataset",
        target="zoo_datasets.shards:webdataset",
        summary="Shards of WebDataset: tar files, plain or compressed, here or at an address "
        "(extra: webdataset)",
        aliases=("wds", "shards"),
        tags=("files", "download"),
        requires=("braceexpand", "webdataset"),
        params=(
            Param(name="train", type="str", summary="shards, as train-{000..003}.tar or *.tar"),
            _text("val", "shards to validate on"),
            _text("test", "shards to test on"),
            _text("image", "which part of a sample is the image, as jpg; found by its suffix"),
            _text("label", "which part is the label, as cls; the first of cls, json, txt"),
            _text("key", "which key of a JSON label; the first of label, cls, class, category"),
            _text("classes", "text file with a class name a line, for labels that are numbers"),
        ),
    ),
)  # fmt: skip
"""What the plugin yields besides files and folders."""
