"""Renews what is generated in docs/kinds/ and docs/catalogue.md: ``python -m docs.build_pages``.

A page is written by hand but for what stands between ``<!-- NAME -->`` and ``<!-- end -->``. Only
zoo's own plugins count: what else is installed changes nothing here, and what is not installed
(the package of an extra) is not asked.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

from docs.catalogue_page import builtin_registry, catalogue
from zoo.plugin import KINDS, plural
from zoo.protocols import EVENTS
from zoo.registry import Registry

__all__ = ["COMMAND", "main", "pages"]

ROOT = Path(__file__).parents[1]
COMMAND = "python -m docs.build_pages"

PROTOCOLS = {
    "model": ("ModelFactory", "Preprocessing", "Weights"),
    "head": ("HeadFactory",),
    "loss": ("Loss", "LossFactory", "SoftmaxCost"),
    "optimizer": ("OptimizerFactory",),
    "scheduler": ("Schedule", "ReactiveSchedule"),
    "transform": ("BatchTransform", "MixTransform"),
    "dataset": ("DataSetFactory", "DataSet", "Split", "Images", "SourcedImages", "PixelImages"),
    "metric": ("Metric", "MetricFactory"),
    "explainer": ("Explainer", "ExplainerFactory"),
    "projector": ("Projector", "ProjectorFactory"),
    "reviewer": ("Reviewer", "ReviewerFactory"),
    "callback": ("Callback", "CallbackFactory"),
    "exporter": ("Exporter", "ExporterFactory"),
    "recipe": ("RecipeFactory",),
    "command": ("Command",),
}
"""For each kind, what of zoo.protocols belongs to it. What several kinds need stands with one."""

_SECTION = re.compile(r"(<!-- (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_WIDTH = 96


def pages() -> dict[Path, str]:
    """Returns every page that has generated parts, as it should be."""
    registry = builtin_registry()
    found = {ROOT / "docs" / "catalogue.md": catalogue(registry)}
    for kind in KINDS:
        path = ROOT / "docs" / "kinds" / f"{kind}.md"
        if not path.exists() or kind not in PROTOCOLS:
            raise SystemExit(
                f"a kind without a page: {kind}. Write {path.relative_to(ROOT)} as its neighbours "
                "are written, and name its protocols in PROTOCOLS of docs/build_pages.py"
            )
        found[path] = renewed(path.read_text(encoding="utf-8"), kind, registry)
    return found


def main() -> int:
    """Writes what is not current."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"renewed {path.relative_to(ROOT)}")
    return 0


def renewed(text: str, kind: str, registry: Registry) -> str:
    """Returns the page of a kind with its generated parts made anew.

    Raises:
        KeyError: There is a part of another name.
    """
    parts: dict[str, Callable[[], str]] = {
        "protocol": lambda: protocol(kind),
        "checks": lambda: checks(kind),
        "built-ins": lambda: builtins(kind, registry),
    }
    return _SECTION.sub(lambda found: f"{found[1]}{parts[found[2]]()}\n{found[3]}", text)


# ---- what is checked, what there is -----------------------------------------------------------


def checks(kind: str) -> str:
    """Returns which checks the kit runs on a component of a kind."""
    from zoo.testing import declaration
    from zoo.testing.checking import FLOORS, checks_of, identifier

    declared = [identifier(check) for check in declaration.CHECKS]
    own = [identifier(check) for check in checks_of(kind) if check not in declaration.CHECKS]
    return (
        f"Of its declaration: {_listed(declared)}.\n\nOf {_article(kind)} {kind}: {_listed(own)}.\n"
        f"\nAt least {FLOORS[kind]} of them must have something to say about it. What each requires"
        " stands in [Testing plugins](../testing-plugins.md)."
    )


def builtins(kind: str, registry: Registry) -> str:
    """Returns how many components of a kind zoo brings, and the first few."""
    entries = list(registry.entries(kind))
    where = f"[catalogue](../catalogue.md#{plural(kind)})"
    if not entries:
        return f"None; this kind is for plugins. See the {where} for those of other kinds."
    names = [f"`{entry.component.name}`" for entry in entries]
    if kind == "model":  # how many there are is for timm to say
        return f"Those of timm and torchvision, and the networks of courses: the {where}."
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"{len(names):,}: {', '.join(names[:12])}{more}; all of them in the {where}."


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _article(kind: str) -> str:
    return "an" if kind[0] in "aeiou" else "a"


# ---- the protocol -----------------------------------------------------------------------------


def protocol(kind: str) -> str:
    """Returns the protocols and records of a kind: docstrings and signatures of zoo.protocols."""
    parts = [_described(_classes()[name]) for name in PROTOCOLS[kind]]
    if kind == "callback":
        rows = "\n".join(f"| `{name}` | `{given}` |" for name, given in EVENTS.items())
        parts.append(f"### EVENTS\n\n| event | arguments |\n| --- | --- |\n{rows}")
    return "\n\n".join(parts)


def _classes() -> dict[str, ast.ClassDef]:
    found = {}
    for path in sorted((ROOT / "zoo" / "protocols").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = node
    return found


def _described(node: ast.ClassDef) -> str:
    """Returns a heading, what the class is, its signature, and what each member is."""
    head = f"### {node.name}\n\n{_markdown(ast.get_docstring(node) or '')}"
    stub = "\n".join(_stub(node))
    return "\n\n".join(filter(None, (head, f"```python\n{stub}\n```", _members(node))))


def _stub(node: ast.ClassDef) -> Iterator[str]:
    for decorator in node.decorator_list:
        yield f"@{ast.unparse(decorator)}"
    bases = ", ".join(map(ast.unparse, node.bases))
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    rest = "" if fields or _methods(node) else " ..."  # as ruff formats it
    yield (f"class {node.name}({bases}):" if bases else f"class {node.name}:") + rest
    for field in fields:
        yield f"    {_code(field)}"
    for place, method in enumerate(_methods(node)):
        if place or fields:
            yield ""
        yield from (f"    {line}" for line in _signature(method))


def _signature(method: ast.FunctionDef) -> list[str]:
    lines = [f"@{ast.unparse(decorator)}" for decorator in method.decorator_list]
    # Spaces round the equals sign of an argument that has an annotation.
    given = re.sub(r"(: [^,=]+)=", r"\1 = ", _code(method.args))
    returned = _code(method.returns or ast.Constant(None))
    line = f"def {method.name}({given}) -> {returned}: ..."
    if len(line) <= _WIDTH:
        return [*lines, line]
    # Commas between arguments, not those inside an annotation.
    arguments = [f"    {argument}," for argument in re.split(r", (?![^\[]*\])", given)]
    return [*lines, f"def {method.name}(", *arguments, f") -> {returned}: ..."]


def _code(node: ast.AST) -> str:
    return ast.unparse(node).replace("'", '"')


def _members(node: ast.ClassDef) -> str:
    """Returns a line for each member that has words of its own."""
    lines = []
    for place, child in enumerate(node.body):
        text = node.body[place + 1] if place + 1 < len(node.body) else None
        if (
            isinstance(child, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            lines.append(f"- `{ast.unparse(child.target)}`: {_flat(str(text.value.value))}")
    for method in _methods(node):
        if words := ast.get_docstring(method):
            name = method.name
            lines.append(f"- `{name}`: " + _markdown(words).replace("\n", "\n  ").rstrip())
    return re.sub(r"\n +\n", "\n\n", "\n".join(lines))


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [child for child in node.body if isinstance(child, ast.FunctionDef)]


def _markdown(docstring: str) -> str:
    """Returns a docstring of Google's style as Markdown: sections become lists."""
    text = _ROLE.sub(r"`\1`", docstring.replace("``", "`"))
    body, *sections = re.split(r"^(Args|Raises|Returns):\n", text, flags=re.MULTILINE)
    parts = [body.strip()]
    for title, content in zip(sections[::2], sections[1::2], strict=True):
        entries = re.split(r"\n(?=\S)", dedent(content).strip())
        rows = []
        for entry in entries:
            name, _, words = entry.partition(":")
            rows.append(f"- `{name}`: {_flat(words)}" if words else f"- {_flat(entry)}")
        intro = [] if title == "Args" else [f"{title}:"]
        parts.append("\n".join([*intro, *rows]))
    return "\n\n".join(parts)


def _flat(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


if __name__ == "__main__":
    sys.exit(main())
