"""Figures as SVG inside a page: in the page's colours and font, light and dark, without any style.

A page's policy forbids style attributes, so each of matplotlib's becomes a class or a plain
attribute. The colours that plots.py draws with stand for themselves in a PNG; here they become the
classes of style.css that follow the theme.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup, escape

from zoo.errors import printable
from zoo.evaluation.report.plots import PALETTE, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inlined"]

_DROPPED = {"metadata", "style"}
_ATTRIBUTES = {
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "opacity",
    "text-anchor", "font-size", "font-weight",
}  # fmt: skip
_NAMES = {colour: name for name, colour in PALETTE.items()}


def inlined(figure: Figure, *, title: str, description: str) -> Markup:
    """Returns a figure as an svg element.

    Args:
        figure: Drawn with the colours of :data:`.plots.PALETTE`.
        title: What it is called, for whoever cannot see it; unique on its page.
        description: What it shows, in a sentence with its main numbers.
    """
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    key = "fig-" + hashlib.sha256(title.encode()).hexdigest()[:8]
    _clean(root, key)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"class": "chart", "role": "img", "aria-labelledby": f"{key}-t {key}-d"}
    head = Markup('<title id="{0}-t">{1}</title><desc id="{0}-d">{2}</desc>').format(
        key, printable(title), printable(description)
    )
    body = Markup("").join(_written(child) for child in root)
    return _tag(root, head + body)


def _clean(element: ElementTree.Element, key: str) -> None:
    """Takes away namespaces, styles and what draws nothing; ids become the page's own."""
    element.tag = element.tag.rpartition("}")[2]
    given, element.attrib = dict(element.attrib), {}
    for full_name, value in given.items():
        name = full_name.rpartition("}")[2]
        if name == "style":
            _styled(element, value)
        elif name == "id":
            element.set("id", f"{key}-{value}")
        elif name == "href":
            element.set("href", value.replace("#", f"#{key}-", 1))
        elif name == "clip-path":
            element.set("clip-path", value.replace("#", f"#{key}-", 1))
        elif name != "space":
            element.set(name, value)
    for child in list(element):
        _clean(child, key)
        empty = child.tag in ("g", "defs") and not len(child)
        if child.tag in _DROPPED or empty:
            element.remove(child)
    used = element.tag in ("g", "text", "svg")
    if used and element.tag != "svg":  # what matplotlib names its groups is of no use here
        element.attrib.pop("id", None)


def _styled(element: ElementTree.Element, style: str) -> None:
    """Writes a style attribute's declarations as attributes and classes."""
    classes = []
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            name, value = "font-size", next(p for p in value.split() if p.endswith("px"))[:-2]
        if name in ("fill", "stroke") and value in _NAMES:
            classes.append(f"{name}-{_NAMES[value]}")
        elif name in _ATTRIBUTES:
            element.set(name, value)
    if classes:
        element.set("class", " ".join(classes))


def _written(element: ElementTree.Element) -> Markup:
    inner = Markup("").join(_written(child) for child in element)
    return _tag(element, escape((element.text or "").strip()) + inner)


def _tag(element: ElementTree.Element, inner: Markup) -> Markup:
    attributes = Markup("").join(
        Markup(' {}="{}"').format(Markup(name), value) for name, value in element.attrib.items()
    )
    name = Markup(element.tag)
    return Markup("<{0}{1}>{2}</{0}>").format(name, attributes, inner)
