"""Distributions by segment, each against everybody's, as small multiples on the same axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    FixedTicker,
    Line,
    NumeralTickFormatter,
    Plot,
    Quad,
)

from tastemap.report import style
from tastemap.report.content import Content
from tastemap.report.style import Figure

KINDS = {
    "ratings": "Ratings given",
    "activity": "Ratings per person",
    "years": "Year of release",
    "rating-years": "Year of rating",
}
HEIGHT = 130
OLDEST = 0.05
"""Share of everybody's ratings, those of the oldest movies, that the years of release leave out."""
STRAY = 0.001
"""Years of rating before the first and after the last with this share of everybody's ratings are left out: a
clock that was wrong must not stretch the axis."""


def figures(content: Content, names: dict[int, str]) -> list[Figure]:
    """For each of the `KINDS` that there are data for, a figure a segment that is drawn."""
    result = []
    drawing: dict[str, Callable[[pd.DataFrame, int], Plot]] = {
        "ratings": _ratings,
        "activity": _activity,
        "years": _years,
        "rating-years": _rating_years,
    }
    tables = {
        "ratings": ratings(content),
        "activity": activity(content),
        "years": years(content),
        "rating-years": rating_years(content),
    }
    for kind, title in KINDS.items():
        for cluster in content.drawn:
            if tables[kind].empty:
                continue
            plot = drawing[kind](tables[kind], cluster)
            named = f"{title}: segment {cluster}, {names[cluster]}"
            result.append(Figure(f"{kind}-{cluster}", named, plot, width=450))
    return result


def ratings(content: Content) -> pd.DataFrame:
    """Share of each rating: columns cluster, at, share, everybody."""
    counted = _unfolded(content.profiles, "rating_histogram", "rating")
    return _against_everybody(counted, content.clusters, sorted(set(counted["at"])))


def activity(content: Content) -> pd.DataFrame:
    """Share of members by number of ratings: columns as of `ratings`, at being the lower end of a bar."""
    bars = content.sample.activity.rename(columns={"low": "at", "n_users": "n"})
    number = np.rint(2 * np.log2(bars["at"].to_numpy(np.float64))).astype(int)
    places = 2.0 ** (np.arange(number.min(initial=99), number.max(initial=0) + 1) / 2)
    return _against_everybody(bars.assign(at=2.0 ** (number / 2)), content.clusters, places.tolist())


def years(content: Content) -> pd.DataFrame:
    """Share of ratings by year of release: columns cluster, at, share, everybody; of movies with a year."""
    counted = content.years.rename(columns={"year": "at", "n_ratings": "n"})
    seen = counted["at"].tolist() or [0]
    return _against_everybody(counted, content.clusters, range(min(seen), max(seen) + 1))


def rating_years(content: Content) -> pd.DataFrame:
    """Share of ratings by year of rating: columns as of `ratings`; of ratings whose time is known."""
    counted = _unfolded(content.profiles, "rating_years", "year")
    total = counted.groupby("at")["n"].sum()
    many = total.index[total >= STRAY * total.sum()]
    if total.sum() == 0:
        return _against_everybody(counted, content.clusters, [])
    shown = range(many.min(), many.max() + 1)
    return _against_everybody(counted[counted["at"].isin(shown)], content.clusters, shown)


def _unfolded(profiles: pd.DataFrame, column: str, at: str) -> pd.DataFrame:
    """Columns cluster, at and n of a column of counts, without those that are suppressed."""
    rows = [
        (int(row["cluster"]), bar[at], bar["n_ratings"])
        for _, row in profiles.iterrows()
        for bar in row[column] or ()
        if bar["n_ratings"] is not None
    ]
    return pd.DataFrame(rows, columns=["cluster", "at", "n"])


def _against_everybody(
    counted: pd.DataFrame, clusters: Sequence[int], places: Sequence[float]
) -> pd.DataFrame:
    """Counts n by cluster and place to shares of the cluster and of everybody, with zeros where none are."""
    if counted.empty:
        return pd.DataFrame(columns=["cluster", "at", "share", "everybody"])
    table = counted.pivot_table(index="cluster", columns="at", values="n", aggfunc="sum", fill_value=0)
    table = table.reindex(
        index=pd.Index(clusters, name="cluster"), columns=pd.Index(places, name="at"), fill_value=0
    )
    shares = table.div(table.sum(axis=1).replace(0, 1), axis=0)
    result = shares.melt(ignore_index=False, value_name="share").reset_index()
    result["everybody"] = result["at"].map(table.sum() / table.to_numpy().sum())
    return result.sort_values(["cluster", "at"], ignore_index=True)


def _ratings(table: pd.DataFrame, cluster: int) -> Plot:
    of_cluster = table[table["cluster"] == cluster]
    at, width = of_cluster["at"].to_numpy(), float(np.diff(np.unique(table["at"])).min(initial=1.0))
    plot = _small(table, (float(at.min()) - width / 2, float(at.max()) + width / 2))
    _bars(plot, at - 0.4 * width, at + 0.4 * width, of_cluster["share"])
    _everybody(plot, at - width / 2, of_cluster["everybody"], at[-1] + width / 2)
    plot.xaxis.ticker = FixedTicker(ticks=sorted({int(one) for one in at if float(one).is_integer()})[:8])
    return plot


def _activity(table: pd.DataFrame, cluster: int) -> Plot:
    of_cluster = table[table["cluster"] == cluster]
    low = of_cluster["at"].to_numpy()
    lowest, highest = float(table["at"].min()), float(table["at"].max() * np.sqrt(2))
    plot = _small(table, (lowest, highest), log=True)
    _bars(plot, low, low * np.sqrt(2) * 0.96, of_cluster["share"])
    _everybody(plot, low, of_cluster["everybody"], float(low[-1] * np.sqrt(2)))
    ticks = [10**power for power in range(8) if lowest <= 10**power <= highest]
    plot.xaxis.ticker = FixedTicker(ticks=ticks)
    plot.xaxis.major_label_overrides = {tick: f"{tick:,}" for tick in ticks}
    return plot


def _years(table: pd.DataFrame, cluster: int) -> Plot:
    everybody = table[table["cluster"] == cluster].set_index("at")["everybody"]
    # So that the few ratings of the oldest movies do not take up half of the figure.
    first = int(everybody.index[int((everybody.cumsum() < OLDEST).sum())])
    return _by_year(table, cluster, first, 10 if everybody.index[-1] - first <= 45 else 20)


def _rating_years(table: pd.DataFrame, cluster: int) -> Plot:
    first, last = int(table["at"].min()), int(table["at"].max())
    step = next(step for step in (1, 2, 5, 10, 20, 10_000) if last - first < 4 * step)  # room on a telephone
    return _by_year(table, cluster, first, step)


def _by_year(table: pd.DataFrame, cluster: int, first: int, step: int) -> Plot:
    """Bars from the first year on, a tick every so many."""
    of_cluster = table[table["cluster"] == cluster]
    at = of_cluster["at"].to_numpy(np.float64)
    last = int(at[-1])
    plot = _small(table, (first - 0.5, last + 0.5))
    _bars(plot, at - 0.45, at + 0.45, of_cluster["share"])
    _everybody(plot, at - 0.5, of_cluster["everybody"], last + 0.5)
    plot.xaxis.ticker = FixedTicker(ticks=list(range(-(-first // step) * step, last + 1, step)))
    return plot


def _small(table: pd.DataFrame, x_range: tuple[float, float], *, log: bool = False) -> Plot:
    highest = float(table[["share", "everybody"]].to_numpy().max())
    plot = style.numeric(HEIGHT, x_range, (0.0, highest * 1.05), log=log)
    plot.min_border_left, plot.min_border_right = 36, 10
    plot.yaxis.formatter = NumeralTickFormatter(format="0%")
    plot.yaxis.ticker = BasicTicker(desired_num_ticks=3)
    return plot


def _bars(plot: Plot, left: np.ndarray, right: np.ndarray, shares: pd.Series) -> None:
    columns = ColumnDataSource({"left": left, "right": right, "top": shares.to_numpy()})
    bars = Quad(
        left="left",
        right="right",
        top="top",
        bottom=0,
        fill_color=style.ACCENT,
        line_color=style.ACCENT,
        fill_alpha=0.75,
    )
    plot.add_glyph(columns, bars)


def _everybody(plot: Plot, starts: np.ndarray, shares: pd.Series, end: float) -> None:
    """Everybody's shares as a line of steps."""
    x = np.append(np.repeat(starts, 2)[1:], end)
    columns = ColumnDataSource({"x": x, "y": np.repeat(shares.to_numpy(), 2)})
    plot.add_glyph(columns, Line(x="x", y="y", line_color=style.INK, line_width=1.2, line_dash=[4, 2]))
