"""Lloyd's algorithm and its seeding against scikit-learn, without Spark."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from tastemap.clustering import lloyd
from tastemap.hashing import uniform

Array = npt.NDArray[np.float64]


def scores(n: int = 500, m: int = 5, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(8, m))[rng.integers(0, 8, n)] + 0.5 * rng.normal(size=(n, m)) + 3.0


def test_sums_against_all_distances() -> None:
    rows, centres = scores(), scores(6, seed=1)
    found = lloyd.add_up(rows, centres)
    distances = cdist(rows, centres)
    nearest = distances.argmin(axis=1)
    assert found.cost == pytest.approx((distances.min(axis=1) ** 2).sum(), rel=1e-12)
    assert found.sizes.tolist() == np.bincount(nearest, minlength=6).tolist()
    for number in range(6):
        np.testing.assert_allclose(found.scores[number], rows[nearest == number].sum(axis=0), atol=1e-9)


def test_from_the_same_centres_as_scikit_learn() -> None:
    rows = scores()
    start = rows[:6]  # so that none is left without rows, which scikit-learn would move elsewhere
    expected = KMeans(6, init=start, n_init=1, tol=0, max_iter=300).fit(rows)
    centres, sums, iterations = lloyd.converge(rows, start, 300)
    np.testing.assert_allclose(centres, expected.cluster_centers_, atol=1e-9)
    assert sums.cost == pytest.approx(expected.inertia_, rel=1e-9)
    assert 1 < iterations < 300
    assert lloyd.converge(rows, start, 2)[2] == 2


def test_a_centre_without_rows_stays() -> None:
    rows = scores()
    start = np.vstack([rows[:2], np.full((1, 5), 1e6)])
    centres, sums, _ = lloyd.converge(rows, start, 50)
    np.testing.assert_array_equal(centres[2], start[2])
    assert sums.sizes[2] == 0


def test_centres_are_still_when_they_hardly_move() -> None:
    rows = scores()
    centres = lloyd.converge(rows, scores(6, seed=1), 300)[0]
    assert lloyd.add_up(rows, centres).still(centres)
    assert lloyd.add_up(rows, centres + 1e-5).still(centres + 1e-5)
    assert not lloyd.add_up(rows, centres + 0.1).still(centres + 0.1)


def test_seeds_are_as_good_as_those_of_scikit_learn() -> None:
    rows = scores(2000)
    ours, theirs, random = [], [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ours.append(lloyd.add_up(rows, lloyd.plus_plus(rows, 8, rng)).cost)
        start = KMeans(8, init="k-means++", n_init=1, max_iter=1, random_state=seed).fit(rows)
        theirs.append(lloyd.converge(rows, start.cluster_centers_, 0)[1].cost)
        random.append(lloyd.add_up(rows, rows[rng.choice(2000, 8, replace=False)]).cost)
    # scikit-learn has moved its centres once already; plain chance is far off.
    assert np.mean(ours) <= 1.6 * np.mean(theirs)
    assert np.mean(ours) <= 0.75 * np.mean(random)


def test_seeds_are_different_rows_and_no_more_than_there_are() -> None:
    rows = np.repeat([[0.0, 1.0], [2.0, 3.0], [5.0, 5.0]], [5, 7, 3], axis=0)
    for seed in range(10):
        found = lloyd.plus_plus(rows, 6, np.random.default_rng(seed))
        assert sorted(map(tuple, found)) == [(0.0, 1.0), (2.0, 3.0), (5.0, 5.0)]
        assert len(lloyd.plus_plus(rows, 2, np.random.default_rng(seed))) == 2


def test_chance_by_id_is_uniform_and_the_same_for_any_order() -> None:
    ids = np.concatenate([np.arange(-5000, 5000), 2**62 + 1024 * np.arange(5000)])
    found = uniform(ids, 7)
    assert found.min() >= 0 and found.max() < 1
    assert abs(np.histogram(found, 10, (0, 1))[0] - 1500).max() < 5 * np.sqrt(1500)
    order = np.random.default_rng(0).permutation(ids.size)
    np.testing.assert_array_equal(uniform(ids[order], 7), found[order])
    assert abs(np.corrcoef(found, uniform(ids, 8))[0, 1]) < 0.05
