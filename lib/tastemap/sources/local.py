"""Text on the disks of this machine, read by the workers that parse it, in the splits that Spark plans.

Spark's reader looks at each byte in Java and hands every line or record from there to Python. Workers that
see the files read megabytes at once instead; what they make of them are batches as Spark sends them.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from tastemap.errors import UserError
from tastemap.filesystem import FileSystem
from tastemap.sources.files import Split, StoredFile, splits_of

PIECE = 1 << 20
"""Bytes that are read at once."""
MAX_FILES = 100
"""More are left to Spark: every split costs several calls into the JVM to learn of."""
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

    def task_numbers(self, spark: SparkSession) -> DataFrame:
        """The rows that number the tasks, a partition each."""
        return spark.range(0, len(self.tasks), 1, len(self.tasks))

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
    records: DataFrame,
    separator: bytes,
    headers: tuple[bytes, ...] = (),
) -> LocalReader | None:
    """Build the reader of what `records` reads; None if it is compressed, elsewhere, or in many files."""
    if len(files) > MAX_FILES or any(file.compression for file in files):
        return None
    found = {file.path: FileSystem(spark, file.path).local_path(file.path) for file in files}
    paths = {uri: path for uri, path in found.items() if path is not None}
    if len(paths) < len(found):
        return None
    by_task = groupby(splits_of(records), key=attrgetter("partition"))
    tasks = tuple(tuple((paths[split.uri], split) for split in splits) for _, splits in by_task)
    return LocalReader(tasks, tuple(records.columns), separator, headers)


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
