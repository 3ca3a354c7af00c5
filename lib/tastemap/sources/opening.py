"""Opening a rating log: find its files, tell its form, build its reader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from tastemap.config import SourceConfig
from tastemap.errors import UserError
from tastemap.executors import ArrowFunction
from tastemap.filesystem import FileSystem, escaped, first_line, plain_errors
from tastemap.rows import Rows
from tastemap.sources import local, movielens, netflix, table
from tastemap.sources.detection import FORMS, PARQUET_MAGIC, Head, look_at_parquet, look_at_text
from tastemap.sources.files import (
    HEAD_BYTES,
    Split,
    StoredFile,
    StoredFiles,
    find_files,
    for_reader,
    read_head,
    splits_of,
)
from tastemap.sources.log import RatingLog
from tastemap.sources.selection import Selection, select_files

log = logging.getLogger(__name__)

_FEW = 4  # files that are named one by one
# What compression makes of columns of digits: gzip about a third, bzip2 about a quarter.
_EXPANSION = {"": 1.0, "bz2": 4.0}
_EXPANSION_OF_OTHERS = 3.0
_KNOWN_MOVIES = (
    "movies.csv, movies.dat and u.item of MovieLens, movie_titles of the Netflix Prize, "
    "Parquet or CSV with the movie column, title, and perhaps year and genres"
)


def open_log(
    spark: SparkSession, paths: Sequence[str], config: SourceConfig, movies_path: str | None = None
) -> RatingLog:
    """Find the files of a rating log and tell their form, without reading them in full.

    Of Netflix files that Spark splits, the text about each split's start is read as well; bzip2 whole.

    Parameters
    ----------
    spark : SparkSession
        The session.
    paths : sequence of str
        Files, directories (with all below them) and glob patterns, on any file system that Spark reaches.
    config : SourceConfig
        Form, columns of own tables, and scale.
    movies_path : str, optional
        Where the movies are; by default, the published file in a directory of `paths`, or the table beside
        `ratings` that was prepared with it.

    Raises
    ------
    UserError
        If paths lead nowhere, files are empty, of unknown form, of several forms, or not as `config` says.
    """
    found = find_files(spark, paths, "--ratings")
    chosen = select_files(found, partial(_look, spark, config), config)
    files = for_reader(chosen.ratings, found)
    form = FORMS[chosen.head.ratings or ""]
    scale = _scale(form, config)
    with plain_errors(chosen.ratings[0].path, "read"):
        reading = _reading(spark, chosen, files, config, scale)
    with plain_errors(movies_path or "the list of movies", "read"):
        plan_movies = _movies(spark, chosen, movies_path, config)
    if reading.n_ratings == 0:
        raise UserError(f"--ratings leads to no ratings: {chosen.ratings[0].path} is empty")
    _tell(form, chosen, config, plan_movies is not None)
    return RatingLog(
        form=form,
        spark=spark,
        plan_records=reading.plan_records,
        parse=reading.parse,
        plan_movies=plan_movies,
        scale=scale,
        n_bytes=sum(files.sizes),
        n_ratings_estimate=reading.n_ratings,
        files=tuple(file.path for file in chosen.ratings),
        skipped=chosen.skipped,
        local=reading.local,
    )


def _tell(form: str, chosen: Selection, config: SourceConfig, has_movies: bool) -> None:
    """Say what is read and what is not."""
    names = [file.relative for file in chosen.ratings]
    shown = ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW:,} more" if len(names) > _FEW else "")
    log.info("reading %s, form %s", shown, form)
    for skipped in chosen.skipped[:_FEW]:
        log.info("skipped %s", skipped)
    if len(chosen.skipped) > _FEW:
        log.info("skipped %d more files, all named in run.json", len(chosen.skipped) - _FEW)
    if form in ("parquet", "csv") and config.time_column not in chosen.head.columns:
        log.info("no times are read, for there is no column %s; name it by --time-column", config.time_column)
    if not has_movies:
        log.info("no titles are known; give --movies the path of a list of movies to see them")


def _look(spark: SparkSession, config: SourceConfig, file: StoredFile) -> Head:
    """Look into the head of a file."""
    start = FileSystem(spark, file.path).read_bytes(file.path, 0, HEAD_BYTES)
    if not start.startswith(PARQUET_MAGIC.encode()):
        return look_at_text(read_head(spark, file, start), config)
    try:
        return look_at_parquet(spark.read.parquet(escaped(file.path)).columns, config)
    except (Py4JJavaError, PySparkException) as error:
        raise UserError(f"{file.path} cannot be read as Parquet: {first_line(error)}") from error


def _scale(form: str, config: SourceConfig) -> tuple[float, float]:
    """Lowest and highest rating: as configured, else the form's own."""
    low, high = {"movielens": movielens.SCALE, "netflix": netflix.SCALE}.get(form, table.SCALE)
    low = low if config.rating_min is None else config.rating_min
    high = high if config.rating_max is None else config.rating_max
    if low >= high:
        raise UserError(
            f"ratings from {low:g} to {high:g} are no scale; set both --rating-min and --rating-max"
        )
    return low, high


@dataclass(frozen=True)
class _Reading:
    """How a log is read: fields of `RatingLog`."""

    plan_records: Callable[[], DataFrame]
    parse: ArrowFunction | None
    n_ratings: int
    local: local.LocalReader | None = None


def _reading(
    spark: SparkSession,
    chosen: Selection,
    files: StoredFiles,
    config: SourceConfig,
    scale: tuple[float, float],
) -> _Reading:
    """Build records and parser, and estimate the number of ratings."""
    layout = chosen.head.ratings or ""
    if layout == "netflix":
        return _of_netflix(spark, chosen, files, scale)
    if layout in movielens.LAYOUTS:
        return _of_movielens(spark, chosen, files, scale)
    rows = _rows(spark, files, chosen.head, layout)
    # Parquet says it: without columns only the files' footers are read.
    n_ratings = rows.count() if layout == "parquet" else _estimate(chosen)
    parsed = table.parsed_table(rows, config, scale, chosen.head.separator)
    return _Reading(lambda: parsed, None, n_ratings)


def _of_netflix(
    spark: SparkSession, chosen: Selection, files: StoredFiles, scale: tuple[float, float]
) -> _Reading:
    are_split = netflix.pin_splits(spark, files)
    reader = local.reader(spark, chosen.ratings, netflix.COLUMNS, b":")
    plan = cache(partial(netflix.read_records, spark, files))
    splits: list[Split] = []
    if are_split:
        splits = splits_of(plan()) if reader is None else reader.splits
    parser = netflix.parser(spark, splits, plan, scale)
    return _Reading(plan, parser, _estimate(chosen), reader)


def _of_movielens(
    spark: SparkSession, chosen: Selection, files: StoredFiles, scale: tuple[float, float]
) -> _Reading:
    layout = chosen.head.ratings or ""
    columns = movielens.columns(len(chosen.ratings))
    reader = local.reader(spark, chosen.ratings, columns, b"\n", movielens.headers(layout))
    plan = cache(partial(movielens.read_records, spark, files, layout))
    if reader is None:
        plan()  # now, so that what is wrong is told of the files
    source = chosen.ratings[0].path if len(chosen.ratings) == 1 else None
    parser = movielens.MovieLensParser(movielens.LAYOUTS[layout], scale, source)
    return _Reading(plan, parser, _estimate(chosen), reader)


def _rows(spark: SparkSession, files: StoredFiles, head: Head, layout: str) -> DataFrame:
    """Read a table as it is."""
    if layout == "parquet":
        return spark.read.options(**files.options).parquet(*files.load)
    return table.read_csv(spark, files, head.columns, head.separator)


def _estimate(chosen: Selection) -> int:
    """Estimate the number of ratings of files of text by their size."""
    in_head = sum(len(line) + 1 for line in chosen.head.lines) / len(chosen.head.lines)
    per_rating = {"netflix": netflix.BYTES_PER_RATING, "csv": in_head}.get(
        chosen.head.ratings or "", movielens.BYTES_PER_RATING
    )
    n_bytes = sum(
        file.size * _EXPANSION.get(file.compression, _EXPANSION_OF_OTHERS) for file in chosen.ratings
    )
    return max(1, round(n_bytes / per_rating))


def _movies(
    spark: SparkSession, chosen: Selection, movies_path: str | None, config: SourceConfig
) -> Callable[[], Rows] | None:
    """Find the movies that were named, or else those beside the ratings; returns what reads them."""
    if movies_path is not None:
        found = _look_at_movies(spark, [movies_path], config)
    else:
        found = chosen.movies or _look_at_movies(spark, _beside_prepared(spark, chosen), config)
        if not found:
            return None
    layouts = {head.movies: head for _, head in found if head.movies is not None}
    if not layouts:
        seen = f"{found[0][0].path} begins with {found[0][1].first_line()}" if found else "empty"
        raise UserError(f"--movies {movies_path} is no known list of movies: {seen}; known: {_KNOWN_MOVIES}")
    if len(layouts) > 1:
        paths = ", ".join(file.path for file, head in found if head.movies is not None)
        raise UserError(f"movies of several forms in one run: {paths}; name one with --movies")
    layout, head = layouts.popitem()
    files = [file for file, head in found if head.movies]
    listed = for_reader(files, [file for file, _ in found])
    if layout == "netflix":
        return partial(netflix.read_titles, spark, files, listed)
    if layout in movielens.LAYOUTS:
        return partial(movielens.read_movies, spark, files, listed, layout)
    of_table = table.read_movies(_rows(spark, listed, head, layout or ""), config)
    return lambda: of_table  # planned now: its columns may be of any type


def _look_at_movies(
    spark: SparkSession, paths: Sequence[str], config: SourceConfig
) -> tuple[tuple[StoredFile, Head], ...]:
    listed = find_files(spark, paths, "--movies")
    return tuple((file, _look(spark, config, file)) for file in listed if file.size)


def _beside_prepared(spark: SparkSession, chosen: Selection) -> list[str]:
    """Name the table of movies that was prepared together with a table of ratings."""
    roots = {file.root for file in chosen.ratings if chosen.head.ratings == "parquet"}
    beside = [
        f"{root.removesuffix('/ratings')}/movies" for root in sorted(roots) if root.endswith("/ratings")
    ]
    return [path for path in beside if FileSystem(spark, path).exists(path)]
