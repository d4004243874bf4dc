"""Ultralytics classify: a YAML with torchvision's network of the same name, freeze=1, then again.

It takes networks of torchvision and its own, no timm ones; so mobilenet_v3_large it is, under its
own classification head. Its augmentation is switched off as far as it can be.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from peer import LR_ALL, LR_HEAD, Clock, arguments

NAMES = {"mobilenetv3_large_100": ("mobilenet_v3_large", 960)}

NETWORK = """
nc: 10
backbone:
  - [-1, 1, TorchVision, [{channels}, {name}, null, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


def main() -> None:
    clock, args = Clock(), arguments()
    if args.model not in NAMES:
        raise SystemExit(f"Ultralytics has no {args.model}; it has {', '.join(NAMES)}")
    folder = Path(tempfile.mkdtemp())
    os.environ["YOLO_CONFIG_DIR"] = str(folder)
    os.environ["YOLO_OFFLINE"] = "true"
    from ultralytics import YOLO
    from ultralytics.utils import LOGGER

    LOGGER.setLevel("ERROR")
    name, channels = NAMES[args.model]
    (folder / "network-cls.yaml").write_text(NETWORK.format(name=name, channels=channels))
    model = YOLO(str(folder / "network-cls.yaml"), task="classify")
    frozen_now = [True]

    def started(trainer: object) -> None:
        if not clock.start:
            clock.started()

    def epoch(trainer: object) -> None:
        done = len(clock.freeze if frozen_now[0] else clock.finetune)
        if done < (args.freeze if frozen_now[0] else args.finetune):  # a last call repeats the best
            clock.epoch(frozen=frozen_now[0])

    model.add_callback("on_train_epoch_start", started)
    model.add_callback("on_fit_epoch_end", epoch)
    for frozen, epochs, lr in ((True, args.freeze, LR_HEAD), (False, args.finetune, LR_ALL)):
        if not epochs:
            continue
        frozen_now[0] = frozen
        model.train(
            data=str(args.data), epochs=epochs, imgsz=args.size, batch=args.batch, device="cpu",
            workers=args.workers, project=str(folder), name=f"phase-{frozen}", optimizer="AdamW",
            lr0=lr, seed=args.seed, plots=False, verbose=False, amp=False, pretrained=False,
            auto_augment=None, erasing=0.0, fliplr=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, scale=1.0,
            freeze=1 if frozen else None,
        )  # fmt: skip
    found = model.val(data=str(args.data), split="test", imgsz=args.size, batch=args.batch,
                      device="cpu", workers=args.workers, plots=False, verbose=False)  # fmt: skip
    clock.report(float(found.top1))


if __name__ == "__main__":
    main()
