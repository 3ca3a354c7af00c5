"""What each cluster watches, loves and avoids: counts from one pass, tables from the counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from tastemap.blocks import Block, BlockMatrix
from tastemap.catalogue import Catalogue
from tastemap.decomposition.principal import Decomposition
from tastemap.segmentation import Segmentation

Array = npt.NDArray[np.float64]

N_ENDS = 10
"""Movies named at each end of a component."""
MAX_HISTOGRAM_BARS = 20


@dataclass(frozen=True)
class Aggregates:
    """Counts and sums a cluster (k of them), movie (d) and rating bar (h)."""

    n_ratings: Array
    """Of shape (k, d)."""
    rating_sums: Array
    """Of shape (k, d)."""
    histogram: Array
    """Ratings in each bar, of shape (k, h)."""
    n_users: Array
    """Of shape (k,)."""
    distance_sums: Array
    """Of shape (k,)."""
    membership_sums: Array
    """Of shape (k,)."""


def rating_bars(scale: tuple[float, float]) -> Array:
    """Centres of the bars of a histogram of ratings: half points, or 20 bars on a longer scale."""
    low, high = scale
    n_halves = round((high - low) * 2) + 1
    return np.linspace(low, high, min(max(n_halves, 2), MAX_HISTOGRAM_BARS))


def aggregate(matrix: BlockMatrix, segmentation: Segmentation, bars: Array) -> Aggregates:
    """Count what the clusters rated: one pass over the blocks, k · d · 16 bytes a task."""
    k, d = segmentation.model.n_clusters, matrix.n_columns

    def partial(blocks: Iterator[Block]) -> Sequence[Array]:
        totals = [np.zeros(shape) for shape in shapes]
        for block in blocks:
            for total, found in zip(totals, aggregate_block(block, segmentation, bars), strict=True):
                total += found
        return totals

    shapes = [(k, d), (k, d), (k, bars.size), (k,), (k,), (k,)]
    return Aggregates(*matrix.sum_over_blocks(partial, shapes))


def aggregate_block(block: Block, segmentation: Segmentation, bars: Array) -> list[Array]:
    """The fields of `Aggregates` for one block."""
    ratings = block.matrix
    found = segmentation.assign(ratings)
    n, k = len(found.clusters), segmentation.model.n_clusters
    members = sparse.csr_matrix((np.ones(n), (found.clusters, np.arange(n))), shape=(k, n))
    ones = ratings.copy()
    ones.data = np.ones(ratings.nnz)
    stars = ratings.astype(np.float64)
    bar = _nearest_bar(stars.data, bars)
    cluster_of = np.repeat(found.clusters, np.diff(ratings.indptr))
    histogram = np.bincount(cluster_of * bars.size + bar, minlength=k * bars.size).reshape(k, bars.size)
    return [
        (members @ ones).toarray(),
        (members @ stars).toarray(),
        histogram.astype(np.float64),
        np.bincount(found.clusters, minlength=k).astype(np.float64),
        np.bincount(found.clusters, weights=found.distances, minlength=k),
        np.bincount(found.clusters, weights=found.memberships, minlength=k),
    ]


def _nearest_bar(ratings: Array, bars: Array) -> npt.NDArray[np.int64]:
    nearest: npt.NDArray[np.int64] = np.rint((ratings - bars[0]) / (bars[1] - bars[0])).astype(np.int64)
    return nearest.clip(0, bars.size - 1)


def profiles(aggregates: Aggregates, bars: Array) -> pd.DataFrame:
    """The `profiles` table without `activity`."""
    n_users, n_ratings = aggregates.n_users, aggregates.n_ratings.sum(axis=1)
    histograms = [
        [{"rating": float(rating), "n_ratings": int(n)} for rating, n in zip(bars, row, strict=True)]
        for row in aggregates.histogram
    ]
    return pd.DataFrame(
        {
            "cluster": np.arange(n_users.size, dtype=np.int32),
            "n_users": n_users.astype(np.int64),
            "share": n_users / n_users.sum(),
            "n_ratings": n_ratings.astype(np.int64),
            "mean_rating": _ratio(aggregates.rating_sums.sum(axis=1), n_ratings),
            "mean_distance": _ratio(aggregates.distance_sums, n_users),
            "mean_membership": _ratio(aggregates.membership_sums, n_users),
            "rating_histogram": histograms,
        }
    )


def cluster_movies(aggregates: Aggregates, catalogue: Catalogue, shrinkage: float) -> pd.DataFrame:
    """The `cluster_movies` table, by cluster and rank."""
    shown, sums, n_users = aggregates.n_ratings, aggregates.rating_sums, aggregates.n_users
    effect = effects(shown, sums, shrinkage)
    share_rated = _ratio(shown, n_users[:, None])
    lift = _ratio(share_rated, shown.sum(axis=0) / n_users.sum())
    cluster, movie = np.nonzero(shown)
    order = np.lexsort((movie, -effect[cluster, movie], cluster))
    cluster, movie = cluster[order], movie[order]
    starts = np.searchsorted(cluster, np.arange(n_users.size))
    return pd.DataFrame(
        {
            "cluster": cluster.astype(np.int32),
            "movie_id": catalogue.movie_ids[movie],
            "title": catalogue.titles[movie],
            "n_ratings": shown[cluster, movie].astype(np.int64),
            "share_rated": share_rated[cluster, movie],
            "mean_rating": sums[cluster, movie] / shown[cluster, movie],
            "lift": lift[cluster, movie],
            "effect": effect[cluster, movie],
            "rank": (np.arange(cluster.size) - starts[cluster] + 1).astype(np.int32),
        }
    )


def effects(n_ratings: Array, rating_sums: Array, shrinkage: float) -> Array:
    """Mean rating in a cluster minus everybody else's, shrunk towards 0, of shape (k, d).

    The difference of two means of n and m ratings is known as well as a mean of n m / (n + m); with
    that many ratings against `shrinkage` of prior weight at 0 it is pulled in. 0 where either side
    has no ratings.
    """
    others = n_ratings.sum(axis=0) - n_ratings
    difference = _ratio(rating_sums, n_ratings) - _ratio(rating_sums.sum(axis=0) - rating_sums, others)
    effective = _ratio(n_ratings * others, n_ratings + others)
    return difference * _ratio(effective, effective + shrinkage)


def cluster_genres(aggregates: Aggregates, catalogue: Catalogue) -> pd.DataFrame:
    """The `cluster_genres` table, by cluster and genre; empty where no genres are known."""
    names = sorted({genre for genres in catalogue.genres for genre in genres})
    number = {name: position for position, name in enumerate(names)}
    movie = np.repeat(np.arange(len(catalogue.genres)), [len(genres) for genres in catalogue.genres])
    genre = np.array([number[name] for genres in catalogue.genres for name in genres], dtype=np.int64)
    of_genre = sparse.csr_matrix(
        (np.ones(movie.size), (movie, genre)), shape=(len(catalogue.genres), len(names))
    )
    shown = np.asarray(aggregates.n_ratings @ of_genre)
    sums = np.asarray(aggregates.rating_sums @ of_genre)
    totals = aggregates.n_ratings.sum(axis=1)
    share = _ratio(shown, totals[:, None])
    everybody = shown.sum(axis=0) / max(totals.sum(), 1)
    cluster, column = np.nonzero(shown)
    return pd.DataFrame(
        {
            "cluster": cluster.astype(np.int32),
            "genre": np.array(names, dtype=object)[column],
            "n_ratings": shown[cluster, column].astype(np.int64),
            "share": share[cluster, column],
            "lift": _ratio(share, everybody)[cluster, column],
            "mean_rating": sums[cluster, column] / shown[cluster, column],
        }
    )


def components(decomposition: Decomposition, catalogue: Catalogue) -> pd.DataFrame:
    """The `components` table."""
    loadings = decomposition.components
    order = np.argsort(loadings, axis=0, kind="stable")
    n = min(N_ENDS, len(loadings))

    def ends(component: int, movies: npt.NDArray[np.int64]) -> list[dict[str, object]]:
        return [
            {
                "movie_id": int(catalogue.movie_ids[movie]),
                "title": catalogue.titles[movie],
                "loading": float(loadings[movie, component]),
            }
            for movie in movies
        ]

    numbers = range(loadings.shape[1])
    return pd.DataFrame(
        {
            "component": np.arange(loadings.shape[1], dtype=np.int32),
            "variance": decomposition.variance,
            "variance_ratio": decomposition.variance_ratio,
            "residual": decomposition.residuals,
            "positive": [ends(number, order[::-1][:n, number]) for number in numbers],
            "negative": [ends(number, order[:n, number]) for number in numbers],
        }
    )


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient, 0 where the denominator is."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)
