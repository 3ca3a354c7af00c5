"""Lines of numbers to Arrow columns, against a plain reader of single lines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sources_oracle import read_line
from tastemap.sources import lines as module
from tastemap.sources import reasons
from tastemap.sources.lines import PARSED_ARROW, Layout, Lines, parse_lines

SCALE = (0.5, 5.0)
FIELDS = ("user_id", "movie_id", "rating", "seconds")
LAYOUTS = [Layout(separator, FIELDS) for separator in (",", "::", "\t")]


def batch(*texts: str, end: str = "\n") -> Lines:
    text = "".join(line + end for line in texts).encode()
    return Lines(text, ("a.csv",), np.zeros(len(texts), np.int32))


def rows(parsed: pa.RecordBatch) -> list[tuple]:
    names = ("user_id", "movie_id", "rating", "rated_at", "raw", "reason")
    return [tuple(row[name] for name in names) for row in parsed.to_pylist()]


def rounded(row: tuple) -> tuple:
    return tuple(float(np.float32(value)) if isinstance(value, float) else value for value in row)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: repr(layout.separator))
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_lines_take_the_fast_way(layout: Layout, end: str) -> None:
    texts = [layout.separator.join(line) for line in (("1", "31", "2.5", "1260759144"), ("7", "2", "5", "0"))]
    found = module._parse_fast(batch(*texts, end=end), layout, SCALE)
    assert found is not None
    assert found.schema == PARSED_ARROW
    assert rows(found) == [read_line(text, layout.separator, FIELDS, SCALE) for text in texts]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3.5", reasons.FIELDS),
        ("1,2,3.5,4,5", reasons.FIELDS),
        ("Tom, Dick and Harry", reasons.FIELDS),
        (",2,3.5,4", reasons.USER_MISSING),
        ("x,2,3.5,4", reasons.USER_UNREADABLE),
        ("1.5,2,3.5,4", reasons.USER_UNREADABLE),
        ("9223372036854775808,2,3.5,4", reasons.USER_UNREADABLE),
        ("1, ,3.5,4", reasons.MOVIE_MISSING),
        ("1,2147483648,3.5,4", reasons.MOVIE_UNREADABLE),
        ("1,0x1F,3.5,4", reasons.MOVIE_UNREADABLE),
        ("1,2,,4", reasons.RATING_MISSING),
        ("1,2,nan,4", reasons.RATING_UNREADABLE),
        ("1,2,5.5,4", "rating is off the scale 0.5 to 5"),
        ("1,2,0,4", "rating is off the scale 0.5 to 5"),
        ("1,2,-1,4", "rating is off the scale 0.5 to 5"),
        ("1,2,3.5,", reasons.TIME_MISSING),
        ("1,2,3.5,2005-09-06", reasons.TIME_UNREADABLE),
        ("1,2,3.5,253402300800", reasons.TIME_UNREADABLE),
    ],
)
def test_rejects_say_why_and_keep_the_line(line: str, reason: str) -> None:
    parsed = parse_lines(batch("1,2,3.5,4", line, "5,6,4,7"), LAYOUTS[0], SCALE)
    good, bad, other = parsed.to_pylist()
    assert (good["user_id"], other["user_id"]) == (1, 5)
    assert (bad.pop("source"), bad.pop("raw"), bad.pop("reason")) == ("a.csv", line, reason)
    assert set(bad.values()) == {None}


@pytest.mark.parametrize("user", ["9223372036854775807", "-9223372036854775808", "007", "0" * 40 + "1"])
def test_ids_at_the_ends_of_their_range(user: str) -> None:
    for neighbour in ("1,2,3,4", "bad"):  # with and without a reason to take the slow way
        first = parse_lines(batch(f"{user},2147483647,3,4", neighbour), LAYOUTS[0], SCALE).to_pylist()[0]
        assert (first["user_id"], first["movie_id"], first["reason"]) == (int(user), 2147483647, None)


@pytest.mark.parametrize(
    ("date", "ok"),
    [("2004-02-29", True), ("2005-02-29", False), ("1900-02-29", False), ("2005-13-01", False),
     ("2005-00-10", False), ("2005-04-31", False), ("2005-12-31", True), ("2005-1-1", False),
     ("2005-01-00", False), ("0000-05-05", False)],
)  # fmt: skip
def test_only_days_that_exist_are_dates(date: str, ok: bool) -> None:
    layout = Layout(",", ("user_id", "rating", "date"))
    for neighbour in ("1,3,2005-01-01", "bad"):  # on the fast way and on the slow one
        lines = batch(f"1,3,{date}", neighbour)
        lines = Lines(lines.text, lines.sources, lines.source_of, np.array([8, 8]))
        found = parse_lines(lines, layout, SCALE).to_pylist()[0]
        assert found["reason"] == (None if ok else reasons.TIME_UNREADABLE)
        assert not ok or found["rated_at"].strftime("%Y-%m-%d %H:%M:%S") == f"{date} 00:00:00"


def test_blank_lines_and_bare_carriage_returns_shift_nothing() -> None:
    # Arrow sees two rows in these two lines, as it should; but not the ones that they are.
    lines = Lines(b"1,3,2005-01-01\r2,4,2005-01-01\n\n", ("a",), np.zeros(2, np.int32), np.array([10, 20]))
    found = parse_lines(lines, Layout(",", ("user_id", "rating", "date")), (1, 5)).to_pylist()
    assert [row["reason"] for row in found] == [reasons.FIELDS]


def test_long_lines_are_cut() -> None:
    found = parse_lines(batch("x" * 5000), LAYOUTS[0], SCALE).to_pylist()
    assert found[0]["raw"] == "x" * 1000


def test_every_line_keeps_its_source() -> None:
    lines = Lines(b"\nbad\n1,2,3,4\nworse\n", ("a", "b", "c"), np.array([0, 1, 1, 2], np.int32))
    found = parse_lines(lines, LAYOUTS[0], SCALE).to_pylist()
    assert [row["source"] for row in found] == ["b", None, "c"]


odd_numbers = ["", " 3 ", "1e2", "0x1f", "nan", "inf", "3.", ".5", "-.5", "+1", "1.2.3", "-", "\u0663"]
number = st.one_of(
    st.integers(0, 6).map(str), st.integers().map(str), st.sampled_from([*odd_numbers, "0" * 30 + "2"])
)
line = st.one_of(
    st.lists(number, min_size=4, max_size=4).map(",".join),
    st.lists(number, max_size=6).map(",".join),
    st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=12),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.just("1,2,3.5,4"), line), max_size=6))
@example(["1,2,3,4\r5,6,4,7"])
@example(["1,2,3,4\r5,6,4,7", ""])
def test_any_lines_agree_with_the_plain_reader(texts: list[str]) -> None:
    expected = [read_line(text.strip(), ",", FIELDS, SCALE) for text in texts if text.strip()]
    found = parse_lines(batch(*texts), LAYOUTS[0], SCALE)
    assert [rounded(row) for row in rows(found)] == [rounded(row) for row in expected]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(number, min_size=4, max_size=4).map(",".join), min_size=1, max_size=3))
def test_the_fast_way_takes_nothing_that_the_slow_way_does_not(texts: list[str]) -> None:
    fast = module._parse_fast(batch(*texts), LAYOUTS[0], SCALE)
    if fast is not None:
        # As Arrow, not as Python objects: some of these times are before the year 1.
        assert fast.equals(module._parse_slowly(batch(*texts), LAYOUTS[0], SCALE))
