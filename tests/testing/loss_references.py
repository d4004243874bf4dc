"""Losses in NumPy and float64, from the papers: what the built-in losses are compared with.

Each takes scores x and shares t of the classes, (B, K), and returns the loss of each sample.
"""

from __future__ import annotations

import functools

import numpy as np

from zoo.testing import Example


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def cross_entropy(x, t, smoothing=0.0):
    return -((t * (1 - smoothing) + smoothing / x.shape[1]) * log_softmax(x)).sum(1)


def focal(x, t, gamma=2.0, alpha=1.0):
    p = np.exp(log_softmax(x))
    return -alpha * (t * (1 - p) ** gamma * np.log(p)).sum(1)


def bce(x, t, smoothing=0.0, sum_classes=False):
    t = t * (1 - smoothing) + smoothing / x.shape[1]
    p = 1 / (1 + np.exp(-x))
    return (np.sum if sum_classes else np.mean)(-(t * np.log(p) + (1 - t) * np.log(1 - p)), 1)


def asymmetric(x, t, gamma_neg=4.0, gamma_pos=1.0, clip=0.05):
    p = 1 / (1 + np.exp(-x))
    shifted = np.maximum(p - clip, 0)
    present = t * (1 - p) ** gamma_pos * np.log(p)
    absent = (1 - t) * shifted**gamma_neg * np.log(1 - shifted)
    return -(present + absent).sum(1)


def poly(x, t, epsilon=1.0, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / x.shape[1]
    return cross_entropy(x, t) + epsilon * (1 - (t * np.exp(log_softmax(x))).sum(1))


SETTINGS = {
    "ce": (cross_entropy, [{}, {"smoothing": 0.3}]),
    "label-smoothing": (
        lambda x, t, smoothing=0.1: cross_entropy(x, t, smoothing), [{}, {"smoothing": 0.0}],
    ),
    "focal": (focal, [{}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": 0.25}]),
    "bce": (bce, [{}, {"smoothing": 0.1}, {"sum_classes": True}]),
    "asymmetric": (
        asymmetric,
        [{}, {"gamma_neg": 2.0, "gamma_pos": 0.0, "clip": 0.0}, {"gamma_neg": 0.5}],
    ),
    "poly": (poly, [{}, {"epsilon": 2.0, "smoothing": 0.1}, {"epsilon": -1.0}]),
}  # fmt: skip
"""By name of the loss: its reference, and the arguments with which it is checked."""


def example(name, arguments):
    """What the kit is told of one setting of a loss."""
    per_sample = functools.partial(SETTINGS[name][0], **arguments)

    def reference(logits, target):
        x = logits.double().numpy()
        t = target.double().numpy() if target.ndim == 2 else np.eye(x.shape[1])[target.numpy()]
        return per_sample(x, t).mean()

    return Example(arguments=arguments, reference=reference)
