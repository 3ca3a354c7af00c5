"""Samples of people for the report: bounded, and the same whatever the partitioning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from tastemap import activity
from tastemap.blocks import Block, BlockMatrix
from tastemap.config import Config
from tastemap.hashing import uniform
from tastemap.report.content import Array, Members, People, Sample
from tastemap.segmentation import Segmentation

N_PEOPLE = 2_000
"""People on the map, about: each is in the sample with the same chance."""
N_ACTIVE, N_MOST_RATED = 70, 50
"""Rows and columns of a heat map: the form of the published studies of the Netflix Prize."""
N_BEST_RANKED = 50
"""Movies of the largest effect that are looked up as well, to say what typical members love."""
N_TYPICAL = 3
"""Members nearest to the centre."""

_PEOPLE = (
    "user_id long, cluster int, membership double, n_ratings int, mean_rating double, scores array<float>"
)
_CHOSEN = ("user_id", "cluster", "n_ratings", "typical", "place")


def take(
    people: People,
    n_clusters: int,
    matrix: BlockMatrix,
    assignments: DataFrame,
    active: pd.DataFrame,
    cluster_movies: pd.DataFrame,
    movie_ids: npt.NDArray[np.int32],
    config: Config,
) -> Sample:
    """Everything that the report takes of people: one pass over the blocks, two over assignments.

    The driver receives for each of k clusters 73 rows of at most 100 ratings.

    Parameters
    ----------
    people : People
        Of `choose_people`.
    n_clusters : int
    matrix : BlockMatrix
        Ratings, of shape (n, d).
    assignments : DataFrame
        `schemas.ASSIGNMENTS`, written already.
    active : DataFrame of pandas
        Of `activity.count`.
    cluster_movies : DataFrame of pandas
        The table of that name.
    movie_ids : ndarray of shape (d,)
        By column of the matrix.
    config : Config
        Where cells of few people are not to be told, neither is what single members rated, nor how many
        are in a bar of few.
    """
    minimum = config.privacy.min_cell_users
    clusters = range(n_clusters)
    return Sample(
        people=people,
        members=_all_members(matrix, assignments, cluster_movies, movie_ids, clusters)
        if minimum == 1
        else (),
        activity=activity.bars(active, minimum),
    )


def _all_members(
    matrix: BlockMatrix,
    assignments: DataFrame,
    cluster_movies: pd.DataFrame,
    movie_ids: npt.NDArray[np.int32],
    clusters: Sequence[int],
) -> tuple[Members, ...]:
    shown = [movies_to_show(cluster_movies, cluster) for cluster in clusters]
    chosen = choose_members(assignments)
    columns = [np.searchsorted(movie_ids, movies) for movies in shown]
    ratings = look_up(matrix, chosen, columns)
    return tuple(_members(c, shown[c], chosen[chosen["cluster"] == c], ratings) for c in clusters)


def choose_people(
    matrix: BlockMatrix, segmentation: Segmentation, n_users: int, seed: int, size: int = N_PEOPLE
) -> People:
    """About `size` people, or all where there are no more, by id: one pass over the blocks."""
    share = size / n_users if n_users > size else 1.0

    def choose(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            chosen = uniform(block.ids, seed) < share
            if chosen.any():
                yield describe(Block(block.ids[chosen], block.matrix[chosen]), segmentation)

    found = matrix.map_blocks(choose, _PEOPLE).toPandas().sort_values("user_id", ignore_index=True)
    scores = np.array(found.pop("scores").tolist(), dtype=np.float64)
    return People(found, scores.reshape(len(found), segmentation.projection.components.shape[1]))


def describe(block: Block, segmentation: Segmentation) -> pa.RecordBatch:
    """People of a block and their scores, a row each."""
    scores = segmentation.projection.scores(block.matrix)
    found = segmentation.model.assign(scores)
    n_ratings = np.diff(block.matrix.indptr)
    means = np.asarray(block.matrix.astype(np.float64).sum(axis=1)).ravel() / np.maximum(n_ratings, 1)
    ends = np.arange(len(scores) + 1, dtype=np.int32) * scores.shape[1]
    columns = [
        pa.array(block.ids),
        pa.array(found.clusters),
        pa.array(found.memberships),
        pa.array(n_ratings.astype(np.int32)),
        pa.array(means),
        pa.ListArray.from_arrays(pa.array(ends), pa.array(scores.astype(np.float32).ravel())),
    ]
    names = [field.split()[0] for field in _PEOPLE.split(", ")]
    return pa.record_batch(columns, names=names)


def movies_to_show(cluster_movies: pd.DataFrame, cluster: int) -> npt.NDArray[np.int32]:
    """Ids of a cluster's `N_MOST_RATED` most rated movies, then of those of the largest effect, each once."""
    of_cluster = cluster_movies[cluster_movies["cluster"] == cluster]
    most = of_cluster.sort_values(["n_ratings", "movie_id"], ascending=[False, True]).head(N_MOST_RATED)
    best = of_cluster.sort_values("rank").head(N_BEST_RANKED)
    return pd.concat([most, best])["movie_id"].drop_duplicates().to_numpy(np.int32)


def choose_members(assignments: DataFrame) -> pd.DataFrame:
    """The most active and the most typical members of each cluster: at most 73 rows a cluster.

    Columns user_id, cluster, n_ratings, typical (or else active), place (1, 2, …). Equals go by id.
    """

    def first(order: Sequence[Column], n: int, typical: bool) -> DataFrame:
        place = F.row_number().over(Window.partitionBy("cluster").orderBy(*order))
        ranked = assignments.select("*", place.alias("place"), F.lit(typical).alias("typical"))
        return ranked.where(F.col("place") <= n).select(*_CHOSEN)

    active = first([F.desc("n_ratings"), F.asc("user_id")], N_ACTIVE, False)
    typical = first([F.asc("distance"), F.asc("user_id")], N_TYPICAL, True)
    found = active.union(typical).toPandas()  # bounded: see above
    return found.sort_values(["cluster", "typical", "place"], ignore_index=True)


def look_up(
    matrix: BlockMatrix, chosen: pd.DataFrame, columns: Sequence[npt.NDArray[np.int64]]
) -> dict[int, Array]:
    """Ratings of chosen people, by id, of their cluster's columns, NaN where not rated: one pass."""
    wanted = dict(zip(chosen["user_id"].tolist(), chosen["cluster"].tolist(), strict=True))
    ids = np.array(sorted(wanted), dtype=np.int64)

    def find(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            rows = np.flatnonzero(np.isin(block.ids, ids))
            if rows.size:
                here = block.ids[rows]
                stars = [
                    ratings_of(block, int(row), columns[wanted[int(user)]])
                    for row, user in zip(rows, here, strict=True)
                ]
                cells = pa.array(stars, pa.list_(pa.float32()))
                yield pa.record_batch([pa.array(here), cells], names=["user_id", "stars"])

    found = matrix.map_blocks(find, "user_id long, stars array<float>").toPandas()
    return {
        int(user): np.asarray(stars, dtype=np.float64)
        for user, stars in zip(found["user_id"], found["stars"], strict=True)
    }


def ratings_of(block: Block, row: int, columns: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """One person's ratings of some columns, in their order, NaN where not rated."""
    start, end = block.matrix.indptr[row : row + 2]
    rated, values = block.matrix.indices[start:end], block.matrix.data[start:end]
    stars = np.full(columns.size, np.nan, dtype=np.float32)
    if rated.size:
        place = np.searchsorted(rated, columns).clip(0, rated.size - 1)
        hit = rated[place] == columns
        stars[hit] = values[place[hit]]
    return stars


def _members(
    cluster: int, movie_ids: npt.NDArray[np.int32], chosen: pd.DataFrame, ratings: dict[int, Array]
) -> Members:
    def rows(typical: bool) -> tuple[pd.DataFrame, Array]:
        some = chosen[chosen["typical"] == typical][["user_id", "n_ratings"]].reset_index(drop=True)
        stars = [ratings[int(user)] for user in some["user_id"]]
        return some, np.array(stars, dtype=np.float64).reshape(len(some), movie_ids.size)

    active, typical = rows(False), rows(True)
    return Members(cluster, movie_ids, min(N_MOST_RATED, movie_ids.size), *active, *typical)
