"""Templates become pages: every text escaped, style and script named by their hash.

A page may load nothing and run nothing but what zoo put into it. Its policy says so to the
browser: no source at all, one style and one script by their SHA-256, pictures as data.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from zoo.errors import printable

__all__ = ["NOTHING", "as_json", "count", "duration", "percent", "render", "sure"]

NOTHING = "\u2013"
"""Stands where there is no number."""

_HERE = Path(__file__).parent


def render(template: str, **data: object) -> str:
    """Returns the page that a template makes of data, a whole HTML file that needs nothing else.

    Every text is escaped, and what could act on its reader (control and bidirectional characters)
    is shown as an escape. Only ``Markup`` passes as it is: figures of :mod:`.svg` and the like.

    Args:
        template: File name in ``templates/``, one that extends ``base.html.j2``.
        data: What the template names. A name that is missing is an error.
    """
    style, script = _own("style.css"), _own("script.js")
    policy = (
        f"default-src 'none'; style-src '{_source(style)}'; script-src '{_source(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _environment().get_template(template).render(
        **data, style=Markup(style), script=Markup(script), policy=policy
    )  # fmt: skip


def as_json(value: object) -> Markup:
    r"""Returns plain data as JSON that can stand inside a script element.

    >>> as_json({"name": "</script>"})
    Markup('{"name":"\\u003c/script\\u003e"}')
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for char in "<>&":  # they are in strings only
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def percent(share: float | None, digits: int = 1) -> str:
    """Returns a share as per cent; a dash where there is none.

    >>> percent(0.8512), percent(1.0)
    ('85.1%', '100.0%')
    """
    return NOTHING if share is None or share != share else f"{100 * share:.{digits}f}%"


def sure(probability: float) -> str:
    """Returns a probability as per cent that is 100 only where it is.

    >>> sure(0.87), sure(0.9971), sure(0.99999), sure(1.0)
    ('87%', '99.7%', '>99.9%', '100%')
    """
    if probability >= 1 or round(100 * probability) < 100:
        return percent(probability, 0)
    return percent(probability) if probability < 0.9995 else ">99.9%"


def count(number: int) -> str:
    """Returns a whole number with its thousands apart.

    >>> count(12345)
    '12,345'
    """
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Returns a time as a person says it.

    >>> duration(0.42), duration(47.1), duration(200), duration(7300)
    ('0.4 s', '47 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        finalize=_shown, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "json": as_json, "percent": percent, "count": count, "duration": duration, "sure": sure,
    }  # fmt: skip
    return environment


def _shown(value: object) -> object:
    """Returns what a template's braces show: names cannot act on whoever reads the page."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _own(name: str) -> str:
    return "\n" + (_HERE / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Returns a text as a policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
