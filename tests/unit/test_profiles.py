"""Profiles of clusters against a plain pandas computation from the log."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from logs import random_log, to_block
from tastemap import profiles, schemas
from tastemap.blocks import Block
from tastemap.catalogue import Catalogue
from tastemap.clustering.assignment import Assignment
from tastemap.clustering.centres import Centres
from tastemap.decomposition.principal import Decomposition
from tastemap.profiles import Aggregates, Axes, aggregate_block, effects, rating_bars
from tastemap.segmentation import Projection
from tastemap.weighting import Weighting

Array = npt.NDArray[np.float64]

K = 4
BARS = rating_bars((0.5, 5.0))
LOG = random_log(60, 25, 700, seed=5)
MOVIE_IDS = np.unique(LOG["movie_id"]).astype(np.int32)
D = len(MOVIE_IDS)
GENRES = tuple((("Drama",), ("Drama", "War"), (), ("Comedy",))[movie % 4] for movie in range(D))
YEARS = tuple((1999, None, 1931, 2010, 1999)[movie % 5] for movie in range(D))
CATALOGUE = Catalogue(
    MOVIE_IDS, np.array([f"Movie {i}" if i % 5 else None for i in range(D)], dtype=object), GENRES, YEARS
)
LABELS = CATALOGUE.labels()
L = LABELS.of_movies.shape[1]
RATING_YEARS = sorted(int(year) for year in LOG["rated_at"].dt.year.dropna().unique())
AXES = Axes(BARS, LABELS.of_movies, tuple(year - 1970 for year in RATING_YEARS))


COMPONENTS = np.linalg.qr(np.random.default_rng(2).normal(size=(D, 3)))[0]
OFFSET = np.array([0.5, -1.0, 2.0])
TABLE = LOG.pivot(index="user_id", columns="movie_id", values="rating").reindex(columns=MOVIE_IDS).fillna(0)
SCORES = TABLE.to_numpy() @ COMPONENTS - OFFSET
# The last is far from everybody: a cluster that nobody is in.
CENTRES = np.vstack([SCORES[[1, 20, 40]], np.full((1, 3), 1e4)])


def of_block(block: Block) -> tuple[Block, Assignment]:
    """What `aggregate_block` is given."""
    projection = Projection(Weighting("stars", False, 0.0, np.zeros(D), 0.0), COMPONENTS, OFFSET)
    return block, Centres(CENTRES, 7.0, temperature=1.0).assign(projection.scores(block.matrix))


def assigned() -> pd.DataFrame:
    """Cluster, distance and membership of every user, from the dense table."""
    distances = cdist(SCORES, CENTRES)
    kernel = np.exp(-(distances**2) * 3 / (2 * 7.0))  # a Gaussian whose three columns share the spread
    found = {
        "cluster": distances.argmin(axis=1),
        "distance": distances.min(axis=1),
        "membership": kernel.max(axis=1) / kernel.sum(axis=1),
    }
    return pd.DataFrame(found, index=TABLE.index)


USERS = assigned()
RATED = LOG.merge(USERS, on="user_id").astype({"rating": float})


@pytest.fixture(scope="module")
def aggregates() -> Aggregates:
    return Aggregates(*aggregate_block(*of_block(to_block(LOG, MOVIE_IDS)), AXES))


def test_the_log_is_worth_it() -> None:
    assert set(USERS["cluster"]) == {0, 1, 2} and USERS["cluster"].value_counts().min() > 3


def test_aggregates(aggregates: Aggregates) -> None:
    by_cell = RATED.groupby(["cluster", "movie_id"])["rating"]
    whole = pd.MultiIndex.from_product([range(K), MOVIE_IDS])
    n_ratings = by_cell.size().reindex(whole, fill_value=0).to_numpy().reshape(K, D)
    np.testing.assert_array_equal(aggregates.n_ratings, n_ratings)
    sums = by_cell.sum().reindex(whole, fill_value=0.0).to_numpy().reshape(K, D)
    np.testing.assert_array_equal(aggregates.rating_sums, sums)
    of_users = USERS.groupby("cluster").agg(["size", "sum"]).reindex(range(K), fill_value=0)
    np.testing.assert_array_equal(aggregates.n_users, of_users["distance"]["size"])
    np.testing.assert_allclose(aggregates.distance_sums, of_users["distance"]["sum"])
    np.testing.assert_allclose(aggregates.membership_sums, of_users["membership"]["sum"])
    bars = pd.crosstab(RATED["cluster"], RATED["rating"]).reindex(index=range(K), columns=BARS, fill_value=0)
    np.testing.assert_array_equal(aggregates.histogram, bars)
    once = RATED.drop_duplicates(["user_id", "rating"])
    bars = pd.crosstab(once["cluster"], once["rating"]).reindex(index=range(K), columns=BARS, fill_value=0)
    np.testing.assert_array_equal(aggregates.bar_users, bars)
    squares = (RATED["rating"] ** 2).groupby(RATED["cluster"]).sum().reindex(range(K), fill_value=0)
    np.testing.assert_array_equal(aggregates.square_sums, squares)
    active = RATED.groupby(["cluster", "user_id"]).size().groupby("cluster").value_counts()
    active = active.unstack(fill_value=0).reindex(index=range(K), columns=range(D + 1), fill_value=0)
    np.testing.assert_array_equal(aggregates.users_by_n_ratings, active)


def test_years_of_rating(aggregates: Aggregates) -> None:
    assert RATED["rated_at"].isna().any() and len(RATING_YEARS) > 20
    dated = RATED.assign(year=RATED["rated_at"].dt.year)
    for found, rows in (
        (aggregates.year_ratings, dated),
        (aggregates.year_users, dated.drop_duplicates(["user_id", "year"])),
    ):
        expected = pd.crosstab(rows["cluster"], rows["year"]).reindex(
            index=range(K), columns=RATING_YEARS, fill_value=0
        )
        np.testing.assert_array_equal(found, expected)


def test_without_years_of_rating() -> None:
    block = to_block(LOG.drop(columns="rated_at"), MOVIE_IDS)
    axes = Axes(BARS, LABELS.of_movies, ())
    found = Aggregates(*aggregate_block(*of_block(block), axes))
    assert found.year_ratings.shape == found.year_users.shape == (K, 0)
    assert profiles.profiles(found, axes)["rating_years"].tolist() == [[]] * K
    with pytest.raises(ValueError, match="loaded without them"):
        aggregate_block(*of_block(block), AXES)


def test_users_of_a_label_count_once(aggregates: Aggregates) -> None:
    assert LABELS.genres == ("Comedy", "Drama", "War") and LABELS.years.tolist() == [1931, 1999, 2010]
    of_movie = pd.DataFrame({"movie_id": MOVIE_IDS, "genre": GENRES, "year": YEARS})
    rated = RATED.merge(of_movie, on="movie_id")
    for first, name, labels in ((0, "genre", LABELS.genres), (3, "year", LABELS.years)):
        users = rated.explode(name).groupby(["cluster", name])["user_id"].nunique()
        expected = users.unstack(fill_value=0).reindex(index=range(K), columns=labels, fill_value=0)
        np.testing.assert_array_equal(aggregates.label_users[:, first : first + 3], expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=len(USERS), max_size=len(USERS)))
def test_aggregates_of_any_split_add_up_to_the_same(share: list[int]) -> None:
    whole = aggregate_block(*of_block(to_block(LOG, MOVIE_IDS)), AXES)
    of_user = pd.Series(share, index=USERS.index)
    parts = [LOG[LOG["user_id"].map(of_user) == number] for number in range(4)]
    found = [aggregate_block(*of_block(to_block(part, MOVIE_IDS)), AXES) for part in parts]
    summed = [sum(arrays) for arrays in zip(*found, strict=True)]
    for exact in (0, 1, 2, 3, 6, 7, 8, 9, 10, 11):  # counts, and sums of half stars and their squares
        np.testing.assert_array_equal(summed[exact], whole[exact])
    for rounded in (4, 5):
        np.testing.assert_allclose(summed[rounded], whole[rounded], rtol=1e-12)


def test_no_users_are_aggregated_to_zeros() -> None:
    nothing = to_block(LOG, MOVIE_IDS).matrix[:0]
    empty = Block(np.empty(0, dtype=np.int64), nothing, np.empty(0, dtype=np.int16))
    found = aggregate_block(*of_block(empty), AXES)
    assert [array.shape for array in found] == [
        *((K, D), (K, D), (K, 10), (K,), (K,), (K,)),
        *((K, 10), (K,), (K, L), (K, len(RATING_YEARS)), (K, len(RATING_YEARS)), (K, D + 1)),
    ]
    assert not any(array.any() for array in found)


def test_profiles(aggregates: Aggregates) -> None:
    table = profiles.profiles(aggregates, AXES).set_index("cluster")
    assert [*table.reset_index().columns, "activity"] == schemas.PROFILES.names
    n_users = USERS["cluster"].value_counts()
    by_cluster = RATED.groupby("cluster")["rating"]
    for cluster, row in table.iterrows():
        if cluster == K - 1:
            assert list(row[["n_users", "share", "n_ratings", "mean_rating", "mean_distance"]]) == [0] * 5
            continue
        assert row["n_users"] == n_users[cluster]
        assert row["share"] == n_users[cluster] / len(USERS)
        assert row["n_ratings"] == by_cluster.size()[cluster]
        assert row["mean_rating"] == pytest.approx(by_cluster.mean()[cluster], rel=1e-12)
        means = USERS[USERS["cluster"] == cluster].mean()
        assert row["mean_distance"] == pytest.approx(means["distance"], rel=1e-9)
        assert row["mean_membership"] == pytest.approx(means["membership"], rel=1e-9)
        drawn = {bar["rating"]: bar["n_ratings"] for bar in row["rating_histogram"] if bar["n_ratings"]}
        assert drawn == by_cluster.get_group(cluster).value_counts().to_dict()
        assert [bar["rating"] for bar in row["rating_histogram"]] == list(np.arange(1, 11) / 2)
        years = RATED[RATED["cluster"] == cluster]["rated_at"].dt.year.value_counts()
        assert {bar["year"]: bar["n_ratings"] for bar in row["rating_years"] if bar["n_ratings"]} == dict(
            years
        )
        assert [bar["year"] for bar in row["rating_years"]] == RATING_YEARS


@pytest.mark.parametrize("shrinkage", [25.0, 0.0])
def test_cluster_movies(aggregates: Aggregates, shrinkage: float) -> None:
    table = profiles.cluster_movies(aggregates, CATALOGUE, shrinkage)
    assert list(table.columns) == schemas.CLUSTER_MOVIES.names
    n_users = USERS["cluster"].value_counts()
    title = dict(zip(CATALOGUE.movie_ids, CATALOGUE.titles, strict=True))
    expected = []
    for (cluster, movie), rated in RATED.groupby(["cluster", "movie_id"]):
        others = RATED[(RATED["movie_id"] == movie) & (RATED["cluster"] != cluster)]
        n, m = len(rated), len(others)
        effect = 0.0
        if m:
            weight = n * m / (n + m)
            effect = (rated["rating"].mean() - others["rating"].mean()) * weight / (weight + shrinkage)
        share = n / n_users[cluster]
        lift = share / ((n + m) / len(USERS))
        expected.append((cluster, movie, title[movie], n, share, rated["rating"].mean(), lift, effect))
    columns = [name for name in schemas.CLUSTER_MOVIES.names[:-1] if not name.endswith(("_low", "_high"))]
    right = pd.DataFrame(expected, columns=columns)
    found = table.sort_values(["cluster", "movie_id"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[right.columns], right, check_dtype=False, rtol=1e-12, atol=1e-12)
    for _, of_cluster in table.groupby("cluster"):
        assert of_cluster["rank"].tolist() == list(range(1, len(of_cluster) + 1))
        # By effect, and movies of the same effect by id.
        keys = list(zip(-of_cluster["effect"], of_cluster["movie_id"], strict=True))
        assert keys == sorted(keys)
    assert table["cluster"].is_monotonic_increasing
    for name in ("lift", "effect"):
        assert (table[f"{name}_low"] <= table[name]).all() and (table[name] <= table[f"{name}_high"]).all()


def test_intervals_of_effects_have_the_spread_of_ratings_around_their_cell(aggregates: Aggregates) -> None:
    table = profiles.cluster_movies(aggregates, CATALOGUE, 25.0)
    cells = RATED.groupby(["cluster", "movie_id"])["rating"]
    variance = (RATED["rating"] - cells.transform("mean")).pow(2).sum() / (len(RATED) - cells.ngroups)
    n = cells.size()
    m = RATED.groupby("movie_id").size().reindex(n.index.get_level_values("movie_id")).to_numpy() - n
    width = 1.96 * np.sqrt(variance / (n * m / (n + m) + 25))
    found = table.set_index(["cluster", "movie_id"]).sort_index()
    np.testing.assert_allclose(found["effect_high"] - found["effect"], width, rtol=1e-4)
    np.testing.assert_allclose(found["effect"] - found["effect_low"], width, rtol=1e-4)


def test_effects_by_hand() -> None:
    n_ratings = np.array([[2.0, 0, 5, 0], [6.0, 3, 0, 0]])
    sums = np.array([[8.0, 0, 20, 0], [12.0, 9, 0, 0]])
    # Means 4 and 2, known as well as a mean of 2 · 6 / 8 = 1.5 ratings; elsewhere one side has none.
    np.testing.assert_allclose(effects(n_ratings, sums, 1.5), [[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    np.testing.assert_allclose(effects(n_ratings, sums, 0.0), [[2.0, 0, 0, 0], [-2.0, 0, 0, 0]])


def test_effects_shrink_with_fewer_ratings() -> None:
    n_ratings = np.array([[1.0, 10, 1000], [1e6, 1e6, 1e6]])
    effect = effects(n_ratings, n_ratings * [[5.0], [3.0]], 25.0)[0]
    np.testing.assert_allclose(effect, 2 * n_ratings[0] / (n_ratings[0] + 25), rtol=1e-2)


def test_cluster_genres(aggregates: Aggregates) -> None:
    table = profiles.cluster_genres(aggregates, CATALOGUE)
    assert list(table.columns) == schemas.CLUSTER_GENRES.names
    genres = pd.Series(GENRES, index=MOVIE_IDS, name="genre")
    by_genre = RATED.join(genres, on="movie_id").explode("genre").dropna(subset="genre")
    expected = []
    for (cluster, genre), rated in by_genre.groupby(["cluster", "genre"]):
        share = len(rated) / (RATED["cluster"] == cluster).sum()
        everybody = (by_genre["genre"] == genre).sum() / len(RATED)
        of_genre = len(rated) / (by_genre["genre"] == genre).sum()
        users, mean = rated["user_id"].nunique(), rated["rating"].mean()
        expected.append((cluster, genre, users, len(rated), share, of_genre, share / everybody, mean))
    right = pd.DataFrame(expected, columns=schemas.CLUSTER_GENRES.names)
    pd.testing.assert_frame_equal(table, right, check_dtype=False, rtol=1e-12)


def test_no_genres_make_an_empty_table(aggregates: Aggregates) -> None:
    unknown = Catalogue(MOVIE_IDS, CATALOGUE.titles, ((),) * D, (None,) * D)
    table = profiles.cluster_genres(aggregates, unknown)
    assert len(table) == 0 and list(table.columns) == schemas.CLUSTER_GENRES.names
    table = profiles.cluster_years(aggregates, unknown)
    assert len(table) == 0 and list(table.columns) == schemas.CLUSTER_YEARS.names


def test_cluster_years(aggregates: Aggregates) -> None:
    table = profiles.cluster_years(aggregates, CATALOGUE)
    year = pd.Series(YEARS, index=MOVIE_IDS, name="year")
    dated = RATED.join(year, on="movie_id").dropna(subset="year")
    expected = []
    for (cluster, year), rated in dated.groupby(["cluster", "year"]):
        share = len(rated) / (RATED["cluster"] == cluster).sum()
        everybody = (dated["year"] == year).sum() / len(RATED)
        users, mean = rated["user_id"].nunique(), rated["rating"].mean()
        expected.append((cluster, year, users, len(rated), share, share / everybody, mean))
    right = pd.DataFrame(expected, columns=schemas.CLUSTER_YEARS.names)
    pd.testing.assert_frame_equal(table, right, check_dtype=False, rtol=1e-12)


@pytest.mark.parametrize(
    ("scale", "bars"),
    [
        ((0.5, 5.0), list(np.arange(1, 11) / 2)),
        ((1.0, 5.0), [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]),
        ((0.0, 1.0), [0, 0.5, 1]),
        ((0.0, 0.2), [0, 0.2]),
        ((-1.0, 1.0), [-1, -0.5, 0, 0.5, 1]),
        ((0.0, 10.0), list(np.arange(21) / 2)),
        ((0.0, 100.0), list(np.arange(21) * 5.0)),
    ],
)
def test_bars_of_a_histogram(scale: tuple[float, float], bars: list[float]) -> None:
    np.testing.assert_allclose(rating_bars(scale), bars)


@pytest.mark.parametrize("scale", [(0.0, 100.0), (1.0, 5.0), (0.0, 0.2), (-3.0, 4.7)])
def test_ratings_fall_into_the_nearest_bar(scale: tuple[float, float]) -> None:
    bars = rating_bars(scale)
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": np.arange(300), "movie_id": rng.choice(MOVIE_IDS, 300)})
    log["rating"] = rng.uniform(*scale, 300).astype(np.float32)
    found = Aggregates(
        *aggregate_block(*of_block(to_block(log, MOVIE_IDS)), Axes(bars, LABELS.of_movies, ()))
    )
    nearest = np.abs(log["rating"].to_numpy(float)[:, None] - bars).argmin(axis=1)
    np.testing.assert_array_equal(found.histogram.sum(axis=0), np.bincount(nearest, minlength=len(bars)))


def decomposition(components: Array) -> Decomposition:
    m = components.shape[1]
    return Decomposition(
        components=components,
        mean=np.zeros(len(components)),
        variance=np.arange(m, 0, -1.0),
        residuals=np.full(m, 1e-3),
        total_variance=20.0,
        n_rows=50,
        passes=3,
        error=1e-3,
        converged=True,
    )


def test_components_name_the_movies_at_both_ends() -> None:
    loadings = np.random.default_rng(4).normal(size=(D, 2))
    table = profiles.components(decomposition(loadings), CATALOGUE)
    assert list(table.columns) == schemas.COMPONENTS.names
    assert table["variance_ratio"].tolist() == [0.1, 0.05] and table["residual"].tolist() == [1e-3, 1e-3]
    for component, row in table.iterrows():
        ordered = pd.Series(loadings[:, component], index=MOVIE_IDS).sort_values()
        for end, expected in (("positive", ordered[::-1][:10]), ("negative", ordered[:10])):
            assert {each["movie_id"]: each["loading"] for each in row[end]} == expected.to_dict()
            assert [each["movie_id"] for each in row[end]] == expected.index.tolist()
    first = table["positive"][0][0]
    assert first["title"] == CATALOGUE.titles[list(MOVIE_IDS).index(first["movie_id"])]


def test_components_of_few_movies() -> None:
    few = Catalogue(MOVIE_IDS[:3], CATALOGUE.titles[:3], GENRES[:3], YEARS[:3])
    table = profiles.components(decomposition(np.array([[0.1], [-0.9], [0.4]])), few)
    assert [each["loading"] for each in table["positive"][0]] == [0.4, 0.1, -0.9]
    assert [each["loading"] for each in table["negative"][0]] == [-0.9, 0.1, 0.4]
