"""KMeans and its relatives behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from tastemap.clustering import bisecting, cosine, kmeans, mixture, refinement
from tastemap.clustering.centres import unit
from tastemap.clustering.estimation import TOLERANCE, Clustering, Estimate, Fitted, converge
from tastemap.clustering.lloyd import plus_plus
from tastemap.clustering.scores import ScoreMatrix
from tastemap.config import ClusteringConfig

Array = npt.NDArray[np.float64]

_STARTS: dict[str, Callable[..., Sequence[Fitted[Estimate]]]] = {
    "kmeans": kmeans.starts,
    "bisecting": bisecting.starts,
    "mixture": mixture.starts,
    "cosine": cosine.starts,
}
_BEGIN: dict[str, Callable[[Array, Array], Estimate]] = {
    "kmeans": kmeans.begin,
    "bisecting": kmeans.begin,
    "mixture": mixture.begin,
    "cosine": cosine.begin,
}


def fit(scores: ScoreMatrix, n_clusters: int, config: ClusteringConfig, seed: int) -> Clustering:
    """Cluster scores: `fit_many` for one number of clusters on all components."""
    (found,) = fit_many(scores, [(None, n_clusters)], config, seed)
    return found


def fit_many(
    scores: ScoreMatrix, shapes: Sequence[tuple[int | None, int]], config: ClusteringConfig, seed: int
) -> list[Clustering]:
    """Cluster scores by the algorithm that is configured, for several shapes, in common passes.

    Parameters
    ----------
    scores : ScoreMatrix
        Read once: what is read again and again is persisted here.
    shapes : sequence of pairs of int
        m, the leading components to cluster on (None: all), and k, the clusters; fewer result where there
        are fewer distinct rows, or where a cluster loses all of its rows.
    config : ClusteringConfig
        `n_clusters` is not looked at.
    seed : int
        Of the sample and the starts.
    """
    starts = partial(
        _STARTS[config.algorithm], max_iterations=config.max_iterations, restarts=config.restarts, seed=seed
    )
    moves = bisecting.MOVES if config.algorithm == "bisecting" else config.max_iterations
    return refinement.fit_many(scores, shapes, starts, moves, seed)


def fit_from(
    scores: ScoreMatrix, centres: Array, n_clusters: int, config: ClusteringConfig, seed: int
) -> Clustering:
    """Cluster scores from given centres of shape (k, m) on, with further ones far from them.

    `bisecting` goes on as `kmeans` does: what has been split stays split.
    """
    as_compared = unit if config.algorithm == "cosine" else np.asarray

    def starts(sample: Array, k: int) -> Sequence[Fitted[Estimate]]:
        rng = np.random.default_rng(seed)
        whole = plus_plus(as_compared(sample), k, rng, given=as_compared(centres))
        begun = _BEGIN[config.algorithm](sample, whole)
        return [converge(sample, begun, config.max_iterations, TOLERANCE)]

    (found,) = refinement.fit_many(scores, [(None, n_clusters)], starts, config.max_iterations, seed)
    return found
