"""The output directory of a run: built aside, put in place when it is complete."""

from __future__ import annotations

import json
import logging
import os
import platform
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from tastemap import __version__
from tastemap.block_tables import BlockTable
from tastemap.errors import UserError
from tastemap.filesystem import FileSystem, escaped
from tastemap.persistence import save_pipeline

log = logging.getLogger(__name__)

MANIFEST = "run.json"
MARK = 8
"""Characters that tell the hidden directories of runs apart that have the same output."""


class Run:
    """An output directory in the making.

    Tables go to a hidden directory beside it; `finish` writes `run.json` and renames. Whatever goes
    wrong before, an existing output stays as it was, and a directory without `run.json` is none of ours.

    Parameters
    ----------
    spark : SparkSession
    output : str
        Path on any file system Spark reaches.
    overwrite : bool
        Whether a finished run that is there may be replaced.

    Raises
    ------
    UserError
        The output exists and may not, or must not, be replaced.
    """

    def __init__(self, spark: SparkSession, output: str, *, overwrite: bool) -> None:
        self._spark = spark
        self._files = FileSystem(spark, output)
        self._given = output
        self._overwrite = overwrite
        self.output = self._files.qualified(output)
        parent, _, name = self.output.rpartition("/")
        mark = uuid.uuid4().hex[:MARK]
        self._staging = f"{parent}/.{name}.unfinished-{mark}"
        self._replaced = f"{parent}/.{name}.replaced-{mark}"
        self.started = datetime.now(UTC)
        self._check()

    def _check(self) -> None:
        output = f"--output {self._given}"
        if urlsplit(self.output).path in ("", "/"):
            raise UserError(f"{output} is the root of a file system; give a directory in it")
        if not self._files.exists(self.output):
            return
        if not self._files.is_directory(self.output):
            raise UserError(f"{output} is a file; give the name of a directory")
        found = self._files.names(self.output)
        if not found:
            return
        if MANIFEST not in found:
            raise UserError(
                f"{output} holds other things ({', '.join(found[:3])}) and no {MANIFEST}, so it is no "
                "earlier run and is left alone; give another directory"
            )
        if not self._overwrite:
            raise UserError(
                f"{output} holds an earlier run; give another directory, or --overwrite to replace it"
            )

    def _tell_of_others(self) -> None:
        """Say what a run has left that was killed: only those that fail clean up behind them."""
        parent, _, name = escaped(self.output).rpartition("/")
        for what, advice in (
            ("unfinished", "is from a run that still goes on or was killed; in that case delete it"),
            ("replaced", "is an earlier run, put aside by one that was killed; move it back, or delete it"),
        ):
            for path in self._files.matches(f"{parent}/.{name}.{what}-{'?' * MARK}", limit=3)[1]:
                log.warning("%s %s", path, advice)

    def __enter__(self) -> Run:
        self._tell_of_others()
        # Now rather than at the first table: where nothing can be written, nothing need be computed.
        try:
            self._files.make_directory(self._staging)
        except UserError as fault:
            raise UserError(f"--output {self._given} cannot be written: {fault}") from fault
        if not self._files.is_seen_by_executors(self._staging):
            self._discard(self._staging)
            raise UserError(
                f"--output {self._given} is on the driver's own disk, which executors do not see; give a "
                "directory that all machines share, such as hdfs://, s3:// or a network drive"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard(self._staging)

    def refuse_to_replace(self, files: Iterable[str], *others: str | None) -> None:
        """Make sure that nothing that is to be read goes away with the earlier run that is replaced.

        Parameters
        ----------
        files : iterable of str
            The log's.
        *others : str, optional
            Other files or directories that were given.

        Raises
        ------
        UserError
            Names one of them.
        """
        # One of each directory: a log may be of thousands of files, and every look takes calls into the JVM.
        # A link may lead elsewhere than the others.
        files = list(files)
        looked_at = {path.rpartition("/")[0]: path for path in files}
        links = [path for path in files if os.path.islink(path.removeprefix("file:"))]
        for path in [*looked_at.values(), *links, *filter(None, others)]:
            if self._files.is_within(path, self.output):
                raise UserError(
                    f"--output {self._given} holds {path}, which is to be read; give another directory"
                )

    def _discard(self, path: str) -> None:
        try:
            self._files.delete(path)
        except UserError as fault:  # neither hides what went wrong before nor spoils what is complete
            log.warning("%s", fault)

    def path(self, name: str) -> str:
        """Where a table is while the run is unfinished."""
        return f"{self._staging}/{name}"

    def write(self, name: str, table: DataFrame | BlockTable[Any]) -> None:
        """Write a table of any size as Parquet."""
        path = self.path(name)
        if isinstance(table, DataFrame):
            table.write.parquet(path)
        elif (local := self._files.local_path(path)) is None:
            table.frame().write.parquet(path)
        else:
            self._files.make_directory(path)
            try:
                table.write_files(local)
            except UserError as fault:
                raise UserError(f"--output {self._given} cannot be written: {fault}") from fault

    def write_small(self, name: str, table: pd.DataFrame, schema: StructType) -> None:
        """Write a table that is at hand as one Parquet file."""
        columns = pa.Table.from_pandas(table[schema.names], to_arrow_schema(schema), preserve_index=False)
        # What pandas noted is nobody's business.
        self._files.write_parquet(self.path(name), columns.replace_schema_metadata())

    def read(self, name: str) -> DataFrame:
        """Read a table back that has been written."""
        return self._spark.read.parquet(escaped(self.path(name)))

    def write_model(self, name: str, model: PipelineModel) -> None:
        """Save a pipeline of Spark ML."""
        save_pipeline(self._spark, model, self.path(name))

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 file that fits memory several times."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file that fits memory several times; its name may begin with a directory."""
        self._files.write_bytes(self.path(name), content)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write `run.json`, the manifest with times and versions added, and put everything in place."""
        finished = datetime.now(UTC)
        whole = {
            "started": self.started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - self.started).total_seconds(), 3),
            "versions": versions(self._spark),
            **manifest,
        }
        self._files.write_text(self.path(MANIFEST), json.dumps(whole, indent=2) + "\n")
        self._check()  # somebody else may have put something there meanwhile
        earlier = self._files.exists(self.output)
        if earlier:
            self._files.rename(self.output, self._replaced)
        try:
            self._files.rename(self._staging, self.output)
        except BaseException:
            if earlier:
                self._files.rename(self._replaced, self.output)
            raise
        if earlier:
            self._discard(self._replaced)


class FinishedRun:
    """An output directory that is complete, to be read.

    Parameters
    ----------
    spark : SparkSession
    path : str
        The directory.
    flag : str
        The option that named it, for messages.

    Raises
    ------
    UserError
        It holds no finished run.
    """

    def __init__(self, spark: SparkSession, path: str, flag: str) -> None:
        self._spark = spark
        self._files = FileSystem(spark, path)
        self._named = f"{flag} {path}"
        self.path = self._files.qualified(path)
        if not self._files.exists(f"{self.path}/{MANIFEST}"):
            raise UserError(
                f"{self._named} holds no {MANIFEST}, so it is no finished run; give the --output of one"
            )
        self.manifest: dict[str, Any] = json.loads(self._files.read_text(f"{self.path}/{MANIFEST}"))

    def check(self, *names: str) -> None:
        """Make sure of its tables.

        Raises
        ------
        UserError
            One is missing.
        """
        missing = [name for name in names if not self._files.exists(f"{self.path}/{name}")]
        if missing:
            raise UserError(
                f"{self._named} is a run without {', '.join(missing)}; give one of jobs/cluster_users.py"
            )

    def read(self, name: str) -> DataFrame:
        """A table."""
        return self._spark.read.parquet(escaped(f"{self.path}/{name}"))


def versions(spark: SparkSession) -> dict[str, str]:
    """Versions of what computed the numbers."""
    packages = {name: version(name) for name in ("numpy", "scipy", "pandas", "pyarrow")}
    return {"tastemap": __version__, "spark": spark.version, "python": platform.python_version(), **packages}
