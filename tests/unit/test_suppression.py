"""Suppression: what is published, and what somebody who subtracts can make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from logs import random_log
from tastemap import profiles
from tastemap.catalogue import Catalogue, movie_index
from tastemap.cleaning import Movies
from tastemap.profiles import Aggregates, Axes
from tastemap.suppression import Suppression, hidden_cells

Array = npt.NDArray[np.float64]

K = 6
BARS = profiles.rating_bars((0.5, 5.0))
LOG = random_log(400, 120, 6000, seed=3)
USERS = np.unique(LOG["user_id"])
# The last cluster has few people.
CLUSTER = pd.Series(
    np.random.default_rng(1).choice(K, USERS.size, p=[0.4, 0.25, 0.2, 0.1, 0.04, 0.01]), USERS
)
RATED = LOG.assign(cluster=LOG["user_id"].map(CLUSTER), rating=LOG["rating"].astype(float))
MOVIE_IDS = np.unique(LOG["movie_id"]).astype(np.int32)
D = MOVIE_IDS.size
CATALOGUE = Catalogue(
    MOVIE_IDS,
    np.array([f"Movie {i}" for i in range(D)], dtype=object),
    # One genre is that of a single rare movie.
    tuple(
        ("Rare",) if i == D - 1 else (("Drama", "War"), ("War",), (), ("Comedy",))[i % 4] for i in range(D)
    ),
    tuple(None if i % 9 == 0 else 1960 + i // 4 for i in range(D)),
)
LABELS = CATALOGUE.labels()
RATING_YEARS = sorted(RATED["rated_at"].dt.year.dropna().unique())
AXES = Axes(BARS, LABELS.of_movies, tuple(int(year) - 1970 for year in RATING_YEARS))


def table(frame: pd.DataFrame, columns: str, values: str | None = None) -> Array:
    sizes = frame.groupby(["cluster", columns])
    cells = sizes.size() if values is None else sizes[values].sum()
    wanted: Any = {
        "movie_id": MOVIE_IDS,
        "rating": BARS,
        "genre": LABELS.genres,
        "year": LABELS.years,
        "rated_in": RATING_YEARS,
    }[columns]
    return cells.unstack(fill_value=0).reindex(range(K), columns=wanted, fill_value=0).to_numpy(float)


def aggregates() -> Aggregates:
    genres = RATED.assign(genre=RATED["movie_id"].map(dict(zip(MOVIE_IDS, CATALOGUE.genres, strict=True))))
    genres = genres.explode("genre").dropna(subset="genre").drop_duplicates(["user_id", "genre"])
    years = RATED.assign(year=RATED["movie_id"].map(dict(zip(MOVIE_IDS, CATALOGUE.years, strict=True))))
    years = years.dropna(subset="year").drop_duplicates(["user_id", "year"])
    dated = RATED.assign(rated_in=RATED["rated_at"].dt.year).dropna(subset="rated_in")
    n_users = np.bincount(CLUSTER, minlength=K).astype(float)
    return Aggregates(
        n_ratings=table(RATED, "movie_id"),
        rating_sums=table(RATED, "movie_id", "rating"),
        histogram=table(RATED, "rating"),
        n_users=n_users,
        distance_sums=n_users,
        membership_sums=n_users / 2,
        bar_users=table(RATED.drop_duplicates(["user_id", "rating"]), "rating"),
        square_sums=n_users,
        label_users=np.hstack([table(genres, "genre"), table(years, "year")]),
        year_ratings=table(dated, "rated_in"),
        year_users=table(dated.drop_duplicates(["user_id", "rated_in"]), "rated_in"),
        users_by_n_ratings=np.zeros((K, D + 1)),
    )


FOUND = aggregates()


def published(minimum: int) -> tuple[Suppression, dict[str, pd.DataFrame]]:
    shown = Suppression.of(FOUND, CATALOGUE, minimum)
    activity = [dict(zip(("min", "q25", "median", "q75", "max"), range(5), strict=True))] * K
    n_ratings, sums = FOUND.n_ratings.sum(axis=0), FOUND.rating_sums.sum(axis=0)
    movies = Movies(MOVIE_IDS, n_ratings.astype(np.int64), sums, D, 1)
    return shown, {
        "cluster_movies": shown.cluster_movies(profiles.cluster_movies(FOUND, CATALOGUE, 25.0)),
        "cluster_genres": shown.cluster_genres(profiles.cluster_genres(FOUND, CATALOGUE)),
        "cluster_years": shown.cluster_years(profiles.cluster_years(FOUND, CATALOGUE)),
        "movie_index": shown.movie_index(movie_index(CATALOGUE, movies)),
        "profiles": shown.profiles(profiles.profiles(FOUND, AXES).assign(activity=activity)),
    }


tables_of_people = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.integers(0, 30).map(float)
)


@settings(deadline=None)
@given(tables_of_people, st.integers(1, 12))
def test_hidden_cells_are_covered_in_every_row_and_column(people: Array, minimum: int) -> None:
    hidden = hidden_cells(people, minimum)
    assert not hidden[people == 0].any()
    assert hidden[(people > 0) & (people < minimum)].all()
    if not ((people > 0) & (people < minimum)).any():
        assert not hidden.any()
    for column in range(people.shape[1]):
        mine, left = hidden[:, column], people[:, column][~hidden[:, column]]
        covered = mine.sum() >= 2 and people[mine, column].sum() >= minimum
        assert not mine.any() or covered or not left.any()
    useful = (people > 0).sum(axis=0) > 1
    for row in range(people.shape[0]):
        mine, left = hidden[row], people[row, ~hidden[row] & useful]
        covered = mine.sum() >= 2 and people[row, mine].max() >= minimum
        assert not mine.any() or covered or not left.any()


def test_hidden_cells_by_hand() -> None:
    people = np.array([[20.0, 50, 3, 40], [30, 60, 70, 0], [25, 80, 90, 45]])
    # 3 is small; the next in its column is 70, in its row 20; those are covered in turn.
    assert hidden_cells(people, 10, rows=False).tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert hidden_cells(people, 10, columns=False).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert hidden_cells(people, 10).tolist() == [[1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    # The last is alone in its column, whose total tells it: it would cover nothing.
    people = np.array([[3.0, 50, 40], [20, 60, 0]])
    assert hidden_cells(people, 10).tolist() == [[1, 1, 0], [1, 1, 0]]
    # Two small ones of too few people together.
    assert hidden_cells(np.array([[2.0, 3, 50, 40]]), 10, columns=False).tolist() == [[1, 1, 0, 1]]
    # Those of a row may be the same people.
    assert hidden_cells(np.array([[9.0, 8, 7, 50, 40]]), 10, columns=False).tolist() == [[1, 1, 1, 0, 1]]
    column = np.array([[9.0], [8], [7], [50], [40]])
    assert hidden_cells(column, 10, rows=False).ravel().tolist() == [1, 1, 1, 0, 0]
    # What is known of a row beside its total.
    assert hidden_cells(np.array([[3.0, 20, 30, 40]]), 10, columns=False, in_row=3).tolist() == [[1, 1, 1, 0]]
    assert hidden_cells(np.zeros((3, 0)), 10).shape == (3, 0)


def test_one_hides_nothing() -> None:
    shown, tables = published(1)
    assert set(shown.counts().values()) == {0}
    plain = profiles.cluster_movies(FOUND, CATALOGUE, 25.0)
    pd.testing.assert_frame_equal(tables["cluster_movies"], plain)
    pd.testing.assert_frame_equal(tables["cluster_genres"], profiles.cluster_genres(FOUND, CATALOGUE))
    assert not tables["movie_index"].isna().any(axis=None)
    assert tables["profiles"]["activity"].tolist() == [dict(min=0, q25=1, median=2, q75=3, max=4)] * K
    before = profiles.profiles(FOUND, AXES)
    for name in ("rating_histogram", "rating_years"):
        assert tables["profiles"][name].tolist() == before[name].tolist()


@pytest.mark.parametrize("minimum", [2, 10, 40])
def test_no_cell_of_few_people_is_published(minimum: int) -> None:
    shown, tables = published(minimum)
    cells = RATED.groupby(["cluster", "movie_id"])["user_id"].nunique()
    kept = tables["cluster_movies"].set_index(["cluster", "movie_id"])["n_ratings"]
    assert len(kept) and (kept >= minimum).all() and (kept == cells[kept.index]).all()
    assert shown.counts()["movie_cells_suppressed"] == len(cells) - len(kept)
    assert (tables["cluster_genres"]["n_users"] >= minimum).all() and len(tables["cluster_genres"])
    for _, rows in tables["cluster_movies"].groupby("cluster"):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        assert rows["effect"].is_monotonic_decreasing
    index = tables["movie_index"]
    people = RATED.groupby("movie_id")["user_id"].nunique().to_numpy()
    assert index["n_ratings"].isna()[people < minimum].all()
    assert (index["n_ratings"].isna() == index["mean_rating"].isna()).all() and len(index) == D
    assert (index["n_ratings"].dropna() == people[index["n_ratings"].notna()]).all()


@pytest.mark.parametrize("minimum", [2, 10, 40])
def test_subtraction_tells_of_no_few_people(minimum: int) -> None:
    _, tables = published(minimum)
    cells = RATED.groupby(["cluster", "movie_id"]).size()
    shown = tables["cluster_movies"]
    totals = tables["movie_index"].set_index("movie_id")["n_ratings"].dropna().astype(int).to_dict()
    # The total of a movie stands in movie_index, and in lift for those who have one of its cells.
    of_lift = (shown["share_rated"] * USERS.size / shown["lift"]).round().astype(int)
    for movie, total in zip(shown["movie_id"], of_lift, strict=True):
        assert totals[movie] == total  # so that movie_index hides none that lift would tell
    for movie, total in totals.items():
        rest = total - shown[shown["movie_id"] == movie]["n_ratings"].sum()
        assert rest == 0 or rest >= minimum
        n_missing = len(cells.xs(movie, level="movie_id")) - (shown["movie_id"] == movie).sum()
        assert n_missing != 1
    hidden_movies = RATED[~RATED["movie_id"].isin(totals)]
    assert hidden_movies["movie_id"].nunique() != 1
    of_clusters = tables["profiles"].set_index("cluster")["n_ratings"].dropna()
    for cluster, total in of_clusters.items():
        rest = total - shown[shown["cluster"] == cluster]["n_ratings"].sum()
        assert rest == 0 or rest >= minimum
    # The others of a movie, whose mean follows from `effect`, are enough too.
    others = shown["movie_id"].map(totals) - shown["n_ratings"]
    assert ((others == 0) | (others >= minimum)).all()


@pytest.mark.parametrize("minimum", [2, 10, 40])
def test_genres_do_not_tell_a_hidden_movie(minimum: int) -> None:
    shown, tables = published(minimum)
    of_movie = dict(zip(MOVIE_IDS, CATALOGUE.genres, strict=True))
    kept = tables["cluster_movies"]
    by_genre = kept.assign(genre=kept["movie_id"].map(of_movie)).explode("genre")
    sums = by_genre.groupby(["cluster", "genre"])["n_ratings"].sum()
    for row in tables["cluster_genres"].itertuples():
        rest = row.n_ratings - sums.get((row.cluster, row.genre), 0)
        assert rest == 0 or rest >= minimum
        number = LABELS.genres.index(row.genre)
        mine = np.array([row.genre in genres for genres in CATALOGUE.genres])
        assert shown.cells[row.cluster, mine].sum() != 1, number
    assert not (shown.genres.sum(axis=0) == 1).any() or minimum == 1


@pytest.mark.parametrize("minimum", [2, 10, 40])
def test_years_tell_of_no_few_people(minimum: int) -> None:
    shown, _ = published(minimum)
    table = profiles.cluster_years(FOUND, CATALOGUE)
    kept = shown.cluster_years(table)
    assert (kept["n_users"] >= minimum).all() and 0 < len(kept) < len(table)
    merged = table.merge(kept[["cluster", "year"]], how="left", indicator=True)
    hidden = merged[merged["_merge"] == "left_only"]
    # No hidden cell is alone in its year, or the year's total would tell it; but where it is all there is.
    n_hidden, n_cells = hidden.groupby("year").size(), table.groupby("year").size()
    assert (n_cells[n_hidden[n_hidden == 1].index] == 1).all()
    people = hidden.groupby("year")["n_users"].sum()
    few = people[people < minimum]
    assert (few == table.groupby("year")["n_users"].sum()[few.index]).all()


@pytest.mark.parametrize("minimum", [2, 10, 40])
def test_totals_of_genres_and_years_do_not_tell_that_of_a_hidden_movie(minimum: int) -> None:
    shown, tables = published(minimum)
    people = RATED.groupby("movie_id")["user_id"].nunique().to_numpy()
    assert shown.movies.any() == (minimum > 2)
    of_movies = {"genre": CATALOGUE.genres, "year": tuple((year,) for year in CATALOGUE.years)}
    for name, labels_of in of_movies.items():
        for label in set(tables[f"cluster_{name}s"][name]):
            gone = shown.movies & np.array([label in labels for labels in labels_of])
            assert gone.sum() != 1 and (not gone.any() or people[gone].sum() >= minimum)


def test_a_genre_is_hidden_where_its_movies_tell_a_hidden_cell() -> None:
    people = np.array([[3.0, 50, 90], [30, 60, 90], [40, 70, 90]])
    genre_users = np.array([[52.0, 90], [70, 90], [80, 90]])
    genres = (("A",), ("A",), ("B",))
    catalogue = Catalogue(np.arange(3, dtype=np.int32), np.full(3, None), genres, (None,) * 3)
    no_bars = np.zeros((3, 0))
    sizes = np.full(3, 90.0)
    found = Aggregates(
        people, people, no_bars, sizes, sizes, sizes, no_bars, sizes, genre_users, no_bars, no_bars, no_bars
    )
    # 3 is covered by the 30 in its column, both by those beside them; the movies of A tell the sum of two, of
    # enough people, until the second movie of A is of another genre.
    assert Suppression.of(found, catalogue, 10).cells.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert not Suppression.of(found, catalogue, 10).genres.any()
    apart = Catalogue(catalogue.movie_ids, catalogue.titles, (("A",), ("B",), ("B",)), (None,) * 3)
    assert Suppression.of(found, apart, 10).genres.tolist() == [[1, 1], [1, 1], [0, 0]]


def test_a_hidden_cluster_has_no_genres_and_a_hidden_bar_two_others() -> None:
    users = np.array([[90.0, 80], [70, 60], [40, 35], [5, 0]])
    people = users[:, [0, 1, 1, 1]]  # a movie of A, three of B
    genres = (("A",), ("B",), ("B",), ("B",))
    catalogue = Catalogue(np.arange(4, dtype=np.int32), np.full(4, None), genres, (None,) * 4)
    sizes, none = np.array([90.0, 70, 40, 5]), np.zeros((4, 0))
    bars = np.array([[3.0, 20, 30, 40], [20, 30, 40, 50], [20, 30, 40, 3], [5, 0, 0, 0]])
    found = Aggregates(people, people, bars, sizes, sizes, sizes, bars, sizes, users, none, none, none)
    shown = Suppression.of(found, catalogue, 10)
    assert shown.clusters.tolist() == [0, 0, 1, 1]
    # Nobody in the smallest rated B; the share of the 35 would still tell how many ratings the 40 gave.
    assert shown.genres.tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]
    assert shown.bars.tolist()[:3] == [[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1]]


def test_a_small_cluster_is_covered_by_another_and_keeps_its_size() -> None:
    shown, tables = published(10)
    sizes = np.bincount(CLUSTER, minlength=K)
    assert sizes[K - 1] < 10 <= sizes[K - 2]
    assert shown.clusters.tolist() == [False] * (K - 2) + [True, True]
    rows = tables["profiles"].set_index("cluster")
    assert rows["n_users"].tolist() == sizes.tolist() and rows["share"].notna().all()
    # A share beside its number of ratings would tell how many the cluster has.
    for name in ("cluster_genres", "cluster_years"):
        assert set(tables[name]["cluster"]) == set(range(K - 2))
    gone = ["n_ratings", "mean_rating", "mean_distance", "mean_membership"]
    gone += ["rating_histogram", "rating_years", "activity"]
    assert rows.loc[K - 2 :, gone].isna().all(axis=None)
    assert rows.loc[: K - 3, gone].notna().all(axis=None)


def test_two_small_clusters_cover_each_other() -> None:
    sizes, none = np.array([900.0, 500, 6, 5]), np.zeros((4, 0))
    found = Aggregates(none, none, none, sizes, sizes, sizes, none, sizes, none, none, none, none)
    nobody = Catalogue(np.zeros(0, np.int32), np.zeros(0, object), (), ())
    assert Suppression.of(found, nobody, 10).clusters.tolist() == [False, False, True, True]


def test_quantiles_and_bars_of_few_people() -> None:
    _, tables = published(10)
    sizes = np.bincount(CLUSTER, minlength=K)
    rows = tables["profiles"].set_index("cluster")
    for cluster in range(K - 2):
        given = rows.loc[cluster, "activity"]
        assert given["min"] is None and given["max"] is None
        assert (given["q25"] is not None) == (given["q75"] is not None) == (sizes[cluster] // 4 >= 10)
        assert (given["median"] is not None) == (sizes[cluster] // 2 >= 10)
        for name, people, counts in (
            ("rating_histogram", FOUND.bar_users, FOUND.histogram),
            ("rating_years", FOUND.year_users, FOUND.year_ratings),
        ):
            bars = [bar["n_ratings"] for bar in rows.loc[cluster, name]]
            gone = np.array([bar is None for bar in bars])
            assert gone[(people[cluster] < 10) & (people[cluster] > 0)].all()
            # Two bars would be solved for, by the number of ratings and their mean.
            assert gone.sum() == 0 or gone.sum() >= (3 if name == "rating_histogram" else 2)
            assert gone.sum() == 0 or people[cluster][gone].max() >= 10
            assert [bar for bar in bars if bar is not None] == counts[cluster][~gone].tolist()


def test_without_genres() -> None:
    unknown = Catalogue(MOVIE_IDS, CATALOGUE.titles, ((),) * D, (None,) * D)
    found = Aggregates(**{**vars(FOUND), "label_users": np.zeros((K, 0))})
    shown = Suppression.of(found, unknown, 10)
    assert shown.counts()["genre_cells_suppressed"] == shown.counts()["year_cells_suppressed"] == 0
    assert len(shown.cluster_genres(profiles.cluster_genres(found, unknown))) == 0
