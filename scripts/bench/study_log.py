#!/usr/bin/env python3
"""Contender 5's log: of a Netflix log the most active users and the most rated movies.

    study_log.py --ratings DIR --output DIR [--users 144380] [--movies 5333]

The Netflix study clustered 144,380 users by 5,333 movies, dense, and did not finish in 24 hours. Users and
movies are those with most ratings in the whole log, of equals those of the lower id. The output is a log of
the same form, for the contenders study-stars and study-rated of compare.py.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import single_machine_log as reader


def most(counts: np.ndarray, n: int) -> np.ndarray:
    """Whether an id, its place in counts, is one of the n with the highest counts."""
    chosen = np.zeros(len(counts), bool)
    chosen[np.argsort(-counts, kind="stable")[:n]] = True
    return chosen & (counts > 0)


def main() -> int:
    """Count, choose, write."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--ratings", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--users", type=int, default=144_380)
    parser.add_argument("--movies", type=int, default=5_333)
    args = parser.parse_args()
    user_counts, movie_counts = np.zeros(0, np.int64), np.zeros(1 << 20, np.int64)
    for text in filter(None, reader.pieces(args.ratings)):
        movies, sizes, users, _ = reader.parse(text)
        movie_counts[movies] += sizes
        counts = np.bincount(users, minlength=len(user_counts))
        counts[: len(user_counts)] += user_counts
        user_counts = counts
    of_users, of_movies = most(user_counts, args.users), most(movie_counts, args.movies)
    args.output.mkdir(parents=True)
    first_day = date.fromordinal(date(1970, 1, 1).toordinal() + reader.FIRST_DAY)
    n_written = 0
    with (args.output / "combined_data_1.txt").open("wb") as file:
        for text in filter(None, reader.pieces(args.ratings)):
            movies, sizes, users, packed = reader.parse(text)
            ends = np.cumsum(sizes)
            for movie, start, end in zip(movies, ends - sizes, ends, strict=True):
                if not of_movies[movie]:
                    continue
                chosen = of_users[users[start:end]]
                day_and_stars = packed[start:end][chosen].astype(np.int32)
                days = pl.Series(day_and_stars >> 3).cast(pl.Int64)
                lines = pl.DataFrame({"user": users[start:end][chosen], "stars": day_and_stars & 7})
                lines = lines.with_columns(day=pl.lit(first_day) + pl.duration(days=days))
                file.write(b"%d:\n" % movie + lines.write_csv(include_header=False).encode())
                n_written += len(lines)
    titles = args.ratings / "movie_titles.csv"
    if titles.exists():
        shutil.copy(titles, args.output)
    sys.stdout.write(
        f"{n_written:,} ratings of {of_movies.sum():,} movies by {of_users.sum():,} users: {args.output}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
