"""Many numbers an image as a point on a plane, to be looked at.

Shapes: N images, D numbers an embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import PluginError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.protocols import Projector

__all__ = ["pca", "principal_components", "tsne"]

_FIRST_COMPONENTS = 50
# What t-SNE is given of each image, as its authors do: less noise, and distances that are cheap.


def principal_components(rows_ND: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Returns the projections (N, count) of rows on their first principal components.

    Each component's largest loading is positive, so the picture is not mirrored by chance. Where
    there are fewer components than asked for, the rest is zero.

    >>> principal_components(np.float32([[0, 0], [3, 4], [6, 8]]), 1).round(6).ravel().tolist()
    [-5.0, 0.0, 5.0]
    """
    centred_ND = rows_ND.astype(np.float64) - rows_ND.mean(axis=0, dtype=np.float64)
    num_rows, num_columns = centred_ND.shape
    if num_columns <= num_rows:  # the smaller of the two products: ten times as fast as an SVD
        _, vectors = np.linalg.eigh(centred_ND.T @ centred_ND)
        axes_DM = vectors[:, ::-1][:, :count]
    else:
        values, vectors = np.linalg.eigh(centred_ND @ centred_ND.T)
        kept = [i for i in range(num_rows)[::-1][:count] if values[i] > 1e-12 * values[-1]]
        axes_DM = centred_ND.T @ vectors[:, kept] / np.sqrt(values[kept])
    places = np.abs(axes_DM).argmax(axis=0)
    axes_DM = axes_DM * np.where(axes_DM[places, np.arange(axes_DM.shape[1])] < 0, -1.0, 1.0)
    projected = np.zeros((num_rows, count))
    projected[:, : axes_DM.shape[1]] = centred_ND @ axes_DM
    return projected


def pca() -> Projector:
    """Returns a projector on the two directions in which images differ most."""

    def project(embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        return principal_components(embeddings_ND, 2).astype(np.float32)

    return project


def tsne(*, perplexity: float, seed: int) -> Projector:
    """Returns a projector that keeps neighbours together and lets distances go.

    Source: van der Maaten & Hinton 2008, "Visualizing Data using t-SNE"; scikit-learn's.

    Args:
        perplexity: About how many neighbours each image has; at most a third of the images.
        seed: Of its random steps.

    Raises:
        PluginError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise PluginError(
            "t-SNE needs the package scikit-learn, which cannot be imported",
            found=f"{type(error).__name__}: {error}",
            hint="pip install 'classifier-zoo[interpret]', or --projector pca",
        ) from None

    def project(embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        num_images = len(embeddings_ND)
        if num_images < 4:
            raise UsageError(
                f"t-SNE cannot arrange {num_images} images; it needs 4", hint="--projector pca"
            )
        count = min(_FIRST_COMPONENTS, *embeddings_ND.shape)
        start_NM = principal_components(embeddings_ND, count).astype(np.float32)
        if not start_NM.any():
            return np.zeros((num_images, 2), dtype=np.float32)  # all images are the same
        model = TSNE(
            perplexity=min(perplexity, (num_images - 1) / 3), init="pca", random_state=seed
        )
        points_N2: NDArray[np.float32] = model.fit_transform(start_NM)
        return points_N2.astype(np.float32)

    return project
