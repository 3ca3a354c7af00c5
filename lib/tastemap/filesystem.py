"""Files and directories on whatever file system Spark reaches: local disks, HDFS, S3, GCS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from tastemap.errors import UserError
from tastemap.executors import find_directory, in_one_process

PORTION = 1 << 20
"""Bytes that go to the JVM in one call."""


def first_line(error: Exception) -> str:
    """Say in one line what a Java or Spark error is about, without its trace."""
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
        text = str(cause.getMessage() or cause.getClass().getSimpleName())
    else:
        text = str(error)
    return text.strip().split("\n")[0].strip() or type(error).__name__


def escaped(path: str) -> str:
    """Write a path so that Spark's readers take it for no pattern."""
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path)


class FileSystem:
    """The Hadoop file system that holds a path.

    All methods take paths on that file system, and raise `UserError` where it refuses: no such file, no
    permission, no connection.

    Parameters
    ----------
    spark : SparkSession
        The session whose Hadoop configuration (credentials, default file system) applies.
    path : str
        Any path or URI on the file system that is wanted.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._spark = spark
        self._jvm: Any = spark._jvm
        with plain_errors(path, "reached"):
            configuration = spark._jsparkSession.sessionState().newHadoopConf()
            self._hadoop: Any = self._path(path).getFileSystem(configuration)
            self._in_one_process = in_one_process(spark)

    def local_path(self, path: str) -> str | None:
        """The path as Python's workers open it, where they and the file system are of this machine alone.

        None on any other file system, and on a cluster, whose machines may have different files at one path.
        """
        with plain_errors(path, "reached"):
            if not self._in_one_process or self._hadoop.getUri().getScheme() != "file":
                return None
            return str(self._path(path).toUri().getPath())

    def is_seen_by_executors(self, path: str) -> bool:
        """Whether executors find a directory on this file system that the driver has made.

        A `file:` path is a disk of each machine's own, unless it is a network drive. Tasks look, more of them
        than there are cores.
        """
        if self._in_one_process or self._hadoop.getUri().getScheme() != "file":
            return True
        return find_directory(self._spark, str(self._path(path).toUri().getPath()))

    def is_within(self, path: str, directory: str) -> bool:
        """Whether a path is a directory's, or of something in it, also by way of links on this machine."""
        try:
            outer, inner = self._followed(directory), self._followed(path)
        except UserError:  # of another file system
            return False
        return inner == outer or inner.startswith(outer + "/")

    def _followed(self, path: str) -> str:
        qualified = self.qualified(path)
        local_path = self.local_path(qualified)
        return qualified if local_path is None else os.path.realpath(local_path)

    def qualified(self, path: str) -> str:
        """Return the path as Spark writes it: absolute, with its scheme, without a trailing slash."""
        with plain_errors(path, "reached"):
            return str(self._hadoop.makeQualified(self._path(path)).toString())

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or directory of this name."""
        with plain_errors(path, "looked up"):
            return bool(self._hadoop.exists(self._path(path)))

    def is_directory(self, path: str) -> bool:
        """Tell whether there is a directory of this name."""
        with plain_errors(path, "looked up"):
            path_there = self._path(path)
            return bool(
                self._hadoop.exists(path_there) and self._hadoop.getFileStatus(path_there).isDirectory()
            )

    def names(self, directory: str) -> list[str]:
        """List the names in a directory, hidden ones included, sorted."""
        with plain_errors(directory, "listed"):
            return sorted(str(s.getPath().getName()) for s in self._hadoop.listStatus(self._path(directory)))

    def matches(self, pattern: str, limit: int) -> tuple[int, list[str]]:
        """Expand a glob (``*``, ``?``, ``[abc]``, ``{a,b}``).

        Returns
        -------
        n_matches : int
            How many there are.
        paths : list of str
            The first `limit` of them, qualified. Every one costs a call into the JVM.
        """
        with plain_errors(pattern, "listed"):
            found = self._hadoop.globStatus(self._path(pattern))
            n_matches = 0 if found is None else len(found)
            return n_matches, [str(found[i].getPath().toString()) for i in range(min(n_matches, limit))]

    def make_directory(self, path: str) -> None:
        """Make a directory and those above it; one that is there stays as it is."""
        with plain_errors(path, "made"):
            if not self._hadoop.mkdirs(self._path(path)):
                raise UserError(f"{path} cannot be made: the file system refused")

    def delete(self, path: str) -> None:
        """Delete a file, or a directory with all it holds; nothing happens where there is none."""
        with plain_errors(path, "deleted"):
            self._hadoop.delete(self._path(path), True)

    def rename(self, source: str, target: str) -> None:
        """Rename a file or directory; the target must not exist.

        On HDFS and local disks this is one atomic step, on object stores it copies.
        """
        if self.exists(target):
            # Hadoop would move the source into a target directory instead of refusing.
            raise UserError(f"{source} cannot be renamed to {target}: the target exists")
        with plain_errors(source, f"renamed to {target}"):
            if not self._hadoop.rename(self._path(source), self._path(target)):
                raise UserError(f"{source} cannot be renamed to {target}: the file system refused")

    def read_text(self, path: str) -> str:
        """Read a small UTF-8 file whole."""
        with self._opened(path) as stream:
            return str(self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))

    def read_bytes(self, path: str, start: int, length: int) -> bytes:
        """Read a few bytes of a file from a position on, fewer where it ends before."""
        local_path = self.local_path(path)
        if local_path is not None:  # without a dozen calls into the JVM, the first of which take 0.1 s
            try:
                with open(local_path, "rb") as file:
                    file.seek(start)
                    return file.read(length)
            except OSError as error:
                raise UserError(f"{path} cannot be read: {error.strerror}") from error
        with self._opened(path, start) as stream:
            found = self._jvm.java.io.ByteArrayOutputStream()
            self._jvm.org.apache.commons.io.IOUtils.copyLarge(stream, found, 0, length)
            return bytes(found.toByteArray())

    def find(self, path: str, separator: bytes, start: int) -> int:
        """Find the position after the next separator in a file, its end if there is none."""
        with self._opened(path, start) as stream:
            reader = self._jvm.org.apache.hadoop.util.LineReader(stream, bytearray(separator))
            nothing = self._jvm.org.apache.hadoop.io.Text()
            # Of what is passed over one byte is kept: the JVM lets go of it long after Python has.
            return start + int(reader.readLine(nothing, 1))

    def write_text(self, path: str, text: str) -> None:
        """Write a small UTF-8 file, replacing one that is there."""
        self.write_bytes(path, text.encode())

    def write_bytes(self, path: str, content: bytes | memoryview) -> None:
        """Write a file that fits memory, replacing one that is there.

        It is written under another name first, so that no reader ever sees half of it.
        """
        local_path = self.local_path(path)
        if local_path is not None:  # not as text through the JVM, two dozen calls for each file
            _write_local(path, Path(local_path), content)
            return
        directory, _, name = path.rpartition("/")
        unfinished = f"{directory}/.{name}.unfinished" if directory else f".{name}.unfinished"
        with plain_errors(path, "written"):
            stream = self._hadoop.create(self._path(unfinished), True)
            try:
                # Bytes go to the JVM as text, of which it holds several copies until it has read the end.
                for start in range(0, len(content), PORTION):
                    stream.write(bytearray(content[start : start + PORTION]))
            finally:
                stream.close()
        self.delete(path)
        self.rename(unfinished, path)

    def write_parquet(self, directory: str, table: pa.Table) -> None:
        """Write a table that fits memory as one Parquet file in a directory, as Spark would.

        Arrow does it in milliseconds; a job of Spark's takes a third of a second.
        """
        written = pa.BufferOutputStream()
        pq.write_table(table, written)
        self.write_bytes(f"{directory}/part-00000.parquet", memoryview(written.getvalue()))

    @contextmanager
    def _opened(self, path: str, start: int = 0) -> Iterator[Any]:
        with plain_errors(path, "read"):
            stream = self._hadoop.open(self._path(path))
            try:
                stream.seek(start)
                yield stream
            finally:
                stream.close()

    def _path(self, path: str) -> Any:
        path.encode()  # raises here: on its way to Java it would break the connection
        return self._jvm.org.apache.hadoop.fs.Path(path)


def _write_local(path: str, local_path: Path, content: bytes | memoryview) -> None:
    unfinished, sums = (local_path.with_name(f".{local_path.name}.{end}") for end in ("unfinished", "crc"))
    try:
        local_path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        sums.unlink(missing_ok=True)  # Hadoop's, of a file that is replaced
        unfinished.replace(local_path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


_UNREADABLE = ("FAILED_READ_FILE", "EOFException", "CSV header does not conform")
"""What Spark says, in its versions, of files that break off or are not like the others."""
_UNOPENED = re.compile(r"^\w*Error: \[Errno \d+\] (.+: (?:'.+'|\".+\"))$", re.MULTILINE)
"""What Python says of a file that a worker cannot open, and its name."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Say in a sentence which file Spark cannot read, where a pass over files finds it out."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        if unopened := _UNOPENED.search(str(error)):
            raise UserError(f"{what} cannot be read: {unopened.group(1)}") from error
        if not any(sign in str(error) for sign in _UNREADABLE):
            raise
        raise UserError(f"{what} cannot be read: {': '.join(_causes(error))}") from error


def _causes(error: Exception) -> list[str]:
    """The file, where Spark names it, and what is wrong with it."""
    file = re.search(r"while reading file (\S+?)\.?\s", str(error))
    named = [file.group(1)] if file else []
    if not isinstance(error, Py4JJavaError):
        return [*named, first_line(error)]
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return [*named, " ".join(str(cause.getMessage()).split())]


@contextmanager
def plain_errors(path: str, done: str) -> Iterator[None]:
    """Say in a sentence that something cannot be done with a path, and why, where Java or Spark says so."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        raise UserError(f"{path} cannot be {done}: {first_line(error)}") from error
    except UnicodeEncodeError as error:
        raise UserError(f"{path} cannot be {done}: Java takes only names in UTF-8; rename it") from error
