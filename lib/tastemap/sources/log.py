"""A rating log that is found and understood, ready to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.json
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tastemap import schemas
from tastemap.errors import UserError
from tastemap.executors import ArrowFunction, Source, chained, map_in_arrow, rows_of_few_bytes
from tastemap.filesystem import first_line
from tastemap.rows import Rows
from tastemap.sources.lines import REJECT_ARROW
from tastemap.sources.local import LocalReader


@dataclass(frozen=True)
class RatingLog:
    """A rating log whose files are found and whose form is known; nothing has been read in full yet."""

    form: str
    """`movielens`, `netflix`, `parquet` or `csv`."""
    spark: SparkSession
    """The session that reads it."""
    plan_records: Callable[[], DataFrame]
    """Makes `records`."""
    parse: ArrowFunction | None
    """Runs on executors, from batches of `records` to `schemas.PARSED`; None when records are that."""
    plan_movies: Callable[[], Rows] | None
    """Makes `movies`; None when no file of them is known."""
    scale: tuple[float, float]
    """Lowest and highest rating; others are rejects."""
    n_bytes: int
    """Size of the files, as stored."""
    n_ratings_estimate: int
    """Number of ratings to size shuffles by: exact for Parquet, else from the files' size, and within a
    factor of two of the truth (compressed files: three)."""
    files: tuple[str, ...]
    """The files that are read, as URIs."""
    skipped: tuple[str, ...]
    """The files beside them that are not read: "name: why"."""
    local: LocalReader | None = None
    """Reads what `records` are where workers see the files themselves."""

    @cached_property
    def records(self) -> DataFrame:
        """Records as Spark reads them: what they are is the business of `parse`.

        Planned when they are first asked for, which is never where `local` reads them.
        """
        return self.plan_records()

    @cached_property
    def movies(self) -> Rows | None:
        """The movies, one row each, as `schemas.MOVIES`; None when no file of them is known.

        Planned when it is first asked for.

        Raises
        ------
        UserError
            The file is not there any more.
        """
        try:
            return None if self.plan_movies is None else self.plan_movies()
        except OSError as error:
            told = f"{error.strerror}: {error.filename!r}"
            raise UserError(f"the list of movies cannot be read: {told}") from error
        except (Py4JJavaError, PySparkException) as error:
            raise UserError(f"the list of movies cannot be read: {first_line(error)}") from error

    def passed_to(self, function: ArrowFunction) -> tuple[Source, ArrowFunction]:
        """What `map_in_arrow` takes to run a function, in one Python pass together with the parsing.

        Parameters
        ----------
        function : callable
            Takes batches of `schemas.PARSED`, of any size.
        """
        if self.parse is None:
            return packed(self.records), chained(unpack, function)
        records, parse = self._read(self.parse)
        return records, chained(parse, function)

    def parsed(self) -> DataFrame:
        """Ratings and rejects as `schemas.PARSED`, from one reading of the log."""
        return self.records if self.parse is None else map_in_arrow(*self._read(self.parse), schemas.PARSED)

    def _read(self, parse: ArrowFunction) -> tuple[Source, ArrowFunction]:
        """What is read, and the function that parses it."""
        if self.local is None:
            return self.records, parse
        return self.local.task_numbers(self.spark), chained(self.local, parse)

    def in_batches(self) -> AbstractContextManager[None]:
        """The context to plan and run a pass over the records in."""
        # A record is a rating, but in Netflix's form a whole movie.
        return nullcontext() if self.form == "netflix" else rows_of_few_bytes(self.spark)

    def describe(self) -> dict[str, object]:
        """Say what was read, for the record of a run."""
        return {
            "form": self.form,
            "files": len(self.files),
            "bytes": self.n_bytes,
            "scale": list(self.scale),
            "skipped": list(self.skipped),
        }


def packed(parsed: DataFrame) -> DataFrame:
    """The columns of `schemas.RATINGS`, and those of a reject as one of JSON, null where there is none.

    The JVM takes 40 ns for a null on its way to Python, and a rating would have four.
    """
    reject = F.when(F.col("reason").isNotNull(), F.to_json(F.struct(*schemas.REJECTS.names)))
    return parsed.select(*schemas.RATINGS.names, reject.alias("reject"))


def unpack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of `packed` as `schemas.PARSED` again."""
    for batch in batches:
        rejects = batch["reject"]
        if rejects.null_count == batch.num_rows:
            told = [pa.nulls(batch.num_rows, field.type) for field in REJECT_ARROW]
        else:
            told = _read_rejects(rejects)
        ratings = batch.columns[: len(schemas.RATINGS)]
        yield pa.record_batch([*ratings, *told], names=schemas.PARSED.names)


def _read_rejects(texts: pa.Array) -> list[pa.Array]:
    """Columns of `schemas.REJECTS`, null where a text is."""
    lines = "\n".join(texts.drop_null().to_pylist()).encode()
    table = pyarrow.json.read_json(
        pa.BufferReader(lines),
        pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        pyarrow.json.ParseOptions(explicit_schema=REJECT_ARROW, unexpected_field_behavior="error"),
    )
    there = texts.is_valid().to_numpy(zero_copy_only=False)
    row = pa.array(np.cumsum(there) - 1, mask=~there)
    return [table[name].combine_chunks().take(row) for name in REJECT_ARROW.names]
