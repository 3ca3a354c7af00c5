"""Numbers that clusters keep from run to run, without Spark."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from standins import score_matrix
from tastemap.blocks import Block
from tastemap.clustering import algorithms
from tastemap.clustering.centres import Centres
from tastemap.config import ClusteringConfig
from tastemap.segmentation import Projection, Segmentation
from tastemap.warm_start import Continuation, Earlier, add_members, numbering
from tastemap.weighting import Weighting


def test_members_where_they_are_now() -> None:
    rng = np.random.default_rng(0)
    scores, known, clusters = rng.normal(size=(9, 2)), np.arange(9) % 4 > 0, np.array([0, 2, 2, 0, 2, 2])
    totals, sizes = np.ones((3, 2)), np.full(3, 10.0)
    add_members(totals, sizes, (known, clusters), scores)
    of = scores[[1, 2, 3, 5, 6, 7]]
    np.testing.assert_allclose(totals, 1 + np.array([of[[0, 3]].sum(0), [0, 0], of[[1, 2, 4, 5]].sum(0)]))
    assert sizes.tolist() == [12, 10, 14]


def test_clusters_are_found_again_whatever_their_order() -> None:
    order, counterparts = numbering(np.array([[1, 0, 90], [80, 2, 3], [4, 70, 0]]))
    assert order.tolist() == [2, 0, 1] and counterparts == (0, 1, 2)


def test_as_many_users_as_can_be_keep_their_number() -> None:
    # Greedily 0 would take the second and leave nothing of 1.
    order, counterparts = numbering(np.array([[50, 60], [0, 55]]))
    assert order.tolist() == [0, 1] and counterparts == (0, 1)


def test_a_cluster_without_counterpart_comes_after_the_others() -> None:
    order, counterparts = numbering(np.array([[1, 0, 90, 3], [80, 2, 3, 9]]))
    assert order.tolist() == [2, 0, 1, 3] and counterparts == (0, 1, None, None)


def test_a_new_cluster_takes_the_number_of_one_that_is_gone() -> None:
    order, counterparts = numbering(np.array([[9, 0, 0], [0, 0, 0], [0, 0, 9], [0, 0, 0]]))
    assert order.tolist() == [0, 1, 2] and counterparts == (0, None, 2)


def test_numbers_close_up_where_nothing_is_new() -> None:
    order, counterparts = numbering(np.array([[0, 9], [0, 0], [7, 0]]))
    assert order.tolist() == [1, 0] and counterparts == (0, 2)


@pytest.mark.parametrize("seed", range(20))
def test_every_cluster_has_one_number(seed: int) -> None:
    rng = np.random.default_rng(seed)
    overlap = rng.integers(0, 4, rng.integers(1, 7, 2)) ** 3
    order, counterparts = numbering(overlap)
    assert sorted(order) == list(range(overlap.shape[1])) and len(counterparts) == overlap.shape[1]
    continued = [earlier for earlier in counterparts if earlier is not None]
    assert len(set(continued)) == len(continued)


def test_what_is_told_of_a_continuation() -> None:
    overlap = np.array([[90, 5, 5, 0], [10, 50, 0, 0], [0, 0, 0, 40]])
    found = Continuation((0, 1, None, 2), overlap, n_unknown=7).record()
    assert (found["users"], found["unknown_users"], found["gone"]) == (200, 7, [])
    # Those of earlier cluster 2 are in 3 now: their number changed, for 2 is another.
    assert (found["moved_users"], found["moved_share"]) == (60, 0.3)
    assert found["clusters"] == [
        {"cluster": 0, "earlier": 0, "stayed": 90, "came": 10, "left": 10},
        {"cluster": 1, "earlier": 1, "stayed": 50, "came": 5, "left": 10},
        {"cluster": 2, "earlier": None, "stayed": 0, "came": 5, "left": 0},
        {"cluster": 3, "earlier": 2, "stayed": 40, "came": 0, "left": 0},
    ]


def test_an_earlier_cluster_that_is_gone_is_told() -> None:
    found = Continuation((0, None), np.array([[9, 0], [0, 0]]), n_unknown=4).record()
    assert found["gone"] == [1] and found["moved_users"] == 0


def test_users_of_a_new_log_in_the_earlier_clusters() -> None:
    """The columns of the new log are other movies, and some movies are unknown to the earlier run."""
    rng = np.random.default_rng(0)
    earlier_ids, new_ids = np.array([3, 5, 8, 13], np.int32), np.array([2, 3, 8, 13, 21], np.int32)
    weighting = Weighting("residual", True, 3.0, rng.normal(size=4), 2.0)
    projection = Projection(weighting, np.linalg.qr(rng.normal(size=(4, 2)))[0], np.zeros(2))
    segmentation = Segmentation(projection, Centres(0.3 * rng.normal(size=(3, 2)), 1.0))
    ratings = np.where(rng.random((40, 5)) < 0.5, rng.integers(1, 6, (40, 5)), 0).astype(np.float32)
    ratings[7] = ratings[20] = [4, 0, 0, 0, 2]  # nothing that the earlier run knows
    block = Block(np.arange(100, 140), sparse.csr_matrix(ratings))
    known, clusters = Earlier(segmentation, earlier_ids).assign(block, new_ids)
    assert np.flatnonzero(~known).tolist() == np.flatnonzero(~ratings[:, 1:4].any(axis=1)).tolist()
    assert not known[7] and not known[20]
    same = np.zeros((40, 4), np.float32)
    same[:, [0, 2, 3]] = ratings[:, 1:4]
    expected = segmentation.assign(sparse.csr_matrix(same[known])).clusters
    assert clusters.tolist() == expected.tolist() and len(set(clusters)) > 1


def test_further_clusters_are_begun_among_rows_as_they_are_compared() -> None:
    """By direction the long rows are where the given centre points, and the short ones are not."""
    rows = np.vstack([np.outer(np.linspace(1, 90, 60), [1.0, 0.0]), np.outer(np.full(20, 0.5), [0.0, 1.0])])
    scores = score_matrix(rows)
    config = ClusteringConfig(algorithm="cosine", max_iterations=1)
    found = algorithms.fit_from(scores, np.array([[1.0, 0.0]]), 2, config, seed=7)
    assert found.sizes.tolist() == [60, 20]
    np.testing.assert_allclose(found.model.centres, np.eye(2), atol=1e-12)  # type: ignore[attr-defined]
