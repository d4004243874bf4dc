"""What is required of a projector of embeddings on a plane.

Shapes: N samples, D features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo.protocols import Projector
from zoo.testing.requiring import generators_untouched, require
from zoo.testing.subject import Subject

__all__ = ["CHECKS"]


def _build(subject: Subject, *, seed: int = 0) -> Projector:
    projector: Projector = subject.build(seed=seed)
    require(callable(projector), f"it built a {type(projector).__name__}, which cannot be called")
    return projector


def _embeddings(num: int, features: int) -> NDArray[np.float32]:
    """Returns two groups of points that lie apart."""
    random = np.random.default_rng(num)
    rows_ND = random.normal(size=(num, features))
    rows_ND[: num // 2] += 6
    return rows_ND.astype(np.float32)


def _points(projector: Projector, rows_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    points = projector(rows_ND)
    what = f"of {rows_ND.shape[0]} rows of {rows_ND.shape[1]}"
    if not isinstance(points, np.ndarray):
        raise AssertionError(f"it returned a {type(points).__name__}, no NumPy array")
    fits = points.shape == (len(rows_ND), 2) and points.dtype == np.float32
    shown = f"{points.dtype} {points.shape}"
    require(fits, f"{what} it makes {shown}, not float32 ({len(rows_ND)}, 2)")
    require(bool(np.isfinite(points).all()), f"{what} it makes points that are not finite")
    return points


def points_on_a_plane(subject: Subject) -> None:
    """Of N embeddings it makes N points, float32 (N, 2), finite, not all in one place."""
    points_N2 = _points(_build(subject), _embeddings(40, 16))
    require(bool((np.ptp(points_N2, axis=0) > 0).all()), "all points have one coordinate in common")


def more_features_than_images(subject: Subject) -> None:
    """So it does with more features than images, as embeddings mostly are."""
    _points(_build(subject), _embeddings(12, 300))


def three_images(subject: Subject) -> None:
    """Three images are enough."""
    _points(_build(subject), _embeddings(3, 8))


def equal_embeddings(subject: Subject) -> None:
    """Embeddings that are all the same make finite points."""
    _points(_build(subject), np.ones((12, 8), dtype=np.float32))


def deterministic_by_seed(subject: Subject) -> None:
    """Built twice with one seed it makes the same points, and uses no global generator."""
    rows_ND = _embeddings(30, 8)
    with generators_untouched("it"):
        first = _points(_build(subject, seed=5), rows_ND)
    same = np.array_equal(first, _points(_build(subject, seed=5), rows_ND))
    require(same, "built twice with seed 5 it makes other points")


def inputs_are_left_alone(subject: Subject) -> None:
    """The embeddings are not written to."""
    rows_ND = _embeddings(20, 8)
    kept = rows_ND.copy()
    _build(subject)(rows_ND)
    require(np.array_equal(rows_ND, kept), "it wrote into the embeddings")


CHECKS = (
    points_on_a_plane,
    more_features_than_images,
    three_images,
    equal_embeddings,
    deterministic_by_seed,
    inputs_are_left_alone,
)
