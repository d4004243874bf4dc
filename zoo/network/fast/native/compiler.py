"""Makes the library with the machine's own C compiler, or finds it as it was made before.

    CACHE/compiled/KEY/kernels.so    the library
    CACHE/compiled/KEY/about.json    what it is, and what made it

KEY is a digest of the sources, the compiler's command and its flags.
"""

from __future__ import annotations

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
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo.network.fast.native.kernels import Kernels, computes_right

__all__ = ["Compilation", "compiled", "compiler"]

_SOURCES = ("forward.c", "backward.c")

_INSTRUCTIONS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}
# By torch.backends.cpu.get_cpu_capability(): those that the code was measured with.

_FLAGS = (
    *("-O3", "-fopenmp", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno"),
    *("-fno-trapping-math", "-mprefer-vector-width=512"),
)

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Compilation:
    """What came of asking for the library.

    Args:
        kernels: It; None where there is none.
        seconds: What the compiler took; 0 where it had no work.
        reason: Why there is none; empty on machines that it is not for.
    """

    kernels: Kernels | None
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
def compiled(cache: Path) -> Compilation:
    """Returns the library for this machine; the compiler makes it if none is kept.

    Args:
        cache: The folder of what can be made again.
    """
    instructions = _INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability())
    if sys.platform != "linux" or platform.machine() != "x86_64" or instructions is None:
        return Compilation(None)  # it was not measured there
    if not _shares_openmp():
        return Compilation(None, reason="torch's threads are not those of GNU OpenMP")
    if not (command := compiler()):
        return Compilation(None, reason="no C compiler (gcc)")
    arguments = (*command, *instructions, *_FLAGS)
    sources = Path(__file__).parent
    texts = [(sources / name).read_bytes() for name in ("depthwise.h", *_SOURCES)]
    digest = hashlib.sha256(b"\0".join([json.dumps(arguments).encode(), *texts])).hexdigest()
    path, seconds = cache / "compiled" / digest[:16] / "kernels.so", 0.0
    if not _is_whole(path):
        started = time.perf_counter()
        try:
            _compile(arguments, sources, path)
        except (OSError, subprocess.SubprocessError) as error:
            return Compilation(None, reason=_described(error))
        seconds = time.perf_counter() - started
    kernels = Kernels(path)
    if not kernels.usable:
        return Compilation(None, seconds, reason=f"what {command[0]} made cannot be loaded")
    if not computes_right(kernels):
        return Compilation(None, seconds, reason=f"what {command[0]} made does not compute right")
    return Compilation(kernels, seconds)


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


def _compile(arguments: tuple[str, ...], sources: Path, path: Path) -> None:
    """Makes the library, all of it or nothing.

    Raises:
        OSError: The folder cannot be written to, or the compiler cannot be started.
        subprocess.SubprocessError: The compiler found fault, or did not end.
    """
    kind = path.parent.parent
    kind.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=kind) as folder:
        made, about = Path(folder, path.name), Path(folder, "about.json")
        subprocess.run(
            [*arguments, "-o", str(made), *_SOURCES],
            cwd=sources, check=True, capture_output=True, text=True, timeout=_PATIENCE_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        notes = {
            "what": "depthwise convolutions in C",
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
