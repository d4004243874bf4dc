"""A process that reads pickled networks and says what they give: ``python -m`` this module.

Spawning a process for each network would take four seconds each, most of it to import torch. So
one stays, and answers as long as its standard input is open. What it reads comes from the process
that started it, and from nobody else: pickle runs what it is told.

A message is its length, eight bytes, and itself.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import threading
from functools import lru_cache
from typing import IO, Any

__all__ = ["UnpickledElsewhere", "other_process"]

_PATIENCE_SECONDS = 120.0


class UnpickledElsewhere:
    """A Python process beside this one, with the same path to import from.

    Args:
        path: Its ``sys.path``.
    """

    def __init__(self, path: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zoo.testing.unpickler"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        )  # fmt: skip
        atexit.register(self.close)

    def logits(self, pickled: bytes, images: list[object]) -> list[list[float]] | str:
        """Returns the logits of a pickled network in evaluation mode, or what went wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        hung = threading.Timer(_PATIENCE_SECONDS, self._process.kill)
        hung.start()
        try:
            _write(self._process.stdin, pickle.dumps((pickled, images)))
            answer: list[list[float]] | str = pickle.loads(_read(self._process.stdout))
        except (OSError, EOFError, ValueError) as error:
            self.close()
            other_process.cache_clear()
            return f"the process ended with code {self._process.returncode} ({error})"
        finally:
            hung.cancel()
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:  # what was not yet written cannot be
                    continue


@lru_cache(maxsize=1)
def other_process(path: tuple[str, ...]) -> UnpickledElsewhere:
    """Returns the process that answers, started when it is first asked for."""
    return UnpickledElsewhere(path)


def _write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(len(message).to_bytes(8, "big") + message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    """Returns the next message.

    Raises:
        EOFError: There is none, or not all of it.
    """
    size = int.from_bytes(pipe.read(8), "big")
    message = pipe.read(size)
    if not size or len(message) < size:
        raise EOFError("no answer")
    return message


def _answer(message: bytes) -> list[list[float]] | str:
    try:
        pickled, images = pickle.loads(message)
        network: Any = pickle.loads(pickled)
        import torch

        with torch.no_grad():
            found: list[list[float]] = network(torch.tensor(images)).float().tolist()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return found


def main() -> None:
    """Answers until nobody asks."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(2, 1)  # what a network prints is no answer
    while True:
        try:
            message = _read(sys.stdin.buffer)
        except EOFError:
            return
        _write(pipe, pickle.dumps(_answer(message)))


if __name__ == "__main__":
    main()
