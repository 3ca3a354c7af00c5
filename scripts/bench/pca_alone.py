#!/usr/bin/env python3
"""PCA alone: ours and scikit-learn's on the same matrix, time beside accuracy.

    spark-submit pca_alone.py --ratings DIR --output results.json [--components 50] [--tolerances 1e-4 1e-8]

The matrix is the weighted user vectors of a log: for ours persisted blocks, for scikit-learn one CSR matrix
in the driver's memory, with solvers called as single_machine.py does. Optimum and angles are against ARPACK
at its full precision, in float64. One pass of ours goes before, to start Python workers and compile plans.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import log_matrix
import numpy as np
import pyarrow as pa
from scipy import linalg, sparse
from single_machine import principal_components

from tastemap import pivot
from tastemap.blocks import BlockMatrix
from tastemap.config import from_options
from tastemap.decomposition.principal import decompose
from tastemap.decomposition.sampling import decompose_from_sample
from tastemap.features import loading
from tastemap.session import session


def on_one_machine(matrix: BlockMatrix) -> sparse.csr_matrix:
    """All rows as one matrix, block by block."""
    names = matrix.columns
    blocks = []
    for row in matrix.rows.frame.select(*names).toLocalIterator():
        cells = [pa.array([bytes(row[name])], pa.binary()) for name in names]
        blocks += [block.matrix for block in matrix.load(pa.record_batch(cells, names=names))]
    return sparse.csr_matrix(sparse.vstack(blocks))


def timed(function: Any) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    start = time.perf_counter()
    found = function()
    return found, round(time.perf_counter() - start, 2)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    for row in rows:
        cells = [
            f"{value:.1e}" if isinstance(value, float) and value < 0.1 else str(value)
            for value in row.values()
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run all, print a table, write JSON."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--ratings", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument(
        "--tolerances", type=float, nargs="*", default=[1e-4, 1e-8, 1e-10], help="of ours, beside the default"
    )
    parser.add_argument("--min-movie-ratings", type=int, default=5, help="1 keeps all columns")
    args = parser.parse_args()
    config, k = from_options(min_movie_ratings=str(args.min_movie_ratings)), args.components
    with session("benchmark: PCA alone") as spark, ExitStack() as persisted:
        stored, features = persisted.enter_context(log_matrix.persisted(spark, args.ratings, config))
        size = pivot.size(stored)
        matrix = loading(features, stored)
        decompose(matrix, k, max_passes=1)
        of_job = partial(decompose_from_sample, stored, features, k, size, seed=config.run.seed)
        default = config.decomposition.pca_tolerance
        tolerances = {"ours, default": default} | {f"ours, {tol:.0e}": tol for tol in args.tolerances}
        ours = {name: timed(partial(of_job, tol=tol)) for name, tol in tolerances.items()}
        whole = on_one_machine(matrix)
    mean = np.asarray(whole.mean(axis=0)).ravel()
    n = whole.shape[0]

    def captured(components: np.ndarray) -> float:
        scores = whole @ components - mean @ components
        return float(np.einsum("ij,ij->", scores, scores)) / (n - 1)

    found = {name: (result.components, seconds, result.passes) for name, (result, seconds) in ours.items()}
    single = whole.astype(np.float32)
    for name, data, solver in (
        ("scikit-learn arpack, float32", single, "arpack"),
        ("scikit-learn randomized, float32", single, "randomized"),
        ("scikit-learn arpack, float64", whole, "arpack"),
    ):
        fitted, seconds = timed(partial(principal_components, data, k, solver, 7))
        found[name] = (fitted.loadings.T.astype(np.float64), seconds, None)
    exact = found["scikit-learn arpack, float64"][0]
    optimum = captured(exact)
    rows = []
    for name, (components, seconds, passes) in found.items():
        angle = float(linalg.subspace_angles(components, exact).max())
        rows.append(
            {
                "solver": name,
                "seconds": seconds,
                "passes": passes,
                "short of the optimum": 1 - captured(components) / optimum,
                "largest angle": angle,
            }
        )
    args.output.write_text(
        json.dumps({"shape": whole.shape, "values": whole.nnz, "runs": rows}, indent=2) + "\n"
    )
    sys.stdout.write(f"{whole.shape[0]:,} x {whole.shape[1]:,}, {whole.nnz:,} values, {k} components\n")
    sys.stdout.write(table(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
