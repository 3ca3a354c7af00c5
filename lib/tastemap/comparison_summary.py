"""Two runs beside each other as text: segments, a matrix of who moved where, changes of taste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tastemap.comparison import KEPT, Comparison
from tastemap.summary import WIDTH, aligned, shortened

N_MOVIES = 2
"""Movies named in each direction of a change."""
ONE_ONLY = "none"
"""Stands for users that are in the other run only."""


def text(comparison: Comparison, output: str | None = None) -> str:
    """Several lines of plain text, at most `WIDTH` characters each but for the path."""
    flows, changes = comparison.flows, comparison.changes
    n_users = flows["n_users"]
    before, after = flows["before"].notna(), flows["after"].notna()
    both = changes["n_users_both"].sum()
    lines = [
        f"{n_users[before].sum():,} users before, {n_users[after].sum():,} after, "
        f"{n_users[before & after].sum():,} in both; {both:,} of these stayed in their segment",
        f"adjusted Rand index {comparison.rand_index:.2f} (1: the same segments, 0: as alike as by chance)",
        "",
        *segment_lines(changes),
        "",
        *matrix_lines(flows, changes),
        "",
        *taste_lines(changes),
    ]
    if output is not None:
        lines += ["", f"results: {output}"]
    return "\n".join(lines)


def segment_lines(changes: pd.DataFrame) -> list[str]:
    """Give each segment a line: its numbers and sizes before and after, and what the two have in common."""
    head = ("before", "users", "share", "after", "users", "share", "in both", "Jaccard", "")
    rows: list[tuple[str, ...]] = [head]
    for row in changes.to_dict("records"):
        numbers = [
            *(_number(row["before"]), _number(row["n_users_before"]), _share(row["share_before"])),
            *(_number(row["after"]), _number(row["n_users_after"]), _share(row["share_after"])),
            *(_number(row["n_users_both"]), "–" if pd.isna(row["jaccard"]) else f"{row['jaccard']:.2f}"),
        ]
        rows.append((*numbers, "" if row["change"] == KEPT else row["change"]))
    return [line.rstrip() for line in aligned(rows)]


def matrix_lines(flows: pd.DataFrame, changes: pd.DataFrame) -> list[str]:
    """Users by segment before (down) and after (across); corresponding ones stand on the diagonal."""
    counts = {
        (_key(row["before"]), _key(row["after"])): f"{row['n_users']:,}" for row in flows.to_dict("records")
    }
    down = [_key(number) for number in changes["before"].dropna()]
    across = [_key(number) for number in changes["after"].dropna()]
    if any(key[0] == ONE_ONLY for key in counts):
        down.append(ONE_ONLY)
    if any(key[1] == ONE_ONLY for key in counts):
        across.append(ONE_ONLY)
    rows = [("before", *across), *((i, *(counts.get((i, j), ".") for j in across)) for i in down)]
    n_shown = len(rows[0])
    while n_shown > 2 and len(aligned([row[:n_shown] for row in rows])[0]) > WIDTH:
        n_shown -= 1
    left_out = len(rows[0]) - n_shown
    more = f", {left_out} more after in the table flows" if left_out else ""
    return [
        f"users before (down) and after (across){more}; {ONE_ONLY}: in the other run only",
        *aligned([row[:n_shown] for row in rows]),
    ]


def taste_lines(changes: pd.DataFrame) -> list[str]:
    """Say for each segment that is kept what it watches and loves more and less than before.

    Numbers are the share of its users who rated a movie, and the effect: stars more than everybody else's.
    """
    lines = ["what changed in their tastes, from before to after"]
    for row in changes[changes["change"] == KEPT].to_dict("records"):
        name = f"{row['before']} → {row['after']}"
        for verb, movies, form in (("watch", row["shares"], "{:.0%}"), ("love", row["effects"], "{:+.2f}")):
            for direction, sign in (("more", 1), ("less", -1)):
                head = f"{name:<8} {verb:<5} {direction}  "
                told = _named(movies, sign, form, WIDTH - len(head))
                if told:
                    lines.append(head + told)
                    name = ""
    return lines


def _named(movies: Sequence[dict[str, Any]], sign: int, form: str, width: int) -> str:
    changed = [(sign * (movie["after"] - movie["before"]), movie) for movie in movies]
    best = sorted((each for each in changed if each[0] > 0), key=lambda each: -each[0])[:N_MOVIES]
    told = []
    for _, movie in best:
        numbers = f" ({form.format(movie['before'])} → {form.format(movie['after'])})"
        title = movie["title"] or f"movie {movie['movie_id']}"
        told.append(shortened(title, width // N_MOVIES - len("; ") - len(numbers)) + numbers)
    return "; ".join(told)


def _key(number: Any) -> str:
    return ONE_ONLY if pd.isna(number) else str(int(number))


def _number(value: Any) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"


def _share(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:.1%}"
