"""Genre features against pandas, user by user."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from logs import random_log, to_block
from tastemap.catalogue import Catalogue
from tastemap.config import WeightingConfig
from tastemap.errors import UserError
from tastemap.features import GenreFeatures, check_variance, labelled
from tastemap.weighting import fit

LOG = random_log(40, 25, 500, seed=8)
MOVIE_IDS = np.unique(LOG["movie_id"]).astype(np.int32)
D = len(MOVIE_IDS)
GENRES = tuple((("Drama",), ("Drama", "War"), (), ("Comedy",))[movie % 4] for movie in range(D))
CATALOGUE = Catalogue(
    MOVIE_IDS, np.array([f"Movie {i}" for i in MOVIE_IDS], dtype=object), GENRES, (None,) * D
)
BLOCK = to_block(LOG, MOVIE_IDS)
N_RATINGS = np.bincount(BLOCK.matrix.indices, minlength=D)
SUMS = np.bincount(BLOCK.matrix.indices, BLOCK.matrix.data, D)
EFFECTS = fit(N_RATINGS, SUMS, WeightingConfig(normalize=False, user_shrinkage=3.0))
LABELS = CATALOGUE.labels()
NAMES, INCIDENCE = LABELS.genres, LABELS.of_movies[:, LABELS.of_genres]
FEATURES = GenreFeatures(EFFECTS, INCIDENCE.toarray(), np.zeros(6), np.ones(6))


def test_incidence() -> None:
    assert NAMES == ("Comedy", "Drama", "War")
    for movie, genres in enumerate(GENRES):
        assert [name for name, has in zip(NAMES, INCIDENCE.toarray()[movie], strict=True) if has] == list(
            genres
        )


def test_shares_and_likings_against_pandas() -> None:
    log = LOG.assign(column=np.searchsorted(MOVIE_IDS, LOG["movie_id"]))
    residuals = EFFECTS.apply(BLOCK.matrix).toarray()
    rows = {user: row for row, user in enumerate(BLOCK.ids)}
    found = FEATURES.tastes(BLOCK.matrix)
    for user, mine in log.groupby("user_id"):
        for number, name in enumerate(NAMES):
            of_genre = mine[[name in GENRES[column] for column in mine["column"]]]
            left = [residuals[rows[user], column] for column in of_genre["column"]]
            assert found[rows[user], number] == pytest.approx(len(of_genre) / len(mine))
            assert found[rows[user], 3 + number] == pytest.approx(sum(left) / (len(left) + 3.0), abs=1e-12)


def test_a_genre_that_was_never_rated_is_neither_liked_nor_disliked() -> None:
    drama = np.eye(2)[[0, *[1] * (D - 1)]]
    found = dataclasses.replace(FEATURES, incidence=drama).tastes(BLOCK.matrix)
    without = BLOCK.matrix[:, 0].toarray()[:, 0] == 0
    assert without.any() and not found[without][:, [0, 2]].any()


def test_standardised_features_have_length_one_on_average() -> None:
    tastes = FEATURES.tastes(BLOCK.matrix)
    features = dataclasses.replace(FEATURES, mean=tastes.mean(axis=0), scale=tastes.std(axis=0))
    found = features.apply(BLOCK.matrix).toarray()
    assert (found**2).sum(axis=1).mean() == pytest.approx(1.0)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    assert features.n_features == found.shape[1] == 6


def test_movies_and_genres_beside_each_other() -> None:
    movies = fit(N_RATINGS, SUMS, WeightingConfig())
    both = dataclasses.replace(FEATURES, movies=movies)
    found = both.apply(BLOCK.matrix).toarray()
    assert both.n_features == found.shape[1] == D + 6
    np.testing.assert_allclose(found[:, :D], movies.apply(BLOCK.matrix).toarray())
    np.testing.assert_allclose(found[:, D:], FEATURES.apply(BLOCK.matrix).toarray())


def test_a_user_without_ratings_has_no_taste() -> None:
    empty = FEATURES.tastes(BLOCK.matrix[:1] * 0)
    assert np.isfinite(empty).all()


def test_features_by_name() -> None:
    assert labelled(EFFECTS, CATALOGUE) is CATALOGUE
    genres = labelled(FEATURES, CATALOGUE)
    assert genres.movie_ids.tolist() == [-1, -2, -3, -4, -5, -6]
    assert genres.titles.tolist()[2:4] == ["War, share of ratings", "Comedy, liking"]
    both = labelled(dataclasses.replace(FEATURES, movies=EFFECTS), CATALOGUE)
    assert both.movie_ids.tolist() == [*MOVIE_IDS.tolist(), *range(-1, -7, -1)]
    assert len(both.titles) == len(both.genres) == D + 6 and both.titles[0] == CATALOGUE.titles[0]
    assert pd.Series(both.titles).is_unique


def test_users_who_are_all_alike_are_refused() -> None:
    check_variance(1e-9)
    with pytest.raises(UserError, match=r"nothing to cluster by; .* --weighting rated"):
        check_variance(0.0)
