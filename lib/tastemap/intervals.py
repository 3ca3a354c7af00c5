"""How well lifts and effects are known: 95 % intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Z = 1.959963984540054
"""Quantile 0.975 of the normal distribution."""


def lift_interval(shown: Array, n_users: Array, lift: Array) -> tuple[Array, Array]:
    """95 % intervals of lifts, each of shape (k, d).

    Of the relative risk r = (a/n) / (b/m), with a of n users of the cluster and b of m others, the logarithm
    is nearly normal (Katz et al. 1978, Biometrics 34); half a user is added to every count, so that none is 0
    (Walter 1975, Biometrika 62). The lift is a/n over everybody's share, so it is r / (wr + 1 - w) with
    w = n / (n + m), which rises with r: the ends of its interval are those of r so transformed, and never
    leave the lift itself out.

    Parameters
    ----------
    shown : ndarray of shape (k, d)
        Users of each cluster who rated each movie.
    n_users : ndarray of shape (k,)
    lift : ndarray of shape (k, d)
        The lifts themselves.
    """
    others = shown.sum(axis=0) - shown
    size, rest = n_users[:, None], n_users.sum() - n_users[:, None]
    log_risk = np.log((shown + 0.5) / (size + 0.5)) - np.log((others + 0.5) / (rest + 0.5))
    variance = 1 / (shown + 0.5) - 1 / (size + 0.5) + 1 / (others + 0.5) - 1 / (rest + 0.5)
    width = Z * np.sqrt(np.maximum(variance, 0.0))
    share = size / n_users.sum()
    low, high = (risk / (share * risk + 1 - share) for risk in np.exp([log_risk - width, log_risk + width]))
    return np.minimum(low, lift), np.maximum(high, lift)


def effect_interval(
    n_ratings: Array, effect: Array, shrinkage: float, variance: float
) -> tuple[Array, Array]:
    """95 % intervals of shrunk effects, each of shape (k, d).

    An effect shrunk by n / (n + λ) is the posterior mean of a normal difference with prior N(0, σ²/λ) that
    was seen with variance σ²/n; the posterior variance is σ² / (n + λ) (Gelman et al., Bayesian Data
    Analysis, 2.5). Here n is n₁n₂ / (n₁ + n₂) for n₁ ratings in the cluster and n₂ outside it. Where one side
    has no ratings and λ is 0 nothing is known, and the interval is endless.

    Parameters
    ----------
    n_ratings : ndarray of shape (k, d)
    effect : ndarray of shape (k, d)
    shrinkage : float
        λ, in ratings.
    variance : float
        σ², of ratings of one movie in one cluster.
    """
    others = n_ratings.sum(axis=0) - n_ratings
    both = n_ratings + others
    known = np.divide(n_ratings * others, both, out=np.zeros(both.shape), where=both > 0) + shrinkage
    width = np.full(known.shape, np.inf)
    np.divide(Z * np.sqrt(variance), np.sqrt(known), out=width, where=known > 0)
    return effect - width, effect + width


def variance_within(n_ratings: Array, rating_sums: Array, square_sum: float) -> float:
    """Variance of ratings around the mean of their cluster and movie, pooled over all cells.

    0 where no cell has two ratings.

    Parameters
    ----------
    n_ratings, rating_sums : ndarray of shape (k, d)
    square_sum : float
        Sum of the squares of all ratings.
    """
    filled = n_ratings > 0
    freedom = float(n_ratings.sum() - filled.sum())
    if freedom == 0:
        return 0.0
    between = float((rating_sums[filled] ** 2 / n_ratings[filled]).sum())
    return max(square_sum - between, 0.0) / freedom
