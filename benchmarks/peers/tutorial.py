"""The loop of the PyTorch transfer-learning tutorial: ImageFolder, DataLoader, model.train()."""

from __future__ import annotations

from peer import LR_ALL, LR_HEAD, MEAN, STD, Clock, arguments, freeze, network


def main() -> None:
    clock, args = Clock(), arguments()
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    torch.manual_seed(args.seed)
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
    model = network(args)

    def accuracy(split: str) -> float:
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in loaders[split]:
                right += (model(images).argmax(1) == labels).sum().item()
        return right / len(loaders[split].dataset)

    clock.started()
    for frozen, epochs, lr in ((True, args.freeze, LR_HEAD), (False, args.finetune, LR_ALL)):
        freeze(model, frozen)
        optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr)
        for _ in range(epochs):
            model.train()
            for images, labels in loaders["train"]:
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
            accuracy("val")
            clock.epoch(frozen=frozen)
    clock.report(accuracy("test"))


if __name__ == "__main__":
    main()
