#!/usr/bin/env python3
"""Contender 2: the single-machine stack at its best, from raw Netflix text to the same tables.

Polars parses, SciPy holds the sparse matrix, scikit-learn does PCA and KMeans, Parquet comes out. No Spark,
nothing of tastemap: what somebody who knows these libraries well would write for one large machine.

    single_machine.py --ratings DIR --output DIR [--solver arpack|arpack-threads|randomized|covariance_eigh]

Prints JSON: seconds of every stage, counts, captured variance, peak memory (of this one process).
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import single_machine_tables as make
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, svds
from scipy.special import softmax
from single_machine_log import N_THREADS, PATTERNS, SLICE, Ratings, read, row_slices, threaded
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.utils import extmath
from sklearn.utils.sparsefuncs import mean_variance_axis

# The public function admits no operators from scikit-learn 1.9 on.
RANDOMIZED_SVD = getattr(extmath, "_randomized_svd", extmath.randomized_svd)
MIN_USER_RATINGS, MIN_MOVIE_RATINGS = 20, 5
MOVIE_SHRINKAGE, USER_SHRINKAGE, TEMPERATURE = 5.0, 10.0, 1.4


class Components(NamedTuple):
    """Of PCA: scores (n, k), loadings (k, d), variances (k,) and the variance of all columns together."""

    scores: np.ndarray
    loadings: np.ndarray
    variance: np.ndarray
    total: float


def clean(ratings: Ratings) -> Ratings:
    """Keep the largest set of users and movies with enough ratings of each other.

    Only what is dropped is counted again, and the matrix is copied once, at the end.
    """
    matrix, n_movies = ratings.matrix, len(ratings.movie_ids)
    n_user, n_movie = np.diff(matrix.indptr), np.bincount(matrix.indices, minlength=n_movies)
    users, movies = np.ones(len(n_user), bool), np.ones(n_movies, bool)
    while True:
        bad_users, bad_movies = users & (n_user < MIN_USER_RATINGS), movies & (n_movie < MIN_MOVIE_RATINGS)
        if not (bad_users.any() or bad_movies.any()):
            break
        n_movie = n_movie - np.bincount(matrix[bad_users].indices, minlength=n_movies)
        lost = np.flatnonzero(bad_movies[matrix.indices]) if bad_movies.any() else []
        rows = np.searchsorted(matrix.indptr, lost, side="right") - 1
        n_user = n_user - np.bincount(rows, minlength=len(n_user))
        users, movies = users & ~bad_users, movies & ~bad_movies
    keep = movies[matrix.indices] & np.repeat(users, np.diff(matrix.indptr))
    sizes = np.add.reduceat(keep, matrix.indptr[:-1], dtype=np.int32)[users]
    indices = (np.cumsum(movies, dtype=np.int32) - 1)[matrix.indices[keep]]
    arrays = matrix.data[keep], indices, np.append(0, np.cumsum(sizes, dtype=np.int32))
    matrix = sparse.csr_matrix(arrays, shape=(users.sum(), movies.sum()))
    return Ratings(matrix, ratings.user_ids[users], ratings.movie_ids[movies])


def star_counts(ratings: sparse.csr_matrix) -> np.ndarray:
    """Count the ratings of each movie by stars, of shape (d, 8)."""

    def count(first: int, last: int) -> np.ndarray:
        part = slice(ratings.indptr[first], ratings.indptr[last])
        key = ratings.indices[part] * np.int64(8) + ratings.data[part]
        return np.bincount(key, minlength=8 * ratings.shape[1])

    zero = np.zeros(8 * ratings.shape[1], np.int64)
    return sum(threaded(count, row_slices(ratings.indptr, 8 * SLICE)), zero).reshape(-1, 8)


def weigh(ratings: sparse.csr_matrix) -> sparse.csr_matrix:
    """Subtract mean, movie effect and user effect, both shrunk, and give every row length 1; float32."""
    indptr, counts = ratings.indptr, star_counts(ratings)
    n, sums = counts.sum(1), counts @ np.arange(8)
    mean = sums.sum() / n.sum()
    baseline = mean + (sums - n * mean) / (n + MOVIE_SHRINKAGE)
    data = np.empty(ratings.nnz, np.float32)

    def residual(first: int, last: int) -> None:
        starts, part = indptr[first:last] - indptr[first], slice(indptr[first], indptr[last])
        sizes = np.diff(indptr[first : last + 1])
        left = ratings.data[part] - baseline[ratings.indices[part]]
        left -= np.repeat(np.add.reduceat(left, starts) / (sizes + USER_SHRINKAGE), sizes)
        length = np.sqrt(np.add.reduceat(left * left, starts))
        data[part] = left / np.repeat(np.where(length > 0, length, 1), sizes)

    threaded(residual, row_slices(indptr))
    return sparse.csr_matrix((data, ratings.indices, indptr), shape=ratings.shape)


class Centred(LinearOperator):
    """A sparse matrix minus its column means, times dense blocks; one thread for each run of rows."""

    def __init__(self, matrix: sparse.csr_matrix, mean: np.ndarray) -> None:
        super().__init__(matrix.dtype, matrix.shape)
        self.parts, self.mean = [], mean
        for first, last in row_slices(matrix.indptr, -(-matrix.nnz // N_THREADS)):
            at = slice(matrix.indptr[first], matrix.indptr[last])
            arrays = matrix.data[at], matrix.indices[at], matrix.indptr[first : last + 1] - at.start
            part = sparse.csr_matrix(arrays, shape=(last - first, matrix.shape[1]), copy=False)
            self.parts.append((slice(first, last), part))

    def _matmat(self, block: np.ndarray) -> np.ndarray:
        return np.concatenate(threaded(lambda rows, part: part @ block, self.parts)) - self.mean @ block

    def _rmatmat(self, block: np.ndarray) -> np.ndarray:
        products = threaded(lambda rows, part: part.T @ block[rows], self.parts)
        return sum(products) - np.multiply.outer(self.mean, block.sum(0))

    _matvec, _rmatvec = _matmat, _rmatmat


def principal_components(
    matrix: sparse.csr_matrix, k: int, solver: str, seed: int, power_iterations: int = 7
) -> Components:
    """Fit k components and return them with the scores.

    scikit-learn's PCA takes sparse input with arpack and covariance_eigh only, on one thread. For randomized
    what it would call is called here, with the centred matrix as an operator, and so is, for arpack-threads,
    the function of SciPy that it calls for arpack.
    """
    mean, variances = mean_variance_axis(matrix, axis=0)  # SciPy's mean would copy the matrix
    n, total = matrix.shape[0], float(variances.sum(dtype=np.float64))
    if solver in ("arpack", "covariance_eigh"):
        pca = PCA(k, svd_solver=solver, random_state=seed)
        return Components(
            pca.fit_transform(matrix), pca.components_, pca.explained_variance_ * (n - 1) / n, total
        )
    centred = Centred(matrix, mean)
    if solver == "randomized":
        loadings = RANDOMIZED_SVD(centred, k, n_iter=power_iterations, random_state=seed)[2]
    else:
        loadings = svds(centred, k, rng=seed, return_singular_vectors="vh")[2][::-1]
    scores = centred @ loadings.T
    return Components(scores, loadings, np.einsum("ij,ij->j", scores, scores, dtype=np.float64) / n, total)


class Clusters(NamedTuple):
    """Of KMeans, numbered by size: cluster of every user, distance to its centre, how sure (0 to 1)."""

    labels: np.ndarray
    distances: np.ndarray
    memberships: np.ndarray


def cluster(scores: np.ndarray, k: int, iterations: int, seed: int) -> Clusters:
    """Run KMeans once; memberships are a softmax of the squared distances."""
    model = KMeans(k, n_init=1, max_iter=iterations, tol=0, random_state=seed).fit(scores)
    number = np.argsort(np.argsort(-np.bincount(model.labels_, minlength=k), kind="stable"))
    squares = model.transform(scores) ** 2
    nearest = squares.min(1)
    scale = scores.shape[1] / (2 * TEMPERATURE * nearest.mean())
    return Clusters(number[model.labels_], np.sqrt(nearest), softmax(-scale * squares, axis=1).max(1))


def write_vectors(ratings: Ratings, directory: Path) -> None:
    """Write the `user_vectors` table, a file for each thread at a time."""
    matrix = ratings.matrix

    def write(number: int, first: int, last: int) -> None:
        part = slice(matrix.indptr[first], matrix.indptr[last])
        offsets = pa.array(matrix.indptr[first : last + 1] - matrix.indptr[first])
        arrays = [
            pa.array(ratings.user_ids[first:last]),
            pa.ListArray.from_arrays(offsets, pa.array(matrix.indices[part])),
            pa.ListArray.from_arrays(offsets, pa.array(matrix.data[part].astype(np.float32))),
        ]
        table = pl.from_arrow(pa.table(arrays, ["user_id", "indices", "values"]))
        table.write_parquet(directory / f"part-{number:05d}.parquet", compression="snappy")

    directory.mkdir()
    threaded(write, [(i, *rows) for i, rows in enumerate(row_slices(matrix.indptr, 16 * SLICE))])


def run(args: argparse.Namespace) -> dict[str, object]:
    """Go from raw text to all tables; return what is printed."""
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - start, 3)
        sys.stderr.write(f"{name}: {seconds[name]:.1f} s\n")

    begun = time.perf_counter()
    with stage("read and pivot"):
        ratings, n_read, n_duplicates = read(args.ratings)
    with stage("clean"):
        ratings = clean(ratings)
    with stage("write user vectors"):
        write_vectors(ratings, args.output / "user_vectors")
    with stage("weight"):
        weighted = weigh(ratings.matrix)
    with stage("principal components"):
        iterations = args.power_iterations
        pca = principal_components(weighted, args.components, args.solver, args.seed, iterations)
    del weighted
    with stage("cluster"):
        found = cluster(pca.scores, args.clusters, args.iterations, args.seed)
    with stage("profile"):
        n_users, n_ratings = np.bincount(found.labels), np.diff(ratings.matrix.indptr)
        counts = np.stack([star_counts(ratings.matrix[found.labels == c]) for c in range(len(n_users))])
        names = make.read_titles(args.ratings, ratings.movie_ids)
        known, assigned = (ratings.movie_ids, names), make.assignments(ratings.user_ids, *found, n_ratings)
        tables = {
            "assignments": assigned,
            "profiles": make.profiles(assigned, counts),
            "cluster_movies": make.cluster_movies(counts, n_users, *known),
            "components": make.components(pca.loadings, pca.variance, pca.total, *known),
            "movie_index": make.movie_index(counts.sum(0), *known),
        }
    with stage("write results"):
        for name, table in tables.items():
            table.write_parquet(args.output / f"{name}.parquet")
    return {
        "solver": args.solver,
        "seconds": round(time.perf_counter() - begun, 3),
        "stages": seconds,
        "counts": {
            "ratings_in": n_read,
            "duplicates": n_duplicates,
            "ratings_kept": ratings.matrix.nnz,
            **dict(zip(("users", "movies"), ratings.matrix.shape, strict=True)),
        },
        "captured_variance": float(pca.variance.sum()),
        "total_variance": pca.total,
        "variance_ratio": float(pca.variance.sum() / pca.total),
        "cluster_sizes": n_users.tolist(),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main(argv: list[str] | None = None) -> int:
    """Read the command line and run."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    add = parser.add_argument
    add("--ratings", type=Path, required=True, help="directory with combined_data_*.txt or mv_*.txt")
    add("--output", type=Path, required=True, help="directory for the tables; replaced")
    add("--solver", choices=["arpack", "arpack-threads", "randomized", "covariance_eigh"], default="arpack")
    add("--power-iterations", type=int, default=7, help="of the randomized solver; 7 as by default there")
    for name, number in {"components": 50, "clusters": 12, "iterations": 20, "seed": 7}.items():
        add(f"--{name}", type=int, default=number)
    args = parser.parse_args(argv)
    if not any(any(args.ratings.glob(pattern)) for pattern in PATTERNS):
        parser.error(f"--ratings: none of {', '.join(PATTERNS)} in {args.ratings}")
    shutil.rmtree(args.output, ignore_errors=True)
    args.output.mkdir(parents=True)
    sys.stdout.write(json.dumps(run(args), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
