"""What a plain run imports: what its components need, and nothing that only others do."""

from __future__ import annotations

import os
import subprocess
import sys

NOT_NEEDED = {
    "IPython", "datasets", "fastai", "jinja2", "lightning", "matplotlib", "onnx", "onnxruntime",
    "openvino", "pandas", "pyarrow", "scipy", "sklearn", "tensorboard", "torchmetrics",
    "transformers", "ultralytics",
}  # fmt: skip

RUN = """
import sys
import zoo
zoo.run(data=sys.argv[1], model="lenet", weights="none", img_size=16, batch_size=8, epochs=1,
        freeze_epochs=0, threads=1, runs=sys.argv[2])
print("IMPORTED", *sorted(set(those) & set(sys.modules)))
"""


def test_a_plain_run_imports_nothing_that_only_other_parts_need(shapes_folder, tmp_path):
    code = RUN.replace("those", repr(sorted({*NOT_NEEDED, "timm", "torchvision"})))
    done = subprocess.run(
        [sys.executable, "-c", code, str(shapes_folder), str(tmp_path / "runs")],
        capture_output=True, text=True, timeout=120, env={**os.environ, "ZOO_PLUGINS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "IMPORTED"
