"""Plain Python readers of rating logs, line by line: what the fast ones have to agree with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tastemap.sources import reasons

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[Any, ...]
"""user_id, movie_id, rating, rated_at, raw, reason."""


def read_line(
    line: str, separator: str, fields: Sequence[str], scale: tuple[float, float], header: int | None = None
) -> Row:
    """Read a line that is not blank; `header` is the movie of its header, -1 if there was none before it."""

    def reject(reason: str) -> Row:
        return None, None, None, None, line, reason

    texts = [text.strip() for text in line.split(separator)]
    if len(texts) != len(fields):
        return reject(reasons.FIELDS)
    values = dict(zip(fields, texts, strict=True))
    if header is None:
        if values["movie_id"] == "":
            return reject(reasons.MOVIE_MISSING)
        movie = whole(values["movie_id"], 31)
    else:
        if header == -1:
            return reject(reasons.NO_HEADER)
        movie = whole(str(header), 31)
    if movie is None:
        return reject(reasons.MOVIE_UNREADABLE)
    if values["user_id"] == "":
        return reject(reasons.USER_MISSING)
    user = whole(values["user_id"], 63)
    if user is None:
        return reject(reasons.USER_UNREADABLE)
    if values["rating"] == "":
        return reject(reasons.RATING_MISSING)
    if not re.fullmatch(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)", values["rating"]):
        return reject(reasons.RATING_UNREADABLE)
    rating = float(values["rating"])
    if not scale[0] <= rating <= scale[1]:
        return reject(reasons.off_scale(scale))
    name = fields[-1]
    if values[name] == "":
        return reject(reasons.TIME_MISSING)
    time = date(values[name]) if name == "date" else seconds(values[name])
    if time is None:
        return reject(reasons.TIME_UNREADABLE)
    return user, movie, rating, time, None, None


def read_netflix(text: bytes, scale: tuple[float, float] = (1.0, 5.0)) -> list[Row]:
    """Read a file of the Netflix Prize."""
    return list(_netflix_rows(text, scale))


def _netflix_rows(text: bytes, scale: tuple[float, float]) -> Iterator[Row]:
    movie = -1
    *lines, last = text.split(b"\n")
    for line in lines:
        header = re.fullmatch(rb"\s*([0-9]+)\s*:\s*", line)
        if header:
            movie = int(header[1])
        elif line.strip():
            yield read_line(
                line.decode("utf-8", "replace").strip(), ",", ("user_id", "rating", "date"), scale, movie
            )
    # A colon at the very end of a file cannot be seen by who reads the text between colons.
    last = last.removesuffix(b":")
    if last.strip():
        yield read_line(
            last.decode("utf-8", "replace").strip(), ",", ("user_id", "rating", "date"), scale, movie
        )


def whole(text: str, bits: int) -> int | None:
    """Read a whole number of so many bits and a sign."""
    if not re.fullmatch(r"-?[0-9]+", text):
        return None
    return int(text) if -(2**bits) <= int(text) < 2**bits else None


def date(text: str) -> datetime | None:
    """Read a date written YYYY-MM-DD."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def seconds(text: str) -> datetime | None:
    """Read seconds since 1970."""
    found = whole(text, 63)
    if found is None or not -62_135_596_800 <= found <= 253_402_300_799:  # the years 1 to 9999
        return None
    return EPOCH + timedelta(seconds=found)
