"""From the name that an author gives to all that has to be named, and what speaks against it."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from zoo.errors import UsageError, ZooError, printable
from zoo.plugin import fold
from zoo.registry import discover
from zoo.registry.imitations import imitated
from zoo.registry.settings import Settings

__all__ = ["Names", "derive", "notes_on", "problems_with"]

_PREFIX = "zoo-"
_LONGEST = 40
"""With a longer name, lines of the generated code would be longer than its own linter allows."""

_NOBODY = Settings(only=frozenset())
"""No third party's plugin is imported: all of them are listed as disabled."""

_DISTRIBUTION = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a plugin is called, and where.

    Args:
        distribution: To pip: ``zoo-acme``.
        package: To Python: ``zoo_acme``.
        namespace: To zoo, before the slash of an id: ``acme``.
    """

    distribution: str
    package: str
    namespace: str


def derive(name: str) -> Names:
    """Returns the names that follow from the distribution's.

    Args:
        name: As PEP 503 compares it: letters, digits, and ``-``, ``_`` or ``.`` between them.

    Raises:
        UsageError: No package can have that name.

    >>> derive("Zoo_Acme")
    Names(distribution='zoo-acme', package='zoo_acme', namespace='acme')
    >>> derive("acme").namespace
    'acme'
    """
    if not _DISTRIBUTION.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"{printable(name)[:80]!r} cannot be the name of a package",
            found=f"a name is at most {_LONGEST} letters and digits, joined by - _ or .",
            hint=f"zoo plugins new {_proposed(name)} --kind KIND",
        )
    normalised = re.sub(r"[-_.]+", "-", name).lower()
    package = normalised.replace("-", "_")
    if not package.isidentifier():
        raise UsageError(
            f"the package {package} could not be imported: a name in Python starts with a letter",
            hint=f"zoo plugins new {_PREFIX}{normalised} --kind KIND",
        )
    return Names(
        distribution=normalised, package=package,
        namespace=normalised.removeprefix(_PREFIX) or normalised,
    )  # fmt: skip


def problems_with(names: Names) -> list[ZooError]:
    """Returns why these names will not do here, each with its remedy. Imports no plugin's code."""
    taken = next((r for r in discover(_NOBODY) if fold(r.namespace) == fold(names.namespace)), None)
    prefixed = f"{_PREFIX}{names.namespace}"
    free = taken is None and names.distribution != prefixed
    advice = f"zoo plugins new {prefixed} --kind KIND" if free else "choose another name"
    problems: list[ZooError] = []
    if keyword.iskeyword(names.package):
        problems.append(UsageError(f"{names.package} is a keyword of Python", hint=advice))
    elif names.package in sys.stdlib_module_names:
        what = f"{names.package} is a module of Python's standard library"
        problems.append(UsageError(what, hint=advice))
    elif (place := _importable(names.package)) is not None:
        what = f"a package {names.package} can be imported already"
        problems.append(UsageError(what, found=place, hint=advice))
    if (version := _installed(names.distribution)) is not None:
        what = f"a distribution {names.distribution} is installed already"
        problems.append(UsageError(what, found=f"version {version}", hint=advice))
    if taken is not None:
        problems.append(
            UsageError(
                f"the namespace {names.namespace} is taken",
                found=f"by {taken.distribution} {taken.version}",
                hint="choose another name; zoo plugins list shows all that are taken",
            )
        )
    return problems


def notes_on(names: Names) -> list[str]:
    """Returns what the author should know about names that are allowed: built-ins they resemble."""
    builtin = [r.namespace for r in discover(_NOBODY) if r.builtin]
    close = imitated(names.namespace, builtin)
    if close is None:
        return []
    return [
        f"the namespace {names.namespace} looks like the built-in {close}: users may take one for "
        "the other, and zoo doctor points that out to them"
    ]


def _importable(package: str) -> str | None:
    """Returns where a top-level package is, None if there is none. Imports nothing."""
    spec = find_spec(package)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    # A folder of that name in the current one is no package yet: it may be what is written to.
    here = Path.cwd()
    if spec.origin is None and all(Path(place).parent == here for place in places):
        return None
    return spec.origin or ", ".join(places)


def _installed(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def _proposed(name: str) -> str:
    words = re.findall("[a-z0-9]+", name.lower().removeprefix("zoo"))
    return (_PREFIX + "-".join(words or ["acme"]))[:_LONGEST].rstrip("-")
