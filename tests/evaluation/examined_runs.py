"""What the tests of examined runs share."""

from __future__ import annotations

from zoo.evaluation.examined import examine

TINY = {"model": "lenet", "img_size": 16, "batch_size": 8, "threads": 1, "lr": 5e-3, "workers": 1}


def computed(run, registry, **options):
    """Returns what is examined, and whether predictions were computed for it."""
    told = []
    found = examine(run, registry=registry, progress=lambda *one: told.append(one), **options)
    return found, any(what.startswith("predictions") for what, _, _ in told)
