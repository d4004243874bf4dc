"""The Hugging Face Trainer with a timm network: a run on the head, then a run on everything."""

from __future__ import annotations

import tempfile

from peer import LR_ALL, LR_HEAD, MEAN, STD, Clock, arguments, freeze, network


def main() -> None:
    clock, args = Clock(), arguments()
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from transformers import Trainer, TrainerCallback, TrainingArguments

    look = transforms.Compose([
        transforms.Resize(args.size), transforms.CenterCrop(args.size), transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])  # fmt: skip
    data = {split: ImageFolder(args.data / split, look) for split in ("train", "val", "test")}

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(args)

        def forward(
            self, pixel_values: torch.Tensor, labels: torch.Tensor
        ) -> dict[str, torch.Tensor]:
            logits = self.net(pixel_values)
            return {"loss": functional.cross_entropy(logits, labels), "logits": logits}

    def collate(rows: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        images, labels = zip(*rows, strict=True)
        return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}

    def measure(found: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        return {"accuracy": float((found[0].argmax(1) == found[1]).mean())}

    class Laps(TrainerCallback):
        frozen = True

        def on_epoch_begin(self, *_: object, **__: object) -> None:
            if not clock.start:
                clock.started()

        def on_evaluate(self, *_: object, **__: object) -> None:
            clock.epoch(frozen=self.frozen)

    model, laps = Classifier(), Laps()
    trainer = None
    with tempfile.TemporaryDirectory() as folder:
        for frozen, epochs, lr in ((True, args.freeze, LR_HEAD), (False, args.finetune, LR_ALL)):
            if not epochs:
                continue
            freeze(model.net, frozen)
            laps.frozen = frozen
            trainer = Trainer(
                model,
                TrainingArguments(
                    folder, num_train_epochs=epochs, learning_rate=lr, seed=args.seed, use_cpu=True,
                    per_device_train_batch_size=args.batch, per_device_eval_batch_size=args.batch,
                    dataloader_num_workers=args.workers, dataloader_persistent_workers=True,
                    eval_strategy="epoch", save_strategy="no", report_to=[], disable_tqdm=True,
                    logging_strategy="no", weight_decay=0.01,
                ),
                train_dataset=data["train"], eval_dataset=data["val"], data_collator=collate,
                compute_metrics=measure, callbacks=[laps],
            )  # fmt: skip
            trainer.train()
        trainer.remove_callback(laps)
        found = trainer.evaluate(data["test"])
    clock.report(found["eval_accuracy"])


if __name__ == "__main__":
    main()
