"""Contender 2, its reading: Netflix text to a sparse matrix of stars, on all cores by threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import sparse

N_THREADS = len(os.sched_getaffinity(0))
POOL = ThreadPoolExecutor(N_THREADS)
FIRST_DAY = (date(1998, 1, 1) - date(1970, 1, 1)).days
SLICE = 1 << 18  # ratings that a thread takes at a time: its arrays stay in the cache
PATTERNS = ("combined_data_*.txt", "**/mv_*.txt")
PIECE = 64 << 20  # bytes of text that are parsed together


class Ratings(NamedTuple):
    """Ratings of n users for d movies, rows and columns by id; data are stars, uint8."""

    matrix: sparse.csr_matrix
    user_ids: np.ndarray
    movie_ids: np.ndarray


def threaded(function: Callable[..., object], items: list[tuple]) -> list:
    """Call for all items; NumPy, SciPy and Polars release the interpreter lock, so threads do."""
    return list(POOL.map(lambda item: function(*item), items))


def row_slices(indptr: np.ndarray, size: int = SLICE) -> list[tuple[int, int]]:
    """First and last row of runs of whole rows with about `size` entries."""
    n_parts = max(1, -(-int(indptr[-1]) // size))
    bounds = np.unique(np.searchsorted(indptr, np.linspace(0, indptr[-1], n_parts + 1)))
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


def pieces(directory: Path) -> Iterator[bytes]:
    """Yield the log as text of whole movies, about `PIECE` bytes at a time."""
    for path in sorted(directory.glob(PATTERNS[0])):
        with path.open("rb") as file:
            text = b""
            while block := file.read(PIECE):
                text += block
                last_header = text.rfind(b"\n", 0, text.rfind(b":")) + 1
                yield text[:last_header]
                text = text[last_header:]
            yield text
    waiting: list[bytes] = []
    for path in sorted(directory.glob(PATTERNS[1])):
        waiting.append(path.read_bytes().rstrip() + b"\n")
        if sum(map(len, waiting)) > PIECE:
            yield b"".join(waiting)
            waiting = []
    yield b"".join(waiting)


def header_ids(text: bytes) -> list[int]:
    """Return the movie ids of the header lines ("123:"): found by their colons, there are no others."""
    colons = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(":")).tolist()
    return [int(text[max(colon - 12, 0) : colon].rpartition(b"\n")[2]) for colon in colons]


def parse(text: bytes) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """Return movie ids, number of ratings of each, and user id and packed (day, stars) of every rating.

    A header line is a row whose user is not a number, so null: one pass of Polars over the text is enough.
    Day and stars share 16 bits, day first: of duplicates the largest is the latest, and a rating takes 6
    bytes. Tried: digits by NumPy, block by block (no faster, and longer); whole lines as strings, split and
    filled forward by Polars expressions (3 times the time, twice the memory); whole files at a time (no
    faster, half again the memory).
    """
    schema = {"user": pl.Int32, "stars": pl.UInt8, "day": pl.Date}
    rows = pl.scan_csv(text, has_header=False, schema=schema, ignore_errors=True, missing_columns="insert")
    packed = (pl.col("day").cast(pl.Int32) - FIRST_DAY) * 8 + pl.col("stars")
    frame = rows.select("user", packed.cast(pl.UInt16).alias("packed")).collect()
    header = frame["user"].is_null()
    at = header.arg_true().to_numpy().astype(np.int64)
    movies, sizes = header_ids(text), np.diff(np.append(at, len(frame))) - 1
    if len(movies) != len(at) or frame["packed"].null_count() != len(at):
        raise ValueError(
            f"{len(at)} lines are no ratings, but {len(movies)} are headers, of {text[:40]!r}..."
        )
    frame = frame.filter(~header)
    return movies, sizes, frame["user"].to_numpy(), frame["packed"].to_numpy()


def read(directory: Path) -> tuple[Ratings, int, int]:
    """Parse a log into CSR; return the number of ratings read and of duplicates dropped as well.

    The text is ordered by movie, so it is CSC as it stands; SciPy's CSC to CSR is a counting sort.
    """
    parts = [parse(text) for text in pieces(directory) if text]
    movies, sizes = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    indptr, start = np.append(0, np.cumsum(sizes)).astype(np.int32), 0
    users, packed = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.uint16)
    while parts:
        part_users, part_packed = parts.pop(0)[2:]
        end = start + len(part_users)
        users[start:end], packed[start:end], start = part_users, part_packed, end
    user_ids = renumber(users)
    by_movie = sparse.csc_matrix((packed, users, indptr), shape=(len(user_ids), len(movies)))
    del users, packed
    if (np.diff(movies) <= 0).any():
        order = np.argsort(movies)
        by_movie, movies = by_movie[:, order], movies[order]
    matrix = by_movie.tocsr()
    del by_movie
    n_read = matrix.nnz
    matrix = latest(matrix)
    matrix.data = (matrix.data & 7).astype(np.uint8)
    return Ratings(matrix, user_ids, movies), n_read, n_read - matrix.nnz


def renumber(users: np.ndarray) -> np.ndarray:
    """Replace ids by ranks, in place; return the ids by rank. Needs 5 bytes for each possible id."""
    seen = np.zeros(users.max() + 1, bool)
    seen[users] = True
    rank = np.cumsum(seen, dtype=np.int32) - 1

    def replace(start: int) -> None:
        users[start : start + SLICE] = rank[users[start : start + SLICE]]

    threaded(replace, [(start,) for start in range(0, len(users), SLICE)])
    return np.flatnonzero(seen)


def latest(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Keep of the ratings of one movie by one user the latest: the largest, as they are packed."""
    new = np.append(True, matrix.indices[1:] != matrix.indices[:-1])
    new[matrix.indptr[:-1][np.diff(matrix.indptr) > 0]] = True
    if new.all():
        return matrix
    starts = np.flatnonzero(new)
    indptr = np.append(0, np.cumsum(new))[matrix.indptr]
    return sparse.csr_matrix(
        (np.maximum.reduceat(matrix.data, starts), matrix.indices[starts], indptr), shape=matrix.shape
    )
