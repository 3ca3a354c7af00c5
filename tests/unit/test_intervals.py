"""Intervals against formulas written out, and against how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tastemap.intervals import effect_interval, lift_interval, variance_within
from tastemap.profiles import effects


def lifts(shown: np.ndarray, n_users: np.ndarray) -> np.ndarray:
    return (shown / n_users[:, None]) / (shown.sum(axis=0) / n_users.sum())


def test_lift_by_hand() -> None:
    # 30 of 100 against 45 of 300: relative risk 2, lift 0.3 / (75 / 400) = 1.6.
    shown, n_users = np.array([[30.0], [45.0]]), np.array([100.0, 300.0])
    low, high = lift_interval(shown, n_users, lifts(shown, n_users))
    centre = math.log((30.5 / 100.5) / (45.5 / 300.5))
    width = 1.959964 * math.sqrt(1 / 30.5 - 1 / 100.5 + 1 / 45.5 - 1 / 300.5)
    for found, risk in ((low, math.exp(centre - width)), (high, math.exp(centre + width))):
        assert found[0, 0] == pytest.approx(risk / (0.25 * risk + 0.75), rel=1e-6)
    assert low[0, 0] < 1.6 < high[0, 0] and low[1, 0] < 0.8 < high[1, 0]


def test_lift_interval_holds_the_truth_nineteen_times_of_twenty() -> None:
    rng = np.random.default_rng(3)
    n_users = np.array([400.0, 1600.0])
    shares = np.array([0.12, 0.05])
    truth = shares / (shares @ n_users / n_users.sum())
    shown = rng.binomial(n_users[:, None].astype(int), shares[:, None], (2, 4000)).astype(float)
    low, high = lift_interval(shown, n_users, lifts(shown, n_users))
    held = ((low <= truth[:, None]) & (truth[:, None] <= high)).mean(axis=1)
    assert np.all(held > 0.93) and np.all(held < 0.97)


def test_lift_of_movies_nobody_else_or_everybody_has_rated() -> None:
    shown, n_users = np.array([[5.0, 10.0, 0.0], [0.0, 20.0, 4.0]]), np.array([10.0, 20.0])
    lift = lifts(shown, n_users)
    low, high = lift_interval(shown, n_users, lift)
    assert lift[0, 0] == high[0, 0] == 3.0 and 1.0 < low[0, 0] < 3.0
    assert low[0, 1] <= 1.0 <= high[0, 1]
    assert low[0, 2] == 0.0 < high[0, 2]


def test_effect_interval_holds_truths_drawn_from_the_prior() -> None:
    rng = np.random.default_rng(5)
    deviation, shrinkage, trials = 1.1, 25.0, 6000
    n_ratings = np.repeat([[20.0], [60.0]], trials, axis=1)
    truth = rng.normal(0, deviation / math.sqrt(shrinkage), trials)
    means = np.stack([truth, np.zeros(trials)]) + rng.normal(size=(2, trials)) * deviation / np.sqrt(
        n_ratings
    )
    effect = effects(n_ratings, means * n_ratings, shrinkage)
    low, high = effect_interval(n_ratings, effect, shrinkage, deviation**2)
    assert 0.94 < ((low[0] <= truth) & (truth <= high[0])).mean() < 0.96


def test_effect_where_nothing_is_known() -> None:
    n_ratings, effect = np.array([[3.0, 4.0], [0.0, 4.0]]), np.zeros((2, 2))
    low, high = effect_interval(n_ratings, effect, 0.0, 1.0)
    assert low[0, 0] == -np.inf and high[0, 0] == np.inf
    assert high[0, 1] == pytest.approx(1.959964 / math.sqrt(2))
    assert effect_interval(n_ratings, effect, 4.0, 1.0)[1][0, 0] == pytest.approx(1.959964 / 2)


def test_variance_within() -> None:
    cells = [[1.0, 2.0, 3.0], [4.0], [2.0, 5.0]]
    n_ratings, sums = np.array([[3.0, 0.0], [1.0, 2.0]]), np.array([[6.0, 0.0], [4.0, 7.0]])
    squares = sum(rating**2 for cell in cells for rating in cell)
    assert variance_within(n_ratings, sums, squares) == pytest.approx((2 + 0 + 4.5) / 3)
    assert variance_within(np.ones((2, 2)), np.ones((2, 2)), 4.0) == 0.0
