"""Lists of movies, line by line and row by row, without Spark."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql.pandas.types import to_arrow_schema

from tastemap import schemas
from tastemap.sources import movielens, netflix, titles

MOVIES = st.tuples(
    st.integers(-3, 3),
    st.sampled_from(["Heat", "Heat 2", "Ä", "Z", "\U0001f600"]),
    st.none() | st.integers(1990, 1992),
    st.lists(st.sampled_from(["War", "Comedy"]), max_size=2),
)


def rows(movies: list[titles.Movie]) -> list[tuple]:
    table = pa.Table.from_batches(titles.one_row_each(movies), to_arrow_schema(schemas.MOVIES))
    return [tuple(row.values()) for row in table.to_pylist()]


@given(st.lists(MOVIES, max_size=30), st.randoms())
def test_a_row_a_movie_whatever_the_order(movies: list[titles.Movie], order: random.Random) -> None:
    # As Spark orders them: text by its bytes, what is missing first.
    by = {
        movie_id: min(
            (one for one in movies if one[0] == movie_id),
            key=lambda one: (one[1].encode(), one[2] is not None, one[2] or 0, one[3]),
        )
        for movie_id, *_ in movies
    }
    order.shuffle(movies)
    assert sorted(rows(movies), key=lambda row: row[0]) == [by[movie_id] for movie_id in sorted(by)]


def test_many_movies_come_in_several_batches() -> None:
    batches = list(titles.one_row_each((n, "x", None, ()) for n in range(100_000)))
    assert len(batches) == 2 and sum(batch.num_rows for batch in batches) == 100_000
    assert batches[0].schema == to_arrow_schema(schemas.MOVIES)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Heat (1995)", ("Heat", 1995)),
        (" Heat (1995) ", ("Heat", 1995)),
        ("Show (2006-2007)", ("Show", 2006)),
        ("Show (2006\u2013)", ("Show", 2006)),
        ("(1995)", ("(1995)", 1995)),
        ("Movie 43 (a film) (2013)", ("Movie 43 (a film)", 2013)),
        ("2001", ("2001", None)),
        ("Heat (95)", ("Heat (95)", None)),
        ("Heat (1995) again", ("Heat (1995) again", None)),
        ("", ("", None)),
    ],
)
def test_years_at_the_end_of_titles(title: str, expected: tuple[str, int | None]) -> None:
    assert titles.without_year(title) == expected


def test_text_in_two_encodings() -> None:
    for encoding in ("utf-8", "latin-1"):
        assert titles.decoded("Misérables".encode(encoding)) == "Misérables"


@pytest.mark.parametrize("movie_id", ["", "x", "1.5", "1e3", "٣", "2147483648", "-2147483649", "12345678901"])
def test_ids_that_are_none(movie_id: str) -> None:
    assert titles.movie(movie_id, "Heat", None, ()) is None


@pytest.mark.parametrize(("movie_id", "number"), [(" 7 ", 7), ("-2147483648", -(2**31)), ("007", 7)])
def test_ids_that_are_some(movie_id: str, number: int) -> None:
    assert titles.movie(movie_id, "Heat", 1995, ("Crime",)) == (number, "Heat", 1995, ("Crime",))
    assert titles.movie(movie_id, "  ", 1995, ("Crime",)) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,Heat (1995),Action|Crime", (1, "Heat", 1995, ["Action", "Crime"])),
        ('2,"Tra""p, The (1990)",Drama|Drama', (2, 'Tra"p, The', 1990, ["Drama"])),
        ("3,Nothing said,(no genres listed)", (3, "Nothing said", None, [])),
        ("4,Two columns", (4, "Two columns", None, [])),
        ("5,More of them (2000),War,and,so on", (5, "More of them", 2000, ["War"])),
        ('6,"Left open (1999),War', (6, "Left open (1999),War", None, [])),
        ("movieId,title,genres", None),
        ('"movieId","title","genres"', None),
        ("7", None),
        ("", None),
    ],
)
def test_lines_of_csv(line: str, expected: titles.Movie | None) -> None:
    assert movielens._of_csv(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1::Heat (1995)::Action|Crime", (1, "Heat", 1995, ["Action", "Crime"])),
        ("2::a::b (1980)::", (2, "a::b", 1980, [])),
        ("x::Heat::", None),
        ("3::Heat", None),
        ("", None),
    ],
)
def test_lines_of_dat(line: str, expected: titles.Movie | None) -> None:
    assert movielens._of_dat(line) == expected


def test_lines_of_item() -> None:
    flags = ["0"] * len(movielens.GENRES)
    head = "1|Heat (1995)|01-Jan-1995||http://x"
    assert movielens._of_item("|".join([head, *flags])) == (1, "Heat", 1995, [])
    flags[0] = flags[1] = flags[18] = "1"
    assert movielens._of_item("|".join([head, *flags])) == (1, "Heat", 1995, ["Action", "Western"])
    assert movielens._of_item("2|Short (1980)") == (2, "Short", 1980, [])
    assert movielens._of_item("") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,2003,Dinosaur Planet", (1, "Dinosaur Planet", 2003, ())),
        ("2,NULL,Rome, Pompeii ", (2, "Rome, Pompeii", None, ())),
        (" 3,,Nameless year", (3, "Nameless year", None, ())),
        ("4,19xx,Unreadable", None),
        ("5,2003,", None),
        ("x,2003,Heat", None),
        ("", None),
    ],
)
def test_lines_of_netflix(line: str, expected: titles.Movie | None) -> None:
    assert netflix._parse_title(line) == expected
