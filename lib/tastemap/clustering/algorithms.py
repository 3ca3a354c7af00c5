"""KMeans and its relatives behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tastemap.clustering import bisecting, cosine, estimation, kmeans, mixture
from tastemap.clustering.estimation import Clustering, Estimate, Fitted
from tastemap.clustering.scores import ScoreMatrix
from tastemap.config import ClusteringConfig

_STARTS: dict[str, Callable[..., Sequence[Fitted[Estimate]]]] = {
    "kmeans": kmeans.starts,
    "bisecting": bisecting.starts,
    "mixture": mixture.starts,
    "cosine": cosine.starts,
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
        Persisted here while it is read again and again.
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
    return estimation.fit_many(scores, shapes, starts, moves, seed)
