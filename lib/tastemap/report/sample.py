"""Samples of people for the report: bounded, and the same whatever the partitioning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from tastemap.block_tables import BlockTable
from tastemap.blocks import Block, BlockMatrix
from tastemap.clustering.assignment import Clusters
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix
from tastemap.executors import release_memory
from tastemap.report.content import Array, Members, MovieIds, People

N_PEOPLE = 2_000
"""People on the map, about: each is in the sample with the same chance."""
N_ACTIVE, N_MOST_RATED = 70, 50
"""Rows and columns of a heat map: the form of the published studies of the Netflix Prize."""
N_BEST_RANKED = 50
"""Movies of the largest effect that are looked up as well, to say what typical members love."""
N_TYPICAL = 3
"""Members nearest to the centre."""

_CHOSEN = ("user_id", "cluster", "n_ratings", "typical", "place")


def members(
    matrix: BlockMatrix,
    chosen: pd.DataFrame,
    cluster_movies: pd.DataFrame,
    movie_ids: MovieIds,
    n_clusters: int,
) -> tuple[Members, ...]:
    """Members of every cluster and what they rated: one pass over the blocks.

    The driver receives for each of k clusters 73 rows of at most 100 ratings.

    Parameters
    ----------
    matrix : BlockMatrix
        Ratings, of shape (n, d).
    chosen : DataFrame of pandas
        Of `choose_members`.
    cluster_movies : DataFrame of pandas
        The table of that name.
    movie_ids : ndarray of shape (d,)
        By column of the matrix.
    n_clusters : int
        k; some may have no members.
    """
    shown = [movies_to_show(cluster_movies, cluster) for cluster in range(n_clusters)]
    ratings = look_up(matrix, chosen, [np.searchsorted(movie_ids, movies) for movies in shown])
    return tuple(
        _members(cluster, movies, chosen[chosen["cluster"] == cluster], ratings)
        for cluster, movies in enumerate(shown)
    )


def choose_people(scores: ScoreMatrix, seed: int, size: int = N_PEOPLE) -> People:
    """About `size` people, or all where there are no more, by id."""
    return people(scores.sample(size, seed))


def people(found: ScoreBlock) -> People:
    """Some users, as the report shows them."""
    table = {"user_id": found.ids, "n_ratings": found.n_ratings, "mean_rating": found.mean_ratings}
    return People(pd.DataFrame(table), found.scores)


def assigned(people: People, clusters: Clusters) -> People:
    """The same people with the columns cluster and membership."""
    found = clusters.assign(people.scores)
    return replace(people, table=people.table.assign(cluster=found.clusters, membership=found.memberships))


def movies_to_show(cluster_movies: pd.DataFrame, cluster: int) -> MovieIds:
    """Ids of a cluster's `N_MOST_RATED` most rated movies, then of those of the largest effect, each once."""
    of_cluster = cluster_movies[cluster_movies["cluster"] == cluster]
    most = of_cluster.sort_values(["n_ratings", "movie_id"], ascending=[False, True]).head(N_MOST_RATED)
    best = of_cluster.sort_values("rank").head(N_BEST_RANKED)
    return pd.concat([most, best])["movie_id"].drop_duplicates().to_numpy(np.int32)


def choose_members(assignments: BlockTable[Any]) -> pd.DataFrame:
    """The most active and the most typical members of each cluster: at most 73 rows a cluster.

    Columns user_id, cluster, n_ratings, typical (or else active), place (1, 2, …). Equals go by id. One pass:
    each task keeps its own 73 of a cluster, and of these the driver those of all. Windows of Spark's sort all
    users.
    """
    (batch,) = assignments.blocks.foremost(assignments.rows, _foremost, assignments.schema)
    found = batch.to_pandas()
    chosen = pd.concat([_first(found, typical=False), _first(found, typical=True)])
    return chosen.sort_values(["cluster", "typical", "place"], ignore_index=True)[list(_CHOSEN)]


def _foremost(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of many users those who are among the most active or the most typical of their cluster."""
    kept: pd.DataFrame | None = None
    for batch in batches:
        users = batch.to_pandas() if kept is None else pd.concat([kept, batch.to_pandas()])
        both = pd.concat([_first(users, typical=False), _first(users, typical=True)])
        kept = both[users.columns].drop_duplicates("user_id")
    if kept is not None:
        yield pa.RecordBatch.from_pandas(kept, preserve_index=False)


def _first(users: pd.DataFrame, *, typical: bool) -> pd.DataFrame:
    """The most typical members of each cluster, or the most active, with their places."""
    values, n = (users["distance"], N_TYPICAL) if typical else (-users["n_ratings"], N_ACTIVE)
    ranked = users.iloc[np.lexsort((users["user_id"], values, users["cluster"]))]
    place = ranked.groupby("cluster").cumcount() + 1
    return ranked.assign(typical=typical, place=place)[place <= n]


def look_up(
    matrix: BlockMatrix, chosen: pd.DataFrame, columns: Sequence[npt.NDArray[np.int64]]
) -> dict[int, Array]:
    """Ratings of chosen people, by id, of their cluster's columns, NaN where not rated: one pass."""
    wanted = dict(zip(chosen["user_id"].tolist(), chosen["cluster"].tolist(), strict=True))
    ids = np.array(sorted(wanted), dtype=np.int64)

    def find(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for found in map(find_in, blocks):
            release_memory()  # of a block of which next to nothing was wanted
            yield found

    def find_in(block: Block) -> pa.RecordBatch:
        rows = np.flatnonzero(np.isin(block.ids, ids))
        users = block.ids[rows]
        stars = [
            ratings_of(block, int(row), columns[wanted[int(user)]])
            for row, user in zip(rows, users, strict=True)
        ]
        cells = pa.array(stars, pa.list_(pa.float32()))
        return pa.record_batch([pa.array(users), cells], names=["user_id", "stars"])

    schema = "user_id long, stars array<float>"
    return {
        user: stars.values.to_numpy().astype(np.float64)
        for batch in matrix.collect_blocks(find, schema)  # bounded: those who are chosen
        for user, stars in zip(batch["user_id"].to_pylist(), batch["stars"], strict=True)
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


def _members(cluster: int, movie_ids: MovieIds, chosen: pd.DataFrame, ratings: dict[int, Array]) -> Members:
    def rows(typical: bool) -> tuple[pd.DataFrame, Array]:
        some = chosen[chosen["typical"] == typical][["user_id", "n_ratings"]].reset_index(drop=True)
        stars = [ratings[int(user)] for user in some["user_id"]]
        return some, np.array(stars, dtype=np.float64).reshape(len(some), movie_ids.size)

    active, typical = rows(False), rows(True)
    return Members(cluster, movie_ids, min(N_MOST_RATED, movie_ids.size), *active, *typical)
