"""DataFrames of vectors from matrices, and arrays from DataFrames of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.linalg import Vector, Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import LongType, StructField, StructType
from scipy import sparse


def vectors_of(matrix: Any) -> list[Vector]:
    """Rows of a sparse matrix as sparse vectors, those of an array as dense ones."""
    if not sparse.issparse(matrix):
        return [Vectors.dense(row) for row in matrix]
    ordered = sparse.csr_matrix(matrix).sorted_indices()
    return [Vectors.sparse(ordered.shape[1], row.indices, row.data) for row in ordered]


def vector_frame(
    spark: SparkSession, rows: Any, *, partitions: int = 3, column: str = "features"
) -> DataFrame:
    """Frame of `row` (its number) and a vector column, in order, in exactly so many partitions.

    Parameters
    ----------
    rows : sparse matrix, array, or sequence of Vector or None
    """
    cells: Sequence[Vector | None] = rows if isinstance(rows, list) else vectors_of(rows)
    schema = StructType([StructField("row", LongType(), False), StructField(column, VectorUDT())])
    return spark.createDataFrame(spark.sparkContext.parallelize(list(enumerate(cells)), partitions), schema)


def array_of(frame: DataFrame, column: str) -> npt.NDArray[np.float64]:
    """Vectors of a column, of shape (n, k), by `row`."""
    return np.array([found[0].toArray() for found in frame.sort("row").select(column).collect()])
