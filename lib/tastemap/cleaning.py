"""What of a log is kept: too many bad records stop a run, rare users and movies are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from tastemap import lookup, vectors
from tastemap.blocks import Block, BlockMatrix
from tastemap.config import CleaningConfig
from tastemap.errors import UserError
from tastemap.rows import Rows

Ids = npt.NDArray[np.int32]
Counted = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

MOVIE_COUNTS = pa.schema([("movie_id", pa.int32()), ("n", pa.int64()), ("total", pa.float64())])
"""Of a movie how many ratings there are, and their sum."""


@dataclass(frozen=True)
class Counts:
    """Records of a log, before anything is dropped for being rare."""

    ratings_in: int
    """Records read, good and bad."""
    rejects: int
    duplicates: int
    users: int
    ratings: int
    """Without rejects and duplicates."""
    years: tuple[int, ...] = ()
    """Years since 1970 that ratings were given in, ascending."""


@dataclass(frozen=True)
class Movies:
    """Movies that are kept, of shape (d,) each."""

    ids: npt.NDArray[np.int32]
    """Ascending."""
    n_ratings: npt.NDArray[np.int64]
    rating_sums: npt.NDArray[np.float64]
    n_seen: int
    """Different movies in the log."""
    rounds: int
    """Passes it took until both thresholds held."""


def count(gathered: Rows) -> Counts:
    """Sum up the counts that gathering left beside the blocks."""
    numbers = ("n_records", "n_duplicates", "n_rows", "n_values")
    told = gathered.told(*numbers, "years_seen")
    records, duplicates, users, ratings = (sum(block[number] for block in told) for number in numbers)
    years = sorted({year for block in told for year in block["years_seen"]})
    return Counts(records, records - duplicates - ratings, duplicates, users, ratings, tuple(years))


def rejects(gathered: Rows) -> DataFrame:
    """The `rejects` table of what was gathered."""
    left = gathered.in_few_tasks().select("rejects")
    return left.select(F.explode("rejects").alias("reject")).select("reject.*")


def check_rejects(n_records: int, n_bad: int, rejects: DataFrame, max_bad_fraction: float) -> None:
    """Stop when too much of a log cannot be taken.

    Raises
    ------
    UserError
        With an example for each of the commonest reasons.
    """
    if n_records == 0:
        raise UserError("the rating log holds no records; give --ratings a file with ratings")
    fraction = n_bad / n_records
    if fraction <= max_bad_fraction:
        return
    found = rejects.groupBy("reason").agg(F.count("*").alias("n"), F.min("raw").alias("example"))
    worst = found.orderBy(F.desc("n"), "reason").limit(3).collect()
    examples = "; ".join(f"{row['n']:,} x {row['reason']}, such as {row['example'][:80]!r}" for row in worst)
    raise UserError(
        f"{n_bad:,} of {n_records:,} records ({100 * fraction:.4g}%) cannot be taken, allowed are "
        f"{100 * max_bad_fraction:.4g}%: {examples}. Mend the log, name its form by --format or its scale by "
        "--rating-min and --rating-max, or raise --max-bad-fraction"
    )


def frequent_movies(gathered: BlockMatrix, config: CleaningConfig) -> Movies:
    """Movies that remain when both thresholds hold: the largest set for which they do.

    Every round drops movies that fewer than `min_movie_ratings` of the remaining users have rated,
    users being those with `min_user_ratings` of the remaining movies; each is one pass over the blocks
    with two numbers a movie and partition for a result. From the second on it counts those users only who
    rated a movie that was dropped: few, for it had few ratings.

    Raises
    ------
    UserError
        Nothing remains.
    """
    ids, n_ratings, sums = _count_all(gathered, config.min_user_ratings)
    n_seen, rounds = ids.size, 1
    while True:
        enough = n_ratings >= config.min_movie_ratings
        if not enough.any():
            raise UserError(
                f"no ratings remain of users with at least {config.min_user_ratings} and of movies with at "
                f"least {config.min_movie_ratings} ratings; lower --min-user-ratings or --min-movie-ratings"
            )
        if enough.all():
            return Movies(ids, n_ratings, sums, n_seen, rounds)
        n_lost, lost = _count_lost(gathered, ids, ids[enough], config.min_user_ratings)
        ids, n_ratings, sums = ids[enough], n_ratings[enough] - n_lost, sums[enough] - lost
        rounds += 1


def _count_all(gathered: BlockMatrix, min_user_ratings: int) -> tuple[Ids, Counted, Sums]:
    """Ids of all movies, numbers and sums of their ratings by users with enough; ids are not known before."""

    def count_blocks(blocks: Iterator[Block]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            yield from all_movie_counts(block, min_user_ratings).to_batches()

    table = gathered.sum_by_key(count_blocks, MOVIE_COUNTS)
    ids, n_ratings, sums = (table[name].to_numpy() for name in MOVIE_COUNTS.names)
    return ids, n_ratings, sums


def _count_lost(
    gathered: BlockMatrix, ids: Ids, remaining: Ids, min_user_ratings: int
) -> tuple[Counted, Sums]:
    """What the counts of the remaining movies lose by the dropping of the others: see `lost_counts`."""

    def partial(blocks: Iterator[Block]) -> Sequence[Sums]:
        totals = np.zeros((2, remaining.size))
        for block in blocks:
            totals += lost_counts(block, ids, remaining, min_user_ratings)
        return [totals]

    (totals,) = gathered.sum_over_blocks(partial, [(2, remaining.size)])
    return totals[0].astype(np.int64), totals[1]


def all_movie_counts(block: Block, min_user_ratings: int) -> pa.Table:
    """Movies of one block, numbers and sums of their ratings by users with enough."""
    ratings = block.matrix
    numbers, ids = lookup.numbers(ratings.indices)
    n_ratings, sums = _sums_by_number(numbers, ratings.data, ids.size)
    seen = n_ratings > 0
    # Those of the others are fewer than those to be kept, so they are what is looked up and taken away.
    few = ratings[np.diff(ratings.indptr) < min_user_ratings]
    n_few, of_few = _sums_by_number(lookup.positions(few.indices, ids), few.data, ids.size)
    return pa.table([ids[seen], (n_ratings - n_few)[seen], (sums - of_few)[seen]], MOVIE_COUNTS)


def lost_counts(block: Block, ids: Ids, remaining: Ids, min_user_ratings: int) -> tuple[Counted, Sums]:
    """What the movies that remain lose, in one block: ratings and their sums, by users left with too few."""
    dropped = np.setdiff1d(ids, remaining, assume_unique=True)
    rated = np.flatnonzero(lookup.positions(block.matrix.indices, dropped) >= 0)
    touched = np.unique(np.searchsorted(block.matrix.indptr, rated, side="right") - 1)
    users = Block(block.ids[touched], block.matrix[touched])
    n_before, before = movie_counts(users, ids, min_user_ratings)
    n_after, after = movie_counts(users, remaining, min_user_ratings)
    kept = lookup.positions(remaining, ids)
    return n_before[kept] - n_after, before[kept] - after


def movie_counts(block: Block, ids: Ids, min_user_ratings: int) -> tuple[Counted, Sums]:
    """Numbers and sums of the ratings of given movies, in one block, by users with enough of them."""
    kept = keep(block, ids, min_user_ratings).matrix
    return _sums_by_number(kept.indices, kept.data, kept.shape[1])


def _sums_by_number(
    numbers: npt.NDArray[np.signedinteger[Any]], values: npt.NDArray[Any], size: int
) -> tuple[Counted, Sums]:
    """How many values have each number below `size`, and their sums."""
    n_values = np.bincount(numbers, minlength=size)
    sums = np.bincount(numbers, weights=values, minlength=size)
    # Of no values bincount makes integers, whatever the weights.
    return n_values.astype(np.int64, copy=False), sums.astype(np.float64, copy=False)


def keep(block: Block, movie_ids: npt.NDArray[np.int32], min_user_ratings: int) -> Block:
    """A block's ratings of the given movies, ascending, by users with enough of them, columns renumbered."""
    ratings = block.matrix
    columns = lookup.positions(ratings.indices, movie_ids)
    known = columns >= 0
    counts = vectors.row_sums(known, ratings, np.int64)
    enough = counts >= min_user_ratings
    chosen = known & np.repeat(enough, np.diff(ratings.indptr))
    indptr = np.concatenate([[0], np.cumsum(counts[enough])])
    matrix = vectors.csr(ratings.data[chosen], columns[chosen], indptr, len(movie_ids))
    years = None if block.years is None else block.years[chosen]
    return Block(block.ids[enough], matrix, years)
