"""Saving and loading of fitted models: params as Spark ML metadata, arrays as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import Model
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWriter
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
        spark = self.sparkSession
        files = FileSystem(spark, path)
        if files.exists(f"{path}/metadata"):
            raise FileExistsError(f"{path} already exists; write().overwrite().save(...) replaces it")
        # As `DefaultParamsWriter.saveMetadata` writes it, by a job of Spark's: a third of a second of a core.
        metadata = DefaultParamsWriter._get_metadata_to_save(
            self._model, spark.sparkContext, extraMetadata={"extra": self._extra}
        )
        files.write_text(f"{path}/metadata/part-00000", metadata + "\n")
        files.write_text(f"{path}/metadata/_SUCCESS", "")
        tables = [
            pa.table([pa.repeat(name, len(table)), np.arange(len(table)), list(table)], schema=_SCHEMA)
            for name, table in ((name, np.atleast_2d(array)) for name, array in self._arrays.items())
        ]
        files.write_parquet(f"{path}/arrays", pa.concat_tables(tables))


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
