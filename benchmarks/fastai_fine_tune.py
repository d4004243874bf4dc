"""fastai's fine_tune with its defaults, for benchmarks/defaults.py: prints one line of JSON.

python benchmarks/fastai_fine_tune.py FOLDER SIZE EPOCHS SEED THREADS
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import timm  # noqa: E402
import torch  # noqa: E402
from fastai.callback.progress import ProgressCallback  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    CategoryBlock,
    DataBlock,
    GrandparentSplitter,
    ImageBlock,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    parent_label,
    set_seed,
    vision_learner,
)

from zoo.network.weights import load, resolve  # noqa: E402
from zoo.registry import Registry, parse_choice  # noqa: E402


def lite0(pretrained: bool = False, **_: object) -> torch.nn.Module:
    """Returns the backbone with the weights that zoo uses; fastai puts its own head on it."""
    from zoo.engine.assembly.job import offered_weights

    choice = parse_choice(Registry.installed(), "model", "tf_efficientnet_lite0")
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    load(model, resolve("auto", offered_weights(choice)), head=("classifier",))
    model.reset_classifier(0)
    return model


def main() -> None:
    root, size, epochs, seed, threads = Path(sys.argv[1]), *map(int, sys.argv[2:6])
    if threads:
        torch.set_num_threads(threads)
    set_seed(seed)
    start = time.monotonic()
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda folder: get_image_files(folder, folders=["train", "val"]),
        get_y=parent_label,
        splitter=GrandparentSplitter(train_name="train", valid_name="val"),
        item_tfms=Resize(size),
        batch_tfms=[*aug_transforms(), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    loaders = block.dataloaders(root, bs=64, num_workers=0)
    learner = vision_learner(loaders, lite0, pretrained=False, normalize=False, metrics=accuracy)
    learner.model.to(memory_format=torch.channels_last)
    learner.remove_cbs(ProgressCallback)
    with learner.no_logging():
        learner.fine_tune(epochs)
    files = get_image_files(root / "test")
    test = loaders.test_dl(files, with_labels=True)
    with learner.no_bar(), learner.no_logging():
        scores, labels = learner.get_preds(dl=test)
        val_scores, val_labels = learner.get_preds(dl=loaders.valid)
    print(json.dumps({
        "test": (scores.argmax(1) == labels).float().mean().item(),
        "val": (val_scores.argmax(1) == val_labels).float().mean().item(),
        "seconds": time.monotonic() - start,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
