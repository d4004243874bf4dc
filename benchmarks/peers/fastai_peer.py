"""fastai's fine_tune: its augmentation left out as zoo's default has none, its rates kept."""

from __future__ import annotations

from peer import MEAN, STD, Clock, arguments, network


def main() -> None:
    clock, args = Clock(), arguments()
    import torch
    from fastai.callback.core import Callback
    from fastai.callback.progress import ProgressCallback
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        GrandparentSplitter,
        ImageBlock,
        Normalize,
        Resize,
        accuracy,
        get_image_files,
        parent_label,
        set_seed,
        vision_learner,
    )

    set_seed(args.seed)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda folder: get_image_files(folder, folders=["train", "val"]),
        get_y=parent_label,
        splitter=GrandparentSplitter(train_name="train", valid_name="val"),
        item_tfms=Resize(args.size), batch_tfms=[Normalize.from_stats(MEAN, STD)],
    )  # fmt: skip
    loaders = block.dataloaders(args.data, bs=args.batch, num_workers=args.workers)

    def backbone(pretrained: bool = False, **_: object) -> torch.nn.Module:
        model = network(args)
        model.reset_classifier(0)
        return model

    class Laps(Callback):
        def before_fit(self) -> None:
            if not clock.start:
                clock.started()

        def after_epoch(self) -> None:
            if len(clock.finetune) < args.finetune:  # get_preds counts as an epoch, too
                clock.epoch(frozen=len(clock.freeze) < args.freeze)

    learner = vision_learner(loaders, backbone, pretrained=False, normalize=False,
                             metrics=accuracy, cbs=[Laps()])  # fmt: skip
    learner.remove_cbs(ProgressCallback)
    with learner.no_logging():
        learner.fine_tune(args.finetune, freeze_epochs=args.freeze)
    test = loaders.test_dl(get_image_files(args.data / "test"), with_labels=True)
    with learner.no_bar(), learner.no_logging():
        scores, labels = learner.get_preds(dl=test)
    clock.report((scores.argmax(1) == labels).float().mean().item())


if __name__ == "__main__":
    main()
