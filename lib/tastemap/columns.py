"""Columns computed from a vector column: what every model's `transform` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql.types import StructField, StructType

from tastemap.executors import map_in_arrow


def vector_column(dataset: DataFrame, name: str) -> DataFrame:
    """The one vector column a model works on.

    Raises
    ------
    ValueError
        There is no such column, or it does not hold vectors.
    """
    if name not in dataset.columns:
        raise ValueError(f"there is no column {name!r}; found {', '.join(dataset.columns)}")
    found = dataset.schema[name].dataType
    if not isinstance(found, VectorUDT):
        raise ValueError(f"column {name!r} is of type {found.simpleString()}, expected a vector")
    return dataset.select(name)


def append_columns(
    dataset: DataFrame,
    input_column: str,
    fields: Sequence[StructField],
    compute: Callable[[pa.Array], Sequence[pa.Array]],
) -> DataFrame:
    """Append columns computed from the batches of a vector column; the others pass through.

    Parameters
    ----------
    dataset : DataFrame
    input_column : str
        A `VectorUDT` column.
    fields : sequence of StructField
        The new columns.
    compute : callable
        Executor function: vectors as in `tastemap.vectors` to an Arrow array for each new column.
    """
    vector_column(dataset, input_column)
    taken = [field.name for field in fields if field.name in dataset.columns]
    if taken:
        raise ValueError(f"there is a column {taken[0]!r} already; name another output column")
    position = dataset.columns.index(input_column)
    names = [*dataset.columns, *(field.name for field in fields)]

    def append(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            new = compute(batch.column(position))
            yield pa.RecordBatch.from_arrays([*batch.columns, *new], names=names)

    # By number: mapInArrow would take a dot in a name for a path into a struct.
    numbered = dataset.toDF(*(str(number) for number in range(len(dataset.columns))))
    return map_in_arrow(numbered, append, StructType([*dataset.schema.fields, *fields]))
