"""timm's parts: its data set, its fast loader (prefetcher), freeze() and its optimizer factory.

timm's train script has no freeze phase, so the loop around its parts is written out here.
"""

from __future__ import annotations

from peer import LR_ALL, LR_HEAD, MEAN, STD, Clock, arguments, network


def main() -> None:
    clock, args = Clock(), arguments()
    import torch
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2
    from timm.utils import freeze, unfreeze
    from torch.nn import functional

    torch.manual_seed(args.seed)
    loaders = {
        split: create_loader(
            create_dataset("", root=str(args.data), split=split),
            input_size=(3, args.size, args.size), batch_size=args.batch,
            is_training=split == "train", no_aug=True, mean=MEAN, std=STD,
            num_workers=args.workers, crop_pct=1.0, device=torch.device("cpu"),
        )
        for split in ("train", "val", "test")
    }  # fmt: skip
    model = network(args).to(memory_format=torch.channels_last)

    def accuracy(split: str) -> float:
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in loaders[split]:
                images = images.contiguous(memory_format=torch.channels_last)
                right += (model(images).argmax(1) == labels).sum().item()
        return right / len(loaders[split].dataset)

    rest = [name for name, _ in model.named_children() if name != "classifier"]
    clock.started()
    for frozen, epochs, lr in ((True, args.freeze, LR_HEAD), (False, args.finetune, LR_ALL)):
        (freeze if frozen else unfreeze)(model, rest)
        optimizer = create_optimizer_v2(model, opt="adamw", lr=lr, weight_decay=0.01)
        for _ in range(epochs):
            model.train()
            seen = 0
            for images, labels in loaders["train"]:
                images = images.contiguous(memory_format=torch.channels_last)
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
                seen += len(labels)
            accuracy("val")
            clock.epoch(frozen=frozen)
    clock.report(accuracy("test"), seen=seen)


if __name__ == "__main__":
    main()
