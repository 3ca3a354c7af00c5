"""Movie headers in a Netflix log: which movie is each line about, wherever the log is cut.

A log is a sequence of lines ``<movie>:``, each followed by that movie's lines ``user,rating,date``. Spark
cuts it at every colon, so a *record* is the text between two colons: the end of a header line, a movie's
ratings, and the next movie's id. Free of Spark: executors follow the records, the driver finds out what
comes before each split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tastemap.sources.lines import NO_MOVIE, count_lines

Find = Callable[[int], int]
"""Position in a file to the one after the next colon, the end of the file if there is none."""
Read = Callable[[int, int], bytes]
"""Position and number of bytes to the bytes of a file there, fewer at its end."""

_LINE_KEPT = 1000  # bytes of an endless line that go from one split to the next
_TOO_LARGE = 10**18


@dataclass(frozen=True)
class Border:
    """What comes before the first record of a split."""

    movie_id: int
    """Movie whose ratings go on, `NO_MOVIE` at the head of a file."""
    line: bytes | None
    """Start of the line the split begins in, up to the colon before its first record; None: a new file."""
    last: bool
    """Whether no later split of the file holds a record."""


@dataclass(frozen=True)
class SplitSummary:
    """What a split says to those that follow, read without knowing those before."""

    start: int
    """Position in the file, which orders the splits."""
    confirms: bool
    """Whether its first record ends the line before it, as after a header."""
    ends_line: bool
    """Whether it holds any line end."""
    movie_id: int
    """Movie of its last header, `NO_MOVIE` if it has none."""
    line: bytes
    """What follows its last line end; the whole split if there is none."""


class MovieReader:
    """Follows the records of a file in order and tells whose ratings they hold.

    Parameters
    ----------
    movie_id : int
        Movie whose ratings go on, or `NO_MOVIE`.
    line : bytes or None
        Start of the line that the next record continues after a colon; None at the head of a file.
    """

    def __init__(self, movie_id: int = NO_MOVIE, line: bytes | None = None) -> None:
        self.movie_id = movie_id
        self.line = None if line is None else bytearray(line)

    def read(self, record: bytes) -> Iterator[tuple[int, bytes | memoryview, int]]:
        """Take the next record.

        Yields
        ------
        movie_id : int
            Movie of the lines.
        lines : bytes-like
            Whole lines, each with its line end.
        n_lines : int
            How many.
        """
        first_end = record.find(b"\n")
        if first_end < 0:
            if self.line is None:
                self.line = bytearray(record)
            else:
                self.line += b":" + record
            return
        body_start = 0
        if self.line is not None:
            body_start = first_end + 1
            header = _header(self.line) if _is_blank(record[:first_end]) else None
            if header is not None:
                self.movie_id = header
            else:
                yield self.movie_id, bytes(self.line) + b":" + record[:body_start], 1
        body_end = record.rfind(b"\n") + 1
        if body_end > body_start:
            lines = memoryview(record)[body_start:body_end]
            yield self.movie_id, lines, count_lines(lines)
        self.line = bytearray(record[body_end:])

    def close(self) -> Iterator[tuple[int, bytes | memoryview, int]]:
        """Take the end of the file: a last line without a line end is still a line."""
        if self.line and not _is_blank(self.line):
            yield self.movie_id, bytes(self.line) + b"\n", 1


def summarize_split(start: int, records: Iterable[bytes]) -> SplitSummary:
    """Read the records of one split for what those after it need.

    Parameters
    ----------
    start : int
        Position of the split in its file; 0 is the first.
    records : iterable of bytes
        Its records, at least one.
    """
    # After the head of a file the first record continues an unknown line: no header of this split.
    reader = MovieReader(line=None if start == 0 else b"")
    confirms, ends_line = False, False
    for i, record in enumerate(records):
        if i == 0:
            confirms = b"\n" in record and _is_blank(record[: record.find(b"\n")])
        ends_line = ends_line or b"\n" in record
        for _ in reader.read(record):
            pass
        if reader.line is not None:
            del reader.line[_LINE_KEPT:]
    return SplitSummary(start, confirms, ends_line, reader.movie_id, bytes(reader.line or b""))


def borders(splits: Iterable[SplitSummary]) -> dict[int, Border]:
    """Join the summaries of all splits of one file that hold records.

    Returns
    -------
    dict of int to Border
        By the split's position.
    """
    movie_id, line = NO_MOVIE, None
    result: dict[int, Border] = {}
    ordered = sorted(splits, key=lambda split: split.start)
    for split in ordered:
        result[split.start] = Border(movie_id, line, split is ordered[-1])
        if split.ends_line:
            header = _header(line) if line is not None and split.confirms else None
            if split.movie_id != NO_MOVIE:
                movie_id = split.movie_id
            elif header is not None:
                movie_id = header
            line = split.line
        else:
            # The split's own text starts with the colon between the two.
            line = ((line or b"") + split.line)[:_LINE_KEPT]
    return result


def find_borders(starts: Sequence[int], size: int, find: Find, read: Read) -> dict[int, Border]:
    """Find the borders of a file's splits by reading it about their starts only.

    Parameters
    ----------
    starts : sequence of int
        Positions of all splits, ascending; 0 is the first.
    size : int
        Bytes of the file.
    find, read : callable
        Look into the file.

    Returns
    -------
    dict of int to Border
        As of `borders`: by position, without splits that hold no record.
    """
    result = {0: Border(NO_MOVIE, None, last=False)}
    record = 0
    for start, end in pairwise([*starts[1:], size]):
        # A split's first record begins after the first colon in it, unless the file ends there.
        record = record if record > start else find(start)
        if record <= end and record < size:
            result[start] = _border_before(record, read)
    last = max(result)
    result[last] = replace(result[last], last=True)
    return result


def _border_before(record: int, read: Read) -> Border:
    """Border of a split whose first record begins at this position."""
    colon = record - 1
    after = read(record, _LINE_KEPT)
    confirmed = b"\n" in after and _is_blank(after[: after.index(b"\n")])
    window = _LINE_KEPT
    while True:
        begin = max(0, colon - window)
        text = read(begin, colon - begin)
        # Of the lines in a window only those are known that begin in it.
        whole = 0 if begin == 0 else text.find(b"\n") + 1
        if begin == 0 or whole:
            reader = MovieReader()
            for piece in text[whole:].split(b":"):
                for _ in reader.read(piece):
                    pass
            line = bytes(reader.line or b"")
            header = _header(line) if confirmed else None
            movie_id = reader.movie_id if header is None else header
            if movie_id != NO_MOVIE or begin == 0:
                return Border(movie_id, line[:_LINE_KEPT], last=False)
        window *= 4


def _header(line: bytes | bytearray) -> int | None:
    """Return the movie id if the text before the colon of a line is one."""
    digits = bytes(line).strip()
    if not digits.isdigit():
        return None
    return int(digits) if len(digits) <= 18 else _TOO_LARGE


def _is_blank(text: bytes | bytearray) -> bool:
    return not text.strip()
