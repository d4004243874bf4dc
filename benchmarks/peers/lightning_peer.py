"""Lightning with BackboneFinetuning: the backbone is unfrozen after the freeze epochs."""

from __future__ import annotations

import logging

from peer import LR_ALL, LR_HEAD, MEAN, STD, Clock, arguments, network


def main() -> None:
    clock, args = Clock(), arguments()
    import lightning
    import torch
    from lightning.pytorch.callbacks import BackboneFinetuning, Callback
    from torch.nn import functional
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.seed_everything(args.seed, verbose=False)
    look = transforms.Compose([
        transforms.Resize(args.size), transforms.CenterCrop(args.size), transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])  # fmt: skip
    loaders = {
        split: DataLoader(
            ImageFolder(args.data / split, look), args.batch, num_workers=args.workers,
            shuffle=split == "train", persistent_workers=args.workers > 0,
        )
        for split in ("train", "val", "test")
    }  # fmt: skip

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = network(args)
            self.head = self.backbone.get_classifier()
            self.backbone.reset_classifier(0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.backbone(images))

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
            self.log("val", (self(batch[0]).argmax(1) == batch[1]).float().mean())

        def test_step(self, batch: list[torch.Tensor], index: int) -> None:
            self.log("test", (self(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW((p for p in self.parameters() if p.requires_grad), LR_HEAD)

    class Laps(Callback):
        def on_train_epoch_start(self, trainer: object, module: object) -> None:
            if not clock.start:
                clock.started()

        def on_train_epoch_end(self, trainer: object, module: object) -> None:
            clock.epoch(frozen=len(clock.freeze) < args.freeze)

    trainer = lightning.Trainer(
        max_epochs=args.freeze + args.finetune, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[
            BackboneFinetuning(args.freeze, backbone_initial_lr=LR_ALL, should_align=False), Laps()
        ],
    )  # fmt: skip
    model = Classifier()
    trainer.fit(model, loaders["train"], loaders["val"])
    (found,) = trainer.test(model, loaders["test"], verbose=False)
    clock.report(found["test"])


if __name__ == "__main__":
    main()
