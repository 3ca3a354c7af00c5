"""MovieLens files: `ratings.csv` and `movies.csv`, `ratings.dat` and `movies.dat`, `u.data` and `u.item`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tastemap.executors import grouped
from tastemap.rows import Rows
from tastemap.sources import titles
from tastemap.sources.detection import MOVIELENS_HEADER
from tastemap.sources.files import StoredFile, StoredFiles
from tastemap.sources.lines import BATCH_BYTES, Layout, Lines, count_lines, parse_lines

SCALE = (0.5, 5.0)
BYTES_PER_RATING = 25.0
"""A line like ``1,1,4.0,964982703``: 20 in u.data, 27 in ml-32m."""

LAYOUTS = {
    name: Layout(separator, ("user_id", "movie_id", "rating", "seconds"))
    for name, separator in (("movielens-csv", ","), ("movielens-dat", "::"), ("movielens-data", "\t"))
}
"""How the lines of each file of ratings are laid out."""

GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The genres that the flags of u.item stand for, in the order of u.genre."""

_HEADERS = (MOVIELENS_HEADER, ",".join(f'"{name}"' for name in MOVIELENS_HEADER.split(",")))


def read_records(spark: SparkSession, files: StoredFiles, layout: str) -> DataFrame:
    """Read the lines of ratings, without headers.

    Text rather than Spark's CSV reader: that takes twice as long, and keeps a line's text only if it cannot
    be split into fields, not if a rating is off the scale.
    """
    text = spark.read.options(**files.options).text(files.load)
    if layout == "movielens-csv":
        text = text.where(~F.col("value").isin(*_HEADERS))
    places = {"value": F.col("value"), "path": F.col("_metadata.file_path")}
    return text.select(*(places[name].alias(name) for name in columns(len(files.sizes))))


def columns(n_files: int) -> tuple[str, ...]:
    """Columns of records: a path beside every line takes longer than the line, and one file needs none."""
    return ("value",) if n_files == 1 else ("value", "path")


def headers(layout: str) -> tuple[bytes, ...]:
    """Lines that are no ratings but say what is in them."""
    return tuple(header.encode() for header in _HEADERS) if layout == "movielens-csv" else ()


def read_movies(spark: SparkSession, files: Sequence[StoredFile], listed: StoredFiles, layout: str) -> Rows:
    """Read movies as `schemas.MOVIES`; titles lose the year at their end."""
    return titles.of_lines(spark, files, listed, _PARSE_MOVIE[layout])


def _movie(movie_id: str, title: str, genres: Sequence[str]) -> titles.Movie | None:
    return titles.movie(movie_id, *titles.without_year(title), genres)


def _of_csv(line: str) -> titles.Movie | None:
    # Quotes inside quoted titles are doubled; the header has no number for an id.
    movie_id, title, genres = [*next(csv.reader([line]), []), "", "", ""][:3]
    return _movie(movie_id, title, titles.split_genres(genres))


def _of_dat(line: str) -> titles.Movie | None:
    found = _DAT.fullmatch(line)
    return None if found is None else _movie(found[1], found[2], titles.split_genres(found[3]))


def _of_item(line: str) -> titles.Movie | None:
    movie_id, title, _, _, _, *flags = [*line.split("|"), "", "", "", "", ""]
    # The first flag says that no genre is known.
    genres = [genre for genre, flag in zip(GENRES[1:], flags[1:], strict=False) if flag == "1"]
    return _movie(movie_id, title, genres)


_DAT = re.compile(r"(\d+)::(.+)::(.*)", re.ASCII)
_PARSE_MOVIE = {"movielens-csv": _of_csv, "movielens-dat": _of_dat, "movielens-data": _of_item}


@dataclass(frozen=True)
class MovieLensParser:
    """Batches of lines, one or many a value, to batches of `schemas.PARSED`; runs on executors."""

    layout: Layout
    """How a line is laid out."""
    scale: tuple[float, float]
    """Lowest and highest rating."""
    source: str | None
    """The file; None when there are several, and every line comes with its own."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Parse the lines of one partition."""
        for group in grouped(batches, BATCH_BYTES):
            yield parse_lines(self._lines(group), self.layout, self.scale)

    def _lines(self, batches: list[pa.RecordBatch]) -> Lines:
        table = pa.Table.from_batches(batches)
        values = table.column("value").cast(pa.binary()).combine_chunks()
        # As one list, which takes Arrow 25 ns a line; as Python's objects they take 140.
        whole = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
        text = pc.binary_join(whole, b"\n")[0].as_py() + b"\n"
        if self.source is not None:
            return Lines(text, (self.source,), np.zeros(count_lines(text), np.int32))
        paths = table.column("path").combine_chunks().dictionary_encode()
        n_lines = pc.count_substring(values, b"\n").to_numpy() + 1
        return Lines(text, tuple(paths.dictionary.to_pylist()), np.repeat(paths.indices.to_numpy(), n_lines))
