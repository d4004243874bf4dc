"""Small files in a run folder that are either the old or the new one, never half of one."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["read_id", "write_id", "write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Puts a file with this text in place of the one that is there, if any."""
    # The start of the name is what the run folder's owner clears away after a kill.
    beside = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_id(path: Path) -> str | None:
    """Returns the id that :func:`write_id` kept, or None if there is none that can be read."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = kept.get("id") if isinstance(kept, dict) else None
    return found if isinstance(found, str) else None


def write_id(path: Path, value: str) -> None:
    """Keeps the id under which a tracker knows the run, for the day it is resumed."""
    write_whole(path, json.dumps({"id": value}) + "\n")
