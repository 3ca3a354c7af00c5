"""Lines read eight bytes at a time, against a plain reader of lines: right, or left to somebody else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sources_oracle import EPOCH, Row, read_netflix
from tastemap.sources.lines import NO_MOVIE
from tastemap.sources.netflix_lines import PlainRatings, read_plain

PLAIN = b"1:\n1488844,3,2005-09-06\n822109,5,1999-12-31\n17770:\n7,4,2000-02-29\n99999999,1,2004-10-19\n"


def rows(found: PlainRatings | None) -> list[Row]:
    assert found is not None
    columns = (found.users, found.movies, found.stars, found.times)
    assert [column.dtype for column in columns] == [np.int64, np.int32, np.uint8, np.int64]
    return [
        (user, movie, float(stars), EPOCH + timedelta(microseconds=time), None, None)
        for user, movie, stars, time in zip(*(column.tolist() for column in columns), strict=True)
    ]


ratings = st.tuples(
    st.integers(0, 10**8 - 1), st.integers(1, 5), st.dates(date(1900, 1, 1), date(2099, 12, 31))
).map(lambda rating: f"{rating[0]},{rating[1]},{rating[2].isoformat()}")
headers = st.integers(0, 10**8 - 1).map(lambda movie: f"{movie}:")
logs = st.lists(st.one_of(ratings, ratings, headers), max_size=30).map(
    lambda lines: "".join(f"{line}\n" for line in ["5:", *lines]).encode()
)


@settings(deadline=None)
@given(logs)
@example(PLAIN)
def test_plain_lines_are_read(text: bytes) -> None:
    found = read_plain(text, NO_MOVIE)
    assert rows(found) == read_netflix(text)
    assert found is not None and found.last_movie == int(text.rpartition(b":")[0].rpartition(b"\n")[2])


@settings(deadline=None, max_examples=1000)
@given(logs, st.data())
def test_whatever_is_not_plain_is_left_or_read_as_it_is(text: bytes, data: st.DataObject) -> None:
    """One byte changed, put in or left out, at any place: what is taken is what a plain reader takes."""
    at = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.one_of(st.sampled_from(b"0123456789,:-\r\n /.;"), st.integers(0, 255)))
    left_out = data.draw(st.integers(0, 1))
    put_in = data.draw(st.sampled_from([b"", bytes([other])]))
    changed = text[:at] + put_in + text[at + left_out :]
    found = read_plain(changed, NO_MOVIE)
    if found is not None:
        stars = [row for row in read_netflix(changed, (0, 9)) if row[5] is None]
        assert rows(found) == stars == read_netflix(changed, (0, 9))


@pytest.mark.parametrize(
    "line",
    [
        *("", ":", "123456789,3,2005-09-06", "-1,3,2005-09-06", ",3,2005-09-06", "1,3.5,2005-09-06"),
        *("1,10,2005-09-06", "1,:,2005-09-06", "1,3,2005-9-06", "1,3,2005/09/06", "1,3,2005-09-06\r"),
        *("1,3,2005-00-06", "1,3,2005-13-06", "1,3,2005-09-00", "1,3,2005-09-31", "1,3,2005-02-29"),
        *("1,3,1900-02-29", "1,3,2005-19-06", "1,3,2005-09-99", "1,3,1805-09-06", "1,3,2105-09-06"),
        *("123456789:", "1 :", "x:", "1;3,2005-09-06", "1,3;2005-09-06", "a,3,2005-09-06"),
    ],
)
def test_what_is_odd_is_left(line: str) -> None:
    for text in (f"{line}\n", f"5,5,2005-05-05\n{line}\n", f"{line}\n5,5,2005-05-05\n"):
        assert read_plain(text.encode(), 7) is None


def test_ratings_of_no_movie_are_left() -> None:
    assert read_plain(b"1,3,2005-09-06\n2:\n", NO_MOVIE) is None
    assert read_plain(b"1,3,2005-09-06\n2:\n", 2**32 + 1) is None
    found = read_plain(b"1,3,2005-09-06\n2:\n", 8)
    assert found is not None and found.movies.tolist() == [8] and found.last_movie == 2
    only = read_plain(b"3:\n4:\n", NO_MOVIE)
    assert rows(only) == [] and only is not None and only.last_movie == 4


def test_every_day_of_two_centuries() -> None:
    days = np.arange("1900-01-01", "2100-01-01", dtype="M8[D]")
    text = "".join(f"1,3,{day}\n" for day in days).encode()
    found = read_plain(text, 1)
    assert found is not None
    np.testing.assert_array_equal(found.times, days.astype("M8[us]").astype(np.int64))
    last = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(found.times[-1]))
    assert last == datetime(2099, 12, 31, tzinfo=UTC)
