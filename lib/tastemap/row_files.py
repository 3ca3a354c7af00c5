"""Files in which Python's workers keep the rows of partitions, where all of them see the same disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark import TaskContext
from pyspark.errors import PythonException
from pyspark.sql import DataFrame

from tastemap.errors import UserError
from tastemap.executors import ArrowFunction, chained, map_in_arrow


@dataclass(frozen=True)
class Reader:
    """Executor function: batches that number partitions to the rows that `keep` has kept of them.

    Of what is read memory holds the columns that are looked at, while they are: files are mapped into it.
    """

    directory: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Read partition after partition."""
        for batch in batches:
            for number in batch["id"].to_pylist():
                yield from self._of_partition(number)

    def _of_partition(self, number: int) -> Iterator[pa.RecordBatch]:
        path = _path(self.directory, number)
        if path.stat().st_size == 0:  # no rows, of whatever columns
            return
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as rows:
            for position in range(rows.num_record_batches):
                yield rows.get_batch(position)


def _write(directory: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Executor function: keep a partition's rows; yields its number."""
    task = TaskContext.get()
    assert task is not None
    number = task.partitionId()
    with ExitStack() as opened:
        file = opened.enter_context(_path(directory, number).open("wb"))
        rows = None
        for batch in batches:
            if rows is None:
                rows = opened.enter_context(pa.ipc.new_file(file, batch.schema))
            rows.write_batch(batch)
    yield pa.record_batch([pa.array([number], pa.int32())], names=["partition"])


def keep(source: DataFrame, make: ArrowFunction | None, directory: str) -> int:
    """Keep the rows of a frame, or what is made of them, a file a partition.

    Parameters
    ----------
    source : DataFrame
        Read once.
    make : callable or None
        Executor function that makes the rows of a partition of the frame's; None: they are the frame's.
    directory : str
        Empty.

    Returns
    -------
    int
        Number of partitions.

    Raises
    ------
    UserError
        The disk is full.
    """
    write = partial(_write, directory)
    try:
        return len(map_in_arrow(source, chained(make, write) if make else write, "partition int").collect())
    except PythonException as error:
        if f"[Errno {errno.ENOSPC}]" not in str(error):
            raise
        raise UserError(
            f"no space is left in {Path(directory).parent} for what a run keeps while it lasts, about 13 "
            "bytes a rating; free some, or name a directory on a larger disk: spark-submit --conf "
            "spark.local.dir=DIRECTORY"
        ) from error


def _path(directory: str, number: int) -> Path:
    return Path(directory, f"{number}.arrow")
