"""Thresholds on users and movies: the largest log for which both hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import block_triples, frequent, latest, triples
from strategies import rating_frame, rating_logs
from tastemap import cleaning
from tastemap.blocks import Block, BlockMatrix
from tastemap.cleaning import Movies, all_movie_counts, frequent_movies, keep, lost_counts, movie_counts
from tastemap.config import CleaningConfig
from tastemap.errors import UserError
from tastemap.pivot import to_block

USERS = (-(2**63), -5, 0, 1, 2, 3, 2**63 - 1)
MOVIES = (-9, 0, 1, 2, 17_770)

logs = rating_logs(USERS, MOVIES, max_size=35).map(latest)
few = st.integers(1, 4)


def split(log: pd.DataFrame, n: int) -> list[Block]:
    """Whole users, spread over n blocks; some may be empty."""
    shares = [log[log["user_id"] % n == number] for number in range(n)]
    names = ("user_id", "movie_id", "rating")
    return [
        to_block(*(share[name].to_numpy() for name in names), np.zeros(len(share), np.int64))
        for share in shares
    ]


def found(blocks: list[Block], per_user: int, per_movie: int) -> Movies:
    """`frequent_movies`, its two passes made here instead of on Spark."""

    def total(ids: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        counts = [movie_counts(block, ids, per_user) for block in blocks]
        return sum(n for n, _ in counts), sum(sums for _, sums in counts)  # type: ignore[return-value]

    def count_all(_: object, min_user_ratings: int) -> tuple[npt.NDArray[np.int32], ...]:
        assert min_user_ratings == per_user
        ids = np.unique(np.concatenate([block.matrix.indices for block in blocks]))
        return ids, *total(ids)

    def count_lost(
        _: object, ids: npt.NDArray[np.int32], remaining: npt.NDArray[np.int32], min_user_ratings: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        assert min_user_ratings == per_user
        lost = [lost_counts(block, ids, remaining, per_user) for block in blocks]
        n_lost, sums = sum(n for n, _ in lost), sum(sums for _, sums in lost)
        # What is left is what counting everybody gives.
        kept = np.searchsorted(ids, remaining)
        (n_before, before), (n_after, after) = total(ids), total(remaining)
        np.testing.assert_array_equal(n_before[kept] - n_lost, n_after)
        np.testing.assert_array_equal(before[kept] - sums, after)
        return n_lost, sums  # type: ignore[return-value]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "_count_all", count_all)
        patch.setattr(cleaning, "_count_lost", count_lost)
        anything = BlockMatrix(rows=None, n_columns=0, load=None)  # type: ignore[arg-type]
        return frequent_movies(anything, CleaningConfig(per_user, per_movie))


def largest(log: pd.DataFrame, per_user: int, per_movie: int) -> list[int]:
    """Movies of the largest log for which both hold, by trying every set of movies."""
    best: set[int] = set()
    movies = sorted(set(log["movie_id"]))
    for size in range(1, len(movies) + 1):
        for some in combinations(movies, size):
            among = log[log["movie_id"].isin(some)]
            among = among[among.groupby("user_id")["movie_id"].transform("size") >= per_user]
            n_ratings = among["movie_id"].value_counts()
            if all(n_ratings.get(movie, 0) >= per_movie for movie in some):
                best |= set(some)
    return sorted(best)


@settings(max_examples=120, deadline=None)
@given(logs, few, few, st.integers(1, 3))
def test_what_remains_against_a_loop_in_pandas(
    log: pd.DataFrame, per_user: int, per_movie: int, n: int
) -> None:
    remains = frequent(log, per_user, per_movie)
    blocks = split(log, n)
    if remains.empty:
        with pytest.raises(UserError):
            found(blocks, per_user, per_movie)
        return
    movies = found(blocks, per_user, per_movie)
    expected = remains.groupby("movie_id")["rating"].agg(["size", "sum"]).sort_index()
    assert movies.ids.tolist() == expected.index.tolist()
    assert movies.n_ratings.tolist() == expected["size"].tolist()
    assert movies.rating_sums.tolist() == expected["sum"].astype(float).tolist()
    assert movies.n_seen == log["movie_id"].nunique()
    kept = [
        triple for block in blocks for triple in block_triples(keep(block, movies.ids, per_user), movies.ids)
    ]
    assert sorted(kept) == triples(remains)


@settings(max_examples=60, deadline=None)
@given(logs, few, few)
def test_what_remains_is_the_largest_such_log(log: pd.DataFrame, per_user: int, per_movie: int) -> None:
    best = largest(log, per_user, per_movie)
    if best:
        assert found(split(log, 2), per_user, per_movie).ids.tolist() == best
    else:
        with pytest.raises(UserError):
            found(split(log, 2), per_user, per_movie)


def test_dropping_goes_on_until_both_hold() -> None:
    # A chain: movie 4 goes, then user 3 has too few, so movie 3 goes, then user 2, and so on to the end.
    chain = rating_frame([(user, movie, 3.0, None) for user in range(1, 4) for movie in (user, user + 1)])
    with pytest.raises(UserError):
        found(split(chain, 1), 2, 2)
    core = rating_frame([(user, movie, 4.0, None) for user in (8, 9) for movie in (21, 22)])
    movies = found(split(pd.concat([chain, core]), 2), 2, 2)
    assert movies.ids.tolist() == [21, 22] and movies.rounds > 2
    assert (movies.n_ratings.tolist(), movies.rating_sums.tolist()) == ([2, 2], [8.0, 8.0])


def test_nothing_is_dropped_in_one_round() -> None:
    log = rating_frame([(1, 5, 3.0, None), (2, 5, 2.0, None), (2, 6, 2.0, None)])
    movies = found(split(log, 1), 1, 1)
    assert (movies.ids.tolist(), movies.n_seen, movies.rounds) == ([5, 6], 2, 1)


@pytest.mark.parametrize("log", [rating_frame([]), rating_frame([(1, 1, 3.0, None)])])
def test_nothing_remains(log: pd.DataFrame) -> None:
    with pytest.raises(UserError) as error:
        found(split(log, 1), 30, 4)
    (told,) = error.value.faults
    assert "30" in told and "4" in told and "--min-user-ratings" in told and "--min-movie-ratings" in told


def test_keep_numbers_columns_and_leaves_out_users() -> None:
    log = rating_frame(
        [(-1, 3, 1.0, None), (-1, 9, 2.0, None), (5, 4, 3.0, None), (5, 9, 4.0, None), (6, -2, 5.0, None)]
    )
    (block,) = split(log, 1)
    undated = replace(block, years=None)
    assert keep(undated, np.array([3], dtype=np.int32), 1).years is None
    block = replace(block, years=np.arange(30, 35, dtype=np.int16))
    kept = keep(block, np.array([3, 7, 9], dtype=np.int32), 1)
    assert kept.ids.tolist() == [-1, 5] and kept.years.tolist() == [30, 31, 33]
    assert kept.matrix.toarray().tolist() == [[1.0, 0.0, 2.0], [0.0, 0.0, 4.0]]
    assert kept.matrix.data.dtype == np.float32
    kept = keep(block, np.array([3, 7, 9], dtype=np.int32), 2)
    assert kept.ids.tolist() == [-1] and kept.matrix.toarray().tolist() == [[1.0, 0.0, 2.0]]
    nobody = keep(block, np.array([100], dtype=np.int32), 1)
    assert nobody.ids.size == 0 and nobody.matrix.shape == (0, 1)


def test_counts_of_an_empty_block_are_of_the_same_type_as_of_others() -> None:
    log = pd.DataFrame({"user_id": [1, 1], "movie_id": np.int32([2, 3]), "rating": np.float32([3, 4])})
    (some,) = split(log, 1)
    empty = Block(some.ids[:0], some.matrix[:0])
    assert all_movie_counts(empty, 1).schema == all_movie_counts(some, 1).schema
    assert all_movie_counts(some, 1).to_pydict() == {"movie_id": [2, 3], "n": [1, 1], "total": [3.0, 4.0]}
    assert all_movie_counts(some, 3).to_pydict() == {"movie_id": [2, 3], "n": [0, 0], "total": [0.0, 0.0]}


@pytest.mark.parametrize("last", [5, 10**6], ids=["close together", "far apart"])
def test_movies_that_nobody_in_a_block_rated_are_not_counted_in_it(last: int) -> None:
    columns = {"user_id": [1, 1, 2], "movie_id": np.int32([2, 3, last]), "rating": np.float32([4, 1, 2])}
    (block,) = split(pd.DataFrame(columns), 1)
    found = all_movie_counts(block, 2)
    assert found.to_pydict() == {"movie_id": [2, 3, last], "n": [1, 1, 0], "total": [4.0, 1.0, 0.0]}
