#!/usr/bin/env python3
"""Write a synthetic rating log with planted taste groups, as large as you like, in constant memory.

The log has the shape of the real ones: long tails of users and of movies, user and movie effects, the
published shares of stars. Its users belong to taste groups that show in what they watch and in how they rate
it; the true groups are written beside the log (groups.parquet), so that a clustering can be checked.

A user's taste is the likes and dislikes of the group, genre by genre, plus a variation of the user's own; a
movie has genres, and niches without a name. With x = taste . movie, a user who is drawn by activity watches
the movie with probability sigmoid(x - 2) and rates it user effect + movie effect + 0.6 x + noise, cut into
stars at the published shares. Pairs, none twice, are drawn by movie for Netflix formats, else by user.

  like MovieLens ml-latest-small:
    make_ratings.py --format movielens --users 600 --movies 2000 --ratings 100000 --seed 7 --output DIR
  a twentieth of the Netflix Prize (without --scale, 100 million ratings in 2 GB of text):
    make_ratings.py --format netflix --preset netflix --scale 0.05 --output DIR
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GENRES = (
    *("Drama", "Comedy", "Thriller", "Action", "Romance", "Crime", "Adventure", "Horror", "Sci-Fi"),
    *("Children", "Fantasy", "Mystery", "Documentary", "Animation", "War", "Musical", "Western", "Film-Noir"),
)
WHOLE_STARS = (0.046, 0.101, 0.287, 0.336, 0.230)  # shares of 1..5, Netflix Prize
HALF_STARS = (0.016, 0.031, 0.016, 0.066, 0.051, 0.196, 0.127, 0.266, 0.088, 0.143)  # 0.5..5, MovieLens 25M
NETFLIX_PERIOD = (date(1999, 11, 11), date(2005, 12, 31), 1.0)
MOVIELENS_PERIOD = (date(1996, 3, 29), date(2023, 10, 12), 12.0)
NICHES, VARIATIONS, LIKES = 14, 2048, 4
RELUCTANCE, GROUP_STRENGTH, OWN_STRENGTH, STARS_PER_TASTE = np.float32([2.0, 3.0, 0.4, 0.6])
CHUNK = 100_000  # ratings held at a time; larger ones are slower, for their arrays leave the cache
DENSE = 16  # who takes more than 1/16 of the other side is drawn by one race over all of it
NETFLIX_SPLITS, NETFLIX_IDS_A_USER = (4499, 9210, 13367, 17770), 2_649_429 / 480_189


class Shape(NamedTuple):
    """Size of a log, and its tails: spread of the logarithm, least count, largest share of the other side."""

    users: int
    movies: int
    ratings: int
    user_tail: tuple[float, int, float]
    movie_tail: tuple[float, int, float]
    period: tuple[date, date, float]
    """First and last day, and 1 if users rate evenly from the day they join, more: mostly at first."""


PRESETS = {
    "netflix": Shape(480_189, 17_770, 100_480_507, (1.4, 3, 0.993), (2.45, 3, 0.485), NETFLIX_PERIOD),
    "ml-32m": Shape(200_948, 87_585, 32_000_204, (1.5, 20, 0.38), (2.9, 0, 0.512), MOVIELENS_PERIOD),
    "ml-small": Shape(610, 9_742, 100_836, (1.45, 20, 0.277), (1.9, 0, 0.54), MOVIELENS_PERIOD),
}


class Side(NamedTuple):
    """All users or all movies: ids, how many ratings each is meant to have, tastes (and the row of each)."""

    ids: np.ndarray
    sizes: np.ndarray
    taste_of: np.ndarray
    tastes: np.ndarray
    bias: np.ndarray


class Log(NamedTuple):
    """Everything that the ratings are drawn from; of the order of users + movies."""

    shape: Shape
    users: Side
    movies: Side
    options: argparse.Namespace


def long_tail(z: np.ndarray, total: int, tail: tuple[float, int, float], other: int) -> np.ndarray:
    """Make counts that add up to `total`, from z ~ N(0, 1): floor + lognormal, bent below the cap."""
    sigma, floor, cap = tail[0], min(tail[1], total / len(z) / 3), tail[2] * other
    low, high = -20.0, 40.0
    for _ in range(60):
        excess = np.exp(sigma * z + (low + high) / 2)
        counts = floor + excess / np.sqrt(1 + (excess / (cap - floor)) ** 2)
        low, high = ((low + high) / 2, high) if counts.sum() < total else (low, (low + high) / 2)
    return np.diff(np.round(np.cumsum(counts) * (total / counts.sum())), prepend=0).astype(np.int64)


def group_centres(groups: int, rng: np.random.Generator) -> np.ndarray:
    """Choose likes (1) and dislikes (-1), of shape (groups, n_genres), as unlike each other as can be."""
    centres = np.zeros((groups, len(GENRES)), np.float32)
    some = np.repeat([1, -1, 0], [LIKES, LIKES, len(GENRES) - 2 * LIKES])
    for g in range(groups):
        trial = rng.permuted(np.tile(some, (500, 1)), axis=1)
        likeness = (trial @ centres[:g].T).max(1, initial=-LIKES)
        centres[g] = trial[np.argmin(likeness + 0.01 * np.abs(trial + centres.sum(0)).sum(1))]
    return centres


def make_log(args: argparse.Namespace, shape: Shape) -> Log:
    """Draw users, groups and movies."""
    rng = np.random.Generator(np.random.SFC64(args.seed))
    whole, n_users, n_movies = args.format.startswith("netflix"), shape.users, shape.movies
    gap = max(1, 480_189 / n_users) * NETFLIX_IDS_A_USER if whole else 1.0
    odds = np.arange(1, args.groups + 1) ** -0.3
    group = rng.choice(args.groups, n_users, p=odds / odds.sum()).astype(np.int32)
    # A codebook rather than a vector for each user: it stays in the cache, and does not grow with the users.
    own = OWN_STRENGTH * rng.standard_normal((1, VARIATIONS, len(GENRES) + NICHES), dtype=np.float32)
    tastes = np.repeat(own, args.groups, axis=0)
    tastes[..., : len(GENRES)] += GROUP_STRENGTH * args.separation * group_centres(args.groups, rng)[:, None]
    users = Side(
        ids=(np.arange(n_users) * gap).astype(np.int64) + rng.integers(0, int(gap), n_users) + 1,
        sizes=long_tail(rng.standard_normal(n_users), shape.ratings, shape.user_tail, n_movies),
        taste_of=group * VARIATIONS + rng.integers(0, VARIATIONS, n_users, dtype=np.int32),
        tastes=tastes.reshape(-1, own.shape[2]),
        bias=0.45 * rng.standard_normal(n_users, dtype=np.float32),
    )
    race = rng.standard_exponential((n_movies, len(GENRES))) * np.sqrt(np.arange(1, len(GENRES) + 1))
    has = np.argsort(np.argsort(race)) < rng.choice([1, 2, 3], n_movies, p=[0.4, 0.4, 0.2])[:, None]
    niches = rng.standard_normal((n_movies, NICHES)) / np.sqrt(np.arange(1, NICHES + 1))
    z = rng.standard_normal(n_movies)
    movies = Side(
        ids=np.cumsum(np.ones(n_movies, np.int64) if whole else rng.integers(1, 6, n_movies)),
        sizes=long_tail(z, shape.ratings, shape.movie_tail, n_users),
        taste_of=np.arange(n_movies, dtype=np.int32),
        tastes=np.hstack([has / np.sqrt(has.sum(1, keepdims=True)), niches]).astype(np.float32),
        bias=(0.15 * z + 0.4 * rng.standard_normal(n_movies)).astype(np.float32),
    )
    return Log(shape, users, movies, args)


def fit_weights(outer_sizes: np.ndarray, inner_sizes: np.ndarray) -> np.ndarray:
    """Find weights by which to draw inner items so that each gets about the size meant, of shape (n_inner,).

    Without repeats a weight saturates: the outer item of rate r takes the inner one of weight w with
    probability 1 - exp(-r w). Both margins are met by fixed-point iteration over bins of like size.
    """

    def bins(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        _, bin_of, count = np.unique(np.round(8 * np.log2(sizes)), return_inverse=True, return_counts=True)
        return bin_of, count, np.bincount(bin_of, sizes) / count

    inner_sizes = np.maximum(inner_sizes, 1e-3)
    _, outer_count, outer_mean = bins(np.maximum(outer_sizes, 1e-3))
    bin_of, inner_count, inner_mean = bins(inner_sizes)
    rate, weight = outer_mean / outer_sizes.sum(), inner_mean.copy()
    for _ in range(100):
        rate *= outer_mean / (-np.expm1(-np.outer(rate, weight)) @ inner_count)
        weight *= inner_mean / (outer_count @ -np.expm1(-np.outer(rate, weight)))
        weight = np.minimum(weight, 100 * inner_mean)  # or a few who rate nearly all take up most draws
    return weight[bin_of] * inner_sizes / inner_mean[bin_of]


def liking(x: np.ndarray) -> np.ndarray:
    """Return the probability that a movie is watched when it is offered."""
    return 1 / (1 + np.exp(RELUCTANCE - x))


class Sampler:
    """Draws for each outer item its number of different inner items, by weight and taste."""

    def __init__(self, outer: Side, inner: Side, rng: np.random.Generator) -> None:
        self.outer, self.inner, self.rng = outer, inner, rng
        some = rng.choice(len(outer.ids), 128, p=outer.sizes / outer.sizes.sum())
        watched = liking(inner.tastes @ outer.tastes[outer.taste_of[some]].T).mean(1)
        self.weights = fit_weights(outer.sizes, inner.sizes) / watched[inner.taste_of]
        self.below = np.cumsum(self.weights / self.weights.sum())[:-1]
        self.typical = inner.tastes[inner.taste_of[self._draw(256)]].T

    def _draw(self, n: int) -> np.ndarray:
        # Sorted, each search goes on from the one before, in the cache: faster, even with the shuffle.
        drawn = np.searchsorted(self.below, np.sort(self.rng.random(n)))
        self.rng.shuffle(drawn)
        return drawn

    def affinity(self, outer: np.ndarray, inner: np.ndarray, block: int = 4096) -> np.ndarray:
        """Multiply the tastes of each pair; by blocks, because page faults cost more than arithmetic."""
        x = np.empty(len(outer), np.float32)
        for s in range(0, len(x), block):
            left = self.outer.tastes.take(self.outer.taste_of[outer[s : s + block]], axis=0)
            right = self.inner.tastes.take(self.inner.taste_of[inner[s : s + block]], axis=0)
            np.einsum("ij,ij->i", left, right, out=x[s : s + block])
        return x

    def _race(self, one: int, size: int) -> np.ndarray:
        """Draw `size` inner items by weight without repeats (Efraimidis & Spirakis 2006)."""
        x = np.einsum("ij,j->i", self.inner.tastes, self.outer.tastes[self.outer.taste_of[one]])
        finish = self.rng.standard_exponential(len(self.weights)) / self.weights
        finish /= liking(x)[self.inner.taste_of]
        return np.flatnonzero(finish <= np.partition(finish, size - 1)[size - 1])

    def pairs(self, items: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw outer and inner index of every pair: outer items in order, the inner ones of each shuffled."""
        n, each = len(self.inner.ids), np.arange(len(items))
        dense = sizes > n // DENSE
        keys = np.concatenate([each[:0]] + [k * n + self._race(items[k], sizes[k]) for k in each[dense]])
        need = np.where(dense, 0, sizes)
        accept = liking(self.outer.tastes[self.outer.taste_of[items]] @ self.typical).mean(1)
        while need.any():
            draws = np.where(need > 0, need / accept * 1.1 + 4, 0).astype(np.int64)
            o, i = np.repeat(each, draws), self._draw(int(draws.sum()))
            watched = self.rng.random(len(i), np.float32) < liking(self.affinity(items[o], i))
            keys = np.sort(np.append(keys, (o * n + i)[watched]))
            keys = keys[np.diff(keys, prepend=-1) > 0]
            found = np.bincount(keys // n, minlength=len(items))
            accept = np.maximum(found - (sizes - need), 0.25) / np.maximum(draws, 1)
            need = np.maximum(sizes - found, 0)
        o = keys // n
        order = np.argsort(o + self.rng.random(len(o)))
        order = order[np.arange(len(o)) - np.searchsorted(o, o) < sizes[o]]
        return items[o[order]], keys[order] - o[order] * n


def chunks(log: Log, by_movie: bool, size: int = CHUNK) -> Iterator[list[np.ndarray]]:
    """Yield user, movie and rating level (indices) and seconds since 1970, of about `size` ratings at a time.

    By movie, or else by user; a chunk holds whole ones, so more than `size` where one has more.
    """
    rng = np.random.Generator(np.random.SFC64([log.options.seed, by_movie]))
    outer, inner = (log.movies, log.users) if by_movie else (log.users, log.movies)
    sampler = Sampler(outer, inner, rng)

    def opinion(o: np.ndarray, i: np.ndarray) -> np.ndarray:
        noise = np.float32(log.options.noise) * rng.standard_normal(len(o), dtype=np.float32)
        return outer.bias[o] + inner.bias[i] + STARS_PER_TASTE * sampler.affinity(o, i) + noise

    pilot = rng.choice(len(outer.ids), (300, 1), p=outer.sizes / outer.sizes.sum())
    some = (sampler.pairs(one, outer.sizes[one]) for one in pilot)
    opinions = np.concatenate([opinion(np.resize(o, 100), np.resize(i, 100)) for o, i in some])
    cuts = np.quantile(opinions, np.cumsum(WHOLE_STARS if by_movie else HALF_STARS)[:-1]).astype(np.float32)
    first, last = (86_400.0 * (day - date(1970, 1, 1)).days for day in log.shape.period[:2])
    joined = first + (last - first) * rng.random(len(log.users.ids)) ** 0.35
    total, start = np.append(0, np.cumsum(outer.sizes)), 0
    while start < len(outer.ids):
        end = max(start + 1, int(np.searchsorted(total, total[start] + size, side="right")) - 1)
        o, i = sampler.pairs(np.arange(start, end), outer.sizes[start:end])
        if not by_movie:
            o, i = np.divmod(np.sort(o * len(inner.ids) + i), len(inner.ids))
        if log.options.duplicates:
            times = 1 + (rng.random(len(o)) < log.options.duplicates)
            o, i = np.repeat(o, times), np.repeat(i, times)
        users, movies = (i, o) if by_movie else (o, i)
        wait = rng.random(len(o)) ** log.shape.period[2] * (last + 86_399 - joined[users])
        start = end
        yield [users, movies, np.searchsorted(cuts, opinion(o, i)), (joined[users] + wait).astype(np.int64)]


def words(form: str, values: Iterable[object]) -> np.ndarray:
    """Put up to eight bytes of text into a number for each value, so that lines are made by gathering."""
    texts = np.array([form.format(value).encode() for value in values])
    if texts.itemsize > 8:
        raise ValueError(f"parts of lines of more than 8 bytes, such as those of {form!r}")
    return texts.astype("S8").view(np.uint64)


def lines(*columns: np.ndarray) -> bytes:
    """Join lines from their parts, as `words` gives them, without the padding."""
    return np.stack(columns, axis=1).tobytes().translate(None, b"\0")


def movie_table(log: Log) -> list[tuple[int, str, int | None, list[str]]]:
    """Make id, title, year and genres of every movie; a few lack year or genres, as in real life."""
    rng = np.random.default_rng(log.options.seed)
    name = ("Río", "Café", "Winter", "Night", "Zürich", "Vienna, Ohio", "Señor Road", "Last War")
    pick = rng.integers(0, [len(name), len(name), 100, 70], (len(log.movies.ids), 4)).tolist()
    has_genre, table = log.movies.tastes[:, : len(GENRES)] > 0, []
    for movie_id, has, (a, b, form, age) in zip(log.movies.ids.tolist(), has_genre, pick, strict=True):
        title = f'"{name[a]}" of {name[b]}' if form < 2 else f"{name[a]} of {name[b]}"
        genres = sorted(genre for genre, its in zip(GENRES, has, strict=True) if its and form != 3)
        year = log.shape.period[1].year - age if form != 4 else None
        table.append((movie_id, f"{title}, The" if form > 75 else title, year, genres))
    return table


def write_netflix(log: Log, output: Path) -> Iterator[tuple[Path, int]]:
    """Write movie_titles.csv and combined_data_*.txt or training_set/mv_*.txt, as Netflix published them."""
    with (output / "movie_titles.csv").open("w", encoding="latin-1", newline="") as titles:
        for movie_id, title, year, _ in movie_table(log):
            titles.write(f"{movie_id},{year or 'NULL'},{title}\n")
    first, last, _ = log.shape.period
    days = [first + timedelta(d) for d in range((last - first).days + 1)]
    user_words, star_words = words("{}", log.users.ids), words(",{},", range(1, 6))
    month_words, day_words = words("{:%Y-%m}", days), words("{:-%d}\n", days)
    n = len(log.movies.ids)
    part = np.searchsorted(NETFLIX_SPLITS, np.arange(n + 1) * NETFLIX_SPLITS[-1] // n) + 1
    one_file_a_movie = log.options.format == "netflix-mv"
    folder = output / "training_set" if one_file_a_movie else output
    folder.mkdir(exist_ok=True)
    for users, movies, level, seconds in chunks(log, by_movie=True):
        day = seconds // 86_400 - (first - date(1970, 1, 1)).days
        text = user_words[users], star_words[level], month_words[day], day_words[day]
        starts = np.flatnonzero(np.diff(movies, prepend=-1))
        for start, end in zip(starts, np.append(starts[1:], len(day)), strict=True):
            movie = int(movies[start]) + 1
            name = f"mv_{movie:07d}.txt" if one_file_a_movie else f"combined_data_{part[movie]}.txt"
            with (folder / name).open("ab") as file:
                file.write(b"%d:\n" % movie + lines(*(column[start:end] for column in text)))
            yield folder if one_file_a_movie else folder / name, int(end - start)


def write_movielens(log: Log, output: Path) -> Iterator[tuple[Path, int]]:
    """Write ratings.csv and movies.csv as GroupLens publishes them, with CRLF line ends."""
    with (output / "movies.csv").open("w", encoding="utf-8", newline="") as movies:
        table = csv.writer(movies, lineterminator="\r\n")
        table.writerow(["movieId", "title", "genres"])
        for movie_id, title, year, genres in movie_table(log):
            named = f"{title} ({year})" if year else title
            table.writerow([movie_id, named, "|".join(genres) or "(no genres listed)"])
    user_words, movie_words = words("{}", log.users.ids), words(",{},", log.movies.ids)
    star_words = words("{:.1f},", np.arange(1, 11) / 2)
    high_words, low_words = words("{}", range(20_000)), words("{:05}\r\n", range(100_000))
    with (output / "ratings.csv").open("wb") as file:
        file.write(b"userId,movieId,rating,timestamp\r\n")
        for users, movie, level, seconds in chunks(log, by_movie=False):
            high, low = np.divmod(seconds, 100_000)
            when = high_words[high], low_words[low]
            file.write(lines(user_words[users], movie_words[movie], star_words[level], *when))
            yield output / "ratings.csv", len(high)


def write_parquet(log: Log, output: Path) -> Iterator[tuple[Path, int]]:
    """Write ratings.parquet and movies.parquet, with the columns of this project's own tables."""
    movies = [pa.array(column) for column in zip(*movie_table(log), strict=True)]
    movies[0], movies[2] = movies[0].cast("int32"), movies[2].cast("int32")
    pq.write_table(pa.table(movies, ["movie_id", "title", "year", "genres"]), output / "movies.parquet")
    stamp = pa.timestamp("us", "UTC")
    types = {"user_id": "int64", "movie_id": "int32", "rating": "float32", "rated_at": stamp}
    with pq.ParquetWriter(output / "ratings.parquet", pa.schema(types.items())) as file:
        for users, movie, level, seconds in chunks(log, by_movie=False, size=10 * CHUNK):
            columns = log.users.ids[users], log.movies.ids[movie], (level + 1) / 2, seconds * 1_000_000
            table = pa.table([pa.array(column) for column in columns], list(types))
            file.write_table(table.cast(file.schema))
            yield output / "ratings.parquet", len(users)


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, Shape]:
    """Read the command line; all faults in it are reported at once."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style, allow_abbrev=False)
    add = parser.add_argument
    add("--format", required=True, choices=["netflix", "netflix-mv", "movielens", "parquet"])
    add("--preset", choices=list(PRESETS), help="size and tails of a real log (default: by format)")
    add("--users", type=int, help="number of users; a Netflix log may miss a few who rate least")
    add("--movies", type=int, help="number of movies; in the other logs many have no rating")
    add("--ratings", type=int, help="number of ratings, without --duplicates; met exactly")
    add("--scale", type=float, default=1.0, help="multiply users and ratings by this")
    add("--groups", type=int, default=8, help="number of taste groups (default 8)")
    add("--separation", type=float, default=1.0, help="1 (default): groups are plain; 0.5: hard; 0: none")
    add("--noise", type=float, default=0.7, help="standard deviation of chance in a rating (default 0.7)")
    add("--duplicates", type=float, default=0.0, help="share of the ratings that come twice (default 0)")
    add("--seed", type=int, default=7)
    add("--output", type=Path, required=True, help="directory, new or empty")
    args = parser.parse_args(argv)
    shape = PRESETS[args.preset or ("netflix" if args.format.startswith("netflix") else "ml-small")]
    given = args.users, args.movies, args.ratings
    sizes = [n if own is None else own for own, n in zip(given, shape[:3], strict=True)]
    users, movies, ratings = round(sizes[0] * args.scale), sizes[1], round(sizes[2] * args.scale)
    shape = shape._replace(users=users, movies=movies, ratings=ratings)
    most = int(0.5 * users * movies * min(shape.user_tail[2], shape.movie_tail[2]))
    faults = [
        (min(users, movies, ratings, args.groups) < 1, "every size must be at least 1"),
        (ratings > most, f"{ratings:,} ratings: these users and movies hold at most {most:,}"),
        (users >= 18_000_000, f"{users:,} users: at most 18 million, for ids of 8 digits"),
        (args.format == "movielens" and movies > 300_000, f"{movies:,} movies: at most 300,000 as movielens"),
        (min(args.separation, args.noise) < 0, "--separation and --noise must be at least 0"),
        (not 0 <= args.duplicates <= 1, "--duplicates must be between 0 and 1"),
        (args.output.is_dir() and any(args.output.iterdir()), f"--output {args.output} is not empty"),
    ]
    if any(wrong for wrong, _ in faults):
        parser.error("; ".join(message for wrong, message in faults if wrong))
    return args, shape


def main(argv: list[str] | None = None) -> int:
    """Write the log; say on stderr how far it is, and at the end on stdout what was written."""
    args, shape = parse(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    log = make_log(args, shape)
    groups = pa.table({"user_id": log.users.ids, "group": log.users.taste_of // VARIATIONS})
    pq.write_table(groups, args.output / "groups.parquet")
    write = {"movielens": write_movielens, "parquet": write_parquet}.get(args.format, write_netflix)
    written: dict[Path, int] = {}
    begun = shown = time.monotonic()
    for path, n in write(log, args.output):
        written[path], now = written.get(path, 0) + n, time.monotonic()
        if now - shown > 5:
            shown, done = now, sum(written.values())
            sys.stderr.write(f"{done:,} of {shape.ratings:,} ratings, {done / (now - begun):,.0f} a second\n")
    written[args.output / "groups.parquet"] = shape.users
    for path in sorted(args.output.iterdir()):
        sys.stdout.write(f"{path}: {written.get(path, shape.movies):,} rows\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
