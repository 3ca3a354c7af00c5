"""From ratings to user vectors: one shuffle, of blocks instead of rows.

Each task packs its ratings into one row of binary columns for every target partition; on the other
side a partition holds all ratings of its users, and NumPy sorts them into CSR rows. A hundred million
ratings are a few thousand rows to Spark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tastemap import schemas, vectors
from tastemap.blocks import ArrowFunction, Block, BlockMatrix, decode, encode
from tastemap.cleaning import keep
from tastemap.sources.log import RatingLog

RATINGS_PER_PARTITION = 4_000_000
"""Ratings a partition should hold: about 30 MB as a block, 250 MB while it is being sorted."""
MIN_RATINGS_PER_PARTITION = 10_000
"""A task costs more than passing over so few."""
RATINGS_PER_PIECE = 4_000_000
"""Ratings a task packs at a time, over all targets."""
REJECTS_PER_PIECE = 10_000
"""Rejects in one row: a log that is bad throughout must not make rows too large for Spark."""
NEVER = np.iinfo(np.int64).min
"""Time of a rating that has none: older than any."""

_REJECT = pa.schema(
    [("source", pa.string()), ("position", pa.int64()), ("raw", pa.string()), ("reason", pa.string())]
)
_RATING = (("user_ids", np.int64), ("movie_ids", np.int32), ("ratings", np.float32), ("times", np.int64))
_NO_RATINGS = tuple(np.empty(0, dtype) for _, dtype in _RATING)
_NO_REJECTS = pa.array([], pa.struct(list(_REJECT)))


def gather(log: RatingLog) -> BlockMatrix:
    """All ratings of a log as blocks of whole users, without duplicates; columns are movie ids.

    One pass over the log, one shuffle (about 24 bytes a rating). The frame has the columns of
    `schemas.GATHERED`; it is not persisted. Of several ratings of a movie by a user the latest
    stays; of those the highest, so that neither order nor partitioning of the log matters.
    """
    spark = log.records.sparkSession
    n_partitions = _n_partitions(log.n_ratings_estimate, spark.sparkContext.defaultParallelism)
    keys = _partition_keys(spark, n_partitions)
    pieces = log.map_in_arrow(_pack(np.array(keys, dtype=np.int32)), schemas.PIECES)
    frame = pieces.repartition(n_partitions, "target").mapInArrow(_gather_partition, schemas.GATHERED)
    return BlockMatrix(frame, n_partitions, n_columns=2**31 - 1, load=_load_ratings(2**31 - 1))


def index_columns(
    gathered: BlockMatrix, movie_ids: npt.NDArray[np.int32], min_user_ratings: int
) -> BlockMatrix:
    """Blocks of the users and movies that are kept, columns numbered 0 to d − 1; not persisted.

    Parameters
    ----------
    gathered : BlockMatrix
        Of `gather`.
    movie_ids : ndarray of shape (d,)
        Movies that are kept, ascending.
    min_user_ratings : int
        Users with fewer ratings of these movies are left out.
    """
    load, n_columns = gathered.load, len(movie_ids)

    def convert(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for block in load(batch):
                kept = keep(block, movie_ids, min_user_ratings)
                if kept.ids.size:
                    yield encode(kept)

    columns = gathered.frame.select(*schemas.BLOCKS.names)
    frame = columns.mapInArrow(convert, schemas.BLOCKS)
    return BlockMatrix(frame, gathered.n_partitions, n_columns, _load_ratings(n_columns))


def user_vectors(matrix: BlockMatrix) -> DataFrame:
    """The `user_vectors` table of ratings in blocks."""
    load = matrix.load

    def convert(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for block in load(batch):
                yield pa.record_batch(
                    [pa.array(block.ids), vectors.from_csr(block.matrix)], names=schemas.USER_VECTORS.names
                )

    return matrix.frame.mapInArrow(convert, schemas.USER_VECTORS)


def size(matrix: BlockMatrix) -> tuple[int, int]:
    """Users and ratings in blocks."""
    n_bytes = matrix.frame.agg(F.sum(F.length("ids")), F.sum(F.length("indices"))).head()
    assert n_bytes is not None
    return (n_bytes[0] or 0) // 8, (n_bytes[1] or 0) // 4


def _load_ratings(n_columns: int) -> Callable[[pa.RecordBatch], Iterator[Block]]:
    def load(batch: pa.RecordBatch) -> Iterator[Block]:
        return decode(batch, n_columns, np.float32)

    return load


def _n_partitions(n_ratings: int, parallelism: int) -> int:
    """One task a core, more where a partition would get too large, fewer where it would hold next to nothing.

    A multiple of the cores, for all are waited for in every pass.
    """
    waves = math.ceil(n_ratings / (RATINGS_PER_PARTITION * parallelism))
    return max(1, min(waves * parallelism, math.ceil(n_ratings / MIN_RATINGS_PER_PARTITION)))


def _partition_keys(spark: SparkSession, n_partitions: int) -> list[int]:
    """For each partition an integer that Spark's hash partitioning sends there.

    Partition numbers themselves would collide: a third of the partitions would stay empty and others
    get two or three times their share.
    """
    keys: dict[int, int] = {}
    start, step = 0, 16 * n_partitions
    while len(keys) < n_partitions:
        numbers = spark.range(start, start + step).select(F.col("id").cast("int").alias("key"))
        placed = numbers.select("key", F.expr(f"pmod(hash(key), {n_partitions})").alias("partition"))
        for partition, key in placed.groupBy("partition").agg(F.min("key")).collect():
            keys.setdefault(int(partition), int(key))
        start += step
    return [keys[partition] for partition in range(n_partitions)]


@dataclass
class _Waiting:
    """Ratings and rejects of a task that are not packed yet."""

    ratings: list[pa.RecordBatch] = field(default_factory=list)
    rejects: list[pa.RecordBatch] = field(default_factory=list)

    def count(self) -> int:
        return sum(int(batch.num_rows) for batch in (*self.ratings, *self.rejects))

    def add(self, batch: pa.RecordBatch) -> None:
        good = pc.is_null(batch["reason"])
        if batch["reason"].null_count < batch.num_rows:
            self.rejects.append(batch.filter(pc.invert(good)).select(schemas.REJECTS.names))
            batch = batch.filter(good)
        self.ratings.append(batch.select(schemas.RATINGS.names))


def _pack(targets: npt.NDArray[np.int32]) -> ArrowFunction:
    """Executor function: batches of `schemas.PARSED` to `schemas.PIECES`, a row a target at a time."""

    def pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting = _Waiting()
        for batch in batches:
            waiting.add(batch)
            if waiting.count() >= RATINGS_PER_PIECE:
                yield from _pieces(waiting, targets)
                waiting = _Waiting()
        yield from _pieces(waiting, targets)

    return pack


def _pieces(waiting: _Waiting, targets: npt.NDArray[np.int32]) -> Iterator[pa.RecordBatch]:
    if waiting.ratings:
        table = pa.Table.from_batches(waiting.ratings)
        users, movies, ratings = (table[name].to_numpy() for name in ("user_id", "movie_id", "rating"))
        times = pc.fill_null(table["rated_at"].cast(pa.int64()), NEVER).to_numpy()
        bucket = _bucket(users, len(targets))
        order = np.argsort(bucket, kind="stable")
        bounds = np.searchsorted(bucket[order], np.arange(len(targets) + 1))
        for number in range(len(targets)):
            chosen = order[bounds[number] : bounds[number + 1]]
            if chosen.size:
                columns = (users[chosen], movies[chosen], ratings[chosen], times[chosen])
                yield _piece(int(targets[number]), columns, _NO_REJECTS)
    if waiting.rejects:
        table = pa.Table.from_batches(waiting.rejects).cast(_REJECT).combine_chunks()
        for number, batch in enumerate(table.to_batches(max_chunksize=REJECTS_PER_PIECE)):
            rejects = pa.StructArray.from_arrays(batch.columns, fields=list(_REJECT))
            yield _piece(int(targets[number % len(targets)]), _NO_RATINGS, rejects)


def _bucket(users: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.uint16 | np.uint32]:
    """Number of the target of each user: spread evenly whatever the ids look like."""
    mixed = (users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    bucket = mixed % np.uint64(n)
    return bucket.astype(np.uint16) if n < 2**16 else bucket.astype(np.uint32)  # uint16 sorts by radix


def _piece(target: int, columns: tuple[npt.NDArray[Any], ...], rejects: pa.StructArray) -> pa.RecordBatch:
    cells = [pa.array([column.tobytes()], pa.binary()) for column in columns]
    return pa.record_batch(
        [pa.array([target], pa.int32()), *cells, _one_list(rejects)], names=schemas.PIECES.names
    )


def _one_list(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _gather_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Executor function: the pieces of a partition to `schemas.GATHERED`, rejects first, then one block."""
    pieces: list[pa.RecordBatch] = []
    for batch in batches:
        rejects = batch["rejects"].flatten().cast(_NO_REJECTS.type)  # Spark's fields are not nullable
        for start in range(0, len(rejects), REJECTS_PER_PIECE):
            yield _gathered(_NO_RATINGS, rejects.slice(start, REJECTS_PER_PIECE))
        pieces.append(batch.select([name for name, _ in _RATING]))
    columns = [
        np.concatenate(
            [nothing, *(np.frombuffer(cell.as_buffer(), dtype) for piece in pieces for cell in piece[name])]
        )
        for (name, dtype), nothing in zip(_RATING, _NO_RATINGS, strict=True)
    ]
    del pieces
    if columns[0].size:
        yield _gathered(columns, _NO_REJECTS)


def _gathered(columns: Sequence[npt.NDArray[Any]], rejects: pa.StructArray) -> pa.RecordBatch:
    block = to_block(*columns)
    n_ratings = columns[0].size
    counts = [pa.array([n], pa.int64()) for n in (n_ratings + len(rejects), n_ratings - block.matrix.nnz)]
    cells = [*encode(block).columns, *counts, _one_list(rejects)]
    return pa.record_batch(cells, names=schemas.GATHERED.names)


def to_block(
    users: npt.NDArray[np.int64],
    movies: npt.NDArray[np.int32],
    ratings: npt.NDArray[np.float32],
    times: npt.NDArray[np.int64],
) -> Block:
    """Ratings in any order as CSR rows, users and movies ascending, the latest of each pair."""
    if users.size == 0:
        return Block(users, vectors.csr(ratings, movies, np.zeros(1, dtype=np.int32), 2**31 - 1))
    if int(users.max()) - int(users.min()) < 2**32:
        codes = (users - users.min()).astype(np.uint64)
    else:
        codes = np.unique(users, return_inverse=True)[1].astype(np.uint64)
    # One 64-bit key sorts several times faster than two columns.
    key = (codes << np.uint64(32)) | (movies.astype(np.int64) + 2**31).astype(np.uint64)
    order = np.argsort(key)
    key = key[order]
    order = order[_latest(key, times[order], ratings[order])]
    users = users[order]
    starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
    indptr = np.concatenate([starts, [users.size]])
    return Block(users[starts], vectors.csr(ratings[order], movies[order], indptr, 2**31 - 1))


def _latest(
    key: npt.NDArray[np.uint64], times: npt.NDArray[np.int64], ratings: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """Positions, in order, of the rating to keep of every run of equal keys."""
    same = key[1:] == key[:-1]
    if not same.any():
        return np.arange(key.size)
    repeated = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    candidates = np.flatnonzero(repeated)
    ordered = candidates[np.lexsort((ratings[candidates], times[candidates], key[candidates]))]
    last = np.concatenate([key[ordered][1:] != key[ordered][:-1], [True]])
    return np.sort(np.concatenate([np.flatnonzero(~repeated), ordered[last]]))
