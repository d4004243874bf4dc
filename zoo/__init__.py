"""zoo trains image classifiers from named components: backbone frozen first, fine-tuned after.

    import zoo

    zoo.list("model", "*mobilenet*")
    result = zoo.run(model="efficientnet-lite0", data="path/to/images")
    zoo.load(result.path).predict(["cat.jpg"])

Importing zoo imports no torch; that happens with the first run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import (
        compare,
        embed,
        evaluate,
        export,
        heatmap,
        kfold,
        list_runs,
        load,
        predict,
        prepare,
        prune_runs,
        report,
        resume,
        review,
        run,
        sweep,
    )
    from zoo.api import list_components as list
    from zoo.config import RunConfig
    from zoo.errors import ZooError
    from zoo.registry import Registry

__all__ = [
    "Registry",
    "RunConfig",
    "ZooError",
    "compare",
    "embed",
    "evaluate",
    "export",
    "heatmap",
    "kfold",
    "list",
    "list_runs",
    "load",
    "predict",
    "prepare",
    "prune_runs",
    "report",
    "resume",
    "review",
    "run",
    "sweep",
]

_WHERE = {
    "Registry": ("zoo.registry", "Registry"),
    "RunConfig": ("zoo.config", "RunConfig"),
    "ZooError": ("zoo.errors", "ZooError"),
    "compare": ("zoo.api", "compare"),
    "embed": ("zoo.api", "embed"),
    "evaluate": ("zoo.api", "evaluate"),
    "export": ("zoo.api", "export"),
    "heatmap": ("zoo.api", "heatmap"),
    "kfold": ("zoo.api", "kfold"),
    "list": ("zoo.api", "list_components"),
    "list_runs": ("zoo.api", "list_runs"),
    "load": ("zoo.api", "load"),
    "predict": ("zoo.api", "predict"),
    "prepare": ("zoo.api", "prepare"),
    "prune_runs": ("zoo.api", "prune_runs"),
    "report": ("zoo.api", "report"),
    "resume": ("zoo.api", "resume"),
    "review": ("zoo.api", "review"),
    "run": ("zoo.api", "run"),
    "sweep": ("zoo.api", "sweep"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that zoo.plugin stays light."""
    if name == "__version__":
        from importlib.metadata import version

        return version("classifier-zoo")
    if name not in _WHERE:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> tuple[str, ...]:
    return tuple(__all__)
