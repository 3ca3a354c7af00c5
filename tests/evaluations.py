"""Evaluation tables made by hand."""

from __future__ import annotations

import pandas as pd

from tastemap.evaluation.figures import Row


def figures(
    *settings: tuple[int, float, float, tuple[float, ...]], soft_gain: float = -0.001
) -> pd.DataFrame:
    """The table `evaluation` for settings of clusters, gain, its error, and stability.

    `soft_gain` is how much more memberships gain.
    """
    rows = [
        Row("mean", "rmse", 1.05),
        Row("effects", "rmse", 0.9),
        Row("popularity", "recall_at_20", 0.1),
        Row("popularity", "ndcg_at_20", 0.2),
    ]
    for k, gain, error, stability in settings:
        about = ("residual", 16, k)
        for metric, value in (
            ("rmse", 0.9 - gain),
            ("gain", gain),
            ("gain_error", error),
            ("recall_at_20", 0.2),
        ):
            rows.append(Row("hard", metric, value, 0, *about))
        soft = {"rmse": 0.9 - gain - soft_gain, "gain": gain + soft_gain, "gain_error": error}
        rows += [Row("soft", metric, value, 0, *about) for metric, value in soft.items()]
        rows.append(Row("soft", "temperature", k / 10, 0, *about))
        rows.append(Row("none", "silhouette", 0.3, 0, *about))
        rows += [Row("none", "stability", value, r, *about) for r, value in enumerate(stability, start=1)]
    return pd.DataFrame(rows)
