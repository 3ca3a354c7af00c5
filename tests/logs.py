"""Rating logs made by hand, and what is to become of them: by pandas, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from scipy import sparse

from tastemap import schemas
from tastemap.blocks import NO_YEAR, Block, BlockMatrix, decode, encode
from tastemap.rows import Rows
from tastemap.sources.log import RatingLog


def latest(log: pd.DataFrame) -> pd.DataFrame:
    """Keep the last rating of every pair; of equally late ones the highest; one without a time is oldest."""
    ordered = log.sort_values(["rated_at", "rating"], na_position="first")
    return ordered.drop_duplicates(["user_id", "movie_id"], keep="last")


def frequent(log: pd.DataFrame, per_user: int, per_movie: int) -> pd.DataFrame:
    """Drop rare users, then rare movies, then rare users again, until none is left."""
    while True:
        n = len(log)
        log = log[log.groupby("user_id")["movie_id"].transform("size") >= per_user]
        log = log[log.groupby("movie_id")["user_id"].transform("size") >= per_movie]
        if len(log) == n:
            return log


def triples(log: pd.DataFrame) -> list[tuple[int, int, float]]:
    """User, movie and rating of every row, sorted."""
    return sorted(zip(log["user_id"].tolist(), log["movie_id"].tolist(), log["rating"].tolist(), strict=True))


def block_triples(block: Block, movie_ids: np.ndarray | None = None) -> list[tuple[int, int, float]]:
    """User, movie and rating of a block, in its own order; `movie_ids` where columns are numbered."""
    users = np.repeat(block.ids, np.diff(block.matrix.indptr))
    movies = block.matrix.indices if movie_ids is None else movie_ids[block.matrix.indices]
    return list(zip(users.tolist(), movies.tolist(), block.matrix.data.tolist(), strict=True))


def years(log: pd.DataFrame) -> np.ndarray:
    """Years since 1970 in which the ratings of a log were given, as blocks hold them."""
    return (log["rated_at"].dt.year - 1970).fillna(NO_YEAR).to_numpy(np.int16)


def to_block(log: pd.DataFrame, movie_ids: np.ndarray) -> Block:
    """A log without duplicates as one block, its columns numbered as `movie_ids`."""
    users, rows = np.unique(log["user_id"], return_inverse=True)
    columns = np.searchsorted(movie_ids, log["movie_id"])
    stars = (log["rating"].to_numpy(np.float32), (rows, columns))
    matrix = sparse.csr_matrix(stars, shape=(len(users), len(movie_ids)))
    if "rated_at" not in log:
        return Block(users, matrix)
    return Block(users, matrix, years(log.sort_values(["user_id", "movie_id"])))


def matrix(spark: SparkSession, log: pd.DataFrame, n_partitions: int, n_blocks: int = 9) -> BlockMatrix:
    """A log's users in blocks, block after block over the partitions, of which some may have none."""
    movie_ids = np.unique(log["movie_id"])
    share = log["user_id"].rank(method="dense").astype(int) % n_blocks
    blocks = [to_block(log[share == number], movie_ids) for number in range(n_blocks)]
    rows = [tuple(cell[0].as_py() for cell in encode(block).columns) for block in blocks]
    frame = spark.createDataFrame(spark.sparkContext.parallelize(rows, n_partitions), schemas.BLOCKS)
    stored = Rows(frame, n_partitions, schemas.BLOCKS)
    return BlockMatrix(stored, partial(decode, n_columns=movie_ids.size), movie_ids.size)


def rating_log(
    spark: SparkSession,
    log: pd.DataFrame,
    n_partitions: int = 3,
    *,
    rejects: Sequence[tuple[str, int | None, str, str]] = (),
    scale: tuple[float, float] = (0.5, 5.0),
) -> RatingLog:
    """A log as `sources.open_log` gives it, its records in so many partitions, in the order of the frame."""
    bad = pd.DataFrame(list(rejects), columns=schemas.REJECTS.names)
    whole = pd.concat([log.astype({"user_id": "Int64", "movie_id": "Int32", "rating": "Float32"}), bad])
    whole = whole.astype({"position": "Int64"})[schemas.PARSED.names]
    shares = np.array_split(np.arange(len(whole)), n_partitions)
    parts = [spark.createDataFrame(whole.iloc[share], schemas.PARSED).coalesce(1) for share in shares]
    records = parts[0]
    for part in parts[1:]:
        records = records.union(part)
    return RatingLog(
        form="parquet",
        spark=spark,
        plan_records=lambda: records,
        parse=None,
        plan_movies=None,
        scale=scale,
        n_bytes=0,
        # As of a log large enough for a partition on each core: several partitions are what can go wrong.
        n_ratings_estimate=max(len(whole), 60_000),
        files=(),
        skipped=(),
    )


def random_log(
    n_users: int, n_movies: int, n_ratings: int, *, seed: int = 0, duplicates: float = 0.0
) -> pd.DataFrame:
    """Ratings with a long tail of users and of movies, some pairs twice at other times, in no order."""
    rng = np.random.default_rng(seed)
    users = 1_000_003 * np.minimum(rng.pareto(0.9, 4 * n_ratings) * 4, n_users - 1).astype(np.int64)
    movies = np.minimum(rng.pareto(0.9, 4 * n_ratings) * 3, n_movies - 1).astype(np.int32) * 3 + 1
    log = pd.DataFrame({"user_id": users, "movie_id": movies}).drop_duplicates().head(n_ratings)
    log = pd.concat([log, log.sample(frac=duplicates, random_state=seed)], ignore_index=True)
    log["rating"] = (rng.integers(1, 11, len(log)) / 2).astype(np.float32)
    seconds = pd.Series(rng.integers(0, 10**9, len(log))).astype("Int64").mask(rng.random(len(log)) < 0.05)
    log["rated_at"] = pd.to_datetime(seconds, unit="s", utc=True).astype("datetime64[us, UTC]")
    return log.sample(frac=1, random_state=seed).reset_index(drop=True)
