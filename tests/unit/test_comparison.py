"""Two clusterings beside each other: against scikit-learn, brute force and counting by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tastemap import comparison_summary, schemas
from tastemap.comparison import (
    Comparison,
    flow_table,
    matches,
    overlap,
    segment_changes,
)

overlaps = arrays(
    np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 6)
).filter(lambda table: table.sum() > 0)


@settings(deadline=None)
@given(overlaps)
def test_matches_hold_as_many_users_as_any(table: np.ndarray) -> None:
    found = matches(table)
    assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found)
    assert all(table[pair] > 0 for pair in found)
    square = np.zeros((5, 5), np.int64)
    square[: table.shape[0], : table.shape[1]] = table
    best = max(square[np.arange(5), list(order)].sum() for order in permutations(range(5)))
    assert sum(table[pair] for pair in found) == best


def test_the_greedy_match_is_not_the_best() -> None:
    assert matches(np.array([[10, 9], [8, 0]])) == [(0, 1), (1, 0)]
    assert matches(np.array([[10, 0], [8, 0]])) == [(0, 0)]


COUNTS = pd.DataFrame(
    [(1, 0, 30), (0, 1, 60), (0, 0, 20), (None, 1, 5), (0, None, 20), (2, None, 7)],
    columns=["before", "after", "n_users"],
)
FLOWS = flow_table(COUNTS)
PROFILES = [
    pd.DataFrame({"cluster": [0, 1, 2], "n_users": [100, 30, 7], "share": [100 / 137, 30 / 137, 7 / 137]}),
    pd.DataFrame({"cluster": [0, 1, 2], "n_users": [50, 65, 0], "share": [50 / 115, 65 / 115, 0.0]}),
]


def movies(rows: list[tuple[int, int, float, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["cluster", "movie_id", "share_rated", "effect"])
    return table.assign(title=[None if row[1] == 9 else f"Movie {row[1]}" for row in rows])


MOVIES = [
    movies([(0, 7, 0.5, 0.25), (0, 8, 0.5, 0.5), (0, 9, 0.1, -0.5), (0, 5, 0.3, 1.0), (1, 7, 0.1, 0.0)]),
    movies([(1, 7, 0.25, 0.5), (1, 8, 0.75, 0.5), (1, 9, 0.1, 0.5), (1, 4, 0.3, 1.0), (0, 8, 0.1, 0.0)]),
]
CHANGES = segment_changes(FLOWS, PROFILES, MOVIES)


def test_flows_are_ordered_and_shared_out() -> None:
    assert list(FLOWS.columns) == schemas.FLOWS.names
    rows = FLOWS.astype(object).where(FLOWS.notna(), None).itertuples(index=False, name=None)
    assert list(rows) == [
        (0, 0, 20, 0.2, 0.4),
        (0, 1, 60, 0.6, 60 / 65),
        (0, None, 20, 0.2, None),
        (1, 0, 30, 1.0, 0.6),
        (2, None, 7, 1.0, None),
        (None, 1, 5, None, 5 / 65),
    ]
    assert overlap(FLOWS).tolist() == [[20, 60], [30, 0], [0, 0]]
    assert overlap(FLOWS, 2, 3).tolist() == [[20, 60, 0], [30, 0, 0], [0, 0, 0]]


def test_segments_and_what_they_have_in_common() -> None:
    assert list(CHANGES.columns) == schemas.SEGMENT_CHANGES.names
    plain = CHANGES.astype(object).where(CHANGES.notna(), None)
    names = ["before", "after", "change", "n_users_before", "n_users_after", "n_users_both", "jaccard"]
    assert list(plain[names].itertuples(index=False, name=None)) == [
        (0, 1, "kept", 100, 65, 60, 60 / 80),
        (1, 0, "kept", 30, 50, 30, 30 / 50),
        (2, None, "gone", 7, None, None, None),
        (None, 2, "new", None, 0, None, None),
    ]
    assert plain["share_before"].tolist() == [100 / 137, 30 / 137, 7 / 137, None]
    assert plain["share_after"].tolist() == [65 / 115, 50 / 115, None, 0.0]


def test_movies_whose_effect_and_share_changed_most() -> None:
    effects, shares = CHANGES["effects"][0], CHANGES["shares"][0]
    assert effects == [
        {"movie_id": 9, "title": None, "before": -0.5, "after": 0.5},
        {"movie_id": 7, "title": "Movie 7", "before": 0.25, "after": 0.5},
    ]
    assert [(each["movie_id"], each["before"], each["after"]) for each in shares] == [
        (8, 0.5, 0.75),
        (7, 0.5, 0.25),
    ]
    # No movie in both, no counterpart.
    assert CHANGES["effects"][1:].tolist() == [[], [], []]


def test_at_most_five_movies_up_and_five_down() -> None:
    before = movies([(0, movie, 0.5, 0.0) for movie in range(20)])
    after = movies([(1, movie, 0.5, (movie - 9.5) / 10) for movie in range(20)])
    found = segment_changes(FLOWS, PROFILES, [before, after])["effects"][0]
    assert [each["movie_id"] for each in found] == [19, 18, 17, 16, 15, 4, 3, 2, 1, 0]


def test_text() -> None:
    lines = comparison_summary.text(Comparison(FLOWS, CHANGES, 0.4567), "output/x").split("\n")
    assert lines == [
        "137 users before, 115 after, 110 in both; 90 of these stayed in their segment",
        "adjusted Rand index 0.46 (1: the same segments, 0: as alike as by chance)",
        "",
        "before  users  share  after  users  share  in both  Jaccard",
        "     0    100  73.0%      1     65  56.5%       60     0.75",
        "     1     30  21.9%      0     50  43.5%       30     0.60",
        "     2      7   5.1%      –      –      –        –        –  gone",
        "     –      –      –      2      0   0.0%        –        –   new",
        "",
        "users before (down) and after (across); none: in the other run only",
        "before   1   0  2  none",
        "     0  60  20  .    20",
        "     1   .  30  .     .",
        "     2   .   .  .     7",
        "  none   5   .  .     .",
        "",
        "what changed in their tastes, from before to after",
        "0 → 1    watch more  Movie 8 (50% → 75%)",
        "         watch less  Movie 7 (50% → 25%)",
        "         love  more  movie 9 (-0.50 → +0.50); Movie 7 (+0.25 → +0.50)",
        "",
        "results: output/x",
    ]


def test_text_of_many_segments_stays_within_120_characters() -> None:
    k = 60
    counts = pd.DataFrame({"before": range(k), "after": range(k), "n_users": 1_234_567})
    sizes = pd.DataFrame({"cluster": range(k), "n_users": 1_234_567, "share": 1 / k})
    long = [movies([(0, movie, 0.5, 0.0) for movie in range(9)]).assign(title="word " * 30) for _ in range(2)]
    long[1]["share_rated"] = np.linspace(0, 1, 9)
    flows = flow_table(counts)
    changes = segment_changes(flows, [sizes, sizes], long)
    told = comparison_summary.text(Comparison(flows, changes, 1.0))
    assert max(map(len, told.split("\n"))) <= 120
    assert "more after in the table flows" in told and "…" in told
