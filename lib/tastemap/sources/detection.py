"""What a file holds, told from its first lines. Names are hints, content decides."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tastemap.config import SourceConfig

PARQUET_MAGIC = "PAR1"
SEPARATORS = (",", ";", "\t")
MOVIELENS_HEADER = "userId,movieId,rating,timestamp"

FORMS = {
    "movielens-csv": "movielens",
    "movielens-dat": "movielens",
    "movielens-data": "movielens",
    "netflix": "netflix",
    "parquet": "parquet",
    "csv": "csv",
}
"""The form of every layout of ratings."""

NOUNS = {
    "movielens-csv": "MovieLens ratings.csv",
    "movielens-dat": "MovieLens ratings.dat",
    "movielens-data": "MovieLens u.data",
    "netflix": "Netflix Prize",
    "parquet": "Parquet",
    "csv": "CSV",
}
"""How layouts are called in messages."""

RATING_NAMES = re.compile(r"ratings\.csv|ratings\.dat|u\.data|combined_data_\d+\.txt|mv_\d+\.txt")
"""Published names of files of ratings."""

MOVIE_NAMES = re.compile(r"movies\.csv|movies\.dat|u\.item|movie_titles\.(csv|txt)")
"""Published names of files of movies."""

_NUMBER = r"\d+(?:\.\d+)?"
_RATING_LINES = {
    "movielens-csv": re.compile(rf"\d+,\d+,{_NUMBER},\d+"),
    "movielens-dat": re.compile(rf"\d+::\d+::{_NUMBER}::\d+"),
    "movielens-data": re.compile(rf"\d+\t\d+\t{_NUMBER}\t\d+"),
    "netflix": re.compile(rf"\d+,{_NUMBER},\d{{4}}-\d\d-\d\d"),
}
_MOVIE_LINES = {
    "movielens-dat": re.compile(r"\d+::.+::.*"),
    "movielens-data": re.compile(r"\d+\|[^|]*\|[^|]*\|[^|]*\|[^|]*(\|[01]){19}"),
    "netflix": re.compile(r"\d+,(\d{4}|NULL|),.*"),
}
_NETFLIX_HEADER = re.compile(r"\d+:")
_MOVIES_HEADER = "movieId,title,genres"


@dataclass(frozen=True)
class Head:
    """The first lines of a file and what they show."""

    lines: tuple[str, ...]
    """Lines that are not blank."""
    ratings: str | None
    """Layout of ratings, a key of `FORMS`; None if it holds none of the form asked for."""
    looks_like: str | None
    """Layout of ratings whatever was asked for."""
    movies: str | None
    """Layout of movies; None if it holds none that are known."""
    empty: bool = False
    """Whether there is nothing, or nothing but a header."""
    columns: tuple[str, ...] = ()
    """Columns of a table."""
    separator: str = ","
    """Separator of a CSV table."""

    def first_line(self) -> str:
        """Show it in a message."""
        if not self.lines:
            return "nothing"
        if self.lines[0].startswith(PARQUET_MAGIC):
            return f"Parquet with the columns {', '.join(self.columns)}"
        line = self.lines[0]
        return f'"{line if len(line) <= 80 else line[:77] + "..."}"'


def rating_columns(config: SourceConfig) -> dict[str, str]:
    """Name the columns a table of ratings must have, by the option that sets them: of times if it is set."""
    needed = {
        "--user-column": config.user_column,
        "--movie-column": config.movie_column,
        "--rating-column": config.rating_column,
    }
    if config.time_column != SourceConfig.time_column:
        needed["--time-column"] = config.time_column
    return needed


def missing_columns(columns: Sequence[str], config: SourceConfig) -> dict[str, str]:
    """Select those of `rating_columns` that are not there."""
    return {option: name for option, name in rating_columns(config).items() if name not in columns}


def look_at_text(lines: Sequence[str], config: SourceConfig) -> Head:
    """Tell what a text file holds.

    Parameters
    ----------
    lines : sequence of str
        Its first lines that are not blank.
    config : SourceConfig
        The form asked for, and the columns of a CSV of your own.
    """
    lines = tuple(lines)
    if not lines:
        return Head((), None, None, None, empty=True)
    if len(lines) == 1 and (_is_movielens_header(lines[0]) or _NETFLIX_HEADER.fullmatch(lines[0].strip())):
        return Head(lines, None, None, None, empty=True)
    columns, separator = _csv_header(lines[0], config)
    published = _published_layout(lines)
    table = None if missing_columns(columns, config) else "csv"
    movies = None if published else _movie_layout(lines)
    if movies is None and {config.movie_column, "title"} <= set(columns):
        movies = "csv"
    layouts = [layout for layout in (published, table) if layout is not None]
    return Head(
        lines,
        ratings=next((layout for layout in layouts if config.format in ("auto", FORMS[layout])), None),
        looks_like=layouts[0] if layouts else None,
        movies=movies,
        empty=table is not None and len(lines) == 1,
        columns=columns,
        separator=separator,
    )


def look_at_parquet(columns: Sequence[str], config: SourceConfig) -> Head:
    """Tell what a Parquet file of these columns holds."""
    layout = None if missing_columns(columns, config) else "parquet"
    return Head(
        (PARQUET_MAGIC,),
        ratings=layout if config.format in ("auto", "parquet") else None,
        looks_like=layout,
        movies="parquet" if {config.movie_column, "title"} <= set(columns) else None,
        columns=tuple(columns),
    )


def _published_layout(lines: Sequence[str]) -> str | None:
    """Layout of published ratings; some of the first lines may be garbage, but not all."""
    for layout, pattern in _RATING_LINES.items():
        if not any(pattern.fullmatch(line) for line in lines):
            continue
        if layout == "movielens-csv" and not _is_movielens_header(lines[0]):
            continue
        if layout == "netflix" and not any(_NETFLIX_HEADER.fullmatch(line.strip()) for line in lines):
            continue
        return layout
    return None


def _is_movielens_header(line: str) -> bool:
    return line.replace('"', "") == MOVIELENS_HEADER


def _movie_layout(lines: Sequence[str]) -> str | None:
    if lines[0].replace('"', "") == _MOVIES_HEADER:
        return "movielens-csv"
    return next(
        (name for name, pattern in _MOVIE_LINES.items() if all(pattern.fullmatch(line) for line in lines)),
        None,
    )


def _csv_header(line: str, config: SourceConfig) -> tuple[tuple[str, ...], str]:
    """Split a header at the separator that gives most of the columns wanted, else most columns."""
    wanted = {config.user_column, config.movie_column, config.rating_column, config.time_column}

    def merit(separator: str) -> tuple[int, int]:
        columns = _split(line, separator)
        return len(wanted & set(columns)), len(columns)

    separator = max(SEPARATORS, key=merit)
    return _split(line, separator), separator


def _split(line: str, separator: str) -> tuple[str, ...]:
    try:
        return tuple(next(csv.reader([line], delimiter=separator), ()))
    except csv.Error:  # a field of more than 131,072 characters: no header
        return ()
