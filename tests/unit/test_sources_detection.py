"""What a file holds, and which files belong to a log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tastemap.config import SourceConfig
from tastemap.errors import UserError
from tastemap.sources.detection import Head, look_at_parquet, look_at_text
from tastemap.sources.files import StoredFile
from tastemap.sources.selection import Selection, select_files

AUTO = SourceConfig()
ML_CSV = ["userId,movieId,rating,timestamp", "1,1,4.0,964982703"]
ML_DAT = ["1::1193::5::978300760"]
ML_DATA = ["196\t242\t3\t881250949"]
NETFLIX = ["1:", "1488844,3,2005-09-06"]
TABLE = ["user_id,movie_id,rating", "1,2,3"]
ITEM = "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"


@pytest.mark.parametrize(
    ("lines", "ratings"),
    [
        (ML_CSV, "movielens-csv"),
        (['"userId","movieId","rating","timestamp"', "1,1,4.0,964982703"], "movielens-csv"),
        (["userId,movieId,rating,timestamp", "garbage", "1,1,4.0,964982703"], "movielens-csv"),
        (ML_DAT, "movielens-dat"),
        (ML_DATA, "movielens-data"),
        (NETFLIX, "netflix"),
        (["garbage", *NETFLIX], "netflix"),
        (["1488844,3,2005-09-06"], None),
        (["1:", "30878", "2647871"], None),  # probe.txt
        (["1:", "1046323,2005-12-19"], None),  # qualifying.txt
        (["userId,movieId,tag,timestamp", "2,60756,funny,1445714994"], None),
        (["1,1,4.0,964982703"], None),
        (TABLE, "csv"),
        (["rating;movie_id;x;user_id", "3;2;;1"], "csv"),
        (['"user_id"\t"movie_id"\t"rating"', "1\t2\t3"], "csv"),
    ],
)
def test_ratings_are_told_by_their_lines(lines: list[str], ratings: str | None) -> None:
    head = look_at_text(lines, AUTO)
    assert (head.ratings, head.empty) == (ratings, False)


@pytest.mark.parametrize(
    ("lines", "movies"),
    [
        (["movieId,title,genres", '4,"American President, The (1995)",Comedy'], "movielens-csv"),
        (["1::Toy Story (1995)::Animation|Children's"], "movielens-dat"),
        ([ITEM], "movielens-data"),
        (["1,2003,Dinosaur Planet", "2,NULL,Isle of Man, The"], "netflix"),
        (["movie_id,title", "1,Heat"], "csv"),
        (ML_CSV, None),
        (ML_DAT, None),
        (["movieId,imdbId,tmdbId", "1,0114709,862"], None),
    ],
)
def test_movies_are_told_by_their_lines(lines: list[str], movies: str | None) -> None:
    head = look_at_text(lines, AUTO)
    assert (head.movies, head.ratings if movies else None) == (movies, None)


def test_one_endless_line_is_nothing() -> None:
    assert look_at_text(["{" + "0" * 200_000 + "}"], AUTO).ratings is None


@pytest.mark.parametrize("lines", [[], ML_CSV[:1], NETFLIX[:1], TABLE[:1]])
def test_a_header_alone_is_nothing(lines: list[str]) -> None:
    assert look_at_text(lines, AUTO).empty


def test_a_form_that_is_asked_for_excludes_the_others() -> None:
    csv = SourceConfig(format="csv", user_column="userId", movie_column="movieId")
    assert look_at_text(ML_CSV, csv).ratings == "csv"
    head = look_at_text(NETFLIX, csv)
    assert (head.ratings, head.looks_like) == (None, "netflix")
    head = look_at_parquet(["user_id", "movie_id", "rating"], SourceConfig(format="movielens"))
    assert (head.ratings, head.looks_like) == (None, "parquet")


def files(*names: str, root: str = "file:/data") -> list[StoredFile]:
    return [StoredFile(f"{root}/{name}", 100, root) for name in names]


def named(*paths: str) -> list[StoredFile]:
    return [StoredFile(path, 100, path) for path in paths]


def select(found: list[StoredFile], config: SourceConfig = AUTO, **contents: list[str]) -> Selection:
    """Select among files whose first lines are given by the letters of their names."""
    known = {"".join(filter(str.isalpha, name)): lines for name, lines in contents.items()}

    def look(file: StoredFile) -> Head:
        key = "".join(filter(str.isalpha, file.path.rpartition("/")[2]))
        return look_at_text(known.get(key, ["nothing known"]), config)

    return select_files(found, look, config)


def names(chosen: tuple[StoredFile, ...]) -> list[str]:
    return [file.relative for file in chosen]


def test_published_names_win_in_a_directory() -> None:
    found = files("README", "u.data", "u.item", "u1.base", "u1.test", "u.user")
    chosen = select(found, udata=ML_DATA, ubase=ML_DATA, utest=ML_DATA, uitem=[ITEM])
    assert names(chosen.ratings) == ["u.data"]
    assert [file.relative for file, _ in chosen.movies] == ["u.item"]
    assert [line.split(":")[0] for line in chosen.skipped] == ["README", "u1.base", "u1.test", "u.user"]


def test_content_decides_where_no_name_is_published() -> None:
    found = files("a.log", "b.log", "notes.md")
    chosen = select(found, alog=ML_DAT, blog=["1::Toy Story::Comedy"])
    assert names(chosen.ratings) == ["a.log"]
    assert chosen.skipped == ("b.log: not ratings", "notes.md: not ratings")


def test_all_files_of_one_shape_are_what_the_largest_is() -> None:
    found = files(*(f"mv_{i:07d}.txt" for i in range(1, 2000)))
    found[1000] = replace(found[1000], size=5000)
    looked: list[str] = []

    def look(file: StoredFile) -> Head:
        looked.append(file.relative)
        return look_at_text(NETFLIX, AUTO)

    assert len(select_files(found, look, AUTO).ratings) == 1999
    assert looked == ["mv_0001001.txt"]


def test_nested_directories_and_compressed_files() -> None:
    found = files("training_set/mv_0000001.txt.gz", "probe.txt", "movie_titles.txt", "ratings/part-0.parquet")
    chosen = select(found[:3], mvtxtgz=NETFLIX, movietitlestxt=["1,2003,Dinosaur Planet"])
    assert names(chosen.ratings) == ["training_set/mv_0000001.txt.gz"]
    assert chosen.skipped == ("probe.txt: not needed beside the published files",)


def test_empty_files_are_skipped() -> None:
    found = [*files("ratings.csv"), StoredFile("file:/data/ratings.dat", 0, "file:/data")]
    assert select(found, ratingscsv=ML_CSV).skipped == ("ratings.dat: empty",)


@pytest.mark.parametrize(
    ("found", "contents", "config", "message"),
    [
        ([], {}, AUTO, r"leads to no files"),
        ([StoredFile("file:/a.csv", 0, "file:/a.csv")], {}, AUTO, r"file:/a\.csv is empty"),
        (named("file:/a.csv"), {"acsv": ML_CSV[:1]}, AUTO, r"file:/a\.csv is empty"),
        (named("file:/a.md"), {"amd": ["# Read me"]}, AUTO,
         r'a\.md is of no known form: it begins with "# Read me"; known: MovieLens'),
        (files("a.md", "b.md"), {"amd": ["# Read me"]}, AUTO, r"of no known form"),
        (named("file:/a", "file:/b"), {"a": ML_DAT, "b": NETFLIX}, AUTO,
         r"several forms in one run: file:/a is MovieLens ratings\.dat, file:/b is Netflix Prize; give one"),
        (named("file:/a"), {"a": ML_DAT}, SourceConfig(format="netflix"),
         r'--format is netflix, but file:/a looks like MovieLens ratings\.dat: it begins with "1::1193.*"; '
         r"set --format movielens, or leave it out"),
        (named("file:/a"), {"a": ["user,film,stars", "1,2,3"]}, AUTO,
         r"file:/a has no column user_id, movie_id, rating; its columns are user, film, stars; "
         r"name yours with --user-column, --movie-column, --rating-column"),
    ],
)  # fmt: skip
def test_faults(found: list[StoredFile], contents: dict, config: SourceConfig, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        select(found, config, **contents)
    assert len(caught.value.faults) == 1 and "\n" not in str(caught.value)


def test_every_unknown_file_that_was_named_is_told() -> None:
    with pytest.raises(UserError) as caught:
        select(named("file:/a", "file:/b", "file:/c"), a=ML_DAT)
    assert [fault.split(" is ")[0] for fault in caught.value.faults] == ["file:/b", "file:/c"]
