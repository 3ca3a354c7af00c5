"""How many clusters, and whether there are any: read from what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

CERTAIN = 2.0
"""Standard errors that a gain must exceed to be more than chance."""
FEWEST = 2
"""Clusters below which there is nothing to compare."""
CHANCE = 0.2
"""Stability below which it is mostly chance who is in which cluster; random ratings have 0."""


@dataclass(frozen=True)
class Choice:
    """A number of clusters, and why."""

    n_clusters: int
    temperature: float | None = None
    """Of memberships, what predicts held-out ratings best; None: not known."""
    reason: str = ""
    figures: pd.DataFrame | None = None
    """The `evaluation` table that it was read from."""

    @property
    def verdict(self) -> str | None:
        """Whether these clusters mean anything, where that was measured."""
        return None if self.figures is None else verdict(self.figures, self.n_clusters)


def curve(figures: pd.DataFrame) -> pd.DataFrame:
    """A row a setting: what a person compares, from the `evaluation` table.

    Columns weighting, n_components, n_clusters, rmse (hard), soft, gain and gain_error (hard), soft_gain,
    soft_gain_error, recall, ndcg, stability (mean over repeats), silhouette, largest_share, temperature;
    truth where groups are known.
    """
    of_settings = figures[figures["weighting"].notna()].astype({"n_components": int, "n_clusters": int})
    keys = ["weighting", "n_components", "n_clusters"]
    means = of_settings.groupby([*keys, "predictor", "metric"], sort=False)["value"].mean().unstack([-2, -1])
    names = {
        ("hard", "rmse"): "rmse",
        ("soft", "rmse"): "soft",
        ("hard", "gain"): "gain",
        ("hard", "gain_error"): "gain_error",
        ("soft", "gain"): "soft_gain",
        ("soft", "gain_error"): "soft_gain_error",
        ("hard", "recall_at_20"): "recall",
        ("hard", "ndcg_at_20"): "ndcg",
        ("none", "stability"): "stability",
        ("none", "silhouette"): "silhouette",
        ("none", "largest_share"): "largest_share",
        ("soft", "temperature"): "temperature",
        ("none", "adjusted_rand_index"): "truth",
    }
    found = {name: means[column] for column, name in names.items() if column in means}
    return pd.DataFrame(found).reset_index()


def choose(figures: pd.DataFrame) -> Choice:
    """The number of clusters for one weighting and number of components.

    Of those whose gain on held-out ratings is within one standard error of the largest (the rule of
    Breiman et al. 1984, CART, 3.4.3) the most stable; of equally stable ones the smallest.
    """
    settings = curve(figures)
    best = settings.sort_values("gain").iloc[-1]
    good = settings[settings["gain"] >= best["gain"] - best["gain_error"]]
    chosen = good.sort_values(["stability", "n_clusters"], ascending=[False, True]).iloc[0]
    k = int(chosen["n_clusters"])
    near = ", ".join(str(number) for number in good["n_clusters"] if number != k)
    change, most = ("lower", "more") if chosen["gain"] >= 0 else ("raise", "less")
    of_best = f"{'lower' if best['gain'] >= 0 else 'raise'} it by {abs(best['gain']):.4f}"
    reason = (
        f"chose {k} clusters: they {change} the RMSE of held-out ratings by {abs(chosen['gain']):.4f}, "
        + (
            f"{most} than any other number"
            if k == best["n_clusters"]
            else f"within one standard error ({best['gain_error']:.4f}) of the best "
            f"({int(best['n_clusters'])} clusters {of_best})"
        )
        + (f", and are at least as stable as {near}" if near else "")
        + f" (stability {chosen['stability']:.2f})"
    )
    return Choice(k, float(chosen["temperature"]), reason, figures)


def verdict(figures: pd.DataFrame, n_clusters: int | None = None) -> str:
    """A sentence or two about whether clusters mean anything: so many, or those that predict best.

    By the hard or the soft prediction, whichever gains more: memberships make more of the same clusters.
    """
    settings = curve(figures)
    if n_clusters is not None:
        settings = settings[settings["n_clusters"] == n_clusters]
    predictor, prefix = max(
        (("Memberships", "soft_"), ("Clusters", "")), key=lambda one: settings[f"{one[1]}gain"].max()
    )
    best = settings.sort_values(f"{prefix}gain").iloc[-1]
    gain, error, stability = best[f"{prefix}gain"], best[f"{prefix}gain_error"], best["stability"]
    named = f"{best['weighting']}, {best['n_components']} components, {best['n_clusters']} clusters"
    if not gain > CERTAIN * error:
        change = "lower" if gain > 0 else "raise"
        return (
            "No structure found: clusters predict held-out ratings no better than movie and user effects do. "
            f"The best {change} their RMSE by {abs(gain):.4f} ± {error:.4f} ({named}), with stability "
            f"{stability:.2f}: do not read anything into these segments."
        )
    told = f"{predictor} lower the RMSE of held-out ratings by {gain:.4f} ± {error:.4f} ({named})"
    if stability < CHANCE:
        remedy = "more users" if best["n_clusters"] <= FEWEST else "fewer clusters or more users"
        return (
            f"{told}, but resampled users are clustered anew each time (stability {stability:.2f}): taste is "
            f"there, its borders are not. Take {remedy} before naming segments."
        )
    return f"{told}; on resampled users clusters are found again with stability {stability:.2f}."
