"""What each cluster watches, loves and avoids: counts from one pass, tables from the counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import methodcaller
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from tastemap import lookup, vectors
from tastemap.blocks import Block, BlockFrame
from tastemap.catalogue import Catalogue
from tastemap.clustering.assignment import Assignment, Clusters
from tastemap.decomposition.principal import Decomposition
from tastemap.intervals import effect_interval, lift_interval, variance_within
from tastemap.segmentation import ScoredBlock

Array = npt.NDArray[np.float64]

N_ENDS = 10
"""Movies named at each end of a component."""
MAX_HISTOGRAM_BARS = 21
CELLS = 1 << 21
"""Cells of the dense arrays, users by rating bars, labels or years, that are made at a time: 16 MB."""
VALUES = 1 << 18
"""Ratings counted at a time, or as many as there are cells of clusters and movies: 100 bytes each."""


@dataclass(frozen=True)
class Aggregates:
    """Counts and sums a cluster (k of them), movie (d), and rating bar (h), label of movies (l), year (y)."""

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
    bar_users: Array
    """Users with a rating in each bar, of shape (k, h)."""
    square_sums: Array
    """Squares of ratings, of shape (k,)."""
    label_users: Array
    """Users who rated a movie that goes by the label, of shape (k, l)."""
    year_ratings: Array
    """Ratings given in each year, of shape (k, y)."""
    year_users: Array
    """Users who gave a rating in each year, of shape (k, y)."""
    users_by_n_ratings: Array
    """Users by their number of ratings, from 0 to d, of shape (k, d + 1)."""


@dataclass(frozen=True)
class Axes:
    """What ratings are counted by, beside clusters and movies."""

    bars: Array
    """Centres of the bars of a histogram of ratings, of shape (h,): `rating_bars`."""
    labels: sparse.csr_matrix
    """Labels of the movies, of shape (d, l): `Labels.of_movies`."""
    years: tuple[int, ...]
    """Years since 1970 that ratings were given in, y of them."""


def rating_bars(scale: tuple[float, float]) -> Array:
    """Centres of the bars of a histogram of ratings: half points, or 21 bars on a longer scale."""
    low, high = scale
    n_halves = round((high - low) * 2) + 1
    return np.linspace(low, high, min(max(n_halves, 2), MAX_HISTOGRAM_BARS))


def aggregate(scored: BlockFrame[ScoredBlock], clusters: Clusters, axes: Axes) -> Aggregates:
    """Count what the clusters rated: one pass over the blocks, k · d · 24 bytes a task."""
    k, d = clusters.n_clusters, axes.labels.shape[0]
    h, n_labels, y = axes.bars.size, axes.labels.shape[1], len(axes.years)
    at_most = max(1, CELLS // (h + n_labels + y)), max(VALUES, k * d)

    def partial(blocks: Iterator[ScoredBlock]) -> Sequence[Array]:
        totals = [np.zeros(shape) for shape in shapes]
        # No loop over blocks, whose variable would keep one while the next is loaded.
        parts = chain.from_iterable(map(methodcaller("in_parts", *at_most), blocks))
        for found in map(of_users, parts):
            for total, part in zip(totals, found, strict=True):
                total += part
        return totals

    def of_users(users: ScoredBlock) -> list[Array]:
        return aggregate_block(users.ratings, clusters.assign(users.scores.scores), axes)

    shapes = [(k, d), (k, d), (k, h), (k,), (k,), (k,), (k, h), (k,), (k, n_labels), (k, y), (k, y)]
    shapes.append((k, d + 1))
    return Aggregates(*scored.sum_over_blocks(partial, shapes))


def aggregate_block(block: Block, found: Assignment, axes: Axes) -> list[Array]:
    """The fields of `Aggregates` for one block, whose users were found to be of these clusters."""
    ratings = block.matrix
    n, k, d = *found.probabilities.shape, ratings.shape[1]
    members = sparse.csr_matrix((np.ones(n), (found.clusters, np.arange(n))), shape=(k, n))
    stars = ratings.data.astype(np.float64)
    n_ratings = np.diff(ratings.indptr)
    user = np.repeat(np.arange(n), n_ratings)
    # Of cluster and movie together: half the time of products of sparse matrices.
    cell = np.repeat(found.clusters * np.int64(d), n_ratings) + ratings.indices
    in_bars = _by_user(user, _nearest_bar(stars, axes.bars), n, axes.bars.size)
    in_years = _by_user(*_dated(user, block.years, axes.years), n, len(axes.years))
    squares = vectors.row_sums(stars**2, ratings)
    active = np.bincount(found.clusters * (d + 1) + n_ratings, minlength=k * (d + 1))
    return [
        np.bincount(cell, minlength=k * d).reshape(k, d).astype(np.float64),
        np.bincount(cell, weights=stars, minlength=k * d).reshape(k, d),
        members @ in_bars,
        np.bincount(found.clusters, minlength=k).astype(np.float64),
        np.bincount(found.clusters, weights=found.distances, minlength=k),
        np.bincount(found.clusters, weights=found.memberships, minlength=k),
        members @ (in_bars > 0).astype(np.float64),
        members @ squares,
        members @ _having(user, ratings.indices, axes.labels, n).astype(np.float64),
        members @ in_years,
        members @ (in_years > 0).astype(np.float64),
        active.reshape(k, d + 1).astype(np.float64),
    ]


def _by_user(user: npt.NDArray[np.int64], place: npt.NDArray[Any], n: int, n_places: int) -> Array:
    """Ratings of each of n users in each place, of shape (n, n_places)."""
    counts = np.bincount(user * n_places + place, minlength=n * n_places)
    return counts.reshape(n, n_places).astype(np.float64)


def _having(
    user: npt.NDArray[np.int64], movie: npt.NDArray[np.int32], labels: sparse.csr_matrix, n: int
) -> npt.NDArray[np.bool_]:
    """Whether each of n users rated a movie that goes by each of l labels, of shape (n, l).

    Label by label of the movies: where they have one, as in Netflix's list, a third of the time of a product.
    """
    n_labels, first, number = labels.shape[1], labels.indptr[:-1], np.diff(labels.indptr)
    found = np.zeros(n * n_labels, dtype=bool)
    of_user = user * n_labels
    for place in range(int(number.max(initial=0))):
        if number.min() <= place:
            more = number[movie] > place
            of_user, movie = of_user[more], movie[more]
        label = labels.indices[np.minimum(first + place, labels.nnz - 1)]  # of each movie that has so many
        found[of_user + label[movie]] = True
    return found.reshape(n, n_labels)


def _dated(
    user: npt.NDArray[np.int64], years: npt.NDArray[np.int16] | None, known: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.integer[Any]]]:
    """User and position of the year of each rating whose year is known."""
    if not known:
        return user[:0], user[:0]
    if years is None:
        raise ValueError("years are to be counted of blocks that have been loaded without them")
    place = lookup.positions(years, np.array(known, np.int16))
    there = place >= 0
    return (user, place) if there.all() else (user[there], place[there])


def _nearest_bar(ratings: Array, bars: Array) -> npt.NDArray[np.int64]:
    nearest: npt.NDArray[np.int64] = np.rint((ratings - bars[0]) / (bars[1] - bars[0])).astype(np.int64)
    return nearest.clip(0, bars.size - 1)


def profiles(aggregates: Aggregates, axes: Axes) -> pd.DataFrame:
    """The `profiles` table without `activity`."""
    n_users, n_ratings = aggregates.n_users, aggregates.n_ratings.sum(axis=1)
    histograms = [
        [{"rating": float(rating), "n_ratings": int(n)} for rating, n in zip(axes.bars, row, strict=True)]
        for row in aggregates.histogram
    ]
    by_year = [
        [{"year": 1970 + year, "n_ratings": int(n)} for year, n in zip(axes.years, row, strict=True)]
        for row in aggregates.year_ratings
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
            "rating_years": by_year,
        }
    )


def cluster_movies(aggregates: Aggregates, catalogue: Catalogue, shrinkage: float) -> pd.DataFrame:
    """The `cluster_movies` table, by cluster and rank."""
    shown, sums, n_users = aggregates.n_ratings, aggregates.rating_sums, aggregates.n_users
    effect = effects(shown, sums, shrinkage)
    share_rated = _ratio(shown, n_users[:, None])
    lift = _ratio(share_rated, shown.sum(axis=0) / n_users.sum())
    lift_low, lift_high = lift_interval(shown, n_users, lift)
    variance = variance_within(shown, sums, float(aggregates.square_sums.sum()))
    effect_low, effect_high = effect_interval(shown, effect, shrinkage, variance)
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
            "lift_low": lift_low[cluster, movie],
            "lift_high": lift_high[cluster, movie],
            "effect": effect[cluster, movie],
            "effect_low": effect_low[cluster, movie],
            "effect_high": effect_high[cluster, movie],
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
    labels = catalogue.labels()
    names = np.array(labels.genres, dtype=object)
    return _by_label(aggregates, labels.of_movies, "genre", names, labels.of_genres)


def cluster_years(aggregates: Aggregates, catalogue: Catalogue) -> pd.DataFrame:
    """The `cluster_years` table, by cluster and year of release; empty where no years are known."""
    labels = catalogue.labels()
    table = _by_label(aggregates, labels.of_movies, "year", labels.years, labels.of_years)
    return table.drop(columns="share_of_year")


def _by_label(
    aggregates: Aggregates,
    of_movies: sparse.csr_matrix,
    name: str,
    labels: npt.NDArray[Any],
    columns: slice,
) -> pd.DataFrame:
    """A row a cluster and label that somebody in it rated; the label is called `name`."""
    shown = np.asarray(aggregates.n_ratings @ of_movies[:, columns])
    sums = np.asarray(aggregates.rating_sums @ of_movies[:, columns])
    totals = aggregates.n_ratings.sum(axis=1)
    share = _ratio(shown, totals[:, None])
    everybody = shown.sum(axis=0) / max(totals.sum(), 1)
    cluster, column = np.nonzero(shown)
    return pd.DataFrame(
        {
            "cluster": cluster.astype(np.int32),
            name: labels[column],
            "n_users": aggregates.label_users[:, columns][cluster, column].astype(np.int64),
            "n_ratings": shown[cluster, column].astype(np.int64),
            "share": share[cluster, column],
            f"share_of_{name}": _ratio(shown, shown.sum(axis=0))[cluster, column],
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
