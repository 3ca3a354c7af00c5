"""Text on the disks of this machine, read by the workers that parse it, in the splits that Spark would plan.

Spark's reader looks at each byte in Java and hands every line or record from there to Python. Workers that
see the files read megabytes at once instead; what they make of them are batches as Spark sends them. And
before a log is read Spark has nothing to plan, which is the first query of its SQL and takes a second.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from tastemap.errors import UserError
from tastemap.executors import Numbers
from tastemap.filesystem import FileSystem
from tastemap.sources.files import Split, StoredFile, largest_split

PIECE = 1 << 20
"""Bytes that are read at once."""
MAX_FILES = 100
"""More are left to Spark: every file costs several calls into the JVM to learn of."""
_MAX_TASKS = "spark.sql.files.maxPartitionNum"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class LocalReader:
    """Splits of local files to batches of records; runs on executors, on rows that number the tasks."""

    tasks: tuple[tuple[tuple[str, Split], ...], ...]
    """What each task reads: splits, and the paths under which to open their files."""
    columns: tuple[str, ...]
    """Columns of the batches: `value`, the text, and attributes of its split."""
    separator: bytes
    """What ends a record; a value holds megabytes of them, with separators between."""
    headers: tuple[bytes, ...] = ()
    """Lines that are left out."""

    @property
    def splits(self) -> list[Split]:
        """What all tasks read."""
        return [split for task in self.tasks for _, split in task]

    def task_numbers(self, spark: SparkSession) -> Numbers:
        """The numbers of the tasks, a partition each."""
        return Numbers(spark, len(self.tasks), len(self.tasks))

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Read what the tasks of one partition are to read."""
        for batch in batches:
            for number in batch["id"].to_pylist():
                for path, split in self.tasks[number]:
                    for text in read(path, split, self.separator):
                        yield self._batch(split, self._value(text))

    def _value(self, text: bytes) -> bytes:
        if self.separator == b"\n" and b"\r" in text:  # ends a line as well, as it does to Hadoop
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        text = text.removesuffix(self.separator)
        if any(header in text for header in self.headers):
            text = b"\n".join(line for line in text.split(b"\n") if line not in self.headers)
        return text

    def _batch(self, split: Split, value: bytes) -> pa.RecordBatch:
        cells = {name: [getattr(split, name)] for name in self.columns if name != "value"}
        # Not copied: it is a value's only one.
        ends = pa.array([0, len(value)], pa.int32())
        text = pa.Array.from_buffers(pa.binary(), 1, [None, ends.buffers()[1], pa.py_buffer(value)])
        return pa.record_batch({"value": text} | cells).select(self.columns)


def reader(
    spark: SparkSession,
    files: Sequence[StoredFile],
    columns: Sequence[str],
    separator: bytes,
    headers: tuple[bytes, ...] = (),
) -> LocalReader | None:
    """Build the reader of files of text; None if they are compressed, elsewhere, or many."""
    paths = _paths(spark, files)
    if paths is None or spark.conf.get(_MAX_TASKS, None) is not None:  # by which Spark cuts once more
        return None
    open_cost = int(spark._jsparkSession.sessionState().conf().filesOpenCostInBytes())
    largest = largest_split(spark, [file.size for file in files])
    by_task = groupby(plan_splits(_whole(spark, files), largest, open_cost), key=attrgetter("partition"))
    tasks = tuple(tuple((paths[split.uri], split) for split in splits) for _, splits in by_task)
    return LocalReader(tasks, tuple(columns), separator, headers)


def lines_reader(spark: SparkSession, files: Sequence[StoredFile]) -> LocalReader | None:
    """Build the reader of all lines of files in one task; None as for `reader`.

    Raises
    ------
    OSError
        A file is not there any more.
    """
    paths = _paths(spark, files)
    if paths is None:
        return None
    for path in paths.values():
        os.stat(path)  # now, not when a worker looks for it
    task = tuple((paths[split.uri], split) for split in _whole(spark, files))
    return LocalReader((task,), ("value",), b"\n")


def plan_splits(files: Sequence[Split], largest: int, open_cost: int) -> list[Split]:
    """Cut files and spread them over tasks as Spark does.

    Parameters
    ----------
    files : sequence of Split
        Whole ones.
    largest : int
        Bytes of a split at most, and about of what a task reads.
    open_cost : int
        Bytes that another split counts for a task beside its own.
    """
    pieces = [
        replace(file, start=start, length=min(largest, file.size - start))
        for file in files
        for start in range(0, file.size, largest)
    ]
    splits: list[Split] = []
    task, filled = 0, 0
    for piece in sorted(pieces, key=attrgetter("length"), reverse=True):
        if splits and filled + piece.length > largest:
            task, filled = task + 1, 0
        splits.append(replace(piece, partition=task))
        filled += piece.length + open_cost
    return splits


def _paths(spark: SparkSession, files: Sequence[StoredFile]) -> dict[str, str] | None:
    """Local paths of files by their URIs; None if one is compressed or elsewhere, or there are too many."""
    if len(files) > MAX_FILES or any(file.compression for file in files):
        return None
    found = {file.path: FileSystem(spark, file.path).local_path(file.path) for file in files}
    paths = {uri: path for uri, path in found.items() if path is not None}
    return paths if len(paths) == len(found) else None


def _whole(spark: SparkSession, files: Sequence[StoredFile]) -> list[Split]:
    path_of: Any = spark._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    encoded = {file.path: str(path_of(file.path).toUri().toString()) for file in files}
    return [Split(0, file.path, encoded[file.path], 0, file.size, file.size) for file in files]


@contextmanager
def mapped(path: str) -> Iterator[mmap.mmap]:
    """The bytes of a file that is not empty, mapped into memory."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            yield text
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read(path: str, split: Split, separator: bytes) -> Iterator[bytes]:
    """Read the records of a split, in pieces of whole ones with their separators; a file's last may lack it.

    As Hadoop cuts them: those that begin after the first separator in the split, at its end at the latest.
    The first of a file begins at its head, after a byte order mark.
    """
    end = split.start + split.length
    with open(path, "rb") as file:
        at = file.seek(split.start)
        text = file.read(PIECE)
        begins = split.start == 0
        if begins and text.startswith(_BYTE_ORDER_MARK):
            at, text = len(_BYTE_ORDER_MARK), text[len(_BYTE_ORDER_MARK) :]
        while text and not begins:
            first = text.find(separator) + 1
            begins = first > 0
            at, text = (at + first, text[first:]) if begins else (at + len(text), file.read(PIECE))
        if at > end:
            return
        text = text or file.read(PIECE)
        held: list[bytes] = []
        while text:
            last = text.find(separator, max(0, end - at)) + 1
            whole = last or text.rfind(separator) + 1
            if whole:
                yield b"".join([*held, memoryview(text)[:whole]])
                held = []
            if last:
                return
            held.append(text[whole:])
            at += len(text)
            text = file.read(PIECE)
        if any(held):
            yield b"".join(held)
