"""Block Krylov iteration, against dense eigensolvers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import linalg

import oracles
from tastemap.decomposition.krylov import (
    Correct,
    Eigenpairs,
    Progress,
    leading_eigenpairs,
    orthonormal,
    outside_of,
)

Array = npt.NDArray[np.float64]


def solve(operator: Array, k: int, **options: Any) -> Eigenpairs:
    defaults = {"block_size": 4, "tol": 1e-10, "max_passes": 500, "max_basis": 10_000, "seed": 0}
    return leading_eigenpairs(lambda x: operator @ x, len(operator), k, **{**defaults, **options})


def with_eigenvalues(values: Array, seed: int = 0) -> Array:
    d = len(values)
    vectors = linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
    return (vectors * values) @ vectors.T


def power_law(d: int, exponent: float) -> Array:
    return np.arange(1.0, d + 1) ** -exponent


@st.composite
def semidefinite(draw: st.DrawFn) -> Array:
    """Any size, any rank down to 0, columns of very different size."""
    d = draw(st.integers(1, 40))
    rank = draw(st.integers(0, d))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    decades = draw(st.sampled_from([0.0, 3.0, 8.0]))
    factor = rng.standard_normal((d, rank)) * 10.0 ** -rng.uniform(0, decades, rank)
    return factor @ factor.T


def near_leading(operator: Array, width: int, noise: float = 0.02) -> Array:
    """Columns near to the leading eigenvectors, not orthonormal."""
    leading = np.linalg.eigh(operator)[1][:, ::-1][:, :width]
    found: Array = leading + noise * np.random.default_rng(0).standard_normal(leading.shape)
    return found


def as_they_are(residuals: Array, values: Array, vectors: Array) -> Array:
    return residuals


def assert_is_what_it_says(found: Eigenpairs, operator: Array, k: int) -> None:
    """Shapes, order, orthonormality, true residuals, and bounds that hold for any Ritz pairs."""
    scale = max(np.linalg.norm(operator, 2), 1e-300)
    assert found.values.shape == found.residuals.shape == (k,)
    assert found.vectors.shape == (len(operator), k)
    assert np.all(found.values >= 0) and np.all(np.diff(found.values) <= 1e-14 * scale)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(k), atol=1e-12)
    true = oracles.residuals(operator, found.values, found.vectors)
    np.testing.assert_allclose(found.residuals, true, atol=1e-13 * scale)
    assert found.error == pytest.approx(true.sum() / max(found.values.sum(), 1e-300), rel=1e-6, abs=1e-11)
    # Cauchy's interlacing: no Ritz value is above the eigenvalue of the same rank.
    assert np.all(found.values <= np.linalg.eigvalsh(operator)[::-1][:k] + 1e-12 * scale)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(semidefinite(), st.floats(0, 1), st.integers(1, 45), st.integers(1, 60), st.integers(0, 99))
def test_eigenpairs_of_any_semidefinite_matrix(
    operator: Array, share: float, block_size: int, max_basis: int, seed: int
) -> None:
    d = len(operator)
    k = 1 + int(share * (d - 1))
    found = solve(operator, k, block_size=block_size, max_basis=max_basis, seed=seed)
    assert_is_what_it_says(found, operator, k)
    assert found.converged and found.error <= 1e-10
    eigenvalues = np.linalg.eigvalsh(operator)[::-1]
    scale = max(eigenvalues[0], 1e-300)
    np.testing.assert_allclose(found.values, np.maximum(eigenvalues[:k], 0), atol=k * 1e-9 * scale)


@pytest.mark.parametrize(("d", "rank", "k", "block_size"), [(35, 32, 4, 8), (11, 10, 2, 3), (34, 20, 3, 7)])
@pytest.mark.parametrize("seed", range(5))
def test_residuals_are_true_where_columns_of_a_block_are_next_to_dependent(
    d: int, rank: int, k: int, block_size: int, seed: int
) -> None:
    """What columns that are left out have beside the others must not be missing, if only 1e-9 of all."""
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((d, rank)) * 10.0 ** -rng.uniform(0, 8, rank)
    assert_is_what_it_says(solve(factor @ factor.T, k, block_size=block_size), factor @ factor.T, k)


@pytest.mark.parametrize("max_basis", [0, 45, 60, 10_000])
def test_subspace_to_machine_precision_with_and_without_restarts(max_basis: int) -> None:
    operator = with_eigenvalues(power_law(200, 1.0))
    found = solve(operator, 10, block_size=10, tol=1e-12, max_basis=max_basis)
    values, vectors = np.linalg.eigh(operator)
    assert oracles.largest_angle(found.vectors, vectors[:, ::-1][:, :10]) < 1e-10
    np.testing.assert_allclose(found.values, values[::-1][:10], rtol=1e-13)
    assert_is_what_it_says(found, operator, 10)


def test_restarts_bound_the_basis_and_cost_passes_only() -> None:
    operator = with_eigenvalues(power_law(300, 0.5))
    free = solve(operator, 8, block_size=4)
    bound = solve(operator, 8, block_size=4, max_basis=24)
    assert free.passes * 4 > 24  # else nothing was restarted
    assert bound.converged and free.passes <= bound.passes <= 3 * free.passes
    np.testing.assert_allclose(bound.values, free.values, rtol=1e-12)
    assert oracles.largest_angle(bound.vectors, free.vectors) < 1e-7


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("k", "block_size"), [(5, 16), (20, 20), (50, 32)])
@pytest.mark.parametrize("tol", [5e-3, 2e-4])
def test_what_is_captured_is_within_a_fifth_of_the_tolerance(
    exponent: float, k: int, block_size: int, tol: float
) -> None:
    values = power_law(240, exponent)
    operator = with_eigenvalues(values, seed=k)
    found = solve(operator, k, block_size=block_size, tol=tol)
    assert found.converged and found.error <= tol
    assert_is_what_it_says(found, operator, k)
    optimum, captured = values[:k].sum(), np.trace(found.vectors.T @ operator @ found.vectors)
    assert found.values.sum() == pytest.approx(captured, rel=1e-12)
    assert optimum * (1 - tol / 5) <= captured <= optimum * (1 + 1e-12)
    # Mirsky's bound, with which the tolerance is explained.
    assert optimum - captured <= 2 * found.residuals.sum()


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("k", [5, 50])
def test_so_it_does_from_a_start_near_the_leading_vectors(exponent: float, noise: float, k: int) -> None:
    """As a sample gives it: what leads, disturbed, a few directions more, and some that are random."""
    values, rng = power_law(240, exponent), np.random.default_rng(k)
    operator = with_eigenvalues(values, seed=k)
    near = np.linalg.eigh(operator)[1][:, ::-1][:, : k + 12] + noise * rng.standard_normal((240, k + 12)) / 15
    start = np.hstack([near, rng.standard_normal((240, 4))])
    found = solve(operator, k, tol=5e-3, start=start)
    assert found.converged and found.passes <= solve(operator, k, tol=5e-3, block_size=k + 16).passes
    assert_is_what_it_says(found, operator, k)
    assert found.values.sum() >= values[:k].sum() * (1 - 1e-3)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(semidefinite(), st.floats(0, 1), st.integers(1, 45), st.integers(1, 60), st.integers(0, 99))
def test_whatever_corrections_do_the_eigenpairs_are_the_same(
    operator: Array, share: float, block_size: int, max_basis: int, seed: int
) -> None:
    """Nothing and noise, which get on for as long as there is room, and the residuals as they are."""
    k = 1 + int(share * (len(operator) - 1))
    eigenvalues, rng = np.linalg.eigvalsh(operator)[::-1], np.random.default_rng(seed)
    corrections: list[tuple[Correct, int]] = [
        (lambda residuals, values, vectors: np.zeros_like(residuals), 40),
        (lambda residuals, values, vectors: rng.standard_normal(residuals.shape), 40),
        (as_they_are, max_basis),
    ]
    for correct, room in corrections:
        found = solve(operator, k, block_size=block_size, max_basis=room, seed=seed, correct=correct)
        assert_is_what_it_says(found, operator, k)
        assert found.converged
        np.testing.assert_allclose(
            found.values, np.maximum(eigenvalues[:k], 0), atol=k * 1e-9 * max(eigenvalues[0], 1e-300)
        )


def test_corrections_see_what_is_left_outside_of_the_basis_and_save_passes() -> None:
    values = power_law(240, 0.5)
    operator = with_eigenvalues(values)
    start = near_leading(operator, 14)

    def newton(residuals: Array, found: Array, vectors: Array) -> Array:
        """By all that there is to know of the operator."""
        assert residuals.shape == vectors.shape == (240, 14) and found.shape == (14,)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(14), atol=1e-12)
        np.testing.assert_allclose(vectors.T @ residuals, 0, atol=1e-13)
        np.testing.assert_allclose(operator @ vectors - vectors * found, residuals, atol=1e-13)
        off = np.eye(240) - vectors @ vectors.T
        solved = [
            np.linalg.solve(np.eye(240) - off @ operator @ off / v, r)
            for v, r in zip(found, residuals.T, strict=True)
        ]
        return np.column_stack(solved)

    plain, corrected = (solve(operator, 10, start=start, correct=correct) for correct in (None, newton))
    assert_is_what_it_says(corrected, operator, 10)
    np.testing.assert_allclose(corrected.values, plain.values, rtol=1e-9)
    assert corrected.passes <= 6 and plain.passes >= 10


@pytest.mark.parametrize(("passes", "max_basis"), [(1, 200), (3, 200), (6, 200), (4, 40), (6, 40)])
def test_a_surrogate_that_is_the_operator_is_worth_a_pass(passes: int, max_basis: int) -> None:
    """Also when the basis has begun anew: of 52 columns there are 14, 28, 42, 24 + 14, 24 + 28 and again."""
    operator = with_eigenvalues(power_law(240, 0.5))
    options = {
        "start": near_leading(operator, 14),
        "correct": as_they_are,
        "tol": 1e-15,
        "max_basis": max_basis,
    }
    before, after = (solve(operator, 10, max_passes=n, **options) for n in (passes, passes + 1))
    found = solve(operator, 10, max_passes=passes, surrogate=lambda x: operator @ x, **options)
    assert found.passes == passes and found.error == before.error
    np.testing.assert_array_equal(found.residuals, before.residuals)
    np.testing.assert_allclose(found.values, after.values, rtol=1e-12)
    assert oracles.largest_angle(found.vectors, after.vectors) < 1e-7
    assert after.values.sum() > before.values.sum() * (1 + 1e-9)  # else nothing is shown


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_rows", [300, 3000])
@pytest.mark.parametrize("tol", [0.1, 1e-3])
def test_a_surrogate_of_a_sample_is_nearly_worth_a_pass_and_values_are_estimates(
    n_rows: int, tol: float, seed: int
) -> None:
    operator = with_eigenvalues(power_law(240, 0.5), seed)
    rows = np.random.default_rng(seed).multivariate_normal(np.zeros(240), operator, n_rows)
    sampled = rows.T @ rows / n_rows
    options = {"start": near_leading(operator, 14), "correct": as_they_are, "tol": tol}
    plain = solve(operator, 10, **options)
    found = solve(operator, 10, surrogate=lambda x: sampled @ x, **options)
    assert found.error == plain.error <= tol
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(10), atol=1e-12)
    optimum = power_law(240, 0.5)[:10].sum()
    captured, before = (float(np.trace(v.T @ operator @ v)) for v in (found.vectors, plain.vectors))
    assert optimum * (1 + 1e-12) >= captured
    assert optimum - captured < 0.8 * (optimum - before)
    assert abs(found.values.sum() - captured) < 0.5 * (captured - before)


def test_of_a_surrogate_without_variance_the_estimates_are_lower_bounds() -> None:
    operator = with_eigenvalues(power_law(240, 0.5))
    options = {"start": near_leading(operator, 14), "correct": as_they_are, "tol": 1e-2}
    plain = solve(operator, 10, **options)
    found = solve(operator, 10, surrogate=np.zeros_like, **options)
    captured = np.trace(found.vectors.T @ operator @ found.vectors)
    assert captured > found.values.sum() > plain.values.sum()


def test_what_a_surrogate_promises_beyond_what_there_can_be_is_not_believed() -> None:
    operator = with_eigenvalues(power_law(240, 0.5))
    options = {"start": near_leading(operator, 14), "correct": as_they_are, "tol": 1e-3}
    plain = solve(operator, 10, **options)
    found = solve(operator, 10, surrogate=lambda x: 100 * operator @ x, **options)
    np.testing.assert_array_equal(found.values, plain.values)
    np.testing.assert_array_equal(found.vectors, plain.vectors)


def test_a_surrogate_without_corrections_is_refused() -> None:
    with pytest.raises(ValueError, match="goes with `correct`"):
        solve(np.eye(5), 2, surrogate=np.zeros_like)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(semidefinite(), st.floats(0, 1), st.integers(1, 45), st.integers(1, 4), st.integers(0, 99))
def test_with_its_own_operator_as_surrogate_nothing_is_lost_of_any_matrix(
    operator: Array, share: float, block_size: int, max_passes: int, seed: int
) -> None:
    """Also where nothing is left outside of the basis, or no variance at all."""
    k = 1 + int(share * (len(operator) - 1))
    options = {"block_size": block_size, "max_passes": max_passes, "seed": seed, "correct": as_they_are}
    plain = solve(operator, k, **options)
    found = solve(operator, k, surrogate=lambda x: operator @ x, **options)
    scale = max(np.linalg.norm(operator, 2), 1e-300)
    assert np.all(found.values >= plain.values - 1e-12 * scale)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(k), atol=1e-12)
    ritz = found.vectors.T @ operator @ found.vectors
    np.testing.assert_allclose(ritz, np.diag(found.values), atol=1e-11 * scale)


def test_what_is_settled_is_left_as_it_is_and_counts() -> None:
    """A few of the pairs are known to a small part of the tolerance: they are multiplied no more."""
    operator, rng = with_eigenvalues(power_law(240, 0.5)), np.random.default_rng(0)
    start = np.linalg.eigh(operator)[1][:, ::-1][:, :14]
    start += np.where(np.arange(14) < 4, 1e-6, 0.02) * rng.standard_normal((240, 14))
    widths: list[int] = []

    def multiply(block: Array) -> Array:
        widths.append(block.shape[1])
        return operator @ block

    def correct(residuals: Array, values: Array, leading: Array) -> Array:
        assert residuals.shape == (240, values.size) and leading.shape == (240, 14)
        ritz = np.einsum("ij,ij->j", leading, operator @ leading)
        pairs = np.abs(ritz[:, None] - values).argmin(axis=0)
        np.testing.assert_allclose(ritz[pairs], values, rtol=1e-12)
        np.testing.assert_allclose((operator @ leading - leading * ritz)[:, pairs], residuals, atol=1e-13)
        return residuals

    options = {"block_size": 4, "tol": 1e-3, "max_passes": 50, "max_basis": 200, "seed": 0}
    found = leading_eigenpairs(multiply, 240, 10, start=start, correct=correct, **options)
    assert found.converged and 0 < found.error <= 1e-3
    assert_is_what_it_says(found, operator, 10)
    assert widths[:2] == [14, 10] and found.residuals[:4].all()


@pytest.fixture
def basis() -> Array:
    return np.linalg.qr(np.random.default_rng(0).standard_normal((80, 15)))[0]


@pytest.mark.parametrize("decades", [0, 6, 12])
def test_blocks_of_columns_of_any_size_become_orthonormal(basis: Array, decades: int) -> None:
    rng = np.random.default_rng(1)
    block = outside_of(basis, rng.standard_normal((80, 8)) * np.logspace(0, -decades, 8))
    block = np.hstack([block, block[:, :2] @ rng.standard_normal((2, 3))])  # which add nothing
    found = orthonormal(block, basis, 1e-15)
    assert found.shape == (80, 8)
    np.testing.assert_allclose(found.T @ found, np.eye(8), atol=1e-14)
    np.testing.assert_allclose(basis.T @ found, 0, atol=1e-15)
    left = outside_of(found, block) / np.linalg.norm(block, axis=0)
    np.testing.assert_allclose(left, 0, atol=1e-13)


def test_what_differs_from_other_columns_by_noise_only_is_no_direction(basis: Array) -> None:
    one, other, third = outside_of(basis, np.random.default_rng(1).standard_normal((80, 3))).T
    block = np.column_stack([one, one + 1e-3 * other, 1e-4 * third])
    assert [orthonormal(block, basis, noise).shape[1] for noise in (1e-5, 2e-2, 99.0)] == [3, 1, 0]
    assert np.abs(orthonormal(block, basis, 2e-2)[:, 0] @ one) == pytest.approx(np.linalg.norm(one), rel=1e-3)


def test_what_rounding_leaves_of_the_basis_is_no_direction(basis: Array) -> None:
    """Also where nobody knows how much that is."""
    direction = outside_of(basis, np.random.default_rng(1).standard_normal((80, 1)))
    found = orthonormal(np.hstack([1e-16 * basis[:, :4], direction]), basis, 0.0)
    assert found.shape == (80, 1)
    np.testing.assert_allclose(basis.T @ found, 0, atol=1e-15)


@pytest.mark.parametrize("seed", range(10))
def test_of_columns_that_point_alike_the_longest_is_taken(basis: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    direction = outside_of(basis, rng.standard_normal((80, 1)))
    lengths = rng.permutation(np.logspace(0, -9, 6))
    columns = direction * lengths + 1e-15 * outside_of(basis, rng.standard_normal((80, 6)))
    found = orthonormal(columns, basis, 1e-15)
    assert found.shape == (80, 1)
    np.testing.assert_allclose(np.abs(found.T @ direction), np.linalg.norm(direction), rtol=1e-14)


def test_a_start_of_low_rank_is_no_hindrance() -> None:
    operator = with_eigenvalues(power_law(100, 0.5))
    start = np.random.default_rng(0).standard_normal((100, 3)) @ np.ones((3, 12))
    found = solve(operator, 6, start=start, max_basis=45)
    assert found.converged
    assert_is_what_it_says(found, operator, 6)


def test_a_looser_tolerance_takes_fewer_passes() -> None:
    operator = with_eigenvalues(power_law(300, 0.7))
    passes = [solve(operator, 10, tol=tol).passes for tol in (1e-1, 1e-3, 1e-9)]
    assert passes[0] < passes[1] < passes[2]


@pytest.mark.parametrize("max_passes", [1, 2, 5])
def test_stops_after_max_passes_and_says_so(max_passes: int) -> None:
    operator = with_eigenvalues(power_law(300, 0.2))
    found = solve(operator, 3, block_size=4, max_passes=max_passes)
    assert found.passes == max_passes and not found.converged and found.error > 1e-10
    assert_is_what_it_says(found, operator, 3)


def test_never_stops_before_there_are_k_pairs() -> None:
    operator = with_eigenvalues(power_law(100, 0.2))
    found = solve(operator, 30, block_size=4, max_passes=1)
    assert found.passes == 8 and found.values.shape == (30,)
    assert_is_what_it_says(found, operator, 30)


def test_progress_is_told_after_every_pass() -> None:
    operator = with_eigenvalues(power_law(100, 0.5))
    told: list[Progress] = []
    found = solve(operator, 10, block_size=4, on_pass=told.append)
    assert [progress.passes for progress in told] == list(range(1, found.passes + 1))
    assert [np.isinf(progress.error) for progress in told[:3]] == [True, True, False]
    assert told[-1].error == found.error < told[3].error


def test_every_product_is_counted_and_no_wider_than_asked_for() -> None:
    operator = with_eigenvalues(power_law(50, 0.5))
    widths: list[int] = []

    def multiply(block: Array) -> Array:
        widths.append(block.shape[1])
        np.testing.assert_allclose(block.T @ block, np.eye(block.shape[1]), atol=1e-12)
        return operator @ block

    found = leading_eigenpairs(multiply, 50, 8, block_size=6, tol=1e-9, max_passes=99, max_basis=99, seed=0)
    assert found.passes == len(widths) and set(widths) <= set(range(1, 7)) and widths[0] == 6


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 30), st.integers(0, 99))
@example(multiplicity=8, block_size=8, k=30, seed=0)
def test_equal_eigenvalues_are_found_up_to_the_width_of_the_block(
    multiplicity: int, block_size: int, k: int, seed: int
) -> None:
    values = np.repeat([8.0, 5.0, 3.0, 2.0, 1.0], min(multiplicity, block_size))
    values = np.concatenate([values, np.zeros(40 - len(values))])
    found = solve(with_eigenvalues(values, seed), k, block_size=block_size, seed=seed)
    np.testing.assert_allclose(found.values, values[:k], atol=1e-9)


@pytest.mark.parametrize("k", [1, 7, 20])
@pytest.mark.parametrize("make", [np.zeros, lambda shape: np.eye(*shape)], ids=["zero", "identity"])
def test_operators_without_directions(make: Callable[[tuple[int, int]], Array], k: int) -> None:
    operator = make((20, 20))
    found = solve(operator, k, block_size=3)
    assert found.converged and found.error < 1e-14
    assert_is_what_it_says(found, operator, k)
    np.testing.assert_allclose(found.values, operator[0, 0], atol=1e-14)


def test_the_seed_alone_decides() -> None:
    operator = with_eigenvalues(power_law(60, 0.3))
    one, same, other = (solve(operator, 5, tol=1e-2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.vectors, same.vectors)
    assert not np.array_equal(one.vectors, other.vectors)


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_units_do_not_matter(size: float) -> None:
    operator = with_eigenvalues(power_law(60, 1.0))
    plain, scaled = solve(operator, 5), solve(operator * size, 5)
    assert scaled.passes == plain.passes and scaled.converged
    np.testing.assert_allclose(scaled.values / size, plain.values, rtol=1e-12)


def test_rounding_in_the_product_cannot_pile_up() -> None:
    # A product that is only exact to 1e-9, as after a large mean was subtracted from single precision.
    operator = with_eigenvalues(power_law(200, 0.5))
    rng = np.random.default_rng(0)

    def multiply(block: Array) -> Array:
        return operator @ block + 1e-9 * rng.standard_normal(block.shape)

    found = leading_eigenpairs(
        multiply, 200, 10, block_size=8, tol=1e-4, max_passes=200, max_basis=40, seed=0, rounding=1e-9
    )
    assert found.converged
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(10), atol=1e-12)
    true = oracles.residuals(operator, found.values, found.vectors)
    np.testing.assert_allclose(found.residuals, true, atol=1e-6)
    assert found.values.sum() == pytest.approx(power_law(200, 0.5)[:10].sum(), rel=1e-5)
