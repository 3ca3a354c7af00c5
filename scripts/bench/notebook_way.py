#!/usr/bin/env python3
"""Contender 4: the notebook way, pandas and a dense matrix, until it runs out of memory or time.

    notebook_way.py --ratings DIR [--clusters 5]

Reads Netflix (combined_data_*.txt), MovieLens (ratings.csv) or Parquet (ratings.parquet) logs as tutorials
do: pandas read, `pivot_table` into users x movies, 0 where not rated, scikit-learn KMeans. Prints JSON:
seconds of every stage, the size of the dense matrix, and where it fails the stage and the error. The system
kills it where memory runs out for good; then the last line on standard error names the stage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
from sklearn.cluster import KMeans

COLUMNS = ["user", "movie", "rating"]


def read(directory: Path) -> pd.DataFrame:
    """Read the columns user, movie and rating."""
    if (directory / "ratings.csv").exists():
        return pd.read_csv(directory / "ratings.csv").iloc[:, :3].set_axis(COLUMNS, axis=1)
    if (directory / "ratings.parquet").exists():
        return pd.read_parquet(directory / "ratings.parquet").iloc[:, :3].set_axis(COLUMNS, axis=1)
    paths = sorted(directory.glob("combined_data_*.txt"))
    frames = [
        pd.read_csv(path, header=None, names=["user", "rating", "date"], usecols=[0, 1]) for path in paths
    ]
    log = pd.concat(frames, ignore_index=True)
    header = log["rating"].isna()
    log["movie"] = log["user"].where(header).str.rstrip(":").ffill().astype(int)
    return log[~header].astype({"user": int})[COLUMNS]


def main(argv: list[str] | None = None) -> int:
    """Read the command line, run, and print what it took."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--ratings", type=Path, required=True, help="directory of the log")
    parser.add_argument("--clusters", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args(argv)
    result: dict[str, object] = {"clusters": args.clusters, "failed": "read"}
    stages: dict[str, float] = {}
    begun = start = time.perf_counter()

    def done(stage: str, following: str) -> None:
        nonlocal start
        stages[stage], start = round(time.perf_counter() - start, 3), time.perf_counter()
        result["failed"] = following
        sys.stderr.write(f"{stage}: {stages[stage]:.1f} s; now {following}\n")

    try:
        log = read(args.ratings)
        done("read", "pivot")
        matrix = log.pivot_table(index="user", columns="movie", values="rating").fillna(0)
        result["ratings"], result["shape"], result["dense_bytes"] = len(log), matrix.shape, matrix.size * 8
        done("pivot", "cluster")
        model = KMeans(args.clusters, n_init=1, random_state=args.seed).fit(matrix)
        done("cluster", "nothing")
        del result["failed"]
        result |= {"inertia": float(model.inertia_), "iterations": model.n_iter_}
    except (MemoryError, ValueError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    result |= {"seconds": round(time.perf_counter() - begun, 3), "stages": stages}
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main())
