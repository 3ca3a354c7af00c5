#!/usr/bin/env python3
"""KMeans alone, time after time on the same scores: what one more core is worth to it.

    spark-submit kmeans_alone.py --ratings DIR --output results.json [--times 10] [--fits 4]
    scaling.py --script kmeans_alone.py --ratings DIR --output results.json --places local-1,local-2

Scores are those of a log's users, each --times over with noise of a tenth of a score's standard deviation:
a log of Netflix's size has too few users for its passes to be more than what Spark takes to begin them. The
first fit is told apart: Java still compiles then what the passes of a PCA have compiled in a run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import log_matrix
import numpy as np
import pyarrow as pa

from tastemap import pivot, schemas, segmentation
from tastemap.clustering import algorithms
from tastemap.clustering.scores import ScoreBlock, ScoreMatrix, decode, encode
from tastemap.config import Config
from tastemap.decomposition.sampling import decompose_from_sample
from tastemap.segmentation import Projection
from tastemap.session import session

NOISE = 0.1
"""Of a copy, in standard deviations of a score."""


def copies(times: int, noise: np.ndarray, blocks: Iterator[ScoreBlock]) -> Iterator[pa.RecordBatch]:
    """Every user so many times, with noise of shape (m,), as rows of `schemas.SCORES`."""
    for block in blocks:
        for number in range(times):
            rng = np.random.default_rng([number, int(block.ids[0])])
            scores = block.scores + rng.normal(size=block.scores.shape) * noise
            yield encode(replace(block, ids=block.ids * times + number, scores=scores))


def main() -> int:
    """Make the scores, cluster them time after time."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--clusters", type=int, default=12)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--times", type=int, default=10, help="copies of every user")
    parser.add_argument("--fits", type=int, default=4, help="the first, and those that count")
    args = parser.parse_args()
    if args.fits < 2:
        parser.error(f"--fits {args.fits}: at least 2, the first and one that counts")
    config, k = Config(), args.components
    with session("benchmark: KMeans alone") as spark, ExitStack() as persisted:
        matrix, features = persisted.enter_context(log_matrix.persisted(spark, args.ratings, config))
        users, ratings = pivot.size(matrix)
        tol = config.decomposition.pca_tolerance
        found = decompose_from_sample(matrix, features, k, (users, ratings), tol=tol, seed=7)
        projected = segmentation.projected(matrix, Projection.of(features, found), users)
        _, scores = persisted.enter_context(projected)
        noise = NOISE * np.sqrt(found.variance)
        copied = scores.map_kept(partial(copies, args.times, noise), schemas.SCORES)
        many = persisted.enter_context(ScoreMatrix(copied, decode, users * args.times).persisted())
        settings = replace(config.clustering, max_iterations=20, restarts=args.restarts)
        seconds = []
        for _ in range(args.fits):
            start = time.perf_counter()
            clusters = algorithms.fit(many, args.clusters, settings, 7)
            seconds.append(round(time.perf_counter() - start, 3))
            sys.stdout.write(f"{seconds[-1]:>9.2f} s\n")
            sys.stdout.flush()
        cores = spark.sparkContext.defaultParallelism
    result = {
        "cores": cores,
        "users": many.n_rows,
        "iterations": clusters.iterations,
        "fits": seconds,
        "seconds": {"first fit": seconds[0], "later fits": statistics.median(seconds[1:])},
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
