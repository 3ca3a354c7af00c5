"""The end of a run as text: where the results are, the clusters, the time each stage took."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tastemap.evaluation.choice import Choice
from tastemap.evaluation.summary import table_lines
from tastemap.pipeline import Result

WIDTH = 120
N_TITLES = 3


def text(result: Result) -> str:
    """Several lines of plain text, at most `WIDTH` characters each but for the path."""
    counts = {name: f"{n:,}" for name, n in result.manifest["counts"].items()}
    stages = [f"{stage['name']} {stage['seconds']:.1f}\u00a0s" for stage in result.manifest["stages"]]
    times = textwrap.wrap("time: " + ", ".join(stages), WIDTH, subsequent_indent="      ")
    continued = result.manifest["metrics"].get("warm_start")
    shown = [
        f"{counts['ratings_in']} records read: {counts['rejects']} rejected, "
        f"{counts['duplicates']} duplicates, {counts['ratings_dropped']} dropped as too rare",
        f"{counts['ratings_kept']} ratings of {counts['movies']} movies by {counts['users']} users clustered",
        *suppressed_lines(result.manifest["counts"]),
        *choice_lines(result.choice),
        *cluster_lines(result.profiles, result.cluster_movies),
        "",
        *([] if continued is None else [continuation_line(continued)]),
        *(line.replace("\u00a0", " ") for line in times),
        f"results: {result.output.removeprefix('file:')}",
    ]
    return "\n".join(shown)


def choice_lines(choice: Choice) -> list[str]:
    """Say why it is so many clusters, where there was a choice."""
    if choice.figures is None or choice.verdict is None:
        return []
    told = [choice.reason + ".", choice.verdict]
    return [
        *table_lines(choice.figures),
        "",
        *(line for sentence in told for line in textwrap.wrap(sentence, WIDTH)),
        "",
    ]


def suppressed_lines(counts: Mapping[str, int]) -> list[str]:
    """Say what is left out for fear of telling single people, if anything is, and an empty line."""
    hidden = [
        (counts["movie_cells_suppressed"], "cells of cluster and movie"),
        (counts["genre_cells_suppressed"], "of cluster and genre"),
        (counts["year_cells_suppressed"], "of cluster and year"),
        (counts["clusters_suppressed"], "profiles of clusters"),
        (counts["movies_suppressed"], "totals of movies"),
    ]
    told = ", ".join(f"{n:,} {what}" for n, what in hidden if n)
    return [f"suppressed, to tell of no few people: {told}", ""] if told else [""]


def continuation_line(continued: Mapping[str, Any]) -> str:
    """What became of the clusters of an earlier run, as `warm_start` records it."""
    new = [str(one["cluster"]) for one in continued["clusters"] if one["earlier"] is None]
    parts = [
        f"{continued['moved_users']:,} of {continued['users']:,} users ({continued['moved_share']:.1%}) "
        "changed their cluster"
    ]
    if new:
        parts.append(f"new: {', '.join(new)}")
    if continued["gone"]:
        parts.append(f"gone: {', '.join(map(str, continued['gone']))}")
    return textwrap.shorten("warm start: " + "; ".join(parts), WIDTH, placeholder=" …")


def cluster_lines(profiles: pd.DataFrame, cluster_movies: pd.DataFrame) -> list[str]:
    """Give each cluster a line: size, share, mean rating and the movies of the largest effect."""
    ordered = profiles.sort_values("cluster")
    rows = [("cluster", "users", "share", "mean")]
    for cluster in ordered.itertuples():
        numbers = (f"{cluster.n_users:,}", f"{cluster.share:.1%}", _mean(cluster.mean_rating))
        rows.append((str(cluster.cluster), *numbers))
    left = aligned(rows)
    width = (WIDTH - len(left[0])) // N_TITLES - len("; ")
    best = cluster_movies[cluster_movies["rank"] <= N_TITLES].sort_values(["cluster", "rank"])
    loved = ["loves, more than everybody else"]
    for number in ordered["cluster"]:
        movies = best[best["cluster"] == number]
        names = zip(movies["title"], movies["movie_id"], strict=True)
        loved.append("; ".join(shortened(title or f"movie {movie_id}", width) for title, movie_id in names))
    return [f"{numbers}  {movies}" for numbers, movies in zip(left, loved, strict=True)]


def _mean(rating: Any) -> str:
    return "–" if pd.isna(rating) else f"{rating:.2f}"


def shortened(title: str, width: int) -> str:
    """A title of at most `width` characters, cut where it is longer."""
    return title if len(title) <= width else title[: width - 1].rstrip() + "…"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table, a line a row, its columns aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
