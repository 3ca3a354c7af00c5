"""A rating log that is found and understood, ready to be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from tastemap import schemas
from tastemap.executors import ArrowFunction, map_in_arrow


@dataclass(frozen=True)
class RatingLog:
    """A rating log whose files are found and whose form is known; nothing has been read in full yet."""

    form: str
    """`movielens`, `netflix`, `parquet` or `csv`."""
    records: DataFrame
    """Records as Spark reads them: what they are is the business of `parse`."""
    parse: ArrowFunction | None
    """Runs on executors, from batches of `records` to `schemas.PARSED`; None when records are that."""
    movies: DataFrame | None
    """The movies, one row each, as `schemas.MOVIES`; None when no file of them is known."""
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

    def map_in_arrow(self, function: ArrowFunction, schema: StructType | str) -> DataFrame:
        """Run a function on batches of `schemas.PARSED`, in one Python pass together with the parsing.

        Parameters
        ----------
        function : callable
            Batches of `schemas.PARSED` to batches of `schema`. Batches may be of any size.
        schema : StructType or str
            What the function yields.
        """
        whole = function if self.parse is None else partial(_chain, self.parse, function)
        return map_in_arrow(self.records, whole, schema)

    def parsed(self) -> DataFrame:
        """Ratings and rejects as `schemas.PARSED`, from one reading of the log."""
        return self.records if self.parse is None else map_in_arrow(self.records, self.parse, schemas.PARSED)

    def describe(self) -> dict[str, object]:
        """Say what was read, for the record of a run."""
        return {
            "form": self.form,
            "files": len(self.files),
            "bytes": self.n_bytes,
            "scale": list(self.scale),
            "skipped": list(self.skipped),
        }


def _chain(
    first: ArrowFunction, second: ArrowFunction, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    return second(first(batches))
