"""A judgement as text: a line a setting, and what to make of it."""

from __future__ import annotations

import textwrap

import pandas as pd

from tastemap.evaluation.choice import curve, verdict
from tastemap.evaluation.pipeline import Result

WIDTH = 120
COLUMNS = {
    "weighting": "weighting",
    "n_components": "components",
    "n_clusters": "clusters",
    "rmse": "RMSE hard",
    "soft": "soft",
    "gain": "gain",
    "gain_error": "±",
    "recall": "recall@20",
    "ndcg": "NDCG@20",
    "stability": "stability",
    "silhouette": "silhouette",
    "largest_share": "largest",
    "truth": "truth",
}


def text(result: Result) -> str:
    """Several lines of plain text, at most `WIDTH` characters each but for the path."""
    return "\n".join(
        [
            *table_lines(result.figures),
            "",
            *textwrap.wrap(without_clusters(result.figures), WIDTH),
            *textwrap.wrap(verdict(result.figures), WIDTH),
            f"results: {result.output.removeprefix('file:')}",
        ]
    )


def table_lines(figures: pd.DataFrame) -> list[str]:
    """The settings, a line each."""
    settings = curve(figures)
    shown = settings[[name for name in COLUMNS if name in settings]].rename(columns=COLUMNS)
    four, two = "{:.4f}".format, "{:.2f}".format
    formats = {"RMSE hard": four, "soft": four, "gain": four, "±": four, "recall@20": "{:.3f}".format}
    formats |= {
        "NDCG@20": "{:.3f}".format,
        "stability": two,
        "silhouette": two,
        "truth": two,
    }
    return shown.to_string(index=False, formatters=formats | {"largest": "{:.0%}".format}).splitlines()


def without_clusters(figures: pd.DataFrame) -> str:
    """What the settings are compared with, in a sentence."""
    value = figures[figures["weighting"].isna()].set_index(["predictor", "metric"])["value"]
    personal = f", of ALS {value['als', 'rmse']:.4f}" if ("als", "rmse") in value else ""
    return (
        f"without clusters: RMSE of the global mean {value['mean', 'rmse']:.4f}, of movie and user effects "
        f"{value['effects', 'rmse']:.4f}{personal}; of what is most rated by all, recall@20 "
        f"{value['popularity', 'recall_at_20']:.3f} and NDCG@20 {value['popularity', 'ndcg_at_20']:.3f}"
    )
