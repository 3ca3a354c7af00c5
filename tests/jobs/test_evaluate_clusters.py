"""Judging clusterings of a real log, and choosing a number of clusters by it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from submission import submit


def test_clusters_of_a_real_log_predict_better_than_effects(movielens_small: Path, tmp_path: Path) -> None:
    settings = ("--n-components", "8", "--n-clusters", "3,6", "--repeats", "1")
    arguments = ("--ratings", movielens_small, "--output", tmp_path / "judged", *settings)
    done = submit("evaluate_clusters.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = pq.read_table(tmp_path / "judged/evaluation").to_pandas()
    rmse = figures[figures["metric"] == "rmse"].groupby("predictor")["value"]
    assert rmse.max()["soft"] < rmse.min()["hard"] < rmse.min()["effects"] < rmse.min()["mean"]
    assert rmse.min()["als"] < rmse.min()["soft"]
    assert figures.dropna(subset="weighting").groupby(["n_components", "n_clusters"]).ngroups == 2
    stability = pq.read_table(tmp_path / "judged/cluster_stability").to_pandas()
    assert stability.groupby("n_clusters").size().to_dict() == {3: 3, 6: 6}
    manifest = json.loads((tmp_path / "judged/run.json").read_text())
    assert manifest["metrics"]["verdict"].startswith("Memberships lower the RMSE of held-out ratings")
    assert "without clusters: RMSE of the global mean" in done.stdout
    assert "at org.apache" not in done.stdout + done.stderr


def test_a_number_of_clusters_is_chosen_and_said_why(movielens_small: Path, tmp_path: Path) -> None:
    settings = (
        "--features",
        "genres",
        "--n-components",
        "8",
        "--n-clusters",
        "2:6:4",
    )
    arguments = ("--ratings", movielens_small, "--output", tmp_path / "run", "--memberships", "true")
    done = submit("cluster_users.py", *arguments, *settings, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    assert manifest["config"]["clustering"]["n_clusters"] == [2, 6]
    metrics = manifest["metrics"]
    k = len(metrics["cluster_sizes"])
    assert k in (2, 6) and metrics["choice"].startswith(f"chose {k} clusters: they lower the RMSE")
    assert metrics["temperature"] in (0.7, 1.0, 1.4, 2.0)
    assert metrics["choice"][:40] in done.stdout
    figures = pq.read_table(tmp_path / "run/evaluation").to_pandas()
    assert sorted(figures["n_clusters"].dropna().unique()) == [2, 6]
    titles = pq.read_table(tmp_path / "run/components").to_pandas().iloc[0]["positive"]
    assert all(end["movie_id"] < 0 and ", " in end["title"] for end in titles)
    memberships = pq.read_table(tmp_path / "run/memberships").to_pandas()
    assert memberships.groupby("user_id")["probability"].sum().between(0.9, 1.0001).all()
    if (tmp_path / "run/report.html").exists():
        assert 'id="choice"' in (tmp_path / "run/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("job", "arguments", "told"),
    [
        ("cluster_users.py", ("--weighting", "all"), "--weighting names 4 values, residual, centered"),
        ("cluster_users.py", ("--n-clusters", "4:x:2"), "several with commas or as FIRST:LAST:STEP, or auto"),
        (
            "evaluate_clusters.py",
            ("--holdout", "0.9"),
            "--holdout is '0.9'; allowed: a number from 0.001",
        ),
    ],
)
def test_faults_are_sentences(job: str, arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    given = ("--ratings", tmp_path / "ratings.csv", "--output", tmp_path / "out", *arguments)
    done = submit(job, *given, folder=tmp_path)
    assert done.returncode == 2 and told in done.stderr + done.stdout
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
