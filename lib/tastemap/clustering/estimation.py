"""Clusters by repeated estimation: on a sample of the rows, then over all, many fits in common passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tastemap.blocks import STORAGE
from tastemap.clustering.assignment import Clusters
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix

Array = npt.NDArray[np.float64]

SAMPLE = 1 << 16
"""Rows that the starts are made on, on the driver: of so few all, at no pass over the data."""
TOLERANCE = 1e-4
"""Centres stand still when the sum of their squared moves is at most this share of the mean variance of a
column within clusters. scikit-learn's `tol` is a share of the variance over all rows, which is more."""


@dataclass(frozen=True)
class Clustering:
    """Fitted clusters, 0 the largest unless they continue earlier ones."""

    model: Clusters
    sizes: npt.NDArray[np.int64]
    """Rows in each cluster, of shape (k,)."""
    cost: float
    """What was minimised: the sum of squared distances to the centres (between vectors of length 1 for
    `cosine`); for `mixture` the negative logarithm of the likelihood."""
    iterations: int
    """Times that the clusters were moved, over all rows."""

    def take(self, order: npt.NDArray[np.int64]) -> Clustering:
        """Some of the clusters, numbered in this order."""
        return Clustering(self.model.take(order), self.sizes[order], self.cost, self.iterations)


class Estimate(Protocol):
    """Clusters on their way: what the rows say of them, added up, gives better ones."""

    @property
    def n_components(self) -> int:
        """m, the leading scores of a row that are looked at."""

    def add_up(self, scores: Array) -> list[Array]:
        """Sums over rows of scores of shape (n, m): those of several groups of rows add."""

    def moved(self, sums: list[Array]) -> Self:
        """The next estimate, by the sums over all rows."""

    def still(self, sums: list[Array], tolerance: float) -> bool:
        """Whether the next estimate is this one but for `tolerance`, as `TOLERANCE` says."""

    def loss(self, sums: list[Array]) -> float:
        """What is minimised."""

    def clustering(self, sums: list[Array], iterations: int) -> Clustering:
        """The clusters, 0 the largest, without empty ones."""


E = TypeVar("E", bound=Estimate)
E_co = TypeVar("E_co", bound=Estimate, covariant=True)


@dataclass(frozen=True)
class Fitted(Generic[E_co]):
    """An estimate and the sums that belong to it."""

    estimate: E_co
    sums: list[Array]
    iterations: int

    @property
    def loss(self) -> float:
        """What was minimised."""
        return self.estimate.loss(self.sums)

    def clustering(self) -> Clustering:
        """The clusters."""
        return self.estimate.clustering(self.sums, self.iterations)


Starts = Callable[[Array, int], Sequence[Fitted[Estimate]]]
"""From a sample of the rows and k to estimates that have converged on it."""


def fit_many(
    scores: ScoreMatrix,
    shapes: Sequence[tuple[int | None, int]],
    starts: Starts,
    max_iterations: int,
    seed: int,
) -> list[Clustering]:
    """The best of several starts, for several shapes of `algorithms.fit_many`.

    Every start converges on a sample of the rows, chosen by the seed, then those of all shapes go on together
    over all rows: a pass for each of at most `max_iterations`, which brings home the sums of every start from
    every task.
    """
    few = scores.n_rows <= SAMPLE
    if not few:
        scores.frame.persist(STORAGE)
    try:
        sample = scores.sample(SAMPLE, seed)
        of_shapes = [starts(sample[:, :m], k) for m, k in shapes]
        found = [start for of_shape in of_shapes for start in of_shape]
        if not few:
            found = refine(scores, found, max_iterations)
    finally:
        if not few:
            scores.frame.unpersist()
    remaining = iter(found)
    return [
        min((next(remaining) for _ in of_shape), key=lambda fitted: fitted.loss).clustering()
        for of_shape in of_shapes
    ]


def converge(scores: Array, estimate: E, max_iterations: int, tolerance: float = 0.0) -> Fitted[E]:
    """Move an estimate on rows of shape (n, m) until it stands still."""
    sums = estimate.add_up(scores)
    for iteration in range(max_iterations):
        if estimate.still(sums, tolerance):
            return Fitted(estimate, sums, iteration)
        estimate = estimate.moved(sums)
        sums = estimate.add_up(scores)
    return Fitted(estimate, sums, max_iterations)


def refine(
    scores: ScoreMatrix, starts: Sequence[Fitted[Estimate]], max_iterations: int
) -> list[Fitted[Estimate]]:
    """Move several estimates over all rows until they stand still, one pass a move."""
    estimates = [start.estimate for start in starts]
    shapes = [[array.shape for array in start.sums] for start in starts]
    found: dict[int, Fitted[Estimate]] = {}
    for iteration in range(max_iterations + 1):
        moving = [number for number in range(len(starts)) if number not in found]
        passed = _pass(scores, [estimates[n] for n in moving], [shapes[n] for n in moving])
        for number, sums in zip(moving, passed, strict=True):
            estimate = estimates[number]
            if iteration == max_iterations or estimate.still(sums, TOLERANCE):
                found[number] = Fitted(estimate, sums, iteration)
            else:
                estimates[number] = estimate.moved(sums)
        if len(found) == len(starts):
            break
    return [found[number] for number in range(len(starts))]


def _pass(
    scores: ScoreMatrix, estimates: Sequence[Estimate], shapes: Sequence[Sequence[tuple[int, ...]]]
) -> list[list[Array]]:
    """The sums over all rows of each estimate."""
    flat = [shape for of_estimate in shapes for shape in of_estimate]

    def partial(blocks: Iterator[ScoreBlock]) -> Sequence[Array]:
        totals = [np.zeros(shape) for shape in flat]
        for block in blocks:
            parts = (part for one in estimates for part in one.add_up(block.scores[:, : one.n_components]))
            for total, part in zip(totals, parts, strict=True):
                total += part
        return totals

    totals = iter(scores.sum_over_blocks(partial, flat))
    return [[next(totals) for _ in of_estimate] for of_estimate in shapes]


def by_size(sizes: npt.NDArray[np.int64], centres: Array) -> npt.NDArray[np.int64]:
    """Order of clusters, largest first; equal ones by their centres, so that it is the same every time.

    Clusters without rows are left out.
    """
    keys = [centres[:, column] for column in reversed(range(centres.shape[1]))]
    return np.lexsort([*keys, -sizes])[: np.count_nonzero(sizes)]
