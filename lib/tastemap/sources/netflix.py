"""Netflix Prize files: `combined_data_*.txt`, `mv_*.txt`, and `movie_titles`.

The record is the text between two colons, so one record holds a movie's ratings (see `headers`). Only a
split of a file that does not begin it needs to be told which movie it is in. The text about its start
tells that, where the file is not compressed; files that Spark does not split do without it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from mmap import mmap
from operator import attrgetter
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from tastemap.compact import buffer_of
from tastemap.executors import map_in_arrow
from tastemap.filesystem import FileSystem
from tastemap.rows import Rows
from tastemap.sources import titles
from tastemap.sources.files import MIN_TASKS, Split, StoredFile, StoredFiles, largest_split
from tastemap.sources.headers import (
    Border,
    MovieReader,
    SplitSummary,
    borders,
    find_borders,
    summarize_split,
)
from tastemap.sources.lines import NO_MOVIE, Layout, Lines, parse_lines, rating_batch
from tastemap.sources.local import mapped
from tastemap.sources.netflix_lines import read_plain

SCALE = (1.0, 5.0)
BYTES_PER_RATING = 21.0
"""A line like ``1488844,3,2005-09-06``."""

MAX_LOOKED_UP = 1_000
"""Splits whose borders the driver looks up, three reads each; beyond, all executors read all splits."""

TEXT_BYTES = 1 << 19
"""Text that is parsed at once: what is made of it stays in a core's cache."""
LAYOUT = Layout(",", ("user_id", "rating", "date"))
_TITLE = re.compile(r"\s*(\d+),(\d{4}|NULL|),(.*)", re.ASCII)
_WHOLE_FILE = Border(NO_MOVIE, None, last=True)
_PLACES = {
    "path": "file_path",
    "start": "file_block_start",
    "length": "file_block_length",
    "size": "file_size",
}
COLUMNS = ("value", *_PLACES)
"""Of records."""
_SPLITS = "path string, start long, confirms boolean, ends_line boolean, movie_id long, line binary"


def read_records(spark: SparkSession, files: StoredFiles) -> DataFrame:
    """Read the text between colons, with the place of the split that it is from."""
    text = spark.read.option("lineSep", ":").options(**files.options).text(files.load)
    return text.select("value", *(F.col(f"_metadata.{of}").alias(name) for name, of in _PLACES.items()))


def parser(
    spark: SparkSession,
    splits: Sequence[Split],
    records: Callable[[], DataFrame],
    scale: tuple[float, float],
) -> NetflixParser:
    """Build the parser of records in these splits, whose borders it finds where they are not whole files."""
    return NetflixParser(scale, _borders(spark, splits, records))


def read_titles(spark: SparkSession, files: Sequence[StoredFile], listed: StoredFiles) -> Rows:
    """Read `movie_titles`: id, year or NULL, and a title that may hold commas, unquoted."""
    return titles.of_lines(spark, files, listed, _parse_title)


def _parse_title(line: str) -> titles.Movie | None:
    found = _TITLE.match(line)
    if found is None:
        return None
    movie_id, year, title = found.groups()
    return titles.movie(movie_id, title.strip(" "), int(year) if year.isdigit() else None, ())


@dataclass(frozen=True)
class NetflixParser:
    """Batches of records, one or many a value with colons between, to batches of `schemas.PARSED`.

    Runs on executors.
    """

    scale: tuple[float, float]
    """Lowest and highest rating."""
    borders: dict[tuple[str, int], Border]
    """What comes before every split that is not a whole file, by path, as Hadoop writes it, and position."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Parse the records of one partition."""
        for (path, start, whole), records in groupby(_records(batches), key=lambda item: item[:3]):
            border = _WHOLE_FILE if whole else self._border(path, start)
            movie_id = border.movie_id
            for lines in _whole_lines((item[3] for item in records), border):
                batch, movie_id = self._parse(path, lines, movie_id)
                yield batch

    def _parse(self, path: str, text: memoryview, movie_id: int) -> tuple[pa.RecordBatch, int]:
        """Parse whole lines, the first of the given movie; returns the movie of the last as well."""
        found = read_plain(text, movie_id)
        if found is not None and self._on_scale(found.stars):
            return rating_batch(found.users, found.movies, found.stars, found.times), found.last_movie
        reader = MovieReader(movie_id)
        pieces = [piece for record in bytes(text).split(b":") for piece in reader.read(record)]
        return parse_lines(_lines(path, pieces), LAYOUT, self.scale), reader.movie_id

    def _on_scale(self, stars: npt.NDArray[np.uint8]) -> bool:
        return stars.size == 0 or bool(self.scale[0] <= stars.min() and stars.max() <= self.scale[1])

    def _border(self, path: str, start: int) -> Border:
        try:
            return self.borders[unquote(path), start]
        except KeyError:
            raise RuntimeError(
                f"the split of {path} at byte {start} was not there when the log was opened; leave "
                "spark.sql.files.* settings and the files as they are between opening and reading"
            ) from None


def _whole_lines(records: Iterator[memoryview], border: Border) -> Iterator[memoryview]:
    """Text of a split in whole lines, about `TEXT_BYTES` at a time, without what the next split completes."""
    held: list[bytes | memoryview] = [] if border.line is None else [border.line]
    n_bytes = 0
    for record in records:
        held.append(record)
        n_bytes += len(record)
        if n_bytes >= TEXT_BYTES:
            text = b":".join(held)
            whole = text.rfind(b"\n") + 1
            yield from _cut(text, whole)
            held, n_bytes = [text[whole:]], 0
    text = b":".join(held)
    whole = text.rfind(b"\n") + 1
    yield from _cut(text, whole)
    if border.last and text[whole:].strip():
        yield memoryview(text[whole:] + b"\n")


def _cut(text: bytes, end: int) -> Iterator[memoryview]:
    """A text up to `end`, where a line ends, in parts of whole lines and about `TEXT_BYTES`."""
    start = 0
    while start < end:
        at = text.find(b"\n", min(start + TEXT_BYTES, end) - 1) + 1
        yield memoryview(text)[start:at]
        start = at


def _lines(path: str, pieces: list[tuple[int, bytes | memoryview, int]]) -> Lines:
    movie_id, n_lines = np.array([(piece[0], piece[2]) for piece in pieces], np.int64).reshape(-1, 2).T
    return Lines(
        text=b"".join(piece[1] for piece in pieces),
        sources=(path,),
        source_of=np.zeros(n_lines.sum(), np.int32),
        movie_ids=np.repeat(movie_id, n_lines),
    )


def _records(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, int, bool, memoryview]]:
    """Yield path, start of the split, whether it is the whole file, and text of every record."""
    for batch in batches:
        path, start, length, size = (
            batch.column(name).to_pylist() for name in ("path", "start", "length", "size")
        )
        values = batch.column("value").cast(pa.binary())
        for i in range(batch.num_rows):
            whole = start[i] == 0 and length[i] >= size[i]
            yield path[i], start[i], whole, memoryview(buffer_of(values, i))


def pin_splits(spark: SparkSession, files: StoredFiles) -> bool:
    """Make Spark split the files the same way every time it reads them; return whether it splits any.

    The size of splits depends on the number of cores, which grows while executors still arrive, unless it
    is set. It stays for the session: other files too are then split for the cores that there are now.
    """
    if spark.conf.get(MIN_TASKS, None) is None:
        spark.conf.set(MIN_TASKS, str(spark._jsparkSession.leafNodeDefaultParallelism()))
    return max(files.sizes) > largest_split(spark, files.sizes)


def _borders(
    spark: SparkSession, splits: Sequence[Split], records: Callable[[], DataFrame]
) -> dict[tuple[str, int], Border]:
    """Find out what comes before every split."""
    listed = sorted(splits, key=attrgetter("uri", "start"))
    by_path = {path: list(splits) for path, splits in groupby(listed, key=attrgetter("uri"))}
    cut = {path: splits for path, splits in by_path.items() if len(splits) > 1}
    if len(listed) > MAX_LOOKED_UP or any(path.endswith(".bz2") for path in cut):
        return _borders_in_a_pass(records())
    found: dict[tuple[str, int], Border] = {}
    for path, splits in cut.items():
        files = FileSystem(spark, path)
        starts, size = [split.start for split in splits], splits[0].size
        local_path = files.local_path(path)
        if local_path is None:
            at_starts = find_borders(
                starts, size, partial(files.find, path, b":"), partial(files.read_bytes, path)
            )
        else:  # each look would be a dozen calls into the JVM
            with mapped(local_path) as text:
                at_starts = _borders_in(text, starts)
        found |= {(path, start): border for start, border in at_starts.items()}
    return found


def _borders_in(text: mmap, starts: Sequence[int]) -> dict[int, Border]:
    def after_colon(start: int) -> int:
        return text.find(b":", start) + 1 or len(text)

    return find_borders(starts, len(text), after_colon, lambda start, length: text[start : start + length])


def _borders_in_a_pass(records: DataFrame) -> dict[tuple[str, int], Border]:
    """Find out what comes before every split by a pass over them: there are many, or no positions in them.

    As many rows as splits come to the driver.
    """
    # The same DataFrame, unfiltered: Spark would prune files by a filter on their metadata, and fewer
    # files may be split differently.
    ends = records.withColumn("value", _ends(F.col("value")))
    rows = map_in_arrow(ends, _summarize, _SPLITS).collect()
    by_path = defaultdict(list)
    for row in rows:
        split = SplitSummary(row.start, row.confirms, row.ends_line, row.movie_id, bytes(row.line))
        by_path[unquote(row.path)].append(split)
    return {
        (path, start): border for path, splits in by_path.items() for start, border in borders(splits).items()
    }


def _ends(record: Column) -> Column:
    """Leave out all lines but the first and the last, which are all that borders need."""
    first, last = F.substring_index(record, "\n", 1), F.substring_index(record, "\n", -1)
    return F.when(record.contains("\n"), F.concat(first, F.lit("\n"), last)).otherwise(record)


def _summarize(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for (path, start, whole), records in groupby(_records(batches), key=lambda item: item[:3]):
        if not whole:
            split = summarize_split(start, (bytes(item[3]) for item in records))
            yield pa.RecordBatch.from_pylist([{"path": path, **vars(split)}])
