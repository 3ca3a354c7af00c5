"""Saving and loading of fitted models: params as Spark ML metadata, arrays as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.ml import Model
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWriter
from pyspark.sql import SparkSession

Arrays = Mapping[str, npt.NDArray[np.float64]]
AnyModel = TypeVar("AnyModel", bound=MLReadable[Any])

_SCHEMA = "array string, position int, values array<double>"


class ArraysWriter(MLWriter):
    """Writes a model's params and `extra` as metadata, and its arrays, a row each, as Parquet."""

    def __init__(self, model: Model, arrays: Arrays, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self._model = model
        self._arrays = arrays
        self._extra = dict(extra)

    def saveImpl(self, path: str) -> None:
        """Write to a path that is free (or cleared: `overwrite()`)."""
        DefaultParamsWriter.saveMetadata(
            self._model, path, self.sparkSession.sparkContext, extraMetadata={"extra": self._extra}
        )
        rows = pd.concat(
            [
                pd.DataFrame({"array": name, "position": range(len(table)), "values": table.tolist()})
                for name, table in ((name, np.atleast_2d(array)) for name, array in self._arrays.items())
            ]
        )
        frame = self.sparkSession.createDataFrame(rows, schema=_SCHEMA)
        frame.coalesce(1).write.parquet(f"{path}/arrays")


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
