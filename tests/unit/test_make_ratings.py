"""Synthetic logs: their size, shape, form, and that the planted groups are there."""

from __future__ import annotations

import csv
import re
import tracemalloc
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

import make_ratings

BY_MOVIE = {"netflix": True, "movielens": False}


def make_log(form: str, users: int, movies: int, ratings: int, *more: str):
    sizes = ["--users", users, "--movies", movies, "--ratings", ratings]
    args, shape = make_ratings.parse(["--format", form, *map(str, sizes), "--output", "unused", *more])
    return make_ratings.make_log(args, shape)


def draw(form: str, *sizes: int, more: tuple[str, ...] = (), **options: int):
    """Return a log, and its columns: user and movie index, rating level, seconds."""
    log = make_log(form, *sizes, *more)
    parts = list(make_ratings.chunks(log, BY_MOVIE[form], **options))
    return log, *(np.concatenate(column) for column in zip(*parts, strict=True))


@pytest.mark.parametrize("form", ["netflix", "movielens"])
@pytest.mark.parametrize("sizes", [(3000, 1000, 200_000), (500, 300, 7_000), (40, 2000, 5_000)])
def test_the_number_of_ratings_is_exact_and_no_pair_comes_twice(form, sizes):
    log, users, movies, _, _ = draw(form, *sizes)

    pairs = users * sizes[1] + movies
    assert len(pairs) == sizes[2] == len(np.unique(pairs))
    outer = (log.movies, movies) if BY_MOVIE[form] else (log.users, users)
    np.testing.assert_array_equal(np.bincount(outer[1], minlength=len(outer[0].ids)), outer[0].sizes)
    assert users.min() >= 0 and users.max() < sizes[0]
    assert movies.min() >= 0 and movies.max() < sizes[1]


@pytest.mark.parametrize("form", ["netflix", "movielens"])
def test_the_other_side_gets_about_the_sizes_meant(form):
    log, users, movies, _, _ = draw(form, 3000, 1000, 200_000)

    inner, drawn = (log.users, users) if BY_MOVIE[form] else (log.movies, movies)
    found = np.bincount(drawn, minlength=len(inner.ids))
    assert np.corrcoef(np.sqrt(found), np.sqrt(inner.sizes))[0, 1] > 0.95


@pytest.mark.parametrize("form", ["netflix", "movielens"])
def test_a_seed_gives_one_log_and_another_seed_another(form):
    first, again, other = (draw(form, 300, 200, 6_000, more=("--seed", seed))[1:] for seed in ("7", "7", "8"))

    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.slow
def test_a_netflix_log_has_the_long_tails_and_stars_of_the_real_one():
    _, users, movies, level, _ = draw("netflix", 9_604, 17_770, 2_009_610)  # a fiftieth

    n_user, n_movie = np.bincount(users, minlength=9_604), np.bincount(movies, minlength=17_770)
    assert 80 < np.median(n_user) < 120  # the real one: 96
    assert n_user.max() > 30 * np.median(n_user)
    assert n_movie.mean() > 5 * np.median(n_movie)  # the real one: 10 times
    assert 0.4 < n_movie.max() / 9_604 < 0.5  # the real one: 0.485
    shares = np.bincount(level) / len(level)
    np.testing.assert_allclose(shares, make_ratings.WHOLE_STARS, atol=0.03)


def test_a_movielens_log_has_twenty_ratings_for_every_user_and_half_stars():
    _, users, movies, level, _ = draw("movielens", 610, 9_742, 100_836)

    n_user, n_movie = np.bincount(users, minlength=610), np.bincount(movies, minlength=9_742)
    assert n_user.min() >= 20
    assert 50 < np.median(n_user) < 100  # the real one: 70
    assert np.median(n_movie) < 5 < 150 < n_movie.max()  # the real one: 3 and 329
    np.testing.assert_allclose(np.bincount(level) / len(level), make_ratings.HALF_STARS, atol=0.03)


def _agreement(form: str, separation: str, watched_only: bool) -> float:
    """Return the adjusted Rand index of the planted groups with PCA and KMeans."""
    log, users, movies, level, _ = draw(form, 3000, 1000, 200_000, more=("--separation", separation))
    values = np.ones(len(level)) if watched_only else _residuals(log, users, movies, level)
    matrix = normalize(sparse.csr_matrix((values, (users, movies)), shape=(3000, 1000)))
    active = np.bincount(users, minlength=3000) >= 20
    scores = PCA(20, svd_solver="arpack", random_state=0).fit_transform(matrix[active])
    found = KMeans(8, n_init=10, random_state=0).fit_predict(scores)
    return adjusted_rand_score((log.users.taste_of // make_ratings.VARIATIONS)[active], found)


def _residuals(log, users, movies, level):
    n_movies, left = len(log.movies.ids), level - level.mean()
    left -= (np.bincount(movies, left, n_movies) / (np.bincount(movies, minlength=n_movies) + 25))[movies]
    return left - (np.bincount(users, left) / (np.bincount(users) + 10))[users]


@pytest.mark.parametrize(
    ("form", "watched_only"), [("netflix", False), ("movielens", False), ("movielens", True)]
)
@pytest.mark.slow
def test_groups_show_in_what_they_watch_and_in_how_they_rate(form, watched_only):
    assert _agreement(form, "1", watched_only) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("watched_only", [False, True])
def test_without_separation_there_are_no_groups(watched_only):
    assert abs(_agreement("movielens", "0", watched_only)) < 0.01


def test_a_chunk_holds_whole_movies_and_little_more_than_its_size():
    log = make_log("netflix", 3000, 1000, 200_000)

    seen: set[int] = set()
    for _, movies, _, _ in make_ratings.chunks(log, by_movie=True, size=5_000):
        assert len(movies) <= max(5_000, log.movies.sizes[movies].max())
        assert (np.diff(movies) >= 0).all()
        assert seen.isdisjoint(movies.tolist())
        seen.update(movies.tolist())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_log():
    def peak(ratings: int) -> int:
        log = make_log("movielens", 4_000, 2_000, ratings)
        tracemalloc.start()
        for _ in make_ratings.chunks(log, by_movie=False, size=20_000):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(800_000) < 1.5 * peak(200_000)


def run(tmp_path: Path, form: str, *more: str) -> Path:
    sizes = ["--users", "600", "--movies", "300", "--ratings", "20000"]
    assert make_ratings.main(["--format", form, *sizes, "--seed", "7", "--output", str(tmp_path), *more]) == 0
    return tmp_path


def test_movielens_files_are_those_of_grouplens(tmp_path):
    output = run(tmp_path, "movielens")

    raw = (output / "ratings.csv").read_bytes()
    assert raw.startswith(b"userId,movieId,rating,timestamp\r\n") and raw.endswith(b"\r\n")
    lines = raw.decode().split("\r\n")[1:-1]
    assert len(lines) == 20_000
    assert all(re.fullmatch(r"\d+,\d+,[0-5]\.[05],\d{9,10}", line) for line in lines)
    pairs = [tuple(map(int, line.split(",")[:2])) for line in lines]
    assert pairs == sorted(pairs)
    assert {user for user, _ in pairs} == set(range(1, 601))
    raw = (output / "movies.csv").read_bytes()
    assert raw.count(b"\r\n") == 301 == raw.count(b"\n")
    header, *rows = csv.reader(raw.decode("utf-8").splitlines())
    assert header == ["movieId", "title", "genres"]
    assert {movie for _, movie in pairs} <= {int(row[0]) for row in rows}
    assert any("," in row[1] for row in rows) and any('"' in row[1] for row in rows)
    assert any(row[2] == "(no genres listed)" for row in rows) and any("|" in row[2] for row in rows)
    assert sum(bool(re.search(r" \(\d{4}\)$", row[1])) for row in rows) > 250
    groups = pq.read_table(output / "groups.parquet")
    assert groups.schema.names == ["user_id", "group"]
    assert [str(t) for t in groups.schema.types] == ["int64", "int32"]
    assert groups["user_id"].to_pylist() == list(range(1, 601))
    assert set(groups["group"].to_pylist()) == set(range(8))


def netflix_ratings(paths: list[Path]) -> dict[int, list[tuple[int, int, date]]]:
    found: dict[int, list[tuple[int, int, date]]] = {}
    for path in paths:
        for line in path.read_text(encoding="ascii").splitlines():
            if header := re.fullmatch(r"(\d+):", line):
                movie = found.setdefault(int(header[1]), [])
                continue
            fields = re.fullmatch(r"(\d{1,7}),([1-5]),(\d{4}-\d\d-\d\d)", line)
            assert fields, line
            movie.append((int(fields[1]), int(fields[2]), date.fromisoformat(fields[3])))
    return found


def test_netflix_files_are_those_of_the_prize(tmp_path):
    output = run(tmp_path / "combined", "netflix")
    alone = run(tmp_path / "alone", "netflix-mv")

    paths = sorted(output.glob("combined_data_*.txt"))
    assert [path.name[-5] for path in paths] == ["1", "2", "3", "4"]
    found = netflix_ratings(paths)
    assert list(found) == list(range(1, 301))
    assert sum(map(len, found.values())) == 20_000
    users = {user for ratings in found.values() for user, _, _ in ratings}
    known = pq.read_table(output / "groups.parquet")["user_id"].to_pylist()
    assert users <= set(known) and len(set(known)) == 600
    assert 1 <= min(known) < 10_000 and 2_500_000 < max(known) <= 2_649_429
    days = {day for ratings in found.values() for _, _, day in ratings}
    assert date(1999, 11, 11) <= min(days) and date(2005, 12, 31) >= max(days) > date(2005, 12, 20)
    order = [user for user, _, _ in max(found.values(), key=len)]
    assert sorted(order) != order
    files = sorted((alone / "training_set").iterdir())
    assert [path.name for path in files] == [f"mv_{movie:07d}.txt" for movie in range(1, 301)]
    assert netflix_ratings(files) == found
    rows = (output / "movie_titles.csv").read_bytes().decode("latin-1").splitlines()
    assert all(re.fullmatch(r"\d+,(\d{4}|NULL),.+", row) for row in rows) and len(rows) == 300
    assert any(row.split(",")[1] == "NULL" for row in rows) and any(row.count(",") > 2 for row in rows)
    assert "Café" in "".join(rows)


def test_parquet_files_are_tables_of_this_project(tmp_path):
    output = run(tmp_path, "parquet")

    ratings = pq.read_table(output / "ratings.parquet")
    assert ratings.schema.names == ["user_id", "movie_id", "rating", "rated_at"]
    assert [str(t) for t in ratings.schema.types] == ["int64", "int32", "float", "timestamp[us, tz=UTC]"]
    assert len(ratings) == 20_000
    assert set(ratings["rating"].unique().to_pylist()) == {k / 2 for k in range(1, 11)}
    movies = pq.read_table(output / "movies.parquet")
    assert movies.schema.names == ["movie_id", "title", "year", "genres"]
    assert set(ratings["movie_id"].to_pylist()) <= set(movies["movie_id"].to_pylist())


def test_duplicates_come_on_top(tmp_path):
    _, users, movies, _, _ = draw("netflix", 600, 300, 20_000, more=("--duplicates", "0.1"))

    assert 1_700 < len(users) - 20_000 < 2_300
    assert len(np.unique(users * 300 + movies)) == 20_000


def test_nothing_is_cut_off_a_part_of_a_line():
    assert make_ratings.lines(make_ratings.words(",{},", [999_999])) == b",999999,"
    with pytest.raises(ValueError, match="of more than 8 bytes"):
        make_ratings.words(",{},", [1, 1_000_000])


def test_scale_multiplies_users_and_ratings():
    _, shape = make_ratings.parse(
        ["--format", "netflix", "--preset", "netflix", "--scale", "10", "--output", "unused"]
    )

    assert shape[:3] == (4_801_890, 17_770, 1_004_805_070)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--ratings", "900000"], "at most"),
        (["--users", "0"], "at least 1"),
        (["--separation", "-1"], "--separation"),
        (["--duplicates", "2"], "--duplicates"),
        (["--movies", "400000"], "400,000 movies: at most 300,000"),
    ],
)
def test_faults_are_reported_together(tmp_path, capsys, given, named):
    (tmp_path / "there").touch()
    sizes = ["--users", "600", "--movies", "300", "--ratings", "20000"]

    with pytest.raises(SystemExit) as stopped:
        make_ratings.main(["--format", "movielens", *sizes, *given, "--output", str(tmp_path)])

    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert named in message and "is not empty" in message
