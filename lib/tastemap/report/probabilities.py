"""Genres by segment: P(genre | segment), P(segment | genre) and lift as heat maps with their numbers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

from tastemap.report import style
from tastemap.report.content import Content
from tastemap.report.style import Figure
from tastemap.report.titles import percent

KINDS = {
    "lift": ("lift", "Lift: how much more of its ratings a segment gives a genre than everybody does"),
    "genre-of-segment": ("share", "P(genre | segment): share of a segment's ratings that go to a genre"),
    "segment-of-genre": (
        "share_of_genre",
        "P(segment | genre): share of a genre's ratings that are a segment's",
    ),
}
"""Name of the figure: column of `cluster_genres`, and what it says."""


def figures(content: Content) -> list[Figure]:
    """One for each of the `KINDS`; none where no genres are known."""
    if content.genres.empty:
        return []
    return [
        Figure(f"genres-{name}", title, heat_map(table(content, column), column))
        for name, (column, title) in KINDS.items()
    ]


def table(content: Content, column: str) -> pd.DataFrame:
    """Genres by segment, the commonest genre first; 0 where a segment rates none of a genre."""
    totals = content.genres.groupby("genre")["n_ratings"].sum()
    order = totals.sort_values(ascending=False, kind="stable").index
    wide = content.genres.pivot(index="genre", columns="cluster", values=column)
    return wide.reindex(index=order, columns=content.clusters).fillna(0.0)


def heat_map(values: pd.DataFrame, column: str) -> figure:
    """A table as coloured cells with their numbers in them."""
    segments, genres = [str(number) for number in values.columns], list(values.index)
    numbers = values.to_numpy(np.float64)
    highest = float(numbers.max())
    cells = [
        (genre, segment, float(value))
        for genre, row in zip(genres, numbers, strict=True)
        for segment, value in zip(segments, row, strict=True)
    ]
    colours = [_colour(value, column, highest) for _, _, value in cells]
    plot = style.blank(
        70 + 24 * len(genres),
        x_range=segments,
        y_range=genres[::-1],
        x_axis_label="segment",
        x_axis_location="above",
    )
    source = ColumnDataSource(
        {
            "genre": [cell[0] for cell in cells],
            "segment": [cell[1] for cell in cells],
            "text": [told(cell[2], column) for cell in cells],
            "colour": colours,
            "ink": [style.on(colour) for colour in colours],
        }
    )
    plot.rect(
        "segment", "genre", 1, 1, source=source, fill_color="colour", line_color="#ffffff", line_width=1
    )
    plot.text(
        "segment",
        "genre",
        "text",
        source=source,
        text_color="ink",
        text_align="center",
        text_baseline="middle",
        text_font_size="11px",
    )
    plot.grid.visible = False
    return plot


def told(value: float, column: str) -> str:
    """A number as it stands in its cell."""
    return (
        f"{value:.2f}" if column == "lift" else percent(value).replace("under ", "<").replace("\u00a0%", "")
    )


def _colour(value: float, column: str, highest: float) -> str:
    if column == "lift":  # from a half to twice as often, evenly in the logarithm
        return style.shade(math.log2(max(value, 1e-9)), -1.0, 1.0, style.STARS)
    return style.shade(value, 0.0, highest, style.SEQUENCE)
