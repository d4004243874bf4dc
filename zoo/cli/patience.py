"""How long torch's threads wait for each other awake, said before torch is loaded.

torch's threads meet after each operation, and GNU's OpenMP has the one that comes first look for
the others some 10 ms long, on a core that one of them may be waiting for. Alone on a machine that
does no harm. Of two runs at once on two cores each took 50 times as long for a step as one alone;
with the numbers below 6 times, and one that begins while another computes 2.8 times
(mobilenetv3_large at 64 pixels, ``benchmarks/patience.py``, ADR 27).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

__all__ = ["others_compute", "wait_patiently"]

_SAID_ALREADY = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

_LOOKS, _LOOKS_BESIDE_OTHERS = 10_000, 1_000
"""How often a thread looks before it sleeps. Alone, 1,000 cost a tenth, 10,000 little or nothing;
runs of the same number differ by as much."""


def others_compute(status: Path = Path("/proc/loadavg")) -> bool:
    """Returns whether other threads of the machine are running: in two looks, 2 ms apart.

    The load average would do worse: it goes on for minutes after a run has ended.
    """
    for pause in (0.0, 0.002):
        time.sleep(pause)
        try:
            running = int(status.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return False
        if running < 2:  # this one
            return False
    return True


def wait_patiently(
    environ: MutableMapping[str, str] = os.environ, *, busy: Callable[[], bool] = others_compute
) -> None:
    """Sets how long threads wait awake, where that can be said and the user has not.

    Args:
        environ: What GNU's OpenMP reads when it is loaded, with torch.
        busy: Whether others compute on the machine.
    """
    if sys.platform != "linux" or any(name in environ for name in _SAID_ALREADY):
        return
    environ[_SAID_ALREADY[0]] = str(_LOOKS_BESIDE_OTHERS if busy() else _LOOKS)
