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
    from zoo.api import kfold, list_runs, load, prepare, prune_runs, resume, run, sweep
    from zoo.api import list_components as list
    from zoo.config import RunConfig
    from zoo.errors import ZooError
    from zoo.registry import Registry

__all__ = [
    "Registry",
    "RunConfig",
    "ZooError",
    "kfold",
    "list",
    "list_runs",
    "load",
    "prepare",
    "prune_runs",
    "resume",
    "run",
    "sweep",
]

_WHERE = {
    "Registry": ("zoo.registry", "Registry"),
    "RunConfig": ("zoo.config", "RunConfig"),
    "ZooError": ("zoo.errors", "ZooError"),
    "kfold": ("zoo.api", "kfold"),
    "list": ("zoo.api", "list_components"),
    "list_runs": ("zoo.api", "list_runs"),
    "load": ("zoo.api", "load"),
    "prepare": ("zoo.api", "prepare"),
    "prune_runs": ("zoo.api", "prune_runs"),
    "resume": ("zoo.api", "resume"),
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
