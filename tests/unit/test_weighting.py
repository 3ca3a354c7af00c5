"""Weights of ratings against the formulas, written out in pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from logs import latest, random_log
from logs import to_block as block_of
from strategies import rating_frame, rating_logs
from tastemap.config import WeightingConfig
from tastemap.weighting import Weighting, fit

KINDS = ("residual", "centered", "stars", "rated")


def expected(log: pd.DataFrame, fitted_on: pd.DataFrame, config: WeightingConfig) -> pd.Series:
    """Weights of the rows of a log."""
    stars, user = log["rating"].astype(float), log["user_id"]
    if config.weighting == ("rated",):
        weights = stars * 0 + 1
    elif config.weighting == ("stars",):
        weights = stars
    elif config.weighting == ("centered",):
        weights = stars - stars.groupby(user).transform("mean")
    else:
        mean = fitted_on["rating"].astype(float).mean()
        of_movie = (fitted_on["rating"].astype(float) - mean).groupby(fitted_on["movie_id"])
        movie_effect = of_movie.sum() / (of_movie.size() + config.movie_shrinkage)
        left = stars - mean - log["movie_id"].map(movie_effect)
        of_user = left.groupby(user)
        weights = left - of_user.transform("sum") / (of_user.transform("size") + config.user_shrinkage)
    if config.normalize:
        length = np.sqrt((weights**2).groupby(user).transform("sum"))
        weights = (weights / length).where(length > 1e-9, 0.0)
    return weights


def fitted(log: pd.DataFrame, movie_ids: npt.NDArray[np.int32], config: WeightingConfig) -> Weighting:
    ratings = block_of(log, movie_ids).matrix
    n_ratings = np.bincount(ratings.indices, minlength=len(movie_ids))
    return fit(n_ratings, np.asarray(ratings.astype(np.float64).sum(axis=0)).ravel(), config)


def settings_of(**options: Any) -> WeightingConfig:
    kinds = {"weighting": (options["weighting"],)} if "weighting" in options else {}
    return WeightingConfig(**options | kinds)


def check(log: pd.DataFrame, config: WeightingConfig) -> None:
    movie_ids = np.unique(log["movie_id"]).astype(np.int32)
    block = block_of(log, movie_ids)
    weights = fitted(log, movie_ids, config).apply(block.matrix)
    ordered = log.sort_values(["user_id", "movie_id"])
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights.indptr, block.matrix.indptr)
    np.testing.assert_array_equal(weights.indices, block.matrix.indices)
    np.testing.assert_allclose(weights.data, expected(ordered, log, config), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shrinkage", [(25.0, 10.0), (0.0, 0.0), (1e9, 0.5)])
def test_formulas_on_a_log(kind: str, normalize: bool, shrinkage: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    users, movies = np.divmod(rng.choice(40 * 30, 400, replace=False), 30)
    stars = np.clip(np.round(7 + users % 3 - movies % 4 + rng.normal(size=400)) / 2, 0.5, 5)
    log = rating_frame([(*row, None) for row in zip(users, movies, stars, strict=True)])
    config = settings_of(
        weighting=kind, normalize=normalize, movie_shrinkage=shrinkage[0], user_shrinkage=shrinkage[1]
    )
    check(log, config)


@settings(max_examples=60, deadline=None)
@given(
    log=rating_logs(min_size=1).map(latest),
    kind=st.sampled_from(KINDS),
    normalize=st.booleans(),
    shrinkage=st.sampled_from([0.0, 0.5, 25.0]),
)
def test_formulas_on_any_log(log: pd.DataFrame, kind: str, normalize: bool, shrinkage: float) -> None:
    config = settings_of(
        weighting=kind, normalize=normalize, movie_shrinkage=shrinkage, user_shrinkage=shrinkage / 2
    )
    check(log, config)


# One rating; all the same; two apart; none. With users that are alike in number but not in taste.
ODD_USERS = sparse.csr_matrix(
    np.array([[0, 4, 0, 0], [3, 3, 3, 0], [1, 0, 0, 5], [0, 0, 0, 0]], dtype=np.float32)
)


def odd(kind: str, normalize: bool) -> npt.NDArray[np.float64]:
    weighting = Weighting(kind, normalize, 3.0, np.array([0.5, 0.0, -0.5, 0.0]), 1.0)
    return weighting.apply(ODD_USERS).toarray()


def test_odd_users_by_hand() -> None:
    half = np.sqrt(0.5)
    np.testing.assert_allclose(odd("rated", False), ODD_USERS.toarray() > 0)
    np.testing.assert_allclose(odd("stars", False), ODD_USERS.toarray())
    np.testing.assert_allclose(odd("stars", True)[0], [0, 1, 0, 0])
    np.testing.assert_allclose(odd("rated", True)[2], [half, 0, 0, half])
    np.testing.assert_allclose(odd("centered", False), [[0, 0, 0, 0], [0, 0, 0, 0], [-2, 0, 0, 2], [0] * 4])
    np.testing.assert_allclose(
        odd("centered", True), [[0, 0, 0, 0], [0, 0, 0, 0], [-half, 0, 0, half], [0] * 4]
    )
    # Left of μ and b_m: 1 | -0.5, 0, 0.5 | -2.5, 2; less their sum / (n + 1).
    shrunk = [[0, 0.5, 0, 0], [-0.5, 0, 0.5, 0], [-2.5 + 0.5 / 3, 0, 0, 2 + 0.5 / 3], [0] * 4]
    np.testing.assert_allclose(odd("residual", False), shrunk, atol=1e-15)
    np.testing.assert_allclose(odd("residual", True)[:2], [[0, 1, 0, 0], [-half, 0, half, 0]], atol=1e-15)


def test_what_is_zero_but_for_rounding_stays_zero() -> None:
    # 3.7 three times has a mean that differs from 3.7 in the last bit.
    same = sparse.csr_matrix(np.full((1, 3), 3.7))
    assert (same.data != same.data.mean()).any()
    weights = Weighting("centered", True, 0.0, np.zeros(3), 0.0).apply(same)
    np.testing.assert_array_equal(weights.data, np.zeros(3))
    weights = Weighting("residual", True, 0.1, np.zeros(3), 0.0).apply(same)
    np.testing.assert_array_equal(weights.data, np.zeros(3))


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_one_or_zero(kind: str) -> None:
    lengths = np.linalg.norm(odd(kind, True), axis=1)
    assert np.all(np.isclose(lengths, 1) | (lengths == 0))
    assert np.isclose(lengths[2], 1) and lengths[3] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", [True, False])
def test_a_users_weights_depend_on_no_other_user(kind: str, normalize: bool) -> None:
    weighting = Weighting(kind, normalize, 3.0, np.array([0.5, 0.0, -0.5, 0.0]), 1.0)
    alone = [weighting.apply(ODD_USERS[[row]]).toarray()[0] for row in range(4)]
    np.testing.assert_array_equal(weighting.apply(ODD_USERS).toarray(), alone)


@pytest.mark.parametrize("kind", KINDS)
def test_no_users_and_a_rating_of_zero(kind: str) -> None:
    weighting = Weighting(kind, True, 1.0, np.zeros(2), 10.0)
    assert weighting.apply(sparse.csr_matrix((0, 2), dtype=np.float32)).shape == (0, 2)
    # On a scale from 0, a rating of 0 is a rating.
    stored_zero = sparse.csr_matrix((np.float32([0.0, 2.0]), [0, 1], [0, 2]), shape=(1, 2))
    weights = weighting.apply(stored_zero)
    assert weights.nnz == 2 and list(weights.indices) == [0, 1]
    if kind in ("centered", "residual"):
        np.testing.assert_allclose(weights.data, [-np.sqrt(0.5), np.sqrt(0.5)])


def test_ratings_are_left_as_they_are() -> None:
    ratings = ODD_USERS.copy()
    for array in (ratings.data, ratings.indices, ratings.indptr):
        array.flags.writeable = False  # as the memory of an Arrow batch is
    for kind in KINDS:
        Weighting(kind, True, 3.0, np.zeros(4), 1.0).apply(ratings)
    np.testing.assert_array_equal(ratings.toarray(), ODD_USERS.toarray())


def test_fit_by_hand() -> None:
    config = settings_of(weighting="residual", movie_shrinkage=2.0, user_shrinkage=3.0, normalize=False)
    found = fit(np.array([3, 1, 0]), np.array([12.0, 2.0, 0.0]), config)
    assert found.global_mean == 3.5 and found.user_shrinkage == 3.0
    assert (found.kind, found.normalize) == ("residual", False)
    np.testing.assert_allclose(found.movie_effects, [1.5 / 5, -1.5 / 3, 0.0])


def test_fit_without_shrinkage_or_ratings() -> None:
    config = settings_of(movie_shrinkage=0.0)
    found = fit(np.array([2, 0]), np.array([8.0, 0.0]), config)
    np.testing.assert_array_equal(found.movie_effects, [0.0, 0.0])
    nothing = fit(np.zeros(2, dtype=np.int64), np.zeros(2), config)
    assert nothing.global_mean == 0.0
    np.testing.assert_array_equal(nothing.movie_effects, [0.0, 0.0])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_a_user_are_the_same_whoever_they_are_weighed_with(
    kind: str, normalize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = random_log(60, 30, 900, seed=1)
    movie_ids = np.unique(log["movie_id"]).astype(np.int32)
    ratings = block_of(log, movie_ids).matrix
    weighting = fitted(log, movie_ids, settings_of(weighting=kind, normalize=normalize))
    together = weighting.apply(ratings)
    for values in (1, 40, ratings.nnz):
        monkeypatch.setattr("tastemap.weighting.VALUES", values)
        np.testing.assert_array_equal(weighting.apply(ratings).data, together.data)
