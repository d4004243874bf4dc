"""Keeping what libraries say about themselves off the screen, where the training's table is."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quietly"]


@contextmanager
def quietly(logger_name: str, *, level: int) -> Iterator[None]:
    """Shows no warning, and of this logger nothing below ``level``, inside the block.

    For a library that has been imported: many set their logger up while they are.
    """
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
