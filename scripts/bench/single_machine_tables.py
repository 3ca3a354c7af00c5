"""The tables of contender 2, from counts: the same as tastemap's, in Polars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

EFFECT_SHRINKAGE = 25.0
N_ENDS = 10
STARS = np.arange(8)


def read_titles(directory: Path, movie_ids: np.ndarray) -> np.ndarray:
    """Look the titles up in movie_titles.csv, which does not quote its commas."""
    path = directory / "movie_titles.csv"
    rows = path.read_text(encoding="latin-1").splitlines() if path.exists() else []
    known = {int(number): title for number, _, title in (row.split(",", 2) for row in rows)}
    return np.array([known.get(movie_id) for movie_id in movie_ids.tolist()], object)


def assignments(
    user_ids: np.ndarray,
    labels: np.ndarray,
    distances: np.ndarray,
    memberships: np.ndarray,
    n_ratings: np.ndarray,
) -> pl.DataFrame:
    """Make the `assignments` table."""
    columns = {"cluster": labels.astype(np.int32), "distance": distances, "membership": memberships}
    return pl.DataFrame({"user_id": user_ids, **columns, "n_ratings": n_ratings})


def movie_index(counts: np.ndarray, movie_ids: np.ndarray, names: np.ndarray) -> pl.DataFrame:
    """Make the `movie_index` table from star counts of shape (d, 8)."""
    n = counts.sum(1)
    known = {"movie_index": np.arange(len(n)), "movie_id": movie_ids, "title": names}
    return pl.DataFrame({**known, "n_ratings": n, "mean_rating": counts @ STARS / n})


def profiles(assigned: pl.DataFrame, counts: np.ndarray) -> pl.DataFrame:
    """Make the `profiles` table from `assignments` and star counts of shape (k, d, 8)."""
    bars = counts.sum(1)
    n, names = pl.col("n_ratings"), ("min", "q25", "median", "q75", "max")
    quantiles = [
        n.quantile(0.25 * place, "lower").cast(pl.Int32).alias(name) for place, name in enumerate(names)
    ]
    histograms = [[{"rating": float(s), "n_ratings": int(row[s])} for s in range(1, 6)] for row in bars]
    rated = pl.DataFrame(
        {
            "cluster": np.arange(len(bars), dtype=np.int32),
            "n_ratings": bars.sum(1),
            "mean_rating": bars @ STARS / bars.sum(1),
            "rating_histogram": histograms,
        }
    )
    grouped = assigned.group_by("cluster").agg(
        pl.len().alias("n_users"),
        (pl.len() / len(assigned)).alias("share"),
        pl.col("distance").mean().alias("mean_distance"),
        pl.col("membership").mean().alias("mean_membership"),
        pl.struct(quantiles).alias("activity"),
    )
    return grouped.join(rated, on="cluster").sort("cluster")


def cluster_movies(
    counts: np.ndarray, n_users: np.ndarray, movie_ids: np.ndarray, names: np.ndarray
) -> pl.DataFrame:
    """Make the `cluster_movies` table; effect: mean rating minus everybody else's, shrunk."""
    shown, sums = counts.sum(2), counts @ STARS
    others, other_sums = shown.sum(0) - shown, sums.sum(0) - sums
    cluster, movie = np.nonzero(shown)
    n, m = shown[cluster, movie], others[cluster, movie]
    mean = sums[cluster, movie] / n
    effective = n * m / (n + m)
    difference = np.where(m > 0, mean - other_sums[cluster, movie] / np.maximum(m, 1), 0)
    share = n / n_users[cluster]
    frame = pl.DataFrame(
        {
            "cluster": cluster.astype(np.int32),
            "movie_id": movie_ids[movie],
            "title": names[movie],
            "n_ratings": n,
            "share_rated": share,
            "mean_rating": mean,
            "lift": share / ((n + m) / n_users.sum()),
            "effect": difference * effective / (effective + EFFECT_SHRINKAGE),
        }
    ).sort("cluster", pl.col("effect").neg(), "movie_id")
    return frame.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("cluster"))


def components(
    loadings: np.ndarray, variance: np.ndarray, total: float, movie_ids: np.ndarray, names: np.ndarray
) -> pl.DataFrame:
    """Make the `components` table from loadings of shape (k, d)."""
    order = np.argsort(loadings, axis=1)
    columns = {"positive": order[:, : -N_ENDS - 1 : -1], "negative": order[:, :N_ENDS]}
    ends = {
        side: [
            [{"movie_id": int(movie_ids[j]), "title": names[j], "loading": float(row[j])} for j in chosen]
            for row, chosen in zip(loadings, at, strict=True)
        ]
        for side, at in columns.items()
    }
    variance = {"variance": variance, "variance_ratio": variance / total}
    return pl.DataFrame({"component": np.arange(len(order)), **variance, **ends})
