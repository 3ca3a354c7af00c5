#!/usr/bin/env python3
"""Every stage alone, on what the one before has left persisted: where a change of speed comes from.

    spark-submit stages.py --ratings DIR --output results.json [--components 50] [--clusters 12]

`parse` reads and parses and drops what it has parsed; the others are what `jobs/cluster_users.py` does, in
its order, with nothing between. JSON goes to --output, a line a stage to standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from tastemap import catalogue, cleaning, pivot, profiles, segmentation, weighting
from tastemap.clustering import algorithms
from tastemap.config import Config
from tastemap.decomposition import sampling
from tastemap.decomposition.krylov import Progress
from tastemap.decomposition.principal import decompose
from tastemap.executors import map_in_arrow
from tastemap.features import loading
from tastemap.runs import Run
from tastemap.segmentation import Projection
from tastemap.session import session
from tastemap.sources import open_log

T = TypeVar("T")


def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Number of rows, once a task."""
    yield pa.record_batch([pa.array([sum(batch.num_rows for batch in batches)])], names=["n"])


def main() -> int:
    """Run the stages one after the other."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--clusters", type=int, default=12)
    parser.add_argument("--restarts", type=int, default=1)
    args = parser.parse_args()
    seconds: dict[str, float] = {}

    def stage(name: str, function: Callable[[], T]) -> T:
        start = time.perf_counter()
        found = function()
        seconds[name] = round(time.perf_counter() - start, 3)
        sys.stdout.write(f"{name:<24}{seconds[name]:>9.2f} s\n")
        sys.stdout.flush()
        return found

    config = Config()
    with (
        session("benchmark: stages") as spark,
        tempfile.TemporaryDirectory() as folder,
        Run(spark, f"{folder}/run", overwrite=False) as run,
        ExitStack() as persisted,
    ):
        of_log = persisted.enter_context(ExitStack())
        log = stage("open", lambda: open_log(spark, [args.ratings], config.source, None))
        stage("plan movies", lambda: log.movies)  # in a run, while ratings are read
        with log.in_batches():
            stage("parse", lambda: map_in_arrow(*log.passed_to(count), "n long").agg({"n": "sum"}).head())
        read = pivot.gathered(log)
        gathered = stage("parse and pivot", lambda: of_log.enter_context(read))
        counts = cleaning.count(gathered.rows)
        movies = stage("movies to keep", lambda: cleaning.frequent_movies(gathered, config.cleaning))
        indexed = pivot.index_columns(gathered, movies.ids, config.cleaning.min_user_ratings).persisted()
        matrix = stage("index columns", lambda: persisted.enter_context(indexed))
        of_log.close()
        users, ratings = pivot.size(matrix)
        vectors = pivot.user_vectors(matrix)
        stage("write user vectors", lambda: run.write("user_vectors", vectors))
        features = weighting.fit(movies.n_ratings, movies.rating_sums, config.weighting)
        weighted = loading(features, matrix)
        passes: list[Progress] = []
        k, size, tol = args.components, (users, ratings), config.decomposition.pca_tolerance
        known = stage("PCA of a sample", lambda: sampling.draw(matrix, features, k, size, tol=tol, seed=7))
        fit = partial(decompose, k=k, tol=tol, on_pass=passes.append)
        if known is None:
            found = stage("PCA", partial(fit, weighted))
        else:
            by_column = sampling.ready_for_passes(weighted, known, tol=tol)
            rows = stage("columns at rest", lambda: persisted.enter_context(by_column))
            fit = partial(fit, start=known.start, correct=known.correct, surrogate=known.multiply)
            found = stage("PCA", partial(fit, rows))
        seconds |= {f"PCA pass {one.passes}": round(one.seconds, 3) for one in passes}
        projection = Projection.of(features, found)
        projected = segmentation.projected(matrix, projection, users)
        scored, scores = stage("project", lambda: persisted.enter_context(projected))
        settings = replace(config.clustering, max_iterations=20, restarts=args.restarts)
        clusters = stage("KMeans", lambda: algorithms.fit(scores, args.clusters, settings, 7))
        table = segmentation.assignments(scores, clusters.model)
        stage("write assignments", lambda: run.write("assignments", table))
        labels = catalogue.describe(movies.ids, log.movies).labels().of_movies
        axes = profiles.Axes(profiles.rating_bars(log.scale), labels, counts.years)
        stage("profiles", lambda: profiles.aggregate(scored, clusters.model, axes))
        cores = spark.sparkContext.defaultParallelism
    result = {
        "cores": cores,
        "read": counts.ratings_in,
        "ratings": ratings,
        "users": users,
        "iterations of KMeans": clusters.iterations,
        "seconds": seconds,
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
