"""Relatives of KMeans against scikit-learn, without Spark."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import multivariate_normal
from sklearn.cluster import BisectingKMeans, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from tastemap.clustering import bisecting, cosine, kmeans, mixture
from tastemap.clustering.centres import Centres, unit
from tastemap.clustering.estimation import converge
from tastemap.clustering.lloyd import Means, plus_plus
from tastemap.clustering.mixture import Mixture

Array = npt.NDArray[np.float64]

SETTINGS = {"max_iterations": 100, "restarts": 3, "seed": 7}


def scores(n: int = 600, m: int = 5, seed: int = 0) -> Array:
    """Overlapping groups of unequal size and width, with columns that depend on each other."""
    rng = np.random.default_rng(seed)
    mixed = np.linalg.qr(rng.normal(size=(m, m)))[0] * np.linspace(2.0, 0.4, m)
    group = rng.choice(6, n, p=[0.35, 0.25, 0.15, 0.1, 0.1, 0.05])
    return 2.0 * rng.normal(size=(6, m))[group] + rng.normal(size=(n, m)) @ mixed


class TestCosine:
    def test_as_kmeans_of_directions_with_its_centres_brought_to_length_1(self) -> None:
        rows = scores()
        centres = unit(rows[:6])
        found = converge(rows, cosine.begin(rows, rows[:6]), 100)
        for _ in range(100):  # Dhillon & Modha's algorithm as it is written
            nearest = (rows @ centres.T / np.linalg.norm(rows, axis=1)[:, None]).argmax(axis=1)
            sums = np.array([unit(rows)[nearest == number].sum(axis=0) for number in range(6)])
            centres = sums / np.linalg.norm(sums, axis=1)[:, None]
        np.testing.assert_allclose(found.estimate.centres, centres, atol=1e-9)
        cosines = (unit(rows) * centres[nearest]).sum()
        assert found.loss == pytest.approx(2 * len(rows) - 2 * cosines, rel=1e-9)

    def test_lengths_make_no_difference(self) -> None:
        rows = scores()
        lengths = np.random.default_rng(1).uniform(0.01, 100, (len(rows), 1))
        first, second = (
            min(cosine.starts(each, 4, **SETTINGS), key=lambda fitted: fitted.loss).clustering()
            for each in (rows, lengths * rows)
        )
        np.testing.assert_array_equal(first.model.assign(rows).clusters, second.model.assign(rows).clusters)
        np.testing.assert_array_equal(
            first.model.assign(rows).clusters, first.model.assign(lengths * rows).clusters
        )

    def test_rows_of_zeros_pull_nothing(self) -> None:
        rows = scores()
        found = converge(rows, cosine.begin(rows, rows[:4]), 100)
        more = np.vstack([rows, np.zeros((300, rows.shape[1]))])
        again = converge(more, cosine.begin(more, rows[:4]), 100)
        np.testing.assert_allclose(again.estimate.centres, found.estimate.centres, atol=1e-12)
        assert again.clustering().model.assign(np.zeros((1, 5))).distances[0] == pytest.approx(1.0)

    def test_directions_that_cancel_out_leave_the_centre(self) -> None:
        moved = Means(np.array([[1.0, 0.0]]), spherical=True).moved(
            [np.zeros((1, 2)), np.array([2.0]), np.array([4.0])]
        )
        np.testing.assert_array_equal(moved.centres, [[1.0, 0.0]])


class TestBisecting:
    def test_separated_groups_as_scikit_learn_splits_them(self) -> None:
        rng = np.random.default_rng(3)
        rows = 30 * rng.normal(size=(5, 4)).repeat([50, 40, 30, 20, 10], axis=0) + rng.normal(size=(150, 4))
        (found,) = bisecting.starts(rows, 5, **SETTINGS)
        expected = BisectingKMeans(5, n_init=5, random_state=0, bisecting_strategy="biggest_inertia")
        labels = expected.fit(rows).labels_
        clustering = found.clustering()
        assert clustering.sizes.tolist() == [50, 40, 30, 20, 10]
        assert adjusted_rand_score(labels, clustering.model.assign(rows).clusters) == 1.0

    def test_overlapping_groups_as_well_as_scikit_learn(self) -> None:
        rows = scores(2000)
        centres = bisecting.split(rows, 8, **SETTINGS)
        found = converge(rows, Means(centres), 0).loss
        expected = [
            BisectingKMeans(8, n_init=3, random_state=seed, bisecting_strategy="biggest_inertia")
            .fit(rows)
            .cluster_centers_
            for seed in range(5)
        ]
        assert found <= 1.01 * np.median([converge(rows, Means(each), 0).loss for each in expected])

    def test_the_widest_is_split_and_not_the_largest(self) -> None:
        wide = np.array([[100.0, 0.0], [120.0, 0.0], [140.0, 0.0]])
        rows = np.vstack([wide, np.random.default_rng(0).normal(size=(40, 2))])
        found = bisecting.split(rows, 4, **SETTINGS)
        assert sorted(found[:, 0].round().tolist()) == [0.0, 100.0, 120.0, 140.0]

    def test_no_more_leaves_than_different_rows(self) -> None:
        rows = np.repeat([[0.1, 1.0], [2.0, 3.3], [5.0, 5.7]], [5, 7, 3], axis=0)
        found = bisecting.split(rows, 6, **SETTINGS)
        np.testing.assert_allclose(sorted(found.tolist()), [[0.1, 1.0], [2.0, 3.3], [5.0, 5.7]])


def fit_with_scikit_learn(rows: Array, start: Mixture, iterations: int) -> GaussianMixture:
    expected = GaussianMixture(
        start.n_clusters,
        covariance_type="tied",
        tol=0,
        max_iter=iterations,
        reg_covar=1e-12,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariance),
    )
    with pytest.warns(match="did not converge"):
        return expected.fit(rows)


class TestMixture:
    @pytest.mark.parametrize("iterations", [1, 3, 20])
    def test_from_the_same_start_as_scikit_learn(
        self, iterations: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mixture, "FLOOR", 1e-13)
        rows = scores()
        start = mixture.begin(rows, plus_plus(rows, 6, np.random.default_rng(1)))
        found = converge(rows, start, iterations)
        expected = fit_with_scikit_learn(rows, start, iterations)
        np.testing.assert_allclose(found.estimate.means, expected.means_, atol=1e-8)
        np.testing.assert_allclose(found.estimate.weights, expected.weights_, atol=1e-9)
        np.testing.assert_allclose(found.estimate.covariance, expected.covariances_, atol=1e-8)
        assert found.loss == pytest.approx(-expected.score_samples(rows).sum(), rel=1e-9)
        posterior = found.estimate.assign(rows)
        np.testing.assert_allclose(posterior.probabilities, expected.predict_proba(rows), atol=1e-8)
        np.testing.assert_array_equal(posterior.clusters, expected.predict(rows))

    def test_begins_as_the_gaussians_of_the_nearest_rows(self) -> None:
        rows = scores()
        fitted = KMeans(4, n_init=1, random_state=0, tol=0).fit(rows)
        start = mixture.begin(rows, fitted.cluster_centers_)
        members = [rows[fitted.labels_ == number] for number in range(4)]
        np.testing.assert_allclose(start.weights, [len(each) / len(rows) for each in members])
        np.testing.assert_allclose(start.means, [each.mean(axis=0) for each in members], atol=1e-12)
        within = sum(len(each) * np.cov(each.T, bias=True) for each in members) / len(rows)
        np.testing.assert_allclose(start.covariance, within, atol=1e-5 * np.trace(within))

    def test_every_move_makes_the_rows_more_likely(self) -> None:
        rows = scores()
        estimate = mixture.begin(rows, rows[:7])
        losses = []
        for _ in range(30):
            sums = estimate.add_up(rows)
            losses.append(estimate.loss(sums))
            estimate = estimate.moved(sums)
        assert np.all(np.diff(losses) < 1e-6) and losses[-1] < losses[0]

    def test_posterior_and_distance_by_hand(self) -> None:
        given = Mixture(np.array([0.7, 0.3]), np.array([[0.0, 0], [3, 4]]), np.array([[2.0, 0.5], [0.5, 1]]))
        rows = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 2.0], [50.0, -9.0], [1e4, 1e4]])
        found = given.assign(rows)
        logs = np.log(given.weights) + np.transpose(
            [multivariate_normal(mean, given.covariance).logpdf(rows) for mean in given.means]
        )
        expected = np.exp(logs - np.logaddexp(*logs.T)[:, None])
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-9, atol=1e-300)
        np.testing.assert_array_equal(found.clusters, expected.argmax(axis=1))
        np.testing.assert_allclose(found.distances[:2], 0.0, atol=1e-12)
        np.testing.assert_allclose(
            found.distances, np.linalg.norm(rows - given.means[found.clusters], axis=1)
        )

    @pytest.mark.parametrize("rows", [np.zeros((9, 3)), np.repeat(np.eye(3), 4, axis=0)], ids=["0", "points"])
    def test_rows_that_vary_in_nothing_but_their_cluster(self, rows: Array) -> None:
        (found,) = mixture.starts(rows, 3, **SETTINGS)
        clustering = found.clustering()
        assert clustering.sizes.sum() == len(rows) and np.isfinite(clustering.cost)
        np.testing.assert_allclose(clustering.model.assign(rows).memberships, 1, atol=1e-9)

    def test_gaussians_that_nobody_is_assigned_to_are_left_out(self) -> None:
        rows = scores()
        estimate = Mixture(np.array([0.5, 0.0, 0.5]), rows[:3], np.eye(5))
        clustering = estimate.clustering(estimate.add_up(rows), 0)
        assert clustering.model.n_clusters == 2 and clustering.sizes.sum() == len(rows)
        assert clustering.model.weights.tolist() == [0.5, 0.5]
        found = estimate.assign(rows)
        assert not found.probabilities[:, 1].any() and np.allclose(found.probabilities.sum(axis=1), 1)
        assert np.isfinite(estimate.moved(estimate.add_up(rows)).means).all()

    def test_some_of_the_gaussians(self) -> None:
        found = Mixture(np.array([0.5, 0.3, 0.2]), np.eye(3), np.eye(3)).take(np.array([2, 0]))
        np.testing.assert_allclose(found.weights, [2 / 7, 5 / 7])
        np.testing.assert_array_equal(found.means, np.eye(3)[[2, 0]])

    def test_halves_of_the_rows_add_up(self) -> None:
        rows = scores()
        estimate = mixture.begin(rows, rows[:4])
        whole, parts = estimate.add_up(rows), [estimate.add_up(half) for half in np.split(rows, [100])]
        for total, first, second in zip(whole, *parts, strict=True):
            np.testing.assert_allclose(first + second, total, rtol=1e-12)


def test_long_groups_that_lie_side_by_side_are_for_the_mixture() -> None:
    rng = np.random.default_rng(2)
    group, middles = rng.integers(0, 3, 3000), np.array([[0.0, 0], [3, 0], [6, 0]])
    rows = middles[group] + rng.normal(size=(3000, 2)) @ [[1.2, 1.2], [-0.3, 0.3]]
    gaussians, nearest = (
        converge(rows, begin(rows, middles), 100).clustering().model.assign(rows).clusters
        for begin in (mixture.begin, kmeans.begin)
    )
    assert adjusted_rand_score(group, gaussians) > 0.95 > 0.6 > adjusted_rand_score(group, nearest)


def test_new_rows_are_scaled_where_the_centres_are_directions() -> None:
    centres = Centres(np.eye(2), 0.5, spherical=True)
    found = centres.assign(np.array([[10.0, 1.0], [0.001, 0.002], [0.0, 0.0]]))
    assert found.clusters.tolist() == [0, 1, 0]
    np.testing.assert_allclose(found.distances[0], np.linalg.norm(np.array([10, 1]) / np.sqrt(101) - [1, 0]))
    np.testing.assert_allclose(found.memberships[2], 0.5)
