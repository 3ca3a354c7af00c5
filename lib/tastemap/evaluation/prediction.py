"""Held-out ratings predicted from clusters: how far off, and by how much better than without them.

Every prediction is r̂ = μ + b_movie + b_user + Σ_c p_uc δ_c,movie with δ the mean residual of the cluster's
members on the movie, shrunk towards 0: p is 1 for the assigned cluster and 0 else (hard), or the memberships
(soft). Without the last term it is the effects alone, without any of them the global mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemap import vectors
from tastemap.clustering.assignment import Clusters
from tastemap.evaluation.judging import Judged, members_of

Array = npt.NDArray[np.float64]

SHRINKAGE = 4.0
"""Ratings of prior weight that pull δ to 0; measured, see docs/evaluation.md."""
TEMPERATURES = (0.7, 1.0, 1.4, 2.0)
"""Of the memberships that are tried."""


@dataclass(frozen=True)
class ClusterEffects:
    """δ of one setting, of shape (k, d)."""

    hard: Array
    soft: Array


@dataclass(frozen=True)
class EffectSums:
    """Measure: numbers and sums of the residuals, by cluster and movie, hard and soft."""

    n_clusters: Sequence[int]
    n_movies: int

    def shapes(self) -> list[tuple[int, ...]]:
        """Four arrays of shape (k, d) a setting."""
        return [(k, self.n_movies) for k in self.n_clusters for _ in range(4)]

    def add_up(self, judged: Judged) -> list[Array]:
        """Hard numbers and sums, soft numbers and sums, setting by setting."""
        residuals = judged.residuals.training
        ones = vectors.ones_like(residuals)
        found: list[Array] = []
        for k, assignment in zip(self.n_clusters, judged.assignments, strict=True):
            hard = members_of(assignment.clusters, k)
            found += [(hard @ ones).toarray(), (hard @ residuals).toarray()]
            soft = assignment.probabilities.T
            found += [np.asarray(soft @ ones), np.asarray(soft @ residuals)]
        return found


def cluster_effects(sums: Sequence[Array]) -> list[ClusterEffects]:
    """δ of every setting from the sums of `EffectSums`."""
    shrunk = [total / (number + SHRINKAGE) for number, total in zip(sums[::2], sums[1::2], strict=True)]
    return [ClusterEffects(hard, soft) for hard, soft in zip(shrunk[::2], shrunk[1::2], strict=True)]


@dataclass(frozen=True)
class Losses:
    """Measure: squared and absolute errors of every predictor, and how the squared ones vary over users.

    Predictors are the global mean, the effects, and for each setting the hard one and a soft one for each
    temperature.
    """

    effects: Sequence[ClusterEffects]
    clusters: Sequence[Clusters]

    @property
    def n_predictors(self) -> int:
        """P."""
        return 2 + len(self.effects) * (1 + len(TEMPERATURES))

    def shapes(self) -> list[tuple[int, ...]]:
        """Absolute errors (P,), and second moments of users' squared errors and numbers (P + 1, P + 1)."""
        return [(self.n_predictors,), (self.n_predictors + 1,), (self.n_predictors + 1,) * 2]

    def add_up(self, judged: Judged) -> list[Array]:
        """Sums of absolute errors; sums and second moments of what `_per_user` gives."""
        rows, n_users = judged.residuals.rows, judged.split.ids.size
        errors = self._errors(judged)
        of_users = [np.bincount(rows, weights=error**2, minlength=n_users) for error in errors]
        numbers = np.bincount(rows, minlength=n_users).astype(np.float64)
        losses = np.column_stack([*of_users, numbers])
        return [np.array([np.abs(error).sum() for error in errors]), losses.sum(axis=0), losses.T @ losses]

    def _errors(self, judged: Judged) -> list[Array]:
        rows, movies = judged.residuals.rows, judged.split.held_out.indices
        residuals = judged.residuals.held_out
        stars = judged.split.held_out.data.astype(np.float64)
        errors = [stars - judged.residuals.effects.global_mean, residuals]
        for number, (found, clusters) in enumerate(zip(self.effects, self.clusters, strict=True)):
            errors.append(residuals - found.hard[judged.assignments[number].clusters[rows], movies])
            of_movies = found.soft.T[movies]
            scores = judged.scores[:, : clusters.n_components]
            for temperature in TEMPERATURES:
                memberships = clusters.tempered(temperature).assign(scores).probabilities
                errors.append(residuals - np.einsum("ij,ij->i", memberships[rows], of_movies))
        return errors


@dataclass(frozen=True)
class Accuracy:
    """Errors on held-out ratings of P predictors."""

    rmse: Array
    """Of shape (P,)."""
    mae: Array
    """Of shape (P,)."""
    moments: Array
    """Mean over ratings of products of users' errors, of shape (P + 1, P + 1)."""

    def gain(self, better: int, worse: int) -> tuple[float, float]:
        """By how much the RMSE of one predictor is below another's, and the standard error of that.

        Users are independent, their ratings are not: the variance is that of a ratio of sums over users
        (Cochran 1977, Sampling Techniques, 6.8), the difference of mean squares, by the delta method.
        """
        difference = self.rmse[worse] - self.rmse[better]
        contrast = np.zeros(len(self.moments))
        contrast[worse] += 1.0
        contrast[better] -= 1.0
        contrast[-1] = self.rmse[better] ** 2 - self.rmse[worse] ** 2
        variance = max(float(contrast @ self.moments @ contrast), 0.0)
        return float(difference), float(np.sqrt(variance) / max(self.rmse[worse] + self.rmse[better], 1e-300))


def accuracy(absolute: Array, sums: Array, products: Array) -> Accuracy:
    """Figures from the sums of `Losses`; NaN where no rating was held out."""
    n = sums[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return Accuracy(np.sqrt(sums[:-1] / n), absolute / n, products / n**2)
