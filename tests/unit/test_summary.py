"""What a run says at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tastemap import summary
from tastemap.evaluation.choice import Choice
from tastemap.pipeline import Result
from tastemap.warm_start import Continuation

STAGES = (
    *(
        "read and pivot",
        "clean",
        "write user vectors",
        "principal components",
        "cluster",
        "assign",
        "profile",
    ),
    "write results",
)
COUNTS = {
    "ratings_in": 100_480_507,
    "users_in": 480_189,
    "movies_in": 17_770,
    "rejects": 12,
    "duplicates": 3_456,
    "ratings_dropped": 7_890_123,
    "users_dropped": 45_000,
    "movies_dropped": 70,
    "ratings_kept": 92_586_916,
    "users": 435_189,
    "movies": 17_700,
    "movie_cells_suppressed": 0,
    "genre_cells_suppressed": 0,
    "year_cells_suppressed": 0,
    "clusters_suppressed": 0,
    "movies_suppressed": 0,
}


def result(profiles: pd.DataFrame, movies: pd.DataFrame, **changes: Any) -> Result:
    stages = [{"name": name, "seconds": 1.26 + i, "rows": 3, "unit": "rows"} for i, name in enumerate(STAGES)]
    metrics = {"warm_start": changes.get("warm_start")}
    manifest = {"counts": COUNTS, "stages": stages, "metrics": metrics}
    return Result(changes.get("output", "file:/data/runs/one"), manifest, profiles, movies, Choice(2))


PROFILES = pd.DataFrame(
    {"cluster": [1, 0], "n_users": [98, 1_234_567], "share": [0.0789, 0.9211], "mean_rating": [3.456, 4.0]}
)
MOVIES = pd.DataFrame(
    [
        (0, 3, "Third", 3),
        (0, 4, "Fourth", 4),
        (0, 9, "A Title That Goes On And On Until Nobody Reads It Any More", 1),
        (0, 2, "Ganz-ohne-ein-einziges-Leerzeichen-geschriebener-Titel", 2),
        (1, 77, None, 1),
    ],
    columns=["cluster", "movie_id", "title", "rank"],
)


def test_a_line_a_cluster() -> None:
    assert summary.cluster_lines(PROFILES, MOVIES) == [
        "cluster      users  share  mean  loves, more than everybody else",
        "      0  1,234,567  92.1%  4.00  A Title That Goes On And O…; Ganz-ohne-ein-einziges-Lee…; Third",
        "      1         98   7.9%  3.46  movie 77",
    ]


def test_what_is_suppressed_is_said_and_its_mean_is_a_dash() -> None:
    assert summary.suppressed_lines(COUNTS) == [""]
    counts = COUNTS | {"movie_cells_suppressed": 12_345, "clusters_suppressed": 2}
    assert summary.suppressed_lines(counts) == [
        "suppressed, to tell of no few people: 12,345 cells of cluster and movie, 2 profiles of clusters",
        "",
    ]
    lines = summary.cluster_lines(PROFILES.assign(mean_rating=[None, 4.0]), MOVIES)
    assert lines[2] == "      1         98   7.9%     –  movie 77"


def test_a_cluster_without_movies() -> None:
    assert summary.cluster_lines(PROFILES, MOVIES[:0])[1].rstrip() == "      0  1,234,567  92.1%  4.00"


def test_whole_text() -> None:
    lines = summary.text(result(PROFILES, MOVIES)).split("\n")
    assert lines[0] == (
        "100,480,507 records read: 12 rejected, 3,456 duplicates, 7,890,123 dropped as too rare"
    )
    assert lines[1] == "92,586,916 ratings of 17,700 movies by 435,189 users clustered"
    assert lines[3:6] == summary.cluster_lines(PROFILES, MOVIES)
    assert lines[-1] == "results: /data/runs/one"
    times = " ".join(line.strip() for line in lines if line.startswith(("time: ", "      ")) and " s" in line)
    assert times.startswith("time: read and pivot 1.3 s, clean 2.3 s, write user vectors 3.3 s, ")
    assert times.endswith(", write results 8.3 s")


@pytest.mark.parametrize("length", [1, 20, 26, 27, 28, 200])
@pytest.mark.parametrize("letter", ["x", "x "])
@pytest.mark.parametrize("n_users", [7, 123_456_789])
def test_lines_stay_within_120_characters(length: int, letter: str, n_users: int) -> None:
    titles = pd.DataFrame([(0, i, (letter * length)[:length], i) for i in (1, 2, 3)], columns=MOVIES.columns)
    told = summary.text(result(PROFILES.assign(n_users=n_users), titles))
    assert max(map(len, told.split("\n"))) <= 120
    if length <= 26:
        assert "; ".join([(letter * length)[:length]] * 3) in told


@pytest.mark.parametrize("output", ["s3://bucket/runs/1", "hdfs://nn:8020/a"])
def test_results_elsewhere_keep_their_scheme(output: str) -> None:
    assert summary.text(result(PROFILES, MOVIES, output=output)).endswith(f"\nresults: {output}")


def test_what_became_of_earlier_clusters() -> None:
    overlap = np.array([[1_234_000, 560], [98, 0], [0, 0]])
    told = summary.text(
        result(PROFILES, MOVIES, warm_start=Continuation((0, None), overlap, n_unknown=3).record())
    )
    line = "warm start: 658 of 1,234,658 users (0.1%) changed their cluster; new: 1; gone: 1, 2"
    assert line in told.split("\n")
    assert "warm start" not in summary.text(result(PROFILES, MOVIES))
    many = Continuation((None,) * 100, np.zeros((50, 100), np.int64), n_unknown=0)
    assert len(summary.continuation_line(many.record())) <= 120
