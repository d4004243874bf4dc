"""The end of a process that has loaded torch, without taking apart what was loaded.

Python takes a process to pieces before it ends: 1.2 to 1.5 s for the millions of objects of torch,
torchvision and timm, which the system would free anyway (AMD EPYC, Python 3.11, torch 2.14.1).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading

__all__ = ["leave"]


def leave(code: int) -> int:
    """Ends the process, or returns the exit code where it has to end in the ordinary way.

    What was registered for the end is called and what was printed is written in both cases.

    Args:
        code: The exit code.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _part()
        return code
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    if (
        "torch" not in sys.modules  # then the ordinary way is short
        or any(not thread.daemon for thread in others)  # is waited for
        or sys.gettrace() is not None
        or sys.getprofile() is not None  # writes what it found when all is over
    ):
        return code
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # the ordinary way tells of it as Python does
        return code
    os._exit(code)


def _part() -> None:
    """Takes leave of a launcher's other processes, before what they share is taken apart."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
