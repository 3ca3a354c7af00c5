"""Where the iteration for principal components starts: at those of a sample of the rows.

The driver goes over the sample many times in the time of a few passes over all rows, and what leads there
leads here: a direction that nobody in so large a sample shows has next to no variance. The sample decides
how many passes follow; residuals over all rows end them, so the result is within the tolerance either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tastemap.blocks import Block, BlockMatrix
from tastemap.decomposition.krylov import Progress, leading_eigenpairs
from tastemap.decomposition.principal import BASIS_BYTES, Decomposition, decompose
from tastemap.features import Features, loading

Array = npt.NDArray[np.float64]

ROWS = 1 << 16
"""Rows of the sample; where there are fewer, all. What it knows depends on its size, not on the whole's."""
VALUES = 1 << 24
"""Ratings of the sample. Each takes 20 bytes on the driver for a moment (features of movies), then 8."""
COLUMNS_BYTES = 64 << 20
"""Columns to start with, d · b · 8 bytes: a worker holds three such arrays, the driver one for each of up to
16 tasks. Where they would take more, the iteration starts at random, with fewer."""
OVERSAMPLING = 12
"""Directions beyond k to start with: a sample hardly tells the k-th from the next. They save a pass: 50
components of Netflix's size take three of 66 columns, or four of 50."""
RANDOM = 4
"""Columns beside them that know nothing of the sample: from them passes find what nobody in it is like."""
BLOCK = 32
"""Columns multiplied at a time."""
PARTS = 8
"""Of the sample, each multiplied in a thread; as many on every machine, so that results are the same."""
PASSES = 60
"""Over the sample, at most."""
ROUGH = 1e-2
"""Tolerance on a part of the rows: a closer look would tell more of the sample, not of the rest."""
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
    """Leading principal components of the features of ratings: `decompose`, begun where `start` says."""
    begin = start(matrix, features, k, size, tol=tol, seed=seed)
    return decompose(loading(features, matrix), k, tol=tol, start=begin, seed=seed, on_pass=on_pass)


def start(
    matrix: BlockMatrix, features: Features, k: int, size: tuple[int, int], *, tol: float, seed: int
) -> Array | None:
    """Columns for `decompose` to start with, of shape (d, b), k < b where d allows: one pass.

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
    ndarray or None
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
    parts = _in_order(matrix.sample(share, seed), features, dtype)
    if sum(part.shape[0] for part in parts) < 2:
        return None
    pairs = leading_eigenpairs(
        _covariance(parts),
        d,
        wanted,
        block_size=min(BLOCK, wanted),
        tol=tol,
        max_passes=PASSES,
        max_basis=BASIS_BYTES // (8 * d),
        seed=seed,
        rounding=float(np.finfo(dtype).eps),
    )
    rng = np.random.default_rng([seed, 1])  # not what the iteration over the sample began with
    return np.hstack([pairs.vectors, rng.standard_normal((d, width - wanted))])


def _in_order(
    blocks: Iterator[Block], features: Features, dtype: type[np.floating]
) -> list[sparse.csr_matrix]:
    """Features of all rows of blocks, in the order of their ids, whatever that of the blocks, in `PARTS`."""
    ids, parts = [np.empty(0, np.int64)], [sparse.csr_matrix((0, features.n_features), dtype=dtype)]
    for block in blocks:  # one by one: features of all at once would take three times the memory
        ids.append(block.ids)
        parts.append(features.apply(block.matrix).astype(dtype))
    stacked = sparse.vstack(parts, format="csr")
    del parts
    order = np.argsort(np.concatenate(ids), kind="stable")
    return [stacked[rows] for rows in np.array_split(order, PARTS)]


def _covariance(parts: Sequence[sparse.csr_matrix]) -> Callable[[Array], Array]:
    """Product with the covariance of rows in parts, in their precision; parts are multiplied in threads."""
    n_rows = sum(part.shape[0] for part in parts)
    mean = sum(np.asarray(part.sum(axis=0, dtype=np.float64)).ravel() for part in parts) / n_rows
    dtype = parts[0].dtype

    def multiply(block: Array) -> Array:
        columns, of_mean = block.astype(dtype), (mean @ block).astype(dtype)

        def one(part: sparse.csr_matrix) -> Array:
            return np.asarray(part.T @ (part @ columns - of_mean), dtype=np.float64)

        # Threads, for SciPy lets go of Python's lock while it multiplies.
        with ThreadPoolExecutor() as threads:
            return sum(threads.map(one, parts), np.zeros_like(block)) / (n_rows - 1)

    return multiply
