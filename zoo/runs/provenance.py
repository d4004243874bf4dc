"""What a run was made with, against what it would be resumed with: what differs, and how gravely.

A resume promises the same bits. What decides bits and is another thing now refuses the resume; what
may decide them, or only tells of another machine, is noted.

    environment.json, and the same record made now -> differences (refuse), drifts (note)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zoo.errors import printable

__all__ = ["code_digest", "code_digests", "differences", "drifts", "installed_version"]

_DECIDING_PACKAGES = ("classifier-zoo", "torch")
_DRIFTING = ("python", "system", "processor_count", "cpu_capability", "threads", "cuda_devices")


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a line for each difference that refuses a resume.

    These are the versions of zoo, torch and each component's package, what each component was
    asked to be, the digests of their code, the options, the teacher's weights, the data's
    fingerprint and the classes. What one of the two records does not have is not compared: an
    older zoo wrote less.

    Args:
        saved: ``environment.json`` of the run.
        now: The same record, of this process.

    >>> differences({"packages": {"torch": "2.10.0"}}, {"packages": {"torch": "2.14.1"}})
    ['torch was 2.10.0 and is 2.14.1']
    """
    lines = [
        *_changed(_section(saved, "packages"), _section(now, "packages"), only=_deciding(saved)),
        *_components(_section(saved, "components"), _section(now, "components")),
    ]
    code_saved, code_now = _section(saved, "code"), _section(now, "code")
    lines += [
        f"the code of {printable(name)} was changed"
        for name in code_saved
        if name in code_now and code_saved[name] != code_now[name]
    ]
    lines += _options(_section(saved, "options"), _section(now, "options"))
    if "teacher" in saved and "teacher" in now and saved["teacher"] != now["teacher"]:
        lines.append("the teacher is another one, or has other weights")
    return lines + _data(_section(saved, "data"), _section(now, "data"))


def drifts(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a line for each difference with which a run goes on, though maybe to other bits.

    These are other packages, threads, processor, devices and Python.

    >>> drifts({"threads": 2, "python": "3.11.7"}, {"threads": 1, "python": "3.11.7"})
    ['threads was 2 and is 1']
    """
    packages_saved, packages_now = _section(saved, "packages"), _section(now, "packages")
    deciding = _deciding(saved)
    others = [name for name in packages_saved if name not in deciding]
    return [
        *_changed(packages_saved, packages_now, only=others),
        *_changed(saved, now, only=_DRIFTING),
        *_components(_section(saved, "components"), _section(now, "components"), listening=True),
    ]


@cache
def installed_version(package: str) -> str | None:
    """Returns the version of an installed package, as of the first time that it is asked for.

    >>> installed_version("no_such_package")
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def code_digest(package: str) -> str | None:
    """Returns the SHA-256 of the Python files of a top-level package; None where there is none.

    A version says nothing while a package is being written. Nothing is imported.
    """
    spec = find_spec(package)
    if spec is None or not (spec.submodule_search_locations or spec.origin):
        return None
    roots = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [(f.relative_to(root).as_posix(), f) for root in roots for f in root.rglob("*.py")]
    if not roots and spec.origin:
        files = [(package, Path(spec.origin))]
    whole = hashlib.sha256()
    for name, file in sorted(files):
        whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def code_digests(
    packages: Iterable[str], *, digest: Callable[[str], str | None] = code_digest
) -> dict[str, str]:
    """Returns the SHA-256 of the Python files of importable top-level packages.

    Args:
        packages: Their names; one that cannot be found is left out.
        digest: Digests one of them.

    >>> sorted(code_digests(["pluggy", "no_such_package"]))
    ['pluggy']
    """
    found = ((name, digest(name)) for name in sorted(set(packages)))
    return {name: one for name, one in found if one is not None}


def _deciding(record: Mapping[str, Any]) -> list[str]:
    """Returns the packages that decide bits: also a library that a component of its name wraps."""
    specs = [str(part.get("spec", "")) for part in _section(record, "components").values()]
    wrapped = [spec.partition("/")[0] for spec in specs]
    return list(dict.fromkeys([*_DECIDING_PACKAGES, *wrapped]))


def _section(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = record.get(name)
    return section if isinstance(section, Mapping) else {}


def _changed(
    saved: Mapping[str, Any], now: Mapping[str, Any], *, only: Iterable[str]
) -> Iterator[str]:
    """Yields a line for each of these keys that both have and that differs."""
    for key in only:
        if key in saved and key in now and saved[key] != now[key]:
            yield f"{printable(key)} was {_shown(saved[key])} and is {_shown(now[key])}"


def _components(
    saved: Mapping[str, Any], now: Mapping[str, Any], *, listening: bool = False
) -> Iterator[str]:
    """Yields a line for each component that is another one, or of another version.

    Callbacks only listen, so they decide no bits: they are looked at apart.
    """
    if not saved or not now:
        return
    for part in dict.fromkeys([*saved, *now]):
        if part.startswith("callback") is not listening:
            continue
        if part not in now or part not in saved:
            when = "any more" if part in saved else "when the run began"
            yield f"there is no {printable(part)} {when}"
            continue
        yield from (
            f"{printable(part)}{' comes from' if key == 'package' else ''}: {line}"
            for key in ("spec", "package")
            for line in _changed(saved[part], now[part], only=[key])
        )


def _options(saved: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each option that both have and that differs."""
    for name, value in saved.items():
        if name in now and now[name] != value:
            was, is_now = ("none" if one is None else _shown(one) for one in (value, now[name]))
            yield f"--{printable(name).replace('_', '-')} was {was} and is {is_now}"


def _data(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    if "classes" in saved and "classes" in now and list(saved["classes"]) != list(now["classes"]):
        gone = [name for name in saved["classes"] if name not in now["classes"]]
        new = [name for name in now["classes"] if name not in saved["classes"]]
        what = [
            f"{word} {_shown(names)}" for word, names in (("gone", gone), ("new", new)) if names
        ]
        lines.append(f"the classes have changed: {', '.join(what) or 'another order'}")
    if (
        "fingerprint" in saved
        and "fingerprint" in now
        and saved["fingerprint"] != now["fingerprint"]
    ):
        lines.append("the data has changed: an image, a label or the split is another one")
    return lines


def _shown(value: object) -> str:
    """Returns a value in at most 60 characters that act on no terminal."""
    if isinstance(value, list | tuple):
        shown = ", ".join(printable(item) for item in value[:5])
        return shown[:60] + (f" and {len(value) - 5} more" if len(value) > 5 else "") or "none"
    return "not installed" if value is None else printable(value)[:60]
