"""Estimates moved over all rows with the help of a sample, without Spark: a pass is a sum over an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tastemap.clustering import cosine, kmeans, mixture
from tastemap.clustering.estimation import TOLERANCE, Estimate, Fitted, converge
from tastemap.clustering.lloyd import plus_plus
from tastemap.clustering.refinement import Descent, look_ahead

Array = npt.NDArray[np.float64]

ALGORITHMS = {"kmeans": kmeans, "mixture": mixture, "cosine": cosine}
LIMIT = 200


def scores(n: int = 12_000, m: int = 6, seed: int = 0) -> Array:
    """Groups that overlap: whatever moves needs many moves."""
    rng = np.random.default_rng(seed)
    return 1.5 * rng.normal(size=(7, m))[rng.integers(0, 7, n)] + rng.normal(size=(n, m))


def start(algorithm: str, sample: Array, k: int = 7, seed: int = 1) -> Fitted[Any]:
    """Converged on a sample."""
    centres = plus_plus(sample, k, np.random.default_rng(seed))
    return converge(sample, ALGORITHMS[algorithm].begin(sample, centres), LIMIT)


def refined(rows: Array, begun: Fitted[Any], sample: Array, limit: int = LIMIT) -> Fitted[Any]:
    """Go on over all rows, as `refine` does on executors."""
    descent = Descent(begun, sample, len(rows) / len(sample))
    for iteration in range(limit + 1):
        if descent.ended:
            break
        descent.advance(descent.estimate.add_up(rows), iteration, limit - iteration)
    assert descent.ended
    return descent.found


def strangers(rows: Array) -> Array:
    """A sample of other rows than these."""
    return np.random.default_rng(5).normal(size=(300, rows.shape[1])) * [9, 1, 1, 1, 1, 1]


def over(rows: Array, estimate: Estimate) -> Fitted[Any]:
    return Fitted(estimate, estimate.add_up(rows), 0)


def arrays(estimate: Any) -> list[Array]:
    return [np.asarray(value) for value in vars(estimate).values()]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_sample_of_everybody_foretells_the_moves_themselves(algorithm: str, steps: int) -> None:
    rows = scores(3000)
    begun = over(rows, start(algorithm, rows[:200]).estimate)
    found = look_ahead(begun, rows, 1.0, steps)
    expected = converge(rows, begun.estimate, steps + 1).estimate
    for one, other in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_passes_are_few_and_end_where_moves_end(algorithm: str) -> None:
    """Where estimates stand still over all rows, and lose as little as without the sample."""
    n_found = n_plain = 0
    for seed in range(1, 7):
        rows = scores(seed=seed)
        begun = start(algorithm, rows[:1500], seed=seed)
        found, plain = refined(rows, begun, rows[:1500]), converge(rows, begun.estimate, LIMIT, TOLERANCE)
        assert found.estimate.still(found.sums, TOLERANCE)
        assert found.loss <= plain.loss + 1e-5 * abs(plain.loss)
        for one, other in zip(found.sums, found.estimate.add_up(rows), strict=True):
            np.testing.assert_array_equal(one, other)
        n_found += found.iterations
        n_plain += plain.iterations
    assert n_found <= 0.75 * n_plain


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_sample_that_misleads_costs_two_passes(algorithm: str) -> None:
    """One for as many steps as there may be and one for a quarter of them; then it is left alone."""
    rows = scores(seed=2)
    begun = start(algorithm, rows[:1500], seed=2)
    found = refined(rows, begun, strangers(rows))
    plain = converge(rows, begun.estimate, LIMIT, TOLERANCE)
    assert found.estimate.still(found.sums, TOLERANCE)
    assert found.loss == pytest.approx(plain.loss, rel=1e-5)
    assert found.iterations <= plain.iterations + 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_no_more_passes_than_asked_for_and_the_best_of_them(algorithm: str, limit: int) -> None:
    rows = scores()
    begun = start(algorithm, rows[:1500])
    for sample in (rows[:1500], strangers(rows)):
        found = refined(rows, begun, sample, limit)
        assert found.iterations <= limit
        assert found.loss <= over(rows, begun.estimate).loss


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_with_one_move_left_it_is_the_move_itself(algorithm: str) -> None:
    """As bisections ask for, which are not to become KMeans."""
    rows = scores()
    begun = start(algorithm, rows[:1500])
    found = refined(rows, begun, rows[:1500], 1)
    expected = begun.estimate.moved(begun.estimate.add_up(rows))
    for one, other in zip(arrays(found.estimate), arrays(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_is_not_foretold_that_a_cluster_loses_half_of_its_rows() -> None:
    """The sample has nobody but some between the clusters, whom the next move takes from the smaller one."""
    rng = np.random.default_rng(0)
    rows = np.vstack([rng.normal(0.0, 0.3, (5000, 2)), rng.normal((8.0, 0.0), 0.3, (20, 2))])
    between = rng.normal((3.2, 0.0), 0.1, (50, 2))
    begun = over(rows, kmeans.begin(rows, np.array([[-2.0, 0.0], [7.0, 0.0]])))
    found = look_ahead(begun, between, len(rows) / len(between), 5)
    np.testing.assert_array_equal(found.centres, begun.estimate.moved(begun.sums).centres)
