"""What a sample of the rows tells of the principal components of all: where to start, and where to go on.

The driver goes over the sample many times in the time of a few passes over all rows, and what leads there
leads here: a direction that nobody in so large a sample shows has next to no variance. And where a pass over
all rows has told how far the components are off, the sample tells what would set them right. It decides how
many passes follow; residuals over all rows end them, so the result is within the tolerance either way. After
the last pass the components are set right once more, as well as by another pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tastemap.blocks import Block, BlockMatrix
from tastemap.decomposition.krylov import Progress, leading_eigenpairs, outside_of
from tastemap.decomposition.packed import Packed
from tastemap.decomposition.principal import BASIS_BYTES, Decomposition, decompose, in_single_precision
from tastemap.decomposition.turned import by_column
from tastemap.executors import in_one_process, release_memory
from tastemap.features import Features, loading
from tastemap.hashing import uniform

Array = npt.NDArray[np.float64]

ROWS = 1 << 16
"""Rows of the sample; where there are fewer, all. What it knows depends on its size, not on the whole's."""
VALUES = 1 << 24
"""Ratings of the sample. Each takes four bytes on the driver (features of up to 65,536 movies)."""
COLUMNS_BYTES = 64 << 20
"""Columns to start with, d · b · 8 bytes: a worker holds three such arrays, the driver one for each of up to
16 tasks. Where they would take more, the iteration starts at random, with fewer."""
OVERSAMPLING = 8
"""Directions beyond k to start with: a sample hardly tells the k-th from the next."""
RANDOM = 4
"""Columns beside them that know nothing of the sample: from them passes find what nobody in it is like."""
BLOCK = 24
"""Columns multiplied at a time: 32 take fewer passes over the sample, but longer to be made orthogonal."""
STEPS = 3
"""Of conjugate gradients in a correction, each a product with the sample's covariance: a third of a second at
Netflix's size. Of 50 components there the pass that follows leaves a share of 0.0036 in residuals, after two
steps half as much again, after six four fifths; without a correction 0.0099, and a pass more is needed."""
PARTS = 16
"""Of the sample, each unpacked and multiplied in a thread; as many on every machine, so that results are the
same."""
PLACES = 1 << 33
"""Seed of the chance by which rows come into parts: none by which they come into the sample."""
PASSES = 60
"""Over the sample, at most."""
ROUGH = 1e-2
"""Tolerance on a part of the rows: a closer look would tell more of the sample, not of the rest. Rough values
serve as well."""
FINE = 1e-4
"""Tolerance, or less where less is asked for, on all of them: what they fit into makes passes cheap. Down to
here single precision serves, in half the time."""


def decompose_from_sample(
    matrix: BlockMatrix,
    features: Features,
    k: int,
    size: tuple[int, int],
    *,
    tol: float,
    seed: int,
    on_pass: Callable[[Progress], None] = lambda progress: None,
) -> Decomposition:
    """Leading principal components of the features of ratings: `decompose`, told what a sample knows."""
    known = draw(matrix, features, k, size, tol=tol, seed=seed)
    weighted = loading(features, matrix)
    fit = partial(decompose, k=k, tol=tol, seed=seed, on_pass=on_pass)
    if known is None:
        return fit(weighted)
    with ready_for_passes(weighted, known, tol=tol) as rows:
        return fit(rows, start=known.start, correct=known.correct, surrogate=known.multiply)


@dataclass(frozen=True)
class Sample:
    """What the driver knows of the rows."""

    start: Array
    """Columns for `decompose` to start with, of shape (d, b), k < b where d allows."""
    multiply: Callable[[Array], Array]
    """Product with the sample's covariance S, an array of the type of what is multiplied."""
    precision: type[np.floating] = np.float64
    """Type of the sample's values, in which corrections are computed as well."""
    whole: bool = False
    """Whether it is of all rows: one pass over them is then all that follows."""

    def correct(self, residuals: Array, values: Array, vectors: Array) -> Array:
        """Directions that take the residuals away: about (1 − P S P / θ)⁻¹ r, where P leads off the vectors.

        Were S all rows' covariance, they would be Newton's (the correction equation of Sleijpen & van der
        Vorst 1996, SIAM J. Matrix Anal. Appl. 17:401). Outside of what leads, S has less variance than θ,
        so that conjugate gradients solve it.
        """
        eps = float(np.finfo(self.precision).eps)
        largest = values.max()
        scale = np.maximum(values, eps * largest) if largest > 0 else np.ones_like(values)
        lengths = np.linalg.norm(residuals, axis=0)
        scale, leading = scale.astype(self.precision), vectors.astype(self.precision)
        scaled = residuals / np.where(lengths > 0, lengths, 1.0)
        left = direction = np.ascontiguousarray(scaled, self.precision)
        squares = np.einsum("ij,ij->j", left, left)
        found = np.zeros_like(left)
        for _ in range(STEPS):
            image = direction - outside_of(leading, self.multiply(direction)) / scale
            curvature = np.einsum("ij,ij->j", direction, image)
            # Where S does have more variance than θ, the direction as it is: it leads there.
            solvable = curvature > eps * squares
            step = np.divide(squares, curvature, out=np.ones_like(squares), where=solvable)
            found += step * direction
            left = (left - step * image) * solvable
            before, squares = squares, np.einsum("ij,ij->j", left, left)
            direction = left + direction * np.divide(
                squares, before, out=np.zeros_like(squares), where=before > 0
            )
        return np.asarray(found * lengths)


def ready_for_passes(
    weighted: BlockMatrix, known: Sample, *, tol: float
) -> AbstractContextManager[BlockMatrix]:
    """The same rows as passes are to go over them: by column, at rest, where that pays.

    That is where scores are in single precision and more than one pass follows; and in local mode, for on a
    cluster what is kept goes through the JVM in every pass, twice as many bytes as ratings are.
    """
    d, width = known.start.shape
    at_rest = in_one_process(weighted.spark) and not known.whole and in_single_precision(d, width, tol)
    return by_column(weighted).persisted() if at_rest else nullcontext(weighted)


def draw(
    matrix: BlockMatrix, features: Features, k: int, size: tuple[int, int], *, tol: float, seed: int
) -> Sample | None:
    """Take a sample and find its components: one pass.

    Parameters
    ----------
    matrix : BlockMatrix
        Ratings, whose rows have ids of their own.
    features : Features
        d columns of them, whose components are wanted.
    k : int
        Components wanted.
    size : pair of int
        About how many rows and stored values the ratings have.
    tol : float
        As for `decompose`. Where the sample is the whole, one pass is then all that follows.
    seed : int
        Of the sample and of its own start.

    Returns
    -------
    Sample or None
        None where the columns would take too much memory, or too few rows are sampled to tell anything.
    """
    d = features.n_features
    wanted = min(k + OVERSAMPLING, d)
    width = min(wanted + RANDOM, d)
    if 8 * d * width > COLUMNS_BYTES:
        return None
    # KMeans draws by the same chance, so its sample is of the same rows; no harm, for neither decides.
    share = min(1.0, ROWS / max(size[0], 1), VALUES / max(size[1], 1))
    tol = min(tol, FINE) if share == 1 else max(tol, ROUGH)
    dtype = np.float32 if tol >= FINE else np.float64
    pack = partial(Packed.of, rough=tol >= ROUGH)
    parts = _in_parts(matrix.sample(share, seed), features, dtype, pack)
    release_memory()  # of what they were packed from
    if sum(part.shape[0] for part in parts) < 2:
        return None
    multiply = _covariance(parts)
    pairs = leading_eigenpairs(
        multiply,
        d,
        wanted,
        block_size=min(BLOCK, wanted),
        tol=tol,
        max_passes=PASSES,
        max_basis=BASIS_BYTES // (16 * d),
        seed=seed,
        rounding=float(np.finfo(dtype).eps),
    )
    rng = np.random.default_rng([seed, 1])  # not what the iteration over the sample began with
    start = np.hstack([pairs.vectors, rng.standard_normal((d, width - wanted))])
    return Sample(start, multiply, dtype, whole=share == 1)


def _in_parts(
    blocks: Iterator[Block],
    features: Features,
    dtype: type[np.floating],
    pack: Callable[[Any], Packed[Any]],
) -> list[Packed[sparse.csc_matrix]]:
    """Features of all rows of blocks, in parts of about equal size, whatever the order of the blocks.

    Both the part and the place in it are told by a row's id alone.
    """
    ids: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(PARTS)]
    pieces: list[list[Packed[sparse.csr_matrix]]] = [[] for _ in range(PARTS)]
    for block in blocks:
        places = (uniform(block.ids, PLACES) * PARTS).astype(np.int64)
        order = np.argsort(places, kind="stable")
        rows = features.apply(block.matrix[order]).astype(dtype)
        ends = np.searchsorted(places[order], np.arange(PARTS + 1))
        for part, (start, end) in enumerate(pairwise(ends)):
            if start < end:
                ids[part].append(block.ids[order[start:end]])
                pieces[part].append(pack(rows[start:end]))

    def joined(part: int) -> Packed[sparse.csc_matrix]:
        rows = sparse.vstack([piece.unpacked() for piece in pieces[part]], format="csr")
        pieces[part] = []  # all of them unpacked are twice as large
        # By columns: a row's scores are nearer than the columns that are multiplied, a quarter off.
        return pack(rows[np.argsort(np.concatenate(ids[part]))].tocsc())

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # SciPy lets go of Python's lock
        return list(pool.map(joined, (part for part in range(PARTS) if ids[part])))


def _covariance(parts: Sequence[Packed[sparse.csc_matrix]]) -> Callable[[Array], Array]:
    """Product with the covariance of rows in parts, in their precision; parts are multiplied in threads."""
    n_rows = sum(part.shape[0] for part in parts)
    sums = [np.asarray(part.unpacked().sum(axis=0, dtype=np.float64)).ravel() for part in parts]
    mean = np.sum(sums, axis=0) / n_rows
    dtype = parts[0].dtype
    # A product at a time for each core, for that is what its cache holds.
    threads = os.cpu_count() or 1

    def multiply(block: Array) -> Array:
        columns = np.ascontiguousarray(block, dtype)
        of_mean = (mean.astype(block.dtype) @ block).astype(dtype)

        def one(part: Packed[sparse.csc_matrix]) -> npt.NDArray[np.floating]:
            rows = part.unpacked()
            return np.asarray(rows.T @ (rows @ columns - of_mean))

        total = np.zeros(block.shape, block.dtype)
        # Threads, for SciPy lets go of Python's lock while it multiplies.
        with ThreadPoolExecutor(threads) as pool:
            for product in pool.map(one, parts):
                total += product
        total /= n_rows - 1
        return total

    return multiply
