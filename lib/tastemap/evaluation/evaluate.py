"""Every setting fitted, and judged by what it predicts, how stable and how separate its clusters are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame

from tastemap import features, weighting
from tastemap.blocks import BlockMatrix
from tastemap.catalogue import Catalogue
from tastemap.config import Config
from tastemap.errors import UserError
from tastemap.evaluation import figures, prediction, ranking, separation, truth
from tastemap.evaluation.ceiling import als
from tastemap.evaluation.figures import Measured, Row, Setting
from tastemap.evaluation.fitting import Fits, fit, rating_counts
from tastemap.evaluation.holdout import Holdout
from tastemap.evaluation.judging import Judge, in_groups, measure, only
from tastemap.evaluation.stability import Overlaps
from tastemap.weighting import Weighting

Array = npt.NDArray[np.float64]

MEASURED_BYTES = 32 << 20
"""Memory for the sums of the settings that are judged in one pass, in each task; the driver gets up to 16 of
them. A single setting may take more: k · d · 32 bytes."""


SAMPLED = 3
"""Users there have to be for each component: a bootstrap sample has by chance more rows or fewer than there
are users, and its PCA needs as many as components."""


@dataclass(frozen=True)
class Data:
    """Ratings, which of them are held out, and what is known of the others."""

    matrix: BlockMatrix
    """All ratings; persisted by whoever made it."""
    holdout: Holdout
    n_ratings: npt.NDArray[np.int64]
    """Ratings for fitting by movie, of shape (d,)."""
    rating_sums: Array
    """Of shape (d,)."""
    effects: Weighting
    """Movie and user effects, fitted on them."""
    n_users: int
    catalogue: Catalogue

    @property
    def size(self) -> tuple[int, int]:
        """Users, and ratings that are fitted on."""
        return self.n_users, int(self.n_ratings.sum())

    @property
    def training(self) -> BlockMatrix:
        """The ratings for fitting."""
        return self.matrix.loading(self.holdout.training(self.matrix.load))


@dataclass(frozen=True)
class Evaluation:
    """What is known of the settings."""

    figures: pd.DataFrame
    """The `evaluation` table."""
    clusters: pd.DataFrame
    """The `cluster_stability` table."""


def hold_out(matrix: BlockMatrix, catalogue: Catalogue, size: tuple[int, int], config: Config) -> Data:
    """Keep ratings from fitting, and fit the effects on the others: one pass.

    `size` are the users and ratings of the matrix: `pivot.size`.

    Raises
    ------
    UserError
        No rating is held out, or there are too few users to draw samples of.
    """
    n_components = max(config.decomposition.n_components)
    if size[0] < SAMPLED * n_components:
        raise UserError(
            f"--n-components is {n_components}, but only {size[0]:,} users remain after cleaning: to judge "
            f"clusters takes {SAMPLED} users a component, for samples are drawn of them; ask for at most "
            f"{size[0] // SAMPLED}, or lower --min-user-ratings"
        )
    holdout = Holdout(config.evaluation.holdout, config.run.seed, catalogue.movie_ids)
    n_ratings, rating_sums = rating_counts(matrix.loading(holdout.training(matrix.load)))
    if n_ratings.sum() == size[1]:
        raise UserError(
            f"--holdout is {config.evaluation.holdout}, which keeps no rating of so small a log; raise it"
        )
    of_effects = replace(config.weighting, weighting=("residual",), normalize=False)
    effects = weighting.fit(n_ratings, rating_sums, of_effects)
    return Data(matrix, holdout, n_ratings, rating_sums, effects, size[0], catalogue)


def evaluate(data: Data, config: Config, known: DataFrame | None = None) -> Evaluation:
    """Fit and judge every combination of weighting, number of components and of clusters.

    For each weighting 1 + `repeats` PCAs and KMeans of all their settings together; then two passes for as
    many settings as fit into `MEASURED_BYTES`.

    Parameters
    ----------
    data : Data
        Of `hold_out`.
    config : Config
        With the settings to compare.
    known : DataFrame, optional
        True groups, of `truth.read`.
    """
    rows: list[Row] = []
    clusters: list[pd.DataFrame] = []
    shapes = list(product(config.decomposition.n_components, config.clustering.n_clusters))
    for kind in config.weighting.weighting:
        settings = [Setting(kind, *shape) for shape in shapes]
        of_kind = replace(config.weighting, weighting=(kind,))
        found = features.fit(data.training, data.n_ratings, data.rating_sums, of_kind, lambda: data.catalogue)
        features.check_size(found, config.decomposition.n_components)
        fits = fit(data.training, found, shapes, data.size, config)
        for chosen in in_groups(fits.reference.clusters, data.matrix.n_columns, MEASURED_BYTES):
            measured = _measure(data, fits, chosen)
            if not rows:
                rows += figures.general(measured)
            for place, number in enumerate(chosen):
                rows += figures.of_setting(settings[number], measured, place)
                clusters.append(figures.stability(settings[number], measured, place))
        if known is not None:
            judge = Judge(data.holdout, fits.reference, data.effects)
            tables = truth.contingency(data.matrix, judge, known)
            for setting, table in zip(settings, tables, strict=True):
                rows += figures.of_truth(setting, table)
    return Evaluation(_table(rows), pd.concat(clusters, ignore_index=True))


def ceiling(data: Data, seed: int) -> pd.DataFrame:
    """Rows of the `evaluation` table about what personal predictions reach."""
    found = als(data.matrix, data.holdout, data.effects, int(data.n_ratings.sum()), seed)
    return _table([Row("als", metric, value) for metric, value in found.items()])


def _table(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"n_components": "Int32", "n_clusters": "Int32", "repeat": np.int32})


def _measure(data: Data, fits: Fits, chosen: Sequence[int]) -> Measured:
    """Two passes: what predictions and indices are made of, then how good they are."""
    reference = only(fits.reference, chosen)
    repeats = [only(repeat, chosen) for repeat in fits.repeats]
    judge = Judge(data.holdout, reference, data.effects)
    shapes = [(one.n_clusters, one.n_components) for one in reference.clusters]
    effect_sums, moment_sums, overlaps = measure(
        data.matrix,
        judge,
        [
            prediction.EffectSums([k for k, _ in shapes], data.matrix.n_columns),
            separation.MomentSums(shapes),
            Overlaps(data.holdout, reference, repeats),
        ],
    )
    moments = separation.moments(moment_sums)
    losses, (recall, ndcg, n_ranked), separations = measure(
        data.matrix,
        judge,
        [
            prediction.Losses(prediction.cluster_effects(effect_sums), reference.clusters),
            ranking.Lists(
                ranking.movie_ranks(data.n_ratings[None].astype(np.float64)),
                [ranking.movie_ranks(n_ratings) for n_ratings in effect_sums[::4]],
            ),
            separation.Separations(moments),
        ],
    )
    return Measured(
        prediction.accuracy(*losses),
        recall / max(n_ranked[0], 1.0),
        ndcg / max(n_ranked[0], 1.0),
        moments,
        list(zip(separations[::2], separations[1::2], strict=True)),
        [overlaps[first : first + len(repeats)] for first in range(0, len(overlaps), len(repeats))],
    )
