"""`--head` on the command line: listed, shown, and said before a run."""

from __future__ import annotations

import json


def test_the_command_line_shows_heads(zoo_command, shapes_folder, tmp_path):
    listed = json.loads(zoo_command("list", "heads", "--json").out)
    assert [entry["id"] for entry in listed] == [
        f"torch/{name}" for name in ("linear", "mlp", "norm-linear", "cosine")
    ]
    shown = zoo_command("show", "head", "mlp-64-0.1").out
    assert "mlp-512-0.5" in shown
    assert "fastai" in shown
    outcome = zoo_command(
        "run", "--data", shapes_folder, "--model", "lenet", "--head", "mlp-16", "--img-size", 16,
        "--weights", "none", "--freeze-epochs", 1, "--epochs", 0, "--threads", 1, "--runs",
        tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("head ")]
    assert "torch/mlp:hidden=[16],dropout=0.5,norm=batch (classifier-zoo" in line
    norms, hidden, last = 2 * 500 + 2 * 16, 500 * 16, 16 * 2 + 2
    assert f"{norms + hidden + last:,} of them, in the place of head" in line
