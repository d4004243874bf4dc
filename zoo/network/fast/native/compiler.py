"""Makes the library with the machine's own C compiler, or finds it as it was made before.

    CACHE/compiled/KEY/kernels.so    the library
    CACHE/compiled/KEY/about.json    what it is, and what made it

KEY is a digest of the sources, the compiler's command and its flags.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch

__all__ = ["Code", "Compilation", "Function", "Library", "compiled", "compiler", "loaded"]

Function: TypeAlias = (
    "tuple[str, tuple[type[ctypes._SimpleCData[Any]], ...], type[ctypes._SimpleCData[Any]]]"
)
"""A function's name, the types of what it takes, and of what it returns."""

_INSTRUCTIONS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}
# By torch.backends.cpu.get_cpu_capability(): those that the code was measured with.

_FLAGS = (
    *("-O3", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno"),
    *("-fno-trapping-math", "-mprefer-vector-width=512"),
)

_PATIENCE_SECONDS = 60.0


class Library(Protocol):
    """A compiled library, by its path."""

    def __init__(self, path: Path) -> None: ...

    @property
    def usable(self) -> bool:
        """Whether it can be loaded here."""
        ...

    def computes_right(self) -> bool:
        """Returns whether it gives what torch gives: a compiler may have made wrong code of it."""
        ...


_LibraryT = TypeVar("_LibraryT", bound=Library)


@dataclass(frozen=True, slots=True)
class Code(Generic[_LibraryT]):
    """The source of a library.

    Args:
        what: What it computes, for those who look into the cache.
        sources: Names of its files in this folder. Those that end in ``.c`` are compiled.
        library: What calls it.
        openmp: Whether it computes with several threads, which are torch's.
    """

    what: str
    sources: tuple[str, ...]
    library: type[_LibraryT]
    openmp: bool = False


@dataclass(frozen=True, slots=True)
class Compilation(Generic[_LibraryT]):
    """What came of asking for a library.

    Args:
        kernels: It; None where there is none.
        seconds: What the compiler took; 0 where it had no work.
        reason: Why there is none; empty on machines that it is not for.
    """

    kernels: _LibraryT | None
    seconds: float = 0.0
    reason: str = ""


def compiler() -> tuple[str, ...]:
    """Returns the command of the machine's C compiler in its parts, nothing if there is none."""
    if named := os.environ.get("CC"):
        try:
            return tuple(shlex.split(named))
        except ValueError:  # a quotation that does not end
            return (named,)
    found = shutil.which("gcc") or shutil.which("cc")
    return () if found is None else (found,)


@functools.cache
def compiled(code: Code[_LibraryT], cache: Path) -> Compilation[_LibraryT]:
    """Returns a library for this machine; the compiler makes it if none is kept.

    Args:
        code: Which.
        cache: The folder of what can be made again.
    """
    instructions = _INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability())
    if sys.platform != "linux" or platform.machine() != "x86_64" or instructions is None:
        return Compilation(None)  # it was not measured there
    if code.openmp and not _shares_openmp():
        return Compilation(None, reason="torch's threads are not those of GNU OpenMP")
    if not (command := compiler()):
        return Compilation(None, reason="no C compiler (gcc)")
    threads = ("-fopenmp",) if code.openmp else ()
    arguments = (*command, *instructions, *_FLAGS, *threads)
    folder = Path(__file__).parent
    texts = [(folder / name).read_bytes() for name in code.sources]
    digest = hashlib.sha256(b"\0".join([json.dumps(arguments).encode(), *texts])).hexdigest()
    path, seconds = cache / "compiled" / digest[:16] / "kernels.so", 0.0
    if not _is_whole(path):
        started = time.perf_counter()
        try:
            _compile(code, arguments, folder, path)
        except (OSError, subprocess.SubprocessError) as error:
            return Compilation(None, reason=_described(error))
        seconds = time.perf_counter() - started
    kernels = code.library(path)
    if not kernels.usable:
        return Compilation(None, seconds, reason=f"what {command[0]} made cannot be loaded")
    if not kernels.computes_right():
        return Compilation(None, seconds, reason=f"what {command[0]} made does not compute right")
    return Compilation(kernels, seconds)


@functools.cache
def loaded(path: Path, functions: tuple[Function, ...]) -> ctypes.CDLL | None:
    """Returns a library, told what its functions take; None if it cannot be loaded."""
    try:
        library = ctypes.CDLL(str(path))
        for name, takes, returns in functions:
            function = getattr(library, name)  # kept by the library; library[name] would not be
            function.argtypes, function.restype = takes, returns
    except (OSError, AttributeError):
        return None
    return library


def _is_whole(path: Path) -> bool:
    """Whether a library is kept, and as it was made: a part of one can end the process."""
    try:
        about = json.loads(path.with_name("about.json").read_bytes())
        return bool(about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _shares_openmp() -> bool:
    """Whether torch's threads are those of GNU's OpenMP, and no other library of the kind is here.

    Another one would have threads of its own, which look for work while torch's compute.
    """
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "/libgomp" in maps and "/libiomp" not in maps and "/libomp" not in maps


def _compile(code: Code[Any], arguments: tuple[str, ...], folder: Path, path: Path) -> None:
    """Makes a library, all of it or nothing.

    Raises:
        OSError: The folder cannot be written to, or the compiler cannot be started.
        subprocess.SubprocessError: The compiler found fault, or did not end.
    """
    kind = path.parent.parent
    kind.mkdir(parents=True, exist_ok=True)
    sources = [name for name in code.sources if name.endswith(".c")]

    def run(*more: str) -> None:
        subprocess.run(
            [*arguments, *more], cwd=folder, check=True, capture_output=True, text=True,
            errors="replace", timeout=_PATIENCE_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=kind) as new:
        made, about = Path(new, path.name), Path(new, "about.json")
        objects = [str(Path(new, f"{name}.o")) for name in sources]
        with ThreadPoolExecutor() as pool:
            jobs = [
                pool.submit(run, "-c", "-o", made_of, name)
                for name, made_of in zip(sources, objects, strict=True)
            ]
        for job in jobs:
            job.result()
        run("-o", str(made), *objects, "-lm")
        notes = {
            "what": f"{code.what} in C",
            "made by": arguments,
            "sha256": hashlib.sha256(made.read_bytes()).hexdigest(),
        }
        about.write_text(json.dumps(notes), encoding="utf-8")
        path.parent.mkdir(exist_ok=True)
        for file in (about, made):  # the library last: with it the entry is whole
            os.replace(file, path.with_name(file.name))


def _described(error: OSError | subprocess.SubprocessError) -> str:
    """Returns a line that says what went wrong."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line.strip() for line in error.stderr.splitlines() if "error" in line]
        return f"{error.cmd[0]} failed: {(lines or ['it does not say why'])[0][:200]}"
    return str(error)
