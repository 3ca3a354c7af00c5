"""The contract of a Spark ML stage, for every stage of this project."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml import Estimator, Model, Pipeline, PipelineModel
from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import Normalizer
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import types as T
from scipy import sparse
from scipy.stats import multivariate_normal

from frames import array_of, vector_frame
from tastemap.clustering.centres import Centres, CentresModel
from tastemap.clustering.mixture import Mixture, MixtureModel
from tastemap.decomposition import PCA, PCAModel
from tastemap.decomposition.principal import Decomposition
from tastemap.features import GenreFeatures, GenreFeaturesModel
from tastemap.weighting import Weighting, WeightingModel

Array = npt.NDArray[np.float64]

RATINGS = np.array([[5.0, 0, 1, 0], [0, 4, 0, 0], [3, 3, 3, 3], [0, 0, 0, 0], [1, 0, 5, 2], [4.5, 0.5, 0, 0]])

WEIGHTING = Weighting(
    kind="residual",
    normalize=True,
    global_mean=3.1,
    movie_effects=np.array([0.25, -0.5, 1 / 3, 0.0]),
    user_shrinkage=2.0,
)
DECOMPOSITION = Decomposition(
    components=np.linalg.qr(np.arange(8.0).reshape(4, 2) ** 2)[0],
    mean=np.array([0.1, 1 / 3, -2.0, 0.0]),
    variance=np.array([3.0, 1 / 7]),
    residuals=np.array([1e-9, 2e-9]),
    total_variance=4.2,
    n_rows=17,
    passes=3,
    error=1e-9,
    converged=True,
)
CENTRES = Centres(np.array([[0.0, 1, 2, 1 / 3], [5, 0, 0, 0], [2, 2, 2, 2]]), spread=17.0)
MIXTURE = Mixture(np.array([0.5, 0.3, 0.2]), CENTRES.centres, np.diag([3.0, 2, 1, 1 / 3]) + 1 / 7)


def weights(rows: Array) -> dict[str, Array]:
    return {"weights": WEIGHTING.apply(sparse.csr_matrix(rows)).toarray()}


GENRES = GenreFeatures(
    effects=replace(WEIGHTING, normalize=False),
    incidence=np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]]),
    mean=np.array([0.3, 0.4, 1 / 3, -0.1]),
    scale=np.array([0.5, 0.25, 1.0, 0.7]),
    movies=replace(WEIGHTING, kind="centered"),
)


def genre_features(rows: Array) -> dict[str, Array]:
    return {"weights": GENRES.apply(sparse.csr_matrix(rows)).toarray()}


def scores(rows: Array) -> dict[str, Array]:
    return {"scores": (rows - DECOMPOSITION.mean) @ DECOMPOSITION.components}


def nearest(rows: Array) -> dict[str, Array]:
    distances = np.linalg.norm(rows[:, None] - CENTRES.centres, axis=2)
    variance = CENTRES.temperature * CENTRES.spread / CENTRES.centres.shape[1]
    kernel = np.exp(-(distances**2) / (2 * variance))
    return {
        "cluster": distances.argmin(axis=1),
        "distance": distances.min(axis=1),
        "membership": kernel.max(axis=1) / kernel.sum(axis=1),
    }


def likeliest(rows: Array) -> dict[str, Array]:
    density = np.transpose(
        [multivariate_normal(mean, MIXTURE.covariance).pdf(rows) for mean in MIXTURE.means] * np.ones((3, 1))
    )
    posterior = density * MIXTURE.weights
    cluster = posterior.argmax(axis=1)
    return {
        "cluster": cluster,
        "distance": np.linalg.norm(rows - MIXTURE.means[cluster], axis=1),
        "membership": posterior.max(axis=1) / posterior.sum(axis=1),
    }


@dataclass(frozen=True)
class Case:
    """A stage, and for a model what it appends."""

    make: Callable[[], Any]
    expected: Callable[[Array], dict[str, Array]] | None = None


MODELS = {
    "WeightingModel": Case(lambda: WeightingModel(WEIGHTING), weights),
    "GenreFeaturesModel": Case(lambda: GenreFeaturesModel(GENRES), genre_features),
    "PCAModel": Case(lambda: PCAModel(DECOMPOSITION), scores),
    "CentresModel": Case(lambda: CentresModel(CENTRES), nearest),
    "MixtureModel": Case(lambda: MixtureModel(MIXTURE), likeliest),
}
STAGES = {**MODELS, "PCA": Case(lambda: PCA(k=2, tol=1e-9))}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, spark: SparkSession) -> Any:
    return STAGES[request.param].make()


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest, spark: SparkSession) -> Case:
    return MODELS[request.param]


@pytest.fixture
def without_arrow(spark: SparkSession) -> Iterator[None]:
    """As on a user's own session, where Spark 3.5 does not move pandas through Arrow unless told to."""
    key = "spark.sql.execution.arrow.pyspark.enabled"
    before = spark.conf.get(key)
    spark.conf.set(key, "false")
    yield
    spark.conf.set(key, before)


def frame_for(stage: Any, spark: SparkSession, rows: Array = RATINGS, partitions: int = 2) -> DataFrame:
    return vector_frame(spark, sparse.csr_matrix(rows), partitions=partitions, column=stage.getInputCol())


def assert_appends(frame: DataFrame, expected: dict[str, Array]) -> None:
    for name, right in expected.items():
        if isinstance(frame.schema[name].dataType, VectorUDT):
            found = array_of(frame, name)
        else:
            found = np.array([row[0] for row in frame.sort("row").select(name).collect()])
        np.testing.assert_allclose(found, right, atol=1e-13, err_msg=name)


def params_of(stage: Any) -> dict[str, Any]:
    return {param.name: stage.getOrDefault(param) for param in stage.params if stage.isDefined(param)}


class TestContract:
    def test_every_param_is_documented_and_has_a_value(self, stage: Any) -> None:
        assert stage.params
        for param in stage.params:
            assert len(param.doc) > 5 and param.name in stage.explainParams()
            assert stage.isDefined(param), param.name
            getter = getattr(stage, "get" + param.name[0].upper() + param.name[1:])
            assert getter() == stage.getOrDefault(param)

    def test_class_and_params_say_what_they_do(self, stage: Any) -> None:
        assert len(type(stage).__doc__ or "") > 20
        assert isinstance(stage, Estimator | Model)

    def test_uids_are_unique_and_speak(self, stage: Any) -> None:
        other = STAGES[type(stage).__name__].make()
        assert stage.uid.startswith(type(stage).__name__ + "_")
        assert other.uid != stage.uid

    def test_copy_changes_nothing_but_what_it_is_told(self, stage: Any) -> None:
        before = params_of(stage)
        same, other = stage.copy(), stage.copy({stage.inputCol: "elsewhere"})
        assert type(same) is type(other) is type(stage)
        assert same.uid == other.uid == stage.uid
        assert params_of(same) == params_of(stage) == before
        assert params_of(other) == {**before, "inputCol": "elsewhere"}
        same.set(same.inputCol, "later")
        assert params_of(stage) == before

    def test_copied_models_work_alike(self, case: Case, spark: SparkSession) -> None:
        model = case.make().copy()
        assert_appends(model.transform(frame_for(model, spark)), case.expected(RATINGS))

    def test_saved_and_loaded(self, stage: Any, tmp_path: Path) -> None:
        stage.set(stage.inputCol, "elsewhere")
        stage.save(str(tmp_path / "stage"))
        loaded = type(stage).load(str(tmp_path / "stage"))
        assert type(loaded) is type(stage) and loaded.uid == stage.uid
        assert params_of(loaded) == params_of(stage)
        assert {param.name for param in loaded.params if loaded.isSet(param)} == {
            param.name for param in stage.params if stage.isSet(param)
        }

    def test_loaded_models_work_alike(self, case: Case, spark: SparkSession, tmp_path: Path) -> None:
        model = case.make()
        model.save(str(tmp_path / "model"))
        loaded = type(model).load(str(tmp_path / "model"))
        frame = frame_for(model, spark)
        assert_appends(loaded.transform(frame), case.expected(RATINGS))
        assert loaded.transform(frame).sort("row").collect() == model.transform(frame).sort("row").collect()

    def test_saving_twice_needs_overwrite(self, stage: Any, tmp_path: Path) -> None:
        path = str(tmp_path / "stage")
        stage.save(path)
        with pytest.raises(Exception, match=r"already exists|overwrite"):
            stage.copy({stage.inputCol: "other"}).save(path)
        assert type(stage).load(path).getInputCol() == stage.getInputCol()
        stage.copy({stage.inputCol: "other"}).write().overwrite().save(path)
        assert type(stage).load(path).getInputCol() == "other"

    @pytest.mark.usefixtures("without_arrow")
    def test_saves_and_loads_without_arrow(self, case: Case, spark: SparkSession, tmp_path: Path) -> None:
        model = case.make()
        model.save(str(tmp_path / "model"))
        loaded = type(model).load(str(tmp_path / "model"))
        assert_appends(loaded.transform(frame_for(model, spark)), case.expected(RATINGS))

    def test_wrong_columns_are_named(self, stage: Any, spark: SparkSession) -> None:
        act = stage.fit if isinstance(stage, Estimator) else stage.transform
        name = stage.getInputCol()
        with pytest.raises(ValueError, match=f"no column '{name}'; found row, other"):
            act(vector_frame(spark, RATINGS, column="other"))
        for value in (1.5, [1.0, 2.0], "1 2"):
            frame = spark.createDataFrame([Row(**{name: value})])
            with pytest.raises(ValueError, match=f"'{name}' is of type .*, expected a vector"):
                act(frame)

    def test_an_existing_output_column_is_not_overwritten(self, case: Case, spark: SparkSession) -> None:
        model = case.make()
        taken = next(iter(case.expected(RATINGS)))
        frame = frame_for(model, spark).withColumnRenamed("row", taken)
        with pytest.raises(ValueError, match=f"there is a column '{taken}' already"):
            model.transform(frame)

    def test_vectors_of_another_length_are_named(self, case: Case, spark: SparkSession) -> None:
        model = case.make()
        frame = vector_frame(spark, [Vectors.dense([1.0])], partitions=1, column=model.getInputCol())
        with pytest.raises(Exception, match="1 features, the others have 4"):
            model.transform(frame).collect()


class TestTransform:
    def test_appends_what_it_should(self, case: Case, spark: SparkSession) -> None:
        model = case.make()
        frame = frame_for(model, spark, np.tile(RATINGS, (3, 1)), partitions=5)
        found = model.transform(frame)
        expected = case.expected(np.tile(RATINGS, (3, 1)))
        assert found.columns == [*frame.columns, *expected]
        assert_appends(found, expected)

    def test_dense_vectors_give_the_same(self, case: Case, spark: SparkSession) -> None:
        if case in (MODELS["WeightingModel"], MODELS["GenreFeaturesModel"]):
            pytest.skip("to a weighting a stored zero is a rating, as it has to be")
        model = case.make()
        frame = vector_frame(spark, RATINGS, column=model.getInputCol())
        assert_appends(model.transform(frame), case.expected(RATINGS))

    def test_other_columns_pass_through(self, case: Case, spark: SparkSession) -> None:
        model = case.make()
        schema = T.StructType(
            [
                T.StructField("row", T.LongType(), False, {"note": "of the log"}),
                T.StructField("text", T.StringType()),
                T.StructField("at", T.TimestampType()),
                T.StructField("local", T.TimestampNTZType()),
                T.StructField("day", T.DateType()),
                T.StructField("yes", T.BooleanType()),
                T.StructField("price", T.DecimalType(10, 2)),
                T.StructField("raw", T.BinaryType()),
                T.StructField("tags", T.ArrayType(T.StringType())),
                T.StructField(model.getInputCol(), VectorUDT()),
                T.StructField("nested", T.StructType([T.StructField("ids", T.ArrayType(T.IntegerType()))])),
                T.StructField("counts", T.MapType(T.StringType(), T.IntegerType())),
                T.StructField("vector", VectorUDT()),
                T.StructField("name with.dots", T.FloatType()),
            ]
        )
        vector = Vectors.sparse(4, {0: 5.0, 2: 1.0})
        full = (
            0,
            "naïve, “quoted” 映画",
            dt.datetime(2005, 12, 31, 23, 59, 59, 123456),
            dt.datetime(1969, 7, 20, 20, 17),
            dt.date(2000, 2, 29),
            True,
            decimal.Decimal("12.34"),
            bytearray(b"\x00\xff"),
            ["a", None, ""],
            vector,
            Row(ids=[1, None]),
            {"k": 1, "n": None},
            Vectors.dense([1.0, 2.0]),
            0.5,
        )
        empty = [None] * len(full)
        empty[0], empty[schema.names.index(model.getInputCol())] = 1, vector
        frame = spark.createDataFrame([full, tuple(empty)], schema).coalesce(1)
        found = model.transform(frame)
        assert found.schema.fields[: len(schema)] == schema.fields
        assert found.schema["row"].metadata == {"note": "of the log"}
        for before, after in zip(frame.collect(), found.collect(), strict=True):
            assert after[: len(schema)] == tuple(before)
        assert_appends(found, case.expected(np.tile(vector.toArray(), (2, 1))))

    def test_no_rows(self, case: Case, spark: SparkSession) -> None:
        model = case.make()
        found = model.transform(frame_for(model, spark).limit(0))
        assert found.count() == 0
        assert found.columns[2:] == list(case.expected(RATINGS))

    def test_nothing_is_computed_before_it_is_asked_for(self, case: Case, spark: SparkSession) -> None:
        model = case.make()
        # Would fail if it ran: the vector is of another length.
        model.transform(vector_frame(spark, [Vectors.dense([1.0])], column=model.getInputCol()))


class TestPipeline:
    def stages(self) -> list[Any]:
        """Ours and Spark's own, in turns."""
        weighting = WeightingModel(WEIGHTING)
        weighting.set(weighting.inputCol, "scaled")
        return [
            weighting,
            PCA(k=2, inputCol="weights", tol=1e-9),
            KMeans(k=2, seed=1, featuresCol="scores", predictionCol="kmeans"),
            CentresModel(Centres(CENTRES.centres[:, :2], CENTRES.spread)),
        ]

    def test_saved_and_loaded_unfitted_and_fitted(self, spark: SparkSession, tmp_path: Path) -> None:
        rows = np.vstack([RATINGS, RATINGS[::-1] * 0.5])
        frame = vector_frame(spark, sparse.csr_matrix(rows), partitions=1).persist()
        scaler = Normalizer(p=1.0, inputCol="features", outputCol="scaled")
        pipeline = Pipeline(stages=[scaler, *self.stages()])
        pipeline.save(str(tmp_path / "pipeline"))
        loaded = Pipeline.load(str(tmp_path / "pipeline"))
        assert [stage.uid for stage in loaded.getStages()] == [stage.uid for stage in pipeline.getStages()]
        fitted = loaded.fit(frame)
        assert [type(stage).__name__ for stage in fitted.stages] == [
            "Normalizer",
            "WeightingModel",
            "PCAModel",
            "KMeansModel",
            "CentresModel",
        ]
        fitted.save(str(tmp_path / "fitted"))
        again = PipelineModel.load(str(tmp_path / "fitted"))
        assert [stage.uid for stage in again.stages] == [stage.uid for stage in fitted.stages]
        assert [type(stage) for stage in again.stages] == [type(stage) for stage in fitted.stages]
        before = fitted.transform(frame).sort("row").collect()
        assert again.transform(frame).sort("row").collect() == before
        assert before[0].asDict().keys() == {
            *("row", "features", "scaled", "weights", "scores", "kmeans"),
            *("cluster", "distance", "membership"),
        }
        # Each stage has worked on what the one before it made.
        scaled = rows / np.maximum(np.abs(rows).sum(axis=1, keepdims=True), 1e-300)
        weighted = weights(scaled)["weights"]
        pca = fitted.stages[2]
        expected = (weighted - weighted.mean(axis=0)) @ pca.components
        np.testing.assert_allclose([row["scores"].toArray() for row in before], expected, atol=1e-12)
        frame.unpersist()
