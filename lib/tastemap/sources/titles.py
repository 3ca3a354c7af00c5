"""Lists of movies: text in two encodings, years in titles, one row a movie.

Published lists are short, so Python reads them, in one task. In Spark's own functions and a shuffle 17,770
movies take a second and a half of a core, most of it to make programs of these functions and compile them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from tastemap import schemas
from tastemap.rows import Rows
from tastemap.sources.files import StoredFile, StoredFiles
from tastemap.sources.local import lines_reader

Movie = tuple[int, str, int | None, Sequence[str]]
"""A row of `schemas.MOVIES`."""
ParseLine = Callable[[str], Movie | None]
"""A line of a list to its movie; None where it has no readable id or no title."""

_ID = re.compile(r"\s*-?\d{1,10}\s*", re.ASCII)
_YEAR = re.compile(r"\s*\((\d{4})(?:\s*[\u2013-]\s*(?:\d{4})?)?\s*\)\s*$", re.ASCII)
_LINES = "value binary"
_YEARS = range(1800, 2201)
"""Years of release that there may be; another is none, or it would be in every figure that goes by year."""
_NO_GENRES = ("", "(no genres listed)", "unknown")


def of_lines(spark: SparkSession, files: Sequence[StoredFile], listed: StoredFiles, parse: ParseLine) -> Rows:
    """Movies, one row each, of the lines of files; `listed` names these to Spark."""
    reader = lines_reader(spark, files)
    if reader is not None:
        lines = Rows(reader.task_numbers(spark), 1, _LINES, reader)
    else:
        text = spark.read.options(**listed.options).text(listed.load)
        lines = Rows(text.select(F.col("value").cast("binary")).coalesce(1), 1, _LINES)
    return lines.mapped(partial(_of_lines, parse), schemas.MOVIES)


def of_columns(rows: DataFrame) -> Rows:
    """Movies, one row each, of a table of any size: one shuffle, each task has its share of the movies.

    Parameters
    ----------
    rows : DataFrame
        Of `schemas.MOVIES`, but that anything may be null, and genres may be text with bars between.
    """
    n_tasks = rows.sparkSession.sparkContext.defaultParallelism
    known = rows.where(F.col("movie_id").isNotNull()).repartition(n_tasks, "movie_id")
    return Rows(known, n_tasks, schemas.MOVIES, _of_columns)


def movie(movie_id: str, title: str, year: int | None, genres: Sequence[str]) -> Movie | None:
    """The movie; None where the id is not readable or there is no title."""
    if _ID.fullmatch(movie_id) is None or title.strip(" ") == "":
        return None
    number = int(movie_id)
    return (number, title, year, genres) if -(2**31) <= number < 2**31 else None


def without_year(title: str) -> tuple[str, int | None]:
    """Take the year off the end of a title: "Heat (1995)" is "Heat" and 1995, "(2006-2007)" counts as 2006.

    A title that is nothing but a year in parentheses stays as it is.
    """
    found = _YEAR.search(title)
    if found is None:
        return title.strip(" "), None
    return title[: found.start()].strip(" ") or title.strip(" "), int(found[1])


def split_genres(text: str) -> list[str]:
    """Split genres at the bars between them; MovieLens's words for none give none."""
    return [genre for genre in dict.fromkeys(text.split("|")) if genre not in _NO_GENRES]


def decoded(line: bytes) -> str:
    """Decode a line as UTF-8, or as Latin-1 if it is not valid UTF-8.

    Published files are in either, without saying which.
    """
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _of_lines(parse: ParseLine, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    values = (value for batch in batches for value in batch["value"].to_pylist())
    lines = (decoded(line) for value in values for line in value.split(b"\n"))
    return one_row_each(movie for movie in map(parse, lines) if movie is not None)


def _of_columns(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch), strict=True))
    return one_row_each(
        (movie_id, title, year, _genres(genres))
        for movie_id, title, year, genres in rows
        if (title or "").strip(" ")
    )


def _genres(given: str | Sequence[str | None] | None) -> list[str]:
    return split_genres(given) if isinstance(given, str) else list(dict.fromkeys(filter(None, given or ())))


def one_row_each(movies: Iterable[Movie]) -> Iterator[pa.RecordBatch]:
    """Batches of `schemas.MOVIES`, without years in which there were no movies.

    Of several rows of one movie, the first by title, year and genres stays, so that the choice is the same
    every time.
    """
    kept: dict[int, Movie] = {}
    for one in map(_plausible, movies):
        other = kept.setdefault(one[0], one)
        if other is not one and _order(one) < _order(other):
            kept[one[0]] = one
    schema = to_arrow_schema(schemas.MOVIES)
    columns = zip(*kept.values(), strict=True) if kept else [[]] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    yield from pa.Table.from_arrays(arrays, schema=schema).to_batches(max_chunksize=1 << 16)


def _plausible(movie: Movie) -> Movie:
    movie_id, title, year, genres = movie
    return movie_id, title, year if year in _YEARS else None, genres


def _order(movie: Movie) -> tuple[str, bool, int, list[str]]:
    _, title, year, genres = movie
    return title, year is not None, year or 0, list(genres)
