"""Plain lines of Netflix's form to columns, eight bytes at a time.

Executor code, free of Spark and of Python loops over lines. Fields are counted from the ends of lines: what
comes before a line's end is always a star, a date and their commas, in as many bytes. Eight bytes taken as
one number are eight digits that three multiplications read. That takes 35 ns a line; Arrow's CSV reader,
which knows nothing of it, takes 59, and 7 more to look for what it would take for numbers wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from tastemap.sources.lines import NO_MOVIE

LONGEST = 8
"""Digits of an id that fit into a word; Netflix's have seven."""

Words = npt.NDArray[np.uint64]

_AFTER_USER = len(",3,2005-09-06")
_AFTER_MOVIE = len(":")
TAIL = 24
"""Bytes before a line's end, of which the last 21 are looked at."""
_PADDING = b"\n" * TAIL
"""Before the text, so that there are as many before the first line's end."""
_DAYS = 1 << 16
"""Places for the days of a century, by year, month and day."""
_NO_DAY = np.iinfo(np.int64).min
_LARGEST_MOVIE = np.iinfo(np.int32).max


def _word(text: bytes) -> np.uint64:
    """Eight bytes as a number, the first the least."""
    return np.uint64(int.from_bytes(text, "little"))


_LAST_BYTES = np.array([2**64 - 2 ** (64 - 8 * n) for n in range(LONGEST + 1)], np.uint64)
"""Masks of a word's last bytes, by their number."""
_ZEROS, _NO_DATE = _word(b"00000000"), _word(b"00-00-00")
_TOP_BITS = _word(b"\x80" * 8)
# Added to bytes they set the top bit of those that are above 9, above 0 (x7f), or above 12 and 31.
_ABOVE_NINE = _word(b"\x76" * 8)
_ABOVE_DATE = _word(b"\x76\x76\x7f\x76\x76\x7f\x76\x76")
_ABOVE_CALENDAR = _word(bytes([0, 0, 0, 0x80 - 13, 0, 0, 0x80 - 32, 0]))
_YEAR_MONTH_DAY = _word(b"\xff\0\0\xff\0\0\xff\0")
# Of the eight bytes before them, three are the user's.
_COMMAS = _word(b"\0\0\0\xff\0\xff\0\0")
_BETWEEN_COMMAS = _word(b"\0\0\0,\0,\0\0")
_CENTURY, _LAST_CENTURY = (int.from_bytes(text, "little") for text in (b"20", b"19"))


@dataclass(frozen=True)
class PlainRatings:
    """Ratings of plain lines, in their order; arrays of shape (n,)."""

    users: npt.NDArray[np.int64]
    movies: npt.NDArray[np.int32]
    stars: npt.NDArray[np.uint8]
    times: npt.NDArray[np.int64]
    """Microseconds since 1970, UTC."""
    last_movie: int
    """Movie of the last header, or the one that was given."""


def read_plain(text: bytes | memoryview, movie_id: int) -> PlainRatings | None:
    """Read whole lines like ``1488844,3,2005-09-06`` and headers like ``17770:``.

    Parameters
    ----------
    text : bytes-like
        Whole lines, each with its line end (LF), at least one.
    movie_id : int
        Movie of the lines before the first header; `NO_MOVIE` if that is not known. One of more than 32 bits
        is that of a header which was no plain line.

    Returns
    -------
    PlainRatings or None
        None where any line is anything else: other bytes, more than eight digits, a date that does not exist
        or is not of 1900 to 2099, ratings of no movie. Stars are any digit.
    """
    padded = b"".join([_PADDING, text])
    ends = np.flatnonzero(np.frombuffer(padded, np.uint8) == ord("\n"))[len(_PADDING) - 1 :]
    lengths = np.diff(ends) - 1
    # The bytes before each end at once: they are not aligned, and to NumPy eight are as dear as all.
    tails = np.ndarray((len(padded) - TAIL + 1,), f"V{TAIL}", padded, strides=(1,))[ends[1:] - TAIL]
    first, head, date = tails.view("<u8").reshape(-1, 3).T.copy()
    is_header = date >> np.uint64(56) == ord(":")
    if not is_header.any():
        movies, sizes = np.array([movie_id]), np.array([lengths.size])
    else:
        at, lines = np.flatnonzero(is_header), ~is_header
        digits = (head[at] >> np.uint64(56)) | (date[at] << np.uint64(8))
        found = _numbers(digits, lengths[at] - _AFTER_MOVIE)
        if found is None:
            return None
        movies, sizes = np.append(movie_id, found), np.diff([-1, *at, lengths.size]) - 1
        first, head, date, lengths = first[lines], head[lines], date[lines], lengths[lines]
    if sizes[0] > 0 and (movie_id == NO_MOVIE or movie_id > _LARGEST_MOVIE):
        return None
    users = _numbers((first >> np.uint64(24)) | (head << np.uint64(40)), lengths - _AFTER_USER)
    times, stars = _times(date, head), _stars(head)
    if users is None or times is None or stars is None:
        return None
    return PlainRatings(users, np.repeat(movies.astype(np.int32), sizes), stars, times, int(movies[-1]))


def _numbers(digits: Words, n_digits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """Numbers of the last so many digits of words; None if any is none, or longer than a word."""
    if n_digits.min(initial=1) < 1 or n_digits.max(initial=1) > LONGEST:
        return None
    digits ^= _ZEROS
    digits &= _LAST_BYTES[n_digits]
    if np.bitwise_or.reduce((digits + _ABOVE_NINE) | digits) & _TOP_BITS:
        return None
    # Neighbours joined to numbers of two, four and eight digits.
    for bits, kept in ((8, 0x00FF00FF00FF00FF), (16, 0x0000FFFF0000FFFF), (32, 0xFFFFFFFF)):
        digits = digits * np.uint64(10 ** (bits // 8)) + (digits >> np.uint64(bits))
        digits &= np.uint64(kept)
    return digits.view(np.int64)


def _stars(head: Words) -> npt.NDArray[np.uint8] | None:
    """Stars between commas; None if any are not."""
    stars = ((head >> np.uint64(32)) ^ np.uint64(ord("0"))).astype(np.uint8)
    others = head & _COMMAS
    return None if stars.max(initial=0) > 9 or (others != _BETWEEN_COMMAS).any() else stars


def _times(date: Words, head: Words) -> npt.NDArray[np.int64] | None:
    """Microseconds since 1970 of the last ten bytes, a date; None if any are none."""
    date ^= _NO_DATE
    strange = np.bitwise_or.reduce((date + _ABOVE_DATE) | date)
    date = date * np.uint64(10) + (date >> np.uint64(8))
    date &= _YEAR_MONTH_DAY
    strange |= np.bitwise_or.reduce(date + _ABOVE_CALENDAR)
    century = (head >> np.uint64(48)).astype(np.uint16)
    of_last = century == _LAST_CENTURY
    if strange & _TOP_BITS or not (of_last | (century == _CENTURY)).all():
        return None
    day = date << np.uint64(9)
    day |= date >> np.uint64(19)
    day |= date >> np.uint64(48)
    day &= np.uint64(_DAYS - 1)
    day += of_last * np.uint64(_DAYS)
    times = _calendar()[day.view(np.int64)]
    return None if times.min(initial=0) == _NO_DAY else times


@cache
def _calendar() -> npt.NDArray[np.int64]:
    """Microseconds since 1970 by year, month, day, in 7, 4 and 5 bits: of 2000 to 2099, then of 1900 on."""
    table = np.full((2, _DAYS), _NO_DAY)
    for of_century, first in zip(table, (2000, 1900), strict=True):
        days = np.arange(f"{first}-01-01", f"{first + 100}-01-01", dtype="M8[D]")
        months = days.astype("M8[M]")
        year, month = np.divmod(months.astype(np.int64) - 12 * (first - 1970), 12)
        day = (days - months).astype(np.int64) + 1
        of_century[(year << 9) | ((month + 1) << 5) | day] = days.astype("M8[us]").astype(np.int64)
    return table.ravel()
