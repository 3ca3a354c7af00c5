"""Lloyd's algorithm and its seeding against scikit-learn, without Spark."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from tastemap.clustering import kmeans
from tastemap.clustering.estimation import TOLERANCE, Fitted, converge
from tastemap.clustering.lloyd import Means, column_argmax, plus_plus
from tastemap.clustering.refinement import promising
from tastemap.hashing import uniform

Array = npt.NDArray[np.float64]


def scores(n: int = 500, m: int = 5, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(8, m))[rng.integers(0, 8, n)] + 0.5 * rng.normal(size=(n, m)) + 3.0


def cost(rows: Array, centres: Array) -> float:
    return converge(rows, Means(centres), 0).loss


def test_sums_against_all_distances() -> None:
    rows, centres = scores(), scores(6, seed=1)
    sums, sizes, cost = Means(centres).add_up(rows)
    distances = cdist(rows, centres)
    nearest = distances.argmin(axis=1)
    assert cost[0] == pytest.approx((distances.min(axis=1) ** 2).sum(), rel=1e-12)
    assert sizes.tolist() == np.bincount(nearest, minlength=6).tolist()
    for number in range(6):
        np.testing.assert_allclose(sums[number], rows[nearest == number].sum(axis=0), atol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 12, 255, 256, 300])
def test_the_largest_is_what_numpy_finds_the_first_of_equal_ones(k: int) -> None:
    rng = np.random.default_rng(k)
    for columns in (rng.integers(0, 1 + k // 4, (k, 500)), rng.normal(size=(k, 500)), np.zeros((k, 3))):
        np.testing.assert_array_equal(column_argmax(columns.astype(float)), columns.argmax(axis=0))
    assert column_argmax(np.empty((k, 0))).size == 0


def test_rows_that_are_centres_cost_nothing() -> None:
    centres = scores(6)
    _, sizes, cost = Means(centres).add_up(np.repeat(centres, 7, axis=0))
    assert sizes.tolist() == [7.0] * 6
    assert 0 <= cost[0] < 1e-12


def test_from_the_same_centres_as_scikit_learn() -> None:
    rows = scores()
    start = rows[:6]  # so that none is left without rows, which scikit-learn would move elsewhere
    expected = KMeans(6, init=start, n_init=1, tol=0, max_iter=300).fit(rows)
    found = converge(rows, Means(start), 300)
    np.testing.assert_allclose(found.estimate.centres, expected.cluster_centers_, atol=1e-9)
    assert found.loss == pytest.approx(expected.inertia_, rel=1e-9)
    assert 1 < found.iterations < 300
    assert converge(rows, Means(start), 2).iterations == 2


def test_a_centre_without_rows_stays() -> None:
    rows = scores()
    start = np.vstack([rows[:2], np.full((1, 5), 1e6)])
    found = converge(rows, Means(start), 50)
    np.testing.assert_array_equal(found.estimate.centres[2], start[2])
    assert found.sums[1][2] == 0
    assert found.clustering().model.n_clusters == 2


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_differ_by_rounding_are_equal(seed: int) -> None:
    """As of users with the same movies whose vectors are scaled to the same length."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(3, 5))[rng.integers(0, 3, 60)] * (1 + 1e-16 * rng.integers(0, 4, (60, 5)))
    rows[:, 0] = np.nextafter(rows[:, 0], rng.choice([-np.inf, np.inf], 60))
    for found in kmeans.starts(rows, 8, max_iterations=20, restarts=4, seed=seed):
        assert found.estimate.centres.shape == (3, 5)
        assert found.loss < 1e-12


def test_centres_are_still_when_they_hardly_move() -> None:
    rows = scores()
    centres = converge(rows, Means(scores(6, seed=1)), 300).estimate.centres
    for moved, still in ((0.0, True), (1e-5, True), (0.1, False)):
        estimate = Means(centres + moved)
        assert estimate.still(estimate.add_up(rows), TOLERANCE) is still
    assert not Means(centres + 1e-5).still(Means(centres + 1e-5).add_up(rows), 0.0)


def test_seeds_are_as_good_as_those_of_scikit_learn() -> None:
    rows = scores(2000)
    ours, theirs, random = [], [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ours.append(cost(rows, plus_plus(rows, 8, rng)))
        start = KMeans(8, init="k-means++", n_init=1, max_iter=1, random_state=seed).fit(rows)
        theirs.append(cost(rows, start.cluster_centers_))
        random.append(cost(rows, rows[rng.choice(2000, 8, replace=False)]))
    # scikit-learn has moved its centres once already; plain chance is far off.
    assert np.mean(ours) <= 1.6 * np.mean(theirs)
    assert np.mean(ours) <= 0.75 * np.mean(random)


def test_seeds_are_different_rows_and_no_more_than_there_are() -> None:
    rows = np.repeat([[0.0, 1.0], [2.0, 3.0], [5.0, 5.0]], [5, 7, 3], axis=0)
    for seed in range(10):
        found = plus_plus(rows, 6, np.random.default_rng(seed))
        assert sorted(map(tuple, found)) == [(0.0, 1.0), (2.0, 3.0), (5.0, 5.0)]
        assert len(plus_plus(rows, 2, np.random.default_rng(seed))) == 2


def test_seeds_after_given_centres_lie_far_from_them() -> None:
    rows = np.vstack([np.zeros((50, 2)), np.full((3, 2), 9.0), np.full((2, 2), -9.0)]) + 0.1 * scores(55, 2)
    given = np.array([[0.5, 0.25], [9.25, 9.5]])
    for seed in range(10):
        found = plus_plus(rows, 3, np.random.default_rng(seed), given=given)
        np.testing.assert_array_equal(found[:2], given)
        assert found[2, 0] < -5
        np.testing.assert_array_equal(plus_plus(rows, 2, np.random.default_rng(seed), given=given), given)


def standing(*centres: Array) -> list[Fitted[Means]]:
    """Starts that have not moved; `promising` does not look at their sums."""
    return [Fitted(Means(each), [], 0) for each in centres]


def test_of_several_starts_those_clearly_behind_are_given_up() -> None:
    rows = scores(2000)
    good = converge(rows, Means(scores(8, seed=1)), 300).estimate.centres
    # What some rows lose by a nudge others gain: which is better, nobody can tell.
    starts = standing(good + 0.5, good, good + 1e-4, good[:7])
    assert promising(starts, rows) == starts[1:3]
    assert promising(starts[:1], rows) == starts[:1]


def test_the_best_start_is_seldom_given_up_on_a_sample() -> None:
    rng = np.random.default_rng(0)
    rows = scores(20_000)
    good = converge(rows, Means(scores(8, seed=1)), 10).estimate.centres
    nudges = [width * rng.normal(size=good.shape) for width in (0.01, 0.03, 0.1, 0.1, 0.2)]
    starts = standing(*(good + nudge for nudge in nudges))
    best = min(starts, key=lambda start: cost(rows, start.estimate.centres))
    kept = [promising(starts, rows[rng.choice(20_000, 500, replace=False)]) for _ in range(100)]
    assert np.mean([any(one is best for one in each) for each in kept]) >= 0.98
    assert 1.5 < np.mean([len(each) for each in kept]) < 4


def test_chance_by_id_is_uniform_and_the_same_for_any_order() -> None:
    ids = np.concatenate([np.arange(-5000, 5000), 2**62 + 1024 * np.arange(5000)])
    found = uniform(ids, 7)
    assert found.min() >= 0 and found.max() < 1
    assert abs(np.histogram(found, 10, (0, 1))[0] - 1500).max() < 5 * np.sqrt(1500)
    order = np.random.default_rng(0).permutation(ids.size)
    np.testing.assert_array_equal(uniform(ids[order], 7), found[order])
    assert abs(np.corrcoef(found, uniform(ids, 8))[0, 1]) < 0.05


def test_of_several_starts_one_finds_groups_that_lie_apart() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 8, 4000)
    rows = 4.0 * np.eye(8)[group] + 0.8 * rng.normal(size=(4000, 8))
    best = cost(rows, np.array([rows[group == number].mean(axis=0) for number in range(8)]))
    reached = [
        min(one.loss for one in kmeans.starts(rows, 8, max_iterations=40, restarts=2, seed=seed)) <= best
        for seed in range(20)
    ]
    assert all(reached)
    alone = [kmeans.starts(rows, 8, max_iterations=40, restarts=1, seed=seed)[0].loss for seed in range(20)]
    assert np.mean(np.array(alone) <= best) < 0.9  # k-means++ does not, so this would tell
