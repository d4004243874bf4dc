"""One plugin read in this process: imported, and asked for its components, whatever it throws."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import islice

import pluggy

from zoo.errors import in_words
from zoo.plugin import KINDS, Component, HookSpec, fold
from zoo.registry.records import PluginRecord, check_component

__all__ = ["HEAVY", "read_plugin"]

HEAVY = frozenset({
    "PIL", "accelerate", "cv2", "datasets", "h5py", "jax", "keras", "matplotlib", "mlflow", "numba",
    "numpy", "onnx", "onnxruntime", "open_clip", "openvino", "pandas", "polars", "pyarrow",
    "pytorch_optimizer", "scipy", "skimage", "sklearn", "tensorboard", "tensorflow", "timm",
    "torch", "torchmetrics", "torchvision", "transformers", "wandb",
})  # fmt: skip
"""Packages whose import a user notices: a declaration should do without them."""

_OURS = frozenset(
    {__file__, *(code.__code__.co_filename for code in (check_component, Component.__init__, fold))}
)
_MOST_COMPONENTS = 20_000  # timm, the largest catalogue, has 1,371; a hook may never end


def read_plugin(load: Callable[[], object], record: PluginRecord) -> PluginRecord:
    """Returns the record with what its plugin declares, or with why it declares nothing.

    Args:
        load: Imports the plugin's module and returns it.
        record: What is known without importing it.
    """
    start = time.perf_counter()
    before = set(sys.modules)
    module: object = None
    try:
        # What a plugin prints must not end up in the output of `zoo list --json`.
        with redirect_stdout(sys.stderr):
            module = load()
            declared = _ask(module, record.namespace, strict=not record.builtin)
        known = tuple(component for component in declared if component.kind in KINDS)
        unknown = sorted({component.kind for component in declared} - set(KINDS))
        record = replace(
            record, components=known,
            notes=tuple(f"components of the unknown kind {one!r} were skipped" for one in unknown),
        )  # fmt: skip
    except (Exception, SystemExit) as error:
        origin = _origin(error, module)
        record = replace(record, status="broken", cause=in_words(error), origin=origin)
    return replace(
        record,
        load_milliseconds=1000 * (time.perf_counter() - start),
        heavy_imports=tuple(sorted(HEAVY & (set(sys.modules) - before))),
    )


def _ask(module: object, namespace: str, *, strict: bool) -> list[Component]:
    """Returns what the hook of one plugin yields, checked record by record.

    Args:
        module: The plugin.
        namespace: Its name.
        strict: Check the type of every field. zoo's own 1,500 components are checked by a test.
    """
    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(HookSpec)
    manager.register(module, name=namespace)
    manager.check_pending()
    answers = manager.hook.zoo_components()
    if not answers:
        if manager.hook.zoo_components.get_hookimpls():
            raise TypeError("zoo_components returned None; it yields components, or returns them")
        raise TypeError("has no zoo_components hook; decorate it with zoo.plugin.hookimpl")
    components = list(islice(answers[0], _MOST_COMPONENTS + 1))
    if len(components) > _MOST_COMPONENTS:
        raise ValueError(f"declares more than {_MOST_COMPONENTS:,} components")
    names: set[tuple[str, str]] = set()
    for component in components:
        if strict:
            check_component(component)
        key = (component.kind, fold(component.name))
        if key in names:
            raise ValueError(f"declares the {component.kind} {component.name!r} twice")
        names.add(key)
    return components


def _origin(error: BaseException, module: object) -> str:
    """Returns ``file:line`` of the innermost frame outside zoo, pluggy and importlib."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in _OURS
        and "importlib" not in frame.filename
        and "pluggy" not in frame.filename
    ]
    if frames:
        return f"{frames[-1].filename}:{frames[-1].lineno}"
    file = getattr(module, "__file__", None)
    return f"{file}:1" if isinstance(file, str) else ""
