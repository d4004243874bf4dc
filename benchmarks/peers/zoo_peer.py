"""zoo itself, through the function behind the command, and begun and ended as the command is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from peer import Clock, arguments


def main() -> None:
    clock, args = Clock(), arguments()
    cache = tempfile.TemporaryDirectory()  # empty: a run of before would lend its features
    os.environ["ZOO_CACHE"] = cache.name
    # But what is made once on a machine is there: compiled code, as bytecode is.
    compiled = Path(tempfile.gettempdir(), "zoo-peers-compiled")
    compiled.mkdir(exist_ok=True)
    Path(cache.name, "compiled").symlink_to(compiled)
    from zoo.cli.patience import wait_patiently

    wait_patiently()
    import zoo
    from zoo.engine.events import Observer
    from zoo.leaving import leave

    class Laps(Observer):
        def phase_started(self, phase: object, **_: object) -> None:
            self.frozen = getattr(phase, "trainable", "") == "head"
            if not clock.start:
                clock.start = clock.lap()

        def epoch_ended(self, row: object) -> None:
            clock.epoch(frozen=self.frozen)

        def preparing(self, what: str, done: int, total: int) -> None:
            # Going through the folder is part of the start for all; what is prepared after that
            # belongs to the phase that needs it.
            if not clock.start and what != "looking through the images":
                clock.started()

    options = {"weights": str(args.weights)} if args.weights else {"weights": "none"}
    with tempfile.TemporaryDirectory() as runs:
        result = zoo.run(
            model=args.model, data=str(args.data), img_size=args.size, batch_size=args.batch,
            freeze_epochs=args.freeze, epochs=args.finetune, seed=args.seed, runs=runs,
            observer=Laps(), mean=(0.5,), std=(0.5,), aug="none", lr=3e-3, backbone_lr=0.1,
            **options,
        )  # fmt: skip
    clock.report(result.test_accuracy)
    cache.cleanup()
    leave(0)


if __name__ == "__main__":
    main()
