"""Third-party plugins read in a child process, so that nothing they do can end this one.

    this process -> one child -> a fork for each plugin -> its record as JSON

An import that exits, crashes, never ends or brings torch along costs its own fork. A fork takes a
few milliseconds, and starts without what another plugin imported, so times and heavy imports are a
plugin's own. Where there is no fork (Windows) each plugin gets a child.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

from zoo.registry.index import decoded, encoded
from zoo.registry.reading import read_plugin
from zoo.registry.records import PluginRecord

__all__ = ["child_main", "ending", "read_apart"]

LONGEST_SECONDS = 120.0
"""How long a plugin may take to declare its components: torch from a cold disk takes 20."""

_LARGEST_BYTES = 32 * 2**20
_CODE = (
    "import sys, json; request = json.load(sys.stdin); sys.path[:] = request['path']; "
    "from zoo.registry.child import child_main; child_main(request)"
)


def read_apart(
    records: Sequence[PluginRecord], *, seconds: float = LONGEST_SECONDS
) -> list[tuple[PluginRecord, dict[str, Any]]]:
    """Returns each plugin as it was read, and the same as the plain data that the index keeps.

    Args:
        records: What is known of the plugins without importing them.
        seconds: The longest that each may take.
    """
    tables: list[dict[str, Any]] = []
    while len(tables) < len(records):
        rest = records[len(tables) :]
        tables += _tables(rest if hasattr(os, "fork") else rest[:1], seconds=seconds)
    read = []
    for record, table in zip(records, tables, strict=True):
        try:
            read.append((decoded(table, record), table))
        except (TypeError, ValueError, KeyError) as error:
            broken = _broken(f"what it declares cannot be used: {error}")
            read.append((decoded(broken, record), broken))
    return read


def _tables(records: Sequence[PluginRecord], *, seconds: float) -> list[dict[str, Any]]:
    """Returns the tables of the plugins up to the one, if any, that ended the child itself."""
    names = [[record.namespace, record.module] for record in records]
    request = {"path": sys.path, "plugins": names, "seconds": seconds}
    try:
        # -P: what lies in the current folder is not what `import json` means.
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CODE], input=json.dumps(request).encode(),
            stdout=subprocess.PIPE, timeout=seconds * len(records) + 60, check=False,
        )  # fmt: skip
        output, how = done.stdout, ending(done.returncode)
    except subprocess.TimeoutExpired as error:
        output, how = error.stdout or b"", "it does not end"
    except OSError:  # there are no processes here: read where we are
        return [_read_here(namespace, module) for namespace, module in names]
    lines = output.splitlines()[: len(names)]
    if len(lines) < len(names):
        lines.append(_line(_broken(f"ended the process that read it: {how}")))
    return [json.loads(line) for line in lines]


def child_main(request: dict[str, Any]) -> None:
    """Reads the plugins of a request and prints a line of JSON for each. Runs in the child."""
    results = os.dup(1)
    os.dup2(2, 1)  # what a plugin prints is no result
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for namespace, module in request["plugins"]:
        if hasattr(os, "fork"):
            line = _read_in_fork(namespace, module, apart=results, seconds=request["seconds"])
        else:
            line = _line(_read_here(namespace, module))
        with os.fdopen(os.dup(results), "wb") as file:
            file.write(line + b"\n")


def _read_here(namespace: str, module: str) -> dict[str, Any]:
    """Imports a plugin and returns its table."""
    record = PluginRecord(namespace=namespace, module=module, distribution="", version="")
    missing = ""

    def load() -> object:
        nonlocal missing
        try:
            return EntryPoint(namespace, module, "").load()
        except ModuleNotFoundError as error:
            missing = str(error.name or "")
            raise

    read = read_plugin(load, record)
    return encoded(read, missing=missing)


def _read_in_fork(namespace: str, module: str, *, apart: int, seconds: float) -> bytes:
    """Returns the line that a fork of this process wrote about a plugin.

    Args:
        namespace: Of the plugin.
        module: Of the plugin.
        apart: A file that the plugin is not to write to.
        seconds: The longest that it may take.
    """
    reader, writer = os.pipe()
    fork = os.fork()
    if fork == 0:
        try:
            os.close(reader)
            os.close(apart)
            line = _line(_read_here(namespace, module))
            with os.fdopen(writer, "wb") as file:
                file.write(line + b"\n")
        finally:
            os._exit(0)  # without what a plugin registered for the end
    os.close(writer)
    try:
        line, stopped = _line_from(reader, seconds=seconds)
    finally:
        os.close(reader)
    if stopped:
        os.kill(fork, signal.SIGKILL)
    _, status = os.waitpid(fork, 0)
    if not line:
        stopped = stopped or f"ended the process: {ending(os.waitstatus_to_exitcode(status))}"
        return _line(_broken(f"{stopped}, when it was asked for its components"))
    return line


def _line_from(reader: int, *, seconds: float) -> tuple[bytes, str]:
    """Returns the first line of a pipe, empty if none came, and why it was not waited for."""
    until, parts, size = time.monotonic() + seconds, [], 0
    while size < _LARGEST_BYTES:
        ready, _, _ = select.select([reader], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return b"", f"took longer than {seconds:g} s"
        if not (part := os.read(reader, 1 << 20)):
            return b"", ""
        parts.append(part)
        size += len(part)
        if part.endswith(b"\n"):
            return b"".join(parts)[:-1], ""
    return b"", f"declared more than {_LARGEST_BYTES / 2**20:.0f} MiB"


def _line(table: dict[str, Any]) -> bytes:
    return json.dumps(table).encode()


def _broken(cause: str) -> dict[str, Any]:
    record = PluginRecord(namespace="", module="", distribution="", version="", status="broken")
    return {**encoded(record), "cause": cause}


def ending(code: int) -> str:
    """Returns how a process ended in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
