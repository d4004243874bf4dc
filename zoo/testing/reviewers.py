"""What is required of a reviewer of labels.

Shapes: N images, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo.protocols import Reviewer
from zoo.testing.requiring import generators_untouched, require
from zoo.testing.subject import Subject

__all__ = ["CHECKS"]

_CLASSES, _IMAGES = 4, 80


def _build(subject: Subject) -> Reviewer:
    reviewer: Reviewer = subject.build()
    require(callable(reviewer), f"it built a {type(reviewer).__name__}, which cannot be called")
    return reviewer


def _reviewed(
    reviewer: Reviewer, probabilities_NK: NDArray[np.float32], labels_N: NDArray[np.int64]
) -> NDArray[np.float32]:
    suspicion = reviewer(probabilities_NK, labels_N)
    if not isinstance(suspicion, np.ndarray):
        raise AssertionError(f"it returned a {type(suspicion).__name__}, no NumPy array")
    fits = suspicion.shape == labels_N.shape and suspicion.dtype == np.float32
    shown = f"{suspicion.dtype} {suspicion.shape}"
    require(fits, f"of {len(labels_N)} images it makes {shown}, not float32 ({len(labels_N)},)")
    return suspicion


def _confident() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns (probabilities_NK, labels_N) of a classifier that is sure, and right on all."""
    random = np.random.default_rng(0)
    labels_N = np.arange(_IMAGES, dtype=np.int64) % _CLASSES
    rest_NK = random.dirichlet(np.ones(_CLASSES), _IMAGES) * 0.08
    rest_NK[np.arange(_IMAGES), labels_N] += 0.92
    return rest_NK.astype(np.float32), labels_N


def _by_chance(num: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(num)
    probabilities_NK = random.dirichlet(np.ones(_CLASSES), num).astype(np.float32)
    return probabilities_NK, random.integers(0, _CLASSES, num)


def suspicion_of_each_image(subject: Subject) -> None:
    """Suspicion is float32 (N,), also for one image alone."""
    reviewer = _build(subject)
    for num in (1, 7, 200):
        _reviewed(reviewer, *_by_chance(num))


def within_0_and_1(subject: Subject) -> None:
    """Suspicion is finite and within 0..1."""
    suspicion_N = _reviewed(_build(subject), *_by_chance(300))
    require(bool(np.isfinite(suspicion_N).all()), "there is suspicion that is not finite")
    low, high = float(suspicion_N.min()), float(suspicion_N.max())
    require(low >= 0 and high <= 1, f"suspicion goes from {low} to {high}, not within 0..1")


def wrong_labels_first(subject: Subject) -> None:
    """Of a sure classifier's images, the one whose label was changed is the most suspicious."""
    reviewer = _build(subject)
    for changed in (0, 37, _IMAGES - 1):
        probabilities_NK, labels_N = _confident()
        probabilities_NK[changed] = 0.01 / (_CLASSES - 1)
        probabilities_NK[changed, labels_N[changed]] = 0.99  # as sure as of any
        labels_N[changed] = (labels_N[changed] + 1) % _CLASSES
        suspicion_N = _reviewed(reviewer, probabilities_NK, labels_N)
        own = float(suspicion_N[changed])
        most = float(np.delete(suspicion_N, changed).max())
        require(own > 0, f"the image whose label was changed has suspicion {own}: no candidate")
        require(
            own > most,
            f"the image whose label was changed has suspicion {own:.3g}, another one {most:.3g}",
        )


def right_labels_are_none(subject: Subject) -> None:
    """Where a sure classifier agrees with every label, no suspicion is greater than one half."""
    most = float(_reviewed(_build(subject), *_confident()).max())
    require(
        most <= 0.5, f"a label that has a probability of 0.92 and more has suspicion {most:.3g}"
    )


def deterministic(subject: Subject) -> None:
    """Asked twice it says the same, and uses no global generator."""
    given = _by_chance(60)
    with generators_untouched("it"):
        first = _reviewed(_build(subject), *given)
    same = np.array_equal(first, _reviewed(_build(subject), *given))
    require(same, "asked twice it has other suspicions")


def order_does_not_matter(subject: Subject) -> None:
    """The images in another order have the same suspicion each, to 1e-6."""
    reviewer = _build(subject)
    probabilities_NK, labels_N = _by_chance(60)
    order = np.random.default_rng(3).permutation(60)
    straight = _reviewed(reviewer, probabilities_NK, labels_N)
    turned = _reviewed(reviewer, probabilities_NK[order], labels_N[order])
    close = np.allclose(straight[order], turned, atol=1e-6)
    require(close, "in another order images have other suspicions")


def inputs_are_left_alone(subject: Subject) -> None:
    """Probabilities and labels are not written to."""
    probabilities_NK, labels_N = _by_chance(40)
    kept = probabilities_NK.copy(), labels_N.copy()
    _build(subject)(probabilities_NK, labels_N)
    require(np.array_equal(probabilities_NK, kept[0]), "it wrote into the probabilities")
    require(np.array_equal(labels_N, kept[1]), "it wrote into the labels")


CHECKS = (
    suspicion_of_each_image,
    within_0_and_1,
    wrong_labels_first,
    right_labels_are_none,
    deterministic,
    order_does_not_matter,
    inputs_are_left_alone,
)
