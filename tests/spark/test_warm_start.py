"""A run that continues an earlier one, and the table of memberships: the whole flow on planted groups."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

import make_ratings
from tastemap import pipeline, schemas, summary, warm_start
from tastemap.config import Config, from_options
from tastemap.errors import UserError

SETTINGS = {"min_user_ratings": 5, "n_components": 8, "format": "parquet"}


def config(**changes: object) -> Config:
    return from_options(**{name: str(value) for name, value in {**SETTINGS, **changes}.items()})


def run(
    spark: SparkSession, log: pd.DataFrame, folder: Path, name: str, **changes: object
) -> pipeline.Result:
    log.to_parquet(folder / f"{name}.parquet")
    return pipeline.cluster_users(
        spark, [str(folder / f"{name}.parquet")], str(folder / name), config(**changes)
    )


def clusters(folder: Path) -> pd.Series:
    return pd.read_parquet(folder / "assignments").set_index("user_id")["cluster"]


def main_group(found: pd.Series, groups: pd.Series) -> pd.Series:
    """The planted group that most users of each cluster are of."""
    return pd.crosstab(found, groups.reindex(found.index)).idxmax(axis=1)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings of 400 users in four groups."""
    folder = tmp_path_factory.mktemp("logs")
    size = ("--users", "400", "--movies", "400", "--ratings", "20000", "--groups", "4")
    make_ratings.main(["--format", "parquet", *size, "--seed", "11", "--output", str(folder / "log")])
    return folder


@pytest.fixture(scope="module")
def monday(spark: SparkSession, logs: Path) -> Path:
    """A run without the last hundred users and the last thirty movies."""
    log = pd.read_parquet(logs / "log/ratings.parquet")
    users, movies = (np.sort(log[name].unique()) for name in ("user_id", "movie_id"))
    log = log[log["user_id"].isin(users[:-100]) & log["movie_id"].isin(movies[:-30])]
    run(spark, log, logs, "monday", n_clusters=4, memberships=True)
    return logs / "monday"


def test_clusters_keep_their_numbers(spark: SparkSession, logs: Path, monday: Path) -> None:
    groups = pd.read_parquet(logs / "log/groups.parquet").set_index("user_id")["group"]
    before = clusters(monday)
    expected = main_group(before, groups)
    assert sorted(expected) == [0, 1, 2, 3]
    # Most users of what was the largest cluster stay away, and the first thirty movies are gone: by size the
    # numbers would be others.
    log = pd.read_parquet(logs / "log/ratings.parquet")
    away = before.index[before == 0][20:]
    log = log[~log["user_id"].isin(away) & ~log["movie_id"].isin(np.sort(log["movie_id"].unique())[:30])]
    result = run(spark, log, logs, "tuesday", n_clusters=5, warm_start=monday)
    after = clusters(logs / "tuesday")
    assert after.value_counts().idxmin() in (0, 4) and after.value_counts().idxmax() != 0
    pd.testing.assert_series_equal(main_group(after, groups)[:4], expected)
    both = pd.concat({"before": before, "after": after}, axis=1).dropna()
    assert len(both) > 150
    told = json.loads((logs / "tuesday/run.json").read_text())["metrics"]["warm_start"]
    assert told["users"] + told["unknown_users"] == len(after) and told["gone"] == []
    assert [one["earlier"] for one in told["clusters"]] == [0, 1, 2, 3, None]
    # The fifth has been cut off from others; but for its users most are where they were.
    stayed = (both["before"] == both["after"])[both["after"] < 4]
    assert stayed.mean() > 0.9
    assert told["moved_users"] == pytest.approx(told["users"] * told["moved_share"])
    assert [one["stayed"] + one["came"] for one in told["clusters"]] == after.value_counts(
        sort=False
    ).sort_index().tolist()
    assert "changed their cluster; new: 4" in summary.text(result)


def test_table_of_memberships(monday: Path) -> None:
    found = pd.read_parquet(monday / "memberships")
    assignments = pd.read_parquet(monday / "assignments").set_index("user_id")
    assert list(found.columns) == schemas.MEMBERSHIPS.names
    assert not found.duplicated(["user_id", "cluster"]).any() and found["probability"].min() >= 0.01
    wide = found.pivot(index="user_id", columns="cluster", values="probability").reindex(assignments.index)
    assert wide.sum(axis=1).between(1 - 3 * 0.01, 1 + 1e-6).all()
    assert len(found) > len(assignments)
    pd.testing.assert_series_equal(
        wide.max(axis=1), assignments["membership"], check_names=False, rtol=1e-6, check_dtype=False
    )
    assert (wide.idxmax(axis=1) == assignments["cluster"]).all()


def test_what_cannot_be_continued(spark: SparkSession, monday: Path, tmp_path: Path) -> None:
    def fault(directory: Path, **changes: object) -> str:
        with pytest.raises(UserError) as caught:
            warm_start.load(spark, str(directory), config(warm_start=directory, **changes))
        return " | ".join(caught.value.faults)

    assert "nowhere holds no run.json, so it is no finished run; give" in fault(tmp_path / "nowhere")
    shutil.copytree(monday, tmp_path / "half", ignore=shutil.ignore_patterns("model"))
    assert "half is a run without model; give one of jobs/cluster_users.py" in fault(tmp_path / "half")
    said = fault(monday, weighting="stars", algorithm="cosine")
    assert "--weighting is stars, but --warm-start" in said and "made with residual" in said
    assert "--algorithm is cosine, but --warm-start" in said and "made with kmeans" in said
    assert "--normalize is false" in fault(monday, normalize=False)
    earlier = config(features="genres,movies").as_dict()
    assert list(warm_start._unlike(earlier, config(features="movies,genres"), "")) == []
    (said,) = warm_start._unlike(earlier, config(features="genres"), "--warm-start monday")
    assert "--features is genres, but --warm-start monday was made with genres,movies;" in said
    said = fault(monday, n_clusters=3)
    assert "--n-clusters is 3" in said and "has 4 clusters to continue; ask for at least 4" in said


def test_a_log_of_other_movies(spark: SparkSession, logs: Path, monday: Path) -> None:
    log = pd.read_parquet(logs / "log/ratings.parquet")
    log["movie_id"] += 1_000_000
    with pytest.raises(UserError, match="nobody in this log rated a movie of the earlier run"):
        run(spark, log, logs, "elsewhere", n_clusters=4, warm_start=monday)
    assert not (logs / "elsewhere").exists()
