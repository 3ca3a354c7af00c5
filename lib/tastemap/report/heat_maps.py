"""Heat maps: the most active members of a segment by its most rated movies, stars and rated."""

from __future__ import annotations

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource, CustomJSHover, HoverTool, Image, LinearColorMapper, Plot

from tastemap.report import style
from tastemap.report.content import Array, Content, Members
from tastemap.report.segments import in_full, label
from tastemap.report.style import Figure
from tastemap.report.titles import distinguished

VERSIONS = ("stars", "rated")
TITLE_WIDTH = 26
"""Characters of a title below a column."""


def figures(content: Content, names: dict[int, str]) -> list[Figure]:
    """Two a segment that is drawn, by segment."""
    result = []
    low, high = content.manifest["inputs"]["scale"]
    for members in content.sample.members:
        if members.cluster not in content.drawn:
            continue
        for version in VERSIONS:
            what = "stars given" if version == "stars" else "rated or not"
            title = f"Segment {members.cluster}, {names[members.cluster]}: {what}"
            plot = heat_map(members, content, version, float(low), float(high))
            result.append(Figure(f"heat-{members.cluster}-{version}", title, plot, width=1000))
    return result


def heat_map(members: Members, content: Content, version: str, low: float, high: float) -> Plot:
    """One of the `VERSIONS`: a row a member, the most active on top, a column a movie, unrated blank."""
    n_columns = members.n_most_rated
    stars = members.active_ratings[:, :n_columns]
    n_rows = len(stars)
    movies = _movies(members, content)
    titles = [in_full(movie) for movie in movies.to_dict("records")]
    plot = style.numeric(190 + max(7 * n_rows, 60), (0, n_columns), (0, n_rows))
    plot.min_border_right = 12
    plot.yaxis.axis_label = "members, the most active on top"
    image = Image(image="image", x=0, y=0, dw=n_columns, dh=n_rows, color_mapper=_mapper(version, low, high))
    plot.add_glyph(ColumnDataSource({"image": [_drawn(stars, version)]}), image)
    movie = CustomJSHover(args={"titles": titles}, code="return titles[Math.floor(special_vars.x)]")
    given = "String(value) + ' stars'" if version == "stars" else "'rated'"
    stars_given = CustomJSHover(code=f"return isNaN(value) ? 'not rated' : {given}")
    told = style.tooltip("$x{custom}", "@image{custom}")
    plot.add_tools(HoverTool(tooltips=told, formatters={"$x": movie, "@image": stars_given}))
    plot.grid.visible = False
    axis = plot.xaxis
    axis.ticker = [column + 0.5 for column in range(n_columns)]
    short = distinguished([label(movie) for movie in movies.to_dict("records")], TITLE_WIDTH)
    axis.major_label_overrides = {column + 0.5: title for column, title in enumerate(short)}
    axis.major_label_orientation = "vertical"
    axis.major_label_text_font_size = "10px"
    told_rows = {n_rows - row + 0.5: str(row) for row in (1, *range(10, n_rows + 1, 10))}
    plot.yaxis.ticker = list(told_rows)
    plot.yaxis.major_label_overrides = told_rows
    return plot


def _drawn(stars: Array, version: str) -> Array:
    drawn = stars if version == "stars" else np.where(np.isnan(stars), np.nan, 1.0)
    return drawn[::-1].astype(np.float32)  # Bokeh's first row is the lowest


def _mapper(version: str, low: float, high: float) -> LinearColorMapper:
    nothing = "rgba(0, 0, 0, 0)"
    if version == "rated":
        return LinearColorMapper([style.ACCENT], low=0, high=2, nan_color=nothing)
    return LinearColorMapper(list(style.STARS), low=low, high=high, nan_color=nothing)


def _movies(members: Members, content: Content) -> pd.DataFrame:
    movies = content.movies[content.movies["cluster"] == members.cluster].set_index("movie_id")
    return movies.loc[members.movie_ids[: members.n_most_rated]].reset_index()
