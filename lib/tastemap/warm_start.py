"""Clusters that continue those of an earlier run, under the same numbers.

The principal components of a new log are others, in sign, rotation and movies, so earlier centres mean
nothing among new scores. Users do: the earlier model says which cluster each would be in, and where those
are among the new scores the new clusters begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pyspark.ml import Model, PipelineModel
from pyspark.sql import SparkSession

from tastemap import vectors
from tastemap.blocks import Block, BlockMatrix
from tastemap.cleaning import keep
from tastemap.clustering import algorithms
from tastemap.clustering.assignment import ClustersModel
from tastemap.clustering.estimation import Clustering
from tastemap.clustering.scores import ScoreMatrix
from tastemap.config import Config
from tastemap.decomposition.pca import PCAModel
from tastemap.errors import UserError
from tastemap.features import of_stage
from tastemap.runs import FinishedRun
from tastemap.segmentation import Projection, Segmentation

Array = npt.NDArray[np.float64]

Assigned = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]
"""Which of n users are known to an earlier run, of shape (n,), and the clusters of those who are."""

ALIKE = (
    *(("weighting", name) for name in ("weighting", "features", "normalize")),
    ("clustering", "algorithm"),
)
"""Options, by section, that have to be those of the earlier run: else its clusters mean something else."""


@dataclass(frozen=True)
class Earlier:
    """The clusters of an earlier run."""

    segmentation: Segmentation
    movie_ids: npt.NDArray[np.int32]
    """Of its d columns, of shape (d,)."""

    @property
    def n_clusters(self) -> int:
        """Number of clusters, k."""
        return self.segmentation.model.n_clusters

    def assign(self, block: Block, movie_ids: npt.NDArray[np.int32]) -> Assigned:
        """Earlier clusters of the users of a new block.

        Parameters
        ----------
        block : Block
            Ratings.
        movie_ids : ndarray
            Of its columns. Movies that the earlier run does not know are left out.

        Returns
        -------
        known : ndarray of bool of shape (n,)
            Which users rated a movie that is known.
        clusters : ndarray of int
            Their clusters.
        """
        ratings = block.matrix
        by_id = vectors.csr(ratings.data, movie_ids[ratings.indices], ratings.indptr, 2**31 - 1)
        kept = keep(Block(block.ids, by_id), self.movie_ids, min_user_ratings=1)
        known = np.isin(block.ids, kept.ids, assume_unique=True)
        return known, self.segmentation.assign(kept.matrix).clusters


@dataclass(frozen=True)
class Continuation:
    """What became of earlier clusters."""

    counterparts: tuple[int | None, ...]
    """The earlier cluster that each cluster continues, if any: of the same number, but where an earlier
    one is gone and no new one fills its place."""
    overlap: npt.NDArray[np.int64]
    """Users of each earlier (k of them) and each new cluster (l), of shape (k, l)."""
    n_unknown: int
    """Users who rated nothing that the earlier run knows: they are not in `overlap`."""

    def record(self) -> dict[str, Any]:
        """Plain numbers: how many users changed their cluster, and of each how many stayed, came and left."""
        before, now = self.overlap.sum(axis=1), self.overlap.sum(axis=0)
        clusters = []
        for cluster, earlier in enumerate(self.counterparts):
            stayed = 0 if earlier is None else int(self.overlap[earlier, cluster])
            left = 0 if earlier is None else int(before[earlier]) - stayed
            came = int(now[cluster]) - stayed
            clusters.append(
                {"cluster": cluster, "earlier": earlier, "stayed": stayed, "came": came, "left": left}
            )
        same = min(self.overlap.shape)
        users = int(self.overlap.sum())
        moved = users - int(np.trace(self.overlap[:same, :same]))
        gone = sorted(set(range(len(before))) - set(self.counterparts))
        return {
            "users": users,
            "unknown_users": self.n_unknown,
            "moved_users": moved,
            "moved_share": moved / max(users, 1),
            "gone": gone,
            "clusters": clusters,
        }


def load(spark: SparkSession, directory: str, config: Config) -> Earlier:
    """The clusters of the run in a directory.

    Raises
    ------
    UserError
        There is no run, or none that `config` can continue.
    """
    given = f"--warm-start {directory}"
    run = FinishedRun(spark, directory, "--warm-start")
    run.check("model", "movie_index")
    faults = list(_unlike(run.manifest["config"], config, given))
    if faults:
        raise UserError(faults)
    features, pca, clusters = PipelineModel.load(f"{run.path}/model").stages
    projection = Projection.of(of_stage(cast(Model, features)), cast(PCAModel, pca).decomposition)
    model = cast(ClustersModel[Any], clusters).clusters
    if min(config.clustering.n_clusters) < model.n_clusters:
        raise UserError(
            f"--n-clusters is {min(config.clustering.n_clusters)}, but {given} has {model.n_clusters} "
            f"clusters to continue; ask for at least {model.n_clusters}, or start anew without --warm-start"
        )
    movies = run.read("movie_index").select("movie_index", "movie_id").toPandas()
    return Earlier(
        Segmentation(projection, model), movies.sort_values("movie_index")["movie_id"].to_numpy(np.int32)
    )


def _unlike(earlier: dict[str, Any], config: Config, given: str) -> Iterator[str]:
    now = config.as_dict()
    for section, name in ALIKE:
        before, after = (_written(values.get(section, {}).get(name)) for values in (earlier, now))
        if before != after:
            flag = "--" + name.replace("_", "-")
            yield (
                f"{flag} is {after}, but {given} was made with {before}; use that, or start anew without "
                "--warm-start"
            )


def _written(value: Any) -> str:
    """As on a command line; of several values the order means nothing."""
    return ",".join(sorted(value)) if isinstance(value, (list, tuple)) else str(value).lower()


def fit(
    earlier: Earlier,
    matrix: BlockMatrix,
    movie_ids: npt.NDArray[np.int32],
    projection: Projection,
    scores: ScoreMatrix,
    n_clusters: int,
    config: Config,
) -> tuple[Clustering, Continuation]:
    """Cluster users from where the members of earlier clusters are now: two passes more than otherwise.

    Parameters
    ----------
    earlier : Earlier
    matrix : BlockMatrix
        New ratings.
    movie_ids : ndarray
        Of its columns.
    projection : Projection
        From them to scores.
    scores : ScoreMatrix
        Their scores.
    n_clusters : int
        As many as before or more: the others begin far from these.
    config : Config

    Raises
    ------
    UserError
        No user rated anything that the earlier run knows.
    """
    totals, sizes = member_sums(earlier, matrix, movie_ids, projection)
    if not sizes.any():
        raise UserError(
            "--warm-start: nobody in this log rated a movie of the earlier run; are its movie ids the same? "
            "Else start anew without --warm-start"
        )
    centres = totals[sizes > 0] / sizes[sizes > 0, None]
    found = algorithms.fit_from(scores, centres, n_clusters, config.clustering, config.run.seed)
    overlap = count_overlap(earlier, matrix, movie_ids, Segmentation(projection, found.model))
    order, counterparts = numbering(overlap)
    n_unknown = int(found.sizes.sum() - overlap.sum())
    return found.take(order), Continuation(counterparts, overlap[:, order], n_unknown)


def member_sums(
    earlier: Earlier, matrix: BlockMatrix, movie_ids: npt.NDArray[np.int32], projection: Projection
) -> tuple[Array, Array]:
    """Sums of the new scores of each earlier cluster's users, of shape (k, m), and their numbers (k,)."""
    k, m = earlier.n_clusters, projection.components.shape[1]

    def partial(blocks: Iterator[Block]) -> Sequence[Array]:
        totals, sizes = np.zeros((k, m)), np.zeros(k)
        for block in blocks:
            add_members(totals, sizes, earlier.assign(block, movie_ids), projection.scores(block.matrix))
        return [totals, sizes]

    totals, sizes = matrix.sum_over_blocks(partial, [(k, m), (k,)])
    return totals, sizes


def add_members(totals: Array, sizes: Array, assigned: Assigned, scores: Array) -> None:
    """Add the scores of a block's users, of shape (n, m), to the totals (k, m) and sizes (k,)."""
    known, clusters = assigned
    np.add.at(totals, clusters, scores[known])
    sizes += np.bincount(clusters, minlength=len(sizes))


def count_overlap(
    earlier: Earlier, matrix: BlockMatrix, movie_ids: npt.NDArray[np.int32], segments: Segmentation
) -> npt.NDArray[np.int64]:
    """Users of each earlier and each new cluster, of shape (k, l)."""
    shape = (earlier.n_clusters, segments.model.n_clusters)

    def partial(blocks: Iterator[Block]) -> Sequence[Array]:
        total = np.zeros(shape)
        for block in blocks:
            known, before = earlier.assign(block, movie_ids)
            np.add.at(total, (before, segments.assign(block.matrix).clusters[known]), 1.0)
        return [total]

    return matrix.sum_over_blocks(partial, [shape])[0].astype(np.int64)


def numbering(overlap: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], tuple[int | None, ...]]:
    """The order in which new clusters have the numbers of the earlier ones.

    Clusters are matched so that as many users as can be stay together. Those without a counterpart take the
    numbers of earlier ones that are gone, then those after the others.

    Parameters
    ----------
    overlap : ndarray of shape (k, l)
        Users of each earlier and each new cluster.

    Returns
    -------
    order : ndarray of shape (l,)
        The new cluster of each number.
    counterparts : tuple
        For each number the earlier cluster, if any.
    """
    from scipy.optimize import linear_sum_assignment  # only here: runs that start anew need not load it

    pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
    earlier = {int(new): int(old) for old, new in pairs if overlap[old, new] > 0}
    free = (number for number in count() if number not in earlier.values())
    numbers = [earlier[new] if new in earlier else next(free) for new in range(overlap.shape[1])]
    order = np.argsort(numbers)
    return order, tuple(earlier.get(int(new)) for new in order)
