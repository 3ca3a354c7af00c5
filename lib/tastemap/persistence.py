"""Saving and loading of fitted models: params as Spark ML metadata, arrays as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import Model, PipelineModel
from pyspark.ml.param import Params
from pyspark.ml.pipeline import PipelineSharedReadWrite
from pyspark.ml.util import (
    DefaultParamsReader,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import SparkSession

from tastemap.filesystem import FileSystem

Arrays = Mapping[str, npt.NDArray[np.float64]]
AnyModel = TypeVar("AnyModel", bound=MLReadable[Any])

_SCHEMA = pa.schema([("array", pa.string()), ("position", pa.int32()), ("values", pa.list_(pa.float64()))])


class ArraysWriter(MLWriter):
    """Writes a model's params and `extra` as metadata, and its arrays, a row each, as Parquet."""

    def __init__(self, model: Model, arrays: Arrays, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self._model = model
        self._arrays = arrays
        self._extra = dict(extra)

    def saveImpl(self, path: str) -> None:
        """Write to a path that is free, or cleared by `overwrite()`.

        Raises
        ------
        FileExistsError
            There is a model.
        """
        files = FileSystem(self.sparkSession, path)
        if files.exists(f"{path}/metadata"):
            raise FileExistsError(f"{path} already exists; write().overwrite().save(...) replaces it")
        _write_metadata(self.sparkSession, path, self._model, extraMetadata={"extra": self._extra})
        tables = [
            pa.table([pa.repeat(name, len(table)), np.arange(len(table)), list(table)], schema=_SCHEMA)
            for name, table in ((name, np.atleast_2d(array)) for name, array in self._arrays.items())
        ]
        files.write_parquet(f"{path}/arrays", pa.concat_tables(tables))


def save_pipeline(spark: SparkSession, model: PipelineModel, path: str) -> None:
    """Save a pipeline of our stages, to a path that is free, as its own writer does, but without a query."""
    uids = [stage.uid for stage in model.stages]
    _write_metadata(spark, path, model, paramMap={"language": "Python", "stageUids": uids})
    for number, stage in enumerate(model.stages):
        directory = PipelineSharedReadWrite.getStagePath(stage.uid, number, len(uids), f"{path}/stages")
        cast(MLWritable, stage).write().session(spark).save(directory)


def _write_metadata(spark: SparkSession, path: str, instance: Params, **more: Any) -> None:
    """Write what `DefaultParamsWriter.saveMetadata` does by a query: a third of a second of a core."""
    files = FileSystem(spark, path)
    metadata = DefaultParamsWriter._get_metadata_to_save(instance, spark.sparkContext, **more)
    files.write_text(f"{path}/metadata/part-00000", metadata + "\n")
    files.write_text(f"{path}/metadata/_SUCCESS", "")


class ArraysReader(MLReader[AnyModel], Generic[AnyModel]):
    """Reads what `ArraysWriter` wrote.

    Parameters
    ----------
    build : callable
        Makes the model of its arrays (2-D; one row for what was 1-D) and extra metadata.
    """

    def __init__(self, build: Callable[[dict[str, npt.NDArray[np.float64]], dict[str, Any]], AnyModel]):
        super().__init__()
        self._build = build

    def load(self, path: str) -> AnyModel:
        """The model, with its params and uid."""
        spark: SparkSession = self.sparkSession
        metadata = DefaultParamsReader.loadMetadata(path, spark.sparkContext)
        rows = spark.read.parquet(f"{path}/arrays").toPandas()  # as large as the model
        arrays = {
            str(name): np.vstack(table.sort_values("position")["values"].to_list())
            for name, table in rows.groupby("array")
        }
        model = self._build(arrays, metadata["extra"])
        cast(Params, model)._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model
