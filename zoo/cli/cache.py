"""``zoo cache``: what is kept because it can be made again, and its end."""

from __future__ import annotations

import time

import click

from zoo.cli.console import echo, print_json, print_table
from zoo.data.cache import (
    CacheEntry,
    cache_entries,
    cache_folder,
    cache_limit_bytes,
    remove_entry,
    remove_leftovers,
)
from zoo.errors import BusyError, UsageError, count_of, printable

__all__ = ["cache"]


@click.group("cache")
def cache() -> None:
    """Show and clear what is kept: frozen features, decoded images, tuned settings, compiled code.

    All of it is made again when it is missing. It lies in ZOO_CACHE, else in the user's cache
    folder. Frozen features take 10 GB at most (ZOO_CACHE_GB); the least recently used go first.
    """


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List what is kept, the most recently used first."""
    root = cache_folder()
    entries = cache_entries(root)
    if as_json:
        print_json({
            "folder": str(root), "limit_bytes": cache_limit_bytes(),
            "entries": [
                {
                    "kind": entry.kind, "key": entry.key, "bytes": entry.bytes, "used": entry.used,
                    "what": entry.what,
                }
                for entry in entries
            ],
        })  # fmt: skip
        return
    if entries:
        print_table(
            ("key", "kind", "size", "used", "what"),
            [(e.key, e.kind, _size(e.bytes), _ago(e.used), e.what) for e in entries],
        )
    total = _size(sum(entry.bytes for entry in entries))
    click.echo(
        f"{count_of(len(entries), 'entry', 'entries')}, {total}, in {printable(root)}", err=True
    )


@cache.command("clear")
@click.argument("keys", nargs=-1, metavar="[KEY...]")
def clear(keys: tuple[str, ...]) -> None:
    """Remove what is kept: all of it, or the entries of these KEYs or beginnings of keys."""
    root = cache_folder()
    entries = _named(cache_entries(root), keys)
    if not keys:
        remove_leftovers(root)
    kept = [entry for entry in entries if not remove_entry(entry)]
    removed = [entry for entry in entries if entry not in kept]
    freed = _size(sum(entry.bytes for entry in removed))
    echo(f"removed {count_of(len(removed), 'entry', 'entries')}, {freed}")
    if kept:
        raise BusyError(
            f"{count_of(len(kept), 'entry', 'entries')} in use by a process: kept",
            found=", ".join(printable(entry.key) for entry in kept[:3]),
            hint="zoo cache clear, when the run has ended",
        )


def _named(entries: list[CacheEntry], keys: tuple[str, ...]) -> list[CacheEntry]:
    """Returns the entries of these keys, all of them without any.

    Raises:
        UsageError: A key is of none, or of several.
    """
    if not keys:
        return entries
    chosen: dict[str, CacheEntry] = {}
    problems = []
    for key in keys:
        found = [e for e in entries if e.key == key] or [
            e for e in entries if key and e.key.startswith(key)
        ]
        if len(found) == 1:
            chosen[found[0].key] = found[0]
            continue
        problems.append(UsageError(
            f"{printable(key)[:80]!r} is the beginning of {len(found)} keys" if found
            else f"nothing is kept under the key {printable(key)[:80]!r}",
            found=", ".join(printable(e.key) for e in (found or entries)[:5]) or "nothing is kept",
            hint="zoo cache list",
        ))  # fmt: skip
    if problems:
        raise UsageError.together(problems)
    return list(chosen.values())


def _size(num_bytes: int) -> str:
    """Returns a size in the unit that people read it in."""
    size = float(num_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def _ago(when: float) -> str:
    """Returns how long ago a time was."""
    seconds = max(0.0, time.time() - when)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
