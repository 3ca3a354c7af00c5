"""Settings judged on planted and on random logs, from blocks to tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from sklearn.metrics import adjusted_rand_score

import make_ratings
from logs import rating_log
from tastemap import catalogue, cleaning, pivot, schemas
from tastemap.clustering import refinement
from tastemap.config import Config, from_options
from tastemap.errors import UserError
from tastemap.evaluation import evaluate, truth
from tastemap.evaluation.choice import choose, curve, verdict
from tastemap.evaluation.evaluate import Evaluation, ceiling, hold_out
from tastemap.evaluation.fitting import fit
from tastemap.evaluation.judging import Judge

OPTIONS = {"min_user_ratings": 10, "min_movie_ratings": 3, "n_components": "4,8", "n_clusters": "2,4,12"}


def planted(folder: Path) -> tuple[pd.DataFrame, Path]:
    size = ("--users", "600", "--movies", "400", "--ratings", "30000", "--groups", "4", "--separation", "1.3")
    make_ratings.main(["--format", "parquet", *size, "--seed", "11", "--output", str(folder / "log")])
    return pd.read_parquet(folder / "log/ratings.parquet"), folder / "log/groups.parquet"


def random(n_users: int = 1000, n_movies: int = 500, n: int = 40_000) -> pd.DataFrame:
    """Ratings that nobody's taste has made."""
    rng = np.random.default_rng(2)
    log = pd.DataFrame(
        {
            "user_id": rng.integers(0, n_users, n),
            "movie_id": (n_movies * rng.random(n) ** 2).astype(np.int32),
            "rating": rng.integers(1, 6, n).astype(np.float32),
            "rated_at": pd.NaT,
        }
    )
    return log.drop_duplicates(["user_id", "movie_id"])


def judged(
    spark: SparkSession, log: pd.DataFrame, config: Config, n_partitions: int = 3, known: Path | None = None
) -> Evaluation:
    with pivot.gathered(rating_log(spark, log, n_partitions)) as gathered:
        movies = cleaning.frequent_movies(gathered, config.cleaning)
        with pivot.index_columns(
            gathered, movies.ids, config.cleaning.min_user_ratings
        ).persisted() as matrix:
            data = hold_out(matrix, catalogue.describe(movies.ids, None), pivot.size(matrix), config)
            groups = None if known is None else truth.read(spark, str(known))
            found = evaluate.evaluate(data, config, groups)
            if known is not None:
                found = Evaluation(pd.concat([found.figures, ceiling(data, 7)]), found.clusters)
            return found


@pytest.fixture(scope="module")
def found(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    log, groups = planted(tmp_path_factory.mktemp("planted"))
    return judged(spark, log, from_options(**OPTIONS), known=groups)


def test_a_figure_for_every_setting_in_the_schema(spark: SparkSession, found: Evaluation) -> None:
    settings = found.figures.dropna(subset=["weighting"])
    keys = ["n_components", "n_clusters", "predictor", "metric", "repeat"]
    assert not found.figures.duplicated(["weighting", *keys]).any()
    assert settings.groupby(["n_components", "n_clusters"]).size().tolist() == [21] * 6
    assert set(found.figures["predictor"]) == {"mean", "effects", "hard", "soft", "als", "popularity", "none"}
    assert np.isfinite(found.figures["value"]).all()
    spark.createDataFrame(found.figures[schemas.EVALUATION.names], schemas.EVALUATION).collect()
    sizes = found.clusters.groupby(["n_components", "n_clusters"])["n_users"].sum()
    assert sizes.nunique() == 1
    spark.createDataFrame(
        found.clusters[schemas.CLUSTER_STABILITY.names], schemas.CLUSTER_STABILITY
    ).collect()


def test_the_true_number_of_groups_wins(found: Evaluation) -> None:
    settings = curve(found.figures).set_index(["n_components", "n_clusters"])
    four = settings.xs(4, level="n_clusters")
    assert (four["truth"] > 0.95).all() and (four["stability"] > 0.7).all()
    assert (four["gain"] > 10 * four["gain_error"]).all()
    assert (settings.xs(12, level="n_clusters")["stability"] < 0.6).all()
    eight = found.figures[found.figures["n_components"].fillna(8) == 8]
    assert choose(eight).n_clusters == 4
    jaccard = found.clusters[found.clusters["n_clusters"] == 4]["jaccard"]
    assert (jaccard > 0.6).all()


def test_predictors_stand_in_the_order_they_must(found: Evaluation) -> None:
    rmse = found.figures[found.figures["metric"] == "rmse"].groupby("predictor")["value"].min()
    assert rmse["soft"] <= rmse["hard"] + 0.01
    assert rmse["hard"] < rmse["effects"] < rmse["mean"]
    assert rmse["als"] < rmse["effects"]
    recall = found.figures[found.figures["metric"] == "recall_at_20"].groupby("predictor")["value"].max()
    assert recall["hard"] > 1.2 * recall["popularity"]


def test_partitions_do_not_matter_nor_that_starts_are_made_on_a_sample(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refinement, "SAMPLE", 150)
    log, _ = planted(tmp_path)
    config = from_options(**OPTIONS | {"n_components": "4", "n_clusters": "4", "repeats": 1})
    one, five = (judged(spark, log, config, n).figures for n in (1, 5))
    pd.testing.assert_frame_equal(one, five, rtol=1e-6)
    assert (curve(one)["stability"] > 0.5).all()


def test_random_ratings_are_said_to_have_no_structure(spark: SparkSession) -> None:
    figures = judged(spark, random(), from_options(**OPTIONS | {"n_clusters": "3,10"})).figures
    settings = curve(figures)
    assert (settings["stability"].abs() < 0.1).all()
    assert (settings["gain"] < 2 * settings["gain_error"]).all()
    assert verdict(figures).startswith("No structure found")


def test_truth_against_scikit_learn(spark: SparkSession, tmp_path: Path) -> None:
    log, path = planted(tmp_path)
    config = from_options(**OPTIONS | {"repeats": 1})
    with pivot.gathered(rating_log(spark, log, 2)) as gathered:
        movies = cleaning.frequent_movies(gathered, config.cleaning)
        matrix = pivot.index_columns(gathered, movies.ids, config.cleaning.min_user_ratings)
        data = hold_out(matrix, catalogue.describe(movies.ids, None), pivot.size(matrix), config)
        fits = fit(data.training, data.effects, [(4, 3), (4, 6)], data.size, config)
        judge = Judge(data.holdout, fits.reference, data.effects)
        tables = truth.contingency(matrix, judge, truth.read(spark, str(path)))
        groups = pd.read_parquet(path).set_index("user_id")["group"]
        blocks = [
            block for batch in matrix.rows.frame.toPandas().itertuples() for block in _decoded(matrix, batch)
        ]
        for number, table in enumerate(tables):
            users = np.concatenate([block.ids for block in blocks])
            clusters = np.concatenate([judge(block).assignments[number].clusters for block in blocks])
            expected = pd.crosstab(clusters, groups.reindex(users).to_numpy()).to_numpy()
            np.testing.assert_array_equal(table, expected)
            assert adjusted_rand_score(groups.reindex(users), clusters) > 0.3


def _decoded(matrix: pivot.BlockMatrix, row: object) -> list[pivot.Block]:
    import pyarrow as pa

    cells = [pa.array([bytes(getattr(row, name))], pa.binary()) for name in matrix.columns]
    return list(matrix.load(pa.record_batch(cells, list(matrix.columns))))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("user,group\n1,2\n", "has the columns user, group; expected are user_id and group"),
        (None, "cannot be read as Parquet or CSV"),
    ],
)
def test_a_truth_that_cannot_be_used(
    spark: SparkSession, tmp_path: Path, content: str | None, told: str
) -> None:
    path = tmp_path / "truth.csv"
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=told):
        truth.read(spark, str(path))


def test_a_truth_that_is_no_table(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "truth.tsv").write_text("user_id\tgroup\n1\tblue\n")
    with pytest.raises(UserError, match="cannot be read as Parquet or CSV"):
        truth.read(spark, str(tmp_path / "truth.tsv"))


def test_a_truth_whose_users_are_no_numbers(spark: SparkSession, tmp_path: Path) -> None:
    pd.DataFrame({"user_id": [[1]], "group": ["blue"]}).to_parquet(tmp_path / "truth.parquet")
    with pytest.raises(UserError, match="has user_id of type array<bigint>; give numbers or text"):
        truth.read(spark, str(tmp_path / "truth.parquet"))


def test_a_truth_that_names_a_user_twice(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("user_id,group\n1,blue\n2,red\n1,red\n")
    with pytest.raises(UserError, match="names user 1 2 times; give a row a user"):
        truth.read(spark, str(tmp_path / "truth.csv"))


def test_truth_from_csv(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("group,user_id,more\nblue,1,x\nred,2,y\n")
    found = truth.read(spark, str(tmp_path / "truth.csv"))
    assert sorted(map(tuple, found.collect())) == [(1, "blue"), (2, "red")]


def test_ids_are_no_groups(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "GROUPS", 3)
    pd.DataFrame({"user_id": range(4), "group": range(4)}).to_parquet(tmp_path / "truth.parquet")
    with pytest.raises(UserError, match="more than 3 groups"):
        truth.read(spark, str(tmp_path / "truth.parquet"))
