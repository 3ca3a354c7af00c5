"""How far clusters lie apart: silhouette, Davies-Bouldin and Calinski-Harabasz, in two passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemap.evaluation.judging import Judged, members_of

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Of the scores of each of k clusters."""

    sizes: Array
    """Of shape (k,)."""
    sums: Array
    """Of shape (k, m)."""
    squares: Array
    """Sums of squared lengths, of shape (k,)."""

    @property
    def means(self) -> Array:
        """Of shape (k, m); of a cluster without members 0."""
        return self.sums / np.maximum(self.sizes, 1)[:, None]


@dataclass(frozen=True)
class MomentSums:
    """Measure: `Moments` of every setting."""

    dimensions: Sequence[tuple[int, int]]
    """k and m of each."""

    def shapes(self) -> list[tuple[int, ...]]:
        """Of sizes, sums and squares, setting by setting."""
        return [shape for k, m in self.dimensions for shape in ((k,), (k, m), (k,))]

    def add_up(self, judged: Judged) -> list[Array]:
        """The moments of some users."""
        found: list[Array] = []
        for (k, m), assignment in zip(self.dimensions, judged.assignments, strict=True):
            members, scores = members_of(assignment.clusters, k), judged.scores[:, :m]
            sizes = np.bincount(assignment.clusters, minlength=k).astype(np.float64)
            found += [sizes, members @ scores, members @ (scores**2).sum(axis=1)]
        return found


def moments(sums: Sequence[Array]) -> list[Moments]:
    """Moments of every setting from the sums of `MomentSums`."""
    return [Moments(*sums[first : first + 3]) for first in range(0, len(sums), 3)]


@dataclass(frozen=True)
class Separations:
    """Measure: silhouettes, and distances to the means, by cluster."""

    moments: Sequence[Moments]

    def shapes(self) -> list[tuple[int, ...]]:
        """Sums of silhouettes and of distances, setting by setting."""
        return [(len(one.sizes),) for one in self.moments for _ in range(2)]

    def add_up(self, judged: Judged) -> list[Array]:
        """The sums for some users."""
        found: list[Array] = []
        for one, assignment in zip(self.moments, judged.assignments, strict=True):
            scores = judged.scores[:, : one.sums.shape[1]]
            members = members_of(assignment.clusters, len(one.sizes))
            distances = np.linalg.norm(scores - one.means[assignment.clusters], axis=1)
            found += [members @ silhouettes(scores, assignment.clusters, one), members @ distances]
        return found


def silhouettes(scores: Array, clusters: npt.NDArray[np.int32], found: Moments) -> Array:
    """Silhouettes for squared Euclidean distances, of shape (n,).

    (b − a) / max(a, b) with a the mean squared distance to the other members and b the least mean squared
    distance to the members of another cluster (Rousseeuw 1987); 0 for a cluster of one. Means of squared
    distances follow from a cluster's size, sum and squares, so no pair is looked at: exactly what
    scikit-learn's silhouette_score(metric="sqeuclidean") is the mean of.
    """
    rows = np.arange(len(scores))
    lengths = (scores**2).sum(axis=1)
    totals = found.sizes * lengths[:, None] - 2 * scores @ found.sums.T + found.squares
    sizes = found.sizes[clusters]
    own = np.maximum(totals[rows, clusters], 0) / np.maximum(sizes - 1, 1)
    others = np.where(found.sizes > 0, totals / np.maximum(found.sizes, 1), np.inf)
    others[rows, clusters] = np.inf
    nearest = np.maximum(others.min(axis=1), 0)
    comparable = (sizes > 1) & np.isfinite(nearest)
    larger = np.maximum(own, nearest)
    values: Array = np.divide(
        nearest - own, larger, out=np.zeros(len(scores)), where=comparable & (larger > 0)
    )
    return values


def indices(found: Moments, silhouette: Array, distances: Array) -> dict[str, float]:
    """Indices of a setting from its moments and the sums of `Separations`; NaN for a single cluster.

    silhouette
        Mean over users of `silhouettes`: 1 apart, 0 overlapping.
    davies_bouldin
        Mean over clusters of the largest (S_i + S_j) / ‖μ_i − μ_j‖, S the mean distance to the mean μ
        (Davies & Bouldin 1979): low where clusters lie apart.
    calinski_harabasz
        Variance between clusters over that within, each by its degrees of freedom
        (Calinski & Harabasz 1974): high where clusters lie apart.
    """
    filled = found.sizes > 0
    k, n = int(filled.sum()), float(found.sizes.sum())
    if k < 2:
        return dict.fromkeys(("silhouette", "davies_bouldin", "calinski_harabasz"), float("nan"))
    means, sizes = found.means[filled], found.sizes[filled]
    spreads = distances[filled] / sizes
    between_means = np.linalg.norm(means[:, None] - means, axis=2)
    np.fill_diagonal(between_means, np.inf)
    with np.errstate(divide="ignore"):
        similarity = (spreads[:, None] + spreads) / between_means
    overall = found.sums.sum(axis=0) / n
    within = max(float((found.squares[filled] - sizes * (means**2).sum(axis=1)).sum()), 0.0)
    between = float((sizes * ((means - overall) ** 2).sum(axis=1)).sum())
    return {
        "silhouette": float(silhouette.sum() / n),
        "davies_bouldin": float(similarity.max(axis=1).mean()),
        "calinski_harabasz": between / (k - 1) / (within / (n - k)) if within > 0 and n > k else float("inf"),
    }
