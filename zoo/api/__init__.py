"""The Python API. The command line calls nothing else.

import zoo

result = zoo.run(model="efficientnet-lite0", data="clipart10")
trained = zoo.load(result.path)
trained.predict(["cat.jpg"])
"""

from __future__ import annotations

from zoo.api.components import list_components, new_plugin
from zoo.api.data import preview, read_data
from zoo.api.evaluation import evaluate, load, predict
from zoo.api.experiments import kfold, sweep
from zoo.api.exporting import export
from zoo.api.interpretation import embed, heatmap, review
from zoo.api.reporting import report
from zoo.api.runs import compare, list_runs, prune_runs
from zoo.api.training import prepare, resume, run

__all__ = [
    "compare",
    "embed",
    "evaluate",
    "export",
    "heatmap",
    "kfold",
    "list_components",
    "list_runs",
    "load",
    "new_plugin",
    "predict",
    "prepare",
    "preview",
    "prune_runs",
    "read_data",
    "report",
    "resume",
    "review",
    "run",
    "sweep",
]
