"""Assignment to the nearest centre, memberships, and the order of clusters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal

from tastemap.clustering.assignment import Assignment
from tastemap.clustering.centres import Centres
from tastemap.clustering.estimation import by_size


def test_assignment_against_all_distances() -> None:
    rng = np.random.default_rng(0)
    scores, centres = rng.normal(size=(500, 6)), rng.normal(size=(9, 6))
    found = Centres(centres, 2.5, temperature=1.4).assign(scores)
    distances = cdist(scores, centres)
    np.testing.assert_array_equal(found.clusters, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distances, distances.min(axis=1), rtol=1e-12)
    # Six columns share the spread of 2.5; the temperature multiplies the variance.
    densities = [multivariate_normal(centre, 1.4 * 2.5 / 6).pdf(scores) for centre in centres]
    expected = np.transpose(densities / np.sum(densities, axis=0))
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-9)
    np.testing.assert_array_equal(found.memberships, found.probabilities.max(axis=1))
    assert found.clusters.dtype == np.int32


def test_memberships_by_hand() -> None:
    # Between two centres, on one of them, and at 1 from one and 3 from the other, with s = 1.
    found = Centres(np.array([[0.0], [4.0]]), 1.0, temperature=2.0).assign(np.array([[2.0], [4.0], [1.0]]))
    np.testing.assert_array_equal(found.clusters, [0, 1, 0])
    np.testing.assert_allclose(found.distances, [2.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(
        found.memberships, [0.5, 1 / (1 + np.exp(-16 / 4)), 1 / (1 + np.exp((1 - 9) / 4))]
    )


@settings(max_examples=60, deadline=None)
@given(
    k=st.integers(1, 6),
    n=st.integers(1, 20),
    spread=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e6]),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
    temperature=st.sampled_from([0.01, 1.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_memberships_lie_between_one_kth_and_one(
    k: int, n: int, spread: float, scale: float, temperature: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    centres = scale * rng.normal(size=(k, 3))
    rows = np.vstack([scale * rng.normal(size=(n, 3)), centres])
    found = Centres(centres, spread, temperature).assign(rows)
    assert np.all(found.memberships >= 1 / k - 1e-12) and np.all(found.memberships <= 1)
    assert np.all(found.clusters < k) and np.all(found.distances >= 0)


def test_of_equally_near_centres_the_first() -> None:
    centres = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = Centres(centres, 1.0).assign(np.array([[0.0, 0.0], [0.0, -5.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(found.clusters, [0, 0, 0])
    np.testing.assert_allclose(found.memberships[0], 1 / 4)


def test_rows_that_are_centres_are_sure_of_it() -> None:
    # As many clusters as users: all distances are 0, hence the spread.
    centres = np.random.default_rng(1).normal(size=(5, 4))
    found = Centres(centres, 0.0).assign(centres)
    np.testing.assert_array_equal(found.clusters, range(5))
    np.testing.assert_allclose(found.distances, 0, atol=1e-7)
    np.testing.assert_allclose(found.memberships, 1, atol=1e-9)


def test_clusters_that_a_row_may_belong_to() -> None:
    shares = np.array([[0.9, 0.0951, 0.0049], [0.005, 0.005, 0.99], [0.004, 0.0045, 0.003]])
    found = Assignment(shares.argmax(axis=1).astype(np.int32), np.zeros(3), shares)
    rows, clusters = found.likely(0.01)
    # The last row is of many more clusters: none of its shares reaches the floor, and the largest is kept.
    assert list(zip(rows.tolist(), clusters.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 2), (2, 1)]


def test_nobody_is_assigned_to_nothing() -> None:
    found = Centres(np.ones((2, 3)), 1.0).assign(np.empty((0, 3)))
    assert found.clusters.shape == found.distances.shape == found.memberships.shape == (0,)


def test_clusters_by_size() -> None:
    centres = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(by_size(np.array([3, 9, 1, 4]), centres), [1, 3, 0, 2])


def test_clusters_of_equal_size_by_their_centres() -> None:
    sizes, centres = np.array([5, 5, 5, 7]), np.array([[1.0, 3.0], [0.0, 9.0], [1.0, 2.0], [8.0, 8.0]])
    order = by_size(sizes, centres)
    np.testing.assert_array_equal(order, [3, 1, 2, 0])
    for shuffle in ([3, 2, 1, 0], [1, 3, 0, 2]):
        again = by_size(sizes[shuffle], centres[shuffle])
        np.testing.assert_array_equal(centres[shuffle][again], centres[order])


@pytest.mark.parametrize("sizes", [[0, 4, 0, 2], [4, 2], [0, 0]])
def test_clusters_without_rows_are_left_out(sizes: list[int]) -> None:
    order = by_size(np.array(sizes), np.arange(float(len(sizes)))[:, None])
    assert [sizes[cluster] for cluster in order] == [size for size in sorted(sizes, reverse=True) if size]
