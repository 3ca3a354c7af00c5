"""Lines of numbers to Arrow columns: the parsing that MovieLens and Netflix logs share.

Executor code, free of Spark. Whole batches of lines go through Arrow's CSV parser, which knows nothing
of rejects; batches in which anything at all is odd are read again, more slowly, column by column of
strings. The fast way takes only what the slow way takes, so a line's fate never depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tastemap.sources import reasons

PARSED_ARROW = pa.schema(
    [
        ("user_id", pa.int64()),
        ("movie_id", pa.int32()),
        ("rating", pa.float32()),
        ("rated_at", pa.timestamp("us", tz="UTC")),
        ("source", pa.string()),
        ("position", pa.int64()),
        ("raw", pa.string()),
        ("reason", pa.string()),
    ]
)
"""`schemas.PARSED` in Arrow."""
REJECT_ARROW = pa.schema([PARSED_ARROW.field(name) for name in ("source", "position", "raw", "reason")])
"""`schemas.REJECTS` in Arrow."""

BATCH_BYTES = 8 * 2**20
"""Text that is parsed at once: enough to drown the cost of a call, and a small part of a worker's memory."""

RAW_LENGTH = 1000
"""Characters of a rejected line that are kept."""

NO_MOVIE = -1
"""Movie id of lines before the first header."""

_INT32, _INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Of the years 1 to 9999, by UTC, which Spark shows."""
_ARROW_TYPES = {
    "user_id": pa.int64(),
    "movie_id": pa.int64(),
    "seconds": pa.int64(),
    "date": pa.date32(),
}
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """How a line of a rating log is laid out."""

    separator: str
    """Text between two fields: a comma, a tab, two colons."""
    fields: tuple[str, ...]
    """Of `user_id`, `movie_id`, `rating`, and `date` (YYYY-MM-DD) or `seconds` (since 1970, UTC)."""


@dataclass(frozen=True)
class Lines:
    """A batch of lines and what is known about each from elsewhere."""

    text: bytes
    """The lines, each with a line end (LF or CRLF)."""
    sources: Sequence[str]
    """Files the lines are from."""
    source_of: npt.NDArray[np.int32]
    """Index into `sources`, of shape (n_lines,)."""
    movie_ids: npt.NDArray[np.int64] | None = None
    """Movie of every line, of shape (n_lines,), where lines do not name it; `NO_MOVIE` if unknown."""


def count_lines(text: bytes | memoryview) -> int:
    """How many lines end in a text. NumPy takes 2 ns for a line of Netflix's, `bytes.count` 8."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def parse_lines(lines: Lines, layout: Layout, scale: tuple[float, float]) -> pa.RecordBatch:
    """Parse a batch of lines.

    Blank lines are left out; every other line is a rating or a reject.

    Parameters
    ----------
    lines : Lines
        Lines of text.
    layout : Layout
        Their fields.
    scale : tuple of float
        Lowest and highest rating.

    Returns
    -------
    pa.RecordBatch
        With the schema `PARSED_ARROW`, in the order of the lines.
    """
    fast = _parse_fast(lines, layout, scale)
    return _parse_slowly(lines, layout, scale) if fast is None else fast


def _parse_fast(lines: Lines, layout: Layout, scale: tuple[float, float]) -> pa.RecordBatch | None:
    """Parse lines if every single one is a rating in its plainest form."""
    text = _plain(lines.text, layout.separator)
    if text is None:
        return None
    # Whole stars are read as integers, twice as fast as floats; a column is either.
    stars = pa.float32() if b"." in text else pa.int32()
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=list(layout.fields)
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=layout.separator if len(layout.separator) == 1 else ",",
                quote_char=False,
                # A blank line and a bare CR, which ends a line to Arrow, must not make up for each other.
                ignore_empty_lines=False,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={f: _ARROW_TYPES.get(f, stars) for f in layout.fields}, null_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    columns = {name: table.column(name).combine_chunks() for name in layout.fields}
    n = table.num_rows
    movie_ids = lines.movie_ids if lines.movie_ids is not None else columns["movie_id"].to_numpy()
    rating = columns["rating"].to_numpy().astype(np.float32, copy=False)
    if "seconds" in columns:
        seconds = columns["seconds"].to_numpy()
    else:  # a year 0 can be written
        seconds = columns["date"].view(pa.int32()).to_numpy().astype(np.int64) * 86_400
    if n != len(lines.source_of) or not (
        _all_within(movie_ids, _INT32)
        and (lines.movie_ids is None or _all_within(movie_ids, (0, _INT32[1])))
        and _all_within(rating, (np.float32(scale[0]), np.float32(scale[1])))
        and _all_within(seconds, (FIRST_SECOND, LAST_SECOND))
    ):
        return None
    time = _timestamps(columns["seconds"] if "seconds" in columns else columns["date"])
    return rating_batch(columns["user_id"], movie_ids, rating, time)


def rating_batch(
    users: pa.Array | npt.NDArray[np.int64],
    movie_ids: npt.NDArray[np.integer],
    ratings: npt.NDArray[np.number],
    times: pa.Array | npt.NDArray[np.int64],
) -> pa.RecordBatch:
    """Ratings, none of them a reject, with the schema `PARSED_ARROW`; arrays of shape (n,).

    Times are timestamps or microseconds since 1970, UTC.
    """
    n = len(movie_ids)
    none = pa.nulls(n, pa.string())
    return pa.record_batch(
        [
            pa.array(users),
            pa.array(movie_ids.astype(np.int32, copy=False)),
            pa.array(ratings.astype(np.float32, copy=False)),
            pa.array(times).cast(PARSED_ARROW.field("rated_at").type),
            none,
            pa.nulls(n, pa.int64()),
            none,
            none,
        ],
        schema=PARSED_ARROW,
    )


def _plain(text: bytes, separator: str) -> bytes | None:
    """Return the text with a separator of one byte, or None if it may mean something else to Arrow.

    Arrow would take more than digits for numbers: spaces, hexadecimal, `inf`.
    """
    if not text or text.translate(None, b"0123456789.-\r\n" + separator.encode()):
        return None
    return text if len(separator) == 1 else text.replace(separator.encode(), b",")


def _all_within(
    values: npt.NDArray[np.generic], bounds: tuple[float | np.float32, float | np.float32]
) -> bool:
    return len(values) == 0 or bool((values.min() >= bounds[0]) & (values.max() <= bounds[1]))


def _timestamps(time: pa.Array) -> pa.Array:
    if pa.types.is_date(time.type):
        return time.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    return time.cast(pa.timestamp("s", tz="UTC")).cast(pa.timestamp("us", tz="UTC"))


def _parse_slowly(lines: Lines, layout: Layout, scale: tuple[float, float]) -> pa.RecordBatch:
    """Parse lines of which some are not plain ratings, and say what is wrong with each of those."""
    text = pa.array(lines.text.decode("utf-8", "replace").split("\n")[:-1], pa.string())
    text = pc.utf8_trim_whitespace(text)
    there = np.flatnonzero(pc.not_equal(text, "").to_numpy(zero_copy_only=False))
    text = text.take(pa.array(there))
    fields, whole = _split(text, layout)
    fault = _Faults(len(text), scale)
    fault.set(~whole, reasons.FIELDS)
    if lines.movie_ids is None:
        movie, faulty = _integers(fields["movie_id"], _INT32)
        fault.set(_is_empty(fields["movie_id"]), reasons.MOVIE_MISSING)
    else:
        movie = pa.array(lines.movie_ids[there])
        faulty = lines.movie_ids[there] > _INT32[1]
        fault.set(lines.movie_ids[there] == NO_MOVIE, reasons.NO_HEADER)
    fault.set(faulty, reasons.MOVIE_UNREADABLE)
    user, faulty = _integers(fields["user_id"], _INT64)
    fault.set(_is_empty(fields["user_id"]), reasons.USER_MISSING)
    fault.set(faulty, reasons.USER_UNREADABLE)
    rating, faulty = _numbers(fields["rating"])
    fault.set(_is_empty(fields["rating"]), reasons.RATING_MISSING)
    fault.set(faulty, reasons.RATING_UNREADABLE)
    stars = rating.fill_null(scale[0]).to_numpy()
    fault.set(~((stars >= np.float32(scale[0])) & (stars <= np.float32(scale[1]))), reasons.off_scale(scale))
    texts = fields[layout.fields[-1]]
    time, faulty = _dates(texts) if layout.fields[-1] == "date" else _seconds(texts)
    fault.set(_is_empty(texts), reasons.TIME_MISSING)
    fault.set(faulty, reasons.TIME_UNREADABLE)

    good = pa.array(fault.code == 0)
    reject = pc.invert(good)
    source = pa.array(lines.sources, pa.string()).take(pa.array(lines.source_of[there]))
    columns = [
        pc.if_else(good, user, None),
        pc.if_else(good, movie, None).cast(pa.int32()),
        pc.if_else(good, rating, None),
        pc.if_else(good, time, None),
        pc.if_else(reject, source, None),
        pa.nulls(len(text), pa.int64()),
        pc.if_else(reject, pc.utf8_slice_codeunits(text, 0, RAW_LENGTH), None),
        pc.if_else(reject, fault.texts(), None),
    ]
    return pa.record_batch(columns, schema=PARSED_ARROW)


class _Faults:
    """The first fault of every line, as an index into the texts."""

    def __init__(self, n: int, scale: tuple[float, float]) -> None:
        self.code = np.zeros(n, np.int8)
        self._texts = [""]

    def set(self, faulty: Bools, text: str) -> None:
        self._texts.append(text)
        self.code[faulty & (self.code == 0)] = len(self._texts) - 1

    def texts(self) -> pa.Array:
        return pa.array(self._texts).take(pa.array(self.code))


def _split(text: pa.Array, layout: Layout) -> tuple[dict[str, pa.Array], Bools]:
    """Split lines into their fields; null where a line has more or fewer."""
    parts = pc.split_pattern(text, layout.separator)
    whole = pc.equal(pc.list_value_length(parts), len(layout.fields)).to_numpy(zero_copy_only=False)
    flat = pc.utf8_trim_whitespace(parts.filter(pa.array(whole)).flatten())
    row = np.cumsum(whole) - 1
    return {
        name: flat.take(pa.array(row * len(layout.fields) + i, mask=~whole))
        for i, name in enumerate(layout.fields)
    }, whole


def _is_empty(texts: pa.Array) -> Bools:
    return np.asarray(pc.equal(texts, "").fill_null(False).to_numpy(zero_copy_only=False))


def _matching(texts: pa.Array, pattern: str) -> tuple[pa.Array, Bools]:
    """Keep the texts that match, null for the others; and say which are there but do not match."""
    matches = pc.match_substring_regex(texts, pattern)
    kept = pc.if_else(matches, texts, None)
    return kept, np.asarray(pc.invert(matches).fill_null(False).to_numpy(zero_copy_only=False))


def _integers(texts: pa.Array, bounds: tuple[int, int]) -> tuple[pa.Array, Bools]:
    """Read whole numbers within bounds, null where a text is none."""
    kept, faulty = _matching(texts, r"^-?0*[0-9]{1,19}$")
    # Through decimals, because a cast to integers stops at the first that is too large.
    wide = pc.replace_substring_regex(kept, r"^(-?)0+([0-9])", r"\1\2").cast(pa.decimal128(38, 0))
    inside = pc.and_(
        pc.greater_equal(wide, pa.scalar(Decimal(bounds[0]), wide.type)),
        pc.less_equal(wide, pa.scalar(Decimal(bounds[1]), wide.type)),
    )
    outside = np.asarray(pc.invert(inside).fill_null(False).to_numpy(zero_copy_only=False))
    return pc.if_else(inside, wide, None).cast(pa.int64()), faulty | outside


def _numbers(texts: pa.Array) -> tuple[pa.Array, Bools]:
    kept, faulty = _matching(texts, r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)$")
    return kept.cast(pa.float32()), faulty


def _seconds(texts: pa.Array) -> tuple[pa.Array, Bools]:
    """Read seconds since 1970."""
    seconds, faulty = _integers(texts, (FIRST_SECOND, LAST_SECOND))
    return _timestamps(seconds), faulty


def _dates(texts: pa.Array) -> tuple[pa.Array, Bools]:
    """Read dates written YYYY-MM-DD."""
    kept, faulty = _matching(texts, r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    months = pc.utf8_slice_codeunits(kept, 0, 7)
    month_ok = pc.match_substring_regex(months, r"-(0[1-9]|1[0-2])$")
    first = pc.if_else(month_ok, pc.binary_join_element_wise(months, "01", "-"), None).cast(pa.date32())
    day = pc.utf8_slice_codeunits(kept, 8, 10).cast(pa.int32())
    date = pc.add(first.cast(pa.int32()), pc.subtract(day, pa.scalar(1, pa.int32()))).cast(pa.date32())
    # A day that does not exist lands in another month.
    exists = pc.and_(pc.equal(pc.month(date), pc.month(first)), pc.greater(day, 0))
    exists = pc.and_(exists, pc.greater(pc.year(date), 0)).fill_null(False)
    lost = np.asarray(pc.and_(pc.is_valid(kept), pc.invert(exists)).to_numpy(zero_copy_only=False))
    return _timestamps(pc.if_else(exists, date, None)), faulty | lost
