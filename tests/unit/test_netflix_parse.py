"""Netflix files, cut anywhere, against a plain reader of lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources_oracle import Row, read_netflix
from tastemap.sources import netflix, reasons
from tastemap.sources.headers import borders, find_borders, summarize_split
from tastemap.sources.netflix import NetflixParser

NAMES = ("user_id", "movie_id", "rating", "rated_at", "raw", "reason")
PLAIN = b"1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n885013,4,2005-10-19\n"


def records_of(text: bytes) -> list[bytes]:
    """Cut a text as Spark's reader does with a colon for line separator."""
    pieces = text.split(b":")
    return pieces if pieces[-1] else pieces[:-1]


def batches_of(path: str, splits: dict[int, list[bytes]], whole: bool, size: int) -> Iterator[pa.RecordBatch]:
    found = [(record, start) for start, records in splits.items() for record in records]
    for i in range(0, len(found), size):
        values, starts = zip(*found[i : i + size], strict=True)
        yield pa.record_batch(
            {
                "value": pa.array(values, pa.binary()).cast(pa.binary()),
                "path": [path] * len(values),
                "start": pa.array(starts, pa.int64()),
                "length": pa.array([10 if whole else 1] * len(values), pa.int64()),
                "size": pa.array([10] * len(values), pa.int64()),
            }
        )


def rows(batches: Iterator[pa.RecordBatch]) -> list[Row]:
    return [tuple(row[name] for name in NAMES) for batch in batches for row in batch.to_pylist()]


def parse_whole(text: bytes) -> list[Row]:
    batches = batches_of("file:/a.txt", {0: records_of(text)}, whole=True, size=3)
    return rows(NetflixParser((1.0, 5.0), {})(batches))


def parse_in_splits(text: bytes, cuts: list[int], size: int) -> list[Row]:
    """Parse a text whose records are dealt to splits that begin at `cuts`, each in a task of its own."""
    records = records_of(text)
    starts = [0, *sorted({cut % (len(records) + 1) for cut in cuts} - {0})]
    ends = [*starts[1:], len(records)]
    splits = {
        start: records[start:end] for start, end in zip(starts, ends, strict=True) if records[start:end]
    }
    # Driver and executors do this with the middle of every record left out.
    summaries = [summarize_split(start, found) for start, found in splits.items()]
    known = {("file:/a.txt", start): border for start, border in borders(reversed(summaries)).items()}
    parser = NetflixParser((1.0, 5.0), known)
    return [
        row
        for start, found in splits.items()
        for row in rows(parser(batches_of("file:/a.txt", {start: found}, whole=False, size=size)))
    ]


def parse_in_byte_splits(text: bytes, cuts: list[int]) -> list[Row]:
    """Parse a text whose bytes are dealt to splits that begin at `cuts`."""

    def after_colon(position: int) -> int:
        return text.find(b":", position) + 1 or len(text)

    starts = [0, *sorted({cut % (len(text) + 1) for cut in cuts} - {0, len(text)})]
    splits: dict[int, list[bytes]] = {}
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        # As Hadoop's reader does: the record that begins where a split ends is still read with it.
        position = after_colon(start) if start else 0
        while position <= end and position < len(text):
            record = text[position : after_colon(position)]
            splits.setdefault(start, []).append(record.removesuffix(b":"))
            position += len(record)
    found = find_borders(starts, len(text), after_colon, lambda start, n: text[start : start + n])
    assert found.keys() - {0} == splits.keys() - {0}
    known = {("file:/a.txt", start): border for start, border in found.items()}
    parser = NetflixParser((1.0, 5.0), known)
    return [
        row
        for start, records in splits.items()
        for row in rows(parser(batches_of("file:/a.txt", {start: records}, whole=False, size=2)))
    ]


def test_a_published_file() -> None:
    assert parse_whole(PLAIN) == read_netflix(PLAIN)
    assert [row[:3] for row in parse_whole(PLAIN)] == [(1488844, 1, 3.0), (822109, 1, 5.0), (885013, 2, 4.0)]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.rstrip(b"\n"),
        PLAIN + b"3:\n",
        PLAIN + b"3:",
        PLAIN + b"\n\n",
        b"\n" + PLAIN,
        b"1:\n2:\n3:\n1,1,2005-01-01\n",
        b"1,1,2005-01-01\n" + PLAIN,
        b"1:\n1,1,2005-01-01\n12:34,foo\n2,2,2005-01-02\n",
        b"1:\n1,1,2005-01-01\n12:34\n2,2,2005-01-02\n",
        b"1:\n::::\n2,2,2005-01-02\n",
        b"1:\n1,1,2005-01-01\n3:4:\n2,2,2005-01-02\n",
        b"1:\n1,1,2005-01-01\nx12:\n2,2,2005-01-02\n",
        b"99999999999:\n1,1,2005-01-01\n1:\n2,2,2005-01-02\n",
        b"1" * 30 + b":\n1,1,2005-01-01\n",
        b"1:\n1,6,2005-01-01\n1,0,2005-01-01\n1,3,2005-02-30\n,3,2005-01-01\n1,,2005-01-01\n1,3,\n1,3\n",
        b"1:\n\xff\xfe\xe9,1,2005-01-01\n2,2,2005-01-02\n",
        b"1",
        b":",
        b"",
    ],
    ids=lambda text: repr(text[-40:]),
)
def test_odd_files_in_one_piece_and_in_many(text: bytes) -> None:
    expected = read_netflix(text)
    assert parse_whole(text) == expected
    assert parse_in_splits(text, list(range(len(text))), size=1) == expected
    assert parse_in_byte_splits(text, list(range(len(text)))) == expected


def test_rejects_of_a_movie_without_a_readable_id() -> None:
    text = b"1,1,2005-01-01\n2147483648:\n2,2,2005-01-01\n2147483647:\n3,3,2005-01-01\n"
    assert [row[1::4] for row in parse_whole(text)] == [
        (None, reasons.NO_HEADER),
        (None, reasons.MOVIE_UNREADABLE),
        (2147483647, None),
    ]


@pytest.mark.parametrize("header", [b"2147483648:\n", b"4294967297:\n", b"1" * 30 + b":\n"])
def test_rejects_of_such_a_movie_by_the_thousand(header: bytes) -> None:
    """Whether a piece of text without the header is plain makes no difference."""
    found = parse_whole(header + b"1488844,3,2005-09-06\n" * 40_000)
    assert Counter(row[1::4] for row in found) == {(None, reasons.MOVIE_UNREADABLE): 40_000}


def test_a_split_that_was_not_there_stops_the_task_instead_of_guessing() -> None:
    batches = batches_of("file:/a.txt", {5: [b"\n1,1,2005-01-01\n"]}, whole=False, size=1)
    with pytest.raises(RuntimeError, match=r"split of file:/a\.txt at byte 5 was not there"):
        list(NetflixParser((1.0, 5.0), {})(batches))


def test_files_that_follow_each_other_in_a_task_do_not_mix() -> None:
    first = batches_of("file:/mv_1.txt", {0: records_of(b"1:\n1,1,2005-01-01\n2,2,bad")}, True, 10)
    second = batches_of("file:/mv_2.txt", {0: records_of(b"worse\n2:\n3,3,2005-01-01\n")}, True, 10)
    found = [
        row for batch in NetflixParser((1.0, 5.0), {})(iter([*first, *second])) for row in batch.to_pylist()
    ]
    assert [(row["movie_id"], row["source"], row["raw"]) for row in found] == [
        (1, None, None),
        (None, "file:/mv_1.txt", "2,2,bad"),
        (None, "file:/mv_2.txt", "worse"),
        (2, None, None),
    ]


good = st.tuples(st.integers(1, 9999), st.integers(1, 5), st.integers(1, 28)).map(
    lambda rating: f"{rating[0]},{rating[1]},2005-01-{rating[2]:02d}".encode()
)
header = st.integers(0, 30000).map(lambda movie: f"{movie}:".encode())
odd = st.one_of(
    st.sampled_from(
        [b"", b":", b"::", b"7:7", b"7:7:", b" 8 :", b"x:", b":9", b"5,5", b"1,9,2005-01-01", b"12"]
    ),
    st.lists(st.sampled_from(list(b"0123456789:,-\r x\xe9")), max_size=12).map(bytes),
)
text = st.tuples(
    st.lists(st.one_of(good, header, odd), max_size=14),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
).map(lambda made: made[1].join(made[0]) + (made[1] if made[2] else b""))


def test_the_header_before_a_border_may_be_far_away() -> None:
    """A colon that is no header's tells nothing: the last header is looked for in ever larger windows."""
    line = b"%d,3,2005-01-01\n"
    head = b"5:\n" + b"".join(line % user for user in range(400))
    text = head + b"7:7\n" + line % 401 + b"6:\n" + line % 402
    assert parse_in_byte_splits(text, [len(head)]) == read_netflix(text)
    assert [row[1] for row in parse_in_byte_splits(text, [len(head)])[-2:]] == [5, 6]


@settings(deadline=None, max_examples=500)
@given(text, st.lists(st.integers(0, 1000), max_size=12), st.integers(1, 5), st.sampled_from([1, 40, 2**23]))
def test_any_cut_of_any_file_gives_what_a_plain_reader_gives(
    text: bytes, cuts: list[int], size: int, batch_bytes: int
) -> None:
    expected = read_netflix(text)
    with mock.patch.object(netflix, "TEXT_BYTES", batch_bytes):
        assert parse_whole(text) == expected
        assert parse_in_splits(text, cuts, size) == expected
        assert parse_in_byte_splits(text, cuts) == expected
