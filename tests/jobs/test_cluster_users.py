"""jobs/cluster_users.py on real and broken logs."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import adjusted_rand_score

import browser
from submission import ROOT, submit
from tastemap.pseudonyms import Pseudonyms

TABLES = (
    "assignments",
    "profiles",
    "cluster_movies",
    "cluster_genres",
    "cluster_years",
    "components",
    "movie_index",
    "user_vectors",
    "rejects",
)


def read(path: Path) -> pd.DataFrame:
    return pq.read_table(path).to_pandas()


def kept(ratings: pd.DataFrame, per_user: int, per_movie: int) -> pd.DataFrame:
    """Apply both thresholds in turn until neither drops anything."""
    while True:
        n = len(ratings)
        ratings = ratings[ratings.groupby("userId").movieId.transform("size") >= per_user]
        ratings = ratings[ratings.groupby("movieId").userId.transform("size") >= per_movie]
        if len(ratings) == n:
            return ratings


@pytest.fixture(scope="module")
def small_run(movielens_small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run on ml-latest-small with the defaults: its output and what it printed."""
    folder = tmp_path_factory.mktemp("small")
    arguments = ("--ratings", movielens_small, "--output", folder / "run")
    done = submit("cluster_users.py", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout + done.stderr


def test_counts_of_a_real_log_to_the_row(small_run: tuple[Path, str], movielens_small: Path) -> None:
    output, _ = small_run
    counts = json.loads((output / "run.json").read_text())["counts"]
    expected = kept(pd.read_csv(movielens_small / "ratings.csv"), 20, 5)
    assert (counts["ratings_in"], counts["users_in"], counts["movies_in"]) == (100_836, 610, 9_724)
    assert (counts["rejects"], counts["duplicates"]) == (0, 0)
    assert counts["ratings_kept"] == len(expected)
    assert counts["users"] == expected.userId.nunique() == len(read(output / "assignments"))
    assert counts["movies"] == expected.movieId.nunique() == len(read(output / "movie_index"))
    assert counts["ratings_dropped"] == 100_836 - len(expected)


def test_every_table_is_there_and_agrees(small_run: tuple[Path, str]) -> None:
    output, _ = small_run
    tables = {name: read(output / name) for name in TABLES}
    assignments, profiles = tables["assignments"], tables["profiles"]
    sizes = assignments.cluster.value_counts().sort_index()
    assert list(profiles.sort_values("cluster").n_users) == list(sizes) == sorted(sizes, reverse=True)
    assert len(profiles) == 8 and np.isclose(profiles.share.sum(), 1)
    assert profiles.n_ratings.sum() == assignments.n_ratings.sum() == tables["movie_index"].n_ratings.sum()
    assert tables["cluster_movies"].n_ratings.sum() == profiles.n_ratings.sum()
    assert len(tables["components"]) == 32 and tables["components"].variance.is_monotonic_decreasing
    assert set(tables["user_vectors"].user_id) == set(assignments.user_id)
    assert "Comedy" in set(tables["cluster_genres"].genre)
    assert (output / "model" / "metadata").is_dir()


def test_manifest_tells_config_versions_stages_and_metrics(small_run: tuple[Path, str]) -> None:
    output, _ = small_run
    manifest = json.loads((output / "run.json").read_text())
    assert manifest["config"]["clustering"]["n_clusters"] == 8
    assert {"spark", "python", "numpy", "tastemap"} <= manifest["versions"].keys()
    assert all(stage["seconds"] >= 0 and {"name", "rows"} <= stage.keys() for stage in manifest["stages"])
    assert manifest["metrics"]["pca_converged"]


def test_terminal_tells_where_what_and_how_long_and_nothing_of_java(small_run: tuple[Path, str]) -> None:
    output, printed = small_run
    assert f"results: {output}" in printed
    assert "reading ratings.csv, form movielens" in printed
    assert "skipped tags.csv: not needed beside the published files" in printed
    assert "read and pivot" in printed and "principal components" in printed
    assert "at org.apache" not in printed and "Exception" not in printed


def test_report_of_a_real_run_opens_without_errors(small_run: tuple[Path, str]) -> None:
    pytest.importorskip("bokeh", reason="the report needs Bokeh")
    output, printed = small_run
    report = output / "report.html"
    assert report.stat().st_size < 5_000_000
    assert f"report{report.stat().st_size:>32,} bytes" in printed
    stages = json.loads((output / "run.json").read_text())["stages"]
    assert [stage["name"] for stage in stages][-1] == "report"
    users = read(output / "assignments").user_id
    assert not any(f"user {user}" in report.read_text(encoding="utf-8") for user in users)
    browser.require()
    pytest.importorskip("selenium", reason="Selenium opens the report")
    for width in browser.WIDTHS:
        with browser.chromium(width) as driver:
            browser.open_page(driver, report)
            assert browser.errors(driver) == []
            assert all(driver.find_element("id", name).is_displayed() for name in browser.SECTIONS)
            assert driver.execute_script("return document.documentElement.scrollWidth") == width
            browser.screenshots(driver, ROOT / "output/report-screenshots", "ml-latest-small", width)


def test_saved_model_gives_the_same_assignments_in_another_session(
    spark: SparkSession, small_run: tuple[Path, str]
) -> None:
    output, _ = small_run
    again = PipelineModel.load(str(output / "model")).transform(
        spark.read.parquet(str(output / "user_vectors"))
    )
    both = again.select("user_id", F.col("cluster").alias("again")).join(
        spark.read.parquet(str(output / "assignments")), "user_id"
    )
    assert both.count() == 602
    assert both.where("again != cluster").count() == 0


def test_prepared_tables_give_the_same_run_and_the_two_compare(
    movielens_small: Path, small_run: tuple[Path, str], tmp_path: Path
) -> None:
    tables = tmp_path / "tables"
    prepared = submit("prepare_ratings.py", "--ratings", movielens_small, "--output", tables, folder=tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    assert len(read(tables / "ratings")) == 100_836
    assert len(read(tables / "movies")) == 9_742
    assert len(read(tables / "rejects")) == 0
    arguments = ("--ratings", tables, "--output", tmp_path / "run", "--log-json")
    done = submit("cluster_users.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    check_json_lines(done.stdout + done.stderr, tmp_path / "run")
    first, second = (
        read(path / "assignments").set_index("user_id").sort_index()
        for path in (small_run[0], tmp_path / "run")
    )
    assert np.array_equal(first.n_ratings, second.n_ratings)
    titles = [
        read(path / "movie_index").sort_values("movie_index").title.tolist()
        for path in (small_run[0], tmp_path / "run")
    ]
    assert titles[0] == titles[1]
    arguments = ("--before", small_run[0], "--after", tmp_path / "run", "--output", tmp_path / "change")
    done = submit("compare_runs.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "602 users before, 602 after, 602 in both" in done.stdout + done.stderr
    flows = read(tmp_path / "change" / "flows")
    both = pd.crosstab(first.cluster, second.cluster)
    assert flows.set_index(["before", "after"]).n_users.to_dict() == both.stack()[lambda n: n > 0].to_dict()
    found = json.loads((tmp_path / "change" / "run.json").read_text())["metrics"]["adjusted_rand_index"]
    assert found == pytest.approx(adjusted_rand_score(first.cluster, second.cluster))
    assert len(read(tmp_path / "change" / "segment_changes")) >= 8


def check_json_lines(said: str, output: Path) -> None:
    """Every line of ours is an object, and tells of stages what run.json does."""
    told = [json.loads(line) for line in said.splitlines() if line.startswith('{"time": ')]
    stages = json.loads((output / "run.json").read_text())["stages"]
    names = [stage["name"] for stage in stages]
    assert [each["stage"] for each in told if each["event"] == "stage_start"] == names
    ended = [each for each in told if each["event"] == "stage_end"]
    assert [{key: each[key] for key in ("seconds", "rows", "unit")} for each in ended] == [
        {key: stage[key] for key in ("seconds", "rows", "unit")} for stage in stages
    ]
    assert told[-1]["event"] == "end" and told[-1]["exit_code"] == 0
    assert [each["time"] for each in told] == sorted(each["time"] for each in told)
    assert "results: " not in said and "\nread and pivot" not in said


def test_py_files_bring_the_package(log: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "tastemap"), "zip", ROOT / "lib", "tastemap")
    job = tmp_path / "alone" / "cluster_users.py"
    job.parent.mkdir()
    shutil.copy(ROOT / "jobs" / "cluster_users.py", job)
    done = submit(
        job,
        *small(log, tmp_path / "run"),
        folder=tmp_path,
        options=("--py-files", archive, "--master", "local[2]"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "run.json").exists()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MovieLens log of 60 users by 30 movies."""
    rng = np.random.default_rng(1)
    rows = [
        (user, movie, rng.integers(1, 11) / 2, 10**9 + user)
        for user in range(60)
        for movie in rng.choice(30, 15, replace=False)
    ]
    path = tmp_path_factory.mktemp("log") / "ratings.csv"
    pd.DataFrame(rows, columns=["userId", "movieId", "rating", "timestamp"]).to_csv(path, index=False)
    return path


def small(log: Path, output: Path, *more: object) -> list[object]:
    """Arguments that suit the small log."""
    few = ("--min-user-ratings", 5, "--min-movie-ratings", 2, "--n-components", 4, "--n-clusters", 3)
    return ["--ratings", log, "--output", output, *few, *more]


def test_help_answers_without_a_session(tmp_path: Path) -> None:
    done = submit("cluster_users.py", "--help", folder=tmp_path)
    assert done.returncode == 0
    for expected in ("--ratings PATH", "--n-clusters", "examples:", "[0.01]"):
        assert expected in done.stdout
    assert "read and pivot" not in done.stderr


def test_all_faults_in_the_arguments_at_once(tmp_path: Path) -> None:
    done = submit(
        "cluster_users.py", "--n-clusters", "many", "--weighting", "star", "--colour", "red", folder=tmp_path
    )
    said = done.stdout + done.stderr  # spark-submit merges the two
    assert done.returncode == 2
    for expected in (
        "--n-clusters is 'many'",
        "did you mean stars?",
        "--colour",
        "--ratings is missing",
        "--output is missing",
    ):
        assert expected in said
    assert "Traceback" not in said


def fault(folder: Path, *arguments: object) -> str:
    """What a run says that must fail as a user's mistake."""
    done = submit("cluster_users.py", *arguments, folder=folder)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said and "at org.apache" not in said and "Exception" not in said, said
    return said


def test_missing_path(tmp_path: Path) -> None:
    said = fault(tmp_path, *small(tmp_path / "nowhere.csv", tmp_path / "run"))
    assert "nowhere.csv" in said
    assert not (tmp_path / "run").exists()


def test_too_many_clusters_and_components(log: Path, tmp_path: Path) -> None:
    said = fault(tmp_path, *small(log, tmp_path / "run", "--n-clusters", 61, "--n-components", 31))
    assert (
        "--n-clusters is 61, but only 60 users" in said and "--n-components is 31, but only 30 movies" in said
    )
    assert list(tmp_path.iterdir()) == []


def test_too_many_bad_records_stop_the_job_and_leave_the_old_output(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert submit("cluster_users.py", *small(log, output), folder=tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert "--overwrite" in fault(tmp_path, *small(log, output))
    bad = tmp_path / "bad.csv"
    lines = log.read_text().splitlines()
    bad.write_text("\n".join([*lines, *(f"x{n},1,9.0,1" for n in range(20))]) + "\n")
    said = fault(tmp_path, *small(bad, output, "--overwrite"))
    assert "20 of 920 records (2.174%)" in said and "--max-bad-fraction" in said
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    done = submit(
        "cluster_users.py", *small(bad, output, "--overwrite", "--max-bad-fraction", 0.05), folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rejects = read(output / "rejects")
    assert len(rejects) == 20 and rejects.reason.str.len().min() > 0 and rejects.raw.str.startswith("x").all()


def check_privacy(said: str, output: Path) -> None:
    """Pseudonyms of a key that shows nowhere, and no cells of few people."""
    assignments, users = read(output / "assignments"), read(output / "user_vectors")
    pseudonyms = Pseudonyms(hashlib.blake2b(b"keep-me-to-yourself", person=b"tastemap key").digest())
    assert set(assignments.user_id) == set(users.user_id) == set(pseudonyms.of(np.arange(1, 81)).tolist())
    assert read(output / "rejects").raw.tolist() == ["(withheld: it may name users)"]
    for path in output.rglob("*"):
        assert path.is_dir() or b"keep-me" not in path.read_bytes()
    assert "keep-me" not in said and "77,nonsense" not in said
    manifest = json.loads((output / "run.json").read_text())
    movies = read(output / "cluster_movies")
    n_hidden = manifest["counts"]["movie_cells_suppressed"]
    assert movies.n_ratings.min() >= 10 and n_hidden > 0
    assert f"suppressed, to tell of no few people: {n_hidden:,} cells of cluster and movie" in said
    assert manifest["config"]["privacy"]["min_cell_users"] == 10
    assert read(output / "profiles").activity[0]["min"] is None


def test_netflix_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    folder = tmp_path / "netflix"
    folder.mkdir()
    for number, movies in enumerate((range(1, 16), range(16, 31)), start=1):
        with (folder / f"combined_data_{number}.txt").open("w") as file:
            for movie in movies:
                file.write(f"{movie}:\n")
                for user in rng.choice(80, 40, replace=False):
                    file.write(f"{user + 1},{rng.integers(1, 6)},2004-0{rng.integers(1, 10)}-11\n")
    titles = [f"{movie},{'NULL' if movie == 3 else 1990 + movie},Title, of {movie}" for movie in range(1, 31)]
    (folder / "movie_titles.csv").write_text("\n".join(titles) + "\n", encoding="latin-1")
    tiny = ("--conf", "spark.sql.files.maxPartitionBytes=1000")
    secret = tmp_path / "key"
    secret.write_text("keep-me-to-yourself\n")
    log = folder / "combined_data_1.txt"
    log.write_text(log.read_text().replace(":\n", ":\n77,nonsense,2004-01-11\n", 1))
    private = ("--pseudonymise-key-file", secret, "--min-cell-users", 10, "--max-bad-fraction", 0.1)
    arguments = small(folder, tmp_path / "run", *private)
    done = submit("cluster_users.py", *arguments, folder=tmp_path, options=tiny)
    assert done.returncode == 0, done.stderr
    check_privacy(done.stdout + done.stderr, tmp_path / "run")
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["counts"]
    assert (counts["ratings_in"], counts["rejects"], counts["users"], counts["movies"]) == (1201, 1, 80, 30)
    index = read(tmp_path / "run" / "movie_index")
    assert index.n_ratings.tolist() == [40] * 30 and index.title[0] == "Title, of 1"
