"""docs/evaluation.md, run from top to bottom."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/evaluation.md").read_text(encoding="utf-8")


def test_the_page_runs_from_top_to_bottom(zoo_command, after_training, tmp_path):
    codes = {}
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL):
        for line in block.splitlines():
            program, *words = shlex.split(line, comments=True)
            if program != "zoo":
                assert program in ("find", "pip"), line
                continue
            outcome = zoo_command(*after_training(words))
            codes[line] = outcome.code
            assert outcome.code in (0, 10 if "--assert-better" in line else 0), (line, outcome.err)
            assert outcome.out or outcome.err, line
    assert len(codes) > 20
    for made in ("out.csv", "out.jsonl", "grid.png", "compare.html", "runs/NAME/report.html",
                 "heat.png", "embeddings.npz", "plane.png", "list.csv", "list.png",
                 "runs/cv/experiment.json"):  # fmt: skip
        assert (tmp_path / made).stat().st_size > 0, made
