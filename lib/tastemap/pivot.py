"""From ratings to user vectors: one exchange, of blocks instead of rows.

Each task packs its ratings into one row of binary columns for every target partition; on the other
side a partition holds all ratings of its users, and NumPy sorts them into CSR rows. A hundred million
ratings are a few thousand rows to Spark.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import methodcaller
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from scipy import sparse

from tastemap import compact, lookup, schemas, vectors
from tastemap.block_tables import BlockTable
from tastemap.blocks import NO_YEAR, Block, BlockMatrix, decode, encode
from tastemap.cleaning import keep
from tastemap.compact import Compact
from tastemap.exchange import Labels, exchanged
from tastemap.executors import ArrowFunction, Source
from tastemap.sources.lines import REJECT_ARROW
from tastemap.sources.log import RatingLog

RATINGS_PER_PARTITION = 1_000_000
"""Ratings a partition should hold: 4 MB as a block, 60 MB while it is put in order. With half as many a run
takes a tenth longer; with twice as many 1 or 2 % less long, and each worker takes 30 to 50 MB more."""
MAX_RATINGS_PER_PARTITION = 2_000_000
"""Ratings a partition holds at most. With many more, ordering them takes several times as long for each, for
their memory comes anew from the system."""
MANY_PARTITIONS = 500
"""Rather than having more, partitions grow, up to their limit: tasks part their ratings by partition, and a
billion of them take 18 s more on their way to a thousand than to five hundred."""
MIN_RATINGS_PER_PARTITION = 10_000
"""A task costs more than passing over so few."""
RATINGS_PER_PACKING = 500_000
"""Ratings a task packs at a time, over all targets; more of them where the targets are many."""
RATINGS_PER_PIECE = 1_000
"""Ratings that a piece should hold, or Spark would have many small rows."""
VALUES_AT_ONCE = 250_000
"""Values of user vectors in a batch, 12 bytes each, and as many again in what is written of them."""
PARQUET = {
    "column_encoding": {"features.indices.list.element": "DELTA_BINARY_PACKED"},
    "use_dictionary": ["features.type", "features.size", "features.values.list.element"],
}
"""How user vectors are written: movies, which ascend, by their differences, for a quarter less of disk and a
sixth less of time than by a dictionary."""
REJECTS_PER_PIECE = 10_000
"""Rejects in one row: a log that is bad throughout must not make rows too large for Spark."""
NEVER = np.iinfo(np.int64).min
"""Time of a rating that has none: older than any."""
MICROSECONDS_PER_DAY = 86_400_000_000

_RATING = (("user_ids", np.int64), ("movie_ids", np.int32), ("ratings", np.float32), ("times", np.int64))
_NO_RATINGS = tuple(np.empty(0, dtype) for _, dtype in _RATING)
_NO_REJECTS = pa.array([], pa.struct(list(REJECT_ARROW)))


@contextmanager
def gathered(log: RatingLog) -> Iterator[BlockMatrix]:
    """All ratings of a log as blocks of whole users, without duplicates; columns are movie ids.

    One pass over the log, one exchange (5 to 12 bytes a rating). The rows have the columns of
    `schemas.GATHERED`; they are persisted. Of several ratings of a movie by a user the latest stays; of
    those the highest, so that neither order nor partitioning of the log matters.
    """
    spark = log.spark
    n_partitions = _n_partitions(log.n_ratings_estimate, spark.sparkContext.defaultParallelism)

    def pieces(labels: Labels) -> tuple[Source, ArrowFunction]:
        return log.passed_to(_pack(labels))

    with ExitStack() as persisted:
        exchange = exchanged(spark, pieces, schemas.PIECES, n_partitions, _gather_partition, schemas.GATHERED)
        with log.in_batches(), exchange as blocks:
            rows = persisted.enter_context(blocks.persisted())
        yield BlockMatrix(rows, partial(decode, n_columns=2**31 - 1), n_columns=2**31 - 1)


def index_columns(
    gathered: BlockMatrix, movie_ids: npt.NDArray[np.int32], min_user_ratings: int
) -> BlockMatrix:
    """Blocks of the users and movies that are kept, columns numbered 0 to d − 1; not persisted.

    Parameters
    ----------
    gathered : BlockMatrix
        Of `gathered`.
    movie_ids : ndarray of shape (d,)
        Movies that are kept, ascending.
    min_user_ratings : int
        Users with fewer ratings of these movies are left out.
    """
    n_columns = len(movie_ids)

    def kept(block: Block) -> Block:
        return keep(block, movie_ids, min_user_ratings)

    def convert(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        # No loop, whose variable would keep a block while the next is loaded.
        return map(encode, filter(_has_rows, map(kept, blocks)))

    rows = gathered.dated().map_kept(convert, schemas.BLOCKS)
    return BlockMatrix(rows, partial(decode, n_columns=n_columns), n_columns)


def _has_rows(block: Block) -> bool:
    return block.ids.size > 0


def user_vectors(matrix: BlockMatrix) -> BlockTable[Block]:
    """The `user_vectors` table of ratings in blocks."""

    def of_part(part: Block) -> pa.RecordBatch:
        columns = [pa.array(part.ids), vectors.from_csr(part.matrix)]
        return pa.record_batch(columns, names=schemas.USER_VECTORS.names)

    def convert(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        # No loops, whose variables would keep a block and a part while the next are made.
        in_parts = methodcaller("in_parts", n_values=VALUES_AT_ONCE)
        return map(of_part, chain.from_iterable(map(in_parts, blocks)))

    return BlockTable(matrix, convert, schemas.USER_VECTORS, PARQUET)


def size(matrix: BlockMatrix) -> tuple[int, int]:
    """Users and ratings in blocks."""
    told = matrix.rows.told("n_rows", "n_values")
    return sum(block["n_rows"] for block in told), sum(block["n_values"] for block in told)


def _n_partitions(n_ratings: int, parallelism: int) -> int:
    """One a core, more where a partition would get too large, fewer where it would hold next to nothing.

    A multiple of the cores, for all are waited for in every pass.
    """
    size = min(max(n_ratings / MANY_PARTITIONS, RATINGS_PER_PARTITION), MAX_RATINGS_PER_PARTITION)
    waves = math.ceil(n_ratings / (size * parallelism))
    return max(1, min(waves * parallelism, math.ceil(n_ratings / MIN_RATINGS_PER_PARTITION)))


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
    at_once = max(RATINGS_PER_PACKING, RATINGS_PER_PIECE * len(targets))

    def pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting = _Waiting()
        task = TaskContext.get()
        # Rejects go to one target after the other; each task begins at another one.
        turns = itertools.cycle(np.roll(targets, 0 if task is None else -task.partitionId()))
        for batch in batches:
            waiting.add(batch)
            if waiting.count() >= at_once:
                yield from _pieces(waiting, targets, turns)
                waiting = _Waiting()
        yield from _pieces(waiting, targets, turns)

    return pack


def _pieces(
    waiting: _Waiting, targets: npt.NDArray[np.int32], turns: Iterator[np.int32]
) -> Iterator[pa.RecordBatch]:
    if any(batch.num_rows for batch in waiting.ratings):
        table = pa.Table.from_batches(waiting.ratings)
        users, movies, ratings = (table[name].to_numpy() for name in ("user_id", "movie_id", "rating"))
        times = pc.fill_null(table["rated_at"].cast(pa.int64()), NEVER).to_numpy()
        bucket = _bucket(users, len(targets))
        order = np.argsort(bucket, kind="stable")
        bounds = np.append(0, np.cumsum(np.bincount(bucket, minlength=len(targets))))
        sorted_columns = [compact.narrow(column)[order] for column in (users, movies, ratings, times)]
        # Few batches of many rows: each costs Python and the JVM a third of a millisecond.
        filled = np.flatnonzero(np.diff(bounds))
        for some in np.array_split(filled, min(filled.size, max(1, users.size // RATINGS_PER_PACKING))):
            chosen = [slice(bounds[number], bounds[number + 1]) for number in some]
            cells = [column.cells(chosen) for column in sorted_columns]
            yield _rows(targets[some], cells, _NO_REJECTS)
    if waiting.rejects:
        nothing = [compact.cell(column) for column in _NO_RATINGS]
        table = pa.Table.from_batches(waiting.rejects).cast(REJECT_ARROW).combine_chunks()
        for batch in table.to_batches(max_chunksize=REJECTS_PER_PIECE):
            rejects = pa.StructArray.from_arrays(batch.columns, fields=list(REJECT_ARROW))
            yield _rows(np.array([next(turns)]), nothing, rejects)


def _bucket(users: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.uint16 | np.uint32]:
    """Number of the target of each user: spread evenly whatever the ids look like."""
    bucket = users.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bucket >>= np.uint64(32)
    bucket *= np.uint64(n)
    bucket >>= np.uint64(32)
    return bucket.astype(np.uint16) if n < 2**16 else bucket.astype(np.uint32)  # uint16 sorts by radix


def _rows(
    targets: npt.NDArray[np.int32], cells: Sequence[pa.Array], rejects: pa.StructArray
) -> pa.RecordBatch:
    """A row a target, by columns; rejects go with the first."""
    offsets = pa.array([0, *[len(rejects)] * len(targets)], pa.int32())
    columns = [pa.array(targets), *cells, pa.ListArray.from_arrays(offsets, rejects)]
    return pa.record_batch(columns, names=schemas.PIECES.names)


def _one_list(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _gather_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Executor function: the pieces of a partition to `schemas.GATHERED`, rejects first, then one block."""
    pieces: list[list[Compact]] = []
    for batch in batches:
        rejects = batch["rejects"].flatten().cast(_NO_REJECTS.type)  # Spark's fields are not nullable
        for start in range(0, len(rejects), REJECTS_PER_PIECE):
            yield _gathered(_NO_RATINGS, rejects.slice(start, REJECTS_PER_PIECE))
        columns = [batch[name] for name, _ in _RATING]
        pieces += [[compact.read(column, row) for column in columns] for row in range(batch.num_rows)]
    pieces = [piece for piece in pieces if piece[0].codes.size]
    # A piece of a log that is in order of movies is in order of them, and so are all then.
    pieces.sort(key=_first_movie)
    if pieces:
        whole = [
            _concatenate(found, dtype)
            for found, (_, dtype) in zip(zip(*pieces, strict=True), _RATING, strict=True)
        ]
        yield _gathered(whole, _NO_REJECTS)


def _first_movie(piece: list[Compact]) -> int:
    return int(piece[1][np.array([0])].values()[0])


def _concatenate(pieces: Sequence[Compact], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    whole = np.empty(sum(piece.codes.size for piece in pieces), dtype)
    start = 0
    for piece in pieces:
        whole[start : start + piece.codes.size] = piece.values()
        start += piece.codes.size
    return whole


def _gathered(columns: Sequence[npt.NDArray[Any]], rejects: pa.StructArray) -> pa.RecordBatch:
    block = to_block(*columns)
    n_ratings = columns[0].size
    counts = [pa.array([n], pa.int64()) for n in (n_ratings + len(rejects), n_ratings - block.matrix.nnz)]
    assert block.years is not None
    years = lookup.unique(block.years)
    seen = pa.array(years[years != NO_YEAR], pa.int32())
    cells = [*encode(block).columns, *counts, _one_list(seen), _one_list(rejects)]
    return pa.record_batch(cells, names=schemas.GATHERED.names)


def to_block(
    users: npt.NDArray[np.int64],
    movies: npt.NDArray[np.int32],
    ratings: npt.NDArray[np.float32],
    times: npt.NDArray[np.int64],
) -> Block:
    """Ratings in any order as CSR rows, users and movies ascending, the latest of each pair, with years."""
    order, ids, indptr, movies = _sorted_pairs(users, movies)
    same = movies[1:] == movies[:-1]
    same[indptr[1:-1] - 1] = False  # of two users
    if same.any():
        kept = _latest(same, order, times, ratings)
        order, movies = order[kept], movies[kept]
        indptr = np.searchsorted(kept, indptr).astype(np.int32)
    matrix = vectors.csr(ratings[order], movies, indptr, 2**31 - 1)
    return Block(ids, matrix, _years(times)[order])


def _years(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """Years since 1970, by UTC, of times in microseconds, `NO_YEAR` of `NEVER`."""
    known = times != NEVER
    if not known.all():
        years = np.full(times.size, NO_YEAR, np.int16)
        years[known] = _years(times[known])
        return years
    if times.size == 0:
        return np.empty(0, np.int16)
    days = times // MICROSECONDS_PER_DAY
    first = days.min()
    # Ratings have few days: to look their years up takes an eighth of the time that NumPy does.
    calendar = np.arange(first, days.max() + 1).astype("M8[D]").astype("M8[Y]").astype(np.int16)
    return np.asarray(calendar[days - first])


def _sorted_pairs(
    users: npt.NDArray[np.int64], movies: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Positions in order of user and movie, the different users, where each begins, and the movies in order.

    By a sparse matrix of positions: SciPy brings them to their rows by counting, and takes 6 ns for each,
    however they lie. To sort numbers of eight bytes takes 25 ns on one processor and 55 on another.
    """
    (row, user_ids), positions = lookup.ranks(users), np.arange(users.size, dtype=np.int32)
    if movies.size and movies[0] >= 0 and (movies[1:] >= movies[:-1]).all():  # as logs by movie have them
        in_order = _pairs(positions, row, movies, (user_ids.size, int(movies[-1]) + 1)).tocsr()
        return in_order.data, user_ids, in_order.indptr, in_order.indices
    column, movie_ids = lookup.ranks(movies)
    by_movie = _pairs(positions, column, row, (movie_ids.size, user_ids.size)).tocsr()
    by_user = by_movie.tocsc()
    return by_user.data, user_ids, by_user.indptr, movie_ids[by_user.indices]


def _pairs(
    positions: npt.NDArray[np.int32],
    rows: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int32],
    shape: tuple[int, int],
) -> sparse.coo_matrix:
    pairs = sparse.coo_matrix((positions, (rows, columns)), shape=shape)
    pairs.has_canonical_format = True  # or positions of a pair that is there twice would be added
    return pairs


def _latest(
    same: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int32],
    times: npt.NDArray[np.int64],
    ratings: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Where in the order the rating to keep of every run of equal pairs is.

    `same` says of each but the last whether the next is of the same pair.
    """
    run = np.concatenate([[0], np.cumsum(~same)])
    repeated = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    candidates = np.flatnonzero(repeated)
    chosen = order[candidates]
    candidates = candidates[np.lexsort((ratings[chosen], times[chosen], run[candidates]))]
    last = np.concatenate([run[candidates][1:] != run[candidates][:-1], [True]])
    return np.sort(np.concatenate([np.flatnonzero(~repeated), candidates[last]]))
