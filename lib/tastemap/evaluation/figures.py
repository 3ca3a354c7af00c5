"""Rows of the `evaluation` and `cluster_stability` tables from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tastemap.clustering.agreement import (
    adjusted_rand_index,
    best_jaccard,
    normalized_mutual_information,
)
from tastemap.evaluation.prediction import TEMPERATURES, Accuracy
from tastemap.evaluation.ranking import TOP
from tastemap.evaluation.separation import Moments, indices

Array = npt.NDArray[np.float64]

MEAN, EFFECTS = 0, 1
"""Places of the predictors that know no clusters."""


@dataclass(frozen=True)
class Setting:
    """What was fitted."""

    weighting: str
    n_components: int
    n_clusters: int


@dataclass(frozen=True)
class Row:
    """A figure, as the `evaluation` table has it; of no setting where it depends on none."""

    predictor: str
    metric: str
    value: float
    repeat: int = 0
    weighting: str | None = None
    n_components: int | None = None
    n_clusters: int | None = None


@dataclass(frozen=True)
class Measured:
    """Sums over all users, for some settings."""

    accuracy: Accuracy
    recall: Array
    """Mean recall of the list of popularity, then of those of every setting."""
    ndcg: Array
    moments: Sequence[Moments]
    separations: Sequence[tuple[Array, Array]]
    """Of every setting the sums of silhouettes and of distances to the mean, by cluster."""
    overlaps: Sequence[Sequence[Array]]
    """Of every setting a contingency table with each repeat."""


def general(measured: Measured) -> Iterator[Row]:
    """Figures of the predictors that know no clusters."""
    for predictor, place in (("mean", MEAN), ("effects", EFFECTS)):
        yield Row(predictor, "rmse", float(measured.accuracy.rmse[place]))
        yield Row(predictor, "mae", float(measured.accuracy.mae[place]))
    yield Row("popularity", f"recall_at_{TOP}", float(measured.recall[0]))
    yield Row("popularity", f"ndcg_at_{TOP}", float(measured.ndcg[0]))


def of_setting(setting: Setting, measured: Measured, place: int) -> Iterator[Row]:
    """Figures of one of the settings that were measured together."""
    about = (setting.weighting, setting.n_components, setting.n_clusters)
    accuracy = measured.accuracy
    hard = 2 + place * (1 + len(TEMPERATURES))
    soft = hard + 1 + int(accuracy.rmse[hard + 1 : hard + 1 + len(TEMPERATURES)].argmin())
    for predictor, number in (("hard", hard), ("soft", soft)):
        gain, error = accuracy.gain(number, EFFECTS)
        found = {
            "rmse": accuracy.rmse[number],
            "mae": accuracy.mae[number],
            "gain": gain,
            "gain_error": error,
        }
        for metric, value in found.items():
            yield Row(predictor, metric, float(value), 0, *about)
    yield Row("soft", "temperature", TEMPERATURES[soft - hard - 1], 0, *about)
    yield Row("hard", f"recall_at_{TOP}", float(measured.recall[1 + place]), 0, *about)
    yield Row("hard", f"ndcg_at_{TOP}", float(measured.ndcg[1 + place]), 0, *about)
    moments = measured.moments[place]
    for metric, value in indices(moments, *measured.separations[place]).items():
        yield Row("none", metric, value, 0, *about)
    yield Row("none", "largest_share", float(moments.sizes.max() / moments.sizes.sum()), 0, *about)
    yield Row("none", "clusters_found", float(np.count_nonzero(moments.sizes)), 0, *about)
    for repeat, table in enumerate(measured.overlaps[place], start=1):
        yield Row("none", "stability", adjusted_rand_index(table), repeat, *about)


def of_truth(setting: Setting, table: Array) -> Iterator[Row]:
    """Agreement of a setting's clusters with known groups."""
    about = (setting.weighting, setting.n_components, setting.n_clusters)
    yield Row("none", "adjusted_rand_index", adjusted_rand_index(table), 0, *about)
    yield Row("none", "normalized_mutual_information", normalized_mutual_information(table), 0, *about)


def stability(setting: Setting, measured: Measured, place: int) -> pd.DataFrame:
    """The `cluster_stability` table of a setting."""
    sizes = measured.moments[place].sizes
    jaccard = np.mean([best_jaccard(table) for table in measured.overlaps[place]], axis=0)
    return pd.DataFrame(
        {
            "weighting": setting.weighting,
            "n_components": np.int32(setting.n_components),
            "n_clusters": np.int32(setting.n_clusters),
            "cluster": np.arange(sizes.size, dtype=np.int32),
            "n_users": sizes.astype(np.int64),
            "jaccard": jaccard,
        }
    )
