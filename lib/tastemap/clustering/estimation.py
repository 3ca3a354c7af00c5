"""Clusters by repeated estimation: on ever more of the rows, in the end over all, fits in common passes.

Starts are made where rows are few; only those that may still turn out the best go on where they are many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tastemap.clustering.assignment import Clusters
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix

Array = npt.NDArray[np.float64]

START_ROWS = 1 << 14
"""Rows that the starts are made on: part of the sample."""
ROWS_PER_CLUSTER = 64
"""More rows than `START_ROWS` where there would be fewer than so many for each cluster."""
SAMPLE = 1 << 16
"""Rows that clusters are moved on on the driver: of so few all, at no pass over the data."""
PARTS = 16
"""Parts of the sample in which starts are compared, to know what of a difference is chance."""
MAX_ERRORS_BEHIND = 3.0
"""Standard errors that a start is behind when it is given up: one as good is lost once in 200 times."""
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

    Every start converges on some of the rows, chosen by the seed, those that are `promising` on more, and of
    these again those of all shapes together over all rows: a pass for each of at most `max_iterations`, which
    brings home the sums of each from every task.
    """
    if scores.n_rows <= SAMPLE:
        rows = scores.sample(SAMPLE, seed).scores
        return [_best(_on_sample(rows[:, :m], k, starts, max_iterations)) for m, k in shapes]
    with scores.single_precision().persisted() as rounded:
        sample = rounded.sample(SAMPLE, seed).scores
        of_shapes = [
            promising(_on_sample(sample[:, :m], k, starts, max_iterations), sample[:, :m]) for m, k in shapes
        ]
        refined = iter(refine(rounded, list(chain.from_iterable(of_shapes)), max_iterations))
    return [_best([next(refined) for _ in of_shape]) for of_shape in of_shapes]


def _best(found: Sequence[Fitted[Estimate]]) -> Clustering:
    return min(found, key=lambda fitted: fitted.loss).clustering()


def _on_sample(sample: Array, k: int, starts: Starts, max_iterations: int) -> Sequence[Fitted[Estimate]]:
    """Estimates that have converged on a sample of shape (n, m)."""
    stride = math.ceil(len(sample) / max(START_ROWS, ROWS_PER_CLUSTER * k))
    if stride <= 1:
        return starts(sample, k)
    begun = promising(starts(sample[::stride], k), sample)
    return [converge(sample, one.estimate, max_iterations) for one in begun]


def promising(starts: Sequence[Fitted[E]], rows: Array) -> list[Fitted[E]]:
    """The start that loses least on rows of shape (n, m), and those that chance may have put behind it.

    They are compared part by part of the rows: what one loses more than the best differs less between parts
    than what it loses, for rows that lie far out cost all of them.
    """
    if len(starts) == 1:
        return list(starts)
    estimates = [start.estimate for start in starts]
    losses = np.array([[one.loss(one.add_up(rows[i::PARTS])) for i in range(PARTS)] for one in estimates])
    behind = losses - losses[losses.sum(axis=1).argmin()]
    errors = behind.std(axis=1, ddof=1) / math.sqrt(PARTS)
    return list(compress(starts, behind.mean(axis=1) <= MAX_ERRORS_BEHIND * errors))


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
