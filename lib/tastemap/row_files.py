"""Files in which Python's workers keep the rows of partitions, where all of them see the same disk."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark import TaskContext
from pyspark.errors import PythonException

from tastemap.errors import UserError
from tastemap.executors import ArrowFunction, Source, chained, disk_is_full, grouped, made

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TARGET = "target"
"""Column of rows that are spread: where each is to go."""
SPREAD_BYTES = 16 << 20
"""Rows that a task parts by target at a time: pieces are to be large, and a worker's memory small."""
WRITE_BYTES = 256 << 10
"""Bytes that are written at a time. For megabytes Linux (6.16 and later) looks for as many in one piece, and
then fetches them from the host of a virtual machine: 15 ns a rating instead of 4."""


@dataclass(frozen=True)
class Reader:
    """Executor function: batches that number partitions to the rows that `keep` has kept of them.

    Of what is read memory holds the columns that are looked at, while they are: files are mapped into it.
    """

    directory: str
    n_partitions: int
    """A file each."""

    def all(self) -> Iterator[pa.RecordBatch]:
        """Read all partitions here, not on executors."""
        return self(iter([pa.record_batch({"id": range(self.n_partitions)})]))

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Read partition after partition."""
        for batch in batches:
            for number in batch["id"].to_pylist():
                yield from self._of_partition(number)

    def _of_partition(self, number: int) -> Iterator[pa.RecordBatch]:
        path = _path(self.directory, number)
        if path.stat().st_size == 0:  # no rows, of whatever columns
            return
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with pa.ipc.open_file(pa.py_buffer(mapped)) as rows:
            for position in range(rows.num_record_batches):
                batch = rows.get_batch(position)
                yield batch
                del batch
                # Or all that has been looked at would stay in memory to the end.
                mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class SpreadReader:
    """Executor function: batches that number targets to what is gathered of the rows spread to each."""

    directory: str
    n_files: int
    """A file a task; its batches are of one target after the other, and then of the first again."""
    n_targets: int
    gather: ArrowFunction

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Read target after target."""
        for batch in batches:
            for target in batch["id"].to_pylist():
                yield from self.gather(self._of_target(target))

    def _of_target(self, target: int) -> Iterator[pa.RecordBatch]:
        for number in range(self.n_files):
            yield from self._from_file(target, _path(self.directory, number))

    def _from_file(self, target: int, path: Path) -> Iterator[pa.RecordBatch]:
        if path.stat().st_size == 0:
            return
        # Read, not mapped: with a small piece Linux maps all the pages around it.
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as rows:
            for position in range(target, rows.num_record_batches, self.n_targets):
                batch = rows.get_batch(position)
                if batch.num_rows:
                    yield batch


class _InPieces(io.FileIO):
    """A file to which at most `WRITE_BYTES` go at a time: whoever buffers it writes the rest as well."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write the beginning; returns how much of it."""
        return super().write(memoryview(data)[:WRITE_BYTES])


def _write(directory: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Executor function: keep a partition's rows; yields its number."""
    task = TaskContext.get()
    assert task is not None
    number = task.partitionId()
    with ExitStack() as opened:
        raw = _InPieces(_path(directory, number), "w")
        file = opened.enter_context(io.BufferedWriter(raw, WRITE_BYTES))
        rows = None
        for batch in batches:
            if rows is None:
                rows = opened.enter_context(pa.ipc.new_file(file, batch.schema))
            rows.write_batch(batch)
    yield pa.record_batch([pa.array([number], pa.int32())], names=["partition"])


def _by_target(n_targets: int, at_once: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of one target after the other, over and over; rows of about so many bytes each time."""
    for group in grouped(batches, at_once):
        rows = pa.Table.from_batches(group).combine_chunks().sort_by(TARGET).combine_chunks()
        ends = np.searchsorted(rows[TARGET].to_numpy(), np.arange(n_targets), side="right")
        for batch in rows.to_batches():  # one, or none of no rows
            for start, end in pairwise([0, *ends.tolist()]):
                yield batch.slice(start, end - start)


def keep(source: Source, make: ArrowFunction | None, directory: str) -> Reader:
    """Keep the rows of a frame, or what is made of them or of numbers, a file a partition.

    Parameters
    ----------
    source : Source
        Read once.
    make : callable or None
        Executor function that makes the rows of a partition of the source's; None: they are the source's.
    directory : str
        Empty.

    Returns
    -------
    Reader
        Reads the rows of a partition.

    Raises
    ------
    UserError
        The disk is full.
    """
    return Reader(directory, _run(source, make, partial(_write, directory), directory))


def spread(
    source: Source, make: ArrowFunction, n_targets: int, gather: ArrowFunction, directory: str
) -> SpreadReader:
    """Spread what is made of the rows of a frame, or of numbers, to targets, in a file for each task.

    Parameters
    ----------
    source : Source
        Read once.
    make : callable
        Executor function that makes the rows, with a column `TARGET`.
    n_targets : int
        Targets are 0 to n_targets − 1.
    gather : callable
        Executor function for the rows of a target; they are not those of the source.
    directory : str
        Empty.

    Returns
    -------
    SpreadReader
        Reads the rows of targets, and has them gathered.

    Raises
    ------
    UserError
        The disk is full.
    """
    parted = chained(make, partial(_by_target, n_targets, SPREAD_BYTES))
    n_files = _run(source, parted, partial(_write, directory), directory)
    return SpreadReader(directory, n_files, n_targets, gather)


def _run(source: Source, make: ArrowFunction | None, write: ArrowFunction, directory: str) -> int:
    try:
        return len(made(source, chained(make, write) if make else write, "partition int"))
    except (Py4JJavaError, PythonException) as error:  # as RDDs have it, and DataFrames
        if not disk_is_full(error):
            raise
        raise UserError(
            f"no space is left in {Path(directory).parent} for what a run keeps while it lasts, about 13 "
            "bytes a rating; free some, or name a directory on a larger disk: spark-submit --conf "
            "spark.local.dir=DIRECTORY"
        ) from error


def _path(directory: str, number: int) -> Path:
    return Path(directory, f"{number}.arrow")
