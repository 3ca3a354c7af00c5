"""One pass over the users for many measures of many fitted settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tastemap.blocks import Block, BlockMatrix
from tastemap.clustering.assignment import Assignment, Clusters
from tastemap.evaluation.holdout import Holdout, Split
from tastemap.evaluation.residuals import Residuals
from tastemap.segmentation import Projection
from tastemap.weighting import Weighting

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """Clusterings on the leading components of one PCA."""

    projection: Projection
    """On m components."""
    clusters: Sequence[Clusters]
    """One a setting; each takes as many of the leading components as it knows."""

    def scores(self, ratings: sparse.csr_matrix) -> Array:
        """Scores of shape (n, m) for ratings of shape (n, d)."""
        return self.projection.scores(ratings)

    def assign(self, scores: Array) -> list[Assignment]:
        """Clusters by every setting."""
        return [one.assign(scores[:, : one.n_components]) for one in self.clusters]


@dataclass(frozen=True)
class Judged:
    """Some users as the settings see them, from the ratings they were fitted on."""

    split: Split
    scores: Array
    """Of shape (n, m)."""
    assignments: Sequence[Assignment]
    residuals: Residuals


@dataclass(frozen=True)
class Judge:
    """How blocks of ratings become what is measured; runs on executors."""

    holdout: Holdout
    fitted: Fitted
    effects: Weighting

    def __call__(self, block: Block) -> Judged:
        """Split, score and assign."""
        split = self.holdout.split(block)
        scores = self.fitted.scores(split.training)
        return Judged(split, scores, self.fitted.assign(scores), Residuals(split, self.effects))


class Measure(Protocol):
    """Arrays that are summed up over all users, and from which figures follow."""

    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Of the arrays."""
        ...

    def add_up(self, judged: Judged) -> list[Array]:
        """The arrays for some users."""
        ...


def measure(matrix: BlockMatrix, judge: Judge, measures: Sequence[Measure]) -> list[list[Array]]:
    """Sums of the arrays of each measure over all users: one pass over the blocks."""
    shapes = [measure.shapes() for measure in measures]

    # Projections of all fits: in the function they would lie on the driver's disk until the session ends.
    shared = matrix.spark.sparkContext.broadcast((judge, measures))

    def partial(blocks: Iterator[Block]) -> Sequence[Array]:
        judge, measures = shared.value
        totals = [np.zeros(shape) for some in shapes for shape in some]
        for block in blocks:
            for rows in block.in_parts(CHUNK):
                judged = judge(rows)
                found = [array for measure in measures for array in measure.add_up(judged)]
                for total, part in zip(totals, found, strict=True):
                    total += part
        return totals

    try:
        totals = iter(matrix.sum_over_blocks(partial, [shape for some in shapes for shape in some]))
    finally:
        shared.destroy()
    return [[next(totals) for _ in some] for some in shapes]


CHUNK = 1 << 13
"""Rows judged at a time: what is dense, users × clusters of every setting, stays small."""


def in_groups(clusters: Sequence[Clusters], n_movies: int, limit: int) -> list[list[int]]:
    """Numbers of settings in groups whose k · d · 32 bytes stay below a limit, one setting at least."""
    groups: list[list[int]] = []
    left = 0
    for number, one in enumerate(clusters):
        size = one.n_clusters * n_movies * 32
        if not groups or size > left:
            groups.append([])
            left = limit
        groups[-1].append(number)
        left -= size
    return groups


def only(fitted: Fitted, chosen: Sequence[int]) -> Fitted:
    """Some of the settings."""
    return replace(fitted, clusters=[fitted.clusters[number] for number in chosen])


def members_of(clusters: npt.NDArray[np.int32], k: int) -> sparse.csr_matrix:
    """1 where a user (column) is in a cluster (row), of shape (k, n)."""
    n = clusters.size
    return sparse.csr_matrix((np.ones(n), (clusters, np.arange(n))), shape=(k, n))
