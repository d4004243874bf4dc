"""The process that ``zoo verify-resume`` kills: runs or resumes, and tells what it is at.

python -m zoo.cli.victim OPTIONS_AS_JSON     its stages go to standard output, a byte each
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["main", "run_or_resume"]


def run_or_resume(options: Mapping[str, object], *, channel: int) -> int:
    """Does what a user does who types the same command again, and returns the exit code.

    Args:
        options: Keys of a configuration, with ``runs`` and ``name``.
        channel: Descriptor for the stages.
    """
    from zoo import api
    from zoo.cli.progress import LogFile
    from zoo.engine.events import Observers
    from zoo.errors import ZooError
    from zoo.evaluation.stages import StageMarks

    marks = StageMarks(channel)
    marks.watch_files()
    observer = Observers([LogFile(), marks])
    path = Path(str(options["runs"])) / str(options["name"])
    try:
        if (path / "config.toml").is_file():
            api.resume(path, observer=observer)
        else:
            api.run(options, observer=observer)
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def main() -> int:
    """Takes standard output for the stages; what is printed goes to standard error instead."""
    channel = os.dup(1)
    os.dup2(2, 1)
    return run_or_resume(json.loads(sys.argv[1]), channel=channel)


if __name__ == "__main__":
    raise SystemExit(main())
