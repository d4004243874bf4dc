"""Tests of what a user may not do, run as one who may not: root may do everything."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Acts inside the block as a user without rights of his own, where the user is root.

    What is to be imported inside is imported before: he may not read where Python stands.
    """
    root = os.geteuid() == 0
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def own_folder() -> Iterator[Path]:
    """Yields a folder that is that user's, in one that all may enter."""
    folder = Path(tempfile.mkdtemp(prefix="zoo-unprivileged-"))
    try:
        if os.geteuid() == 0:
            try:
                os.chown(folder, _NOBODY, -1)
            except OSError:  # in a container that has no other user
                pytest.skip("nobody here is not root")
        yield folder
    finally:
        shutil.rmtree(folder)
