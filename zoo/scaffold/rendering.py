"""From names and kinds to the text of every file. The templates are in ``templates/``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from zoo.errors import UsageError
from zoo.plugin import plural
from zoo.scaffold.examples import EXAMPLES, KindExample
from zoo.scaffold.naming import Names

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["SCAFFOLD", "render"]

SCAFFOLD = 1
"""Version of the templates. It stands in the pyproject.toml of what they made."""

_AUTHOR = re.compile(r"(?P<name>[^<>]*?)\s*(?:<(?P<email>[^<>\s@]+@[^<>\s@]+)>)?")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

_MOST_NAMED = 4
"""Kinds that the one line about a package names."""

_FILES: Mapping[str, str] = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "test.yml",
    "tests/conftest.py": "conftest.py",
    "tests/test_conformance.py": "test_conformance.py",
    "src/{package}/__init__.py": "init.py",
}
"""What every plugin has, and the templates of it. ``{package}`` is the import name."""


def render(names: Names, kinds: Sequence[str], *, author: str = "") -> dict[str, str]:
    """Returns the files of a new plugin: path below its folder, with ``/``, to text.

    Args:
        names: What it is called.
        kinds: The kinds of component that it starts with, at least one, none twice.
        author: ``Name``, ``Name <address>`` or nothing.

    Raises:
        UsageError: The author is neither.
    """
    examples = [EXAMPLES[kind] for kind in kinds]
    person, email = _author(author)
    environment = _environment()

    def rendered(template: str, **more: object) -> str:
        return environment.get_template(f"{template}.j2").render(
            distribution=names.distribution, package=names.package, namespace=names.namespace,
            examples=examples, **more,
        )  # fmt: skip

    components = "\n".join(rendered(f"kinds/{kind}/component.py").rstrip("\n") for kind in kinds)
    references = "\n\n\n".join(
        rendered(f"kinds/{one.kind}/reference.py").rstrip("\n") for one in examples if one.reference
    )
    common: dict[str, object] = {
        "description": _description(examples), "author": person, "email": email,
        "components": components, "references": references, "scaffold": SCAFFOLD,
        "tries": list(dict.fromkeys(line for one in examples for line in one.commands)),
        "has_params": any(one.has_params for one in examples),
        "torch_references": any(one.torch_reference for one in examples),
        "oldest_zoo": ".".join(version("classifier-zoo").split(".")[:2]),
    }  # fmt: skip
    files = {
        path.format(package=names.package): rendered(f"package/{template}", **common)
        for path, template in _FILES.items()
    }
    files[f"src/{names.package}/py.typed"] = ""
    if references:
        files["tests/references.py"] = rendered("package/references.py", **common)
    for one in examples:
        files[f"src/{names.package}/{one.module}.py"] = rendered(f"kinds/{one.kind}/module.py")
        files[f"tests/test_{one.module}.py"] = rendered(f"kinds/{one.kind}/test.py")
    return dict(sorted(files.items()))


def _environment() -> Environment:
    """Returns jinja2 with templates that name only what they are given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("zoo.scaffold"), undefined=StrictUndefined,
        # Code and configuration, not HTML: what comes from the user goes through a filter.
        autoescape=False, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["toml"] = _toml
    environment.filters["toml_key"] = lambda key: key if _BARE_KEY.fullmatch(key) else _toml(key)
    return environment


def _toml(text: str) -> str:
    """Returns a text as a string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)


def _description(examples: Sequence[KindExample]) -> str:
    """Returns the package in one line.

    >>> _description([EXAMPLES["loss"], EXAMPLES["scheduler"], EXAMPLES["model"]])
    'Losses, schedulers and models for zoo'
    """
    words = [plural(one.kind) for one in examples]
    if len(words) > _MOST_NAMED:
        return "Components for zoo"
    listed = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    return f"{listed.capitalize()} for zoo"


def _author(text: str) -> tuple[str, str]:
    """Returns name and address, each perhaps empty."""
    found = _AUTHOR.fullmatch(text.strip())
    if found is None or not text.isprintable():
        raise UsageError(
            "the author is not a name, with an address behind it or without",
            found=ascii(text)[:80], hint="--author 'Ada Lovelace <ada@example.org>'",
        )  # fmt: skip
    return found["name"], found["email"] or ""
