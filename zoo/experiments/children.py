"""A process that is told lines and answers in lines: a new one, or a copy of this one.

A copy has all that this process has loaded. To import torch, timm and torchvision and to read the
data takes a new one some seconds of a core, and half a gigabyte of memory of its own.

Threads are not copied. A library that has computed with several waits in the copy for those which
are not there. So a copy is made on Linux, before torch has computed with more than one, and does no
work if this process turns out to have other threads.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zoo.cores import may_have_gpu

__all__ = ["Child", "may_be_copied", "signals_held"]

_CODE = (
    "import sys, json; setup = json.loads(sys.stdin.readline()); sys.path[:] = setup['path']; "
    "from importlib import import_module; import_module(setup['module']).main(setup); "
    "from zoo.leaving import leave; leave(0)"
)
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_THREADS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that was started by this one.

    Args:
        stdin: It reads lines from here, and ends when this is closed, by whatever way.
        stdout: Where its lines come.
        wait: Returns its exit code, minus the number of the signal that killed it. Raises
            TimeoutError if it has not ended after so many seconds; None waits for ever.
        kill: Ends it at once.
    """

    stdin: IO[str]
    stdout: IO[str]
    wait: Callable[[float | None], int]
    kill: Callable[[], None]

    @classmethod
    def new(cls) -> Child:
        """Starts one that takes a setup as its first line: ``main(setup)`` of ``module`` works."""
        # -P: what lies in the current folder is not what `import json` means. A group of its own:
        # a Ctrl-C is for this process, which then ends the other one.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None

        def wait(seconds: float | None) -> int:
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                raise TimeoutError from error

        return cls(stdin=process.stdin, stdout=process.stdout, wait=wait, kill=process.kill)

    @classmethod
    def copy(cls, work: Callable[[], None], *, beside: Sequence[Child]) -> Child | None:
        """Starts one that does ``work`` with all that is loaded here; None if that is not safe.

        To be called in :func:`signals_held`: a copy has the handlers of this process at first.

        Args:
            work: Reads lines from standard input and writes lines to file descriptor 1.
            beside: The ones that were started before. It must not hold their pipes open.
        """
        from multiprocessing import get_context

        to_read, told = os.pipe()
        answered, to_write = os.pipe()
        stdin = os.fdopen(told, "w", encoding="utf-8")
        stdout = os.fdopen(answered, encoding="utf-8")
        ours = [stdin, stdout, *(file for child in beside for file in (child.stdin, child.stdout))]

        def live() -> None:
            os.setsid()
            for number in _STOPPING:
                signal.signal(number, signal.SIG_IGN)  # what came until here was not for the copy
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            atexit._clear()  # what this process is to do at its end is not the copy's
            for file in ours:
                file.close()
            for pipe, usual in ((to_read, 0), (to_write, 1)):
                if pipe != usual:  # it is where this process was started without one
                    os.dup2(pipe, usual)
                    os.close(pipe)
            sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
            work()
            atexit._run_exitfuncs()

        process = get_context("fork").Process(target=live, name="zoo-trials")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: they are looked for
            process.start()
        os.close(to_read)
        os.close(to_write)

        def wait(seconds: float | None) -> int:
            process.join(seconds)
            if process.exitcode is None:
                raise TimeoutError
            return process.exitcode

        child = cls(stdin=stdin, stdout=stdout, wait=wait, kill=process.kill)
        # After it, not before: OpenBLAS, which numpy brings, ends its own threads for a copy.
        if len(list(_THREADS.iterdir())) > 1:
            child.kill()
            child.wait(None)
            stdin.close()
            stdout.close()
            return None
        return child


@contextmanager
def signals_held() -> Iterator[None]:
    """Lets SIGINT and SIGTERM wait until the end of the block, on POSIX."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def may_be_copied() -> bool:
    """Returns whether a copy of this process could compute, as far as can be told before."""
    return (
        sys.platform == "linux"
        and "torch" not in sys.modules  # who knows what has been computed with it
        and threading.active_count() == 1
        and not may_have_gpu()  # a GPU that was asked for anything is lost to a copy
    )
