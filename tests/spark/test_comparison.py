"""Comparing finished runs on Spark: flows against pandas, tables in Parquet, and what is no run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from sklearn.metrics import adjusted_rand_score

from tastemap import schemas
from tastemap.comparison import compare_runs, flows
from tastemap.errors import UserError
from tastemap.runs import Run

RNG = np.random.default_rng(5)
BEFORE = pd.DataFrame({"user_id": np.arange(300) * 7, "cluster": RNG.integers(0, 4, 300)})
AFTER = pd.DataFrame({"user_id": np.arange(20, 340) * 7, "cluster": 0})
AFTER["cluster"] = AFTER["user_id"].map(BEFORE.set_index("user_id")["cluster"]).fillna(1).astype(int) ^ 1
AFTER.loc[:60, "cluster"] = RNG.integers(0, 5, 61)


def finished(spark: SparkSession, output: Path, users: pd.DataFrame, config: dict[str, Any]) -> str:
    """As much of a run as is compared."""
    sizes = users["cluster"].value_counts().sort_index()
    profiles = pd.DataFrame(
        {"cluster": sizes.index, "n_users": sizes.to_numpy(), "share": sizes / sizes.sum()}
    )
    n = len(sizes)
    movies = pd.DataFrame({"cluster": np.repeat(sizes.index, 3), "movie_id": [1, 2, 3] * n, "title": "Ü"})
    movies = movies.assign(share_rated=RNG.random(3 * n), effect=RNG.normal(size=3 * n))
    with Run(spark, str(output), overwrite=False) as run:
        for name, table in (("assignments", users), ("profiles", profiles), ("cluster_movies", movies)):
            run.write(name, spark.createDataFrame(table))
        run.finish({"config": config})
    return str(output)


@pytest.fixture(scope="module")
def runs(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    return finished(spark, folder / "one", BEFORE, {}), finished(spark, folder / "two", AFTER, {})


def expected() -> dict[tuple[int | None, int | None], int]:
    both = BEFORE.merge(AFTER, on="user_id", how="outer", suffixes=("_before", "_after"))
    names = ["cluster_before", "cluster_after"]
    sizes = both.groupby(names, dropna=False).size()
    return {tuple(None if pd.isna(i) else int(i) for i in key): int(n) for key, n in sizes.items()}


@pytest.mark.parametrize("n_partitions", [1, 3, 7])
def test_flows_against_pandas(spark: SparkSession, n_partitions: int) -> None:
    found = flows(*(spark.createDataFrame(table).repartition(n_partitions) for table in (BEFORE, AFTER)))
    plain = found.astype(object).where(found.notna(), None)
    assert {(row.before, row.after): row.n_users for row in plain.itertuples()} == expected()
    assert found["n_users"].sum() == 340


def test_two_runs_and_their_tables(spark: SparkSession, runs: tuple[str, str], tmp_path: Path) -> None:
    found = compare_runs(spark, *runs, str(tmp_path / "out"))
    both = BEFORE.merge(AFTER, on="user_id")
    assert found.rand_index == pytest.approx(adjusted_rand_score(both["cluster_x"], both["cluster_y"]))
    for name, schema in (("flows", schemas.FLOWS), ("segment_changes", schemas.SEGMENT_CHANGES)):
        back = spark.read.parquet(str(tmp_path / "out" / name))
        assert back.columns == schema.names
    written = spark.read.parquet(str(tmp_path / "out/segment_changes")).orderBy("before").collect()
    kept = {row["before"]: row["after"] for row in written if row["change"] == "kept"}
    assert kept == {0: 1, 1: 0, 2: 3, 3: 2}  # as they were made
    assert [(row["before"], row["after"]) for row in written if row["change"] == "new"] == [(None, 4)]
    assert all(len(row["effects"]) == len(row["shares"]) == 3 for row in written if row["change"] == "kept")
    manifest = json.loads((tmp_path / "out/run.json").read_text())
    assert manifest["metrics"]["adjusted_rand_index"] == found.rand_index
    assert manifest["counts"]["users"] == 340
    assert manifest["inputs"] == {"before": f"file:{runs[0]}", "after": f"file:{runs[1]}"}
    # Without an output the same is told and nothing is written.
    pd.testing.assert_frame_equal(compare_runs(spark, *runs).flows, found.flows)


def test_what_is_no_run_is_said_of_both(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with Run(spark, str(tmp_path / "prepared"), overwrite=False) as run:
        run.finish({})
    with pytest.raises(UserError) as error:
        compare_runs(spark, str(tmp_path / "other"), str(tmp_path / "prepared"))
    assert error.value.faults == (
        f"--before {tmp_path}/other holds no run.json, so it is no finished run; give the --output of one",
        f"--after {tmp_path}/prepared is a run without assignments, profiles, cluster_movies; give one of "
        "jobs/cluster_users.py",
    )


def test_a_run_is_not_compared_with_itself(spark: SparkSession, runs: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"--before and --after are both .*; give the directories of"):
        compare_runs(spark, runs[0], f"file:{runs[0]}/")


def test_a_run_is_not_replaced_by_what_is_said_of_it(spark: SparkSession, runs: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="is one of the runs to compare; give another directory"):
        compare_runs(spark, *runs, runs[1], overwrite=True)
    assert (Path(runs[1]) / "assignments").exists()


def test_no_user_in_common(spark: SparkSession, runs: tuple[str, str], tmp_path: Path) -> None:
    others = AFTER.assign(user_id=-1 - AFTER["user_id"])
    config = {"privacy": {"pseudonymise_key_file": "/etc/key"}}
    renamed = finished(spark, tmp_path / "renamed", others, config)
    with pytest.raises(
        UserError, match="no user is in both runs: --before has ids as in the log, --after has "
    ):
        compare_runs(spark, runs[0], renamed, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
