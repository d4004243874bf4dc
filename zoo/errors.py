"""Every error that zoo raises on purpose, and the exit code that each one means.

    ZooError                     1   a bug in zoo, unless a subclass says otherwise
    ├── UsageError               2   a flag, a configuration key or a combination that cannot work
    │   ├── UnknownName          2   no component of that name
    │   ├── AmbiguousName        2   several plugins offer that name
    │   └── SpecError            2   a spec string that does not parse
    ├── DataError                3   the images or labels
    ├── CheckpointError          4   a checkpoint or weights file
    ├── PluginError              5   a plugin that cannot be imported or breaks its contract
    ├── MachineError             6   disk, memory, permissions, a lost worker, no network
    ├── NonFiniteError           7   a loss, weight or answer that is NaN or infinite
    ├── BusyError                8   another process owns the run folder
    ├── RefusedError             9   refused for safety
    └── CheckFailed             10   a check that was asked for did not hold: --assert-better

A message is at most four lines: what was asked, what was found, what is safe, what to do.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

__all__ = [
    "AmbiguousName",
    "BusyError",
    "CheckFailed",
    "CheckpointError",
    "DataError",
    "MachineError",
    "NonFiniteError",
    "PluginError",
    "RefusedError",
    "SpecError",
    "UnknownName",
    "UsageError",
    "ZooError",
    "as_zoo_error",
    "count_of",
    "in_words",
    "printable",
]


class ZooError(Exception):
    """Base of every error that zoo raises on purpose.

    Args:
        what: What was asked and what is wrong with it, in one line.
        found: What was found instead.
        kept: What is safe in spite of the error.
        hint: What to do, best as a command that can be typed.
    """

    exit_code = 1

    def __init__(self, what: str, *, found: str = "", kept: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.found, self.kept, self.hint = what, found, kept, hint

    @property
    def brief(self) -> str:
        r"""What is wrong in one line, for a note; the problems that it lists go on behind a colon.

        >>> DataError("2 images\n  - a.png: empty\n  - b.png: cut short").brief
        '2 images: a.png: empty; b.png: cut short'
        """
        first, *listed = self.what.splitlines() or [""]
        return ": ".join(filter(None, (first, "; ".join(line.strip(" -") for line in listed))))

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("found", self.found), ("kept", self.kept), ("try", self.hint)):
            if text:
                lines.append(f"  {label + ':':<6} {text}")
        return "\n".join(lines)


class UsageError(ZooError):
    """A flag, a configuration key or a combination of components that cannot work."""

    exit_code = 2

    @classmethod
    def together(cls, problems: Iterable[ZooError]) -> ZooError:
        """Returns one error that lists all problems, or the problem itself when there is one."""
        listed = list(problems)
        if len(listed) == 1:
            return listed[0]
        details = ["; ".join(filter(None, (p.found, p.hint))) for p in listed]
        body = "\n".join(
            f"  - {problem.what}" + (f" ({detail})" if detail else "")
            for problem, detail in zip(listed, details, strict=True)
        )
        error = cls(f"{len(listed)} problems, nothing was started:\n{body}")
        codes = {problem.exit_code for problem in listed}
        if len(codes) == 1:  # several problems with the data are exit 3, not 2
            error.exit_code = codes.pop()
        return error


class UnknownName(UsageError):
    """No component of that kind has that name."""


class AmbiguousName(UsageError):
    """Several plugins offer a component of that name and none is preferred."""


class SpecError(UsageError):
    """A spec string that does not parse, or an argument outside its range."""


class DataError(ZooError):
    """Images or labels that cannot be used."""

    exit_code = 3


class CheckpointError(ZooError):
    """A checkpoint or weights file that cannot be used."""

    exit_code = 4


class PluginError(ZooError):
    """A plugin that cannot be imported, or that breaks the contract of its kind."""

    exit_code = 5


class MachineError(ZooError):
    """The machine: disk, memory, permissions, a lost worker, no network."""

    exit_code = 6


class NonFiniteError(ZooError):
    """A loss, a weight or an answer that is NaN or infinite."""

    exit_code = 7


class BusyError(ZooError):
    """Another process owns the run folder."""

    exit_code = 8


class RefusedError(ZooError):
    """Something that zoo refuses for safety."""

    exit_code = 9


class CheckFailed(ZooError):
    """A check that the user asked for was made, and it did not hold."""

    exit_code = 10


def as_zoo_error(error: Exception) -> ZooError:
    """Returns an error as it is told to the user: itself, a full machine, or a bug in zoo."""
    if isinstance(error, ZooError):
        return error
    if isinstance(error, MemoryError):
        return MachineError("the memory is used up", hint="a smaller --batch-size or --ram")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(
            f"writing failed: {error.strerror}", found=printable(error.filename or ""),
            hint="make room there, or write to another place",
        )  # fmt: skip
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UsageError(
            "a name is too long for the file system", found=printable(error.filename or "")[:80],
            hint="a shorter --name, --runs, --data or --weights",
        )  # fmt: skip
    import traceback

    where = traceback.extract_tb(error.__traceback__)[-1]
    return ZooError(
        f"this is a bug in zoo: {in_words(error)}",
        found=f"{where.filename}:{where.lineno}",
        hint="the same command with --debug, and report what it prints",
    )


_LONGEST = 300
# Characters of a foreign error's text that are shown: a compiler brought 200 kB of warnings along.


def in_words(error: BaseException, *, kind: bool = True) -> str:
    r"""Returns a foreign error's kind and text in one line, without the later pages of a long one.

    Args:
        error: Of a library, a plugin or the system.
        kind: Whether its class is named where it has a text.

    >>> in_words(OSError("no\nroom")), in_words(OSError("no room"), kind=False)
    ('OSError: no room', 'no room')
    """
    try:
        text = " ".join(str(error).split())
    except Exception:  # a __str__ of a plugin's own
        text = "its message cannot be shown"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ... ({len(text):,} characters)"
    shown = [type(error).__name__] * (kind or not text) + [text] * bool(text)
    return printable(": ".join(shown))


def count_of(number: int, thing: str, things: str = "") -> str:
    """Returns a number of things for people.

    >>> count_of(1, "image"), count_of(2000, "image"), count_of(0, "class", "classes")
    ('1 image', '2,000 images', '0 classes')
    """
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def printable(text: object) -> str:
    r"""Returns a name from data or a plugin so that it cannot act on a terminal.

    Control, bidirectional and surrogate characters are shown as escapes.

    >>> printable("cat\x1b[31m\u202e")
    'cat\\x1b[31m\\u202e'
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        char
        if char.isprintable() or char == " "
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in shown
    )
