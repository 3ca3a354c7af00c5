"""Settings fitted on a part of the ratings, and again on resampled users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemap import segmentation
from tastemap.blocks import Block, BlockMatrix
from tastemap.clustering import algorithms
from tastemap.config import Config
from tastemap.decomposition.sampling import decompose_from_sample
from tastemap.evaluation.judging import Fitted
from tastemap.evaluation.resampling import resampled
from tastemap.features import Features, check_variance
from tastemap.segmentation import Projection

Array = npt.NDArray[np.float64]
Shape = tuple[int, int]
"""Components and clusters of a setting."""


@dataclass(frozen=True)
class Fits:
    """The settings of one weighting."""

    reference: Fitted
    """On all users."""
    repeats: Sequence[Fitted]
    """On bootstrap samples of them, principal components included."""


def rating_counts(matrix: BlockMatrix) -> tuple[npt.NDArray[np.int64], Array]:
    """Number and sum of the ratings of each movie, of shape (d,) each: one pass."""
    d = matrix.n_columns

    def partial(blocks: Iterator[Block]) -> Sequence[Array]:
        totals = np.zeros((2, d))
        for block in blocks:
            ratings = block.matrix
            totals[0] += np.bincount(ratings.indices, minlength=d)
            totals[1] += np.bincount(ratings.indices, weights=ratings.data, minlength=d)
        return [totals]

    (totals,) = matrix.sum_over_blocks(partial, [(2, d)])
    return totals[0].astype(np.int64), totals[1]


def fit(
    training: BlockMatrix, features: Features, shapes: Sequence[Shape], size: tuple[int, int], config: Config
) -> Fits:
    """Fit every shape on all users and on `config.evaluation.repeats` bootstrap samples of them.

    Each sample gets principal components of its own, one PCA and one KMeans for all shapes: directions that
    chance has chosen would else be the same in every sample, and what is found in them would look stable.
    `size` are the users and ratings that are fitted on.
    """
    seed = config.run.seed
    samples = [
        training.loading(resampled(training.load, seed + number))
        for number in range(1, config.evaluation.repeats + 1)
    ]
    reference, *repeats = [
        _fit(matrix, features, shapes, size, config, seed + number)
        for number, matrix in enumerate([training, *samples])
    ]
    return Fits(reference, repeats)


def _fit(
    matrix: BlockMatrix,
    features: Features,
    shapes: Sequence[Shape],
    size: tuple[int, int],
    config: Config,
    seed: int,
) -> Fitted:
    n_components, tol = max(m for m, _ in shapes), config.decomposition.pca_tolerance
    found = decompose_from_sample(matrix, features, n_components, size, tol=tol, seed=seed)
    check_variance(found.total_variance)
    projection = Projection.of(features, found)
    scores = segmentation.scores(matrix, projection, size[0])
    clusterings = algorithms.fit_many(scores, shapes, config.clustering, seed)
    return Fitted(projection, [clustering.model for clustering in clusterings])
