"""Netflix Prize files: `combined_data_*.txt`, `mv_*.txt`, and `movie_titles`.

The record is the text between two colons, so one record holds a movie's ratings (see `headers`). Only a
split of a file that does not begin it needs to be told which movie it is in. The text about its start
tells that, where the file is not compressed; files that Spark does not split do without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from mmap import mmap
from operator import attrgetter
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from tastemap.executors import map_in_arrow
from tastemap.filesystem import FileSystem
from tastemap.sources.files import StoredFiles, splits_of
from tastemap.sources.headers import (
    Border,
    MovieReader,
    SplitSummary,
    borders,
    find_borders,
    summarize_split,
)
from tastemap.sources.lines import BATCH_BYTES, NO_MOVIE, Layout, Lines, count_lines, parse_lines
from tastemap.sources.local import mapped
from tastemap.sources.titles import decoded, movie_table

SCALE = (1.0, 5.0)
BYTES_PER_RATING = 21.0
"""A line like ``1488844,3,2005-09-06``."""

MAX_LOOKED_UP = 1_000
"""Splits whose borders the driver looks up, three reads each; beyond, all executors read all splits."""

LAYOUT = Layout(",", ("user_id", "rating", "date"))
_Piece = tuple[str, int, bytes | memoryview, int]  # path, movie, lines, how many
_WHOLE_FILE = Border(NO_MOVIE, None, last=True)
_SPLITS = "path string, start long, confirms boolean, ends_line boolean, movie_id long, line binary"


def read_records(spark: SparkSession, files: StoredFiles) -> DataFrame:
    """Read the text between colons, with the place of the split that it is from."""
    text = spark.read.option("lineSep", ":").options(**files.options).text(files.load)
    return text.select(
        F.col("value"),
        F.col("_metadata.file_path").alias("path"),
        F.col("_metadata.file_block_start").alias("start"),
        F.col("_metadata.file_block_length").alias("length"),
        F.col("_metadata.file_size").alias("size"),
    )


def parser(
    spark: SparkSession, records: DataFrame, files: StoredFiles, scale: tuple[float, float]
) -> NetflixParser:
    """Build the parser of `records`, finding the borders of splits where there are any."""
    return NetflixParser(scale, _borders(spark, records) if _pin_splits(spark, files) else {})


def read_titles(spark: SparkSession, files: StoredFiles) -> DataFrame:
    """Read `movie_titles`: id, year or NULL, and a title that may hold commas, unquoted."""
    line = decoded(F.col("value"))
    part = [F.regexp_extract(line, r"^\s*(\d+),(\d{4}|NULL|),(.*)$", i) for i in (1, 2, 3)]
    return movie_table(
        spark.read.options(**files.options).text(files.load), part[0], F.trim(part[2]), _int(part[1]), None
    )


@dataclass(frozen=True)
class NetflixParser:
    """Batches of records to batches of `schemas.PARSED`; runs on executors."""

    scale: tuple[float, float]
    """Lowest and highest rating."""
    borders: dict[tuple[str, int], Border]
    """What comes before every split that is not a whole file, by path, as Hadoop writes it, and position."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Parse the records of one partition."""
        gathered: list[_Piece] = []
        n_bytes = 0
        for piece in chain.from_iterable(map(_cut, self._pieces(batches))):
            gathered.append(piece)
            n_bytes += len(piece[2])
            if n_bytes >= BATCH_BYTES:
                yield parse_lines(_lines(gathered), LAYOUT, self.scale)
                gathered, n_bytes = [], 0
        if gathered:
            yield parse_lines(_lines(gathered), LAYOUT, self.scale)

    def _pieces(self, batches: Iterator[pa.RecordBatch]) -> Iterator[_Piece]:
        for (path, start, whole), records in groupby(_records(batches), key=lambda item: item[:3]):
            border = _WHOLE_FILE if whole else self._border(path, start)
            reader = MovieReader(border.movie_id, border.line)
            for item in records:
                for lines in reader.read(item[3]):
                    yield path, *lines
            if border.last:
                for lines in reader.close():
                    yield path, *lines

    def _border(self, path: str, start: int) -> Border:
        try:
            return self.borders[unquote(path), start]
        except KeyError:
            raise RuntimeError(
                f"the split of {path} at byte {start} was not there when the log was opened; leave "
                "spark.sql.files.* settings and the files as they are between opening and reading"
            ) from None


def _cut(piece: _Piece) -> Iterator[_Piece]:
    """A piece in parts of whole lines and about `BATCH_BYTES`: one movie may have millions of ratings."""
    path, movie_id, lines, _ = piece
    if len(lines) <= BATCH_BYTES:
        yield piece
        return
    text, start = bytes(lines), 0
    while start < len(text):
        end = text.find(b"\n", start + BATCH_BYTES) + 1 or len(text)
        yield path, movie_id, text[start:end], count_lines(text[start:end])
        start = end


def _lines(pieces: list[_Piece]) -> Lines:
    sources: dict[str, int] = {}
    rows = [(sources.setdefault(path, len(sources)), movie_id, n) for path, movie_id, _, n in pieces]
    source, movie_id, n_lines = np.array(rows, np.int64).T
    return Lines(
        text=b"".join(piece[2] for piece in pieces),
        sources=tuple(sources),
        source_of=np.repeat(source.astype(np.int32), n_lines),
        movie_ids=np.repeat(movie_id, n_lines),
    )


def _records(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, int, bool, bytes]]:
    """Yield path, start of the split, whether it is the whole file, and text of every record."""
    for batch in batches:
        path, start, length, size = (
            batch.column(name).to_pylist() for name in ("path", "start", "length", "size")
        )
        values = batch.column("value").cast(pa.binary())
        for i, value in enumerate(values):
            yield path[i], start[i], start[i] == 0 and length[i] >= size[i], value.as_py()


def _pin_splits(spark: SparkSession, files: StoredFiles) -> bool:
    """Make Spark split the files the same way every time it reads them; return whether it splits any.

    The size of splits depends on the number of cores, which grows while executors still arrive, unless it
    is set. It stays for the session: other files too are then split for the cores that there are now.
    """
    key = "spark.sql.files.minPartitionNum"
    conf = spark._jsparkSession.sessionState().conf()
    if spark.conf.get(key, None) is None:
        spark.conf.set(key, str(spark._jsparkSession.leafNodeDefaultParallelism()))
    open_cost = int(conf.filesOpenCostInBytes())
    n_bytes = sum(files.sizes) + open_cost * len(files.sizes)
    per_partition = n_bytes // int(str(spark.conf.get(key)))
    largest = min(int(conf.filesMaxPartitionBytes()), max(open_cost, per_partition))
    return max(files.sizes) > largest


def _borders(spark: SparkSession, records: DataFrame) -> dict[tuple[str, int], Border]:
    """Find out what comes before every split."""
    listed = sorted(splits_of(records), key=attrgetter("uri", "start"))
    by_path = {path: list(splits) for path, splits in groupby(listed, key=attrgetter("uri"))}
    cut = {path: splits for path, splits in by_path.items() if len(splits) > 1}
    if len(listed) > MAX_LOOKED_UP or any(path.endswith(".bz2") for path in cut):
        return _borders_in_a_pass(records)
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
            split = summarize_split(start, (item[3] for item in records))
            yield pa.RecordBatch.from_pylist([{"path": path, **vars(split)}])


def _int(text: Column) -> Column:
    return F.when(text.rlike(r"^\d+$"), text.cast("int"))
