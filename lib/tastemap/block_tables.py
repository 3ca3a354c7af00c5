"""Tables of any size whose rows are made of blocks, and Parquet files of them without Spark's rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark import TaskContext
from pyspark.errors import PythonException
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from tastemap.blocks import BlockFrame, BlockFunction
from tastemap.errors import UserError
from tastemap.executors import disk_is_full

B = TypeVar("B")

_SCHEMA_KEY = "org.apache.spark.sql.parquet.row.metadata"
"""Under which Spark looks for its own types, such as that of vectors, in a Parquet file."""


@dataclass(frozen=True)
class BlockTable(Generic[B]):
    """Rows that are made of blocks, each block's at once."""

    blocks: BlockFrame[B]
    rows: BlockFunction[B]
    """Blocks to batches of `schema`; runs on executors."""
    schema: StructType
    parquet: Mapping[str, Any] = field(default_factory=dict)
    """What else Arrow's writer of Parquet is told of the columns."""

    def frame(self) -> DataFrame:
        """The table as Spark's rows."""
        return self.blocks.map_blocks(self.rows, self.schema)

    def write_files(self, directory: str) -> None:
        """Write it as Parquet by Arrow, a file a task and a row group a batch; one pass.

        Spark writes value by value what Arrow has in columns: four times as long for sparse vectors.

        Parameters
        ----------
        directory : str
            Empty, and at this path on every machine that has a worker. A file is in it under its name when
            it is complete; a task without rows writes none.

        Raises
        ------
        UserError
            The disk is full.
        """
        write = partial(_write, self.rows, directory, self.schema.json(), self.parquet)
        try:
            self.blocks.run_over_blocks(write, "file string")
        except (Py4JJavaError, PythonException) as error:
            if not disk_is_full(error):
                raise
            raise UserError("no space is left on its disk") from error


def _write(
    rows: BlockFunction[B], directory: str, schema: str, parquet: Mapping[str, Any], blocks: Iterator[B]
) -> Iterator[pa.RecordBatch]:
    """Executor function: the rows of a task to a file, whose name it yields."""
    task = TaskContext.get()
    assert task is not None
    name = f"part-{task.partitionId():05d}.parquet"
    unfinished = Path(directory, f".{name}.unfinished")  # hidden from readers; a second attempt replaces it
    with ExitStack() as opened:
        writer = None
        for batch in rows(blocks):
            if writer is None:
                told = batch.schema.with_metadata({_SCHEMA_KEY: schema})
                writer = opened.enter_context(pq.ParquetWriter(unfinished, told, **parquet))
            writer.write_batch(batch)
            del batch  # before the next is made
    if writer is not None:
        os.replace(unfinished, Path(directory, name))
        yield pa.record_batch([pa.array([name])], names=["file"])
